//! Campaigns of many days: a file with a line of JSON for each.

use super::Campaign;
use super::markdown::grouped;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

/// A campaign, as far as campaigns are added up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Entry {
    commit: String,
    from: u64,
    seeds: u64,
    events: u64,
    seconds: f64,
    broker_years: f64,
    failures: Vec<Failed>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Failed {
    seed: u64,
    invariant: String,
}

impl Entry {
    pub(crate) fn of(campaign: &Campaign) -> Self {
        let failures = campaign.failures.iter();
        Self {
            commit: campaign.commit.clone(),
            from: campaign.from,
            seeds: campaign.seeds,
            events: campaign.events,
            seconds: campaign.wall_seconds,
            broker_years: campaign.broker_years,
            failures: failures
                .map(|failure| Failed { seed: failure.seed, invariant: failure.invariant.into() })
                .collect(),
        }
    }

    /// Appends it, as one line in one write, so that several campaigns may run at once.
    pub(crate) fn append(&self, file: &Path) -> Result<(), String> {
        let wrong = |error| format!("{}: {error}", file.display());
        let line = serde_json::to_string(self).map_err(|error| error.to_string())? + "\n";
        file.parent().map_or(Ok(()), fs::create_dir_all).map_err(wrong)?;
        let mut open = File::options().create(true).append(true).open(file).map_err(wrong)?;
        open.write_all(line.as_bytes()).map_err(wrong)
    }
}

/// What a file's campaigns come to, by commit and together, as a table.
pub(crate) fn table(file: &Path) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut commits: Vec<(Entry, usize)> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let entry: Entry = serde_json::from_str(line)
            .map_err(|error| format!("{}, line {number}: {error}", file.display()))?;
        match commits.iter_mut().find(|(sum, _)| sum.commit == entry.commit) {
            Some((sum, campaigns)) => {
                add(sum, &entry);
                *campaigns += 1;
            }
            None => commits.push((entry, 1)),
        }
    }
    let mut table = "| commit | campaigns | seeds | events | broker-years | hours | failures |\n".to_owned();
    table += "|---|--:|--:|--:|--:|--:|---|\n";
    let mut all = (Entry { commit: "**all**".into(), ..Entry::default() }, 0);
    for (sum, campaigns) in &commits {
        table += &row(sum, *campaigns);
        add(&mut all.0, sum);
        all.1 += campaigns;
    }
    Ok(table + &row(&all.0, all.1))
}

fn add(sum: &mut Entry, entry: &Entry) {
    sum.seeds += entry.seeds;
    sum.events += entry.events;
    sum.seconds += entry.seconds;
    sum.broker_years += entry.broker_years;
    sum.failures.extend_from_slice(&entry.failures);
}

fn row(sum: &Entry, campaigns: usize) -> String {
    let failed: Vec<String> =
        sum.failures.iter().map(|failed| format!("{} at seed {}", failed.invariant, failed.seed)).collect();
    format!(
        "| {} | {campaigns} | {} | {} | {:.3} | {:.2} | {} |\n",
        sum.commit,
        grouped(sum.seeds),
        grouped(sum.events),
        sum.broker_years,
        sum.seconds / 3600.0,
        if failed.is_empty() { "none".into() } else { failed.join(", ") }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn campaigns_add_up_by_commit() {
        let file = std::env::temp_dir().join(format!("campaigns-{}.jsonl", std::process::id()));
        let entry = |commit: &str, seeds, failures| Entry {
            commit: commit.into(),
            seeds,
            seconds: 1800.0,
            failures,
            ..Entry::default()
        };
        let failed = vec![Failed { seed: 7, invariant: "INV-12".into() }];
        for entry in [entry("a", 400, vec![]), entry("b", 1, failed), entry("a", 1000, vec![])] {
            entry.append(&file).unwrap();
        }
        let table = table(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| a | 2 | 1,400 | 0 | 0.000 | 1.00 | none |",
                "| b | 1 | 1 | 0 | 0.000 | 0.50 | INV-12 at seed 7 |",
                "| **all** | 3 | 1,401 | 0 | 0.000 | 1.50 | INV-12 at seed 7 |",
            ]
        );
    }
}
