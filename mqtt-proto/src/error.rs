//! What can be wrong with bytes, and with packets to be encoded.

use crate::reason::ReasonCode;
use crate::values::{PacketType, Version};
use core::fmt;

/// The part of a packet that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // Each says in its name what `name()` says in the standard's words.
pub enum Field {
    FixedHeader,
    RemainingLength,
    ProtocolName,
    ProtocolLevel,
    ConnectFlags,
    KeepAlive,
    ClientId,
    WillTopic,
    WillPayload,
    UserName,
    Password,
    PacketId,
    TopicName,
    TopicFilter,
    SubscriptionOptions,
    ReasonCode,
    AcknowledgeFlags,
    PropertyLength,
    Property,
    UserProperty,
    Payload,
    Body,
}

impl Field {
    /// Its name in the standard.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FixedHeader => "Fixed Header",
            Self::RemainingLength => "Remaining Length",
            Self::ProtocolName => "Protocol Name",
            Self::ProtocolLevel => "Protocol Version",
            Self::ConnectFlags => "Connect Flags",
            Self::KeepAlive => "Keep Alive",
            Self::ClientId => "Client Identifier",
            Self::WillTopic => "Will Topic",
            Self::WillPayload => "Will Payload",
            Self::UserName => "User Name",
            Self::Password => "Password",
            Self::PacketId => "Packet Identifier",
            Self::TopicName => "Topic Name",
            Self::TopicFilter => "Topic Filter",
            Self::SubscriptionOptions => "Subscription Options",
            Self::ReasonCode => "Reason Code",
            Self::AcknowledgeFlags => "Connect Acknowledge Flags",
            Self::PropertyLength => "Property Length",
            Self::Property => "Property",
            Self::UserProperty => "User Property",
            Self::Payload => "Payload",
            Self::Body => "packet body",
        }
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The packet ends before the field does.
    Truncated,
    /// Bytes are left over behind the last field.
    TrailingBytes,
    /// Not well-formed UTF-8, or with the null character [MQTT-1.5.4-1, MQTT-1.5.4-2].
    NotUtf8,
    /// A Variable Byte Integer of more than four bytes, or longer than need be [MQTT-1.5.5-1].
    BadVariableByteInteger,
    /// Reserved bits are set, or a value is outside its range.
    BadValue,
    /// No packet has this type.
    BadPacketType,
    /// A property that is not known.
    UnknownProperty,
    /// A property that does not belong into this packet.
    MisplacedProperty,
    /// A property that may stand only once.
    RepeatedProperty,
    /// A value that is read, but that the standard calls a Protocol Error.
    Forbidden,
    /// A topic that may not be used here.
    BadTopic,
    /// A Topic Alias of 0.
    BadTopicAlias,
    /// A protocol version that is not spoken.
    UnsupportedVersion,
    /// A client identifier above the limit.
    TooLong,
    /// More user properties, or bytes of them, than the limit.
    TooMany,
    /// A packet above the limit.
    TooLarge,
    /// A packet type that this protocol version does not have.
    NotInThisVersion,
}

impl ErrorKind {
    const fn text(self) -> &'static str {
        match self {
            Self::Truncated => "ends too early",
            Self::TrailingBytes => "is followed by bytes that do not belong there",
            Self::NotUtf8 => "is not valid UTF-8",
            Self::BadVariableByteInteger => "is not a valid Variable Byte Integer",
            Self::BadValue => "has a value or bits that are not allowed",
            Self::BadPacketType => "has a reserved packet type",
            Self::UnknownProperty => "is not known",
            Self::MisplacedProperty => "does not belong into this packet",
            Self::RepeatedProperty => "stands more than once",
            Self::Forbidden => "is a protocol error here",
            Self::BadTopic => "is not allowed as a topic here",
            Self::BadTopicAlias => "is a topic alias of 0",
            Self::UnsupportedVersion => "is not supported",
            Self::TooLong => "is longer than allowed",
            Self::TooMany => "is more than allowed",
            Self::TooLarge => "exceeds the maximum packet size",
            Self::NotInThisVersion => "does not exist in this protocol version",
        }
    }
}

/// Why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Type of the packet, where the first byte told it.
    pub packet: Option<PacketType>,
    /// Which part.
    pub field: Field,
    /// What about it.
    pub kind: ErrorKind,
    version: Option<Version>,
    max_packet_size: Option<u32>,
}

impl DecodeError {
    pub(crate) const fn new(field: Field, kind: ErrorKind) -> Self {
        Self { packet: None, field, kind, version: None, max_packet_size: None }
    }

    pub(crate) const fn in_packet(mut self, packet: PacketType) -> Self {
        self.packet = Some(packet);
        self
    }

    pub(crate) const fn in_version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    pub(crate) const fn with_max_packet_size(mut self, limit: Option<u32>) -> Self {
        self.max_packet_size = limit;
        self
    }

    /// The error of a packet that was to be CONNECT and is not.
    pub const fn not_connect() -> Self {
        Self::new(Field::FixedHeader, ErrorKind::Forbidden)
    }

    /// The reason code to answer with.
    pub const fn reason(&self) -> ReasonCode {
        match (self.kind, self.field) {
            (ErrorKind::UnsupportedVersion, _) => ReasonCode::UnsupportedProtocolVersion,
            (ErrorKind::TooLong, _) => ReasonCode::ClientIdNotValid,
            (ErrorKind::TooMany, _) => ReasonCode::QuotaExceeded,
            (ErrorKind::TooLarge, _) => ReasonCode::PacketTooLarge,
            (ErrorKind::BadTopic, _) => ReasonCode::TopicNameInvalid,
            (ErrorKind::BadTopicAlias, _) => ReasonCode::TopicAliasInvalid,
            (ErrorKind::RepeatedProperty | ErrorKind::Forbidden | ErrorKind::NotInThisVersion, _) => {
                ReasonCode::ProtocolError
            }
            _ => ReasonCode::MalformedPacket,
        }
    }

    /// For CONNECT: the version that the client speaks, where it could be read, so that it can be refused in it.
    /// Clients of unknown versions are answered in the nearest one.
    pub const fn connect_version(&self) -> Option<Version> {
        self.version
    }

    /// For CONNECT: the client's Maximum Packet Size, where it could be read. The refusal must keep to it.
    pub const fn connect_max_packet_size(&self) -> Option<u32> {
        self.max_packet_size
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packet = self.packet.map_or("packet", PacketType::name);
        write!(f, "{packet}: {} {}", self.field.name(), self.kind.text())
    }
}

impl core::error::Error for DecodeError {}

/// Why a packet cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The sink has no room.
    BufferFull,
    /// A string or binary value is longer than 65,535 bytes, or the packet longer than 268,435,455.
    TooLarge,
    /// The packet does not exist in this protocol version.
    NotInThisVersion,
    /// QoS above 0 without packet identifier, or the other way round.
    PacketId,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BufferFull => "the buffer is full",
            Self::TooLarge => "a value is larger than MQTT can carry",
            Self::NotInThisVersion => "the packet does not exist in this protocol version",
            Self::PacketId => "QoS above 0 and a packet identifier go together",
        })
    }
}

impl core::error::Error for EncodeError {}
