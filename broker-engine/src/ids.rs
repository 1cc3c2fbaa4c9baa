//! Handles: small values with a generation, so that a stale one is recognised instead of hitting a stranger.

use crate::collections::SlotKey;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A network connection. Handed out by [`ConnIds`]; the engine's and the host's tables share the slot number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnId {
    slot: u32,
    generation: u32,
}

impl ConnId {
    /// Index into a table of connections.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    /// How often the slot has been used.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

/// The one allocator of [`ConnId`]s. It belongs to whoever accepts connections, which need not be the
/// engine's thread.
#[derive(Debug, Default)]
pub struct ConnIds {
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl ConnIds {
    /// An empty allocator.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle that no live connection has. Freed slots are used again, last freed first.
    pub fn allocate(&mut self) -> ConnId {
        if let Some(slot) = self.free.pop() {
            let generation = self.generations.get(slot as usize).copied().unwrap_or_default();
            return ConnId { slot, generation };
        }
        let slot = u32::try_from(self.generations.len()).unwrap_or(u32::MAX);
        self.generations.push(0);
        ConnId { slot, generation: 0 }
    }

    /// Gives a handle back once neither socket nor engine uses it. Releasing twice is ignored.
    pub fn release(&mut self, conn: ConnId) {
        if let Some(generation) = self.generations.get_mut(conn.slot())
            && *generation == conn.generation
        {
            *generation = generation.wrapping_add(1);
            self.free.push(conn.slot);
        }
    }
}

/// A listener, numbered by the host; the engine only carries it to hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ListenerId(pub u16);

/// A question to a hook, named in its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId {
    pub(crate) conn: ConnId,
    pub(crate) number: u64,
}

/// A session in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey(pub(crate) SlotKey);

/// A message held for delivery or as retained; counted references live in [`crate::delivery`].
pub(crate) type MessageKey = SlotKey;
