//! How long a hook may take: each point has a time limit of its own, and behind it the answer is no.

mod common;

use broker_engine::{Answer, Config, Input, Interest};
use common::World;
use mqtt_proto::Version;
use std::time::Duration;

fn with_limits() -> Config {
    Config {
        interest: Interest::SUBSCRIBE | Interest::UNSUBSCRIBE | Interest::PUBLISH,
        authenticate_timeout: Some(Duration::from_millis(300)),
        subscribe_timeout: Some(Duration::from_millis(200)),
        publish_timeout: Some(Duration::from_millis(100)),
        ..Config::default()
    }
}

/// What is asked about, and for how many milliseconds.
const ASKED: [(&[u8], u64); 4] = [
    (b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01d", 300),
    (b"\x82\x07\0\x09\0\0\x01a\0", 200),
    (b"\xa2\x06\0\x09\0\0\x01a", 200),
    (b"\x32\x06\0\x01a\0\x07\0", 100),
];

/// The answer behind the time limit is no.
#[test]
fn each_point_has_its_own_time_limit() {
    for (packet, limit) in ASKED {
        let mut world = World::new(with_limits());
        let conn = if packet[0] == 0x10 { world.open(Version::V5) } else { world.client(Version::V5, "c") };
        world.hold_questions = true;
        world.bytes(conn, packet);
        assert_eq!(world.questions.len(), 1);
        world.wait_ms(limit - 1);
        assert!(world.take_bytes(conn).is_empty(), "{limit} ms");
        world.wait_ms(1);
        let refused = world.take_bytes(conn);
        assert!(refused.contains(&0x87), "{refused:02x?}");
        assert_eq!(world.engine.view().counters().hook_timeouts, 1);
        let call = world.questions[0].id;
        world.handle(Input::Reply { call, answer: Answer::Allow });
        assert!(world.take_bytes(conn).is_empty(), "it comes to nothing");
    }
}

/// Also where the timer that says so waits its turn: of two that are due one fits into the call.
#[test]
fn a_yes_behind_the_time_limit_comes_to_nothing() {
    for (packet, limit) in ASKED {
        let mut world = World::new(Config { work_per_call: 1, ..with_limits() });
        let is_connect = packet[0] == 0x10;
        let [one, two] = ["b", "c"].map(|client_id| {
            if is_connect { world.open(Version::V5) } else { world.client(Version::V5, client_id) }
        });
        world.hold_questions = true;
        world.bytes(one, packet);
        world.bytes(two, packet);
        world.now = world.now.after(Duration::from_millis(limit));
        let call = world.questions[1].id;
        world.handle(Input::Reply { call, answer: Answer::Allow });
        world.settle();
        let refused = world.take_bytes(two);
        assert!(refused.contains(&0x87), "{refused:02x?}");
        let counters = world.engine.view().counters();
        assert_eq!((counters.hook_timeouts, counters.late_replies), (2, 1));
    }
}

/// A PUBLISH that waited for its pace is asked about a minute late, as nobody called, and the hook has its time nevertheless.
#[test]
fn the_time_of_a_question_counts_from_the_call_with_which_it_leaves() {
    let mut world = World::new(Config { max_publish_rate: 1, ..with_limits() });
    let conn = world.client(Version::V5, "c");
    for _ in 0..2 {
        world.bytes(conn, b"\x32\x06\0\x01a\0\x07\0");
    }
    world.take_bytes(conn);
    world.hold_questions = true;
    world.now = world.now.after_secs(60);
    world.handle(Input::Tick);
    world.wait_ms(99);
    world.answer(Answer::Allow);
    assert_eq!(world.take_bytes(conn), b"\x40\x03\0\x07\x10");
    assert_eq!(world.engine.view().counters().hook_timeouts, 0);
}
