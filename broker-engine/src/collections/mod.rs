//! Containers that cannot betray determinism.
//!
//! * [`slots`] — a slab whose keys carry a generation
//! * [`hash`] — the only hash table of the crate: keyed, and without iteration
//! * [`room`] — how tables grow
//! * [`timers`] — deadlines in a total order
//! * [`rng`] — seeded random numbers

mod hash;
mod rng;
mod room;
mod slots;
mod timers;

pub use hash::HashKey;
pub(crate) use hash::KeyedIndex;
pub(crate) use rng::Rng;
pub(crate) use room::make_room;
pub use slots::SlotKey;
pub(crate) use slots::Slots;
pub(crate) use timers::TimerQueue;
