//! Enhanced authentication: AUTH before CONNACK, and authenticating again.

mod common;

use broker_engine::{Answer, Config, ConnId};
use common::{World, clean, message};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce};
use mqtt_proto::{Auth, AuthProperties, Connect, Packet, ReasonCode, Version};

/// A broker that waits for answers.
fn world() -> World {
    let mut world = World::new(Config::default());
    world.hold_questions = true;
    world
}

fn with_method(client_id: &str) -> Connect<'_> {
    let mut connect = clean(Version::V5, client_id);
    connect.properties.authentication_method = Some("m");
    connect.properties.authentication_data = Some(b"one");
    connect
}

fn auth(world: &mut World, conn: ConnId, reason: ReasonCode, method: Option<&str>) {
    let properties = AuthProperties {
        authentication_method: method,
        authentication_data: Some(b"more"),
        ..AuthProperties::default()
    };
    world.send(conn, &Packet::Auth(Auth { reason, properties }));
}

/// A client in the middle of its first exchange, told to go on.
fn in_exchange(world: &mut World) -> ConnId {
    let conn = world.connect_with(&with_method("c"));
    world.answer(Answer::Continue(b"two".to_vec()));
    world.expect(conn, &["AUTH Continue authentication method=m data=two"]);
    conn
}

/// A client that came in through an exchange.
fn accepted(world: &mut World) -> ConnId {
    let conn = in_exchange(world);
    auth(world, conn, ReasonCode::ContinueAuthentication, Some("m"));
    world.answer(Answer::AllowWith(b"end".to_vec()));
    world.take(conn);
    conn
}

/// Somebody who sees everything that is routed.
fn watcher(world: &mut World) -> ConnId {
    world.hold_questions = false;
    let watcher = world.client(Version::V5, "w");
    world.subscribe(watcher, "#", AtMostOnce);
    world.hold_questions = true;
    watcher
}

/// [MQTT-4.12.0-2], [MQTT-4.12.0-5], [MQTT-3.15.2-1], [U-4.12-auth-before-connack],
/// [U-3.2.2.3.17-authentication-method-in-connack]: as many steps as it takes, each under the client's method.
#[test]
fn an_exchange_asks_with_0x18_and_ends_with_connack() {
    let mut world = world();
    let conn = world.connect_with(&with_method("c"));
    world.expect(conn, &[]);
    world.answer(Answer::Continue(b"two".to_vec()));
    world.expect(conn, &["AUTH Continue authentication method=m data=two"]);
    auth(&mut world, conn, ReasonCode::ContinueAuthentication, Some("m"));
    world.answer(Answer::Continue(b"three".to_vec()));
    world.expect(conn, &["AUTH Continue authentication method=m data=three"]);
    auth(&mut world, conn, ReasonCode::ContinueAuthentication, Some("m"));
    world.answer(Answer::AllowWith(b"end".to_vec()));
    world.expect(conn, &["CONNACK Success method=m data=end"]);
}

/// [MQTT-4.12.0-3], [MQTT-4.12.0-5], [MQTT-3.14.0-1]: a wrong step is answered in CONNACK, and is the end.
#[test]
fn a_step_has_reason_0x18_and_the_same_method() {
    let wrong = [
        (ReasonCode::Success, Some("m")),
        (ReasonCode::ReAuthenticate, Some("m")),
        (ReasonCode::ContinueAuthentication, Some("other")),
        (ReasonCode::ContinueAuthentication, Some("M")),
        (ReasonCode::ContinueAuthentication, None),
    ];
    for (reason, method) in wrong {
        let mut world = world();
        let conn = world.connect_with(&with_method("c"));
        world.answer(Answer::Continue(Vec::new()));
        world.expect(conn, &["AUTH Continue authentication method=m"]);
        let properties = AuthProperties { authentication_method: method, ..AuthProperties::default() };
        world.send(conn, &Packet::Auth(Auth { reason, properties }));
        world.expect(conn, &["CONNACK Protocol Error", "closed"]);
        assert!(world.questions.is_empty(), "{reason:?} {method:?}");
    }
}

/// [MQTT-3.1.2-30]
#[test]
fn only_auth_or_disconnect_may_come_before_connack() {
    let intruders: [&[u8]; 4] =
        [b"\xc0\x00", b"\x30\x04\x00\x01t\x00", b"\x82\x07\x00\x01\x00\x00\x01t\x00", b"\xe0\x00"];
    for bytes in intruders {
        let mut world = world();
        let watcher = watcher(&mut world);
        let conn = in_exchange(&mut world);
        world.bytes(conn, bytes);
        auth(&mut world, conn, ReasonCode::ContinueAuthentication, Some("m"));
        world.expect(conn, &["closed"]);
        world.expect(watcher, &[]);
        assert_eq!(world.questions.len(), 0, "{bytes:02x?}");
        assert_eq!(world.engine.view().subscriptions(), 1);
    }
    let mut world = world();
    accepted(&mut world);
}

