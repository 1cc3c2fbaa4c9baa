//! What can be asked of the simulator. A command says whether everything held, or what it could not do.
//!
//! * [`run`], [`replay`], [`shrink`] — one scenario
//! * [`swarm`], [`report`] — many, and what came of them
//! * [`exhaustive`] — a small one in every order
//! * [`canary`], [`measure`] — how good and how fast the simulator is

pub(crate) mod canary;
pub(crate) mod exhaustive;
pub(crate) mod measure;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod shrink;
pub(crate) mod swarm;

use crate::output::say;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use simulation::scenario::Scenario;
use simulation::trace::seconds;
use simulation::world::{Host, Options, Outcome, Reader};
use std::fs;
use std::path::Path;

/// How a scenario is played. What the first six change must come to the same as the plain run, to which it is compared.
#[derive(Args, Clone, Copy)]
#[allow(clippy::struct_excessive_bools)] // Independent flags.
pub(crate) struct Playing {
    /// Protect the engine's tables with this key
    #[arg(long)]
    hash_key: Option<u64>,
    /// Give the engine its bytes in pieces of so many
    #[arg(long, default_value_t = 0)]
    piece: usize,
    /// Call the engine more often than it asks for
    #[arg(long)]
    restless: bool,
    /// Put the driver of the adapters between the world and the engine
    #[arg(long, conflicts_with_all = ["piece", "restless", "stop_at"])]
    driver: bool,
    /// Let clients come in through the transports of the adapters, and put the driver in between
    #[arg(long, conflicts_with_all = ["piece", "restless", "driver", "stop_at"])]
    transports: bool,
    /// Let one more client subscribe to everything and read nothing
    #[arg(long, conflicts_with_all = ["piece", "restless", "driver", "transports", "stop_at"])]
    slow_reader: bool,
    /// Stop before this call of the engine, or input of a recording
    #[arg(long)]
    stop_at: Option<u64>,
}

impl Playing {
    fn options(&self) -> Options {
        Options {
            hash_key: self.hash_key.map_or(Options::default().hash_key, |key| [key, !key]),
            piece: self.piece,
            restless: self.restless,
            host: match (self.driver, self.transports) {
                (true, _) => Host::Driver,
                (_, true) => Host::Transports,
                _ => Host::Played,
            },
            reader: self.slow_reader.then_some(Reader::Stalled),
            stop_at: self.stop_at,
            ..Options::default()
        }
    }
}

/// A number of something without which there is nothing to play.
pub(crate) fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// The flags that say the same as these options, each with a space before it.
pub(crate) fn flags(options: &Options) -> String {
    let plain = Options::default();
    let flags = [
        (options.hash_key != plain.hash_key).then(|| format!(" --hash-key {}", options.hash_key[0])),
        (options.piece > 0).then(|| format!(" --piece {}", options.piece)),
        options.restless.then(|| " --restless".to_owned()),
        (options.host == Host::Driver).then(|| " --driver".to_owned()),
        (options.host == Host::Transports).then(|| " --transports".to_owned()),
        options.reader.map(|_| " --slow-reader".to_owned()),
        options.stop_at.map(|call| format!(" --stop-at {call}")),
    ];
    flags.into_iter().flatten().collect()
}

/// Tells how a run ended, and whether everything held.
fn tell(outcome: &Outcome, trace: bool) -> bool {
    if trace {
        say!("{}", outcome.trace.text());
    }
    let (events, time, digest) = (outcome.events, seconds(outcome.time), outcome.digest);
    match &outcome.violation {
        None => say!("held: {events} events, {time:.0} s of virtual time, digest {digest:016x}"),
        Some(violation) => {
            say!("FAILED after {events} events: {violation}");
            say!("  {}: {}", violation.invariant, crate::failure::says(violation.invariant));
        }
    }
    outcome.violation.is_none()
}

/// Scenarios are JSON, recordings are not, and may be named without the number of a segment.
fn is_scenario(file: &Path) -> bool {
    fs::read(file).is_ok_and(|bytes| bytes.trim_ascii_start().starts_with(b"{"))
}

fn read(file: &Path) -> Result<Scenario, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Scenario::from_json(&text).map_err(|error| format!("{}: {error}", file.display()))
}

/// Writes a file, and its folder first.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), String> {
    let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| fs::write(file, text));
    written.map_err(|error| format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        playing: Playing,
    }

    #[test]
    fn flags_say_again_how_a_seed_was_played() {
        let plain = Options::default();
        let all = [
            plain,
            Options { hash_key: [7, !7], ..plain },
            Options { piece: 1, stop_at: Some(90), ..plain },
            Options { restless: true, ..plain },
            Options { host: Host::Driver, ..plain },
            Options { host: Host::Transports, ..plain },
            Options { reader: Some(Reader::Stalled), ..plain },
        ];
        for options in all {
            let line = format!("run{}", flags(&options));
            let said = Line::parse_from(line.split(' ')).playing.options();
            let of = |options: Options| {
                let Options { hash_key, piece, restless, host, reader, stop_at, .. } = options;
                (hash_key, piece, restless, host, reader, stop_at)
            };
            assert_eq!(of(said), of(options), "{line}");
        }
    }
}
