//! CONNECT: the first packet of a client.

use crate::error::{DecodeError, EncodeError, ErrorKind, Field};
use crate::limits::Limits;
use crate::lists::UserProperties;
use crate::property::{self, Block, PropertyId, WriteProperties, Writer};
use crate::read::Reader;
use crate::sink::{Sink, put_binary, put_str};
use crate::topic::TopicName;
use crate::values::{PacketType, PayloadFormat, QoS, Version};

const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_FLAG: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

/// A connection request.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect<'a> {
    /// Protocol version.
    pub version: Version,
    /// Client identifier; empty asks the broker for one.
    pub client_id: &'a str,
    /// Clean Start, or Clean Session of 3.x.
    pub clean_start: bool,
    /// Keep Alive, seconds; 0 is off.
    pub keep_alive: u16,
    /// User name.
    pub username: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
    /// Will.
    pub will: Option<Will<'a>>,
    /// Properties; MQTT 5 only.
    pub properties: ConnectProperties<'a>,
}

/// Properties of [`Connect`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ConnectProperties<'a> {
    /// Seconds; absent is 0.
    pub session_expiry_interval: Option<u32>,
    /// Absent is 65,535.
    pub receive_maximum: Option<u16>,
    /// Bytes.
    pub maximum_packet_size: Option<u32>,
    /// Absent is 0.
    pub topic_alias_maximum: Option<u16>,
    /// Absent is no.
    pub request_response_information: Option<bool>,
    /// Absent is yes.
    pub request_problem_information: Option<bool>,
    /// Enhanced authentication.
    pub authentication_method: Option<&'a str>,
    /// Only with a method.
    pub authentication_data: Option<&'a [u8]>,
    /// Name and value pairs.
    pub user_properties: UserProperties<'a>,
}

/// The message that is published when a client is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Will<'a> {
    /// Topic name.
    pub topic: TopicName<'a>,
    /// Any bytes, also none.
    pub payload: &'a [u8],
    /// Quality of service.
    pub qos: QoS,
    /// Retained?
    pub retain: bool,
    /// Properties; MQTT 5 only.
    pub properties: WillProperties<'a>,
}

/// Properties of [`Will`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WillProperties<'a> {
    /// Seconds; absent is 0.
    pub will_delay_interval: Option<u32>,
    /// What the payload is.
    pub payload_format: Option<PayloadFormat>,
    /// Seconds, counted from publication.
    pub message_expiry_interval: Option<u32>,
    /// Content type.
    pub content_type: Option<&'a str>,
    /// Where to answer.
    pub response_topic: Option<TopicName<'a>>,
    /// What to answer with.
    pub correlation_data: Option<&'a [u8]>,
    /// Name and value pairs.
    pub user_properties: UserProperties<'a>,
    /// All of them as they stood in a decoded packet; not written.
    pub encoded: &'a [u8],
}

impl<'a> WillProperties<'a> {
    /// All of them as they stood in a decoded packet.
    pub const fn raw(&self) -> &'a [u8] {
        self.encoded
    }
}

pub(crate) fn payload_format(value: Option<u8>) -> Result<Option<PayloadFormat>, DecodeError> {
    match value {
        Some(0) => Ok(Some(PayloadFormat::Bytes)),
        Some(1) => Ok(Some(PayloadFormat::Utf8)),
        _ => Err(property::forbidden()),
    }
}

pub(crate) fn response_topic(text: Option<&str>) -> Result<Option<TopicName<'_>>, DecodeError> {
    text.and_then(|text| TopicName::parse(text).ok()).map(Some).ok_or(property::forbidden())
}

impl<'a> Connect<'a> {
    pub(crate) fn decode(mut body: Reader<'a>, limits: &Limits) -> Result<Self, DecodeError> {
        let version = read_version(&mut body)?;
        Self::decode_rest(body, version, limits).map_err(|error| error.in_version(version))
    }

    fn decode_rest(mut body: Reader<'a>, version: Version, limits: &Limits) -> Result<Self, DecodeError> {
        let flags = body.u8(Field::ConnectFlags)?;
        let will_qos = check_flags(flags, version)?;
        let keep_alive = body.u16(Field::KeepAlive)?;
        let properties = if version.is_v5() {
            ConnectProperties::read(&mut body, limits)?
        } else {
            ConnectProperties::default()
        };
        let mut connect = Self {
            version,
            client_id: "",
            clean_start: flags & CLEAN_START != 0,
            keep_alive,
            username: None,
            password: None,
            will: None,
            properties,
        };
        match connect.read_payload(body, flags, will_qos, limits) {
            Ok(()) => Ok(connect),
            Err(error) => Err(error.with_max_packet_size(properties.maximum_packet_size)),
        }
    }

