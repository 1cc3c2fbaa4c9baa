//! Properties of MQTT 5: one table of number, type, packets and whether they may repeat.

use crate::error::{DecodeError, EncodeError, ErrorKind, Field};
use crate::limits::Limits;
use crate::read::Reader;
use crate::sink::{Measure, Sink, put_binary, put_str, put_varint};
use crate::values::PacketType;

/// Type of a property's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyType {
    /// One byte that is 0 or 1, or a small number.
    Byte,
    /// Two bytes.
    TwoBytes,
    /// Four bytes.
    FourBytes,
    /// Variable Byte Integer.
    Variable,
    /// UTF-8 string.
    Text,
    /// Binary data.
    Binary,
    /// Two UTF-8 strings.
    Pair,
}

const fn bit(packet: PacketType) -> u16 {
    1 << packet as u8
}

/// The properties of a will stand in CONNECT's payload, apart from those of CONNECT.
pub(crate) const WILL: u16 = 1;
const CONNECT: u16 = bit(PacketType::Connect);
const CONNACK: u16 = bit(PacketType::ConnAck);
const PUBLISH: u16 = bit(PacketType::Publish);
const SUBSCRIBE: u16 = bit(PacketType::Subscribe);
const UNSUBSCRIBE: u16 = bit(PacketType::Unsubscribe);
const DISCONNECT: u16 = bit(PacketType::Disconnect);
const AUTH: u16 = bit(PacketType::Auth);
const ACKS: u16 = bit(PacketType::PubAck)
    | bit(PacketType::PubRec)
    | bit(PacketType::PubRel)
    | bit(PacketType::PubComp)
    | bit(PacketType::SubAck)
    | bit(PacketType::UnsubAck);
const ALL: u16 = WILL | CONNECT | CONNACK | PUBLISH | SUBSCRIBE | UNSUBSCRIBE | DISCONNECT | AUTH | ACKS;

macro_rules! properties {
    ($($number:literal $name:ident $text:literal $kind:ident $packets:expr,)*) => {
        /// Property identifier.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum PropertyId { $(#[doc = $text] $name = $number,)* }

        impl PropertyId {
            /// Every property.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// From its number.
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// Its name in the standard.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Type of its value.
            pub const fn value_type(self) -> PropertyType {
                match self { $(Self::$name => PropertyType::$kind,)* }
            }

            const fn packets(self) -> u16 {
                match self { $(Self::$name => $packets,)* }
            }

            /// May this packet carry it?
            pub const fn allowed_in(self, packet: PacketType) -> bool {
                self.packets() & bit(packet) != 0
            }

            /// May a will carry it?
            pub const fn allowed_in_will(self) -> bool {
                self.packets() & WILL != 0
            }
        }
    };
}

properties! {
    0x01 PayloadFormatIndicator "Payload Format Indicator" Byte PUBLISH | WILL,
    0x02 MessageExpiryInterval "Message Expiry Interval" FourBytes PUBLISH | WILL,
    0x03 ContentType "Content Type" Text PUBLISH | WILL,
    0x08 ResponseTopic "Response Topic" Text PUBLISH | WILL,
    0x09 CorrelationData "Correlation Data" Binary PUBLISH | WILL,
    0x0B SubscriptionIdentifier "Subscription Identifier" Variable PUBLISH | SUBSCRIBE,
    0x11 SessionExpiryInterval "Session Expiry Interval" FourBytes CONNECT | CONNACK | DISCONNECT,
    0x12 AssignedClientIdentifier "Assigned Client Identifier" Text CONNACK,
    0x13 ServerKeepAlive "Server Keep Alive" TwoBytes CONNACK,
    0x15 AuthenticationMethod "Authentication Method" Text CONNECT | CONNACK | AUTH,
    0x16 AuthenticationData "Authentication Data" Binary CONNECT | CONNACK | AUTH,
    0x17 RequestProblemInformation "Request Problem Information" Byte CONNECT,
    0x18 WillDelayInterval "Will Delay Interval" FourBytes WILL,
    0x19 RequestResponseInformation "Request Response Information" Byte CONNECT,
    0x1A ResponseInformation "Response Information" Text CONNACK,
    0x1C ServerReference "Server Reference" Text CONNACK | DISCONNECT,
    0x1F ReasonString "Reason String" Text CONNACK | ACKS | DISCONNECT | AUTH,
    0x21 ReceiveMaximum "Receive Maximum" TwoBytes CONNECT | CONNACK,
    0x22 TopicAliasMaximum "Topic Alias Maximum" TwoBytes CONNECT | CONNACK,
    0x23 TopicAlias "Topic Alias" TwoBytes PUBLISH,
    0x24 MaximumQoS "Maximum QoS" Byte CONNACK,
    0x25 RetainAvailable "Retain Available" Byte CONNACK,
    0x26 UserProperty "User Property" Pair ALL,
    0x27 MaximumPacketSize "Maximum Packet Size" FourBytes CONNECT | CONNACK,
    0x28 WildcardSubscriptionAvailable "Wildcard Subscription Available" Byte CONNACK,
    0x29 SubscriptionIdentifierAvailable "Subscription Identifier Available" Byte CONNACK,
    0x2A SharedSubscriptionAvailable "Shared Subscription Available" Byte CONNACK,
}

