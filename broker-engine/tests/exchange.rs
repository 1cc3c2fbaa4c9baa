//! Enhanced authentication: AUTH before CONNACK, and authenticating again.

mod common;

use broker_engine::{Answer, Config, ConnId, Interest};
use common::{World, clean, message};
use mqtt_proto::QoS::AtLeastOnce;
use mqtt_proto::{Auth, AuthProperties, Connect, Packet, ReasonCode, Version};

/// A broker that waits for answers.
fn world() -> World {
    let mut world = World::new(Config { interest: Interest::NONE, ..Config::default() });
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

/// A client that came in through an exchange.
fn accepted(world: &mut World) -> ConnId {
    let conn = world.connect_with(&with_method("c"));
    world.answer(Answer::Continue(b"two".to_vec()));
    auth(world, conn, ReasonCode::ContinueAuthentication, Some("m"));
    world.answer(Answer::AllowWith(b"end".to_vec()));
    world.take(conn);
    conn
}

/// [MQTT-4.12.0-2], [MQTT-4.12.0-5], [MQTT-3.15.2-1]: as many steps as it takes, each under the client's method.
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

/// Anything but AUTH has to wait for CONNACK.
#[test]
fn nothing_but_auth_comes_between() {
    let mut world = world();
    let conn = world.connect_with(&with_method("c"));
    world.answer(Answer::Continue(Vec::new()));
    world.take(conn);
    world.send(conn, &Packet::PingReq);
    world.expect(conn, &["closed"]);
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

/// [MQTT-4.12.1-1], [MQTT-4.12.0-3]: the method is that of CONNECT, 0x19 begins, and 0x18 answers.
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

/// [MQTT-4.12.1-2]: a DISCONNECT with the reason, and no second CONNACK.
#[test]
fn failing_to_authenticate_again_ends_the_connection() {
    for answer in [
        Answer::Deny(ReasonCode::NotAuthorized),
        Answer::Filters(Vec::new()),
        Answer::Deny(ReasonCode::Success),
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

/// [MQTT-3.15.2-2], [MQTT-3.15.2-3]: 14 bytes are AUTH with its method and data alone.
#[test]
fn auth_has_nothing_that_makes_it_too_large() {
    for (room, wanted) in [(14, &["AUTH Continue authentication method=m data=two"][..]), (13, &[])] {
        let mut world = world();
        let mut connect = with_method("c");
        connect.properties.maximum_packet_size = Some(room);
        let conn = world.connect_with(&connect);
        world.answer(Answer::Continue(b"two".to_vec()));
        world.expect(conn, wanted);
    }
}
