//! Every limit of the configuration, met from below, exactly and from above: what is answered, and what is counted.
//!
//! The table is a snapshot for a person to review, `snapshots/limits__every_limit.snap`.

mod common;

use broker_engine::{Config, ConnId, DropReason, Durability, Input, Interest};
use common::{World, clean, id_of, lasting, message};
use mqtt_proto::QoS::{self, AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{
    Connect, Packet, Publish, Subscribe, SubscribeFilters, SubscribeOptions, Unsubscribe, UnsubscribeFilters,
    UserProperties, Version,
};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// A limit, a value for it, and what happens with an amount of what it limits.
struct Limit {
    /// As the configuration file has it.
    key: &'static str,
    value: u64,
    /// What the amount is of, where the key has more than one use.
    of: &'static str,
    try_amount: fn(Config, u64) -> String,
}

/// Settings that are no limits: choices, each with tests of its own.
const CHOICES: [&str; 18] = [
    "minimum_protocol_version",
    "obscure_not_authorized",
    "publish_rate_exceeded",
    "queue_full",
    "queue_qos0_offline",
    "retain_available",
    "wildcard_subscriptions",
    "subscription_ids",
    "shared_subscriptions",
    "shared_strategy",
    "overlap",
    "report_no_subscribers",
    "check_payload_format",
    "check_subscriptions",
    "allow_empty_client_id",
    "bind_session_to_user",
    "response_information",
    "durability",
];

const fn limit(key: &'static str, value: u64, try_amount: fn(Config, u64) -> String) -> Limit {
    Limit { key, value, of: "", try_amount }
}

const fn limit_of(
    key: &'static str,
    of: &'static str,
    value: u64,
    try_amount: fn(Config, u64) -> String,
) -> Limit {
    Limit { key, value, of, try_amount }
}

#[allow(clippy::too_many_lines)] // A table.
fn limits() -> Vec<Limit> {
    vec![
        limit("connect_timeout_ms", 10_000, |config, ms| {
            let mut world = World::new(config);
            let conn = world.open(Version::V5);
            world.wait_ms(ms);
            said(&mut world, conn)
        }),
        limit("max_packet_size_before_connect", 100, |config, bytes| connect_of(config, &text(bytes - 15))),
        limit("max_packet_size", 100, |config, bytes| publish_of(config, "t", &text(bytes - 8))),
        limit("max_client_id_length", 20, |config, bytes| connect_of(config, &text(bytes))),
        limit_of("max_topic_length", "topic name", 20, |config, bytes| publish_of(config, &text(bytes), "")),
        limit_of("max_topic_length", "topic filter", 20, |config, bytes| {
            subscribe_of(config, &[&text(bytes)])
        }),
        limit_of("max_topic_levels", "topic name", 5, |config, levels| publish_of(config, &deep(levels), "")),
        limit_of("max_topic_levels", "topic filter", 5, |config, levels| {
            subscribe_of(config, &[&deep(levels)])
        }),
        limit("max_user_properties", 3, |config, count| {
            user_properties_of(config, &vec![("k", "v"); usize::try_from(count).unwrap()])
        }),
        limit("max_user_property_bytes", 100, |config, bytes| {
            user_properties_of(config, &[("key", &text(bytes - 8))])
        }),
        limit_of("max_filters_per_packet", "SUBSCRIBE", 3, |config, count| {
            subscribe_of(config, &names(count))
        }),
        limit_of("max_filters_per_packet", "UNSUBSCRIBE", 3, |config, count| {
            let mut world = World::new(config);
            let conn = world.client(Version::V5, "c");
            world.send(
                conn,
                &Packet::Unsubscribe(Unsubscribe {
                    packet_id: id_of(9),
                    user_properties: UserProperties::default(),
                    filters: UnsubscribeFilters::List(&names(count)),
                }),
            );
            said(&mut world, conn)
        }),
        limit("max_subscriptions_per_session", 3, |config, count| subscribe_of(config, &names(count))),
        limit("max_filter_levels_per_session", 5, |config, levels| {
            subscribe_of(config, &["a/b", &deep(levels - 2)])
        }),
        limit("max_subscriptions", 3, |config, count| {
            let mut world = World::new(config);
            let other = world.client(Version::V5, "other");
            world.subscribe(other, "t", AtMostOnce);
            let conn = world.client(Version::V5, "c");
            subscribe(&mut world, conn, &names(count - 1));
            said(&mut world, conn)
        }),
        limit("match_cache_entries", 3, topics_remembered),
        limit("max_connections", 3, |config, count| {
            let mut world = World::new(config);
            (1..count).for_each(|number| _ = world.client(Version::V5, &number.to_string()));
            let last = world.connect_with(&clean(Version::V5, "last"));
            said(&mut world, last)
        }),
        limit("max_unowned_fanouts", 3, |config, count| {
            let mut world = World::new(Config { work_per_call: 1, ..config });
            let publishers: Vec<_> =
                (0..count).map(|number| world.client(Version::V5, &number.to_string())).collect();
            for number in 0..50 {
                let conn = world.client(Version::V5, &format!("s{number}"));
                world.subscribe(conn, "t", AtMostOnce);
            }
            for publisher in publishers {
                world.publish(publisher, "t", "", AtMostOnce, 0);
                world.cut(publisher);
            }
            let conn = world.connect_with(&clean(Version::V5, "c"));
            said(&mut world, conn)
        }),
        limit("max_sessions", 3, |config, count| {
            let mut world = World::new(config);
            for number in 1..count {
                let conn = world.persistent(Version::V5, &number.to_string());
                world.cut(conn);
            }
            let last = world.connect_with(&clean(Version::V5, "last"));
            said(&mut world, last)
        }),
        limit("receive_maximum", 3, |config, count| {
            let mut world = World::new(config);
            let conn = world.client(Version::V5, "c");
            (1..=count).for_each(|id| world.publish(conn, "t", "", ExactlyOnce, u16::try_from(id).unwrap()));
            said(&mut world, conn)
        }),
        limit("max_inflight", 3, |config, count| {
            let mut world = World::new(config);
            let conn = world.client(Version::V5, "c");
            world.subscribe(conn, "t", AtLeastOnce);
            messages(&mut world, count, 0);
            said(&mut world, conn)
        }),
        limit("max_queued_messages", 3, |config, count| queue_of(config, count, 100)),
        limit_of("max_queued_bytes", "in flight", size_of_message(), |config, bytes| {
            let payload = 100 + bytes - u64::from(config.max_queued_bytes);
            let mut world = World::new(config);
            let conn = world.client(Version::V5, "c");
            world.subscribe(conn, "t", AtLeastOnce);
            let publisher = messages(&mut world, 1, payload);
            world.take(conn);
            world.publish(publisher, "t", "next", AtLeastOnce, 9);
            said(&mut world, conn)
        }),
        limit_of("max_queued_bytes", "waiting", 3 * size_of_message(), |config, bytes| {
            let last = 100 + bytes - u64::from(config.max_queued_bytes);
            queue_of(config, 3, last)
        }),
        limit("queue_window_messages", 3, |config, count| queue_of(stored(config), count, 100)),
        limit("queue_window_bytes", 3 * size_of_message(), |config, bytes| {
            let last = 100 + bytes - u64::from(config.queue_window_bytes);
            queue_of(stored(config), 3, last)
        }),
        limit("egress_high", 5000, |config, unsent| {
            backlog(&mut World::new(Config { egress_low: 100, ..config }), &[u32::try_from(unsent).unwrap()])
        }),
        limit("egress_low", 1000, |config, unsent| {
            let unsent = u32::try_from(unsent).unwrap();
            backlog(&mut World::new(Config { egress_high: 5000, ..config }), &[6000, unsent])
        }),
        limit("stall_timeout_ms", 60_000, |config, ms| {
            let mut world = World::new(config);
            let conn = world.client(Version::V5, "c");
            world.handle(Input::Backlog { conn, unsent: 300 << 10 });
            world.wait_ms(ms);
            said(&mut world, conn)
        }),
        limit("topic_alias_maximum", 3, |config, alias| {
            let mut world = World::new(config);
            let conn = world.client(Version::V5, "c");
            let mut publish = message("t", "", AtMostOnce, 1);
            publish.properties.topic_alias = Some(u16::try_from(alias).unwrap());
            world.publish_with(conn, &publish);
            said(&mut world, conn)
        }),
        limit("max_outbound_topic_aliases", 3, |config, count| {
            let mut world = World::new(config);
            let mut connect = clean(Version::V5, "c");
            connect.properties.topic_alias_maximum = Some(100);
            let conn = world.connect_with(&connect);
            world.take(conn);
            world.subscribe(conn, "#", AtMostOnce);
            let publisher = world.client(Version::V5, "p");
            for name in names(count) {
                world.publish(publisher, name, "", AtMostOnce, 1);
            }
            said(&mut world, conn)
        }),
        limit("max_session_expiry", 60, |config, seconds| {
            let mut world = World::new(config);
            let mut connect = lasting(Version::V5, "c");
            connect.properties.session_expiry_interval = Some(u32::try_from(seconds).unwrap());
            world.connect_with(&connect);
            format!("expiry {}", world.engine.view().session("c").unwrap().expiry())
        }),
        limit("max_message_expiry", 60, |config, seconds| {
            let mut world = World::new(config);
            let conn = world.persistent(Version::V5, "c");
            world.subscribe(conn, "t", AtLeastOnce);
            world.cut(conn);
            messages(&mut world, 1, 0);
            world.wait(u32::try_from(seconds).unwrap());
            let again = world.connect_with(&lasting(Version::V5, "c"));
            said(&mut world, again)
        }),
        limit("max_keep_alive", 60, |config, seconds| {
            let mut world = World::new(config);
            let keep_alive = u16::try_from(seconds).unwrap();
            let conn = world.connect_with(&Connect { keep_alive, ..clean(Version::V5, "c") });
            world.take(conn);
            world.wait_ms(89_999);
            let before = said(&mut world, conn);
            world.wait_ms(1);
            format!("{before}, after 90 s: {}", said(&mut world, conn))
        }),
        limit("max_publish_rate", 10, |config, count| at_once(config, (0..count).map(|_| 10))),
        limit("max_publish_byte_rate", 100, |config, bytes| at_once(config, [bytes - 50, 50])),
        limit("publish_burst_ms", 40, |config, ms| {
            at_once(Config { max_publish_rate: 1000, ..config }, (0..ms).map(|_| 10))
        }),
        limit("max_retained_messages", 3, |config, count| {
            let mut world = World::new(config);
            let conn = world.client(Version::V5, "c");
            for name in names(count) {
                world.publish_with(conn, &retained(name, "x"));
            }
            said(&mut world, conn)
        }),
        limit("max_retained_bytes", size_of_message(), |config, bytes| {
            let payload = text(100 + bytes - config.max_retained_bytes);
            let mut world = World::new(config);
            let conn = world.client(Version::V5, "c");
            world.publish_with(conn, &retained("t", &payload));
            said(&mut world, conn)
        }),
        limit_of("maximum_qos", "PUBLISH", 1, |config, qos| {
            let mut world = World::new(config);
            let conn = world.client(Version::V5, "c");
            world.publish(conn, "t", "", QoS::from_bits(u8::try_from(qos).unwrap()).unwrap(), 1);
            said(&mut world, conn)
        }),
        limit("hook_timeout_ms", 5000, |config, ms| {
            let mut world = World::new(Config { interest: Interest::SUBSCRIBE, ..config });
            let conn = world.client(Version::V5, "c");
            world.hold_questions = true;
            subscribe(&mut world, conn, &["t"]);
            world.wait_ms(ms);
            said(&mut world, conn)
        }),
        limit("authenticate_timeout_ms", 300, |config, ms| {
            let mut world = World::new(config);
            let conn = world.open(Version::V5);
            world.hold_questions = true;
            world.send(conn, &Packet::Connect(clean(Version::V5, "c")));
            world.wait_ms(ms);
            said(&mut world, conn)
        }),
        limit("subscribe_timeout_ms", 300, |config, ms| {
            let mut world = World::new(Config { interest: Interest::SUBSCRIBE, ..config });
            let conn = world.client(Version::V5, "c");
            world.hold_questions = true;
            subscribe(&mut world, conn, &["t"]);
            world.wait_ms(ms);
            said(&mut world, conn)
        }),
        limit("publish_timeout_ms", 300, |config, ms| {
            let mut world = World::new(Config { interest: Interest::PUBLISH, ..config });
            let conn = world.client(Version::V5, "c");
            world.hold_questions = true;
            world.publish(conn, "t", "", AtLeastOnce, 1);
            world.wait_ms(ms);
            said(&mut world, conn)
        }),
        limit("max_publish_questions", 16, |config, count| {
            let mut world = World::new(Config { interest: Interest::PUBLISH, ..config });
            let conn = world.client(Version::V5, "c");
            world.hold_questions = true;
            for _ in 0..count {
                world.publish(conn, "t", "", AtMostOnce, 0);
            }
            format!("{} questions", world.questions.len())
        }),
        limit("work_per_call", 10, |config, subscribers| {
            let mut world = World::new(config);
            let conns: Vec<_> = (0..subscribers)
                .map(|number| {
                    let conn = world.client(Version::V5, &number.to_string());
                    world.subscribe(conn, "t", AtMostOnce);
                    conn
                })
                .collect();
            messages(&mut world, 1, 0);
            let first = conns.iter().filter(|conn| !world.take(**conn).is_empty()).count();
            world.settle();
            let rest = conns.iter().filter(|conn| !world.take(**conn).is_empty()).count();
            format!("{first} in the first call, {rest} later")
        }),
        limit("memory_high", memory_kept(), |config, bytes| {
            let payload = 100 + bytes - config.memory_high.unwrap();
            under_memory_pressure(config, payload)
        }),
        limit("memory_max", memory_kept(), |config, bytes| {
            let payload = 100 + bytes - config.memory_max.unwrap();
            under_memory_pressure(config, payload)
        }),
    ]
}

/// What a client was told, and what the engine counted that it does not count when all goes well.
fn said(world: &mut World, conn: ConnId) -> String {
    let lines = world.take(conn).join(", ");
    let counters = world.engine.view().counters();

    let dropped = DropReason::ALL.map(|reason| (format!("dropped {reason:?}"), counters.dropped_for(reason)));
    let counted: Vec<String> = [
        ("connects_refused".to_owned(), counters.connects_refused),
        ("connect_timeouts".to_owned(), counters.connect_timeouts),
        ("keep_alive_timeouts".to_owned(), counters.keep_alive_timeouts),
        ("stall_timeouts".to_owned(), counters.stall_timeouts),
        ("publish_refused".to_owned(), counters.publish_refused),
        ("publish_delayed".to_owned(), counters.publish_delayed),
        ("filters_refused".to_owned(), counters.filters_refused),
        ("protocol_errors".to_owned(), counters.protocol_errors),
        ("hook_timeouts".to_owned(), counters.hook_timeouts),
    ]
    .into_iter()
    .chain(dropped)
    .filter(|(_, count)| *count > 0)
    .map(|(name, count)| format!("{name} {count}"))
    .collect();
    let counted = if counted.is_empty() { String::new() } else { format!(" [{}]", counted.join(", ")) };
    let paused = if world.paused.contains(&conn) { " (not read)" } else { "" };
    format!("{}{paused}{counted}", if lines.is_empty() { "nothing" } else { &lines })
}

/// A text of so many bytes.
fn text(bytes: u64) -> String {
    "x".repeat(usize::try_from(bytes).unwrap())
}

/// A name of so many levels.
fn deep(levels: u64) -> String {
    vec!["l"; usize::try_from(levels).unwrap()].join("/")
}

fn names(count: u64) -> Vec<&'static str> {
    ["a", "b", "c", "d"].into_iter().take(usize::try_from(count).unwrap()).collect()
}

