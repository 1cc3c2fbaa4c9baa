//! Matches and fan-outs that take more than one call: what they cost a call, what waits, and what does not overtake.

mod common;

use broker_engine::{Config, ConnId, Engine, HashKey, Input};
use common::{World, clean, id_of};
use mqtt_proto::QoS::{self, AtLeastOnce, AtMostOnce};
use mqtt_proto::{
    Connect, Packet, Subscribe, SubscribeFilters, SubscribeOptions, TopicName, UserProperties, Version, Will,
    WillProperties,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn subscribe_to(world: &mut World, conn: ConnId, filters: &[String], qos: QoS) {
    let options = SubscribeOptions { qos, ..Default::default() };
    let list: Vec<_> = filters.iter().map(|filter| (&filter[..], options)).collect();
    world.send(
        conn,
        &Packet::Subscribe(Subscribe {
            packet_id: id_of(1),
            subscription_id: None,
            user_properties: UserProperties::default(),
            filters: SubscribeFilters::List(&list),
        }),
    );
    assert!(!world.take(conn)[0].contains(" 97"));
}

fn matching_steps(world: &World) -> u64 {
    world.engine.view().counters().matching_steps
}

/// INV-64: one client's 776 filters of 126 levels, each level `+` or `a` by a coin, and a topic that fits them all. A
/// call looks at as many nodes as `work_per_call` and its bytes allow, and others get their answers in between.
#[test]
fn a_topic_that_fits_everything_does_not_hold_up_a_call() {
    let mut world = World::new(Config::default());
    let subscriber = world.client(Version::V5, "s");
    let mut coin = 1_u64;
    let mut level = || {
        coin = coin.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if coin >> 63 == 0 { "a" } else { "+" }
    };
    for _ in 0..8 {
        let filters: Vec<String> =
            (0..97).map(|_| (0..126).map(|_| level()).collect::<Vec<_>>().join("/")).collect();
        subscribe_to(&mut world, subscriber, &filters, AtMostOnce);
    }
    let (publisher, other) = (world.client(Version::V5, "p"), world.client(Version::V5, "o"));
    let topic = ["a"; 126].join("/");
    let most = u64::from(world.engine.view().config().work_per_call) + topic.len() as u64;
    world.publish(publisher, &topic, "m", AtLeastOnce, 1);
    let mut calls = 0;
    let mut before = 0;
    while world.engine.view().fanouts().0 > 0 {
        let steps = matching_steps(&world);
        assert!(steps - before <= most, "{} steps in a call", steps - before);
        before = steps;
        world.expect(publisher, &[]);
        world.send(other, &Packet::PingReq);
        world.expect(other, &["PINGRESP"]);
        calls += 1;
    }
    assert!(calls > 10, "{calls} calls, {before} steps");
    world.expect(publisher, &["PUBACK #1"]);
    world.expect(subscriber, &[&format!("PUBLISH q0 {topic} m")]);

    // Nothing is kept of it, however many topics there are.
    let used = world.engine.view().memory_used();
    for number in 0..20 {
        world.publish(publisher, &format!("{topic}{number}"), "m", AtMostOnce, 0);
        world.settle();
    }
    assert_eq!(world.engine.view().memory_used(), used);
}

/// A level of thousands of bytes is not compared with hundreds of nodes for the price of as many short ones.
#[test]
fn long_levels_cost_their_bytes() {
    let mut cost = [1, 64 * 40].map(|bytes| {
        let mut world = World::new(Config::default());
        let client = world.client(Version::V5, "c");
        world.subscribe(client, "+/x", AtMostOnce);
        let before = matching_steps(&world);
        world.publish(client, &format!("y/{}", "z".repeat(bytes)), "", AtMostOnce, 0);
        matching_steps(&world) - before
    });
    cost[1] -= cost[0];
    assert_eq!(cost, [2, 40]);
}

/// A match that is remembered costs what it cost before, or a restored engine would slice its work otherwise.
#[test]
fn a_remembered_match_costs_the_same() {
    let mut world = World::new(Config::default());
    let client = world.client(Version::V5, "c");
    world.subscribe(client, "a/+/c", AtMostOnce);
    let mut costs = BTreeSet::new();
    for _ in 0..3 {
        let before = matching_steps(&world);
        world.publish(client, "a/b/c", "", AtMostOnce, 0);
        costs.insert(matching_steps(&world) - before);
    }
    assert_eq!(costs, BTreeSet::from([4]));
}

/// What is remembered counts as memory, and is the first to go when that is short.
#[test]
fn remembered_matches_are_accounted_for() {
    let mut world = World::new(Config { memory_high: Some(100_000), ..Config::default() });
    let client = world.client(Version::V5, "c");
    world.subscribe(client, "a/+", AtMostOnce);
    let before = world.engine.view().memory_used();
    let mut most = 0;
    for number in 0..1000 {
        world.publish(client, &format!("a/{number}"), "", AtMostOnce, 0);
        let used = world.engine.view().memory_used();
        if number % 100 == 50 {
            let restored = Engine::restore(&world.engine.snapshot(), HashKey([5, 6])).unwrap();
            assert_eq!(restored.view().memory_used(), used);
        }
        most = most.max(used);
    }
    assert!(most > 99_000, "{most}");
    world.wait(1);
    assert!(world.engine.view().memory_used() < most);
    world.unsubscribe(client, "a/+");
    assert!(world.engine.view().memory_used() < before, "nothing left to match, nothing remembered");
}

/// Those who are subscribed to one filter are not copied for a fan-out that takes many calls, and still it is those of its
/// first moment who get the message: not who comes meanwhile, but also who leaves, in the order and with the QoS of then.
#[test]
fn a_crowd_is_that_of_the_first_moment() {
    let mut world = World::new(Config { work_per_call: 1, ..Config::default() });
    let subscribers: Vec<_> = (0..60)
        .map(|number| {
            let conn = world.client(Version::V311, &format!("s{number}"));
            world.subscribe(conn, "t", AtMostOnce);
            conn
        })
        .collect();
    let late = world.client(Version::V311, "late");
    let publisher = world.client(Version::V5, "p");
    let before = world.engine.view().memory_used();
    world.publish(publisher, "t", "m", AtLeastOnce, 1);
    let copied = world.engine.view().memory_used() - before;
    assert!(copied < 60 * 24, "{copied} bytes for a message to 60");
    world.subscribe(late, "t", AtLeastOnce);
    for leaving in &subscribers[50..] {
        world.unsubscribe(*leaving, "t");
    }
    for raised in &subscribers[40..50] {
        world.subscribe(*raised, "t", AtLeastOnce);
    }
    assert!(world.engine.view().fanouts().0 > 0, "it goes on");
    world.settle();
    let got =
        |world: &mut World, conn| world.take(conn).iter().filter(|line| *line == "PUBLISH q0 t m").count();
    assert!(subscribers.iter().all(|conn| got(&mut world, *conn) == 1));
    assert_eq!(got(&mut world, late), 0);
    assert_eq!(world.take(publisher), ["PUBACK #1"]);
}

/// The same where filters overlap or are shared: one copy for each session and each group of that moment, at the highest
/// QoS and with all Subscription Identifiers of then, whatever is given up and taken on meanwhile.
#[test]
fn overlapping_crowds_are_those_of_the_first_moment() {
    let mut world = World::new(Config { work_per_call: 1, ..Config::default() });
    let member = world.client(Version::V5, "member");
    for number in 0..10 {
        world.subscribe(member, &format!("$share/g{number}/t"), AtMostOnce);
    }
    let mut wanted = Vec::new();
    for number in 0..40 {
        let conn = world.client(Version::V5, &format!("s{number}"));
        let held: &[_] = match number {
            0..10 => &[("t", 1, AtMostOnce)],
            10..20 => &[("t", 1, AtMostOnce), ("+", 2, AtLeastOnce)],
            20..30 => &[("#", 3, AtMostOnce), ("t", 1, AtLeastOnce), ("+", 2, AtMostOnce)],
            _ => &[("+", 2, AtLeastOnce), ("#", 3, AtLeastOnce)],
        };
        for (filter, id, qos) in held {
            let options = SubscribeOptions { qos: *qos, ..SubscribeOptions::default() };
            world.subscribe_with(conn, filter, options, Some(*id));
        }
        let copy =
            ["q0 sub=1", "q1 #1 sub=1 sub=2", "q1 #1 sub=1 sub=2 sub=3", "q1 #1 sub=2 sub=3"][number / 10];
        wanted.push((conn, vec![format!("PUBLISH {copy} t m")]));
    }
    wanted.push((member, vec!["PUBLISH q0 t m".to_owned(); 10]));
    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", "m", AtLeastOnce, 1);
    // The first group had its turn; another one moves into its place.
    world.unsubscribe(member, "$share/g0/t");
    wanted.push((world.client(Version::V5, "late"), vec![]));
    let late = wanted.len() - 1;
    for (conn, _) in [&wanted[late], &wanted[5], &wanted[12], &wanted[25], &wanted[33]] {
        for (left, taken_on) in [("t", "t/#"), ("#", "+/#"), ("+", "t")] {
            world.subscribe_with(*conn, taken_on, SubscribeOptions::default(), Some(9));
            world.unsubscribe(*conn, left);
        }
    }
    assert!(world.engine.view().fanouts().0 > 0, "it goes on");
    world.settle();
    for (number, (conn, wanted)) in wanted.into_iter().enumerate() {
        let mut got = world.take(conn);
        got.retain(|line| line.starts_with("PUBLISH"));
        assert_eq!(got, wanted, "client {number}");
    }
    assert_eq!(world.take(publisher), ["PUBACK #1"]);
}

/// Many publications to many subscribers: of those that wait there is only the message, whoever published it.
#[test]
fn waiting_publications_have_no_recipients_yet() {
    let mut world = World::new(Config { work_per_call: 1, ..Config::default() });
    let subscribers: Vec<_> = (0..60)
        .map(|number| {
            let conn = world.client(Version::V311, &format!("s{number}"));
            world.subscribe(conn, "t", AtMostOnce);
            conn
        })
        .collect();
    let will = Will {
        topic: TopicName::parse("t").unwrap(),
        payload: b"w",
        qos: AtMostOnce,
        retain: false,
        properties: WillProperties::default(),
    };
    let publishers: Vec<_> = (0..40)
        .map(|number| {
            let name = format!("p{number}");
            world.connect_with(&Connect { will: Some(will), ..clean(Version::V5, &name) })
        })
        .collect();
    // Where filters overlap, those who are not in the largest list are put together before the first gets its copy.
    for subscriber in &subscribers[30..] {
        world.subscribe(*subscriber, "+", AtMostOnce);
    }
    let kept = |world: &World| (world.engine.snapshot().len(), world.engine.view().memory_used());
    let first = world.client(Version::V5, "first");
    let before = kept(&world);
    world.publish(first, "t", "f", AtMostOnce, 0);
    for _ in 0..29 {
        world.handle(Input::Tick);
    }
    let (size, used) = kept(&world);
    assert!(used - before.1 > 30 * 24, "the first has its recipients, and they count");
    for publisher in &publishers[..20] {
        world.publish(*publisher, "t", "p", AtMostOnce, 0);
    }
    let (more, more_used) = kept(&world);
    assert!(more - size < 20 * 100, "{} bytes for 20 messages", more - size);
    assert!(more_used - used > 20 * 300, "{} bytes accounted for 20 messages", more_used - used);
    // Ten of them leave with their message on its way; and twenty others leave their wills.
    for publisher in &publishers[10..] {
        world.cut(*publisher);
    }
    assert_eq!(world.engine.view().fanouts(), (1 + 20 + 30, 10 + 30));
    assert!(kept(&world).0 < more + 30 * 100);
    world.settle();
    assert_eq!(world.engine.view().fanouts(), (0, 0));
    for subscriber in subscribers {
        let got = world.take(subscriber);
        let of = |what: &str| got.iter().filter(|line| line.ends_with(what)).count();
        assert_eq!((&got[0][..], of(" p"), of(" w")), ("PUBLISH q0 t f", 20, 30));
    }
}

/// A publisher that waited for nobody is told so.
#[test]
fn a_message_that_waited_in_vain_is_acknowledged_as_such() {
    let mut world = World::new(Config { work_per_call: 1, ..Config::default() });
    let publishers = ["p", "q"].map(|name| world.client(Version::V5, name));
    for number in 0..5 {
        let conn = world.client(Version::V5, &format!("s{number}"));
        world.subscribe(conn, "t", AtMostOnce);
    }
    world.publish(publishers[0], "t", "", AtLeastOnce, 1);
    world.publish(publishers[1], "u", "", AtLeastOnce, 1);
    world.expect(publishers[1], &[]);
    world.settle();
    world.expect(publishers[0], &["PUBACK #1"]);
    world.expect(publishers[1], &["PUBACK #1 No matching subscribers"]);
}

/// Looking for a connected member of a large group is work as well.
#[test]
fn absent_members_of_a_group_are_charged_for() {
    let mut world = World::new(Config { work_per_call: 4, ..Config::default() });
    for number in 0..200 {
        let conn = world.persistent(Version::V5, &format!("away{number}"));
        world.subscribe(conn, "$share/g/t", AtLeastOnce);
        world.cut(conn);
    }
    world.settle();
    let publisher = world.client(Version::V5, "p");
    let packet = common::encoded(&Packet::Publish(common::message("t", "m", AtMostOnce, 0)), Version::V5);
    world.bytes(publisher, &packet.repeat(10));
    let received = world.engine.view().counters().publish_received[0];
    assert_eq!(received, 2, "one such search uses up a call, and the next message waits");
    world.settle();
    assert_eq!(world.engine.view().counters().publish_received[0], 10);
}

#[derive(Clone, Debug)]
enum Event {
    Publish(usize, &'static str),
    Subscribe(usize, &'static str),
    Unsubscribe(usize, &'static str),
    Tick,
    Restore,
}

fn event() -> impl Strategy<Value = Event> {
    let filter =
        || prop::sample::select(vec!["#", "a/#", "+/a/+/a", "a/+/+/+", "a/a/a/a", "a/a/#", "+/+/+/b"]);
    let topic = prop::sample::select(vec!["a/a/a/a", "a/a/a/b", "a/a", "b"]);
    prop_oneof![
        4 => (0..3_usize, topic).prop_map(|(who, topic)| Event::Publish(who, topic)),
        2 => (0..2_usize, filter()).prop_map(|(who, filter)| Event::Subscribe(who, filter)),
        2 => (0..2_usize, filter()).prop_map(|(who, filter)| Event::Unsubscribe(who, filter)),
        2 => Just(Event::Tick),
        1 => Just(Event::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever comes between the slices of matches and fan-outs: who is subscribed all the time gets everything once,
    /// in each publisher's order and before it is acknowledged; who comes and goes gets nothing twice.
    #[test]
    fn nothing_is_lost_doubled_or_overtaken(
        events in prop::collection::vec(event(), 1..80),
        work_per_call in 1..6_u32,
    ) {
        let mut world = World::new(Config { work_per_call, ..Config::default() });
        let steady = world.client(Version::V5, "steady");
        let all: Vec<String> = (0..16)
            .map(|number| (0..4).map(|bit| if number >> bit & 1 == 0 { "a" } else { "+" }).collect::<Vec<_>>().join("/"))
            .chain(["#".into(), "a/#".into()])
            .collect();
        subscribe_to(&mut world, steady, &all, AtLeastOnce);
        let publishers = ["p0", "p1", "p2"].map(|name| world.client(Version::V5, name));
        let guests = ["g0", "g1"].map(|name| world.client(Version::V311, name));
        let mut published = [0_u16; 3];
        let mut got: BTreeMap<String, Vec<u16>> = BTreeMap::new();
        let mut acknowledged = [0_u16; 3];
        for event in events.iter().map(Some).chain([None]) {
            match event {
                Some(Event::Publish(who, topic)) => {
                    published[*who] += 1;
                    let number = published[*who];
                    world.publish(publishers[*who], topic, &format!("p{who} {number}"), AtLeastOnce, number);
                }
                Some(Event::Subscribe(who, filter)) => {
                    world.subscribe_with(guests[*who], filter, SubscribeOptions::default(), None);
                }
                Some(Event::Unsubscribe(who, filter)) => world.unsubscribe(guests[*who], filter),
                Some(Event::Tick) => world.handle(Input::Tick),
                Some(Event::Restore) => {
                    let snapshot = world.engine.snapshot();
                    world.engine = Engine::restore(&snapshot, HashKey([5, 6])).unwrap();
                }
                None => world.settle(),
            }
            for line in world.take(steady) {
                let words: Vec<_> = line.split(' ').rev().take(2).collect();
                got.entry(words[1].into()).or_default().push(words[0].parse().unwrap());
            }
            for (who, publisher) in publishers.iter().enumerate() {
                for line in world.take(*publisher) {
                    acknowledged[who] += 1;
                    prop_assert_eq!(line, format!("PUBACK #{}", acknowledged[who]));
                    let there = got.get(&format!("p{who}")).is_some_and(|got| got.contains(&acknowledged[who]));
                    prop_assert!(there, "acknowledged before it was delivered");
                }
            }
        }
        prop_assert_eq!(acknowledged, published);
        for (who, count) in published.iter().enumerate().filter(|(_, count)| **count > 0) {
            prop_assert_eq!(&got[&format!("p{who}")], &(1..=*count).collect::<Vec<_>>());
        }
        for guest in guests {
            let lines: Vec<_> = world.take(guest).into_iter().filter(|line| line.starts_with("PUBLISH")).collect();
            prop_assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len());
        }
        prop_assert_eq!(world.engine.view().fanouts(), (0, 0));
    }
}
