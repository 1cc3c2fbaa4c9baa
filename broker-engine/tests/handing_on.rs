//! What a session leaves of a shared subscription goes to another member of the group, however the session ends.

mod common;

use broker_engine::{Command, Config, ConnId, DropReason, Durability, Engine, HashKey, StoreOp};
use common::{World, clean, lasting, message};
use mqtt_proto::QoS::{self, AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{Packet, ReasonCode, Version};

const SHARED: &str = "$share/g/t";

/// Two in flight and one waiting for `a`, of which the second is of QoS 2.
fn left_by(world: &mut World, a: ConnId) {
    world.subscribe(a, SHARED, ExactlyOnce);
    let publisher = world.client(Version::V5, "p");
    for (id, qos) in [(1, AtLeastOnce), (2, ExactlyOnce), (3, AtLeastOnce)] {
        let mut publish = message("t", "x", qos, id);
        publish.properties.message_expiry_interval = Some(u32::from(id) * 100);
        world.publish_with(publisher, &publish);
    }
    world.take(publisher);
    assert_eq!(world.take(a).len(), 2);
}

fn world() -> World {
    World::new(Config { max_inflight: 2, ..Config::default() })
}

fn member(world: &mut World, name: &str, qos: QoS) -> ConnId {
    let conn = world.client(Version::V5, name);
    world.subscribe(conn, SHARED, qos);
    conn
}

type Ending<'a> = &'a dyn Fn(&mut World, ConnId);

#[test]
fn however_a_session_ends() {
    let end = |reason, end_session| {
        broker_engine::Input::Command(Command::Disconnect { client_id: "a".into(), reason, end_session })
    };
    let endings: [(&str, Ending<'_>); 5] = [
        ("DISCONNECT", &|world, a| world.disconnect(a, ReasonCode::Success)),
        ("expiry", &|world, a| {
            world.cut(a);
            world.wait(1);
        }),
        ("clean start", &|world, _| _ = world.connect_with(&clean(Version::V5, "a"))),
        ("operator", &|world, _| world.handle(end(ReasonCode::AdministrativeAction, true))),
        ("takeover", &|world, _| _ = world.connect_with(&lasting(Version::V5, "a"))),
    ];
    for (name, how) in endings {
        let mut world = world();
        let mut connect = clean(Version::V5, "a");
        connect.properties.session_expiry_interval = match name {
            "expiry" => Some(1),
            "operator" => Some(600),
            _ => None,
        };
        let a = world.connect_with(&connect);
        world.take(a);
        left_by(&mut world, a);
        let b = member(&mut world, "b", AtLeastOnce);
        world.wait(9);
        how(&mut world, a);
        let seconds = if name == "expiry" { 10 } else { 9 };
        let lines = [(1, 100 - seconds), (2, 300 - seconds)]
            .map(|(id, left)| format!("PUBLISH q1 #{id} expires={left} t x"));
        assert_eq!(world.take(b), lines, "{name}");
        let given_up = if name == "operator" { DropReason::AdminDropped } else { DropReason::SessionEnded };
        assert_eq!(world.dropped(given_up), 1, "{name}: QoS 2 in flight is for nobody else");
    }
}

#[test]
fn nobody_left_expired_or_not_shared() {
    // (other member's QoS, seconds that pass, counted)
    let cases = [
        (None, 0, (DropReason::SharedNoMember, 2)),
        (Some(AtLeastOnce), 100, (DropReason::Expired, 1)),
        (Some(AtMostOnce), 0, (DropReason::SessionEnded, 1)),
    ];
    for (other, seconds, (reason, count)) in cases {
        let mut world = world();
        let a = world.client(Version::V5, "a");
        left_by(&mut world, a);
        let b = other.map(|qos| member(&mut world, "b", qos));
        world.wait(seconds);
        world.cut(a);
        assert_eq!(world.dropped(reason), count, "{other:?} {seconds}");
        let got = b.map_or(0, |b| world.take(b).len());
        let kept = if other.is_none() { 0 } else { 2 - usize::from(reason == DropReason::Expired) };
        assert_eq!(got, kept, "{other:?} {seconds}");
    }

    let mut world = world();
    let a = world.client(Version::V5, "a");
    world.subscribe(a, "t", AtLeastOnce);
    let b = member(&mut world, "b", AtLeastOnce);
    world.publish(b, "t", "x", AtLeastOnce, 1);
    world.take(b);
    world.cut(a);
    world.expect(b, &[]);
    assert_eq!(world.dropped(DropReason::SessionEnded), 1);
}

/// Of a host that calls late: the session ended in time, and what is left of the message's life is told as it is now.
#[test]
fn what_is_handed_on_late_has_aged() {
    for (late, got) in [(10, vec!["PUBLISH q1 #1 expires=89 t x".to_owned()]), (100, Vec::new())] {
        let mut world = world();
        let mut connect = clean(Version::V5, "a");
        connect.properties.session_expiry_interval = Some(1);
        let a = world.connect_with(&connect);
        world.take(a);
        world.subscribe(a, SHARED, AtLeastOnce);
        let publisher = world.client(Version::V5, "p");
        let mut publish = message("t", "x", AtLeastOnce, 1);
        publish.properties.message_expiry_interval = Some(100);
        world.publish_with(publisher, &publish);
        let b = member(&mut world, "b", AtLeastOnce);
        world.wait(1);
        world.cut(a);
        world.now = world.now.after_secs(late);
        world.handle(broker_engine::Input::Tick);
        assert_eq!(world.take(b), got, "{late} s late");
        assert_eq!(world.dropped(DropReason::Expired), u64::from(got.is_empty()));
    }
}

/// UNSUBSCRIBE moves nothing: what is on its way stays with the session until that ends.
#[test]
fn unsubscribing_moves_nothing() {
    let mut world = world();
    let a = world.client(Version::V5, "a");
    left_by(&mut world, a);
    let b = member(&mut world, "b", AtLeastOnce);
    world.unsubscribe(a, SHARED);
    world.take(a);
    world.expect(b, &[]);
    world.ack(a, Packet::PubAck, 1);
    world.expect(a, &["PUBLISH q1 #3 expires=300 t x"]);
    world.cut(a);
    world.expect(b, &["PUBLISH q1 #1 expires=300 t x"]);
}

/// By the strategy, connected members first; an absent one keeps it in its queue.
#[test]
fn members_take_turns() {
    let mut world = World::new(Config::default());
    let absent = world.persistent(Version::V5, "absent");
    world.subscribe(absent, SHARED, AtLeastOnce);
    world.cut(absent);
    let a = member(&mut world, "a", AtLeastOnce);
    let publisher = world.client(Version::V5, "p");
    for id in 1..=4 {
        world.publish(publisher, "t", &id.to_string(), AtLeastOnce, id);
    }
    let (b, c) = (member(&mut world, "b", AtLeastOnce), member(&mut world, "c", AtLeastOnce));
    world.cut(a);
    let (b, c) = ((b, world.take(b)), (c, world.take(c)));
    assert_eq!((b.1.len(), c.1.len()), (2, 2), "{b:?} {c:?}");
    world.cut(b.0);
    assert_eq!(world.take(c.0).len(), 2);
    world.cut(c.0);
    assert_eq!(world.engine.view().session("absent").unwrap().queued(), 4);
    let again = world.connect_with(&lasting(Version::V5, "absent"));
    assert_eq!(world.take(again).len(), 5);
}

/// Neither a snapshot nor the store forgets by which group a delivery came.
#[test]
fn groups_outlive_snapshot_and_store() {
    let config = Config { durability: Durability::Durable, queue_window_messages: 1, ..Config::default() };
    let mut world = World::new(config);
    let a = world.persistent(Version::V5, "a");
    world.subscribe(a, SHARED, AtLeastOnce);
    world.cut(a);
    let publisher = world.client(Version::V5, "p");
    for id in 1..=3 {
        world.publish(publisher, "t", &id.to_string(), AtLeastOnce, id);
    }
    assert_eq!(world.engine.view().session("a").unwrap().paged(), 2);
    // Its pages come back from the store, and all of it is in flight.
    let a = world.connect_with(&lasting(Version::V5, "a"));
    assert_eq!(world.take(a).len(), 4);
    world.engine = Engine::restore(&world.engine.snapshot(), HashKey([3, 4])).unwrap();
    let b = member(&mut world, "b", AtLeastOnce);
    world.cut(a);
    world.wait(600);
    world.expect(b, &["PUBLISH q1 #1 t 1", "PUBLISH q1 #2 t 2", "PUBLISH q1 #3 t 3"]);
}

/// Wherever the stream of operations is cut, somebody has the message.
#[test]
fn the_store_has_it_before_the_session_ends_there() {
    let mut world = World::new(Config { durability: Durability::Durable, ..Config::default() });
    for name in ["a", "b"] {
        let conn = world.persistent(Version::V5, name);
        world.subscribe(conn, SHARED, AtLeastOnce);
        world.cut(conn);
    }
    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", "x", AtLeastOnce, 1);
    let mut out = broker_engine::Outbox::new();
    let end = Command::Disconnect {
        client_id: "a".into(),
        reason: ReasonCode::AdministrativeAction,
        end_session: true,
    };
    world.engine.handle(world.now, broker_engine::Input::Command(end), &mut out);
    let ops: Vec<_> = out.stores.iter().map(|(_, op)| op).collect();
    assert!(
        matches!(&ops[..], [StoreOp::PutQueued { client_id, delivery }, StoreOp::EndSession { client_id: ended }]
            if client_id == "b" && delivery.share.as_deref() == Some(SHARED) && ended == "a"),
        "{ops:?}"
    );
}

/// A member may end between the slices of a fan-out, before the turn of its group comes.
#[test]
fn a_member_that_ends_during_a_fan_out_is_replaced() {
    let mut world = World::new(Config { work_per_call: 3, ..Config::default() });
    for number in 0..6 {
        let conn = world.client(Version::V5, &number.to_string());
        world.subscribe(conn, &format!("$share/before{number}/t"), AtMostOnce);
    }
    let a = member(&mut world, "a", AtLeastOnce);
    let b = member(&mut world, "b", AtLeastOnce);
    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", "x", AtLeastOnce, 1);
    world.cut(a);
    world.settle();
    world.expect(a, &[]);
    world.expect(b, &["PUBLISH q1 #1 t x"]);
    world.expect(publisher, &["PUBACK #1"]);
}
