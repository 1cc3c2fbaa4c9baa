//! Attacks on memory and time: what a client can make the broker keep or do is bounded.
//!
//! | class | shown by |
//! |---|---|
//! | B-02 | here in numbers; `sessions.rs`: `connect_deadline_and_keep_alive` |
//! | B-04 | here; `delivery.rs`: `receive_maximum_of_the_broker_holds` |
//! | B-06 | here; `delivery.rs`: `back_pressure_concerns_the_slow_reader_alone` |
//! | B-07 | `mistakes.rs` |
//! | B-09 | `mistakes.rs` for every answer, here for their cost |
//! | B-11 | here; `delivery.rs`: `retained_messages_beyond_the_window_are_not_dropped` |
//! | B-13 | `delivery.rs`: `bad_topic_aliases_end_the_connection` |
//! | B-15 | cannot be: input is borrowed for the call, so what is kept is copied |
//! | B-16 | cannot be: the engine has no tasks |
//! | B-17 | `laws.rs`: `outputs_do_not_depend_on_the_hash_key` |
//! | B-21 | `sessions.rs`: `reads_resume_when_every_reason_to_pause_has_passed` |
//! | the rest | here |

mod common;
mod counting;

use broker_engine::{Answer, Config, ConnId, DropReason, Input, QueueFull};
use common::{World, clean, encoded, id_of, lasting, message};
use counting::allocated;
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{
    Connect, Limits, Packet, Publish, Subscribe, SubscribeFilters, SubscribeOptions, TopicName,
    UserProperties, Version, Will, WillProperties,
};

fn world() -> World {
    World::new(Config::default())
}

/// B-01
#[test]
fn what_is_announced_is_not_allocated() {
    for first in 0..=255_u8 {
        let mut world = world();
        let conn = world.open(Version::V5);
        world.bytes(conn, &[first, 0xff, 0xff, 0xff, 0x7f, 0]);
        world.expect(conn, &["closed"]);
        let client = world.client(Version::V5, "c");
        let bytes = allocated(|| world.bytes(client, &[first, 0xff, 0xff, 0xff, 0x7f, 0]));
        assert!(bytes < 10_000, "{bytes} bytes for {first:02x}");
        assert!(world.is_closed(client));
        assert_eq!(world.held(), [0; 6]);
    }
    // As much as is allowed, of which little comes.
    let mut world = world();
    let conn = world.open(Version::V5);
    world.bytes(conn, b"\x10\xfd\x7f\0\x04MQTT");
    let client = world.client(Version::V5, "c");
    world.bytes(client, b"\x30\xfc\xff\x7f\0\x01t");
    assert!(world.engine.view().input_bytes() < 100);
}

/// However its bytes came: once they are packets, nothing of them is kept.
#[test]
fn an_idle_connection_has_no_input_buffer() {
    let mut world = world();
    let client = world.client(Version::V5, "c");
    for byte in encoded(&Packet::Publish(message("t", &"x".repeat(9000), AtLeastOnce, 1)), Version::V5) {
        world.bytes(client, &[byte]);
    }
    world.expect(client, &["PUBACK #1 No matching subscribers"]);
    assert_eq!(world.engine.view().input_bytes(), 0);
}

/// B-02
#[test]
fn hundreds_of_slow_connects_are_closed_at_their_deadline() {
    let mut world = world();
    let connect = encoded(&Packet::Connect(clean(Version::V5, "a-rather-long-client-id")), Version::V5);
    let conns: Vec<ConnId> = (0..200).map(|_| world.open(Version::V5)).collect();
    for byte in connect.chunks(1).take(9) {
        for conn in &conns {
            world.bytes(*conn, byte);
        }
        world.wait(1);
    }
    assert_eq!(world.engine.view().transports(), 200);
    world.wait(1);
    assert_eq!(world.held(), [0; 6]);
    assert!(conns.iter().all(|conn| world.take(*conn) == ["closed"]));
}

