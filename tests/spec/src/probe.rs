//! One connection in a given state, and what it gets for its bytes: what tables of answers are made with.

use crate::Version;
use crate::engine::EngineTransport;
use crate::run::{Patience, Transport};
use crate::wire::encode;
use broker_engine::{Answer, ConnId};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing was sent.
    BeforeConnect,
    /// CONNECT was sent, and nobody has said yet whether the client may connect.
    Asked,
    /// The client was asked for the next AUTH of its first exchange.
    Exchange,
    /// CONNACK has come.
    Connected,
    /// CONNACK has come at the end of an exchange, so the client may authenticate again.
    Authenticated,
}

/// A connection of its own broker.
#[derive(Debug)]
pub struct Probe {
    /// The broker.
    pub broker: EngineTransport,
    /// The connection.
    pub conn: ConnId,
    version: Version,
}

impl Probe {
    /// A client with clean start that has come to this state.
    pub fn new(state: State, version: Version) -> Self {
        let mut broker = EngineTransport::new(&[]);
        if !matches!(state, State::BeforeConnect | State::Connected) {
            broker = broker.that_holds_questions();
        }
        let conn = broker.open();
        let mut probe = Self { broker, conn, version };
        match state {
            State::BeforeConnect => {}
            State::Asked | State::Connected => probe.say("CONNECT c clean"),
            State::Exchange => {
                probe.say("CONNECT c clean authentication-method=m");
                probe.broker.reply(&Answer::Continue(Vec::new()));
            }
            State::Authenticated => {
                probe.say("CONNECT c clean authentication-method=m");
                probe.broker.reply(&Answer::AllowWith(Vec::new()));
            }
        }
        probe.broker.receive(&mut probe.conn, &mut Vec::new(), Patience::Short);
        probe
    }

    /// Sends a packet in the language of [`crate::wire`].
    pub fn say(&mut self, line: &str) {
        self.send(&encode(line, self.version));
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.broker.send(&mut self.conn, bytes);
    }

    /// What has come since the last time, in words.
    pub fn answer(&mut self) -> String {
        self.broker.answer(self.conn, self.version)
    }

    /// The same in few letters: the reason code with which the connection ends, `x` where it is refused without one,
    /// `bye` where it ends as the client asked, and `ok` where it goes on.
    pub fn verdict(&mut self) -> String {
        let answer = self.answer();
        match answer.strip_suffix("closed") {
            None => "ok".into(),
            Some("") if self.broker.view().counters().protocol_errors == 0 => "bye".into(),
            Some("") => "x".into(),
            Some(packets) => packets.trim_end_matches(", ").rsplit(' ').next().unwrap_or_default().into(),
        }
    }
}
