//! The store lane: facts as one ordered stream of idempotent operations.
//!
//! * [`gates`] — what leaves only after its facts are kept
//! * [`boot`] — from the facts that a store has kept to an engine that goes on
//! * [`memory`] — a store that keeps facts in memory, for tests and for hosts without another one
//! * [`pressure`] — what is refused when the store is nearly full

mod boot;
mod gates;
mod memory;
mod pressure;

pub use boot::{Boot, BootReport};
pub(crate) use gates::{Gates, Held};
pub use memory::MemoryStore;
pub use pressure::StorePressure;

use alloc::{string::String, vec::Vec};
use bytes::Bytes;
use core::time::Duration;
use mqtt_proto::{QoS, SubscribeOptions};
use serde::{Deserialize, Serialize};

/// The number of a store operation; cumulative acknowledgement names the last one that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoreSeq(pub u64);

/// One fact to keep. Applying an operation twice is the same as once, and the operations of one call of
/// [`crate::Engine::handle`] are kept together or not at all.
///
/// What begins with `Put` is at the same time the record of the fact: a later one of the same client, filter, position,
/// packet identifier or topic takes its place, and [`Boot`] is given those that are left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StoreOp {
    /// A session that outlives its connection exists, or its expiry changed.
    PutSession {
        /// Client identifier.
        client_id: String,
        /// Session Expiry Interval, seconds; `u32::MAX` is for ever.
        expiry: u32,
        /// User name that made it.
        username: Option<String>,
        /// How long its client has been away, counted to when this is handed over; `None` while it is connected.
        away: Option<Duration>,
    },
    /// A session and all its state are gone.
    EndSession {
        /// Client identifier.
        client_id: String,
    },
    /// A subscription was made or replaced.
    PutSubscription {
        /// Client identifier.
        client_id: String,
        /// Topic filter with its `$share` part.
        filter: String,
        /// Options as granted.
        options: SubscribeOptions,
        /// Subscription Identifier.
        id: Option<u32>,
    },
    /// A subscription ended.
    RemoveSubscription {
        /// Client identifier.
        client_id: String,
        /// Topic filter with its `$share` part.
        filter: String,
    },
    /// A message waits for a session.
    PutQueued {
        /// Client identifier.
        client_id: String,
        /// The message and how it is to be delivered.
        delivery: StoredDelivery,
    },
    /// A waiting message was sent and got its packet identifier, or moved on to PUBREL.
    PutInflight {
        /// Client identifier.
        client_id: String,
        /// Position in the session's order of delivery.
        position: u64,
        /// Packet identifier.
        packet_id: u16,
        /// PUBREC was received.
        released: bool,
    },
    /// A message is delivered or given up.
    RemoveQueued {
        /// Client identifier.
        client_id: String,
        /// Position in the session's order of delivery.
        position: u64,
    },
    /// A QoS 2 PUBLISH of this client was accepted.
    PutReceived {
        /// Client identifier.
        client_id: String,
        /// Packet identifier.
        packet_id: u16,
    },
    /// Its PUBREL came.
    RemoveReceived {
        /// Client identifier.
        client_id: String,
        /// Packet identifier.
        packet_id: u16,
    },
    /// A topic's retained message.
    PutRetained {
        /// Topic name.
        topic: String,
        /// The message as an MQTT 5 PUBLISH of QoS 0.
        publish: Bytes,
        /// Quality of service that it was published with.
        qos: QoS,
        /// How long it lives.
        lifetime: Lifetime,
    },
    /// A topic has no retained message any more.
    RemoveRetained {
        /// Topic name.
        topic: String,
    },
    /// Not a fact but a question: a page of a session's queue, in order of position. Answered once by
    /// [`crate::Input::Loaded`], or by [`crate::Input::StoreFailed`]; [`crate::Input::Stored`] may cover it too.
    Fetch {
        /// Client identifier.
        client_id: String,
        /// First position wanted.
        from: u64,
        /// At most so many deliveries.
        max_messages: u32,
        /// No further delivery once so many bytes are together; the first one comes whatever its size.
        max_bytes: u64,
    },
    /// A client has a will, whether its session outlives it or not.
    PutWill {
        /// Client identifier.
        client_id: String,
        /// The will.
        will: StoredWill,
    },
    /// A will was sent, or is not to be sent any more.
    RemoveWill {
        /// Client identifier.
        client_id: String,
    },
}

impl StoreOp {
    /// The same fact, handed over so much later.
    #[must_use]
    pub fn aged(mut self, age: Duration) -> Self {
        match &mut self {
            Self::PutSession { away: Some(away), .. } => *away = away.saturating_add(age),
            Self::PutQueued { delivery, .. } => delivery.lifetime = delivery.lifetime.aged(age),
            Self::PutRetained { lifetime, .. } => *lifetime = lifetime.aged(age),
            _ => {}
        }
        self
    }
}

/// How long a message lives, counted from when it is handed over; `None` is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// Until it is not delivered any more; nothing left means that it has expired.
    pub left: Option<Duration>,
    /// Until the deadline that receivers are told, which is the publisher's own.
    pub told: Option<Duration>,
}

impl Lifetime {
    /// What is left of it so much later.
    #[must_use]
    pub fn aged(self, age: Duration) -> Self {
        let left = |left: Option<Duration>| left.map(|left| left.saturating_sub(age));
        Self { left: left(self.left), told: left(self.told) }
    }
}

/// A delivery as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDelivery {
    /// Position in the session's order of delivery.
    pub position: u64,
    /// The message as an MQTT 5 PUBLISH of its publisher's QoS 0.
    pub publish: Bytes,
    /// Quality of service of this delivery.
    pub qos: QoS,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Subscription Identifiers to send with it.
    pub subscription_ids: Vec<u32>,
    /// Topic filter of the shared subscription that it came by.
    pub share: Option<String>,
}

/// A will as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredWill {
    /// The message as an MQTT 5 PUBLISH of QoS 0, with RETAIN as it is to be published.
    pub publish: Bytes,
    /// Quality of service.
    pub qos: QoS,
    /// Message Expiry Interval, seconds, counted from publication.
    pub message_expiry: Option<u32>,
    /// Will Delay Interval, seconds.
    pub delay: u32,
}
