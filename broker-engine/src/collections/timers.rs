//! Deadlines in a total order: by time, then by key.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;
use serde::{Deserialize, Serialize};

/// A queue of deadlines. Entries are not removed; their owners ignore the ones that no longer count.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TimerQueue<K: Ord>(BinaryHeap<Reverse<(u64, K)>>);

impl<K: Ord> Default for TimerQueue<K> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<K: Ord> TimerQueue<K> {
    pub(crate) fn push(&mut self, at: u64, key: K) {
        self.0.push(Reverse((at, key)));
    }

    pub(crate) fn peek(&self) -> Option<(u64, &K)> {
        self.0.peek().map(|Reverse((at, key))| (*at, key))
    }

    /// The first entry that is due by `now`.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<(u64, K)> {
        if self.0.peek().is_none_or(|Reverse((at, _))| *at > now) {
            return None;
        }
        let due = self.0.pop().map(|Reverse(entry)| entry);
        if self.0.capacity() > 1024 && self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to(self.0.len() * 2);
        }
        due
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
        let mut fired = Vec::new();
        while let Some(entry) = queue.pop_due(5) {
            fired.push(entry);
        }
        assert_eq!(fired, [(1, 'z'), (5, 'a'), (5, 'b')]);
        assert_eq!(queue.peek(), Some((9, &'c')));
    }
}
