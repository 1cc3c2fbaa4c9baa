//! The memory budget: what the broker keeps, by its own account, and what gives way when that is much.
//!
//! The account is the same on every machine, and goes down at once when something is freed. What the allocator
//! and the host need on top is theirs; the budget leaves room for it.

use crate::collections::SlotKey;
use crate::connections::{Connection, Parked};
use crate::engine::Engine;
use crate::ids::ConnId;
use crate::outbox::Outbox;
use crate::sessions::Session;
use core::time::Duration;
use mqtt_proto::planted;

/// Rough sizes, bytes, of what is not counted one by one: tables, boxes and names included.
mod rough {
    pub(super) const CONNECTION: u64 = 512;
    pub(super) const SESSION: u64 = 512;
    pub(super) const SUBSCRIPTION: u64 = 80;
    pub(super) const FILTER: u64 = 176;
    pub(super) const GROUP: u64 = 80;
    pub(super) const NODE: u64 = 192;
    pub(super) const GATED: u64 = 96;
    pub(super) const MESSAGE: u64 = 128;
    pub(super) const DELIVERY: u64 = 64;
    pub(super) const RETAINED: u64 = 64;
    pub(super) const FANOUT: u64 = 128;
}

/// How long a publisher waits behind each PUBLISH above `memory_high`.
const PAUSE: Duration = Duration::from_millis(100);

/// How near the broker is to its memory budget.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum MemoryPressure {
    /// Below `memory_high`.
    #[default]
    None,
    /// From `memory_high` on: publishers are slowed down.
    High,
    /// From `memory_max` on: new clients, subscriptions and messages are refused.
    Max,
}

impl Engine {
    /// Bytes that the broker keeps, by its own account.
    pub(crate) fn memory_used(&self) -> u64 {
        let counted = [
            (self.connections.len(), rough::CONNECTION),
            (self.sessions.len(), rough::SESSION),
            (self.subscriptions as usize, rough::SUBSCRIPTION),
            (self.index.sizes().0, rough::FILTER),
            (self.index.sizes().1, rough::NODE),
            (self.index.groups(), rough::GROUP),
            (self.gates.len(), rough::GATED),
            (self.messages.len(), rough::MESSAGE),
            (self.retained.len(), rough::RETAINED),
            (self.fanouts.len(), rough::FANOUT),
        ];
        let tables: u64 = counted.iter().map(|(count, size)| *count as u64 * size).sum();
        let deliveries = self.messages.references() * rough::DELIVERY + self.messages.beside();
        let texts = self.index.texts() + self.retained_names;
        let messages = self.messages.bytes() + self.gates.bytes();
        let lists = self.fanouts.bytes() + self.index.watched_bytes() + self.index.remembered_bytes();
        tables
            + deliveries
            + texts
            + messages
            + lists
            + self.connection_bytes
            + self.session_bytes
            + self.undecided.bytes()
    }

    /// Is there room for so many bytes more?
    pub(crate) fn has_memory_for(&self, bytes: u64) -> bool {
        self.config.memory_max.is_none_or(|max| self.memory_used().saturating_add(bytes) < max)
    }

    pub(crate) fn memory_pressure(&self) -> MemoryPressure {
        if self.config.memory_high.is_none() && self.config.memory_max.is_none() {
            return MemoryPressure::None;
        }
        let used = self.memory_used();
        if planted!("overload-stays") && self.counters.publish_refused > 0 {
            return MemoryPressure::High;
        }
        if self.config.memory_max.is_some_and(|max| used >= max) {
            MemoryPressure::Max
        } else if self.config.memory_high.is_some_and(|high| used >= high) {
            MemoryPressure::High
        } else {
            MemoryPressure::None
        }
    }

    /// Above `memory_high` a publisher waits a moment behind its PUBLISH. It is slowed down and not stopped, so
    /// that the acknowledgements it may owe, which free memory, still arrive.
    pub(crate) fn slow_down(&mut self, id: ConnId, out: &mut Outbox) -> bool {
        let waits_for_readers = planted!("slow-reader-slows-all")
            && self.connections.iter().flatten().any(|conn| conn.egress.congested);
        if self.memory_pressure() == MemoryPressure::None && !waits_for_readers {
            return false;
        }
        // What is only remembered goes first.
        self.index.forget_matches();
        let until = self.now.after(PAUSE);
        let Some(conn) = self.conn_mut(id) else { return false };
        conn.parked = Some(alloc::boxed::Box::new(Parked::Pressure { until }));
        self.set_paused(id, true, out);
        self.arm_connection(id);
        true
    }

    /// Counts anew what a connection keeps.
    pub(crate) fn count_connection(&mut self, id: ConnId) {
        let Some(conn) = self.connections.get_mut(id.slot()).and_then(Option::as_mut) else { return };
        let kept = conn.kept();
        self.connection_bytes = self.connection_bytes - core::mem::replace(&mut conn.counted, kept) + kept;
    }

    /// Counts anew what a session keeps.
    pub(crate) fn count_session(&mut self, key: SlotKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let kept = session.kept();
        self.session_bytes = self.session_bytes - core::mem::replace(&mut session.counted, kept) + kept;
    }

    /// Recounts what the account adds up on the way; says which sum is wrong.
    pub(crate) fn audit(&self) -> Result<(), &'static str> {
        let open = || self.connections.iter().flatten();
        let sessions = || self.sessions.iter().map(|(_, session)| session);
        let deliveries = sessions().flat_map(|session| {
            let sent = session.inflight.iter().filter_map(|sent| sent.delivery());
            session.queue.iter().chain(sent)
        });
        let filters = |session: &Session| -> usize {
            session.subscriptions.iter().map(|known| known.filter.len()).sum()
        };
        let sums = [
            ("connections", open().map(Connection::kept).sum::<u64>() == self.connection_bytes),
            ("topic aliases", open().all(|conn| conn.aliases.adds_up())),
            ("retained messages on their way", open().all(|conn| conn.scans.adds_up())),
            ("sessions", sessions().map(Session::kept).sum::<u64>() == self.session_bytes),
            ("topic filters of sessions", sessions().all(|s| filters(s) as u64 == s.filter_bytes)),
            ("bytes in flight", sessions().all(|session| session.inflight.adds_up(&self.messages))),
            ("deliveries", deliveries.map(|d| d.ids.kept()).sum::<u64>() == self.messages.beside()),
            ("texts of the index", self.index.adds_up()),
            ("names of retained messages", self.recount_retained_names() == self.retained_names),
            ("undecided PUBLISH packets", self.undecided.recount() == self.undecided.bytes()),
            ("frames that wait for the store", self.gates.recount() == self.gates.bytes()),
        ];
        sums.iter().find(|(_, adds_up)| !adds_up).map_or(Ok(()), |(what, _)| Err(*what))
    }
}
