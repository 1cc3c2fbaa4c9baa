//! Metronome on tokio: the regular broker, for embedding. The `metronome` binary is this library with flags.
//!
//! * `broker` — builder: start a broker from any program
//! * `handle` — ask and stop a running broker
//! * `inline` — clients inside the program
//! * `turn` — engine, sockets and tasks on one thread, and how a turn is flushed
//! * `listener`, `files` — accepting, also when files run out
//! * `stream`, `socket_file` — TCP and Unix sockets
//! * `entrance` — what comes before MQTT, in a task of its own
//! * `connection` — one task for each connection: read, wait, close in peace
//! * `store` — what outlives the process, on a thread of its own
//! * `notes` — what goes into the log about clients
//! * `drops` — what goes into the log about messages that were lost
//!
//! One thread owns engine and sockets. A delivered message costs no task switch, channel or allocation: it goes
//! from the publisher's read into the subscriber's write buffer, and every buffer is written once a turn.
#![forbid(unsafe_code)]

mod broker;
mod connection;
mod drops;
mod entrance;
mod files;
mod handle;
mod inline;
mod listener;
mod notes;
mod socket_file;
mod store;
mod stream;
mod turn;

pub use broker::{Broker, Builder, StartError};
pub use handle::{BrokerHandle, Listening, PublishError, Stats};
pub use inline::{InlineClient, InlineError};
pub use metronome_host as host;
pub use metronome_host::{AllowAll, BrokerConfig, Client, ConfigError, Decision, Hook, Responder};

/// The example of the front page is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;

/// So are those of the page about hooks.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/hooks.md")]
struct Hooks;