/// B-03: who asks for no keep-alive, or a long one, gets the broker's, and is told so.
#[test]
fn a_stalled_client_is_closed_after_the_longest_keep_alive() {
    for asked in [0, u16::MAX] {
        let mut world = World::new(Config { max_keep_alive: 1800, ..Config::default() });
        let client = world.connect_with(&Connect { keep_alive: asked, ..clean(Version::V5, "c") });
        let connack = world.take_bytes(client);
        let Ok(Some((Packet::ConnAck(connack), _))) = Packet::parse(&connack, Version::V5, &Limits::NONE)
        else {
            panic!("{connack:02x?}");
        };
        assert_eq!(connack.properties.server_keep_alive, Some(1800));
        // Bytes that never become a packet are no sign of life.
        world.bytes(client, b"\x30\x7f");
        for _ in 0..27 {
            world.expect(client, &[]);
            world.wait(100);
            if !world.is_closed(client) {
                world.bytes(client, b"x");
            }
        }
        world.expect(client, &["DISCONNECT Keep Alive timeout", "closed"]);
    }
}

/// B-04: of an unfinished QoS 2 PUBLISH the broker keeps its identifier; the message is on its way.
#[test]
fn unfinished_messages_are_not_hoarded() {
    let mut world = world();
    let client = world.client(Version::V5, "c");
    let payload = "x".repeat(64 << 10);
    for id in 1..=1024 {
        world.publish(client, "t", &payload, ExactlyOnce, id);
    }
    assert_eq!(world.take(client).len(), 1024);
    let view = world.engine.view();
    assert_eq!(
        (view.session("c").unwrap().received(), view.message_bytes(), view.input_bytes()),
        (1024, 0, 0)
    );
    world.publish(client, "t", "x", ExactlyOnce, 1025);
    world.expect(client, &["DISCONNECT Receive Maximum exceeded", "closed"]);
    assert_eq!(world.held(), [0; 6]);
}

/// B-05
#[test]
fn a_qos2_publish_repeated_for_ever_is_kept_once() {
    let mut world = world();
    let (client, away) = (world.client(Version::V311, "c"), world.persistent(Version::V311, "away"));
    world.subscribe(away, "t", ExactlyOnce);
    world.cut(away);
    for _ in 0..10_000 {
        world.publish(client, "t", "x", ExactlyOnce, 1);
    }
    assert!(world.take(client).iter().all(|line| line == "PUBREC #1"));
    let view = world.engine.view();
    assert_eq!((view.messages(), view.queued(), view.session("c").unwrap().received()), (1, 1, 1));
}

/// B-06: what a client asks for and does not read is bounded, whatever it is.
#[test]
fn answers_that_nobody_reads_stop_the_reading() {
    let publish1 = Packet::Publish(message("t", "", AtLeastOnce, 1));
    let options = SubscribeOptions::default();
    let subscribe = Packet::Subscribe(Subscribe {
        packet_id: id_of(1),
        subscription_id: None,
        user_properties: UserProperties::default(),
        filters: SubscribeFilters::List(&[("r/#", options)]),
    });
    let own = Packet::Publish(message("own", "a message to oneself", AtMostOnce, 0));
    for packet in [Packet::PingReq, publish1, subscribe, own] {
        let mut world = world();
        let client = world.client(Version::V5, "c");
        world.subscribe(client, "own", AtMostOnce);
        let retained = "x".repeat(2000);
        world.publish_with(client, &Publish { retain: true, ..message("r/x", &retained, AtMostOnce, 0) });
        let data = encoded(&packet, Version::V5).repeat(500);
        let (mut unsent, mut calls) = (0, 0);
        while !world.paused.contains(&client) {
            if world.engine.next_deadline().is_some_and(|deadline| deadline.at <= world.now) {
                world.handle(Input::Tick);
            } else {
                world.bytes(client, &data);
            }
            unsent += u32::try_from(world.take_bytes(client).len()).unwrap();
            world.handle(Input::Backlog { conn: client, unsent });
            calls += 1;
            assert!(calls < 1000, "never paused: {packet:?}");
        }
        let config = world.engine.view().config();
        assert!(
            unsent >= config.egress_high && unsent < config.egress_high + (8 << 10),
            "{unsent}: {packet:?}"
        );
        assert_eq!(world.engine.view().input_bytes(), 0);
    }
}

/// B-08: 64 times the bytes, one by one, cost about 64 times as much.
#[test]
fn bytes_that_trickle_in_cost_their_number() {
    let cost = |len: usize| {
        let mut world = world();
        let client = world.client(Version::V5, "c");
        let payload = "x".repeat(len);
        let bytes = encoded(&Packet::Publish(message("t", &payload, AtLeastOnce, 1)), Version::V5);
        let memory = allocated(|| {
            for byte in bytes.chunks(1) {
                world.bytes(client, byte);
            }
        });
        world.expect(client, &["PUBACK #1 No matching subscribers"]);
        memory
    };
    let (short, long) = (cost(1 << 10), cost(64 << 10));
    assert!(long < short * 128, "{short} bytes for 1 KiB, {long} bytes for 64 KiB");
}

