//! Bytes of every kind and what the broker does about them, as tables for a person: every packet type in every state of
//! a connection, every pattern of flags, every packet cut short.

use metronome_spec::engine::EngineTransport;
use metronome_spec::render::decode;
use metronome_spec::run::{Patience, Transport};
use metronome_spec::{Version, wire::encode};
use std::fmt::Write;

/// One of each of the sixteen packet types. What only servers send is written byte by byte; `PROPERTIES` is the empty
/// block of MQTT 5.
const PACKETS: [(&str, &str); 16] = [
    ("(0, reserved)", "raw 00 00"),
    ("CONNECT", "CONNECT c clean"),
    ("CONNACK", "raw 20 [ 00 00 PROPERTIES ]"),
    ("PUBLISH", "PUBLISH t x q1 #1"),
    ("PUBACK", "PUBACK #1"),
    ("PUBREC", "PUBREC #1"),
    ("PUBREL", "PUBREL #1"),
    ("PUBCOMP", "PUBCOMP #1"),
    ("SUBSCRIBE", "SUBSCRIBE #1 t"),
    ("SUBACK", "raw 90 [ 0001 PROPERTIES 00 ]"),
    ("UNSUBSCRIBE", "UNSUBSCRIBE #1 t"),
    ("UNSUBACK", "raw b0 [ 0001 PROPERTIES 00 ]"),
    ("PINGREQ", "PINGREQ"),
    ("PINGRESP", "raw d0 00"),
    ("DISCONNECT", "DISCONNECT"),
    ("AUTH", "raw f0 [ 18 [ 15 s:m ] ]"),
];

fn bytes(line: &str, version: Version) -> Vec<u8> {
    let properties = if version == Version::V5 { "00" } else { "" };
    encode(&line.replace("PROPERTIES", properties), version)
}

/// How a connection came to its state.
const STATES: [(&str, bool, &[&str]); 4] = [
    ("before CONNECT", false, &[]),
    ("asked who it is", true, &["CONNECT c clean"]),
    ("connected", false, &["CONNECT c clean"]),
    ("after DISCONNECT", false, &["CONNECT c clean", "DISCONNECT"]),
];

/// What came, and how it ended.
fn answer(
    transport: &mut EngineTransport,
    conn: &mut <EngineTransport as Transport>::Conn,
    version: Version,
) -> String {
    let mut bytes = Vec::new();
    let closed = transport.receive(conn, &mut bytes, Patience::Short);
    let mut words = Vec::new();
    while let Some((len, text)) = decode(&bytes, version).expect("whole packets") {
        bytes.drain(..len);
        let text = text.split(" reason-string=").next().unwrap_or_default();
        // The properties of CONNACK are shown elsewhere.
        let text = if text.starts_with("CONNACK") { &text[..10] } else { text };
        words.push(text.to_owned());
    }
    assert!(bytes.is_empty());
    if closed {
        words.push("closed".into());
    }
    if words.is_empty() { "-".into() } else { words.join(", ") }
}

