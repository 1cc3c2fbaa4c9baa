//! Messages on their way: quality of service, windows, resends, queues.

mod common;

use broker_engine::{Config, DropReason, Durability, Input, Overlap, QueueFull};
use common::{World, clean, encoded, lasting, message};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{Packet, PublishProperties, ReasonCode, SubscribeOptions, UserProperties, Version};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn world() -> World {
    World::new(Config::default())
}

#[test]
fn every_qos_in_every_pair_of_versions() {
    for from in VERSIONS {
        for to in VERSIONS {
            let mut world = world();
            let (publisher, subscriber) = (world.client(from, "p"), world.client(to, "s"));
            world.subscribe(subscriber, "a/+", ExactlyOnce);
            world.publish(publisher, "a/b", "zero", AtMostOnce, 0);
            world.publish(publisher, "a/b", "one", AtLeastOnce, 5);
            world.publish(publisher, "a/b", "two", ExactlyOnce, 6);
            world.ack(publisher, Packet::PubRel, 6);
            world.expect(publisher, &["PUBACK #5", "PUBREC #6", "PUBCOMP #6"]);
            world.expect(
                subscriber,
                &["PUBLISH q0 a/b zero", "PUBLISH q1 #1 a/b one", "PUBLISH q2 #2 a/b two"],
            );
            world.ack(subscriber, Packet::PubAck, 1);
            world.ack(subscriber, Packet::PubRec, 2);
            world.ack(subscriber, Packet::PubComp, 2);
            world.expect(subscriber, &["PUBREL #2"]);
            assert_eq!(world.engine.view().counters().completed, 3);
            assert_eq!(world.engine.view().messages(), 0);
        }
    }
}

/// [MQTT-4.3.3-10]: however often it is repeated, and a new message after PUBREL.
#[test]
fn a_repeated_qos2_publish_is_acknowledged_and_not_routed() {
    let mut world = world();
    let (publisher, subscriber) = (world.client(Version::V5, "p"), world.client(Version::V5, "s"));
    world.subscribe(subscriber, "t", AtMostOnce);
    for _ in 0..4 {
        world.publish(publisher, "t", "x", ExactlyOnce, 1);
    }
    world.ack(publisher, Packet::PubRel, 1);
    world.publish(publisher, "t", "y", ExactlyOnce, 1);
    world.expect(publisher, &["PUBREC #1", "PUBREC #1", "PUBREC #1", "PUBREC #1", "PUBCOMP #1", "PUBREC #1"]);
    world.expect(subscriber, &["PUBLISH q0 t x", "PUBLISH q0 t y"]);
}

/// [MQTT-3.3.4-9], [MQTT-4.9.0-2]: the window, what frees it, and that acknowledgements flow at quota 0.
#[test]
fn receive_maximum_of_the_client_holds() {
    let mut world = world();
    let publisher = world.client(Version::V5, "p");
    let mut connect = clean(Version::V5, "s");
    connect.properties.receive_maximum = Some(2);
    let subscriber = world.connect_with(&connect);
    world.take(subscriber);
    world.subscribe(subscriber, "t", ExactlyOnce);
    for number in 1..=4 {
        world.publish(publisher, "t", &number.to_string(), ExactlyOnce, number);
    }
    world.expect(subscriber, &["PUBLISH q2 #1 t 1", "PUBLISH q2 #2 t 2"]);
    world.ack(subscriber, Packet::PubRec, 1);
    world.expect(subscriber, &["PUBREL #1"]);
    world.ack(subscriber, Packet::PubComp, 1);
    world.expect(subscriber, &["PUBLISH q2 #3 t 3"]);
    world.ack_with(subscriber, Packet::PubRec, 2, ReasonCode::QuotaExceeded);
    world.expect(subscriber, &["PUBLISH q2 #4 t 4"]);
    assert_eq!(world.dropped(DropReason::ClientRejected), 1);
}

