//! Malformed and state-breaking input by its class, and the answer that each gets, as a table for a person. That
//! nothing is left behind and that others go on is shown by `attacks.rs` and `mistakes.rs` of the engine.

use metronome_spec::Version;
use metronome_spec::engine::EngineTransport;
use metronome_spec::run::{Patience, Transport};
use metronome_spec::wire::encode;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Class, what it is, and lines that are sent. `PROPERTIES` is the empty block of MQTT 5; a first line `fresh` leaves
/// the CONNECT out.
const ATTACKS: &[(&str, &str, &[&str])] = &[
    ("A-01", "SUBSCRIBE without options", &["raw 82 [ 0001 PROPERTIES s:t ]"]),
    ("A-01", "SUBSCRIBE without filter", &["raw 82 [ 0001 PROPERTIES ]"]),
    ("A-01", "second filter without options", &["raw 82 [ 0001 PROPERTIES s:t 00 s:u ]"]),
    ("A-03", "empty topic name", &["raw 30 [ 0000 PROPERTIES ]"]),
    ("A-03", "topic name beyond the packet", &["raw 30 [ 0005 74 ]"]),
    ("A-03", "topic name without length", &["raw 30 [ 00 ]"]),
    ("A-04", "QoS 1 without identifier", &["raw 32 [ s:t ]"]),
    ("A-04", "QoS 2 with half an identifier", &["raw 34 [ s:t 00 ]"]),
    ("A-04", "QoS 1 with identifier 0", &["raw 32 [ s:t 0000 PROPERTIES ]"]),
    ("A-05", "Remaining Length of five bytes, PINGREQ behind", &["raw 30 ff ff ff ff 01 c0 00"]),
    ("A-05", "Remaining Length of five bytes, at once", &["fresh", "raw 10 ff ff ff ff 01 c0 00"]),
    ("A-05", "Remaining Length not minimal", &["raw c0 80 00"]),
    ("A-05", "Remaining Length above the maximum", &["raw 30 ff ff ff 7f"]),
    ("A-06", "CONNACK at once", &["fresh", "raw 20 [ 0000 PROPERTIES ]"]),
    ("A-06", "CONNACK", &["raw 20 [ 0000 PROPERTIES ]"]),
    ("A-06", "SUBACK", &["raw 90 [ 0001 PROPERTIES 00 ]"]),
    ("A-06", "UNSUBACK", &["raw b0 [ 0001 PROPERTIES 00 ]"]),
    ("A-06", "PINGRESP", &["raw d0 00"]),
    ("A-08", "SUBSCRIBE with identifier 0", &["raw 82 [ 0000 PROPERTIES s:t 00 ]"]),
    ("A-08", "QoS 3", &["raw 82 [ 0001 PROPERTIES s:t 03 ]"]),
    ("A-08", "reserved option bits", &["raw 82 [ 0001 PROPERTIES s:t c0 ]"]),
    ("A-08", "UNSUBSCRIBE without filter", &["raw a2 [ 0001 PROPERTIES ]"]),
    (
        "A-08",
        "SUBSCRIBE, UNSUBSCRIBE, and one that is malformed",
        &["SUBSCRIBE #1 t", "UNSUBSCRIBE #2 t", "raw 82 [ 0003 PROPERTIES s:t ]"],
    ),
    ("A-09", "Payload Format Indicator twice", &["raw 30 [ s:t [ 01 00 01 00 ] ]"]),
    ("A-09", "Receive Maximum in PUBLISH", &["raw 30 [ s:t [ 21 0001 ] ]"]),
    ("A-09", "unknown property", &["raw 30 [ s:t [ 04 00 ] ]"]),
    ("A-09", "user property that ends early", &["raw 30 [ s:t [ 26 0001 6b ] ]"]),
    (
        "A-09",
        "Receive Maximum twice in CONNECT",
        &["fresh", "raw 10 [ s:MQTT LEVEL 02 0000 [ 21 0001 21 0001 ] 0000 ]"],
    ),
    ("A-10", "second CONNECT", &["CONNECT c clean"]),
    ("A-10", "PINGREQ at once", &["fresh", "PINGREQ"]),
    ("A-10", "Will QoS without will", &["fresh", "raw 10 [ s:MQTT LEVEL 0a 0000 PROPERTIES s:c ]"]),
    ("A-10", "Will Retain without will", &["fresh", "raw 10 [ s:MQTT LEVEL 22 0000 PROPERTIES s:c ]"]),
    ("A-10", "Will QoS 3", &["fresh", "raw 10 [ s:MQTT LEVEL 1e 0000 PROPERTIES s:c PROPERTIES s:w 0000 ]"]),
    ("A-11", "NUL in a topic name", &["raw 30 [ 0003 61 00 62 PROPERTIES ]"]),
    ("A-11", "surrogate in a topic name", &["raw 30 [ 0003 ed a0 80 PROPERTIES ]"]),
    ("A-11", "overlong form in a topic name", &["raw 30 [ 0002 c0 af PROPERTIES ]"]),
    ("A-11", "NUL in a topic filter", &["raw 82 [ 0001 PROPERTIES 0001 00 00 ]"]),
    (
        "A-11",
        "surrogate in a client identifier",
        &["fresh", "raw 10 [ s:MQTT LEVEL 02 0000 PROPERTIES 0003 ed a0 80 ]"],
    ),
    ("A-11", "NUL in the name of a user property", &["raw 30 [ s:t [ 26 0001 00 0001 76 ] ]"]),
    ("A-11", "surrogate in a Response Topic", &["raw 30 [ s:t [ 08 0003 ed a0 80 ] ]"]),
    ("A-11", "NUL in a Reason String", &["raw 40 [ 0001 00 [ 1f 0001 00 ] ]"]),
    ("A-12", "publishing to $x", &["PUBLISH $x x q1 #1"]),
    ("A-12", "publishing to $SYS/x", &["PUBLISH $SYS/x x q1 #1"]),
    ("A-12", "publishing to $share/g/t", &["PUBLISH $share/g/t x q1 #1"]),
    ("A-12", "$", &["SUBSCRIBE #1 $"]),
    ("A-12", "$share", &["SUBSCRIBE #1 $share"]),
    ("A-12", "$share/", &["SUBSCRIBE #1 $share/"]),
    ("A-12", "$share/g", &["SUBSCRIBE #1 $share/g"]),
    ("A-12", "$share//t", &["SUBSCRIBE #1 $share//t"]),
    ("A-12", "$share/+/t", &["SUBSCRIBE #1 $share/+/t"]),
    ("A-12", "$share/g/", &["SUBSCRIBE #1 $share/g/"]),
    ("A-13", "DISCONNECT with flags", &["raw e1 00"]),
    ("A-13", "DISCONNECT with a reason that nobody has", &["raw e0 [ 01 ]"]),
    ("A-13", "DISCONNECT with a reason of servers", &["raw e0 [ 8e ]"]),
    ("A-13", "DISCONNECT with too short a property", &["raw e0 [ 00 [ 11 0000 ] ]"]),
    ("A-14", "packets of a bridge before CONNECT", &["fresh", "PUBLISH t x q1 #1", "CONNECT c clean"]),
    ("A-14", "AUTH at once", &["fresh", "raw f0 [ 18 [ 15 s:m ] ]"]),
];

