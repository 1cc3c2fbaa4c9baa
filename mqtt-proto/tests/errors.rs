//! What is said about bad packets, and the reason code that goes with it.

use mqtt_proto::Version::{V5, V31, V311};
use mqtt_proto::{Limits, Packet, Version};
use std::fmt::Write;

/// Room for one user property, one filter and one byte of client identifier.
const LIMITS: Limits = Limits {
    max_packet_size: 128,
    max_user_properties: 1,
    max_user_property_bytes: 32,
    max_topic_length: 16,
    max_topic_levels: 4,
    max_client_id_length: 1,
    max_filters: 1,
};

/// The mistake, the version, the bytes, and the reason codes that are right.
type Case = (&'static str, Version, &'static [u8], &'static [u8]);

const MALFORMED: &[u8] = &[0x81];
const PROTOCOL: &[u8] = &[0x82];
/// Where the standard leaves it open.
const EITHER: &[u8] = &[0x81, 0x82];

const HEADERS: &[Case] = &[
    ("type 0", V5, b"\0\0", MALFORMED),
    ("flags of CONNECT", V5, b"\x11\0", MALFORMED),
    ("flags of PUBREL", V5, b"\x60\x02\0\x01", MALFORMED),
    ("flags of PINGREQ", V5, b"\xc8\0", MALFORMED),
    ("DUP on PUBREL in 3.1.1", V311, b"\x6a\x02\0\x01", MALFORMED),
    ("DUP on SUBSCRIBE in 5.0", V5, b"\x8a\x07\0\x01\0\0\x01a\0", MALFORMED),
    ("DUP on UNSUBSCRIBE in 5.0", V5, b"\xaa\x06\0\x01\0\0\x01a", MALFORMED),
    ("QoS 3", V5, b"\x36\0", MALFORMED),
    ("DUP with QoS 0", V5, b"\x38\0", EITHER),
    ("length of five bytes", V5, b"\x30\xff\xff\xff\xff\x01", MALFORMED),
    ("length that is not minimal", V5, b"\x30\x80\0", MALFORMED),
    ("packet above the limit", V5, b"\x30\x7f", &[0x95]),
    ("longest packet", V5, b"\x30\xff\xff\xff\x7f", &[0x95]),
    ("AUTH in 3.1.1", V311, b"\xf0\0", PROTOCOL),
    ("PINGREQ with a body", V5, b"\xc0\x01\0", MALFORMED),
    ("PINGRESP with a body", V31, b"\xd0\x01\0", MALFORMED),
    ("DISCONNECT with a body in 3.1.1", V311, b"\xe0\x01\0", MALFORMED),
];

const CONNECTS: &[Case] = &[
    ("CONNECT without body", V5, b"\x10\0", MALFORMED),
    ("protocol name", V5, b"\x10\x0d\0\x04MQTX\x05\x02\0\x3c\0\0\0", &[0x81, 0x84]),
    ("level 6", V5, b"\x10\x0d\0\x04MQTT\x06\x02\0\x3c\0\0\0", &[0x84]),
    ("level 3 with the new name", V5, b"\x10\x0d\0\x04MQTT\x03\x02\0\x3c\0\0\0", &[0x84]),
    ("level 4 with the old name", V5, b"\x10\x0e\0\x06MQIsdp\x04\x02\0\x3c\0\0", &[0x84]),
    ("reserved connect flag", V5, b"\x10\x0d\0\x04MQTT\x05\x03\0\x3c\0\0\0", MALFORMED),
    ("will QoS 3", V5, b"\x10\x0d\0\x04MQTT\x05\x1c\0\x3c\0\0\0", MALFORMED),
    ("will QoS without will", V5, b"\x10\x0d\0\x04MQTT\x05\x0a\0\x3c\0\0\0", EITHER),
    ("will retain without will", V5, b"\x10\x0d\0\x04MQTT\x05\x22\0\x3c\0\0\0", EITHER),
    ("password without user in 3.1.1", V311, b"\x10\x0f\0\x04MQTT\x04\x42\0\x3c\0\0\0\x01p", MALFORMED),
    ("client identifier too short", V5, b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\x01", MALFORMED),
    ("client identifier too long", V5, b"\x10\x0f\0\x04MQTT\x05\x02\0\x3c\0\0\x02cc", &[0x85]),
    ("client identifier with NUL", V5, b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01\0", &[0x81, 0x85]),
    (
        "client identifier with surrogate",
        V5,
        b"\x10\x10\0\x04MQTT\x05\x02\0\x3c\0\0\x03\xed\xa0\x80",
        &[0x81, 0x85],
    ),
    ("no will topic", V5, b"\x10\x0e\0\x04MQTT\x05\x06\0\x3c\0\0\0\0", MALFORMED),
    ("empty will topic", V5, b"\x10\x12\0\x04MQTT\x05\x06\0\x3c\0\0\0\0\0\0\0\0", &[0x82, 0x90]),
    ("wildcard in will topic", V5, b"\x10\x13\0\x04MQTT\x05\x06\0\x3c\0\0\0\0\0\x01#\0\0", &[0x90]),
    ("will payload too short", V5, b"\x10\x13\0\x04MQTT\x05\x06\0\x3c\0\0\0\0\0\x01w\0\x01", MALFORMED),
    ("user name announced, missing", V311, b"\x10\x0c\0\x04MQTT\x04\x82\0\x3c\0\0", MALFORMED),
    ("password announced, missing", V5, b"\x10\x10\0\x04MQTT\x05\xc2\0\x3c\0\0\0\0\x01u", MALFORMED),
    ("bytes behind CONNECT", V5, b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\0\0", MALFORMED),
    ("unknown property", V5, b"\x10\x0f\0\x04MQTT\x05\x02\0\x3c\x02\x04\0\0\0", MALFORMED),
    ("property of another packet", V5, b"\x10\x10\0\x04MQTT\x05\x02\0\x3c\x03\x23\0\x01\0\0", EITHER),
    ("property of a will outside", V5, b"\x10\x12\0\x04MQTT\x05\x02\0\x3c\x05\x18\0\0\0\x01\0\0", EITHER),
    ("property twice", V5, b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\x06\x21\0\x01\x21\0\x01\0\0", PROTOCOL),
    ("Receive Maximum 0", V5, b"\x10\x10\0\x04MQTT\x05\x02\0\x3c\x03\x21\0\0\0\0", PROTOCOL),
    ("Maximum Packet Size 0", V5, b"\x10\x12\0\x04MQTT\x05\x02\0\x3c\x05\x27\0\0\0\0\0\0", PROTOCOL),
    ("Request Problem Information 2", V5, b"\x10\x0f\0\x04MQTT\x05\x02\0\x3c\x02\x17\x02\0\0", PROTOCOL),
    ("Request Response Information 2", V5, b"\x10\x0f\0\x04MQTT\x05\x02\0\x3c\x02\x19\x02\0\0", PROTOCOL),
    ("data without method", V5, b"\x10\x11\0\x04MQTT\x05\x02\0\x3c\x04\x16\0\x01d\0\0", PROTOCOL),
    (
        "more user properties than allowed",
        V5,
        b"\x10\x17\0\x04MQTT\x05\x02\0\x3c\x0a\x26\0\0\0\0\x26\0\0\0\0\0\0",
        &[0x95, 0x97],
    ),
];

const MESSAGES: &[Case] = &[
    ("PUBLISH without body", V5, b"\x30\0", MALFORMED),
    ("topic name too short", V5, b"\x30\x02\0\x01", MALFORMED),
    ("no topic", V311, b"\x30\x02\0\0", PROTOCOL),
    ("no topic, no alias", V5, b"\x30\x03\0\0\0", PROTOCOL),
    ("NUL in topic", V311, b"\x30\x03\0\x01\0", MALFORMED),
    ("surrogate in topic", V311, b"\x30\x05\0\x03\xed\xa0\x80", MALFORMED),
    ("overlong UTF-8 in topic", V311, b"\x30\x04\0\x02\xc0\x80", MALFORMED),
    ("+ in topic", V311, b"\x30\x03\0\x01+", &[0x81, 0x82, 0x90]),
    ("# in topic", V5, b"\x30\x06\0\x03a/#\0", &[0x81, 0x82, 0x90]),
    ("no packet identifier", V5, b"\x32\x03\0\x01t", MALFORMED),
    ("packet identifier 0", V5, b"\x32\x06\0\x01t\0\0\0", EITHER),
    ("no property length", V5, b"\x30\x03\0\x01t", MALFORMED),
    ("property length not minimal", V5, b"\x30\x05\0\x01t\x80\0", MALFORMED),
    ("property length beyond the packet", V5, b"\x30\x04\0\x01t\x05", MALFORMED),
    ("property beyond its block", V5, b"\x30\x06\0\x01t\x02\x23\0", MALFORMED),
    ("property identifier not minimal", V5, b"\x30\x07\0\x01t\x03\x81\0\x01", MALFORMED),
    ("Topic Alias 0", V5, b"\x30\x07\0\x01t\x03\x23\0\0", &[0x82, 0x94]),
    ("Topic Alias twice", V5, b"\x30\x0a\0\x01t\x06\x23\0\x01\x23\0\x01", PROTOCOL),
    ("Payload Format Indicator 2", V5, b"\x30\x06\0\x01t\x02\x01\x02", EITHER),
    ("Subscription Identifier 0", V5, b"\x30\x06\0\x01t\x02\x0b\0", PROTOCOL),
    ("wildcard in Response Topic", V5, b"\x30\x08\0\x01t\x04\x08\0\x01#", PROTOCOL),
    ("NUL in user property", V5, b"\x30\x0a\0\x01t\x06\x26\0\x01\0\0\0", MALFORMED),
    (
        "more user properties than allowed",
        V5,
        b"\x30\x0e\0\x01t\x0a\x26\0\0\0\0\x26\0\0\0\0", //
        &[0x97],
    ),
    (
        "longer user properties than allowed",
        V5,
        b"\x30\x25\0\x01t\x21\x26\0\x1caaaaaaaaaaaaaaaaaaaaaaaaaaaa\0\0",
        &[0x97],
    ),
    ("PUBACK without packet identifier", V5, b"\x40\x01\0", MALFORMED),
    ("PUBREL with packet identifier 0", V5, b"\x62\x02\0\0", EITHER),
    ("PUBACK with a reason code of PUBREL", V5, b"\x40\x03\0\x01\x92", EITHER),
    ("PUBACK with a reason code in 3.1.1", V311, b"\x40\x03\0\x01\0", MALFORMED),
    ("Reason String twice", V5, b"\x40\x0a\0\x01\0\x06\x1f\0\0\x1f\0\0", PROTOCOL),
    ("bytes behind PUBACK", V5, b"\x40\x05\0\x01\0\0\0", MALFORMED),
];

const OTHERS: &[Case] = &[
    ("SUBSCRIBE with packet identifier 0", V5, b"\x82\x07\0\0\0\0\x01a\0", EITHER),
    ("SUBSCRIBE without filter", V5, b"\x82\x03\0\x01\0", EITHER),
    ("UNSUBSCRIBE without filter", V311, b"\xa2\x02\0\x01", EITHER),
    ("filter too short", V5, b"\xa2\x06\0\x01\0\0\x02a", MALFORMED),
    ("filter with NUL", V5, b"\x82\x07\0\x01\0\0\x01\0\0", MALFORMED),
    ("filter without options", V5, b"\x82\x06\0\x01\0\0\x01a", MALFORMED),
    ("reserved option bits", V5, b"\x82\x07\0\x01\0\0\x01a\x40", MALFORMED),
    ("options of 5.0 in 3.1.1", V311, b"\x82\x06\0\x01\0\x01a\x04", MALFORMED),
    ("QoS 3 in options", V5, b"\x82\x07\0\x01\0\0\x01a\x03", EITHER),
    ("Retain Handling 3", V5, b"\x82\x07\0\x01\0\0\x01a\x30", PROTOCOL),
    ("Subscription Identifier 0", V5, b"\x82\x09\0\x01\x02\x0b\0\0\x01a\0", PROTOCOL),
    ("Subscription Identifier twice", V5, b"\x82\x0b\0\x01\x04\x0b\x01\x0b\x01\0\x01a\0", PROTOCOL),
    ("more filters than allowed", V5, b"\xa2\x09\0\x01\0\0\x01a\0\x01b", &[0x97]),
    ("SUBACK with a reason code of UNSUBACK", V5, b"\x90\x04\0\x01\0\x11", EITHER),
    ("SUBACK with 0x87 in 3.1.1", V311, b"\x90\x03\0\x01\x87", EITHER),
    ("SUBACK without reason code", V5, b"\x90\x03\0\x01\0", EITHER),
    ("reserved bits in CONNACK", V311, b"\x20\x02\x02\0", MALFORMED),
    ("return code 6", V311, b"\x20\x02\0\x06", EITHER),
    ("Maximum QoS 2", V5, b"\x20\x05\0\0\x02\x24\x02", PROTOCOL),
    ("DISCONNECT with a reason code of SUBACK", V5, b"\xe0\x01\x01", EITHER),
    ("AUTH with a failure", V5, b"\xf0\x01\x87", EITHER),
];

#[test]
fn bad_packets_are_named_and_answered() {
    let mut said = String::new();
    for (mistake, version, bytes, allowed) in [HEADERS, CONNECTS, MESSAGES, OTHERS].concat() {
        let error = Packet::parse(bytes, version, &LIMITS).expect_err(mistake);
        let reason = error.reason();
        assert!(allowed.contains(&(reason as u8)), "{mistake}: {reason:?} for {bytes:02x?}");
        writeln!(said, "{:02x} {mistake}: {error}", reason as u8).unwrap();
    }
    insta::assert_snapshot!(said);
}

/// A refusal is written in the version of the client, or in the nearest one.
#[test]
fn a_refused_connect_tells_the_version_to_answer_in() {
    let cases: [(&[u8], Option<Version>); 7] = [
        (b"\x10\x0d\0\x04MQTT\x05\x03\0\x3c\0\0\0", Some(V5)),
        (b"\x10\x0c\0\x04MQTT\x04\x03\0\x3c\0\0", Some(V311)),
        (b"\x10\x0e\0\x06MQIsdp\x03\x03\0\x3c\0\0", Some(V31)),
        (b"\x10\x0d\0\x04MQTT\x06\x02\0\x3c\0\0\0", Some(V5)),
        (b"\x10\x0c\0\x04MQTT\x03\x02\0\x3c\0\0", Some(V311)),
        (b"\x10\x0c\0\x04MQTT\x84\x02\0\x3c\0\0", Some(V311)),
        (b"\x10\x0c\0\x04MQTX\x04\x02\0\x3c\0\0", None),
    ];
    for (bytes, version) in cases {
        let error = Packet::parse(bytes, V5, &LIMITS).unwrap_err();
        assert_eq!(error.connect_version(), version, "{bytes:02x?}");
    }
}

/// A refusal keeps to the client's Maximum Packet Size, wherever behind it the mistake is.
#[test]
fn a_refused_connect_tells_its_maximum_packet_size() {
    let cases: [(&[u8], Option<u32>); 4] = [
        (b"\x10\x12\0\x04MQTT\x05\x02\0\0\x05\x27\0\0\0\x09\0\x01\xff", Some(9)),
        (b"\x10\x15\0\x04MQTT\x05\x02\0\0\x08\x27\0\0\0\x09\x21\0\0\0\x01c", Some(9)),
        (b"\x10\x15\0\x04MQTT\x05\x02\0\0\x08\x21\0\0\x27\0\0\0\x09\0\x01c", None),
        (b"\x10\x0d\0\x04MQTT\x05\x02\0\0\0\0\x01\xff", None),
    ];
    for (bytes, limit) in cases {
        let error = Packet::parse(bytes, V5, &LIMITS).unwrap_err();
        assert_eq!(error.connect_max_packet_size(), limit, "{bytes:02x?}");
    }
}

/// What is just within the limits passes.
#[test]
fn limits_are_inclusive() {
    let cases: [&[u8]; 5] = [
        b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01c",
        b"\x30\x09\0\x01t\x05\x26\0\0\0\0",
        b"\x30\x24\0\x01t\x20\x26\0\x1baaaaaaaaaaaaaaaaaaaaaaaaaaa\0\0",
        b"\xa2\x06\0\x01\0\0\x01a",
        &{
            let mut largest = [b'x'; 128];
            [largest[0], largest[1], largest[2], largest[3], largest[4], largest[5]] = *b"\x30\x7e\0\x01t\0";
            largest
        },
    ];
    for bytes in cases {
        let parsed = Packet::parse(bytes, V5, &LIMITS);
        assert!(matches!(parsed, Ok(Some((_, len))) if len == bytes.len()), "{bytes:02x?}: {parsed:?}");
    }
}
