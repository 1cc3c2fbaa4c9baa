//! A broker under test, driven by packets and read as text: `PUBLISH q1 #1 a/b hello`.
#![allow(dead_code, unreachable_pub)] // Shared by several test programs, each of which uses its part.

use broker_engine::{
    Answer, Boot, BootReport, Call, CloseCause, Config, ConnId, ConnIds, DropReason, Engine, Flow, HashKey,
    Input, Interest, ListenerId, MemoryStore, Note, Outbox, Seed, StoreOp, StoreSeq, Time, Wire,
};
use mqtt_proto::{
    Ack, AckProperties, Connect, ConnectProperties, Disconnect, DisconnectProperties, Limits, Packet,
    PacketId, Publish, PublishProperties, QoS, ReasonCode, Subscribe, SubscribeFilters, SubscribeOptions,
    TopicName, Unsubscribe, UnsubscribeFilters, UserProperties, Version, Will, WillProperties,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Engine, clock and what every client has received and not been asked for yet.
pub struct World {
    pub engine: Engine,
    pub now: Time,
    ids: ConnIds,
    versions: BTreeMap<ConnId, Version>,
    inboxes: BTreeMap<ConnId, Vec<u8>>,
    closed: BTreeMap<ConnId, bool>,
    /// Clients whose reads are paused.
    pub paused: BTreeSet<ConnId>,
    /// Questions are kept here instead of being allowed at once.
    pub hold_questions: bool,
    pub questions: Vec<Call>,
    pub store: MemoryStore,
    /// Pages are kept here instead of being given at once.
    pub hold_pages: bool,
    pub pages: Vec<(StoreSeq, StoreOp)>,
    /// Operations are kept without saying so at once.
    pub hold_stored: bool,
    pub stored: StoreSeq,
    /// So many more batches are kept, and none behind them; `None` is all.
    pub batches_left: Option<usize>,
    /// Batches that were kept.
    pub batches: usize,
    /// What was told of dropped messages: reason, client identifier, topic.
    pub drops: Vec<(DropReason, String, String)>,
}

impl World {
    pub fn new(config: Config) -> Self {
        Self {
            engine: Engine::new(
                Config { interest: config.interest | Interest::DROPS, ..config },
                Seed(7),
                HashKey([1, 2]),
            ),
            now: Time::from_secs(1),
            ids: ConnIds::new(),
            versions: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            closed: BTreeMap::new(),
            paused: BTreeSet::new(),
            hold_questions: false,
            questions: Vec::new(),
            store: MemoryStore::new(),
            hold_pages: false,
            pages: Vec::new(),
            hold_stored: false,
            stored: StoreSeq(0),
            batches_left: None,
            batches: 0,
            drops: Vec::new(),
        }
    }

    pub fn handle(&mut self, input: Input<'_>) {
        let (counted, told) = (self.engine.view().counters().dropped, self.drops.len());
        let mut out = Outbox::new();
        self.engine.handle(self.now, input, &mut out);
        loop {
            self.engine.view().verify().expect("the engine's own accounts add up");
            for conn in self.versions.keys() {
                self.inboxes.entry(*conn).or_default().extend(out.bytes_for(*conn));
                if out.closes(*conn) {
                    self.closed.insert(*conn, true);
                }
            }
            assert!(
                !out.wire
                    .iter()
                    .any(|wire| matches!(wire, Wire::Close { conn } if !self.versions.contains_key(conn)))
            );
            for wire in &out.wire {
                match wire {
                    Wire::Flow { conn, flow: Flow::Pause } => assert!(self.paused.insert(*conn)),
                    Wire::Flow { conn, flow: Flow::Resume } => assert!(self.paused.remove(conn)),
                    _ => {}
                }
            }
            for note in std::mem::take(&mut out.notes) {
                if let Note::MessageDropped { client_id, topic, reason } = note {
                    self.drops.push((reason, client_id, topic));
                }
            }
            let calls = std::mem::take(&mut out.calls);
            let stores = std::mem::take(&mut out.stores);
            out.clear();
            if self.hold_questions {
                self.questions.extend(calls);
            } else {
                for call in calls {
                    self.engine.handle(
                        self.now,
                        Input::Reply { call: call.id, answer: Answer::Allow },
                        &mut out,
                    );
                }
            }
            for (seq, op) in self.kept(stores) {
                if self.hold_pages && matches!(op, StoreOp::Fetch { .. }) {
                    self.pages.push((seq, op));
                } else if let Some(deliveries) = self.store.apply(self.now, op) {
                    self.engine.handle(self.now, Input::Loaded { fetch: seq, deliveries }, &mut out);
                }
                self.stored = seq;
                if !self.hold_stored {
                    self.engine.handle(self.now, Input::Stored { upto: seq }, &mut out);
                }
            }
            if out.is_empty() {
                return self.each_drop_is_told(counted, told);
            }
        }
    }

    /// One batch, of which the store keeps everything or nothing.
    fn kept(&mut self, batch: Vec<(StoreSeq, StoreOp)>) -> Vec<(StoreSeq, StoreOp)> {
        if batch.is_empty() || self.batches_left == Some(0) {
            return Vec::new();
        }
        self.batches += 1;
        self.batches_left = self.batches_left.map(|left| left - 1);
        batch
    }

    /// The process ends without a word, and another one begins with what the store has.
    pub fn restart(&mut self) -> BootReport {
        let records: Vec<StoreOp> = self.store.records(self.now).collect();
        self.boot(records)
    }

    /// Another process begins with these records.
    pub fn boot(&mut self, records: Vec<StoreOp>) -> BootReport {
        let config = self.engine.view().config().clone();
        let mut boot = Boot::new(config, Seed(8), HashKey([3, 4]), self.now);
        for record in records {
            boot.push(record);
        }
        let (engine, report) = boot.finish();
        self.engine = engine;
        for conn in self.versions.keys() {
            self.closed.insert(*conn, true);
        }
        (self.hold_stored, self.stored, self.batches_left) = (false, StoreSeq(0), None);
        self.paused.clear();
        self.inboxes.clear();
        self.handle(Input::Tick);
        report
    }

    /// What was counted since is what was told since.
    fn each_drop_is_told(&self, counted: [u64; DropReason::ALL.len()], told: usize) {
        for (reason, before) in DropReason::ALL.into_iter().zip(counted) {
            let notes = self.drops[told..].iter().filter(|(other, _, _)| *other == reason).count();
            assert_eq!(self.dropped(reason) - before, notes as u64, "{reason:?}: counted, told");
        }
    }

    pub fn answer(&mut self, answer: Answer) {
        let call = self.questions.remove(0);
        self.handle(Input::Reply { call: call.id, answer });
    }

    /// Says that every operation so far is kept, from now on at once.
    pub fn release_stored(&mut self) {
        self.hold_stored = false;
        self.handle(Input::Stored { upto: self.stored });
    }

    /// Gives the page that was asked for first.
    pub fn give_page(&mut self) {
        let (fetch, op) = self.pages.remove(0);
        let deliveries = self.store.apply(self.now, op).expect("a page");
        self.handle(Input::Loaded { fetch, deliveries });
    }

    /// Lets time pass, firing everything on its way at its own time.
    pub fn wait(&mut self, seconds: u32) {
        self.wait_ms(u64::from(seconds) * 1000);
    }

    /// The same in milliseconds.
    pub fn wait_ms(&mut self, milliseconds: u64) {
        let until = self.now.after(Duration::from_millis(milliseconds));
        while let Some(deadline) = self.engine.next_deadline().filter(|deadline| deadline.at <= until) {
            self.now = deadline.at;
            self.handle(Input::Tick);
        }
        self.now = until;
        self.handle(Input::Tick);
    }

    /// Finishes sliced work.
    pub fn settle(&mut self) {
        while self.engine.next_deadline().is_some_and(|deadline| deadline.at <= self.now) {
            self.handle(Input::Tick);
        }
    }

    pub fn open(&mut self, version: Version) -> ConnId {
        let conn = self.ids.allocate();
        self.versions.insert(conn, version);
        self.handle(Input::Opened { conn, listener: ListenerId(0), peer: None });
        conn
    }

    pub fn bytes(&mut self, conn: ConnId, data: &[u8]) {
        self.handle(Input::Received { conn, data });
    }

    pub fn send(&mut self, conn: ConnId, packet: &Packet<'_>) {
        self.bytes(conn, &encoded(packet, self.versions[&conn]));
    }

    /// The client's transport breaks.
    pub fn cut(&mut self, conn: ConnId) {
        self.handle(Input::Closed { conn, cause: CloseCause::Fault });
    }

    pub fn is_closed(&self, conn: ConnId) -> bool {
        self.closed.contains_key(&conn)
    }

    /// Takes what a client has received so far, as it is on the wire.
    pub fn take_bytes(&mut self, conn: ConnId) -> Vec<u8> {
        self.inboxes.remove(&conn).unwrap_or_default()
    }

    /// Takes what a client has received so far.
    pub fn take(&mut self, conn: ConnId) -> Vec<String> {
        let bytes = self.take_bytes(conn);
        let mut lines = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (packet, len) = Packet::parse(rest, self.versions[&conn], &Limits::NONE)
                .expect("valid output")
                .expect("whole packets");
            lines.push(render(&packet));
            rest = &rest[len..];
        }
        if self.closed.contains_key(&conn) {
            lines.push("closed".into());
        }
        lines
    }

    #[track_caller]
    pub fn expect(&mut self, conn: ConnId, wanted: &[&str]) {
        assert_eq!(self.take(conn), wanted);
    }

    pub fn connect_with(&mut self, connect: &Connect<'_>) -> ConnId {
        let conn = self.open(connect.version);
        self.send(conn, &Packet::Connect(connect.clone()));
        conn
    }

    /// A client whose session lasts, and whose CONNACK is read already.
    pub fn persistent(&mut self, version: Version, client_id: &str) -> ConnId {
        let conn = self.connect_with(&lasting(version, client_id));
        assert!(self.take(conn)[0].starts_with("CONNACK Success"));
        conn
    }

    /// A client whose session ends with it, and whose CONNACK is read already.
    pub fn client(&mut self, version: Version, client_id: &str) -> ConnId {
        let conn = self.connect_with(&clean(version, client_id));
        assert!(self.take(conn)[0].starts_with("CONNACK Success"));
        conn
    }

    pub fn subscribe(&mut self, conn: ConnId, filter: &str, qos: QoS) {
        self.subscribe_with(conn, filter, SubscribeOptions { qos, ..Default::default() }, None);
        let answer = self.take(conn);
        assert!(answer[0].starts_with("SUBACK #9"), "{answer:?}");
    }

    pub fn subscribe_with(&mut self, conn: ConnId, filter: &str, options: SubscribeOptions, id: Option<u32>) {
        self.send(
            conn,
            &Packet::Subscribe(Subscribe {
                packet_id: id_of(9),
                subscription_id: id,
                user_properties: UserProperties::default(),
                filters: SubscribeFilters::List(&[(filter, options)]),
            }),
        );
    }

    pub fn unsubscribe(&mut self, conn: ConnId, filter: &str) {
        self.send(
            conn,
            &Packet::Unsubscribe(Unsubscribe {
                packet_id: id_of(8),
                user_properties: UserProperties::default(),
                filters: UnsubscribeFilters::List(&[filter]),
            }),
        );
    }

    pub fn publish(&mut self, conn: ConnId, topic: &str, payload: &str, qos: QoS, id: u16) {
        self.publish_with(conn, &message(topic, payload, qos, id));
    }

    pub fn publish_with(&mut self, conn: ConnId, publish: &Publish<'_>) {
        self.send(conn, &Packet::Publish(publish.clone()));
    }

    pub fn ack(&mut self, conn: ConnId, kind: impl Fn(Ack<'static>) -> Packet<'static>, id: u16) {
        self.ack_with(conn, kind, id, ReasonCode::Success);
    }

    pub fn ack_with(
        &mut self,
        conn: ConnId,
        kind: impl Fn(Ack<'static>) -> Packet<'static>,
        id: u16,
        reason: ReasonCode,
    ) {
        self.send(conn, &kind(Ack { packet_id: id_of(id), reason, properties: AckProperties::default() }));
    }

    pub fn disconnect(&mut self, conn: ConnId, reason: ReasonCode) {
        self.send(
            conn,
            &Packet::Disconnect(Disconnect { reason, properties: DisconnectProperties::default() }),
        );
    }

    /// Everything that grows with clients: transports, sessions, subscriptions, messages, timers, bytes of input.
    pub fn held(&self) -> [usize; 6] {
        let view = self.engine.view();
        let (transports, sessions, subscriptions) =
            (view.transports(), view.sessions(), view.subscriptions());
        [transports, sessions, subscriptions, view.messages(), view.timers(), view.input_bytes()]
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.engine.view().counters().dropped_for(reason)
    }
}

/// A packet's bytes.
pub fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).unwrap();
    bytes
}

