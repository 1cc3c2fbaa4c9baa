//! A small world in every order in which it can happen: one client publishes, another subscribes, connections break and
//! the broker starts again at every point.
//!
//! Each order is played from its beginning, with the decisions that lead to it. Where it is of no consequence which of
//! two steps comes first, one order is enough: a step that was tried stays asleep until another comes that does not
//! commute with it (sleep sets, Godefroid 1996).

use crate::check::Violation;
use crate::scenario::{Client, FORMAT, Filter, Message, Network, Operation, Outside, Scenario, What, quiet};
use crate::world::{Mishaps, Options, Outcome, Step, play_in_order};
use broker_engine::Config;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// How small a world.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Quality of service of messages and subscription.
    pub qos: u8,
    /// Messages of the publisher.
    pub messages: usize,
    /// What may go wrong.
    pub mishaps: Mishaps,
    /// Play also what differs only in the order of steps that commute.
    pub redundant: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Explored {
    /// Orders that were played to their end.
    pub orders: u64,
    /// Those that were given up as no different from others.
    pub asleep: u64,
    /// Calls of the engine.
    pub events: u64,
    /// The longest, in steps.
    pub longest: usize,
    /// There are no others.
    pub is_complete: bool,
    /// What did not hold, and the decisions that lead there.
    pub failure: Option<(Vec<usize>, Violation)>,
    /// Time on the wall.
    pub took: Duration,
}

/// Orders that begin in the same way.
#[derive(Default)]
struct Branch {
    decisions: Vec<usize>,
    /// Steps that were tried before in place of what comes next, and meet it only later.
    asleep: Vec<Step>,
}

/// When the publisher begins.
const BEGIN: u64 = 2_000_000;

impl Scope {
    fn scenario(self) -> Scenario {
        let client = |id: &str| Client { id: id.into(), clean: false, expiry: 1000, ..quiet() };
        let filter = Filter {
            filter: "a".into(),
            qos: self.qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        };
        let message = Message { topic: "a".into(), qos: self.qos, size: 8, ..Message::default() };
        let before = [(0, What::Connect), (1, What::Connect), (1, What::Subscribe(vec![filter]))];
        let operations = before.into_iter().zip(1..).map(|((client, what), number)| Operation {
            at: BEGIN / 2 + number * 1000,
            client,
            what,
        });
        let publish = Operation { at: BEGIN, client: 0, what: What::Publish(message) };
        Scenario {
            format: FORMAT,
            seed: 0,
            epoch: 0,
            limits: Config::default(),
            network: Network { piece: 1, socket_buffer: u64::MAX, ..Network::default() },
            outside: Outside::default(),
            clients: vec![client("publisher"), client("subscriber")],
            operations: operations.chain(std::iter::repeat_n(publish, self.messages)).collect(),
            heal_at: BEGIN + 1,
        }
    }

    /// Plays one order: these decisions, and from there on always the first.
    pub fn play(self, decisions: &[usize], options: Options) -> Option<Outcome> {
        let mut decisions = decisions.iter();
        play_in_order(&self.scenario(), options, BEGIN, self.mishaps, |steps| {
            Some(decisions.next().copied().unwrap_or_default()).filter(|chosen| *chosen < steps.len())
        })
    }

