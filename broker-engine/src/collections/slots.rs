//! A slab whose keys carry a generation, so that a stale key finds nothing instead of a stranger.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Handle on a value in a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotKey {
    index: u32,
    generation: u32,
}

impl SlotKey {
    /// A number that differs between keys, to be hashed.
    pub(crate) const fn to_bits(self) -> u64 {
        (self.index as u64) << 32 | self.generation as u64
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values under generation-guarded keys. Freed slots are used again, last freed first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(crate) fn insert(&mut self, value: T) -> SlotKey {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.value = Some(value);
            return SlotKey { index, generation: slot.generation };
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot { generation: 0, value: Some(value) });
        SlotKey { index, generation: 0 }
    }

    fn slot(&self, key: SlotKey) -> Option<&Slot<T>> {
        self.slots.get(key.index as usize).filter(|slot| slot.generation == key.generation)
    }

    #[inline]
    pub(crate) fn get(&self, key: SlotKey) -> Option<&T> {
        self.slot(key)?.value.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: SlotKey) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        slot.value.as_mut()
    }

    pub(crate) fn contains(&self, key: SlotKey) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn remove(&mut self, key: SlotKey) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In the order of the slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SlotKey, &T)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| {
            let value = slot.value.as_ref()?;
            Some((SlotKey { index, generation: slot.generation }, value))
        })
    }

    /// Gives memory back once nothing is left. Generations go on, so that old keys stay stale.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() {
            self.slots.shrink_to_fit();
            self.free.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slots = Slots::default();
        let first = slots.insert("a");
        assert_eq!(slots.remove(first), Some("a"));
        let second = slots.insert("b");
        assert_ne!(first, second);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"b"));
        assert_eq!(slots.len(), 1);
    }
}
