//! The directory of an embedded store: for its owner only, and for one process at a time.

use crate::private_files::{make_directory, open_private};
use crate::store::StoreError;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Name of an empty file that is locked as long as the store is in use. The database's own locks are given back while it is
/// opened anew, and then another process must not come between.
const LOCK: &str = "metronome.lock";

/// A directory that is ours as long as this is there.
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Takes a directory, which is made with all above it.
    ///
    /// # Errors
    /// It cannot be written, or another process has it.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: io::Error| StoreError::Failed(error.to_string());
        make_directory(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StoreError::Failed("it is no directory".to_owned()),
            _ => failed(error),
        })?;
        let lock = open_private(&path.join(LOCK), true).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::Locked,
            TryLockError::Error(error) => failed(error),
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}
