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
        let conn = self.ids.allocate();
        self.handle(Input::Opened { conn, listener: ListenerId(0), peer: None });
        self.receive(conn, &connect(version, client_id, lasting));
        conn
    }

    /// One more subscription of a client.
    pub fn subscribe(&mut self, conn: ConnId, version: Version, filter: &str, qos: QoS) {
        self.receive(conn, &subscribe(version, filter, qos));
    }
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
