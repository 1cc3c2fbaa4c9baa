//! An MQTT broker (5.0, 3.1.1, 3.1) as one deterministic state machine without I/O.
//!
//! ```text
//!            Input                      Engine                          Outbox
//!  bytes, time, answers  ->  connections  (bytes -> packet)     ->  wire    frames, flow, close
//!  from any host             sessions     (state per client)        calls   questions to hooks
//!                            topics       (who gets it)             notes   what happened
//!                            delivery     (packet -> outbox)        stores  facts to keep
//! ```
//!
//! # Calling contract
//!
//! * One mutator: [`Engine::handle`]. Give it the current [`Time`] (never smaller than before), one [`Input`]
//!   and an [`Outbox`]; carry out what the outbox holds, in order, then [`Outbox::clear`] it. Several calls may
//!   share one outbox before it is carried out.
//! * Call it with [`Input::Tick`] no later than [`Engine::next_deadline`].
//! * [`ConnId`]s come from [`ConnIds`]; a stale one is counted and ignored.
//! * Equal configuration, seed and inputs give equal outputs on every platform. The [`HashKey`] only protects
//!   tables from chosen keys; no output depends on it.
//! * A panic is a bug in this crate, whatever the input was.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable,
        clippy::todo
    )
)]

extern crate alloc;

mod application_message;
mod collections;
mod config;
mod connections;
mod counters;
mod delivery;
mod engine;
mod hooks;
mod ids;
mod input;
mod memory;
mod outbox;
mod permissions;
mod sessions;
mod snapshot;
mod storage;
mod time;
mod timers;
mod topics;
mod view;

pub use application_message::ApplicationMessage;
pub use collections::{HashKey, SlotKey};
pub use config::{Config, Durability, Overlap, PublishRateExceeded, QueueFull, SharedStrategy};
pub use counters::{Counters, DropReason};
pub use delivery::RetainedPage;
pub use engine::{Engine, Seed};
pub use hooks::{
    Admission, Answer, Authenticate, Call, Interest, KeptWill, Note, Question, RetainedChange, SessionEnd,
};
pub use ids::{CallId, ConnId, ConnIds, ListenerId, SessionKey};
pub use input::{Change, CloseCause, Command, Input};
pub use memory::MemoryPressure;
pub use mqtt_proto;
pub use outbox::{Flow, Frame, Outbox, SHARED_PAYLOAD, Target, Wire, patch_packet_id};
pub use permissions::{Permission, Permissions};
pub use snapshot::RestoreError;
pub use storage::{
    Boot, BootReport, Lifetime, MemoryStore, StoreOp, StorePressure, StoreSeq, StoredDelivery, StoredWill,
};
pub use time::{Deadline, DeadlineReason, Time};
pub use view::{SessionView, View};
