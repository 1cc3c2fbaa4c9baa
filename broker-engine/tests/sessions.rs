//! Connecting, sessions, wills, subscriptions, retained messages.

mod common;

use broker_engine::{
    Answer, Command, Config, ConnId, Durability, Engine, HashKey, Input, Interest, Seed, StoreSeq,
};
use common::{World, clean, lasting, message};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{
    Connect, Packet, PacketType, Publish, ReasonCode, RetainHandling, SubscribeOptions, TopicName, Version,
    Will, WillProperties,
};
use std::collections::BTreeSet;

fn world() -> World {
    World::new(Config::default())
}

fn will(topic: &str, delay: u32) -> Will<'_> {
    Will {
        topic: TopicName::parse(topic).unwrap(),
        payload: b"gone",
        qos: AtLeastOnce,
        retain: false,
        properties: WillProperties { will_delay_interval: Some(delay), ..WillProperties::default() },
    }
}

#[test]
fn connects_that_are_refused() {
    let v5 = |client_id| clean(Version::V5, client_id);
    let long = "x".repeat(257);
    let cases: Vec<(Connect<'_>, &[&str])> = vec![
        (v5(&long), &["CONNACK Client Identifier not valid", "closed"]),
        (Connect { will: Some(will("$SYS/x", 0)), ..v5("c") }, &["CONNACK Not authorized", "closed"]),
        (Connect { will: Some(will("$share/x/y", 0)), ..v5("c") }, &["CONNACK Topic Name invalid", "closed"]),
        (
            Connect { clean_start: false, ..clean(Version::V311, "") },
            &["CONNACK Client Identifier not valid", "closed"],
        ),
        (clean(Version::V31, ""), &["CONNACK Client Identifier not valid", "closed"]),
        (
            clean(Version::V31, "this-is-more-than-23-chars"),
            &["CONNACK Client Identifier not valid", "closed"],
        ),
    ];
    for (connect, wanted) in cases {
        let mut world = world();
        let conn = world.connect_with(&connect);
        world.expect(conn, wanted);
        assert_eq!(world.engine.view().sessions(), 0);
    }
}

/// 3.x knows five refusals; of every other one it hears by the close.
#[test]
fn a_hooks_refusals_in_every_version() {
    for (reason, in_3) in [
        (ReasonCode::UnsupportedProtocolVersion, Some("Unsupported Protocol Version")),
        (ReasonCode::ClientIdNotValid, Some("Client Identifier not valid")),
        (ReasonCode::BadUserNameOrPassword, Some("Bad User Name or Password")),
        (ReasonCode::NotAuthorized, Some("Not authorized")),
        (ReasonCode::Banned, Some("Not authorized")),
        (ReasonCode::BadAuthenticationMethod, Some("Not authorized")),
        (ReasonCode::ServerUnavailable, Some("Server unavailable")),
        (ReasonCode::ServerBusy, Some("Server unavailable")),
        (ReasonCode::QuotaExceeded, Some("Server unavailable")),
        (ReasonCode::UseAnotherServer, None),
        (ReasonCode::ConnectionRateExceeded, None),
    ] {
        for version in [Version::V31, Version::V311, Version::V5] {
            let mut world = world();
            world.hold_questions = true;
            let conn = world.connect_with(&clean(version, "c"));
            world.answer(Answer::Deny(reason));
            let code = if version == Version::V5 { Some(reason.name()) } else { in_3 };
            let wanted = code.map(|code| format!("CONNACK {code}")).into_iter().chain(["closed".into()]);
            assert_eq!(world.take(conn), wanted.collect::<Vec<_>>(), "{reason:?} in {version:?}");
        }
    }
}