#[test]
fn receive_maximum_of_the_broker_holds() {
    let mut world = World::new(Config { receive_maximum: 2, ..Config::default() });
    let publisher = world.client(Version::V5, "p");
    for id in 1..=2 {
        world.publish(publisher, "t", "x", ExactlyOnce, id);
    }
    world.publish(publisher, "t", "free", AtMostOnce, 0);
    world.publish(publisher, "t", "x", ExactlyOnce, 3);
    let none = "No matching subscribers";
    world.expect(
        publisher,
        &[
            &format!("PUBREC #1 {none}"),
            &format!("PUBREC #2 {none}"),
            "DISCONNECT Receive Maximum exceeded",
            "closed",
        ],
    );
}

/// [U-4.9-inbound-quota-is-per-connection]: a QoS 1 message counts until its PUBACK has left, and what an earlier
/// connection left open does not.
#[test]
fn receive_maximum_counts_what_is_open_on_this_connection() {
    let config = Config { receive_maximum: 2, durability: Durability::Durable, ..Config::default() };
    let mut world = World::new(config);
    let subscriber = world.persistent(Version::V5, "s");
    world.subscribe(subscriber, "t", AtLeastOnce);
    let publisher = world.persistent(Version::V5, "p");
    world.publish(publisher, "t", "", ExactlyOnce, 1);
    world.publish(publisher, "t", "", ExactlyOnce, 2);
    world.expect(publisher, &["PUBREC #1", "PUBREC #2"]);
    world.cut(publisher);
    let publisher = world.persistent(Version::V5, "p");
    world.publish(publisher, "t", "", ExactlyOnce, 3);
    world.hold_stored = true;
    world.publish(publisher, "t", "", AtLeastOnce, 4);
    world.expect(publisher, &["PUBREC #3"]);
    world.publish(publisher, "t", "", AtLeastOnce, 5);
    world.expect(publisher, &["DISCONNECT Receive Maximum exceeded", "closed"]);
}

/// [MQTT-4.4.0-1], [MQTT-4.6.0-5]: original identifiers and order, DUP, PUBREL for what is past PUBREC.
#[test]
fn resume_sends_again_in_order() {
    for version in VERSIONS {
        let mut world = world();
        let publisher = world.client(Version::V5, "p");
        let subscriber = world.persistent(version, "s");
        world.subscribe(subscriber, "t", ExactlyOnce);
        for (number, qos) in [(1, AtLeastOnce), (2, ExactlyOnce), (3, ExactlyOnce), (4, AtLeastOnce)] {
            world.publish(publisher, "t", &number.to_string(), qos, number);
        }
        world.take(subscriber);
        world.ack(subscriber, Packet::PubRec, 3);
        world.ack(subscriber, Packet::PubAck, 4);
        world.cut(subscriber);
        world.publish(publisher, "t", "5", AtLeastOnce, 5);
        world.publish(publisher, "t", "lost", AtMostOnce, 0);
        let again = world.connect_with(&lasting(version, "s"));
        let present = if version == Version::V31 { "CONNACK Success" } else { "CONNACK Success present" };
        world.expect(
            again,
            &[present, "PUBLISH q1 #1 dup t 1", "PUBLISH q2 #2 dup t 2", "PUBREL #3", "PUBLISH q1 #5 t 5"],
        );
        assert_eq!(world.dropped(DropReason::Qos0Offline), 1);
    }
}

