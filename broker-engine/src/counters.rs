//! Plain counters, read through [`crate::View`].

use serde::{Deserialize, Serialize};

/// Why a message was not delivered to a session. The list is closed: a loss without one of these is a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DropReason {
    /// Its Message Expiry Interval passed before the first transmission.
    Expired,
    /// The session's queue held its maximum of messages.
    QueueFull,
    /// The session's queue held its maximum of bytes.
    QuotaBytes,
    /// Larger than the client's Maximum Packet Size.
    PacketTooLarge,
    /// QoS 0 for a session that is offline.
    Qos0Offline,
    /// QoS 0 for a client that does not read fast enough.
    Qos0SlowReader,
    /// The right to read was withdrawn.
    AclRevoked,
    /// The session ended with the message still waiting.
    SessionEnded,
    /// The client refused it with a reason code of 0x80 or above.
    ClientRejected,
    /// A shared subscription had no member left.
    SharedNoMember,
    /// A hook discarded it, once for each message: nobody knows who would have got it.
    HookDropped,
    /// An operator dropped it.
    AdminDropped,
    /// The store could not give it back.
    StoreLost,
}

impl DropReason {
    /// All of them, in the order of [`Counters::dropped`].
    pub const ALL: [Self; 13] = [
        Self::Expired,
        Self::QueueFull,
        Self::QuotaBytes,
        Self::PacketTooLarge,
        Self::Qos0Offline,
        Self::Qos0SlowReader,
        Self::AclRevoked,
        Self::SessionEnded,
        Self::ClientRejected,
        Self::SharedNoMember,
        Self::HookDropped,
        Self::AdminDropped,
        Self::StoreLost,
    ];

    /// Its name for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::QueueFull => "queue-full",
            Self::QuotaBytes => "quota-bytes",
            Self::PacketTooLarge => "packet-too-large",
            Self::Qos0Offline => "qos0-offline",
            Self::Qos0SlowReader => "qos0-slow-reader",
            Self::AclRevoked => "acl-revoked",
            Self::SessionEnded => "session-ended",
            Self::ClientRejected => "client-rejected",
            Self::SharedNoMember => "shared-no-member",
            Self::HookDropped => "hook-dropped",
            Self::AdminDropped => "admin-dropped",
            Self::StoreLost => "store-lost",
        }
    }
}

/// Totals since the engine was made. Gauges are in [`crate::View`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Bytes taken in.
    pub bytes_received: u64,
    /// Bytes emitted.
    pub bytes_sent: u64,
    /// Complete packets taken in.
    pub packets_received: u64,
    /// Packets emitted.
    pub packets_sent: u64,
    /// PUBLISH packets taken in, by QoS.
    pub publish_received: [u64; 3],
    /// PUBLISH packets taken in and not routed: refused, or of QoS 0 with the memory budget used up.
    pub publish_refused: u64,
    /// PUBLISH packets that waited because their client published faster than it may.
    pub publish_delayed: u64,
    /// Topic filters of SUBSCRIBE that were answered with an error.
    pub filters_refused: u64,
    /// PUBLISH packets emitted, by QoS, repeats included.
    pub publish_sent: [u64; 3],
    /// Messages handed to sessions, and those that hooks discarded: the sum of `completed`, `dropped`, and what waits or is in flight.
    pub routed: u64,
    /// Steps of matching: nodes of the topic filter tree that topic names were compared with, long levels counted
    /// more than once.
    pub matching_steps: u64,
    /// Deliveries finished: QoS 0 emitted, QoS 1 and 2 acknowledged. Of a session that ends also those of QoS 2 that
    /// wait for PUBCOMP: with PUBREC the client has them.
    pub completed: u64,
    /// Deliveries given up, by [`DropReason`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Clients accepted.
    pub connects: u64,
    /// CONNECTs refused.
    pub connects_refused: u64,
    /// Connections closed because no CONNECT came in time.
    pub connect_timeouts: u64,
    /// Clients closed because nothing came for one and a half keep-alive periods.
    pub keep_alive_timeouts: u64,
    /// Clients closed because they took nothing for the stall time.
    pub stall_timeouts: u64,
    /// Connections that ended.
    pub disconnects: u64,
    /// Connections closed for a breach of the protocol.
    pub protocol_errors: u64,
    /// Sessions begun.
    pub sessions_created: u64,
    /// Sessions that ended, for whatever reason.
    pub sessions_ended: u64,
    /// Sessions taken over by a new connection.
    pub takeovers: u64,
    /// Wills published.
    pub wills_sent: u64,
    /// Inputs for connections that are gone; harmless.
    pub stale_inputs: u64,
    /// Replies to questions that are no longer open; harmless.
    pub late_replies: u64,
    /// Questions denied because their time limit passed.
    pub hook_timeouts: u64,
    /// Inputs that a correct host does not send.
    pub host_misuse: u64,
}

impl Counters {
    /// Deliveries given up for one reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or_default()
    }

    pub(crate) fn drop_one(&mut self, reason: DropReason) {
        if let Some(total) = self.dropped.get_mut(reason as usize) {
            *total += 1;
        }
    }
}
