//! What the embedding program does to sessions: subscribing and unsubscribing for them.

mod common;

use broker_engine::{ApplicationMessage, Command, Config, Input};
use common::{World, clean, lasting};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{QoS, RetainHandling, SubscribeOptions, Version};

fn options(qos: QoS) -> SubscribeOptions {
    SubscribeOptions { qos, ..SubscribeOptions::default() }
}

fn subscribe(world: &mut World, filter: &str, options: SubscribeOptions, subscription_id: Option<u32>) {
    let (client_id, filter) = ("c".to_owned(), filter.to_owned());
    world.handle(Input::Command(Command::Subscribe { client_id, filter, options, subscription_id }));
}

fn unsubscribe(world: &mut World, filter: &str) {
    let (client_id, filter) = ("c".to_owned(), filter.to_owned());
    world.handle(Input::Command(Command::Unsubscribe { client_id, filter }));
}

fn publish(world: &mut World, topic: &str, retain: bool) {
    let message = ApplicationMessage {
        topic: topic.to_owned(),
        payload: "x".into(),
        qos: ExactlyOnce,
        retain,
        ..ApplicationMessage::default()
    };
    world.handle(Input::Command(Command::Publish(message)));
}

#[test]
fn a_session_is_subscribed_whether_its_client_is_there_or_not() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut world = World::new(Config::default());
        publish(&mut world, "t/kept", true);
        let client = world.connect_with(&lasting(version, "c"));
        world.take(client);
        subscribe(&mut world, "t/+", options(AtLeastOnce), None);
        let got = world.take(client);
        assert!(got.len() == 1 && got[0].contains("t/kept") && got[0].contains('x'), "{got:?}");
        publish(&mut world, "t/1", false);
        assert_eq!(world.take(client).len(), 1);

        world.cut(client);
        unsubscribe(&mut world, "t/+");
        subscribe(&mut world, "u", options(AtLeastOnce), None);
        publish(&mut world, "t/2", false);
        publish(&mut world, "u", false);
        let client = world.connect_with(&lasting(version, "c"));
        let got = world.take(client).join(", ");
        assert!(got.contains("u x") && !got.contains("t/2"), "{got}");
    }
}

#[test]
fn its_options_are_those_of_any_subscription() {
    let mut world = World::new(Config::default());
    publish(&mut world, "t", true);
    let client = world.client(Version::V5, "c");
    let quiet = SubscribeOptions { retain_handling: RetainHandling::DoNotSend, ..options(AtMostOnce) };
    subscribe(&mut world, "t", quiet, Some(7));
    world.expect(client, &[]);
    publish(&mut world, "t", false);
    world.expect(client, &["PUBLISH q0 sub=7 t x"]);
    unsubscribe(&mut world, "t");
    unsubscribe(&mut world, "t");
    publish(&mut world, "t", false);
    world.expect(client, &[]);
}

#[test]
fn what_no_client_could_have_comes_to_nothing() {
    let config =
        Config { max_subscriptions_per_session: 1, shared_subscriptions: false, ..Config::default() };
    let mut world = World::new(config);
    subscribe(&mut world, "t", options(AtMostOnce), None);
    assert_eq!(world.engine.view().subscriptions(), 0, "nobody is called so");
    world.connect_with(&clean(Version::V5, "c"));
    let local = SubscribeOptions { no_local: true, ..options(AtMostOnce) };
    for (refused, (filter, options, id)) in (1..).zip([
        ("", options(AtMostOnce), None),
        ("a/#/b", options(AtMostOnce), None),
        ("$share/g/t", options(AtMostOnce), None),
        ("t", options(AtMostOnce), Some(268_435_456)),
    ]) {
        subscribe(&mut world, filter, options, id);
        let view = world.engine.view();
        assert_eq!((view.subscriptions(), view.counters().filters_refused), (0, refused), "{filter}");
    }
    subscribe(&mut world, "t", local, None);
    subscribe(&mut world, "u", options(AtMostOnce), None);
    assert_eq!(world.engine.view().subscriptions(), 1);
}