#[test]
fn raw_first_packets() {
    let cases: &[(&str, &[u8], &[&str])] = &[
        ("not CONNECT", b"\xc0\x00", &["closed"]),
        ("CONNACK first", b"\x20\x02\x00\x00", &["closed"]),
        (
            "protocol level 6",
            b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x3c\x00\x00\x00",
            &["CONNACK Unsupported Protocol Version", "closed"],
        ),
        ("unknown protocol name", b"\x10\x0d\x00\x04MQTX\x05\x02\x00\x3c\x00\x00\x00", &["closed"]),
        (
            "reserved flag",
            b"\x10\x0d\x00\x04MQTT\x05\x03\x00\x3c\x00\x00\x00",
            &["CONNACK Malformed Packet", "closed"],
        ),
        (
            "Receive Maximum 0",
            b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x03\x21\x00\x00\x00\x00",
            &["CONNACK Protocol Error", "closed"],
        ),
        ("256 MB announced", b"\x10\xff\xff\xff\x7f", &["CONNACK Packet too large", "closed"]),
        ("length of five bytes", b"\x10\xff\xff\xff\xff\x01", &["closed"]),
    ];
    for (name, bytes, wanted) in cases {
        let mut world = world();
        let conn = world.open(Version::V5);
        world.bytes(conn, bytes);
        let got = world.take(conn);
        if *name == "256 MB announced" {
            assert_eq!(got, ["closed"], "{name}");
        } else {
            assert_eq!(&got, wanted, "{name}");
        }
    }
}

/// [MQTT-3.1.4-2], [3.1.1: MQTT-3.1.4-5]
#[test]
fn a_refused_connect_changes_nothing() {
    let mut world = world();
    let holder = world.persistent(Version::V5, "c");
    world.hold_questions = true;
    let intruder = world.connect_with(&clean(Version::V5, "c"));
    world.bytes(intruder, b"\xc0\x00");
    world.answer(Answer::Deny(ReasonCode::BadUserNameOrPassword));
    world.expect(intruder, &["CONNACK Bad User Name or Password", "closed"]);
    world.hold_questions = false;
    world.send(holder, &Packet::PingReq);
    world.expect(holder, &["PINGRESP"]);
    // Nor is a will taken back that waits for its client.
    world.subscribe(holder, "will", AtMostOnce);
    let client = world.connect_with(&Connect { will: Some(will("will", 20)), ..lasting(Version::V5, "d") });
    world.cut(client);
    world.hold_questions = true;
    let intruder = world.connect_with(&lasting(Version::V5, "d"));
    world.answer(Answer::Deny(ReasonCode::NotAuthorized));
    world.expect(intruder, &["CONNACK Not authorized", "closed"]);
    world.wait(20);
    world.expect(holder, &["PUBLISH q0 will gone"]);
}

/// [3.1.1: MQTT-3.2.0-1]
#[test]
fn packets_behind_connect_wait_for_the_answer() {
    let mut world = world();
    world.hold_questions = true;
    let conn = world.connect_with(&clean(Version::V311, "c"));
    world.publish(conn, "t", "early", AtLeastOnce, 1);
    world.expect(conn, &[]);
    world.answer(Answer::Allow);
    world.expect(conn, &["CONNACK Success", "PUBACK #1"]);
}

#[test]
fn nobody_answers_so_nobody_gets_in() {
    let mut world = world();
    world.hold_questions = true;
    let conn = world.connect_with(&clean(Version::V311, "c"));
    world.wait(5);
    world.expect(conn, &["CONNACK Not authorized", "closed"]);
    world.answer(Answer::Allow);
    assert_eq!(world.engine.view().counters().late_replies, 1);
}

#[test]
fn connect_deadline_and_keep_alive() {
    let mut world = world();
    let silent = world.open(Version::V5);
    world.wait(9);
    world.bytes(silent, b"\x10");
    world.expect(silent, &[]);
    world.wait(1);
    world.expect(silent, &["closed"]);
    let client = world.connect_with(&Connect { keep_alive: 4, ..clean(Version::V5, "c") });
    world.wait(5);
    world.send(client, &Packet::PingReq);
    world.wait(5);
    world.expect(client, &["CONNACK Success", "PINGRESP"]);
    world.wait(1);
    world.expect(client, &["DISCONNECT Keep Alive timeout", "closed"]);
}

