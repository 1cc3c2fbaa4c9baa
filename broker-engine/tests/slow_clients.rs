//! Clients that read slowly, or not at all, or do not acknowledge: how long they are borne, and what they cost.

mod common;

use broker_engine::{Answer, Config, ConnId, Input, Interest};
use common::{World, clean, encoded, lasting, message};
use mqtt_proto::QoS::{AtLeastOnce, ExactlyOnce};
use mqtt_proto::{Connect, Packet, SubscribeOptions, Version};

fn client(config: Config, keep_alive: u16) -> (World, ConnId) {
    let mut world = World::new(config);
    let client = world.connect_with(&Connect { keep_alive, ..clean(Version::V5, "c") });
    world.take(client);
    (world, client)
}

/// Seconds until the client is closed, and what it is told.
fn seconds_to_the_end(world: &mut World, client: ConnId) -> (u32, String) {
    let mut seconds = 0;
    while !world.is_closed(client) && seconds < 1000 {
        world.wait(1);
        seconds += 1;
    }
    (seconds, world.take(client).join(", "))
}

/// Its PINGREQs stay in the socket while it is not read, so its silence says nothing; that it reads does.
#[test]
fn a_client_that_reads_slowly_is_alive() {
    for keep_alive in [0, 2] {
        let (mut world, client) = client(Config::default(), keep_alive);
        world.handle(Input::Backlog { conn: client, unsent: 1 << 20 });
        assert!(world.paused.contains(&client));
        for step in 1..15 {
            world.wait(59);
            assert!(!world.is_closed(client), "after {step} minutes");
            world.handle(Input::Backlog { conn: client, unsent: (1 << 20) - step * (64 << 10) });
        }
        // Read again, it has its whole keep-alive time to say something.
        world.handle(Input::Backlog { conn: client, unsent: 0 });
        assert!(world.paused.is_empty());
        world.wait(2);
        world.send(client, &Packet::PingReq);
        world.expect(client, &["PINGRESP"]);
        if keep_alive > 0 {
            let end = (3, "DISCONNECT Keep Alive timeout, closed".into());
            assert_eq!(seconds_to_the_end(&mut world, client), end);
        }
    }
}

/// A socket that takes everything at once is never reported as full: more than `egress_high` goes out in several calls.
#[test]
fn what_one_call_does_not_send_the_next_one_does() {
    let config = Config { egress_high: 100, ..Config::default() };
    let (mut world, client) = client(config, 0);
    world.subscribe(client, "t", AtLeastOnce);
    let publish = |id| encoded(&Packet::Publish(message("t", "x", AtLeastOnce, id)), Version::V5);
    let all: Vec<u8> = (1..=50).flat_map(publish).collect();
    world.bytes(client, &all);
    assert!(world.engine.view().session("c").unwrap().queued() > 0);
    world.settle();
    let lines = world.take(client);
    for name in ["PUBLISH", "PUBACK"] {
        assert_eq!(lines.iter().filter(|line| line.starts_with(name)).count(), 50, "{name}");
    }
}

/// One that takes nothing is closed in the end, whatever keep-alive it asked for.
#[test]
fn a_client_that_takes_nothing_is_closed() {
    for (keep_alive, seconds) in [(0, 60), (2, 60), (100, 150)] {
        let (mut world, client) = client(Config::default(), keep_alive);
        world.wait(1);
        world.handle(Input::Backlog { conn: client, unsent: 300 << 10 });
        // What it is owed grows: that is not its doing.
        world.wait(1);
        world.handle(Input::Backlog { conn: client, unsent: 400 << 10 });
        let end = (seconds - 1, "DISCONNECT Quota exceeded, closed".into());
        assert_eq!(seconds_to_the_end(&mut world, client), end, "keep-alive {keep_alive}");
        assert_eq!(world.engine.view().counters().stall_timeouts, 1);
    }
}

/// Packets that wait behind a question are not silence either.
#[test]
fn packets_behind_a_question_are_heard() {
    let (mut world, client) = client(Config { interest: Interest::SUBSCRIBE, ..Config::default() }, 2);
    world.hold_questions = true;
    world.subscribe_with(client, "t", SubscribeOptions::default(), None);
    for _ in 0..4 {
        world.wait(1);
        world.send(client, &Packet::PingReq);
    }
    world.answer(Answer::Allow);
    world.expect(client, &["SUBACK #9 00", "PINGRESP", "PINGRESP", "PINGRESP", "PINGRESP"]);
}

/// In flight and waiting: each is bounded in bytes, whatever its number of messages.
#[test]
fn a_client_that_never_acknowledges_keeps_twice_its_share() {
    const SHARE: u32 = 100_000;
    for (size, in_flight, waiting) in [(1000, 100, 99), (30_000, 4, 3), (250_000, 1, 0)] {
        let config = Config { max_queued_bytes: SHARE, ..Config::default() };
        let mut world = World::new(config);
        let subscriber = world.persistent(Version::V5, "s");
        world.subscribe(subscriber, "t", AtLeastOnce);
        let publisher = world.client(Version::V5, "p");
        for id in 1..=300 {
            world.publish(publisher, "t", &"x".repeat(size), AtLeastOnce, id);
        }
        let view = world.engine.view();
        let session = view.session("s").unwrap();
        assert_eq!((session.inflight(), session.queued()), (in_flight, waiting), "{size}");
        let kept = session.inflight_bytes() + session.queued_bytes();
        assert!(kept <= 2 * u64::from(SHARE) + size as u64 + 1, "{kept}");
        // It comes back, gets what was in flight again, and nothing more.
        world.cut(subscriber);
        let again = world.connect_with(&lasting(Version::V5, "s"));
        assert_eq!(world.take(again).len(), 1 + in_flight);
    }
}

/// The bytes of a message are free again when it is acknowledged, which for QoS 2 is half way.
#[test]
fn acknowledged_bytes_make_room() {
    let mut world = World::new(Config { max_queued_bytes: 250, ..Config::default() });
    let subscriber = world.client(Version::V5, "s");
    world.subscribe(subscriber, "t", ExactlyOnce);
    let publisher = world.client(Version::V5, "p");
    let payload = "x".repeat(100);
    let publish = |world: &mut World, qos, id| world.publish(publisher, "t", &payload, qos, id);
    [ExactlyOnce, AtLeastOnce, AtLeastOnce, AtLeastOnce, AtLeastOnce]
        .into_iter()
        .zip(1..)
        .for_each(|(qos, id)| publish(&mut world, qos, id));
    let line = |qos: u8, id: u8| format!("PUBLISH q{qos} #{id} t {payload}");
    world.expect(subscriber, &[&line(2, 1), &line(1, 2), &line(1, 3)]);
    world.ack(subscriber, Packet::PubRec, 1);
    world.expect(subscriber, &["PUBREL #1", &line(1, 4)]);
    world.ack(subscriber, Packet::PubAck, 3);
    world.expect(subscriber, &[&line(1, 5)]);
    world.ack(subscriber, Packet::PubComp, 1);
    world.ack(subscriber, Packet::PubAck, 2);
    world.ack(subscriber, Packet::PubAck, 4);
    world.ack(subscriber, Packet::PubAck, 5);
    assert_eq!(world.engine.view().session("s").unwrap().inflight_bytes(), 0);
}
