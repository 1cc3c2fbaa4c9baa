//! What an acknowledgement promises where it waits for the store, however many sessions and calls it takes to get there.

mod common;

use broker_engine::{Command, Config, ConnId, Durability, Input, Permissions, StoreOp, StoreSeq};
use common::{World, clean, lasting, message, will};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{Connect, Packet, PublishProperties, Version, Will};

fn durable(config: Config) -> World {
    World::new(Config { durability: Durability::Durable, ..config })
}

/// Somebody who is away has a subscription to "t".
fn away(world: &mut World, name: &str) {
    let subscriber = world.persistent(Version::V5, name);
    world.subscribe(subscriber, "t", AtLeastOnce);
    world.cut(subscriber);
}

/// What somebody else gets, and need not be kept, does not hide what must be.
#[test]
fn an_acknowledgement_waits_for_every_copy() {
    let mut world = durable(Config::default());
    away(&mut world, "s");
    let publisher = world.client(Version::V5, "p");
    let other = world.client(Version::V5, "z");
    world.subscribe(other, "t", ExactlyOnce);
    world.hold_stored = true;
    world.publish(publisher, "t", "m", ExactlyOnce, 1);
    world.expect(other, &["PUBLISH q2 #1 t m"]);
    world.expect(publisher, &[]);
    world.release_stored();
    world.expect(publisher, &["PUBREC #1"]);
}

/// A fan-out that takes several calls, to two sessions that are away, and who publishes.
fn unfinished() -> (World, ConnId) {
    let mut world = durable(Config { work_per_call: 1, ..Config::default() });
    away(&mut world, "s");
    away(&mut world, "u");
    let publisher = world.client(Version::V5, "p");
    world.settle();
    world.hold_stored = true;
    world.publish(publisher, "t", "m", AtLeastOnce, 1);
    assert_eq!(world.engine.view().fanouts(), (1, 0));
    (world, publisher)
}

#[test]
fn the_acknowledgement_of_a_long_fan_out_waits_for_the_store() {
    let (mut world, publisher) = unfinished();
    world.settle();
    assert_eq!(world.engine.view().fanouts(), (0, 0));
    world.expect(publisher, &[]);
    world.release_stored();
    world.expect(publisher, &["PUBACK #1"]);
}

#[test]
fn a_store_that_fails_within_a_long_fan_out_is_told_to_its_publisher() {
    let (mut world, publisher) = unfinished();
    world.handle(Input::StoreFailed { seq: StoreSeq(1) });
    world.expect(publisher, &["DISCONNECT Quota exceeded", "closed"]);
    world.settle();
    assert_eq!(world.engine.view().fanouts(), (0, 0));
}

/// The client may nothing any more.
fn ban(world: &mut World, client_id: &str) {
    let permissions = Some(Permissions::default());
    world.handle(Input::Command(Command::SetPermissions { client_id: client_id.into(), permissions }));
}

/// A will that may not be sent when it is due is not sent by the next process either.
#[test]
fn a_refused_will_is_gone_for_good() {
    let mut world = durable(Config::default());
    let client = world.connect_with(&Connect { will: Some(will()), ..lasting(Version::V5, "c") });
    ban(&mut world, "c");
    world.cut(client);
    assert_eq!(world.engine.view().counters().publish_refused, 1);
    let report = world.restart();
    assert_eq!((report.sessions, report.wills), (1, 0));
}

/// A will whose fan-out takes several calls is the store's until the last of them.
#[test]
fn a_process_that_ends_within_the_fan_out_of_a_will_loses_nobodys_copy() {
    for connect in [clean(Version::V5, "c"), lasting(Version::V5, "c")] {
        for is_settled in [true, false] {
            let mut world = durable(Config { work_per_call: 1, ..Config::default() });
            let subscribers = ["s", "u", "v"];
            for name in subscribers {
                let subscriber = world.persistent(Version::V5, name);
                world.subscribe(subscriber, "will", AtLeastOnce);
                world.cut(subscriber);
            }
            let will = Will { qos: AtLeastOnce, ..will() };
            let client = world.connect_with(&Connect { will: Some(will), ..connect.clone() });
            world.settle();
            // Nothing calls the engine meanwhile.
            world.hold_stored = true;
            world.cut(client);
            if is_settled {
                world.settle();
            } else {
                assert_eq!(world.engine.view().fanouts(), (1, 1));
            }
            let report = world.restart();
            assert_eq!(report.wills, u64::from(!is_settled));
            world.settle();
            for name in subscribers {
                let subscriber = world.connect_with(&lasting(Version::V5, name));
                world.settle();
                let got = world.take(subscriber);
                let copies = got.iter().filter(|line| line.ends_with("will gone")).count();
                assert!(if is_settled { copies == 1 } else { copies >= 1 }, "{got:?}");
            }
            assert_eq!(world.restart().wills, 0);
        }
    }
}

