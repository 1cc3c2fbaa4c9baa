//! What is due, in order of time. Most of it is far away, such as a client's next ping, so only the next moment is kept
//! in order, and the rest by the slot of time.

use super::Event;
use crate::scenario::Operation;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

/// Microseconds that are kept together: few enough that what is in order stays small with a million clients.
const SLOT: u64 = 16_000;

/// Everything that is due: the scenario's operations, and what follows from them.
pub(super) struct Agenda<'s> {
    operations: &'s [Operation],
    /// The operations' time 0.
    epoch: u64,
    /// Operations that have happened.
    done: usize,
    /// What was known of the present slot when it began, the next one last.
    ready: Vec<Due>,
    /// Everything else that is due before `later` begins.
    soon: BinaryHeap<Reverse<Due>>,
    /// By the slot in which it is due.
    later: BTreeMap<u64, Vec<Due>>,
    /// The first slot that is not in `soon`.
    horizon: u64,
    number: u64,
}

/// An event and when it is due.
pub(super) struct Due {
    at: u64,
    number: u64,
    pub(super) event: Event,
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
    pub(super) fn new(operations: &'s [Operation], epoch: u64) -> Self {
        // Operations have the numbers below.
        let number = operations.len() as u64;
        Self {
            operations,
            epoch,
            done: 0,
            ready: Vec::new(),
            soon: BinaryHeap::new(),
            later: BTreeMap::new(),
            horizon: 0,
            number,
        }
    }

    /// Events of one time happen in the order in which they were added, behind the operations of that time.
    pub(super) fn add(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.put_back(Due { at, number: self.number, event });
    }

    /// What was taken has not happened, and is due as before.
    pub(super) fn put_back(&mut self, due: Due) {
        match due.at / SLOT {
            slot if slot < self.horizon => self.soon.push(Reverse(due)),
            slot => self.later.entry(slot).or_default().push(due),
        }
    }

    /// The next one, if it is due before `end`.
    pub(super) fn next_before(&mut self, end: u64) -> Option<(u64, Event)> {
        self.take_before(end).map(|due| (due.at, due.event))
    }

    /// Everything that is due before `end`, in its order.
    pub(super) fn all_before(&mut self, end: u64) -> Vec<Due> {
        std::iter::from_fn(|| self.take_before(end)).collect()
    }

    fn take_before(&mut self, end: u64) -> Option<Due> {
        let operation_at = self.operations.get(self.done).map(|next| self.epoch + next.at);
        self.begin_slot(operation_at.unwrap_or(u64::MAX).min(end));
        let is_ready = match (self.ready.last(), self.soon.peek()) {
            (Some(ready), Some(Reverse(soon))) => ready < soon,
            (ready, _) => ready.is_some(),
        };
        let event = if is_ready { self.ready.last() } else { self.soon.peek().map(|Reverse(due)| due) };
        let event_at = event.map_or(u64::MAX, |due| due.at);
        if let Some(at) = operation_at.filter(|at| *at <= event_at) {
            let number = self.done;
            self.done += usize::from(at < end);
            return (at < end).then_some(Due { at, number: number as u64, event: Event::Operation(number) });
        }
        if event_at >= end {
            return None;
        }
        if is_ready { self.ready.pop() } else { self.soon.pop().map(|Reverse(due)| due) }
    }

    /// Puts the next slot in order once everything before it has happened, unless it begins behind `limit`: what is
    /// added until then is still to find its own.
    fn begin_slot(&mut self, limit: u64) {
        if self.ready.is_empty()
            && self.soon.is_empty()
            && let Some(first) = self.later.first_entry()
            && first.key() * SLOT <= limit
        {
            self.horizon = first.key() + 1;
            self.ready = first.remove();
            self.ready.sort_unstable_by(|a, b| b.cmp(a));
        }
    }
}
