//! Small values that appear in many packets.

use core::num::NonZeroU16;

/// Protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Version {
    /// MQTT 3.1, "MQIsdp", level 3.
    V31,
    /// MQTT 3.1.1, level 4.
    V311,
    /// MQTT 5.0, level 5.
    V5,
}

impl Version {
    /// Protocol level as CONNECT carries it.
    pub const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// As people write it: `5.0`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }

    /// Protocol name as CONNECT carries it.
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    /// Is it MQTT 5?
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }
}

/// Quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
pub enum QoS {
    /// 0: at most once.
    #[default]
    AtMostOnce = 0,
    /// 1: at least once.
    AtLeastOnce = 1,
    /// 2: exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// From its two bits; 3 is no QoS.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A packet identifier, never 0 [MQTT-2.2.1-3].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The first identifier.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// An identifier; `None` for 0.
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

/// Payload Format Indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
pub enum PayloadFormat {
    /// Unspecified bytes.
    Bytes = 0,
    /// UTF-8 text.
    Utf8 = 1,
}

macro_rules! packet_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal,)*) => {
        /// Control packet type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[repr(u8)]
        pub enum PacketType { $($(#[$doc])* $name = $number,)* }

        impl PacketType {
            /// From the upper four bits of the first byte; 0 is forbidden.
            pub const fn from_bits(bits: u8) -> Option<Self> {
                match bits { $($number => Some(Self::$name),)* _ => None }
            }

            /// Its name in the standard.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

packet_types! {
    /// Connection request.
    Connect = 1 "CONNECT",
    /// Connect acknowledgement.
    ConnAck = 2 "CONNACK",
    /// Message.
    Publish = 3 "PUBLISH",
    /// QoS 1 acknowledgement.
    PubAck = 4 "PUBACK",
    /// QoS 2 received.
    PubRec = 5 "PUBREC",
    /// QoS 2 release.
    PubRel = 6 "PUBREL",
    /// QoS 2 complete.
    PubComp = 7 "PUBCOMP",
    /// Subscribe request.
    Subscribe = 8 "SUBSCRIBE",
    /// Subscribe acknowledgement.
    SubAck = 9 "SUBACK",
    /// Unsubscribe request.
    Unsubscribe = 10 "UNSUBSCRIBE",
    /// Unsubscribe acknowledgement.
    UnsubAck = 11 "UNSUBACK",
    /// Ping request.
    PingReq = 12 "PINGREQ",
    /// Ping response.
    PingResp = 13 "PINGRESP",
    /// Disconnect notification.
    Disconnect = 14 "DISCONNECT",
    /// Authentication exchange.
    Auth = 15 "AUTH",
}
