//! Hooks that are asked about PUBLISH packets.

mod common;

use broker_engine::{
    Answer, ApplicationMessage, Command, Config, ConnId, DropReason, Durability, Input, Interest, Permission,
    Permissions, Question,
};
use common::{World, clean, lasting, message, will};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{
    Connect, Packet, Publish, PublishProperties, QoS, ReasonCode, TopicName, UserProperties, Version, Will,
    WillProperties,
};

fn asking() -> Config {
    Config { interest: Interest::PUBLISH, ..Config::default() }
}

/// A publisher of this version and somebody who hears everything; questions stay open.
fn world(config: Config, version: Version) -> (World, ConnId, ConnId) {
    let mut world = World::new(config);
    let witness = world.client(Version::V5, "witness");
    world.subscribe(witness, "#", ExactlyOnce);
    let publisher = world.persistent(version, "p");
    world.hold_questions = true;
    (world, publisher, witness)
}

/// Answers the question about this payload.
fn answer(world: &mut World, payload: &str, answer: Answer) {
    let about = |question: &Question| match question {
        Question::Publish { message, .. } => message.payload == payload.as_bytes(),
        _ => false,
    };
    let at = world.questions.iter().position(|call| about(&call.question)).expect("an open question");
    let call = world.questions.remove(at);
    world.handle(Input::Reply { call: call.id, answer });
}

fn open(world: &World) -> Vec<String> {
    let payload = |question: &Question| match question {
        Question::Publish { message, .. } => String::from_utf8_lossy(&message.payload).into_owned(),
        _ => "another question".into(),
    };
    world.questions.iter().map(|call| payload(&call.question)).collect()
}

#[test]
fn nobody_is_asked_without_interest() {
    let (mut world, publisher, witness) = world(Config::default(), Version::V5);
    world.publish(publisher, "t", "1", AtMostOnce, 0);
    assert!(world.questions.is_empty());
    world.expect(witness, &["PUBLISH q0 t 1"]);
}

#[test]
fn every_answer_does_what_it_says() {
    let instead = || ApplicationMessage {
        topic: "other".into(),
        payload: "instead".into(),
        qos: AtLeastOnce,
        user_properties: vec![("by".into(), "hook".into())],
        ..ApplicationMessage::default()
    };
    let of_topic =
        |topic: &str| Answer::Replace(Box::new(ApplicationMessage { topic: topic.into(), ..instead() }));
    let odd = ApplicationMessage { response_topic: Some("a/#".into()), ..instead() };
    let heard: &[&str] = &["PUBLISH q1 #1 t 1"];
    let nothing: &[&str] = &[];
    let cases = [
        (Answer::Allow, "PUBACK #7", "PUBACK #7", heard),
        (Answer::Discard, "PUBACK #7", "PUBACK #7", nothing),
        (Answer::Deny(ReasonCode::QuotaExceeded), "PUBACK #7 Quota exceeded", "PUBACK #7", nothing),
        // No reason of PUBACK, and none at all.
        (Answer::Deny(ReasonCode::Banned), "PUBACK #7 Not authorized", "PUBACK #7", nothing),
        (Answer::Deny(ReasonCode::Success), "PUBACK #7 Not authorized", "PUBACK #7", nothing),
        (of_topic("other"), "PUBACK #7", "PUBACK #7", &["PUBLISH q1 #1 by=hook other instead"]),
        // What no client may publish and what MQTT cannot carry is a mistake of the host.
        (of_topic("$SYS/x"), "PUBACK #7 Not authorized", "PUBACK #7", nothing),
        (of_topic("a/+"), "PUBACK #7 Not authorized", "PUBACK #7", nothing),
        (Answer::Replace(Box::new(odd)), "PUBACK #7 Not authorized", "PUBACK #7", nothing),
        (Answer::Filters(vec![]), "PUBACK #7 Not authorized", "PUBACK #7", nothing),
        (Answer::AllowWith(vec![]), "PUBACK #7 Not authorized", "PUBACK #7", nothing),
    ];
    for (given, v5, v3, wanted) in cases {
        for (version, ack) in [(Version::V5, v5), (Version::V311, v3)] {
            let (mut world, publisher, witness) = world(asking(), version);
            world.publish(publisher, "t", "1", AtLeastOnce, 7);
            world.expect(publisher, &[]);
            answer(&mut world, "1", given.clone());
            world.expect(publisher, &[ack]);
            assert_eq!(world.take(witness), wanted, "{given:?}");
        }
    }
}