#[test]
fn takeover_tells_the_old_connection_and_keeps_the_session() {
    let mut world = world();
    let first = world.persistent(Version::V5, "c");
    world.subscribe(first, "t", AtLeastOnce);
    let second = world.connect_with(&lasting(Version::V311, "c"));
    world.expect(first, &["DISCONNECT Session taken over", "closed"]);
    world.expect(second, &["CONNACK Success present"]);
    world.publish(second, "t", "x", AtMostOnce, 0);
    world.expect(second, &["PUBLISH q0 t x"]);
    // A session that was not to last ended with its connection.
    let third = world.client(Version::V5, "d");
    let fourth = world.connect_with(&lasting(Version::V5, "d"));
    world.expect(third, &["DISCONNECT Session taken over", "closed"]);
    world.expect(fourth, &["CONNACK Success"]);
}

#[test]
fn sessions_expire_and_disconnect_may_change_when() {
    let mut world = world();
    let client = world.persistent(Version::V5, "c");
    world.cut(client);
    world.wait(599);
    assert_eq!(world.engine.view().sessions(), 1);
    world.wait(1);
    assert_eq!(world.engine.view().sessions(), 0);
    let client = world.client(Version::V5, "c");
    world.bytes(client, b"\xe0\x07\x00\x05\x11\x00\x00\x00\x0a");
    world.expect(client, &["DISCONNECT Protocol Error", "closed"]);
}

#[test]
fn wills_are_sent_once_when_they_are_due() {
    // (delay, session lasts, how it ends, seconds until the will, sent at all)
    let cases = [
        ("cut", 0, true, Some(0)),
        ("cut", 20, true, Some(20)),
        ("cut", 20, false, Some(0)),
        ("cut", 900, true, Some(600)),
        ("DISCONNECT 0x00", 0, true, None),
        ("DISCONNECT 0x04", 0, true, Some(0)),
        ("DISCONNECT 0x80", 0, true, Some(0)),
    ];
    for (how, delay, lasts, due) in cases {
        let mut world = world();
        let watcher = world.client(Version::V5, "w");
        world.subscribe(watcher, "will", AtMostOnce);
        let connect = if lasts { lasting(Version::V5, "c") } else { clean(Version::V5, "c") };
        let client = world.connect_with(&Connect { will: Some(will("will", delay)), ..connect });
        match how {
            "DISCONNECT 0x00" => world.disconnect(client, ReasonCode::Success),
            "DISCONNECT 0x04" => world.disconnect(client, ReasonCode::DisconnectWithWill),
            "DISCONNECT 0x80" => world.disconnect(client, ReasonCode::UnspecifiedError),
            _ => world.cut(client),
        }
        if let Some(due) = due {
            if due > 0 {
                world.wait(due - 1);
                world.expect(watcher, &[]);
                world.wait(1);
            }
            world.expect(watcher, &["PUBLISH q0 will gone"]);
        }
        world.wait(1000);
        world.expect(watcher, &[]);
    }
}

/// [MQTT-3.1.3-9]: back in time cancels it; a clean start ends the session and so sends it.
#[test]
fn a_delayed_will_and_the_clients_return() {
    for (clean_start, wanted) in [(false, &[][..]), (true, &["PUBLISH q0 will gone"][..])] {
        let mut world = world();
        let watcher = world.client(Version::V5, "w");
        world.subscribe(watcher, "will", AtMostOnce);
        let client =
            world.connect_with(&Connect { will: Some(will("will", 20)), ..lasting(Version::V5, "c") });
        world.cut(client);
        world.connect_with(&Connect { clean_start, ..lasting(Version::V5, "c") });
        world.wait(100);
        world.expect(watcher, wanted);
    }
}

