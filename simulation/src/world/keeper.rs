//! The store that outlives the processes of a world: what the engine wants kept goes from batch to batch in the records of
//! `adapters/storage`, as its keeper does it on a thread. What waits while a batch is on its way makes the next one.

use super::outside::{Done, Next};
use super::{Event, World};
use crate::check::Violation;
use broker_engine::{Input, StoreOp, StoreSeq, StoredDelivery};
use metronome_storage::record::{self, Kind};
use metronome_storage::{Batch, Clock, Store, StoreError, Visit, keeper::page};
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

/// Time between two attempts to keep a batch.
pub(crate) const RETRY: u64 = 1_000_000;

/// Operations of one call of the engine.
pub(super) type Group = Vec<(StoreSeq, StoreOp)>;

/// Records by key. What was committed stays, whatever ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) by_key: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Store for Records {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        for prefix in batch.cleared() {
            let from = self.by_key.range(prefix.to_vec()..).map(|(key, _)| key);
            let gone: Vec<_> = from.take_while(|key| key.starts_with(prefix)).cloned().collect();
            for key in gone {
                self.by_key.remove(&key);
            }
        }
        for (key, value) in batch.changes() {
            match value {
                Some(value) => self.by_key.insert(key.to_vec(), value.to_vec()),
                None => self.by_key.remove(key),
            };
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], each: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut rest = self.by_key.range(from.to_vec()..);
        while let Some((key, value)) = rest.next()
            && each(key, value) == ControlFlow::Continue(())
        {}
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Records {
    /// What can be read, as it is handed over at this time.
    pub(super) fn operations(&self, now: u64) -> Vec<StoreOp> {
        self.by_key.iter().filter_map(|(key, value)| record::read(key, value, now).ok()).collect()
    }

    /// The keys of records of clients and topics.
    pub(super) fn facts(&self) -> Vec<Vec<u8>> {
        let is_fact = |key: &&Vec<u8>| !matches!(Kind::of(key), Some(Kind::Store | Kind::Quarantined));
        self.by_key.keys().filter(is_fact).cloned().collect()
    }
}

/// What the engine has handed over.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) table: Records,
    clock: Clock,
    /// When that began.
    clock_begun: u64,
    /// With the time at which the engine handed them over; those of the batch that is on its way come first.
    groups: VecDeque<(u64, Group)>,
    /// Groups in the batch that is on its way.
    underway: usize,
    /// When that batch was begun, by the store's clock and by that of the world.
    begun: (u64, u64),
    /// The latest operation in the table.
    pub(super) position: StoreSeq,
    /// No batch can be kept until then.
    pub(super) full_until: u64,
}

impl Keeper {
    pub(super) fn new() -> Self {
        Self {
            table: Records::default(),
            clock: Clock::default(),
            clock_begun: 0,
            groups: VecDeque::new(),
            underway: 0,
            begun: (0, 0),
            position: StoreSeq(0),
            full_until: 0,
        }
    }

    /// Another process goes on, by this clock.
    pub(super) fn goes_on(&mut self, now: u64, clock: Clock) {
        (self.clock, self.clock_begun, self.position) = (clock, now, StoreSeq(0));
    }

    /// What the store's clock shows.
    pub(super) fn time(&mut self, now: u64, wall: u64) -> u64 {
        self.clock.at(wall, Duration::from_micros(now - self.clock_begun))
    }

    /// Groups that are not surely kept.
    pub(super) fn waiting(&self) -> usize {
        self.groups.len()
    }

    /// Begins a batch of all that waits, unless there is nothing or one is on its way.
    fn begin(&mut self, now: u64, wall: u64) -> bool {
        if self.underway > 0 || self.groups.is_empty() {
            return false;
        }
        self.underway = self.groups.len();
        self.begun = (self.time(now, wall), now);
        true
    }

    /// Carries out the first groups, all of them or, if this does not happen, nothing. Says what they were, at the time
    /// from which their durations count.
    fn carry_out(&mut self, count: usize) -> (u64, Group) {
        let (clock, now) = self.begun;
        let handed_over = self.groups.iter().take(count);
        let ops: Group = handed_over
            .flat_map(|(at, group)| {
                let age = Duration::from_micros(now.saturating_sub(*at));
                group.iter().map(move |(seq, op)| (*seq, op.clone().aged(age)))
            })
            .collect();
        let mut batch = Batch::default();
        for (_, op) in &ops {
            record::write(&mut batch, op, clock);
        }
        if !batch.is_empty() {
            batch.put(record::store_key(), record::store_value(clock));
        }
        // The table is never in the way.
        let _always = self.table.commit(&batch);
        if let Some((last, _)) = ops.last() {
            self.position = self.position.max(*last);
        }
        (clock, ops)
    }

