//! Bytes of every kind and what the broker does about them, as tables for a person: every packet type in every state of
//! a connection, every pattern of flags, every packet cut short.

#[path = "../../../mqtt-proto/tests/golden/packets.rs"]
#[allow(dead_code)] // Its other spellings are of no interest here.
mod packets;

use broker_engine::Answer;
use metronome_spec::probe::{Probe, State};
use metronome_spec::run::Transport;
use metronome_spec::{Version, wire::encode};
use mqtt_proto::ReasonCode;
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

/// A packet to a broker that has yet to say who may connect, and what comes of it when it has.
fn asked(mut probe: Probe, packet: &[u8], answer: &Answer) -> String {
    probe.send(packet);
    let before = probe.answer();
    if before != "-" {
        return before;
    }
    probe.broker.reply(answer);
    probe.answer()
}

/// A packet behind DISCONNECT, which nobody reads.
fn unread(mut probe: Probe, writes: &[&[u8]]) -> String {
    for bytes in writes {
        probe.send(bytes);
    }
    let read = probe.broker.view().counters().packets_received;
    assert_eq!(read, 2, "CONNECT and DISCONNECT");
    probe.answer()
}

/// What a packet gets in each state. MQTT 3.x has no exchange of AUTH.
fn answers(packet: &[u8], version: Version) -> Vec<(&'static str, String)> {
    let probe = |state| Probe::new(state, version);
    let plain = |state| {
        let mut probe = probe(state);
        probe.send(packet);
        probe.answer()
    };
    let disconnect = encode("DISCONNECT", version);
    let mut answers = vec![
        ("before CONNECT", plain(State::BeforeConnect)),
        ("asked who it is, then let in", asked(probe(State::Asked), packet, &Answer::Allow)),
        ("asked, then refused", asked(probe(State::Asked), packet, &Answer::Deny(ReasonCode::NotAuthorized))),
        ("in an exchange, then let in", {
            asked(probe(State::Exchange), packet, &Answer::AllowWith(Vec::new()))
        }),
        ("connected", plain(State::Connected)),
        ("behind DISCONNECT", unread(probe(State::Connected), &[&[&disconnect, packet].concat()])),
        ("after DISCONNECT", unread(probe(State::Connected), &[&disconnect, packet])),
    ];
    answers.retain(|(state, _)| version == Version::V5 || !state.contains("exchange"));
    answers
}

fn table(version: Version) -> String {
    let rows = PACKETS.map(|(name, line)| (name, answers(&bytes(line, version), version)));
    let columns = rows[0].1.len();
    let width = |column: usize| {
        let answers = rows.iter().map(|(_, answers)| answers[column].1.len());
        answers.chain([rows[0].1[column].0.len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut table = format!("{:<13}", "");
    for ((state, _), width) in rows[0].1.iter().zip(&widths) {
        write!(table, " | {state:<width$}").unwrap();
    }
    for (name, answers) in &rows {
        write!(table, "\n{name:<13}").unwrap();
        for ((_, answer), width) in answers.iter().zip(&widths) {
            write!(table, " | {answer:<width$}").unwrap();
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

/// What each pattern of flags gets: the reason code with which the connection ends, `x` where it is refused without one,
/// `bye` where it ends as the client asked, and `ok` where it goes on.
fn flags(version: Version) -> String {
    let mut table = format!("{:<15}", "");
    for flags in 0..16 {
        write!(table, " {flags:04b}").unwrap();
    }
    let first = ("CONNECT, first", "CONNECT c clean", State::BeforeConnect);
    let others = PACKETS.map(|(name, line)| (name, line, State::Connected));
    for (name, line, state) in [first].into_iter().chain(others) {
        write!(table, "\n{name:<15}").unwrap();
        for flags in 0..16 {
            let mut packet = bytes(line, version);
            packet[0] = packet[0] & 0xf0 | flags;
            let mut probe = Probe::new(state, version);
            probe.send(&packet);
            write!(table, " {:<4}", probe.verdict()).unwrap();
        }
    }
    table.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_pattern_of_flags() {
    for version in Version::ALL {
        insta::assert_snapshot!(format!("flags-{version}"), flags(version));
    }
}

/// Where a packet can come.
fn state_for(packet: &[u8]) -> State {
    if packet[0] == 0x10 { State::BeforeConnect } else { State::Connected }
}

/// What a packet gets whose body ends after so many bytes, and whose length says so.
fn truncations(packet: &[u8], version: Version) -> String {
    assert!(packet[1] < 128, "one byte of length");
    let mut runs: Vec<(usize, usize, String)> = Vec::new();
    for len in 0..=packet.len() - 2 {
        let mut probe = Probe::new(state_for(packet), version);
        probe.send(&[&[packet[0], u8::try_from(len).unwrap()], &packet[2..2 + len]].concat());
        let answer = probe.answer();
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

/// The same packets as streams that break off: the rest is waited for, and nothing is left of them at the end.
#[test]
fn every_packet_that_does_not_arrive() {
    for (version, level) in Version::ALL.into_iter().zip([3, 4, 5]) {
        for (_, packet, _) in packets::golden().into_iter().filter(|(of, ..)| of.level() == level) {
            for len in 1..packet.len() {
                let mut probe = Probe::new(state_for(packet), version);
                probe.send(&packet[..len]);
                assert_eq!(probe.answer(), "-", "{len} bytes of {packet:02x?} in {version}");
                probe.broker.cut(probe.conn);
                let view = probe.broker.view();
                let left = [view.transports(), view.sessions(), view.input_bytes(), view.timers()];
                assert_eq!(left, [0; 4], "{len} bytes of {packet:02x?} in {version}");
            }
        }
    }
}
