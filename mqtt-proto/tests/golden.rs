//! Packets as bytes: every type in every version, in both directions, cut short, and with flipped bits.

#[path = "golden/packets.rs"]
mod packets;

use mqtt_proto::{Connect, Limits, Packet, PacketType, SliceSink, Version};
use packets::{ALL, SPELLINGS, golden};

fn encode(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut buffer = vec![0; packet.encoded_len(version).unwrap() as usize];
    let mut sink = SliceSink::new(&mut buffer);
    packet.encode(version, &mut sink).unwrap();
    assert_eq!(sink.written().len(), packet.encoded_len(version).unwrap() as usize);
    buffer
}

/// The packet without the copy of its properties that only a decoded packet has.
fn bare(mut packet: Packet<'_>) -> Packet<'_> {
    match &mut packet {
        Packet::Publish(publish) => publish.properties.encoded = &[],
        Packet::Connect(Connect { will: Some(will), .. }) => will.properties.encoded = &[],
        _ => {}
    }
    packet
}

fn decode(bytes: &[u8], version: Version) -> Packet<'_> {
    let parsed = Packet::parse(bytes, version, &Limits::default());
    let (packet, len) = parsed.unwrap_or_else(|error| panic!("{bytes:02x?}: {error}")).unwrap();
    assert_eq!(len, bytes.len());
    bare(packet)
}

/// Whatever decodes can be encoded, and decodes again to the same packet.
fn check(bytes: &[u8], version: Version) {
    if let Ok(Some((packet, len))) = Packet::parse(bytes, version, &Limits::default()) {
        assert!(len <= bytes.len(), "{bytes:02x?}");
        let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
        let packet = bare(packet);
        assert_eq!(decode(&encode(&packet, version), version), packet, "{bytes:02x?}");
    }
}

#[test]
fn bytes_decode_to_the_packet_and_the_packet_encodes_to_the_bytes() {
    for (version, bytes, packet) in golden() {
        assert_eq!(decode(bytes, version), packet, "{version:?}");
        assert_eq!(encode(&packet, version), bytes, "{version:?} {packet:?}");
        assert_eq!(encode(&decode(bytes, version), version), bytes, "{version:?} {packet:?}");
    }
}

#[test]
fn every_type_is_there_in_every_version_that_has_it() {
    let golden = golden();
    for version in ALL {
        for packet_type in (1..=15).filter_map(PacketType::from_bits) {
            let there = golden.iter().any(|(v, _, p)| v == version && p.packet_type() == packet_type);
            assert_eq!(
                there,
                packet_type != PacketType::Auth || version.is_v5(),
                "{version:?} {packet_type:?}"
            );
        }
    }
}

#[test]
fn other_spellings_are_read_and_written_the_usual_way() {
    for (version, spelling, usual) in SPELLINGS {
        assert_eq!(decode(spelling, *version), decode(usual, *version));
        assert_eq!(encode(&decode(spelling, *version), *version), *usual);
    }
}

#[test]
fn a_packet_that_has_not_arrived_is_waited_for() {
    for (version, bytes, packet) in golden() {
        for end in 0..bytes.len() {
            let parsed = Packet::parse(&bytes[..end], version, &Limits::default());
            assert_eq!(parsed, Ok(None), "{end} bytes of {packet:?}");
        }
        let both = [bytes, b"\xc0"].concat();
        let parsed = Packet::parse(&both, version, &Limits::default()).unwrap().unwrap();
        assert_eq!((bare(parsed.0), parsed.1), (packet, bytes.len()));
    }
}

#[test]
fn a_body_that_ends_early_is_an_error_or_another_packet() {
    for (version, bytes, packet) in golden() {
        for end in 2..bytes.len() {
            let mut cut = bytes[..end].to_vec();
            cut[1] = u8::try_from(end - 2).unwrap();
            let parsed = Packet::parse(&cut, version, &Limits::default());
            assert_ne!(parsed, Ok(None), "{end} bytes of {packet:?}");
            check(&cut, version);
        }
    }
}

#[test]
fn flipped_bits_do_not_panic_and_what_decodes_can_be_encoded() {
    for (_, bytes, _) in golden() {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            for version in ALL {
                check(&flipped, *version);
            }
        }
    }
}

#[test]
fn a_buffer_that_is_too_small_is_an_error() {
    for (version, bytes, packet) in golden() {
        for room in 0..bytes.len() {
            let mut buffer = vec![0; room];
            let encoded = packet.encode(version, &mut SliceSink::new(&mut buffer));
            assert_eq!(encoded, Err(mqtt_proto::EncodeError::BufferFull), "{packet:?} into {room}");
        }
    }
}
