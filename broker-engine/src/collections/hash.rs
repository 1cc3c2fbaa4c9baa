//! The only hash table of the crate: keyed against chosen names, and without iteration, so that no output can
//! depend on its order.

use super::SlotKey;
use core::hash::Hasher;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

/// Secret that protects tables from keys chosen to collide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashKey(pub [u64; 2]);

impl HashKey {
    /// A keyed hash of bytes.
    pub(crate) fn hash(self, bytes: &[u8]) -> u64 {
        let [first, second] = self.0;
        let mut hasher = SipHasher13::new_with_keys(first, second);
        hasher.write(bytes);
        hasher.finish()
    }

    /// A keyed hash of bytes that belong to something. The handle goes through the keyed hash as well: a table
    /// takes its places from a few bits of the result, and clients know how handles are given out.
    pub(crate) fn hash_under(self, owner: SlotKey, bytes: &[u8]) -> u64 {
        let [first, second] = self.0;
        let mut hasher = SipHasher13::new_with_keys(first, second);
        hasher.write_u64(owner.to_bits());
        hasher.write(bytes);
        hasher.finish()
    }
}

/// From a text to a handle. The text itself lives where the handle points to, so that it is kept once.
#[derive(Clone, Debug)]
pub(crate) struct KeyedIndex<K> {
    key: HashKey,
    table: HashTable<(u64, K)>,
}

impl<K: Copy> KeyedIndex<K> {
    pub(crate) fn new(key: HashKey) -> Self {
        Self { key, table: HashTable::new() }
    }

    /// The handle whose text this is; `is` compares the text.
    pub(crate) fn get(&self, text: &str, is: impl Fn(K) -> bool) -> Option<K> {
        self.get_hashed(self.key.hash(text.as_bytes()), is)
    }

    /// As [`Self::get`] for a hash that is there already.
    pub(crate) fn get_hashed(&self, hash: u64, is: impl Fn(K) -> bool) -> Option<K> {
        self.table.find(hash, |(known, handle)| *known == hash && is(*handle)).map(|(_, handle)| *handle)
    }

    /// Adds a handle; the caller has made sure that there is none for this text.
    pub(crate) fn insert(&mut self, text: &str, handle: K) {
        self.insert_hashed(self.key.hash(text.as_bytes()), handle);
    }

    pub(crate) fn insert_hashed(&mut self, hash: u64, handle: K) {
        self.table.insert_unique(hash, (hash, handle), |(hash, _)| *hash);
    }

    pub(crate) fn remove(&mut self, text: &str, is: impl Fn(K) -> bool) {
        self.remove_hashed(self.key.hash(text.as_bytes()), is);
    }

    pub(crate) fn remove_hashed(&mut self, hash: u64, is: impl Fn(K) -> bool) {
        if let Ok(entry) = self.table.find_entry(hash, |(known, handle)| *known == hash && is(*handle)) {
            entry.remove();
        }
        // Memory goes back after a storm.
        if self.table.capacity() > 64 && self.table.len() < self.table.capacity() / 8 {
            let room = self.table.len() * 2;
            self.table.shrink_to(room, |(hash, _)| *hash);
        }
    }

    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        self.key.hash(bytes)
    }

    pub(crate) fn hash_under(&self, owner: SlotKey, text: &str) -> u64 {
        self.key.hash_under(owner, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::HashKey;
    use crate::collections::Slots;
    use alloc::{collections::BTreeSet, vec::Vec};
    use proptest::prelude::*;

    proptest! {
        /// Equal texts under many owners spread over a table as numbers drawn at random do, in the low bits, which
        /// choose the place, and in the high ones, which tell neighbours apart.
        #[test]
        fn equal_texts_of_many_owners_spread(key: [u64; 2], text in "[a-z+]{0,12}") {
            let mut slots = Slots::default();
            let hashes: Vec<u64> = (0..4096)
                .map(|_| HashKey(key).hash_under(slots.insert(()), text.as_bytes()))
                .collect();
            let low: BTreeSet<u64> = hashes.iter().map(|hash| hash & 0xfff).collect();
            let high: BTreeSet<u64> = hashes.iter().map(|hash| hash >> 52).collect();
            // At random 4,096 * (1 - 1/e) are met, give or take 32.
            for met in [low.len(), high.len()] {
                prop_assert!((2400..2780).contains(&met), "{met} places of 4,096");
            }
        }
    }
}
