//! The memory budget: publishers are slowed down first, refused later, and all is well when memory is free again.

mod common;

use broker_engine::{Config, ConnId, MemoryPressure};
use common::{World, clean, lasting};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce};
use mqtt_proto::{Connect, Packet, SubscribeOptions, TopicName, Version, Will, WillProperties};

/// Ten offline messages of 10,000 bytes, and their publisher, under a budget.
fn filled(version: Version, high: u64, max: u64) -> (World, ConnId) {
    let config = Config { memory_high: Some(high), memory_max: Some(max), ..Config::default() };
    let mut world = World::new(config);
    let subscriber = world.persistent(version, "s");
    world.subscribe(subscriber, "t", AtLeastOnce);
    world.cut(subscriber);
    let publisher = world.client(version, "p");
    for id in 1..=10 {
        world.publish(publisher, "t", &"x".repeat(10_000), AtLeastOnce, id);
        world.wait(1);
    }
    assert_eq!(world.take(publisher).len(), 10);
    let used = world.engine.view().memory_used();
    assert!((100_000..110_000).contains(&used), "{used}");
    (world, publisher)
}

#[test]
fn publishers_are_slowed_down_and_others_are_not() {
    let (mut world, publisher) = filled(Version::V5, 100_000, 1_000_000);
    assert_eq!(world.engine.view().memory_pressure(), MemoryPressure::High);
    world.publish(publisher, "t", "1", AtLeastOnce, 11);
    world.publish(publisher, "t", "2", AtLeastOnce, 12);
    world.expect(publisher, &["PUBACK #11"]);
    assert!(world.paused.contains(&publisher));
    let other = world.client(Version::V5, "o");
    world.send(other, &Packet::PingReq);
    world.expect(other, &["PINGRESP"]);
    world.wait(1);
    world.expect(publisher, &["PUBACK #12"]);

    // The subscriber comes back and acknowledges: that is not a publication, and frees memory.
    let subscriber = world.connect_with(&lasting(Version::V5, "s"));
    world.take(subscriber);
    (1..=12).for_each(|id| world.ack(subscriber, Packet::PubAck, id));
    assert_eq!(world.engine.view().memory_pressure(), MemoryPressure::None);
    world.wait(1);
    assert!(world.paused.is_empty());
    for id in 13..20 {
        world.publish(publisher, "u", "", AtLeastOnce, id);
    }
    assert_eq!(world.take(publisher).len(), 7);
}

#[test]
fn what_would_take_more_memory_is_refused() {
    let (mut world, publisher) = filled(Version::V5, 50_000, 100_000);
    world.publish(publisher, "t", "1", AtLeastOnce, 11);
    world.expect(publisher, &["PUBACK #11 Quota exceeded"]);
    world.wait(1);
    world.publish(publisher, "t", "2", AtMostOnce, 0);
    assert_eq!(world.engine.view().counters().publish_refused, 2);
    let stranger = world.connect_with(&clean(Version::V5, "n"));
    world.expect(stranger, &["CONNACK Quota exceeded", "closed"]);
    let stranger = world.connect_with(&clean(Version::V311, "n"));
    world.expect(stranger, &["CONNACK Server unavailable", "closed"]);

    // One who has a session may take what waits for it; new subscriptions have to wait.
    let subscriber = world.connect_with(&lasting(Version::V5, "s"));
    assert_eq!(world.take(subscriber).len(), 11);
    world.subscribe_with(subscriber, "u", SubscribeOptions::default(), None);
    world.expect(subscriber, &["SUBACK #9 97"]);
}

/// A PUBACK of MQTT 3.1.1 would say that the message is taken care of.
#[test]
fn a_client_that_cannot_be_told_is_closed() {
    let (mut world, publisher) = filled(Version::V311, 50_000, 100_000);
    world.publish(publisher, "t", "1", AtLeastOnce, 11);
    world.expect(publisher, &["closed"]);
}

/// Bytes of incomplete packets and bytes that a socket did not take count as well.
#[test]
fn buffers_count() {
    let mut world = World::new(Config::default());
    let client = world.client(Version::V311, "c");
    let before = world.engine.view().memory_used();
    world.bytes(client, &[&[0x30, 0xff, 0xff, 0x01][..], &vec![b'x'; 20_000]].concat());
    assert_eq!(world.engine.view().memory_used() - before, 20_004);
    world.handle(broker_engine::Input::Backlog { conn: client, unsent: 70_000 });
    assert_eq!(world.engine.view().memory_used() - before, 90_004);
    world.cut(client);
    assert!(world.engine.view().memory_used() < before);
}

fn with_will<'a>(client_id: &'a str, payload: &'a [u8]) -> Connect<'a> {
    let topic = TopicName::parse("w").unwrap();
    let properties = WillProperties { will_delay_interval: Some(500), ..WillProperties::default() };
    let will = Will { topic, payload, qos: AtMostOnce, retain: false, properties };
    Connect { will: Some(will), ..lasting(Version::V5, client_id) }
}

/// A will is kept for as long as a message may be, so it is let in as one.
#[test]
fn a_will_that_does_not_fit_is_refused() {
    let mut world = World::new(Config { memory_max: Some(100_000), ..Config::default() });
    let accepted = (0..10).take_while(|number| {
        let conn = world.connect_with(&with_will(&number.to_string(), &[b'x'; 15_000]));
        let answer = world.take(conn);
        world.cut(conn);
        answer == ["CONNACK Success"]
    });
    assert_eq!(accepted.count(), 6);
    assert_eq!(world.engine.view().memory_pressure(), MemoryPressure::None, "a small one still fits");
    // Nor does one that a session brings when it comes back; without, it is let in.
    let again = world.connect_with(&with_will("0", &[b'x'; 15_000]));
    world.expect(again, &["CONNACK Quota exceeded", "closed"]);
    assert!(world.engine.view().session("0").unwrap().has_will(), "nothing is changed by a refusal");
    let again = world.connect_with(&lasting(Version::V5, "0"));
    world.expect(again, &["CONNACK Success present"]);
    // That made room for another.
    let next = world.connect_with(&with_will("next", &[b'x'; 15_000]));
    world.expect(next, &["CONNACK Success"]);
}

/// A filter is kept by its session and by the index, level by level if it has wildcards.
#[test]
fn long_filters_count() {
    let mut world = World::new(Config { memory_max: Some(200_000), ..Config::default() });
    let client = world.client(Version::V5, "c");
    let mut granted = 0;
    for number in 0..100 {
        let filter = format!("{number}{}/+", "x".repeat(4000));
        world.subscribe_with(client, &filter, SubscribeOptions::default(), None);
        granted += u32::from(world.take(client) == ["SUBACK #9 00"]);
    }
    assert!((10..20).contains(&granted), "{granted}");
    let used = world.engine.view().memory_used();
    assert!(used < 220_000, "{used}");
}
