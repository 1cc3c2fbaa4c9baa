//! Secrets overwritten in a stream of packets, for recordings and logs that other people read.

use crate::property::{PropertyId, PropertyType};
use crate::values::{PacketType, Version};

/// What stands in place of a secret, as often as it has bytes.
pub const FILLER: u8 = b'*';

/// Overwrites passwords, authentication data and, where wanted, payloads in the packets of one connection, in any
/// split. Lengths stay, so that what is left decodes as before.
///
/// In doubt it overwrites: bytes of a CONNECT, CONNACK or AUTH that it cannot tell are taken for secret.
///
/// ```
/// let mut connect = *b"\x10\x15\x00\x04MQTT\x05\x42\x00\x00\x00\x00\x00\x00\x06secret";
/// let mut mask = mqtt_proto::Mask::new(false);
/// for piece in connect.chunks_mut(5) {
///     mask.apply(piece);
/// }
/// assert!(connect.ends_with(b"\x00\x06******"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    payloads: bool,
    version: Version,
    /// First byte of the packet.
    first: u8,
    connect_flags: u8,
    /// Bytes of the packet that are still to come.
    left: u32,
    /// Bytes of its properties that are still to come.
    properties_left: u32,
    /// Fields that were begun.
    fields: u8,
    /// The second half of a User Property follows.
    pair: bool,
    at: At,
}

/// What the next byte is part of.
#[derive(Clone, Copy, Debug)]
enum At {
    FirstByte,
    PacketLength {
        value: u32,
        shift: u8,
    },
    Level,
    ConnectFlags,
    PropertiesLength {
        value: u32,
        shift: u8,
    },
    Property,
    /// A Variable Byte Integer that nobody needs to know.
    Variable,
    /// Two bytes of length before text or binary data.
    Length {
        high: Option<u8>,
        secret: bool,
    },
    Bytes {
        left: u32,
        secret: bool,
    },
}

impl Mask {
    /// At the beginning of a connection. `payloads`: overwrite those of PUBLISH packets and wills too.
    pub fn new(payloads: bool) -> Self {
        Self::between_packets(Version::V311, payloads)
    }

    /// Between two packets of a connection whose version is known.
    pub fn between_packets(version: Version, payloads: bool) -> Self {
        Self {
            payloads,
            version,
            first: 0,
            connect_flags: 0,
            left: 0,
            properties_left: 0,
            fields: 0,
            pair: false,
            at: At::FirstByte,
        }
    }

    /// Overwrites the secrets in the next bytes of the connection.
    pub fn apply(&mut self, mut bytes: &mut [u8]) {
        while let Some(first) = bytes.first_mut() {
            let taken = if let At::Bytes { left, secret } = self.at {
                let count = bytes.len().min(left as usize);
                let (run, _) = bytes.split_at_mut(count);
                if secret {
                    run.fill(FILLER);
                }
                self.take_run(left, count, secret);
                count
            } else {
                self.take(*first);
                1
            };
            bytes = bytes.get_mut(taken..).unwrap_or_default();
        }
    }

    /// `count` of `left` bytes of one field.
    fn take_run(&mut self, left: u32, count: usize, secret: bool) {
        let count = u32::try_from(count).unwrap_or(left);
        self.consume(count);
        let left = left - count;
        self.go_on(if left > 0 { Some(At::Bytes { left, secret }) } else { None });
    }

    fn consume(&mut self, count: u32) {
        self.left = self.left.saturating_sub(count);
        self.properties_left = self.properties_left.saturating_sub(count);
    }