/// What waited at QoS 0 and was sent is not kept.
#[test]
fn queued_qos_0_that_was_sent_is_not_kept() {
    let mut world = durable(Config { queue_qos0_offline: true, ..Config::default() });
    away(&mut world, "s");
    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", "m", AtMostOnce, 0);
    assert_eq!(world.store.queued(), 1);
    let subscriber = world.connect_with(&lasting(Version::V5, "s"));
    world.expect(subscriber, &["CONNACK Success present", "PUBLISH q0 t m"]);
    assert_eq!(world.store.queued(), 0);
}

type Meanwhile = fn(&mut World);

/// A QoS 2 message that waits for the store is judged when it leaves, not when it begins to wait.
#[test]
fn what_waits_for_the_store_is_judged_when_it_leaves() {
    let publish = || mqtt_proto::Publish {
        properties: PublishProperties { message_expiry_interval: Some(10), ..Default::default() },
        ..message("t", "m", ExactlyOnce, 1)
    };
    let cases: [(Meanwhile, &[&str]); 4] = [
        (|_| {}, &["PUBLISH q2 #1 expires=10 t m"]),
        (|world| world.wait(4), &["PUBLISH q2 #1 expires=6 t m"]),
        (|world| world.wait(11), &[]),
        (|world| ban(world, "s"), &[]),
    ];
    for (meanwhile, wanted) in cases {
        let mut world = durable(Config::default());
        let subscriber = world.persistent(Version::V5, "s");
        world.subscribe(subscriber, "t", ExactlyOnce);
        let publisher = world.client(Version::V5, "p");
        world.hold_stored = true;
        world.publish_with(publisher, &publish());
        meanwhile(&mut world);
        world.expect(subscriber, &[]);
        let sent = |world: &World| world.engine.view().counters().publish_sent[2];
        assert_eq!(sent(&world), 0, "what waits was not sent");
        world.release_stored();
        world.expect(subscriber, wanted);
        let view = world.engine.view();
        let in_flight = view.session("s").unwrap().inflight();
        assert_eq!((sent(&world), in_flight), (wanted.len() as u64, wanted.len()));
        assert_eq!(world.store.queued(), wanted.len(), "what was given up is not kept");
    }
}

/// Who acknowledges what has not left has had it.
#[test]
fn an_acknowledgement_before_its_message_ends_it() {
    let mut world = durable(Config::default());
    let subscriber = world.persistent(Version::V5, "s");
    world.subscribe(subscriber, "t", ExactlyOnce);
    let publisher = world.client(Version::V5, "p");
    world.hold_stored = true;
    world.publish(publisher, "t", "m", ExactlyOnce, 1);
    world.ack(subscriber, Packet::PubRec, 1);
    world.release_stored();
    world.expect(subscriber, &["PUBREL #1"]);
}

/// Names of clients whose end is not kept yet are in the account, and are not where nobody waits for it.
#[test]
fn ended_sessions_that_are_not_kept_are_counted() {
    for durability in [Durability::Async, Durability::Durable] {
        let mut world = World::new(Config { durability, ..Config::default() });
        let before = world.engine.view().memory_used();
        world.hold_stored = true;
        for number in 0..100 {
            let client = world.connect_with(&lasting(Version::V5, &format!("c{number}")));
            world.cut(client);
            let client_id = format!("c{number}");
            let reason = mqtt_proto::ReasonCode::AdministrativeAction;
            world.handle(Input::Command(Command::Disconnect { client_id, reason, end_session: true }));
        }
        let kept = world.engine.view().memory_used() - before;
        assert_eq!(kept > 0, durability == Durability::Durable, "{kept} bytes");
        world.release_stored();
        assert_eq!(world.engine.view().memory_used(), before);
    }
}

/// A position that no engine has counted to is damage, and none that is handed in ends the broker.
#[test]
fn positions_beyond_all_counting_are_damage() {
    let mut world = durable(Config::default());
    away(&mut world, "s");
    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", "m", AtLeastOnce, 1);
    let mut records: Vec<StoreOp> = world.store.records(world.now).collect();
    for record in &mut records {
        if let StoreOp::PutQueued { delivery, .. } = record {
            delivery.position = u64::MAX;
        }
    }
    let sent =
        |position| StoreOp::PutInflight { client_id: "s".into(), position, packet_id: 1, released: false };
    records.push(sent(u64::MAX - 1));
    let report = world.boot(records);
    assert_eq!((report.damaged, report.queued), (2, 0), "{report}");
    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", "m", AtLeastOnce, 1);
    world.expect(publisher, &["PUBACK #1"]);
}

/// A session's end that the store has failed to keep is kept before its client hears that there is no session.
#[test]
fn an_end_that_was_not_kept_is_kept_when_its_client_comes_back() {
    let mut world = durable(Config::default());
    let client = world.persistent(Version::V5, "c");
    world.cut(client);
    world.hold_stored = true;
    let end = Connect { clean_start: true, ..clean(Version::V5, "c") };
    let client = world.connect_with(&end);
    let failed = world.stored;
    world.handle(Input::StoreFailed { seq: failed });
    assert!(world.is_closed(client), "its CONNACK waited for that");
    let again = world.connect_with(&end);
    world.expect(again, &[]);
    assert!(world.stored > failed, "it is to be kept again");
    world.release_stored();
    world.expect(again, &["CONNACK Success"]);
}
