//! Whose packets are written to the log.

use serde::{Deserialize, Serialize};

/// Packets that are written to the log, to see what a client and the broker say to each other. With neither clients nor
/// topics chosen there are none, and it costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PacketLogConfig {
    /// Client identifiers; `*` is everybody's.
    pub clients: Vec<String>,
    /// Topic filters: messages that any of them matches, whoever sends or gets them.
    pub topics: Vec<String>,
    /// Also PINGREQ and PINGRESP. Default no.
    pub pings: bool,
    /// Payloads too, and not only how long they are. Default no.
    pub payloads: bool,
    /// Passwords and authentication data too. Default no.
    pub secrets: bool,
}

impl PacketLogConfig {
    /// Is anything chosen?
    pub fn is_on(&self) -> bool {
        !self.clients.is_empty() || !self.topics.is_empty()
    }
}
