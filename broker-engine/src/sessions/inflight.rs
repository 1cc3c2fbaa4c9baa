//! Deliveries that were sent and wait for an acknowledgement, in sending order, with their packet identifiers.

use super::Delivery;
use crate::delivery::MessageStore;
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

    /// The delivery, as long as its message is kept.
    pub(crate) const fn delivery(&self) -> Option<&Delivery> {
        match &self.step {
            Step::Published(delivery) => Some(delivery),
            Step::Released(_) => None,
        }
    }
}

/// The outbound in-flight window of a session.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Inflight {
    sent: VecDeque<Sent>,
    /// Bytes of the messages in it.
    bytes: u64,
    /// How many are released: they hold no message any more.
    released: u32,
    /// The identifier used last.
    last: u16,
    /// How many identifiers after `last` are known to be free.
    free_run: u16,
    /// Some identifier came after all others were used once more, while the oldest was never acknowledged; so
    /// distances from the oldest do not rise any more.
    lapped: bool,
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

    /// Bytes of the messages that are sent and not released.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Deliveries that wait for PUBCOMP.
    pub(crate) fn released(&self) -> u32 {
        self.released
    }

    /// Are bytes and number of released deliveries what a recount says?
    pub(crate) fn adds_up(&self, messages: &MessageStore) -> bool {
        let bytes = self.sent.iter().map(|sent| match &sent.step {
            Step::Published(delivery) => messages.size_of(delivery),
            Step::Released(_) => 0,
        });
        let released = self.sent.iter().filter(|sent| !sent.holds_message()).count();
        bytes.sum::<u64>() == self.bytes && released == self.released as usize
    }

    /// A delivery's message is not needed any more: `forget` lets go of it and says its size. Says its position.
    pub(crate) fn release(&mut self, index: usize, forget: impl FnOnce(&Delivery) -> u64) -> Option<u64> {
        let sent = self.sent.get_mut(index)?;
        let delivery = sent.delivery()?;
        let position = delivery.position;
        self.bytes -= forget(delivery);
        self.released += 1;
        sent.step = Step::Released(position);
        Some(position)
    }

    /// Where an identifier is. Identifiers are given out in a circle, so their distance from the oldest rises
    /// with the sending order; acknowledgements mostly come in order, so the oldest is looked at first.
    pub(crate) fn find(&self, id: PacketId) -> Option<usize> {
        let oldest = self.sent.front()?.id.get();
        if oldest == id.get() {
            return Some(0);
        }
        if self.lapped {
            return self.sent.iter().position(|sent| sent.id == id);
        }
        let wanted = distance(oldest, id.get());
        self.sent.binary_search_by_key(&wanted, |sent| distance(oldest, sent.id.get())).ok()
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

    /// Appends in sending order; `size` is that of the delivery.
    pub(crate) fn push(&mut self, id: PacketId, delivery: Delivery, size: u64) {
        self.bytes += size;
        self.append(id, Step::Published(delivery));
    }

    /// Appends a delivery of an earlier process that waits for PUBCOMP.
    pub(crate) fn push_released(&mut self, id: PacketId, position: u64) {
        self.released += 1;
        self.append(id, Step::Released(position));
    }

    fn append(&mut self, id: PacketId, step: Step) {
        self.lapped = match (self.sent.front(), self.sent.back()) {
            (Some(oldest), Some(newest)) => {
                let oldest = oldest.id.get();
                self.lapped || distance(oldest, id.get()) < distance(oldest, newest.id.get())
            }
            _ => false,
        };
        self.sent.push_back(Sent { id, step });
    }

    /// Takes a delivery out; `forget` lets go of its message, if it has one, and says its size. Says its position and
    /// whether it was released.
    pub(crate) fn remove(
        &mut self,
        index: usize,
        forget: impl FnOnce(&Delivery) -> u64,
    ) -> Option<(u64, bool)> {
        // Most acknowledgements are for the oldest.
        let sent = if index == 0 { self.sent.pop_front() } else { self.sent.remove(index) }?;
        if self.lapped && index == 0 {
            self.lapped = !self.is_one_lap();
        }
        if self.sent.is_empty() {
            if self.sent.capacity() > 64 {
                self.sent = VecDeque::new();
            }
            // It begins again where it did before, in memory that is at hand.
            self.sent.clear();
        }
        match &sent.step {
            Step::Published(delivery) => {
                self.bytes -= forget(delivery);
                Some((delivery.position, false))
            }
            Step::Released(position) => {
                self.released -= 1;
                Some((*position, true))
            }
        }
    }

    /// Do distances from the oldest rise with the sending order?
    fn is_one_lap(&self) -> bool {
        let oldest = self.sent.front().map_or(0, |sent| sent.id.get());
        self.sent.iter().is_sorted_by_key(|sent| distance(oldest, sent.id.get()))
    }

    /// Only where a bug is planted.
    pub(crate) fn reverse(&mut self) {
        self.sent.make_contiguous().reverse();
        self.lapped = true;
    }

    /// Takes everything, when the session ends.
    pub(crate) fn take_all(&mut self) -> VecDeque<Sent> {
        core::mem::take(self).sent
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

#[cfg(test)]
mod tests {
    use super::{Inflight, Step};
    use alloc::vec::Vec;
    use mqtt_proto::PacketId;
    use proptest::prelude::*;

    fn push(inflight: &mut Inflight, id: PacketId) {
        inflight.released += 1;
        inflight.append(id, Step::Released(0));
    }

    fn send(inflight: &mut Inflight) -> Option<PacketId> {
        let id = inflight.next_id()?;
        assert!(inflight.iter().all(|sent| sent.id != id), "{id:?} is in use");
        push(inflight, id);
        Some(id)
    }

    /// Whatever is acknowledged in whatever order, every identifier in flight is found where it is.
    #[test]
    fn identifiers_are_unique_and_found() {
        proptest!(ProptestConfig::with_cases(50), |(picks in prop::collection::vec(any::<prop::sample::Index>(), 1..300), start: u16)| {
            let mut inflight = Inflight { last: start, ..Inflight::default() };
            for pick in picks {
                for _ in 0..3 {
                    send(&mut inflight);
                }
                let ids: Vec<_> = inflight.iter().map(|sent| sent.id).collect();
                for (index, id) in ids.iter().enumerate() {
                    prop_assert_eq!(inflight.find(*id), Some(index));
                }
                let gone = pick.get(&ids);
                inflight.find(*gone).map(|index| inflight.remove(index, |_| 0));
                prop_assert_eq!(inflight.find(*gone), None);
            }
        });
    }

    /// One delivery is never acknowledged while all identifiers are used twice over.
    #[test]
    fn a_lap_around_an_old_delivery() {
        let mut inflight = Inflight::default();
        let old = send(&mut inflight).unwrap();
        let mut others: Vec<PacketId> = (0..3).filter_map(|_| send(&mut inflight)).collect();
        for _ in 0..140_000 {
            let next = send(&mut inflight).unwrap();
            others.push(next);
            let oldest = others.remove(0);
            let at = inflight.find(oldest).unwrap();
            inflight.remove(at, |_| 0);
            assert_eq!((inflight.find(old), inflight.find(next)), (Some(0), Some(3)));
        }
        assert!(inflight.lapped);
        inflight.remove(0, |_| 0);
        assert!(!inflight.lapped, "without the old one it is a single lap again");
    }

    #[test]
    fn all_identifiers_in_use_block() {
        let mut inflight = Inflight::default();
        let ids: Vec<u16> = (0..u16::MAX).map(|_| inflight.next_id().unwrap().get()).collect();
        assert_eq!(ids, (1..=u16::MAX).collect::<Vec<_>>());
        for id in ids {
            push(&mut inflight, PacketId::new(id).unwrap());
        }
        assert_eq!(inflight.next_id(), None);
        let at = inflight.find(PacketId::new(40_000).unwrap()).unwrap();
        inflight.remove(at, |_| 0);
        assert_eq!(inflight.next_id().map(PacketId::get), Some(40_000));
    }
}
