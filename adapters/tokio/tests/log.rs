//! What an operator sees in the log of the `metronome` binary.
#![cfg(unix)]

mod common;

use common::process::{Running, run, start_on_free_port};
use common::{Client, packet};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

const SMALL_QUEUES: &str = "[limits]\nmax_inflight = 1\nmax_queued_messages = 5\n";

/// Starts with queues of five messages behind a window of one.
fn start(level: &str) -> Running {
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{level}.toml", std::process::id()));
    std::fs::write(&path, SMALL_QUEUES).unwrap();
    start_on_free_port(&["--config", path.to_str().unwrap(), "--log-level", level])
}

/// A client whose session stays behind when it goes.
fn lasting(broker: &Running, name: &str) -> Client {
    let mut client = Client::open(broker.address, 4);
    let length = u8::try_from(name.len()).unwrap();
    let body = [&b"\0\x04MQTT\x04\0\0\x3c\0"[..], &[length], name.as_bytes()].concat();
    client.send(&packet(0x10, &body));
    assert_eq!(client.packet(), [0x20, 2, 0, 0]);
    client
}

/// Has messages dropped: of ten, four are too many for who acknowledges nothing, as one is on its way and five
/// wait; and one of QoS 0 comes while its subscriber is away, which is what QoS 0 is.
fn lose_messages(broker: &Running) -> Client {
    let mut away = lasting(broker, "away");
    away.subscribe("zero", 0);
    away.send(&[0xe0, 0]);
    assert_eq!(away.try_packet(), None);
    let mut stuck = Client::connect(broker.address, 4, "stuck");
    stuck.subscribe("t", 1);
    let mut publisher = Client::connect(broker.address, 4, "publisher");
    publisher.publish("zero", 0, b"x");
    publish_many(&mut publisher, 10);
    stuck
}

fn publish_many(publisher: &mut Client, messages: usize) {
    for _ in 0..messages {
        publisher.publish("t", 1, b"x");
        assert_eq!(publisher.packet()[0], 0x40);
    }
}

#[test]
fn losses_are_told_without_being_asked_and_at_most_every_ten_seconds() {
    let mut broker = start("warn");
    let stuck = lose_messages(&broker);
    let log = BufReader::new(broker.child.stderr.take().unwrap());
    let (line, lines) = mpsc::channel();
    std::thread::spawn(move || log.lines().try_for_each(|read| line.send(read.unwrap())));
    let first = lines.recv_timeout(Duration::from_secs(5)).expect("a line without being asked");
    assert!(first.contains("WARN messages dropped messages=4 reasons=\"queue-full 4\""), "{first}");
    let mut publisher = Client::connect(broker.address, 4, "publisher");
    for _ in 0..2 {
        publish_many(&mut publisher, 4);
        std::thread::sleep(Duration::from_millis(1200));
    }
    drop((publisher, stuck));
    broker.signal("TERM");
    let rest: Vec<String> = lines.into_iter().collect();
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert!(rest[0].contains("messages=8 reasons=\"queue-full 8\""), "{rest:?}");
}

#[test]
fn each_lost_message_has_a_line_at_debug() {
    let mut broker = start("debug");
    drop(lose_messages(&broker));
    broker.signal("TERM");
    let (_, log) = broker.ended();
    for (line, times) in [
        (r#"DEBUG message dropped client="stuck" topic="t" reason="queue-full""#, 4),
        (r#"DEBUG message dropped client="away" topic="zero" reason="qos0-offline""#, 1),
    ] {
        assert_eq!(log.matches(line).count(), times, "{line}: {log}");
    }
}

#[test]
fn only_what_is_a_level_or_a_filter_sets_the_log() {
    for level in
        ["warning", "nonsense", "", "3", "metronome", "metronome=loud", "=info", "info,verbose", "a=b=c"]
    {
        let (code, errors) = run(&["--listen", "127.0.0.1:0", "--log-level", level]);
        assert_eq!((code, errors.lines().count()), (Some(2), 1), "{level}: {errors}");
        assert!(errors.contains("--log-level") && errors.contains("error, warn, info"), "{level}: {errors}");
    }
    for level in ["error", "warn", "info", "debug", "trace", "off", "WARN", "info,metronome_tokio=debug"] {
        start_on_free_port(&["--log-level", level]);
    }
}