fn retained<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { retain: true, ..message(topic, payload, AtLeastOnce, 1) }
}

/// The queues of this configuration are in a store as well.
fn stored(config: Config) -> Config {
    Config { durability: Durability::Durable, ..config }
}

fn connect_of(config: Config, client_id: &str) -> String {
    let mut world = World::new(config);
    let conn = world.connect_with(&clean(Version::V5, client_id));
    said(&mut world, conn)
}

fn publish_of(config: Config, topic: &str, payload: &str) -> String {
    let mut world = World::new(config);
    let conn = world.client(Version::V5, "c");
    world.publish(conn, topic, payload, AtLeastOnce, 1);
    said(&mut world, conn)
}

fn user_properties_of(config: Config, pairs: &[(&str, &str)]) -> String {
    let mut world = World::new(config);
    let conn = world.client(Version::V5, "c");
    let mut publish = message("t", "", AtLeastOnce, 1);
    publish.properties.user_properties = UserProperties::Pairs(pairs);
    world.publish_with(conn, &publish);
    said(&mut world, conn)
}

fn subscribe(world: &mut World, conn: ConnId, filters: &[&str]) {
    let filters: Vec<_> = filters.iter().map(|filter| (*filter, SubscribeOptions::default())).collect();
    world.send(
        conn,
        &Packet::Subscribe(Subscribe {
            packet_id: id_of(9),
            subscription_id: None,
            user_properties: UserProperties::default(),
            filters: SubscribeFilters::List(&filters),
        }),
    );
}

