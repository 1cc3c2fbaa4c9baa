//! Frames: control packets, fan-out templates, copies with own bytes, topic aliases.
//!
//! A message is encoded once for each (MQTT 5 or not, QoS above 0, retain) that a fan-out meets; a subscriber
//! then costs one [`Target`]. Who has Subscription Identifiers or topic aliases gets a head of its own and
//! shares the payload.

use super::Publication;
use super::message::MessageBuffer;
use crate::engine::Engine;
use crate::ids::{ConnId, MessageKey};
use crate::outbox::{ArenaSink, Frame, Outbox, SHARED_PAYLOAD, Target, Wire};
use crate::sessions::{Delivery, SubIds};
use crate::storage::Held;
use alloc::{boxed::Box, vec::Vec};
use bytes::Bytes;
use mqtt_proto::planted;
use mqtt_proto::{Packet, PacketId, PublishHead, QoS, Sink, SubscriptionIds, Version};
use serde::{Deserialize, Serialize};

/// Encoded forms of the message that is being fanned out, with who gets them.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    forms: [Template; 16],
    /// A bit for each form that is encoded.
    encoded: u16,
}

#[derive(Debug, Default)]
struct Template {
    frame: Option<Frame>,
    packet_id_at: Option<u32>,
    targets: Vec<Target>,
}

/// A PUBLISH on its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// It was sent before.
    pub(crate) dup: bool,
    /// It has waited for the store.
    pub(crate) is_kept: bool,
}

impl Turn {
    pub(crate) const FIRST: Self = Self { dup: false, is_kept: false };
}

/// Topic aliases of a connection, both directions. Most clients have none, so there is but a pointer until one has.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Aliases {
    known: Option<Box<KnownAliases>>,
    outbound_limit: u16,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct KnownAliases {
    inbound: Vec<Option<Box<str>>>,
    /// Alias n is at n - 1, in the order they were given out.
    outbound: Vec<Box<str>>,
    /// Bytes of the topic names.
    names: u64,
}

impl KnownAliases {
    /// The alias that the client knows a topic by.
    fn outbound(&self, topic: &str) -> Option<u16> {
        let index = self.outbound.iter().position(|known| &**known == topic)?;
        u16::try_from(index + 1).ok()
    }
}

impl Aliases {
    pub(crate) fn limit_outbound(&mut self, limit: u16) {
        self.outbound_limit = limit;
    }

    pub(crate) fn set_inbound(&mut self, alias: u16, topic: &str) {
        let known = self.known.get_or_insert_default();
        let index = usize::from(alias) - 1;
        if known.inbound.len() <= index {
            known.inbound.resize(index + 1, None);
        }
        if let Some(place) = known.inbound.get_mut(index) {
            let before = place.replace(topic.into()).map_or(0, |name| name.len());
            known.names = known.names - before as u64 + topic.len() as u64;
        }
    }

    /// Bytes that they keep.
    pub(crate) fn kept(&self) -> u64 {
        let Some(known) = &self.known else { return 0 };
        known.names + ((known.inbound.len() + known.outbound.len()) * 16) as u64
    }

    /// Are the bytes of the topic names what a recount says?
    pub(crate) fn adds_up(&self) -> bool {
        let Some(known) = &self.known else { return true };
        let names = known.inbound.iter().flatten().chain(&known.outbound);
        names.map(|name| name.len() as u64).sum::<u64>() == known.names
    }

    pub(crate) fn inbound(&self, alias: u16) -> Option<&str> {
        self.known.as_ref()?.inbound.get(usize::from(alias).checked_sub(1)?)?.as_deref()
    }

    /// The alias of a topic and whether the client knows it already. Called only for packets that are written,
    /// because the one that defines an alias must really go out; one that waits for the store would be overtaken by
    /// those that use the alias, and `may_define` none.
    fn outbound(&mut self, topic: &str) -> Option<(u16, bool)> {
        if self.outbound_limit == 0 {
            return None;
        }
        let known = self.known.get_or_insert_default();
        if let Some(alias) = known.outbound(topic) {
            return Some((alias, true));
        }
        let next = u16::try_from(known.outbound.len() + 1).ok();
        let alias = next.filter(|alias| *alias <= self.outbound_limit)?;
        known.outbound.push(topic.into());
        known.names += topic.len() as u64;
        Some((alias, false))
    }