fn table(version: Version) -> String {
    let mut table = format!("{:<14}", "");
    for (state, ..) in STATES {
        write!(table, " | {state:<26}").unwrap();
    }
    for (name, line) in PACKETS {
        write!(table, "\n{name:<14}").unwrap();
        for (_, unanswered, before) in STATES {
            let mut transport =
                if unanswered { EngineTransport::that_never_answers() } else { EngineTransport::new(&[]) };
            let mut conn = transport.open();
            for packet in before {
                transport.send(&mut conn, &encode(packet, version));
            }
            transport.receive(&mut conn, &mut Vec::new(), Patience::Short);
            transport.send(&mut conn, &bytes(line, version));
            write!(table, " | {:<26}", answer(&mut transport, &mut conn, version)).unwrap();
        }
    }
    table.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_packet_in_every_state() {
    for version in [Version::V311, Version::V5] {
        insta::assert_snapshot!(format!("states-{version}"), table(version));
    }
}

/// Sixteen patterns of flags for each packet type, connected: those that pass, and the answer to the others.
fn flags(version: Version) -> String {
    let mut table = String::new();
    for (name, line) in PACKETS {
        let mut passed = String::new();
        let mut refused: Vec<String> = Vec::new();
        for flags in 0..16 {
            let mut transport = EngineTransport::new(&[]);
            let mut conn = transport.open();
            transport.send(&mut conn, &encode("CONNECT c clean", version));
            transport.receive(&mut conn, &mut Vec::new(), Patience::Short);
            let mut packet = bytes(line, version);
            packet[0] = packet[0] & 0xf0 | flags;
            transport.send(&mut conn, &packet);
            let answer = answer(&mut transport, &mut conn, version);
            if answer.ends_with("closed") {
                if !refused.contains(&answer) {
                    refused.push(answer);
                }
            } else {
                write!(passed, " {flags:04b}").unwrap();
            }
        }
        let passed = if passed.is_empty() { " none" } else { &passed };
        writeln!(table, "{name:<14}{passed}; otherwise: {}", refused.join(" or ")).unwrap();
    }
    table
}

#[test]
fn every_pattern_of_flags() {
    for version in [Version::V311, Version::V5] {
        insta::assert_snapshot!(format!("flags-{version}"), flags(version));
    }
}

/// Packets with everything in them.
const FULL: [(&str, Version); 12] = [
    (
        "CONNECT c clean session-expiry-interval=5 receive-maximum=2 user-property=k:v will=w will-payload=x \
         will.will-delay-interval=1 username=u password=p",
        Version::V5,
    ),
    ("CONNECT c clean will=w will-payload=x username=u password=p", Version::V311),
    ("PUBLISH t x q1 #1 payload-format-indicator=1 response-topic=r correlation-data=d", Version::V5),
    ("PUBLISH t x q2 #1", Version::V311),
    ("PUBACK #1 00 reason-string=r user-property=k:v", Version::V5),
    ("PUBREL #1 92 reason-string=r", Version::V5),
    ("PUBREL #1", Version::V311),
    ("SUBSCRIBE #1 subscription-identifier=200 user-property=k:v a q1 , b q2", Version::V5),
    ("SUBSCRIBE #1 a q1 , b q2", Version::V311),
    ("UNSUBSCRIBE #1 user-property=k:v a b", Version::V5),
    ("DISCONNECT 04 session-expiry-interval=0 reason-string=r", Version::V5),
    ("AUTH 19 authentication-method=m authentication-data=d", Version::V5),
];

/// What a packet gets whose body ends after so many bytes, and whose length says so.
fn truncations(line: &str, version: Version) -> String {
    let packet = encode(line, version);
    assert!(packet[1] < 128, "one byte of length");
    let mut runs: Vec<(usize, usize, String)> = Vec::new();
    for len in 0..=packet.len() - 2 {
        let mut transport = EngineTransport::new(&[]);
        let mut conn = transport.open();
        if !line.starts_with("CONNECT") {
            transport.send(&mut conn, &encode("CONNECT c clean", version));
            transport.receive(&mut conn, &mut Vec::new(), Patience::Short);
        }
        let cut = [&[packet[0], u8::try_from(len).unwrap()], &packet[2..2 + len]].concat();
        transport.send(&mut conn, &cut);
        let answer = answer(&mut transport, &mut conn, version);
        match runs.last_mut() {
            Some((_, last, same)) if *same == answer => *last = len,
            _ => runs.push((len, len, answer)),
        }
    }
    runs.iter().fold(format!("{line} ({version})\n"), |text, (first, last, answer)| {
        let bytes = if first == last { first.to_string() } else { format!("{first}-{last}") };
        format!("{text}  {bytes:>6} bytes: {answer}\n")
    })
}

#[test]
fn every_packet_cut_short() {
    let tables: String = FULL.iter().map(|(line, version)| truncations(line, *version)).collect();
    insta::assert_snapshot!("truncations", tables);
}
