//! What a client hears for each of its mistakes. Every case stands for itself: bytes in, answer out.
//!
//! A PINGREQ follows each mistake. Where the connection lives on, its answer ends in `PINGRESP`; where it is
//! closed, nothing behind the mistake was looked at. Another client is connected all the time and notices nothing.
//!
//! Where the standard and a broker's prudence leave a choice, the answer here is the one this broker made.

mod common;

use broker_engine::{Config, ConnId};
use common::World;
use mqtt_proto::Packet;
use mqtt_proto::QoS::AtMostOnce;
use mqtt_proto::Version::{V5, V31, V311};

/// Closed without a byte.
const X: &str = "closed";
const C81: &str = "CONNACK Malformed Packet, closed";
const C82: &str = "CONNACK Protocol Error, closed";
const C84: &str = "CONNACK Unsupported Protocol Version, closed";
const C85: &str = "CONNACK Client Identifier not valid, closed";
const C87: &str = "CONNACK Not authorized, closed";
const C8C: &str = "CONNACK Bad authentication method, closed";
const C90: &str = "CONNACK Topic Name invalid, closed";
const C97: &str = "CONNACK Quota exceeded, closed";
const D81: &str = "DISCONNECT Malformed Packet, closed";
const D82: &str = "DISCONNECT Protocol Error, closed";
const D90: &str = "DISCONNECT Topic Name invalid, closed";
const D94: &str = "DISCONNECT Topic Alias invalid, closed";
const D95: &str = "DISCONNECT Packet too large, closed";
const D97: &str = "DISCONNECT Quota exceeded, closed";

/// The mistake, the bytes, the answer.
type Case = (&'static str, Vec<u8>, &'static str);

/// A packet with its right Remaining Length.
fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut bytes = vec![first];
    let mut rest = body.len();
    while rest > 127 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    [bytes, body].concat()
}

/// CONNECT of MQTT 5: flags, properties with their length, payload.
fn connect(flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    packet(0x10, &[b"\0\x04MQTT\x05", &[flags], b"\0\x3c", properties, payload])
}

/// CONNECT of MQTT 3.1.1: flags, payload.
fn connect3(flags: u8, payload: &[u8]) -> Vec<u8> {
    packet(0x10, &[b"\0\x04MQTT\x04", &[flags], b"\0\x3c", payload])
}

/// PUBLISH with QoS 0: topic with its length, properties with theirs (none in 3.x), payload.
fn publish(rest: &[u8]) -> Vec<u8> {
    packet(0x30, &[rest])
}

/// PUBLISH with QoS 1 and packet identifier 1.
fn publish1(topic: &[u8], rest: &[u8]) -> Vec<u8> {
    packet(0x32, &[topic, b"\0\x01", rest])
}

fn subscribe(rest: &[u8]) -> Vec<u8> {
    packet(0x82, &[b"\0\x01", rest])
}

