//! The decoder, version by version: a packet is the same however its bytes arrive, and says the same once encoded.

use mqtt_proto::property::{PropertyId, raw_properties};
use mqtt_proto::{
    Connect, DecodeError, EncodeError, ErrorKind, FixedHeader, Limits, Packet, Publish, PublishHead,
    SliceSink, TopicName, Version,
};
use std::cell::RefCell;
use std::fmt::{self, Write as _};

/// Packets of MQTT 3.1, one behind the other.
pub fn decode_v31(bytes: &[u8]) {
    stream(bytes, Version::V31);
}

/// Packets of MQTT 3.1.1, one behind the other.
pub fn decode_v311(bytes: &[u8]) {
    stream(bytes, Version::V311);
}

/// Packets of MQTT 5.0, one behind the other.
pub fn decode_v5(bytes: &[u8]) {
    stream(bytes, Version::V5);
}

fn stream(mut bytes: &[u8], version: Version) {
    while let Some(len) = packet(bytes, version) {
        bytes = &bytes[len..];
    }
}

/// Checks everything about the packet at the front of `bytes`; its length, if there is one.
pub(crate) fn packet(bytes: &[u8], version: Version) -> Option<usize> {
    let parsed = Packet::parse(bytes, version, &Limits::NONE);
    check_limits(&parsed, bytes, version);
    check_split(&parsed, bytes, version);
    match parsed {
        Ok(Some((packet, len))) => {
            check_encoding(&packet, version);
            Some(len)
        }
        Ok(None) => None,
        Err(error) => {
            let _reason = error.reason();
            write!(Nowhere, "{error}").expect("an error says what it is");
            None
        }
    }
}

/// A limit refuses, and changes nothing else.
fn check_limits<'a>(
    free: &Result<Option<(Packet<'a>, usize)>, DecodeError>,
    bytes: &'a [u8],
    version: Version,
) {
    let limited = Packet::parse(bytes, version, &Limits::default());
    if limited != *free {
        let refused = matches!(&limited, Err(error) if matches!(error.kind, ErrorKind::TooMany | ErrorKind::TooLarge | ErrorKind::TooLong));
        assert!(refused, "{limited:?} with limits, {free:?} without");
    }
}

/// Part of a packet is never an error, part of an error at most the same one, and what follows does not matter.
fn check_split<'a>(
    whole: &Result<Option<(Packet<'a>, usize)>, DecodeError>,
    bytes: &'a [u8],
    version: Version,
) {
    let len = match whole {
        Ok(Some((_, len))) => *len,
        _ => bytes.len(),
    };
    for cut in [0, 1, 2, 3, 4, 5, len / 2, len.saturating_sub(1)] {
        if cut >= len {
            continue;
        }
        match Packet::parse(&bytes[..cut], version, &Limits::NONE) {
            Ok(None) => {}
            Err(error) => assert_eq!(Err(error), *whole, "cut at {cut}"),
            Ok(Some(packet)) => panic!("{packet:?} in the first {cut} bytes of {whole:?}"),
        }
    }
    if let Ok(Some(header)) = FixedHeader::parse(bytes)
        && let Some(alone) = bytes.get(..header.packet_len() as usize)
    {
        assert_eq!(Packet::parse(alone, version, &Limits::NONE), *whole, "with nothing behind");
    }
}

thread_local! {
    /// For what is encoded, so that a run allocates nothing.
    static BUFFERS: RefCell<[Vec<u8>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

fn check_encoding(packet: &Packet<'_>, version: Version) {
    BUFFERS.with_borrow_mut(|[encoded, forwarded]| {
        let len = packet.encoded_len(version).expect("what was decoded has a length") as usize;
        encoded.clear();
        encoded.resize(len, 0);
        let mut sink = SliceSink::new(encoded);
        packet.encode(version, &mut sink).expect("what was decoded can be encoded");
        assert_eq!(sink.written().len(), len);
        check_decodes_to(encoded, packet, version);
        let full = packet.encode(version, &mut SliceSink::new(&mut encoded[..len - 1]));
        assert_eq!(full, Err(EncodeError::BufferFull));
        if let Packet::Publish(publish) = packet {
            send_on(publish, version, encoded, forwarded);
            check_decodes_to(encoded, packet, version);
        }
    });
}

fn check_decodes_to(encoded: &[u8], packet: &Packet<'_>, version: Version) {
    match Packet::parse(encoded, version, &Limits::NONE) {
        Ok(Some((again, len))) => {
            assert_eq!(len, encoded.len());
            assert_eq!(bare(again), bare(packet.clone()));
        }
        other => panic!("{packet:?} is encoded as {encoded:02x?}, which is {other:?}"),
    }
}

/// Without the copy of its properties that a decoded packet has: their order is not kept.
fn bare(mut packet: Packet<'_>) -> Packet<'_> {
    match &mut packet {
        Packet::Publish(publish) => publish.properties.encoded = &[],
        Packet::Connect(Connect { will: Some(will), .. }) => will.properties.encoded = &[],
        _ => {}
    }
    packet
}

/// As a broker sends it on: head, properties as they came, payload.
fn send_on(publish: &Publish<'_>, version: Version, encoded: &mut Vec<u8>, forwarded: &mut Vec<u8>) {
    let own = [PropertyId::MessageExpiryInterval, PropertyId::TopicAlias, PropertyId::SubscriptionIdentifier];
    forwarded.clear();
    for (id, bytes) in raw_properties(publish.properties.raw()) {
        if !own.contains(&id) {
            forwarded.extend_from_slice(bytes);
        }
    }
    let head = PublishHead {
        dup: publish.dup,
        qos: publish.qos,
        retain: publish.retain,
        topic: publish.topic.map_or("", TopicName::as_str),
        packet_id: publish.packet_id,
        message_expiry_interval: publish.properties.message_expiry_interval,
        topic_alias: publish.properties.topic_alias,
        subscription_ids: publish.properties.subscription_ids,
        forwarded,
        payload_len: u32::try_from(publish.payload.len()).expect("a packet"),
    };
    let len = head.packet_len(version).expect("what was decoded has a length") as usize;
    encoded.clear();
    encoded.resize(len - publish.payload.len(), 0);
    let layout = head.encode(version, &mut SliceSink::new(encoded)).expect("it has the room");
    assert_eq!(layout.len as usize, encoded.len());
    if let (Some(at), Some(id)) = (layout.packet_id_at, publish.packet_id) {
        assert_eq!(encoded[at as usize..][..2], id.get().to_be_bytes());
    }
    encoded.extend_from_slice(publish.payload);
}

/// Text that nobody reads.
struct Nowhere;

impl fmt::Write for Nowhere {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        Ok(())
    }
}
