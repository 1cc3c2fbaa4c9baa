//! Deadlines in a total order: by time, then by key.

use alloc::collections::BTreeSet;
use serde::{Deserialize, Serialize};

/// A queue of deadlines. Who pushed an entry that no longer counts takes it out again, or it would stay for as
/// long as a client could wish.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TimerQueue<K: Ord>(BTreeSet<(u64, K)>);

impl<K: Ord> Default for TimerQueue<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: Ord> TimerQueue<K> {
    pub(crate) fn push(&mut self, at: u64, key: K) {
        self.0.insert((at, key));
    }

    pub(crate) fn remove(&mut self, at: u64, key: K) {
        self.0.remove(&(at, key));
    }

    pub(crate) fn peek(&self) -> Option<(u64, &K)> {
        self.0.first().map(|(at, key)| (*at, key))
    }

    /// The first entry that is due by `now`.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<(u64, K)> {
        if self.0.first().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        self.0.pop_first()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::TimerQueue;
    use alloc::vec::Vec;

    #[test]
    fn equal_deadlines_fire_by_key() {
        let mut queue = TimerQueue::default();
        for (at, key) in [(5, 'b'), (1, 'z'), (5, 'a'), (9, 'c')] {
            queue.push(at, key);
        }
        queue.push(3, 'x');
        queue.remove(3, 'x');
        let mut fired = Vec::new();
        while let Some(entry) = queue.pop_due(5) {
            fired.push(entry);
        }
        assert_eq!(fired, [(1, 'z'), (5, 'a'), (5, 'b')]);
        assert_eq!(queue.peek(), Some((9, &'c')));
    }
}