/// SUBSCRIBE of MQTT 5 for one filter with QoS 1.
fn subscribe_to(filter: &str) -> Vec<u8> {
    subscribe(&[&[0][..], &text(filter), &[1]].concat())
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// A property block of empty user properties.
fn user_properties(count: usize) -> Vec<u8> {
    packet(0, &[&b"\x26\0\0\0\0".repeat(count)])[1..].to_vec()
}

fn before_connack() -> Vec<Case> {
    vec![
        ("PINGREQ first", packet(0xc0, &[]), X),
        ("PUBLISH first", publish(b"\0\x01t\0"), X),
        ("CONNACK first", packet(0x20, &[b"\0\0\0"]), X),
        ("AUTH first", packet(0xf0, &[]), X),
        ("reserved packet type first", packet(0x00, &[]), X),
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), X),
        ("flags of CONNECT", packet(0x11, &[b"\0\x04MQTT\x05\x02\0\x3c\0\0\0"]), X),
        ("CONNECT without body", packet(0x10, &[]), X),
        ("length of five bytes", b"\x10\xff\xff\xff\xff\x01".to_vec(), X),
        ("length that is not minimal", b"\x10\x8d\0\0\x04MQTT\x05\x02\0\x3c\0\0\0".to_vec(), X),
        ("256 MiB announced", b"\x10\xff\xff\xff\x7f".to_vec(), X),
        ("CONNECT above 16 KiB", connect(0x42, &[0], &[&[0, 0, 0x40, 0][..], &[b'p'; 16 << 10]].concat()), X),
        ("unknown protocol name", packet(0x10, &[b"\0\x04MQTX\x05\x02\0\x3c\0\0\0"]), X),
        ("level 6", packet(0x10, &[b"\0\x04MQTT\x06\x02\0\x3c\0\0\0"]), C84),
        ("reserved flag", connect(0x03, &[0], b"\0\0"), C81),
        ("will QoS 3", connect(0x1e, &[0], b"\0\0\0\0\x01w\0\0"), C81),
        ("will QoS without will", connect(0x0a, &[0], b"\0\0"), C81),
        ("will retain without will", connect(0x22, &[0], b"\0\0"), C81),
        ("ends behind the level", packet(0x10, &[b"\0\x04MQTT\x05"]), C81),
        ("client identifier beyond the packet", connect(0x02, &[0], b"\0\x05c"), C81),
        ("properties beyond the packet", connect(0x02, &[9], b"\0\0"), C81),
        ("property length not minimal", connect(0x02, &[0x80, 0], b"\0\0"), C81),
        ("no payload", connect(0x02, &[0], b""), C81),
        ("will without its message", connect(0x06, &[0], b"\0\0\0\0\x01w"), C81),
        ("flag of a user name that is not there", connect(0x82, &[0], b"\0\0"), C81),
        ("bytes left over", connect(0x02, &[0], b"\0\0x"), C81),
        ("unknown property", connect(0x02, b"\x02\x04\0", b"\0\0"), C81),
        ("property of PUBLISH", connect(0x02, b"\x03\x23\0\x01", b"\0\0"), C81),
        ("will delay outside of the will", connect(0x02, b"\x05\x18\0\0\0\x01", b"\0\0"), C81),
        ("session expiry inside the will", connect(0x06, &[0], b"\0\0\x05\x11\0\0\0\x01\0\x01w\0\0"), C81),
        ("property twice", connect(0x02, b"\x06\x21\0\x01\x21\0\x01", b"\0\0"), C82),
        ("Receive Maximum 0", connect(0x02, b"\x03\x21\0\0", b"\0\0"), C82),
        ("Maximum Packet Size 0", connect(0x02, b"\x05\x27\0\0\0\0", b"\0\0"), C82),
        ("Request Problem Information 2", connect(0x02, b"\x02\x17\x02", b"\0\0"), C82),
        ("Request Response Information 2", connect(0x02, b"\x02\x19\x02", b"\0\0"), C82),
        ("authentication data without method", connect(0x02, b"\x04\x16\0\x01d", b"\0\0"), C82),
        ("unknown authentication method", connect(0x02, b"\x04\x15\0\x01m", b"\0\0"), C8C),
        ("NUL in client identifier", connect(0x02, &[0], b"\0\x01\0"), C81),
        ("surrogate in client identifier", connect(0x02, &[0], b"\0\x03\xed\xa0\x80"), C81),
        ("overlong UTF-8 in user name", connect(0x82, &[0], b"\0\0\0\x02\xc0\x80"), C81),
        ("NUL in a user property's name", connect(0x02, b"\x06\x26\0\x01\0\0\0", b"\0\0"), C81),
        ("client identifier of 257 bytes", connect(0x02, &[0], &text(&"c".repeat(257))), C85),
        ("65 user properties", connect(0x02, &user_properties(65), b"\0\0"), C97),
        (
            "65 user properties of the will",
            connect(0x06, &[0], &[b"\0\0", &user_properties(65)[..], b"\0\x01w\0\0"].concat()),
            C97,
        ),
        ("wildcard in will topic", connect(0x06, &[0], b"\0\0\0\0\x01#\0\0"), C90),
        ("empty will topic", connect(0x06, &[0], b"\0\0\0\0\0\0\0"), C90),
        ("will to $SYS", connect(0x06, &[0], b"\0\0\0\0\x06$SYS/x\0\0"), C87),
        ("will to a shared filter", connect(0x06, &[0], b"\0\0\0\0\x0a$share/g/x\0\0"), C90),
        (
            "will topic of 129 levels",
            connect(0x06, &[0], &[b"\0\0\0", &text(&"/".repeat(128))[..], b"\0\0"].concat()),
            C90,
        ),
    ]
}

