//! The store lane: facts as one ordered stream of idempotent operations.

mod gates;

pub(crate) use gates::Gates;

use alloc::{string::String, vec::Vec};
use bytes::Bytes;
use mqtt_proto::{QoS, SubscribeOptions};
use serde::{Deserialize, Serialize};

/// The number of a store operation; cumulative acknowledgement names the last one that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoreSeq(pub u64);

/// One fact to keep. Applying an operation twice is the same as once.
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
        /// Position in the session's order of delivery.
        position: u64,
        /// The message as an MQTT 5 PUBLISH.
        publish: Bytes,
        /// Quality of service of this delivery.
        qos: QoS,
        /// Whole seconds until it expires.
        expires_in: Option<u32>,
        /// Subscription Identifiers to send with it.
        subscription_ids: Vec<u32>,
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
        /// The message as an MQTT 5 PUBLISH.
        publish: Bytes,
        /// Whole seconds until it expires.
        expires_in: Option<u32>,
    },
    /// A topic has no retained message any more.
    RemoveRetained {
        /// Topic name.
        topic: String,
    },
}
