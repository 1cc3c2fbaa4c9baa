//! Connections: from bytes to packets to decisions, for one network connection at a time.
//!
//! * [`receive`] — bytes in any split become whole packets; parked packets wait
//! * [`connect`] — CONNECT, the authentication question, CONNACK
//! * [`auth`] — AUTH: enhanced authentication and re-authentication
//! * [`dispatch`] — every other packet of an accepted client
//! * [`publish`] — an inbound PUBLISH and PUBREL
//! * [`undecided`] — PUBLISH packets that a hook is asked about
//! * [`pace`] — how fast a client publishes
//! * [`acks`] — the client's acknowledgements of our deliveries
//! * [`close`] — every way a connection ends
//! * [`flow`] — back-pressure

mod acks;
mod auth;
mod close;
mod connect;
mod dispatch;
mod flow;
mod pace;
mod publish;
mod receive;
mod undecided;

pub(crate) use close::Farewell;
pub(crate) use flow::Hearing;
pub(crate) use publish::{Owed, forwarded};
pub(crate) use receive::After;
pub(crate) use undecided::Undecided;

use crate::collections::SlotKey;
use crate::delivery::{Aliases, RetainedScans};
use crate::ids::{CallId, ConnId, ListenerId};
use crate::time::Time;
use alloc::{boxed::Box, string::String, vec::Vec};
use core::net::SocketAddr;
use mqtt_proto::{PacketId, ReasonCode, SubscribeOptions, Version};
use pace::Pace;
use serde::{Deserialize, Serialize};

/// What the engine keeps for one network connection.
///
/// In the order of memory: what a delivery looks at comes first, so that few cache lines are read for it.
#[repr(C)]
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Connection {
    /// Earliest timer entry that is set for this connection.
    pub(crate) armed: Option<Time>,
    pub(crate) id: ConnId,
    pub(crate) parked: Option<Box<Parked>>,
    pub(crate) egress: Egress,
    /// Maximum Packet Size of the client, bytes.
    pub(crate) max_packet_size: u32,
    pub(crate) listener: ListenerId,
    pub(crate) version: Version,
    pub(crate) reading: Reading,
    /// Receive Maximum of the client, lowered to our own window.
    pub(crate) send_maximum: u16,
    /// In-flight deliveries sent on this connection.
    pub(crate) outstanding: u16,
    /// How many of the session's in-flight deliveries were sent (again) on this connection.
    pub(crate) resent: u16,
    /// QoS 2 messages accepted on this connection that wait for PUBREL.
    pub(crate) received: u16,
    pub(crate) aliases: Aliases,
    pub(crate) phase: Phase,
    /// Bytes of an incomplete packet, or bytes that wait while a packet is parked. No capacity when idle.
    pub(crate) input: Vec<u8>,
    /// Length of `input` below which it holds no whole packet.
    pub(crate) need: usize,
    /// The last sign of life: a whole packet came, or, while the client is not read, it took something from us.
    pub(crate) last_seen: Time,
    /// Silence after which the client is taken for dead, microseconds; 0 is never.
    pub(crate) patience: u64,
    /// Its part of [`crate::engine::Engine::connection_bytes`].
    pub(crate) counted: u64,
    pub(crate) scans: RetainedScans,
    pub(crate) pace: Pace,
    /// Its session has permissions.
    pub(crate) restricted: bool,
    /// Request Problem Information.
    pub(crate) problem_information: bool,
    /// Enhanced authentication, if CONNECT named a method.
    pub(crate) exchange: Option<Box<Exchange>>,
    /// Session Expiry Interval of the CONNECT was 0, so DISCONNECT must not raise it.
    pub(crate) expiry_was_zero: bool,
}

/// Enhanced authentication of a connection.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// Authentication Method of the CONNECT.
    pub(crate) method: Box<str>,
    /// Our AUTH asked for more and is not answered yet.
    pub(crate) asked: bool,
}

impl Connection {
    pub(crate) fn new(id: ConnId, listener: ListenerId, peer: Option<SocketAddr>, now: Time) -> Self {
        Self {
            id,
            listener,
            version: Version::V5,
            phase: Phase::Opening { peer },
            input: Vec::new(),
            need: 0,
            parked: None,
            last_seen: now,
            patience: 0,
            armed: None,
            reading: Reading::On,
            egress: Egress::default(),
            counted: 0,
            scans: RetainedScans::default(),
            pace: Pace::default(),
            send_maximum: u16::MAX,
            outstanding: 0,
            resent: 0,
            received: 0,
            max_packet_size: u32::MAX,
            restricted: false,
            problem_information: true,
            exchange: None,
            aliases: Aliases::default(),
            expiry_was_zero: false,
        }
    }

    /// The session of an accepted client.
    pub(crate) fn session(&self) -> Option<SlotKey> {
        match self.phase {
            Phase::Online { session } => Some(session),
            _ => None,
        }
    }

    /// Has its CONNACK left?
    pub(crate) fn is_greeted(&self) -> bool {
        !matches!(self.parked.as_deref(), Some(Parked::Greeting))
    }

