//! Handles: small values with a generation, so that a stale one is recognised instead of hitting a stranger.

use crate::collections::{SlotKey, Slots};
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
pub struct ConnIds(Slots<()>);

impl ConnIds {
    /// An empty allocator.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle that no live connection has. The lowest free slot comes first, so that tables of connections stay
    /// short.
    pub fn allocate(&mut self) -> ConnId {
        let key = self.0.insert(());
        ConnId { slot: key.index(), generation: key.generation() }
    }

    /// Gives a handle back once neither socket nor engine uses it. Releasing twice is ignored.
    pub fn release(&mut self, conn: ConnId) {
        self.0.remove(SlotKey::new(conn.slot, conn.generation));
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
