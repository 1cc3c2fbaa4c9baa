//! `metronome store`: looking into a store, and taking it elsewhere, while no broker uses it.

use crate::store_progress::{Watched, watched_file};
use clap::{Args, Subcommand};
use metronome_tokio::host::engine::Durability;
use metronome_tokio::host::storage::{StorageConfig, StorageEngine, StorePlace};
use metronome_tokio::host::stores::export::{export, import, inspect};
use metronome_tokio::host::stores::{Store, StoreError};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write, stdout};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Which store, and what about it.
#[derive(Debug, Args)]
pub(crate) struct StoreCommand {
    /// Directory of the store. [default: metronome in the user's data directory]
    #[arg(long, value_name = "DIR", env = "METRONOME_DATA", global = true)]
    data: Option<PathBuf>,
    /// Which store: redb, redis, or fjall where it is built in. [default: redb]
    #[arg(long, env = "METRONOME_STORAGE_ENGINE", value_parser = ["redb", "fjall", "redis"], global = true)]
    engine: Option<String>,
    /// Configuration file, for its storage section, which says where a Redis server is, unless METRONOME_STORAGE_REDIS_URL does.
    #[arg(long, value_name = "FILE", env = "METRONOME_CONFIG", global = true)]
    config: Option<PathBuf>,
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
        let mut storage = crate::configuration(self.config.as_deref(), None)?.0.storage;
        storage.engine = match self.engine.as_deref() {
            Some("redb") => StorageEngine::Redb,
            Some("fjall") => StorageEngine::Fjall,
            Some("redis") => StorageEngine::Redis,
            _ => storage.engine,
        };
        storage.durability = Durability::Durable;
        storage.path = self.data.clone().or(storage.path).or_else(crate::data_directory);
        let place = storage.place().ok_or(match storage.engine {
            StorageEngine::Redis => "there is no storage.redis_url that says where the server is",
            _ => crate::NO_DIRECTORY,
        })?;
        self.errand.run(&storage, &place)
    }
}

impl Errand {
    fn run(&self, storage: &StorageConfig, place: &StorePlace) -> Result<String, String> {
        let unusable = |error: StoreError| format!("cannot use the store in {place}: {error}");
        let open = || self.open(storage, place).map_err(unusable);
        let size = || file_of(storage, place).map(|file| bytes_below(&file));
        match self {
            Self::Inspect => {
                let summary = inspect(&open()?).map_err(unusable)?.to_string();
                let on_disk = size().map(|size| format!("{:<18} {size:>12}", "bytes on disk"));
                Ok(on_disk.map_or_else(|| summary.trim_end().to_owned(), |line| format!("{summary}{line}")))
            }
            Self::Export { file } => {
                let unexported = |error: StoreError| format!("cannot export the store in {place}: {error}");
                let store = open()?;
                let Some(file) = file else {
                    let mut out = BufWriter::new(stdout().lock());
                    export(&store, &mut out).map_err(unexported)?;
                    out.flush().map_err(|error| format!("cannot write to standard output: {error}"))?;
                    return Ok(String::new());
                };
                let unwritten = |error: std::io::Error| cannot("write", file, &error);
                let mut out = PrivateFile::begin(file).map_err(unwritten)?;
                let count = export(&store, &mut out.writer).map_err(unexported)?;
                out.finish().map_err(unwritten)?;
                Ok(format!("{count} records are exported"))
            }
            Self::Import { file } => {
                let lines = File::open(file).map_err(|error| cannot("read", file, &error))?;
                // Not before there is something for it.
                let mut store = open()?;
                let count = import(&mut store, BufReader::new(watched_file(lines))).map_err(|error| {
                    format!("cannot import {} into the store in {place}: {error}", file.display())
                })?;
                Ok(format!("{count} records are imported"))
            }
            Self::Verify => {
                let mut store = open()?;
                let is_sound = store.check().map_err(unusable)?;
                match (is_sound, inspect(&store).map_err(unusable)?.damaged) {
                    (true, 0) => Ok("everything is sound".to_owned()),
                    (true, damaged) => Err(unusable(StoreError::Failed(format!(
                        "{damaged} records are damaged; a broker puts them aside"
                    )))),
                    (false, _) => Err(unusable(StoreError::Failed(
                        "the file was damaged, and is repaired now".to_owned(),
                    ))),
                }
            }
            Self::Compact => {
                let mut store = open()?;
                let before = size();
                store.compact().map_err(unusable)?;
                drop(store);
                Ok(match before.zip(size()) {
                    Some((before, now)) => format!("{before} bytes before, {now} now"),
                    None => "the server writes its file anew".to_owned(),
                })
            }
        }
    }

    /// The store, which only an import may begin.
    fn open(&self, storage: &StorageConfig, place: &StorePlace) -> Result<Watched, StoreError> {
        let none = || StoreError::Failed("there is none".to_owned());
        let may_begin = matches!(self, Self::Import { .. });
        let is_file = matches!(place, StorePlace::Directory(_));
        if !may_begin && is_file && file_of(storage, place).is_none() {
            return Err(none());
        }
        let store = Watched(storage.open()?.ok_or_else(none)?);
        if !may_begin && !is_file && is_empty(&store)? {
            return Err(none());
        }
        Ok(store)
    }
}

/// The file or folder of an embedded store, if there is one.
fn file_of(storage: &StorageConfig, place: &StorePlace) -> Option<PathBuf> {
    match place {
        StorePlace::Directory(directory) => storage.engine.file(directory),
        StorePlace::Redis(..) => None,
    }
}

fn cannot(what: &str, file: &Path, error: &std::io::Error) -> String {
    format!("cannot {what} {}: {error}", file.display())
}

fn is_empty(store: &dyn Store) -> Result<bool, StoreError> {
    let mut is_empty = true;
    store.scan(&[], &mut |_, _| {
        is_empty = false;
        ControlFlow::Break(())
    })?;
    Ok(is_empty)
}

/// Bytes of a file, or of all files in a folder.
fn bytes_below(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return path.metadata().map_or(0, |file| file.len()) };
    entries.flatten().map(|entry| bytes_below(&entry.path())).sum()
}

/// A new file for its owner only, as messages are nobody else's business. It takes its place when it is whole, so nobody who
/// has an earlier one open, or might open it, reads this one.
struct PrivateFile {
    writer: BufWriter<File>,
    unfinished: PathBuf,
    path: PathBuf,
}

impl PrivateFile {
    fn begin(path: &Path) -> std::io::Result<Self> {
        if path.symlink_metadata().is_ok_and(|there| !there.is_file()) {
            return Err(std::io::Error::other("it is no ordinary file"));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let unfinished = path.with_file_name(name);
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let writer = BufWriter::new(options.open(&unfinished)?);
        Ok(Self { writer, unfinished, path: path.to_owned() })
    }

    fn finish(mut self) -> std::io::Result<()> {
        self.writer.flush()?;
        std::fs::rename(&self.unfinished, &self.path)
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        // It is not there any more unless something went wrong.
        let _gone = std::fs::remove_file(&self.unfinished);
    }
}
