//! `simulation`: plays seeds and scenarios, finds the shortest that fails, measures.

use clap::{Args, Parser, Subcommand};
use simulation::check::{FAULTS, INVARIANTS, MARKS};
use simulation::idle;
use simulation::planted;
use simulation::recording;
use simulation::scenario::{Profile, Scenario, generate};
use simulation::shrink::shrink;
use simulation::swarm::{self, Plan, VARIANTS};
use simulation::trace::seconds;
use simulation::world::{Options, Outcome, play};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// A whole MQTT broker and its world under one seed and virtual time.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays one seed
    Run(Run),
    /// Plays many seeds on all cores, and some of them twice
    Swarm(Swarm),
    /// Plays a saved scenario, or what a broker recorded with `--record`
    Replay(Replay),
    /// Looks for the shortest scenario or recording that fails as this one does, and saves it
    Shrink(Shrink),
    /// Measures: events per second, simulated client-hours per minute
    Bench(Bench),
    /// Very many clients for an hour of virtual time
    Fleet(Fleet),
    /// Looks for bugs that are there on purpose: each must be found
    Canary(Canary),
}

#[derive(Args)]
struct Run {
    /// The seed
    seed: u64,
    /// Print what happens
    #[arg(long)]
    trace: bool,
    /// Save the scenario to this file
    #[arg(long)]
    save: Option<PathBuf>,
}

#[derive(Args)]
struct Swarm {
    /// First seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many
    #[arg(long, default_value_t = 400)]
    seeds: u64,
    /// Every so many of them is played again in variants that must come to the same
    #[arg(long, default_value_t = 10)]
    again: u64,
    /// Stop each before this call of the engine
    #[arg(long)]
    stop_at: Option<u64>,
    /// Print the digest of each
    #[arg(long)]
    digests: bool,
    /// Go on after a failure
    #[arg(long)]
    all: bool,
}

#[derive(Args)]
struct Replay {
    /// A saved scenario, or a recording: one segment or the name that was given to `--record`
    file: PathBuf,
    /// Print what happens
    #[arg(long)]
    trace: bool,
    /// Stop before this call of the engine, or input of the recording
    #[arg(long)]
    stop_at: Option<u64>,
}

#[derive(Args)]
struct Shrink {
    /// A saved scenario or a segment of a recording that fails
    file: PathBuf,
    /// Where to save the shortest; without it a scenario goes to standard output, a recording only as its trace
    #[arg(long)]
    save: Option<PathBuf>,
    /// Scenarios or recordings to try at most
    #[arg(long, default_value_t = 20_000)]
    most: u64,
}

#[derive(Args)]
struct Bench {
    /// Clients
    #[arg(long, default_value_t = 1000)]
    clients: usize,
}

#[derive(Args)]
struct Fleet {
    /// Clients
    #[arg(long, default_value_t = 100_000)]
    clients: usize,
    /// Nothing but their sessions in one engine: how much memory each takes
    #[arg(long)]
    idle: bool,
}

#[derive(Args)]
struct Canary {
    /// All planted bugs, in a build of their own, and not just the canary
    #[arg(long)]
    all: bool,
    /// Just this planted bug
    #[arg(long)]
    bug: Option<String>,
    /// First seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Seeds to try for each at most
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// Scenarios to try at most while shrinking
    #[arg(long, default_value_t = 2000)]
    shrinking: u64,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(run) => run_seed(&run),
        Command::Swarm(plan) => Ok(run_swarm(&plan)),
        Command::Replay(replay) => run_file(&replay),
        Command::Shrink(plan) => run_shrink(&plan),
        Command::Bench(bench) => Ok(measure(Profile::Dense { clients: bench.clients }, bench.clients)),
        Command::Canary(canary) => run_canary(&canary),
        Command::Fleet(fleet) if fleet.idle => Ok(measure_idle(fleet.clients)),
        Command::Fleet(fleet) => Ok(measure(Profile::Fleet { clients: fleet.clients }, fleet.clients)),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulation: {error}");
            ExitCode::from(2)
        }
    }
}

fn run_seed(run: &Run) -> Result<bool, String> {
    let scenario = generate(run.seed, Profile::Small);
    if let Some(file) = &run.save {
        write(file, &scenario.to_json())?;
    }
    let outcome = play(&scenario, Options { trace: run.trace, ..Options::default() });
    Ok(tell(&outcome, run.trace))
}

fn run_file(replay: &Replay) -> Result<bool, String> {
    if !is_scenario(&replay.file) {
        return run_recording(replay);
    }
    let scenario = read(&replay.file)?;
    let options = Options { trace: replay.trace, stop_at: replay.stop_at, ..Options::default() };
    Ok(tell(&play(&scenario, options), replay.trace))
}

