//! The tasks of a broker on one thread, for any runtime that has sockets, a timer and local tasks.
//!
//! * [`Runtime`] — what a runtime brings
//! * [`poll_set`] — sockets of the broker's own, which the runtime watches as one file
//! * `async_io` — what of it smol and async-std have in common (feature `async-io`)
//! * [`Builder`] — starts a broker on a thread of its own; [`BrokerHandle`] — asks and stops it
//! * [`InlineClient`] — clients inside the program
//! * `store` — what outlives the process, on a thread of its own
//! * [`turn`] — engine, sockets and tasks on one thread, and how a turn is flushed
//! * [`listener`], [`files`] — accepting, also when files run out; [`socket_file`] — of Unix sockets
//! * [`tcp`] — options of TCP sockets
//! * [`Accepted`] — connections that the embedding program brings
//! * [`entrance`] — what comes before MQTT, in a task of its own
//! * [`connection`] — one task for all connections: read, wait, close in peace; `bell` — what wakes it
//! * [`notes`] — what goes into the log about clients
//! * [`drops`] — what goes into the log about messages that were lost
//! * [`signal`] — waking a task of the same thread; `alarm` — a panic of one task is the end of all
//!
//! It is made for adapters: what programs embed is `metronome-tokio` or another of them.
#![deny(unsafe_code)]

mod accepted;
mod alarm;
#[cfg(feature = "async-io")]
pub mod async_io;
mod bell;
mod broker;
pub mod connection;
pub mod drops;
pub mod entrance;
pub mod files;
mod handle;
mod inline;
pub mod listener;
pub mod notes;
#[cfg(unix)]
pub mod poll_set;
mod runtime;
pub mod signal;
pub mod socket_file;
mod store;
pub mod tcp;
pub mod turn;

pub use accepted::Accepted;
pub use broker::{Builder, StartError};
pub use handle::{BrokerHandle, Failure, Listening, PublishError, Stats};
pub use inline::{InlineClient, InlineError};
pub use listener::Bound;
pub use runtime::{Acceptor, Runtime, Stream};
