//! Malformed and state-breaking input by its class, and the answer that each gets, as tables for a person. Those that
//! take time, A-15 and A-16, are in `intervals.rs`. That nothing is left behind and that others go on is shown by
//! `attacks.rs` and `mistakes.rs` of the engine.

use metronome_spec::Version;
use metronome_spec::probe::{Probe, State};
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

/// A line in a version; what only MQTT 5 has is left out before.
fn bytes(line: &str, version: Version) -> Vec<u8> {
    let (properties, level) = if version == Version::V5 { ("00", "05") } else { ("", "04") };
    encode(&line.replace("PROPERTIES", properties).replace("LEVEL", level), version)
}

fn attack(lines: &[&str], version: Version) -> String {
    let (state, lines) = match lines {
        ["fresh", lines @ ..] => (State::BeforeConnect, lines),
        lines => (State::Connected, lines),
    };
    let mut probe = Probe::new(state, version);
    for line in lines {
        probe.send(&bytes(line, version));
    }
    probe.answer()
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

/// a CONNECT with everything, cut off behind every byte: as a stream that breaks off, and as a packet whose
/// Remaining Length is right.
#[test]
fn a_connect_cut_short() {
    let line = "CONNECT client user-property=name:value maximum-packet-size=500 username=user password=password \
                will=will will-payload=gone will.will-delay-interval=5 will.user-property=name:value";
    let mut table = String::new();
    for version in [Version::V311, Version::V5] {
        let whole = encode(line, version);
        let stream = |end: usize| whole[..end].to_vec();
        let packet = |end: usize| [&[0x10, u8::try_from(end - 2).unwrap()], &whole[2..end]].concat();
        writeln!(table, "{version}, {} bytes", whole.len()).unwrap();
        for (form, from, cut) in [("stream", 0, &stream as &dyn Fn(usize) -> Vec<u8>), ("packet", 2, &packet)]
        {
            let mut runs: Vec<(usize, usize, String)> = Vec::new();
            for end in from..=whole.len() {
                let mut probe = Probe::new(State::BeforeConnect, version);
                probe.send(&cut(end));
                let answer = probe.answer();
                match runs.last_mut() {
                    Some((_, last, same)) if *same == answer => *last = end,
                    _ => runs.push((end, end, answer)),
                }
            }
            for (first, last, answer) in runs {
                writeln!(table, "  {form} of {first:>3} to {last:>3} bytes: {answer}").unwrap();
            }
        }
    }
    insta::assert_snapshot!(table);
}

/// Every field that is a UTF-8 string: packet, field, whether every version has it, and the packet with `TEXT` in its
/// place.
const TEXTS: &[(&str, &str, bool, &str)] = &[
    ("CONNECT", "Protocol Name", true, "raw 10 [ TEXT LEVEL 02 0000 PROPERTIES s:c ]"),
    ("CONNECT", "Client Identifier", true, "raw 10 [ s:MQTT LEVEL 02 0000 PROPERTIES TEXT ]"),
    ("CONNECT", "Will Topic", true, "raw 10 [ s:MQTT LEVEL 06 0000 PROPERTIES s:c PROPERTIES TEXT s:x ]"),
    ("CONNECT", "User Name", true, "raw 10 [ s:MQTT LEVEL 82 0000 PROPERTIES s:c TEXT ]"),
    ("CONNECT", "Authentication Method", false, "raw 10 [ s:MQTT 05 02 0000 [ 15 TEXT ] s:c ]"),
    ("CONNECT", "User Property, name", false, "raw 10 [ s:MQTT 05 02 0000 [ 26 TEXT s:v ] s:c ]"),
    ("CONNECT", "User Property, value", false, "raw 10 [ s:MQTT 05 02 0000 [ 26 s:k TEXT ] s:c ]"),
    ("will", "Content Type", false, "raw 10 [ s:MQTT 05 06 0000 00 s:c [ 03 TEXT ] s:w s:x ]"),
    ("will", "Response Topic", false, "raw 10 [ s:MQTT 05 06 0000 00 s:c [ 08 TEXT ] s:w s:x ]"),
    ("will", "User Property, name", false, "raw 10 [ s:MQTT 05 06 0000 00 s:c [ 26 TEXT s:v ] s:w s:x ]"),
    ("will", "User Property, value", false, "raw 10 [ s:MQTT 05 06 0000 00 s:c [ 26 s:k TEXT ] s:w s:x ]"),
    ("PUBLISH", "Topic Name", true, "raw 30 [ TEXT PROPERTIES ]"),
    ("PUBLISH", "Content Type", false, "raw 30 [ s:t [ 03 TEXT ] ]"),
    ("PUBLISH", "Response Topic", false, "raw 30 [ s:t [ 08 TEXT ] ]"),
    ("PUBLISH", "User Property, name", false, "raw 30 [ s:t [ 26 TEXT s:v ] ]"),
    ("PUBLISH", "User Property, value", false, "raw 30 [ s:t [ 26 s:k TEXT ] ]"),
    ("PUBACK", "Reason String", false, "raw 40 [ 0001 00 [ 1f TEXT ] ]"),
    ("PUBACK", "User Property, name", false, "raw 40 [ 0001 00 [ 26 TEXT s:v ] ]"),
    ("PUBACK", "User Property, value", false, "raw 40 [ 0001 00 [ 26 s:k TEXT ] ]"),
    ("PUBREC", "Reason String", false, "raw 50 [ 0001 00 [ 1f TEXT ] ]"),
    ("PUBREC", "User Property, name", false, "raw 50 [ 0001 00 [ 26 TEXT s:v ] ]"),
    ("PUBREC", "User Property, value", false, "raw 50 [ 0001 00 [ 26 s:k TEXT ] ]"),
    ("PUBREL", "Reason String", false, "raw 62 [ 0001 00 [ 1f TEXT ] ]"),
    ("PUBREL", "User Property, name", false, "raw 62 [ 0001 00 [ 26 TEXT s:v ] ]"),
    ("PUBREL", "User Property, value", false, "raw 62 [ 0001 00 [ 26 s:k TEXT ] ]"),
    ("PUBCOMP", "Reason String", false, "raw 70 [ 0001 00 [ 1f TEXT ] ]"),
    ("PUBCOMP", "User Property, name", false, "raw 70 [ 0001 00 [ 26 TEXT s:v ] ]"),
    ("PUBCOMP", "User Property, value", false, "raw 70 [ 0001 00 [ 26 s:k TEXT ] ]"),
    ("SUBSCRIBE", "Topic Filter", true, "raw 82 [ 0001 PROPERTIES TEXT 00 ]"),
    ("SUBSCRIBE", "User Property, name", false, "raw 82 [ 0001 [ 26 TEXT s:v ] s:t 00 ]"),
    ("SUBSCRIBE", "User Property, value", false, "raw 82 [ 0001 [ 26 s:k TEXT ] s:t 00 ]"),
    ("UNSUBSCRIBE", "Topic Filter", true, "raw a2 [ 0001 PROPERTIES TEXT ]"),
    ("UNSUBSCRIBE", "User Property, name", false, "raw a2 [ 0001 [ 26 TEXT s:v ] s:t ]"),
    ("UNSUBSCRIBE", "User Property, value", false, "raw a2 [ 0001 [ 26 s:k TEXT ] s:t ]"),
    ("DISCONNECT", "Reason String", false, "raw e0 [ 00 [ 1f TEXT ] ]"),
    ("DISCONNECT", "Server Reference", false, "raw e0 [ 00 [ 1c TEXT ] ]"),
    ("DISCONNECT", "User Property, name", false, "raw e0 [ 00 [ 26 TEXT s:v ] ]"),
    ("DISCONNECT", "User Property, value", false, "raw e0 [ 00 [ 26 s:k TEXT ] ]"),
    ("AUTH", "Authentication Method", false, "raw f0 [ 18 [ 15 TEXT ] ]"),
    ("AUTH", "Reason String", false, "raw f0 [ 18 [ 15 s:m 1f TEXT ] ]"),
    ("AUTH", "User Property, name", false, "raw f0 [ 18 [ 15 s:m 26 TEXT s:v ] ]"),
    ("AUTH", "User Property, value", false, "raw f0 [ 18 [ 15 s:m 26 s:k TEXT ] ]"),
];

/// What is no text of MQTT.
const NO_TEXTS: [(&str, &str); 4] = [
    ("NUL", "0003 61 00 62"),
    ("surrogate", "0003 ed a0 80"),
    ("overlong", "0002 c0 af"),
    ("cut short", "0002 e2 82"),
];

/// A-11 [MQTT-1.5.4-1, 1.5.4-2] [3.1.1: MQTT-1.5.3-1, 1.5.3-2]: the reason code with which the connection ends, or `x`
/// where it ends without one.
#[test]
fn what_is_no_text_in_every_field() {
    let mut table = format!("{:<34}", "");
    for version in ["3.1.1", "5.0"] {
        for (what, _) in NO_TEXTS {
            write!(table, " {:<16}", format!("{version} {what}")).unwrap();
        }
    }
    for (packet, field, in_every_version, line) in TEXTS {
        write!(table, "\n{packet:<12} {field:<21}").unwrap();
        for version in [Version::V311, Version::V5] {
            for (what, text) in NO_TEXTS {
                let verdict = if version == Version::V5 || *in_every_version {
                    let mut probe = Probe::new(state_for(packet), version);
                    probe.send(&bytes(&line.replace("TEXT", text), version));
                    let verdict = probe.verdict();
                    assert!(!["ok", "bye"].contains(&&*verdict), "{what} in {field} of {packet}: {verdict}");
                    verdict
                } else {
                    String::new()
                };
                write!(table, " {verdict:<16}").unwrap();
            }
        }
    }
    insta::assert_snapshot!(table.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
}

fn state_for(packet: &str) -> State {
    match packet {
        "CONNECT" | "will" => State::BeforeConnect,
        "AUTH" => State::Exchange,
        _ => State::Connected,
    }
}

/// all packets of two bytes, and all with one byte behind them that they announce, by type.
#[test]
fn every_short_packet() {
    let mut table = String::new();
    for (title, connect) in [("at once", None), ("3.1.1", Some(Version::V311)), ("5.0", Some(Version::V5))] {
        writeln!(table, "{title}").unwrap();
        let version = connect.unwrap_or(Version::V5);
        let state = if connect.is_some() { State::Connected } else { State::BeforeConnect };
        let mut by_type: BTreeMap<u8, BTreeMap<String, u32>> = BTreeMap::new();
        for first in 0..=u8::MAX {
            let one = (0..=u8::MAX).map(|body| vec![first, 1, body]);
            for bytes in (0..=u8::MAX).map(|second| vec![first, second]).chain(one) {
                let mut probe = Probe::new(state, version);
                probe.send(&bytes);
                let answer = probe.answer();
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
