//! How fast the simulator is, next to what is wanted of it. A slow machine is no failure.

use super::{at_least_one, tell};
use crate::machine;
use crate::output::say;
use clap::Args;
use simulation::check::{Checks, SAMPLE};
use simulation::idle;
use simulation::scenario::{Profile, generate};
use simulation::trace::seconds;
use simulation::world::{Options, Outcome, play};
use std::time::{Duration, Instant};

#[derive(Args)]
pub(crate) struct Bench {
    /// Clients
    #[arg(long, default_value_t = 1000, value_parser = at_least_one())]
    clients: usize,
    /// Runs, of which the median counts
    #[arg(long, default_value_t = 1, value_parser = at_least_one())]
    runs: usize,
    #[command(flatten)]
    sample: Sample,
}

#[derive(Args)]
pub(crate) struct Fleet {
    /// Clients
    #[arg(long, default_value_t = 100_000, value_parser = at_least_one())]
    clients: usize,
    /// Nothing but their sessions in one engine: how much memory each takes
    #[arg(long)]
    idle: bool,
    #[command(flatten)]
    sample: Sample,
}

#[derive(Args)]
struct Sample {
    /// Clients that are followed by everything, where there are more than 50
    #[arg(long, default_value_t = SAMPLE)]
    sample: usize,
}

impl Bench {
    pub(crate) fn run(&self) -> bool {
        measure(Profile::Dense { clients: self.clients }, self.clients, self.runs, &self.sample)
    }
}

impl Fleet {
    pub(crate) fn run(&self) -> bool {
        if self.idle {
            return measure_idle(self.clients);
        }
        measure(Profile::Fleet { clients: self.clients }, self.clients, 1, &self.sample)
    }
}

/// A figure and the least or most that is wanted.
struct Figure {
    name: &'static str,
    value: f64,
    goal: Option<Goal>,
}

enum Goal {
    Least(f64),
    Most(f64),
}

/// What one run shows.
struct Measured {
    clients: usize,
    events: u64,
    /// Virtual.
    time: f64,
    took: Duration,
    peak_memory: Option<u64>,
}

impl Measured {
    /// The figures, with goals where the world is of the size that they are for.
    #[allow(clippy::cast_precision_loss)] // For people.
    fn figures(&self, profile: Profile) -> Vec<Figure> {
        let Self { clients, events, time, took, peak_memory } = self;
        let took = took.as_secs_f64();
        let is_dense = matches!(profile, Profile::Dense { .. });
        let least = |of: usize, goal| (is_dense && *clients == of).then_some(Goal::Least(goal));
        let most = |goal| (!is_dense && *clients == 1_000_000).then_some(Goal::Most(goal));
        let memory = peak_memory.unwrap_or_default() as f64;
        vec![
            Figure {
                name: "events per second and core",
                value: *events as f64 / took,
                goal: least(1000, 200_000.0),
            },
            Figure {
                name: "client-hours per minute and core",
                value: *clients as f64 * time / 3600.0 / took * 60.0,
                goal: least(1000, 5000.0).or(least(10_000, 3000.0)),
            },
            Figure { name: "times real time", value: time / took, goal: least(100, 3000.0) },
            Figure { name: "minutes", value: took / 60.0, goal: most(10.0) },
            Figure { name: "GiB of memory at most", value: memory / f64::from(1 << 30), goal: most(4.0) },
            Figure { name: "bytes of memory for each client", value: memory / *clients as f64, goal: None },
        ]
    }
}

fn measure(profile: Profile, clients: usize, runs: usize, sample: &Sample) -> bool {
    let scenario = generate(1, profile);
    let options = Options { sample: Some(sample.sample), ..Options::default() };
    let mut all: Vec<(Duration, Outcome)> = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        let outcome = play(&scenario, options);
        all.push((start.elapsed(), outcome));
    }
    all.sort_by_key(|(took, _)| *took);
    let (took, outcome) = all.swap_remove(all.len() / 2);
    let measured = Measured {
        clients,
        events: outcome.events,
        time: seconds(outcome.time),
        took,
        peak_memory: machine::peak_memory(),
    };
    say!("commit {}, one core of {}", machine::commit(), machine::processor());
    say!(
        "{clients} clients, {} events, {:.0} s of virtual time in {:.2} s",
        measured.events,
        measured.time,
        took.as_secs_f64()
    );
    for Figure { name, value, goal } in measured.figures(profile) {
        let (wanted, is_reached) = match goal {
            None => (String::new(), true),
            Some(Goal::Least(goal)) => (format!("  wanted: at least {goal}"), value >= goal),
            Some(Goal::Most(goal)) => (format!("  wanted: at most {goal}"), value <= goal),
        };
        say!("{value:>14.2} {name}{wanted}{}", if is_reached { "" } else { " - MISSED" });
    }
    looked_at(&outcome.checks);
    tell(&outcome, false)
}

/// What was looked at, and how often: some statements for everybody, all of them for those who are followed.
fn looked_at(checks: &Checks) {
    let ((chosen, senders), counts) = (checks.followed(), &checks.counts);
    say!(
        "{chosen} clients are followed by everything, with {senders} that send to them: {} decisions of the reference \
         broker, {} left open",
        counts.decided,
        counts.left_open
    );
    let all = counts.by_name();
    let (seen, never): (Vec<_>, Vec<_>) = all.iter().partition(|(_, count)| **count > 0);
    let seen: Vec<String> = seen.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let never: Vec<&str> = never.iter().map(|(name, _)| **name).collect();
    say!("looks at {} of {} statements: {}", seen.len(), all.len(), seen.join(", "));
    say!("none at: {}", never.join(" "));
}

/// Holds if none takes more than 2 KiB.
fn measure_idle(clients: usize) -> bool {
    let idle = idle::measure(clients);
    let each = |bytes: u64| bytes / (idle.sessions as u64).max(1);
    let resident = idle.resident.map_or(0, each);
    say!(
        "{} idle sessions, bytes each: {} connected by the engine's account, {resident} in memory, {} offline",
        idle.sessions,
        each(idle.connected),
        each(idle.offline)
    );
    each(idle.connected).max(resident) <= 2048
}
