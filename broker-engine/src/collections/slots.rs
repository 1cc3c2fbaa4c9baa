//! A slab whose keys carry a generation, so that a stale key finds nothing instead of a stranger.

use super::make_room;
use alloc::{collections::BinaryHeap, vec::Vec};
use core::cmp::Reverse;
use serde::{Deserialize, Serialize};

/// Handle on a value in a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotKey {
    index: u32,
    generation: u32,
}

impl SlotKey {
    /// Which slot.
    pub(crate) const fn index(self) -> u32 {
        self.index
    }

    pub(crate) const fn generation(self) -> u32 {
        self.generation
    }

    pub(crate) const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// A number that differs between keys, to be hashed.
    pub(crate) const fn to_bits(self) -> u64 {
        (self.index as u64) << 32 | self.generation as u64
    }
}

/// Slots for which no memory is given back.
const KEPT: usize = 64;

/// In the order of memory: the generation is beside the first of the value.
#[repr(C)]
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values under generation-guarded keys.
///
/// The lowest free slot is used first, so that the last ones become empty and can be given up after a storm. A slot
/// that is made anew begins above the generations of all that were given up, so old keys stay stale; that a key is
/// taken for another needs 2^31 uses of its slot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Slots<T> {
    all: Vec<Slot<T>>,
    /// Empty slots, and some that were given up: those are larger than all others, so they come last.
    free: BinaryHeap<Reverse<u32>>,
    used: usize,
    /// First generation of new slots.
    fresh: u32,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { all: Vec::new(), free: BinaryHeap::new(), used: 0, fresh: 0 }
    }
}

impl<T> Slots<T> {
    pub(crate) fn insert(&mut self, value: T) -> SlotKey {
        self.used += 1;
        if let Some(Reverse(index)) = self.free.pop()
            && let Some(slot) = self.all.get_mut(index as usize)
        {
            slot.value = Some(value);
            return SlotKey { index, generation: slot.generation };
        }
        // Not one of the others is there any more, and their numbers are about to be used again.
        self.free.clear();
        let (index, generation) = (u32::try_from(self.all.len()).unwrap_or(u32::MAX), self.fresh);
        make_room(&mut self.all);
        self.all.push(Slot { generation, value: Some(value) });
        SlotKey { index, generation }
    }

    #[inline]
    pub(crate) fn get(&self, key: SlotKey) -> Option<&T> {
        let slot = self.all.get(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        slot.value.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: SlotKey) -> Option<&mut T> {
        let slot = self.all.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        slot.value.as_mut()
    }

    pub(crate) fn contains(&self, key: SlotKey) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn remove(&mut self, key: SlotKey) -> Option<T> {
        let slot = self.all.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.used -= 1;
        if key.index as usize + 1 == self.all.len() {
            self.give_up_last();
        } else {
            self.free.push(Reverse(key.index));
        }
        Some(value)
    }

    /// Gives up the empty slots behind the last value. Every step is constant work for a slot that was made once.
    fn give_up_last(&mut self) {
        while let Some(Slot { generation, value: None }) = self.all.last() {
            // Generations go round, so what is larger is a question of distance.
            if generation.wrapping_sub(self.fresh) < 1 << 31 {
                self.fresh = *generation;
            }
            self.all.pop();
        }
        let len = self.all.len();
        if self.free.len() > KEPT && self.free.len() > 2 * len {
            self.free.retain(|Reverse(index)| (*index as usize) < len);
            self.free.shrink_to(2 * len);
        }
        if self.all.capacity() > KEPT && len < self.all.capacity() / 4 {
            self.all.shrink_to(KEPT.max(2 * len));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// In the order of the slots.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.all.iter_mut().filter_map(|slot| slot.value.as_mut())
    }

    /// The same, with their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SlotKey, &T)> {
        (0..).zip(&self.all).filter_map(|(index, slot)| {
            let value = slot.value.as_ref()?;
            Some((SlotKey { index, generation: slot.generation }, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Whatever comes and goes: who is there is found, who is gone is not, and no key is given out twice.
    #[test]
    fn keys_find_their_own_value_or_nothing() {
        proptest!(|(picks in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..400))| {
            let mut slots = Slots::default();
            let mut known: Vec<(super::SlotKey, Option<usize>)> = Vec::new();
            for (number, (come, pick)) in picks.into_iter().enumerate() {
                if come || known.is_empty() {
                    let key = slots.insert(number);
                    prop_assert!(known.iter().all(|(other, _)| *other != key), "{key:?} was given out before");
                    known.push((key, Some(number)));
                } else {
                    let (key, value) = pick.get(&known);
                    prop_assert_eq!(slots.remove(*key), *value);
                    let at = pick.index(known.len());
                    known[at].1 = None;
                }
                for (key, value) in &known {
                    prop_assert_eq!(slots.get(*key), value.as_ref());
                }
                let here: Vec<usize> = known.iter().filter_map(|(_, value)| *value).collect();
                prop_assert_eq!(slots.len(), here.len());
                let mut iterated: Vec<usize> = slots.iter().map(|(_, value)| *value).collect();
                iterated.sort_unstable();
                prop_assert_eq!(iterated, here);
            }
        });
    }

    /// In whatever order they go, also when some stay.
    #[test]
    fn memory_goes_back() {
        for stay in [0, 10] {
            for backwards in [false, true] {
                let mut slots = Slots::default();
                let mut keys: Vec<_> = (0..100_000).map(|number| slots.insert(number)).collect();
                let mut gone = keys.split_off(stay);
                if backwards {
                    gone.reverse();
                }
                for key in &gone {
                    assert!(slots.remove(*key).is_some());
                }
                assert_eq!((slots.len(), slots.all.len()), (stay, stay));
                assert!(slots.all.capacity() <= 64 && slots.free.capacity() <= 64);
                let again: Vec<_> = (0..100_000).map(|number| slots.insert(number)).collect();
                assert!(gone.iter().all(|key| slots.get(*key).is_none()));
                assert_eq!(again.len() + stay, slots.len());
            }
        }
    }

    /// A generation that goes round is larger than the ones before.
    #[test]
    fn generations_go_round() {
        let mut slots = Slots { fresh: u32::MAX, ..Slots::default() };
        let first = slots.insert(1);
        slots.remove(first);
        let second = slots.insert(2);
        assert_eq!((first.generation, second.generation, slots.get(first)), (u32::MAX, 0, None));
    }
}