    /// Plays all of them, or so many; `progress` is called after each, with how it ended.
    pub fn explore(
        self,
        most: u64,
        threads: usize,
        options: Options,
        progress: impl Fn(&Explored, &Outcome) + Sync,
    ) -> Explored {
        let start = Instant::now();
        let scenario = self.scenario();
        let shared =
            Mutex::new(Shared { branches: vec![Branch::default()], busy: 0, explored: Explored::default() });
        thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    while let Some(next) = shared.lock().ok().and_then(|mut shared| shared.next(most)) {
                        let Some(branch) = next else {
                            thread::yield_now();
                            continue;
                        };
                        let (branches, decisions, outcome) = self.follow(&scenario, branch, options);
                        if let Ok(mut shared) = shared.lock() {
                            shared.busy -= 1;
                            shared.branches.extend(branches);
                            shared.explored.took = start.elapsed();
                            match outcome {
                                Some(outcome) => {
                                    shared.explored.add(decisions, &outcome);
                                    progress(&shared.explored, &outcome);
                                }
                                None => shared.explored.asleep += 1,
                            }
                        }
                    }
                });
            }
        });
        let shared = shared.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Explored {
            is_complete: shared.branches.is_empty() && shared.explored.failure.is_none(),
            took: start.elapsed(),
            ..shared.explored
        }
    }

    /// Plays the first order of a branch, and says which others there are.
    fn follow(
        self,
        scenario: &Scenario,
        branch: Branch,
        options: Options,
    ) -> (Vec<Branch>, Vec<usize>, Option<Outcome>) {
        let Branch { mut decisions, mut asleep } = branch;
        let known = decisions.len();
        let mut depth = 0;
        let mut others = Vec::new();
        let outcome = play_in_order(scenario, options, BEGIN, self.mishaps, |steps| {
            depth += 1;
            if depth <= known {
                return decisions.get(depth - 1).copied();
            }
            let mut first = None;
            let mut tried = asleep.clone();
            for (number, step) in steps.iter().enumerate() {
                if asleep.contains(step) {
                    continue;
                }
                let after = || tried.iter().copied().filter(|other| !self.redundant && step.commutes(*other));
                if first.is_none() {
                    first = Some((number, after().collect()));
                } else {
                    let decisions = decisions.iter().copied().chain([number]).collect();
                    others.push(Branch { decisions, asleep: after().collect() });
                }
                tried.push(*step);
            }
            let (number, left): (usize, Vec<Step>) = first?;
            asleep = left;
            decisions.push(number);
            Some(number)
        });
        (others, decisions, outcome)
    }
}

struct Shared {
    branches: Vec<Branch>,
    /// Branches that are being followed.
    busy: usize,
    explored: Explored,
}

impl Shared {
    /// A branch to follow; none if others may still show up, or nothing is left to do.
    #[allow(clippy::option_option)] // Three answers, and only here.
    fn next(&mut self, most: u64) -> Option<Option<Branch>> {
        let is_over = self.explored.orders >= most || self.explored.failure.is_some();
        let branch = if is_over { None } else { self.branches.pop() };
        self.busy += usize::from(branch.is_some());
        if branch.is_none() && (is_over || self.busy == 0) { None } else { Some(branch) }
    }
}

impl Explored {
    fn add(&mut self, decisions: Vec<usize>, outcome: &Outcome) {
        self.orders += 1;
        self.events += outcome.events;
        self.longest = self.longest.max(decisions.len());
        if let Some(violation) = &outcome.violation {
            self.failure.get_or_insert((decisions, violation.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Mutation;
    use std::collections::BTreeSet;

    const SMALL: Scope =
        Scope { qos: 1, messages: 1, mishaps: Mishaps { breaks: 1, restarts: 0 }, redundant: false };

    fn digests(scope: Scope) -> (Explored, BTreeSet<u64>) {
        let digests = Mutex::new(BTreeSet::new());
        let explored = scope.explore(u64::MAX, 2, Options::default(), |_, outcome| {
            digests.lock().unwrap().insert(outcome.digest);
        });
        assert!(explored.is_complete, "{:?}", explored.failure);
        (explored, digests.into_inner().unwrap())
    }

    #[test]
    fn what_commutes_is_of_no_consequence() {
        let (few, few_digests) = digests(SMALL);
        let (all, all_digests) = digests(Scope { redundant: true, ..SMALL });
        assert!(few.orders < all.orders / 2 && all.asleep == 0, "{} of {} orders", few.orders, all.orders);
        assert!(few_digests.len() > 10, "{}", few_digests.len());
        assert_eq!(few_digests, all_digests);
    }

    #[test]
    fn every_order_holds() {
        for (qos, restarts) in [(1, 1), (2, 0)] {
            let mishaps = Mishaps { breaks: 1, restarts };
            let explored = digests(Scope { qos, mishaps, ..SMALL }).0;
            assert!(explored.orders > 100, "{} orders", explored.orders);
        }
    }

    #[test]
    fn a_wrong_order_is_found_and_played_again() {
        // Wrong only where a connection breaks: what is sent again is lost.
        let packet = |_, packet: &[u8]| (packet[0] >> 3 == 0b00111).then(Vec::new);
        let mutation = Mutation { packet: Some(packet), ..Mutation::default() };
        let options = Options { mutation, ..Options::default() };
        let (decisions, violation) = SMALL.explore(u64::MAX, 2, options, |_, _| {}).failure.unwrap();
        let again = SMALL.play(&decisions, options).unwrap();
        assert_eq!(again.violation, Some(violation));
        assert!(decisions.iter().any(|decision| *decision > 0));
        assert_eq!(SMALL.play(&[], options).unwrap().violation, None);
        assert!(SMALL.play(&[99], options).is_none(), "no such step");
    }
}
