//! Metronome on tokio: the regular broker, for embedding. The `metronome` binary is this library with flags.
//!
//! * `runtime` — tokio's reactor, timer and tasks, which is all that `metronome-tasks` needs of a runtime
//! * `sockets` — tokio's own sockets, for systems that are not Unix
//!
//! Builder, handle and tasks are those of every runtime. One thread owns engine and sockets. A delivered message costs no
//! task switch, channel or allocation: it goes from the publisher's read into the subscriber's write buffer, and every
//! buffer is written once a turn.
#![deny(unsafe_code)]

mod runtime;
#[cfg(not(unix))]
mod sockets;

pub use metronome_host as host;
pub use metronome_host::{AllowAll, BrokerConfig, Client, Commands, ConfigError, Decision, Hook, Responder};
pub use metronome_tasks::{
    Accepted, Bound, BrokerHandle, Failure, InlineClient, InlineError, Listening, PublishError, StartError,
    Stats,
};
pub use runtime::Tokio;

/// What a broker on tokio is to be.
pub type Builder = metronome_tasks::Builder<Tokio>;

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

/// So are those of the page about hooks.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/hooks.md")]
struct Hooks;
