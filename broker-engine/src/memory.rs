//! The memory budget: what the broker keeps, by its own account, and what gives way when that is much.
//!
//! The account is the same on every machine, and goes down at once when something is freed. What the allocator
//! and the host need on top is theirs; the budget leaves room for it.

use crate::connections::{Connection, Parked};
use crate::engine::Engine;
use crate::ids::ConnId;
use crate::outbox::Outbox;
use core::time::Duration;

/// Rough sizes, bytes, of what is not counted one by one: tables, boxes and names included.
mod rough {
    pub(super) const CONNECTION: u64 = 512;
    pub(super) const SESSION: u64 = 512;
    pub(super) const SUBSCRIPTION: u64 = 256;
    pub(super) const NODE: u64 = 192;
    pub(super) const MESSAGE: u64 = 128;
    pub(super) const DELIVERY: u64 = 64;
    pub(super) const RETAINED: u64 = 192;
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
            (self.index.sizes().1, rough::NODE),
            (self.messages.len(), rough::MESSAGE),
            (self.retained.len(), rough::RETAINED),
            (self.fanouts.len(), rough::FANOUT),
        ];
        let tables: u64 = counted.iter().map(|(count, size)| *count as u64 * size).sum();
        let lists = self.fanouts.bytes() + self.index.remembered_bytes() + self.buffered;
        tables + self.messages.references() * rough::DELIVERY + self.messages.bytes() + lists
    }

    pub(crate) fn memory_pressure(&self) -> MemoryPressure {
        if self.config.memory_high.is_none() && self.config.memory_max.is_none() {
            return MemoryPressure::None;
        }
        let used = self.memory_used();
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
        if self.memory_pressure() == MemoryPressure::None {
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

    /// Counts the bytes buffered for a connection anew.
    pub(crate) fn count_buffered(&mut self, id: ConnId) {
        let Some(conn) = self.connections.get_mut(id.slot()).and_then(Option::as_mut) else { return };
        let buffered = conn.buffered_bytes();
        self.buffered = self.buffered - core::mem::replace(&mut conn.counted, buffered) + buffered;
    }
}

impl Connection {
    /// Bytes that wait for this connection, here or in the host.
    pub(crate) fn buffered_bytes(&self) -> u64 {
        self.input.len() as u64 + u64::from(self.egress.unsent)
    }
}
