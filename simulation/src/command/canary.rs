//! How good the simulator is: bugs that are there on purpose have to be found, soon, and told in few words.

use super::write;
use crate::machine;
use crate::output::say;
use clap::Args;
use simulation::planted::{BUGS, CANARY, Found, hunt, is_planted};
use simulation::shrink::Budget;
use std::path::Path;
use std::time::Duration;

/// Where `--write` puts the table.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/planted-bugs.md");

/// What is wanted of half the bugs: seeds until they are found, operations and clients that are left of them.
const MEDIANS: [usize; 3] = [2000, 25, 3];

#[derive(Args)]
pub(crate) struct Canary {
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
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Seconds to look for the shortest scenario of each
    #[arg(long, default_value_t = 60)]
    shrink_seconds: u64,
    /// Write the table to docs/planted-bugs.md as well
    #[arg(long, requires = "all")]
    write: bool,
}

impl Canary {
    pub(crate) fn run(&self) -> Result<bool, String> {
        if (self.all || self.bug.is_some()) && !is_planted() {
            return in_planted_build();
        }
        let commit = machine::commit();
        let mut bugs = vec![(CANARY, "now and then a PUBLISH is lost without a word", "TigerBeetle's habit")];
        if self.all {
            bugs.extend(BUGS);
        }
        if let Some(bug) = &self.bug {
            let known = BUGS.iter().find(|(name, ..)| name == bug);
            bugs = vec![*known.ok_or_else(|| format!("no planted bug {bug}"))?];
        }
        let mut lines: Vec<String> = vec![
            "| bug | what is wrong | seen in | found by | seeds | operations | clients | seconds | shrinking |".into(),
            "|---|---|---|---|---|---|---|---|---|".into(),
        ];
        say!("{}", lines.join("\n"));
        let mut found = Vec::new();
        for (bug, what, origin) in &bugs {
            let budget = Budget { tries: u64::MAX, time: Duration::from_secs(self.shrink_seconds) };
            let hunted = hunt(bug, self.from, self.seeds, machine::threads(), budget);
            let line = format!("| {bug} | {what} | {origin} | {} |", cells(hunted.as_ref(), self.seeds));
            say!("{line}");
            lines.push(line);
            found.extend(hunted);
        }
        let seeds = |found: &Found| usize::try_from(found.seeds).unwrap_or(usize::MAX);
        let medians = [
            median(&found, seeds),
            median(&found, |found| found.operations),
            median(&found, |found| found.clients),
        ];
        let [seeds, operations, clients] = medians;
        let sum = format!(
            "{} of {} found. Medians: seeds {seeds}, operations {operations}, clients {clients}.",
            found.len(),
            bugs.len()
        );
        say!("\n{sum}");
        if self.write {
            write(Path::new(PAGE), &page(&lines.join("\n"), &sum, self.seeds, &commit))?;
        }
        // One bug alone has no median worth the name.
        let is_good = !self.all || medians.iter().zip(MEDIANS).all(|(median, goal)| *median <= goal);
        Ok(found.len() == bugs.len() && is_good)
    }
}

fn cells(found: Option<&Found>, seeds: u64) -> String {
    let Some(found) = found else { return format!("**nobody** | {seeds} | | | | ") };
    let Found { seeds, invariant, operations, clients, took, shrinking } = found;
    let (took, shrinking) = (took.as_secs_f64(), shrinking.as_secs_f64());
    format!("{invariant} | {seeds} | {operations} | {clients} | {took:.1} | {shrinking:.1}")
}

fn median(found: &[Found], of: impl Fn(&Found) -> usize) -> usize {
    let mut all: Vec<usize> = found.iter().map(of).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn page(table: &str, sum: &str, seeds: u64, commit: &str) -> String {
    let (processor, threads) = (machine::processor(), machine::threads());
    format!(
        "# Planted bugs\n\n\
        How soon [the simulator](simulation.md) finds bugs that other brokers had, and how much is left of each once\n\
        its scenario is as short as the simulator can make it. Each is looked for in up to {seeds} seeds. The canary is\n\
        wrong in what leaves the engine, the others are planted in its source. Written by\n\
        `cargo run --release -p simulation -- canary --all --write` at commit `{commit}`; {processor}, {threads} threads.\n\n\
        {sum}\n\n{table}\n"
    )
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
