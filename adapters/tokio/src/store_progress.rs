//! How far `metronome store` is: a bar on a terminal, and nothing elsewhere.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use metronome_tokio::host::stores::{Batch, Store, StoreError, Visit};
use std::io::Read;
use std::time::Duration;

/// Time between two pictures of something whose end is not known.
const TICK: Duration = Duration::from_millis(200);

/// A store that shows how many of its records were read.
pub(crate) struct Watched(pub(crate) Box<dyn Store>);

impl Store for Watched {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.0.commit(batch)
    }

    fn scan(&self, from: &[u8], each: &mut Visit<'_>) -> Result<(), StoreError> {
        let bar = match self.0.count() {
            Some(count) => bar(count, "{wide_bar} {human_pos} of {human_len} records, {eta} left"),
            None => waiting("{spinner} {human_pos} records"),
        };
        self.0.scan(from, &mut |key, value| {
            bar.inc(1);
            each(key, value)
        })
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.0.reopen()
    }

    fn check(&mut self) -> Result<bool, StoreError> {
        let _bar = waiting("{spinner} looking at the file, {elapsed}");
        self.0.check()
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        let _bar = waiting("{spinner} compacting, {elapsed}");
        self.0.compact()
    }
}

/// A file that shows how much of it was read.
pub(crate) fn watched_file(file: std::fs::File) -> impl Read {
    let length = file.metadata().map_or(0, |file| file.len());
    bar(length, "{wide_bar} {bytes} of {total_bytes}, {eta} left").wrap_read(file)
}

/// Drawn on standard error, and hidden where that is no terminal; gone when it is dropped.
fn bar(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_finish(ProgressFinish::AndClear)
}

/// The same, where nobody knows how far it is to the end.
fn waiting(template: &str) -> ProgressBar {
    let bar = bar(0, template);
    bar.unset_length();
    bar.enable_steady_tick(TICK);
    bar
}
