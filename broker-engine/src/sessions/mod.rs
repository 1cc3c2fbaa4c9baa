//! Sessions: what the broker keeps for a client identifier, connected or not.
//!
//! * [`queue`] — deliveries that wait to be sent, in memory and in the store
//! * [`inflight`] — deliveries that were sent and wait for the client's acknowledgement, packet identifiers
//! * [`lifecycle`] — begin, resume, take over, expire, end
//! * [`subscribe`] — SUBSCRIBE and UNSUBSCRIBE
//! * [`will`] — the will, its delay, and when it is due

pub(crate) mod inflight;
mod lifecycle;
pub(crate) mod queue;
mod subscribe;
mod will;

pub(crate) use will::Will;

use crate::ids::{ConnId, MessageKey};
use crate::permissions::Permissions;
use crate::time::Time;
use crate::topics::{EntryRef, GroupId};
use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use inflight::Inflight;
use mqtt_proto::{PacketId, QoS, SubscribeOptions, SubscriptionIds};
use queue::Queue;
use serde::{Deserialize, Serialize};

/// A session that never ends by itself.
pub(crate) const FOR_EVER: u32 = u32::MAX;

/// Everything kept for one client identifier.
///
/// In the order of memory: what a delivery looks at comes first, so that few cache lines are read for it.
#[repr(C)]
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) conn: Option<ConnId>,
    /// What its client may; `None` is everything.
    pub(crate) permissions: Option<Box<Permissions>>,
    /// Session Expiry Interval, seconds; 0 ends with the connection.
    pub(crate) expiry: u32,
    /// Earliest timer entry that is set for this session.
    pub(crate) armed: Option<Time>,
    /// Position of the next queued delivery, for the store.
    pub(crate) position: u64,
    pub(crate) inflight: Inflight,
    /// Deliveries that wait to be sent, oldest first.
    pub(crate) queue: Queue,
    pub(crate) client_id: Box<str>,
    /// User name that made it.
    pub(crate) username: Option<Box<str>>,
    /// When it ends, once it is offline.
    pub(crate) ends_at: Option<Time>,
    pub(crate) will: Option<Box<Will>>,
    /// When the will is due, once it is offline.
    pub(crate) will_at: Option<Time>,
    /// Sorted by filter text.
    pub(crate) subscriptions: Vec<Subscription>,
    /// Levels of all their topic filters.
    pub(crate) filter_levels: u32,
    /// Bytes of all their topic filters.
    pub(crate) filter_bytes: u64,
    /// QoS 2 messages of the client that wait for PUBREL, sorted by packet identifier.
    pub(crate) received: VecDeque<Received>,
    /// Its part of [`crate::engine::Engine::session_bytes`].
    pub(crate) counted: u64,
}

impl Session {
    pub(crate) fn new(client_id: &str, username: Option<&str>) -> Self {
        Self {
            client_id: client_id.into(),
            username: username.map(Into::into),
            conn: None,
            permissions: None,
            expiry: 0,
            ends_at: None,
            will: None,
            will_at: None,
            armed: None,
            subscriptions: Vec::new(),
            filter_levels: 0,
            filter_bytes: 0,
            queue: Queue::default(),
            inflight: Inflight::default(),
            received: VecDeque::new(),
            position: 0,
            counted: 0,
        }
    }

    /// Bytes that it keeps beside itself, its subscriptions' entries, and its deliveries with a message.
    pub(crate) fn kept(&self) -> u64 {
        let names = self.client_id.len() + self.username.as_ref().map_or(0, |name| name.len());
        let will = self.will.as_ref().map_or(0, |will| will.kept());
        let received = (self.received.len() * size_of::<Received>()) as u64;
        let exchanges = received + u64::from(self.inflight.released()) * 64;
        let permissions = self.permissions.as_ref().map_or(0, |permissions| permissions.kept());
        names as u64 + will + self.filter_bytes + exchanges + permissions
    }

    /// May its client get messages of this topic?
    #[inline]
    pub(crate) fn may_read(&self, topic: &str) -> bool {
        self.permissions.as_deref().is_none_or(|permissions| permissions.may_read(topic))
    }

    /// Where a QoS 2 message of the client is in `received`, or belongs.
    pub(crate) fn find_received(&self, packet_id: PacketId) -> Result<usize, usize> {
        self.received.binary_search_by_key(&packet_id.get(), |received| received.packet_id)
    }

    /// Does it outlive its connection?
    pub(crate) fn is_persistent(&self) -> bool {
        self.expiry > 0
    }

    /// Does the store know it? One that lost its expiry is still needed there for the rest of its queue.
    pub(crate) fn is_stored(&self) -> bool {
        self.is_persistent() || self.queue.paged() > 0
    }
}

/// A QoS 2 message of the client that waits for PUBREL.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) packet_id: u16,
    /// It came on an earlier connection, so it takes nothing of this one's Receive Maximum.
    pub(crate) is_earlier: bool,
}

/// A subscription as its session sees it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Subscription {
    /// Topic filter with its `$share` part.
    pub(crate) filter: Box<str>,
    /// Its entry in the subscription index.
    pub(crate) at: EntryRef,
}

/// A subscription as the index sees it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Subscriber {
    pub(crate) session: crate::collections::SlotKey,
    pub(crate) options: SubscribeOptions,
    /// Subscription Identifier, 0 for none.
    pub(crate) id: u32,
}

/// One message for one session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) message: MessageKey,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) ids: SubIds,
    /// The shared group that it came by.
    pub(crate) group: Option<GroupId>,
    /// Its place in the session's order, for the store.
    pub(crate) position: u64,
}

/// Subscription Identifiers of a delivery.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) enum SubIds {
    #[default]
    None,
    One(u32),
    Many(Box<[u32]>),
}

impl SubIds {
    /// From an identifier where 0 means none.
    pub(crate) fn new(id: u32) -> Self {
        if id == 0 { Self::None } else { Self::One(id) }
    }

    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// From identifiers that are none of them 0.
    pub(crate) fn from_slice(ids: &[u32]) -> Self {
        match ids {
            [] => Self::None,
            [id] => Self::One(*id),
            ids => Self::Many(ids.into()),
        }
    }

    /// Bytes that they take beside the delivery.
    pub(crate) fn kept(&self) -> u64 {
        match self {
            Self::None | Self::One(_) => 0,
            Self::Many(ids) => size_of_val::<[u32]>(ids) as u64,
        }
    }

    pub(crate) fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(id) => core::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }

    /// As the codec wants them.
    pub(crate) fn encoded(&self) -> SubscriptionIds<'_> {
        SubscriptionIds::List(self.as_slice())
    }
}