fn tell(outcome: &Outcome, trace: bool) -> bool {
    if trace {
        println!("{}", outcome.trace.text());
    }
    let (events, time, digest) = (outcome.events, seconds(outcome.time), outcome.digest);
    match &outcome.violation {
        None => println!("held: {events} events, {time:.0} s of virtual time, digest {digest:016x}"),
        Some(violation) => {
            println!("FAILED after {events} events: {violation}");
            let says =
                INVARIANTS.iter().find(|(name, _)| *name == violation.invariant).map(|(_, says)| *says);
            println!("  {}: {}", violation.invariant, says.unwrap_or("see the message"));
        }
    }
    outcome.violation.is_none()
}

fn run_swarm(plan: &Swarm) -> bool {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let last = AtomicU64::new(0);
    let start = Instant::now();
    let progress = |done: u64| {
        let now = start.elapsed().as_secs() / 10;
        if last.swap(now, Ordering::Relaxed) < now {
            eprintln!("{done} of {} seeds", plan.seeds);
        }
    };
    let summary = swarm::run(
        Plan {
            from: plan.from,
            seeds: plan.seeds,
            again: plan.again,
            threads,
            first: !plan.all,
            options: Options { stop_at: plan.stop_at, ..Options::default() },
        },
        progress,
    );
    let years = seconds(summary.time) / (365.25 * 86400.0);
    let rate = rate(summary.events, summary.took);
    println!(
        "{} seeds from {}, {} events, {years:.3} broker-years, {:.1} s, {rate:.0} events per second",
        summary.seeds,
        plan.from,
        summary.events,
        summary.took.as_secs_f64()
    );
    for (name, what) in VARIANTS {
        let count = summary.equal.get(name).copied().unwrap_or_default();
        println!("{count} seeds played again with {what}, to the same last byte");
    }
    let (decided, left_open) = (summary.counts.decided, summary.counts.left_open);
    println!("{decided} decisions of the reference broker, {left_open} left open");
    if plan.digests {
        for (seed, digest) in &summary.digests {
            println!("seed {seed} digest {digest:016x}");
        }
    }
    let seen =
        |names: &mut dyn Iterator<Item = &str>| names.filter(|name| summary.marks.count(name) > 0).count();
    println!("{} of {} marks seen", seen(&mut MARKS.into_iter()), MARKS.len());
    let fired = seen(&mut FAULTS.iter().map(|(class, _)| *class));
    println!("{fired} of {} classes of faults happened", FAULTS.len());
    for failure in &summary.failures {
        println!("FAILED: seed {} after {} events: {}", failure.seed, failure.events, failure.violation);
        println!("  cargo run --release -p simulation -- run {} --trace --save failed.json", failure.seed);
    }
    let blind = summary.blind();
    let missing = summary.marks.missing();
    // A campaign that did not look, or where nothing happened, has shown nothing.
    let enough = summary.seeds >= 400 && plan.stop_at.is_none() && summary.failures.is_empty();
    if enough && !blind.is_empty() {
        println!("FAILED: never looked at {}", blind.join(", "));
    }
    if enough && !missing.is_empty() {
        println!("FAILED: never seen: {}", missing.join("; "));
    }
    summary.failures.is_empty() && (!enough || blind.is_empty() && missing.is_empty())
}

fn run_shrink(plan: &Shrink) -> Result<bool, String> {
    if !is_scenario(&plan.file) {
        return shrink_recording(plan);
    }
    let scenario = read(&plan.file)?;
    let outcome = play(&scenario, Options::default());
    let violation = outcome.violation.ok_or("this scenario does not fail")?;
    let shrunk = shrink(&scenario, violation.invariant, Options::default(), plan.most);
    eprintln!(
        "{}: from {} operations of {} clients to {} of {}, {} scenarios tried",
        violation.invariant,
        scenario.operations.len(),
        scenario.clients.len(),
        shrunk.scenario.operations.len(),
        shrunk.scenario.clients.len(),
        shrunk.tried
    );
    match &plan.save {
        Some(file) => write(file, &shrunk.scenario.to_json())?,
        None => println!("{}", shrunk.scenario.to_json()),
    }
    Ok(true)
}

/// Scenarios are JSON, recordings are not, and may be named without the number of a segment.
fn is_scenario(file: &Path) -> bool {
    fs::read(file).is_ok_and(|bytes| bytes.trim_ascii_start().starts_with(b"{"))
}

