//! How far a campaign is: a bar on a terminal, a line now and then elsewhere.

use crate::output::remark;
use indicatif::{ProgressBar, ProgressStyle};
use simulation::check::{FAULTS, MARKS};
use simulation::swarm::Summary;
use std::sync::atomic::{AtomicU64, Ordering};

/// Milliseconds between two looks on a terminal, and elsewhere.
const PAUSES: [u64; 2] = [200, 10_000];

pub(crate) struct Progress {
    bar: ProgressBar,
    /// Pauses that have passed.
    passed: AtomicU64,
}

impl Progress {
    pub(crate) fn new(seeds: u64) -> Self {
        // Drawn on standard error, and hidden where that is no terminal.
        let bar = ProgressBar::new(seeds);
        let style =
            ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} seeds, {msg}, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, passed: AtomicU64::new(0) }
    }

    pub(crate) fn show(&self, summary: &Summary) {
        let pause = PAUSES[usize::from(self.bar.is_hidden())];
        let passed = u64::try_from(summary.took.as_millis()).unwrap_or(u64::MAX) / pause;
        if self.passed.swap(passed, Ordering::Relaxed) == passed {
            return;
        }
        let text = text(summary);
        if self.bar.is_hidden() {
            remark!("{} of {} seeds, {text}", summary.seeds, self.bar.length().unwrap_or_default());
        } else {
            self.bar.set_position(summary.seeds);
            self.bar.set_message(text);
        }
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[allow(clippy::cast_precision_loss)] // For people.
fn text(summary: &Summary) -> String {
    let all = MARKS.len() + FAULTS.len();
    format!(
        "{:.0} events/s, {} failures, {} of {all} marks",
        summary.events as f64 / summary.took.as_secs_f64().max(1e-9),
        summary.failures.len(),
        all - summary.marks.missing().len()
    )
}
