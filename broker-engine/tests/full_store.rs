//! A store that is nearly full, and a host that reads from nobody meanwhile: who is refused, and who is not taken for dead.

mod common;

use broker_engine::{Config, ConnId, Durability, Engine, Flow, HashKey, Input, StorePressure};
use common::{World, clean, lasting, message, will};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{Connect, Packet, Publish, SubscribeOptions, Version};

/// Somebody who is away has a subscription to "t".
fn world() -> World {
    let config = Config { durability: Durability::Durable, queue_qos0_offline: true, ..Config::default() };
    let mut world = World::new(config);
    let reader = world.persistent(Version::V5, "reader");
    world.subscribe(reader, "t", ExactlyOnce);
    world.cut(reader);
    world
}

fn queued(world: &World) -> usize {
    world.engine.view().session("reader").unwrap().queued()
}

fn retained<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { retain: true, ..message(topic, payload, AtMostOnce, 0) }
}

/// A client with a keep-alive of ten seconds.
fn client(world: &mut World, name: &str) -> ConnId {
    let client = world.connect_with(&Connect { keep_alive: 10, ..clean(Version::V5, name) });
    world.expect(client, &["CONNACK Success"]);
    client
}

/// What may be dropped goes first, and everything else as before.
#[test]
fn a_store_that_is_nearly_full_keeps_what_was_promised_alone() {
    let mut world = world();
    let writer = world.client(Version::V5, "w");
    world.publish(writer, "t", "kept", AtMostOnce, 0);
    assert_eq!(queued(&world), 1);
    world.handle(Input::StoreSpace(StorePressure::High));
    world.publish(writer, "t", "dropped", AtMostOnce, 0);
    world.publish(writer, "t", "kept", AtLeastOnce, 1);
    world.expect(writer, &["PUBACK #1"]);
    assert_eq!(queued(&world), 2);
    world.handle(Input::StoreSpace(StorePressure::None));
    world.publish(writer, "t", "kept again", AtMostOnce, 0);
    assert_eq!(queued(&world), 3);
}

#[test]
fn a_full_store_refuses_what_it_would_keep_and_nothing_else() {
    let mut world = world();
    let (writer, online) = (world.client(Version::V5, "w"), world.client(Version::V5, "o"));
    world.subscribe(online, "t", AtMostOnce);
    world.publish_with(writer, &retained("r", "old"));
    world.publish(writer, "t", "before", AtLeastOnce, 1);
    world.take(writer);
    world.take(online);
    world.handle(Input::StoreSpace(StorePressure::Max));
    world.publish(writer, "t", "1", AtLeastOnce, 2);
    world.publish(writer, "t", "2", ExactlyOnce, 3);
    world.expect(writer, &["PUBACK #2 Quota exceeded", "PUBREC #3 Quota exceeded"]);
    world.publish_with(writer, &retained("r", "new"));
    world.publish(writer, "t", "live", AtMostOnce, 0);
    world.expect(online, &["PUBLISH q0 t live"]);
    assert_eq!((queued(&world), world.engine.view().retained()), (1, 1));
    // Who has nothing in the store needs no room there.
    let other = world.client(Version::V5, "n");
    world.subscribe_with(other, "r", SubscribeOptions::default(), None);
    let answer = world.take(other);
    assert!(answer[0].starts_with("SUBACK #9 0") && answer[1].ends_with(" r old"), "{answer:?}");
    let refused = &["CONNACK Quota exceeded", "closed"];
    let lasts = world.connect_with(&lasting(Version::V5, "m"));
    world.expect(lasts, refused);
    let with_will = world.connect_with(&Connect { will: Some(will()), ..clean(Version::V5, "m") });
    world.expect(with_will, refused);
    let older = world.connect_with(&lasting(Version::V311, "m"));
    world.expect(older, &["CONNACK Server unavailable", "closed"]);

    // What gives room comes through: acknowledgements, and retained messages that go.
    let reader = world.connect_with(&lasting(Version::V5, "reader"));
    world.expect(reader, &["CONNACK Success present", "PUBLISH q1 #1 t before"]);
    world.subscribe_with(reader, "u", SubscribeOptions::default(), None);
    world.expect(reader, &["SUBACK #9 97"]);
    world.ack(reader, Packet::PubAck, 1);
    world.publish_with(writer, &retained("r", ""));
    assert_eq!((world.store.records(world.now).count(), world.engine.view().retained()), (2, 0));
    world.handle(Input::StoreSpace(StorePressure::None));
    world.publish(writer, "t", "3", AtLeastOnce, 4);
    world.expect(writer, &["PUBACK #4"]);
}

