//! Files that are to be read again when they change.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

/// What tells one state of a file from another without reading it; `None` where there is no file.
type Stamp = Option<(Option<SystemTime>, u64)>;

/// Files, and how they were when they were read.
#[derive(Debug, Default)]
pub struct WatchedFiles {
    paths: Vec<PathBuf>,
    read: Vec<Stamp>,
    /// When they were looked at last.
    seen: Vec<Stamp>,
}

impl WatchedFiles {
    /// These, which are about to be read: what changes while they are is read again.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let stamps = stamps(&paths);
        Self { paths, read: stamps.clone(), seen: stamps }
    }

    /// They are about to be read again.
    pub fn begin(&mut self) {
        self.read = stamps(&self.paths);
    }

    /// Looks whether the files are others than those that were read, and as they were at the last look: half of a file
    /// that somebody is writing can be a good file that says less.
    pub fn have_changed(&mut self) -> bool {
        let now = stamps(&self.paths);
        let settled = now == self.seen && now != self.read;
        self.seen = now;
        settled
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        Some((file.modified().ok(), file.len()))
    };
    paths.iter().map(stamp).collect()
}
