//! Metronome on smol: the same broker as on tokio, for embedding.
//!
//! * `runtime` — smol's sockets, timer and tasks, which is all that `metronome-tasks` needs of a runtime
//!
//! The broker has a thread of its own, with an executor of its own; the program around it may use another runtime, or
//! none.
#![forbid(unsafe_code)]

mod runtime;

pub use metronome_host as host;
pub use metronome_host::{AllowAll, BrokerConfig, Client, Commands, ConfigError, Decision, Hook, Responder};
pub use metronome_tasks::{
    Accepted, Bound, BrokerHandle, Failure, InlineClient, InlineError, Listening, PublishError, StartError,
    Stats,
};
pub use runtime::Smol;

/// What a broker on smol is to be.
pub type Builder = metronome_tasks::Builder<Smol>;

/// Entry point for embedding.
#[derive(Debug)]
pub struct Broker;

impl Broker {
    /// A broker with default limits and nobody who lets clients in: name a [`Hook`].
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// The example of the front page is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