/// A property's value, read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Byte(u8),
    TwoBytes(u16),
    FourBytes(u32),
    Variable(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    Pair(&'a str, &'a str),
}

impl<'a> Value<'a> {
    fn read(reader: &mut Reader<'a>, id: PropertyId) -> Result<Self, DecodeError> {
        let field = if id == PropertyId::UserProperty { Field::UserProperty } else { Field::Property };
        Ok(match id.value_type() {
            PropertyType::Byte => Self::Byte(reader.u8(field)?),
            PropertyType::TwoBytes => Self::TwoBytes(reader.u16(field)?),
            PropertyType::FourBytes => Self::FourBytes(reader.u32(field)?),
            PropertyType::Variable => Self::Variable(reader.varint(field)?),
            PropertyType::Text => Self::Text(reader.string(field)?),
            PropertyType::Binary => Self::Binary(reader.binary(field)?),
            PropertyType::Pair => Self::Pair(reader.string(field)?, reader.string(field)?),
        })
    }

    pub(crate) fn flag(self) -> Result<Option<bool>, DecodeError> {
        match self {
            Self::Byte(0) => Ok(Some(false)),
            Self::Byte(1) => Ok(Some(true)),
            _ => Err(forbidden()),
        }
    }

    pub(crate) const fn byte(self) -> Option<u8> {
        if let Self::Byte(value) = self { Some(value) } else { None }
    }

    pub(crate) const fn two(self) -> Option<u16> {
        if let Self::TwoBytes(value) = self { Some(value) } else { None }
    }

    pub(crate) fn two_above_0(self) -> Result<Option<u16>, DecodeError> {
        self.two().filter(|value| *value > 0).map(Some).ok_or(forbidden())
    }

    pub(crate) const fn four(self) -> Option<u32> {
        if let Self::FourBytes(value) = self { Some(value) } else { None }
    }

    pub(crate) fn four_above_0(self) -> Result<Option<u32>, DecodeError> {
        self.four().filter(|value| *value > 0).map(Some).ok_or(forbidden())
    }

    pub(crate) const fn text(self) -> Option<&'a str> {
        if let Self::Text(value) = self { Some(value) } else { None }
    }

    pub(crate) const fn binary(self) -> Option<&'a [u8]> {
        if let Self::Binary(value) = self { Some(value) } else { None }
    }
}

pub(crate) const fn forbidden() -> DecodeError {
    DecodeError::new(Field::Property, ErrorKind::Forbidden)
}

/// The properties of a packet, checked against the table.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Block<'a> {
    /// All of them, encoded, without the length.
    pub(crate) raw: &'a [u8],
    pub(crate) has_user: bool,
    pub(crate) has_subscription_id: bool,
}

impl<'a> Block<'a> {
    /// Reads length and properties; `take` gets every one but user properties.
    pub(crate) fn read(
        reader: &mut Reader<'a>,
        packet: u16,
        limits: &Limits,
        mut take: impl FnMut(PropertyId, Value<'a>) -> Result<(), DecodeError>,
    ) -> Result<Self, DecodeError> {
        let len = reader.varint(Field::PropertyLength)?;
        if len == 0 {
            return Ok(Self::default());
        }
        let raw = reader.take(len as usize, Field::PropertyLength)?;
        let mut block = Self { raw, ..Self::default() };
        let (mut seen, mut user_count, mut user_bytes) = (0_u64, 0_u32, 0_usize);
        let mut rest = Reader(raw);
        while !rest.is_empty() {
            let before = rest.0.len();
            let id = read_id(&mut rest)?;
            if id.packets() & packet == 0 {
                return Err(DecodeError::new(Field::Property, ErrorKind::MisplacedProperty));
            }
            let value = Value::read(&mut rest, id)?;
            if id == PropertyId::UserProperty {
                block.has_user = true;
                user_count += 1;
                user_bytes += before - rest.0.len();
                if user_count > u32::from(limits.max_user_properties)
                    || user_bytes > limits.max_user_property_bytes as usize
                {
                    return Err(DecodeError::new(Field::UserProperty, ErrorKind::TooMany));
                }
                continue;
            }
            let mark = 1_u64 << id as u8;
            // A PUBLISH from a server names every subscription that matched.
            let may_repeat = id == PropertyId::SubscriptionIdentifier && packet == PUBLISH;
            if seen & mark != 0 && !may_repeat {
                return Err(DecodeError::new(Field::Property, ErrorKind::RepeatedProperty));
            }
            seen |= mark;
            if id == PropertyId::SubscriptionIdentifier {
                if matches!(value, Value::Variable(0)) {
                    return Err(forbidden());
                }
                block.has_subscription_id = true;
            }
            take(id, value)?;
        }
        Ok(block)
    }
}

fn read_id(reader: &mut Reader<'_>) -> Result<PropertyId, DecodeError> {
    let number = reader.varint(Field::Property)?;
    u8::try_from(number)
        .ok()
        .and_then(PropertyId::from_u8)
        .ok_or(DecodeError::new(Field::Property, ErrorKind::UnknownProperty))
}

/// The bits by which the table names a packet.
pub(crate) const fn packet_bit(packet: PacketType) -> u16 {
    bit(packet)
}

/// Walks over encoded properties: each with its identifier and all its bytes. Ends at the first one that cannot
/// be read, which a decoded packet never holds.
pub fn raw_properties(encoded: &[u8]) -> impl Iterator<Item = (PropertyId, &[u8])> {
    let mut reader = Reader(encoded);
    core::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let before = reader.0;
        let id = read_id(&mut reader).ok()?;
        Value::read(&mut reader, id).ok()?;
        Some((id, before.get(..before.len() - reader.0.len())?))
    })
}