    /// The batch on its way is kept: what it was, and the pages that it asked for.
    fn finish(&mut self) -> (u64, Group, Vec<(StoreSeq, Vec<StoredDelivery>)>) {
        let (clock, ops) = self.carry_out(self.underway);
        self.groups.drain(..self.underway);
        self.underway = 0;
        let mut pages = Vec::new();
        for (seq, op) in &ops {
            if let StoreOp::Fetch { client_id, from, max_messages, max_bytes } = op {
                let page = page(&self.table, clock, client_id, *from, (*max_messages, *max_bytes));
                pages.push((*seq, page.unwrap_or_default()));
            }
        }
        (clock, ops, pages)
    }

    /// The process is no more: so many groups have come into the table.
    pub(super) fn ends(&mut self, kept: usize, now: u64, wall: u64) -> (u64, Group) {
        let known = std::mem::take(&mut self.underway);
        if kept > known {
            self.begun = (self.time(now, wall), now);
        }
        let carried_out = self.carry_out(kept.min(self.groups.len()));
        self.groups.clear();
        carried_out
    }

    /// Groups of the batch that is on its way.
    pub(super) fn underway(&self) -> usize {
        self.underway
    }
}

impl World<'_> {
    pub(super) fn wall(&self) -> u64 {
        self.wall_clock.saturating_add(self.now)
    }

    /// Hands operations of a call to the store.
    pub(super) fn submit(&mut self, group: Group) {
        if group.is_empty() {
            return;
        }
        self.keeper.groups.push_back((self.now, group));
        self.begin_batch();
    }

    fn begin_batch(&mut self) {
        let wall = self.wall();
        if self.keeper.begin(self.now, wall) {
            let slowest = self.scenario.outside.store_max;
            let pause = self.choices.store.between(0, if self.healed { slowest.min(1000) } else { slowest });
            self.schedule(self.now + pause, Event::Outside(self.life, Box::new(Done::Committed)));
        }
    }

    /// The batch on its way is kept, or fails and is tried again; nobody knows what of it is there then.
    pub(super) fn committed(&mut self) -> Result<(), Violation> {
        let outside = &self.scenario.outside;
        let is_full = self.now < self.keeper.full_until;
        let fails = is_full || !self.healed && self.choices.store.chance(outside.store_fail);
        if fails || self.options.mutation.stuck {
            self.checks.marks.fault(if is_full { "S06" } else { "S02" });
            self.checks.counts.look("INV-84");
            let first = self.keeper.groups.front().and_then(|(_, group)| group.first());
            let first = first.map_or(StoreSeq(0), |(seq, _)| *seq);
            if !is_full && self.choices.store.chance(500) {
                let (clock, ops) = self.keeper.carry_out(self.keeper.underway);
                self.checks.kept(clock, &ops);
            }
            self.schedule(self.now + RETRY, Event::Outside(self.life, Box::new(Done::Committed)));
            self.next.push_back(Next::StoreFailed(first));
            return Ok(());
        }
        let (clock, ops, pages) = self.keeper.finish();
        self.checks.kept(clock, &ops);
        if !pages.is_empty() {
            self.slips(clock);
        }
        self.begin_batch();
        for (fetch, deliveries) in pages {
            self.handle(Input::Loaded { fetch, deliveries })?;
        }
        match ops.last() {
            Some((upto, _)) => self.handle(Input::Stored { upto: *upto }),
            None => Ok(()),
        }
    }

    /// What is read from the store has aged by its clock, which may be behind: what passes between two processes does not count
    /// while the wall clock is behind it.
    pub(super) fn slips(&mut self, clock: u64) {
        let slip = self.ahead.saturating_add(self.now).saturating_sub(clock);
        self.checks.slips(self.now, slip);
    }

    /// For a while the disk is full.
    pub(super) fn fill_sometimes(&mut self) {
        let outside = &self.scenario.outside;
        if self.healed || self.choices.full.below(super::outside::RARELY) >= u64::from(outside.store_full) {
            return;
        }
        self.keeper.full_until = self.now + self.choices.full.between(1, outside.store_full_max);
    }

    /// What was handed over some time ago is kept.
    pub(super) fn keeper_catches_up(&mut self) -> Result<(), Violation> {
        self.checks.counts.look("INV-84");
        let since = self.keeper.groups.front().map(|(at, _)| self.now - at);
        match since.filter(|since| *since > 3 * RETRY) {
            Some(since) => {
                let detail = format!("the store works, and does not keep what it got {since} us ago");
                Err(Violation::new("INV-84", self.now, detail))
            }
            None => Ok(()),
        }
    }

    /// Everybody has gone, and nothing of them is in the store.
    pub(super) fn store_is_empty(&mut self) -> Result<(), Violation> {
        let (now, wall) = (self.now, self.wall());
        let (clock, ops) = self.keeper.ends(self.keeper.waiting(), now, wall);
        self.checks.kept(clock, &ops);
        match self.keeper.table.operations(wall).first() {
            Some(record) => {
                Err(Violation::new("INV-66", self.now, format!("{record:?} is left in the store")))
            }
            None => Ok(()),
        }
    }
}
