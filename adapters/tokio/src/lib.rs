//! Metronome on tokio: the regular broker, for embedding. The `metronome` binary is this library with flags.
//!
//! * [`broker`] — builder and handle: start, ask, stop from any program
//! * [`turn`] — engine, sockets and tasks on one thread, and how a turn is flushed
//! * [`listener`] — accepting, also when files run out
//! * [`connection`] — one task for each connection: read, wait, close in peace
//!
//! One thread owns engine and sockets. A delivered message costs no task switch, channel or allocation: it goes
//! from the publisher's read into the subscriber's write buffer, and every buffer is written once a turn.
#![forbid(unsafe_code)]

pub mod broker;
mod connection;
mod listener;
mod turn;

pub use broker::{Broker, BrokerHandle, Builder, StartError};
pub use metronome_host as host;
pub use metronome_host::{AllowAll, Authenticator, BrokerConfig, DenyAll};