fn subscribe_of(config: Config, filters: &[&str]) -> String {
    let mut world = World::new(config);
    let conn = world.client(Version::V5, "c");
    subscribe(&mut world, conn, filters);
    said(&mut world, conn)
}

/// A client publishes packets of these sizes at once.
fn at_once(config: Config, sizes: impl IntoIterator<Item = u64>) -> String {
    let mut world = World::new(config);
    let conn = world.client(Version::V5, "c");
    for size in sizes {
        world.publish(conn, "t", &text(size - 6), AtMostOnce, 0);
    }
    let routed = world.engine.view().counters().publish_received[0];
    format!("{routed} at once, {}", said(&mut world, conn))
}

/// Somebody publishes messages to `t`, the last with a payload of so many bytes.
fn messages(world: &mut World, count: u64, last: u64) -> ConnId {
    let publisher = world.client(Version::V5, "publisher");
    for id in 1..=count {
        let payload = text(if id == count { last } else { 100 });
        world.publish(publisher, "t", &payload, AtLeastOnce, u16::try_from(id).unwrap());
    }
    publisher
}

/// A client that is away and has messages waiting.
fn away(config: Config, count: u64, last: u64) -> World {
    let mut world = World::new(config);
    world.hold_pages = true;
    let conn = world.persistent(Version::V5, "c");
    world.subscribe(conn, "t", AtLeastOnce);
    world.cut(conn);
    messages(&mut world, count, last);
    world
}

