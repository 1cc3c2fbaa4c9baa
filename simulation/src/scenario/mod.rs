//! A scenario: everything that is going to happen, as data.

mod faults;
mod generate;

pub use generate::{Profile, from_bytes, generate};

use broker_engine::Config;
use serde::{Deserialize, Serialize};

/// The form that this version writes.
pub const FORMAT: u32 = 1;

/// What is going to happen. Times are microseconds of virtual time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// [`FORMAT`].
    pub format: u32,
    /// Decides what the operations leave open: delays, splits, shared choices.
    pub seed: u64,
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// How often, per mille, the connection breaks instead of carrying a piece.
    pub cut: u32,
    /// How often, per mille, a connection that breaks does so without the broker being told.
    pub half_open: u32,
    /// Bytes that a socket takes before the broker has to keep the rest.
    pub socket_buffer: u64,
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
    /// How often, per mille, the answer to SUBSCRIBE is another one for each filter.
    #[serde(default)]
    pub change: u32,
    /// How often, per mille, a question is answered twice.
    #[serde(default)]
    pub answer_again: u32,
    /// How often, per mille of questions, another one is answered that nobody asked.
    #[serde(default)]
    pub stray_answer: u32,
    /// How often, per mille of questions, who answers ends the connection of the client that it is about.
    #[serde(default)]
    pub interrupt: u32,
    /// Time until the store has kept something at most.
    pub store_max: u64,
    /// How often, per mille, the store fails to keep what it is given at once.
    #[serde(default)]
    pub store_fail: u32,
    /// Lateness of timers at most.
    pub late_max: u64,
    /// How often, per mille of inputs, the engine is taken apart into a snapshot and put together again.
    pub restore: u32,
    /// How often, in a hundred thousand events, the process ends without a word and another one begins, with a
    /// snapshot of that moment or with nothing.
    #[serde(default)]
    pub crash: u32,
    /// How often, in a hundred thousand events, the broker is told to shut down, and another one begins with nothing.
    #[serde(default)]
    pub shutdown: u32,
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
pub struct Client {
    /// Client identifier. Several clients may have the same.
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
    /// Subscribes.
    Subscribe(Vec<Filter>),
    /// Unsubscribes.
    Unsubscribe(String),
    /// Publishes.
    Publish(Message),
    /// Publishes at QoS 2, again and again, more than the broker's Receive Maximum allows.
    Flood(Message),
    /// Sends the last unfinished QoS 2 message again.
    Repeat,
    /// Pings.
    Ping,
    /// Says goodbye: with reason 0x04 the will stays due.
    Disconnect {
        /// Reason 0x04 instead of 0x00.
        with_will: bool,
    },
    /// Breaks the connection.
    Cut,
    /// Stops reading from its socket.
    StopReading,
    /// Reads again.
    Read,
    /// Sends bytes that need not mean anything.
    Bytes(Vec<u8>),
    /// The operator ends this client's connection, and its session too if so said.
    Kick {
        /// End the session as well.
        end_session: bool,
    },
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

impl Scenario {
    /// Reads a saved one.
    ///
    /// # Errors
    /// It is not a scenario, or of another form.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let scenario: Self = serde_json::from_str(text).map_err(|error| format!("no scenario: {error}"))?;
        if scenario.format != FORMAT {
            return Err(format!("a scenario of form {}, this program knows {FORMAT}", scenario.format));
        }
        let clients = scenario.clients.len();
        match scenario.operations.iter().find(|operation| operation.client >= clients) {
            Some(stray) => Err(format!("an operation of client {}, there are {clients}", stray.client)),
            None => Ok(scenario),
        }
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
