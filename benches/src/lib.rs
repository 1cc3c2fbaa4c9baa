//! A broker with clients, as the benches need it: bytes in, frames out, nothing in between.
#![forbid(unsafe_code)]

use broker_engine::mqtt_proto::{
    Connect, ConnectProperties, Packet, PacketId, Publish, PublishProperties, QoS, Subscribe,
    SubscribeFilters, SubscribeOptions, TopicName, UserProperties, Version,
};
use broker_engine::{
    Answer, Config, ConnId, ConnIds, Engine, HashKey, Input, ListenerId, Outbox, Seed, Time, Wire,
};

/// An engine whose every client may connect, and whose outputs are looked at and forgotten.
#[derive(Debug)]
pub struct Bench {
    /// The broker.
    pub engine: Engine,
    /// What the last call gave.
    pub out: Outbox,
    ids: ConnIds,
    now: Time,
}

impl Bench {
    /// A broker without clients.
    pub fn new(config: Config) -> Self {
        let engine = Engine::new(config, Seed(1), HashKey([2, 3]));
        Self { engine, out: Outbox::new(), ids: ConnIds::new(), now: Time::from_secs(1) }
    }

    /// One call; its outputs stay until the next one.
    pub fn handle(&mut self, input: Input<'_>) {
        self.out.clear();
        self.engine.handle(self.now, input, &mut self.out);
        for call in std::mem::take(&mut self.out.calls) {
            let input = Input::Reply { call: call.id, answer: Answer::Allow };
            self.engine.handle(self.now, input, &mut self.out);
        }
    }

    /// Bytes from a client.
    pub fn receive(&mut self, conn: ConnId, data: &[u8]) {
        self.handle(Input::Received { conn, data });
    }

    /// Goes on until no sliced work is left; says how many frames left, that of the last call included.
    pub fn settle(&mut self) -> usize {
        let mut frames = frames(&self.out);
        while self.engine.next_deadline().is_some_and(|deadline| deadline.at <= self.now) {
            self.handle(Input::Tick);
            frames += crate::frames(&self.out);
        }
        frames
    }

    /// A client, accepted.
    pub fn connect(&mut self, version: Version, client_id: &str, lasting: bool) -> ConnId {
        self.connect_with(&connect(version, client_id, lasting))
    }

    /// A client that says hello with these bytes, accepted.
    pub fn connect_with(&mut self, hello: &[u8]) -> ConnId {
        let conn = self.ids.allocate();
        self.handle(Input::Opened { conn, listener: ListenerId(0), peer: None });
        self.receive(conn, hello);
        conn
    }

    /// Time passes; nobody is told.
    pub fn wait_micros(&mut self, micros: u64) {
        self.now = Time::from_micros(self.now.as_micros() + micros);
    }

