//! A scenario: everything that is going to happen, as data.
//!
//! * `generate` — from a seed, or from bytes
//! * `judge` — what cannot happen, in one that was edited

mod generate;
mod judge;

pub(crate) use generate::TOPICS;
pub(crate) use generate::quiet;
pub use generate::{Profile, from_bytes, generate};

use broker_engine::{Config, Permissions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The form that this version writes. It reads older ones as well: what they do not have is not there.
pub const FORMAT: u32 = 2;

/// What is going to happen. Times are microseconds of virtual time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// [`FORMAT`].
    pub format: u32,
    /// Decides what the operations leave open: delays, splits, shared choices.
    pub seed: u64,
    /// What the broker's clock shows when the world begins; all other times count from then.
    #[serde(default)]
    pub epoch: u64,
    /// Limits of the broker.
    pub limits: Config,
    /// How bytes travel.
    pub network: Network,
    /// How the outside of the engine behaves.
    pub outside: Outside,
    /// Who takes part.
    pub clients: Vec<Client>,
    /// What is done, in order of time.
    pub operations: Vec<Operation>,
    /// From then on nothing goes wrong any more and everybody who is there does what is expected, so that whatever
    /// is owed must arrive.
    pub heal_at: u64,
}

/// How bytes travel between clients and broker. Bytes of one direction keep their order, as with TCP.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// One-way delay at least.
    pub delay_min: u64,
    /// One-way delay at most.
    pub delay_max: u64,
    /// How often, per mille, something that is sent arrives in pieces.
    pub split: u32,
    /// Bytes of a piece at most.
    pub piece: u64,
    /// How often, per mille, a piece is held up for long.
    pub clog: u32,
    /// For how long at most.
    pub clog_max: u64,
    /// How often, per mille, the connection breaks in the midst of something that is sent.
    pub cut: u32,
    /// How often, per mille, a connection that breaks does so without the broker being told.
    pub half_open: u32,
    /// Bytes that a socket takes before the broker has to keep the rest.
    pub socket_buffer: u64,
    /// How often, per mille of connections, every byte travels by itself.
    #[serde(default)]
    pub bytewise: u32,
    /// How often, per mille, a piece takes up to a minute.
    #[serde(default)]
    pub tail: u32,
    /// Bytes per second of each direction of a connection; 0 for as many as there are.
    #[serde(default)]
    pub bandwidth: u64,
    /// How often, per mille, the broker's closing is a reset that discards what it sent last.
    #[serde(default)]
    pub abrupt: u32,
    /// How often, per mille, a client comes from another address than before.
    #[serde(default)]
    pub roaming: u32,
}

/// What the host does for the engine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outside {
    /// Time until a question is answered at most. Short ones are as frequent as long ones.
    pub answer_max: u64,
    /// How often, per mille, a question is never answered.
    pub no_answer: u32,
    /// How often, per mille, the answer is no.
    pub deny: u32,
    /// SUBSCRIBE is asked about as well.
    #[serde(default)]
    pub ask_subscribe: bool,
    /// PUBLISH is asked about as well.
    #[serde(default)]
    pub ask_publish: bool,
    /// How often, per mille, the answer to SUBSCRIBE is another one for each filter, and that to PUBLISH another message, none,
    /// or one that cannot be.
    #[serde(default)]
    pub change: u32,
    /// How often, per mille, a question is answered twice.
    #[serde(default)]
    pub answer_again: u32,
    /// How often, per mille of questions, another one is answered that nobody asked.
    #[serde(default)]
    pub stray_answer: u32,
    /// How often, per mille of questions, who answers does something else first.
    #[serde(default)]
    pub interrupt: u32,
    /// One of these, for the client that the question is about. If there are none, its connection is ended.
    #[serde(default)]
    pub deeds: Vec<What>,
    /// Time until the store has kept something at most.
    pub store_max: u64,
    /// How often, per mille, the store fails to keep what it is given at once.
    #[serde(default)]
    pub store_fail: u32,
    /// Lateness of timers at most.
    pub late_max: u64,
    /// How often, per mille, a timer comes twice.
    #[serde(default)]
    pub tick_twice: u32,
    /// How often, per mille, a timer does not come: the next input is what the engine hears next.
    #[serde(default)]
    pub tick_lost: u32,
    /// How often, per mille of inputs, the engine is taken apart into a snapshot and put together again.
    pub restore: u32,
    /// How often, in a hundred thousand events, the process ends without a word and another one begins, with a snapshot or with
    /// nothing.
    #[serde(default)]
    pub crash: u32,
    /// Time between two snapshots that the host keeps; 0 for none. A process that ends goes back to the last one where it would
    /// have one of its last moment.
    #[serde(default)]
    pub snapshot_every: u64,
    /// How often, in a hundred thousand events, the broker is told to shut down, and another one begins, with a snapshot of it
    /// or with nothing.
    #[serde(default)]
    pub shutdown: u32,
    /// The store outlives the process, and another one begins from what it has.
    #[serde(default)]
    pub lasting: bool,
    /// How often, per mille, a process that begins from the store ends at once.
    #[serde(default)]
    pub crash_again: u32,
    /// How often, per mille of processes that begin from the store, records in it are damaged.
    #[serde(default)]
    pub damage: u32,
    /// How often, per mille of processes that begin from the store, one has other limits.
    #[serde(default)]
    pub other_limits: u32,
    /// How often, in a hundred thousand events, that store is full for a while, and keeps nothing.
    #[serde(default)]
    pub store_full: u32,
    /// For how long at most.
    #[serde(default)]
    pub store_full_max: u64,
    /// How often, in a hundred thousand events, no socket takes anything for a while.
    #[serde(default)]
    pub blocked: u32,
    /// For how long at most.
    #[serde(default)]
    pub blocked_max: u64,
}