#[test]
fn retained_messages_and_retain_handling() {
    let mut world = world();
    let client = world.client(Version::V5, "c");
    let retained = |topic, payload| Publish { retain: true, ..message(topic, payload, AtLeastOnce, 1) };
    for topic in ["a/b", "a", "c", "$x/y"] {
        world.publish_with(client, &retained(topic, "kept"));
    }
    world.publish_with(client, &retained("c", ""));
    world.take(client);
    let options = |retain_handling| SubscribeOptions { retain_handling, ..Default::default() };
    world.subscribe_with(client, "#", options(RetainHandling::SendIfNew), Some(4));
    world.expect(
        client,
        &["SUBACK #9 00", "PUBLISH q0 retain sub=4 a kept", "PUBLISH q0 retain sub=4 a/b kept"],
    );
    world.subscribe_with(client, "#", options(RetainHandling::SendIfNew), None);
    world.expect(client, &["SUBACK #9 00"]);
    world.subscribe_with(client, "a/#", options(RetainHandling::DoNotSend), None);
    world.expect(client, &["SUBACK #9 00"]);
    world.subscribe_with(client, "$share/g/a/#", options(RetainHandling::SendAlways), None);
    world.expect(client, &["SUBACK #9 00"]);
    world.subscribe_with(client, "a/+", options(RetainHandling::SendAlways), None);
    world.expect(client, &["SUBACK #9 00", "PUBLISH q0 retain a/b kept"]);
}

#[test]
fn subscribe_answers_one_code_for_each_filter() {
    let deep = "/".repeat(200);
    let cases: &[(&str, &str)] = &[
        ("a/#", "01"),
        ("a#", "8f"),
        ("a/#/b", "8f"),
        ("", "8f"),
        ("$share/g", "8f"),
        ("$share//t", "8f"),
        ("$share", "01"),
        (&deep, "8f"),
    ];
    for (filter, code) in cases {
        for (version, code) in
            [(Version::V5, *code), (Version::V311, if *code == "8f" { "80" } else { *code })]
        {
            let mut world = world();
            let client = world.client(version, "c");
            world.subscribe_with(
                client,
                filter,
                SubscribeOptions { qos: AtLeastOnce, ..Default::default() },
                None,
            );
            world.expect(client, &[&format!("SUBACK #9 {code}")]);
        }
    }
    let mut world = world();
    let client = world.client(Version::V5, "c");
    world.subscribe(client, "t", AtMostOnce);
    world.unsubscribe(client, "t");
    world.unsubscribe(client, "t");
    world.expect(client, &["UNSUBACK #8 00", "UNSUBACK #8 11"]);
    world.subscribe_with(
        client,
        "$share/g/t",
        SubscribeOptions { no_local: true, ..Default::default() },
        None,
    );
    world.expect(client, &["DISCONNECT Protocol Error", "closed"]);
}

#[test]
fn a_hook_decides_about_each_filter() {
    let mut world = World::new(Config { interest: Interest::SUBSCRIBE, ..Config::default() });
    let client = world.client(Version::V5, "c");
    world.hold_questions = true;
    world.subscribe_with(client, "t", SubscribeOptions { qos: ExactlyOnce, ..Default::default() }, None);
    world.send(client, &Packet::PingReq);
    world.answer(Answer::Filters(vec![ReasonCode::GrantedQoS1]));
    world.expect(client, &["SUBACK #9 01", "PINGRESP"]);
    world.subscribe_with(client, "u", SubscribeOptions::default(), None);
    world.answer(Answer::Deny(ReasonCode::NotAuthorized));
    world.expect(client, &["SUBACK #9 87"]);
}

#[test]
fn publishing_where_clients_may_not() {
    for (version, topic, wanted) in [
        (Version::V5, "$SYS/x", "PUBACK #1 Not authorized"),
        (Version::V5, "$share/g/x", "PUBACK #1 Topic Name invalid"),
        (Version::V311, "$SYS/x", "PUBACK #1"),
    ] {
        let mut world = world();
        let client = world.client(version, "c");
        world.subscribe(client, "$SYS/#", AtMostOnce);
        world.publish(client, topic, "x", AtLeastOnce, 1);
        world.expect(client, &[wanted]);
    }
}

