//! PUBACK, PUBREC, PUBREL, PUBCOMP: one shape.

use crate::error::{DecodeError, EncodeError, ErrorKind, Field};
use crate::limits::Limits;
use crate::lists::UserProperties;
use crate::property::{self, Block, PropertyId, WriteProperties, Writer};
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::sink::Sink;
use crate::values::{PacketId, PacketType, Version};

/// An acknowledgement of a PUBLISH or of another acknowledgement.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack<'a> {
    /// Of the exchange.
    pub packet_id: PacketId,
    /// 3.x has none and means success.
    pub reason: ReasonCode,
    /// Properties; MQTT 5 only.
    pub properties: AckProperties<'a>,
}

/// Properties of every acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AckProperties<'a> {
    /// For a person.
    pub reason_string: Option<&'a str>,
    /// Name and value pairs.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Ack<'a> {
    pub(crate) fn decode(
        mut body: Reader<'a>,
        packet: PacketType,
        version: Version,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let packet_id = body.packet_id()?;
        // Reason code and properties may be left out from the end on; 3.x never has them.
        let mut ack = Self { packet_id, reason: ReasonCode::Success, properties: AckProperties::default() };
        if version.is_v5() && !body.is_empty() {
            ack.reason = read_reason(&mut body, packet)?;
            if !body.is_empty() {
                ack.properties = AckProperties::read(&mut body, packet, limits)?;
            }
        }
        body.end()?;
        Ok(ack)
    }

    pub(crate) fn encode<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        let packet_id = self.packet_id.get();
        let packet_id =
            if crate::planted!("identifier-swapped") { packet_id.swap_bytes() } else { packet_id };
        sink.put(&packet_id.to_be_bytes())?;
        if !version.is_v5() {
            return Ok(());
        }
        let properties = self.properties.len()?;
        if properties > 0 || self.reason != ReasonCode::Success {
            sink.put(&[self.reason as u8])?;
        }
        if properties > 0 { self.properties.write_block(sink) } else { Ok(()) }
    }
}

pub(crate) fn read_reason(body: &mut Reader<'_>, packet: PacketType) -> Result<ReasonCode, DecodeError> {
    let code = body.u8(Field::ReasonCode)?;
    ReasonCode::from_u8(code)
        .filter(|reason| reason.allowed_in(packet))
        .ok_or(DecodeError::new(Field::ReasonCode, ErrorKind::BadValue))
}

impl<'a> AckProperties<'a> {
    pub(crate) fn read(
        body: &mut Reader<'a>,
        packet: PacketType,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let mut reason_string = None;
        let block = Block::read(body, property::packet_bit(packet), limits, |id, value| {
            if id == PropertyId::ReasonString {
                reason_string = value.text();
            }
            Ok(())
        })?;
        Ok(Self { reason_string, user_properties: UserProperties::of(&block) })
    }
}

impl WriteProperties for AckProperties<'_> {
    fn write<S: Sink>(&self, writer: &mut Writer<'_, S>) -> Result<(), EncodeError> {
        writer.text(PropertyId::ReasonString, self.reason_string)?;
        writer.user(&self.user_properties)
    }
}