#[test]
fn a_hook_sees_the_whole_message() {
    let (mut world, publisher, _) = world(asking(), Version::V5);
    let pairs = [("a", "1"), ("a", "2")];
    let publish = Publish {
        retain: true,
        properties: PublishProperties {
            payload_format: Some(mqtt_proto::PayloadFormat::Utf8),
            message_expiry_interval: Some(60),
            topic_alias: Some(3),
            response_topic: Some(TopicName::parse("r").unwrap()),
            correlation_data: Some(b"c"),
            content_type: Some("text"),
            user_properties: UserProperties::Pairs(&pairs),
            ..PublishProperties::default()
        },
        ..message("t", "x", AtLeastOnce, 1)
    };
    world.publish_with(publisher, &publish);
    // By its alias alone.
    world.publish_with(publisher, &Publish { topic: None, packet_id: None, qos: AtMostOnce, ..publish });
    let asked: Vec<_> = world.questions.iter().map(|call| format!("{:?}", call.question)).collect();
    insta::assert_snapshot!(asked.join("\n"));
}

/// Answers come in any order, messages leave and are acknowledged in the order in which they came.
#[test]
fn messages_are_carried_out_in_their_order() {
    let (mut world, publisher, witness) = world(asking(), Version::V5);
    world.publish(publisher, "t", "1", AtLeastOnce, 1);
    world.publish(publisher, "t", "2", ExactlyOnce, 2);
    // About this one nobody has to be asked, but its answer must not overtake.
    world.publish(publisher, "$SYS/t", "no", AtLeastOnce, 3);
    world.publish(publisher, "t", "3", AtMostOnce, 0);
    assert_eq!(open(&world), ["1", "2", "3"]);
    answer(&mut world, "3", Answer::Allow);
    answer(&mut world, "2", Answer::Allow);
    world.expect(publisher, &[]);
    world.expect(witness, &[]);
    answer(&mut world, "1", Answer::Allow);
    world.expect(publisher, &["PUBACK #1", "PUBREC #2", "PUBACK #3 Not authorized"]);
    world.expect(witness, &["PUBLISH q1 #1 t 1", "PUBLISH q2 #2 t 2", "PUBLISH q0 t 3"]);
}

#[test]
fn other_packets_wait() {
    let (mut world, publisher, _) = world(asking(), Version::V5);
    world.publish(publisher, "t", "1", AtLeastOnce, 1);
    world.send(publisher, &Packet::PingReq);
    world.ack(publisher, Packet::PubRel, 5);
    world.subscribe_with(publisher, "t", mqtt_proto::SubscribeOptions::default(), None);
    world.unsubscribe(publisher, "t");
    world.publish(publisher, "t", "2", AtLeastOnce, 2);
    world.expect(publisher, &[]);
    assert_eq!(open(&world), ["1"]);
    answer(&mut world, "1", Answer::Allow);
    world.expect(
        publisher,
        &[
            "PUBACK #1",
            "PINGRESP",
            "PUBCOMP #5 Packet Identifier not found",
            "SUBACK #9 00",
            "UNSUBACK #8 00",
        ],
    );
    assert_eq!(open(&world), ["2"]);
}