/// A client and its habits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools)] // Independent habits.
pub struct Client {
    /// Client identifier. Several clients may have the same; who has an empty one gets another from the broker each time.
    pub id: String,
    /// User name.
    pub username: Option<String>,
    /// 3, 4 or 5.
    pub version: u8,
    /// Clean Start, or Clean Session.
    pub clean: bool,
    /// Session Expiry Interval, seconds; MQTT 5 only.
    pub expiry: u32,
    /// Keep Alive, seconds. The client pings in time.
    pub keep_alive: u16,
    /// Receive Maximum; MQTT 5 only.
    pub receive_maximum: Option<u16>,
    /// Maximum Packet Size; MQTT 5 only.
    pub maximum_packet_size: Option<u32>,
    /// Topic Alias Maximum; MQTT 5 only.
    pub topic_alias_maximum: u16,
    /// Its will.
    pub will: Option<Will>,
    /// How it acknowledges.
    pub acks: Acks,
    /// Time until it connects again after it lost its connection; `None`: only when an operation says so.
    pub reconnect: Option<u64>,
    /// Bytes that it reads per second, 0 for none; `None`: all at once.
    #[serde(default)]
    pub reads: Option<u64>,
    /// Keeps every PUBREL to itself until the world heals.
    #[serde(default)]
    pub holds_release: bool,
    /// Sends topic aliases as far as the broker takes them; MQTT 5 only.
    #[serde(default)]
    pub uses_aliases: bool,
    /// Packet identifier that it used last before its first packet.
    #[serde(default)]
    pub last_packet_id: u16,
    /// How its clock goes.
    #[serde(default)]
    pub drift: Drift,
    /// It stays as it is when the world heals, until everybody leaves, and nothing is expected of it: whatever it does, the
    /// others get what is owed to them.
    #[serde(default)]
    pub incurable: bool,
    /// Enhanced authentication in so many steps beyond the first; MQTT 5 only.
    #[serde(default)]
    pub steps: Option<u8>,
    /// It asks for what the broker does not offer, until the world heals.
    #[serde(default)]
    pub heedless: bool,
    /// What it may publish and read when it is let in; `None` is everything. Of clients that share an identifier it is what
    /// the first one has.
    #[serde(default)]
    pub permissions: Option<Permissions>,
}

/// How a client's clock goes beside the broker's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// Its waits are longer by so many per mille, shorter if negative.
    pub per_mille: i32,
    /// Microseconds after which longer and shorter change places; 0 for never.
    pub turns: u64,
}

/// A will.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Will {
    /// Topic name.
    pub topic: String,
    /// Quality of service.
    pub qos: u8,
    /// To be retained.
    pub retain: bool,
    /// Will Delay Interval, seconds; MQTT 5 only.
    pub delay: u32,
    /// Message Expiry Interval, seconds; MQTT 5 only.
    #[serde(default)]
    pub expiry: Option<u32>,
    /// What it says beside its payload; MQTT 5 only.
    #[serde(default)]
    pub properties: Option<Box<Properties>>,
}

