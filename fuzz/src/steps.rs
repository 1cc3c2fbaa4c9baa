//! What clients, the host and the operator do, made from bytes: few names, small numbers and tiny limits, as bounds find
//! bugs.

use crate::topics::{Filter, Name};
use arbitrary::{Arbitrary, Unstructured};
use broker_engine::{
    Answer, ApplicationMessage, CloseCause, Command, Config, Durability, Interest, Overlap, QueueFull,
    SharedStrategy,
};
use bytes::Bytes;
use mqtt_proto::{
    Ack, AckProperties, Auth, AuthProperties, Connect, ConnectProperties, Disconnect, DisconnectProperties,
    Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, RetainHandling, Subscribe,
    SubscribeFilters, SubscribeOptions, TopicName, Unsubscribe, UnsubscribeFilters, UserProperties, Version,
    Will, WillProperties,
};

/// Connections at a time.
pub(crate) const CLIENTS: usize = 4;

/// Who can take these steps.
pub(crate) trait Player {
    /// A new connection; one that is there breaks.
    fn open(&mut self, who: usize);
    /// Bytes arrive.
    fn feed(&mut self, who: usize, bytes: &[u8]);
    /// The transport ends.
    fn cut(&mut self, who: usize, cause: CloseCause);
    /// The operator or the embedding program wants something.
    fn command(&mut self, command: Command);
    /// Time passes, microseconds.
    fn wait(&mut self, micros: u64);
    /// Something that a host does to the engine.
    fn fault(&mut self, fault: &Fault);
}

/// One of the clients.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Who(u8);

impl Who {
    pub(crate) fn get(self) -> usize {
        usize::from(self.0) % CLIENTS
    }

    /// Two of the clients fight for one identifier.
    fn client_id(self) -> &'static str {
        ["a", "b", "c", "c"][self.get()]
    }
}

#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Step {
    Connect(Who, Greeting),
    Publish(Who, Message, Id),
    Subscribe(Who, Id, Vec<Subscription>, Option<Id>),
    Unsubscribe(Who, Id, Subscription),
    Ack(Who, AckKind, Id, Reason),
    Ping(Who),
    Disconnect(Who, Reason, Option<Seconds>),
    Auth(Who, Reason, bool),
    Bytes(Who, Vec<u8>),
    Cut(Who),
    Leave(Who),
    Wait(Pause),
    Kick(Who, bool),
    Announce(Message),
    Fault(Fault),
}

/// Something that a host does to the engine.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Fault {
    /// The socket has not taken so much.
    Backlog(Who, Unsent),
    /// How questions are answered from now on.
    Answering(Answering),
    /// The store is slow.
    HoldStored(bool),
    /// The store fails at an operation so far back.
    StoreFailed(u8),
    /// The store has something else than it was given.
    ForeignPage(Option<Vec<u8>>),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Unsent {
    Nothing,
    Little,
    BelowHigh,
    High,
    TooMuch,
}

impl Unsent {
    pub(crate) fn bytes(self) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::Little => 100,
            Self::BelowHigh => 70_000,
            Self::High => 300_000,
            Self::TooMuch => 3_000_000,
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Answering {
    Allow,
    Deny,
    Continue,
    AllowWith,
    Filters(Reason),
    Discard,
    Replace,
    /// Not yet.
    Hold,
}

impl Answering {
    pub(crate) fn answer(self) -> Option<Answer> {
        Some(match self {
            Self::Allow => Answer::Allow,
            Self::Deny => Answer::Deny(ReasonCode::NotAuthorized),
            Self::Continue => Answer::Continue(b"go on".to_vec()),
            Self::AllowWith => Answer::AllowWith(b"welcome".to_vec()),
            Self::Filters(reason) => Answer::Filters(vec![reason.code()]),
            Self::Discard => Answer::Discard,
            Self::Replace => Answer::Replace(Box::new(ApplicationMessage {
                topic: "a/b".to_owned(),
                payload: Bytes::from_static(b"instead"),
                qos: QoS::AtLeastOnce,
                retain: true,
                ..ApplicationMessage::default()
            })),
            Self::Hold => return None,
        })
    }
}

#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Greeting {
    version: Protocol,
    clean_start: bool,
    anonymous: bool,
    expiry: Option<Seconds>,
    keep_alive: u8,
    receive_maximum: Option<Id>,
    maximum_packet_size: Option<u8>,
    topic_alias_maximum: Option<u8>,
    enhanced: bool,
    will: Option<(Message, Seconds)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Protocol {
    V31,
    V311,
    V5,
}

impl Protocol {
    fn version(self) -> Version {
        match self {
            Self::V31 => Version::V31,
            Self::V311 => Version::V311,
            Self::V5 => Version::V5,
        }
    }
}

#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Message {
    topic: Name,
    qos: Qos,
    retain: bool,
    dup: bool,
    size: u8,
    expiry: Option<Seconds>,
    alias: Option<u8>,
    alias_only: bool,
}