#[test]
fn so_many_questions_of_one_client_are_open_at_once() {
    let (mut world, publisher, witness) = world(Config { max_publish_questions: 2, ..asking() }, Version::V5);
    world.hold_questions = false;
    let other = world.client(Version::V5, "other");
    world.hold_questions = true;
    for payload in ["1", "2", "3", "4"] {
        world.publish(publisher, "t", payload, AtMostOnce, 0);
    }
    assert_eq!(open(&world), ["1", "2"]);
    // Nobody else waits for that.
    world.publish(other, "t", "other", AtMostOnce, 0);
    answer(&mut world, "other", Answer::Allow);
    world.expect(witness, &["PUBLISH q0 t other"]);
    answer(&mut world, "2", Answer::Allow);
    assert_eq!(open(&world), ["1"]);
    answer(&mut world, "1", Answer::Allow);
    assert_eq!(open(&world), ["3", "4"]);
    world.expect(witness, &["PUBLISH q0 t 1", "PUBLISH q0 t 2"]);
    // Large messages wait earlier.
    answer(&mut world, "3", Answer::Allow);
    answer(&mut world, "4", Answer::Allow);
    let large = "x".repeat(300_000);
    world.publish(publisher, "t", &large, AtMostOnce, 0);
    world.publish(publisher, "t", "5", AtMostOnce, 0);
    assert_eq!(open(&world).len(), 1);
}

#[test]
fn nobody_answering_means_no() {
    let (mut world, publisher, witness) = world(asking(), Version::V5);
    world.publish(publisher, "t", "1", AtLeastOnce, 1);
    world.wait(2);
    world.publish(publisher, "t", "2", AtLeastOnce, 2);
    world.wait(3);
    world.expect(publisher, &["PUBACK #1 Not authorized"]);
    answer(&mut world, "2", Answer::Allow);
    world.expect(publisher, &["PUBACK #2"]);
    world.expect(witness, &["PUBLISH q1 #1 t 2"]);
    // Too late, and twice.
    answer(&mut world, "1", Answer::Allow);
    world.expect(publisher, &[]);
    let counters = world.engine.view().counters();
    assert_eq!((counters.hook_timeouts, counters.late_replies, counters.publish_refused), (1, 1, 1));
}

/// Who publishes and leaves in the same breath has published, and its DISCONNECT counts.
#[test]
fn what_was_asked_outlives_its_connection() {
    for version in [Version::V311, Version::V5] {
        let mut world = World::new(asking());
        let witness = world.client(Version::V5, "witness");
        world.subscribe(witness, "#", AtMostOnce);
        let before = world.held();
        let publisher = world.connect_with(&Connect { will: Some(will()), ..clean(version, "p") });
        world.hold_questions = true;
        for payload in ["1", "2", "3"] {
            world.publish(publisher, "t", payload, AtMostOnce, 0);
        }
        world.disconnect(publisher, ReasonCode::Success);
        world.cut(publisher);
        answer(&mut world, "2", Answer::Deny(ReasonCode::NotAuthorized));
        answer(&mut world, "1", Answer::Allow);
        world.expect(witness, &["PUBLISH q0 t 1"]);
        answer(&mut world, "3", Answer::Allow);
        world.expect(witness, &["PUBLISH q0 t 3"]);
        assert_eq!(world.held(), before);
    }
}

/// A message that is not acknowledged comes again, and must not be taken twice.
#[test]
fn what_the_client_sends_again_is_taken_once() {
    let (mut world, publisher, witness) = world(asking(), Version::V5);
    world.publish(publisher, "t", "1", ExactlyOnce, 1);
    world.publish(publisher, "t", "0", AtMostOnce, 0);
    world.cut(publisher);
    world.hold_questions = false;
    let publisher = world.connect_with(&lasting(Version::V5, "p"));
    world.hold_questions = true;
    let again = Publish { dup: true, ..message("t", "1", ExactlyOnce, 1) };
    world.publish_with(publisher, &again);
    // The first one's question is answered, too.
    answer(&mut world, "1", Answer::Allow);
    answer(&mut world, "1", Answer::Allow);
    world.expect(publisher, &["CONNACK Success present"]);
    answer(&mut world, "0", Answer::Allow);
    world.expect(publisher, &["PUBREC #1"]);
    world.publish_with(publisher, &again);
    world.expect(publisher, &["PUBREC #1"]);
    world.expect(witness, &["PUBLISH q0 t 0", "PUBLISH q2 #1 t 1"]);
}