/// [MQTT-4.6.0-5], [3.1.1: MQTT-4.6.0-1]: by the order of sending, not by identifiers, which begin again at 1.
#[test]
fn resume_keeps_the_order_when_identifiers_begin_again() {
    let mut world = world();
    let publisher = world.client(Version::V5, "p");
    let subscriber = world.persistent(Version::V5, "s");
    world.subscribe(subscriber, "t", AtLeastOnce);
    for id in 1..u16::MAX - 1 {
        world.publish(publisher, "t", "", AtLeastOnce, 1);
        world.ack(subscriber, Packet::PubAck, id);
    }
    for number in 1..=4 {
        world.publish(publisher, "t", &number.to_string(), AtLeastOnce, number);
    }
    world.cut(subscriber);
    let again = world.connect_with(&lasting(Version::V5, "s"));
    world.expect(
        again,
        &[
            "CONNACK Success present",
            "PUBLISH q1 #65534 dup t 1",
            "PUBLISH q1 #65535 dup t 2",
            "PUBLISH q1 #1 dup t 3",
            "PUBLISH q1 #2 dup t 4",
        ],
    );
}

/// [U-4.9-quota-is-per-connection]: what is sent again uses the new client's Receive Maximum.
#[test]
fn resume_keeps_to_the_new_receive_maximum() {
    let mut world = world();
    let publisher = world.client(Version::V5, "p");
    let subscriber = world.persistent(Version::V5, "s");
    world.subscribe(subscriber, "t", AtLeastOnce);
    for number in 1..=3 {
        world.publish(publisher, "t", &number.to_string(), AtLeastOnce, number);
    }
    world.cut(subscriber);
    let mut connect = lasting(Version::V5, "s");
    connect.properties.receive_maximum = Some(1);
    let again = world.connect_with(&connect);
    world.expect(again, &["CONNACK Success present", "PUBLISH q1 #1 dup t 1"]);
    world.ack(again, Packet::PubAck, 1);
    world.expect(again, &["PUBLISH q1 #2 dup t 2"]);
    world.ack(again, Packet::PubAck, 3);
    world.expect(again, &[]);
    world.ack(again, Packet::PubAck, 2);
    world.expect(again, &["PUBLISH q1 #3 dup t 3"]);
}

#[test]
fn identifiers_of_both_directions_are_separate() {
    let mut world = world();
    let client = world.client(Version::V5, "c");
    world.subscribe(client, "t", AtLeastOnce);
    world.publish(client, "t", "x", ExactlyOnce, 1);
    world.expect(client, &["PUBLISH q1 #1 t x", "PUBREC #1"]);
    world.ack(client, Packet::PubRel, 1);
    world.ack(client, Packet::PubAck, 1);
    world.expect(client, &["PUBCOMP #1"]);
    assert_eq!(world.engine.view().session("c").unwrap().inflight(), 0);
}

/// [MQTT-2.2.1-4], [3.1.1: MQTT-2.3.1-4]: all identifiers are used, and the one that is still in flight is left out of the next round.
#[test]
fn identifiers_in_flight_are_left_out_when_they_wrap() {
    let mut world = world();
    let subscriber = world.client(Version::V5, "s");
    world.subscribe(subscriber, "t", AtLeastOnce);
    let publisher = world.client(Version::V5, "p");
    let mut given = Vec::new();
    for number in 0..u32::from(u16::MAX) + 2 {
        world.publish(publisher, "t", "x", AtLeastOnce, 1);
        let got = world.take(subscriber).concat();
        let id: u16 = got.split(['#', ' ']).find_map(|word| word.parse().ok()).expect("an identifier");
        given.push(id);
        // The third is never acknowledged.
        if number != 2 {
            world.ack(subscriber, Packet::PubAck, id);
        }
        world.take(publisher);
    }
    let wanted: Vec<u16> = (1..=u16::MAX).chain([1, 2]).collect();
    assert_eq!(given, wanted);
    world.publish(publisher, "t", "x", AtLeastOnce, 1);
    world.expect(subscriber, &["PUBLISH q1 #4 t x"]);
}

#[test]
fn unknown_identifiers_get_their_answers() {
    let mut world = world();
    let client = world.client(Version::V5, "c");
    world.ack(client, Packet::PubAck, 7);
    world.ack(client, Packet::PubComp, 7);
    world.ack(client, Packet::PubRec, 7);
    world.ack(client, Packet::PubRel, 7);
    let why = "Packet Identifier not found";
    world.expect(client, &[&format!("PUBREL #7 {why}"), &format!("PUBCOMP #7 {why}")]);
}

