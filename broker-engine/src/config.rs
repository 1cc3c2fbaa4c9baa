//! Every limit and choice of the broker, with unit and default.

use crate::hooks::{Interest, Question};
use core::time::Duration;
use mqtt_proto::{Limits, QoS, Version};
use serde::{Deserialize, Serialize};

/// The broker's configuration. `Config::default()` is safe to expose to strangers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // Each is an independent choice of the operator.
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Lowest protocol version that is accepted: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0. Default 3 (CONNACK 0x84).
    #[serde(with = "level")]
    pub minimum_protocol_version: Version,
    /// Time from [`crate::Input::Opened`] to a complete CONNECT. Default 10 s.
    #[serde(rename = "connect_timeout_ms", with = "millis")]
    pub connect_timeout: Duration,
    /// Largest packet before the client is accepted, bytes. Default 16 KiB.
    pub max_packet_size_before_connect: u32,
    /// Largest packet afterwards, bytes; announced as Maximum Packet Size. Default 2 MiB.
    pub max_packet_size: u32,
    /// Longest client identifier, bytes. Default 256 (CONNACK 0x85).
    pub max_client_id_length: u16,
    /// Longest topic name or filter, bytes. Default 4,096.
    pub max_topic_length: u16,
    /// Most levels of a topic name or filter. Default 128.
    pub max_topic_levels: u16,
    /// Most user properties of one packet. Default 64 (0x97).
    pub max_user_properties: u16,
    /// Most bytes of user properties in one packet. Default 16 KiB (0x97).
    pub max_user_property_bytes: u32,
    /// Most topic filters of one SUBSCRIBE or UNSUBSCRIBE. Default 256 (0x97).
    pub max_filters_per_packet: u16,
    /// Most subscriptions of one session. Default 10,000 (SUBACK 0x97).
    pub max_subscriptions_per_session: u32,
    /// Most levels of all topic filters of one session together. Default 100,000 (SUBACK 0x97).
    pub max_filter_levels_per_session: u32,
    /// Most subscriptions of the broker. Default 10,000,000 (SUBACK 0x97).
    pub max_subscriptions: u32,
    /// Most connected clients. Default no limit but the host's (CONNACK 0x97).
    pub max_connections: u32,
    /// Unfinished fan-outs that no publisher waits for, such as wills and messages of clients that left, from which
    /// on nobody new is accepted. Default 1,024 (CONNACK 0x89).
    pub max_unowned_fanouts: u32,
    /// Most sessions, connected or not. Default 1,000,000 (CONNACK 0x97).
    pub max_sessions: u32,
    /// Unacknowledged QoS 1 and 2 messages that a client may have open; announced. Default 1,024 (0x93).
    pub receive_maximum: u16,
    /// Unacknowledged QoS 1 and 2 messages towards one client; the client's Receive Maximum lowers it. Nothing new is
    /// sent either while `max_queued_bytes` of them are unacknowledged. Default 1,024.
    pub max_inflight: u16,
    /// Messages that wait for one session. Default 32,768: of the smallest messages, which only this session waits for,
    /// these take 5 MiB, and 6 MiB of the memory budget.
    pub max_queued_messages: u32,
    /// Bytes that wait for one session; as many again, and one message, may be sent and unacknowledged. Default 8 MiB.
    pub max_queued_bytes: u32,
    /// Messages of one queue that stay in memory where a store keeps the rest. Default 256.
    pub queue_window_messages: u32,
    /// Bytes of one queue that stay in memory where a store keeps the rest. Default 1 MiB.
    pub queue_window_bytes: u32,
    /// What gives way when a queue is full. Default: the oldest.
    pub queue_full: QueueFull,
    /// Keep QoS 0 messages for sessions that are offline. Default no.
    pub queue_qos0_offline: bool,
    /// Unsent bytes of one connection from which on it gets no new PUBLISH and is not read. Default 256 KiB.
    pub egress_high: u32,
    /// Unsent bytes at which it gets messages again. Default 64 KiB.
    pub egress_low: u32,
    /// Time in which a client that is not read, because too much is unsent, has to take some of it; its keep-alive
    /// time where that is longer. Default 60 s (0x97).
    #[serde(rename = "stall_timeout_ms", with = "millis")]
    pub stall_timeout: Duration,
    /// PUBLISH packets of one client in a second; 0 is no limit. Default 0.
    pub max_publish_rate: u32,
    /// Bytes of those in a second; 0 is no limit. Default 0.
    pub max_publish_byte_rate: u32,
    /// How much of these may come at once, as the time that it takes. Default 1 s.
    #[serde(rename = "publish_burst_ms", with = "millis")]
    pub publish_burst: Duration,
    /// What becomes of a PUBLISH that comes earlier. Default: it waits.
    pub publish_rate_exceeded: PublishRateExceeded,
    /// Topic aliases that a client may set; announced. Default 16.
    pub topic_alias_maximum: u16,
    /// Topic aliases used towards one client; its Topic Alias Maximum lowers it. Default 16.
    pub max_outbound_topic_aliases: u16,
    /// Longest session expiry, seconds; sessions of 3.x clients get it. Default 7 days. `u32::MAX` is for ever.
    pub max_session_expiry: u32,
    /// Longest life of a message, seconds; 0 is no cap. A cap never adds a property to a packet. Default 0.
    pub max_message_expiry: u32,
    /// Longest keep-alive, seconds, given to clients that ask for more, or for none; 0 is no cap. Default 0.
    pub max_keep_alive: u16,
    /// Most retained messages, without those below `$SYS/`. Default 1,000,000 (0x97).
    pub max_retained_messages: u32,
    /// Most bytes of retained messages; those below `$SYS/` count, and are never refused. Default 1 GiB (0x97).
    pub max_retained_bytes: u64,
    /// Highest QoS that clients may publish with or are granted; announced when below 2. Default 2.
    #[serde(with = "qos")]
    pub maximum_qos: QoS,
    /// Are retained messages kept? Default yes (0x9A).
    pub retain_available: bool,
    /// Are wildcards allowed in topic filters? Default yes (0xA2).
    pub wildcard_subscriptions: bool,
    /// Are Subscription Identifiers allowed? Default yes (0xA1).
    pub subscription_ids: bool,
    /// Are shared subscriptions allowed? Default yes (0x9E).
    pub shared_subscriptions: bool,
    /// Which member of a shared subscription gets a message. Default round robin.
    pub shared_strategy: SharedStrategy,
    /// One copy for a client whose filters overlap, or one for each. Default one.
    pub overlap: Overlap,
    /// Say 0x10 in PUBACK and PUBREC when nobody subscribed (MQTT 5). Default yes.
    pub report_no_subscribers: bool,
    /// Say 0x80 in the place of 0x87 in SUBACK, PUBACK and PUBREC, so that a client does not hear why. Default no.
    pub obscure_not_authorized: bool,
    /// Refuse topic filters that reach beyond what the client may read. Otherwise such a subscription is granted, and
    /// messages that the client may not read do not come. Default yes (0x87).
    pub check_subscriptions: bool,
    /// Check payloads announced as UTF-8 (0x99). Default no.
    pub check_payload_format: bool,
    /// May a client leave its identifier empty? Default yes (0x85).
    pub allow_empty_client_id: bool,
    /// A session may be resumed or taken over only under the user name that made it. Default no.
    pub bind_session_to_user: bool,
    /// What Response Information says to clients that ask. Default nothing.
    pub response_information: Option<alloc::string::String>,
    /// Time for a hook to answer; then the answer is no. Default 5 s.
    #[serde(rename = "hook_timeout_ms", with = "millis")]
    pub hook_timeout: Duration,
    /// The same about who connects, for each step of it. Default none: `hook_timeout`.
    #[serde(rename = "authenticate_timeout_ms", with = "some_millis")]
    pub authenticate_timeout: Option<Duration>,
    /// The same about SUBSCRIBE and UNSUBSCRIBE. Default none: `hook_timeout`.
    #[serde(rename = "subscribe_timeout_ms", with = "some_millis")]
    pub subscribe_timeout: Option<Duration>,
    /// The same about PUBLISH. Default none: `hook_timeout`.
    #[serde(rename = "publish_timeout_ms", with = "some_millis")]
    pub publish_timeout: Option<Duration>,
    /// Questions about PUBLISH packets of one client that may be open; its next packets wait. Default 16.
    pub max_publish_questions: u16,
    /// Deliveries, steps of matching and of scans in one call; more go on in the next. Default 4,096.
    pub work_per_call: u32,
    /// Topic names whose matches are remembered. Default 16,384.
    pub match_cache_entries: u32,
    /// Bytes from which on publishers are slowed down, by the broker's own account of what it keeps. Default
    /// none; the regular broker takes 60 % of the memory there is.
    pub memory_high: Option<u64>,
    /// Bytes from which on new clients, subscriptions and messages are refused with 0x97, and QoS 0 is dropped.
    /// Default none; the regular broker takes 80 % of the memory there is.
    pub memory_max: Option<u64>,
    /// What an acknowledgement promises. Default memory.
    pub durability: Durability,
    /// Which hook points anybody listens to.
    #[serde(skip)]
    pub interest: Interest,
}

