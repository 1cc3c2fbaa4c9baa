//! Retained messages: on their way to a subscription that is replaced meanwhile, how many there may be, and reading them
//! without a subscription.

mod common;

use broker_engine::{ApplicationMessage, Command, Config, Input};
use common::{World, encoded, id_of, lasting, message};
use mqtt_proto::{
    Ack, AckProperties, Packet, Publish,
    QoS::{self, AtLeastOnce, AtMostOnce},
    ReasonCode, RetainHandling, Subscribe, SubscribeFilters, SubscribeOptions, TopicFilter, UserProperties,
    Version,
};
use std::time::Duration;

fn options(qos: QoS) -> SubscribeOptions {
    SubscribeOptions { qos, ..Default::default() }
}

/// A broker with a retained message for each topic.
fn world(topics: &[&str]) -> World {
    let mut world = World::new(Config::default());
    let publisher = world.client(Version::V5, "p");
    for topic in topics {
        world.publish_with(publisher, &Publish { retain: true, ..message(topic, "m", AtLeastOnce, 1) });
    }
    world
}

/// The rest goes by the subscription that there is now [MQTT-3.8.4-3], and so does what is retained meanwhile.
#[test]
fn retained_messages_follow_a_subscription_that_is_replaced() {
    let mut world = world(&["r/1", "r/3"]);
    let mut connect = lasting(Version::V5, "s");
    connect.properties.receive_maximum = Some(1);
    let client = world.connect_with(&connect);
    world.expect(client, &["CONNACK Success"]);
    world.subscribe_with(client, "r/+", options(AtLeastOnce), Some(1));
    world.expect(client, &["SUBACK #9 01", "PUBLISH q1 #1 retain sub=1 r/1 m"]);

    let publisher = world.client(Version::V5, "p");
    world.publish_with(publisher, &Publish { retain: true, ..message("r/2", "m", AtLeastOnce, 1) });
    let replaced = SubscribeOptions { retain_handling: RetainHandling::DoNotSend, ..options(AtMostOnce) };
    world.subscribe_with(client, "r/+", replaced, Some(2));
    world.expect(client, &["SUBACK #9 00", "PUBLISH q0 retain sub=2 r/2 m", "PUBLISH q0 retain sub=2 r/3 m"]);
}

/// As if the filter had come in two packets [MQTT-3.8.4-5]: they are sent twice, and the later options are in force.
#[test]
fn a_filter_that_stands_twice_in_one_packet() {
    let mut world = world(&["r/1"]);
    let client = world.client(Version::V5, "s");
    world.send(
        client,
        &Packet::Subscribe(Subscribe {
            packet_id: id_of(9),
            subscription_id: None,
            user_properties: UserProperties::default(),
            filters: SubscribeFilters::List(&[("r/1", options(AtLeastOnce)), ("r/1", options(AtMostOnce))]),
        }),
    );
    world.expect(client, &["SUBACK #9 01 00", "PUBLISH q0 retain r/1 m", "PUBLISH q0 retain r/1 m"]);
}

/// What an acknowledgement makes room for goes ahead of the answer to what comes behind it, whether the two come in one
/// piece or not.
#[test]
fn the_next_one_follows_its_acknowledgement() {
    for in_one_piece in [true, false] {
        let mut world = world(&["r/1", "r/2"]);
        let mut connect = lasting(Version::V5, "s");
        connect.properties.receive_maximum = Some(1);
        let client = world.connect_with(&connect);
        world.subscribe_with(client, "r/+", options(AtLeastOnce), None);
        world.expect(client, &["CONNACK Success", "SUBACK #9 01", "PUBLISH q1 #1 retain r/1 m"]);

        let ack =
            Ack { packet_id: id_of(1), reason: ReasonCode::Success, properties: AckProperties::default() };
        let [ack, ping] = [Packet::PubAck(ack), Packet::PingReq].map(|packet| encoded(&packet, Version::V5));
        if in_one_piece {
            world.bytes(client, &[ack, ping].concat());
        } else {
            world.bytes(client, &ack);
            world.bytes(client, &ping);
        }
        world.expect(client, &["PUBLISH q1 #2 retain r/2 m", "PINGRESP"]);
    }
}