/// [MQTT-3.3.2-5], [MQTT-3.3.2-6]: time in the queue counts; what was sent once does not expire.
#[test]
fn messages_expire_before_their_first_transmission() {
    let mut world = world();
    let publisher = world.client(Version::V5, "p");
    let subscriber = world.persistent(Version::V5, "s");
    world.subscribe(subscriber, "t", AtLeastOnce);
    let mut short = message("t", "short", AtLeastOnce, 1);
    short.properties.message_expiry_interval = Some(5);
    let long = PublishProperties { message_expiry_interval: Some(100), ..Default::default() };
    world.publish_with(publisher, &short);
    world.expect(subscriber, &["PUBLISH q1 #1 expires=5 t short"]);
    world.cut(subscriber);
    world.publish_with(publisher, &short);
    world.publish_with(
        publisher,
        &mqtt_proto::Publish { properties: long, ..message("t", "long", AtLeastOnce, 2) },
    );
    world.wait(10);
    let again = world.connect_with(&lasting(Version::V5, "s"));
    world.expect(
        again,
        &[
            "CONNACK Success present",
            "PUBLISH q1 #1 dup expires=0 t short",
            "PUBLISH q1 #2 expires=90 t long",
        ],
    );
    assert_eq!(world.dropped(DropReason::Expired), 1);
}

/// The cap ends a message's life, but what receivers are told is the publisher's own interval [MQTT-3.3.2-6].
#[test]
fn a_cap_of_message_expiry_is_never_told() {
    let config = Config { max_message_expiry: 50, durability: Durability::Async, ..Config::default() };
    let mut world = World::new(Config { queue_window_messages: 1, ..config });
    let publisher = world.client(Version::V5, "p");
    let subscriber = world.persistent(Version::V5, "s");
    world.subscribe(subscriber, "t", AtLeastOnce);
    world.cut(subscriber);
    for (payload, expiry, id) in [("none", None, 1), ("long", Some(100), 2), ("short", Some(45), 3)] {
        let mut publish = message("t", payload, AtLeastOnce, id);
        publish.properties.message_expiry_interval = expiry;
        world.publish_with(publisher, &publish);
    }
    world.wait(40);
    let again = world.connect_with(&lasting(Version::V5, "s"));
    world.expect(
        again,
        &[
            "CONNACK Success present",
            "PUBLISH q1 #1 t none",
            "PUBLISH q1 #2 expires=60 t long",
            "PUBLISH q1 #3 expires=5 t short",
        ],
    );
    world.cut(again);
    let mut publish = message("t", "late", AtLeastOnce, 4);
    publish.properties.message_expiry_interval = Some(100);
    world.publish_with(publisher, &publish);
    world.wait(51);
    let again = world.connect_with(&lasting(Version::V5, "s"));
    assert_eq!(world.take(again).len(), 4, "those in flight, and not the late one");
    assert_eq!(world.dropped(DropReason::Expired), 1);
}

/// [MQTT-3.1.2-25]: what is too large is dropped as if it had been sent.
#[test]
fn maximum_packet_size_of_the_client_holds() {
    let mut world = world();
    let publisher = world.client(Version::V5, "p");
    let mut connect = clean(Version::V5, "s");
    connect.properties.maximum_packet_size = Some(20);
    let subscriber = world.connect_with(&connect);
    world.take(subscriber);
    world.subscribe(subscriber, "t", AtLeastOnce);
    // 2 bytes of header, 3 of topic, 2 of identifier, 1 of properties.
    world.publish(publisher, "t", &"x".repeat(13), AtLeastOnce, 1);
    world.publish(publisher, "t", &"x".repeat(12), AtLeastOnce, 2);
    world.expect(subscriber, &["PUBLISH q1 #2 t xxxxxxxxxxxx"]);
    assert_eq!(world.dropped(DropReason::PacketTooLarge), 1);
}

