//! What outlives the process: the section of the configuration, and how a broker begins with what a store has.

use broker_engine::{Boot, BootReport, Config, Durability, Engine, HashKey, Seed, Time};
use metronome_storage::{Clock, LoadReport, Store, StoreError, load};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time between two batches where nobody waits for them.
const PAUSE: Duration = Duration::from_millis(100);

/// What is kept, where, and what waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Which store.
    pub engine: StorageEngine,
    /// Directory of the store. Default none: everything ends with the process.
    pub path: Option<PathBuf>,
    /// What an acknowledgement promises, where there is a path. Default durable.
    pub durability: Durability,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { engine: StorageEngine::Redb, path: None, durability: Durability::Durable }
    }
}

/// The stores there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StorageEngine {
    /// An embedded B-tree in one file.
    Redb,
    /// An embedded LSM tree in a folder.
    Fjall,
}

impl StorageConfig {
    /// Directory of the store, if anything is kept.
    pub fn directory(&self) -> Option<&Path> {
        self.path.as_deref().filter(|_| self.durability != Durability::Memory)
    }

    /// What an acknowledgement promises.
    pub fn level(&self) -> Durability {
        if self.path.is_some() { self.durability } else { Durability::Memory }
    }

    /// Opens the store, if there is to be one.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn open(&self) -> Result<Option<Box<dyn Store>>, StoreError> {
        self.directory().map(|directory| self.engine.open(directory)).transpose()
    }
}

impl StorageEngine {
    /// Opens the store of a directory, or begins one there.
    ///
    /// # Errors
    /// It cannot be used, or is not in this build.
    pub fn open(self, directory: &Path) -> Result<Box<dyn Store>, StoreError> {
        match self {
            #[cfg(feature = "redb")]
            Self::Redb => Ok(Box::new(metronome_storage::RedbStore::open(directory)?)),
            #[cfg(feature = "fjall")]
            Self::Fjall => Ok(Box::new(metronome_storage::FjallStore::open(directory)?)),
            #[allow(unreachable_patterns)] // With all features.
            other => Err(StoreError::Failed(format!(
                "this build is without {other:?}, so {} is left alone",
                directory.display()
            ))),
        }
    }

    /// The file or folder of a store in a directory, if there is one.
    #[cfg_attr(not(any(feature = "redb", feature = "fjall")), allow(unused_variables))]
    pub fn place(self, directory: &Path) -> Option<PathBuf> {
        match self {
            #[cfg(feature = "redb")]
            Self::Redb => metronome_storage::RedbStore::file(directory),
            #[cfg(feature = "fjall")]
            Self::Fjall => metronome_storage::FjallStore::folder(directory),
            #[allow(unreachable_patterns)] // With all features.
            _ => None,
        }
    }
}

/// Time between two batches, by what an acknowledgement promises.
pub fn pause(level: Durability) -> Duration {
    if level == Durability::Async { PAUSE } else { Duration::ZERO }
}

/// What a store had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What became of it.
    pub boot: BootReport,
    /// What of it could be read.
    pub load: LoadReport,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.boot.fmt(f)?;
        match self.load.quarantined {
            0 => Ok(()),
            quarantined => write!(f, "; {quarantined} records cannot be read and were put aside"),
        }
    }
}

/// An engine that goes on with what a store has. `progress` hears of the number of records now and then.
///
/// # Errors
/// The store cannot be used.
pub fn begin(
    store: &mut dyn Store,
    config: Config,
    (seed, hash_key): (Seed, HashKey),
    progress: impl FnMut(u64),
) -> Result<(Engine, Clock, Found), StoreError> {
    let mut boot = Boot::new(config, seed, hash_key, Time::ZERO);
    let (load, clock) = load(store, &mut boot, progress)?;
    let (engine, boot) = boot.finish();
    Ok((engine, clock, Found { boot, load }))
}
