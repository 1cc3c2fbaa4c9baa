//! Who answers the engine's questions and hears what happened.
//!
//! * [`Hook`] — what a program writes: a method for each point that the engine asks about or tells of
//! * [`Decision`] — what a hook says to a question: an answer, one that comes later, or that it is not its business
//! * [`Responder`] — gives the later answer, from any thread
//! * [`Commands`] — has the broker do something, from any thread
//! * [`HookChain`] — hooks in order, and how their answers become one
//! * [`PacketTypes`], [`Direction`] — packets as they pass
//!
//! `docs/hooks.md` has the points next to those of Mochi and gmqtt.

mod chain;
mod packets;
mod responder;

pub use chain::{HookChain, HookPanic};
pub(crate) use packets::PacketStreams;
pub use packets::{Direction, PacketTypes};
pub use responder::{Commands, Responder};

use crate::config::listeners::Transport;
use broker_engine::mqtt_proto::{Packet, ReasonCode, SubscribeOptions, Version};
use broker_engine::{
    Answer, ApplicationMessage, Authenticate, ConnId, Interest, ListenerId, Note, Permissions, Question,
};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Takes part in what the broker decides. Its methods run on the broker's thread: while one thinks, nobody is served, so
/// what takes longer answers with [`Decision::later`]. A method that panics denies what it was asked.
///
/// ```
/// use metronome_host::{Client, Decision, Hook};
/// use metronome_host::engine::{Authenticate, mqtt_proto::ReasonCode};
///
/// struct OnlyBob;
///
/// impl Hook for OnlyBob {
///     fn authenticate(&mut self, client: &Client, _: &Authenticate) -> Decision {
///         let is_bob = client.username.as_deref() == Some("bob");
///         if is_bob { Decision::allow() } else { Decision::deny(ReasonCode::NotAuthorized) }
///     }
/// }
/// ```
pub trait Hook: Send {
    /// Which questions and notes it wants, beyond authentication; taken down when it joins a chain. A point that no
    /// hook wants costs nothing. By default every question, and clients and subscriptions that come and go; notes of messages,
    /// of which there may be very many, have to be asked for. Who has no [`Hook::publish`] says so here, as it would be asked about
    /// each message.
    fn interest(&self) -> Interest {
        let questions = Interest::SUBSCRIBE | Interest::UNSUBSCRIBE | Interest::PUBLISH;
        questions | Interest::CLIENTS | Interest::SUBSCRIPTIONS
    }

    /// Which packets it wants to see as they pass, of all clients; taken down when it joins a chain. By default none. With any
    /// hook that does, every packet is decoded a second time.
    fn packets(&self) -> PacketTypes {
        PacketTypes::NONE
    }

    /// Called when it joins a chain, with a way to have the broker do something.
    fn joined(&mut self, commands: Commands) {
        let _ = commands;
    }

    /// Answers any question. By default each is passed to the method for it.
    fn answer(&mut self, client: &Client, question: &Question) -> Decision {
        match question {
            Question::Authenticate(connect) => self.authenticate(client, connect),
            Question::AuthenticateStep { method, data, again, .. } => {
                self.authenticate_step(client, method, data.as_deref(), *again)
            }
            Question::Subscribe { filters, .. } => self.subscribe(client, filters),
            Question::Unsubscribe { filters, .. } => self.unsubscribe(client, filters),
            Question::Publish { message, .. } => self.publish(client, message),
            // One that this version does not know.
            _ => Decision::deny(ReasonCode::NotAuthorized),
        }
    }

    /// May this client connect?
    fn authenticate(&mut self, client: &Client, connect: &Authenticate) -> Decision {
        let _ = (client, connect);
        Decision::NotMine
    }

    /// The next step of an enhanced authentication, or the first of authenticating `again`.
    fn authenticate_step(
        &mut self,
        client: &Client,
        method: &str,
        data: Option<&[u8]>,
        again: bool,
    ) -> Decision {
        let _ = (client, method, data, again);
        Decision::NotMine
    }

    /// May this client subscribe to these topic filters? [`Answer::Filters`] has a verdict for each.
    fn subscribe(&mut self, client: &Client, filters: &[(String, SubscribeOptions)]) -> Decision {
        let _ = (client, filters);
        Decision::NotMine
    }

    /// May this client end these subscriptions? [`Answer::Filters`] has a verdict for each.
    fn unsubscribe(&mut self, client: &Client, filters: &[String]) -> Decision {
        let _ = (client, filters);
        Decision::NotMine
    }

