//! The pure engine as a transport: time is virtual.

use crate::Version;
use crate::authentication::Authentication;
use crate::render::decode;
use crate::run::{Patience, Transport};
use crate::trace::Case;
use broker_engine::{
    Answer, CallId, CloseCause, Command, Config, ConnId, ConnIds, Engine, HashKey, Input, ListenerId,
    MemoryStore, Outbox, Seed, Time, View,
};
use std::collections::BTreeMap;

/// An engine and what it sent to each connection.
#[derive(Debug)]
pub struct EngineTransport {
    engine: Engine,
    store: MemoryStore,
    ids: ConnIds,
    now: Time,
    sent: BTreeMap<ConnId, Sent>,
    /// With `None` what is asked waits for [`EngineTransport::reply`].
    authentication: Option<Authentication>,
    questions: Vec<CallId>,
}

#[derive(Debug, Default)]
struct Sent {
    bytes: Vec<u8>,
    closed: bool,
}

impl EngineTransport {
    /// A broker with these limits, as lines of TOML, where everybody may connect.
    ///
    /// # Panics
    /// The limits are not understood.
    pub fn new(limits: &[String]) -> Self {
        let config: Config = toml::from_str(&limits.join("\n")).expect("limits of the broker");
        Self {
            engine: Engine::new(config, Seed(1), HashKey([2, 3])),
            store: MemoryStore::new(),
            ids: ConnIds::new(),
            now: Time::from_secs(1),
            sent: BTreeMap::new(),
            authentication: Some(Authentication::AllowAll),
            questions: Vec::new(),
        }
    }

    /// The broker that a case asks for.
    pub fn of(case: &Case) -> Self {
        Self { authentication: Some(case.authentication), ..Self::new(&case.limits) }
    }

    /// The same, with questions that wait until they are answered.
    #[must_use]
    pub fn that_holds_questions(self) -> Self {
        Self { authentication: None, ..self }
    }

    /// The same, at a later hour of its clock.
    #[must_use]
    pub fn at(self, now: Time) -> Self {
        Self { now, ..self }
    }

    /// Answers all questions that wait.
    pub fn reply(&mut self, answer: &Answer) {
        for call in std::mem::take(&mut self.questions) {
            self.handle(Input::Reply { call, answer: answer.clone() });
        }
        self.tick_until(self.now);
    }

    /// An operator's command.
    pub fn command(&mut self, command: Command) {
        self.handle(Input::Command(command));
        self.tick_until(self.now);
    }

    /// What the engine says of itself.
    pub fn view(&self) -> View<'_> {
        self.engine.view()
    }

    /// What came to a connection, and how it ended, as one line without what is meant for people.
    ///
    /// # Panics
    /// What came are no whole packets.
    pub fn answer(&mut self, conn: ConnId, version: Version) -> String {
        let sent = self.sent.get_mut(&conn).expect("a connection");
        let mut words = Vec::new();
        while let Some((len, text)) = decode(&sent.bytes, version).expect("whole packets") {
            sent.bytes.drain(..len);
            let text = text.split(" reason-string=").next().unwrap_or_default();
            // The properties of CONNACK are shown elsewhere.
            let text = if text.starts_with("CONNACK") { &text[..10] } else { text };
            words.push(text.to_owned());
        }
        assert!(sent.bytes.is_empty(), "whole packets");
        if sent.closed {
            words.push("closed".into());
        }
        if words.is_empty() { "-".into() } else { words.join(", ") }
    }

    fn handle(&mut self, input: Input<'_>) {
        let mut out = Outbox::new();
        self.engine.handle(self.now, input, &mut out);
        while !out.is_empty() {
            for (conn, sent) in &mut self.sent {
                sent.bytes.extend(out.bytes_for(*conn));
                sent.closed |= out.closes(*conn);
            }
            let (calls, stores) = (std::mem::take(&mut out.calls), std::mem::take(&mut out.stores));
            out.clear();
            for call in calls {
                if let Some(authentication) = self.authentication {
                    let answer = authentication.answer(&call.question);
                    self.engine.handle(self.now, Input::Reply { call: call.id, answer }, &mut out);
                } else {
                    self.questions.push(call.id);
                }
            }
            for (seq, op) in stores {
                if let Some(deliveries) = self.store.apply(self.now, op) {
                    self.engine.handle(self.now, Input::Loaded { fetch: seq, deliveries }, &mut out);
                }
                self.engine.handle(self.now, Input::Stored { upto: seq }, &mut out);
            }
        }
        self.engine.view().verify().expect("the engine's own accounts add up");
    }

    /// Fires everything that is due by `until`, each at its own time.
    fn tick_until(&mut self, until: Time) {
        while let Some(deadline) = self.engine.next_deadline().filter(|deadline| deadline.at <= until) {
            self.now = self.now.max(deadline.at);
            self.handle(Input::Tick);
        }
        self.now = until;
    }
}

impl Transport for EngineTransport {
    type Conn = ConnId;

    fn open(&mut self) -> ConnId {
        let conn = self.ids.allocate();
        self.sent.insert(conn, Sent::default());
        self.handle(Input::Opened { conn, listener: ListenerId(0), peer: None });
        conn
    }

    /// Also on a connection that is closed: a host may still have bytes of it in its hands.
    fn send(&mut self, conn: &mut ConnId, bytes: &[u8]) {
        self.handle(Input::Received { conn: *conn, data: bytes });
        self.tick_until(self.now);
    }

    fn receive(&mut self, conn: &mut ConnId, into: &mut Vec<u8>, _: Patience) -> bool {
        let Some(sent) = self.sent.get_mut(conn) else { return true };
        into.append(&mut sent.bytes);
        sent.closed
    }

    fn cut(&mut self, conn: ConnId) {
        if !self.sent[&conn].closed {
            self.handle(Input::Closed { conn, cause: CloseCause::Fault });
        }
        self.tick_until(self.now);
    }

    fn wait(&mut self, millis: u64) {
        self.tick_until(Time::from_micros(self.now.as_micros() + millis * 1000));
    }

    fn finish(&mut self) -> Result<(), String> {
        self.engine.view().verify().map_err(str::to_owned)
    }
}
