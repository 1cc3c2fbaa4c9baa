//! Every reason for which a message is not delivered: counted, and told of with receiver and topic.
//!
//! That counter and note agree in number is looked at after every call of every test (`common/`).

mod common;

use broker_engine::{Answer, Command, Config, ConnId, DropReason, Durability, Input, Interest, Permissions};
use common::{World, clean, lasting, message, will};
use mqtt_proto::QoS::{self, AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{Connect, Packet, ReasonCode, SubscribeOptions, TopicName, Version, Will, WillProperties};

/// One way to lose messages that are for a client `s`.
struct Way {
    config: Config,
    lose: fn(&mut World),
    /// Client identifier and topic of each note.
    told: &'static [(&'static str, &'static str)],
}

const TO_S: &[(&str, &str)] = &[("s", "t")];

const TO_NOBODY: &[(&str, &str)] = &[("", "t")];

/// Ways that end in a drop for this reason.
fn ways(reason: DropReason) -> Vec<Way> {
    let way = |config, lose: fn(&mut World)| Way { config, lose, told: TO_S };
    let usual = Config::default;
    // One message of a queue in memory, the others in the store.
    let paged = || Config { durability: Durability::Durable, queue_window_messages: 1, ..Config::default() };
    match reason {
        DropReason::Expired => vec![
            way(usual(), expired),
            way(usual(), expired_before_it_was_handed_on),
            way(usual(), a_will_of_which_the_host_hears_late),
        ],
        DropReason::QueueFull => {
            vec![way(Config { max_queued_messages: 1, ..usual() }, two_queued)]
        }
        DropReason::QuotaBytes => {
            vec![way(Config { max_queued_bytes: 3, ..usual() }, two_queued)]
        }
        DropReason::PacketTooLarge => vec![
            way(usual(), |world| too_large(world, AtMostOnce)),
            way(usual(), |world| too_large(world, AtLeastOnce)),
            way(usual(), too_large_to_be_sent_again),
        ],
        DropReason::Qos0Offline => vec![way(usual(), |world| {
            absent(world);
            publish(world, AtMostOnce, 1);
        })],
        DropReason::Qos0SlowReader => vec![way(usual(), |world| {
            let s = subscriber(world, AtMostOnce);
            world.handle(Input::Backlog { conn: s, unsent: 300 << 10 });
            publish(world, AtMostOnce, 1);
        })],
        DropReason::SessionEnded => vec![
            way(usual(), |world| {
                one_in_flight_and_one_released(world);
                world.connect_with(&clean(Version::V5, "s"));
            }),
            Way {
                told: &[("s", "t"), ("s", "")],
                ..way(paged(), |world| {
                    two_queued(world);
                    world.connect_with(&clean(Version::V5, "s"));
                })
            },
            Way { told: TO_NOBODY, ..way(Config { work_per_call: 1, ..usual() }, gone_during_a_fan_out) },
        ],
        DropReason::ClientRejected => vec![
            way(usual(), |world| rejected(world, AtLeastOnce, Packet::PubAck)),
            way(usual(), |world| rejected(world, ExactlyOnce, Packet::PubRec)),
        ],
        DropReason::SharedNoMember => vec![way(usual(), |world| {
            let s = world.client(Version::V5, "s");
            world.subscribe(s, "$share/g/t", AtLeastOnce);
            publish(world, AtLeastOnce, 1);
            world.cut(s);
        })],
        DropReason::AdminDropped => vec![way(usual(), |world| {
            subscriber(world, AtLeastOnce);
            publish(world, AtLeastOnce, 1);
            let reason = ReasonCode::AdministrativeAction;
            let command = Command::Disconnect { client_id: "s".into(), reason, end_session: true };
            world.handle(Input::Command(command));
        })],
        DropReason::StoreLost => vec![Way {
            told: &[("s", "")],
            ..way(paged(), |world| {
                two_queued(world);
                world.hold_pages = true;
                world.connect_with(&lasting(Version::V5, "s"));
                let (fetch, _) = world.pages.remove(0);
                world.handle(Input::Loaded { fetch, deliveries: Vec::new() });
            })
        }],
        DropReason::AclRevoked => {
            vec![way(Config { max_inflight: 1, ..usual() }, |world| {
                let s = subscriber(world, AtLeastOnce);
                publish(world, AtLeastOnce, 2);
                let permissions = Some(Permissions::default());
                let command = Command::SetPermissions { client_id: "s".into(), permissions };
                world.handle(Input::Command(command));
                world.ack(s, Packet::PubAck, 1);
            })]
        }
        DropReason::HookDropped => {
            let asking = || Config { interest: Interest::PUBLISH, ..usual() };
            let discards = |lose| Way { told: TO_NOBODY, ..way(asking(), lose) };
            vec![
                discards(|world| discarded(world, AtMostOnce)),
                discards(|world| discarded(world, ExactlyOnce)),
            ]
        }
    }
}

#[test]
fn every_reason_is_counted_and_told() {
    for reason in DropReason::ALL {
        for (number, Way { config, lose, told }) in ways(reason).into_iter().enumerate() {
            let mut world = World::new(config);
            lose(&mut world);
            world.settle();
            let name = format!("{reason:?}, way {number}");
            let wanted = told.iter().map(|(client_id, topic)| (reason, (*client_id).into(), (*topic).into()));
            assert_eq!(world.drops, wanted.collect::<Vec<_>>(), "{name}");
            assert_eq!(world.dropped(reason), told.len() as u64, "{name}");
        }
    }
}

/// A connected client `s`.
fn subscriber(world: &mut World, qos: QoS) -> ConnId {
    let s = world.persistent(Version::V5, "s");
    world.subscribe(s, "t", qos);
    s
}

/// `s` has subscribed and left.
fn absent(world: &mut World) {
    let s = subscriber(world, AtLeastOnce);
    world.cut(s);
}

/// Two subscribers would get it, and nobody asks; sent again, it is not discarded again.
fn discarded(world: &mut World, qos: QoS) {
    for name in ["first", "second"] {
        let conn = world.client(Version::V5, name);
        world.subscribe(conn, "t", qos);
    }
    let publisher = world.client(Version::V5, "p");
    world.hold_questions = true;
    let mut packet = message("t", "x", qos, 1);
    world.publish_with(publisher, &packet);
    let call = world.questions.remove(0).id;
    world.handle(Input::Reply { call, answer: Answer::Discard });
    if qos == ExactlyOnce {
        packet.dup = true;
        world.publish_with(publisher, &packet);
        assert!(world.questions.is_empty());
    }
}

/// A publisher that leaves again.
fn publish(world: &mut World, qos: QoS, count: u16) {
    let publisher = world.client(Version::V5, "p");
    for id in 1..=count {
        world.publish(publisher, "t", "x", qos, id);
    }
    world.cut(publisher);
}

fn two_queued(world: &mut World) {
    absent(world);
    publish(world, AtLeastOnce, 2);
}

fn expired(world: &mut World) {
    absent(world);
    let publisher = world.client(Version::V5, "p");
    let mut short = message("t", "x", AtLeastOnce, 1);
    short.properties.message_expiry_interval = Some(1);
    world.publish_with(publisher, &short);
    world.wait(2);
    world.connect_with(&lasting(Version::V5, "s"));
}

fn expired_before_it_was_handed_on(world: &mut World) {
    let s = world.client(Version::V5, "s");
    world.subscribe(s, "$share/g/t", AtLeastOnce);
    let publisher = world.client(Version::V5, "p");
    let mut short = message("t", "x", AtLeastOnce, 1);
    short.properties.message_expiry_interval = Some(1);
    world.publish_with(publisher, &short);
    world.wait(2);
    world.cut(s);
}

/// Keep-alive runs out after 15 s and the will lives for 5 s, but nobody calls for a minute.
fn a_will_of_which_the_host_hears_late(world: &mut World) {
    let s = subscriber(world, AtLeastOnce);
    let properties = WillProperties { message_expiry_interval: Some(5), ..WillProperties::default() };
    let will = Will { topic: TopicName::parse("t").unwrap(), properties, ..will() };
    world.connect_with(&Connect { keep_alive: 10, will: Some(will), ..clean(Version::V5, "p") });
    world.now = world.now.after_secs(60);
    world.handle(Input::Tick);
    world.settle();
    world.expect(s, &[]);
}

fn too_large(world: &mut World, qos: QoS) {
    let mut connect = clean(Version::V5, "s");
    connect.properties.maximum_packet_size = Some(20);
    let s = world.connect_with(&connect);
    world.subscribe_with(s, "t", SubscribeOptions { qos, ..Default::default() }, None);
    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", &"x".repeat(20), qos, 1);
}

/// In flight on one connection, and the next one takes smaller packets.
fn too_large_to_be_sent_again(world: &mut World) {
    let s = subscriber(world, AtLeastOnce);
    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", &"x".repeat(20), AtLeastOnce, 1);
    world.cut(s);
    let mut connect = lasting(Version::V5, "s");
    connect.properties.maximum_packet_size = Some(20);
    world.connect_with(&connect);
}

/// One in flight; one that the client has, as its PUBREC said, and that is no loss.
fn one_in_flight_and_one_released(world: &mut World) {
    let s = subscriber(world, ExactlyOnce);
    publish(world, ExactlyOnce, 2);
    world.ack(s, Packet::PubRec, 1);
}

/// `s` ends between the slices of a fan-out, and nobody knows any more who it was.
fn gone_during_a_fan_out(world: &mut World) {
    // One gets it in the call of the PUBLISH, one in the call that brings the end.
    for name in ["first", "second"] {
        let conn = world.client(Version::V5, name);
        world.subscribe(conn, "t", AtMostOnce);
    }
    let s = world.client(Version::V5, "s");
    world.subscribe(s, "t", AtMostOnce);
    let publisher = world.client(Version::V5, "p");
    world.publish(publisher, "t", "x", AtMostOnce, 0);
    world.cut(s);
}

fn rejected(world: &mut World, qos: QoS, ack: fn(mqtt_proto::Ack<'static>) -> Packet<'static>) {
    let s = subscriber(world, qos);
    publish(world, qos, 1);
    world.ack_with(s, ack, 1, ReasonCode::QuotaExceeded);
}
