//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.

use crate::acks::AckProperties;
use crate::error::{DecodeError, EncodeError, ErrorKind, Field};
use crate::limits::Limits;
use crate::lists::{ReasonCodes, SubscribeFilters, UnsubscribeFilters, UserProperties};
use crate::property::{self, Block, PropertyId, Value, WriteProperties, Writer};
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::sink::{Sink, put_str};
use crate::values::{PacketId, PacketType, QoS, Version};

/// What happens with retained messages when a subscription is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
pub enum RetainHandling {
    /// Always sent.
    #[default]
    SendAlways = 0,
    /// Sent if the subscription is new.
    SendIfNew = 1,
    /// Not sent.
    DoNotSend = 2,
}

/// Options of a subscription. 3.x has the QoS only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SubscribeOptions {
    /// Highest QoS wanted.
    pub qos: QoS,
    /// Not the client's own messages.
    pub no_local: bool,
    /// RETAIN as the publisher set it.
    pub retain_as_published: bool,
    /// Retained messages now.
    pub retain_handling: RetainHandling,
}

impl SubscribeOptions {
    pub(crate) fn from_bits(bits: u8, version: Version) -> Result<Self, DecodeError> {
        let malformed = DecodeError::new(Field::SubscriptionOptions, ErrorKind::BadValue);
        let qos = QoS::from_bits(bits & 3).ok_or(malformed)?;
        let reserved = if version.is_v5() { 0xC0 } else { 0xFC };
        if bits & reserved != 0 {
            return Err(malformed);
        }
        let retain_handling = match bits >> 4 & 3 {
            0 => RetainHandling::SendAlways,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(DecodeError::new(Field::SubscriptionOptions, ErrorKind::Forbidden)),
        };
        Ok(Self { qos, no_local: bits & 4 != 0, retain_as_published: bits & 8 != 0, retain_handling })
    }

    fn bits(self, version: Version) -> u8 {
        let qos = self.qos as u8;
        if !version.is_v5() {
            return qos;
        }
        qos | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4
    }
}

/// Asks for messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// Of the exchange.
    pub packet_id: PacketId,
    /// Subscription Identifier, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// Name and value pairs.
    pub user_properties: UserProperties<'a>,
    /// At least one.
    pub filters: SubscribeFilters<'a>,
}

struct SubscribeProperties<'p, 'a>(&'p Subscribe<'a>);

impl WriteProperties for SubscribeProperties<'_, '_> {
    fn write<S: Sink>(&self, writer: &mut Writer<'_, S>) -> Result<(), EncodeError> {
        if let Some(id) = self.0.subscription_id {
            writer.variable(PropertyId::SubscriptionIdentifier, id)?;
        }
        writer.user(&self.0.user_properties)
    }
}

/// Checks every entry of a list and that there is at least one.
fn check_filters(
    mut body: Reader<'_>,
    limits: &Limits,
    mut entry: impl FnMut(&mut Reader<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut count = 0_u32;
    while !body.is_empty() {
        entry(&mut body)?;
        count += 1;
        if count > u32::from(limits.max_filters) {
            return Err(DecodeError::new(Field::TopicFilter, ErrorKind::TooMany));
        }
    }
    if count == 0 { Err(DecodeError::new(Field::Payload, ErrorKind::Forbidden)) } else { Ok(()) }
}

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(
        mut body: Reader<'a>,
        version: Version,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let packet_id = body.packet_id()?;
        let mut subscription_id = None;
        let mut user_properties = UserProperties::default();
        if version.is_v5() {
            let block =
                Block::read(&mut body, property::packet_bit(PacketType::Subscribe), limits, |_, value| {
                    if let Value::Variable(id) = value {
                        subscription_id = Some(id);
                    }
                    Ok(())
                })?;
            user_properties = UserProperties::of(&block);
        }
        check_filters(body, limits, |body| {
            body.string(Field::TopicFilter)?;
            SubscribeOptions::from_bits(body.u8(Field::SubscriptionOptions)?, version).map(drop)
        })?;
        let filters = SubscribeFilters::Encoded { bytes: body.0, version };
        Ok(Self { packet_id, subscription_id, user_properties, filters })
    }

    pub(crate) fn encode<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        sink.put(&self.packet_id.get().to_be_bytes())?;
        if version.is_v5() {
            SubscribeProperties(self).write_block(sink)?;
        }
        for (filter, options) in self.filters.iter() {
            put_str(sink, filter)?;
            sink.put(&[options.bits(version)])?;
        }
        Ok(())
    }
}