fn run_recording(replay: &Replay) -> Result<bool, String> {
    let segments = recording::read(&replay.file)?;
    let options = recording::Options { trace: replay.trace, stop_at: replay.stop_at };
    let report = recording::play(&segments, options)?;
    report.trace.iter().for_each(|line| println!("{line}"));
    println!(
        "{} segments: {} inputs in {:.3} s, {} digests and {} snapshots equal",
        segments.len(),
        report.inputs,
        seconds(report.time),
        report.digests,
        report.snapshots
    );
    if let Some(at) = report.torn {
        println!("cut off or damaged at byte {at} of the last segment that was played: what came before was");
    }
    if let Some((number, failure)) = &report.failure {
        println!("FAILED at input {number}: {failure}");
        println!("  simulation replay {} --trace --stop-at {number}", replay.file.display());
    }
    Ok(report.failure.is_none())
}

fn shrink_recording(plan: &Shrink) -> Result<bool, String> {
    let segments = recording::read(&plan.file)?;
    let last = segments.last().ok_or("nothing to play")?;
    let shrunk = recording::shrink(last, plan.most)?;
    eprintln!("from {} inputs to {}, {} recordings tried", shrunk.inputs.0, shrunk.inputs.1, shrunk.tried);
    if let Some(file) = &plan.save {
        fs::write(file, shrunk.segment.bytes()).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let options = recording::Options { trace: true, ..recording::Options::default() };
    let report = recording::play(&[shrunk.segment], options)?;
    report.trace.iter().for_each(|line| println!("{line}"));
    if let Some((number, failure)) = report.failure {
        println!("FAILED at input {number}: {failure}");
    }
    Ok(true)
}

/// The table of bugs that are there on purpose.
fn run_canary(plan: &Canary) -> Result<bool, String> {
    if (plan.all || plan.bug.is_some()) && !planted::is_planted() {
        return in_planted_build();
    }
    let mut bugs = vec![planted::CANARY];
    if plan.all {
        bugs.extend(planted::BUGS.iter().map(|(name, ..)| name));
    }
    if let Some(bug) = &plan.bug {
        let known = planted::BUGS.iter().find(|(name, ..)| name == bug);
        bugs = vec![known.ok_or_else(|| format!("no planted bug {bug}"))?.0];
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    println!("| bug | found by | seeds | shrunk operations | seconds |\n|---|---|---|---|---|");
    let mut seeds = Vec::new();
    for bug in &bugs {
        match planted::hunt(bug, plan.from, plan.seeds, threads, plan.shrinking) {
            Some(found) => {
                let seconds = found.took.as_secs_f64();
                println!(
                    "| {bug} | {} | {} | {} | {seconds:.1} |",
                    found.invariant, found.seeds, found.operations
                );
                seeds.push(found.seeds);
            }
            None => println!("| {bug} | NOT FOUND | {} | | |", plan.seeds),
        }
    }
    seeds.sort_unstable();
    let median = seeds.get(seeds.len() / 2).copied().unwrap_or_default();
    println!("{} of {} found, median {median} seeds", seeds.len(), bugs.len());
    Ok(seeds.len() == bugs.len())
}

/// Bugs are planted in a build of its own, so that they cannot get into another one.
fn in_planted_build() -> Result<bool, String> {
    let status = std::process::Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["run", "--release", "--locked", "-p", "simulation", "--target-dir", "target/planted", "--"])
        .args(std::env::args_os().skip(1))
        .env("RUSTFLAGS", "--cfg planted")
        .status();
    status.map(|status| status.success()).map_err(|error| format!("cargo: {error}"))
}

#[allow(clippy::cast_precision_loss)] // For people.
fn measure(profile: Profile, clients: usize) -> bool {
    let scenario = generate(1, profile);
    let start = Instant::now();
    let outcome = play(&scenario, Options::default());
    let took = start.elapsed();
    let hours = clients as f64 * seconds(outcome.time) / 3600.0;
    println!(
        "{clients} clients, {} events in {:.2} s: {:.0} events per second, {:.0} client-hours per minute, {:.0} times real time",
        outcome.events,
        took.as_secs_f64(),
        rate(outcome.events, took),
        hours / took.as_secs_f64() * 60.0,
        seconds(outcome.time) / took.as_secs_f64()
    );
    tell(&outcome, false)
}

/// Holds if none takes more than 2 KiB.
fn measure_idle(clients: usize) -> bool {
    let idle = idle::measure(clients);
    let each = |bytes: u64| bytes / (idle.sessions as u64).max(1);
    let resident = idle.resident.map_or(0, each);
    println!(
        "{} idle sessions, bytes each: {} connected by the engine's account, {resident} in memory, {} offline",
        idle.sessions,
        each(idle.connected),
        each(idle.offline)
    );
    each(idle.connected).max(resident) <= 2048
}

#[allow(clippy::cast_precision_loss)] // For people.
fn rate(events: u64, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64().max(1e-9)
}

fn read(file: &PathBuf) -> Result<Scenario, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Scenario::from_json(&text).map_err(|error| format!("{}: {error}", file.display()))
}

fn write(file: &PathBuf, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