/// Any other reason would be a malformed packet to the client.
#[test]
fn an_operator_tells_only_reasons_that_disconnect_has() {
    for reason in ReasonCode::ALL.iter().copied() {
        let mut world = world();
        let client = world.client(Version::V5, "c");
        let client_id = "c".to_owned();
        world.handle(Input::Command(Command::Disconnect { client_id, reason, end_session: false }));
        let has = reason.allowed_in(PacketType::Disconnect) && reason != ReasonCode::DisconnectWithWill;
        let told = if has { reason } else { ReasonCode::UnspecifiedError };
        world.expect(client, &[&format!("DISCONNECT {}", told.name()), "closed"]);
    }
}

#[test]
fn protocol_errors_end_the_connection_with_their_reason() {
    let cases: &[(&str, &[u8], &str)] = &[
        ("second CONNECT", b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00", "Protocol Error"),
        ("SUBACK from a client", b"\x90\x04\x00\x01\x00\x00", "Protocol Error"),
        ("AUTH without method", b"\xf0\x00", "Protocol Error"),
        ("SUBSCRIBE that ends before its options", b"\x82\x08\x00\x01\x00\x00\x03a/b", "Malformed Packet"),
        ("PUBLISH with QoS 3", b"\x36\x06\x00\x01t\x00\x01\x00", "Malformed Packet"),
        ("reserved packet type", b"\x00\x00", "Malformed Packet"),
        ("PINGREQ with a body", b"\xc0\x01\x00", "Malformed Packet"),
        ("packet above the maximum", b"\x30\xff\xff\xff\x7f", "Packet too large"),
        ("wildcard in a topic name", b"\x30\x05\x00\x02t#\x00", "Topic Name invalid"),
        ("Subscription Identifier from a publisher", b"\x30\x06\x00\x01t\x02\x0b\x01", "Protocol Error"),
    ];
    for (name, bytes, reason) in cases {
        for (version, v5) in [(Version::V5, true), (Version::V311, false)] {
            if !v5
                && matches!(
                    *name,
                    "Subscription Identifier from a publisher" | "SUBSCRIBE that ends before its options"
                )
            {
                continue;
            }
            let mut world = world();
            let client = world.client(version, "c");
            world.bytes(client, bytes);
            let told = format!("DISCONNECT {reason}");
            let wanted: &[&str] = if v5 { &[&told, "closed"] } else { &["closed"] };
            assert_eq!(world.take(client), wanted, "{name} in {version:?}");
            assert_eq!(world.engine.view().counters().protocol_errors, 1, "{name}");
        }
    }
}

#[test]
fn shutdown_tells_everybody_once() {
    let mut world = world();
    let new = world.connect_with(&Connect { will: Some(will("will", 0)), ..clean(Version::V5, "n") });
    world.take(new);
    let old = world.client(Version::V311, "o");
    world.subscribe(old, "will", AtMostOnce);
    world.handle(Input::Command(Command::Shutdown));
    world.handle(Input::Command(Command::Shutdown));
    world.expect(new, &["DISCONNECT Server shutting down", "closed"]);
    // The will of who is told first still reaches who is told next.
    world.expect(old, &["PUBLISH q0 will gone", "closed"]);
    let late = world.open(Version::V5);
    world.expect(late, &["closed"]);
}

/// A broker that was shut down in order leaves a snapshot, from which the next one serves the same clients.
#[test]
fn a_snapshot_after_a_shutdown_serves_again() {
    let mut world = world();
    let client = world.persistent(Version::V5, "c");
    world.subscribe(client, "t", AtLeastOnce);
    world.handle(Input::Command(Command::Shutdown));
    world.expect(client, &["DISCONNECT Server shutting down", "closed"]);
    world.engine = Engine::restore(&world.engine.snapshot(), HashKey([3, 4])).unwrap();
    let again = world.connect_with(&lasting(Version::V5, "c"));
    world.expect(again, &["CONNACK Success present"]);
    world.publish(again, "t", "m", AtLeastOnce, 1);
    world.expect(again, &["PUBLISH q1 #1 t m", "PUBACK #1"]);
    world.handle(Input::Command(Command::Shutdown));
    world.expect(again, &["DISCONNECT Server shutting down", "closed"]);
}

/// Durability is asked for, somebody who is away has a subscription to "t", and who publishes.
fn durable() -> (World, ConnId) {
    let mut world = World::new(Config { durability: Durability::Durable, ..Config::default() });
    let subscriber = world.persistent(Version::V5, "s");
    world.subscribe(subscriber, "t", AtLeastOnce);
    world.cut(subscriber);
    let publisher = world.client(Version::V5, "p");
    (world, publisher)
}

/// With durability asked for, acknowledgements wait for the store, in order; pings do not.
#[test]
fn acknowledgements_wait_for_the_store() {
    let (mut world, publisher) = durable();
    let mut out = broker_engine::Outbox::new();
    let mut feed = |world: &mut World, input: Input<'_>| {
        out.clear();
        world.engine.handle(world.now, input, &mut out);
        (out.bytes_for(publisher), out.stores.last().map(|(seq, _)| *seq))
    };
    let (sent, first) =
        feed(&mut world, Input::Received { conn: publisher, data: b"\x32\x07\x00\x01t\x00\x01\x00x" });
    assert_eq!(sent, b"", "nothing is acknowledged before it is kept");
    // Nobody subscribed to "u", so this made no operation; but its PUBACK must not overtake.
    let (sent, _) =
        feed(&mut world, Input::Received { conn: publisher, data: b"\x32\x07\x00\x01u\x00\x02\x00x" });
    assert_eq!(sent, b"");
    let (sent, _) = feed(&mut world, Input::Received { conn: publisher, data: b"\xc0\x00" });
    assert_eq!(sent, b"\xd0\x00");
    let (sent, _) = feed(&mut world, Input::Stored { upto: StoreSeq(first.unwrap().0 - 1) });
    assert_eq!(sent, b"");
    let (sent, _) = feed(&mut world, Input::Stored { upto: first.unwrap() });
    assert_eq!(sent, b"\x40\x02\x00\x01\x40\x03\x00\x02\x10");
}