/// How a client acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acks {
    /// At once.
    Prompt,
    /// After so many microseconds.
    After(u64),
    /// Not until the world heals.
    Never,
    /// With an error code, where the version has one.
    Refuse,
    /// What came within so many microseconds at once, the latest first.
    Reverse(u64),
    /// Everything two times.
    Twice,
    /// At once, and beside it what never came.
    Stray,
    /// PUBACK and PUBREC at once, PUBCOMP not until the world heals.
    HalfWay,
}

/// Something that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// When.
    pub at: u64,
    /// By whom: place in [`Scenario::clients`].
    pub client: usize,
    /// What.
    pub what: What,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Opens a connection. A client that has one lets go of it first, without a word.
    Connect,
    /// Opens a connection as [`What::Connect`] does, with another Session Expiry Interval; MQTT 5 only.
    ConnectFor(u32),
    /// Opens so many connections at once, all under its identifier, and goes on with the last.
    ConnectMany(u8),
    /// Subscribes.
    Subscribe(Vec<Filter>),
    /// Subscribes under a Subscription Identifier; MQTT 5 only.
    SubscribeAs(u32, Vec<Filter>),
    /// Unsubscribes.
    Unsubscribe(String),
    /// Publishes.
    Publish(Message),
    /// Publishes at QoS 2, again and again, more than the broker's Receive Maximum allows.
    Flood(Message),
    /// Sends the last unfinished QoS 2 message again.
    Repeat,
    /// The same, as if it were the first time: with DUP 0.
    RepeatAsNew,
    /// Pings.
    Ping,
    /// Authenticates again, if it did so in steps and is not about to; MQTT 5 only.
    Authenticate,
    /// Says goodbye: with reason 0x04 the will stays due.
    Disconnect {
        /// Reason 0x04 instead of 0x00.
        with_will: bool,
        /// Another Session Expiry Interval, for a session that has one; MQTT 5 only.
        #[serde(default)]
        expiry: Option<u32>,
    },
    /// Breaks the connection.
    Cut,
    /// Ends the connection in the middle of a packet.
    EndMidPacket,
    /// Ends its own direction of the connection and reads on.
    HalfClose,
    /// The network keeps what is on its way to and from this client, in the directions that are said.
    Hold {
        /// Towards the broker.
        up: bool,
        /// Towards the client.
        down: bool,
    },
    /// The network hands on what it kept.
    Release,
    /// The world stands still for so many microseconds; whatever was due meanwhile comes at once, behind them.
    Pause(u64),
    /// The wall clock jumps by so many milliseconds; the broker's own does not.
    WallClock(i64),
    /// Stops reading from its socket.
    StopReading,
    /// Reads again.
    Read,
    /// Sends bytes that need not mean anything.
    Bytes(Vec<u8>),
    /// Somebody sends what no client would.
    Hostile(Hostile),
    /// The operator ends this client's connection, and its session too if so said.
    Kick {
        /// End the session as well.
        end_session: bool,
    },
    /// The operator says what this client may publish and read from now on; `None` is everything.
    SetPermissions(Option<Permissions>),
    /// The operator subscribes for this client.
    SubscribeFor(Filter),
    /// The operator ends a subscription of this client.
    UnsubscribeFor(String),
    /// The broker itself publishes.
    Announce(Message),
}

/// What somebody sends who does not keep to the protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hostile {
    /// What is wrong with it.
    pub class: Hostility,
    /// On the client's own connection; otherwise on one that is opened for it.
    pub own: bool,
    /// Bytes that are sent at once.
    pub chunks: Vec<Vec<u8>>,
    /// Time between two of them.
    pub pause: u64,
    /// What is in front of MQTT where they come in.
    #[serde(default)]
    pub through: Through,
}

/// What a listener asks for before MQTT, of a connection that is opened for somebody hostile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Through {
    /// Nothing.
    #[default]
    Nothing,
    /// One port for MQTT with WebSocket and without.
    OnePort,
    /// The same behind a PROXY header.
    Proxy,
}

