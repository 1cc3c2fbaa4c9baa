//! All packets: decode and encode.

use crate::acks::Ack;
use crate::connack::ConnAck;
use crate::connect::Connect;
use crate::error::{DecodeError, EncodeError, ErrorKind, Field};
use crate::header::FixedHeader;
use crate::limits::Limits;
use crate::publish::Publish;
use crate::read::Reader;
use crate::sink::{Measure, Sink, put_varint};
use crate::subscribe::{SubAck, Subscribe, UnsubAck, Unsubscribe};
use crate::teardown::{Auth, Disconnect};
use crate::values::{PacketType, Version};
use crate::varint;

/// A control packet, borrowing what it was decoded from.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // The packet types of the standard; each struct says what it is.
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(UnsubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Reads the body of a packet. `version` is the connection's; CONNECT brings its own.
    ///
    /// # Errors
    /// Whatever the standard or `limits` forbid; see [`DecodeError::reason`].
    pub fn decode(
        header: FixedHeader,
        body: &'a [u8],
        version: Version,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let packet_type = header.packet_type();
        Self::decode_body(header, body, version, limits).map_err(|error| error.in_packet(packet_type))
    }

    fn decode_body(
        header: FixedHeader,
        body: &'a [u8],
        version: Version,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        if body.len() != header.remaining as usize {
            return Err(DecodeError::new(Field::RemainingLength, ErrorKind::Truncated));
        }
        let packet_type = header.packet_type();
        // Only MQTT 3.1 sets DUP on these.
        let may_be_dup =
            matches!(packet_type, PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe);
        if may_be_dup && header.flags() & 8 != 0 && version != Version::V31 {
            return Err(DecodeError::new(Field::FixedHeader, ErrorKind::BadValue));
        }
        let reader = Reader(body);
        let ack = |wrap: fn(Ack<'a>) -> Self| Ack::decode(reader, packet_type, version, limits).map(wrap);
        match packet_type {
            PacketType::Connect => Connect::decode(reader, limits).map(Self::Connect),
            PacketType::ConnAck => ConnAck::decode(reader, version, limits).map(Self::ConnAck),
            PacketType::Publish => Publish::decode(header.first, reader, version, limits).map(Self::Publish),
            PacketType::PubAck => ack(Self::PubAck),
            PacketType::PubRec => ack(Self::PubRec),
            PacketType::PubRel => ack(Self::PubRel),
            PacketType::PubComp => ack(Self::PubComp),
            PacketType::Subscribe => Subscribe::decode(reader, version, limits).map(Self::Subscribe),
            PacketType::SubAck => SubAck::decode(reader, version, limits).map(Self::SubAck),
            PacketType::Unsubscribe => Unsubscribe::decode(reader, version, limits).map(Self::Unsubscribe),
            PacketType::UnsubAck => UnsubAck::decode(reader, version, limits).map(Self::UnsubAck),
            PacketType::PingReq => reader.end().map(|()| Self::PingReq),
            PacketType::PingResp => reader.end().map(|()| Self::PingResp),
            PacketType::Disconnect => Disconnect::decode(reader, version, limits).map(Self::Disconnect),
            PacketType::Auth if version.is_v5() => Auth::decode(reader, limits).map(Self::Auth),
            PacketType::Auth => Err(DecodeError::new(Field::FixedHeader, ErrorKind::NotInThisVersion)),
        }
    }

    /// Reads one packet from the front of `bytes`: the packet and its length, or `None` while it is incomplete.
    ///
    /// # Errors
    /// As [`Packet::decode`], and packets above `limits.max_packet_size` as soon as their header is there.
    pub fn parse(
        bytes: &'a [u8],
        version: Version,
        limits: &Limits,
    ) -> Result<Option<(Self, usize)>, DecodeError> {
        let Some(header) = FixedHeader::parse(bytes)? else { return Ok(None) };
        if header.packet_len() > limits.max_packet_size {
            let error = DecodeError::new(Field::RemainingLength, ErrorKind::TooLarge);
            return Err(error.in_packet(header.packet_type()));
        }
        let total = header.packet_len() as usize;
        let Some(body) = bytes.get(usize::from(header.header_len)..total) else { return Ok(None) };
        Self::decode(header, body, version, limits).map(|packet| Some((packet, total)))
    }

    /// Its type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Bytes of the whole packet.
    ///
    /// # Errors
    /// As [`Packet::encode`].
    pub fn encoded_len(&self, version: Version) -> Result<u32, EncodeError> {
        self.body_len(version).map(|len| 1 + varint::len(len) + len)
    }

    /// Writes the whole packet. `version` is the connection's; CONNECT brings its own.
    ///
    /// # Errors
    /// Values larger than MQTT can carry, AUTH in 3.x, or a full sink.
    pub fn encode<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        let len = self.body_len(version)?;
        sink.put(&[self.first_byte()])?;
        put_varint(sink, len)?;
        self.encode_body(version, sink)
    }

    fn first_byte(&self) -> u8 {
        match self {
            Self::Publish(publish) => publish.first_byte(),
            Self::PubRel(_) | Self::Subscribe(_) | Self::Unsubscribe(_) => {
                (self.packet_type() as u8) << 4 | 2
            }
            _ => (self.packet_type() as u8) << 4,
        }
    }

    fn body_len(&self, version: Version) -> Result<u32, EncodeError> {
        let mut measure = Measure::default();
        self.encode_body(version, &mut measure)?;
        u32::try_from(measure.0).ok().filter(|len| *len <= varint::MAX).ok_or(EncodeError::TooLarge)
    }

    fn encode_body<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        match self {
            Self::Connect(packet) => packet.encode(sink),
            Self::ConnAck(packet) => packet.encode(version, sink),
            Self::Publish(packet) => packet.encode(version, sink),
            Self::PubAck(packet) | Self::PubRec(packet) | Self::PubRel(packet) | Self::PubComp(packet) => {
                packet.encode(version, sink)
            }
            Self::Subscribe(packet) => packet.encode(version, sink),
            Self::SubAck(packet) => packet.encode(version, sink),
            Self::Unsubscribe(packet) => packet.encode(version, sink),
            Self::UnsubAck(packet) => packet.encode(version, sink),
            Self::PingReq | Self::PingResp => Ok(()),
            Self::Disconnect(packet) => packet.encode(version, sink),
            Self::Auth(packet) if version.is_v5() => packet.encode(sink),
            Self::Auth(_) => Err(EncodeError::NotInThisVersion),
        }
    }
}
