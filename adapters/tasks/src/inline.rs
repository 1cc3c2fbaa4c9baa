//! Clients inside the program.

use crate::handle::{Order, Orders};
use broker_engine::mqtt_proto::{
    Connect, ConnectProperties, EncodeError, Packet, PacketId, Publish, ReasonCode, Subscribe,
    SubscribeFilters, SubscribeOptions, Unsubscribe, UnsubscribeFilters, UserProperties, Version,
};
use broker_engine::{ConnId, ListenerId};
use metronome_host::{InjectError, PacketHandler};
use std::fmt;
use std::sync::mpsc::{Receiver, channel};

/// The listener that it seems to come from: none of those that listen.
const LISTENER: ListenerId = ListenerId(u16::MAX);

/// An MQTT 5 client without a socket. It lives until it is dropped; its session ends with it.
pub struct InlineClient {
    orders: Orders,
    conn: ConnId,
    client_id: String,
    answers: Receiver<Answer>,
}

/// What the broker answers to CONNECT, SUBSCRIBE and UNSUBSCRIBE.
enum Answer {
    Connected(ReasonCode, Option<String>),
    Filter(ReasonCode),
    Gone(ReasonCode),
}

/// Why something came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InlineError {
    /// The broker refuses it, or has disconnected the client, for this reason.
    Refused(ReasonCode),
    /// The client that is meant cannot take it now.
    Inject(InjectError),
    /// It is no packet.
    Packet(EncodeError),
    /// The broker has stopped, or the client was disconnected without a word.
    Stopped,
}

impl fmt::Display for InlineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "refused: {}", reason.name()),
            Self::Inject(InjectError::Busy) => f.write_str("the client is in the middle of a packet"),
            Self::Inject(_) => f.write_str("the client is not connected"),
            Self::Packet(error) => error.fmt(f),
            Self::Stopped => f.write_str("the broker has stopped, or the client is disconnected"),
        }
    }
}

impl std::error::Error for InlineError {}

impl From<InjectError> for InlineError {
    fn from(error: InjectError) -> Self {
        Self::Inject(error)
    }
}

impl InlineClient {
    pub(crate) fn connect(
        orders: Orders,
        client_id: &str,
        mut on_message: impl FnMut(&Publish<'_>) + Send + 'static,
    ) -> Result<Self, InlineError> {
        let (tell, answers) = channel();
        let handle: PacketHandler = Box::new(move |packet| {
            let answer = match packet {
                Packet::Publish(message) => return on_message(message),
                Packet::ConnAck(connack) => {
                    let assigned = connack.properties.assigned_client_id.map(ToOwned::to_owned);
                    Answer::Connected(connack.reason, assigned)
                }
                Packet::SubAck(acknowledged) => Answer::Filter(first(acknowledged.reasons.iter())),
                Packet::UnsubAck(acknowledged) => Answer::Filter(first(acknowledged.reasons.iter())),
                Packet::Disconnect(disconnect) => Answer::Gone(disconnect.reason),
                _ => return,
            };
            // Whoever waited may have gone.
            let _gone = tell.send(answer);
        });
        let connect = encode(&Packet::Connect(Connect {
            version: Version::V5,
            client_id,
            clean_start: true,
            keep_alive: 0,
            username: None,
            password: None,
            will: None,
            properties: ConnectProperties::default(),
        }))?;
        let opened = orders.ask(move |driver, now| {
            let conn = driver.open_inline(now, LISTENER, handle);
            driver.send_inline(now, conn, &connect).map(|()| conn)
        });
        let conn = opened.ok_or(InlineError::Stopped)??;
        let mut client = Self { orders, conn, client_id: client_id.to_owned(), answers };
        match client.answers.recv() {
            Ok(Answer::Connected(ReasonCode::Success, assigned)) => {
                client.client_id = assigned.unwrap_or(client.client_id.clone());
                Ok(client)
            }
            Ok(Answer::Connected(reason, _) | Answer::Gone(reason)) => Err(InlineError::Refused(reason)),
            Ok(Answer::Filter(_)) | Err(_) => Err(InlineError::Stopped),
        }
    }

    /// Its client identifier, also where the broker has assigned it.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Subscribes; returns the QoS that is granted, as a reason code. Blocks the thread, so neither a hook nor a handler of
    /// messages must call it.
    ///
    /// # Errors
    /// The broker refuses it, or has disconnected the client.
    pub fn subscribe(&mut self, filter: &str, options: SubscribeOptions) -> Result<ReasonCode, InlineError> {
        let filters = [(filter, options)];
        self.ask(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::FIRST,
            subscription_id: None,
            user_properties: UserProperties::default(),
            filters: SubscribeFilters::List(&filters),
        }))
    }

    /// Unsubscribes. Blocks the thread, as [`InlineClient::subscribe`] does.
    ///
    /// # Errors
    /// The broker has disconnected the client.
    pub fn unsubscribe(&mut self, filter: &str) -> Result<ReasonCode, InlineError> {
        let filters = [filter];
        self.ask(&Packet::Unsubscribe(Unsubscribe {
            packet_id: PacketId::FIRST,
            user_properties: UserProperties::default(),
            filters: UnsubscribeFilters::List(&filters),
        }))
    }

    /// Sends any packet, such as a PUBLISH. Acknowledgements of messages to it are sent by itself. Blocks the thread, as
    /// [`InlineClient::subscribe`] does.
    ///
    /// # Errors
    /// It is no packet, or the client is disconnected.
    pub fn send(&self, packet: &Packet<'_>) -> Result<(), InlineError> {
        let (conn, bytes) = (self.conn, encode(packet)?);
        let sent = self.orders.ask(move |driver, now| driver.send_inline(now, conn, &bytes));
        Ok(sent.ok_or(InlineError::Stopped)??)
    }

    /// Sends a packet whose answer has one reason code. There is never more than one of them on its way.
    fn ask(&mut self, packet: &Packet<'_>) -> Result<ReasonCode, InlineError> {
        self.send(packet)?;
        match self.answers.recv() {
            Ok(Answer::Filter(reason)) if !reason.is_error() => Ok(reason),
            Ok(Answer::Filter(reason) | Answer::Connected(reason, _) | Answer::Gone(reason)) => {
                Err(InlineError::Refused(reason))
            }
            Err(_) => Err(InlineError::Stopped),
        }
    }
}

fn encode(packet: &Packet<'_>) -> Result<Vec<u8>, InlineError> {
    let mut bytes = Vec::new();
    packet.encode(Version::V5, &mut bytes).map_err(InlineError::Packet)?;
    Ok(bytes)
}

fn first(mut reasons: impl Iterator<Item = ReasonCode>) -> ReasonCode {
    reasons.next().unwrap_or(ReasonCode::UnspecifiedError)
}

impl Drop for InlineClient {
    fn drop(&mut self) {
        let conn = self.conn;
        // DISCONNECT, unless it is gone already. The thread of the broker may drop it too, with a handler or a hook, and cannot
        // wait for room that only itself makes.
        self.orders.give_from_anywhere(Order::Do(Box::new(move |driver, now| {
            let _gone = driver.send_inline(now, conn, &[0xe0, 0]);
        })));
    }
}

impl fmt::Debug for InlineClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineClient").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}
