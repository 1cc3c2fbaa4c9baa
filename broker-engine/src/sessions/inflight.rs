//! Deliveries that were sent and wait for an acknowledgement, in sending order, with their packet identifiers.

use super::Delivery;
use alloc::{collections::VecDeque, vec::Vec};
use mqtt_proto::PacketId;
use serde::{Deserialize, Serialize};

/// How far a delivery has come.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    /// PUBLISH was sent; it is sent again on resume.
    Published(Delivery),
    /// PUBREC came; PUBREL is sent again on resume. Holds the position, for the store.
    Released(u64),
}

/// One delivery in flight.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) id: PacketId,
    pub(crate) step: Step,
}

impl Sent {
    pub(crate) const fn holds_message(&self) -> bool {
        matches!(self.step, Step::Published(_))
    }
}

/// The outbound in-flight window of a session.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Inflight {
    sent: VecDeque<Sent>,
    /// The identifier used last.
    last: u16,
    /// How many identifiers after `last` are known to be free.
    free_run: u16,
}

impl Inflight {
    pub(crate) fn len(&self) -> usize {
        self.sent.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Sent> {
        self.sent.get(index)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Sent> {
        self.sent.get_mut(index)
    }

    /// Where an identifier is. Acknowledgements mostly come in order, so the front is looked at first.
    pub(crate) fn find(&self, id: PacketId) -> Option<usize> {
        self.sent.iter().position(|sent| sent.id == id)
    }

    /// A free identifier, amortised in constant time: a scan over the window tells how many identifiers in a
    /// row are free, and is repeated only when they are used up.
    pub(crate) fn next_id(&mut self) -> Option<PacketId> {
        if self.free_run == 0 {
            self.find_free_run()?;
        }
        self.free_run -= 1;
        self.last = successor(self.last);
        PacketId::new(self.last)
    }

    fn find_free_run(&mut self) -> Option<()> {
        if self.sent.len() >= usize::from(u16::MAX) {
            return None;
        }
        let first = successor(self.last);
        let Some(nearest) = self.sent.iter().map(|sent| distance(first, sent.id.get())).min() else {
            self.free_run = u16::MAX;
            return Some(());
        };
        if nearest > 0 {
            self.free_run = nearest;
            return Some(());
        }
        // The next one is taken. Sorting by distance walks over the block of taken ones in one pass.
        let mut taken: Vec<u16> = self.sent.iter().map(|sent| distance(first, sent.id.get())).collect();
        taken.sort_unstable();
        let mut block = 0;
        let mut after = taken.into_iter();
        let next = after.find(|at| {
            let inside = *at == block;
            block += u16::from(inside);
            !inside
        });
        for _ in 0..block {
            self.last = successor(self.last);
        }
        self.free_run = next.unwrap_or(u16::MAX) - block;
        Some(())
    }

    /// Appends in sending order.
    pub(crate) fn push(&mut self, id: PacketId, step: Step) {
        self.sent.push_back(Sent { id, step });
    }

    pub(crate) fn remove(&mut self, index: usize) -> Option<Sent> {
        let sent = self.sent.remove(index);
        if self.sent.is_empty() && self.sent.capacity() > 64 {
            self.sent = VecDeque::new();
        }
        sent
    }

    /// Takes everything, when the session ends.
    pub(crate) fn take_all(&mut self) -> VecDeque<Sent> {
        self.free_run = 0;
        core::mem::take(&mut self.sent)
    }
}

/// The identifier after this one; 0 is not an identifier.
const fn successor(id: u16) -> u16 {
    if id == u16::MAX { 1 } else { id + 1 }
}

/// Steps from one identifier forward to another.
const fn distance(from: u16, to: u16) -> u16 {
    if to >= from { to - from } else { u16::MAX - from + to }
}