/// What the broker tells of itself takes no client's room, and finds its own.
#[test]
fn the_brokers_own_messages_are_not_counted() {
    let mut world = World::new(Config { max_retained_messages: 1, ..Config::default() });
    let publisher = world.client(Version::V5, "p");
    let tell = |world: &mut World, payload: &'static str| {
        let topic = "$SYS/broker/x".into();
        let message =
            ApplicationMessage { topic, payload: payload.into(), retain: true, ..Default::default() };
        world.handle(Input::Command(Command::Publish(message)));
    };
    tell(&mut world, "1");
    world.publish_with(publisher, &Publish { retain: true, ..message("a", "m", AtLeastOnce, 1) });
    tell(&mut world, "2");
    world.publish_with(publisher, &Publish { retain: true, ..message("b", "m", AtLeastOnce, 2) });
    world.expect(publisher, &["PUBACK #1 No matching subscribers", "PUBACK #2 Quota exceeded"]);
    tell(&mut world, "");
    // What is gone was not somebody else's.
    world.publish_with(publisher, &Publish { retain: true, ..message("b", "m", AtLeastOnce, 3) });
    world.expect(publisher, &["PUBACK #3 Quota exceeded"]);
    assert_eq!(world.engine.view().retained(), 1);
}

/// The topics on each page, and their payloads, with what is left of their life.
fn pages(world: &World, filter: &str, most: usize) -> Vec<Vec<String>> {
    let (mut pages, mut after) = (Vec::new(), None::<String>);
    loop {
        let filter = TopicFilter::parse(filter).unwrap();
        let page = world.engine.view().retained_page(world.now, filter, after.as_deref(), most);
        let text = |message: &ApplicationMessage| {
            let payload = String::from_utf8_lossy(&message.payload);
            format!("{} {payload} {:?}", message.topic, message.message_expiry_interval)
        };
        pages.push(page.messages.iter().map(text).collect());
        after = page.after;
        if after.is_none() {
            return pages;
        }
    }
}

#[test]
fn they_are_read_page_by_page() {
    let mut world = World::new(Config { work_per_call: 2, ..Config::default() });
    let publish = |world: &mut World, topic: &str, message_expiry_interval| {
        let topic = topic.to_owned();
        let message = ApplicationMessage { retain: true, payload: "m".into(), topic, ..Default::default() };
        let message = ApplicationMessage { message_expiry_interval, ..message };
        world.handle(Input::Command(Command::Publish(message)));
    };
    for topic in ["a", "a/1", "a/2/x", "a/3", "ab", "b/1", "$SYS/x"] {
        publish(&mut world, topic, None);
    }
    publish(&mut world, "b/2", Some(10));
    publish(&mut world, "b/3", Some(2));

    let all = pages(&world, "#", 100);
    assert!(all.iter().all(|page| page.len() <= 2), "the work of a call is bounded: {all:?}");
    let topics = ["a", "a/1", "a/2/x", "a/3", "ab", "b/1", "b/2", "b/3"];
    assert!(all.concat().iter().map(|text| text.split(' ').next().unwrap()).eq(topics), "{all:?}");
    assert!(pages(&world, "a/#", 1).iter().all(|page| page.len() <= 1));
    assert_eq!(pages(&world, "a/+", 100).concat(), ["a/1 m None", "a/3 m None"]);
    assert_eq!(pages(&world, "$SYS/x", 100).concat(), ["$SYS/x m None"]);
    assert_eq!(pages(&world, "a/2", 100).concat(), [""; 0]);
    assert_eq!(pages(&world, "a", 0), [[""; 0]]);

    // It is the time of the look that counts: the engine has not been called since.
    world.now = world.now.after(Duration::from_millis(2500));
    assert_eq!(pages(&world, "b/+", 100).concat(), ["b/1 m None", "b/2 m Some(8)"]);
}

#[test]
fn they_are_read_with_all_that_was_published() {
    let mut world = World::new(Config::default());
    let message = ApplicationMessage {
        topic: "a/b".to_owned(),
        payload: "m".into(),
        qos: QoS::ExactlyOnce,
        retain: true,
        payload_format: Some(mqtt_proto::PayloadFormat::Utf8),
        message_expiry_interval: Some(10),
        content_type: Some("text/plain".to_owned()),
        response_topic: Some("r".to_owned()),
        correlation_data: Some(vec![1, 2]),
        user_properties: vec![("k".to_owned(), "1".to_owned()), ("k".to_owned(), "2".to_owned())],
    };
    world.handle(Input::Command(Command::Publish(message.clone())));
    let page = world.engine.view().retained_page(world.now, TopicFilter::parse("+/b").unwrap(), None, 9);
    assert_eq!((page.messages, page.after), (vec![message], None));
}