/// What came behind the CONNECT is thrown away with it [MQTT-3.1.4-6].
#[test]
fn packets_behind_an_exchange_that_fails_do_nothing() {
    let mut world = world();
    let watcher = watcher(&mut world);
    let conn = in_exchange(&mut world);
    auth(&mut world, conn, ReasonCode::ContinueAuthentication, Some("m"));
    world.publish(conn, "t", "early", AtLeastOnce, 1);
    world.expect(conn, &[]);
    world.answer(Answer::Deny(ReasonCode::BadUserNameOrPassword));
    world.expect(conn, &["CONNACK Bad User Name or Password", "closed"]);
    world.expect(watcher, &[]);
}

/// [MQTT-4.12.0-1], [MQTT-4.12.0-4]: refused at the first step or a later one; never without closing.
#[test]
fn an_exchange_may_be_refused_at_any_step() {
    for steps in 0..3 {
        let mut world = world();
        let conn = world.connect_with(&with_method("c"));
        for _ in 0..steps {
            world.answer(Answer::Continue(Vec::new()));
            auth(&mut world, conn, ReasonCode::ContinueAuthentication, Some("m"));
            world.expect(conn, &["AUTH Continue authentication method=m"]);
        }
        world.answer(Answer::Deny(ReasonCode::BadAuthenticationMethod));
        world.expect(conn, &["CONNACK Bad authentication method", "closed"]);
        assert_eq!(world.engine.view().sessions(), 0);
    }
    // Who only looks at names and passwords does not know the method.
    let mut world = world();
    let conn = world.connect_with(&with_method("c"));
    world.answer(Answer::Allow);
    world.expect(conn, &["CONNACK Bad authentication method", "closed"]);
}

/// [MQTT-4.12.0-6]: neither AUTH nor method nor data, whatever the answer says.
#[test]
fn without_a_method_there_is_no_exchange() {
    for (answer, wanted) in [
        (Answer::Allow, &["CONNACK Success"][..]),
        (Answer::AllowWith(b"x".to_vec()), &["CONNACK Success"]),
        (Answer::Continue(b"x".to_vec()), &["CONNACK Not authorized", "closed"]),
    ] {
        let mut world = world();
        let conn = world.connect_with(&clean(Version::V5, "c"));
        world.answer(answer);
        world.expect(conn, wanted);
    }
}

/// [MQTT-4.12.1-1], [MQTT-3.15.2-1]: the client begins with 0x19, and the broker ends with 0x00. Meanwhile the old
/// identity is in force.
#[test]
fn a_client_authenticates_again() {
    let mut world = world();
    let conn = accepted(&mut world);
    for _ in 0..2 {
        auth(&mut world, conn, ReasonCode::ReAuthenticate, Some("m"));
        world.answer(Answer::Continue(b"two".to_vec()));
        world.expect(conn, &["AUTH Continue authentication method=m data=two"]);
        world.publish_with(conn, &message("t", "x", AtLeastOnce, 1));
        world.expect(conn, &["PUBACK #1 No matching subscribers"]);
        auth(&mut world, conn, ReasonCode::ContinueAuthentication, Some("m"));
        world.answer(Answer::AllowWith(b"end".to_vec()));
        world.expect(conn, &["AUTH Success method=m data=end"]);
    }
}

/// [MQTT-4.12.1-1], [MQTT-4.12.0-3], [MQTT-3.15.2-1]: the method is that of CONNECT, 0x19 begins, and 0x18 answers.
#[test]
fn authenticating_again_keeps_to_method_and_turn() {
    for (reason, method) in [
        (ReasonCode::ReAuthenticate, "other"),
        (ReasonCode::ContinueAuthentication, "m"),
        (ReasonCode::Success, "m"),
    ] {
        let mut world = world();
        let conn = accepted(&mut world);
        auth(&mut world, conn, reason, Some(method));
        world.expect(conn, &["DISCONNECT Protocol Error", "closed"]);
        assert!(world.questions.is_empty(), "{reason:?} {method:?}");
    }
    for (reason, method) in [
        (ReasonCode::ContinueAuthentication, "other"),
        (ReasonCode::ReAuthenticate, "m"),
        (ReasonCode::Success, "m"),
    ] {
        let mut world = world();
        let conn = accepted(&mut world);
        auth(&mut world, conn, ReasonCode::ReAuthenticate, Some("m"));
        world.answer(Answer::Continue(Vec::new()));
        world.take(conn);
        auth(&mut world, conn, reason, Some(method));
        world.expect(conn, &["DISCONNECT Protocol Error", "closed"]);
    }
}

