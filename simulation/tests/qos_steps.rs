//! A connection ends between every two steps of QoS 1 and QoS 2, in every way, for the publisher and for the receiver;
//! then the session goes on, and nothing is lost or comes twice.

use simulation::check::Marks;
use simulation::scenario::{Acks, Filter, Message, Operation, Profile, Scenario, What, generate};
use simulation::world::{Options, play};

const MILLI: u64 = 1000;
const SECOND: u64 = 1000 * MILLI;

/// Every packet takes 10 ms, and the receiver a second for each of its answers. A message that is published at 10 s
/// is at the broker at 10.01, PUBREC is back at 10.02, PUBREL there at 10.03, PUBCOMP back at 10.04.
const PUBLISHER: [u64; 5] = [10_005, 10_015, 10_025, 10_035, 10_050];

/// The receiver has PUBLISH at 10.02, its PUBREC is at the broker at 11.03, PUBREL is back at 11.04, and PUBCOMP is at the
/// broker at 12.05.
const RECEIVER: [u64; 7] = [10_015, 10_500, 11_025, 11_035, 11_500, 12_045, 12_100];

/// How a connection ends: broken, without DISCONNECT, in the middle of a packet, with DISCONNECT, by the operator, by
/// a newer connection.
fn endings() -> [What; 7] {
    [
        What::Cut,
        What::HalfClose,
        What::EndMidPacket,
        What::Disconnect { with_will: false, expiry: None },
        What::Kick { end_session: false },
        What::Connect,
        What::ConnectMany(2),
    ]
}

fn scenario(versions: [u8; 2], qos: u8, party: usize, at: u64, ending: &What) -> Scenario {
    let mut scenario = generate(0, Profile::Dense { clients: 2 });
    (scenario.network.delay_min, scenario.network.delay_max, scenario.network.split) =
        (10 * MILLI, 10 * MILLI, 0);
    scenario.outside.answer_max = 0;
    for (client, version) in scenario.clients.iter_mut().zip(versions) {
        (client.version, client.clean, client.expiry) = (version, false, 1000);
        client.reconnect = Some(5 * SECOND);
    }
    scenario.clients[1].acks = Acks::After(SECOND);
    let filter =
        Filter { filter: "a".into(), qos, no_local: false, retain_as_published: false, retain_handling: 0 };
    let message = Message { topic: "a".into(), qos, size: 8, ..Message::default() };
    let operations = [
        (SECOND, 0, What::Connect),
        (SECOND, 1, What::Connect),
        (3 * SECOND, 1, What::Subscribe(vec![filter])),
        (10 * SECOND, 0, What::Publish(message)),
        (at * MILLI, party, ending.clone()),
    ];
    scenario.operations = operations.map(|(at, client, what)| Operation { at, client, what }).to_vec();
    scenario.heal_at = 40 * SECOND;
    scenario
}

#[test]
fn a_connection_ends_between_every_two_steps() {
    let mut marks = Marks::default();
    let mut played = 0;
    for versions in [[4, 4], [4, 5], [5, 4], [5, 5]] {
        for qos in [1, 2] {
            for (party, moments) in [(0, &PUBLISHER[..]), (1, &RECEIVER[..])] {
                for at in moments {
                    for ending in endings() {
                        let scenario = scenario(versions, qos, party, *at, &ending);
                        let outcome = play(&scenario, Options::default());
                        assert_eq!(outcome.violation, None, "{}", scenario.to_json());
                        marks.add(&outcome.checks.marks);
                        played += 1;
                    }
                }
            }
        }
    }
    assert_eq!(played, 4 * 2 * (5 + 7) * 7);
    for mark in [
        "a connection ended between PUBLISH and PUBACK",
        "a connection ended between PUBLISH and PUBREC",
        "a connection ended between PUBREC and PUBREL",
        "a connection ended between PUBREL and PUBCOMP",
        "a message that was acknowledged comes again",
        "a packet sent again",
        "a session taken over with messages in flight",
        "PUBREL sent again",
    ] {
        assert!(marks.count(mark) > 0, "{mark}");
    }
}
