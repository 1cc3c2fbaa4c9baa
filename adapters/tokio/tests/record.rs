//! `metronome --record`: what it says, what is in the files, and what happens when they cannot be written.

mod common;

use common::Client;
use common::process::{run, start_on_free_port};
use metronome_tokio::host::engine::{Command, Input};
use metronome_tokio::host::recording::{Entry, Segment, segments_of};
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Left by an earlier run, or not there.
    let _absent = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("broker.rec")
}

/// Inputs, without what the broker tells of itself.
fn inputs(path: &Path) -> usize {
    let is_own = |input: &Input<'_>| matches!(input, Input::Command(Command::Publish(_)));
    let segment = Segment::open(path).unwrap();
    segment.entries().filter(|entry| matches!(entry, Entry::Input(_, input) if !is_own(input))).count()
}

#[cfg(unix)]
#[test]
fn every_input_is_recorded_and_no_password() {
    for masked in [false, true] {
        let file = file(if masked { "masked" } else { "whole" });
        let mut flags = vec!["--record", file.to_str().unwrap()];
        flags.extend(masked.then_some("--record-no-payloads"));
        let mut broker = start_on_free_port(&flags);
        assert!(broker.greeting.contains("recording to "), "{}", broker.greeting);
        let mut client = Client::open(broker.address, 4);
        client.send(b"\x10\x1f\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01c\x00\x04user\x00\x0aopensesame");
        assert_eq!(client.packet(), [0x20, 2, 0, 0]);
        client.publish("topic", 1, b"a payload");
        client.packet();
        broker.signal("TERM");
        assert_eq!(broker.ended().0, Some(0));
        let paths = segments_of(&file).unwrap();
        assert_eq!(paths.len(), 1);
        // Opened, CONNECT, its answer, PUBLISH, the order to stop.
        assert_eq!(inputs(&paths[0]), 5);
        let bytes = std::fs::read(&paths[0]).unwrap();
        let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert_eq!((holds(b"user"), holds(b"opensesame"), holds(b"a payload")), (true, false, !masked));
    }
}

#[cfg(unix)]
#[test]
fn what_was_recorded_is_there_when_the_process_is_killed() {
    let file = file("killed");
    let mut broker = start_on_free_port(&["--record", file.to_str().unwrap()]);
    let _client = Client::connect(broker.address, 5, "c");
    // It is written every second.
    let path = segments_of(&file).unwrap().remove(0);
    let patience = std::time::Instant::now();
    while inputs(&path) < 3 {
        assert!(patience.elapsed().as_secs() < 20, "nothing was written");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    broker.signal("KILL");
    broker.ended();
    assert_eq!(inputs(&path), 3);
}

#[test]
fn a_recording_that_cannot_be_begun_is_one_line() {
    let (code, words) = run(&["--listen", "127.0.0.1:0", "--record", "/nowhere/at/all"]);
    assert_eq!(code, Some(1));
    assert!(words.contains("cannot record to /nowhere/at/all") && words.lines().count() == 1, "{words}");
    let (code, words) = run(&["--record-size", "64"]);
    assert_eq!(code, Some(2));
    assert!(words.contains("--record"), "{words}");
}