    fn read_payload(
        &mut self,
        mut body: Reader<'a>,
        flags: u8,
        will_qos: Option<QoS>,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        self.client_id = body.string(Field::ClientId)?;
        if self.client_id.len() > usize::from(limits.max_client_id_length) {
            return Err(DecodeError::new(Field::ClientId, ErrorKind::TooLong));
        }
        if let Some(qos) = will_qos {
            self.will = Some(Will::read(&mut body, self.version, qos, flags & WILL_RETAIN != 0, limits)?);
        }
        // In MQTT 3.1 the field may be missing although its flag is set.
        let missing = self.version == Version::V31 && body.is_empty();
        if flags & USER_NAME != 0 && !missing {
            self.username = Some(body.string(Field::UserName)?);
        }
        let missing = self.version == Version::V31 && body.is_empty();
        if flags & PASSWORD != 0 && !missing {
            self.password = Some(body.binary(Field::Password)?);
        }
        body.end()
    }

    pub(crate) fn encode<S: Sink>(&self, sink: &mut S) -> Result<(), EncodeError> {
        put_str(sink, self.version.protocol_name())?;
        let will = self
            .will
            .as_ref()
            .map_or(0, |will| WILL_FLAG | (will.qos as u8) << 3 | if will.retain { WILL_RETAIN } else { 0 });
        let flags = will
            | if self.username.is_some() { USER_NAME } else { 0 }
            | if self.password.is_some() { PASSWORD } else { 0 }
            | if self.clean_start { CLEAN_START } else { 0 };
        sink.put(&[self.version.level(), flags])?;
        sink.put(&self.keep_alive.to_be_bytes())?;
        if self.version.is_v5() {
            self.properties.write_block(sink)?;
        }
        put_str(sink, self.client_id)?;
        if let Some(will) = &self.will {
            if self.version.is_v5() {
                will.properties.write_block(sink)?;
            }
            put_str(sink, will.topic.as_str())?;
            put_binary(sink, will.payload)?;
        }
        self.username.map_or(Ok(()), |name| put_str(sink, name))?;
        self.password.map_or(Ok(()), |password| put_binary(sink, password))
    }
}

/// Protocol name and level. A level that is not spoken is answered in the nearest version's form.
fn read_version(body: &mut Reader<'_>) -> Result<Version, DecodeError> {
    let name = body.binary(Field::ProtocolName)?;
    let level = body.u8(Field::ProtocolLevel)?;
    match (name, level) {
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQIsdp", 3) => Ok(Version::V31),
        (b"MQTT" | b"MQIsdp", _) => {
            // Bridges of some brokers set the upper bit; the refusal is what makes them try without.
            let nearest = if name == b"MQTT" && level & 0x7F >= 5 { Version::V5 } else { Version::V311 };
            Err(DecodeError::new(Field::ProtocolLevel, ErrorKind::UnsupportedVersion).in_version(nearest))
        }
        _ => Err(DecodeError::new(Field::ProtocolName, ErrorKind::BadValue)),
    }
}

/// Checks the flags among themselves; says the will's QoS, if there is a will.
fn check_flags(flags: u8, version: Version) -> Result<Option<QoS>, DecodeError> {
    let wrong = DecodeError::new(Field::ConnectFlags, ErrorKind::BadValue);
    let qos = QoS::from_bits(flags >> 3 & 3).ok_or(wrong)?;
    let has_will = flags & WILL_FLAG != 0;
    // Without a will its QoS and retain bits must be 0 [MQTT-3.1.2-11, MQTT-3.1.2-13].
    let stray_will = !has_will && (qos != QoS::AtMostOnce || flags & WILL_RETAIN != 0);
    // A password without user name is legal from MQTT 5 on [3.1.1: MQTT-3.1.2-22].
    let stray_password = !version.is_v5() && flags & USER_NAME == 0 && flags & PASSWORD != 0;
    if flags & RESERVED != 0 || stray_will || stray_password {
        return Err(wrong);
    }
    Ok(has_will.then_some(qos))
}

