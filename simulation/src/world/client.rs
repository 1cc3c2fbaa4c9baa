//! Clients: what they do, and what they keep for their sessions. They keep to the protocol; bytes that do not are an
//! operation of their own.

use super::{Event, World};
use crate::check::Violation;
use crate::scenario::{Client, Drift, Filter, Message, Properties, Scenario, What};
use broker_engine::ApplicationMessage;
use mqtt_proto::{
    Auth, AuthProperties, Connect, ConnectProperties, Disconnect, DisconnectProperties, Packet, PacketId,
    PayloadFormat, Publish, PublishProperties, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeFilters,
    SubscribeOptions, TopicName, Unsubscribe, UnsubscribeFilters, UserProperties, Version, WillProperties,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The authentication method of those who have one: each step's data is how many are still to come.
pub(super) const METHOD: &str = "countdown";

/// What a client has in mind.
#[derive(Clone, Debug)]
pub(crate) enum Wake {
    /// Connect again, unless it has a connection by then.
    Reconnect,
    /// Ping if nothing was sent on this connection in time.
    KeepAlive(usize),
    /// Acknowledge, if this connection is still there.
    Acknowledge(usize, Vec<u8>),
    /// Acknowledge what was gathered, the latest first.
    AcknowledgeAll(usize),
    /// Read some more.
    Read(usize),
    /// Send this on a connection that need not be the client's.
    Send(usize, Vec<u8>),
}

/// A client's connection.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // Independent facts.
pub(super) struct Player {
    pub(super) link: Option<usize>,
    pub(super) online: bool,
    /// It is about to authenticate again.
    pub(super) authenticates: bool,
    pub(super) inbox: Vec<u8>,
    /// What the CONNACK said.
    pub(super) quota: u16,
    pub(super) maximum_qos: u8,
    pub(super) retain_available: bool,
    pub(super) alias_maximum: u16,
    /// Keep Alive in force, seconds.
    pub(super) keep_alive: u16,
    /// Its CONNECT had a Session Expiry Interval above 0.
    pub(super) lives_on: bool,
    /// Topic aliases that were sent on this connection.
    pub(super) aliases: BTreeMap<String, u16>,
    /// Messages that wait for quota.
    pub(super) waiting: VecDeque<(u32, Message)>,
    /// Acknowledgements that are held back until the world heals.
    pub(super) held: Vec<Vec<u8>>,
    /// Those that are sent together soon.
    pub(super) gathered: Vec<Vec<u8>>,
    pub(super) last_sent: u64,
    /// The identifier that the broker gave it, if it has none of its own.
    pub(super) assigned: Option<String>,
    /// Its place in the session's state on the client's side.
    pub(super) local: usize,
    /// It is the first of those who share its identifier.
    pub(super) first: bool,
}

impl Player {
    /// Without a connection.
    pub(super) fn offline(&self) -> Self {
        Self { local: self.local, first: self.first, ..Self::default() }
    }

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
    pub(super) last_id: u16,
    /// Own messages that are not acknowledged, in the order of sending.
    pub(super) unacked: BTreeMap<u64, Unacked>,
    pub(super) sent: u64,
    /// Packet identifiers of SUBSCRIBE and UNSUBSCRIBE that wait for their answer.
    pub(super) asked: BTreeSet<u16>,
    /// QoS 2 messages that were received and not released.
    pub(super) received: BTreeSet<u16>,
}

#[derive(Debug)]
pub(super) struct Unacked {
    pub(super) id: u16,
    pub(super) number: u32,
    pub(super) message: Message,
    /// PUBREC came: only PUBREL is sent again.
    pub(super) released: bool,
    /// Sent on this connection.
    pub(super) link: usize,
}

/// What a CONNECT says beside what its client always says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hello {
    /// A session that ends with the connection, no will, packets of any size.
    pub(super) leave: bool,
    /// Another Session Expiry Interval.
    pub(super) expiry: Option<u32>,
    /// An older connection is left to itself.
    pub(super) beside: bool,
}

pub(super) fn players(scenario: &Scenario) -> (Vec<Player>, Vec<Local>) {
    let mut players = Vec::new();
    let mut locals = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for client in &scenario.clients {
        let next = locals.len();
        // Who has no identifier has a session of its own.
        let is_nameless = client.id.is_empty();
        let local = if is_nameless { next } else { *places.entry(&client.id).or_insert(next) };
        if local == next {
            locals.push(Local { last_id: client.last_packet_id, ..Local::default() });
        }
        players.push(Player { local, first: local == next, ..Player::default() });
    }
    (players, locals)
}

pub(super) fn version_of(client: &Client) -> Version {
    match client.version {
        3 => Version::V31,
        4 => Version::V311,
        _ => Version::V5,
    }
}