    /// May this client publish this message? [`Answer::Discard`] acknowledges and forgets it, [`Answer::Replace`] puts
    /// another in its place, which the hooks behind this one see.
    fn publish(&mut self, client: &Client, message: &ApplicationMessage) -> Decision {
        let _ = (client, message);
        Decision::NotMine
    }

    /// What may a client whose session a store has kept, until it connects again? Its will may be due before. `None`
    /// leaves it to the next hook; where nobody says anything it is everything. By which listener it came is not kept.
    fn resumed(&mut self, client_id: &str, username: Option<&str>) -> Option<Permissions> {
        let _ = (client_id, username);
        None
    }

    /// Another hook has let the client in and said itself what it may: this one's [`Decision::limited`] does not count.
    fn overruled(&mut self, client: &Client) {
        let _ = client;
    }

    /// Hears of something that happened, and with which client's address where that is known.
    fn note(&mut self, note: &Note, peer: Option<SocketAddr>) {
        let _ = (note, peer);
    }

    /// Sees a packet pass. What cannot be decoded is not seen; [`Note::Disconnected`] says what was wrong with it.
    fn packet(&mut self, conn: ConnId, direction: Direction, packet: &Packet<'_>) {
        let _ = (conn, direction, packet);
    }
}

/// Whom a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client {
    /// Its connection: the key for what a hook remembers of it, until [`Note::Disconnected`] has the same.
    pub conn: ConnId,
    /// Client identifier; empty as long as the broker has not assigned one.
    pub client_id: String,
    /// User name, where sent, or where a hook has found it out.
    pub username: Option<String>,
    /// Protocol version.
    pub version: Version,
    /// Where it came in: the place of the listener in the configuration.
    pub listener: ListenerId,
    /// The name of that; empty where it has none.
    pub listener_name: Arc<str>,
    /// What it speaks below MQTT.
    pub transport: Transport,
    /// From where.
    pub peer: Option<SocketAddr>,
}

impl Client {
    fn new(conn: ConnId, connect: &Authenticate, listener_name: Arc<str>, transport: Transport) -> Self {
        Self {
            conn,
            client_id: connect.client_id.clone(),
            username: connect.username.clone(),
            version: connect.version,
            listener: connect.listener,
            listener_name,
            transport,
            peer: connect.peer,
        }
    }
}

/// What a hook says to a question.
pub enum Decision {
    /// Nothing: the next hook is asked.
    NotMine,
    /// This.
    Now(Answer),
    /// This, and the client is the user of this name from now on: see [`Decision::named`].
    Named(String, Answer),
    /// Nothing, but if a hook behind lets the client in without saying what it may, it may this: see
    /// [`Decision::limited`].
    Limited(Permissions),
    /// Something else will answer: see [`Decision::later`].
    Later(Box<dyn FnOnce(Responder) + Send>),
}

impl Decision {
    /// Yes, as asked.
    pub const fn allow() -> Self {
        Self::Now(Answer::Allow)
    }

    /// No, with the reason for the client.
    pub const fn deny(reason: ReasonCode) -> Self {
        Self::Now(Answer::Deny(reason))
    }

    /// An answer of who has found out the client's user name in another way than by believing it, such as from a token:
    /// hooks that are asked about it later see [`Client::username`].
    pub fn named(username: impl Into<String>, answer: Answer) -> Self {
        Self::Named(username.into(), answer)
    }

    /// Of a hook whose rules also hold for clients that others let in: the next hook is asked. Of several limits the first
    /// counts.
    pub const fn limited(permissions: Permissions) -> Self {
        Self::Limited(permissions)
    }

    /// `begin` is called at once, and hands its [`Responder`] to a thread, a task or a queue. Only the client that the
    /// question is about waits; after the time limit of hooks it is denied.
    pub fn later(begin: impl FnOnce(Responder) + Send + 'static) -> Self {
        Self::Later(Box::new(begin))
    }
}

impl From<Answer> for Decision {
    fn from(answer: Answer) -> Self {
        Self::Now(answer)
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMine => f.write_str("NotMine"),
            Self::Limited(permissions) => f.debug_tuple("Limited").field(permissions).finish(),
            Self::Now(answer) => f.debug_tuple("Now").field(answer).finish(),
            Self::Named(name, answer) => f.debug_tuple("Named").field(name).field(answer).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// Lets everybody do everything. Enhanced authentication is not its business.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Hook for AllowAll {
    fn interest(&self) -> Interest {
        Interest::NONE
    }

    fn authenticate(&mut self, _: &Client, connect: &Authenticate) -> Decision {
        if connect.method.is_none() { Decision::allow() } else { Decision::NotMine }
    }
}