/// An acknowledgement that promises nothing waits for its turn alone, also when the store has failed meanwhile.
#[test]
fn what_promises_nothing_does_not_wait_for_what_failed() {
    let (mut world, publisher) = durable();
    let mut out = broker_engine::Outbox::new();
    let mut feed = |world: &mut World, input: Input<'_>| {
        out.clear();
        world.engine.handle(world.now, input, &mut out);
        (out.bytes_for(publisher), out.stores.last().map(|(seq, _)| *seq))
    };
    let conn = publisher;
    let (_, kept) = feed(&mut world, Input::Received { conn, data: b"\x32\x07\x00\x01t\x00\x01\x00x" });
    let (_, failed) = feed(&mut world, Input::Received { conn, data: b"\x31\x05\x00\x01r\x00x" });
    feed(&mut world, Input::StoreFailed { seq: failed.unwrap() });
    let (sent, _) = feed(&mut world, Input::Received { conn, data: b"\x32\x07\x00\x01u\x00\x02\x00x" });
    assert_eq!(sent, b"");
    let (sent, _) = feed(&mut world, Input::Stored { upto: kept.unwrap() });
    assert_eq!(sent, b"\x40\x02\x00\x01\x40\x03\x00\x02\x10");
}

/// CONNACK is the first packet also when it waits for the store [MQTT-3.2.0-1].
#[test]
fn nothing_overtakes_a_connack_that_waits() {
    let (mut world, publisher) = durable();
    world.publish(publisher, "t", "m", AtLeastOnce, 1);
    world.hold_stored = true;
    let again = world.connect_with(&lasting(Version::V5, "s"));
    world.send(again, &Packet::PingReq);
    world.publish(publisher, "t", "live", AtMostOnce, 0);
    world.expect(again, &[]);
    world.release_stored();
    world.expect(again, &["CONNACK Success present", "PUBLISH q1 #1 t m", "PINGRESP"]);

    // A farewell meanwhile is said in CONNACK, as far as that has the reason.
    world.hold_stored = true;
    let taken = world.connect_with(&lasting(Version::V5, "s"));
    world.expect(again, &["DISCONNECT Session taken over", "closed"]);
    let last = world.connect_with(&lasting(Version::V5, "s"));
    world.expect(taken, &["CONNACK Unspecified error", "closed"]);
    world.handle(Input::Command(Command::Shutdown));
    world.expect(last, &["CONNACK Server unavailable", "closed"]);
}

