//! The embedded LSM tree: a journal that is synced with every batch, and tables that are merged behind it.

use crate::directory::Directory;
use crate::private_files::make_directory;
use crate::store::{Batch, Store, StoreError, Visit};
use fjall::{Database, Error, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// The one keyspace.
const RECORDS: &str = "metronome";

/// Name of the folder in the directory that the operator names.
const FOLDER: &str = "metronome.fjall";

/// Memory for blocks of the tables, bytes.
const CACHE: u64 = 64 << 20;

/// What is in no table yet, bytes: a process that starts reads that and all that was removed meanwhile from the journal.
const MEMTABLE: u64 = 16 << 20;

/// A store in a directory.
pub struct FjallStore {
    path: PathBuf,
    _directory: Directory,
    /// `None` between an error and what it takes to begin anew.
    open: Option<(Database, Keyspace)>,
}

impl fmt::Debug for FjallStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FjallStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl FjallStore {
    /// Opens the store in a directory, or begins one there. It is for its owner only.
    ///
    /// # Errors
    /// It cannot be read or written, another broker has it, or it is something else, which is left as it is.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let directory = Directory::take(directory)?;
        let path = directory.join(FOLDER);
        make_directory(&path).map_err(failed)?;
        let mut store = Self { path, _directory: directory, open: None };
        store.reopen()?;
        Ok(store)
    }

    /// The folder of a store in this directory, if there is one.
    pub fn folder(directory: &Path) -> Option<PathBuf> {
        Some(directory.join(FOLDER)).filter(|folder| folder.exists())
    }

    fn is_there(&self) -> Result<(), StoreError> {
        if self.path.exists() { Ok(()) } else { Err(StoreError::Lost("its folder is gone".to_owned())) }
    }

    fn parts(&self) -> Result<(&Database, &Keyspace), StoreError> {
        let open = self.open.as_ref().ok_or_else(|| StoreError::Failed("it is not open".to_owned()))?;
        Ok((&open.0, &open.1))
    }
}

impl Store for FjallStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let (database, records) = self.parts()?;
        let mut writing = database.batch().durability(Some(PersistMode::SyncData));
        let changed: BTreeSet<&[u8]> = batch.changes().map(|(key, _)| key).collect();
        for prefix in batch.cleared() {
            for record in records.prefix(prefix) {
                let key = record.key().map_err(failed)?;
                // A key may stand in a batch once.
                if !changed.contains(&*key) {
                    writing.remove(records, key);
                }
            }
        }
        // What removes what is not there need not wait for the disk.
        let only_removes = batch.changes().all(|(_, value)| value.is_none());
        for (key, value) in batch.changes() {
            match value {
                Some(value) => writing.insert(records, key, value),
                None if only_removes && !records.contains_key(key).map_err(failed)? => {}
                None => writing.remove(records, key),
            }
        }
        if !writing.is_empty() {
            writing.commit().map_err(failed)?;
        }
        // Whoever removes it may see it written on for long.
        self.is_there()
    }

    fn scan(&self, from: &[u8], each: &mut Visit<'_>) -> Result<(), StoreError> {
        let (_, records) = self.parts()?;
        for record in records.range(from..) {
            let (key, value) = record.into_inner().map_err(failed)?;
            if each(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        // Closed first: it holds a lock of its own.
        self.open = None;
        self.is_there()?;
        let database =
            Database::builder(&self.path).cache_size(CACHE).open().map_err(|error| match error {
                Error::Locked => StoreError::Locked,
                Error::InvalidVersion(_) => StoreError::Foreign("it is of another fjall".to_owned()),
                error => failed(error),
            })?;
        if let Some(other) = database.list_keyspace_names().into_iter().find(|name| &**name != RECORDS) {
            return Err(StoreError::Foreign(format!("it has a keyspace {other}")));
        }
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let records = database.keyspace(RECORDS, options).map_err(failed)?;
        self.open = Some((database, records));
        Ok(())
    }

    fn count(&self) -> Option<u64> {
        self.parts().ok().map(|(_, records)| records.approximate_len() as u64)
    }

    /// Tables and what will be one, with what was removed and is still in them. Journals have the latest of that once more.
    fn size(&mut self) -> Option<u64> {
        let (database, records) = self.parts().ok()?;
        Some(records.disk_space() + database.write_buffer_size())
    }

    /// Removing is written, too: the room comes when tables are merged.
    fn reclaim(&mut self) -> Result<(), StoreError> {
        self.compact()
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        let (_, records) = self.parts()?;
        records.rotate_memtable_and_wait().map_err(failed)?;
        records.major_compact().map_err(failed)
    }
}

fn failed(error: impl fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}
