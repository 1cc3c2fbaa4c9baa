//! The packets in the bytes of many connections, for a trace.

use crate::trace::render;
use broker_engine::ConnId;
use mqtt_proto::{Limits, Packet, Version};
use std::collections::HashMap;

/// What is known of each connection.
#[derive(Debug, Default)]
pub(super) struct Packets(HashMap<ConnId, Stream>);

#[derive(Debug)]
struct Stream {
    version: Version,
    /// The beginning of a packet.
    begun: Vec<u8>,
}

impl Packets {
    /// The packets that are complete with these bytes. `known`: what the engine knows of the connection.
    pub(super) fn received(
        &mut self,
        conn: ConnId,
        known: Option<(Version, &[u8])>,
        data: &[u8],
    ) -> Vec<String> {
        let stream = self.0.entry(conn).or_insert_with(|| {
            let (version, waiting) = known.unwrap_or((Version::V5, &[]));
            Stream { version, begun: waiting.to_vec() }
        });
        stream.begun.extend_from_slice(data);
        let mut packets = Vec::new();
        let mut used = 0;
        loop {
            match Packet::parse(&stream.begun[used..], stream.version, &Limits::NONE) {
                Ok(Some((packet, len))) => {
                    if let Packet::Connect(connect) = &packet {
                        stream.version = connect.version;
                    }
                    packets.push(render(&packet));
                    used += len;
                }
                Ok(None) => break,
                Err(error) => {
                    packets.push(format!("{} bytes: {error}", stream.begun.len() - used));
                    used = stream.begun.len();
                    break;
                }
            }
        }
        stream.begun.drain(..used);
        packets
    }

    /// One packet that the engine sent.
    pub(super) fn sent(&self, conn: ConnId, version: Option<Version>, bytes: &[u8]) -> String {
        let known = self.0.get(&conn).map(|stream| stream.version);
        match Packet::parse(bytes, known.or(version).unwrap_or(Version::V5), &Limits::NONE) {
            Ok(Some((packet, _))) => render(&packet),
            _ => format!("{} bytes", bytes.len()),
        }
    }
}

/// A connection in a trace.
pub(super) fn name(conn: ConnId) -> String {
    format!("c{}.{}", conn.slot(), conn.generation())
}
