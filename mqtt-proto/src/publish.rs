//! PUBLISH, and its head alone for brokers that send one payload to many.

use crate::connect::{payload_format, response_topic};
use crate::error::{DecodeError, EncodeError, ErrorKind, Field};
use crate::limits::Limits;
use crate::lists::{SubscriptionIds, UserProperties};
use crate::property::{self, Block, PropertyId, WriteProperties, Writer};
use crate::read::Reader;
use crate::sink::{Sink, put_str, put_varint};
use crate::topic::TopicName;
use crate::values::{PacketId, PacketType, PayloadFormat, QoS, Version};
use crate::varint;

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish<'a> {
    /// Perhaps sent before.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Retained.
    pub retain: bool,
    /// `None` where the packet leaves it to a topic alias.
    pub topic: Option<TopicName<'a>>,
    /// With QoS 1 and 2 only.
    pub packet_id: Option<PacketId>,
    /// Properties; MQTT 5 only.
    pub properties: PublishProperties<'a>,
    /// Any bytes.
    pub payload: &'a [u8],
}

/// Properties of [`Publish`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PublishProperties<'a> {
    /// What the payload is.
    pub payload_format: Option<PayloadFormat>,
    /// Seconds.
    pub message_expiry_interval: Option<u32>,
    /// Stands for the topic name; never 0.
    pub topic_alias: Option<u16>,
    /// Where to answer.
    pub response_topic: Option<TopicName<'a>>,
    /// What to answer with.
    pub correlation_data: Option<&'a [u8]>,
    /// Content type.
    pub content_type: Option<&'a str>,
    /// Name and value pairs.
    pub user_properties: UserProperties<'a>,
    /// Of the subscriptions that matched; from a broker only.
    pub subscription_ids: SubscriptionIds<'a>,
    /// All of them as they stood in a decoded packet; not written.
    pub encoded: &'a [u8],
}

impl<'a> PublishProperties<'a> {
    /// All of them as they stood in a decoded packet.
    pub const fn raw(&self) -> &'a [u8] {
        self.encoded
    }

    /// Writes them one after the other, without their length in front.
    ///
    /// # Errors
    /// A text is too long for MQTT, or the sink is full.
    pub fn encode_list<S: Sink>(&self, sink: &mut S) -> Result<(), EncodeError> {
        self.write(&mut Writer(sink))
    }

    fn read(body: &mut Reader<'a>, limits: &Limits) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        let block = Block::read(body, property::packet_bit(PacketType::Publish), limits, |id, value| {
            let p = &mut properties;
            match id {
                PropertyId::PayloadFormatIndicator => p.payload_format = payload_format(value.byte())?,
                PropertyId::MessageExpiryInterval => p.message_expiry_interval = value.four(),
                PropertyId::TopicAlias => {
                    let wrong = DecodeError::new(Field::Property, ErrorKind::BadTopicAlias);
                    p.topic_alias = Some(value.two().filter(|alias| *alias > 0).ok_or(wrong)?);
                }
                PropertyId::ResponseTopic => p.response_topic = response_topic(value.text())?,
                PropertyId::CorrelationData => p.correlation_data = value.binary(),
                PropertyId::ContentType => p.content_type = value.text(),
                _ => {}
            }
            Ok(())
        })?;
        properties.user_properties = UserProperties::of(&block);
        properties.subscription_ids = SubscriptionIds::of(&block);
        properties.encoded = block.raw;
        Ok(properties)
    }
}

impl WriteProperties for PublishProperties<'_> {
    fn write<S: Sink>(&self, writer: &mut Writer<'_, S>) -> Result<(), EncodeError> {
        writer.byte(PropertyId::PayloadFormatIndicator, self.payload_format.map(|format| format as u8))?;
        writer.four(PropertyId::MessageExpiryInterval, self.message_expiry_interval)?;
        writer.two(PropertyId::TopicAlias, self.topic_alias)?;
        writer.text(PropertyId::ResponseTopic, self.response_topic.map(TopicName::as_str))?;
        writer.binary(PropertyId::CorrelationData, self.correlation_data)?;
        writer.text(PropertyId::ContentType, self.content_type)?;
        for id in self.subscription_ids.iter() {
            writer.variable(PropertyId::SubscriptionIdentifier, id)?;
        }
        writer.user(&self.user_properties)
    }
}

const fn first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    (PacketType::Publish as u8) << 4 | (dup as u8) << 3 | (qos as u8) << 1 | retain as u8
}

