//! Another process goes on with what the store has kept.

mod common;

use broker_engine::{
    ApplicationMessage, Command, Config, ConnId, DropReason, Durability, Input, StoreOp, Time,
};
use common::{World, clean, lasting, message};
use mqtt_proto::QoS::{AtLeastOnce, ExactlyOnce};
use mqtt_proto::{
    Connect, Packet, QoS, ReasonCode, SubscribeOptions, TopicName, Version, Will, WillProperties,
};
use std::collections::{BTreeMap, BTreeSet};

fn durable() -> Config {
    Config { durability: Durability::Durable, ..Config::default() }
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

/// Messages of a publisher: odd numbers at QoS 1, even ones at QoS 2, with the number as packet identifier.
const MESSAGES: u16 = 6;

fn qos_of(number: u16) -> QoS {
    if number % 2 == 1 { AtLeastOnce } else { ExactlyOnce }
}

/// The number behind `#` in a line, and the line's last word as a number.
fn numbers(line: &str) -> (u16, u16) {
    let id = line.split('#').nth(1).and_then(|rest| rest.split(' ').next()).and_then(|id| id.parse().ok());
    (id.unwrap_or_default(), line.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default())
}

/// A client that keeps its session, and repeats what is not acknowledged.
#[derive(Default)]
struct Publisher {
    conn: Option<ConnId>,
    online: bool,
    known: bool,
    sent: u16,
    /// Not acknowledged; `true` once PUBREL is due.
    open: BTreeMap<u16, bool>,
}

impl Publisher {
    fn connect(&mut self, world: &mut World) {
        self.conn = Some(world.connect_with(&lasting(Version::V5, "p")));
        self.online = false;
    }

    /// Says whether anything happened.
    fn step(&mut self, world: &mut World) -> bool {
        let Some(conn) = self.conn else { return false };
        let lines = world.take(conn);
        for line in &lines {
            let (id, _) = numbers(line);
            match line.split(' ').next() {
                Some("CONNACK") => {
                    assert!(!self.known || line.ends_with("present"), "its session was acknowledged");
                    (self.online, self.known) = (true, true);
                    for (number, released) in self.open.clone() {
                        self.send(world, number, released, true);
                    }
                }
                Some("PUBACK" | "PUBCOMP") => drop(self.open.remove(&id)),
                Some("PUBREC") => {
                    self.open.insert(id, true);
                    self.send(world, id, true, false);
                }
                _ => {}
            }
        }
        !lines.is_empty()
    }

    fn publish_next(&mut self, world: &mut World) {
        self.sent += 1;
        self.open.insert(self.sent, false);
        if self.online {
            self.send(world, self.sent, false, false);
        }
    }

    fn send(&self, world: &mut World, number: u16, released: bool, dup: bool) {
        let Some(conn) = self.conn.filter(|conn| !world.is_closed(*conn)) else { return };
        if released {
            return world.ack(conn, Packet::PubRel, number);
        }
        let payload = number.to_string();
        let publish = message("t", &payload, qos_of(number), number);
        world.publish_with(conn, &mqtt_proto::Publish { dup, ..publish });
    }
}

/// A client that keeps its session, and counts what it gets.
#[derive(Default)]
struct Subscriber {
    conn: Option<ConnId>,
    known: bool,
    subscribed: bool,
    /// Packet identifiers of QoS 2 that wait for PUBREL.
    held: BTreeSet<u16>,
    got: BTreeMap<u16, u32>,
}

impl Subscriber {
    fn connect(&mut self, world: &mut World) {
        self.conn = Some(world.connect_with(&lasting(Version::V5, "s")));
    }

    fn leave(&mut self, world: &mut World) {
        if let Some(conn) = self.conn.take() {
            world.cut(conn);
        }
    }

    fn step(&mut self, world: &mut World) -> bool {
        let Some(conn) = self.conn else { return false };
        let lines = world.take(conn);
        for line in &lines {
            let (id, number) = numbers(line);
            match line.split(' ').next() {
                Some("CONNACK") => {
                    assert!(!self.known || line.ends_with("present"), "its session was acknowledged");
                    self.known = true;
                    if !self.subscribed {
                        let options = SubscribeOptions { qos: ExactlyOnce, ..Default::default() };
                        world.subscribe_with(conn, "t", options, None);
                    }
                }
                Some("SUBACK") => self.subscribed = true,
                Some("PUBLISH") if line.contains("q1") => {
                    *self.got.entry(number).or_default() += 1;
                    world.ack(conn, Packet::PubAck, id);
                }
                Some("PUBLISH") => {
                    if self.held.insert(id) {
                        *self.got.entry(number).or_default() += 1;
                    }
                    world.ack(conn, Packet::PubRec, id);
                }
                Some("PUBREL") => {
                    self.held.remove(&id);
                    world.ack(conn, Packet::PubComp, id);
                }
                _ => {}
            }
        }
        !lines.is_empty()
    }
}

fn settle(world: &mut World, publisher: &mut Publisher, subscriber: &mut Subscriber) {
    loop {
        let went_on = publisher.step(world);
        if !subscriber.step(world) && !went_on {
            return;
        }
    }
}

/// Both are there, the subscriber goes and comes back, and messages are published meanwhile.
fn play(world: &mut World, publisher: &mut Publisher, subscriber: &mut Subscriber) {
    subscriber.connect(world);
    publisher.connect(world);
    settle(world, publisher, subscriber);
    if !subscriber.subscribed {
        // What is published now is none of its business.
        return;
    }
    while publisher.sent < MESSAGES {
        if publisher.sent == 2 {
            subscriber.leave(world);
        }
        if publisher.sent == 4 {
            subscriber.connect(world);
        }
        publisher.publish_next(world);
        if publisher.sent != 5 {
            settle(world, publisher, subscriber);
        }
    }
    settle(world, publisher, subscriber);
}

/// Wherever the stream of operations is cut, also a second time, everything that is acknowledged arrives, and at QoS 2 it
/// arrives once.
#[test]
fn a_cut_anywhere_loses_nothing_and_repeats_nothing() {
    let mut world = World::new(durable());
    play(&mut world, &mut Publisher::default(), &mut Subscriber::default());
    let all = world.batches;
    assert!(all > 20, "{all} batches");
    for window in [1, 256] {
        let config = Config { queue_window_messages: window, ..durable() };
        for (first, second) in (0..=all).flat_map(|first| (0..=8).map(move |second| (first, second))) {
            let (mut publisher, mut subscriber) = (Publisher::default(), Subscriber::default());
            let mut world = World::new(config.clone());
            for cut in [Some(first), Some(second), None] {
                world.batches_left = cut;
                play(&mut world, &mut publisher, &mut subscriber);
                if cut.is_some() {
                    let report = world.restart();
                    assert_eq!((report.dangling, report.damaged), (0, 0), "cuts {first} and {second}");
                }
            }
            assert!(publisher.open.is_empty(), "cuts {first} and {second}: {:?}", publisher.open);
            for number in 1..=MESSAGES {
                let got = subscriber.got.get(&number).copied().unwrap_or_default();
                let fits = if qos_of(number) == ExactlyOnce { got == 1 } else { got >= 1 };
                assert!(fits, "cuts {first} and {second}, window {window}: {number} came {got} times");
            }
            let session = world.engine.view().session("s").unwrap();
            assert_eq!((session.queued(), session.inflight(), world.store.queued()), (0, 0, 0));
        }
    }
}

/// A session in every state there is: subscriptions with options, two in flight of which one is released, a queue, a
/// QoS 2 message that waits for PUBREL, and a retained message with properties.
fn with_everything() -> World {
    let mut world = World::new(Config { queue_window_messages: 2, bind_session_to_user: true, ..durable() });
    let publisher = world.client(Version::V5, "p");
    let options = SubscribeOptions { qos: ExactlyOnce, retain_as_published: true, ..Default::default() };
    let connect = Connect { username: Some("u"), ..lasting(Version::V5, "s") };
    let subscriber = world.connect_with(&connect);
    world.subscribe_with(subscriber, "a/+", options, Some(7));
    world.subscribe_with(subscriber, "$share/g/b", options, None);
    world.publish(subscriber, "nobody", "x", ExactlyOnce, 44);
    for (id, topic) in (1..).zip(["a/1", "a/2"]) {
        world.publish(publisher, topic, "first", ExactlyOnce, id);
    }
    world.ack(subscriber, Packet::PubRec, 1);
    world.cut(subscriber);
    for (id, topic) in (3..).zip(["a/3", "b", "a/4", "a/5"]) {
        let mut publish = message(topic, "second", AtLeastOnce, id);
        publish.retain = topic == "a/5";
        publish.properties.message_expiry_interval = Some(100);
        publish.properties.content_type = Some("text");
        world.publish_with(publisher, &publish);
    }
    world.cut(publisher);
    world
}

/// What the session's client sees of it, and what others do.
fn seen(world: &mut World) -> Vec<String> {
    world.wait(10);
    let mut lines = Vec::new();
    let stranger = world.connect_with(&Connect { username: Some("v"), ..lasting(Version::V5, "s") });
    lines.extend(world.take(stranger));
    let again = world.connect_with(&Connect { username: Some("u"), ..lasting(Version::V5, "s") });
    lines.extend(world.take(again));
    world.ack(again, Packet::PubRel, 44);
    world.ack(again, Packet::PubRel, 44);
    world.ack(again, Packet::PubComp, 1);
    world.ack(again, Packet::PubRec, 2);
    lines.extend(world.take(again));
    let other = world.client(Version::V5, "o");
    world.subscribe_with(other, "a/#", SubscribeOptions::default(), None);
    world.publish(other, "a/6", "last", AtLeastOnce, 1);
    lines.extend(world.take(other));
    lines.extend(world.take(again));
    let view = world.engine.view();
    let session = view.session("s").unwrap();
    lines.push(format!("{:?} {}", session.filters().collect::<Vec<_>>(), session.expiry()));
    lines
}

#[test]
fn everything_that_a_session_is_comes_back_from_records_in_any_order() {
    let wanted = seen(&mut with_everything());
    let position = |text: &str| {
        wanted.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{wanted:#?}"))
    };
    assert!(position("PUBREL #1") < position("PUBLISH q2 #2 dup"));
    assert!(position("expires=90 sub=7") < position("PUBLISH q1 #6"));
    for backwards in [false, true] {
        let mut world = with_everything();
        let mut records: Vec<StoreOp> = world.store.records(world.now).collect();
        if backwards {
            records.reverse();
        }
        let report = world.boot(records);
        let found = [report.sessions, report.subscriptions, report.queued, report.in_flight, report.retained];
        assert_eq!(found, [1, 2, 4, 2, 1], "{report}");
        assert_eq!(seen(&mut world), wanted);
    }
}

#[test]
fn what_is_about_nothing_is_told_of_and_removed() {
    let mut world = with_everything();
    let mut records: Vec<StoreOp> = world.store.records(world.now).collect();
    let all = records.len() as u64;
    records.retain(|record| !matches!(record, StoreOp::PutSession { .. }));
    let report = world.boot(records);
    assert_eq!((report.sessions, report.dangling, report.retained), (0, all - 2, 1), "{report}");
    assert_eq!(world.store.records(world.now).count(), 1, "the retained message");

    // A delivery in flight without its message, and records that the engine never wrote.
    let mut world = with_everything();
    let mut records: Vec<StoreOp> = world.store.records(world.now).collect();
    let first =
        |record: &StoreOp| matches!(record, StoreOp::PutQueued { delivery, .. } if delivery.position == 1);
    records.retain(|record| !first(record));
    for record in &mut records {
        match record {
            StoreOp::PutQueued { delivery, .. } if delivery.position == 2 => {
                delivery.publish = "?".into();
            }
            StoreOp::PutSubscription { filter, .. } if filter.starts_with('a') => *filter = "a/#/b".into(),
            StoreOp::PutRetained { topic, .. } => *topic = "another".into(),
            StoreOp::PutReceived { packet_id, .. } => *packet_id = 0,
            _ => {}
        }
    }
    records.push(StoreOp::RemoveWill { client_id: "s".into() });
    let report = world.boot(records);
    assert_eq!((report.dangling, report.damaged, report.in_flight, report.queued), (1, 5, 1, 3), "{report}");
}

#[test]
fn the_clock_of_what_is_offline_goes_on_while_the_broker_is_away() {
    let mut world = World::new(durable());
    let subscriber = world.persistent(Version::V5, "s");
    world.persistent(Version::V5, "online");
    world.subscribe(subscriber, "t", AtLeastOnce);
    world.cut(subscriber);
    let publisher = world.client(Version::V5, "p");
    let mut publish = message("t", "short", AtLeastOnce, 1);
    publish.properties.message_expiry_interval = Some(400);
    world.publish_with(publisher, &publish);
    world.disconnect(publisher, ReasonCode::Success);
    // Nobody hears of the time that passes until then.
    world.now = world.now.after_secs(300);
    world.restart();
    world.wait(290);
    assert_eq!(world.engine.view().sessions(), 2);
    let again = world.connect_with(&lasting(Version::V5, "s"));
    world.expect(again, &["CONNACK Success present"]);
    assert_eq!(world.dropped(DropReason::Expired), 1);
    world.cut(again);
    world.wait(309);
    assert_eq!(world.engine.view().sessions(), 2);
    world.restart();
    world.wait(2);
    // Who was connected when the first process ended was away from then on, also in the third.
    assert!(world.engine.view().session("online").is_none());
    world.wait(289);
    assert_eq!((world.engine.view().sessions(), world.store.records(Time::ZERO).count()), (0, 0));
}

/// What was kept at QoS 0 for a client that was away is sent once the store does not have it any more.
#[test]
fn what_is_sent_at_qos_0_does_not_come_again() {
    let mut world = World::new(Config { queue_qos0_offline: true, ..durable() });
    let subscriber = world.persistent(Version::V5, "s");
    world.subscribe(subscriber, "t", AtLeastOnce);
    world.cut(subscriber);
    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", "once", QoS::AtMostOnce, 0);
    assert_eq!(world.restart().queued, 1);
    let again = world.connect_with(&lasting(Version::V5, "s"));
    world.expect(again, &["CONNACK Success present", "PUBLISH q0 t once"]);
    assert_eq!((world.restart().queued, world.store.queued()), (0, 0));

    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", "twice", QoS::AtMostOnce, 0);
    // That it is taken out is not kept when the process ends.
    world.batches_left = Some(1);
    let again = world.connect_with(&lasting(Version::V5, "s"));
    world.expect(again, &["CONNACK Success present"]);
    assert_eq!(world.restart().queued, 1);
    let again = world.connect_with(&lasting(Version::V5, "s"));
    world.expect(again, &["CONNACK Success present", "PUBLISH q0 t twice"]);
}

/// A timer has its own time, also where the broker is called later: for the next process as well.
#[test]
fn a_late_call_makes_nobody_younger() {
    let mut world = World::new(durable());
    world.connect_with(&Connect { keep_alive: 10, ..lasting(Version::V5, "s") });
    world.now = world.now.after_secs(300);
    world.handle(Input::Tick);
    let ends_at = |world: &World| world.engine.view().session("s").and_then(|session| session.ends_at());
    let before = ends_at(&world);
    assert!(before.is_some());
    world.restart();
    assert_eq!(ends_at(&world), before);
}

/// [MQTT-3.1.2-8]: with the process every connection has ended.
#[test]
fn wills_survive_with_their_delay() {
    let mut world = World::new(durable());
    let watcher = world.persistent(Version::V5, "w");
    world.subscribe(watcher, "#", AtLeastOnce);
    for (client_id, delay, lasts) in [("clean", 30, false), ("now", 0, true), ("later", 30, true)] {
        let connect = if lasts { lasting(Version::V5, client_id) } else { clean(Version::V5, client_id) };
        world.connect_with(&Connect { will: Some(will(client_id, delay)), ..connect });
    }
    let away = world.connect_with(&Connect { will: Some(will("away", 30)), ..lasting(Version::V5, "away") });
    world.cut(away);
    let cancelled = world.connect_with(&Connect { will: Some(will("x", 0)), ..lasting(Version::V5, "x") });
    world.disconnect(cancelled, ReasonCode::Success);
    let back = world.connect_with(&Connect { will: Some(will("y", 30)), ..lasting(Version::V5, "y") });
    world.cut(back);
    world.connect_with(&lasting(Version::V5, "y"));
    world.now = world.now.after_secs(10);
    assert_eq!(world.restart().wills, 4);
    let watcher = world.connect_with(&lasting(Version::V5, "w"));
    let topics = |world: &mut World| -> Vec<String> {
        let lines = world.take(watcher).into_iter().filter(|line| line.starts_with("PUBLISH"));
        lines.filter_map(|line| line.split(' ').rev().nth(1).map(ToString::to_string)).collect()
    };
    assert_eq!(topics(&mut world), ["clean", "now"]);
    world.wait(19);
    assert_eq!(topics(&mut world), [""; 0]);
    world.wait(1);
    assert_eq!(topics(&mut world), ["away"]);
    world.restart();
    let watcher = world.connect_with(&lasting(Version::V5, "w"));
    world.wait(10);
    let lines = world.take(watcher);
    assert!(lines.last().unwrap().ends_with("later gone"), "{lines:?}");
    assert!(!world.store.records(world.now).any(|record| matches!(record, StoreOp::PutWill { .. })));
}

/// What waits for many is one message again.
#[test]
fn a_message_that_waits_for_several_is_kept_once() {
    let mut world = World::new(durable());
    for client_id in ["a", "b", "c"] {
        let conn = world.persistent(Version::V5, client_id);
        world.subscribe(conn, "t", AtLeastOnce);
        world.cut(conn);
    }
    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", "one", AtLeastOnce, 1);
    world.publish(publisher, "t", "two", AtLeastOnce, 2);
    let before = world.engine.view().messages();
    let report = world.restart();
    assert_eq!((report.queued, world.engine.view().messages(), before), (6, 2, 2));
}

/// INV-80: an acknowledgement waits for what its message has led to, whoever else gets it.
#[test]
fn an_acknowledgement_waits_for_every_delivery() {
    for work_per_call in [1, 4096] {
        let mut world = World::new(Config { work_per_call, ..durable() });
        let stored = world.persistent(Version::V5, "stored");
        world.subscribe(stored, "t", AtLeastOnce);
        let clean = world.client(Version::V5, "clean");
        world.subscribe(clean, "t", ExactlyOnce);
        let publisher = world.client(Version::V5, "p");
        world.hold_stored = true;
        world.publish(publisher, "t", "x", ExactlyOnce, 1);
        world.settle();
        world.expect(publisher, &[]);
        world.release_stored();
        world.expect(publisher, &["PUBREC #1"]);
    }
}

/// A publisher that comes back in the midst of its message's fan-out hears of it when that is over.
#[test]
fn a_message_that_comes_again_waits_for_its_fan_out() {
    let mut world = World::new(Config { work_per_call: 1, ..durable() });
    for number in 0..90 {
        let subscriber = world.client(Version::V5, &format!("s{number}"));
        world.subscribe(subscriber, "t", QoS::AtMostOnce);
    }
    let publisher = world.persistent(Version::V5, "p");
    world.publish(publisher, "t", "x", ExactlyOnce, 1);
    world.cut(publisher);
    let again = world.persistent(Version::V5, "p");
    let publish = mqtt_proto::Publish { dup: true, ..message("t", "x", ExactlyOnce, 1) };
    world.publish_with(again, &publish);
    world.expect(again, &[]);
    assert_eq!(world.engine.view().fanouts(), (1, 0), "its publisher is there again");
    world.settle();
    world.expect(again, &["PUBREC #1"]);
    world.restart();
    let again = world.persistent(Version::V5, "p");
    world.publish_with(again, &publish);
    world.expect(again, &["PUBREC #1"]);
    assert_eq!(world.engine.view().counters().routed, 0, "it was received before");
}

/// A client whose session ends with its connection, and what the broker tells of itself, are nothing to the store.
#[test]
fn the_store_is_not_asked_about_what_does_not_last() {
    let mut world = World::new(durable());
    world.hold_stored = true;
    let client = world.client(Version::V5, "c");
    world.subscribe(client, "t", AtLeastOnce);
    world.publish(client, "t", "x", AtLeastOnce, 1);
    world.expect(client, &["PUBLISH q1 #1 t x", "PUBACK #1"]);
    world.handle(Input::Command(Command::Publish(ApplicationMessage {
        topic: "$SYS/broker/version".into(),
        payload: "1".into(),
        qos: QoS::AtMostOnce,
        retain: true,
        ..ApplicationMessage::default()
    })));
    assert_eq!((world.batches, world.store.records(world.now).count()), (0, 0));
}
