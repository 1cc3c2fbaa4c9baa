//! Another process begins from what the store has, which outlives the one before: at a crash nothing, a part or all of what
//! was on its way to the disk, in whole batches; in peace everything. Records may have been damaged meanwhile.

use super::keeper::Records;
use super::network::usize_of;
use super::{Broker, Host, Table, World};
use crate::check::{Returned, Violation};
use crate::random::Stream;
use broker_engine::{
    Boot, BootReport, Config, ConnIds, Durability, Engine, HashKey, Input, Permissions, Seed, StoreOp,
};
use metronome_storage::{Clock, LoadReport, StoreError, load_at, record};
use std::collections::BTreeMap;
use std::time::Duration;

/// A key of a kind that no version has.
const UNKNOWN: &[u8] = b"\x4dunknown";

/// A crash at a place that is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// Behind this call of the engine, counted from 1.
    pub call: u64,
    /// So many calls' operations are kept of those that were on their way.
    pub kept: usize,
    /// Another one before the next process is told anything.
    pub again: bool,
}

/// A process that begins.
struct Begun {
    engine: Engine,
    load: LoadReport,
    boot: BootReport,
    clock: Clock,
}

/// Records that were lost.
#[derive(Default)]
struct Damage {
    unreadable: u64,
    lost: Vec<StoreOp>,
}