/// B-09: nothing grows by a node for each level, nor is anything looked up level by level.
#[test]
fn the_deepest_topics_cost_their_bytes() {
    let deepest = "/".repeat(65_535);
    let mut world = world();
    let client = world.client(Version::V5, "c");
    world.subscribe(client, &"+/".repeat(127), AtMostOnce);
    world.subscribe(client, "#", AtMostOnce);
    let memory = allocated(|| {
        world.publish(client, &deepest, "m", AtLeastOnce, 1);
        world.subscribe_with(client, &deepest, SubscribeOptions::default(), None);
        world.unsubscribe(client, &deepest);
    });
    world.expect(client, &["PUBACK #1 Topic Name invalid", "SUBACK #9 8f", "UNSUBACK #8 11"]);
    assert!(memory < 1_000_000, "{memory} bytes");
}

/// B-10
#[test]
fn subscriptions_and_retained_messages_are_counted() {
    let mut clients = Vec::new();
    let mut world = World::new(Config {
        max_subscriptions_per_session: 300,
        max_subscriptions: 500,
        max_retained_messages: 2,
        max_retained_bytes: 100,
        ..Config::default()
    });
    for (name, room) in [("a", 300), ("b", 200)] {
        let client = world.persistent(Version::V5, name);
        clients.push(client);
        let filters: Vec<String> = (0..400).map(|number| format!("{name}/{number}/+/x/+/y/#")).collect();
        for some in filters.chunks(200) {
            let list: Vec<_> = some.iter().map(|filter| (&filter[..], SubscribeOptions::default())).collect();
            let filters = SubscribeFilters::List(&list);
            let (packet_id, user_properties) = (id_of(1), UserProperties::default());
            world.send(
                client,
                &Packet::Subscribe(Subscribe { packet_id, subscription_id: None, user_properties, filters }),
            );
        }
        let codes = world.take(client).join(" ");
        assert_eq!((codes.matches(" 00").count(), codes.matches(" 97").count()), (room, 400 - room));
        // What is there already may be made again.
        world.subscribe_with(client, &filters[0], SubscribeOptions::default(), None);
        world.expect(client, &["SUBACK #9 00"]);
    }
    let retaining = world.client(Version::V5, "r");
    let long = "x".repeat(100);
    for (topic, payload, wanted) in [
        ("1", "x", "PUBACK #1 No matching subscribers"),
        ("2", "x", "PUBACK #1 No matching subscribers"),
        ("3", "x", "PUBACK #1 Quota exceeded"),
        ("2", &long, "PUBACK #1 Quota exceeded"),
        ("2", "y", "PUBACK #1 No matching subscribers"),
        ("1", "", "PUBACK #1 No matching subscribers"),
        ("3", "x", "PUBACK #1 No matching subscribers"),
    ] {
        world.publish_with(retaining, &Publish { retain: true, ..message(topic, payload, AtLeastOnce, 1) });
        world.expect(retaining, &[wanted]);
    }
    assert_eq!((world.engine.view().retained(), world.engine.view().subscriptions()), (2, 500));
    // All their nodes go with them.
    for client in clients {
        world.cut(client);
    }
    world.wait(600);
    assert_eq!(world.engine.view().filters(), (0, 0));
}

/// B-11: a page for each call, and no copy of what is retained.
#[test]
fn retained_messages_for_many_are_paged() {
    let mut world = World::new(Config { work_per_call: 50, ..Config::default() });
    let publisher = world.client(Version::V5, "p");
    for number in 0..400 {
        let topic = format!("r/{number}");
        world.publish_with(publisher, &Publish { retain: true, ..message(&topic, "m", AtMostOnce, 0) });
    }
    let mut clients: Vec<(ConnId, usize)> =
        (0..20).map(|number| (world.client(Version::V5, &format!("c{number}")), 0)).collect();
    for (client, _) in &clients {
        world.subscribe_with(*client, "#", SubscribeOptions::default(), None);
    }
    let sent = |world: &World| world.engine.view().counters().publish_sent.iter().sum::<u64>();
    while world.engine.next_deadline().is_some_and(|deadline| deadline.at <= world.now) {
        let before = sent(&world);
        world.handle(Input::Tick);
        assert!(sent(&world) - before <= 50);
        assert_eq!(world.engine.view().messages(), 400);
    }
    for (client, got) in &mut clients {
        *got = world.take(*client).iter().filter(|line| line.starts_with("PUBLISH")).count();
    }
    assert!(clients.iter().all(|(_, got)| *got == 400), "{clients:?}");
}

