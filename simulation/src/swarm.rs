//! Many seeds on all cores, some of them in several variants that must agree to the last byte.

use crate::check::{AT_ONCE, Counts, Marks, Violation};
use crate::scenario::{Profile, Scenario, generate};
use crate::world::{Options, Outcome, play};
use broker_engine::Config;
use std::collections::BTreeMap;
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
    /// Every so many of them is played again in each variant; 0 for none.
    pub again: u64,
    /// Threads.
    pub threads: usize,
    /// Stop at the first failure.
    pub first: bool,
    /// For all of them.
    pub options: Options,
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
    /// Variants that gave the same, by the statement that says so.
    pub equal: BTreeMap<&'static str, u64>,
    /// Digests by seed.
    pub digests: BTreeMap<u64, u64>,
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
    fn add(&mut self, seed: u64, outcome: Outcome, equal: &[&'static str]) {
        self.seeds += 1;
        self.digests.insert(seed, outcome.digest);
        for name in equal {
            *self.equal.entry(name).or_default() += 1;
        }
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
                    let again = plan.again > 0 && number.is_multiple_of(plan.again);
                    let (outcome, equal) = one(seed, again, plan.options);
                    let failed = outcome.violation.is_some();
                    if let Ok(mut summary) = summary.lock() {
                        summary.add(seed, outcome, &equal);
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

/// Variants of a run that must come to the same, under the names of the statements that say so.
pub const VARIANTS: [(&str, &str); 3] = [
    ("INV-71", "another hash key"),
    ("INV-52", "every byte by itself"),
    ("INV-72", "more calls than the engine asks for"),
];

/// One seed, and which variants gave the same.
fn one(seed: u64, again: bool, options: Options) -> (Outcome, Vec<&'static str>) {
    let scenario = generate(seed, Profile::Small);
    let mut outcome = play(&scenario, options);
    let mut equal = Vec::new();
    if !again || outcome.violation.is_some() {
        return (outcome, equal);
    }
    for (name, what) in VARIANTS {
        let variant = match name {
            "INV-71" => Options { hash_key: [seed, !seed], ..options },
            // With little work for each call, or counted for each call, more calls do more.
            _ if !is_done_at_once(&scenario) => continue,
            "INV-52" => Options { piece: 1, ..options },
            _ if scenario.outside.late_max > 0 => continue,
            _ => Options { restless: true, ..options },
        };
        let other = play(&scenario, variant);
        if other.digest == outcome.digest {
            equal.push(name);
            continue;
        }
        let detail = format!("{what}: digests {:016x} and {:016x}", outcome.digest, other.digest);
        outcome.violation = Some(Violation::new(name, outcome.time, detail));
        break;
    }
    (outcome, equal)
}

/// Is everything that a call leads to done in that call?
fn is_done_at_once(scenario: &Scenario) -> bool {
    let limits = &scenario.limits;
    limits.work_per_call >= AT_ONCE && limits.egress_high >= Config::default().egress_high
}
