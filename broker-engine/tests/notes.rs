//! What the engine tells of subscriptions and wills.

mod common;

use broker_engine::{Command, Config, Input, Interest, Note, Outbox};
use common::{World, clean, lasting, will};
use mqtt_proto::QoS::AtLeastOnce;
use mqtt_proto::{Connect, SubscribeOptions, Version};

/// What is told when the engine is given this, a line for each note.
fn told(world: &mut World, input: Input<'_>) -> Vec<String> {
    let mut out = Outbox::new();
    world.engine.handle(world.now, input, &mut out);
    let line = |note: &Note| match note {
        Note::Subscribed { client_id, filter, options, existed } => {
            Some(format!("{client_id} has {filter} at {} {existed}", options.qos as u8))
        }
        Note::Unsubscribed { client_id, filter } => Some(format!("{client_id} has no {filter}")),
        Note::WillSent { client_id, topic } => Some(format!("the will of {client_id} goes to {topic}")),
        _ => None,
    };
    out.notes.iter().filter_map(line).collect()
}

#[test]
fn subscriptions_are_told_by_whom_ever_they_are_made() {
    let interest = Interest::SUBSCRIPTIONS;
    let mut world = World::new(Config { interest, maximum_qos: AtLeastOnce, ..Config::default() });
    let client = world.persistent(Version::V311, "c");
    // Two topic filters at QoS 2, and then the first one again at QoS 0.
    let subscribe = b"\x82\x0c\0\x09\0\x01a\x02\0\x03a/#\x02";
    let twice = b"\x82\x06\0\x09\0\x01a\0";
    let received = |data| Input::Received { conn: client, data };
    assert_eq!(told(&mut world, received(subscribe)), ["c has a at 1 false", "c has a/# at 1 false"]);
    assert_eq!(told(&mut world, received(twice)), ["c has a at 0 true"]);
    let unsubscribe = b"\xa2\x08\0\x08\0\x01a\0\x01b";
    assert_eq!(told(&mut world, received(unsubscribe)), ["c has no a"]);
    let command = Command::Subscribe {
        client_id: "c".into(),
        filter: "x".into(),
        options: SubscribeOptions { qos: AtLeastOnce, ..SubscribeOptions::default() },
        subscription_id: None,
    };
    assert_eq!(told(&mut world, Input::Command(command)), ["c has x at 1 false"]);
    let command = Command::Unsubscribe { client_id: "c".into(), filter: "x".into() };
    assert_eq!(told(&mut world, Input::Command(command)), ["c has no x"]);
}

#[test]
fn a_will_that_is_sent_is_told() {
    let mut world = World::new(Config { interest: Interest::CLIENTS, ..Config::default() });
    for connect in [clean(Version::V311, "c"), lasting(Version::V5, "c")] {
        let conn = world.connect_with(&Connect { will: Some(will()), ..connect });
        let gone = Input::Closed { conn, cause: broker_engine::CloseCause::Fault };
        assert_eq!(told(&mut world, gone), ["the will of c goes to will"]);
    }
}

/// Nobody is told who does not want it.
#[test]
fn without_interest_nothing_is_told() {
    let mut world = World::new(Config::default());
    let conn = world.client(Version::V311, "c");
    assert!(told(&mut world, Input::Received { conn, data: b"\x82\x06\0\x09\0\x01a\0" }).is_empty());
}
