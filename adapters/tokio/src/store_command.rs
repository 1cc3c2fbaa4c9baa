//! `metronome store`: looking into a store, and taking it elsewhere, while no broker uses it.

use clap::{Args, Subcommand};
use metronome_tokio::host::storage::StorageEngine;
use metronome_tokio::host::stores::StoreError;
use metronome_tokio::host::stores::export::{export, import, inspect};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

/// Which store, and what about it.
#[derive(Debug, Args)]
pub(crate) struct StoreCommand {
    /// Directory of the store. [default: metronome in the user's data directory]
    #[arg(long, value_name = "DIR", env = "METRONOME_DATA", global = true)]
    data: Option<PathBuf>,
    /// Which store: redb, or fjall where it is built in.
    #[arg(long, default_value = "redb", env = "METRONOME_STORAGE_ENGINE", value_parser = ["redb", "fjall"], global = true)]
    engine: String,
    #[command(subcommand)]
    errand: Errand,
}

#[derive(Debug, Subcommand)]
enum Errand {
    /// Counts what is in it
    Inspect,
    /// Writes every record as a line of JSON
    Export {
        /// The file; standard output without one
        file: Option<PathBuf>,
    },
    /// Reads what was exported into a store that is empty or not there
    Import {
        /// The file
        file: PathBuf,
    },
    /// Reads everything, and says whether it is sound
    Verify,
    /// Gives disk space back
    Compact,
}

impl StoreCommand {
    /// What is said at the end, or why it went wrong.
    pub(crate) fn run(&self) -> Result<String, String> {
        let directory = self.data.clone().or_else(crate::data_directory).ok_or(crate::NO_DIRECTORY)?;
        let engine = if self.engine == "fjall" { StorageEngine::Fjall } else { StorageEngine::Redb };
        self.errand
            .run(engine, &directory)
            .map_err(|error| format!("cannot use the store in {}: {error}", directory.display()))
    }
}

impl Errand {
    fn run(&self, engine: StorageEngine, directory: &Path) -> Result<String, StoreError> {
        let failed = |error: std::io::Error| StoreError::Failed(error.to_string());
        if !matches!(self, Self::Import { .. }) && engine.place(directory).is_none() {
            return Err(StoreError::Failed("there is none".to_owned()));
        }
        let mut store = engine.open(directory)?;
        let size = || engine.place(directory).map_or(0, |place| bytes_below(&place));
        match self {
            Self::Inspect => {
                let summary = inspect(&*store)?;
                Ok(format!("{summary}bytes on disk      {:>12}", size()))
            }
            Self::Export { file } => {
                let mut out: Box<dyn Write> = match file {
                    Some(file) => Box::new(BufWriter::new(private(file).map_err(failed)?)),
                    None => Box::new(BufWriter::new(stdout().lock())),
                };
                let count = export(&*store, &mut out)?;
                out.flush().map_err(failed)?;
                Ok(if file.is_some() { format!("{count} records are exported") } else { String::new() })
            }
            Self::Import { file } => {
                let lines = BufReader::new(File::open(file).map_err(failed)?);
                Ok(format!("{} records are imported", import(&mut *store, lines)?))
            }
            Self::Verify => {
                let is_sound = store.check()?;
                let summary = inspect(&*store)?;
                match (is_sound, summary.damaged) {
                    (true, 0) => Ok("everything is sound".to_owned()),
                    (true, damaged) => Err(StoreError::Failed(format!(
                        "{damaged} records are damaged; a broker puts them aside"
                    ))),
                    (false, _) => {
                        Err(StoreError::Failed("the file was damaged, and is repaired now".to_owned()))
                    }
                }
            }
            Self::Compact => {
                let before = size();
                store.compact()?;
                drop(store);
                Ok(format!("{before} bytes before, {} now", size()))
            }
        }
    }
}

/// Bytes of a file, or of all files in a folder.
fn bytes_below(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return path.metadata().map_or(0, |file| file.len()) };
    entries.flatten().map(|entry| bytes_below(&entry.path())).sum()
}

/// A new file for its owner only: messages are nobody else's business.
fn private(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