    fn may_alias(&self, topic: &str) -> bool {
        self.outbound_limit > 0
            && self.known.as_ref().is_none_or(|known| {
                known.outbound.len() < usize::from(self.outbound_limit) || known.outbound(topic).is_some()
            })
    }
}

impl Engine {
    /// Emits a PUBLISH to one connection; `false` if it is larger than the client takes. Frames for templates
    /// reach the outbox with [`Engine::flush_templates`].
    #[allow(clippy::too_many_arguments)] // The parts of a delivery, at the one place where they meet.
    #[inline]
    pub(crate) fn send_publish(
        &mut self,
        id: ConnId,
        publication: &Publication<'_>,
        kept: Option<MessageKey>,
        qos: QoS,
        retain: bool,
        packet_id: Option<PacketId>,
        ids: &SubIds,
        out: &mut Outbox,
    ) -> bool {
        let Some(conn) = self.connections.get_mut(id.slot()).and_then(Option::as_mut) else { return false };
        if conn.id != id {
            return false;
        }
        let v5 = conn.version.is_v5();
        if v5 && (!ids.is_none() || conn.aliases.may_alias(publication.topic)) || self.gates.holds(id, qos) {
            return self.send_own_publish(
                id,
                publication,
                kept,
                qos,
                retain,
                Turn::FIRST,
                packet_id,
                ids,
                out,
            );
        }
        let form = usize::from(v5) | (qos as usize) << 1 | usize::from(retain) << 3;
        let templates = &mut self.scratch.templates;
        let Some(template) = templates.forms.get_mut(form) else { return false };
        let frame = if let Some(frame) = &template.frame {
            frame
        } else {
            let shared = (publication.payload.len() >= SHARED_PAYLOAD)
                .then(|| shared_payload(publication, kept, &self.messages));
            let interval = publication.expiry.interval(self.called_at);
            let encoded = encode_template(publication, interval, (conn.version, qos, retain), shared, out);
            let Some((frame, packet_id_at)) = encoded else { return false };
            templates.encoded |= 1 << form;
            template.packet_id_at = packet_id_at;
            template.frame.insert(frame)
        };
        let len = frame.len();
        if len > conn.max_packet_size as usize && !planted!("maximum-packet-size-ignored") {
            return false;
        }
        template.targets.push(Target { conn: id, packet_id: packet_id.map_or(0, PacketId::get) });
        conn.egress.emit(self.call, len);
        self.tell_sent(id, publication.topic, (qos, retain, false), out);
        true
    }

    /// Puts the collected fan-outs into the outbox, and into the counters.
    pub(crate) fn flush_templates(&mut self, out: &mut Outbox) {
        let templates = &mut self.scratch.templates;
        let mut encoded = core::mem::take(&mut templates.encoded);
        while encoded != 0 {
            let form = encoded.trailing_zeros() as usize;
            encoded &= encoded - 1;
            let Some(template) = templates.forms.get_mut(form) else { continue };
            let Some(frame) = template.frame.take() else { continue };
            if template.targets.is_empty() {
                // It was encoded for somebody who could not take it.
                continue;
            }
            let copies = template.targets.len() as u64;
            self.counters.packets_sent += copies;
            self.counters.bytes_sent += copies * frame.len() as u64;
            if let Some(count) = self.counters.publish_sent.get_mut(form >> 1 & 3) {
                *count += copies;
            }
            let start = u32::try_from(out.targets.len()).unwrap_or(u32::MAX);
            out.targets.append(&mut template.targets);
            let end = u32::try_from(out.targets.len()).unwrap_or(u32::MAX);
            out.wire.push(Wire::Fanout { frame, packet_id_at: template.packet_id_at, targets: start..end });
        }
    }

    /// Sends a delivery that has its identifier already, for the first time or again.
    pub(crate) fn send_in_flight(
        &mut self,
        id: ConnId,
        buffer: &MessageBuffer,
        delivery: &Delivery,
        (packet_id, turn): (PacketId, Turn),
        out: &mut Outbox,
    ) -> bool {
        let publication = buffer.publication();
        let Delivery { message, qos, retain, ids, .. } = delivery;
        self.send_own_publish(
            id,
            &publication,
            Some(*message),
            *qos,
            *retain,
            turn,
            Some(packet_id),
            ids,
            out,
        )
    }

