//! What came of a campaign.
//!
//! * [`Campaign`] — everything, as data
//! * `markdown` — the page for people
//! * `pictures` — what it shows
//! * `database` — campaigns of many days
//! * `progress` — while it runs

mod database;
mod markdown;
mod pictures;
mod progress;

pub(crate) use database::{Entry, table};
pub(crate) use markdown::grouped;
pub(crate) use progress::Progress;

use crate::command::write;
use crate::failure::Failure;
use crate::machine;
use serde::Serialize;
use simulation::check::{FAULTS, INVARIANTS, MARKS};
use simulation::figures::{HEALED, Timeline};
use simulation::swarm::{Plan, Summary};
use simulation::trace::seconds;
use simulation::variants::VARIANTS;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// A campaign, as `report.json` has it.
#[derive(Serialize)]
pub(crate) struct Campaign {
    pub(crate) commit: String,
    processor: String,
    threads: usize,
    pub(crate) from: u64,
    pub(crate) seeds: u64,
    /// Seeds that were asked for; the others were not played after a failure.
    wanted: u64,
    again: u64,
    stop_at: Option<u64>,
    pub(crate) events: u64,
    pub(crate) wall_seconds: f64,
    events_per_second_and_core: f64,
    pub(crate) broker_years: f64,
    broker_years_per_core_and_day: f64,
    /// Judgements of the reference broker, and those that it had to leave open.
    decided: u64,
    left_open: u64,
    invariants: Vec<Counted>,
    variants: Vec<Counted>,
    marks: Vec<Counted>,
    faults: Vec<Counted>,
    pub(crate) failures: Vec<Failure>,
    lacking: Vec<String>,
    timeline: Vec<Moment>,
}

/// Something with a name, what it says, and how often it was.
#[derive(Serialize)]
struct Counted {
    name: &'static str,
    says: &'static str,
    count: u64,
}

/// A piece of time, all seeds together.
#[derive(Serialize)]
struct Moment {
    /// Its end, as a share of the time until the world heals.
    until: f64,
    messages_in_per_second: f64,
    messages_out_per_second: f64,
    queued_median: u64,
    queued_99th_percentile: u64,
    faults_per_second: BTreeMap<&'static str, f64>,
}

impl Campaign {
    #[allow(clippy::cast_precision_loss)] // For people.
    pub(crate) fn new(
        plan: Plan,
        summary: &Summary,
        commit: String,
        failures: Vec<Failure>,
        lacking: Vec<String>,
    ) -> Self {
        let core_seconds = summary.took.as_secs_f64().max(1e-9) * plan.threads as f64;
        let broker_years = seconds(summary.time) / (365.25 * 86_400.0);
        let counts = summary.counts.by_name();
        let counted = |(name, says), count| Counted { name, says, count };
        let faults = summary.marks.faults();
        let equal = |name| summary.equal.get(name).copied().unwrap_or_default();
        Self {
            commit,
            processor: machine::processor(),
            threads: plan.threads,
            from: plan.from,
            seeds: summary.seeds,
            wanted: plan.seeds,
            again: plan.again,
            stop_at: plan.options.stop_at,
            events: summary.events,
            wall_seconds: summary.took.as_secs_f64(),
            events_per_second_and_core: summary.events as f64 / core_seconds,
            broker_years,
            broker_years_per_core_and_day: broker_years / core_seconds * 86_400.0,
            decided: summary.counts.decided,
            left_open: summary.counts.left_open,
            invariants: INVARIANTS.map(|known| counted(known, counts[known.0])).into(),
            variants: VARIANTS.map(|known| counted(known, equal(known.0))).into(),
            marks: MARKS.map(|mark| counted((mark, ""), summary.marks.count(mark))).into(),
            faults: FAULTS.iter().zip(faults).map(|(known, count)| counted(*known, count)).collect(),
            failures,
            lacking,
            timeline: moments(&summary.timeline),
        }
    }

    pub(crate) fn has_held(&self) -> bool {
        self.failures.is_empty() && self.lacking.is_empty()
    }