/// A PUBACK of MQTT 3.1.1 would say that the message is taken care of.
#[test]
fn a_client_that_cannot_be_told_is_closed() {
    let mut world = world();
    let writer = world.client(Version::V311, "w");
    world.handle(Input::StoreSpace(StorePressure::Max));
    world.publish(writer, "t", "1", AtLeastOnce, 1);
    world.expect(writer, &["closed"]);
}

/// They may have said what they had to; nobody has heard it.
#[test]
fn while_nobody_is_read_nobody_is_taken_for_dead() {
    let mut world = world();
    let silent = client(&mut world, "c");
    let opening = world.open(Version::V5);
    world.wait(9);
    world.handle(Input::Reads(Flow::Pause));
    world.wait(3600);
    // From here on they have as long as ever.
    world.handle(Input::Reads(Flow::Resume));
    world.wait(9);
    world.expect(silent, &[]);
    world.expect(opening, &[]);
    world.wait(1);
    world.expect(opening, &["closed"]);
    world.wait(4);
    world.expect(silent, &[]);
    world.wait(1);
    world.expect(silent, &["DISCONNECT Keep Alive timeout", "closed"]);
}

/// Also in the next process: nobody is read there until it says so.
#[test]
fn a_snapshot_knows_that_nobody_is_read() {
    let mut world = world();
    let silent = client(&mut world, "c");
    world.handle(Input::Reads(Flow::Pause));
    world.handle(Input::StoreSpace(StorePressure::Max));
    world.engine = Engine::restore(&world.engine.snapshot(), HashKey([5, 6])).unwrap();
    assert_eq!(world.engine.view().store_pressure(), StorePressure::Max);
    world.wait(3600);
    world.expect(silent, &[]);
}

/// Whoever waits for CONNACK has nothing to say yet.
#[test]
fn a_slow_store_is_not_the_silence_of_who_waits_to_be_greeted() {
    let mut world = world();
    world.hold_stored = true;
    let client = world.connect_with(&Connect { keep_alive: 10, ..lasting(Version::V5, "c") });
    world.wait(3600);
    world.expect(client, &[]);
    world.release_stored();
    world.wait(14);
    world.expect(client, &["CONNACK Success"]);
    world.wait(1);
    world.expect(client, &["DISCONNECT Keep Alive timeout", "closed"]);
}

/// It was told that it is not read; that it sent much before is no reason to close it.
#[test]
fn a_slow_store_does_not_close_who_is_eager() {
    let mut world = world();
    world.hold_stored = true;
    let eager = world.connect_with(&Connect { keep_alive: 10, ..lasting(Version::V5, "c") });
    let packet =
        common::encoded(&Packet::Publish(message("t", &"x".repeat(70_000), AtMostOnce, 0)), Version::V5);
    world.bytes(eager, &packet);
    assert!(world.paused.contains(&eager));
    world.wait(3600);
    world.expect(eager, &[]);
    world.release_stored();
    assert!(world.paused.is_empty());
    world.expect(eager, &["CONNACK Success"]);
    world.wait(15);
    world.expect(eager, &["DISCONNECT Keep Alive timeout", "closed"]);
}