/// Bytes, packets and messages by QoS, of both directions.
#[test]
fn counters_say_what_went_in_and_out() {
    for version in VERSIONS {
        let mut world = world();
        let client = world.client(version, "c");
        world.subscribe(client, "t", ExactlyOnce);
        let before = world.engine.view().counters().clone();
        let mut sent = 0;
        for (qos, id) in [(AtMostOnce, 0), (AtLeastOnce, 1), (ExactlyOnce, 2), (ExactlyOnce, 3)] {
            let publish = encoded(&Packet::Publish(message("t", "x", qos, id)), version);
            sent += publish.len();
            world.bytes(client, &publish);
        }
        let got = world.take_bytes(client).len();
        let now = world.engine.view().counters();
        assert_eq!(now.bytes_received - before.bytes_received, sent as u64);
        assert_eq!(now.bytes_sent - before.bytes_sent, got as u64);
        assert_eq!(now.packets_received - before.packets_received, 4);
        // Each message, and PUBACK or PUBREC for three of them.
        assert_eq!(now.packets_sent - before.packets_sent, 7);
        assert_eq!((now.publish_received, now.publish_sent), ([1, 1, 2], [1, 1, 2]));
    }
}

#[test]
fn overlapping_filters_give_one_copy_or_one_each() {
    for (overlap, wanted) in [
        (Overlap::Once, vec!["PUBLISH q1 #1 sub=1 sub=2 a/b x"]),
        (Overlap::PerSubscription, vec!["PUBLISH q0 sub=1 a/b x", "PUBLISH q1 #1 sub=2 a/b x"]),
    ] {
        let mut world = World::new(Config { overlap, ..Config::default() });
        let client = world.client(Version::V5, "c");
        world.subscribe_with(client, "a/b", SubscribeOptions::default(), Some(1));
        world.subscribe_with(
            client,
            "a/#",
            SubscribeOptions { qos: AtLeastOnce, ..Default::default() },
            Some(2),
        );
        world.take(client);
        world.publish(client, "a/b", "x", AtLeastOnce, 3);
        let mut got = world.take(client);
        got.retain(|line| line.starts_with("PUBLISH"));
        got.sort();
        assert_eq!(got, wanted);
    }
}

/// No Local is judged for each subscription; Retain As Published for live messages only.
#[test]
fn no_local_and_retain_as_published() {
    let mut world = world();
    let client = world.client(Version::V5, "c");
    let other = world.client(Version::V5, "o");
    world.subscribe_with(client, "t", SubscribeOptions { no_local: true, ..Default::default() }, None);
    world.subscribe_with(
        other,
        "t",
        SubscribeOptions { retain_as_published: true, ..Default::default() },
        None,
    );
    world.take(client);
    world.take(other);
    let retained = mqtt_proto::Publish { retain: true, ..message("t", "x", AtMostOnce, 0) };
    world.publish_with(client, &retained);
    world.expect(client, &[]);
    world.expect(other, &["PUBLISH q0 retain t x"]);
    world.publish_with(other, &retained);
    world.expect(client, &["PUBLISH q0 t x"]);
    world.subscribe_with(client, "+", SubscribeOptions::default(), None);
    world.take(client);
    world.publish_with(client, &retained);
    world.expect(client, &["PUBLISH q0 t x"]);
}

#[test]
fn properties_travel_unchanged_to_v5_only() {
    let mut world = world();
    let publisher = world.client(Version::V5, "p");
    let (new, old) = (world.client(Version::V5, "n"), world.client(Version::V311, "o"));
    world.subscribe(new, "t", AtMostOnce);
    world.subscribe(old, "t", AtMostOnce);
    let mut publish = message("t", "x", AtMostOnce, 0);
    publish.properties.user_properties = UserProperties::Pairs(&[("b", "2"), ("a", "1"), ("b", "2")]);
    publish.properties.topic_alias = Some(3);
    world.publish_with(publisher, &publish);
    world.publish_with(publisher, &mqtt_proto::Publish { topic: None, ..publish });
    world.expect(new, &["PUBLISH q0 b=2 a=1 b=2 t x", "PUBLISH q0 b=2 a=1 b=2 t x"]);
    world.expect(old, &["PUBLISH q0 t x", "PUBLISH q0 t x"]);
}

