//! Bytes in any split become whole packets. Work is linear in the bytes, also when they come one at a time.

use super::{About, Connection, Farewell, Parked, Phase, Reading};
use crate::collections::make_room;
use crate::engine::Engine;
use crate::hooks::Answer;
use crate::ids::{ConnId, ListenerId};
use crate::outbox::{Flow, Outbox, Wire};
use alloc::boxed::Box;
use core::net::SocketAddr;
use mqtt_proto::{DecodeError, FixedHeader, Packet, PacketType, ReasonCode, planted};

/// Bytes that may wait behind a parked packet before the client's reads are paused.
const PARKED_BYTES: usize = 16 << 10;

/// Unused bytes that an input buffer may keep once a large packet is out of it.
const KEPT_SLACK: usize = 4 << 10;

/// What handling a packet did to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Go on with the next packet.
    Continue,
    /// The packet waits; so do those behind it.
    Parked,
    /// The connection is gone.
    Closed,
}

impl Engine {
    pub(crate) fn opened(
        &mut self,
        id: ConnId,
        listener: ListenerId,
        peer: Option<SocketAddr>,
        out: &mut Outbox,
    ) {
        if self.connections.len() <= id.slot() {
            make_room(&mut self.connections);
            self.connections.resize_with(id.slot() + 1, || None);
        }
        let now = self.now;
        let Some(place) = self.connections.get_mut(id.slot()) else { return };
        if place.is_some() {
            self.counters.host_misuse += 1;
            return;
        }
        *place = Some(Connection::new(id, listener, peer, now));
        if self.shutting_down {
            self.close(id, Farewell::shutting_down(), out);
            return;
        }
        self.arm_connection(id);
    }

    pub(crate) fn received(&mut self, id: ConnId, data: &[u8], out: &mut Outbox) {
        self.hear_waiting(id);
        let Some(conn) = self.conn_mut(id) else {
            self.counters.stale_inputs += 1;
            return;
        };
        let parked = conn.parked.is_some();
        if parked || !conn.input.is_empty() {
            conn.input.extend_from_slice(data);
            let (waiting, need) = (conn.input.len(), conn.need);
            self.counters.bytes_received += data.len() as u64;
            self.count_connection(id);
            if parked {
                if waiting > PARKED_BYTES {
                    self.set_paused(id, true, out);
                }
            } else if waiting >= need {
                self.resume_input(id, out);
                self.hear_waiting(id);
            }
            return;
        }
        self.counters.bytes_received += data.len() as u64;
        let used = self.process(id, data, out);
        if let (Some(rest), Some(conn)) = (data.get(used..), self.conn_mut(id))
            && !rest.is_empty()
        {
            conn.input.extend_from_slice(rest);
            self.count_connection(id);
        }
        self.hear_waiting(id);
    }

    /// It is not the client who is silent when its packets wait.
    fn hear_waiting(&mut self, id: ConnId) {
        let now = self.now;
        if let Some(conn) = self.conn_mut(id).filter(|conn| conn.parked.is_some() && conn.session().is_some())
        {
            conn.last_seen = now;
        }
    }

    /// Handles what has waited in the connection's input buffer.
    pub(crate) fn resume_input(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(conn) = self.conn_mut(id) else { return };
        if conn.parked.is_some() {
            return;
        }
        if !self.undecided.is_empty() {
            // What was decided meanwhile comes before what follows it.
            self.carry_out_decided(id, out);
        }
        let Some(conn) = self.conn_mut(id).filter(|conn| conn.parked.is_none()) else { return };
        let mut input = core::mem::take(&mut conn.input);
        let used = self.process(id, &input, out);
        if let Some(conn) = self.conn_mut(id) {
            if used < input.len() {
                input.drain(..used);
                if input.capacity() > KEPT_SLACK + 2 * input.len() {
                    input.shrink_to_fit();
                }
                conn.input = input;
            }
            // Also with nothing to handle: reads may have been paused for another reason that has passed.
            if conn.parked.is_none() && !conn.egress.congested {
                self.set_paused(id, false, out);
            }
            self.count_connection(id);
        }
    }

    /// Handles what has waited in the input buffer of a connection that is about to end: what its client said
    /// before then counts, a DISCONNECT that cancels its will above all.
    ///
    /// What it waits for does not hold it up any more: a fan-out goes on without it, so do PUBLISH packets that hooks are
    /// asked about, and a SUBSCRIBE that a hook still thinks about is refused, as the answers behind its SUBACK must not
    /// leave without it.
    pub(crate) fn hear_out(&mut self, id: ConnId, out: &mut Outbox) {
        self.last_words = true;
        self.hear_all(id, out);
        self.last_words = false;
    }

    fn hear_all(&mut self, id: ConnId, out: &mut Outbox) {
        while let Some(conn) = self.conn_mut(id)
            && conn.session().is_some()
            && !conn.input.is_empty()
        {
            match conn.parked.as_deref() {
                // What is left is no whole packet, or nobody has said yet that the client is still who it was.
                None | Some(Parked::Question { about: About::Reauthentication, .. }) => return,
                // Answers would come before its CONNACK.
                Some(Parked::Greeting) if !conn.is_gone() => return,
                Some(Parked::Question { .. }) => {
                    self.settle_question(id, Answer::Deny(ReasonCode::UnspecifiedError), out);
                    continue;
                }
                Some(Parked::Fanout) => self.fanouts.disown(),
                Some(
                    Parked::Pressure { .. } | Parked::Pace { .. } | Parked::Greeting | Parked::Publishes,
                ) => {}
            }
            if let Some(conn) = self.conn_mut(id) {
                conn.parked = None;
            }
            self.resume_input(id, out);
        }
    }

