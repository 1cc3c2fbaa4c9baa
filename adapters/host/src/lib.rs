//! The runtime-free half of every adapter.
//!
//! * [`driver`] — owns engine and outbox, answers questions, fills write buffers
//! * [`write_buffer`] — bytes on their way to one socket: small ones copied, large payloads shared
//! * [`transport`] — from the bytes of a socket to those of MQTT: PROXY, TLS, HTTP, WebSocket
//! * [`config`] — the configuration file and what it may not say
//! * [`listeners`] — where clients may come in, checked before any place is opened; [`network`] — who may
//! * [`sys_topics`] — what the broker tells of itself below `$SYS`
//! * `pages` — what the broker tells of itself over HTTP
//! * [`memory`] — how much memory there is, and the budget that follows
//! * [`storage`] — what outlives the process, and how a broker begins with it; [`totals`] — of all processes together
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
pub mod listeners;
pub mod memory;
pub mod network;
mod pages;
pub mod recording;
pub mod storage;
pub mod sys_topics;
pub mod totals;
pub mod transport;
mod watched_files;
pub mod write_buffer;

pub use broker_engine as engine;
pub use config::{BrokerConfig, ConfigError};
pub use driver::{Driver, Flushed};
pub use hooks::{
    AllowAll, Client, Commands, Decision, Direction, Hook, HookChain, HookPanic, PacketTypes, Responder,
};
pub use inline::{InjectError, PacketHandler};
pub use metronome_storage as stores;
pub use watched_files::WatchedFiles;
