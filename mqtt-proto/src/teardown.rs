//! DISCONNECT and AUTH.

use crate::acks::read_reason;
use crate::error::{DecodeError, EncodeError};
use crate::limits::Limits;
use crate::lists::UserProperties;
use crate::property::{self, Block, PropertyId, WriteProperties, Writer};
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::sink::Sink;
use crate::values::{PacketType, Version};

/// The end of a connection, said in time.
#[derive(Clone, Debug, PartialEq)]
pub struct Disconnect<'a> {
    /// 3.x has none and means success.
    pub reason: ReasonCode,
    /// Properties; MQTT 5 only.
    pub properties: DisconnectProperties<'a>,
}

/// Properties of [`Disconnect`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DisconnectProperties<'a> {
    /// Seconds; from a client only.
    pub session_expiry_interval: Option<u32>,
    /// For a person.
    pub reason_string: Option<&'a str>,
    /// Name and value pairs.
    pub user_properties: UserProperties<'a>,
    /// Another broker.
    pub server_reference: Option<&'a str>,
}

/// A step of enhanced authentication; MQTT 5 only.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth<'a> {
    /// Success, continue or re-authenticate.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: AuthProperties<'a>,
}

/// Properties of [`Auth`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AuthProperties<'a> {
    /// As in CONNECT.
    pub authentication_method: Option<&'a str>,
    /// As the method defines.
    pub authentication_data: Option<&'a [u8]>,
    /// For a person.
    pub reason_string: Option<&'a str>,
    /// Name and value pairs.
    pub user_properties: UserProperties<'a>,
}

/// Writes reason code and properties, leaving out from the end what says nothing.
fn encode_short<S: Sink>(
    reason: ReasonCode,
    properties: &impl WriteProperties,
    sink: &mut S,
) -> Result<(), EncodeError> {
    let len = properties.len()?;
    if len > 0 || reason != ReasonCode::Success {
        sink.put(&[reason as u8])?;
    }
    if len > 0 { properties.write_block(sink) } else { Ok(()) }
}

impl<'a> Disconnect<'a> {
    pub(crate) fn decode(
        mut body: Reader<'a>,
        version: Version,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let mut packet = Self { reason: ReasonCode::Success, properties: DisconnectProperties::default() };
        if version.is_v5() && !body.is_empty() {
            packet.reason = read_reason(&mut body, PacketType::Disconnect)?;
            if !body.is_empty() {
                packet.properties = DisconnectProperties::read(&mut body, limits)?;
            }
        }
        body.end()?;
        Ok(packet)
    }

    pub(crate) fn encode<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        if version.is_v5() { encode_short(self.reason, &self.properties, sink) } else { Ok(()) }
    }
}

impl<'a> DisconnectProperties<'a> {
    fn read(body: &mut Reader<'a>, limits: &Limits) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        let block = Block::read(body, property::packet_bit(PacketType::Disconnect), limits, |id, value| {
            match id {
                PropertyId::SessionExpiryInterval => properties.session_expiry_interval = value.four(),
                PropertyId::ReasonString => properties.reason_string = value.text(),
                PropertyId::ServerReference => properties.server_reference = value.text(),
                _ => {}
            }
            Ok(())
        })?;
        properties.user_properties = UserProperties::of(&block);
        Ok(properties)
    }
}

impl WriteProperties for DisconnectProperties<'_> {
    fn write<S: Sink>(&self, writer: &mut Writer<'_, S>) -> Result<(), EncodeError> {
        writer.four(PropertyId::SessionExpiryInterval, self.session_expiry_interval)?;
        writer.text(PropertyId::ReasonString, self.reason_string)?;
        writer.user(&self.user_properties)?;
        writer.text(PropertyId::ServerReference, self.server_reference)
    }
}

impl<'a> Auth<'a> {
    pub(crate) fn decode(mut body: Reader<'a>, limits: &Limits) -> Result<Self, DecodeError> {
        let mut packet = Self { reason: ReasonCode::Success, properties: AuthProperties::default() };
        if !body.is_empty() {
            packet.reason = read_reason(&mut body, PacketType::Auth)?;
            if !body.is_empty() {
                packet.properties = AuthProperties::read(&mut body, limits)?;
            }
        }
        body.end()?;
        Ok(packet)
    }

    pub(crate) fn encode<S: Sink>(&self, sink: &mut S) -> Result<(), EncodeError> {
        encode_short(self.reason, &self.properties, sink)
    }
}

impl<'a> AuthProperties<'a> {
    fn read(body: &mut Reader<'a>, limits: &Limits) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        let block = Block::read(body, property::packet_bit(PacketType::Auth), limits, |id, value| {
            match id {
                PropertyId::AuthenticationMethod => properties.authentication_method = value.text(),
                PropertyId::AuthenticationData => properties.authentication_data = value.binary(),
                PropertyId::ReasonString => properties.reason_string = value.text(),
                _ => {}
            }
            Ok(())
        })?;
        properties.user_properties = UserProperties::of(&block);
        Ok(properties)
    }
}

impl WriteProperties for AuthProperties<'_> {
    fn write<S: Sink>(&self, writer: &mut Writer<'_, S>) -> Result<(), EncodeError> {
        writer.text(PropertyId::AuthenticationMethod, self.authentication_method)?;
        writer.binary(PropertyId::AuthenticationData, self.authentication_data)?;
        writer.text(PropertyId::ReasonString, self.reason_string)?;
        writer.user(&self.user_properties)
    }
}