/// B-11: whoever subscribes again and again, without reading or acknowledging, begins anew instead of adding more.
#[test]
fn repeated_subscriptions_do_not_pile_up_retained_messages() {
    for qos in [AtMostOnce, AtLeastOnce] {
        let mut world = World::new(Config { work_per_call: 5, ..Config::default() });
        let publisher = world.client(Version::V5, "p");
        for number in 0..20 {
            let topic = format!("r/{number}");
            world.publish_with(publisher, &Publish { retain: true, ..message(&topic, "m", AtLeastOnce, 1) });
        }
        let mut connect = clean(Version::V5, "c");
        connect.properties.receive_maximum = Some(3);
        let client = world.connect_with(&connect);
        let options = SubscribeOptions { qos, ..Default::default() };
        let mut sizes = Vec::new();
        for _ in 0..200 {
            world.subscribe_with(client, "r/+", options, None);
            sizes.push(world.engine.snapshot().len());
        }
        assert!(sizes[199] <= sizes[9] + 20, "{} bytes, then {}", sizes[9], sizes[199]);
        world.settle();
        let got = world.take(client);
        let sent = got.iter().filter(|line| line.starts_with("PUBLISH")).count();
        assert_eq!(sent >= 20, qos == AtMostOnce, "the window of 3 is never left: {sent}");
        // Nothing further comes for a subscription that is gone [MQTT-3.10.4-2].
        world.unsubscribe(client, "r/+");
        for id in 1..=3 {
            world.ack(client, Packet::PubAck, id);
        }
        world.settle();
        world.expect(client, &["UNSUBACK #8 00"]);
    }
}

/// B-12: each queue has its bounds in messages and bytes, and lets go by its rule; others are not concerned.
#[test]
fn queues_of_absent_clients_are_bounded_each_by_itself() {
    let cases: &[(QueueFull, u32, u32, DropReason, [&str; 2])] = &[
        (QueueFull::DropOldest, 2, u32::MAX, DropReason::QueueFull, ["4", "5"]),
        (QueueFull::DropNew, 2, u32::MAX, DropReason::QueueFull, ["1", "2"]),
        // Topic and payload are two bytes.
        (QueueFull::DropOldest, 1000, 5, DropReason::QuotaBytes, ["4", "5"]),
        (QueueFull::DropNew, 1000, 5, DropReason::QuotaBytes, ["1", "2"]),
    ];
    for (queue_full, max_queued_messages, max_queued_bytes, reason, left) in cases {
        let (queue_full, max_queued_messages, max_queued_bytes) =
            (*queue_full, *max_queued_messages, *max_queued_bytes);
        let limits = Config { queue_full, max_queued_messages, max_queued_bytes, ..Config::default() };
        let mut world = World::new(limits);
        let (publisher, here) = (world.client(Version::V311, "p"), world.client(Version::V311, "here"));
        world.subscribe(here, "t", AtMostOnce);
        for number in 0..50 {
            let away = world.persistent(Version::V311, &number.to_string());
            world.subscribe(away, "t", AtLeastOnce);
            world.cut(away);
        }
        for number in 1..=5_u16 {
            world.publish(publisher, "t", &number.to_string(), AtLeastOnce, number);
        }
        assert_eq!(world.take(here).len(), 5, "who is there misses nothing");
        let view = world.engine.view();
        assert_eq!((view.queued(), view.messages(), world.dropped(*reason)), (100, 2, 150), "{queue_full:?}");
        let again = world.connect_with(&lasting(Version::V311, "49"));
        let [first, second] = left.map(|payload| format!("t {payload}"));
        let wanted = [
            "CONNACK Success present".into(),
            format!("PUBLISH q1 #1 {first}"),
            format!("PUBLISH q1 #2 {second}"),
        ];
        assert_eq!(world.take(again), wanted, "{queue_full:?}");
    }
}

