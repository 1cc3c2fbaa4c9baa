//! Who calls the engine: the world itself, or the driver of `adapters/host`, which must make no difference to clients.
//!
//! The driver answers questions, keeps what is to be kept and writes each connection once in the turn of an input, and the
//! world does otherwise. So what it is compared with is a world that does so too, under all checkers.

use super::outside::Wanted;
use super::{Options, World};
use crate::check::Violation;
use crate::scenario::Scenario;
use broker_engine::{
    Admission, Answer, Config, ConnId, Deadline, Engine, HashKey, Input, ListenerId, Permissions, Question,
    Seed, View,
};
use metronome_host::{Client, Decision, Driver, Hook};
use mqtt_proto::ReasonCode;
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::io::ErrorKind;
use std::net::SocketAddr;

/// Where all clients come in.
pub(super) const LISTENER: ListenerId = ListenerId(0);

/// Bytes that a socket takes at once at most from the driver, as a segment of TCP has them.
const SEGMENT: usize = 1460;

/// Who calls the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Host {
    /// The world: it answers late, twice or never, and stores fail.
    #[default]
    Played,
    /// The world, in the way of the driver.
    Prompt,
    /// The driver of `adapters/host`. The world sees nothing but what clients read.
    Driver,
    /// The same, and clients come in through its transports: by WebSocket or without, behind a PROXY header or without.
    Transports,
}

impl Host {
    /// Does a driver call the engine?
    pub(crate) fn is_driven(self) -> bool {
        matches!(self, Self::Driver | Self::Transports)
    }
}

/// The engine, or who calls it.
pub(super) enum Broker {
    Engine(Box<Engine>),
    Driver(Box<Driver>),
}

/// Who says yes to every question, unless a hook says otherwise.
#[derive(Clone)]
pub(super) struct Agreeable {
    hook: Option<fn(&Question) -> Answer>,
    /// What clients may when they are let in, by client identifier, where it is not everything.
    admissions: BTreeMap<String, Permissions>,
}

impl Hook for Agreeable {
    fn answer(&mut self, _: &Client, question: &Question) -> Decision {
        self.agrees(question).into()
    }
}

impl Agreeable {
    pub(super) fn new(scenario: &Scenario, options: &Options) -> Self {
        Self { hook: options.hook, admissions: scenario.admissions() }
    }

    /// Who authenticates in steps has to take all of them.
    pub(super) fn agrees(&self, question: &Question) -> Answer {
        if let Some(hook) = self.hook {
            return hook(question);
        }
        let (client_id, data) = match question {
            Question::Authenticate(who) if who.method.is_none() => return self.admits(&who.client_id, None),
            Question::Authenticate(who) => (&who.client_id, who.data.as_deref()),
            Question::AuthenticateStep { client_id, data, .. } => (client_id, data.as_deref()),
            _ => return Answer::Allow,
        };
        match data {
            Some([0]) => self.admits(client_id, Some(vec![0])),
            Some([left]) => Answer::Continue(vec![left - 1]),
            _ => Answer::Deny(ReasonCode::NotAuthorized),
        }
    }

    /// What a client may when it is let in; `None` is everything.
    pub(super) fn admission(&self, client_id: &str) -> Option<Permissions> {
        self.admissions.get(client_id).cloned()
    }

    fn admits(&self, client_id: &str, data: Option<Vec<u8>>) -> Answer {
        match (self.admission(client_id), data) {
            (None, None) => Answer::Allow,
            (None, Some(data)) => Answer::AllowWith(data),
            (permissions, data) => Answer::Admit(Box::new(Admission {
                permissions,
                data: data.unwrap_or_default(),
                ..Admission::default()
            })),
        }
    }
}

impl Broker {
    pub(super) fn new(config: Config, seed: u64, options: &Options, hook: &Agreeable) -> Self {
        let [a, b] = options.hash_key;
        let engine = Engine::new(config, Seed(seed), HashKey([a, b]));
        match options.host {
            Host::Played | Host::Prompt => Self::Engine(Box::new(engine)),
            Host::Driver | Host::Transports => Self::Driver(Box::new(Driver::new(engine, hook.clone()))),
        }
    }

    /// Has a driver something to write that comes from writing?
    pub(super) fn has_dirty(&self) -> bool {
        matches!(self, Self::Driver(driver) if driver.has_dirty())
    }

    pub(super) fn is_driver(&self) -> bool {
        matches!(self, Self::Driver(_))
    }

    pub(super) fn view(&self) -> View<'_> {
        match self {
            Self::Engine(engine) => engine.view(),
            Self::Driver(driver) => driver.view(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        match self {
            Self::Engine(engine) => engine.next_deadline(),
            Self::Driver(driver) => driver.next_deadline(),
        }
    }

    /// Everybody has gone: the driver knows nobody any more.
    pub(super) fn has_let_go(&self, now: u64) -> Result<(), Violation> {
        match self {
            Self::Driver(driver) if driver.strangers() > 0 || driver.has_dirty() => {
                Err(Violation::new("INV-66", now, "the driver waits for connections that are gone"))
            }
            _ => Ok(()),
        }
    }
}

impl World<'_> {
    /// A transport is ready.
    pub(super) fn accept(&mut self, peer: Option<SocketAddr>) -> ConnId {
        let now = self.time();
        match &mut self.broker {
            Broker::Engine(_) => self.ids.allocate(),
            Broker::Driver(driver) => driver.open(now, LISTENER, peer),
        }
    }

