//! Clients that publish faster than they may: they wait, or are told.

mod common;

use broker_engine::{Answer, Config, ConnId, Engine, HashKey, Interest, PublishRateExceeded};
use common::{World, clean, encoded, message};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{Connect, Packet, QoS, Version};
use std::time::Duration;

/// Ten messages a second, two of them at once.
fn paced() -> Config {
    Config { max_publish_rate: 10, publish_burst: Duration::from_millis(200), ..Config::default() }
}

/// A publisher, and somebody who gets everything.
fn world(config: Config, version: Version) -> (World, ConnId, ConnId) {
    let mut world = World::new(config);
    let reader = world.client(Version::V5, "reader");
    world.subscribe(reader, "t", AtMostOnce);
    let publisher = world.client(version, "publisher");
    (world, publisher, reader)
}

fn publish_all(world: &mut World, conn: ConnId, payloads: &[&str], qos: QoS) {
    for (id, payload) in (1..).zip(payloads) {
        world.publish(conn, "t", payload, qos, id);
    }
}

/// What the reader has got, without what is around it.
fn payloads(world: &mut World, reader: ConnId) -> String {
    let lines = world.take(reader);
    lines.iter().filter_map(|line| line.rsplit(' ').next()).collect::<Vec<_>>().join("")
}

#[test]
fn a_burst_comes_at_once_and_the_rest_at_its_pace() {
    let (mut world, publisher, reader) = world(paced(), Version::V5);
    publish_all(&mut world, publisher, &["a", "b", "c", "d", "e"], AtMostOnce);
    assert_eq!(payloads(&mut world, reader), "ab");
    assert!(world.paused.contains(&publisher));
    for wanted in ["c", "d", "e"] {
        world.wait_ms(99);
        assert_eq!(payloads(&mut world, reader), "");
        world.wait_ms(1);
        assert_eq!(payloads(&mut world, reader), wanted);
    }
    assert!(world.paused.is_empty());
    // Who rests saves no more than a burst.
    world.wait(60);
    publish_all(&mut world, publisher, &["f", "g", "h"], AtMostOnce);
    assert_eq!(payloads(&mut world, reader), "fg");
}

#[test]
fn bytes_are_counted_with_all_that_a_packet_has() {
    let config = Config { max_publish_byte_rate: 1000, ..Config::default() };
    let (mut world, publisher, reader) = world(config, Version::V311);
    // Three bytes of header, three of topic.
    let half = "x".repeat(500 - 3 - 3);
    assert_eq!(encoded(&Packet::Publish(message("t", &half, AtMostOnce, 0)), Version::V311).len(), 500);
    publish_all(&mut world, publisher, &[&half, &half, "c"], AtMostOnce);
    assert_eq!(world.take(reader).len(), 2);
    world.wait_ms(5);
    assert_eq!(world.take(reader).len(), 0);
    world.wait_ms(1);
    assert_eq!(payloads(&mut world, reader), "c");
    // One that is larger than everything that may come at once comes when nothing is owed, and what follows waits for it.
    world.wait(2);
    publish_all(&mut world, publisher, &[&"x".repeat(10_000), "d"], AtMostOnce);
    assert_eq!(world.take(reader).len(), 1);
    world.wait_ms(9000);
    assert_eq!(world.take(reader).len(), 0);
    world.wait_ms(100);
    assert_eq!(payloads(&mut world, reader), "d");
}