#[test]
fn topic_aliases_towards_the_client() {
    let mut world = world();
    let publisher = world.client(Version::V5, "p");
    let mut connect = clean(Version::V5, "s");
    connect.properties.topic_alias_maximum = Some(1);
    let subscriber = world.connect_with(&connect);
    world.take(subscriber);
    world.subscribe(subscriber, "#", AtMostOnce);
    for topic in ["a", "b", "a"] {
        world.publish(publisher, topic, "x", AtMostOnce, 0);
    }
    world.expect(subscriber, &["PUBLISH q0 alias=1 a x", "PUBLISH q0 b x", "PUBLISH q0 alias=1 - x"]);
}

/// What waits for the store is overtaken, so aliases are for what leaves first.
#[test]
fn a_message_that_waits_for_the_store_gets_its_topic_alias_when_it_leaves() {
    let mut world = World::new(Config { durability: Durability::Durable, ..Config::default() });
    let mut connect = lasting(Version::V5, "s");
    connect.properties.topic_alias_maximum = Some(1);
    let subscriber = world.connect_with(&connect);
    world.take(subscriber);
    world.subscribe(subscriber, "t", ExactlyOnce);
    let publisher = world.client(Version::V5, "p");
    world.hold_stored = true;
    world.publish(publisher, "t", "waits", ExactlyOnce, 1);
    world.publish(publisher, "t", "x", AtMostOnce, 0);
    world.publish(publisher, "t", "waits too", ExactlyOnce, 2);
    world.expect(subscriber, &["PUBLISH q0 alias=1 t x"]);
    world.release_stored();
    world.expect(subscriber, &["PUBLISH q2 #1 alias=1 - waits", "PUBLISH q2 #2 alias=1 - waits too"]);
}

#[test]
fn bad_topic_aliases_end_the_connection() {
    for (alias, topic, wanted) in
        [(17, "t", "DISCONNECT Topic Alias invalid"), (1, "", "DISCONNECT Protocol Error")]
    {
        let mut world = world();
        let client = world.client(Version::V5, "c");
        let mut publish = message(topic, "x", AtMostOnce, 0);
        publish.properties.topic_alias = Some(alias);
        world.publish_with(client, &publish);
        world.expect(client, &[wanted, "closed"]);
    }
}

/// An alias for a topic name above the limit is known, but the name is not kept.
#[test]
fn an_alias_for_a_name_that_is_refused_is_refused_as_well() {
    let mut world = World::new(Config { max_topic_length: 10, ..Config::default() });
    let publisher = world.client(Version::V5, "p");
    let mut publish = message("a/topic/that/is/too/long", "", AtLeastOnce, 1);
    publish.properties.topic_alias = Some(1);
    world.publish_with(publisher, &publish);
    let mut publish = message("", "", AtLeastOnce, 2);
    publish.properties.topic_alias = Some(1);
    world.publish_with(publisher, &publish);
    world.expect(publisher, &["PUBACK #1 Topic Name invalid", "PUBACK #2 Topic Name invalid"]);
}

