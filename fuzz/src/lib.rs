//! Fuzz targets: functions that take any bytes, and panic when something does not hold.
//!
//! * [`packets`] — the decoder of each version: split anywhere, encoded again, decoded again
//! * [`fields`] — fixed header, Variable Byte Integer, UTF-8, properties, against readings of the standard by hand
//! * [`topics`] — topic names, filters and matching, level by level
//! * [`routing`] — subscriptions, retained messages and shared groups against lists
//! * [`engine`] — the engine under raw bytes, and under packets, time and faults
//! * [`snapshots`] — bytes that are none, and going on from one
//! * [`store`] — records of the store lane
//! * [`recordings`] — what is kept out of recordings, and files that are none
//! * [`driver`] — the host's driver over sockets that take little at a time
//! * [`transport`] — PROXY headers, HTTP requests and WebSocket frames, split anywhere
//! * [`config`] — the configuration file
//! * [`rules`] — files of users and access rules
//! * [`scenario`] — the simulator's own scenarios, made of bytes and judged by all its checkers
//! * [`seeds`] — inputs in formats that the broker writes, for the corpora
//! * `host`, `steps` — what the targets around the engine share: the least of a host, and what clients do
//! * `feedback` — the broker's states and answers as coverage
//!
//! They know nothing of any fuzzer: `libfuzzer/` wraps each into a program, `tests/corpus.rs` replays what is kept.
#![deny(unsafe_code)]
#![allow(clippy::missing_panics_doc)] // That is how a target says what does not hold.

pub mod config;
pub mod driver;
pub mod engine;
mod feedback;
pub mod fields;
mod host;
pub mod packets;
pub mod recordings;
pub mod routing;
pub mod rules;
pub mod scenario;
pub mod seeds;
pub mod snapshots;
mod steps;
pub mod store;
pub mod topics;
pub mod transport;

/// A target by name.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the name of its program and of its corpus.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($module:ident: $($name:ident)*;)*) => {
        /// All targets.
        pub const TARGETS: &[Target] =
            &[$($(Target { name: stringify!($name), run: $module::$name },)*)*];
    };
}

targets! {
    packets: decode_v31 decode_v311 decode_v5;
    fields: header text properties;
    topics: topics;
    routing: matching retained shared;
    engine: engine_bytes engine_steps;
    snapshots: snapshot_bytes snapshot_steps;
    store: store_records;
    recordings: mask recording;
    driver: driver;
    transport: transport;
    config: config;
    rules: rules;
    scenario: scenario;
}
