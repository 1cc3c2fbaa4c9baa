//! The simulator's own scenarios, made of bytes and judged by all its checkers.

use simulation::scenario::from_bytes;
use simulation::world::{Options, play};

/// A scenario that breaks an invariant can be saved, replayed and shrunk like any other.
pub fn scenario(bytes: &[u8]) {
    if let Some(violation) = play(&from_bytes(bytes), Options::default()).violation {
        panic!("{violation}");
    }
}