impl World<'_> {
    pub(super) fn spec(&self, client: usize) -> &Client {
        &self.scenario.clients[client]
    }

    /// The identifier of a client's session.
    pub(super) fn identifier(&self, client: usize) -> &str {
        self.players[client].assigned.as_ref().unwrap_or(&self.scenario.clients[client].id)
    }

    /// Writes down what a client publishes: the message's number.
    fn enters(&mut self, client: usize, message: &Message) -> u32 {
        let publisher = self.identifier(client).to_owned();
        self.checks.ledger.message(&publisher, message)
    }

    /// The world has healed, and the client with it.
    pub(super) fn is_well(&self, client: usize) -> bool {
        self.healed && (self.leaving || !self.spec(client).incurable)
    }

    pub(super) fn operate(&mut self, client: usize, what: &What) -> Result<(), Violation> {
        self.trace.operation(self.now, client, what);
        let online = self.players[client].link.filter(|_| self.players[client].online);
        match (what, online) {
            (What::Connect, _) => self.connect(client, &Hello::default()),
            (What::ConnectFor(expiry), _) => {
                self.checks.marks.fault("C09");
                self.connect(client, &Hello { expiry: Some(*expiry), ..Hello::default() })
            }
            (What::ConnectMany(count), _) if !self.healed => {
                self.checks.marks.fault("N11");
                (0..*count)
                    .try_for_each(|_| self.connect(client, &Hello { beside: true, ..Hello::default() }))
            }
            (What::Subscribe(filters), Some(_)) => {
                self.subscribe(client, None, filters);
                Ok(())
            }
            (What::SubscribeAs(identifier, filters), Some(_)) => {
                let is_offered = self.scenario.limits.subscription_ids || self.is_heedless(client);
                let identifier = Some(*identifier).filter(|_| is_offered && self.spec(client).version == 5);
                self.subscribe(client, identifier, filters);
                Ok(())
            }
            (What::Unsubscribe(filter), Some(_)) => {
                if let Some(id) = self.new_id(client) {
                    let filters = UnsubscribeFilters::List(&[filter.as_str()]);
                    let user_properties = UserProperties::default();
                    let packet = Packet::Unsubscribe(Unsubscribe { packet_id: id, user_properties, filters });
                    if self.is_taken(client, &packet) {
                        self.locals[self.players[client].local].asked.insert(id.get());
                        self.send(client, &packet);
                    }
                }
                Ok(())
            }
            (What::Publish(message), Some(_)) => {
                if let Some(message) = self.allowed(client, message) {
                    let number = self.enters(client, &message);
                    self.players[client].waiting.push_back((number, message));
                    self.publish_waiting(client);
                }
                Ok(())
            }
            (What::Flood(message), Some(link)) => {
                self.flood(client, link, message);
                Ok(())
            }
            (What::Repeat | What::RepeatAsNew, Some(link)) => {
                let local = &self.locals[self.players[client].local];
                let last = local
                    .unacked
                    .values()
                    .rfind(|message| message.message.qos == 2 && !message.released && message.link == link);
                if let Some(last) = last {
                    let (id, number, message) = (last.id, last.number, last.message.clone());
                    self.checks.marks.hit("a QoS 2 message repeated on its connection");
                    let dup = *what == What::Repeat;
                    if !dup {
                        self.checks.marks.fault("C03");
                    }
                    self.send_publish(client, number, &message, id, dup);
                }
                Ok(())
            }
            (What::Authenticate, Some(_)) => {
                self.authenticate(client);
                Ok(())
            }
            (What::Ping, Some(_)) => {
                self.send(client, &Packet::PingReq);
                Ok(())
            }
            (What::Disconnect { with_will, expiry }, Some(link)) => {
                let reason = if *with_will { ReasonCode::DisconnectWithWill } else { ReasonCode::Success };
                // A session that was to end with its connection cannot get a longer life [3.14.2.2.2].
                let session_expiry_interval = expiry.filter(|_| self.players[client].lives_on);
                let properties =
                    DisconnectProperties { session_expiry_interval, ..DisconnectProperties::default() };
                if session_expiry_interval.is_some() {
                    self.checks.marks.fault("C09");
                }
                self.send(client, &Packet::Disconnect(Disconnect { reason, properties }));
                self.client_closes(link, false);
                self.client_is_offline(link);
                Ok(())
            }
            _ => self.befall(client, what, online),
        }
    }

    /// The first step of authenticating again.
    fn authenticate(&mut self, client: usize) {
        let Some(steps) = self.spec(client).steps.filter(|_| self.spec(client).version == 5) else { return };
        if std::mem::replace(&mut self.players[client].authenticates, true) {
            return;
        }
        let properties = AuthProperties {
            authentication_method: Some(METHOD),
            authentication_data: Some(&[steps]),
            ..AuthProperties::default()
        };
        self.send(client, &Packet::Auth(Auth { reason: ReasonCode::ReAuthenticate, properties }));
    }

    pub(super) fn wake(&mut self, client: usize, wake: Wake) -> Result<(), Violation> {
        match wake {
            Wake::Reconnect if self.players[client].link.is_none() && self.comes_back(client) => {
                self.connect(client, &Hello::default())
            }
            Wake::KeepAlive(link) if self.players[client].link == Some(link) => {
                let pause = self.paced(client, u64::from(self.players[client].keep_alive) * 700_000);
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
            Wake::AcknowledgeAll(link) if self.players[client].link == Some(link) => {
                self.acknowledge_all(client, link);
                Ok(())
            }
            Wake::Read(link) => {
                self.reads_on(link);
                Ok(())
            }
            Wake::Send(link, bytes) => {
                self.send_up(link, &bytes);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn acknowledge_all(&mut self, client: usize, link: usize) {
        let gathered = std::mem::take(&mut self.players[client].gathered);
        for bytes in gathered.iter().rev() {
            self.send_up(link, bytes);
        }
    }

    /// A wait, as long as the client's clock makes it.
    pub(super) fn paced(&mut self, client: usize, pause: u64) -> u64 {
        let Drift { per_mille, turns } = self.spec(client).drift;
        if per_mille == 0 || self.is_well(client) {
            return pause;
        }
        self.checks.marks.fault("T02");
        let turned = self.now.checked_div(turns).is_some_and(|turn| turn % 2 == 1);
        let per_mille = if turned { -per_mille } else { per_mille };
        pause / 1000 * u64::from(per_mille.saturating_add(1000).unsigned_abs())
    }

    /// Opens a connection and sends CONNECT.
    pub(super) fn connect(&mut self, client: usize, hello: &Hello) -> Result<(), Violation> {
        let leave = hello.leave;
        if let Some(old) = self.players[client].link.filter(|_| !hello.beside) {
            self.client_closes(old, true);
            self.client_is_offline(old);
        }
        let link = self.open(client)?;
        let spec = self.scenario.clients[client].clone();
        let player = &mut self.players[client];
        let new = spec.version == 5;
        let expiry = if leave { 0 } else { hello.expiry.unwrap_or(spec.expiry) };
        let keep_alive = spec.keep_alive;
        *player = Player { link: Some(link), lives_on: new && expiry > 0, keep_alive, ..player.offline() };
        let will = spec.will.as_ref().filter(|_| !leave).and_then(|will| self.allowed_will(client, will));
        let will = will.as_ref();
        let payload = will.map(|will| self.checks.ledger.will(self.now, &spec.id, will)).map(payload_of_will);
        let payload = payload.unwrap_or_default();
        let told = will.and_then(|will| will.properties.as_deref()).filter(|_| new);
        let user = pairs(told);
        let steps = spec.steps.filter(|_| new).map(|steps| [steps]);
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
                    message_expiry_interval: will.expiry,
                    payload_format: told.and_then(format),
                    content_type: told.and_then(|told| told.content_type.as_deref()),
                    response_topic: told.and_then(response_topic),
                    correlation_data: told.and_then(|told| told.correlation_data.as_deref()),
                    user_properties: UserProperties::Pairs(&user),
                    ..WillProperties::default()
                },
            }),
            properties: if new {
                ConnectProperties {
                    session_expiry_interval: (expiry > 0).then_some(expiry),
                    receive_maximum: spec.receive_maximum,
                    maximum_packet_size: spec.maximum_packet_size.filter(|_| !leave),
                    topic_alias_maximum: (spec.topic_alias_maximum > 0).then_some(spec.topic_alias_maximum),
                    authentication_method: steps.is_some().then_some(METHOD),
                    authentication_data: steps.as_ref().map(|steps| &steps[..]),
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

    pub(super) fn send(&mut self, client: usize, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(version_of(self.spec(client)), &mut bytes).expect("a packet that can be written");
        self.send_bytes(client, &bytes);
    }

    fn send_bytes(&mut self, client: usize, bytes: &[u8]) {
        let Some(link) = self.players[client].link else { return };
        self.players[client].last_sent = self.now;
        self.send_up(link, bytes);
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

    fn subscribe(&mut self, client: usize, subscription_id: Option<u32>, filters: &[Filter]) {
        let Some(id) = self.new_id(client) else { return };
        let list: Vec<(&str, SubscribeOptions)> = self
            .offered(client, filters)
            .map(|filter| (filter.filter.as_str(), options_of(filter)))
            .collect();
        let packet = Subscribe {
            packet_id: id,
            subscription_id,
            user_properties: UserProperties::default(),
            filters: SubscribeFilters::List(&list),
        };
        let packet = Packet::Subscribe(packet);
        if !list.is_empty() && self.is_taken(client, &packet) {
            self.locals[self.players[client].local].asked.insert(id.get());
            self.send(client, &packet);
        }
    }

    /// Sends what waits, as far as the broker's Receive Maximum allows.
    pub(super) fn publish_waiting(&mut self, client: usize) {
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
        let Some(message) = self.allowed(client, message) else { return };
        let message = Message { qos: 2, ..message };
        if self.scenario.limits.maximum_qos < QoS::ExactlyOnce {
            return;
        }
        for _ in 0..=self.scenario.limits.receive_maximum {
            let Some(id) = self.new_id(client).map(PacketId::get) else { return };
            let number = self.enters(client, &message);
            let local = &mut self.locals[self.players[client].local];
            local.sent += 1;
            let unacked = Unacked { id, number, message: message.clone(), released: false, link };
            local.unacked.insert(local.sent, unacked);
            self.send_publish(client, number, &message, id, false);
        }
    }

    pub(super) fn send_publish(&mut self, client: usize, number: u32, message: &Message, id: u16, dup: bool) {
        let alias = self.alias(client, &message.topic);
        let bytes = encoded(version_of(self.spec(client)), number, message, id, dup, alias);
        self.send_bytes(client, &bytes);
    }

    /// The topic alias of a name, if there is one, and whether the broker knows it already.
    fn alias(&mut self, client: usize, topic: &str) -> (bool, Option<u16>) {
        let player = &mut self.players[client];
        if !self.scenario.clients[client].uses_aliases || player.alias_maximum == 0 {
            return (false, None);
        }
        if let Some(alias) = player.aliases.get(topic) {
            return (true, Some(*alias));
        }
        let next = u16::try_from(player.aliases.len() + 1).ok().filter(|next| *next <= player.alias_maximum);
        if let Some(next) = next {
            player.aliases.insert(topic.to_owned(), next);
        }
        (false, next)
    }
}

/// A PUBLISH; of its topic alias, whether the broker knows it already.
pub(super) fn encoded(
    version: Version,
    number: u32,
    message: &Message,
    id: u16,
    dup: bool,
    (is_known, alias): (bool, Option<u16>),
) -> Vec<u8> {
    let payload = payload_of(number, message.size);
    let told = message.properties.as_deref();
    let user = pairs(told);
    let packet = Publish {
        dup,
        qos: QoS::from_bits(message.qos).unwrap_or_default(),
        retain: message.retain,
        topic: TopicName::parse(&message.topic).ok().filter(|_| !is_known),
        packet_id: PacketId::new(id).filter(|_| message.qos > 0),
        properties: PublishProperties {
            topic_alias: alias,
            message_expiry_interval: message.expiry,
            payload_format: told.and_then(format),
            content_type: told.and_then(|told| told.content_type.as_deref()),
            response_topic: told.and_then(response_topic),
            correlation_data: told.and_then(|told| told.correlation_data.as_deref()),
            user_properties: UserProperties::Pairs(&user),
            ..PublishProperties::default()
        },
        payload: &payload,
    };
    let mut bytes = Vec::new();
    Packet::Publish(packet).encode(version, &mut bytes).expect("a packet that can be written");
    bytes
}

pub(super) fn options_of(filter: &Filter) -> SubscribeOptions {
    SubscribeOptions {
        qos: QoS::from_bits(filter.qos).unwrap_or_default(),
        no_local: filter.no_local,
        retain_as_published: filter.retain_as_published,
        retain_handling: match filter.retain_handling {
            0 => RetainHandling::SendAlways,
            1 => RetainHandling::SendIfNew,
            _ => RetainHandling::DoNotSend,
        },
    }
}

/// A message as hooks and programs have it.
pub(super) fn application_message(number: u32, message: &Message) -> ApplicationMessage {
    ApplicationMessage {
        topic: message.topic.clone(),
        payload: payload_of(number, message.size).into(),
        qos: QoS::from_bits(message.qos).unwrap_or_default(),
        retain: message.retain,
        message_expiry_interval: message.expiry,
        ..ApplicationMessage::default()
    }
}

fn pairs(told: Option<&Properties>) -> Vec<(&str, &str)> {
    told.into_iter().flat_map(|told| &told.user).map(|(name, value)| (&**name, &**value)).collect()
}

fn format(told: &Properties) -> Option<PayloadFormat> {
    told.is_text.map(|is_text| if is_text { PayloadFormat::Utf8 } else { PayloadFormat::Bytes })
}

fn response_topic(told: &Properties) -> Option<TopicName<'_>> {
    TopicName::parse(told.response_topic.as_deref()?).ok()
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
