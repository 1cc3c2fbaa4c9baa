//! Properties as Table 2-4 of MQTT 5.0 has them, written down once more: each in every packet, twice, and with every
//! kind of value. Shown for the codec alone, and for what a client sends through the engine.

use metronome_spec::Version;
use metronome_spec::probe::{Probe, State};
use metronome_spec::wire::encode;
use mqtt_proto::{Limits, Packet, ReasonCode};
use std::fmt::Write;

/// Packets and the will, with a place for properties. A client sends the first eleven.
const PLACES: [(&str, &str); 16] = [
    ("CONNECT", "raw 10 [ s:MQTT 05 02 0000 [ PROPERTIES ] s:c ]"),
    ("Will", "raw 10 [ s:MQTT 05 06 0000 00 s:c [ PROPERTIES ] s:w s:bye ]"),
    ("PUBLISH", "raw 32 [ s:t 0001 [ PROPERTIES ] t:m ]"),
    ("PUBACK", "raw 40 [ 0001 00 [ PROPERTIES ] ]"),
    ("PUBREC", "raw 50 [ 0001 00 [ PROPERTIES ] ]"),
    ("PUBREL", "raw 62 [ 0001 00 [ PROPERTIES ] ]"),
    ("PUBCOMP", "raw 70 [ 0001 00 [ PROPERTIES ] ]"),
    ("SUBSCRIBE", "raw 82 [ 0001 [ PROPERTIES ] s:t 00 ]"),
    ("UNSUBSCRIBE", "raw a2 [ 0001 [ PROPERTIES ] s:t ]"),
    ("DISCONNECT", "raw e0 [ 00 [ PROPERTIES ] ]"),
    ("AUTH", "raw f0 [ 18 [ PROPERTIES ] ]"),
    ("CONNACK", "raw 20 [ 00 00 [ PROPERTIES ] ]"),
    ("SUBACK", "raw 90 [ 0001 [ PROPERTIES ] 00 ]"),
    ("UNSUBACK", "raw b0 [ 0001 [ PROPERTIES ] 00 ]"),
    ("PINGREQ", "raw c0 [ [ PROPERTIES ] ]"),
    ("PINGRESP", "raw d0 [ [ PROPERTIES ] ]"),
];

/// Those that a client sends.
fn of_clients() -> &'static [(&'static str, &'static str)] {
    &PLACES[..11]
}

/// Which values a property may have.
#[derive(Clone, Copy)]
enum Values {
    /// One byte, 0 or 1.
    Boolean,
    /// Two bytes.
    Two,
    /// Two bytes, and not 0.
    TwoAbove0,
    /// Four bytes.
    Four,
    /// Four bytes, and not 0.
    FourAbove0,
    /// A Variable Byte Integer, and not 0.
    VariableAbove0,
    /// A UTF-8 string.
    Text,
    /// A UTF-8 string that is a topic name.
    Topic,
    /// Binary data.
    Binary,
    /// Two UTF-8 strings.
    Pair,
}
use Values::{Binary, Boolean, Four, FourAbove0, Pair, Text, Topic, Two, TwoAbove0, VariableAbove0};

const EVERYWHERE: &str = "CONNECT CONNACK PUBLISH Will PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE \
                          UNSUBACK DISCONNECT AUTH";

/// Table 2-4: identifier, name, values, and where it may stand.
const PROPERTIES: [(u8, &str, Values, &str); 27] = [
    (0x01, "Payload Format Indicator", Boolean, "PUBLISH Will"),
    (0x02, "Message Expiry Interval", Four, "PUBLISH Will"),
    (0x03, "Content Type", Text, "PUBLISH Will"),
    (0x08, "Response Topic", Topic, "PUBLISH Will"),
    (0x09, "Correlation Data", Binary, "PUBLISH Will"),
    (0x0b, "Subscription Identifier", VariableAbove0, "PUBLISH SUBSCRIBE"),
    (0x11, "Session Expiry Interval", Four, "CONNECT CONNACK DISCONNECT"),
    (0x12, "Assigned Client Identifier", Text, "CONNACK"),
    (0x13, "Server Keep Alive", Two, "CONNACK"),
    (0x15, "Authentication Method", Text, "CONNECT CONNACK AUTH"),
    (0x16, "Authentication Data", Binary, "CONNECT CONNACK AUTH"),
    (0x17, "Request Problem Information", Boolean, "CONNECT"),
    (0x18, "Will Delay Interval", Four, "Will"),
    (0x19, "Request Response Information", Boolean, "CONNECT"),
    (0x1a, "Response Information", Text, "CONNACK"),
    (0x1c, "Server Reference", Text, "CONNACK DISCONNECT"),
    (0x1f, "Reason String", Text, "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH"),
    (0x21, "Receive Maximum", TwoAbove0, "CONNECT CONNACK"),
    (0x22, "Topic Alias Maximum", Two, "CONNECT CONNACK"),
    (0x23, "Topic Alias", TwoAbove0, "PUBLISH"),
    (0x24, "Maximum QoS", Boolean, "CONNACK"),
    (0x25, "Retain Available", Boolean, "CONNACK"),
    (0x26, "User Property", Pair, EVERYWHERE),
    (0x27, "Maximum Packet Size", FourAbove0, "CONNECT CONNACK"),
    (0x28, "Wildcard Subscription Available", Boolean, "CONNACK"),
    (0x29, "Subscription Identifier Available", Boolean, "CONNACK"),
    (0x2a, "Shared Subscription Available", Boolean, "CONNACK"),
];