impl<'a> ConnectProperties<'a> {
    fn read(body: &mut Reader<'a>, limits: &Limits) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        let read = Block::read(body, property::packet_bit(PacketType::Connect), limits, |id, value| {
            let p = &mut properties;
            match id {
                PropertyId::SessionExpiryInterval => p.session_expiry_interval = value.four(),
                PropertyId::ReceiveMaximum => p.receive_maximum = value.two_above_0()?,
                PropertyId::MaximumPacketSize => p.maximum_packet_size = value.four_above_0()?,
                PropertyId::TopicAliasMaximum => p.topic_alias_maximum = value.two(),
                PropertyId::RequestResponseInformation => p.request_response_information = value.flag()?,
                PropertyId::RequestProblemInformation => p.request_problem_information = value.flag()?,
                PropertyId::AuthenticationMethod => p.authentication_method = value.text(),
                PropertyId::AuthenticationData => p.authentication_data = value.binary(),
                _ => {}
            }
            Ok(())
        });
        let limit = properties.maximum_packet_size;
        let block = read.map_err(|error| error.with_max_packet_size(limit))?;
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(property::forbidden().with_max_packet_size(limit));
        }
        properties.user_properties = UserProperties::of(&block);
        Ok(properties)
    }
}

impl WriteProperties for ConnectProperties<'_> {
    fn write<S: Sink>(&self, writer: &mut Writer<'_, S>) -> Result<(), EncodeError> {
        writer.four(PropertyId::SessionExpiryInterval, self.session_expiry_interval)?;
        writer.two(PropertyId::ReceiveMaximum, self.receive_maximum)?;
        writer.four(PropertyId::MaximumPacketSize, self.maximum_packet_size)?;
        writer.two(PropertyId::TopicAliasMaximum, self.topic_alias_maximum)?;
        writer.flag(PropertyId::RequestResponseInformation, self.request_response_information)?;
        writer.flag(PropertyId::RequestProblemInformation, self.request_problem_information)?;
        writer.text(PropertyId::AuthenticationMethod, self.authentication_method)?;
        writer.binary(PropertyId::AuthenticationData, self.authentication_data)?;
        writer.user(&self.user_properties)
    }
}

impl<'a> Will<'a> {
    fn read(
        body: &mut Reader<'a>,
        version: Version,
        qos: QoS,
        retain: bool,
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        let properties =
            if version.is_v5() { WillProperties::read(body, limits)? } else { WillProperties::default() };
        let topic = body.topic_name(Field::WillTopic, ErrorKind::BadTopic)?;
        let payload = body.binary(Field::WillPayload)?;
        Ok(Self { topic, payload, qos, retain, properties })
    }
}

impl<'a> WillProperties<'a> {
    fn read(body: &mut Reader<'a>, limits: &Limits) -> Result<Self, DecodeError> {
        let mut properties = Self::default();
        let block = Block::read(body, property::WILL, limits, |id, value| {
            let p = &mut properties;
            match id {
                PropertyId::WillDelayInterval => p.will_delay_interval = value.four(),
                PropertyId::PayloadFormatIndicator => p.payload_format = payload_format(value.byte())?,
                PropertyId::MessageExpiryInterval => p.message_expiry_interval = value.four(),
                PropertyId::ContentType => p.content_type = value.text(),
                PropertyId::ResponseTopic => p.response_topic = response_topic(value.text())?,
                PropertyId::CorrelationData => p.correlation_data = value.binary(),
                _ => {}
            }
            Ok(())
        })?;
        properties.user_properties = UserProperties::of(&block);
        properties.encoded = block.raw;
        Ok(properties)
    }
}

impl WriteProperties for WillProperties<'_> {
    fn write<S: Sink>(&self, writer: &mut Writer<'_, S>) -> Result<(), EncodeError> {
        writer.four(PropertyId::WillDelayInterval, self.will_delay_interval)?;
        writer.byte(PropertyId::PayloadFormatIndicator, self.payload_format.map(|format| format as u8))?;
        writer.four(PropertyId::MessageExpiryInterval, self.message_expiry_interval)?;
        writer.text(PropertyId::ContentType, self.content_type)?;
        writer.text(PropertyId::ResponseTopic, self.response_topic.map(TopicName::as_str))?;
        writer.binary(PropertyId::CorrelationData, self.correlation_data)?;
        writer.user(&self.user_properties)
    }
}