    /// A socket is closed.
    pub(super) fn let_go(&mut self, conn: ConnId) {
        match &mut self.broker {
            Broker::Engine(_) => self.ids.release(conn),
            Broker::Driver(driver) => driver.release(conn),
        }
    }

    /// Bytes that wait for a socket.
    pub(super) fn unsent(&self, link: usize) -> usize {
        match &self.broker {
            Broker::Engine(_) => self.links[link].unsent.len(),
            // Another process gives the same identifiers again.
            Broker::Driver(_) if self.links[link].life < self.life => 0,
            Broker::Driver(driver) => driver.unsent(self.links[link].conn),
        }
    }

    /// What a socket takes of them.
    pub(super) fn taken(&mut self, link: usize, room: usize) -> Vec<u8> {
        let now = self.time();
        let state = &mut self.links[link];
        match &mut self.broker {
            Broker::Engine(_) => state.unsent.drain(..state.unsent.len().min(room)).collect(),
            Broker::Driver(_) if state.life < self.life => Vec::new(),
            Broker::Driver(driver) => {
                let door = state.door.as_mut().filter(|door| door.has_layers());
                if let Some(door) = door {
                    return door.leaves(driver, now, state.conn);
                }
                let mut taken = Vec::new();
                driver.flush(now, state.conn, |slices| {
                    let most = SEGMENT.min(room - taken.len());
                    if most == 0 {
                        return Err(ErrorKind::WouldBlock.into());
                    }
                    let before = taken.len();
                    taken.extend(slices.iter().flat_map(|slice| slice.iter()).take(most));
                    Ok(taken.len() - before)
                });
                taken
            }
        }
    }

    /// One input and what follows from answers and the store, as the driver does it; then each connection is written once.
    pub(super) fn in_one_turn(&mut self, input: Input<'_>) -> Result<(), Violation> {
        let mut wanted = Wanted::default();
        self.tell(input, &mut wanted)?;
        self.carried_out()?;
        while !wanted.calls.is_empty() || !wanted.stores.is_empty() {
            let (calls, stores) = (std::mem::take(&mut wanted.calls), std::mem::take(&mut wanted.stores));
            for call in calls {
                let answer = self.agreeable.agrees(&call.question);
                self.tell(Input::Reply { call: call.id, answer }, &mut wanted)?;
                self.carried_out()?;
            }
            let upto = stores.last().map(|(seq, _)| *seq);
            for (fetch, op) in stores {
                if let Some(deliveries) = self.store.apply(self.time(), op) {
                    self.tell(Input::Loaded { fetch, deliveries }, &mut wanted)?;
                    self.carried_out()?;
                }
            }
            if let Some(upto) = upto {
                self.tell(Input::Stored { upto }, &mut wanted)?;
                self.carried_out()?;
            }
        }
        wanted.closed.sort_unstable();
        wanted.resumed.sort_unstable();
        self.write(wanted);
        Ok(())
    }

    /// The same through the driver, which has opened connections already.
    pub(super) fn drive(&mut self, input: Input<'_>) {
        self.events += 1;
        let now = self.time();
        let Broker::Driver(driver) = &mut self.broker else { return };
        match input {
            Input::Received { conn, data } => driver.received(now, conn, data),
            Input::Closed { conn, cause } => driver.closed(now, conn, cause),
            Input::Command(command) => driver.command(now, command),
            Input::Tick => driver.tick(now),
            _ => {}
        }
        self.write_driven();
    }

    /// Gives sockets what the driver has for them, until it has nothing more.
    pub(super) fn write_driven(&mut self) {
        loop {
            let Self { broker: Broker::Driver(driver), by_conn, links, .. } = self else { return };
            let mut wanted = Wanted::default();
            while driver.next_urgent().is_some() {}
            while let Some(conn) = driver.next_changed() {
                if let Some(link) = by_conn.get(conn) {
                    links[link].paused = driver.is_paused(conn);
                    if !links[link].paused {
                        wanted.resumed.push(link);
                    }
                }
            }
            let is_quiet = !driver.has_dirty();
            while let Some(conn) = driver.next_dirty() {
                if let Some(link) = by_conn.get(conn) {
                    let closes = driver.is_closing(conn);
                    (if closes { &mut wanted.closed } else { &mut wanted.touched }).push(link);
                }
            }
            wanted.closed.sort_unstable();
            wanted.resumed.sort_unstable();
            for link in &wanted.closed {
                self.checks.lost(*link);
            }
            self.write(wanted);
            if is_quiet {
                return;
            }
        }
    }

    /// A client reads, or sees the end of its connection: all that it knows of the broker.
    pub(super) fn sees(&mut self, link: usize, bytes: Option<&[u8]>) {
        if self.options.host == Host::Played {
            return;
        }
        self.digest.write_u64(self.now);
        self.digest.write_usize(link);
        self.digest.write(bytes.unwrap_or(b"the end"));
        let what = bytes.map_or_else(|| "the end".to_owned(), |bytes| format!("{bytes:02x?}"));
        self.hears(link, &what);
    }

    /// What counts where the whole trace is not compared.
    pub(super) fn hears(&mut self, link: usize, what: &str) {
        self.seen.line(self.now, &format!("client {} < {what}", self.links[link].client));
    }
}
