//! What a client may publish and read, looked at for every message.

mod common;

use broker_engine::{
    Admission, Answer, ApplicationMessage, Change, Command, Config, ConnId, DropReason, Input, KeptWill,
    Permission, Permissions, Question, SharedStrategy,
};
use common::{World, clean, lasting, message, will};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{Connect, Packet, Publish, ReasonCode, Version, Will};

/// Rules in words: `+r a/b` allows reading, `-w a/#` denies publishing, `+rw $#` reaches topics with `$` too.
fn permissions(rules: &[&str]) -> Permissions {
    let rule = |text: &&str| {
        let (what, filter) = text.split_once(' ').expect("a rule and a filter");
        let allows = Some(what.starts_with('+'));
        Permission {
            filter: filter.strip_prefix("$#").map_or(filter, |_| "#").to_owned(),
            reaches_dollar: filter == "$#",
            read: allows.filter(|_| what.contains('r')),
            publish: allows.filter(|_| what.contains('w')),
        }
    };
    Permissions { rules: rules.iter().map(rule).collect(), otherwise: false }
}

/// A client that is admitted with these rules.
fn admitted(world: &mut World, connect: &Connect<'_>, rules: &[&str]) -> ConnId {
    world.hold_questions = true;
    let conn = world.connect_with(connect);
    let admission = Admission { permissions: Some(permissions(rules)), ..Admission::default() };
    world.answer(Answer::Admit(Box::new(admission)));
    world.hold_questions = false;
    conn
}

fn restrict(world: &mut World, client_id: &str, rules: &[&str]) {
    let permissions = Some(permissions(rules));
    world.handle(Input::Command(Command::SetPermissions { client_id: client_id.to_owned(), permissions }));
}

#[test]
fn the_first_rule_that_says_something_decides() {
    let cases: &[(&[&str], &str, bool, bool)] = &[
        (&[], "a", false, false),
        (&["+r a"], "a", true, false),
        (&["+r a", "+w a"], "a", true, true),
        (&["-r a/#", "+rw #"], "a", false, true),
        (&["+rw #", "-r a/#"], "a", true, true),
        (&["+rw a/+"], "a/b/c", false, false),
        (&["+rw #"], "$SYS/x", false, false),
        (&["+rw $#"], "$SYS/x", true, true),
        (&["+rw $SYS/#"], "$SYS/x", true, true),
    ];
    for (rules, topic, read, publish) in cases {
        let known = permissions(rules);
        assert_eq!((known.may_read(topic), known.may_publish(topic)), (*read, *publish), "{rules:?} {topic}");
    }
    assert!(Permissions { rules: vec![], otherwise: true }.may_read("a"));
}

#[test]
fn what_may_not_be_published_is_refused() {
    for (version, ack) in [(Version::V5, "PUBACK #1 Not authorized"), (Version::V311, "PUBACK #1")] {
        let mut world = World::new(Config::default());
        let witness = world.client(Version::V5, "w");
        world.subscribe(witness, "#", AtMostOnce);
        let client = admitted(&mut world, &clean(version, "c"), &["+w mine"]);
        world.take(client);
        world.publish(client, "other", "1", AtLeastOnce, 1);
        world.expect(client, &[ack]);
        world.publish(client, "mine", "2", AtLeastOnce, 2);
        world.expect(client, &["PUBACK #2"]);
        world.publish_with(client, &Publish { retain: true, ..message("other", "3", AtMostOnce, 0) });
        world.expect(witness, &["PUBLISH q0 mine 2"]);
        assert_eq!(world.engine.view().retained(), 0);
    }
}

#[test]
fn a_client_does_not_hear_why_where_that_is_hidden() {
    let mut world = World::new(Config { obscure_not_authorized: true, ..Config::default() });
    let client = admitted(&mut world, &clean(Version::V5, "c"), &[]);
    world.take(client);
    world.publish(client, "t", "", AtLeastOnce, 1);
    world.expect(client, &["PUBACK #1 Unspecified error"]);
}

