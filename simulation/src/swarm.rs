//! Many seeds on all cores, some of them in several variants that must agree to the last byte.

use crate::check::{Counts, Marks, Violation};
use crate::scenario::{Profile, generate};
use crate::world::{Options, Outcome, play};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// First seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// Every so many of them is played again with another hash key; 0 for none.
    pub again: u64,
    /// Threads.
    pub threads: usize,
    /// Stop at the first failure.
    pub first: bool,
}

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What did not hold.
    pub violation: Violation,
    /// Calls of the engine until then.
    pub events: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// Seeds that were played.
    pub seeds: u64,
    /// Calls of the engine.
    pub events: u64,
    /// Virtual microseconds, all seeds together.
    pub time: u64,
    /// Seeds that were played twice, with equal digests.
    pub equal: u64,
    /// Those that failed.
    pub failures: Vec<Failure>,
    /// What was looked at.
    pub counts: Counts,
    /// What was seen.
    pub marks: Marks,
    /// Time on the wall.
    pub took: Duration,
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.events += outcome.events;
        self.time += outcome.time;
        self.counts.add(&outcome.checks.counts);
        self.marks.add(&outcome.checks.marks);
        if let Some(violation) = outcome.violation {
            self.failures.push(Failure { seed, violation, events: outcome.events });
        }
    }

    /// Statements that were never looked at.
    pub fn blind(&self) -> Vec<&'static str> {
        self.counts.by_name().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

/// Plays the seeds; `progress` is called now and then with the number of those that are done.
pub fn run(plan: Plan, progress: impl Fn(u64) + Sync) -> Summary {
    let start = Instant::now();
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let summary = Mutex::new(Summary::default());
    thread::scope(|scope| {
        for _ in 0..plan.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= plan.seeds {
                        return;
                    }
                    let seed = plan.from + number;
                    let (outcome, equal) = one(seed, plan.again > 0 && number.is_multiple_of(plan.again));
                    let failed = outcome.violation.is_some();
                    if let Ok(mut summary) = summary.lock() {
                        summary.add(seed, outcome);
                        summary.equal += u64::from(equal);
                    }
                    if failed && plan.first {
                        next.store(plan.seeds, Ordering::Relaxed);
                    }
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1);
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_default();
    summary.failures.sort_by_key(|failure| failure.seed);
    summary.took = start.elapsed();
    summary
}

/// One seed, and whether a second run with another hash key gave the same.
fn one(seed: u64, again: bool) -> (Outcome, bool) {
    let scenario = generate(seed, Profile::Small);
    let mut outcome = play(&scenario, Options::default());
    if !again || outcome.violation.is_some() {
        return (outcome, false);
    }
    let other = play(&scenario, Options { hash_key: [seed, !seed], ..Options::default() });
    let equal = other.digest == outcome.digest;
    if !equal {
        let detail = format!("digests {:016x} and {:016x}", outcome.digest, other.digest);
        outcome.violation = Some(Violation::new("INV-71", outcome.time, detail));
    }
    (outcome, equal)
}