    /// Handles whole packets from the front of `bytes`; says how many bytes are done with.
    fn process(&mut self, id: ConnId, bytes: &[u8], out: &mut Outbox) -> usize {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            if rest.is_empty() {
                return used;
            }
            let Some(conn) = self.conn(id) else { return bytes.len() };
            let limit = match conn.phase {
                Phase::Online { .. } => self.config.max_packet_size,
                _ => self.config.max_packet_size_before_connect,
            };
            let first_is_connect = matches!(conn.phase, Phase::Opening { .. });
            let header = match FixedHeader::parse(rest) {
                Ok(Some(header)) => header,
                Ok(None) => {
                    self.await_bytes(id, rest.len() + 1);
                    return used;
                }
                Err(error) => {
                    self.malformed(id, error, out);
                    return bytes.len();
                }
            };
            if first_is_connect && header.packet_type() != PacketType::Connect {
                self.close(id, Farewell::rude("the first packet was not CONNECT"), out);
                return bytes.len();
            }
            if header.packet_len() > limit && !planted!("packet-limit-ignored") {
                self.too_large(id, out);
                return bytes.len();
            }
            let total = header.packet_len() as usize;
            let Some(packet) = rest.get(..total) else {
                self.await_bytes(id, total);
                return used;
            };
            if self.must_wait_for_hooks(id, header.packet_type()) {
                if let Some(conn) = self.conn_mut(id) {
                    conn.parked = Some(Box::new(Parked::Publishes));
                }
                return used;
            }
            if header.packet_type() == PacketType::Publish && self.must_wait_for_pace(id, total, out) {
                return used;
            }
            used += total;
            match self.packet(id, header, packet, out) {
                After::Continue => {}
                After::Parked => return used,
                After::Closed => return bytes.len(),
            }
        }
    }

    fn await_bytes(&mut self, id: ConnId, need: usize) {
        if let Some(conn) = self.conn_mut(id) {
            conn.need = need;
            if planted!("announced-length-reserved") {
                conn.input.reserve(need);
            }
        }
    }

    /// One whole packet.
    fn packet(&mut self, id: ConnId, header: FixedHeader, packet: &[u8], out: &mut Outbox) -> After {
        self.counters.packets_received += 1;
        self.gates.begin_packet();
        let now = self.now;
        let Some(conn) = self.conn_mut(id) else { return After::Closed };
        let version = conn.version;
        let online = match conn.phase {
            Phase::Opening { .. } => return self.connect_packet(id, packet, out),
            Phase::Authenticating(_) => false,
            Phase::Online { .. } => {
                conn.last_seen = now;
                true
            }
        };
        let limits = if online { self.config.limits() } else { self.config.limits_before_connect() };
        let body = packet.get(usize::from(header.header_len)..).unwrap_or_default();
        match Packet::decode(header, body, version, &limits) {
            Ok(Packet::Auth(auth)) => self.auth_packet(id, &auth, out),
            Ok(_) if !online => {
                self.close(id, Farewell::rude("a packet other than AUTH before CONNACK"), out);
                After::Closed
            }
            Ok(decoded) => self.dispatch(id, &decoded, packet.len(), out),
            // Whatever it holds [MQTT-3.1.0-2].
            Err(_) if online && header.packet_type() == PacketType::Connect => {
                self.breach(id, "a second CONNECT", out)
            }
            Err(error) => {
                self.malformed(id, error, out);
                After::Closed
            }
        }
    }

    /// A packet that cannot be decoded ends its connection, with the reason where the client can be told.
    pub(crate) fn malformed(&mut self, id: ConnId, error: DecodeError, out: &mut Outbox) {
        self.counters.protocol_errors += 1;
        if let (Some(limit), Some(conn)) = (error.connect_max_packet_size(), self.conn_mut(id)) {
            conn.max_packet_size = limit;
        }
        self.close(id, Farewell::decode(error), out);
    }

    fn too_large(&mut self, id: ConnId, out: &mut Outbox) {
        self.counters.protocol_errors += 1;
        self.close(id, Farewell::tell(ReasonCode::PacketTooLarge, "a packet above the maximum size"), out);
    }

    /// Stops or resumes reading from a client; repeated wishes are one.
    pub(crate) fn set_paused(&mut self, id: ConnId, paused: bool, out: &mut Outbox) {
        let now = self.now;
        let reading = if paused { Reading::Paused } else { Reading::On };
        let Some(conn) = self.conn_mut(id).filter(|conn| conn.reading != reading && !conn.is_gone()) else {
            return;
        };
        conn.reading = reading;
        // From now on the client can be heard or cannot; what was before says nothing about its silence.
        if conn.session().is_some() {
            conn.last_seen = now;
        }
        let flow = if paused { Flow::Pause } else { Flow::Resume };
        out.wire.push(Wire::Flow { conn: id, flow });
        self.arm_connection(id);
    }
}