fn before_connack_in_3() -> Vec<Case> {
    vec![
        ("level 3 with the name of 3.1.1", packet(0x10, &[b"\0\x04MQTT\x03\x02\0\x3c\0\0"]), C84),
        ("level 4 with the name of 3.1", packet(0x10, &[b"\0\x06MQIsdp\x04\x02\0\x3c\0\0"]), C84),
        ("reserved flag", connect3(0x03, b"\0\x01c"), X),
        ("will QoS 3", connect3(0x1e, b"\0\x01c\0\x01w\0\0"), X),
        ("will QoS without will", connect3(0x0a, b"\0\x01c"), X),
        ("bytes left over", connect3(0x02, b"\0\x01cx"), X),
        ("client identifier beyond the packet", connect3(0x02, b"\0\x05c"), X),
        ("NUL in client identifier", connect3(0x02, b"\0\x01\0"), X),
        ("client identifier of 257 bytes", connect3(0x02, &text(&"c".repeat(257))), C85),
        ("no client identifier, and a session to keep", connect3(0x00, b"\0\0"), C85),
        ("password without user name", connect3(0x42, b"\0\x01c\0\x01p"), X),
        ("wildcard in will topic", connect3(0x06, b"\0\x01c\0\x01#\0\0"), X),
        ("will to $SYS", connect3(0x06, b"\0\x01c\0\x06$SYS/x\0\0"), C87),
        ("will to a shared filter", connect3(0x06, b"\0\x01c\0\x0a$share/g/x\0\0"), X),
    ]
}

