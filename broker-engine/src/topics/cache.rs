//! Wildcard matches remembered by topic name. An entry is good as long as every tree node that its match looked
//! at is unchanged, so unrelated subscriptions do not flush it.

use super::index::FilterId;
use super::trie::{Trie, Visit};
use crate::collections::{HashKey, KeyedIndex};
use alloc::{boxed::Box, vec::Vec};

#[derive(Debug)]
struct Entry {
    topic: Box<str>,
    hash: u64,
    found: Box<[FilterId]>,
    visited: Box<[Visit]>,
}

/// A bounded memory of matches; the oldest entry gives way. Not part of a snapshot: it changes cost, not results.
#[derive(Debug)]
pub(super) struct MatchCache {
    entries: Vec<Entry>,
    by_topic: KeyedIndex<u32>,
    capacity: usize,
    next: usize,
    visited: Vec<Visit>,
}

impl MatchCache {
    pub(super) fn new(key: HashKey, capacity: usize) -> Self {
        Self { entries: Vec::new(), by_topic: KeyedIndex::new(key), capacity, next: 0, visited: Vec::new() }
    }

    /// Adds the wildcard filters that match to `found`.
    pub(super) fn matches(&mut self, trie: &mut Trie, topic: &str, hash: u64, found: &mut Vec<FilterId>) {
        let entries = &self.entries;
        let is_topic = |at: u32| entries.get(at as usize).is_some_and(|entry| &*entry.topic == topic);
        let known = self.by_topic.get_hashed(hash, is_topic);
        if let Some(entry) = known.and_then(|at| entries.get(at as usize))
            && entry.visited.iter().all(|(node, generation)| trie.generation(*node) == Some(*generation))
        {
            found.extend_from_slice(&entry.found);
            return;
        }
        let start = found.len();
        let mut visited = core::mem::take(&mut self.visited);
        trie.matches(topic, found, &mut visited);
        let fresh = Entry {
            topic: topic.into(),
            hash,
            found: found.get(start..).unwrap_or_default().into(),
            visited: visited.as_slice().into(),
        };
        visited.clear();
        self.visited = visited;
        self.keep(known, fresh);
    }

    fn keep(&mut self, known: Option<u32>, fresh: Entry) {
        if let Some(place) = known.and_then(|at| self.entries.get_mut(at as usize)) {
            *place = fresh;
            return;
        }
        if self.capacity == 0 {
            return;
        }
        let hash = fresh.hash;
        let at = if self.entries.len() < self.capacity {
            self.entries.push(fresh);
            self.entries.len() - 1
        } else {
            let at = self.next;
            self.next = (self.next + 1) % self.capacity;
            if let Some(old) = self.entries.get_mut(at) {
                let gone = core::mem::replace(old, fresh);
                self.by_topic.remove_hashed(gone.hash, |known| known as usize == at);
            }
            at
        };
        self.by_topic.insert_hashed(hash, u32::try_from(at).unwrap_or(u32::MAX));
    }

    /// Forgets everything, when there is nothing left to match.
    pub(super) fn clear(&mut self, key: HashKey) {
        *self = Self::new(key, self.capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn the_oldest_entry_gives_way() {
        let key = HashKey([1, 2]);
        let mut cache = MatchCache::new(key, 3);
        for number in 0..5 {
            let topic = format!("t{number}");
            cache.matches(&mut Trie::new(key), &topic, key.hash(topic.as_bytes()), &mut Vec::new());
            assert_eq!(cache.entries.len(), 3.min(number + 1));
        }
        let kept: Vec<&str> = cache.entries.iter().map(|entry| &*entry.topic).collect();
        assert_eq!(kept, ["t3", "t4", "t2"]);
    }
}
