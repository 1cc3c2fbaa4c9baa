//! Queues longer than their window in memory.

mod common;

use broker_engine::{Config, ConnId, DropReason, Durability, Input, StoreOp};
use common::{World, clean, encoded, lasting, message};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce};
use mqtt_proto::{Connect, Packet, ReasonCode, Version};

/// At most two messages of a queue in memory.
fn config() -> Config {
    Config { durability: Durability::Durable, queue_window_messages: 2, ..Config::default() }
}

/// A queue of `count` messages, and its publisher.
fn queued(count: u16) -> (World, ConnId) {
    queued_in(config(), count)
}

fn queued_in(config: Config, count: u16) -> (World, ConnId) {
    let mut world = World::new(config);
    let publisher = world.client(Version::V5, "p");
    let subscriber = world.persistent(Version::V5, "s");
    world.subscribe(subscriber, "t", AtLeastOnce);
    world.cut(subscriber);
    fill(&mut world, publisher, 1..=count);
    (world, publisher)
}

fn fill(world: &mut World, publisher: ConnId, numbers: impl Iterator<Item = u16>) {
    for number in numbers {
        world.publish(publisher, "t", &number.to_string(), AtLeastOnce, number);
        world.expect(publisher, &[&format!("PUBACK #{number}")]);
    }
}

/// (waiting, of them in the store alone)
fn sizes(world: &World) -> (usize, usize) {
    let view = world.engine.view();
    let session = view.session("s").expect("the session");
    (session.queued(), session.paged())
}

#[test]
fn a_long_queue_is_fetched_page_by_page_and_in_order() {
    let (mut world, publisher) = queued(9);
    assert_eq!(sizes(&world), (9, 7));
    assert_eq!(world.engine.view().messages(), 2, "the rest is in the store alone");
    let mut connect = lasting(Version::V5, "s");
    connect.properties.receive_maximum = Some(1);
    let again = world.connect_with(&connect);
    world.expect(again, &["CONNACK Success present", "PUBLISH q1 #1 t 1"]);
    // What comes meanwhile lines up behind the pages.
    fill(&mut world, publisher, 10..=10);
    for number in 1..10 {
        world.ack(again, Packet::PubAck, number);
        world.expect(again, &[&format!("PUBLISH q1 #{} t {}", number + 1, number + 1)]);
        assert!(world.engine.view().messages() <= 3, "window and one in flight");
    }
    world.ack(again, Packet::PubAck, 10);
    assert_eq!((sizes(&world), world.store.queued()), ((0, 0), 0));
    assert_eq!(world.engine.view().counters().dropped.iter().sum::<u64>(), 0);
}

/// A queue in which a message has no room, however much gives way, and what comes behind it.
#[test]
fn what_has_no_room_does_not_come_back_with_a_page() {
    let mut world = queued_in(Config { max_queued_bytes: 100, queue_window_messages: 4, ..config() }, 5).0;
    let publisher = world.client(Version::V5, "q");
    // In one call, so that the store answers when it has all of this.
    let large = "x".repeat(98);
    let packet = |payload, id| encoded(&Packet::Publish(message("t", payload, AtLeastOnce, id)), Version::V5);
    world.bytes(publisher, &[packet(&large, 1), packet("behind", 2)].concat());
    let again = world.connect_with(&lasting(Version::V5, "s"));
    world.expect(again, &["CONNACK Success present", "PUBLISH q1 #1 t 5", "PUBLISH q1 #2 t behind"]);
    assert_eq!((sizes(&world), world.engine.view().counters().host_misuse), ((0, 0), 0));
}

#[test]
fn a_full_queue_drops_its_oldest_also_when_most_of_it_is_in_the_store() {
    let (mut world, publisher) = queued_in(Config { max_queued_messages: 4, ..config() }, 11);
    assert_eq!((sizes(&world).0, world.dropped(DropReason::QueueFull)), (4, 7));
    let again = world.connect_with(&lasting(Version::V5, "s"));
    let left = [8, 9, 10, 11].map(|number| format!("PUBLISH q1 #{} t {number}", number - 7));
    assert_eq!(world.take(again)[1..], left);
    // While a page is on its way nothing in memory can give way, so the new message does.
    world.cut(again);
    world.hold_pages = true;
    fill(&mut world, publisher, 12..=15);
    assert_eq!((sizes(&world).0, world.dropped(DropReason::QueueFull)), (4, 7));
    fill(&mut world, publisher, 16..=20);
    assert_eq!((sizes(&world), world.dropped(DropReason::QueueFull)), ((4, 4), 12));
    world.hold_pages = false;
    world.give_page();
    let again = world.connect_with(&lasting(Version::V5, "s"));
    assert_eq!(world.take(again).last().unwrap(), "PUBLISH q1 #8 t 17");
}

