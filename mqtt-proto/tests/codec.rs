//! Bytes and packets: golden bytes in both directions, truncations, bit flips, arbitrary bytes, errors.

use mqtt_proto::Version::{V5, V31, V311};
use mqtt_proto::{FixedHeader, Limits, Packet, SliceSink, Version, matches, varint};
use proptest::prelude::*;
use std::fmt::Write;

/// Every packet, in the versions that have it, as an encoder writes it.
const GOLDEN: &[(&str, Version, &[u8])] = &[
    ("CONNECT", V31, b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01c"),
    ("CONNECT", V311, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"),
    (
        "CONNECT with will, user and password",
        V311,
        b"\x10\x1f\x00\x04MQTT\x04\xee\x00\x3c\x00\x01c\x00\x01w\x00\x04gone\x00\x01u\x00\x04pass",
    ),
    (
        "CONNECT with every property",
        V5,
        b"\x10\x4f\x00\x04MQTT\x05\x06\x00\x3c\x23\x11\x00\x00\x00\x0a\x21\x00\x05\x27\x00\x00\x01\x00\x22\x00\x03\
          \x19\x01\x17\x00\x15\x00\x01m\x16\x00\x01d\x26\x00\x01k\x00\x01v\x00\x01c\
          \x18\x18\x00\x00\x00\x01\x01\x01\x02\x00\x00\x00\x02\x03\x00\x01t\x08\x00\x01r\x09\x00\x01z\x00\x01w\x00\x00",
    ),
    ("CONNACK", V311, b"\x20\x02\x01\x00"),
    (
        "CONNACK with every property",
        V5,
        b"\x20\x3f\x00\x00\x3c\x11\x00\x00\x00\x0a\x21\x00\x05\x24\x01\x25\x00\x27\x00\x00\x01\x00\x12\x00\x01a\x22\x00\x03\
          \x1f\x00\x01r\x26\x00\x01k\x00\x01v\x28\x00\x29\x00\x2a\x00\x13\x00\x3c\x1a\x00\x01i\x1c\x00\x01s\
          \x15\x00\x01m\x16\x00\x01d",
    ),
    ("PUBLISH QoS 0", V311, b"\x31\x05\x00\x01thi"),
    ("PUBLISH QoS 2", V311, b"\x3c\x07\x00\x01t\x00\x07hi"),
    (
        "PUBLISH with every property",
        V5,
        b"\x32\x27\x00\x01t\x00\x07\x1f\x01\x01\x02\x00\x00\x00\x05\x23\x00\x01\x08\x00\x01r\x09\x00\x01c\x03\x00\x01t\
          \x0b\x02\x26\x00\x01k\x00\x01vhi",
    ),
    ("PUBLISH by alias", V5, b"\x30\x06\x00\x00\x03\x23\x00\x01"),
    ("PUBACK", V311, b"\x40\x02\x00\x07"),
    ("PUBACK", V5, b"\x40\x02\x00\x07"),
    ("PUBACK with reason", V5, b"\x40\x03\x00\x07\x10"),
    ("PUBREC with properties", V5, b"\x50\x0f\x00\x07\x87\x0b\x1f\x00\x01r\x26\x00\x01k\x00\x01v"),
    ("PUBREL", V311, b"\x62\x02\x00\x07"),
    ("PUBREL with reason", V5, b"\x62\x03\x00\x07\x92"),
    ("PUBCOMP", V5, b"\x70\x02\x00\x07"),
    ("SUBSCRIBE", V311, b"\x82\x0a\x00\x07\x00\x01a\x01\x00\x01#\x02"),
    ("SUBSCRIBE with everything", V5, b"\x82\x10\x00\x07\x09\x0b\x05\x26\x00\x01k\x00\x01v\x00\x01a\x2e"),
    ("SUBACK", V311, b"\x90\x04\x00\x07\x01\x80"),
    ("SUBACK with properties", V5, b"\x90\x08\x00\x07\x04\x1f\x00\x01r\x87"),
    ("UNSUBSCRIBE", V311, b"\xa2\x05\x00\x07\x00\x01a"),
    ("UNSUBSCRIBE", V5, b"\xa2\x0d\x00\x07\x07\x26\x00\x01k\x00\x01v\x00\x01a"),
    ("UNSUBACK", V311, b"\xb0\x02\x00\x07"),
    ("UNSUBACK", V5, b"\xb0\x05\x00\x07\x00\x00\x11"),
    ("PINGREQ", V5, b"\xc0\x00"),
    ("PINGRESP", V31, b"\xd0\x00"),
    ("DISCONNECT", V311, b"\xe0\x00"),
    ("DISCONNECT", V5, b"\xe0\x00"),
    (
        "DISCONNECT with every property",
        V5,
        b"\xe0\x16\x8e\x14\x11\x00\x00\x00\x0a\x1f\x00\x01r\x26\x00\x01k\x00\x01v\x1c\x00\x01s",
    ),
    ("AUTH", V5, b"\xf0\x00"),
    ("AUTH with every property", V5, b"\xf0\x15\x18\x13\x15\x00\x01m\x16\x00\x01d\x1f\x00\x01r\x26\x00\x01k\x00\x01v"),
];

fn encode(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut buffer = vec![0; packet.encoded_len(version).unwrap() as usize];
    let mut sink = SliceSink::new(&mut buffer);
    packet.encode(version, &mut sink).unwrap();
    assert_eq!(sink.written().len(), packet.encoded_len(version).unwrap() as usize);
    buffer
}

/// What decodes must encode to something that decodes to the same.
fn check_total(bytes: &[u8], version: Version) {
    if let Ok(Some((packet, len))) = Packet::parse(bytes, version, &Limits::default()) {
        assert!(len <= bytes.len());
        let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
        let again = encode(&packet, version);
        let (decoded, _) = Packet::parse(&again, version, &Limits::NONE).unwrap().unwrap();
        // What stood encoded in the packet need not be in the same order.
        assert_eq!(encode(&decoded, version), again, "{packet:?}");
    }
}

#[test]
fn golden_bytes_decode_and_encode() {
    for (name, version, bytes) in GOLDEN {
        let parsed = Packet::parse(bytes, *version, &Limits::default());
        let (packet, len) = parsed.unwrap_or_else(|error| panic!("{name}: {error}")).expect(name);
        assert_eq!(len, bytes.len(), "{name}");
        assert!(name.starts_with(packet.packet_type().name()), "{name}");
        assert_eq!(encode(&packet, *version), *bytes, "{name}: {packet:?}");
    }
}

#[test]
fn every_prefix_needs_more() {
    for (name, version, bytes) in GOLDEN {
        for end in 0..bytes.len() {
            assert_eq!(
                Packet::parse(&bytes[..end], *version, &Limits::default()),
                Ok(None),
                "{name} to {end}"
            );
        }
    }
}

/// A body cut short, with the Remaining Length saying so.
#[test]
fn every_truncation_is_an_error_or_a_shorter_packet() {
    for (_, version, bytes) in GOLDEN {
        for end in 2..bytes.len() {
            let mut cut = bytes[..end].to_vec();
            cut[1] = u8::try_from(end - 2).unwrap();
            check_total(&cut, *version);
        }
    }
}

#[test]
fn every_bit_flip_is_survived() {
    for (_, version, bytes) in GOLDEN {
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[at / 8] ^= 1 << (at % 8);
            for version in [*version, V5, V311, V31] {
                check_total(&flipped, version);
            }
        }
    }
}

#[test]
fn small_buffers_are_errors() {
    for (name, version, bytes) in GOLDEN {
        let (packet, _) = Packet::parse(bytes, *version, &Limits::default()).unwrap().unwrap();
        for room in 0..bytes.len() {
            let mut buffer = vec![0; room];
            assert!(packet.encode(*version, &mut SliceSink::new(&mut buffer)).is_err(), "{name} into {room}");
        }
    }
}

#[test]
fn variable_byte_integers() {
    for (value, len) in [
        (0, 1),
        (127, 1),
        (128, 2),
        (16_383, 2),
        (16_384, 3),
        (2_097_151, 3),
        (2_097_152, 4),
        (varint::MAX, 4),
    ] {
        let bytes = varint::encode(value).unwrap();
        assert_eq!((bytes.len(), varint::len(value)), (len, u32::try_from(len).unwrap()));
        assert_eq!(
            varint::decode(&bytes, mqtt_proto::Field::Body),
            Ok(Some((value, u8::try_from(len).unwrap())))
        );
    }
    assert_eq!(varint::encode(varint::MAX + 1), None);
    for bad in [&b"\x80\x00"[..], b"\xff\x80\x00", b"\xff\xff\xff\xff", b"\x80\x80\x80\x80\x01"] {
        assert!(varint::decode(bad, mqtt_proto::Field::Body).is_err(), "{bad:?}");
    }
}

#[test]
fn errors_name_packet_and_field_and_carry_a_reason() {
    let cases: &[(&str, Version, &[u8])] = &[
        ("type 0", V5, b"\x00\x00"),
        ("flags of PUBREL", V5, b"\x60\x02\x00\x01"),
        ("DUP on SUBSCRIBE after 3.1", V311, b"\x8a\x06\x00\x01\x00\x01a\x00"),
        ("QoS 3", V5, b"\x36\x00"),
        ("DUP with QoS 0", V5, b"\x38\x00"),
        ("length of five bytes", V5, b"\x30\xff\xff\xff\xff\x01"),
        ("length that is not minimal", V5, b"\x30\x80\x00"),
        ("too large", V5, b"\x30\xff\xff\xff\x7f"),
        ("protocol level", V5, b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x3c\x00\x00\x00"),
        ("protocol name", V5, b"\x10\x0d\x00\x04MQTX\x05\x02\x00\x3c\x00\x00\x00"),
        ("reserved connect flag", V5, b"\x10\x0d\x00\x04MQTT\x05\x03\x00\x3c\x00\x00\x00"),
        ("will QoS without will", V5, b"\x10\x0d\x00\x04MQTT\x05\x0a\x00\x3c\x00\x00\x00"),
        ("password without user in 3.1.1", V311, b"\x10\x0f\x00\x04MQTT\x04\x42\x00\x3c\x00\x00\x00\x01p"),
        ("wildcard in will topic", V311, b"\x10\x11\x00\x04MQTT\x04\x06\x00\x3c\x00\x00\x00\x01#\x00\x00"),
        ("property twice", V5, b"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x06\x21\x00\x01\x21\x00\x01\x00\x00"),
        ("Receive Maximum 0", V5, b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x03\x21\x00\x00\x00\x00"),
        ("boolean 2", V5, b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x02\x17\x02\x00\x00"),
        ("data without method", V5, b"\x10\x11\x00\x04MQTT\x05\x02\x00\x3c\x04\x16\x00\x01d\x00\x00"),
        ("unknown property", V5, b"\x30\x06\x00\x01t\x02\x04\x00"),
        ("misplaced property", V5, b"\x30\x08\x00\x01t\x03\x21\x00\x01x"),
        ("topic alias 0", V5, b"\x30\x07\x00\x01t\x03\x23\x00\x00"),
        ("no topic, no alias", V5, b"\x30\x03\x00\x00\x00"),
        ("NUL in topic", V311, b"\x30\x03\x00\x01\x00"),
        ("surrogate in topic", V311, b"\x30\x05\x00\x03\xed\xa0\x80"),
        ("wildcard in topic", V311, b"\x30\x03\x00\x01+"),
        ("packet identifier 0", V311, b"\x40\x02\x00\x00"),
        ("no packet identifier", V311, b"\x40\x01\x00"),
        ("unknown reason code", V5, b"\x40\x03\x00\x01\x05"),
        ("no filter", V5, b"\x82\x03\x00\x01\x00"),
        ("no options", V5, b"\x82\x08\x00\x01\x00\x00\x03a/b"),
        ("reserved option bits", V5, b"\x82\x07\x00\x01\x00\x00\x01a\xc0"),
        ("Retain Handling 3", V5, b"\x82\x07\x00\x01\x00\x00\x01a\x30"),
        ("Subscription Identifier 0", V5, b"\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00"),
        ("PINGREQ with body", V5, b"\xc0\x01\x00"),
        ("AUTH in 3.1.1", V311, b"\xf0\x00"),
    ];
    let mut table = String::new();
    for (name, version, bytes) in cases {
        let error = Packet::parse(bytes, *version, &Limits::default()).expect_err(name);
        writeln!(table, "{name:32} {:02x}  {error}", error.reason() as u8).unwrap();
    }
    insta::assert_snapshot!(table);
}

#[test]
fn limits_hold_at_the_limit_and_not_above() {
    let limits =
        Limits { max_user_properties: 1, max_client_id_length: 1, max_filters: 1, ..Limits::default() };
    let cases: &[(&[u8], Option<u8>)] = &[
        (b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c", None),
        (b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02cc", Some(0x85)),
        (b"\x30\x09\x00\x01t\x05\x26\x00\x00\x00\x00", None),
        (b"\x30\x0e\x00\x01t\x0a\x26\x00\x00\x00\x00\x26\x00\x00\x00\x00", Some(0x97)),
        (b"\xa2\x06\x00\x01\x00\x00\x01a", None),
        (b"\xa2\x09\x00\x01\x00\x00\x01a\x00\x01b", Some(0x97)),
    ];
    for (bytes, reason) in cases {
        let got = Packet::parse(bytes, V5, &limits).err().map(|error| error.reason() as u8);
        assert_eq!(got, *reason, "{bytes:x?}");
    }
}

/// Matching, written out again as a recursion over the standard's words.
fn naive(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => naive(filter, topic),
        ([level, filter @ ..], [name, topic @ ..]) if level == name => naive(filter, topic),
        _ => false,
    }
}

#[test]
fn matching_agrees_with_the_standard_for_all_small_filters() {
    let levels = |alphabet: &[&'static str]| {
        let mut all: Vec<Vec<&'static str>> = Vec::new();
        for a in alphabet {
            all.push(vec![a]);
            for b in alphabet {
                all.push(vec![a, b]);
                all.extend(alphabet.iter().map(|c| vec![*a, *b, *c]));
            }
        }
        all
    };
    let topics = levels(&["a", "b", "", "$x"]);
    let filters = levels(&["a", "b", "", "$x", "+", "#"]);
    for filter in filters.iter().filter(|f| f.iter().rev().skip(1).all(|level| *level != "#")) {
        for topic in &topics {
            let hidden = topic[0].starts_with('$') && matches!(filter[0], "+" | "#");
            let wanted = !hidden && naive(filter, topic);
            assert_eq!(matches(&filter.join("/"), &topic.join("/")), wanted, "{filter:?} {topic:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn arbitrary_bytes_never_panic(first: u8, body in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut bytes = vec![first, u8::try_from(body.len()).unwrap()];
        bytes.extend(body);
        for version in [V31, V311, V5] {
            check_total(&bytes, version);
        }
    }

    /// A header is complete with the same byte, however the bytes arrive.
    #[test]
    fn headers_do_not_depend_on_what_follows(bytes in prop::collection::vec(any::<u8>(), 0..8)) {
        if let Ok(Some(header)) = FixedHeader::parse(&bytes) {
            let len = usize::from(header.header_len);
            prop_assert_eq!(FixedHeader::parse(&bytes[..len]), Ok(Some(header)));
            prop_assert_eq!(FixedHeader::parse(&bytes[..len - 1]), Ok(None));
        }
    }
}