#[test]
fn what_may_not_be_read_does_not_come() {
    let mut world = World::new(Config { check_subscriptions: false, ..Config::default() });
    let publisher = world.client(Version::V5, "p");
    for topic in ["mine", "other"] {
        world.publish_with(publisher, &Publish { retain: true, ..message(topic, "kept", AtLeastOnce, 1) });
    }
    let client = admitted(&mut world, &clean(Version::V5, "c"), &["+r mine"]);
    world.take(client);
    world.subscribe_with(client, "#", options(AtLeastOnce), None);
    world.expect(client, &["SUBACK #9 01", "PUBLISH q1 #1 retain mine kept"]);
    for topic in ["mine", "other"] {
        world.publish(publisher, topic, "0", AtMostOnce, 0);
        world.publish(publisher, topic, "1", AtLeastOnce, 1);
    }
    world.expect(client, &["PUBLISH q0 mine 0", "PUBLISH q1 #2 mine 1"]);
    // It was never meant for this client, so nothing was lost.
    assert_eq!(world.dropped(DropReason::AclRevoked), 0);
}

/// A filter is granted if every topic that it matches may be read; or each message is judged alone.
#[test]
fn filters_that_reach_too_far_are_refused() {
    let filters = ["a/b", "a/+", "a/#", "$share/g/a/+", "#", "d"];
    // `a/c` is taken out of `a/+`.
    for (check_subscriptions, codes) in [(true, "00 87 87 87 87 00"), (false, "00 00 00 00 00 00")] {
        let mut world = World::new(Config { check_subscriptions, ..Config::default() });
        let client = admitted(&mut world, &clean(Version::V5, "c"), &["-r a/c/#", "+r a/+", "+r d"]);
        world.take(client);
        let filters = filters.map(|filter| (filter, options(AtMostOnce)));
        world.send(
            client,
            &Packet::Subscribe(mqtt_proto::Subscribe {
                packet_id: common::id_of(9),
                subscription_id: None,
                user_properties: mqtt_proto::UserProperties::default(),
                filters: mqtt_proto::SubscribeFilters::List(&filters),
            }),
        );
        world.expect(client, &[&format!("SUBACK #9 {codes}")]);
    }
}

fn options(qos: mqtt_proto::QoS) -> mqtt_proto::SubscribeOptions {
    mqtt_proto::SubscribeOptions { qos, ..Default::default() }
}

/// From the moment it is taken away, nothing leaves: not what waits, not what is sent again, not what is retained.
#[test]
fn rights_that_are_taken_away_hold_for_what_waits() {
    let mut world = World::new(Config { max_inflight: 1, ..Config::default() });
    let publisher = world.client(Version::V5, "p");
    let client = admitted(&mut world, &lasting(Version::V5, "c"), &["+r #"]);
    world.take(client);
    world.subscribe(client, "#", ExactlyOnce);
    for (payload, topic) in [("1", "gone"), ("2", "gone"), ("3", "left"), ("4", "gone")] {
        world.publish(publisher, topic, payload, AtLeastOnce, 1);
    }
    world.expect(client, &["PUBLISH q1 #1 gone 1"]);
    restrict(&mut world, "c", &["-r gone", "+r #"]);
    // It is on its way already, and its acknowledgement makes room.
    world.ack(client, Packet::PubAck, 1);
    world.expect(client, &["PUBLISH q1 #2 left 3"]);
    world.ack(client, Packet::PubAck, 2);
    world.expect(client, &[]);
    assert_eq!(world.dropped(DropReason::AclRevoked), 2);
    // And on the next connection.
    world.publish(publisher, "left", "5", AtLeastOnce, 1);
    world.expect(client, &["PUBLISH q1 #3 left 5"]);
    world.cut(client);
    let client = admitted(&mut world, &lasting(Version::V5, "c"), &["+r gone"]);
    world.expect(client, &["CONNACK Success present"]);
    assert_eq!((world.dropped(DropReason::AclRevoked), world.engine.view().inflight()), (3, 0));
}

/// What was released is the client's own already; only the exchange is brought to its end.
#[test]
fn an_exchange_that_was_released_is_ended() {
    let mut world = World::new(Config::default());
    let publisher = world.client(Version::V5, "p");
    let client = admitted(&mut world, &lasting(Version::V5, "c"), &["+r #"]);
    world.take(client);
    world.subscribe(client, "#", ExactlyOnce);
    world.publish(publisher, "t", "", ExactlyOnce, 1);
    world.ack(client, Packet::PubRec, 1);
    world.cut(client);
    let client = admitted(&mut world, &lasting(Version::V5, "c"), &[]);
    world.expect(client, &["CONNACK Success present", "PUBREL #1"]);
}