/// A value that every broker takes, in the language of `raw`.
const fn plain(values: Values) -> &'static str {
    match values {
        Boolean | VariableAbove0 => "01",
        Two | TwoAbove0 => "0001",
        // 0 where it may be: a Session Expiry Interval must not grow in DISCONNECT.
        Four => "00000000",
        FourAbove0 => "00010000",
        Text | Topic => "s:m",
        Binary => "0001 ff",
        Pair => "s:k s:v",
    }
}

/// Strings that are not UTF-8 as MQTT has it: null character, surrogate, overlong form, a byte that begins nothing, one
/// that lacks its end.
const NOT_TEXT: [&str; 5] = ["0001 00", "0003 ed a0 80", "0002 c0 af", "0001 ff", "0002 e2 82"];

/// Values at the edges, with the reason code that each gets.
fn edges(values: Values) -> Vec<(String, Option<ReasonCode>)> {
    use ReasonCode::{MalformedPacket, ProtocolError};
    let good = |values: &[&str]| values.iter().map(|value| ((*value).to_owned(), None)).collect::<Vec<_>>();
    let bad = |values: &[&str], reason| {
        values.iter().map(|value| ((*value).to_owned(), Some(reason))).collect::<Vec<_>>()
    };
    let not_text = || bad(&NOT_TEXT, MalformedPacket);
    match values {
        Boolean => {
            let other = (2..=u8::MAX).map(|byte| (format!("{byte:02x}"), Some(ProtocolError)));
            good(&["00", "01"]).into_iter().chain(other).collect()
        }
        Two => good(&["0000", "0001", "ffff"]),
        TwoAbove0 => [good(&["0001", "ffff"]), bad(&["0000"], ProtocolError)].concat(),
        Four => good(&["00000000", "00000001", "ffffffff"]),
        FourAbove0 => [good(&["00000001", "ffffffff"]), bad(&["00000000"], ProtocolError)].concat(),
        VariableAbove0 => [
            good(&["01", "7f", "8001", "ffffff7f"]),
            bad(&["00"], ProtocolError),
            bad(&["8000", "8100", "ffffffff01"], MalformedPacket),
        ]
        .concat(),
        Text => [good(&["s:", "s:x", "0003 ef bb bf"]), not_text()].concat(),
        Topic => [good(&["s:x", "s:a/b"]), bad(&["s:a/#", "s:+"], ProtocolError), not_text()].concat(),
        Binary => good(&["0000", "0001 00", "0003 ed a0 80"]),
        Pair => {
            let names = NOT_TEXT.map(|text| (format!("{text} s:v"), Some(MalformedPacket)));
            let values = NOT_TEXT.map(|text| (format!("s:k {text}"), Some(MalformedPacket)));
            [good(&["s: s:", "s:k s:v"]), names.to_vec(), values.to_vec()].concat()
        }
    }
}

/// A packet with these values of a property, and with the Authentication Method that AUTH and Authentication Data need.
fn bytes(place: &str, line: &str, id: u8, values: &[&str]) -> Vec<u8> {
    let needs_method = matches!((place, id), ("CONNECT" | "CONNACK", 0x16) | ("AUTH", _)) && id != 0x15;
    let method = if needs_method { "15 s:m" } else { "" };
    let properties = values.iter().fold(method.to_owned(), |text, value| format!("{text} {id:02x} {value}"));
    encode(&line.replace("PROPERTIES", &properties), Version::V5)
}

/// The codec's answer: the reason code of its error.
fn decoded(bytes: &[u8]) -> Option<ReasonCode> {
    match Packet::parse(bytes, mqtt_proto::Version::V5, &Limits::default()) {
        Ok(packet) => packet.map_or_else(|| panic!("{bytes:02x?} is not whole"), |_| None),
        Err(error) => Some(error.reason()),
    }
}