/// [MQTT-3.2.0-2]: there is no second CONNACK, and until the exchange has succeeded nothing changes.
#[test]
fn authenticating_again_is_answered_by_auth_or_disconnect() {
    let mut world = world();
    let watcher = watcher(&mut world);
    let client = accepted(&mut world);
    auth(&mut world, client, ReasonCode::ReAuthenticate, Some("m"));
    world.expect(client, &[]);
    world.answer(Answer::Continue(Vec::new()));
    world.publish(client, "t", "meanwhile", AtLeastOnce, 1);
    world.expect(client, &["AUTH Continue authentication method=m", "PUBACK #1"]);
    world.expect(watcher, &["PUBLISH q0 t meanwhile"]);
    auth(&mut world, client, ReasonCode::ContinueAuthentication, Some("m"));
    world.answer(Answer::AllowWith(Vec::new()));
    world.expect(client, &["AUTH Success method=m"]);
}

/// [MQTT-4.12.1-2]: a DISCONNECT with the reason, and no second CONNACK.
#[test]
fn failing_to_authenticate_again_ends_the_connection() {
    for answer in [
        Answer::Deny(ReasonCode::NotAuthorized),
        Answer::Filters(Vec::new()),
        Answer::Deny(ReasonCode::Success),
        // DISCONNECT does not have this one.
        Answer::Deny(ReasonCode::BadUserNameOrPassword),
    ] {
        let mut world = world();
        let conn = accepted(&mut world);
        auth(&mut world, conn, ReasonCode::ReAuthenticate, Some("m"));
        world.answer(answer);
        world.expect(conn, &["DISCONNECT Not authorized", "closed"]);
    }
    // Nobody answering is a no as well.
    let mut world = world();
    let conn = accepted(&mut world);
    auth(&mut world, conn, ReasonCode::ReAuthenticate, Some("m"));
    world.wait(5);
    world.expect(conn, &["DISCONNECT Not authorized", "closed"]);
}

/// [U-3.15.2.1-auth-short-form], [U-3.15.2.2.2-authentication-method-missing], [U-3.15.*-twice],
/// [U-3.15.2.2.5-auth-user-property-repeats]: what is wrong with AUTH as a packet, in the middle of an exchange and when authenticating again.
#[test]
fn auth_has_its_rules_as_a_packet() {
    let auth = |properties: &[u8]| {
        let mut bytes = vec![0xf0, u8::try_from(properties.len()).unwrap() + 2, 0x18];
        bytes.push(u8::try_from(properties.len()).unwrap());
        [bytes, properties.to_vec()].concat()
    };
    let malformed = "Malformed Packet";
    let error = "Protocol Error";
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("nothing in it, which is Success", b"\xf0\x00".to_vec(), error),
        ("Success written out", b"\xf0\x01\x00".to_vec(), error),
        ("no method", auth(b""), error),
        ("method twice", auth(b"\x15\0\x01m\x15\0\x01m"), error),
        ("data twice", auth(b"\x15\0\x01m\x16\0\x01d\x16\0\x01d"), error),
        ("Reason String twice", auth(b"\x15\0\x01m\x1f\0\x01r\x1f\0\x01r"), error),
        ("a property of CONNECT", auth(b"\x15\0\x01m\x21\0\x01"), malformed),
        ("a reason that AUTH does not have", b"\xf0\x01\x82".to_vec(), malformed),
    ];
    for (what, bytes, reason) in &cases {
        let mut world = world();
        let conn = in_exchange(&mut world);
        world.bytes(conn, bytes);
        world.expect(conn, &[&format!("CONNACK {reason}"), "closed"]);
        let conn = accepted(&mut world);
        world.bytes(conn, bytes);
        assert_eq!(world.take(conn), [&format!("DISCONNECT {reason}"), "closed"], "{what}");
        assert!(world.questions.is_empty(), "{what}");
    }
    // User properties may repeat, and a Reason String may be there.
    let mut world = world();
    let conn = in_exchange(&mut world);
    world.bytes(conn, &auth(b"\x15\0\x01m\x1f\0\x01r\x26\0\x01k\0\x01v\x26\0\x01k\0\x01v"));
    world.answer(Answer::AllowWith(Vec::new()));
    world.expect(conn, &["CONNACK Success method=m"]);
}

/// [MQTT-3.1.2-24]: 14 bytes are AUTH with its method and data alone.
#[test]
fn auth_has_nothing_that_makes_it_too_large() {
    let told = ["CONNACK Packet too large", "closed"];
    for (room, wanted) in [(14, &["AUTH Continue authentication method=m data=two"][..]), (13, &told)] {
        let mut world = world();
        let mut connect = with_method("c");
        connect.properties.maximum_packet_size = Some(room);
        let conn = world.connect_with(&connect);
        world.answer(Answer::Continue(b"two".to_vec()));
        world.expect(conn, wanted);
    }
}

/// Until a hook says so, nobody knows that a client that authenticates anew is still who it was: what comes behind the
/// question is not heard when its connection ends.
#[test]
fn nothing_is_heard_behind_a_question_that_stays_open() {
    let mut world = world();
    let watcher = watcher(&mut world);
    let conn = accepted(&mut world);
    auth(&mut world, conn, ReasonCode::ReAuthenticate, Some("m"));
    world.publish_with(conn, &message("t", "m", AtMostOnce, 0));
    world.cut(conn);
    world.expect(watcher, &[]);
}
