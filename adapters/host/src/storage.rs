//! What outlives the process: the section of the configuration, and how a broker begins with what a store has.

use crate::hooks::HookChain;
use broker_engine::{Boot, BootReport, Config, Durability, Engine, HashKey, Seed, Time};
use metronome_storage::{Clock, LoadReport, RedisUrl, Store, StoreError, load};
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
    /// What an acknowledgement promises, where there is a store. Default durable.
    pub durability: Durability,
    /// Bytes that the store may take, about; what would take more is refused. Default none.
    pub max_bytes: Option<u64>,
    /// Keep the totals of what the broker counts, so that they go on after a restart. Default false.
    pub keep_counters: bool,
    /// The Redis server, for that engine.
    pub redis_url: Option<RedisUrl>,
    /// A file with its password, instead of one in the URL.
    pub redis_password_file: Option<PathBuf>,
    /// Certificates of those who may vouch for it, for `rediss://`.
    pub redis_ca: Option<PathBuf>,
    /// What the names of all its keys begin with. Default metronome.
    pub redis_prefix: String,
    /// Wait with each batch until it has that on its disk (`WAITAOF`). Default false.
    pub redis_wait_for_fsync: bool,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            engine: StorageEngine::Redb,
            path: None,
            durability: Durability::Durable,
            max_bytes: None,
            keep_counters: false,
            redis_url: None,
            redis_password_file: None,
            redis_ca: None,
            redis_prefix: "metronome".to_owned(),
            redis_wait_for_fsync: false,
        }
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
    /// A Redis server.
    Redis,
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// Of an embedded one.
    Directory(PathBuf),
    /// A server, and what the names of the keys begin with.
    Redis(RedisUrl, String),
}

impl StorePlace {
    /// What to do where another broker has the store.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Directory(_) => {
                "take another directory with --data, or keep nothing with --durability memory"
            }
            Self::Redis(..) => "take another storage.redis_prefix, or keep nothing with --durability memory",
        }
    }
}

impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(f),
            Self::Redis(url, prefix) => write!(f, "{url} below {prefix}"),
        }
    }
}

impl StorageConfig {
    /// Where the store is, if anything is kept.
    pub fn place(&self) -> Option<StorePlace> {
        if self.durability == Durability::Memory {
            return None;
        }
        match self.engine {
            StorageEngine::Redis => {
                self.redis_url.clone().map(|url| StorePlace::Redis(url, self.redis_prefix.clone()))
            }
            _ => self.path.clone().map(StorePlace::Directory),
        }
    }

    /// What an acknowledgement promises.
    pub fn level(&self) -> Durability {
        if self.place().is_some() { self.durability } else { Durability::Memory }
    }

    /// Opens the store, if there is to be one.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn open(&self) -> Result<Option<Box<dyn Store>>, StoreError> {
        match self.place() {
            None => Ok(None),
            Some(StorePlace::Directory(directory)) => self.engine.open(&directory).map(Some),
            Some(StorePlace::Redis(url, prefix)) => self.open_redis(url, prefix).map(Some),
        }
    }

    #[cfg(feature = "redis")]
    fn open_redis(&self, url: RedisUrl, prefix: String) -> Result<Box<dyn Store>, StoreError> {
        let options = metronome_storage::RedisOptions {
            url,
            password_file: self.redis_password_file.clone(),
            ca: self.redis_ca.clone(),
            prefix,
            wait_for_fsync: self.redis_wait_for_fsync,
        };
        Ok(Box::new(metronome_storage::RedisStore::open(options)?))
    }

    #[cfg(not(feature = "redis"))]
    #[allow(clippy::unused_self, clippy::needless_pass_by_value)] // As with the feature.
    fn open_redis(&self, _: RedisUrl, _: String) -> Result<Box<dyn Store>, StoreError> {
        Err(StoreError::Failed("this build is without Redis".to_owned()))
    }
}

impl StorageEngine {
    /// Opens the store of a directory, or begins one there.
    fn open(self, directory: &Path) -> Result<Box<dyn Store>, StoreError> {
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

    /// The file or folder of an embedded store in a directory, if there is one.
    #[cfg_attr(not(any(feature = "redb", feature = "fjall")), allow(unused_variables))]
    pub fn file(self, directory: &Path) -> Option<PathBuf> {
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
        if self.load.was_interrupted {
            f.write_str("; it was not closed the last time, and goes on from the last whole batch")?;
        }
        match self.load.quarantined {
            0 => Ok(()),
            quarantined => write!(f, "; {quarantined} records cannot be read and were put aside"),
        }
    }
}

/// An engine that goes on with what a store has. `progress` hears of the number of records now and then, and the hooks say
/// what clients may until they connect again.
///
/// # Errors
/// The store cannot be used.
pub fn begin(
    store: &mut dyn Store,
    config: Config,
    (seed, hash_key): (Seed, HashKey),
    progress: impl FnMut(u64),
    hooks: &mut HookChain,
) -> Result<(Engine, Clock, Found), StoreError> {
    let mut boot = Boot::new(config, seed, hash_key, Time::ZERO);
    let (load, clock) = load(store, &mut boot, progress)?;
    boot.permit(|client_id, username| hooks.resumed(client_id, username));
    let (engine, boot) = boot.finish();
    Ok((engine, clock, Found { boot, load }))
}