/// The broker's answer, in a state where a client may send such a packet.
fn answered(place: &str, bytes: &[u8]) -> String {
    let state = match place {
        "CONNECT" | "Will" => State::BeforeConnect,
        "AUTH" => State::Exchange,
        _ => State::Connected,
    };
    let mut probe = Probe::new(state, Version::V5);
    probe.send(bytes);
    probe.verdict()
}

fn stands_in(place: &str, places: &str) -> bool {
    places.split_whitespace().any(|name| name == place)
}

/// [U-2.2.2.2-property-of-another-packet]: 0x81 wherever it does not belong, and nowhere else.
#[test]
fn every_property_in_every_packet() {
    let mut table = format!("{:<37}", "");
    for (place, _) in of_clients() {
        write!(table, " {place:<11}").unwrap();
    }
    for (id, name, values, places) in PROPERTIES {
        write!(table, "\n{id:02x} {name:<34}").unwrap();
        for (place, line) in PLACES {
            let reason = decoded(&bytes(place, line, id, &[plain(values)]));
            let wanted = (!stands_in(place, places)).then_some(ReasonCode::MalformedPacket);
            assert_eq!(reason, wanted, "{name} in {place}");
        }
        for (place, line) in of_clients() {
            let answer = answered(place, &bytes(place, line, id, &[plain(values)]));
            assert_eq!(answer == "81", !stands_in(place, places), "{name} in {place}: {answer}");
            write!(table, " {answer:<11}").unwrap();
        }
    }
    insta::assert_snapshot!(table.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
}

/// [U-*-twice], [U-*-user-property-repeats]: 0x82, but for User Property, and for Subscription Identifier in the PUBLISH
/// of a server.
#[test]
fn every_property_twice() {
    for (id, name, values, places) in PROPERTIES {
        for (place, line) in PLACES.iter().filter(|(place, _)| stands_in(place, places)) {
            let twice = bytes(place, line, id, &[plain(values), plain(values)]);
            let repeats = name == "User Property" || (name, *place) == ("Subscription Identifier", "PUBLISH");
            let wanted = (!repeats).then_some(ReasonCode::ProtocolError);
            assert_eq!(decoded(&twice), wanted, "{name} twice in {place}");
            if of_clients().contains(&(*place, *line)) {
                let answer = answered(place, &twice);
                assert_eq!(answer != "82", name == "User Property", "{name} twice in {place}: {answer}");
            }
        }
    }
}

/// [U-3.1.2.11.3-receive-maximum-zero], [U-3.1.2.11.4-maximum-packet-size-zero],
/// [U-3.1.2.11.6-request-response-information-value], [U-3.1.2.11.7-request-problem-information-value],
/// [U-3.1.3.2.3-will-payload-format-value], [U-3.3.2.3.2-payload-format-value],
/// [U-3.3.2.3.4-topic-alias-zero], [U-3.3.2.3.5-response-topic-is-a-name], [U-3.8.2.1.2-subscription-identifier-range],
/// [U-3.8.2.1.2-subscription-identifier-zero], [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-1.5.5-1]
#[test]
fn every_value_at_its_edges() {
    for (id, name, values, places) in PROPERTIES {
        for (place, line) in PLACES.iter().filter(|(place, _)| stands_in(place, places)) {
            for (value, wanted) in edges(values) {
                let packet = bytes(place, line, id, &[&value]);
                // An alias of 0 has a reason code of its own.
                let alias = name == "Topic Alias" && wanted.is_some();
                let wanted = if alias { Some(ReasonCode::TopicAliasInvalid) } else { wanted };
                assert_eq!(decoded(&packet), wanted, "{name} {value} in {place}");
                if let (Some(reason), true) = (wanted, of_clients().contains(&(*place, *line))) {
                    let answer = answered(place, &packet);
                    assert_eq!(answer, format!("{:02x}", reason as u8), "{name} {value} in {place}");
                }
            }
        }
    }
}

/// [U-2.2.2.1-property-cut-by-its-length]
#[test]
fn every_value_cut_short() {
    for (id, name, values, places) in PROPERTIES {
        for (place, line) in PLACES.iter().filter(|(place, _)| stands_in(place, places)) {
            let value = encode(&format!("raw {}", plain(values)), Version::V5);
            for left in 0..value.len() {
                let cut: Vec<String> = value[..left].iter().map(|byte| format!("{byte:02x}")).collect();
                let packet = bytes(place, line, id, &[&cut.concat()]);
                assert_eq!(decoded(&packet), Some(ReasonCode::MalformedPacket), "{name} in {place}");
                if of_clients().contains(&(*place, *line)) {
                    assert_eq!(
                        answered(place, &packet),
                        "81",
                        "{name} in {place}, {left} bytes of its value"
                    );
                }
            }
        }
    }
}