/// Ends subscriptions.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    /// Of the exchange.
    pub packet_id: PacketId,
    /// Name and value pairs.
    pub user_properties: UserProperties<'a>,
    /// At least one.
    pub filters: UnsubscribeFilters<'a>,
}

impl<'a> Unsubscribe<'a> {
    pub(crate) fn decode(
        mut body: Reader<'a>,
        version: Version,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let packet_id = body.packet_id()?;
        let mut user_properties = UserProperties::default();
        if version.is_v5() {
            let bit = property::packet_bit(PacketType::Unsubscribe);
            user_properties = UserProperties::of(&Block::read(&mut body, bit, limits, |_, _| Ok(()))?);
        }
        check_filters(body, limits, |body| body.string(Field::TopicFilter).map(drop))?;
        Ok(Self { packet_id, user_properties, filters: UnsubscribeFilters::Encoded(body.0) })
    }

    pub(crate) fn encode<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        sink.put(&self.packet_id.get().to_be_bytes())?;
        if version.is_v5() {
            AckProperties { reason_string: None, user_properties: self.user_properties }.write_block(sink)?;
        }
        self.filters.iter().try_for_each(|filter| put_str(sink, filter))
    }
}

macro_rules! list_ack {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name<'a> {
            /// Of the exchange.
            pub packet_id: PacketId,
            /// Properties; MQTT 5 only.
            pub properties: AckProperties<'a>,
            /// One for each filter, in order.
            pub reasons: ReasonCodes<'a>,
        }

        impl<'a> $name<'a> {
            pub(crate) fn decode(mut body: Reader<'a>, version: Version, limits: &Limits) -> Result<Self, DecodeError> {
                let packet_id = body.packet_id()?;
                let mut properties = AckProperties::default();
                if version.is_v5() {
                    properties = AckProperties::read(&mut body, PacketType::$name, limits)?;
                }
                let has_codes = version.is_v5() || PacketType::$name == PacketType::SubAck;
                if !has_codes {
                    body.end()?;
                }
                let known = |code: &u8| {
                    let reason = ReasonCode::from_u8(*code).filter(|reason| reason.allowed_in(PacketType::$name));
                    reason.is_some_and(|reason| version.is_v5() || *code <= 2 || reason == ReasonCode::UnspecifiedError)
                };
                if has_codes && (body.is_empty() || !body.0.iter().all(known)) {
                    return Err(DecodeError::new(Field::ReasonCode, ErrorKind::BadValue));
                }
                Ok(Self { packet_id, properties, reasons: ReasonCodes::Encoded(body.0) })
            }

            pub(crate) fn encode<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
                sink.put(&self.packet_id.get().to_be_bytes())?;
                if version.is_v5() {
                    self.properties.write_block(sink)?;
                } else if PacketType::$name == PacketType::UnsubAck {
                    return Ok(());
                }
                self.reasons.iter().try_for_each(|reason| {
                    // 3.x knows one failure.
                    let code = if reason.is_error() && !version.is_v5() { 0x80 } else { reason as u8 };
                    sink.put(&[code])
                })
            }
        }
    };
}

list_ack! {
    /// The answer to SUBSCRIBE.
    SubAck
}
list_ack! {
    /// The answer to UNSUBSCRIBE; 3.x has no reason codes in it.
    UnsubAck
}