#[test]
fn a_full_queue_drops_by_its_rule_and_counts() {
    use QueueFull::{DropNew, DropOldest};
    // The QoS of three messages for a queue of two, and which two stay.
    let cases = [
        (DropOldest, [AtLeastOnce, AtLeastOnce, AtLeastOnce], ["q1 #1 t 2", "q1 #2 t 3"]),
        (DropOldest, [AtLeastOnce, AtMostOnce, AtLeastOnce], ["q1 #1 t 1", "q1 #2 t 3"]),
        (DropOldest, [AtLeastOnce, AtLeastOnce, AtMostOnce], ["q1 #1 t 1", "q1 #2 t 2"]),
        (DropOldest, [AtMostOnce, AtLeastOnce, AtMostOnce], ["q1 #1 t 2", "q0 t 3"]),
        (DropNew, [AtMostOnce, AtLeastOnce, AtLeastOnce], ["q0 t 1", "q1 #1 t 2"]),
    ];
    for (queue_full, messages, [first, second]) in cases {
        let config = Config { max_queued_messages: 2, queue_qos0_offline: true, ..Config::default() };
        let mut world = World::new(Config { queue_full, ..config });
        let publisher = world.client(Version::V5, "p");
        let subscriber = world.persistent(Version::V5, "s");
        world.subscribe(subscriber, "t", AtLeastOnce);
        world.cut(subscriber);
        for (number, qos) in (1..).zip(messages) {
            let id = if qos == AtMostOnce { 0 } else { number };
            world.publish(publisher, "t", &number.to_string(), qos, id);
        }
        assert_eq!(world.engine.view().messages(), 2);
        let again = world.connect_with(&lasting(Version::V5, "s"));
        let (first, second) = (format!("PUBLISH {first}"), format!("PUBLISH {second}"));
        world.expect(again, &["CONNACK Success present", &first, &second]);
        assert_eq!(world.dropped(DropReason::QueueFull), 1);
    }
}

/// A slow reader loses QoS 0, keeps QoS 1, and resumes where it stopped; others notice nothing.
#[test]
fn back_pressure_concerns_the_slow_reader_alone() {
    let mut world = world();
    let publisher = world.client(Version::V5, "p");
    let (slow, quick) = (world.client(Version::V5, "slow"), world.client(Version::V5, "quick"));
    world.subscribe(slow, "t", AtLeastOnce);
    world.subscribe(quick, "t", AtLeastOnce);
    world.handle(Input::Backlog { conn: slow, unsent: 300 << 10 });
    world.publish(publisher, "t", "zero", AtMostOnce, 0);
    world.publish(publisher, "t", "one", AtLeastOnce, 1);
    world.expect(slow, &[]);
    world.expect(quick, &["PUBLISH q0 t zero", "PUBLISH q1 #1 t one"]);
    world.handle(Input::Backlog { conn: slow, unsent: 100 << 10 });
    world.expect(slow, &[]);
    world.handle(Input::Backlog { conn: slow, unsent: 0 });
    world.expect(slow, &["PUBLISH q1 #1 t one"]);
    assert_eq!(world.dropped(DropReason::Qos0SlowReader), 1);
    world.handle(Input::Backlog { conn: slow, unsent: 100 << 20 });
    world.expect(slow, &["DISCONNECT Quota exceeded", "closed"]);
}

/// A fan-out larger than one call's work goes on in later calls; order and acknowledgement wait for it.
#[test]
fn a_large_fanout_is_sliced_and_nothing_overtakes_it() {
    let mut world = World::new(Config { work_per_call: 3, ..Config::default() });
    let publisher = world.client(Version::V311, "p");
    let other = world.client(Version::V311, "o");
    let subscribers: Vec<_> = (0..10)
        .map(|number| {
            let conn = world.client(Version::V311, &format!("s{number}"));
            world.subscribe(conn, "t", AtLeastOnce);
            conn
        })
        .collect();
    world.publish(publisher, "t", "1", AtLeastOnce, 1);
    world.publish(other, "t", "2", AtLeastOnce, 1);
    world.send(publisher, &Packet::PingReq);
    world.expect(publisher, &[]);
    world.settle();
    world.expect(publisher, &["PUBACK #1", "PINGRESP"]);
    world.expect(other, &["PUBACK #1"]);
    for subscriber in subscribers {
        world.expect(subscriber, &["PUBLISH q1 #1 t 1", "PUBLISH q1 #2 t 2"]);
    }
}