/// The packet as such.
fn packets() -> Vec<Case> {
    vec![
        ("reserved packet type", packet(0x00, &[]), D81),
        ("flags of PINGREQ", packet(0xc8, &[]), D81),
        ("flags of SUBSCRIBE", packet(0x80, &[b"\0\x01\0\0\x01t\0"]), D81),
        ("flags of PUBREL", packet(0x60, &[b"\0\x01"]), D81),
        ("flags of DISCONNECT", packet(0xe1, &[]), D81),
        ("DUP with QoS 0", packet(0x38, &[b"\0\x01t\0"]), D81),
        ("PUBLISH with QoS 3", packet(0x36, &[b"\0\x01t\0\x01\0"]), D81),
        ("length of five bytes", b"\x30\xff\xff\xff\xff\x01".to_vec(), D81),
        ("length that is not minimal", b"\xc0\x80\0".to_vec(), D81),
        ("256 MiB announced", b"\x30\xff\xff\xff\x7f".to_vec(), D95),
        ("one byte above 2 MiB", b"\x30\xfd\xff\x7f".to_vec(), D95),
        ("PINGREQ with a body", packet(0xc0, &[&[0]]), D81),
        ("PUBLISH without body", packet(0x30, &[]), D81),
        ("topic name beyond the packet", publish(b"\0\x05t\0"), D81),
        ("no packet identifier", packet(0x32, &[b"\0\x01t"]), D81),
        ("packet identifier 0 in PUBLISH", packet(0x32, &[b"\0\x01t\0\0\0"]), D82),
        ("packet identifier 0 in SUBSCRIBE", packet(0x82, &[b"\0\0\0\0\x01t\0"]), D82),
        ("no property length", publish(b"\0\x01t"), D81),
        ("property length beyond the packet", publish(b"\0\x01t\x05\x01"), D81),
        ("property length not minimal", publish(b"\0\x01t\x80\0"), D81),
        ("property length of five bytes", publish(b"\0\x01t\xff\xff\xff\xff\x01"), D81),
        ("property beyond its block", publish(b"\0\x01t\x02\x23\0"), D81),
        ("unknown property", publish(b"\0\x01t\x02\x04\0"), D81),
        ("property of CONNECT", publish(b"\0\x01t\x03\x21\0\x01"), D81),
        ("property twice", publish(b"\0\x01t\x04\x01\0\x01\0"), D82),
        ("Payload Format Indicator 2", publish(b"\0\x01t\x02\x01\x02"), D82),
        ("Subscription Identifier from a publisher", publish(b"\0\x01t\x02\x0b\x01"), D82),
        ("empty topic without alias", publish(b"\0\0\0"), D82),
        ("wildcard in Response Topic", publish(b"\0\x01t\x04\x08\0\x01+"), D82),
        ("empty Response Topic", publish(b"\0\x01t\x03\x08\0\0"), D82),
        ("NUL in topic name", publish(b"\0\x01\0\0"), D81),
        ("surrogate in topic name", publish(b"\0\x03\xed\xa0\x80\0"), D81),
        ("overlong UTF-8 in topic name", publish(b"\0\x02\xc0\xaf\0"), D81),
        ("NUL in Response Topic", publish(b"\0\x01t\x04\x08\0\x01\0"), D81),
        ("surrogate in Content Type", publish(b"\0\x01t\x06\x03\0\x03\xed\xa0\x80"), D81),
        ("NUL in a user property's name", publish(b"\0\x01t\x06\x26\0\x01\0\0\0"), D81),
        ("bad UTF-8 in a user property's value", publish(b"\0\x01t\x06\x26\0\0\0\x01\xff"), D81),
        ("bad UTF-8 in a Reason String", packet(0x40, &[b"\0\x01\0\x04\x1f\0\x01\xff"]), D81),
        ("65 user properties", publish(&[b"\0\x01t", &user_properties(65)[..]].concat()), D97),
        ("8,000 user properties", publish(&[b"\0\x01t", &user_properties(8000)[..]].concat()), D97),
        (
            "16 KiB of user properties",
            publish(&[b"\0\x01t\x85\x80\x01\x26\0\0\x40\0", &[b'x'; 16 << 10][..]].concat()),
            D97,
        ),
        ("SUBSCRIBE that ends before its options", subscribe(b"\0\0\x01t"), D81),
        ("topic filter beyond the packet", subscribe(b"\0\0\x05t\0"), D81),
        ("NUL in topic filter", subscribe(b"\0\0\x01\0\0"), D81),
        ("reserved bits in subscription options", subscribe(b"\0\0\x01t\x40"), D81),
        ("QoS 3 in subscription options", subscribe(b"\0\0\x01t\x03"), D81),
        ("Retain Handling 3", subscribe(b"\0\0\x01t\x30"), D82),
        ("No Local on a shared filter", subscribe(b"\0\0\x0a$share/g/t\x04"), D82),
        ("SUBSCRIBE without filter", subscribe(b"\0"), D82),
        ("UNSUBSCRIBE without filter", packet(0xa2, &[b"\0\x01\0"]), D82),
        ("Subscription Identifier 0", subscribe(b"\x02\x0b\0\0\x01t\0"), D82),
        ("Subscription Identifier twice", subscribe(b"\x04\x0b\x01\x0b\x02\0\x01t\0"), D82),
        ("Subscription Identifier of five bytes", subscribe(b"\x06\x0b\xff\xff\xff\xff\x01\0\x01t\0"), D81),
        ("257 filters", subscribe(&[&[0][..], &b"\0\x01t\0".repeat(257)].concat()), D97),
        ("second CONNECT", connect(0x02, &[0], b"\0\0"), D82),
        ("second CONNECT, of an unknown version", packet(0x10, &[b"\0\x04MQTT\x84\x02\0\0\0\0\0"]), D82),
        (
            "second CONNECT, with a client identifier that is too long",
            connect(0x02, &[0], &text(&"c".repeat(257))),
            D82,
        ),
        ("CONNACK from a client", packet(0x20, &[b"\0\0\0"]), D82),
        ("SUBACK from a client", packet(0x90, &[b"\0\x01\0\0"]), D82),
        ("UNSUBACK from a client", packet(0xb0, &[b"\0\x01\0\0"]), D82),
        ("PINGRESP from a client", packet(0xd0, &[]), D82),
        ("AUTH without method in CONNECT", packet(0xf0, &[]), D82),
        ("AUTH to authenticate again, without method", packet(0xf0, &[b"\x19\x04\x15\0\x01m"]), D82),
        ("AUTH with a reason code of CONNACK", packet(0xf0, &[b"\x87"]), D81),
        ("PUBACK with a reason code of PUBREL", packet(0x40, &[b"\0\x01\x92"]), D81),
        ("unknown reason code", packet(0x40, &[b"\0\x01\x7f"]), D81),
        ("PUBACK without packet identifier", packet(0x40, &[&[0]]), D81),
        ("bytes behind PUBACK", packet(0x40, &[b"\0\x01\0\0\0"]), D81),
        ("DISCONNECT with a reason code of SUBACK", packet(0xe0, &[b"\x01"]), D81),
        ("DISCONNECT that raises Session Expiry from 0", packet(0xe0, &[b"\0\x05\x11\0\0\0\x01"]), D82),
        ("bytes behind DISCONNECT", packet(0xe0, &[b"\0\0\0"]), D81),
        ("a packet inside the next one", [packet(0x29, &[b"\0\x01"]), packet(0xe0, &[])].concat(), D81),
    ]
}

