//! `simulation`: plays seeds and scenarios, finds the shortest that fails, measures.
//!
//! * `command` — what can be asked of it, a file for each
//! * `failure` — a failure as it is told: what broke, the shortest trace of it, and how to repeat it
//! * `machine` — what it runs on
//! * `output` — what commands say, also to nobody
//! * `report` — what came of a campaign, for people and for machines
#![deny(clippy::print_stdout, clippy::print_stderr)] // They panic when nobody reads: `output` does not.

mod command;
mod failure;
mod machine;
mod output;
mod report;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

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
    Run(command::run::Run),
    /// Plays many seeds on all cores, and some of them in variants too
    Swarm(command::swarm::Swarm),
    /// Plays a saved scenario, or what a broker recorded with `--record`
    Replay(command::replay::Replay),
    /// Looks for the shortest scenario or recording that fails as this one does, and saves it
    Shrink(command::shrink::Shrink),
    /// Measures: events per second, simulated client-hours per minute
    Bench(command::measure::Bench),
    /// Very many clients for an hour of virtual time
    Fleet(command::measure::Fleet),
    /// Looks for bugs that are there on purpose: each must be found
    Canary(command::canary::Canary),
    /// Plays a small world in every order in which it can happen
    Exhaustive(command::exhaustive::Exhaustive),
    /// Adds up campaigns that were kept with `swarm --database`
    Report(command::report::Report),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(run) => run.run(),
        Command::Swarm(swarm) => swarm.run(),
        Command::Replay(replay) => replay.run(),
        Command::Shrink(shrink) => shrink.run(),
        Command::Bench(bench) => Ok(bench.run()),
        Command::Fleet(fleet) => Ok(fleet.run()),
        Command::Canary(canary) => canary.run(),
        Command::Exhaustive(exhaustive) => exhaustive.run(),
        Command::Report(report) => report.run(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            output::remark!("simulation: {error}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nothing_to_play_is_refused() {
        for line in [
            "bench --clients 0",
            "bench --runs 0",
            "fleet --clients 0",
            "run 1 --clients 0",
            "swarm --seeds 0",
        ] {
            let words = ["simulation"].into_iter().chain(line.split(' '));
            let error = Cli::try_parse_from(words).err().expect(line);
            assert!(error.to_string().contains("invalid value '0'"), "{error}");
        }
    }
}