/// Who is heard is not silent, though what it says waits.
#[test]
fn packets_that_wait_for_a_hook_are_signs_of_life() {
    let mut world = World::new(asking());
    let publisher = world.connect_with(&Connect { keep_alive: 2, ..clean(Version::V5, "p") });
    world.hold_questions = true;
    world.publish(publisher, "t", "1", AtLeastOnce, 1);
    for _ in 0..2 {
        world.wait_ms(1800);
        world.send(publisher, &Packet::PingReq);
    }
    world.wait_ms(1800);
    assert!(!world.is_closed(publisher), "it was heard less than three seconds ago");
    // The hook's time is over meanwhile, and what has waited is handled then.
    world.wait_ms(3100);
    assert!(world.is_closed(publisher));
}

/// Whatever a hook says of a message that was accepted before: it is acknowledged as such.
#[test]
fn what_was_accepted_is_not_refused_when_it_comes_again() {
    let (mut world, publisher, witness) = world(asking(), Version::V5);
    world.publish(publisher, "t", "1", ExactlyOnce, 1);
    world.publish_with(publisher, &Publish { dup: true, ..message("t", "1", ExactlyOnce, 1) });
    answer(&mut world, "1", Answer::Allow);
    answer(&mut world, "1", Answer::Deny(ReasonCode::NotAuthorized));
    world.expect(publisher, &["PUBREC #1", "PUBREC #1"]);
    world.expect(witness, &["PUBLISH q2 #1 t 1"]);
}

#[test]
fn open_questions_count_for_receive_maximum() {
    let (mut world, publisher, _) = world(Config { receive_maximum: 2, ..asking() }, Version::V5);
    world.publish(publisher, "t", "1", AtLeastOnce, 1);
    world.publish(publisher, "t", "2", ExactlyOnce, 2);
    world.publish(publisher, "t", "0", AtMostOnce, 0);
    world.expect(publisher, &[]);
    world.publish(publisher, "t", "3", AtLeastOnce, 3);
    world.expect(publisher, &["DISCONNECT Receive Maximum exceeded", "closed"]);
}

/// Message Expiry counts from when the message came, not from the answer.
#[test]
fn thinking_takes_time_from_a_message() {
    let expiring = |qos: QoS| Publish {
        properties: PublishProperties { message_expiry_interval: Some(3), ..PublishProperties::default() },
        ..message("t", "1", qos, 1)
    };
    for (seconds, heard, dropped) in [(2, &["PUBLISH q1 #1 expires=1 t 1"][..], 0), (4, &[], 1)] {
        let (mut world, publisher, witness) = world(asking(), Version::V5);
        world.publish_with(publisher, &expiring(AtLeastOnce));
        world.wait(seconds);
        answer(&mut world, "1", Answer::Allow);
        world.settle();
        world.expect(publisher, &["PUBACK #1"]);
        assert_eq!(world.take(witness), heard);
        assert_eq!(world.dropped(DropReason::Expired), dropped);
    }
}

/// A large fan-out and short memory hold up what is decided behind them, as they hold up packets.
#[test]
fn decided_messages_wait_for_a_fan_out() {
    let (mut world, publisher, witness) = world(Config { work_per_call: 2, ..asking() }, Version::V5);
    world.hold_questions = false;
    for number in 0..5 {
        let other = world.client(Version::V5, &format!("o{number}"));
        world.subscribe(other, "#", AtMostOnce);
    }
    world.hold_questions = true;
    world.publish(publisher, "t", "1", AtLeastOnce, 1);
    world.publish(publisher, "t", "2", AtLeastOnce, 2);
    world.subscribe_with(publisher, "x", mqtt_proto::SubscribeOptions::default(), None);
    answer(&mut world, "2", Answer::Allow);
    answer(&mut world, "1", Answer::Allow);
    world.expect(publisher, &[]);
    world.settle();
    world.expect(publisher, &["PUBACK #1", "PUBACK #2", "SUBACK #9 00"]);
    world.expect(witness, &["PUBLISH q1 #1 t 1", "PUBLISH q1 #2 t 2"]);
}

