//! The shortest scenario that still fails in the same way.
//!
//! * `fewer` — fewer clients and operations, less in each of them
//! * `surroundings` — fewer faults, plain limits
//! * `plainer` — plain habits of clients, small messages
//! * `sooner` — round times, close together

mod fewer;
mod plainer;
mod sooner;
mod surroundings;

use crate::scenario::Scenario;
use crate::variants::play_compared;
use crate::world::Options;
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Profile, What, generate};
    use crate::world::{Mutation, play};

    #[test]
    fn what_does_not_matter_goes() {
        // PUBREC in place of PUBACK.
        let packet = |_, packet: &[u8]| (packet[0] == 0x40).then(|| vec![[&[0x50], &packet[1..]].concat()]);
        let mutation = Mutation { packet: Some(packet), ..Mutation::default() };
        let options = Options { mutation, ..Options::default() };
        let fails = |scenario: &Scenario| {
            play(scenario, options).violation.is_some_and(|violation| violation.invariant == "INV-07")
        };
        let mut all: Vec<Scenario> = (0..100).map(|seed| generate(seed, Profile::Small)).collect();
        all.sort_by_key(|scenario| scenario.operations.len());
        let long = all.into_iter().find(fails).unwrap();
        let budget = Budget { tries: 5000, time: Duration::from_secs(600) };
        let Shrunk { scenario, tried } = shrink(&long, "INV-07", options, budget);
        assert!(fails(&scenario) && tried < budget.tries, "{tried} tried");
        let [connect, publish] = &scenario.operations[..] else { panic!("{}", scenario.to_json()) };
        assert_eq!((connect.at, &connect.what), (1_000_000, &What::Connect));
        assert!(matches!(&publish.what, What::Publish(message) if message.qos == 1 && message.size == 8));
        assert_eq!((publish.at, scenario.heal_at, scenario.clients.len()), (2_000_000, 4_000_000, 1));
        assert_eq!(scenario.limits, broker_engine::Config::default());
        let network = &scenario.network;
        assert_eq!([network.cut, network.clog, network.split, network.half_open], [0; 4]);

        let none = Budget { tries: 0, ..budget };
        assert_eq!(shrink(&long, "INV-07", options, none).scenario.to_json(), long.to_json());
    }
}