impl<'a> Publish<'a> {
    pub(crate) fn decode(
        first: u8,
        mut body: Reader<'a>,
        version: Version,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let bad_flags = DecodeError::new(Field::FixedHeader, ErrorKind::BadValue);
        let qos = QoS::from_bits(first >> 1 & 3).ok_or(bad_flags)?;
        let text = body.string(Field::TopicName)?;
        let bad_topic = DecodeError::new(Field::TopicName, ErrorKind::BadTopic);
        let topic = if text.is_empty() { None } else { Some(TopicName::parse(text).map_err(|_| bad_topic)?) };
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(body.packet_id()?) };
        let properties = if version.is_v5() {
            PublishProperties::read(&mut body, limits)?
        } else {
            PublishProperties::default()
        };
        if topic.is_none() && properties.topic_alias.is_none() {
            return Err(DecodeError::new(Field::TopicName, ErrorKind::Forbidden));
        }
        let (dup, retain) = (first & 8 != 0, first & 1 != 0);
        Ok(Self { dup, qos, retain, topic, packet_id, properties, payload: body.0 })
    }

    pub(crate) fn first_byte(&self) -> u8 {
        first_byte(self.dup, self.qos, self.retain)
    }

    pub(crate) fn encode<S: Sink>(&self, version: Version, sink: &mut S) -> Result<(), EncodeError> {
        if (self.qos == QoS::AtMostOnce) != self.packet_id.is_none() {
            return Err(EncodeError::PacketId);
        }
        put_str(sink, self.topic.map_or("", TopicName::as_str))?;
        if let Some(packet_id) = self.packet_id {
            sink.put(&packet_id.get().to_be_bytes())?;
        }
        if version.is_v5() {
            self.properties.write_block(sink)?;
        }
        sink.put(self.payload)
    }
}

/// Everything of a PUBLISH but its payload, with the properties that a broker passes on already encoded.
#[derive(Clone, Copy, Debug)]
pub struct PublishHead<'a> {
    /// Perhaps sent before.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Retained.
    pub retain: bool,
    /// Topic name; empty where the alias stands for it.
    pub topic: &'a str,
    /// With QoS 1 and 2 only.
    pub packet_id: Option<PacketId>,
    /// Seconds left.
    pub message_expiry_interval: Option<u32>,
    /// Stands for the topic name.
    pub topic_alias: Option<u16>,
    /// Of the subscriptions that matched.
    pub subscription_ids: SubscriptionIds<'a>,
    /// Further properties, encoded.
    pub forwarded: &'a [u8],
    /// Bytes of the payload that follows.
    pub payload_len: u32,
}

/// Where things are in an encoded [`PublishHead`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLayout {
    /// Bytes of the head.
    pub len: u32,
    /// Offset of the packet identifier's two bytes.
    pub packet_id_at: Option<u32>,
}

impl PublishHead<'_> {
    fn properties_len(&self) -> u64 {
        let expiry = if self.message_expiry_interval.is_some() { 5 } else { 0 };
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let ids: u64 = self.subscription_ids.iter().map(|id| u64::from(1 + varint::len(id))).sum();
        expiry + alias + ids + self.forwarded.len() as u64
    }

    /// Remaining Length, if the packet can be encoded.
    fn remaining(&self, version: Version) -> Option<(u32, u32)> {
        let properties = u32::try_from(self.properties_len()).ok()?;
        let block =
            if version.is_v5() { u64::from(varint::len(properties)) + u64::from(properties) } else { 0 };
        let packet_id = if self.packet_id.is_some() { 2 } else { 0 };
        let remaining = 2 + self.topic.len() as u64 + packet_id + block + u64::from(self.payload_len);
        u32::try_from(remaining).ok().filter(|len| *len <= varint::MAX).map(|len| (len, properties))
    }

    /// Bytes of the whole packet with its payload; `None` if it is too large for MQTT.
    pub fn packet_len(&self, version: Version) -> Option<u32> {
        self.remaining(version).map(|(len, _)| 1 + varint::len(len) + len)
    }

    /// Writes the head; the payload is to follow.
    ///
    /// # Errors
    /// The packet is too large, or the sink is full.
    pub fn encode<S: Sink>(&self, version: Version, sink: &mut S) -> Result<HeadLayout, EncodeError> {
        let (remaining, properties) = self.remaining(version).ok_or(EncodeError::TooLarge)?;
        sink.put(&[first_byte(self.dup, self.qos, self.retain)])?;
        put_varint(sink, remaining)?;
        put_str(sink, self.topic)?;
        let header = 1 + varint::len(remaining);
        let after_topic = header + 2 + u32::try_from(self.topic.len()).map_err(|_| EncodeError::TooLarge)?;
        let packet_id_at = self.packet_id.map(|_| after_topic);
        if let Some(packet_id) = self.packet_id {
            sink.put(&packet_id.get().to_be_bytes())?;
        }
        if version.is_v5() {
            put_varint(sink, properties)?;
            let mut writer = Writer(sink);
            writer.four(PropertyId::MessageExpiryInterval, self.message_expiry_interval)?;
            writer.two(PropertyId::TopicAlias, self.topic_alias)?;
            for id in self.subscription_ids.iter() {
                writer.variable(PropertyId::SubscriptionIdentifier, id)?;
            }
            sink.put(self.forwarded)?;
        }
        Ok(HeadLayout { len: header + remaining - self.payload_len, packet_id_at })
    }
}