/// Durations as whole milliseconds.
mod millis {
    use core::time::Duration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// The same where there may be none.
mod some_millis {
    use core::time::Duration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option)] // As serde hands it.
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let millis = value.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        millis.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<u64>::deserialize(deserializer).map(|millis| millis.map(Duration::from_millis))
    }
}

/// Protocol version as the level that CONNECT carries.
mod level {
    use mqtt_proto::Version;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    #[allow(clippy::trivially_copy_pass_by_ref)] // As serde hands it.
    pub(super) fn serialize<S: Serializer>(value: &Version, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(value.level())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
        let level = u8::deserialize(deserializer)?;
        let known =
            [Version::V31, Version::V311, Version::V5].into_iter().find(|known| known.level() == level);
        known.ok_or_else(|| D::Error::custom("minimum_protocol_version is 3, 4 or 5"))
    }
}

/// QoS as a number.
mod qos {
    use mqtt_proto::QoS;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    #[allow(clippy::trivially_copy_pass_by_ref)] // As serde hands it.
    pub(super) fn serialize<S: Serializer>(value: &QoS, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*value as u8)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<QoS, D::Error> {
        let number = u8::deserialize(deserializer)?;
        QoS::from_bits(number).ok_or_else(|| D::Error::custom("maximum_qos is 0, 1 or 2"))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            minimum_protocol_version: Version::V31,
            connect_timeout: Duration::from_secs(10),
            max_packet_size_before_connect: 16 << 10,
            max_packet_size: 2 << 20,
            max_client_id_length: 256,
            max_topic_length: 4096,
            max_topic_levels: 128,
            max_user_properties: 64,
            max_user_property_bytes: 16 << 10,
            max_filters_per_packet: 256,
            max_subscriptions_per_session: 10_000,
            max_filter_levels_per_session: 100_000,
            max_subscriptions: 10_000_000,
            max_connections: u32::MAX,
            max_unowned_fanouts: 1024,
            max_sessions: 1_000_000,
            receive_maximum: 1024,
            max_inflight: 1024,
            max_queued_messages: 32_768,
            max_queued_bytes: 8 << 20,
            queue_window_messages: 256,
            queue_window_bytes: 1 << 20,
            queue_full: QueueFull::DropOldest,
            queue_qos0_offline: false,
            egress_high: 256 << 10,
            egress_low: 64 << 10,
            stall_timeout: Duration::from_secs(60),
            max_publish_rate: 0,
            max_publish_byte_rate: 0,
            publish_burst: Duration::from_secs(1),
            publish_rate_exceeded: PublishRateExceeded::Pause,
            topic_alias_maximum: 16,
            max_outbound_topic_aliases: 16,
            max_session_expiry: 7 * 24 * 3600,
            max_message_expiry: 0,
            max_keep_alive: 0,
            max_retained_messages: 1_000_000,
            max_retained_bytes: 1 << 30,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_subscriptions: true,
            subscription_ids: true,
            shared_subscriptions: true,
            shared_strategy: SharedStrategy::RoundRobin,
            overlap: Overlap::Once,
            report_no_subscribers: true,
            obscure_not_authorized: false,
            check_subscriptions: true,
            check_payload_format: false,
            allow_empty_client_id: true,
            bind_session_to_user: false,
            response_information: None,
            hook_timeout: Duration::from_secs(5),
            authenticate_timeout: None,
            subscribe_timeout: None,
            publish_timeout: None,
            max_publish_questions: 16,
            work_per_call: 4096,
            match_cache_entries: 16_384,
            memory_high: None,
            memory_max: None,
            durability: Durability::Memory,
            interest: Interest::NONE,
        }
    }
}