impl Message {
    fn payload(&self) -> Vec<u8> {
        // Some are large enough to be shared instead of copied.
        let size = if self.size < 200 { usize::from(self.size % 32) } else { usize::from(self.size) * 32 };
        vec![b'x'; size]
    }
}

#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Subscription {
    filter: Filter,
    group: Option<bool>,
    qos: Qos,
    no_local: bool,
    retain_as_published: bool,
    handling: u8,
}

impl Subscription {
    fn text(&self) -> String {
        match self.group {
            None => self.filter.0.clone(),
            Some(first) => format!("$share/{}/{}", if first { "g" } else { "h" }, self.filter.0),
        }
    }

    fn options(&self, version: Version) -> SubscribeOptions {
        let qos = self.qos.get();
        if !version.is_v5() {
            return SubscribeOptions { qos, ..SubscribeOptions::default() };
        }
        let handling = [RetainHandling::SendAlways, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
        SubscribeOptions {
            qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: handling[usize::from(self.handling) % 3],
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Qos(u8);

impl Qos {
    fn get(self) -> QoS {
        QoS::from_bits(self.0 % 3).unwrap_or_default()
    }
}

/// Packet Identifiers, Subscription Identifiers and windows: few, so that they meet.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Id(u8);

impl Id {
    fn number(self) -> u16 {
        u16::from(self.0 % 6) + 1
    }

    fn packet_id(self) -> PacketId {
        PacketId::new(self.number()).unwrap_or(PacketId::FIRST)
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Reason(u8);

impl Reason {
    fn code(self) -> ReasonCode {
        ReasonCode::ALL[usize::from(self.0) % ReasonCode::ALL.len()]
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Seconds(u8);

impl Seconds {
    fn get(self) -> u32 {
        if self.0 == u8::MAX { u32::MAX } else { u32::from(self.0 % 16) }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Pause {
    Short(u16),
    Seconds(u8),
    Days,
}

impl Pause {
    fn micros(self) -> u64 {
        match self {
            Self::Short(micros) => u64::from(micros) * 64,
            Self::Seconds(seconds) => u64::from(seconds) * 1_000_000,
            Self::Days => 8 * 24 * 3600 * 1_000_000,
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum AckKind {
    Acknowledged,
    Received,
    Release,
    Complete,
}

/// Limits and choices of the broker; the default ones where a bit is not set.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Setup {
    bits: u16,
    strategy: u8,
    pub(crate) number: u8,
}

impl Setup {
    pub(crate) fn config(self) -> Config {
        let bit = |at: u32| self.bits >> at & 1 != 0;
        let strategies = [
            SharedStrategy::RoundRobin,
            SharedStrategy::Random,
            SharedStrategy::Sticky,
            SharedStrategy::LeastInflight,
            SharedStrategy::HashClient,
            SharedStrategy::HashTopic,
        ];
        let number = u16::from(self.number % 8) + 1;
        let mut config = Config {
            shared_strategy: strategies[usize::from(self.strategy) % strategies.len()],
            max_session_expiry: if bit(0) { 6 } else { u32::MAX },
            queue_qos0_offline: bit(1),
            check_payload_format: bit(2),
            bind_session_to_user: bit(3),
            ..Config::default()
        };
        if bit(4) {
            (config.max_inflight, config.receive_maximum) = (number, number);
            config.max_queued_messages = u32::from(number) + 1;
        }
        if bit(5) {
            config.work_per_call = number.into();
        }
        if bit(6) {
            config.match_cache_entries = u32::from(number % 3);
        }
        if bit(7) {
            config.queue_full = QueueFull::DropNew;
        }
        if bit(8) {
            config.overlap = Overlap::PerSubscription;
        }
        if bit(9) {
            config.durability = if bit(10) { Durability::Durable } else { Durability::Async };
            config.queue_window_messages = u32::from(number % 4) + 1;
        }
        if bit(11) {
            (config.memory_high, config.memory_max) = (Some(8_000), Some(16_000));
        }
        if bit(12) {
            (config.max_queued_bytes, config.max_packet_size) = (200, 4_000);
        }
        if bit(13) {
            config.interest = Interest::SUBSCRIBE | Interest::PUBLISH | Interest::CLIENTS | Interest::DROPS;
        }
        if bit(14) {
            (config.max_sessions, config.max_retained_messages, config.max_unowned_fanouts) = (2, 3, 1);
        }
        if bit(15) {
            (config.max_keep_alive, config.max_message_expiry) = (number, number.into());
        }
        config
    }
}

/// A setup and what happens under it.
pub(crate) fn draw(bytes: &[u8]) -> Option<(Setup, Vec<Step>)> {
    let mut bytes = Unstructured::new(bytes);
    let setup = Setup::arbitrary(&mut bytes).ok()?;
    let steps = bytes.arbitrary_iter().ok()?.map_while(Result::ok).collect();
    Some((setup, steps))
}

/// The versions in which the clients speak.
#[derive(Debug)]
pub(crate) struct Clients([Version; CLIENTS]);

impl Clients {
    pub(crate) fn new() -> Self {
        Self([Version::V5; CLIENTS])
    }

    pub(crate) fn play(&mut self, step: &Step, player: &mut impl Player) {
        match step {
            Step::Connect(who, greeting) => {
                self.0[who.get()] = greeting.version.version();
                player.open(who.get());
                self.greet(*who, greeting, player);
            }
            Step::Publish(who, message, id) => self.publish(*who, message, *id, player),
            Step::Subscribe(who, id, subscriptions, subscription_id) => {
                let version = self.0[who.get()];
                let texts: Vec<String> = subscriptions.iter().map(Subscription::text).collect();
                let list: Vec<_> = texts
                    .iter()
                    .zip(subscriptions)
                    .map(|(text, subscription)| (text.as_str(), subscription.options(version)))
                    .collect();
                let packet = Subscribe {
                    packet_id: id.packet_id(),
                    subscription_id: subscription_id.map(|id| id.number().into()),
                    user_properties: UserProperties::default(),
                    filters: SubscribeFilters::List(&list),
                };
                self.send(*who, &Packet::Subscribe(packet), player);
            }
            Step::Unsubscribe(who, id, subscription) => {
                let text = subscription.text();
                let packet = Unsubscribe {
                    packet_id: id.packet_id(),
                    user_properties: UserProperties::default(),
                    filters: UnsubscribeFilters::List(&[&text]),
                };
                self.send(*who, &Packet::Unsubscribe(packet), player);
            }
            Step::Ack(who, kind, id, reason) => {
                let properties = AckProperties::default();
                let ack = Ack { packet_id: id.packet_id(), reason: reason.code(), properties };
                let packet = match kind {
                    AckKind::Acknowledged => Packet::PubAck(ack),
                    AckKind::Received => Packet::PubRec(ack),
                    AckKind::Release => Packet::PubRel(ack),
                    AckKind::Complete => Packet::PubComp(ack),
                };
                self.send(*who, &packet, player);
            }
            Step::Ping(who) => self.send(*who, &Packet::PingReq, player),
            Step::Disconnect(who, reason, expiry) => {
                let properties = DisconnectProperties {
                    session_expiry_interval: expiry.map(Seconds::get),
                    ..DisconnectProperties::default()
                };
                let packet = Disconnect { reason: reason.code(), properties };
                self.send(*who, &Packet::Disconnect(packet), player);
            }
            Step::Auth(who, reason, data) => {
                let properties = AuthProperties {
                    authentication_method: Some("m"),
                    authentication_data: data.then_some(b"d"),
                    ..AuthProperties::default()
                };
                self.send(*who, &Packet::Auth(Auth { reason: reason.code(), properties }), player);
            }
            Step::Bytes(who, bytes) => player.feed(who.get(), bytes),
            Step::Cut(who) => player.cut(who.get(), CloseCause::Fault),
            Step::Leave(who) => player.cut(who.get(), CloseCause::PeerClosed),
            Step::Wait(pause) => player.wait(pause.micros()),
            Step::Kick(who, end_session) => player.command(Command::Disconnect {
                client_id: who.client_id().to_owned(),
                reason: ReasonCode::AdministrativeAction,
                end_session: *end_session,
            }),
            Step::Announce(message) => player.command(Command::Publish(ApplicationMessage {
                topic: message.topic.0.clone(),
                payload: Bytes::from(message.payload()),
                qos: message.qos.get(),
                retain: message.retain,
                ..ApplicationMessage::default()
            })),
            Step::Fault(fault) => player.fault(fault),
        }
    }

    /// What cannot be written in this version is not sent.
    fn send(&self, who: Who, packet: &Packet<'_>, player: &mut impl Player) {
        let mut bytes = Vec::new();
        if packet.encode(self.0[who.get()], &mut bytes).is_ok() {
            player.feed(who.get(), &bytes);
        }
    }

    fn greet(&self, who: Who, greeting: &Greeting, player: &mut impl Player) {
        let version = self.0[who.get()];
        let payload = greeting.will.as_ref().map(|(message, _)| message.payload()).unwrap_or_default();
        let will = greeting.will.as_ref().and_then(|(message, delay)| {
            Some(Will {
                topic: TopicName::parse(&message.topic.0).ok()?,
                payload: &payload,
                qos: message.qos.get(),
                retain: message.retain,
                properties: WillProperties {
                    will_delay_interval: Some(delay.get()),
                    message_expiry_interval: message.expiry.map(Seconds::get),
                    ..WillProperties::default()
                },
            })
        });
        let connect = Connect {
            version,
            client_id: if greeting.anonymous { "" } else { who.client_id() },
            clean_start: greeting.clean_start,
            keep_alive: u16::from(greeting.keep_alive % 8),
            username: None,
            password: None,
            will,
            properties: ConnectProperties {
                session_expiry_interval: greeting.expiry.map(Seconds::get),
                receive_maximum: greeting.receive_maximum.map(Id::number),
                maximum_packet_size: greeting.maximum_packet_size.map(|size| u32::from(size) + 1),
                topic_alias_maximum: greeting.topic_alias_maximum.map(|most| u16::from(most % 4)),
                authentication_method: greeting.enhanced.then_some("m"),
                ..ConnectProperties::default()
            },
        };
        self.send(who, &Packet::Connect(connect), player);
    }

    fn publish(&self, who: Who, message: &Message, id: Id, player: &mut impl Player) {
        let qos = message.qos.get();
        let alias = message.alias.map(|alias| u16::from(alias % 18));
        let named = !(message.alias_only && alias.is_some() && self.0[who.get()].is_v5());
        let packet = Publish {
            dup: message.dup && qos > QoS::AtMostOnce,
            qos,
            retain: message.retain,
            topic: TopicName::parse(&message.topic.0).ok().filter(|_| named),
            packet_id: (qos > QoS::AtMostOnce).then(|| id.packet_id()),
            properties: PublishProperties {
                message_expiry_interval: message.expiry.map(Seconds::get),
                topic_alias: alias,
                ..PublishProperties::default()
            },
            payload: &message.payload(),
        };
        self.send(who, &Packet::Publish(packet), player);
    }
}