/// What has no room in the largest queue goes by itself, and takes nothing along that waits already.
#[test]
fn a_message_larger_than_the_queue_drives_nothing_out() {
    let mut world = World::new(Config { max_queued_bytes: 100, ..Config::default() });
    let publisher = world.client(Version::V311, "p");
    let away = world.persistent(Version::V311, "away");
    world.subscribe(away, "t", AtLeastOnce);
    world.cut(away);
    for (number, payload) in (1..).zip(["one", "two", &"x".repeat(200), "three"]) {
        world.publish(publisher, "t", payload, AtLeastOnce, number);
    }
    assert_eq!(world.dropped(DropReason::QuotaBytes), 1);
    let again = world.connect_with(&lasting(Version::V311, "away"));
    world.expect(
        again,
        &["CONNACK Success present", "PUBLISH q1 #1 t one", "PUBLISH q1 #2 t two", "PUBLISH q1 #3 t three"],
    );
}

/// B-14
#[test]
fn sessions_are_counted_and_room_comes_back() {
    let mut world = World::new(Config { max_sessions: 3, ..Config::default() });
    for number in 1..=3 {
        let client = world.persistent(Version::V5, &number.to_string());
        world.cut(client);
    }
    for (version, wanted) in [(Version::V5, "Quota exceeded"), (Version::V311, "Server unavailable")] {
        for number in 4..50 {
            let client = world.connect_with(&lasting(version, &number.to_string()));
            world.expect(client, &[&format!("CONNACK {wanted}"), "closed"]);
        }
        let nameless = world.connect_with(&clean(version, ""));
        world.expect(nameless, &[&format!("CONNACK {wanted}"), "closed"]);
    }
    assert_eq!(world.held(), [0, 3, 0, 0, 3, 0]);
    // Who has a session gets in, also to begin anew.
    let third = world.connect_with(&Connect { clean_start: true, ..lasting(Version::V5, "3") });
    world.expect(third, &["CONNACK Success"]);
    world.wait(600);
    world.persistent(Version::V5, "4");
}

/// B-18: a message makes no more messages than there are subscriptions, also when publishers are the subscribers.
#[test]
fn messages_to_oneself_and_wills_to_each_other_end() {
    let mut world = world();
    let names: Vec<String> = (0..30).map(|number| format!("will/{number}")).collect();
    let mut clients = Vec::new();
    for name in &names {
        let will = Will {
            topic: TopicName::parse(name).unwrap(),
            payload: b"gone",
            qos: AtLeastOnce,
            retain: false,
            properties: WillProperties::default(),
        };
        let client = world.connect_with(&Connect { will: Some(will), ..clean(Version::V5, name) });
        world.take(client);
        world.subscribe(client, "will/#", AtLeastOnce);
        world.publish(client, name, "own", AtLeastOnce, 1);
        clients.push(client);
    }
    let routed = |world: &World| world.engine.view().counters().routed;
    assert_eq!(routed(&world), (1..=30).sum::<u64>(), "a copy for everybody who was there");
    let before = routed(&world);
    for client in clients {
        world.cut(client);
    }
    world.settle();
    assert_eq!(world.engine.view().counters().wills_sent, 30);
    assert_eq!(
        routed(&world) - before,
        (1..=30).sum::<u64>(),
        "each will once for each who is left, and itself"
    );
    assert_eq!(world.held(), [0; 6]);
}

/// B-19
#[test]
fn a_fight_for_a_session_leaves_nothing_behind() {
    let mut world = world();
    let publisher = world.client(Version::V5, "p");
    let mut client = world.persistent(Version::V5, "c");
    world.subscribe(client, "t", AtLeastOnce);
    world.cut(client);
    for number in 1..=20 {
        world.publish(publisher, "t", "m", AtLeastOnce, number);
    }
    client = world.connect_with(&lasting(Version::V5, "c"));
    let before = world.held();
    for _ in 0..500 {
        let sent = world.engine.view().counters().packets_sent;
        let next = world.connect_with(&lasting(Version::V5, "c"));
        assert_eq!(world.take(client).last().unwrap(), "closed");
        client = next;
        let sent = world.engine.view().counters().packets_sent - sent;
        assert_eq!(sent, 22, "DISCONNECT, CONNACK and what is in flight");
        assert_eq!(world.held(), before);
    }
}

