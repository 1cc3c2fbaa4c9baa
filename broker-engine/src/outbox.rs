//! What the engine wants done, in lanes of plain vectors that the caller owns and reuses.
//!
//! Small frames live in one byte arena, so a delivered message costs no allocation; payloads of
//! [`SHARED_PAYLOAD`] bytes and more are shared instead of copied. Carry out `wire` in order: it is the only
//! lane that reaches clients, so frames cannot overtake each other.

use crate::hooks::{Call, Note};
use crate::ids::ConnId;
use crate::storage::{StoreOp, StoreSeq};
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Range;
use mqtt_proto::{EncodeError, Sink};
use serde::{Deserialize, Serialize};

/// Payloads from this size on (bytes) travel as a shared buffer behind the frame's head.
pub const SHARED_PAYLOAD: usize = 4096;

/// An arena larger than this is given back when the outbox is cleared.
const KEPT_ARENA: usize = 1 << 20;

/// One encoded packet: a head in the arena, then a shared payload (empty for most).
#[derive(Clone, Debug, Default)]
pub struct Frame {
    pub(crate) head: Range<u32>,
    /// What follows the head on the wire.
    pub payload: Bytes,
}

impl Frame {
    /// Bytes on the wire.
    #[allow(clippy::len_without_is_empty)] // A frame is never empty.
    pub fn len(&self) -> usize {
        self.head.len() + self.payload.len()
    }
}

/// One subscriber of a fan-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to.
    pub conn: ConnId,
    /// Overwrites the two bytes at `packet_id_at` of the fan-out's frame; 0 when there are none.
    pub packet_id: u16,
}

/// Something to do with a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Wire {
    /// Send one frame.
    Send {
        /// Where to.
        conn: ConnId,
        /// What.
        frame: Frame,
    },
    /// Send one frame to many, patching the packet identifier.
    Fanout {
        /// The template.
        frame: Frame,
        /// Offset of the packet identifier in the head, for QoS above 0.
        packet_id_at: Option<u32>,
        /// Subscribers: a range of [`Outbox::targets`].
        targets: Range<u32>,
    },
    /// Stop or resume reading from a client.
    Flow {
        /// Whom.
        conn: ConnId,
        /// What.
        flow: Flow,
    },
    /// Send what was queued, then close. The engine has forgotten the connection; nothing more is expected.
    Close {
        /// Whom.
        conn: ConnId,
    },
}

/// Whether to read from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flow {
    /// Read nothing until told.
    Pause,
    /// Read again.
    Resume,
}

/// The engine's output. Reuse one: [`Outbox::clear`] keeps its capacity.
#[derive(Debug, Default)]
pub struct Outbox {
    /// For connections, in order.
    pub wire: Vec<Wire>,
    /// Questions; each wants one [`crate::Input::Reply`].
    pub calls: Vec<Call>,
    /// Notifications; never answered.
    pub notes: Vec<Note>,
    /// Facts to keep, in order; acknowledged by [`crate::Input::Stored`].
    pub stores: Vec<(StoreSeq, StoreOp)>,
    pub(crate) arena: Vec<u8>,
    pub(crate) targets: Vec<Target>,
}

impl Outbox {
    /// An empty outbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// The head of a frame of this outbox.
    pub fn head(&self, frame: &Frame) -> &[u8] {
        self.arena.get(frame.head.start as usize..frame.head.end as usize).unwrap_or_default()
    }

    /// Subscribers of a [`Wire::Fanout`].
    pub fn targets(&self, range: &Range<u32>) -> &[Target] {
        self.targets.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    /// Nothing to do?
    pub fn is_empty(&self) -> bool {
        self.wire.is_empty() && self.calls.is_empty() && self.notes.is_empty() && self.stores.is_empty()
    }

    /// Forgets everything that was carried out.
    pub fn clear(&mut self) {
        self.wire.clear();
        self.calls.clear();
        self.notes.clear();
        self.stores.clear();
        self.targets.clear();
        self.arena.clear();
        self.arena.shrink_to(KEPT_ARENA);
        self.targets.shrink_to(KEPT_ARENA / size_of::<Target>());
    }

    /// Every byte sent to `conn`, for tests and simulators; a close is not visible here.
    pub fn bytes_for(&self, conn: ConnId) -> Vec<u8> {
        let mut bytes = Vec::new();
        for wire in &self.wire {
            match wire {
                Wire::Send { conn: to, frame } if *to == conn => {
                    bytes.extend_from_slice(self.head(frame));
                    bytes.extend_from_slice(&frame.payload);
                }
                Wire::Fanout { frame, packet_id_at, targets } => {
                    for target in self.targets(targets).iter().filter(|target| target.conn == conn) {
                        let start = bytes.len();
                        bytes.extend_from_slice(self.head(frame));
                        patch_packet_id(
                            bytes.get_mut(start..).unwrap_or_default(),
                            *packet_id_at,
                            target.packet_id,
                        );
                        bytes.extend_from_slice(&frame.payload);
                    }
                }
                _ => {}
            }
        }
        bytes
    }

    /// Was `conn` told to close?
    pub fn closes(&self, conn: ConnId) -> bool {
        self.wire.iter().any(|wire| matches!(wire, Wire::Close { conn: to } if *to == conn))
    }
}

/// Writes a subscriber's packet identifier into a copy of a fan-out's head.
pub fn patch_packet_id(head: &mut [u8], at: Option<u32>, packet_id: u16) {
    if let Some(at) = at
        && let Some(bytes) = head.get_mut(at as usize..).and_then(|rest| rest.first_chunk_mut::<2>())
    {
        *bytes = packet_id.to_be_bytes();
    }
}

/// Appends to the arena and remembers where.
pub(crate) struct ArenaSink<'a>(pub(crate) &'a mut Vec<u8>);

impl Sink for ArenaSink<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