impl World<'_> {
    /// Does the store outlive the process?
    pub(super) fn is_lasting(&self) -> bool {
        let is_durable = self.scenario.limits.durability == Durability::Durable;
        self.scenario.outside.lasting && is_durable && self.options.host == Host::Played
    }

    /// The process ends without a word, perhaps in the midst of a batch, and another one begins from the store.
    pub(super) fn crash_into_store(&mut self) -> Result<(), Violation> {
        self.trace.line(self.now, "a crash, and another process begins from the store");
        let underway = self.keeper.underway();
        let kept = if self.choices.restart.chance(500) { underway } else { 0 };
        if kept > 0 {
            self.checks.marks.hit("a batch that was kept when the process ended in the midst of it");
        }
        self.begin_from_store(kept)?;
        while self.choices.restart.chance(self.scenario.outside.crash_again) {
            self.checks.marks.fault("S05");
            self.trace.line(self.now, "it ends as soon as it has begun");
            if self.choices.restart.chance(500) {
                self.handle(Input::Tick)?;
            }
            let kept = if self.choices.restart.chance(500) { self.keeper.underway() } else { 0 };
            self.begin_from_store(kept)?;
        }
        self.handle(Input::Tick)
    }

    /// The crash that is asked for.
    pub(super) fn crash_as_told(&mut self) -> Result<(), Violation> {
        let Some(crash) = self.options.crash.filter(|crash| crash.call <= self.events && self.life == 0)
        else {
            return Ok(());
        };
        self.underway = Some(self.keeper.waiting());
        self.begin_from_store(crash.kept)?;
        if crash.again {
            self.begin_from_store(0)?;
        }
        self.handle(Input::Tick)
    }

    /// So many groups of what waited are kept, and another process begins.
    pub(super) fn begin_from_store(&mut self, kept: usize) -> Result<(), Violation> {
        self.checks.marks.fault("S03");
        for link in self.open_links() {
            self.end_of_process(link);
            self.links[link].broker = false;
            self.checks.lost(link);
        }
        self.life += 1;
        self.next.clear();
        (self.by_conn, self.ids) = (Table::default(), ConnIds::new());
        let (now, wall) = (self.now, self.wall());
        let (clock, ops) = self.keeper.ends(kept, now, wall);
        self.checks.kept(clock, &ops);
        let damage = self.damage();
        let limits = self.other_limits();
        let before = self.keeper.table.clone();
        let resumes = self.resumes();
        let first = self.begins(&limits, &resumes)?;
        if self.choices.restart.chance(100) {
            self.begins_twice(&before, &first, (&limits, &resumes))?;
        }
        let Begun { engine, load, boot, mut clock } = first;
        let at = clock.at(wall, Duration::ZERO);
        let records = self.keeper.table.operations(at);
        self.slips(at);
        let from = Returned {
            engine: &engine,
            records: &records,
            load,
            boot,
            wall,
            is_steady: self.is_steady,
            damaged: damage.unreadable,
            lost: &damage.lost,
            resumes: &resumes,
        };
        self.checks.begins_from(now, &from)?;
        self.keeper.goes_on(now, clock);
        self.broker = Broker::Engine(Box::new(engine));
        self.called_at = now;
        Ok(())
    }

    /// What clients may until they are let in again: what they might last, or what they may when they are let in.
    fn resumes(&self) -> BTreeMap<String, Permissions> {
        let ids = self.scenario.clients.iter().map(|client| &client.id);
        let last = |id: &String| self.checks.ledger.rights_of(id, || self.agreeable.admission(id));
        ids.filter_map(|id| Some((id.clone(), last(id)?))).collect()
    }

    fn begins(
        &mut self,
        limits: &Config,
        resumes: &BTreeMap<String, Permissions>,
    ) -> Result<Begun, Violation> {
        let [a, b] = self.options.hash_key;
        let (config, hash_key) = (limits.clone(), HashKey([a, b ^ u64::from(self.life)]));
        let mut boot = Boot::new(config, Seed(self.scenario.seed), hash_key, self.time());
        if let Some(damage) = self.options.mutation.table {
            damage(&mut self.keeper.table.by_key);
        }
        let wall = self.wall().saturating_add(self.options.mutation.clock);
        let loaded = load_at(wall, &mut self.keeper.table, &mut boot, |_| {});
        let (load, clock) = loaded.map_err(|error| {
            Violation::new("INV-82", self.now, format!("the store cannot be used: {error}"))
        })?;
        boot.permit(|client_id, _| resumes.get(client_id).cloned());
        let (engine, boot) = boot.finish();
        Ok(Begun { engine, load, boot, clock })
    }

    /// What ends while it begins has changed nothing for the next process, and a store of a newer version is left alone.
    fn begins_twice(
        &mut self,
        before: &Records,
        first: &Begun,
        (limits, resumes): (&Config, &BTreeMap<String, Permissions>),
    ) -> Result<(), Violation> {
        self.checks.counts.look("INV-83");
        let after = self.keeper.table.clone();
        let again = self.begins(limits, resumes)?;
        let same = [first, &again].map(|begun| begun.engine.snapshot());
        if same[0] != same[1] || self.keeper.table.by_key != after.by_key {
            let detail = "the second process that begins from the same records is another one".to_owned();
            return Err(Violation::new("INV-83", self.now, detail));
        }
        let mut newer = before.clone();
        newer.by_key.insert(record::store_key(), vec![record::FORMAT + 1]);
        let untouched = newer.by_key.clone();
        let [a, b] = self.options.hash_key;
        let mut boot = Boot::new(limits.clone(), Seed(self.scenario.seed), HashKey([a, b]), self.time());
        let refused = load_at(self.wall(), &mut newer, &mut boot, |_| {});
        if refused.err() != Some(StoreError::Newer(record::FORMAT + 1)) || newer.by_key != untouched {
            let detail = "a store of a newer version is not refused, or not left as it is".to_owned();
            return Err(Violation::new("INV-83", self.now, detail));
        }
        Ok(())
    }

    /// Records change, go, or come under other keys while no process runs.
    fn damage(&mut self) -> Damage {
        let mut damage = Damage::default();
        let facts = self.keeper.table.facts();
        let outside = &self.scenario.outside;
        let is_hit = self.is_steady && !self.healed && self.choices.damage.chance(outside.damage);
        if !is_hit || facts.is_empty() {
            return damage;
        }
        self.checks.marks.fault("S04");
        let wall = self.wall();
        let now = self.keeper.time(self.now, wall);
        let records = &mut self.keeper.table.by_key;
        for _ in 0..self.choices.damage.between(1, 3) {
            let key = self.choices.damage.pick(&facts).clone();
            let Some(value) = records.get(&key).cloned() else { continue };
            match self.choices.damage.below(5) {
                // A bit is another one, the end is missing, or all of it is, as if it had never been written.
                kind @ 0..3 if damage.lost.is_empty() => {
                    damage.lost.extend(record::read(&key, &value, now));
                    let mut changed = value;
                    let at = usize_of(self.choices.damage.below(changed.len() as u64 * 8));
                    match kind {
                        0 => changed[at / 8] ^= 1 << (at % 8),
                        1 => changed.truncate(at / 8),
                        _ => {
                            records.remove(&key);
                            continue;
                        }
                    }
                    records.insert(key, changed);
                    damage.unreadable += 1;
                }
                // It is there twice, the second time under a key that is not its own.
                3 => {
                    let other = [&key[..], b"?"].concat();
                    damage.unreadable += u64::from(records.insert(other, value).is_none());
                }
                // Nobody knows what this is.
                _ => damage.unreadable += u64::from(records.insert(UNKNOWN.to_vec(), value).is_none()),
            }
        }
        damage
    }

    /// The limits of another process: those of before, or others that leave what is there alone.
    fn other_limits(&mut self) -> Config {
        let mut limits = self.broker.view().config().clone();
        if self.healed || !self.choices.restart.chance(self.scenario.outside.other_limits) {
            return limits;
        }
        self.checks.marks.fault("S07");
        let asked = &self.scenario.limits;
        let less =
            |stream: &mut Stream, most: u64| u32::try_from(stream.by_magnitude(1, most.max(1))).unwrap_or(1);
        limits.queue_window_messages = less(&mut self.choices.restart, 300);
        limits.match_cache_entries = less(&mut self.choices.restart, 1000);
        let most = less(&mut self.choices.restart, u64::from(asked.max_inflight));
        limits.max_inflight = u16::try_from(most).unwrap_or(1);
        limits
    }
}
