//! Many seeds on all cores, some of them in several variants that must agree to the last byte.

use crate::check::{Counts, Marks, Violation};
use crate::figures::Timeline;
use crate::scenario::{Profile, generate};
use crate::variants::{VARIANTS, difference, is_apart, play_compared, variant};
use crate::world::{Options, Outcome, play};
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
    /// Up to how many, as long as there is something that nobody has looked at or seen: what is rare takes more of them.
    pub most: u64,
    /// Every so many of them is played again in each variant; 0 for none.
    pub again: u64,
    /// How large their worlds are.
    pub profile: Profile,
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
    /// How large its world is.
    pub profile: Profile,
    /// What did not hold.
    pub violation: Violation,
    /// Calls of the engine until then.
    pub events: u64,
    /// What it was played with: those of the variant that differed, if it was one.
    pub options: Options,
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
    /// How it went over time.
    pub timeline: Timeline,
    /// Time on the wall.
    pub took: Duration,
}

impl Summary {
    fn add(
        &mut self,
        (seed, profile): (u64, Profile),
        outcome: Outcome,
        options: Options,
        equal: &[&'static str],
    ) {
        self.seeds += 1;
        self.digests.insert(seed, outcome.digest);
        for name in equal {
            *self.equal.entry(name).or_default() += 1;
        }
        self.events += outcome.events;
        self.time += outcome.time;
        self.counts.add(&outcome.checks.counts);
        self.marks.add(&outcome.checks.marks);
        self.timeline.add(&outcome.course);
        if let Some(violation) = outcome.violation {
            self.failures.push(Failure { seed, profile, violation, events: outcome.events, options });
        }
    }

    /// Has it looked at everything, and seen everything?
    fn has_seen_all(&self) -> bool {
        self.blind().is_empty() && self.marks.missing().is_empty()
    }

    /// Statements that were never looked at.
    pub fn blind(&self) -> Vec<&'static str> {
        self.counts.by_name().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

/// Plays the seeds; `progress` is called after each with what has come of them so far.
pub fn run(plan: Plan, progress: impl Fn(&Summary) + Sync) -> Summary {
    let start = Instant::now();
    let next = AtomicU64::new(0);
    let summary = Mutex::new(Summary::default());
    thread::scope(|scope| {
        for _ in 0..plan.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let is_more = number >= plan.seeds;
                    if is_more && (number >= plan.most || summary.lock().is_ok_and(|all| all.has_seen_all()))
                    {
                        return;
                    }
                    let seed = plan.from + number;
                    let again = !is_more && plan.again > 0 && number.is_multiple_of(plan.again);
                    let (outcome, options, equal) = one(plan.profile, seed, again, plan.options);
                    let failed = outcome.violation.is_some();
                    if let Ok(mut summary) = summary.lock() {
                        summary.add((seed, plan.profile), outcome, options, &equal);
                        summary.took = start.elapsed();
                        progress(&summary);
                    }
                    if failed && plan.first {
                        next.store(plan.seeds.max(plan.most), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_default();
    summary.failures.sort_by_key(|failure| failure.seed);
    summary.took = start.elapsed();
    summary
}

/// One seed, and which variants gave the same.
fn one(profile: Profile, seed: u64, again: bool, options: Options) -> (Outcome, Options, Vec<&'static str>) {
    let scenario = generate(seed, profile);
    let mut outcome = play(&scenario, options);
    let mut equal = Vec::new();
    if !again || outcome.violation.is_some() {
        return (outcome, options, equal);
    }
    for (name, what) in VARIANTS {
        let Some(varied) = variant(name, &scenario, options) else { continue };
        outcome.violation = if is_apart(&varied) {
            // Compared with another plain run than this one.
            play_compared(&scenario, varied).violation
        } else {
            difference((name, what), &outcome, &play(&scenario, varied))
        };
        if outcome.violation.is_some() {
            return (outcome, varied, equal);
        }
        equal.push(name);
    }
    (outcome, options, equal)
}
