//! What is done by the time that a broker on smol has stopped.

#[path = "../../tasks/tests/suite/ending.rs"]
mod suite;

use metronome_smol as adapter;
