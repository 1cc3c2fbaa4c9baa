//! Hooks that are asked about UNSUBSCRIBE packets.

mod common;

use broker_engine::{Answer, Config, ConnId, Interest, Question};
use common::{World, id_of};
use mqtt_proto::QoS::AtMostOnce;
use mqtt_proto::{Packet, ReasonCode, Unsubscribe, UnsubscribeFilters, UserProperties, Version};

/// A client that has `a` and `b` and unsubscribes from both, and from what it does not have; what the hook is asked.
fn unsubscribing(version: Version) -> (World, ConnId, Vec<String>) {
    let mut world = World::new(Config { interest: Interest::UNSUBSCRIBE, ..Config::default() });
    let conn = world.client(version, "c");
    world.subscribe(conn, "a", AtMostOnce);
    world.subscribe(conn, "b", AtMostOnce);
    world.hold_questions = true;
    let packet = Unsubscribe {
        packet_id: id_of(9),
        user_properties: UserProperties::default(),
        filters: UnsubscribeFilters::List(&["a", "b", "c"]),
    };
    world.send(conn, &Packet::Unsubscribe(packet));
    let asked = match &world.questions[0].question {
        Question::Unsubscribe { client_id, filters } => {
            assert_eq!(client_id, "c");
            filters.clone()
        }
        question => panic!("{question:?}"),
    };
    (world, conn, asked)
}

#[test]
fn every_answer_does_what_it_says() {
    let success = ReasonCode::Success;
    for (answer, wanted, left) in [
        (Answer::Allow, [0, 0, 0x11], &[][..]),
        (Answer::Deny(ReasonCode::NotAuthorized), [0x87, 0x87, 0x87], &["a", "b"]),
        (Answer::Filters(vec![success, ReasonCode::UnspecifiedError, success]), [0, 0x80, 0x11], &["b"]),
        // What is left out is refused, and so is what makes no sense.
        (Answer::Filters(vec![success]), [0, 0x87, 0x87], &["b"]),
        (Answer::Filters(vec![ReasonCode::ServerBusy; 3]), [0x87, 0x87, 0x87], &["a", "b"]),
        (Answer::Discard, [0x87, 0x87, 0x87], &["a", "b"]),
    ] {
        let (mut world, conn, asked) = unsubscribing(Version::V5);
        assert_eq!(asked, ["a", "b", "c"]);
        // What comes behind it waits.
        world.bytes(conn, b"\xc0\0");
        assert!(world.take_bytes(conn).is_empty());
        world.answer(answer.clone());
        let unsuback = [&[0xb0, 6, 0, 9, 0], &wanted[..], &[0xd0, 0]].concat();
        assert_eq!(world.take_bytes(conn), unsuback, "{answer:?}");
        let filters: Vec<_> = world.engine.view().session("c").unwrap().filters().collect();
        assert_eq!(filters, left, "{answer:?}");
    }
}

#[test]
fn a_client_of_3_1_1_keeps_what_it_may_not_end() {
    let (mut world, conn, _) = unsubscribing(Version::V311);
    world.answer(Answer::Deny(ReasonCode::NotAuthorized));
    // There is no code for it.
    assert_eq!(world.take_bytes(conn), [0xb0, 2, 0, 9]);
    assert_eq!(world.engine.view().session("c").unwrap().filters().count(), 2);
}
