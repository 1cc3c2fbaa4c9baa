//! `cargo test -p metronome-attacks`; `tests/attacks/run` is the whole of it.

use std::process::ExitCode;

fn main() -> ExitCode {
    metronome_attacks::main()
}