    /// PUBLISH from one client to one other at `a/b/c`, with every acknowledgement on both sides.
    ///
    /// # Panics
    /// Nothing leaves, which no bench means.
    pub fn exchange(&mut self, qos: QoS, packet: &[u8], publisher: ConnId, subscriber: ConnId) {
        self.receive(publisher, packet);
        assert!(!self.out.wire.is_empty());
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => {
                let [high, low] = self.packet_id(subscriber);
                self.receive(subscriber, &[0x40, 2, high, low]);
            }
            QoS::ExactlyOnce => {
                let [high, low] = self.packet_id(subscriber);
                self.receive(subscriber, &[0x50, 2, high, low]);
                self.receive(subscriber, &[0x70, 2, high, low]);
                self.receive(publisher, &[0x62, 2, 0, 1]);
            }
        }
    }

    /// Packet identifier of the only PUBLISH in the outbox, which is for `conn`.
    fn packet_id(&self, conn: ConnId) -> [u8; 2] {
        let bytes = self.out.bytes_for(conn);
        // Fixed header, topic length, topic "a/b/c".
        [bytes[9], bytes[10]]
    }

    /// PUBLISH to many at `a/b/c`, until its last slice is in the outbox. Nobody acknowledges it yet.
    ///
    /// # Panics
    /// It does not leave to each of them, which no bench means.
    pub fn fan_out(&mut self, qos: QoS, packet: &[u8], publisher: ConnId, subscribers: &[ConnId]) {
        self.receive(publisher, packet);
        let acknowledged = usize::from(qos != QoS::AtMostOnce);
        assert_eq!(self.settle(), subscribers.len() + acknowledged);
    }

    /// What the clients of [`Bench::fan_out`] owe for it. All subscribers have seen the same, so all have the same `id`.
    pub fn acknowledge(&mut self, qos: QoS, publisher: ConnId, subscribers: &[ConnId], id: u16) {
        let [high, low] = id.to_be_bytes();
        for conn in subscribers {
            match qos {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => self.receive(*conn, &[0x40, 2, high, low]),
                QoS::ExactlyOnce => {
                    self.receive(*conn, &[0x50, 2, high, low]);
                    self.receive(*conn, &[0x70, 2, high, low]);
                }
            }
        }
        if qos == QoS::ExactlyOnce {
            self.receive(publisher, &[0x62, 2, 0, 1]);
        }
    }

    /// Clients that subscribe to `a/b/c`.
    pub fn subscribers(&mut self, count: usize, qos: QoS) -> Vec<ConnId> {
        let version = Version::V311;
        let numbers = 0..count;
        let subscribed = numbers.map(|number| {
            let conn = self.connect(version, &format!("s{number}"), false);
            self.subscribe(conn, version, "a/b/c", qos);
            conn
        });
        subscribed.collect()
    }

    /// Many topic filters, nine of ten exact, the tenth with a wildcard, of clients with a thousand each; and who publishes
    /// to [`topic`].
    ///
    /// # Panics
    /// Never.
    pub fn with_filters(count: usize) -> (Self, ConnId) {
        let mut bench = Self::new(Config::default());
        let mut subscriber = None;
        for number in 0..count {
            if number.is_multiple_of(1000) {
                subscriber = Some(bench.connect(Version::V311, &format!("s{number}"), false));
            }
            let conn = subscriber.expect("a subscriber");
            bench.subscribe(conn, Version::V311, &filter(number), QoS::AtMostOnce);
        }
        let publisher = bench.connect(Version::V311, "p", false);
        (bench, publisher)
    }

    /// A retained message of 64 bytes for each [`topic`].
    ///
    /// # Panics
    /// Not all are kept, which no bench means.
    pub fn with_retained(count: usize) -> Self {
        let mut bench = Self::new(Config::default());
        let publisher = bench.connect(Version::V311, "p", false);
        for number in 0..count {
            let mut packet = publish(Version::V311, &topic(number), QoS::AtMostOnce, &[b'x'; 64]);
            packet[0] |= 1;
            bench.receive(publisher, &packet);
        }
        assert_eq!(bench.engine.view().retained(), count);
        bench
    }

    /// One more subscription of a client.
    pub fn subscribe(&mut self, conn: ConnId, version: Version, filter: &str, qos: QoS) {
        self.receive(conn, &subscribe(version, filter, qos));
    }
}

fn filter(number: usize) -> String {
    let end = if number.is_multiple_of(10) { "+" } else { "temperature" };
    format!("site/{}/device/{number}/{end}", number % 97)
}

/// The topic name that the filter of this number matches, and no other of [`Bench::with_filters`].
pub fn topic(number: usize) -> String {
    format!("site/{}/device/{number}/temperature", number % 97)
}

/// Frames in an outbox, each copy of a fan-out counted.
pub fn frames(out: &Outbox) -> usize {
    let frames = out.wire.iter().map(|wire| match wire {
        Wire::Send { .. } => 1,
        Wire::Fanout { targets, .. } => targets.len(),
        _ => 0,
    });
    frames.sum()
}

/// A packet as a client sends it.
///
/// # Panics
/// The packet cannot be encoded.
pub fn encode(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).expect("a packet that can be encoded");
    bytes
}

/// CONNECT; a lasting session expires after an hour.
pub fn connect(version: Version, client_id: &str, lasting: bool) -> Vec<u8> {
    let expiry = (lasting && version == Version::V5).then_some(3600);
    let packet = Packet::Connect(Connect {
        version,
        client_id,
        clean_start: !lasting,
        keep_alive: 60,
        username: None,
        password: None,
        will: None,
        properties: ConnectProperties { session_expiry_interval: expiry, ..Default::default() },
    });
    encode(version, &packet)
}

/// SUBSCRIBE to one topic filter.
pub fn subscribe(version: Version, filter: &str, qos: QoS) -> Vec<u8> {
    let filters = [(filter, SubscribeOptions { qos, ..Default::default() })];
    let packet = Packet::Subscribe(Subscribe {
        packet_id: PacketId::FIRST,
        subscription_id: None,
        user_properties: UserProperties::default(),
        filters: SubscribeFilters::List(&filters),
    });
    encode(version, &packet)
}

/// PUBLISH, with packet identifier 1 where there is one.
///
/// # Panics
/// The topic name is none.
pub fn publish(version: Version, topic: &str, qos: QoS, payload: &[u8]) -> Vec<u8> {
    let packet = Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(TopicName::parse(topic).expect("a topic name")),
        packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::FIRST),
        properties: PublishProperties::default(),
        payload,
    });
    encode(version, &packet)
}
