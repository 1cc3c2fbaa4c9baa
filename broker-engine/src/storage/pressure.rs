//! What is refused when the store is nearly full. The host measures, and says how near it is.
//!
//! Who is refused can do without: what gives space back, such as acknowledgements and the ends of sessions, always comes
//! through.

use crate::engine::Engine;
use mqtt_proto::{Publish, QoS};
use serde::{Deserialize, Serialize};

/// How near the store is to the bytes that it may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StorePressure {
    /// There is room.
    #[default]
    None,
    /// What may be dropped is not kept any more: messages of QoS 0 for clients that are away.
    High,
    /// Nothing more fits: messages above QoS 0 and retained ones, sessions that last and subscriptions of those are refused.
    Max,
}

impl Engine {
    /// Has the store room for this message, if it would keep it? An empty retained one gives room.
    pub(crate) fn has_store_for(&self, publish: &Publish<'_>) -> bool {
        let is_removal = publish.retain && publish.payload.is_empty();
        self.has_store() || is_removal || (publish.qos == QoS::AtMostOnce && !publish.retain)
    }

    /// Has the store room for anything more?
    pub(crate) fn has_store(&self) -> bool {
        self.store_pressure < StorePressure::Max
    }
}