#[test]
fn nothing_is_left_when_all_are_gone() {
    let mut world = world();
    let watcher = world.persistent(Version::V5, "w");
    world.subscribe(watcher, "+/#", ExactlyOnce);
    world.subscribe(watcher, "$share/g/a/+/c", ExactlyOnce);
    for number in 1..50 {
        world.publish(watcher, &format!("a/{number}/c"), "x", ExactlyOnce, number);
    }
    let retained = Publish { retain: true, ..message("a/b/c", "x", AtLeastOnce, 99) };
    world.publish_with(watcher, &retained);
    world.publish_with(watcher, &Publish { payload: b"", ..retained });
    world.cut(watcher);
    world.wait(700);
    let view = world.engine.view();
    let left = (view.transports(), view.sessions(), view.subscriptions(), view.messages(), view.retained());
    assert_eq!(left, (0, 0, 0, 0, 0));
    assert_eq!((view.filters(), view.timers(), view.message_bytes(), view.input_bytes()), ((0, 0), 0, 0, 0));
}

/// Clients choose how far away a deadline is, so none may be kept for what is gone: connections, sessions that
/// began anew, retained messages that were replaced.
#[test]
fn timers_go_with_what_they_are_about() {
    let mut world = world();
    let mut connect = lasting(Version::V5, "c");
    connect.properties.session_expiry_interval = Some(u32::MAX);
    let mut retained = Publish { retain: true, ..message("t", "x", AtMostOnce, 0) };
    for round in 1..100 {
        let client =
            world.connect_with(&Connect { clean_start: true, keep_alive: u16::MAX, ..connect.clone() });
        world.wait(11);
        retained.properties.message_expiry_interval = Some(u32::MAX - round);
        world.publish_with(client, &retained);
        world.cut(client);
        assert_eq!(world.engine.view().timers(), 2, "one for the session, one for the retained message");
    }
    world.wait(7 * 24 * 3600);
    assert_eq!((world.engine.view().sessions(), world.engine.view().timers()), (0, 1));
}

/// They are not counted as retained until somebody asks.
#[test]
fn retained_messages_go_when_they_expire() {
    let mut world = world();
    let client = world.client(Version::V5, "c");
    let mut retained = Publish { retain: true, ..message("t", "x", AtMostOnce, 0) };
    retained.properties.message_expiry_interval = Some(5);
    world.publish_with(client, &retained);
    world.wait(4);
    assert_eq!((world.engine.view().retained(), world.engine.view().messages()), (1, 1));
    world.wait(1);
    assert_eq!((world.engine.view().retained(), world.engine.view().messages()), (0, 0));
}

/// Reads that were paused for a slow socket resume when it drained, also if a packet was parked meanwhile.
#[test]
fn reads_resume_when_every_reason_to_pause_has_passed() {
    let mut world = World::new(Config { interest: Interest::SUBSCRIBE, ..Config::default() });
    let client = world.client(Version::V5, "c");
    world.hold_questions = true;
    world.subscribe_with(client, "t", SubscribeOptions::default(), None);
    world.handle(Input::Backlog { conn: client, unsent: 300 << 10 });
    assert!(world.paused.contains(&client));
    world.handle(Input::Backlog { conn: client, unsent: 0 });
    assert!(world.paused.contains(&client), "the answer is still awaited");
    world.answer(Answer::Allow);
    assert!(world.paused.is_empty());
    // A client that floods while its packet waits is paused, and goes on afterwards.
    world.subscribe_with(client, "u", SubscribeOptions::default(), None);
    for _ in 0..9000 {
        world.send(client, &Packet::PingReq);
    }
    assert!(world.paused.contains(&client));
    world.take(client);
    world.answer(Answer::Allow);
    assert!(world.paused.is_empty());
    assert_eq!(world.take(client).len(), 9001);
}