#[test]
fn a_member_of_a_shared_group_that_may_not_read_is_passed_over() {
    for shared_strategy in [
        SharedStrategy::RoundRobin,
        SharedStrategy::Sticky,
        SharedStrategy::Random,
        SharedStrategy::LeastInflight,
        SharedStrategy::HashTopic,
        SharedStrategy::HashClient,
    ] {
        let mut world =
            World::new(Config { shared_strategy, check_subscriptions: false, ..Config::default() });
        let publisher = world.client(Version::V5, "p");
        let may = admitted(&mut world, &lasting(Version::V5, "may"), &["+r t"]);
        let may_not = admitted(&mut world, &clean(Version::V5, "not"), &["-r t", "+r #"]);
        for member in [may_not, may] {
            world.take(member);
            world.subscribe(member, "$share/g/#", AtLeastOnce);
        }
        for payload in ["1", "2", "3"] {
            world.publish(publisher, "t", payload, AtLeastOnce, 1);
        }
        world.expect(may, &["PUBLISH q1 #1 t 1", "PUBLISH q1 #2 t 2", "PUBLISH q1 #3 t 3"]);
        world.expect(may_not, &[]);
        // Also where only members that are away are left.
        world.cut(may);
        world.publish(publisher, "t", "4", AtLeastOnce, 1);
        world.expect(may_not, &[]);
        assert_eq!(world.engine.view().queued(), 1, "{shared_strategy:?}");
    }
}

#[test]
fn a_will_is_judged_when_it_is_set_and_when_it_is_due() {
    let with_will = |version| Connect { will: Some(Will { retain: true, ..will() }), ..clean(version, "c") };
    for (version, refusal) in [
        (Version::V5, "CONNACK Not authorized"),
        // Return code 5.
        (Version::V311, "CONNACK Not authorized"),
    ] {
        let mut world = World::new(Config::default());
        let witness = world.client(Version::V5, "w");
        world.subscribe(witness, "#", AtMostOnce);
        let client = admitted(&mut world, &with_will(version), &["+w other"]);
        world.expect(client, &[refusal, "closed"]);
        let client = admitted(&mut world, &with_will(version), &["+w will"]);
        world.expect(client, &["CONNACK Success"]);
        restrict(&mut world, "c", &["+w other"]);
        world.cut(client);
        world.expect(witness, &[]);
        let client = admitted(&mut world, &with_will(version), &["+w will"]);
        world.take(client);
        world.cut(client);
        world.expect(witness, &["PUBLISH q0 will gone"]);
    }
}

/// Who publishes and leaves is judged by what it might, whoever has its session by the time a hook has thought.
#[test]
fn what_is_decided_after_its_client_left_is_judged_by_what_the_client_might() {
    use broker_engine::Interest;
    enum After {
        Nothing,
        Another(&'static [&'static str]),
        Revoked,
    }
    for (mut connect, rules, after, wanted) in [
        (clean(Version::V5, "c"), &["+w mine"], After::Nothing, &["PUBLISH q0 mine 2"][..]),
        (lasting(Version::V5, "c"), &["+w mine"], After::Nothing, &["PUBLISH q0 mine 2"]),
        // Another one's permissions do not help, and may stand in the way.
        (lasting(Version::V5, "c"), &["+w mine"], After::Another(&["+w #"]), &["PUBLISH q0 mine 2"]),
        (lasting(Version::V5, "c"), &["+w mine"], After::Another(&["+w other"]), &[]),
        (lasting(Version::V5, "c"), &["+w mine"], After::Revoked, &[]),
    ] {
        let mut world = World::new(Config { interest: Interest::PUBLISH, ..Config::default() });
        let witness = world.client(Version::V5, "w");
        world.subscribe(witness, "#", AtMostOnce);
        let client = admitted(&mut world, &connect, rules);
        world.hold_questions = true;
        world.publish(client, "other", "1", AtMostOnce, 0);
        world.publish(client, "mine", "2", AtMostOnce, 0);
        world.cut(client);
        let calls = std::mem::take(&mut world.questions);
        match after {
            After::Nothing => {}
            After::Another(rules) => {
                connect.username = Some("another");
                admitted(&mut world, &connect, rules);
            }
            After::Revoked => restrict(&mut world, "c", &[]),
        }
        for call in calls {
            world.handle(Input::Reply { call: call.id, answer: Answer::Allow });
        }
        world.expect(witness, wanted);
    }
}

