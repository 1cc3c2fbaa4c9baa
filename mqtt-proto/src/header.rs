//! The fixed header: packet type, flags, Remaining Length.

use crate::error::{DecodeError, ErrorKind, Field};
use crate::values::{PacketType, QoS};
use crate::varint;

/// The first bytes of every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    /// Packet type and flags.
    pub first: u8,
    /// Bytes of the body that follows.
    pub remaining: u32,
    /// Bytes of this header, 2 to 5.
    pub header_len: u8,
    packet_type: PacketType,
}

impl FixedHeader {
    /// Reads a header from the front of `bytes`; `None` while it is incomplete. A wrong first byte is an error
    /// as soon as it is there.
    ///
    /// # Errors
    /// Reserved packet type or flags [MQTT-2.1.3-1], Remaining Length of more than four bytes or not minimal.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
        let packet_type = check_first(*first)?;
        let length =
            varint::decode(rest, Field::RemainingLength).map_err(|error| error.in_packet(packet_type))?;
        Ok(length.map(|(remaining, len)| Self { first: *first, remaining, header_len: len + 1, packet_type }))
    }

    /// Type of the packet.
    pub const fn packet_type(&self) -> PacketType {
        self.packet_type
    }

    /// Lower four bits of the first byte.
    pub const fn flags(&self) -> u8 {
        self.first & 0x0F
    }

    /// Bytes of the whole packet.
    pub const fn packet_len(&self) -> u32 {
        // At most 268,435,455 + 5.
        self.remaining.saturating_add(self.header_len as u32)
    }
}

fn check_first(first: u8) -> Result<PacketType, DecodeError> {
    let Some(packet_type) = PacketType::from_bits(first >> 4) else {
        return Err(DecodeError::new(Field::FixedHeader, ErrorKind::BadPacketType));
    };
    let flags = first & 0x0F;
    let right = match packet_type {
        PacketType::Publish => {
            let qos = QoS::from_bits(flags >> 1 & 3);
            // DUP must be 0 with QoS 0 [MQTT-3.3.1-2].
            qos.is_some_and(|qos| qos > QoS::AtMostOnce || flags & 8 == 0)
        }
        // In MQTT 3.1 these may carry DUP; `Packet::decode` knows the version and refuses it in others.
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => flags & 0b0111 == 0b0010,
        _ => flags == 0,
    };
    if right {
        Ok(packet_type)
    } else {
        Err(DecodeError::new(Field::FixedHeader, ErrorKind::BadValue).in_packet(packet_type))
    }
}
