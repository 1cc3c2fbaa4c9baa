//! What is due, in order of time. Most of it is far away, such as a client's next ping, so only the next moment is kept
//! in order, and the rest by the second.

use super::Event;
use crate::scenario::Operation;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

/// Microseconds that are kept together.
const SECOND: u64 = 1_000_000;

/// Everything that is due: the scenario's operations, and what follows from them.
pub(super) struct Agenda<'s> {
    operations: &'s [Operation],
    /// Operations that have happened.
    done: usize,
    /// Everything that is due before `later` begins.
    soon: BinaryHeap<Reverse<Due>>,
    /// By the second in which it is due.
    later: BTreeMap<u64, Vec<Due>>,
    /// The first second that is not in `soon`.
    horizon: u64,
    number: u64,
}

struct Due {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<'s> Agenda<'s> {
    pub(super) fn new(operations: &'s [Operation]) -> Self {
        Self { operations, done: 0, soon: BinaryHeap::new(), later: BTreeMap::new(), horizon: 0, number: 0 }
    }

    /// Events of one time happen in the order in which they were added, behind the operations of that time.
    pub(super) fn add(&mut self, at: u64, event: Event) {
        self.number += 1;
        let due = Due { at, number: self.number, event };
        match at / SECOND {
            second if second < self.horizon => self.soon.push(Reverse(due)),
            second => self.later.entry(second).or_default().push(due),
        }
    }

    /// The next one, if it is due before `end`.
    pub(super) fn next_before(&mut self, end: u64) -> Option<(u64, Event)> {
        if self.soon.is_empty()
            && let Some((second, dues)) = self.later.pop_first()
        {
            self.horizon = second + 1;
            self.soon.extend(dues.into_iter().map(Reverse));
        }
        let event_at = self.soon.peek().map_or(u64::MAX, |Reverse(due)| due.at);
        if let Some(operation) = self.operations.get(self.done).filter(|next| next.at <= event_at) {
            let number = self.done;
            self.done += usize::from(operation.at < end);
            return (operation.at < end).then_some((operation.at, Event::Operation(number)));
        }
        if event_at >= end {
            return None;
        }
        self.soon.pop().map(|Reverse(due)| (due.at, due.event))
    }
}
