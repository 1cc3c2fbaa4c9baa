//! Enhanced authentication, authenticating again, and identifiers that the broker assigns.

mod common;

use broker_engine::{Answer, Config, ConnId};
use common::{World, clean, lasting};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce};
use mqtt_proto::{Auth, AuthProperties, Connect, Packet, ReasonCode, Version};

fn world() -> World {
    let mut world = World::new(Config::default());
    world.hold_questions = true;
    world
}

/// A client in the middle of its first exchange, told to go on.
fn in_exchange(world: &mut World) -> ConnId {
    let mut connect = clean(Version::V5, "c");
    connect.properties.authentication_method = Some("m");
    let conn = world.connect_with(&connect);
    world.answer(Answer::Continue(b"go on".to_vec()));
    world.expect(conn, &["AUTH Continue authentication method=m data=go on"]);
    conn
}

/// A client that is in.
fn accepted(world: &mut World) -> ConnId {
    let conn = in_exchange(world);
    auth(world, conn, ReasonCode::ContinueAuthentication);
    world.answer(Answer::AllowWith(Vec::new()));
    world.expect(conn, &["CONNACK Success method=m"]);
    conn
}

fn watcher(world: &mut World) -> ConnId {
    world.hold_questions = false;
    let watcher = world.client(Version::V5, "w");
    world.subscribe(watcher, "#", AtMostOnce);
    world.hold_questions = true;
    watcher
}

fn auth(world: &mut World, conn: ConnId, reason: ReasonCode) {
    let properties = AuthProperties { authentication_method: Some("m"), ..AuthProperties::default() };
    world.send(conn, &Packet::Auth(Auth { reason, properties }));
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
        auth(&mut world, conn, ReasonCode::ContinueAuthentication);
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
    auth(&mut world, conn, ReasonCode::ContinueAuthentication);
    world.publish(conn, "t", "early", AtLeastOnce, 1);
    world.expect(conn, &[]);
    world.answer(Answer::Deny(ReasonCode::BadUserNameOrPassword));
    world.expect(conn, &["CONNACK Bad User Name or Password", "closed"]);
    world.expect(watcher, &[]);
}

/// [MQTT-3.2.0-2]: there is no second CONNACK, and until the exchange has succeeded nothing changes (gotcha 21).
#[test]
fn authenticating_again_is_answered_by_auth_or_disconnect() {
    let mut world = world();
    let watcher = watcher(&mut world);
    let client = accepted(&mut world);
    auth(&mut world, client, ReasonCode::ReAuthenticate);
    world.expect(client, &[]);
    world.answer(Answer::Continue(Vec::new()));
    world.publish(client, "t", "meanwhile", AtLeastOnce, 1);
    world.expect(client, &["AUTH Continue authentication method=m", "PUBACK #1"]);
    world.expect(watcher, &["PUBLISH q0 t meanwhile"]);
    auth(&mut world, client, ReasonCode::ContinueAuthentication);
    world.answer(Answer::AllowWith(Vec::new()));
    world.expect(client, &["AUTH Success method=m"]);

    let refusals = [
        (Answer::Deny(ReasonCode::NotAuthorized), "DISCONNECT Not authorized"),
        (Answer::Deny(ReasonCode::Success), "DISCONNECT Not authorized"),
        // DISCONNECT does not have this one.
        (Answer::Deny(ReasonCode::BadUserNameOrPassword), "DISCONNECT Not authorized"),
    ];
    for (answer, wanted) in refusals {
        let client = accepted(&mut world);
        auth(&mut world, client, ReasonCode::ReAuthenticate);
        world.answer(answer);
        world.expect(client, &[wanted, "closed"]);
    }
}

/// [MQTT-3.1.3-7]
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
