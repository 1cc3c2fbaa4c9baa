//! What an acknowledgement promises where it waits for the store, however many sessions and calls it takes to get there.

mod common;

use broker_engine::{Config, ConnId, Durability, Input, StoreSeq};
use common::World;
use mqtt_proto::QoS::{AtLeastOnce, ExactlyOnce};
use mqtt_proto::Version;

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
