//! What the command line tool does with its output.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

/// As in `simulation run 3 --trace | head -1`: the trace is longer than what fits into a pipe.
#[test]
#[cfg(unix)]
fn a_reader_that_has_enough_ends_a_command_quietly() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_simulation"))
        .args(["run", "3", "--trace"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the simulator starts");
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    stdout.read_line(&mut first).expect("a line");
    assert!(!first.is_empty());
    drop(stdout);
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!((child.wait().expect("its end").code(), &*said), (Some(141), ""));
}
