//! The parts of packets against readings of the standard by hand.

use crate::packets;
use mqtt_proto::property::{PropertyId, raw_properties};
use mqtt_proto::{Field, FixedHeader, Limits, Packet, PacketType, Version, varint};

/// Fixed header and Variable Byte Integer.
pub fn header(bytes: &[u8]) {
    let read = FixedHeader::parse(bytes);
    match (read, header_by_hand(bytes)) {
        (Ok(Some(read)), Ok(Some((first, remaining, len)))) => {
            assert_eq!((read.first, read.remaining, read.header_len), (first, remaining, len));
            assert_eq!(u64::from(read.packet_len()), u64::from(remaining) + u64::from(len));
        }
        (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
        (read, wanted) => panic!("{read:?}, by hand {wanted:?}"),
    }
    if let Ok(Some((value, len))) = varint::decode(bytes, Field::Body) {
        let encoded = varint::encode(value).expect("what was decoded can be encoded");
        assert_eq!(encoded, &bytes[..usize::from(len)]);
        assert_eq!(varint::len(value), u32::from(len));
    }
    if let Some(value) = bytes.first_chunk().copied().map(u32::from_be_bytes) {
        let encoded = varint::encode(value);
        assert_eq!(encoded.is_some(), value <= varint::MAX);
        if let Some(encoded) = encoded {
            let len = u8::try_from(encoded.len()).expect("at most four");
            assert_eq!(varint::decode(&encoded, Field::Body), Ok(Some((value, len))));
        }
    }
}

/// First byte, Remaining Length and length of the header; `None` while it is incomplete.
fn header_by_hand(bytes: &[u8]) -> Result<Option<(u8, u32, u8)>, &'static str> {
    let Some(first) = bytes.first().copied() else { return Ok(None) };
    let flags = first % 16;
    let good = match first / 16 {
        0 => false,
        // DUP, QoS, RETAIN: QoS is not 3, and DUP is 0 with QoS 0.
        3 => flags / 2 % 4 != 3 && (flags < 8 || flags / 2 % 4 != 0),
        // DUP may be set in MQTT 3.1.
        6 | 8 | 10 => flags % 8 == 2,
        _ => flags == 0,
    };
    if !good {
        return Err("packet type or flags");
    }
    let mut remaining = 0;
    for (at, power) in [1, 128, 128 * 128, 128 * 128 * 128].into_iter().enumerate() {
        let Some(byte) = bytes.get(1 + at).copied() else { return Ok(None) };
        remaining += u32::from(byte % 128) * power;
        if byte < 128 {
            if byte == 0 && at > 0 {
                return Err("longer than need be");
            }
            return Ok(Some((first, remaining, u8::try_from(at).unwrap_or(0) + 2)));
        }
    }
    Err("a fifth byte")
}

/// UTF-8: the bytes as the only topic filter of an UNSUBSCRIBE, where every text is let through.
pub fn text(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
    let len = u16::try_from(bytes.len()).expect("cut to that").to_be_bytes();
    let packet = framed(PacketType::Unsubscribe, &[&[0, 1], &len, bytes]);
    match Packet::parse(&packet, Version::V311, &Limits::NONE) {
        Ok(Some((Packet::Unsubscribe(packet), _))) => {
            assert!(is_text(bytes));
            assert!(packet.filters.iter().map(str::as_bytes).eq([bytes]));
        }
        Err(error) => assert!(!is_text(bytes), "{error}"),
        other => panic!("{other:?}"),
    }
}

/// Well-formed UTF-8 (table 3-7 of Unicode) without U+0000.
fn is_text(mut bytes: &[u8]) -> bool {
    while let [first, rest @ ..] = bytes {
        let (second, more) = match first {
            0x01..=0x7F => {
                bytes = rest;
                continue;
            }
            0xC2..=0xDF => (0x80..=0xBF, 0),
            0xE0 => (0xA0..=0xBF, 1),
            0xED => (0x80..=0x9F, 1),
            0xE1..=0xEF => (0x80..=0xBF, 1),
            0xF0 => (0x90..=0xBF, 2),
            0xF1..=0xF3 => (0x80..=0xBF, 2),
            0xF4 => (0x80..=0x8F, 2),
            _ => return false,
        };
        let Some((tail, rest)) = rest.split_at_checked(1 + more) else { return false };
        if !second.contains(&tail[0]) || tail[1..].iter().any(|byte| !(0x80..=0xBF).contains(byte)) {
            return false;
        }
        bytes = rest;
    }
    true
}

/// Where properties stand: packet type, what is before and behind them.
type Place = (PacketType, &'static [u8], &'static [u8]);

const WILL: usize = 1;
const PLACES: [Place; 14] = [
    (PacketType::Connect, b"\0\x04MQTT\x05\x02\0\0", b"\0\x01c"),
    (PacketType::Connect, b"\0\x04MQTT\x05\x06\0\0\0\0\x01c", b"\0\x01w\0\0"),
    (PacketType::ConnAck, b"\0\0", b""),
    (PacketType::Publish, b"\0\x01t", b""),
    (PacketType::PubAck, b"\0\x01\0", b""),
    (PacketType::PubRec, b"\0\x01\0", b""),
    (PacketType::PubRel, b"\0\x01\0", b""),
    (PacketType::PubComp, b"\0\x01\0", b""),
    (PacketType::Subscribe, b"\0\x01", b"\0\x01a\0"),
    (PacketType::SubAck, b"\0\x01", b"\0"),
    (PacketType::Unsubscribe, b"\0\x01", b"\0\x01a"),
    (PacketType::UnsubAck, b"\0\x01", b"\0"),
    (PacketType::Disconnect, b"\0", b""),
    (PacketType::Auth, b"\x18", b""),
];

/// The first byte chooses a packet, the others are its properties.
pub fn properties(bytes: &[u8]) {
    let Some((choice, block)) = bytes.split_first() else { return };
    let choice = usize::from(*choice) % PLACES.len();
    let (packet_type, before, behind) = PLACES[choice];
    let block = &block[..block.len().min(usize::from(u16::MAX))];
    let len = varint::encode(u32::try_from(block.len()).expect("cut to that")).expect("small");
    let packet = framed(packet_type, &[before, &len, block, behind]);
    if Packet::parse(&packet, Version::V5, &Limits::NONE).is_ok() {
        let (mut walked, mut seen) = (0, Vec::new());
        for (id, bytes) in raw_properties(block) {
            walked += bytes.len();
            let allowed = if choice == WILL { id.allowed_in_will() } else { id.allowed_in(packet_type) };
            assert!(allowed, "{} in {}", id.name(), packet_type.name());
            let repeats = id == PropertyId::UserProperty
                || (id == PropertyId::SubscriptionIdentifier && packet_type == PacketType::Publish);
            assert!(repeats || !seen.contains(&id), "{} twice", id.name());
            seen.push(id);
        }
        assert_eq!(walked, block.len(), "properties end with their block");
    }
    packets::packet(&packet, Version::V5);
}

fn framed(packet_type: PacketType, parts: &[&[u8]]) -> Vec<u8> {
    let flags = match packet_type {
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 2,
        _ => 0,
    };
    let body = parts.concat();
    let len = varint::encode(u32::try_from(body.len()).expect("small")).expect("small");
    [&[(packet_type as u8) << 4 | flags][..], &len, &body].concat()
}