/// The host's own messages are nobody's question.
#[test]
fn commands_are_not_asked_about() {
    let (mut world, _, witness) = world(asking(), Version::V5);
    let message = ApplicationMessage {
        topic: "$SYS/x".into(),
        content_type: Some("text".into()),
        ..ApplicationMessage::default()
    };
    world.handle(Input::Command(broker_engine::Command::Publish(ApplicationMessage {
        topic: "t".into(),
        ..message.clone()
    })));
    world.handle(Input::Command(broker_engine::Command::Publish(message)));
    assert!(world.questions.is_empty());
    world.expect(witness, &["PUBLISH q0 t "]);
}

/// What a client says when it comes back stands behind what it said before, whether its session went on or not.
#[test]
fn messages_keep_their_order_across_connections() {
    for connect in [lasting(Version::V5, "p"), clean(Version::V311, "p")] {
        let mut world = World::new(asking());
        let witness = world.client(Version::V5, "witness");
        world.subscribe(witness, "#", ExactlyOnce);
        let other = world.client(Version::V5, "other");
        let first = world.connect_with(&connect);
        world.hold_questions = true;
        world.publish(first, "t", "1", AtMostOnce, 0);
        world.publish(first, "t", "2", AtMostOnce, 0);
        world.cut(first);
        world.hold_questions = false;
        let second = world.connect_with(&connect);
        world.hold_questions = true;
        world.take(second);
        world.publish(second, "t", "3", AtLeastOnce, 1);
        world.publish(second, "t", "4", ExactlyOnce, 2);
        // Nobody is asked about this one, and its answer must not overtake.
        world.publish(second, "$SYS/t", "no", AtLeastOnce, 3);
        world.publish(second, "t", "5", AtMostOnce, 0);
        world.publish(other, "t", "0", AtMostOnce, 0);
        for payload in ["0", "5", "4", "3", "2"] {
            answer(&mut world, payload, Answer::Allow);
        }
        // Other clients go on.
        world.expect(witness, &["PUBLISH q0 t 0"]);
        world.expect(second, &[]);
        answer(&mut world, "1", Answer::Allow);
        world.expect(
            witness,
            &["PUBLISH q0 t 1", "PUBLISH q0 t 2", "PUBLISH q1 #1 t 3", "PUBLISH q2 #2 t 4", "PUBLISH q0 t 5"],
        );
    }
}

/// What earlier connections have left counts for how much of a client may be open.
#[test]
fn a_client_that_comes_back_waits_where_too_much_is_open() {
    let (mut world, publisher, witness) = world(Config { max_publish_questions: 1, ..asking() }, Version::V5);
    world.publish(publisher, "t", "1", AtMostOnce, 0);
    world.cut(publisher);
    world.hold_questions = false;
    let publisher = world.persistent(Version::V5, "p");
    world.hold_questions = true;
    world.publish(publisher, "t", "2", AtLeastOnce, 2);
    assert_eq!(open(&world), ["1"]);
    answer(&mut world, "1", Answer::Deny(ReasonCode::NotAuthorized));
    answer(&mut world, "2", Answer::Allow);
    world.expect(publisher, &["PUBACK #2"]);
    world.expect(witness, &["PUBLISH q1 #1 t 2"]);
}

