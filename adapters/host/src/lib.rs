//! The runtime-free half of every adapter.
//!
//! * [`driver`] — owns engine and outbox, answers questions, fills write buffers
//! * [`write_buffer`] — bytes on their way to one socket: small ones copied, large payloads shared
//! * [`config`] — the configuration file and what it may not say
//! * [`sys_topics`] — what the broker tells of itself below `$SYS`
//! * [`memory`] — how much memory there is, and the budget that follows
//! * [`storage`] — what outlives the process, and how a broker begins with it
//! * [`recording`] — the flight recorder: inputs in files, to be played again
//! * [`hooks`] — who answers the engine's questions and hears what happened
//! * [`inline`] — clients inside the program
//!
//! A runtime adds sockets, a timer and tasks; there is no `async` here and no socket.
#![forbid(unsafe_code)]

pub mod config;
pub mod driver;
pub mod hooks;
pub mod inline;
pub mod memory;
pub mod recording;
pub mod storage;
pub mod sys_topics;
pub mod write_buffer;

pub use broker_engine as engine;
pub use config::{BrokerConfig, ConfigError};
pub use driver::{Driver, Flushed};
pub use hooks::{AllowAll, Client, Commands, Decision, Hook, HookChain, HookPanic, Responder};
pub use inline::{InjectError, PacketHandler};
pub use metronome_storage as stores;