/// [MQTT-3.1.3-7], [MQTT-3.2.2-16]
#[test]
fn an_assigned_identifier_is_as_good_as_a_chosen_one() {
    let mut world = World::new(Config::default());
    let conn = world.connect_with(&lasting(Version::V5, ""));
    let told = world.take(conn).concat();
    let assigned = told.strip_prefix("CONNACK Success id=").expect("an identifier").to_owned();
    world.subscribe(conn, "t", AtLeastOnce);
    world.cut(conn);
    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", "x", AtLeastOnce, 1);
    let conn = world.connect_with(&lasting(Version::V5, &assigned));
    world.expect(conn, &["CONNACK Success present", "PUBLISH q1 #1 t x"]);
    // It can be taken over by its name, and another one without name gets another.
    let other = world.connect_with(&Connect { clean_start: false, ..lasting(Version::V5, "") });
    assert_ne!(world.take(other).concat(), told);
    let third = world.connect_with(&lasting(Version::V311, &assigned));
    world.expect(conn, &["DISCONNECT Session taken over", "closed"]);
    world.expect(third, &["CONNACK Success present", "PUBLISH q1 #1 dup t x"]);
}

/// Who has one identifier, or knows how they are made, cannot tell the next; and none is given that somebody has.
#[test]
fn assigned_identifiers_cannot_be_told_in_advance() {
    let assigned = |world: &mut World| -> u64 {
        let conn = world.connect_with(&clean(Version::V5, ""));
        let connack = world.take(conn).remove(0);
        let (_, name) = connack.split_once("id=metronome-").expect("an assigned identifier");
        u64::from_str_radix(name.split(' ').next().unwrap(), 16).unwrap()
    };
    let mut world = world();
    let drawn: Vec<u64> = (0..1000).map(|_| assigned(&mut world)).collect();
    // Not a counter, however disguised by steps: every bit changes in about half of the cases.
    let changes = drawn.windows(2).map(|pair| pair[0] ^ pair[1]);
    for bit in 0..64 {
        let often = changes.clone().filter(|change| change >> bit & 1 == 1).count();
        assert!((400..600).contains(&often), "bit {bit} changes {often} times");
    }
    // Not the generators that can be run backwards from what they gave: SplitMix64.
    let unmix = |mut mixed: u64| {
        mixed = (mixed ^ mixed >> 31 ^ mixed >> 62).wrapping_mul(0x3196_42B2_D24D_8EC3);
        mixed = (mixed ^ mixed >> 27 ^ mixed >> 54).wrapping_mul(0x96DE_1B17_3F11_9089);
        mixed ^ mixed >> 30 ^ mixed >> 60
    };
    let steps: BTreeSet<u64> =
        drawn.windows(2).map(|pair| unmix(pair[1]).wrapping_sub(unmix(pair[0]))).collect();
    assert!(steps.len() > 900);

    let mut other = World::new(Config::default());
    other.engine = Engine::new(Config::default(), Seed(8), HashKey([1, 2]));
    assert!(!drawn.contains(&assigned(&mut other)), "another seed, others");

    let mut other = World::new(Config::default());
    let taken = format!("metronome-{:016x}", drawn[0]);
    other.persistent(Version::V5, &taken);
    assert_eq!(assigned(&mut other), drawn[1]);
}

/// A reason that is none cannot let anybody in.
#[test]
fn a_denial_without_an_error_is_a_denial() {
    let mut world = world();
    world.hold_questions = true;
    let client = world.connect_with(&clean(Version::V5, "c"));
    world.answer(Answer::Deny(ReasonCode::Success));
    world.expect(client, &["CONNACK Not authorized", "closed"]);
}
