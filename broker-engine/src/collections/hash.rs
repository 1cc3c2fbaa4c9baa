//! The only hash table of the crate: keyed against chosen names, and without iteration, so that no output can
//! depend on its order.

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
}