    /// May a message be sent to it in this call?
    #[inline]
    pub(crate) fn can_send(&self, call: u64, egress_high: u32) -> bool {
        !self.is_gone()
            && self.is_greeted()
            && !self.egress.congested
            && self.egress.unsent.saturating_add(self.egress.emitted_in(call)) < egress_high
    }

    /// Are its reads paused?
    pub(crate) fn is_paused(&self) -> bool {
        self.reading == Reading::Paused
    }

    /// Is its transport gone, so that nothing can be sent?
    pub(crate) fn is_gone(&self) -> bool {
        self.reading == Reading::Over
    }

    pub(crate) fn has_quota(&self) -> bool {
        self.outstanding < self.send_maximum
    }

    /// Bytes that are kept for it beside itself, here or in the host.
    pub(crate) fn kept(&self) -> u64 {
        let applicant = match &self.phase {
            Phase::Authenticating(applicant) => applicant.packet.len() as u64,
            _ => 0,
        };
        let parked = match self.parked.as_deref() {
            Some(Parked::Question { size, .. }) => *size,
            _ => 0,
        };
        let method = self.exchange.as_ref().map_or(0, |exchange| exchange.method.len() as u64);
        let buffers = self.input.len() as u64 + u64::from(self.egress.unsent);
        buffers + applicant + parked + method + self.aliases.kept() + self.scans.kept()
    }
}

/// Whether bytes come from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reading {
    On,
    /// The host was asked to read nothing for now.
    Paused,
    /// The transport is gone. What came before it went is still heard.
    Over,
}

/// How far a connection has come.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Waiting for CONNECT.
    Opening { peer: Option<SocketAddr> },
    /// CONNECT was read; hooks decide.
    Authenticating(Box<Applicant>),
    /// Accepted.
    Online { session: SlotKey },
}

/// A CONNECT that waits for its answer, as owned values.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Applicant {
    /// The whole CONNECT packet, decoded again when the answer is there.
    pub(crate) packet: Vec<u8>,
    pub(crate) peer: Option<SocketAddr>,
}

/// A packet that waits; later packets of the client wait behind it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Parked {
    /// For the answer to a question, at most until the deadline.
    Question {
        call: CallId,
        deadline: Time,
        about: About,
        /// Bytes that it keeps.
        size: u64,
    },
    /// For hooks to decide about the PUBLISH packets before it. It is the first that is not handled.
    Publishes,
    /// For a large fan-out to be finished, then to be acknowledged.
    Fanout,
    /// For a moment, because memory is short; the packets behind it wait, it itself is done with.
    Pressure { until: Time },
    /// For its time, as its client publishes faster than it may. It is the first that is not handled.
    Pace { until: Time },
    /// For the store, with CONNACK at its gate: nothing may overtake it [MQTT-3.2.0-1].
    Greeting,
}

/// What a question is about.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum About {
    /// The CONNECT in [`Phase::Authenticating`].
    Connect,
    /// An AUTH of an accepted client.
    Reauthentication,
    /// A SUBSCRIBE.
    Subscribe(SubscribeRequest),
    /// An UNSUBSCRIBE.
    Unsubscribe(UnsubscribeRequest),
}

impl About {
    /// Bytes that it keeps.
    pub(crate) fn kept(&self) -> u64 {
        match self {
            Self::Subscribe(request) => request.kept(),
            Self::Unsubscribe(request) => request.kept(),
            Self::Connect | Self::Reauthentication => 0,
        }
    }
}

/// A SUBSCRIBE as owned values.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SubscribeRequest {
    pub(crate) packet_id: PacketId,
    /// Subscription Identifier, 0 for none.
    pub(crate) id: u32,
    pub(crate) filters: Vec<(String, SubscribeOptions, ReasonCode)>,
}

impl SubscribeRequest {
    /// Bytes that it keeps.
    fn kept(&self) -> u64 {
        let texts: usize = self.filters.iter().map(|(filter, ..)| filter.len()).sum();
        (texts + self.filters.len() * 40) as u64
    }
}

/// An UNSUBSCRIBE as owned values.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UnsubscribeRequest {
    pub(crate) packet_id: PacketId,
    pub(crate) filters: Vec<String>,
}

impl UnsubscribeRequest {
    /// Bytes that it keeps.
    fn kept(&self) -> u64 {
        let texts: usize = self.filters.iter().map(String::len).sum();
        (texts + self.filters.len() * size_of::<String>()) as u64
    }
}

/// The engine's idea of what a connection has not sent yet.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Egress {
    /// As reported by the host.
    pub(crate) unsent: u32,
    /// Emitted in the call numbered `call`.
    pub(crate) emitted: u32,
    pub(crate) call: u64,
    /// Over high water; ends below low water.
    pub(crate) congested: bool,
    /// A work item will go on with its queue.
    pub(crate) draining: bool,
    /// A work item will go on with its retained messages.
    pub(crate) scanning: bool,
}

impl Egress {
    /// Bytes that this call has emitted so far.
    #[inline]
    fn emitted_in(&self, call: u64) -> u32 {
        if self.call == call { self.emitted } else { 0 }
    }

    /// Bytes are emitted in this call.
    #[inline]
    pub(crate) fn emit(&mut self, call: u64, len: usize) {
        self.emitted = self.emitted_in(call).saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        self.call = call;
    }
}
