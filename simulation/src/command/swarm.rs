//! Many seeds, and what came of them.

use super::at_least_one;
use crate::failure::Failure;
use crate::machine;
use crate::output::{put, say};
use crate::report::{Campaign, Entry, Progress};
use clap::{Args, ValueEnum};
use simulation::scenario::Profile;
use simulation::shrink::Budget;
use simulation::swarm::{self, Plan, Summary};
use simulation::world::Options;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args)]
pub(crate) struct Swarm {
    /// First seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// What happens to their worlds
    #[arg(long, value_enum, default_value_t = Kind::Small)]
    profile: Kind,
    /// Threads; one for each core unless it is said
    #[arg(long, value_parser = at_least_one())]
    threads: Option<usize>,
    /// Every so many of them is played again in variants that must come to the same; 0 for none
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
    /// Seconds to look for the shortest scenario of a failure; 0 for not at all
    #[arg(long, default_value_t = 20)]
    shrink_seconds: u64,
    /// Save the shortest scenarios in this folder
    #[arg(long, default_value = "target/failures")]
    save: PathBuf,
    /// Write a report into this folder: report.md, report.json and pictures
    #[arg(long)]
    report: Option<PathBuf>,
    /// Append a line to this file, for `simulation report`
    #[arg(long)]
    database: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Everything that can go wrong
    Small,
    /// The same, and processes that end again and again and begin from the store
    Crash,
}

/// A campaign of so many seeds has to look at everything and to see everything.
const ENOUGH: u64 = 400;

/// So many times as many seeds are played until it has.
const MORE: u64 = 5;

impl Swarm {
    pub(crate) fn run(&self) -> Result<bool, String> {
        let commit = machine::commit();
        let plan = Plan {
            from: self.from,
            seeds: self.seeds,
            most: if self.has_to_see_all() { self.seeds.saturating_mul(MORE) } else { self.seeds },
            again: self.again,
            profile: if self.profile == Kind::Crash { Profile::Crash } else { Profile::Small },
            threads: self.threads.unwrap_or_else(machine::threads),
            first: !self.all,
            options: Options { stop_at: self.stop_at, ..Options::default() },
        };
        let progress = Progress::new(self.seeds);
        let summary = swarm::run(plan, |summary| progress.show(summary));
        progress.end();
        let failures = self.failures(&summary, &commit)?;
        let lacking = self.lacking(&summary);
        let campaign = Campaign::new(plan, &summary, commit, failures, lacking);
        // What is kept is written first, as whoever reads what is said may have enough of it.
        if let Some(file) = &self.database {
            Entry::of(&campaign).append(file)?;
        }
        if let Some(folder) = &self.report {
            campaign.write(folder, self.database.as_deref())?;
        }
        if self.digests {
            for (seed, digest) in &summary.digests {
                say!("seed {seed} digest {digest:016x}");
            }
        }
        put(format_args!("{campaign}"));
        if let Some(folder) = &self.report {
            say!("report: {}", folder.join("report.md").display());
        }
        Ok(campaign.has_held())
    }

    /// What failed, with the shortest scenario for the first failure of each statement.
    fn failures(&self, summary: &Summary, commit: &str) -> Result<Vec<Failure>, String> {
        let budget = Budget { tries: u64::MAX, time: Duration::from_secs(self.shrink_seconds) };
        let mut seen = BTreeSet::new();
        let mut failures = Vec::new();
        for failed in &summary.failures {
            let mut failure = Failure::new(failed, commit);
            if self.shrink_seconds > 0 && seen.insert(failure.invariant) {
                failure.shorten(failed, budget, &self.save)?;
            }
            failures.push(failure);
        }
        Ok(failures)
    }

    fn has_to_see_all(&self) -> bool {
        self.seeds >= ENOUGH && self.profile == Kind::Small && self.stop_at.is_none()
    }

    /// A campaign that did not look, or where nothing happened, has shown nothing.
    fn lacking(&self, summary: &Summary) -> Vec<String> {
        if !self.has_to_see_all() || !summary.failures.is_empty() {
            return Vec::new();
        }
        let blind = summary.blind().into_iter().map(|name| format!("never looked at {name}"));
        let unseen = summary.marks.missing().into_iter().map(|mark| format!("never seen: {mark}"));
        blind.chain(unseen).collect()
    }
}
