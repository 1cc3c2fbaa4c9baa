//! The embedded B-tree: one file, which is copied on write and checked by sums.

use crate::directory::Directory;
use crate::private_files::open_private;
use crate::store::{Batch, Store, StoreError, Visit, end_of};
use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTableMetadata, StorageBackend, StorageError,
    TableDefinition, TableError, TableHandle,
};
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The one table.
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("metronome");

/// Name of the file in the directory that the operator names.
const FILE: &str = "metronome.redb";

/// Name of the file while it is made: a process may end in the midst of that.
const UNFINISHED: &str = "metronome.redb.new";

/// Memory for pages of the file, bytes.
const CACHE: usize = 64 << 20;

/// A store in one file.
pub struct RedbStore {
    open: Box<dyn FnMut() -> Result<Opened, StoreError> + Send>,
    /// `None` between an error and what it takes to begin anew.
    database: Option<Database>,
    /// Bytes of all records, once they were counted.
    live: Option<u64>,
    /// None for a disk of the caller's.
    file: Option<PathBuf>,
    was_interrupted: bool,
}

/// A database, and whether it had not been closed.
type Opened = (Database, bool);

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("is_open", &self.database.is_some()).finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the store in a directory, or begins one there. Both are for their owner only.
    ///
    /// # Errors
    /// It cannot be read or written, another broker has it, or its file is something else, which is left as it is.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let directory = Directory::take(directory)?;
        let path = directory.join(FILE);
        if !path.exists() {
            make(&path, &directory.join(UNFINISHED))?;
        }
        Self::begin(Some(path), move || {
            // It is ours as long as this may be called.
            let path = directory.join(FILE);
            let file = open_private(&path, false).map_err(|error| match error.kind() {
                ErrorKind::IsADirectory => StoreError::Foreign("it is a directory".to_owned()),
                ErrorKind::NotFound => taken_away(),
                _ => failed(error),
            })?;
            open_on(FileBackend::new(file))
        })
    }

    /// Opens the store on a disk of the caller's, or begins one there; `disk` gives it at each beginning.
    ///
    /// # Errors
    /// It cannot be read or written, or is something else.
    pub fn open_on<B: StorageBackend>(disk: impl Fn() -> B + Send + 'static) -> Result<Self, StoreError> {
        Self::begin(None, move || open_on(Ok(disk())))
    }

    fn begin(
        file: Option<PathBuf>,
        open: impl FnMut() -> Result<Opened, StoreError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let mut store =
            Self { open: Box::new(open), database: None, live: None, file, was_interrupted: false };
        store.begin_on_sound_pages()?;
        Ok(store)
    }

    /// The file of a store in this directory, if there is one.
    pub fn file(directory: &Path) -> Option<PathBuf> {
        Some(directory.join(FILE)).filter(|file| file.exists())
    }

    fn database(&self) -> Result<&Database, StoreError> {
        self.database.as_ref().ok_or_else(|| StoreError::Failed("it is not open".to_owned()))
    }

    /// Bytes of all keys and values, counted page by page.
    fn count_live(&self) -> Option<u64> {
        let reading = self.database().ok()?.begin_read().ok()?;
        match reading.open_table(RECORDS) {
            Ok(records) => Some(records.stats().ok()?.stored_bytes()),
            Err(_) => Some(0),
        }
    }

    /// redb trusts a file that was closed, and panics where its pages are damaged. So every page is looked at before anybody
    /// relies on it; records in which something else is wrong are found by their own sums.
    fn begin_on_sound_pages(&mut self) -> Result<(), StoreError> {
        let begin = || {
            self.reopen()?;
            self.is_ours()?;
            self.scan(&[], &mut |_, _| ControlFlow::Continue(()))
        };
        catch_unwind(AssertUnwindSafe(begin)).unwrap_or_else(|_| {
            // It may panic once more when it is closed, and the process is about to end.
            std::mem::forget(self.database.take());
            Err(StoreError::Damaged("pages of its file cannot be read".to_owned()))
        })
    }

    /// A database of somebody else has other tables.
    fn is_ours(&self) -> Result<(), StoreError> {
        let reading = self.database()?.begin_read().map_err(failed)?;
        let mut tables = reading.list_tables().map_err(failed)?;
        match tables.find(|table| table.name() != RECORDS.name()) {
            Some(other) => Err(StoreError::Foreign(format!("it has a table {}", other.name()))),
            None => Ok(()),
        }
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        // Some damage shows only now. What was committed does not need it.
        let database = self.database.take();
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

impl Store for RedbStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let writing = self.database()?.begin_write().map_err(failed)?;
        let mut changed = false;
        let (mut come, mut gone) = (0, 0);
        {
            let mut records = writing.open_table(RECORDS).map_err(failed)?;
            for prefix in batch.cleared() {
                let end = end_of(prefix);
                let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let range = (Bound::Included(prefix), end);
                let removed = records.extract_from_if::<&[u8], _>(range, |_, _| true).map_err(failed)?;
                for record in removed {
                    let (key, value) = record.map_err(failed)?;
                    gone += size(key.value(), value.value());
                    changed = true;
                }
            }
            for (key, value) in batch.changes() {
                let before = match value {
                    Some(value) => {
                        come += size(key, value);
                        records.insert(key, value)
                    }
                    None => records.remove(key),
                };
                let before = before.map_err(failed)?;
                gone += before.as_ref().map_or(0, |before| size(key, before.value()));
                changed |= value.is_some() || before.is_some();
            }
        }
        // What removes what is not there need not wait for the disk.
        let done = if changed { writing.commit().map_err(failed) } else { writing.abort().map_err(failed) };
        done?;
        // Whoever removes it may see it written on for long.
        if self.file.as_ref().is_some_and(|file| !file.exists()) {
            return Err(taken_away());
        }
        self.live = self.live.map(|live| (live + come).saturating_sub(gone));
        Ok(())
    }

    fn scan(&self, from: &[u8], each: &mut Visit<'_>) -> Result<(), StoreError> {
        let reading = self.database()?.begin_read().map_err(failed)?;
        let records = match reading.open_table(RECORDS) {
            Ok(records) => records,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for record in records.range(from..).map_err(failed)? {
            let (key, value) = record.map_err(failed)?;
            if each(key.value(), value.value()).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        // Closed first: it holds a lock of its own.
        (self.database, self.live) = (None, None);
        let (database, was_interrupted) = (self.open)()?;
        self.database = Some(database);
        self.was_interrupted |= was_interrupted;
        Ok(())
    }

    fn was_interrupted(&self) -> bool {
        self.was_interrupted
    }

    fn count(&self) -> Option<u64> {
        self.database().ok()?.begin_read().ok()?.open_table(RECORDS).ok()?.len().ok()
    }

    /// The file keeps what it once had, for what comes. Of its pages about a third is empty.
    fn size(&mut self) -> Option<u64> {
        self.live = self.live.or_else(|| self.count_live());
        let live = self.live?;
        let length =
            self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(u64::MAX, |file| file.len());
        Some((live + live / 2).min(length))
    }

    fn check(&mut self) -> Result<bool, StoreError> {
        self.database()?;
        self.database.as_mut().map_or(Ok(true), Database::check_integrity).map_err(failed)
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        self.database()?;
        self.database.as_mut().map_or(Ok(false), Database::compact).map(drop).map_err(failed)
    }
}

/// Makes a store elsewhere, and puts it into its place when it is whole, unless another one is there by then.
fn make(path: &Path, unfinished: &Path) -> Result<(), StoreError> {
    let file = open_private(unfinished, true).map_err(failed)?;
    // Another process may have put it into its place since, and be using it.
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StoreError::Locked,
        TryLockError::Error(error) => failed(error),
    })?;
    // What an earlier process has left.
    file.set_len(0).map_err(failed)?;
    drop(open_on(FileBackend::new(file))?.0);
    match std::fs::hard_link(unfinished, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => std::fs::rename(unfinished, path),
        _ => std::fs::remove_file(unfinished),
    }
    .map_err(failed)?;
    // Its name has to outlive a power cut, too.
    #[cfg(unix)]
    if let Some(directory) = path.parent() {
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    }
    Ok(())
}

fn open_on(disk: Result<impl StorageBackend, DatabaseError>) -> Result<Opened, StoreError> {
    let repairs = Arc::new(AtomicBool::new(false));
    let repairing = repairs.clone();
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_repair_callback(move |_| repairing.store(true, Relaxed));
    let opened = disk.and_then(|disk| builder.create_with_backend(disk));
    let opened = opened.map(|database| (database, repairs.load(Relaxed)));
    opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Locked,
        DatabaseError::UpgradeRequired(_) => StoreError::Foreign("it is of an earlier redb".to_owned()),
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
            StoreError::Foreign("it is no redb file".to_owned())
        }
        DatabaseError::Storage(StorageError::Corrupted(what)) => StoreError::Damaged(what),
        error => failed(error),
    })
}

fn taken_away() -> StoreError {
    StoreError::Lost("its file is gone".to_owned())
}

fn failed(error: impl fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

fn size(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}