/// [MQTT-4.6.0-5]: QoS 0 that waits in the store is not overtaken either; without any, QoS 0 waits for nothing.
#[test]
fn new_qos_0_lines_up_behind_qos_0_in_the_store() {
    let (mut world, publisher) = queued_in(Config { queue_qos0_offline: true, ..config() }, 3);
    let mut connect = lasting(Version::V5, "s");
    connect.properties.receive_maximum = Some(1);
    let again = world.connect_with(&connect);
    world.expect(again, &["CONNACK Success present", "PUBLISH q1 #1 t 1"]);
    world.publish(publisher, "t", "at once", AtMostOnce, 0);
    world.expect(again, &["PUBLISH q0 t at once"]);
    world.cut(again);
    world.publish(publisher, "t", "old", AtMostOnce, 0);
    let again = world.connect_with(&connect);
    world.expect(again, &["CONNACK Success present", "PUBLISH q1 #1 dup t 1"]);
    world.publish(publisher, "t", "new", AtMostOnce, 0);
    world.ack(again, Packet::PubAck, 1);
    world.ack(again, Packet::PubAck, 2);
    world.expect(again, &["PUBLISH q1 #2 t 2", "PUBLISH q1 #3 t 3", "PUBLISH q0 t old", "PUBLISH q0 t new"]);
    world.publish(publisher, "t", "now", AtMostOnce, 0);
    world.expect(again, &["PUBLISH q0 t now"]);
}

#[test]
fn pages_that_come_late_fail_or_are_gone() {
    let (mut world, _) = queued(5);
    world.hold_pages = true;
    let again = world.connect_with(&lasting(Version::V5, "s"));
    world.expect(again, &["CONNACK Success present", "PUBLISH q1 #1 t 1", "PUBLISH q1 #2 t 2"]);
    assert_eq!(sizes(&world), (3, 3));

    // The store fails; nothing is lost, and the next acknowledgement asks again.
    let (failed, _) = world.pages.remove(0);
    world.handle(Input::StoreFailed { seq: failed });
    world.ack(again, Packet::PubAck, 1);
    world.handle(Input::Loaded { fetch: failed, deliveries: Vec::new() });
    assert_eq!(world.engine.view().counters().late_replies, 1, "its question was withdrawn");
    world.give_page();
    world.expect(again, &["PUBLISH q1 #3 t 3", "PUBLISH q1 #4 t 4"]);

    // The store has nothing any more: that is a loss, and counted.
    let (fetch, _) = world.pages.remove(0);
    world.handle(Input::Loaded { fetch, deliveries: Vec::new() });
    assert_eq!((sizes(&world), world.dropped(DropReason::StoreLost)), ((0, 0), 1));
}

#[test]
fn a_session_may_end_while_its_page_is_on_its_way() {
    let (mut world, _) = queued(5);
    world.hold_pages = true;
    let again = world.connect_with(&lasting(Version::V5, "s"));
    world.take(again);
    world.disconnect(again, ReasonCode::Success);
    let fresh = world.connect_with(&Connect { clean_start: true, ..lasting(Version::V5, "s") });
    world.expect(fresh, &["CONNACK Success"]);
    world.give_page();
    world.expect(fresh, &[]);
    assert_eq!((world.dropped(DropReason::SessionEnded), world.store.queued()), (5, 0));
}

/// Its facts are given up with the connection, but not before its queue is delivered.
#[test]
fn a_session_that_lost_its_expiry_keeps_its_queue() {
    let (mut world, publisher) = queued(5);
    let again = world.connect_with(&Connect { clean_start: false, ..clean(Version::V5, "s") });
    let all = ["CONNACK Success present"].into_iter().map(String::from);
    let all: Vec<_> = all.chain((1..=5).map(|number| format!("PUBLISH q1 #{number} t {number}"))).collect();
    assert_eq!(world.take(again), all);
    fill(&mut world, publisher, 6..=6);
    world.expect(again, &["PUBLISH q1 #6 t 6"]);
    world.cut(again);
    assert_eq!((world.engine.view().sessions(), world.store.queued()), (1, 0), "the publisher is left");
}

#[test]
fn pages_are_bounded_in_bytes() {
    let (mut world, publisher) = queued(0);
    world.hold_pages = true;
    let big = "x".repeat(400_000);
    for number in 1..=6 {
        world.publish(publisher, "t", &big, AtLeastOnce, number);
    }
    assert_eq!(sizes(&world), (6, 4), "two messages are a window of messages, not of bytes");
    let again = world.connect_with(&lasting(Version::V5, "s"));
    world.take(again);
    let asked = world.pages.first().map(|(_, op)| op.clone());
    let Some(StoreOp::Fetch { from, max_messages, max_bytes, .. }) = asked else { panic!("{asked:?}") };
    assert_eq!((from, max_messages, max_bytes), (2, 1, (1 << 20) - 400_001));
}
