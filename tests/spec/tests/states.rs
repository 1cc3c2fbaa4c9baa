//! Bytes of every kind and what the broker does about them, as tables for a person: every packet type in every state of
//! a connection, every pattern of flags, every packet cut short.

#[path = "../../../mqtt-proto/tests/golden/packets.rs"]
#[allow(dead_code)] // Its other spellings are of no interest here.
mod packets;

use metronome_spec::engine::EngineTransport;
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
            write!(table, " | {:<26}", transport.answer(conn, version)).unwrap();
        }
    }
    table.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_packet_in_every_state() {
    for version in Version::ALL {
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
            let answer = transport.answer(conn, version);
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
    for version in Version::ALL {
        insta::assert_snapshot!(format!("flags-{version}"), flags(version));
    }
}

/// What a packet gets whose body ends after so many bytes, and whose length says so.
fn truncations(packet: &[u8], version: Version) -> String {
    assert!(packet[1] < 128, "one byte of length");
    let mut runs: Vec<(usize, usize, String)> = Vec::new();
    for len in 0..=packet.len() - 2 {
        let mut transport = EngineTransport::new(&[]);
        let mut conn = transport.open();
        if packet[0] != 0x10 {
            transport.send(&mut conn, &encode("CONNECT c clean", version));
            transport.receive(&mut conn, &mut Vec::new(), Patience::Short);
        }
        let cut = [&[packet[0], u8::try_from(len).unwrap()], &packet[2..2 + len]].concat();
        transport.send(&mut conn, &cut);
        let answer = transport.answer(conn, version);
        match runs.last_mut() {
            Some((_, last, same)) if *same == answer => *last = len,
            _ => runs.push((len, len, answer)),
        }
    }
    runs.iter().fold(String::new(), |text, (first, last, answer)| {
        let bytes = if first == last { first.to_string() } else { format!("{first}-{last}") };
        format!("{text}  {bytes:>6} bytes: {answer}\n")
    })
}

/// All packets of the codec's own table, those of servers too.
#[test]
fn every_packet_cut_short() {
    for (version, level) in Version::ALL.into_iter().zip([3, 4, 5]) {
        let mut table = String::new();
        for (of, packet, decoded) in packets::golden() {
            if of.level() == level {
                let cut = truncations(packet, version);
                write!(table, "{:?}: {packet:02x?}\n{cut}", decoded.packet_type()).unwrap();
            }
        }
        insta::assert_snapshot!(format!("truncations-{version}"), table);
    }
}