/// Topic names, topic filters and topic aliases.
fn topics() -> Vec<Case> {
    let deep = "/".repeat(128);
    let deepest = "/".repeat(65_535);
    let long = "t".repeat(4097);
    let refused = "SUBACK #1 8f, PINGRESP";
    vec![
        ("empty filter", subscribe_to(""), refused),
        ("+ beside a letter", subscribe_to("a+b"), refused),
        ("# beside a letter", subscribe_to("a#"), refused),
        ("# before the end", subscribe_to("a/#/b"), refused),
        ("$share without filter", subscribe_to("$share/g"), refused),
        ("$share without name", subscribe_to("$share//t"), refused),
        ("$share with an empty filter", subscribe_to("$share/g/"), refused),
        ("$share with nothing behind it", subscribe_to("$share/"), refused),
        ("+ in a share name", subscribe_to("$share/+/t"), refused),
        ("# in a share name", subscribe_to("$share/a#/t"), refused),
        ("bare $share is an ordinary filter", subscribe_to("$share"), "SUBACK #1 01, PINGRESP"),
        ("bare $ too", subscribe_to("$"), "SUBACK #1 01, PINGRESP"),
        ("filter of 129 levels", subscribe_to(&deep), refused),
        ("filter of 65,536 levels", subscribe_to(&deepest), refused),
        ("filter of 4,097 bytes", subscribe_to(&long), refused),
        (
            "bad filters among good ones",
            subscribe(b"\0\0\x01t\x01\0\x02a#\x01\0\x01u\x02"),
            "SUBACK #1 01 8f 02, PINGRESP",
        ),
        ("UNSUBSCRIBE from a bad filter", packet(0xa2, &[b"\0\x01\0\0\x02a#"]), "UNSUBACK #1 8f, PINGRESP"),
        ("+ in topic name", publish(b"\0\x03a/+\0"), D90),
        ("# in topic name", publish(b"\0\x01#\0"), D90),
        ("topic name of 129 levels", publish1(&text(&deep), &[0]), "PUBACK #1 Topic Name invalid, PINGRESP"),
        (
            "topic name of 65,536 levels",
            publish1(&text(&deepest), &[0]),
            "PUBACK #1 Topic Name invalid, PINGRESP",
        ),
        ("topic name of 4,097 bytes", publish1(&text(&long), &[0]), "PUBACK #1 Topic Name invalid, PINGRESP"),
        ("the same with QoS 0", publish(&[&text(&deep)[..], &[0]].concat()), "PINGRESP"),
        (
            "the same with QoS 2",
            packet(0x34, &[&text(&deep), b"\0\x01\0"]),
            "PUBREC #1 Topic Name invalid, PINGRESP",
        ),
        ("PUBLISH to $SYS", publish1(b"\0\x06$SYS/x", b"\0x"), "PUBACK #1 Not authorized, PINGRESP"),
        ("PUBLISH to $SYS with QoS 0", publish(b"\0\x06$SYS/x\0x"), "PINGRESP"),
        (
            "PUBLISH to a shared filter",
            publish1(b"\0\x0a$share/g/t", b"\0x"),
            "PUBACK #1 Topic Name invalid, PINGRESP",
        ),
        ("alias 0", publish(b"\0\x01t\x03\x23\0\0"), D94),
        ("alias that was never set", publish(b"\0\0\x03\x23\0\x01"), D82),
        ("alias above the maximum", publish(b"\0\x01t\x03\x23\0\x11"), D94),
        (
            "payload that is not the UTF-8 it is announced as",
            publish(b"\0\x01t\x02\x01\x01\xff"),
            "PUBLISH q0 t \u{fffd}, PINGRESP",
        ),
    ]
}