impl Config {
    /// How long an answer may take.
    pub(crate) fn time_limit(&self, question: &Question) -> Duration {
        let own = match question {
            Question::Authenticate(_) | Question::AuthenticateStep { .. } => self.authenticate_timeout,
            Question::Subscribe { .. } | Question::Unsubscribe { .. } => self.subscribe_timeout,
            Question::Publish { .. } => self.publish_timeout,
        };
        own.unwrap_or(self.hook_timeout)
    }

    /// The decoder's limits before a client is accepted.
    pub(crate) fn limits_before_connect(&self) -> Limits {
        Limits { max_packet_size: self.max_packet_size_before_connect, ..self.limits() }
    }

    /// The decoder's limits for an accepted client.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_packet_size: self.max_packet_size,
            max_user_properties: self.max_user_properties,
            max_user_property_bytes: self.max_user_property_bytes,
            max_topic_length: self.max_topic_length,
            max_topic_levels: self.max_topic_levels,
            max_client_id_length: self.max_client_id_length,
            max_filters: self.max_filters_per_packet,
        }
    }

    /// Is it bounded how fast a client publishes?
    pub(crate) fn limits_pace(&self) -> bool {
        self.max_publish_rate > 0 || self.max_publish_byte_rate > 0
    }

    /// Unsent bytes beyond which a connection is closed with 0x97. Just below high water a client may still be sent
    /// the largest packet there is, and acknowledgements and answers to come on top: whoever is closed has not
    /// read although nothing new was sent. Without high water in the sum, that one packet would close a client that
    /// is merely slow.
    pub(crate) fn egress_hard(&self) -> u32 {
        self.egress_high.saturating_add(self.max_packet_size).saturating_add(64 << 10)
    }
}