fn queue_of(config: Config, count: u64, last: u64) -> String {
    let mut world = away(config, count, last);
    let session = world.engine.view().session("c").unwrap();
    let (waiting, paged) = (session.queued(), session.paged());
    let publisher = world.open(Version::V5);
    format!("{waiting} waiting, {paged} of them in the store alone, {}", said(&mut world, publisher))
}

/// What a message to `t` of 100 bytes takes in a queue.
fn size_of_message() -> u64 {
    away(Config::default(), 1, 100).engine.view().session("c").unwrap().queued_bytes()
}

/// A message for somebody who is away, and its publisher.
fn with_one_kept(config: Config, payload: u64) -> (World, ConnId) {
    let mut world = away(config, 0, 0);
    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", &text(payload), AtLeastOnce, 1);
    world.take(publisher);
    (world, publisher)
}

/// What the engine keeps then.
fn memory_kept() -> u64 {
    let config = Config { memory_max: Some(u64::MAX), ..Config::default() };
    with_one_kept(config, 100).0.engine.view().memory_used()
}

/// How many matches stay in the account of memory when so many topics were published to.
fn topics_remembered(config: Config, topics: u64) -> String {
    let mut world = World::new(Config { memory_max: Some(u64::MAX), ..config });
    let conn = world.client(Version::V5, "c");
    world.subscribe(conn, "+", AtMostOnce);
    let before = world.engine.view().memory_used();
    let kept = names(topics).into_iter().map(|topic| {
        world.publish(conn, topic, "", AtMostOnce, 0);
        world.engine.view().memory_used() - before
    });
    let kept: Vec<u64> = kept.collect();
    let [one, .., all] = kept[..] else { panic!("two topics at least") };
    format!("{} remembered", all / one)
}

