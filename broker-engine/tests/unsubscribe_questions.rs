//! Hooks that are asked about UNSUBSCRIBE packets.

mod common;

use broker_engine::{Answer, Config, ConnId, Input, Interest, Question};
use common::{World, id_of};
use mqtt_proto::QoS::AtMostOnce;
use mqtt_proto::{Packet, ReasonCode, Unsubscribe, UnsubscribeFilters, UserProperties, Version};
use std::time::Duration;

/// A client that has `a` and `b` and unsubscribes from both, and from what it does not have; what the hook is asked.
fn unsubscribing(version: Version) -> (World, ConnId, Vec<String>) {
    let mut world = World::new(Config { interest: Interest::UNSUBSCRIBE, ..Config::default() });
    let conn = world.client(version, "c");
    world.subscribe(conn, "a", AtMostOnce);
    world.subscribe(conn, "b", AtMostOnce);
    world.hold_questions = true;
    let packet = Unsubscribe {
        packet_id: id_of(9),
        user_properties: UserProperties::default(),
        filters: UnsubscribeFilters::List(&["a", "b", "c"]),
    };
    world.send(conn, &Packet::Unsubscribe(packet));
    let asked = match &world.questions[0].question {
        Question::Unsubscribe { client_id, filters } => {
            assert_eq!(client_id, "c");
            filters.clone()
        }
        question => panic!("{question:?}"),
    };
    (world, conn, asked)
}

#[test]
fn every_answer_does_what_it_says() {
    let success = ReasonCode::Success;
    for (answer, wanted, left) in [
        (Answer::Allow, [0, 0, 0x11], &[][..]),
        (Answer::Deny(ReasonCode::NotAuthorized), [0x87, 0x87, 0x87], &["a", "b"]),
        (Answer::Filters(vec![success, ReasonCode::UnspecifiedError, success]), [0, 0x80, 0x11], &["b"]),
        // What is left out is refused, and so is what makes no sense.
        (Answer::Filters(vec![success]), [0, 0x87, 0x87], &["b"]),
        (Answer::Filters(vec![ReasonCode::ServerBusy; 3]), [0x87, 0x87, 0x87], &["a", "b"]),
        (Answer::Discard, [0x87, 0x87, 0x87], &["a", "b"]),
    ] {
        let (mut world, conn, asked) = unsubscribing(Version::V5);
        assert_eq!(asked, ["a", "b", "c"]);
        // What comes behind it waits.
        world.bytes(conn, b"\xc0\0");
        assert!(world.take_bytes(conn).is_empty());
        world.answer(answer.clone());
        let unsuback = [&[0xb0, 6, 0, 9, 0], &wanted[..], &[0xd0, 0]].concat();
        assert_eq!(world.take_bytes(conn), unsuback, "{answer:?}");
        let filters: Vec<_> = world.engine.view().session("c").unwrap().filters().collect();
        assert_eq!(filters, left, "{answer:?}");
    }
}

#[test]
fn a_client_of_3_1_1_keeps_what_it_may_not_end() {
    let (mut world, conn, _) = unsubscribing(Version::V311);
    world.answer(Answer::Deny(ReasonCode::NotAuthorized));
    // There is no code for it.
    assert_eq!(world.take_bytes(conn), [0xb0, 2, 0, 9]);
    assert_eq!(world.engine.view().session("c").unwrap().filters().count(), 2);
}

/// Each point has a time limit of its own.
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