fn attack(lines: &[&str], version: Version) -> String {
    let mut transport = EngineTransport::new(&[]);
    let mut conn = transport.open();
    let lines = match lines {
        ["fresh", lines @ ..] => lines,
        lines => {
            transport.send(&mut conn, &encode("CONNECT c clean", version));
            transport.receive(&mut conn, &mut Vec::new(), Patience::Short);
            lines
        }
    };
    let (properties, level) = if version == Version::V5 { ("00", "05") } else { ("", "04") };
    for line in lines {
        let line = line.replace("PROPERTIES", properties).replace("LEVEL", level);
        transport.send(&mut conn, &encode(&line, version));
    }
    transport.answer(conn, version)
}

#[test]
fn every_class_of_malformed_input() {
    let mut table = String::new();
    for (class, what, lines) in ATTACKS {
        let [old, new] = [Version::V311, Version::V5].map(|version| attack(lines, version));
        writeln!(table, "{class} {what:<62} | 3.1.1: {old:<24} | 5.0: {new}").unwrap();
    }
    insta::assert_snapshot!(table);
}

/// all packets of two bytes, and all with one byte behind them that they announce, by type.
#[test]
fn every_short_packet() {
    let mut table = String::new();
    for (title, connect) in [("at once", None), ("3.1.1", Some(Version::V311)), ("5.0", Some(Version::V5))] {
        writeln!(table, "{title}").unwrap();
        let version = connect.unwrap_or(Version::V5);
        let mut by_type: BTreeMap<u8, BTreeMap<String, u32>> = BTreeMap::new();
        for first in 0..=u8::MAX {
            let one = (0..=u8::MAX).map(|body| vec![first, 1, body]);
            for bytes in (0..=u8::MAX).map(|second| vec![first, second]).chain(one) {
                let mut transport = EngineTransport::new(&[]);
                let mut conn = transport.open();
                if connect.is_some() {
                    transport.send(&mut conn, &encode("CONNECT c clean", version));
                    transport.receive(&mut conn, &mut Vec::new(), Patience::Short);
                }
                transport.send(&mut conn, &bytes);
                let answer = transport.answer(conn, version);
                *by_type.entry(first >> 4).or_default().entry(answer).or_default() += 1;
            }
        }
        for (packet_type, answers) in by_type {
            let counts: Vec<String> =
                answers.into_iter().map(|(answer, count)| format!("{answer}: {count}")).collect();
            writeln!(table, "  type {packet_type:>2}   {}", counts.join(" | ")).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}
