//! Which member of a shared subscription gets a message.

mod common;

use broker_engine::{Config, Engine, HashKey, Seed, SharedStrategy};
use common::World;
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce};
use mqtt_proto::{Packet, SubscribeOptions, Version};

#[test]
fn shared_subscriptions_by_strategy() {
    let cases = [
        (SharedStrategy::RoundRobin, [2, 2, 2]),
        (SharedStrategy::Sticky, [6, 0, 0]),
        (SharedStrategy::LeastInflight, [2, 2, 2]),
    ];
    for (shared_strategy, wanted) in cases {
        let mut world = World::new(Config { shared_strategy, ..Config::default() });
        let publisher = world.client(Version::V5, "p");
        let members = ["a", "b", "c"].map(|name| {
            let conn = world.client(Version::V5, name);
            world.subscribe(conn, "$share/g/t", AtLeastOnce);
            conn
        });
        for number in 1..=6 {
            world.publish(publisher, "t", "x", AtLeastOnce, number);
        }
        assert_eq!(members.map(|conn| world.take(conn).len()), wanted, "{shared_strategy:?}");
    }
}

/// The name of a group is no level.
#[test]
fn a_shared_subscription_is_as_deep_as_its_filter() {
    let mut world = World::new(Config { max_topic_levels: 2, ..Config::default() });
    let client = world.client(Version::V5, "c");
    for (filter, answer) in [("$share/g/a/b", "SUBACK #9 00"), ("$share/g/a/b/c", "SUBACK #9 8f")] {
        world.subscribe_with(client, filter, SubscribeOptions::default(), None);
        world.expect(client, &[answer]);
    }
}

/// Whoever's turn it would be: the next message goes to the one that has acknowledged.
#[test]
fn the_member_with_the_least_in_flight_is_next() {
    let shared_strategy = SharedStrategy::LeastInflight;
    let mut world = World::new(Config { shared_strategy, ..Config::default() });
    let publisher = world.client(Version::V5, "p");
    let members = ["a", "b", "c"].map(|name| {
        let conn = world.client(Version::V5, name);
        world.subscribe(conn, "$share/g/t", AtLeastOnce);
        conn
    });
    for number in 1..=3 {
        world.publish(publisher, "t", "x", AtLeastOnce, number);
    }
    assert_eq!(members.map(|conn| world.take(conn).len()), [1, 1, 1]);
    for id in 1..=3 {
        world.ack(members[1], Packet::PubAck, id);
        world.publish(publisher, "t", "x", AtLeastOnce, 9);
        assert_eq!(members.map(|conn| world.take(conn).len()), [0, 1, 0]);
    }
}

/// The load of a member is what is in flight to it and what waits for it.
#[test]
fn the_least_loaded_member_has_the_least_that_waits() {
    let shared_strategy = SharedStrategy::LeastInflight;
    let mut world = World::new(Config { shared_strategy, max_inflight: 1, ..Config::default() });
    let publisher = world.client(Version::V5, "p");
    let members = ["a", "b"].map(|name| {
        let conn = world.client(Version::V5, name);
        world.subscribe(conn, "$share/g/t", AtLeastOnce);
        world.subscribe(conn, name, AtLeastOnce);
        conn
    });
    // One in flight for each, and three more that wait for the first.
    for (number, topic) in (1..).zip(["a", "a", "a", "a", "b"]) {
        world.publish(publisher, topic, "own", AtLeastOnce, number);
    }
    for number in 6..9 {
        world.publish(publisher, "t", "shared", AtLeastOnce, number);
    }
    let queued = ["a", "b"].map(|name| world.engine.view().session(name).unwrap().queued());
    assert_eq!(queued, [3, 3]);
    assert_eq!(members.map(|member| world.take(member).len()), [1, 1]);
}

/// Random choices come from the seed; what is chosen by hash depends on publisher or topic alone.
#[test]
fn shared_subscriptions_by_chance_and_by_hash() {
    // Who of three members got the message, for 60 messages from 10 publishers to 6 topics each.
    let run = |shared_strategy, seed| {
        let mut world = World::new(Config { shared_strategy, ..Config::default() });
        world.engine = Engine::new(world.engine.view().config().clone(), Seed(seed), HashKey([seed, 9]));
        let members = ["a", "b", "c"].map(|name| {
            let conn = world.client(Version::V5, name);
            world.subscribe(conn, "$share/g/t/+", AtMostOnce);
            conn
        });
        let publishers: Vec<_> =
            (0..10).map(|number| world.client(Version::V311, &format!("publisher {number}"))).collect();
        let mut chosen = Vec::new();
        for publisher in publishers {
            for topic in 0..6 {
                world.publish(publisher, &format!("t/{topic}"), "x", AtMostOnce, 0);
                let got = members.map(|member| world.take(member).len());
                assert_eq!(got.iter().sum::<usize>(), 1, "one copy for the group");
                chosen.push(got.iter().position(|count| *count == 1).unwrap());
            }
        }
        for member in 0..3 {
            assert!(chosen.contains(&member), "{shared_strategy:?}: each member gets some of {chosen:?}");
        }
        chosen
    };
    let random = run(SharedStrategy::Random, 1);
    assert_eq!(random, run(SharedStrategy::Random, 1), "equal seeds, equal choices");
    assert_ne!(random, run(SharedStrategy::Random, 2), "another seed, other choices");
    let by_client = run(SharedStrategy::HashClient, 1);
    assert!(by_client.chunks(6).all(|same| same.iter().all(|member| *member == same[0])), "{by_client:?}");
    let by_topic = run(SharedStrategy::HashTopic, 1);
    assert!(by_topic.chunks(6).all(|publisher| publisher == &by_topic[..6]), "{by_topic:?}");
    assert_eq!(
        (by_client, by_topic),
        (run(SharedStrategy::HashClient, 2), run(SharedStrategy::HashTopic, 2))
    );
}

/// An offline member is skipped while there is another; a group and a filter of one's own give a copy each.
#[test]
fn shared_subscriptions_and_who_is_there() {
    let mut world = World::new(Config::default());
    let publisher = world.client(Version::V5, "p");
    let away = world.persistent(Version::V5, "away");
    let here = world.client(Version::V5, "here");
    for conn in [away, here] {
        world.subscribe(conn, "$share/g/t", AtLeastOnce);
    }
    world.subscribe(here, "t", AtMostOnce);
    world.cut(away);
    world.publish(publisher, "t", "x", AtLeastOnce, 1);
    world.publish(publisher, "t", "y", AtLeastOnce, 2);
    let mut got = world.take(here);
    got.sort();
    assert_eq!(got, ["PUBLISH q0 t x", "PUBLISH q0 t y", "PUBLISH q1 #1 t x", "PUBLISH q1 #2 t y"]);
}