/// B-10: few filters can be many nodes of the tree.
#[test]
fn levels_of_filters_are_counted() {
    let mut world = World::new(Config { max_filter_levels_per_session: 10, ..Config::default() });
    let client = world.client(Version::V5, "c");
    for (filter, answer) in [("+/2/3/4", "00"), ("+/b/c/d/e", "00"), ("+/x", "97"), ("y", "00"), ("z", "97")]
    {
        world.subscribe_with(client, filter, SubscribeOptions::default(), None);
        world.expect(client, &[&format!("SUBACK #9 {answer}")]);
    }
    world.unsubscribe(client, "+/b/c/d/e");
    world.expect(client, &["UNSUBACK #8 00"]);
    world.subscribe_with(client, "+/x", SubscribeOptions::default(), None);
    world.expect(client, &["SUBACK #9 00"]);
}

/// B-20: also with several clients at the door at once; who is connected may take over.
#[test]
fn connected_clients_are_counted() {
    let mut world = World::new(Config { max_connections: 2, ..Config::default() });
    let first = world.client(Version::V5, "a");
    world.hold_questions = true;
    let [second, third] = ["b", "c"].map(|name| world.connect_with(&clean(Version::V5, name)));
    let nameless = world.connect_with(&clean(Version::V5, ""));
    for _ in 0..3 {
        world.answer(Answer::Allow);
    }
    world.hold_questions = false;
    world.expect(second, &["CONNACK Success"]);
    world.expect(third, &["CONNACK Quota exceeded", "closed"]);
    world.expect(nameless, &["CONNACK Quota exceeded", "closed"]);
    let old = world.connect_with(&clean(Version::V311, "c"));
    world.expect(old, &["CONNACK Server unavailable", "closed"]);
    let again = world.connect_with(&clean(Version::V5, "a"));
    world.expect(first, &["DISCONNECT Session taken over", "closed"]);
    world.expect(again, &["CONNACK Success"]);
    world.disconnect(second, mqtt_proto::ReasonCode::Success);
    world.client(Version::V5, "c");
    assert_eq!(world.engine.view().connections(), 2);
}

/// All filters of `levels` levels that match `a/a/...`, each with its Subscription Identifier.
fn subscribe_to_all_overlapping(world: &mut World, client: ConnId, levels: u32) {
    for number in 0..1 << levels {
        let filter: Vec<_> = (0..levels).map(|bit| if number >> bit & 1 == 0 { "a" } else { "+" }).collect();
        world.subscribe_with(client, &filter.join("/"), SubscribeOptions::default(), Some(number + 1));
    }
    world.take(client);
}

/// B-22: what the identifiers make too large is dropped for that client alone.
#[test]
fn identifiers_of_overlapping_filters_may_make_a_message_too_large() {
    let mut world = world();
    let mut connect = clean(Version::V5, "small");
    connect.properties.maximum_packet_size = Some(100);
    let (small, large) = (world.connect_with(&connect), world.client(Version::V5, "large"));
    for client in [small, large] {
        subscribe_to_all_overlapping(&mut world, client, 6);
    }
    world.publish(large, "a/a/a/a/a/a", "m", AtMostOnce, 0);
    let got = world.take(large);
    let mut words: Vec<_> = got[0].split(' ').map(String::from).collect();
    words.sort();
    let ids = (1..=64).map(|id| format!("sub={id}"));
    let mut wanted: Vec<_> =
        ["PUBLISH", "q0", "a/a/a/a/a/a", "m"].map(String::from).into_iter().chain(ids).collect();
    wanted.sort();
    assert_eq!((words, got.len()), (wanted, 1));
    world.send(small, &Packet::PingReq);
    world.expect(small, &["PINGRESP"]);
    assert_eq!(world.dropped(DropReason::PacketTooLarge), 1);
}

/// B-22: eight times the filters cost about eight times as much.
#[test]
fn overlapping_filters_cost_their_number() {
    let cost = |levels| {
        let mut world = world();
        let client = world.client(Version::V5, "c");
        subscribe_to_all_overlapping(&mut world, client, levels);
        let topic = vec!["a"; levels as usize].join("/");
        allocated(|| world.publish(client, &topic, "m", AtMostOnce, 0))
    };
    let (few, many) = (cost(8), cost(11));
    assert!(many < few * 16, "{few} bytes for 256 filters, {many} for 2,048");
}