#[test]
fn who_waits_holds_up_nobody_and_is_not_given_up() {
    let config = Config { max_publish_byte_rate: 10, stall_timeout: Duration::from_secs(5), ..paced() };
    let mut world = World::new(config);
    let publisher = world.connect_with(&Connect { keep_alive: 10, ..clean(Version::V5, "p") });
    world.take(publisher);
    publish_all(&mut world, publisher, &[&"x".repeat(1000), "late"], AtLeastOnce);
    world.expect(publisher, &["PUBACK #1 No matching subscribers"]);
    let other = world.client(Version::V5, "o");
    world.publish(other, "t", "", AtLeastOnce, 1);
    world.expect(other, &["PUBACK #1 No matching subscribers"]);
    // Longer than its keep-alive, and than a client may take nothing: it is the broker that does not read.
    world.wait(90);
    world.expect(publisher, &[]);
    world.wait(20);
    world.expect(publisher, &["PUBACK #2 No matching subscribers"]);
    world.wait(16);
    world.expect(publisher, &["DISCONNECT Keep Alive timeout", "closed"]);
}

#[test]
fn last_words_do_not_wait() {
    let (mut world, publisher, reader) = world(paced(), Version::V5);
    publish_all(&mut world, publisher, &["a", "b", "c", "d"], AtMostOnce);
    world.cut(publisher);
    assert_eq!(payloads(&mut world, reader), "abcd");
}

#[test]
fn questions_about_earlier_messages_are_answered_meanwhile() {
    let config = Config { interest: Interest::PUBLISH, ..paced() };
    let (mut world, publisher, reader) = world(config, Version::V5);
    world.hold_questions = true;
    publish_all(&mut world, publisher, &["a", "b", "c"], AtMostOnce);
    assert_eq!(world.questions.len(), 2);
    world.answer(Answer::Allow);
    world.answer(Answer::Allow);
    assert_eq!(payloads(&mut world, reader), "ab");
    world.wait_ms(100);
    world.answer(Answer::Allow);
    assert_eq!(payloads(&mut world, reader), "c");
}

#[test]
fn a_snapshot_goes_on_waiting() {
    let (mut world, publisher, reader) = world(paced(), Version::V5);
    publish_all(&mut world, publisher, &["a", "b", "c"], AtMostOnce);
    world.engine = Engine::restore(&world.engine.snapshot(), HashKey([5, 6])).unwrap();
    world.wait_ms(99);
    assert_eq!(payloads(&mut world, reader), "ab");
    world.wait_ms(1);
    assert_eq!(payloads(&mut world, reader), "c");
}

#[test]
fn where_it_is_refused_the_client_is_told_or_ended() {
    let config = Config { publish_rate_exceeded: PublishRateExceeded::Refuse, ..paced() };
    for (version, qos, wanted) in [
        (Version::V5, AtLeastOnce, &["PUBACK #3 Quota exceeded"][..]),
        (Version::V5, ExactlyOnce, &["PUBREC #3 Quota exceeded"]),
        (Version::V5, AtMostOnce, &["DISCONNECT Message rate too high", "closed"]),
        (Version::V311, AtLeastOnce, &["closed"]),
        (Version::V311, AtMostOnce, &["closed"]),
    ] {
        let (mut world, publisher, reader) = world(config.clone(), version);
        publish_all(&mut world, publisher, &["a", "b"], qos);
        world.take(publisher);
        world.publish(publisher, "t", "c", qos, 3);
        world.expect(publisher, wanted);
        assert_eq!(payloads(&mut world, reader), "ab");
        if !world.is_closed(publisher) {
            // What was refused takes no time.
            world.wait_ms(100);
            world.publish(publisher, "t", "d", AtMostOnce, 0);
            assert_eq!(payloads(&mut world, reader), "d");
        }
    }
}

#[test]
fn what_is_sent_again_is_acknowledged_and_takes_no_time() {
    let config = Config { publish_rate_exceeded: PublishRateExceeded::Refuse, ..paced() };
    let (mut world, publisher, _) = world(config, Version::V5);
    for _ in 0..10 {
        world.publish(publisher, "t", "a", ExactlyOnce, 1);
    }
    assert_eq!(world.take(publisher), vec!["PUBREC #1"; 10]);
    world.publish(publisher, "t", "b", ExactlyOnce, 2);
    world.expect(publisher, &["PUBREC #2"]);
}
