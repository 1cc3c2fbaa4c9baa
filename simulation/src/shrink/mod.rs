//! The shortest scenario that still fails in the same way.
//!
//! * `fewer` — fewer clients and operations
//! * `plainer` — plain habits of clients, small messages
//! * `sooner` — round times, close together
//!
//! Faults and limits go here, one by one.

mod fewer;
mod plainer;
mod sooner;

use crate::scenario::Scenario;
use crate::variants::play_compared;
use crate::world::Options;
use broker_engine::Config;
use std::time::{Duration, Instant};

/// How far it got.
#[derive(Debug)]
pub struct Shrunk {
    /// Fails as the original did.
    pub scenario: Scenario,
    /// Scenarios that were tried.
    pub tried: u64,
}

/// When to be content with what there is.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Scenarios to try at most.
    pub tries: u64,
    /// Time on the wall.
    pub time: Duration,
}

/// Makes a scenario smaller as long as it breaks the same invariant.
pub fn shrink(scenario: &Scenario, invariant: &str, options: Options, budget: Budget) -> Shrunk {
    let invariant = invariant.to_owned();
    let options = Options { trace: false, ..options };
    let start = Instant::now();
    let mut shrinker =
        Shrinker { best: scenario.clone(), invariant, options, budget, start, tried: 0, taken: 0 };
    loop {
        let before = shrinker.taken;
        shrinker.fewer();
        shrinker.surroundings();
        shrinker.plainer();
        shrinker.sooner();
        if shrinker.taken == before || shrinker.is_over() {
            return Shrunk { scenario: shrinker.best, tried: shrinker.tried };
        }
    }
}

struct Shrinker {
    best: Scenario,
    invariant: String,
    options: Options,
    budget: Budget,
    start: Instant,
    tried: u64,
    /// Candidates that were better.
    taken: u64,
}

impl Shrinker {
    fn is_over(&self) -> bool {
        self.tried >= self.budget.tries || self.start.elapsed() >= self.budget.time
    }

    /// Takes a candidate if it fails in the same way.
    fn try_one(&mut self, candidate: Scenario) -> bool {
        if self.is_over() {
            return false;
        }
        self.tried += 1;
        let outcome = play_compared(&candidate, self.options);
        let same = outcome.violation.is_some_and(|violation| violation.invariant == self.invariant);
        if same {
            self.best = candidate;
            self.taken += 1;
        }
        same
    }

    /// Takes a change if something is different after it and fails in the same way.
    fn try_change(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        candidate.to_json() != self.best.to_json() && self.try_one(candidate)
    }

    /// Takes faults and limits away one by one.
    fn surroundings(&mut self) {
        let changes: [fn(&mut Scenario); 12] = [
            |s| s.network.cut = 0,
            |s| s.network.clog = 0,
            |s| s.network.split = 0,
            |s| s.network.half_open = 0,
            |s| s.network.socket_buffer = 1 << 20,
            |s| (s.network.delay_min, s.network.delay_max) = (1000, 1000),
            |s| s.outside.restore = 0,
            |s| s.outside.late_max = 0,
            |s| s.outside.no_answer = 0,
            |s| s.outside.deny = 0,
            |s| s.outside.answer_max = 0,
            |s| s.limits = Config::default(),
        ];
        for change in changes {
            self.try_change(change);
        }
        // Limits one by one, where all at once was too much.
        let json = |config: &Config| serde_json::to_value(config).unwrap_or_default();
        let plain = json(&Config::default());
        let names: Vec<String> =
            plain.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        for name in names {
            let mut limits = json(&self.best.limits);
            if limits[&name] == plain[&name] {
                continue;
            }
            limits[&name] = plain[&name].clone();
            let mut candidate = self.best.clone();
            if let Ok(config) = serde_json::from_value(limits) {
                candidate.limits = config;
                self.try_one(candidate);
            }
        }
    }
}