/// What gives way when a session's queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueFull {
    /// The first waiting QoS 0 message, else the oldest waiting one.
    DropOldest,
    /// The new message.
    DropNew,
}

/// What becomes of a PUBLISH that comes earlier than its client may send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishRateExceeded {
    /// It waits until its time has come, and no more is read from the client.
    Pause,
    /// It is not routed: of QoS 1 and 2 in MQTT 5 its acknowledgement says so (0x97), and whoever cannot be told is
    /// disconnected (0x96).
    Refuse,
}

/// Which member of a shared subscription gets a message; connected members come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SharedStrategy {
    /// One after the other.
    RoundRobin,
    /// At random from the engine's seed.
    Random,
    /// The same one as long as it is connected.
    Sticky,
    /// The one with the fewest unacknowledged messages.
    LeastInflight,
    /// By a hash of the publisher's client identifier.
    HashClient,
    /// By a hash of the topic name.
    HashTopic,
}

/// How often a client with overlapping filters gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// Once, at the highest granted QoS, with all Subscription Identifiers.
    Once,
    /// Once for each matching filter.
    PerSubscription,
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// The message is in the broker's memory; no store operations are emitted.
    Memory,
    /// Store operations are emitted; nothing waits for them.
    Async,
    /// Acknowledgements wait until [`crate::Input::Stored`] covers what they promise.
    Durable,
}
