//! Wildcard matches remembered by topic name. An entry is good as long as every tree node that its match looked
//! at is unchanged, so unrelated subscriptions do not flush it.

use super::index::FilterId;
use super::trie::{Trie, Visit, Walk};
use crate::collections::{HashKey, KeyedIndex};
use alloc::{boxed::Box, vec::Vec};
use mqtt_proto::planted;
use serde::{Deserialize, Serialize};

/// Most nodes and most filters of a match that is remembered. One that looks at more is rare, or an attack, and
/// would keep in memory what it saves in time.
const LIGHT: usize = 128;

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    topic: Box<str>,
    #[serde(skip)]
    hash: u64,
    found: Box<[FilterId]>,
    visited: Box<[Visit]>,
    /// What the match cost.
    steps: u32,
}

impl Entry {
    /// What it keeps, its places in the tables included.
    fn bytes(&self) -> u64 {
        let lists = size_of_val(&*self.found) + size_of_val(&*self.visited);
        (2 * size_of::<Self>() + self.topic.len() + lists) as u64
    }
}

/// A bounded memory of matches; the oldest entry gives way. What it finds costs the same steps as a walk would, so it
/// changes time alone; but its bytes are accounted for, so it is part of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MatchCache {
    entries: Vec<Entry>,
    #[serde(skip, default = "no_topics")]
    by_topic: KeyedIndex<u32>,
    capacity: usize,
    next: usize,
    bytes: u64,
    #[serde(skip)]
    visited: Vec<Visit>,
}

fn no_topics() -> KeyedIndex<u32> {
    KeyedIndex::new(HashKey::default())
}

impl MatchCache {
    pub(super) fn new(key: HashKey, capacity: usize) -> Self {
        Self {
            entries: Vec::new(),
            by_topic: KeyedIndex::new(key),
            capacity,
            next: 0,
            bytes: 0,
            visited: Vec::new(),
        }
    }

    /// Tables are not part of a snapshot; they follow from the entries.
    pub(super) fn rebuild(&mut self, key: HashKey) {
        self.by_topic = KeyedIndex::new(key);
        for (at, entry) in (0..).zip(&mut self.entries) {
            entry.hash = key.hash(entry.topic.as_bytes());
            self.by_topic.insert_hashed(entry.hash, at);
        }
    }

    /// What is remembered, bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the wildcard filters that match to `found`. Where `steps` do not reach, `walk` is the rest, and `false`
    /// is said.
    pub(super) fn matches(
        &mut self,
        trie: &Trie,
        topic: &str,
        hash: u64,
        walk: &mut Walk,
        steps: &mut u32,
        found: &mut Vec<FilterId>,
    ) -> bool {
        let entries = &self.entries;
        let is_topic = |at: u32| entries.get(at as usize).is_some_and(|entry| &*entry.topic == topic);
        let known = self.by_topic.get_hashed(hash, is_topic);
        if let Some(entry) = known.and_then(|at| entries.get(at as usize))
            && let Some(left) = steps.checked_sub(entry.steps)
            && (planted!("suback-before-routes")
                || entry.visited.iter().all(|(node, generation)| trie.generation(*node) == Some(*generation)))
        {
            found.extend_from_slice(&entry.found);
            *steps = left;
            return true;
        }
        let (first, before) = (found.len(), *steps);
        let mut visited = core::mem::take(&mut self.visited);
        trie.begin(walk);
        let at_end = trie.walk(topic, walk, steps, found, |visit| {
            // One more than is remembered tells that it is too many.
            if visited.len() <= LIGHT {
                visited.push(visit);
            }
        });
        let found = found.get(first..).unwrap_or_default();
        // A walk that used up the very last step may have cost more than there was.
        if *steps > 0 && at_end && visited.len() <= LIGHT && found.len() <= LIGHT {
            let (found, visited) = (found.into(), visited.as_slice().into());
            let steps = before - *steps;
            self.keep(known, Entry { topic: topic.into(), hash, found, visited, steps });
        }
        visited.clear();
        self.visited = visited;
        at_end
    }

    fn keep(&mut self, known: Option<u32>, fresh: Entry) {
        let (hash, bytes) = (fresh.hash, fresh.bytes());
        if let Some(place) = known.and_then(|at| self.entries.get_mut(at as usize)) {
            let gone = core::mem::replace(place, fresh);
            self.bytes = self.bytes - gone.bytes() + bytes;
            return;
        }
        if self.capacity == 0 {
            return;
        }
        self.bytes += bytes;
        let at = if self.entries.len() < self.capacity {
            self.entries.push(fresh);
            self.entries.len() - 1
        } else {
            let at = self.next;
            self.next = (self.next + 1) % self.capacity;
            if let Some(old) = self.entries.get_mut(at) {
                let gone = core::mem::replace(old, fresh);
                self.bytes -= gone.bytes();
                self.by_topic.remove_hashed(gone.hash, |known| known as usize == at);
            }
            at
        };
        self.by_topic.insert_hashed(hash, u32::try_from(at).unwrap_or(u32::MAX));
    }

    /// Forgets everything: there is nothing left to match, or memory is short.
    pub(super) fn clear(&mut self, key: HashKey) {
        if !self.entries.is_empty() {
            *self = Self::new(key, self.capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn matches(cache: &mut MatchCache, trie: &Trie, key: HashKey, topic: &str) -> usize {
        let (mut walk, mut found, mut steps) = (Walk::default(), Vec::new(), u32::MAX);
        let hash = key.hash(topic.as_bytes());
        assert!(cache.matches(trie, topic, hash, &mut walk, &mut steps, &mut found));
        let counted: u64 = cache.entries.iter().map(Entry::bytes).sum();
        assert_eq!(counted, cache.bytes());
        found.len()
    }

    #[test]
    fn the_oldest_entry_gives_way() {
        let key = HashKey([1, 2]);
        let mut cache = MatchCache::new(key, 3);
        for number in 0..5 {
            matches(&mut cache, &Trie::new(key), key, &format!("t{number}"));
            assert_eq!(cache.entries.len(), 3.min(number + 1));
        }
        let kept: Vec<&str> = cache.entries.iter().map(|entry| &*entry.topic).collect();
        assert_eq!(kept, ["t3", "t4", "t2"]);
    }

    /// A topic whose match looks at much is matched anew each time; only light ones take memory.
    #[test]
    fn heavy_matches_are_not_remembered() {
        let key = HashKey([1, 2]);
        let mut slots = crate::collections::Slots::default();
        // All filters of so many levels that match "a/a/...": 2^levels of them, and one node less than twice that.
        for (levels, remembered) in [(6, 1), (7, 0), (8, 0)] {
            let (mut cache, mut trie) = (MatchCache::new(key, 3), Trie::new(key));
            for number in 0..1_u32 << levels {
                let filter: Vec<_> =
                    (0..levels).map(|bit| if number >> bit & 1 == 0 { "a" } else { "+" }).collect();
                trie.insert(&filter.join("/"), slots.insert(()));
            }
            let topic = ["a"].repeat(levels).join("/");
            for _ in 0..2 {
                assert_eq!(matches(&mut cache, &trie, key, &topic), 1 << levels);
                assert_eq!(cache.entries.len(), remembered, "{levels} levels");
            }
        }
    }
}
