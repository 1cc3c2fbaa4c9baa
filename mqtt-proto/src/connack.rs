//! CONNACK: the answer to CONNECT.

use crate::error::{DecodeError, EncodeError, ErrorKind, Field};
use crate::limits::Limits;
use crate::lists::UserProperties;
use crate::property::{self, Block, PropertyId, WriteProperties, Writer};
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::sink::Sink;
use crate::values::{PacketType, QoS, Version};

/// The answer to a connection request.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnAck<'a> {
    /// An earlier session goes on.
    pub session_present: bool,
    /// Accepted, or why not. 3.x has six codes; see [`ReasonCode::connack_v3`].
    pub reason: ReasonCode,
    /// Properties; MQTT 5 only.
    pub properties: ConnAckProperties<'a>,
}

/// Properties of [`ConnAck`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ConnAckProperties<'a> {
    /// Seconds, where not the one asked for.
    pub session_expiry_interval: Option<u32>,
    /// Absent is 65,535.
    pub receive_maximum: Option<u16>,
    /// Absent is 2.
    pub maximum_qos: Option<QoS>,
    /// Absent is yes.
    pub retain_available: Option<bool>,
    /// Bytes.
    pub maximum_packet_size: Option<u32>,
    /// The identifier that the broker chose.
    pub assigned_client_id: Option<&'a str>,
    /// Absent is 0.
    pub topic_alias_maximum: Option<u16>,
    /// For a person.
    pub reason_string: Option<&'a str>,
    /// Name and value pairs.
    pub user_properties: UserProperties<'a>,
    /// Absent is yes.
    pub wildcard_subscription_available: Option<bool>,
    /// Absent is yes.
    pub subscription_ids_available: Option<bool>,
    /// Absent is yes.
    pub shared_subscription_available: Option<bool>,
    /// Seconds, where not the one asked for.
    pub server_keep_alive: Option<u16>,
    /// Basis for response topics.
    pub response_information: Option<&'a str>,
    /// Another broker.
    pub server_reference: Option<&'a str>,
    /// Enhanced authentication.
    pub authentication_method: Option<&'a str>,
    /// Only with a method.
    pub authentication_data: Option<&'a [u8]>,
}

impl<'a> ConnAck<'a> {
    pub(crate) fn decode(
        mut body: Reader<'a>,
        version: Version,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let flags = body.u8(Field::AcknowledgeFlags)?;
        if flags > 1 {
            return Err(DecodeError::new(Field::AcknowledgeFlags, ErrorKind::BadValue));
        }
        let code = body.u8(Field::ReasonCode)?;
        let wrong = DecodeError::new(Field::ReasonCode, ErrorKind::BadValue);
        let (reason, properties) = if version.is_v5() {
            let reason = ReasonCode::from_u8(code).filter(|reason| reason.allowed_in(PacketType::ConnAck));
            (reason.ok_or(wrong)?, ConnAckProperties::read(&mut body, limits)?)
        } else {
            (ReasonCode::from_connack_v3(code).ok_or(wrong)?, ConnAckProperties::default())
        };
        body.end()?;
        Ok(Self { session_present: flags == 1, reason, properties })
    }

    pub(crate) fn encode<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        let code = if version.is_v5() { self.reason as u8 } else { self.reason.connack_v3() };
        sink.put(&[u8::from(self.session_present), code])?;
        if version.is_v5() { self.properties.write_block(sink) } else { Ok(()) }
    }
}

impl<'a> ConnAckProperties<'a> {
    fn read(body: &mut Reader<'a>, limits: &Limits) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        let block = Block::read(body, property::packet_bit(PacketType::ConnAck), limits, |id, value| {
            let p = &mut properties;
            match id {
                PropertyId::SessionExpiryInterval => p.session_expiry_interval = value.four(),
                PropertyId::ReceiveMaximum => p.receive_maximum = value.two_above_0()?,
                PropertyId::MaximumQoS => {
                    let qos = value.byte().and_then(QoS::from_bits).filter(|qos| *qos < QoS::ExactlyOnce);
                    p.maximum_qos = Some(qos.ok_or(property::forbidden())?);
                }
                PropertyId::RetainAvailable => p.retain_available = value.flag()?,
                PropertyId::MaximumPacketSize => p.maximum_packet_size = value.four_above_0()?,
                PropertyId::AssignedClientIdentifier => p.assigned_client_id = value.text(),
                PropertyId::TopicAliasMaximum => p.topic_alias_maximum = value.two(),
                PropertyId::ReasonString => p.reason_string = value.text(),
                PropertyId::WildcardSubscriptionAvailable => {
                    p.wildcard_subscription_available = value.flag()?;
                }
                PropertyId::SubscriptionIdentifierAvailable => p.subscription_ids_available = value.flag()?,
                PropertyId::SharedSubscriptionAvailable => p.shared_subscription_available = value.flag()?,
                PropertyId::ServerKeepAlive => p.server_keep_alive = value.two(),
                PropertyId::ResponseInformation => p.response_information = value.text(),
                PropertyId::ServerReference => p.server_reference = value.text(),
                PropertyId::AuthenticationMethod => p.authentication_method = value.text(),
                PropertyId::AuthenticationData => p.authentication_data = value.binary(),
                _ => {}
            }
            Ok(())
        })?;
        properties.user_properties = UserProperties::of(&block);
        Ok(properties)
    }
}

impl WriteProperties for ConnAckProperties<'_> {
    fn write<S: Sink>(&self, writer: &mut Writer<'_, S>) -> Result<(), EncodeError> {
        writer.four(PropertyId::SessionExpiryInterval, self.session_expiry_interval)?;
        writer.two(PropertyId::ReceiveMaximum, self.receive_maximum)?;
        writer.byte(PropertyId::MaximumQoS, self.maximum_qos.map(|qos| qos as u8))?;
        writer.flag(PropertyId::RetainAvailable, self.retain_available)?;
        writer.four(PropertyId::MaximumPacketSize, self.maximum_packet_size)?;
        writer.text(PropertyId::AssignedClientIdentifier, self.assigned_client_id)?;
        writer.two(PropertyId::TopicAliasMaximum, self.topic_alias_maximum)?;
        writer.text(PropertyId::ReasonString, self.reason_string)?;
        writer.user(&self.user_properties)?;
        writer.flag(PropertyId::WildcardSubscriptionAvailable, self.wildcard_subscription_available)?;
        writer.flag(PropertyId::SubscriptionIdentifierAvailable, self.subscription_ids_available)?;
        writer.flag(PropertyId::SharedSubscriptionAvailable, self.shared_subscription_available)?;
        writer.two(PropertyId::ServerKeepAlive, self.server_keep_alive)?;
        writer.text(PropertyId::ResponseInformation, self.response_information)?;
        writer.text(PropertyId::ServerReference, self.server_reference)?;
        writer.text(PropertyId::AuthenticationMethod, self.authentication_method)?;
        writer.binary(PropertyId::AuthenticationData, self.authentication_data)
    }
}
