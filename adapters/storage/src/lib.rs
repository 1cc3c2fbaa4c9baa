//! Durable stores: what the engine wants kept outlives the process.
//!
//! * [`store`] — what a store has to do: keep records by key, batch by batch
//! * [`record`] — operations of the engine as records, and back
//! * [`keeper`] — a store on a thread of its own: group commit, pages of queues, retries
//! * [`load()`] — from the records of a store to an engine that goes on
//! * [`export`] — what is in a store, for people and other programs
//! * [`clock`] — a wall clock that never goes back
//! * `directory` — where the embedded ones are, for one process at a time
//! * [`private_files`] — files for their owner only
//! * `redb` — the embedded B-tree
//! * `fjall` — the embedded LSM tree
//! * `redis` — a Redis server, [`redis_url`] where it is
//!
//! There is no runtime here. A host submits what the engine emits to a [`Keeper`], and gives the engine back what comes
//! of it; `docs/storage.md` says what is kept and when.
#![forbid(unsafe_code)]

pub mod clock;
#[cfg(any(feature = "redb", feature = "fjall"))]
mod directory;
pub mod export;
#[cfg(feature = "fjall")]
pub mod fjall;
pub mod keeper;
pub mod load;
pub mod private_files;
pub mod record;
#[cfg(feature = "redb")]
pub mod redb;
#[cfg(feature = "redis")]
pub mod redis;
pub mod redis_url;
pub mod store;

pub use clock::Clock;
#[cfg(feature = "fjall")]
pub use fjall::FjallStore;
pub use keeper::{Event, Keeper, KeeperOptions, Room, Statistics};
pub use load::{LoadReport, counters, load, load_at};
pub use record::Totals;
#[cfg(feature = "redb")]
pub use redb::RedbStore;
#[cfg(feature = "redis")]
pub use redis::{RedisOptions, RedisStore};
pub use redis_url::RedisUrl;
pub use store::{Batch, Promise, Store, StoreError, Visit};
