//! The shortest scenario or recording that fails in the same way, and a test made of it.

use super::{Playing, is_scenario, read, write};
use crate::failure::size;
use crate::output::{remark, say};
use clap::Args;
use simulation::recording;
use simulation::scenario::Scenario;
use simulation::shrink::{Budget, shrink};
use simulation::variants::play_compared;
use simulation::world::Options;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What every run of the tests plays again.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions");

#[derive(Args)]
pub(crate) struct Shrink {
    /// A saved scenario or a segment of a recording that fails
    file: PathBuf,
    /// Where to save the shortest; without it a scenario goes to standard output, a recording only as its trace
    #[arg(long, conflicts_with = "test")]
    save: Option<PathBuf>,
    /// Make the shortest scenario a regression test of this name
    #[arg(long, value_parser = name)]
    test: Option<String>,
    /// Scenarios or recordings to try at most
    #[arg(long, default_value_t = 20_000)]
    most: u64,
    /// Seconds to try scenarios for
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    #[command(flatten)]
    playing: Playing,
}

/// The name of a test: words of small letters and digits, with hyphens between them.
fn name(text: &str) -> Result<String, String> {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if text.split('-').all(is_word) { Ok(text.into()) } else { Err("want words-like-these".into()) }
}

impl Shrink {
    pub(crate) fn run(&self) -> Result<bool, String> {
        if !is_scenario(&self.file) {
            return self.recording();
        }
        let scenario = read(&self.file)?;
        let options = self.playing.options();
        let violation = play_compared(&scenario, options).violation.ok_or("this scenario does not fail")?;
        let budget = Budget { tries: self.most, time: Duration::from_secs(self.seconds) };
        let shrunk = shrink(&scenario, violation.invariant, options, budget);
        let size = |scenario: &Scenario| size(scenario.operations.len(), scenario.clients.len());
        remark!(
            "{}: from {} to {}, {} scenarios tried",
            violation.invariant,
            size(&scenario),
            size(&shrunk.scenario),
            shrunk.tried
        );
        let json = shrunk.scenario.to_json();
        if let Some(name) = &self.test {
            write(&Path::new(REGRESSIONS).join(name).with_extension("json"), &json)?;
            let outcome = play_compared(&shrunk.scenario, Options { trace: true, ..options });
            say!("{}", outcome.trace.text());
            say!(
                "simulation/regressions/{name}.json is a test now, and fails until what it shows is mended:"
            );
            say!("  cargo test -p simulation --test regressions");
        } else if let Some(file) = &self.save {
            write(file, &json)?;
        } else {
            say!("{json}");
        }
        Ok(true)
    }

    fn recording(&self) -> Result<bool, String> {
        if self.test.is_some() {
            return Err("a test is made of a scenario, this is a recording".into());
        }
        let segments = recording::read(&self.file)?.segments;
        let last = segments.last().ok_or("nothing to play")?;
        let shrunk = recording::shrink(last, self.most)?;
        remark!("from {} inputs to {}, {} recordings tried", shrunk.inputs.0, shrunk.inputs.1, shrunk.tried);
        if let Some(file) = &self.save {
            fs::write(file, shrunk.segment.bytes())
                .map_err(|error| format!("{}: {error}", file.display()))?;
        }
        let options = recording::Options { trace: true, ..recording::Options::default() };
        let report = recording::play(&[shrunk.segment], options)?;
        report.trace.iter().for_each(|line| say!("{line}"));
        if let Some((number, failure)) = report.failure {
            say!("FAILED at input {number}: {failure}");
        }
        Ok(true)
    }
}
