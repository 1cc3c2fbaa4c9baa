//! What is done by the time that a broker on tokio has stopped.

#[path = "../../tasks/tests/suite/ending.rs"]
mod suite;

use metronome_tokio as adapter;
