//! Packets on their way, for hooks that want to see them. For these alone the streams of all connections are taken apart
//! a second time; where there is no such hook, each packet costs a branch.

use super::HookChain;
use broker_engine::mqtt_proto::{Limits, Packet, PacketType, Version};
use broker_engine::{ConnId, ListenerId};
use std::collections::BTreeMap;
use std::ops::BitOr;

/// Types of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketTypes(u16);

impl PacketTypes {
    /// Not one.
    pub const NONE: Self = Self(0);
    /// Every type.
    pub const ALL: Self = Self(u16::MAX);

    /// This one.
    pub const fn of(kind: PacketType) -> Self {
        Self(1 << kind as u16)
    }

    /// These, but for others.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Is this type among them?
    pub const fn contains(self, kind: PacketType) -> bool {
        self.0 & Self::of(kind).0 != 0
    }
}

impl BitOr for PacketTypes {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The client has sent it, and the broker has not looked at it yet.
    Read,
    /// It is on its way to the client, whose socket has not taken it yet.
    Sent,
}

/// The streams of all connections.
pub(crate) struct PacketStreams {
    wanted: PacketTypes,
    limits: Limits,
    streams: BTreeMap<ConnId, Stream>,
}

/// That of one.
struct Stream {
    /// Where it came in.
    listener: Option<ListenerId>,
    /// As its CONNECT says.
    version: Version,
    /// The beginning of a packet.
    begun: Vec<u8>,
    /// It cannot be read further; the engine closes the connection for it.
    broken: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self { listener: None, version: Version::V311, begun: Vec::new(), broken: false }
    }
}

impl PacketStreams {
    /// For these hooks; `None` if none of them wants to see any packet.
    pub(crate) fn new(hooks: &HookChain, max_packet_size: u32) -> Option<Self> {
        let wanted = hooks.packets();
        let limits = Limits { max_packet_size, ..Limits::NONE };
        (wanted != PacketTypes::NONE).then(|| Self { wanted, limits, streams: BTreeMap::new() })
    }

    /// Bytes have come from a client.
    pub(crate) fn read(
        &mut self,
        conn: ConnId,
        from: Option<ListenerId>,
        data: &[u8],
        hooks: &mut HookChain,
    ) {
        let Stream { listener, version, begun, broken } = self.streams.entry(conn).or_default();
        *listener = from;
        if *broken {
            return;
        }
        begun.extend_from_slice(data);
        let mut rest = &begun[..];
        loop {
            match Packet::parse(rest, *version, &self.limits) {
                Ok(Some((packet, length))) => {
                    if let Packet::Connect(connect) = &packet {
                        *version = connect.version;
                    }
                    if self.wanted.contains(packet.packet_type()) {
                        hooks.packet(conn, *listener, Direction::Read, &packet);
                    }
                    rest = rest.get(length..).unwrap_or_default();
                }
                Ok(None) => break,
                Err(_) => {
                    *broken = true;
                    rest = &[];
                    break;
                }
            }
        }
        // Most have nothing begun, and need no room for it.
        *begun = rest.to_vec();
    }

    /// A packet goes to a client; `patch` makes its own of what many get.
    pub(crate) fn sent(
        &self,
        conn: ConnId,
        head: &[u8],
        payload: &[u8],
        patch: impl FnOnce(&mut [u8]),
        hooks: &mut HookChain,
    ) {
        let kind = head.first().and_then(|first| PacketType::from_bits(first >> 4));
        if !kind.is_some_and(|kind| self.wanted.contains(kind)) {
            return;
        }
        let mut bytes = [head, payload].concat();
        patch(&mut bytes);
        let stream = self.streams.get(&conn);
        let version = stream.map_or(Version::V311, |stream| stream.version);
        let listener = stream.and_then(|stream| stream.listener);
        if let Ok(Some((packet, _))) = Packet::parse(&bytes, version, &Limits::NONE) {
            hooks.packet(conn, listener, Direction::Sent, &packet);
        }
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        self.streams.remove(&conn);
    }
}

#[cfg(test)]
mod tests {
    use super::PacketTypes;
    use broker_engine::mqtt_proto::PacketType;

    #[test]
    fn types_are_a_set() {
        let two = PacketTypes::of(PacketType::Connect) | PacketTypes::of(PacketType::Auth);
        for bits in 1..=15 {
            let kind = PacketType::from_bits(bits).unwrap();
            let wanted = matches!(kind, PacketType::Connect | PacketType::Auth);
            assert_eq!(two.contains(kind), wanted, "{kind:?}");
            assert_eq!(PacketTypes::ALL.without(two).contains(kind), !wanted, "{kind:?}");
            assert!(!PacketTypes::NONE.contains(kind));
        }
    }
}