/// The slices of a host that pauses between them give up what has expired meanwhile.
#[test]
fn a_sliced_fanout_ends_with_the_message() {
    let mut world = World::new(Config { work_per_call: 3, ..Config::default() });
    let publisher = world.client(Version::V5, "p");
    for number in 0..10 {
        let conn = world.client(Version::V5, &format!("s{number}"));
        world.subscribe(conn, "t", mqtt_proto::QoS::from_bits(number % 3).unwrap());
    }
    let mut publish = message("t", "1", AtLeastOnce, 1);
    publish.properties.message_expiry_interval = Some(5);
    world.publish_with(publisher, &publish);
    let sent = world.engine.view().counters().completed + in_flight(&world);
    world.now = world.now.after_secs(6);
    world.settle();
    world.expect(publisher, &["PUBACK #1"]);
    assert_eq!(world.engine.view().counters().completed + in_flight(&world), sent);
    assert_eq!(world.dropped(DropReason::Expired), 10 - sent);
}

fn in_flight(world: &World) -> u64 {
    world.engine.view().each_session().map(|session| session.inflight() as u64).sum()
}

/// It lines up behind what waits for a client that has come back meanwhile, though the window has room.
#[test]
fn a_sliced_fanout_does_not_overtake_a_queue() {
    let mut world = World::new(Config { work_per_call: 1, ..Config::default() });
    let publisher = world.client(Version::V5, "p");
    for number in 0..10 {
        let other = world.client(Version::V5, &format!("o{number}"));
        world.subscribe(other, "t", AtMostOnce);
    }
    let subscriber = world.persistent(Version::V5, "s");
    world.subscribe(subscriber, "t", AtLeastOnce);
    world.cut(subscriber);
    world.publish(publisher, "t", "1", AtLeastOnce, 1);
    world.settle();
    world.publish(publisher, "t", "2", AtLeastOnce, 2);
    let again = world.connect_with(&lasting(Version::V5, "s"));
    world.settle();
    world.expect(again, &["CONNACK Success present", "PUBLISH q1 #1 t 1", "PUBLISH q1 #2 t 2"]);
}

/// What does not fit into a client's window waits where it is retained, not in its queue.
#[test]
fn retained_messages_beyond_the_window_are_not_dropped() {
    for durability in [Durability::Memory, Durability::Durable] {
        let mut world = World::new(Config { durability, max_queued_messages: 5, ..Config::default() });
        let publisher = world.client(Version::V5, "p");
        for number in 0..100 {
            let topic = format!("r/{number:02}");
            world.publish_with(
                publisher,
                &mqtt_proto::Publish { retain: true, ..message(&topic, "m", AtLeastOnce, 1) },
            );
        }
        let mut connect = lasting(Version::V5, "s");
        connect.properties.receive_maximum = Some(10);
        let client = world.connect_with(&connect);
        world.expect(client, &["CONNACK Success"]);
        world.subscribe_with(
            client,
            "r/+",
            SubscribeOptions { qos: AtLeastOnce, ..Default::default() },
            None,
        );
        let mut got = world.take(client);
        got.retain(|line| line != "SUBACK #9 01");
        let mut acknowledged = 0;
        while acknowledged < got.len() {
            let id = got[acknowledged].split(['#', ' ']).nth(3).unwrap().parse().unwrap();
            world.ack(client, Packet::PubAck, id);
            world.settle();
            got.extend(world.take(client));
            acknowledged += 1;
        }
        let topics: Vec<_> = got.iter().map(|line| line.split(' ').nth(4).unwrap().to_string()).collect();
        assert_eq!(topics, (0..100).map(|number| format!("r/{number:02}")).collect::<Vec<_>>());
        assert_eq!(world.dropped(DropReason::QueueFull), 0);
    }
}
