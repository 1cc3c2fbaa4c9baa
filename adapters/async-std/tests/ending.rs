//! What is done by the time that a broker on async-std has stopped.

#[path = "../../tasks/tests/suite/ending.rs"]
mod suite;

use metronome_async_std as adapter;