/// More than one packet.
fn flows() -> Vec<Case> {
    let qos2 = packet(0x34, &[b"\0\x01t\0\x01\0x"]);
    let again = packet(0x3c, &[b"\0\x01t\0\x01\0x"]);
    vec![
        ("PUBACK for nothing", packet(0x40, &[b"\0\x07"]), "PINGRESP"),
        ("PUBCOMP for nothing", packet(0x70, &[b"\0\x07"]), "PINGRESP"),
        ("PUBREC for nothing", packet(0x50, &[b"\0\x07"]), "PUBREL #7 Packet Identifier not found, PINGRESP"),
        (
            "PUBREL for nothing",
            packet(0x62, &[b"\0\x07"]),
            "PUBCOMP #7 Packet Identifier not found, PINGRESP",
        ),
        ("PUBREL with identifier 0", packet(0x62, &[b"\0\0"]), D82),
        (
            "QoS 2 repeated before PUBREL",
            [qos2.clone(), again.clone(), again, packet(0x62, &[b"\0\x01"])].concat(),
            "PUBLISH q0 t x, PUBREC #1, PUBREC #1, PUBREC #1, PUBCOMP #1, PINGRESP",
        ),
        ("a packet behind DISCONNECT", [packet(0xe0, &[]), qos2].concat(), X),
    ]
}