    /// A PUBLISH with a head of its own.
    #[allow(clippy::too_many_arguments)] // See `send_publish`.
    #[inline(never)]
    fn send_own_publish(
        &mut self,
        id: ConnId,
        publication: &Publication<'_>,
        kept: Option<MessageKey>,
        qos: QoS,
        retain: bool,
        turn: Turn,
        packet_id: Option<PacketId>,
        ids: &SubIds,
        out: &mut Outbox,
    ) -> bool {
        let now = self.called_at;
        let Turn { dup, is_kept } = turn;
        let must_wait = !is_kept && self.gates.holds(id, qos) && self.must_wait_for_store(id, out);
        let Some(conn) = self.conn_mut(id) else { return false };
        let version = conn.version;
        let v5 = version.is_v5();
        let max = conn.max_packet_size;
        let mut head = PublishHead {
            dup,
            qos,
            retain,
            topic: publication.topic,
            packet_id,
            message_expiry_interval: publication.expiry.interval(now).filter(|_| v5),
            topic_alias: None,
            subscription_ids: if v5 { ids.encoded() } else { SubscriptionIds::default() },
            forwarded: if v5 { publication.properties } else { &[] },
            payload_len: payload_len(publication),
        };
        // Judged without alias: a packet that defines one is three bytes larger, so it may go without.
        if head.packet_len(version).is_none_or(|len| len > max) {
            if planted!("alias-of-nothing") {
                conn.aliases.outbound(publication.topic);
            }
            return false;
        }
        if let Some(packet_id) = packet_id.filter(|_| must_wait) {
            self.gates.wait(id, Held::Publish { packet_id, dup });
            return true;
        }
        // An alias that waits would be overtaken by those that use it.
        if v5
            && !must_wait
            && conn.aliases.may_alias(publication.topic)
            && head.packet_len(version).is_some_and(|len| len.saturating_add(8) <= max)
            && let Some((alias, known)) = conn.aliases.outbound(publication.topic)
        {
            head.topic_alias = Some(alias);
            if known {
                head.topic = "";
            } else {
                self.count_connection(id);
            }
        }
        let shared = (publication.payload.len() >= SHARED_PAYLOAD)
            .then(|| shared_payload(publication, kept, &self.messages));
        let Some((frame, _)) = encode(out, &head, version, publication.payload, shared) else { return false };
        if must_wait {
            let (topic, frame) = (publication.topic.into(), [out.head(&frame), &frame.payload].concat());
            self.gates.wait(id, Held::Once { topic, frame });
            return true;
        }
        self.count_publish(id, qos, frame.len());
        out.wire.push(Wire::Send { conn: id, frame });
        self.tell_sent(id, publication.topic, (qos, retain, dup), out);
        true
    }

    /// Hands the operations so far to the store; must a packet to this connection wait for it?
    fn must_wait_for_store(&mut self, id: ConnId, out: &mut Outbox) -> bool {
        self.gates.flush_ops(out);
        self.gates.must_wait(id)
    }

    fn count_publish(&mut self, id: ConnId, qos: QoS, len: usize) {
        if let Some(count) = self.counters.publish_sent.get_mut(qos as usize) {
            *count += 1;
        }
        self.count_sent(id, len);
    }

    fn count_sent(&mut self, id: ConnId, len: usize) {
        self.counters.packets_sent += 1;
        self.counters.bytes_sent += len as u64;
        let call = self.call;
        if let Some(conn) = self.conn_mut(id) {
            conn.egress.emit(call, len);
        }
    }

    /// Emits a control packet; one that is larger than the client takes is left out.
    pub(crate) fn send(&mut self, id: ConnId, packet: &Packet<'_>, out: &mut Outbox) {
        self.send_largest(id, packet, packet, out);
    }

    /// Emits `packet`, or `smaller` where the client takes no packet of that size [MQTT-3.1.2-24].
    pub(crate) fn send_largest(
        &mut self,
        id: ConnId,
        packet: &Packet<'_>,
        smaller: &Packet<'_>,
        out: &mut Outbox,
    ) {
        let Some(version) = self.conn(id).map(|conn| conn.version) else { return };
        for candidate in [packet, smaller] {
            if self.takes(id, candidate) {
                let Some(frame) = encode_packet(out, candidate, version) else { return };
                self.count_sent(id, frame.len());
                out.wire.push(Wire::Send { conn: id, frame });
                return;
            }
        }
    }

