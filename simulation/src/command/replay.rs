//! A saved scenario, or what a broker recorded.

use super::{Playing, is_scenario, read, tell};
use crate::output::say;
use clap::Args;
use simulation::recording;
use simulation::trace::seconds;
use simulation::variants::play_compared;
use simulation::world::Options;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct Replay {
    /// A saved scenario, or a recording: one segment or the name that was given to `--record`
    file: PathBuf,
    /// Print what happens
    #[arg(long)]
    trace: bool,
    #[command(flatten)]
    playing: Playing,
}

impl Replay {
    pub(crate) fn run(&self) -> Result<bool, String> {
        if !is_scenario(&self.file) {
            return self.recording();
        }
        let options = Options { trace: self.trace, ..self.playing.options() };
        Ok(tell(&play_compared(&read(&self.file)?, options), self.trace))
    }

    fn recording(&self) -> Result<bool, String> {
        let recording::Recording { segments, left_out } = recording::read(&self.file)?;
        let options = recording::Options { trace: self.trace, stop_at: self.playing.stop_at };
        let report = recording::play(&segments, options)?;
        report.trace.iter().for_each(|line| say!("{line}"));
        say!(
            "{} segments: {} inputs in {:.3} s, {} digests and {} snapshots equal",
            segments.len(),
            report.inputs,
            seconds(report.time),
            report.digests,
            report.snapshots
        );
        if let Some((segment, at)) = report.torn {
            say!("segment {segment} is cut off or damaged at byte {at}: what came before was played");
        }
        if let Some(left_out) = left_out {
            say!("left out: {left_out}");
        }
        if let Some((number, failure)) = &report.failure {
            say!("FAILED at input {number}: {failure}");
            let file = self.file.display();
            say!("  cargo run --release -p simulation -- replay {file} --trace --stop-at {number}");
        }
        Ok(report.failure.is_none())
    }
}