/// Whether its publisher is slowed down behind it, and what another message is answered.
fn under_memory_pressure(config: Config, payload: u64) -> String {
    let (mut world, publisher) = with_one_kept(config, payload);
    let behind = if world.paused.contains(&publisher) { "slowed down" } else { "at full speed" };
    world.wait(1);
    world.publish(publisher, "t", "", AtLeastOnce, 2);
    format!("{behind}, then {}", said(&mut world, publisher))
}

/// What a client with so much unsent is told of messages, and whether it is read.
fn backlog(world: &mut World, unsent: &[u32]) -> String {
    let conn = world.client(Version::V5, "c");
    world.subscribe(conn, "t", AtLeastOnce);
    for unsent in unsent {
        world.handle(Input::Backlog { conn, unsent: *unsent });
    }
    messages(world, 1, 0);
    said(world, conn)
}

#[test]
fn every_limit() {
    let mut table = String::new();
    for Limit { key, value, of, try_amount } in limits() {
        let title = if of.is_empty() { key.to_owned() } else { format!("{key} ({of})") };
        writeln!(table, "{title} = {value}").unwrap();
        for amount in [value - 1, value, value + 1] {
            let config: Config = toml::from_str(&format!("{key} = {value}")).unwrap();
            writeln!(table, "  {amount:>7}: {}", try_amount(config, amount)).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn no_limit_is_without_a_test() {
    let all = Config {
        memory_high: Some(1),
        memory_max: Some(1),
        response_information: Some(String::new()),
        authenticate_timeout: Some(Duration::from_secs(1)),
        subscribe_timeout: Some(Duration::from_secs(1)),
        publish_timeout: Some(Duration::from_secs(1)),
        ..Config::default()
    };
    let keys: toml::Table = toml::from_str(&toml::to_string(&all).unwrap()).unwrap();
    let keys: BTreeSet<&str> = keys.keys().map(String::as_str).collect();
    let tried: BTreeSet<&str> = limits().iter().map(|limit| limit.key).chain(CHOICES).collect();
    assert_eq!(keys, tried, "settings of the configuration (left), limits tried here and choices (right)");
}