/// A session that comes back from a store has the permissions that it is given there, its will included.
#[test]
fn what_a_client_may_after_a_restart_is_said_before_its_will_is_due() {
    use broker_engine::{Boot, Durability, HashKey, Seed};
    for (rules, is_sent) in [(&["+w will"], true), (&["-w will"], false)] {
        let config = Config { durability: Durability::Durable, ..Config::default() };
        let mut world = World::new(config.clone());
        let connect = Connect { will: Some(will()), username: Some("u"), ..lasting(Version::V5, "c") };
        world.connect_with(&connect);
        let mut boot = Boot::new(config, Seed(8), HashKey([3, 4]), world.now);
        world.store.records(world.now).for_each(|record| boot.push(record));
        boot.permit(|client_id, username| {
            assert_eq!((client_id, username), ("c", Some("u")));
            Some(permissions(rules))
        });
        world.engine = boot.finish().0;
        world.handle(Input::Tick);
        let counters = world.engine.view().counters();
        assert_eq!(
            (counters.wills_sent, counters.publish_refused),
            (u64::from(is_sent), u64::from(!is_sent))
        );
    }
}

/// A message is judged by the name under which it goes out: a hook may put another in its place.
#[test]
fn a_hooks_own_message_is_judged_too() {
    use broker_engine::{ApplicationMessage, Interest};
    let mut world = World::new(Config { interest: Interest::PUBLISH, ..Config::default() });
    let witness = world.client(Version::V5, "w");
    world.subscribe(witness, "#", AtMostOnce);
    let client = admitted(&mut world, &clean(Version::V5, "c"), &["+w mine"]);
    world.take(client);
    world.hold_questions = true;
    let instead = |topic: &str| {
        Answer::Replace(Box::new(ApplicationMessage { topic: topic.into(), ..ApplicationMessage::default() }))
    };
    world.publish(client, "other", "", AtLeastOnce, 1);
    world.answer(instead("mine"));
    world.publish(client, "mine", "", AtLeastOnce, 2);
    world.answer(instead("other"));
    // Taken away while the hook was thinking.
    world.publish(client, "mine", "", AtLeastOnce, 3);
    restrict(&mut world, "c", &[]);
    world.answer(Answer::Allow);
    world.expect(client, &["PUBACK #1", "PUBACK #2 Not authorized", "PUBACK #3 Not authorized"]);
    world.expect(witness, &["PUBLISH q0 mine "]);
}

/// Who is not restricted again may everything again.
#[test]
fn permissions_go_with_the_admission() {
    let mut world = World::new(Config::default());
    let client = admitted(&mut world, &lasting(Version::V5, "c"), &[]);
    world.cut(client);
    let client = world.connect_with(&lasting(Version::V5, "c"));
    world.publish(client, "t", "", AtLeastOnce, 1);
    world.expect(client, &["CONNACK Success present", "PUBACK #1 No matching subscribers"]);
    world.handle(Input::Command(Command::SetPermissions { client_id: "nobody".into(), permissions: None }));
    assert_eq!(world.engine.view().counters().host_misuse, 0);
}

/// `#/x` is no filter. Read level by level it would be about everything.
#[test]
fn filters_that_are_none_let_nobody_in() {
    for filter in ["#/x", "a+", "", "$share/g/a"] {
        let wrong = Permissions {
            rules: vec![Permission { filter: filter.into(), publish: Some(true), ..Permission::default() }],
            otherwise: true,
        };
        let mut world = World::new(Config::default());
        world.hold_questions = true;
        let conn = world.connect_with(&clean(Version::V5, "c"));
        let admission = Admission { permissions: Some(wrong.clone()), ..Admission::default() };
        world.answer(Answer::Admit(Box::new(admission)));
        world.expect(conn, &["CONNACK Not authorized", "closed"]);
        world.hold_questions = false;
        let conn = world.client(Version::V5, "c");
        let command = Command::SetPermissions { client_id: "c".into(), permissions: Some(wrong) };
        world.handle(Input::Command(command));
        world.publish(conn, "t", "", AtLeastOnce, 1);
        world.expect(conn, &["PUBACK #1 Not authorized"]);
        assert_eq!(world.engine.view().counters().host_misuse, 2);
    }
}

