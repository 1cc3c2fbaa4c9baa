//! What the engine tells of sessions, subscriptions, wills, messages and retained messages.

mod common;

use broker_engine::{Answer, ApplicationMessage, Command, Config, ConnId, Input, Interest, Note, Outbox};
use common::{World, clean, lasting, message, will};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{
    Connect, ConnectProperties, Packet, Publish, PublishProperties, ReasonCode, SubscribeOptions, Version,
};

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
        Note::Connected { client_id, session_present, .. } => {
            Some(format!("{client_id} is connected, and was known: {session_present}"))
        }
        Note::SessionEnded { client_id, reason } => {
            Some(format!("the session of {client_id} ends: {reason:?}"))
        }
        Note::MessagePublished { client_id, topic, qos, retain } => {
            Some(format!("{client_id:?} publishes {topic} q{} {retain}", *qos as u8))
        }
        Note::MessageSent { client_id, topic, qos, retain, dup } => {
            Some(format!("{client_id} is sent {topic} q{} {retain} {dup}", *qos as u8))
        }
        Note::MessageAcknowledged { client_id, topic, qos } => {
            Some(format!("{client_id} has {topic} q{}", *qos as u8))
        }
        Note::RetainedChanged { topic, change } => Some(format!("{topic} is {change:?}")),
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
        assert_eq!(told(&mut world, gone)[0], "the will of c goes to will");
    }
}

/// What is told when a client sends this packet of MQTT 5.
fn sends(world: &mut World, conn: ConnId, packet: &Packet<'_>) -> Vec<String> {
    let data = &common::encoded(packet, Version::V5)[..];
    told(world, Input::Received { conn, data })
}

/// What is told when a client is let in.
fn let_in(world: &mut World, connect: Connect<'_>) -> Vec<String> {
    let conn = world.open(connect.version);
    world.hold_questions = true;
    world.send(conn, &Packet::Connect(connect));
    world.hold_questions = false;
    let call = world.questions.remove(0).id;
    told(world, Input::Reply { call, answer: Answer::Allow })
}

#[test]
fn a_connection_is_told_with_its_session() {
    let mut world = World::new(Config { interest: Interest::CLIENTS, ..Config::default() });
    for wanted in ["c is connected, and was known: false", "c is connected, and was known: true"] {
        assert_eq!(let_in(&mut world, lasting(Version::V5, "c")), [wanted]);
    }
    let wanted = ["the session of c ends: CleanStart", "c is connected, and was known: false"];
    assert_eq!(let_in(&mut world, clean(Version::V5, "c")), wanted);
}

#[test]
fn the_end_of_a_session_is_told_with_its_reason() {
    let interest = Interest::CLIENTS;
    let mut world = World::new(Config { interest, ..Config::default() });
    let gone = |conn| Input::Closed { conn, cause: broker_engine::CloseCause::PeerClosed };
    let conn = world.client(Version::V5, "c");
    assert_eq!(told(&mut world, gone(conn)), ["the session of c ends: WithConnection"]);
    let brief = ConnectProperties { session_expiry_interval: Some(5), ..ConnectProperties::default() };
    let conn = world.connect_with(&Connect { properties: brief, ..lasting(Version::V5, "c") });
    assert!(told(&mut world, gone(conn)).is_empty());
    world.now = world.now.after_secs(6);
    assert_eq!(told(&mut world, Input::Tick), ["the session of c ends: Expired"]);
    let conn = world.persistent(Version::V5, "c");
    let command = Command::Disconnect {
        client_id: "c".into(),
        reason: ReasonCode::AdministrativeAction,
        end_session: true,
    };
    assert_eq!(told(&mut world, Input::Command(command)), ["the session of c ends: Admin"]);
    assert!(world.engine.view().connection(conn).is_none());
}

#[test]
fn messages_are_told_on_their_way() {
    let interest = Interest::MESSAGES | Interest::DELIVERIES;
    let mut world = World::new(Config { interest, ..Config::default() });
    let publisher = world.client(Version::V5, "p");
    let (one, two) = (world.client(Version::V5, "one"), world.client(Version::V311, "two"));
    world.subscribe(one, "t", ExactlyOnce);
    world.subscribe(two, "t", AtLeastOnce);
    let publish = Packet::Publish(message("t", "x", ExactlyOnce, 7));
    let wanted =
        [r#""p" publishes t q2 false"#, "one is sent t q2 false false", "two is sent t q1 false false"];
    let mut heard = sends(&mut world, publisher, &publish);
    heard.sort_unstable();
    let mut sorted = wanted.to_vec();
    sorted.sort_unstable();
    assert_eq!(heard, sorted);
    let received = |conn, data| Input::Received { conn, data };
    assert_eq!(told(&mut world, received(one, b"\x50\x02\0\x01")), ["one has t q2"]);
    assert!(told(&mut world, received(one, b"\x70\x02\0\x01")).is_empty(), "it was told already");
    assert_eq!(told(&mut world, received(two, b"\x40\x02\0\x01")), ["two has t q1"]);
    // Nobody else has to be there, and the broker has no name.
    let own = ApplicationMessage { topic: "other".into(), ..ApplicationMessage::default() };
    let told = told(&mut world, Input::Command(Command::Publish(own)));
    assert_eq!(told, [r#""" publishes other q0 false"#]);
}

#[test]
fn what_is_sent_again_is_told_as_such() {
    let interest = Interest::DELIVERIES;
    let mut world = World::new(Config { interest, ..Config::default() });
    let conn = world.persistent(Version::V311, "c");
    world.subscribe(conn, "t", AtLeastOnce);
    let publisher = world.client(Version::V5, "p");
    let publish = Packet::Publish(message("t", "x", AtLeastOnce, 7));
    assert_eq!(sends(&mut world, publisher, &publish), ["c is sent t q1 false false"]);
    world.cut(conn);
    assert_eq!(let_in(&mut world, lasting(Version::V311, "c")), ["c is sent t q1 false true"]);
}

#[test]
fn retained_messages_are_told_when_they_come_and_go() {
    let interest = Interest::RETAINED;
    let mut world = World::new(Config { interest, ..Config::default() });
    let conn = world.client(Version::V5, "c");
    let brief = PublishProperties { message_expiry_interval: Some(5), ..PublishProperties::default() };
    let retained = |payload| Publish { retain: true, ..message("t", payload, AtMostOnce, 0) };
    for (publish, wanted) in [
        (retained("x"), &["t is Set"][..]),
        (retained("y"), &["t is Set"]),
        (message("t", "z", AtMostOnce, 0), &[]),
        (retained(""), &["t is Cleared"]),
        (retained(""), &[]),
        (Publish { properties: brief, ..retained("x") }, &["t is Set"]),
    ] {
        assert_eq!(sends(&mut world, conn, &Packet::Publish(publish)), wanted);
    }
    world.now = world.now.after_secs(6);
    assert_eq!(told(&mut world, Input::Tick), ["t is Expired"]);
}

/// Nobody is told who does not want it.
#[test]
fn without_interest_nothing_is_told() {
    let mut world = World::new(Config::default());
    let conn = world.client(Version::V311, "c");
    assert!(told(&mut world, Input::Received { conn, data: b"\x82\x06\0\x09\0\x01a\0" }).is_empty());
}