pub fn id_of(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

pub fn clean(version: Version, client_id: &str) -> Connect<'_> {
    Connect {
        version,
        client_id,
        clean_start: true,
        keep_alive: 0,
        username: None,
        password: None,
        will: None,
        properties: ConnectProperties::default(),
    }
}

pub fn lasting(version: Version, client_id: &str) -> Connect<'_> {
    let mut connect = Connect { clean_start: false, ..clean(version, client_id) };
    if version == Version::V5 {
        connect.properties.session_expiry_interval = Some(600);
    }
    connect
}

/// A will to `will` that says `gone`.
pub fn will() -> Will<'static> {
    Will {
        topic: TopicName::parse("will").unwrap(),
        payload: b"gone",
        qos: QoS::AtMostOnce,
        retain: false,
        properties: WillProperties::default(),
    }
}

pub fn message<'a>(topic: &'a str, payload: &'a str, qos: QoS, id: u16) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: (!topic.is_empty()).then(|| TopicName::parse(topic).unwrap()),
        packet_id: (qos != QoS::AtMostOnce).then(|| id_of(id)),
        properties: PublishProperties::default(),
        payload: payload.as_bytes(),
    }
}

/// Method and data of an authentication, each with a space in front.
fn exchange(method: Option<&str>, data: Option<&[u8]>) -> String {
    let method = method.map(|method| format!(" method={method}")).unwrap_or_default();
    let data = data.map(|data| format!(" data={}", String::from_utf8_lossy(data))).unwrap_or_default();
    method + &data
}