    /// One byte that says something about the bytes behind it.
    fn take(&mut self, byte: u8) {
        let low = u32::from(byte & 0x7f);
        match self.at {
            At::FirstByte => {
                (self.first, self.fields, self.connect_flags) = (byte, 0, 0);
                (self.properties_left, self.pair) = (0, false);
                self.at = At::PacketLength { value: 0, shift: 0 };
                return;
            }
            At::PacketLength { value, shift } => {
                let value = value | low << shift;
                if byte & 0x80 != 0 && shift < 21 {
                    self.at = At::PacketLength { value, shift: shift + 7 };
                    return;
                }
                self.left = value;
                return self.go_on(None);
            }
            _ => self.consume(1),
        }
        let next = match self.at {
            At::Level => {
                self.version = if byte == Version::V5.level() { Version::V5 } else { Version::V311 };
                None
            }
            At::ConnectFlags => {
                self.connect_flags = byte;
                None
            }
            At::PropertiesLength { value, shift } => {
                let value = value | low << shift;
                if byte & 0x80 != 0 && shift < 21 {
                    Some(At::PropertiesLength { value, shift: shift + 7 })
                } else {
                    self.properties_left = value;
                    None
                }
            }
            At::Property => Some(self.property(byte)),
            At::Variable => (byte & 0x80 != 0).then_some(At::Variable),
            At::Length { high: None, secret } => Some(At::Length { high: Some(byte), secret }),
            At::Length { high: Some(high), secret } => {
                Some(At::Bytes { left: u32::from(u16::from_be_bytes([high, byte])), secret })
            }
            At::FirstByte | At::PacketLength { .. } | At::Bytes { .. } => None,
        };
        self.go_on(next);
    }

    fn property(&mut self, number: u8) -> At {
        let Some(id) = PropertyId::from_u8(number) else {
            return At::Bytes { left: self.left, secret: true };
        };
        match id.value_type() {
            PropertyType::Byte => At::Bytes { left: 1, secret: false },
            PropertyType::TwoBytes => At::Bytes { left: 2, secret: false },
            PropertyType::FourBytes => At::Bytes { left: 4, secret: false },
            PropertyType::Variable => At::Variable,
            PropertyType::Text | PropertyType::Binary => {
                At::Length { high: None, secret: id == PropertyId::AuthenticationData }
            }
            PropertyType::Pair => {
                self.pair = true;
                At::Length { high: None, secret: false }
            }
        }
    }

    /// Goes on with `next`, or with whatever follows it in the packet.
    fn go_on(&mut self, next: Option<At>) {
        self.at = match next {
            _ if self.left == 0 => At::FirstByte,
            Some(At::Bytes { left: 0, .. }) | None => self.following(),
            Some(next) => next,
        };
        // A length that does not fit into the packet ends with it.
        if let At::Bytes { left, .. } = &mut self.at {
            *left = (*left).min(self.left);
        }
    }

    fn following(&mut self) -> At {
        if core::mem::take(&mut self.pair) {
            return At::Length { high: None, secret: false };
        }
        if self.properties_left > 0 {
            return At::Property;
        }
        loop {
            let field = self.fields;
            self.fields = field.saturating_add(1);
            if let Some(at) = self.field(field) {
                return at;
            }
        }
    }

    /// The field of this number, if this packet has it.
    fn field(&self, field: u8) -> Option<At> {
        use PacketType::{Auth, ConnAck, Connect, Publish};
        let flag = |mask: u8| self.connect_flags & mask != 0;
        let text = |secret| At::Length { high: None, secret };
        let skip = |left| At::Bytes { left, secret: false };
        let properties = || self.version.is_v5().then_some(At::PropertiesLength { value: 0, shift: 0 });
        let Some(packet) = PacketType::from_bits(self.first >> 4) else { return Some(skip(self.left)) };
        match (packet, field) {
            // Protocol name and client identifier; the topic.
            (Connect, 0 | 5) | (Publish, 0) => Some(text(false)),
            (Connect, 1) => Some(At::Level),
            (Connect, 2) => Some(At::ConnectFlags),
            // Keep Alive; flags and reason code.
            (Connect, 3) | (ConnAck, 0) => Some(skip(2)),
            (Connect, 4) | (ConnAck | Auth, 1) | (Publish, 2) => properties(),
            (Connect, 6) => properties().filter(|_| flag(0x04)),
            (Connect, 7) => flag(0x04).then_some(text(false)),
            (Connect, 8) => flag(0x04).then_some(text(self.payloads)),
            (Connect, 9) => flag(0x80).then_some(text(false)),
            (Connect, 10) => flag(0x40).then_some(text(true)),
            (Auth, 0) => Some(skip(1)),
            (Publish, 1) => (self.first & 0x06 != 0).then_some(skip(2)),
            (Publish, _) => Some(At::Bytes { left: self.left, secret: self.payloads }),
            // What nobody can tell.
            (Connect | ConnAck | Auth, _) => Some(At::Bytes { left: self.left, secret: true }),
            _ => Some(skip(self.left)),
        }
    }
}
