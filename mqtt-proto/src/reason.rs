//! Reason codes: one table of number, name and the packets that may carry them.

use crate::values::PacketType;

/// Bits of the packets that may carry a code.
const fn bit(packet: PacketType) -> u16 {
    1 << packet as u8
}

const CONNACK: u16 = bit(PacketType::ConnAck);
const PUBACK: u16 = bit(PacketType::PubAck) | bit(PacketType::PubRec);
const PUBREL: u16 = bit(PacketType::PubRel) | bit(PacketType::PubComp);
const SUBACK: u16 = bit(PacketType::SubAck);
const UNSUBACK: u16 = bit(PacketType::UnsubAck);
const DISCONNECT: u16 = bit(PacketType::Disconnect);
const AUTH: u16 = bit(PacketType::Auth);

macro_rules! reason_codes {
    ($($number:literal $name:ident $text:literal $packets:expr,)*) => {
        /// Reason code of MQTT 5; 0x80 and above are failures.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[repr(u8)]
        pub enum ReasonCode { $(#[doc = $text] $name = $number,)* }

        impl ReasonCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// From its number.
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// Its name in the standard.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// May this packet carry it? DISCONNECT: in either direction.
            pub const fn allowed_in(self, packet: PacketType) -> bool {
                let packets: u16 = match self { $(Self::$name => $packets,)* };
                packets & bit(packet) != 0
            }
        }
    };
}

reason_codes! {
    0x00 Success "Success" CONNACK | PUBACK | PUBREL | SUBACK | UNSUBACK | DISCONNECT | AUTH,
    0x01 GrantedQoS1 "Granted QoS 1" SUBACK,
    0x02 GrantedQoS2 "Granted QoS 2" SUBACK,
    0x04 DisconnectWithWill "Disconnect with Will Message" DISCONNECT,
    0x10 NoMatchingSubscribers "No matching subscribers" PUBACK,
    0x11 NoSubscriptionExisted "No subscription existed" UNSUBACK,
    0x18 ContinueAuthentication "Continue authentication" AUTH,
    0x19 ReAuthenticate "Re-authenticate" AUTH,
    0x80 UnspecifiedError "Unspecified error" CONNACK | PUBACK | SUBACK | UNSUBACK | DISCONNECT,
    0x81 MalformedPacket "Malformed Packet" CONNACK | DISCONNECT,
    0x82 ProtocolError "Protocol Error" CONNACK | DISCONNECT,
    0x83 ImplementationSpecificError "Implementation specific error" CONNACK | PUBACK | SUBACK | UNSUBACK | DISCONNECT,
    0x84 UnsupportedProtocolVersion "Unsupported Protocol Version" CONNACK,
    0x85 ClientIdNotValid "Client Identifier not valid" CONNACK,
    0x86 BadUserNameOrPassword "Bad User Name or Password" CONNACK,
    0x87 NotAuthorized "Not authorized" CONNACK | PUBACK | SUBACK | UNSUBACK | DISCONNECT,
    0x88 ServerUnavailable "Server unavailable" CONNACK,
    0x89 ServerBusy "Server busy" CONNACK | DISCONNECT,
    0x8A Banned "Banned" CONNACK,
    0x8B ServerShuttingDown "Server shutting down" DISCONNECT,
    0x8C BadAuthenticationMethod "Bad authentication method" CONNACK | DISCONNECT,
    0x8D KeepAliveTimeout "Keep Alive timeout" DISCONNECT,
    0x8E SessionTakenOver "Session taken over" DISCONNECT,
    0x8F TopicFilterInvalid "Topic Filter invalid" SUBACK | UNSUBACK | DISCONNECT,
    0x90 TopicNameInvalid "Topic Name invalid" CONNACK | PUBACK | DISCONNECT,
    0x91 PacketIdInUse "Packet Identifier in use" PUBACK | SUBACK | UNSUBACK,
    0x92 PacketIdNotFound "Packet Identifier not found" PUBREL,
    0x93 ReceiveMaximumExceeded "Receive Maximum exceeded" DISCONNECT,
    0x94 TopicAliasInvalid "Topic Alias invalid" DISCONNECT,
    0x95 PacketTooLarge "Packet too large" CONNACK | DISCONNECT,
    0x96 MessageRateTooHigh "Message rate too high" DISCONNECT,
    0x97 QuotaExceeded "Quota exceeded" CONNACK | PUBACK | SUBACK | DISCONNECT,
    0x98 AdministrativeAction "Administrative action" DISCONNECT,
    0x99 PayloadFormatInvalid "Payload format invalid" CONNACK | PUBACK | DISCONNECT,
    0x9A RetainNotSupported "Retain not supported" CONNACK | DISCONNECT,
    0x9B QoSNotSupported "QoS not supported" CONNACK | DISCONNECT,
    0x9C UseAnotherServer "Use another server" CONNACK | DISCONNECT,
    0x9D ServerMoved "Server moved" CONNACK | DISCONNECT,
    0x9E SharedSubscriptionsNotSupported "Shared Subscriptions not supported" SUBACK | DISCONNECT,
    0x9F ConnectionRateExceeded "Connection rate exceeded" CONNACK | DISCONNECT,
    0xA0 MaximumConnectTime "Maximum connect time" DISCONNECT,
    0xA1 SubscriptionIdsNotSupported "Subscription Identifiers not supported" SUBACK | DISCONNECT,
    0xA2 WildcardSubscriptionsNotSupported "Wildcard Subscriptions not supported" SUBACK | DISCONNECT,
}

impl ReasonCode {
    /// Is it a failure?
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The return code that CONNACK of MQTT 3.1 and 3.1.1 has for it; the nearest one where it has none.
    pub const fn connack_v3(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdNotValid => 2,
            Self::BadUserNameOrPassword => 4,
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => 5,
            _ => 3,
        }
    }

    /// From the return code of a 3.x CONNACK.
    pub const fn from_connack_v3(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}