/// There may be any number of rules, but what they take is bounded as everything else is.
#[test]
fn rules_have_to_fit_into_the_memory_budget() {
    let rules: Vec<String> = (0..1000).map(|number| format!("+r topic/{number}")).collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    for (budget, code) in [(1 << 20, "CONNACK Success"), (20_000, "CONNACK Quota exceeded")] {
        let mut world = World::new(Config { memory_max: Some(budget), ..Config::default() });
        let conn = admitted(&mut world, &clean(Version::V5, "c"), &rules);
        assert_eq!(world.take(conn)[0], code);
    }
}

/// What is about a client that was seen is not about the next one with its identifier.
#[test]
fn who_has_the_identifier_by_then_is_not_meant() {
    let mut world = World::new(Config::default());
    let revise = |world: &mut World, conn, change| {
        world.handle(Input::Command(Command::Revise { client_id: "c".into(), conn, change }));
    };
    let nothing = || Change::Permissions(Some(Permissions::default()));
    let first = world.connect_with(&lasting(Version::V5, "c"));
    let second = world.connect_with(&lasting(Version::V5, "c"));
    world.take(second);
    for conn in [Some(first), None] {
        revise(&mut world, conn, nothing());
        revise(&mut world, conn, Change::Disconnect(ReasonCode::NotAuthorized));
    }
    world.publish(second, "t", "", AtLeastOnce, 1);
    world.expect(second, &["PUBACK #1 No matching subscribers"]);
    revise(&mut world, Some(second), nothing());
    world.publish(second, "t", "", AtLeastOnce, 2);
    revise(&mut world, Some(second), Change::Disconnect(ReasonCode::NotAuthorized));
    world.expect(second, &["PUBACK #2 Not authorized", "DISCONNECT Not authorized", "closed"]);
    // While it is away there is nothing to be disconnected.
    revise(&mut world, None, Change::Disconnect(ReasonCode::NotAuthorized));
    assert_eq!(world.engine.view().sessions(), 1);
}

/// A hook may keep another will than the client has sent, or none. What it may publish is judged by that.
#[test]
fn a_hook_decides_what_is_kept_of_a_will() {
    let instead = |topic: &str, retain| {
        KeptWill::Instead(Box::new(ApplicationMessage {
            topic: topic.into(),
            payload: "instead".into(),
            retain,
            user_properties: vec![("by".into(), "hook".into())],
            ..ApplicationMessage::default()
        }))
    };
    let accepted = "CONNACK Success";
    let refused = "CONNACK Not authorized";
    let cases: [(KeptWill, &str, &[&str]); 6] = [
        (KeptWill::AsSent, refused, &[]),
        (KeptWill::Nothing, accepted, &[]),
        (instead("mine", false), accepted, &["PUBLISH q0 by=hook mine instead"]),
        (instead("other", false), refused, &[]),
        (instead("$SYS/x", false), refused, &[]),
        (instead("mine", true), refused, &[]),
    ];
    for (kept, code, heard) in cases {
        let mut world = World::new(Config { retain_available: false, ..Config::default() });
        let witness = world.client(Version::V5, "w");
        world.subscribe(witness, "#", AtMostOnce);
        world.hold_questions = true;
        let client = world.connect_with(&Connect { will: Some(will()), ..clean(Version::V5, "c") });
        let Question::Authenticate(asked) = &world.questions[0].question else { panic!("no CONNECT") };
        assert_eq!(
            asked.will.as_ref().map(|will| (&*will.topic, &*will.payload)),
            Some(("will", &b"gone"[..]))
        );
        let permissions = Some(permissions(&["+w mine"]));
        world.answer(Answer::Admit(Box::new(Admission { permissions, will: kept, ..Admission::default() })));
        assert_eq!(world.take(client)[0], code);
        if code == accepted {
            world.cut(client);
        }
        assert_eq!(world.take(witness), heard);
    }
}