/// What is wrong with bytes, by the fault catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hostility {
    /// C10: nothing comes at all, or a CONNECT byte by byte.
    Slow,
    /// M01: bits and bytes are changed, left out, repeated, cut off.
    Damaged,
    /// M02: a length is not that of what follows.
    Length,
    /// M03: properties that are unknown, repeated, at the wrong place, too many.
    Property,
    /// M04: text that is none, or none that MQTT takes.
    Text,
    /// M05: a packet that is not for this state.
    Illegal,
    /// M06: reserved bits.
    Reserved,
    /// M07: two sessions in one stream.
    Spliced,
    /// M08: what brokers have stumbled over before.
    Known,
    /// M09: WebSocket as no client speaks it.
    Framing,
    /// M11: another protocol.
    Foreign,
    /// N13: a PROXY header that is none.
    Header,
}

impl Hostility {
    /// Its class in the fault catalogue.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Slow => "C10",
            Self::Damaged => "M01",
            Self::Length => "M02",
            Self::Property => "M03",
            Self::Text => "M04",
            Self::Illegal => "M05",
            Self::Reserved => "M06",
            Self::Spliced => "M07",
            Self::Known => "M08",
            Self::Framing => "M09",
            Self::Foreign => "M11",
            Self::Header => "N13",
        }
    }
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Topic filter.
    pub filter: String,
    /// Highest quality of service.
    pub qos: u8,
    /// No Local; MQTT 5 only.
    pub no_local: bool,
    /// Retain As Published; MQTT 5 only.
    pub retain_as_published: bool,
    /// Retain Handling; MQTT 5 only.
    pub retain_handling: u8,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Topic name.
    pub topic: String,
    /// Quality of service.
    pub qos: u8,
    /// To be retained.
    pub retain: bool,
    /// Bytes of payload; 0 removes what is retained, otherwise no fewer than a message's number takes.
    pub size: u32,
    /// Message Expiry Interval, seconds; MQTT 5 only.
    pub expiry: Option<u32>,
    /// What it says beside its payload; MQTT 5 only.
    #[serde(default)]
    pub properties: Option<Box<Properties>>,
}

/// What a message says beside its payload, which reaches its receivers as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Properties {
    /// Payload Format Indicator: it is text.
    pub is_text: Option<bool>,
    /// Content Type.
    pub content_type: Option<String>,
    /// Response Topic.
    pub response_topic: Option<String>,
    /// Correlation Data.
    pub correlation_data: Option<Vec<u8>>,
    /// User Properties, in their order.
    pub user: Vec<(String, String)>,
}

impl Client {
    /// A limit at one of its ends.
    pub(crate) fn has_odd_limits(&self) -> bool {
        let odd = [1, 2, u16::MAX];
        self.version == 5
            && (self.receive_maximum.is_some_and(|most| odd.contains(&most))
                || self.maximum_packet_size.is_some_and(|most| most <= 200)
                || self.topic_alias_maximum == u16::MAX)
    }
}

impl Scenario {
    /// What clients may when they are let in, by client identifier, where it is not everything.
    pub(crate) fn admissions(&self) -> BTreeMap<String, Permissions> {
        let mut seen = BTreeMap::new();
        for client in &self.clients {
            seen.entry(client.id.clone()).or_insert(client.permissions.clone());
        }
        seen.into_iter().filter_map(|(id, permissions)| Some((id, permissions?))).collect()
    }

    /// Reads a saved one.
    ///
    /// # Errors
    /// It is not a scenario, of another form, or cannot happen.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let scenario: Self = serde_json::from_str(text).map_err(|error| format!("no scenario: {error}"))?;
        if !(1..=FORMAT).contains(&scenario.format) {
            return Err(format!("a scenario of form {}, this program knows 1 to {FORMAT}", scenario.format));
        }
        scenario.judge()?;
        Ok(scenario)
    }

    /// To be saved: a line for each client and operation.
    ///
    /// # Panics
    /// Never: there is nothing in it that JSON does not have.
    pub fn to_json(&self) -> String {
        let value = serde_json::to_value(self).expect("plain data");
        let mut lines = Vec::new();
        for (name, field) in value.as_object().into_iter().flatten() {
            let text = match field.as_array() {
                Some(items) if !items.is_empty() => {
                    let items: Vec<String> = items.iter().map(|item| format!("    {item}")).collect();
                    format!("[\n{}\n  ]", items.join(",\n"))
                }
                _ => field.to_string(),
            };
            lines.push(format!("  \"{name}\": {text}"));
        }
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }
}