fn after_connack_in_3() -> Vec<Case> {
    vec![
        ("reserved packet type", packet(0x00, &[]), X),
        ("flags of PINGREQ", packet(0xc8, &[]), X),
        ("PUBLISH with QoS 3", packet(0x36, &[b"\0\x01t\0\x01"]), X),
        ("DUP with QoS 0", packet(0x38, &[b"\0\x01t"]), X),
        ("length of five bytes", b"\x30\xff\xff\xff\xff\x01".to_vec(), X),
        ("256 MiB announced", b"\x30\xff\xff\xff\x7f".to_vec(), X),
        ("PINGREQ with a body", packet(0xc0, &[&[0]]), X),
        ("no topic", publish(b"\0\0"), X),
        ("topic name beyond the packet", publish(b"\0\x05t"), X),
        ("NUL in topic name", publish(b"\0\x01\0"), X),
        ("wildcard in topic name", publish(b"\0\x01#"), X),
        ("packet identifier 0", packet(0x32, &[b"\0\x01t\0\0"]), X),
        ("SUBSCRIBE that ends before its QoS", subscribe(b"\0\x01t"), X),
        ("QoS 3 in SUBSCRIBE", subscribe(b"\0\x01t\x03"), X),
        ("options of MQTT 5", subscribe(b"\0\x01t\x04"), X),
        ("SUBSCRIBE without filter", subscribe(b""), X),
        ("reason code of MQTT 5", packet(0x40, &[b"\0\x01\0"]), X),
        ("second CONNECT", connect3(0x02, b"\0\x01c"), X),
        ("SUBACK from a client", packet(0x90, &[b"\0\x01\0"]), X),
        ("PINGRESP from a client", packet(0xd0, &[]), X),
        ("AUTH", packet(0xf0, &[]), X),
        ("DISCONNECT with a body", packet(0xe0, &[&[0]]), X),
        (
            "bad filters among good ones",
            subscribe(b"\0\x01t\x01\0\x02a#\x01\0\x01u\x02"),
            "SUBACK #1 01 80 02, PINGRESP",
        ),
        ("PUBLISH to $SYS", publish1(b"\0\x06$SYS/x", b"x"), "PUBACK #1, PINGRESP"),
        ("PUBLISH to $SYS with QoS 2", packet(0x34, &[b"\0\x06$SYS/x\0\x01x"]), "PUBREC #1, PINGRESP"),
        ("PUBREC for nothing", packet(0x50, &[b"\0\x07"]), "PUBREL #7, PINGRESP"),
        ("PUBREL for nothing", packet(0x62, &[b"\0\x07"]), "PUBCOMP #7, PINGRESP"),
    ]
}

/// A world with another client, which is to notice nothing.
fn with_bystander() -> (World, ConnId) {
    let mut world = World::new(Config::default());
    let bystander = world.client(V311, "bystander");
    (world, bystander)
}

/// Sends mistake and PINGREQ, whole or byte by byte, and says what came back.
fn answer(mut world: World, bystander: ConnId, conn: ConnId, bytes: &[u8], chunk: usize) -> String {
    for data in [bytes, b"\xc0\0"].concat().chunks(chunk) {
        if !world.is_closed(conn) {
            world.bytes(conn, data);
        }
    }
    let said = world.take(conn).join(", ");
    if world.is_closed(conn) {
        assert_eq!(world.engine.view().sessions(), 1, "nothing of the client is left");
        assert_eq!(world.engine.view().input_bytes(), 0, "nothing of the client is left");
    }
    world.send(bystander, &Packet::PingReq);
    world.expect(bystander, &["PINGRESP"]);
    said
}

#[test]
fn a_mistake_before_connack_is_answered() {
    let tables = [(V5, before_connack()), (V311, before_connack_in_3())];
    for (version, cases) in tables {
        for (mistake, bytes, wanted) in cases {
            for chunk in [usize::MAX, 1] {
                let (mut world, bystander) = with_bystander();
                let conn = world.open(version);
                assert_eq!(answer(world, bystander, conn, &bytes, chunk), wanted, "{mistake} in {version:?}");
            }
        }
    }
}

/// The client has subscribed to everything, so that whatever is routed shows.
#[test]
fn a_mistake_after_connack_is_answered() {
    let tables = [
        (V5, [packets(), topics(), flows()].concat()),
        (V311, after_connack_in_3()),
        (V31, after_connack_in_3()),
    ];
    for (version, cases) in tables {
        for (mistake, bytes, wanted) in cases {
            for chunk in [usize::MAX, 1] {
                let (mut world, bystander) = with_bystander();
                let conn = world.client(version, "c");
                for filter in ["#", "$SYS/#"] {
                    world.subscribe(conn, filter, AtMostOnce);
                }
                assert_eq!(answer(world, bystander, conn, &bytes, chunk), wanted, "{mistake} in {version:?}");
            }
        }
    }
}
