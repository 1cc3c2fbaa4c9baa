//! A whole broker and its world in one thread: the real engine, and around it clients, networks, clocks, stores and
//! hooks that are played, all under one seed and virtual time.
//!
//! * [`random`] — choices, a stream for each purpose
//! * [`scenario`] — what happens, as data: a seed expands to it, and it can be saved, edited, replayed and shrunk
//! * [`world`] — plays a scenario: a queue of events, the network between clients and engine, the clients
//! * [`check`] — what must hold, under the names of the invariants, and what was seen at least once
//! * `oracle` — a reference broker, written from the standard
//! * [`trace`] — what happened, as text for a person
//! * [`planted`] — how soon bugs are found that are there on purpose
//! * [`shrink`] — the shortest scenario that still fails in the same way
//! * [`idle`] — how much memory a session takes that nobody uses
//! * [`recording`] — what a real broker recorded, played again
//! * [`swarm`] — many seeds on all cores
//! * [`variants`] — a run in several variants that must agree
//! * [`exhaustive`] — a small world in every order in which it can happen
//! * [`crashes`] — a small world with a crash at every place
//! * [`figures`] — faults, queues and messages over time
//!
//! The same seed gives the same run on every machine; a digest over everything that the engine sent shows it.

pub mod check;
pub mod crashes;
pub mod exhaustive;
pub mod figures;
pub mod idle;
mod oracle;
pub mod planted;
pub mod random;
pub mod recording;
pub mod scenario;
pub mod shrink;
pub mod swarm;
pub mod trace;
pub mod variants;
pub mod world;
