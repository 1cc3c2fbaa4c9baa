//! Clients: what they do, what they keep for their sessions, and how they answer. They keep to the protocol; bytes
//! that do not are an operation of their own.

use super::{Event, World};
use crate::check::Violation;
use crate::scenario::{Acks, Client, Filter, Message, Scenario, What};
use broker_engine::{Command, Input};
use mqtt_proto::{
    Ack, AckProperties, ConnAck, Connect, ConnectProperties, Disconnect, DisconnectProperties, Limits,
    Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, RetainHandling, Subscribe,
    SubscribeFilters, SubscribeOptions, TopicName, Unsubscribe, UnsubscribeFilters, UserProperties, Version,
    WillProperties,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a client has in mind.
#[derive(Clone, Debug)]
pub(crate) enum Wake {
    /// Connect again, unless it has a connection by then.
    Reconnect,
    /// Ping if nothing was sent on this connection in time.
    KeepAlive(usize),
    /// Acknowledge, if this connection is still there.
    Acknowledge(usize, Vec<u8>),
}

/// A client's connection.
#[derive(Debug, Default)]
pub(super) struct Player {
    link: Option<usize>,
    online: bool,
    inbox: Vec<u8>,
    /// What the CONNACK said.
    quota: u16,
    maximum_qos: u8,
    retain_available: bool,
    /// Messages that wait for quota.
    waiting: VecDeque<(u32, Message)>,
    /// Acknowledgements that are held back until the world heals.
    held: Vec<Vec<u8>>,
    last_sent: u64,
    /// Its place in the session's state on the client's side.
    local: usize,
    /// It is the first of those who share its identifier.
    first: bool,
}

impl Player {
    /// Without a connection.
    fn offline(&self) -> Self {
        Self { local: self.local, first: self.first, ..Self::default() }
    }
}

impl Player {
    /// It has a connection, whether that was accepted yet or not.
    pub(super) fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Its connection was accepted.
    pub(super) fn is_online(&self) -> bool {
        self.online
    }
}

/// What a client keeps for its session; clients of the same identifier share it.
#[derive(Debug, Default)]
pub(super) struct Local {
    last_id: u16,
    /// Own messages that are not acknowledged, in the order of sending.
    unacked: BTreeMap<u64, Unacked>,
    sent: u64,
    /// Packet identifiers of SUBSCRIBE and UNSUBSCRIBE that wait for their answer.
    asked: BTreeSet<u16>,
    /// QoS 2 messages that were received and not released.
    received: BTreeSet<u16>,
}

#[derive(Debug)]
struct Unacked {
    id: u16,
    number: u32,
    message: Message,
    /// PUBREC came: only PUBREL is sent again.
    released: bool,
    /// Sent on this connection.
    link: usize,
}

pub(super) fn players(scenario: &Scenario) -> (Vec<Player>, Vec<Local>) {
    let mut players = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for client in &scenario.clients {
        let next = places.len();
        let local = *places.entry(&client.id).or_insert(next);
        players.push(Player { local, first: local == next, ..Player::default() });
    }
    (players, places.iter().map(|_| Local::default()).collect())
}

pub(super) fn version_of(client: &Client) -> Version {
    match client.version {
        3 => Version::V31,
        4 => Version::V311,
        _ => Version::V5,
    }
}

impl World<'_> {
    fn spec(&self, client: usize) -> &Client {
        &self.scenario.clients[client]
    }

    pub(super) fn operate(&mut self, client: usize, what: &What) -> Result<(), Violation> {
        self.trace.operation(self.now, client, what);
        let online = self.players[client].link.filter(|_| self.players[client].online);
        match (what, online) {
            (What::Connect, _) => self.connect(client, false),
            (What::Subscribe(filters), Some(_)) => {
                self.subscribe(client, filters);
                Ok(())
            }
            (What::Unsubscribe(filter), Some(_)) => {
                if let Some(id) = self.new_id(client) {
                    self.locals[self.players[client].local].asked.insert(id.get());
                    let filters = UnsubscribeFilters::List(&[filter.as_str()]);
                    let user_properties = UserProperties::default();
                    self.send(
                        client,
                        &Packet::Unsubscribe(Unsubscribe { packet_id: id, user_properties, filters }),
                    );
                }
                Ok(())
            }
            (What::Publish(message), Some(_)) => {
                let message = self.allowed(client, message);
                let number = self.checks.ledger.message(&self.scenario.clients[client].id, &message);
                self.players[client].waiting.push_back((number, message));
                self.publish_waiting(client);
                Ok(())
            }
            (What::Flood(message), Some(link)) => {
                self.flood(client, link, message);
                Ok(())
            }
            (What::Repeat, Some(link)) => {
                let local = &self.locals[self.players[client].local];
                let last = local
                    .unacked
                    .values()
                    .rfind(|message| message.message.qos == 2 && !message.released && message.link == link);
                if let Some(last) = last {
                    let (id, number, message) = (last.id, last.number, last.message.clone());
                    self.checks.marks.hit("a QoS 2 message repeated on its connection");
                    self.send_publish(client, number, &message, id, true);
                }
                Ok(())
            }
            (What::Ping, Some(_)) => {
                self.send(client, &Packet::PingReq);
                Ok(())
            }
            (What::Disconnect { with_will }, Some(link)) => {
                let reason = if *with_will { ReasonCode::DisconnectWithWill } else { ReasonCode::Success };
                let properties = DisconnectProperties::default();
                self.send(client, &Packet::Disconnect(Disconnect { reason, properties }));
                self.client_closes(link, false);
                self.client_is_offline(link);
                Ok(())
            }
            (What::Cut, _) => {
                if let Some(link) = self.players[client].link {
                    self.client_closes(link, true);
                    self.client_is_offline(link);
                }
                Ok(())
            }
            (What::StopReading, Some(link)) if !self.healed => {
                self.set_reading(link, false);
                Ok(())
            }
            (What::Read, Some(link)) => {
                self.set_reading(link, true);
                Ok(())
            }
            (What::Bytes(bytes), Some(link)) => {
                self.checks.marks.hit("bytes that mean nothing");
                self.checks.hostile(link);
                self.send_up(link, bytes);
                Ok(())
            }
            (What::Kick { end_session }, _) => {
                let client_id = self.spec(client).id.clone();
                let (reason, end_session) = (ReasonCode::AdministrativeAction, *end_session);
                self.handle(Input::Command(Command::Disconnect { client_id, reason, end_session }))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn wake(&mut self, client: usize, wake: Wake) -> Result<(), Violation> {
        match wake {
            Wake::Reconnect if self.players[client].link.is_none() && !self.leaving => {
                self.connect(client, false)
            }
            Wake::KeepAlive(link) if self.players[client].link == Some(link) => {
                let pause = u64::from(self.spec(client).keep_alive) * 700_000;
                let due = self.players[client].last_sent + pause;
                if due <= self.now {
                    self.send(client, &Packet::PingReq);
                }
                let next = self.players[client].last_sent + pause;
                self.schedule(next, Event::Wake { client, wake: Wake::KeepAlive(link) });
                Ok(())
            }
            Wake::Acknowledge(link, bytes) if self.players[client].link == Some(link) => {
                self.send_up(link, &bytes);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Opens a connection and sends CONNECT; `leave` asks for a session that ends with it, and for no will.
    fn connect(&mut self, client: usize, leave: bool) -> Result<(), Violation> {
        if let Some(old) = self.players[client].link {
            self.client_closes(old, true);
            self.client_is_offline(old);
        }
        let link = self.open(client)?;
        let spec = self.scenario.clients[client].clone();
        let player = &mut self.players[client];
        *player = Player { link: Some(link), ..player.offline() };
        let new = spec.version == 5;
        let will = spec.will.as_ref().filter(|_| !leave);
        let payload = will.map(|will| self.checks.ledger.will(self.now, &spec.id, will)).map(payload_of_will);
        let payload = payload.unwrap_or_default();
        let connect = Connect {
            version: version_of(&spec),
            client_id: &spec.id,
            clean_start: spec.clean || leave,
            keep_alive: spec.keep_alive,
            username: spec.username.as_deref(),
            password: None,
            will: will.map(|will| mqtt_proto::Will {
                topic: TopicName::parse(&will.topic).expect("a topic name"),
                payload: &payload,
                qos: QoS::from_bits(will.qos).unwrap_or_default(),
                retain: will.retain,
                properties: WillProperties {
                    will_delay_interval: (new && will.delay > 0).then_some(will.delay),
                    ..WillProperties::default()
                },
            }),
            properties: if new {
                ConnectProperties {
                    session_expiry_interval: (spec.expiry > 0 && !leave).then_some(spec.expiry),
                    receive_maximum: spec.receive_maximum,
                    maximum_packet_size: spec.maximum_packet_size,
                    topic_alias_maximum: (spec.topic_alias_maximum > 0).then_some(spec.topic_alias_maximum),
                    ..ConnectProperties::default()
                }
            } else {
                ConnectProperties::default()
            },
        };
        self.send(client, &Packet::Connect(connect));
        if spec.keep_alive > 0 {
            self.schedule(self.now, Event::Wake { client, wake: Wake::KeepAlive(link) });
        }
        Ok(())
    }

    fn send(&mut self, client: usize, packet: &Packet<'_>) {
        let Some(link) = self.players[client].link else { return };
        let mut bytes = Vec::new();
        packet.encode(version_of(self.spec(client)), &mut bytes).expect("a packet that can be written");
        self.players[client].last_sent = self.now;
        self.send_up(link, &bytes);
    }

    fn new_id(&mut self, client: usize) -> Option<PacketId> {
        let local = &mut self.locals[self.players[client].local];
        for _ in 0..u16::MAX {
            local.last_id = local.last_id.checked_add(1).unwrap_or(1);
            let id = local.last_id;
            if !local.asked.contains(&id) && !local.unacked.values().any(|message| message.id == id) {
                return PacketId::new(id);
            }
        }
        None
    }

    fn subscribe(&mut self, client: usize, filters: &[Filter]) {
        let Some(id) = self.new_id(client) else { return };
        self.locals[self.players[client].local].asked.insert(id.get());
        let list: Vec<(&str, SubscribeOptions)> = filters
            .iter()
            .map(|filter| {
                let options = SubscribeOptions {
                    qos: QoS::from_bits(filter.qos).unwrap_or_default(),
                    no_local: filter.no_local,
                    retain_as_published: filter.retain_as_published,
                    retain_handling: match filter.retain_handling {
                        0 => RetainHandling::SendAlways,
                        1 => RetainHandling::SendIfNew,
                        _ => RetainHandling::DoNotSend,
                    },
                };
                (filter.filter.as_str(), options)
            })
            .collect();
        let packet = Subscribe {
            packet_id: id,
            subscription_id: None,
            user_properties: UserProperties::default(),
            filters: SubscribeFilters::List(&list),
        };
        self.send(client, &Packet::Subscribe(packet));
    }

    /// As the CONNACK allows it; clients of 3.x cannot be told, and know it from elsewhere.
    fn allowed(&self, client: usize, message: &Message) -> Message {
        let player = &self.players[client];
        let maximum_qos = player.maximum_qos.min(self.scenario.limits.maximum_qos as u8);
        Message {
            qos: message.qos.min(maximum_qos),
            retain: message.retain && player.retain_available,
            ..message.clone()
        }
    }

    /// Sends what waits, as far as the broker's Receive Maximum allows.
    fn publish_waiting(&mut self, client: usize) {
        loop {
            let player = &self.players[client];
            let Some(link) = player.link.filter(|_| player.online) else { return };
            let Some((number, message)) = player.waiting.front().cloned() else { return };
            if message.qos == 0 {
                self.players[client].waiting.pop_front();
                self.send_publish(client, number, &message, 0, false);
                continue;
            }
            if player.quota == 0 {
                return;
            }
            let Some(id) = self.new_id(client).map(PacketId::get) else { return };
            self.players[client].waiting.pop_front();
            self.players[client].quota -= 1;
            let local = &mut self.locals[self.players[client].local];
            local.sent += 1;
            let unacked = Unacked { id, number, message: message.clone(), released: false, link };
            local.unacked.insert(local.sent, unacked);
            self.send_publish(client, number, &message, id, false);
        }
    }

    /// Sends more unfinished messages than the broker takes, whatever it said.
    fn flood(&mut self, client: usize, link: usize, message: &Message) {
        let message = Message { qos: 2, ..self.allowed(client, message) };
        if self.scenario.limits.maximum_qos < QoS::ExactlyOnce {
            return;
        }
        for _ in 0..=self.scenario.limits.receive_maximum {
            let Some(id) = self.new_id(client).map(PacketId::get) else { return };
            let number = self.checks.ledger.message(&self.scenario.clients[client].id, &message);
            let local = &mut self.locals[self.players[client].local];
            local.sent += 1;
            let unacked = Unacked { id, number, message: message.clone(), released: false, link };
            local.unacked.insert(local.sent, unacked);
            self.send_publish(client, number, &message, id, false);
        }
    }

    fn send_publish(&mut self, client: usize, number: u32, message: &Message, id: u16, dup: bool) {
        let payload = payload_of(number, message.size);
        let packet = Publish {
            dup,
            qos: QoS::from_bits(message.qos).unwrap_or_default(),
            retain: message.retain,
            topic: TopicName::parse(&message.topic).ok(),
            packet_id: PacketId::new(id),
            properties: PublishProperties {
                message_expiry_interval: message.expiry,
                ..PublishProperties::default()
            },
            payload: &payload,
        };
        self.send(client, &Packet::Publish(packet));
    }

    /// A client has read bytes.
    pub(super) fn client_reads(&mut self, link: usize, bytes: &[u8]) {
        let client = self.links[link].client;
        if self.players[client].link != Some(link) {
            return;
        }
        self.players[client].inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut self.players[client].inbox);
        let version = version_of(self.spec(client));
        let mut rest = &inbox[..];
        // The bytes are judged where they leave the engine.
        while let Ok(Some((packet, len))) = Packet::parse(rest, version, &Limits::NONE) {
            rest = &rest[len..];
            self.client_takes(client, link, &packet);
            if self.players[client].link != Some(link) {
                return;
            }
        }
        self.players[client].inbox = rest.to_vec();
    }

    fn client_takes(&mut self, client: usize, link: usize, packet: &Packet<'_>) {
        match packet {
            Packet::ConnAck(connack) => self.accepted(client, link, connack),
            Packet::Publish(publish) => self.message_came(client, link, publish),
            Packet::PubRec(ack) if ack.reason.is_error() => self.finished(client, ack.packet_id),
            Packet::PubRec(ack) => {
                let local = &mut self.locals[self.players[client].local];
                let message = local.unacked.values_mut().find(|message| message.id == ack.packet_id.get());
                if let Some(message) = message {
                    message.released = true;
                }
                self.send(client, &Packet::PubRel(plain(ack.packet_id)));
            }
            Packet::PubAck(ack) | Packet::PubComp(ack) => self.finished(client, ack.packet_id),
            Packet::PubRel(ack) => {
                self.locals[self.players[client].local].received.remove(&ack.packet_id.get());
                self.acknowledge(client, link, &Packet::PubComp(plain(ack.packet_id)));
            }
            Packet::SubAck(ack) => {
                self.locals[self.players[client].local].asked.remove(&ack.packet_id.get());
            }
            Packet::UnsubAck(ack) => {
                self.locals[self.players[client].local].asked.remove(&ack.packet_id.get());
            }
            _ => {}
        }
    }

    fn accepted(&mut self, client: usize, link: usize, connack: &ConnAck<'_>) {
        if connack.reason.is_error() {
            return;
        }
        let place = self.players[client].local;
        self.locals[place].asked.clear();
        if !connack.session_present {
            self.locals[place] = Local { last_id: self.locals[place].last_id, ..Local::default() };
        }
        let player = &mut self.players[client];
        player.online = true;
        // Clients of 3.x cannot be told, and know it from elsewhere.
        player.quota = connack.properties.receive_maximum.unwrap_or(self.scenario.limits.receive_maximum);
        player.maximum_qos = connack.properties.maximum_qos.map_or(2, |qos| qos as u8);
        player.retain_available = connack.properties.retain_available != Some(false);
        // What is unfinished goes on, in its order.
        let keys: Vec<u64> = self.locals[place].unacked.keys().copied().collect();
        for key in keys {
            let Some(unacked) = self.locals[place].unacked.get_mut(&key) else { continue };
            unacked.link = link;
            let (id, number, released, message) =
                (unacked.id, unacked.number, unacked.released, unacked.message.clone());
            let player = &mut self.players[client];
            if player.quota == 0 {
                // More than the broker takes at once: the rest is given up by the client.
                self.locals[place].unacked.remove(&key);
                continue;
            }
            player.quota -= 1;
            self.checks.marks.hit("a client goes on with what was unfinished");
            if released {
                if let Some(id) = PacketId::new(id) {
                    self.send(client, &Packet::PubRel(plain(id)));
                }
            } else {
                self.send_publish(client, number, &message, id, true);
            }
        }
        self.publish_waiting(client);
    }

    fn message_came(&mut self, client: usize, link: usize, publish: &Publish<'_>) {
        let Some(id) = publish.packet_id else { return };
        let refuses =
            self.spec(client).acks == Acks::Refuse && self.spec(client).version == 5 && !self.healed;
        let reason = if refuses { ReasonCode::ImplementationSpecificError } else { ReasonCode::Success };
        let ack = Ack { packet_id: id, reason, properties: AckProperties::default() };
        if publish.qos == QoS::AtLeastOnce {
            return self.acknowledge(client, link, &Packet::PubAck(ack));
        }
        let new = self.locals[self.players[client].local].received.insert(id.get());
        if refuses && new {
            self.locals[self.players[client].local].received.remove(&id.get());
            return self.acknowledge(client, link, &Packet::PubRec(ack));
        }
        self.acknowledge(client, link, &Packet::PubRec(plain(id)));
    }

    /// By the client's habit.
    fn acknowledge(&mut self, client: usize, link: usize, packet: &Packet<'_>) {
        let habit = if self.healed { Acks::Prompt } else { self.spec(client).acks };
        let mut bytes = Vec::new();
        packet.encode(version_of(self.spec(client)), &mut bytes).expect("a packet that can be written");
        match habit {
            Acks::Prompt | Acks::Refuse => {
                self.players[client].last_sent = self.now;
                self.send_up(link, &bytes);
            }
            Acks::After(pause) => {
                self.schedule(self.now + pause, Event::Wake { client, wake: Wake::Acknowledge(link, bytes) });
            }
            Acks::Never => self.players[client].held.push(bytes),
        }
    }

    /// An own message is through.
    fn finished(&mut self, client: usize, id: PacketId) {
        let local = &mut self.locals[self.players[client].local];
        let before = local.unacked.len();
        local.unacked.retain(|_, message| message.id != id.get());
        if local.unacked.len() < before {
            let player = &mut self.players[client];
            player.quota = player.quota.saturating_add(1);
            self.publish_waiting(client);
        }
    }

    /// A connection is no more, for whatever reason.
    pub(super) fn client_is_offline(&mut self, link: usize) {
        let client = self.links[link].client;
        if self.players[client].link != Some(link) {
            return;
        }
        let player = &mut self.players[client];
        *player = player.offline();
        // Two that go on fighting for a session would never let it come to rest.
        let first = player.first;
        if let Some(pause) = self.spec(client).reconnect.filter(|_| !self.leaving && (first || !self.healed))
        {
            let at = self.now + pause + self.network.below(pause + 1);
            self.schedule(at, Event::Wake { client, wake: Wake::Reconnect });
        }
    }

    /// From now on nothing goes wrong, and the first client of each identifier comes back for what is owed to it.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.trace.line(self.now, "the world heals");
        for client in 0..self.players.len() {
            let first = self.players[client].first;
            let severed = self.players[client].link.is_none_or(|link| !self.links[link].client_end);
            if let Some(link) = self.players[client].link {
                for bytes in std::mem::take(&mut self.players[client].held) {
                    self.send_up(link, &bytes);
                }
                self.set_reading(link, true);
                self.flush(link);
            } else if first && severed {
                self.schedule(self.now, Event::Wake { client, wake: Wake::Reconnect });
            }
        }
    }

    /// Everybody comes once more, without a will and with a session that ends, and goes.
    pub(super) fn everybody_leaves(&mut self) -> Result<(), Violation> {
        self.leaving = true;
        if self.scenario.limits.memory_max.is_some() {
            // What nobody comes back for may take so much memory that nobody is let in any more.
            for client in 0..self.players.len() {
                self.operate(client, &What::Kick { end_session: true })?;
            }
        }
        // What broke without the broker being told is noticed now.
        for link in 0..self.links.len() {
            if self.links[link].broker && !self.links[link].client_end {
                self.broker_lost(link, false)?;
            }
        }
        // A few one after the other, many at once.
        let at_once = self.players.len().div_ceil(50);
        let everybody: Vec<usize> = (0..self.players.len()).collect();
        for some in everybody.chunks(at_once) {
            self.come_and_go(some, &BTreeSet::new())?;
        }
        // The last of them may have left wills behind, and those may be retained.
        let topics = self.checks.ledger.retained_topics();
        self.come_and_go(&[0], &topics)
    }

    /// Clients connect, remove what is retained, and leave.
    fn come_and_go(&mut self, clients: &[usize], topics: &BTreeSet<String>) -> Result<(), Violation> {
        for client in clients {
            self.connect(*client, true)?;
        }
        self.run_until(self.now + 2_000_000)?;
        for topic in topics {
            let empty = Message { topic: topic.clone(), qos: 0, retain: true, size: 0, expiry: None };
            self.operate(clients[0], &What::Publish(empty))?;
        }
        self.run_until(self.now + 2_000_000)?;
        for client in clients {
            self.operate(*client, &What::Disconnect { with_will: false })?;
        }
        self.run_until(self.now + 1_000_000)
    }
}

fn plain(id: PacketId) -> Ack<'static> {
    Ack { packet_id: id, reason: ReasonCode::Success, properties: AckProperties::default() }
}

/// A payload that says which message it is: its number in eight digits, then what can be checked.
pub(crate) fn payload_of(number: u32, size: u32) -> Vec<u8> {
    if size == 0 {
        return Vec::new();
    }
    let mut payload = format!("{number:08}").into_bytes();
    payload.extend((8..size).map(|at| b'a' + u8::try_from((number + at) % 26).unwrap_or(0)));
    payload
}

fn payload_of_will(number: u32) -> Vec<u8> {
    payload_of(number, 8)
}