    /// Writes the report, with what earlier campaigns come to if there is a database.
    pub(crate) fn write(&self, folder: &Path, database: Option<&Path>) -> Result<(), String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        write(&folder.join("report.json"), &json)?;
        for (name, picture) in pictures::all(&self.timeline)? {
            write(&folder.join(name), &picture)?;
        }
        let earlier = database.map(table).transpose()?;
        write(&folder.join("report.md"), &markdown::page(self, earlier.as_deref()))
    }
}

/// What the terminal says.
impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = |all: &[Counted]| all.iter().filter(|counted| counted.count > 0).count();
        writeln!(
            f,
            "{} seeds from {}, {} events, {:.3} broker-years, {:.1} s, {:.0} events per second and core",
            self.seeds,
            self.from,
            self.events,
            self.broker_years,
            self.wall_seconds,
            self.events_per_second_and_core
        )?;
        for Counted { says, count, .. } in &self.variants {
            writeln!(f, "{count} seeds played again with {says}, to the same last byte")?;
        }
        let Self { decided, left_open, .. } = self;
        writeln!(f, "{decided} decisions of the reference broker, {left_open} left open")?;
        writeln!(f, "{} of {} marks seen", seen(&self.marks), self.marks.len())?;
        writeln!(f, "{} of {} classes of faults happened", seen(&self.faults), self.faults.len())?;
        self.failures.iter().try_for_each(|failure| writeln!(f, "{failure}"))?;
        self.lacking.iter().try_for_each(|lacking| writeln!(f, "FAILED: {lacking}"))
    }
}

#[allow(clippy::cast_precision_loss)] // For people.
fn moments(timeline: &Timeline) -> Vec<Moment> {
    let pieces = timeline.pieces().iter().enumerate();
    let moment = pieces.map(|(number, piece)| {
        let rate = |count: u64| count as f64 / seconds(piece.time).max(1e-9);
        Moment {
            until: (number + 1) as f64 / HEALED as f64,
            messages_in_per_second: rate(piece.received),
            messages_out_per_second: rate(piece.sent),
            queued_median: piece.queued(500),
            queued_99th_percentile: piece.queued(10),
            faults_per_second: FAULTS
                .iter()
                .zip(piece.faults)
                .map(|((class, _), count)| (*class, rate(count)))
                .collect(),
        }
    });
    moment.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use simulation::scenario::Profile;
    use simulation::shrink::Budget;
    use simulation::swarm;
    use simulation::world::{Mutation, Options, canary};
    use std::fs;
    use std::time::Duration;

    #[test]
    fn a_report_says_what_failed_and_what_never_was() {
        let mutation = Mutation { packet: Some(canary), ..Mutation::default() };
        let options = Options { mutation, ..Options::default() };
        let profile = Profile::Small;
        let plan = Plan { from: 1, seeds: 50, most: 50, profile, again: 0, threads: 1, first: true, options };
        let summary = swarm::run(plan, |_| {});
        let failed = &summary.failures[0];
        let folder = std::env::temp_dir().join(format!("report-{}", std::process::id()));
        let mut failure = Failure::new(failed, "c0ffee");
        let budget = Budget { tries: 20, time: Duration::from_secs(60) };
        failure.shorten(failed, budget, &folder).unwrap();
        let campaign = Campaign::new(plan, &summary, "c0ffee".into(), vec![failure], vec![]);
        let said = campaign.to_string();
        campaign.write(&folder, None).unwrap();
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let (page, json) = (read("report.md"), read("report.json"));
        let pictures = pictures::SHOWN.map(|(file, _)| read(file));
        fs::remove_dir_all(&folder).unwrap();

        let repeat = format!("cargo run --release -p simulation -- run {} --trace\n", failed.seed);
        assert!(said.contains(&repeat) && page.contains(&repeat), "{said}");
        assert!(!campaign.has_held() && page.contains("**Not everything held**"), "{page}");
        assert!(page.contains("| INV-71 | another hash key | **never** |"), "{page}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["failures"][0]["seed"], failed.seed);
        assert_eq!(json["timeline"].as_array().map(Vec::len), Some(summary.timeline.pieces().len()));
        for ((file, _), picture) in pictures::SHOWN.iter().zip(pictures) {
            assert!(page.contains(&format!("({file})")));
            assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"), "{picture}");
            assert!(
                picture.contains("time, in percent") && picture.contains("prefers-color-scheme"),
                "{picture}"
            );
        }
    }
}
