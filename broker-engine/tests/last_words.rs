//! What a client said before its connection ended counts, also where its packets still waited for something.

mod common;

use broker_engine::{Answer, Config, ConnId, Durability, Interest};
use common::{World, lasting, will};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce};
use mqtt_proto::{Connect, ReasonCode, SubscribeOptions, Version};

/// Subscribers to everything; more than one call of the table's smallest budget serves.
const WITNESSES: usize = 5;

/// What makes a client's packets wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// A PUBLISH before them that goes to many.
    Fanout,
    /// Short memory, after a PUBLISH.
    Memory,
    /// A hook that is asked about a SUBSCRIBE.
    Question,
    /// A store that has not kept the session yet.
    Greeting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    TransportGone,
    TakenOver,
}

fn config(wait: Wait) -> Config {
    let config = Config::default();
    match wait {
        Wait::Fanout => Config { work_per_call: 3, ..config },
        Wait::Memory => Config { memory_high: Some(1), ..config },
        Wait::Question => Config { interest: Interest::SUBSCRIBE, ..config },
        Wait::Greeting => Config { durability: Durability::Durable, ..config },
    }
}

fn with_will() -> Connect<'static> {
    Connect { will: Some(will()), ..lasting(Version::V5, "c") }
}

/// A client whose packets wait from now on.
fn held_up(world: &mut World, wait: Wait) -> ConnId {
    world.hold_stored = wait == Wait::Greeting;
    let client = world.connect_with(&with_will());
    world.hold_questions = true;
    match wait {
        Wait::Fanout | Wait::Memory => world.publish(client, "first", "1", AtMostOnce, 0),
        Wait::Question => world.subscribe_with(client, "t", SubscribeOptions::default(), None),
        Wait::Greeting => {}
    }
    client
}

#[test]
fn packets_that_waited_are_heard_before_the_connection_ends() {
    let cases = [
        (Wait::Fanout, End::TransportGone),
        (Wait::Fanout, End::TakenOver),
        (Wait::Memory, End::TransportGone),
        (Wait::Memory, End::TakenOver),
        (Wait::Question, End::TransportGone),
        (Wait::Question, End::TakenOver),
        (Wait::Greeting, End::TransportGone),
    ];
    for (wait, end) in cases {
        let mut world = World::new(config(wait));
        let witnesses: Vec<_> = (0..WITNESSES)
            .map(|number| {
                let witness = world.client(Version::V311, &format!("w{number}"));
                world.subscribe(witness, "#", AtLeastOnce);
                witness
            })
            .collect();
        let client = held_up(&mut world, wait);
        world.take(client);
        world.publish(client, "last", "words", AtMostOnce, 0);
        world.publish(client, "last", "of all", AtMostOnce, 0);
        world.disconnect(client, ReasonCode::Success);
        assert!(!world.is_closed(client), "{wait:?}: its packets did not wait");
        match end {
            End::TransportGone => world.cut(client),
            End::TakenOver => {
                world.hold_questions = false;
                let taker = world.connect_with(&lasting(Version::V5, "c"));
                world.expect(taker, &["CONNACK Success present"]);
            }
        }
        world.release_stored();
        world.settle();
        let first: &[&str] = match wait {
            Wait::Fanout | Wait::Memory => &["PUBLISH q0 first 1"],
            Wait::Question | Wait::Greeting => &[],
        };
        for witness in witnesses {
            let wanted = [first, &["PUBLISH q0 last words", "PUBLISH q0 last of all"]].concat();
            assert_eq!(world.take(witness), wanted, "{wait:?}, {end:?}");
        }
        world.engine.view().verify().unwrap();
    }
}

/// What is heard behind a SUBSCRIBE is answered behind its SUBACK. The hook has not said yes, so it is a no, and
/// stays one.
#[test]
fn a_subscribe_whose_answer_does_not_come_is_refused_before_what_is_behind_it() {
    for version in [Version::V311, Version::V5] {
        let mut world = World::new(config(Wait::Question));
        let client = world.persistent(version, "c");
        world.hold_questions = true;
        world.subscribe_with(client, "t", SubscribeOptions::default(), None);
        world.unsubscribe(client, "t");
        world.publish(client, "t", "", AtLeastOnce, 1);
        world.expect(client, &[]);
        world.hold_questions = false;
        world.persistent(version, "c");
        let wanted: &[&str] = match version {
            Version::V5 => &[
                "SUBACK #9 80",
                "UNSUBACK #8 11",
                "PUBACK #1 No matching subscribers",
                "DISCONNECT Session taken over",
                "closed",
            ],
            _ => &["SUBACK #9 80", "UNSUBACK #8", "PUBACK #1", "closed"],
        };
        world.expect(client, wanted);
        world.answer(Answer::Allow);
        assert_eq!(world.engine.view().subscriptions(), 0, "{version:?}");
    }
}

/// What makes a CONNECT one that is refused.
type Fault = fn(&mut Connect<'static>);

/// A CONNECT that is refused changes nothing, also not for whoever has the session and waits.
#[test]
fn who_is_refused_cuts_nobody_short() {
    let too_small = |connect: &mut Connect<'static>| connect.properties.maximum_packet_size = Some(10);
    let other_user = |connect: &mut Connect<'static>| connect.username = Some("mallory");
    let cases: [(Fault, &[&str]); 2] = [
        (too_small, &["CONNACK Packet too large", "closed"]),
        (other_user, &["CONNACK Not authorized", "closed"]),
    ];
    for (how, answer) in cases {
        for wait in [Wait::Fanout, Wait::Memory, Wait::Question] {
            let config = Config { bind_session_to_user: true, ..config(wait) };
            let mut world = World::new(config);
            for number in 0..WITNESSES {
                let witness = world.client(Version::V311, &format!("w{number}"));
                world.subscribe(witness, "first", AtMostOnce);
            }
            let client = world.connect_with(&with_will());
            world.take(client);
            world.hold_questions = wait == Wait::Question;
            match wait {
                Wait::Question => world.subscribe_with(client, "t", SubscribeOptions::default(), None),
                _ => world.publish(client, "first", "1", AtLeastOnce, 1),
            }
            world.publish(client, "last", "words", AtLeastOnce, 2);
            let mut connect = lasting(Version::V5, "c");
            how(&mut connect);
            let questions = std::mem::take(&mut world.questions);
            world.hold_questions = false;
            let newcomer = world.connect_with(&connect);
            world.expect(newcomer, answer);
            world.questions = questions;
            if wait == Wait::Question {
                world.answer(Answer::Allow);
            }
            world.settle();
            world.wait(1);
            let wanted: &[&str] = match wait {
                Wait::Question => &["SUBACK #9 00", "PUBACK #2 No matching subscribers"],
                _ => &["PUBACK #1", "PUBACK #2 No matching subscribers"],
            };
            assert_eq!(world.take(client), wanted, "{wait:?}, {answer:?}");
        }
    }
}
