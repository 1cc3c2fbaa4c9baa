//! A sum over what the engine said, lane by lane, so that it does not matter how calls share an outbox.

use broker_engine::mqtt_proto::PacketType;
use broker_engine::{Frame, Outbox, Wire};
use siphasher::sip::SipHasher13;
use std::hash::{Hash, Hasher};

/// Sums outputs. Secrets do not count, only their length: a recording that has them overwritten gives the same sum.
#[derive(Clone, Debug)]
pub struct Digest {
    payloads_masked: bool,
    wire: SipHasher13,
    calls: SipHasher13,
    stores: SipHasher13,
}

impl Digest {
    /// Of nothing. `payloads_masked`: payloads are secrets too.
    pub fn new(payloads_masked: bool) -> Self {
        let empty = SipHasher13::new();
        Self { payloads_masked, wire: empty, calls: empty, stores: empty }
    }

    /// Adds everything that is in an outbox.
    pub fn add(&mut self, out: &Outbox) {
        for wire in &out.wire {
            std::mem::discriminant(wire).hash(&mut self.wire);
            match wire {
                Wire::Send { conn, frame } => {
                    conn.hash(&mut self.wire);
                    self.frame(out, frame);
                }
                Wire::Fanout { frame, packet_id_at, targets } => {
                    packet_id_at.hash(&mut self.wire);
                    self.frame(out, frame);
                    for target in out.targets(targets) {
                        (target.conn, target.packet_id).hash(&mut self.wire);
                    }
                }
                Wire::Flow { conn, flow } => (conn, *flow as u8).hash(&mut self.wire),
                Wire::Close { conn } => conn.hash(&mut self.wire),
                _ => {}
            }
        }
        // What is asked may be a secret; that it is asked is none.
        out.calls.iter().for_each(|call| call.id.hash(&mut self.calls));
        out.stores.iter().for_each(|(seq, _)| seq.hash(&mut self.stores));
    }

    fn frame(&mut self, out: &Outbox, frame: &Frame) {
        let head = out.head(frame);
        let packet = head.first().and_then(|first| PacketType::from_bits(first >> 4));
        let secret = match packet {
            Some(PacketType::ConnAck | PacketType::Auth) => true,
            Some(PacketType::Publish) => self.payloads_masked,
            _ => false,
        };
        (packet.map(|packet| packet as u8), frame.len()).hash(&mut self.wire);
        if !secret {
            self.wire.write(head);
            self.wire.write(&frame.payload);
        }
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.wire.finish() ^ self.calls.finish().rotate_left(21) ^ self.stores.finish().rotate_left(42)
    }
}