/// Walks over the user properties among encoded properties.
pub(crate) fn user_properties(encoded: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    values(encoded).filter_map(|(_, value)| match value {
        Value::Pair(name, value) => Some((name, value)),
        _ => None,
    })
}

/// Walks over the Subscription Identifiers among encoded properties.
pub(crate) fn subscription_ids(encoded: &[u8]) -> impl Iterator<Item = u32> {
    values(encoded).filter_map(|(_, value)| match value {
        Value::Variable(id) => Some(id),
        _ => None,
    })
}

fn values(encoded: &[u8]) -> impl Iterator<Item = (PropertyId, Value<'_>)> {
    let mut reader = Reader(encoded);
    core::iter::from_fn(move || {
        let id = read_id(&mut reader).ok()?;
        Value::read(&mut reader, id).ok().map(|value| (id, value))
    })
}

/// Writes properties one by one.
pub(crate) struct Writer<'s, S: Sink>(pub(crate) &'s mut S);

impl<S: Sink> Writer<'_, S> {
    fn id(&mut self, id: PropertyId) -> Result<(), EncodeError> {
        self.0.put(&[id as u8])
    }

    pub(crate) fn byte(&mut self, id: PropertyId, value: Option<u8>) -> Result<(), EncodeError> {
        value.map_or(Ok(()), |value| {
            self.id(id)?;
            self.0.put(&[value])
        })
    }

    pub(crate) fn flag(&mut self, id: PropertyId, value: Option<bool>) -> Result<(), EncodeError> {
        self.byte(id, value.map(u8::from))
    }

    pub(crate) fn two(&mut self, id: PropertyId, value: Option<u16>) -> Result<(), EncodeError> {
        value.map_or(Ok(()), |value| {
            self.id(id)?;
            self.0.put(&value.to_be_bytes())
        })
    }

    pub(crate) fn four(&mut self, id: PropertyId, value: Option<u32>) -> Result<(), EncodeError> {
        value.map_or(Ok(()), |value| {
            self.id(id)?;
            self.0.put(&value.to_be_bytes())
        })
    }

    pub(crate) fn variable(&mut self, id: PropertyId, value: u32) -> Result<(), EncodeError> {
        self.id(id)?;
        put_varint(self.0, value)
    }

    pub(crate) fn text(&mut self, id: PropertyId, value: Option<&str>) -> Result<(), EncodeError> {
        value.map_or(Ok(()), |value| {
            self.id(id)?;
            put_str(self.0, value)
        })
    }

    pub(crate) fn binary(&mut self, id: PropertyId, value: Option<&[u8]>) -> Result<(), EncodeError> {
        value.map_or(Ok(()), |value| {
            self.id(id)?;
            put_binary(self.0, value)
        })
    }

    pub(crate) fn user(&mut self, pairs: &crate::lists::UserProperties<'_>) -> Result<(), EncodeError> {
        for (name, value) in pairs.iter() {
            self.id(PropertyId::UserProperty)?;
            put_str(self.0, name)?;
            put_str(self.0, value)?;
        }
        Ok(())
    }
}

/// A set of properties that can be written.
pub(crate) trait WriteProperties {
    fn write<S: Sink>(&self, writer: &mut Writer<'_, S>) -> Result<(), EncodeError>;

    /// Writes the length and then the properties.
    fn write_block<S: Sink>(&self, sink: &mut S) -> Result<(), EncodeError> {
        put_varint(sink, self.len()?)?;
        self.write(&mut Writer(sink))
    }

    fn len(&self) -> Result<u32, EncodeError> {
        let mut measure = Measure::default();
        self.write(&mut Writer(&mut measure))?;
        u32::try_from(measure.0).map_err(|_| EncodeError::TooLarge)
    }
}
