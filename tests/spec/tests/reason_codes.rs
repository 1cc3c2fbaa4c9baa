//! Reason codes as the tables of MQTT 5.0 have them, written down once more: all 256 in every packet that has one, for
//! the codec alone, and through the engine for what a client sends.

use metronome_spec::Version;
use metronome_spec::probe::{Probe, State};
use metronome_spec::wire::encode;
use mqtt_proto::{Limits, Packet, ReasonCode};

const OF_PUBACK: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const OF_PUBREL: &[u8] = &[0x00, 0x92];

/// Packets with a place for a code, and the codes of their tables: 3-1, 3-4 to 3-9, 3-13 and 3-14. To those of DISCONNECT
/// Table 2-6 adds 0x8C.
const TABLES: [(&str, &str, &[u8]); 9] = [
    (
        "CONNACK",
        "raw 20 [ 00 CODE 00 ]",
        &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97,
            0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
        ],
    ),
    ("PUBACK", "raw 40 [ 0001 CODE ]", OF_PUBACK),
    ("PUBREC", "raw 50 [ 0001 CODE ]", OF_PUBACK),
    ("PUBREL", "raw 62 [ 0001 CODE ]", OF_PUBREL),
    ("PUBCOMP", "raw 70 [ 0001 CODE ]", OF_PUBREL),
    (
        "SUBACK",
        "raw 90 [ 0001 00 CODE ]",
        &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
    ),
    ("UNSUBACK", "raw b0 [ 0001 00 CODE ]", &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]),
    (
        "DISCONNECT",
        "raw e0 [ CODE ]",
        &[
            0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94,
            0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
        ],
    ),
    ("AUTH", "raw f0 [ CODE [ 15 s:m ] ]", &[0x00, 0x18, 0x19]),
];

/// Codes of DISCONNECT that a client may send too.
const DISCONNECT_OF_CLIENTS: [u8; 14] =
    [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];

fn bytes(line: &str, code: u8) -> Vec<u8> {
    encode(&line.replace("CODE", &format!("{code:02x}")), Version::V5)
}

fn table(name: &str) -> (&'static str, &'static [u8]) {
    let (_, line, codes) = TABLES.into_iter().find(|(packet, ..)| *packet == name).expect("a table");
    (line, codes)
}

/// What a client in this state gets for each code of a packet.
fn assert_answers(name: &str, state: State, wanted: impl Fn(u8) -> &'static str) {
    let (line, codes) = table(name);
    for code in 0..=u8::MAX {
        let mut probe = Probe::new(state, Version::V5);
        probe.send(&bytes(line, code));
        let wanted = if codes.contains(&code) { wanted(code) } else { "81" };
        assert_eq!(probe.verdict(), wanted, "{name} {code:02x} in {state:?}");
    }
}

/// [U-*-reason-code]
#[test]
fn the_codec_knows_the_codes_of_each_packet() {
    for (name, line, codes) in TABLES {
        for code in 0..=u8::MAX {
            let bytes = bytes(line, code);
            let parsed = Packet::parse(&bytes, mqtt_proto::Version::V5, &Limits::default());
            let wanted = if codes.contains(&code) { Ok(()) } else { Err(ReasonCode::MalformedPacket) };
            assert_eq!(parsed.map(|_| ()).map_err(|error| error.reason()), wanted, "{name} {code:02x}");
        }
    }
}

/// [U-3.4.2.1-puback-reason-code], [U-3.5.2.1-pubrec-reason-code], [U-3.6.2.1-pubrel-reason-code],
/// [U-3.7.2.1-pubcomp-reason-code]
#[test]
fn acknowledgements_have_the_codes_of_their_tables() {
    for name in ["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"] {
        assert_answers(name, State::Connected, |_| "ok");
    }
}

/// [U-3.14.2.1-disconnect-reason-code], [MQTT-3.14.2-1]: what only a server says is a Protocol Error from a client.
#[test]
fn disconnect_has_the_codes_that_a_client_says() {
    let wanted = |code| if DISCONNECT_OF_CLIENTS.contains(&code) { "bye" } else { "82" };
    assert_answers("DISCONNECT", State::Connected, wanted);
}

/// [U-3.15.2.1-auth-reason-code], [MQTT-3.15.2-1]: 0x18 answers, 0x19 begins anew, and 0x00 is the broker's.
#[test]
fn auth_has_one_code_at_a_time() {
    assert_answers("AUTH", State::Exchange, |code| if code == 0x18 { "ok" } else { "82" });
    assert_answers("AUTH", State::Authenticated, |code| if code == 0x19 { "ok" } else { "82" });
    assert_answers("AUTH", State::Connected, |_| "82");
}

/// Return codes of CONNACK and SUBACK before MQTT 5.
#[test]
fn the_codec_knows_the_return_codes_of_3_x() {
    let tables: [(&str, &[u8]); 2] =
        [("raw 20 [ 00 CODE ]", &[0, 1, 2, 3, 4, 5]), ("raw 90 [ 0001 CODE ]", &[0, 1, 2, 0x80])];
    for version in [mqtt_proto::Version::V31, mqtt_proto::Version::V311] {
        for (line, codes) in tables {
            for code in 0..=u8::MAX {
                let bytes = bytes(line, code);
                let parsed = Packet::parse(&bytes, version, &Limits::default());
                assert_eq!(parsed.is_ok(), codes.contains(&code), "{line} {code:02x} in {version:?}");
            }
        }
    }
}
