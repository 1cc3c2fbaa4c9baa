//! The memory budget: publishers are slowed down first, refused later, and all is well when memory is free again.

mod common;

use broker_engine::{Config, ConnId, MemoryPressure};
use common::{World, clean, lasting};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce};
use mqtt_proto::{Packet, Version};

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
    world.subscribe_with(subscriber, "u", mqtt_proto::SubscribeOptions::default(), None);
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