/// A will is the last thing that its client said: due at once, with the session or after its delay.
#[test]
fn a_will_stands_behind_what_its_client_has_published() {
    let delayed = Will {
        properties: WillProperties { will_delay_interval: Some(2), ..WillProperties::default() },
        ..will()
    };
    let cases = [
        (clean(Version::V5, "p"), will()),
        (lasting(Version::V5, "p"), will()),
        (lasting(Version::V5, "p"), delayed),
    ];
    for (connect, will) in cases {
        let mut world = World::new(asking());
        let witness = world.client(Version::V5, "witness");
        world.subscribe(witness, "#", AtMostOnce);
        let connect = Connect { will: Some(will), ..connect };
        let publisher = world.connect_with(&connect);
        world.hold_questions = true;
        world.publish(publisher, "t", "1", AtMostOnce, 0);
        world.cut(publisher);
        world.wait(3);
        world.expect(witness, &[]);
        assert_eq!(world.engine.view().counters().wills_sent, 0);
        // The one that is due is not what the next connection says of its end.
        world.hold_questions = false;
        let again = world.connect_with(&Connect { will: None, ..connect });
        world.hold_questions = true;
        world.publish(again, "t", "2", AtMostOnce, 0);
        answer(&mut world, "2", Answer::Allow);
        answer(&mut world, "1", Answer::Allow);
        world.expect(witness, &["PUBLISH q0 t 1", "PUBLISH q0 will gone", "PUBLISH q0 t 2"]);
        assert_eq!(world.engine.view().counters().wills_sent, 1);
    }
}

/// What its client may counts when it is sent, not when it came or became due; or when its session ends before.
#[test]
fn what_waits_is_not_sent_once_its_client_may_not() {
    for (revoked, ends) in ["none", "t", "will"].into_iter().flat_map(|topic| [(topic, false), (topic, true)])
    {
        let mut world = World::new(asking());
        let witness = world.client(Version::V5, "witness");
        world.subscribe(witness, "#", AtMostOnce);
        let publisher = world.connect_with(&Connect { will: Some(will()), ..lasting(Version::V5, "p") });
        world.hold_questions = true;
        world.publish(publisher, "t", "1", AtMostOnce, 0);
        world.cut(publisher);
        let rule = Permission { filter: revoked.to_owned(), publish: Some(false), ..Permission::default() };
        let permissions = Some(Permissions { rules: vec![rule], otherwise: true });
        world.handle(Input::Command(Command::SetPermissions { client_id: "p".into(), permissions }));
        if ends {
            let reason = ReasonCode::AdministrativeAction;
            let client_id = "p".into();
            world.handle(Input::Command(Command::Disconnect { client_id, reason, end_session: true }));
        }
        answer(&mut world, "1", Answer::Allow);
        let sent = [("t", "PUBLISH q0 t 1"), ("will", "PUBLISH q0 will gone")];
        let sent: Vec<_> =
            sent.iter().filter(|(topic, _)| *topic != revoked).map(|(_, packet)| *packet).collect();
        world.expect(witness, &sent);
        assert_eq!(world.engine.view().counters().wills_sent, u64::from(revoked != "will"));
    }
}

/// A will that stands behind a hook's answer is the store's until it is sent, though its session may have ended.
#[test]
fn a_process_that_ends_before_a_hook_has_answered_loses_no_will() {
    for connect in [clean(Version::V5, "p"), lasting(Version::V5, "p")] {
        for is_answered in [false, true] {
            let mut world = World::new(Config { durability: Durability::Durable, ..asking() });
            let publisher = world.connect_with(&Connect { will: Some(will()), ..connect.clone() });
            world.hold_questions = true;
            world.publish(publisher, "t", "1", AtMostOnce, 0);
            world.cut(publisher);
            world.handle(Input::Command(Command::Disconnect {
                client_id: "p".into(),
                reason: ReasonCode::Success,
                end_session: true,
            }));
            if is_answered {
                answer(&mut world, "1", Answer::Allow);
            }
            assert_eq!(world.restart().wills, u64::from(!is_answered), "{connect:?}");
        }
    }
}