/// A packet as one line.
pub fn render(packet: &Packet<'_>) -> String {
    let ack = |name: &str, ack: &Ack<'_>| match ack.reason {
        ReasonCode::Success => format!("{name} #{}", ack.packet_id.get()),
        reason => format!("{name} #{} {}", ack.packet_id.get(), reason.name()),
    };
    match packet {
        Packet::ConnAck(packet) => {
            let present = if packet.session_present { " present" } else { "" };
            let p = &packet.properties;
            let assigned = p.assigned_client_id.map(|id| format!(" id={id}")).unwrap_or_default();
            let auth = exchange(p.authentication_method, p.authentication_data);
            format!("CONNACK {}{present}{assigned}{auth}", packet.reason.name())
        }
        Packet::Publish(publish) => {
            let mut line = format!("PUBLISH q{}", publish.qos as u8);
            line += &publish.packet_id.map(|id| format!(" #{}", id.get())).unwrap_or_default();
            line += if publish.dup { " dup" } else { "" };
            line += if publish.retain { " retain" } else { "" };
            let p = &publish.properties;
            line += &p.topic_alias.map(|alias| format!(" alias={alias}")).unwrap_or_default();
            line += &p.message_expiry_interval.map(|left| format!(" expires={left}")).unwrap_or_default();
            for id in p.subscription_ids.iter() {
                line.extend([" sub=", &id.to_string()]);
            }
            for (name, value) in p.user_properties.iter() {
                line.extend([" ", name, "=", value]);
            }
            let payload = String::from_utf8_lossy(publish.payload);
            format!("{line} {} {payload}", publish.topic.map_or("-", TopicName::as_str))
        }
        Packet::PubAck(packet) => ack("PUBACK", packet),
        Packet::PubRec(packet) => ack("PUBREC", packet),
        Packet::PubRel(packet) => ack("PUBREL", packet),
        Packet::PubComp(packet) => ack("PUBCOMP", packet),
        Packet::SubAck(packet) => {
            let codes: Vec<_> = packet.reasons.iter().map(|code| format!("{:02x}", code as u8)).collect();
            format!("SUBACK #{} {}", packet.packet_id.get(), codes.join(" "))
        }
        Packet::UnsubAck(packet) => {
            let codes: Vec<_> = packet.reasons.iter().map(|code| format!(" {:02x}", code as u8)).collect();
            format!("UNSUBACK #{}{}", packet.packet_id.get(), codes.concat())
        }
        Packet::PingResp => "PINGRESP".into(),
        Packet::Disconnect(packet) => format!("DISCONNECT {}", packet.reason.name()),
        Packet::Auth(packet) => {
            let p = &packet.properties;
            let auth = exchange(p.authentication_method, p.authentication_data);
            let words = p.reason_string.map(|_| " with a reason string").unwrap_or_default();
            let pairs = if p.user_properties.is_empty() { "" } else { " with user properties" };
            format!("AUTH {}{auth}{words}{pairs}", packet.reason.name())
        }
        other => format!("{other:?}"),
    }
}