    /// Is the client there, and a packet within its Maximum Packet Size?
    pub(crate) fn takes(&self, id: ConnId, packet: &Packet<'_>) -> bool {
        self.conn(id)
            .filter(|conn| !conn.is_gone())
            .is_some_and(|conn| packet.encoded_len(conn.version).is_ok_and(|len| len <= conn.max_packet_size))
    }

    /// Emits a control packet behind the store operations that it promises.
    pub(crate) fn send_gated(&mut self, id: ConnId, packet: &Packet<'_>, out: &mut Outbox) {
        if !self.must_wait_for_store(id, out) {
            return self.send(id, packet, out);
        }
        let Some(version) = self.conn(id).map(|conn| conn.version) else { return };
        if self.takes(id, packet)
            && let Some(frame) = encode_packet(out, packet, version)
        {
            // A control packet has no payload.
            let bytes = out.head(&frame).to_vec();
            self.gates.wait(id, Held::Frame(bytes));
        }
    }

    /// Emits bytes that waited at a gate.
    pub(crate) fn send_now(&mut self, id: ConnId, bytes: &[u8], out: &mut Outbox) {
        if self.conn(id).is_none() {
            return;
        }
        let start = arena_len(out);
        out.arena.extend_from_slice(bytes);
        let frame = Frame { head: start..arena_len(out), payload: Bytes::new() };
        self.count_sent(id, frame.len());
        out.wire.push(Wire::Send { conn: id, frame });
    }
}

fn arena_len(out: &Outbox) -> u32 {
    u32::try_from(out.arena.len()).unwrap_or(u32::MAX)
}

fn payload_len(publication: &Publication<'_>) -> u32 {
    u32::try_from(publication.payload.len()).unwrap_or(u32::MAX)
}

fn shared_payload(
    publication: &Publication<'_>,
    kept: Option<MessageKey>,
    store: &super::MessageStore,
) -> Bytes {
    kept.and_then(|key| store.get(key))
        .map_or_else(|| Bytes::copy_from_slice(publication.payload), super::message::Message::shared_payload)
}

/// The frame that is the same for all who get this form of a message, but for the packet identifier.
#[inline(never)]
fn encode_template(
    publication: &Publication<'_>,
    message_expiry_interval: Option<u32>,
    (version, qos, retain): (Version, QoS, bool),
    shared: Option<Bytes>,
    out: &mut Outbox,
) -> Option<(Frame, Option<u32>)> {
    let v5 = version.is_v5();
    let head = PublishHead {
        dup: false,
        qos,
        retain,
        topic: publication.topic,
        packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::FIRST),
        message_expiry_interval: message_expiry_interval.filter(|_| v5),
        topic_alias: None,
        subscription_ids: SubscriptionIds::default(),
        forwarded: if v5 { publication.properties } else { &[] },
        payload_len: payload_len(publication),
    };
    encode(out, &head, version, publication.payload, shared)
}

fn encode(
    out: &mut Outbox,
    head: &PublishHead<'_>,
    version: Version,
    payload: &[u8],
    shared: Option<Bytes>,
) -> Option<(Frame, Option<u32>)> {
    let start = arena_len(out);
    let layout = head.encode(version, &mut ArenaSink(&mut out.arena)).ok()?;
    if shared.is_none() {
        out.arena.extend_from_slice(payload);
    }
    let frame = Frame { head: start..arena_len(out), payload: shared.unwrap_or_default() };
    Some((frame, layout.packet_id_at))
}

fn encode_packet(out: &mut Outbox, packet: &Packet<'_>, version: Version) -> Option<Frame> {
    let start = arena_len(out);
    packet.encode(version, &mut ArenaSink(&mut out.arena)).ok()?;
    Some(Frame { head: start..arena_len(out), payload: Bytes::new() })
}

/// A message as it is stored: an MQTT 5 PUBLISH without expiry, which is kept beside it.
pub(crate) fn stored_publish(publication: &Publication<'_>, retain: bool) -> Bytes {
    let head = PublishHead {
        dup: false,
        qos: QoS::AtMostOnce,
        retain,
        topic: publication.topic,
        packet_id: None,
        message_expiry_interval: None,
        topic_alias: None,
        subscription_ids: SubscriptionIds::default(),
        forwarded: publication.properties,
        payload_len: payload_len(publication),
    };
    let mut bytes = Vec::new();
    if head.encode(Version::V5, &mut bytes).is_ok() {
        let _infallible = Sink::put(&mut bytes, publication.payload);
    }
    Bytes::from(bytes)
}
