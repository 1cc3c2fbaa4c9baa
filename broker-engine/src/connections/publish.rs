//! An inbound PUBLISH: checked, its alias resolved, routed, acknowledged.

use super::receive::After;
use super::{Parked, Phase};
use crate::application_message::ApplicationMessage;
use crate::collections::SlotKey;
use crate::delivery::{Expiry, Publication, Routed};
use crate::engine::Engine;
use crate::hooks::Interest;
use crate::ids::ConnId;
use crate::memory::MemoryPressure;
use crate::outbox::Outbox;
use crate::sessions::Received;
use crate::storage::StoreOp;
use crate::time::Time;
use alloc::{boxed::Box, collections::VecDeque, string::ToString, vec::Vec};
use mqtt_proto::planted;
use mqtt_proto::property::{PropertyId, raw_properties};
use mqtt_proto::{Packet, PacketId, PayloadFormat, Publish, QoS, ReasonCode, TopicName};
use serde::{Deserialize, Serialize};

/// What is to become of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Decision {
    Route,
    /// The same, with a message that a hook put in its place.
    Replace,
    /// The same, but its life has passed while hooks were asked: dropped for each who would have got it.
    Expire,
    /// Not routed, but acknowledged: it was routed before.
    Acknowledge,
    /// Not routed, for this reason.
    Refuse(ReasonCode),
    /// Not routed, because the memory budget is used up or the store is full.
    NoRoom,
    /// Not routed, but acknowledged: a hook wants it so.
    Discard,
}

/// Which acknowledgement a PUBLISH has to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owed {
    pub(crate) qos: QoS,
    /// With QoS 1 and 2.
    pub(crate) packet_id: Option<PacketId>,
}

impl Engine {
    pub(crate) fn publish_packet(
        &mut self,
        id: ConnId,
        publish: &Publish<'_>,
        size: usize,
        out: &mut Outbox,
    ) -> After {
        let Some(conn) = self.conn(id) else { return After::Closed };
        let Phase::Online { session } = conn.phase else { return After::Closed };
        let restricted = conn.restricted;
        if let Some(count) = self.counters.publish_received.get_mut(publish.qos as usize) {
            *count += 1;
        }
        if !publish.properties.subscription_ids.is_empty() {
            return self.breach(id, "a Subscription Identifier in a client's PUBLISH", out);
        }
        if publish.qos > self.config.maximum_qos && !planted!("maximum-qos-ignored") {
            return self.refuse_packet(id, ReasonCode::QoSNotSupported, "PUBLISH above Maximum QoS", out);
        }
        if publish.retain && !self.config.retain_available {
            return self.refuse_packet(
                id,
                ReasonCode::RetainNotSupported,
                "retained PUBLISH, which is not offered",
                out,
            );
        }
        // A QoS 2 message that we have accepted already is acknowledged again and goes nowhere [MQTT-4.3.3-10].
        let repeated = publish.qos == QoS::ExactlyOnce
            && publish.packet_id.is_some_and(|packet_id| self.is_received(session, packet_id));
        let topic = match self.resolve_topic(id, publish) {
            Ok(topic) => topic,
            Err(detail) => return self.refuse_packet(id, ReasonCode::TopicAliasInvalid, detail, out),
        };
        let Some(topic) = topic else {
            return self.breach(id, "PUBLISH without topic and with an alias that was never set", out);
        };
        if repeated && planted!("repeat-disconnects") {
            return self.breach(id, "a packet identifier in use", out);
        }
        if !repeated
            && publish.qos != QoS::AtMostOnce
            && self.unfinished(id) >= usize::from(self.config.receive_maximum)
            && !planted!("receive-maximum-ignored")
        {
            return self.refuse_packet(
                id,
                ReasonCode::ReceiveMaximumExceeded,
                "more than Receive Maximum unfinished PUBLISHes",
                out,
            );
        }
        let is_early = !repeated && !self.keeps_pace(id, size);
        if is_early && !self.can_refuse(id, publish.qos) {
            return self.refuse_packet(
                id,
                ReasonCode::MessageRateTooHigh,
                "the client publishes faster than it may",
                out,
            );
        }
        // Most clients are not, and then the session is not looked at.
        let is_allowed = !restricted || self.may_publish(session, &topic);
        let owed = Owed { qos: publish.qos, packet_id: publish.packet_id };
        let decision = match self.judge_publish(&topic, publish) {
            _ if repeated && !planted!("repeat-routed") => Some(Decision::Acknowledge),
            Err(reason) => Some(Decision::Refuse(reason)),
            Ok(()) if is_early => Some(Decision::Refuse(ReasonCode::QuotaExceeded)),
            Ok(()) if self.memory_pressure() == MemoryPressure::Max || !self.has_store_for(publish) => {
                Some(Decision::NoRoom)
            }
            Ok(()) if self.config.interest.contains(Interest::PUBLISH) => None,
            Ok(()) if !is_allowed => Some(Decision::Refuse(self.refusal(ReasonCode::NotAuthorized))),
            Ok(()) => Some(Decision::Route),
        };
        let kept;
        let properties = if needs_filtering(publish) {
            kept = forwarded(publish.properties.raw());
            &kept
        } else {
            publish.properties.raw()
        };
        let interval = publish.properties.message_expiry_interval;
        let publication = Publication {
            topic: &topic,
            properties,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expiry: self.expiry(self.now, interval),
            publisher: Some(session),
        };
        match decision {
            Some(decision) if !self.has_undecided(session) => {
                self.decided(id, true, (owed, decision), &publication, out)
            }
            decision => {
                let message = || ApplicationMessage::of(&topic, publish);
                self.line_up(id, &publication, interval, (owed, decision), message, out);
                After::Continue
            }
        }
    }

    /// Does with a PUBLISH what was decided. Of a connection that is not here any more, nobody waits for it.
    pub(crate) fn decided(
        &mut self,
        id: ConnId,
        is_here: bool,
        (owed, decision): (Owed, Decision),
        publication: &Publication<'_>,
        out: &mut Outbox,
    ) -> After {
        match decision {
            Decision::Refuse(reason) => return self.refuse_publish(id, owed, reason, out),
            Decision::NoRoom => return self.refuse_for_room(id, owed, out),
            Decision::Acknowledge | Decision::Discard => {
                if decision == Decision::Discard {
                    self.discarded(publication.topic, out);
                }
                if !self.is_remembered(id, owed) {
                    self.remember_received(id, owed);
                    self.store_received(id, owed);
                } else if self.is_on_its_way(id, owed) {
                    return After::Parked;
                }
                self.acknowledge_publish(id, owed, ReasonCode::Success, out);
                return After::Continue;
            }
            Decision::Route | Decision::Replace | Decision::Expire => {}
        }
        let is_expired = decision == Decision::Expire;
        if publication.retain
            && !is_expired
            && let Err(reason) = self.retain(publication, out)
        {
            return self.refuse_publish(id, owed, reason, out);
        }
        self.remember_received(id, owed);
        let origin = is_here.then(|| (id, owed.packet_id.map(|packet_id| (owed.qos, packet_id))));
        let routed = if is_expired {
            self.drop_for_all(publication, origin)
        } else {
            self.route(publication, origin, out)
        };
        match routed {
            Routed::Done { matched } => {
                self.store_received(id, owed);
                let reason = self.publish_reason(matched);
                self.acknowledge_publish(id, owed, reason, out);
                if self.slow_down(id, out) { After::Parked } else { After::Continue }
            }
            Routed::Queued => {
                if let Some(conn) = self.conn_mut(id) {
                    conn.parked = Some(Box::new(Parked::Fanout));
                }
                After::Parked
            }
        }
    }

    /// Success, or that nobody subscribed.
    pub(crate) fn publish_reason(&self, matched: bool) -> ReasonCode {
        if matched || !self.config.report_no_subscribers || planted!("no-subscribers-untold") {
            ReasonCode::Success
        } else {
            ReasonCode::NoMatchingSubscribers
        }
    }

    /// PUBACK or PUBREC, as the QoS wants [MQTT-3.3.4-1].
    pub(crate) fn acknowledge_publish(
        &mut self,
        id: ConnId,
        owed: Owed,
        reason: ReasonCode,
        out: &mut Outbox,
    ) {
        let Some(packet_id) = owed.packet_id else { return };
        match owed.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.send_ack(id, Packet::PubAck, packet_id, reason, out),
            QoS::ExactlyOnce => self.send_ack(id, Packet::PubRec, packet_id, reason, out),
        }
    }

    /// The topic name, from the packet or its alias. Aliases are resolved before anything else is decided.
    fn resolve_topic<'p>(
        &mut self,
        id: ConnId,
        publish: &Publish<'p>,
    ) -> Result<Option<alloc::borrow::Cow<'p, str>>, &'static str> {
        use alloc::borrow::Cow;
        let name = publish.topic.map(TopicName::as_str);
        let Some(alias) = publish.properties.topic_alias else { return Ok(name.map(Cow::Borrowed)) };
        if alias == 0 || alias > self.config.topic_alias_maximum {
            return Err("a topic alias of 0 or above Topic Alias Maximum");
        }
        let fits = name.is_none_or(|name| self.topic_fits(name));
        let Some(conn) = self.conn_mut(id) else { return Ok(None) };
        match name {
            Some(name) => {
                // A name above the limit is not kept; it is refused under its alias as well.
                conn.aliases.set_inbound(alias, if fits { name } else { "" });
                self.count_connection(id);
                Ok(Some(Cow::Borrowed(name)))
            }
            None => Ok(conn.aliases.inbound(alias).map(|name| Cow::Owned(name.to_string()))),
        }
    }

    /// Whether a well-formed PUBLISH may be routed at all.
    fn judge_publish(&self, topic: &str, publish: &Publish<'_>) -> Result<(), ReasonCode> {
        self.judge_topic(topic)?;
        if self.config.check_payload_format
            && publish.properties.payload_format == Some(PayloadFormat::Utf8)
            && core::str::from_utf8(publish.payload).is_err()
        {
            return Err(ReasonCode::PayloadFormatInvalid);
        }
        Ok(())
    }

    /// Whether clients may publish under this name at all.
    pub(crate) fn judge_topic(&self, topic: &str) -> Result<(), ReasonCode> {
        if topic == "$SYS" || topic.starts_with("$SYS/") {
            return Err(ReasonCode::NotAuthorized);
        }
        if topic.is_empty() || topic.starts_with("$share/") || !self.topic_fits(topic) {
            return Err(ReasonCode::TopicNameInvalid);
        }
        Ok(())
    }

    /// Not routed, but acknowledged all the same: with the reason in MQTT 5, without in 3.x.
    fn refuse_publish(&mut self, id: ConnId, owed: Owed, reason: ReasonCode, out: &mut Outbox) -> After {
        if reason == ReasonCode::PayloadFormatInvalid && owed.qos == QoS::AtMostOnce {
            return self.refuse_packet(
                id,
                reason,
                "the payload is not the UTF-8 that it is announced as",
                out,
            );
        }
        self.counters.publish_refused += 1;
        let v5 = self.conn(id).is_some_and(|conn| conn.version.is_v5());
        if !v5 {
            // A 3.x client will go on to PUBREL, which is answered from this.
            self.remember_received(id, owed);
            self.store_received(id, owed);
        }
        self.acknowledge_publish(id, owed, reason, out);
        After::Continue
    }

    /// There is no room for a message. A 3.x client cannot be told, so it has to come back and try again.
    fn refuse_for_room(&mut self, id: ConnId, owed: Owed, out: &mut Outbox) -> After {
        let v5 = self.conn(id).is_some_and(|conn| conn.version.is_v5());
        if owed.qos != QoS::AtMostOnce && !v5 {
            return self.refuse_packet(
                id,
                ReasonCode::QuotaExceeded,
                "there is no room for the message",
                out,
            );
        }
        self.refuse_publish(id, owed, ReasonCode::QuotaExceeded, out);
        if self.slow_down(id, out) { After::Parked } else { After::Continue }
    }

    /// When a message expires: after its own interval, but not later than the cap.
    pub(crate) fn expiry(&self, arrived: Time, interval: Option<u32>) -> Expiry {
        let cap = Some(self.config.max_message_expiry).filter(|cap| *cap > 0);
        let deadline = |secs| arrived.after_secs(secs);
        Expiry { at: interval.into_iter().chain(cap).min().map(deadline), told: interval.map(deadline) }
    }

    /// The client is done with a QoS 2 message.
    pub(crate) fn pubrel(&mut self, id: ConnId, packet_id: PacketId, out: &mut Outbox) {
        let Some(key) = self.conn(id).and_then(super::Connection::session) else { return };
        if planted!("one-id-space")
            && let Some((key, index)) = self.find_inflight(id, packet_id)
        {
            self.finish(id, key, index);
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        let reason = match session.find_received(packet_id) {
            Ok(index) => {
                let released = session.received.remove(index);
                if session.received.is_empty() && session.received.capacity() > 64 {
                    session.received = VecDeque::new();
                }
                self.count_session(key);
                if released.is_some_and(|released| !released.is_earlier)
                    && let Some(conn) = self.conn_mut(id)
                {
                    conn.received = conn.received.saturating_sub(1);
                }
                let packet_id = packet_id.get();
                self.store_for(key, |client_id| StoreOp::RemoveReceived { client_id, packet_id });
                ReasonCode::Success
            }
            Err(_) => ReasonCode::PacketIdNotFound,
        };
        self.send_ack(id, Packet::PubComp, packet_id, reason, out);
    }

    pub(crate) fn is_received(&self, key: SlotKey, packet_id: PacketId) -> bool {
        let session = self.sessions.get(key);
        session.is_some_and(|session| session.find_received(packet_id).is_ok())
    }

    /// QoS 1 and 2 messages of this connection whose exchange is not over. Those of earlier connections do not
    /// count: the client may have forgotten them.
    fn unfinished(&self, id: ConnId) -> usize {
        let received = self.conn(id).map_or(0, |conn| usize::from(conn.received));
        received + self.gates.pubacks_waiting(id) + self.undecided.owed(id)
    }

    /// A QoS 2 message is not taken a second time until PUBREL.
    fn remember_received(&mut self, id: ConnId, owed: Owed) {
        if owed.qos == QoS::ExactlyOnce
            && let Some(packet_id) = owed.packet_id
            && let Some(key) = self.conn(id).and_then(super::Connection::session)
            && let Some(session) = self.sessions.get_mut(key)
            && let Err(index) = session.find_received(packet_id)
        {
            let packet_id = packet_id.get();
            session.received.insert(index, Received { packet_id, is_earlier: false });
            self.count_session(key);
            if let Some(conn) = self.conn_mut(id) {
                conn.received = conn.received.saturating_add(1);
            }
        }
    }

    /// Keeps that a QoS 2 message was accepted: behind its deliveries, as with this alone it would be acknowledged when
    /// it is sent again, and go nowhere.
    fn store_received(&mut self, id: ConnId, owed: Owed) {
        if owed.qos == QoS::ExactlyOnce
            && let Some(key) = self.conn(id).and_then(super::Connection::session)
        {
            self.store_received_of(key, owed);
        }
    }

    /// The same for a publisher that may be gone.
    pub(crate) fn store_received_of(&mut self, key: SlotKey, owed: Owed) {
        if self.gates.is_on()
            && !planted!("received-not-kept")
            && owed.qos == QoS::ExactlyOnce
            && let Some(packet_id) = owed.packet_id.filter(|packet_id| self.is_received(key, *packet_id))
        {
            let packet_id = packet_id.get();
            self.store_for(key, |client_id| StoreOp::PutReceived { client_id, packet_id });
        }
    }

    /// Are its deliveries still being kept? Then it is acknowledged when they are.
    fn is_on_its_way(&mut self, id: ConnId, owed: Owed) -> bool {
        let session = self.conn(id).and_then(super::Connection::session);
        session.zip(owed.packet_id).is_some_and(|(key, packet_id)| self.wait_for_fanout(id, key, packet_id))
    }

    /// Was it accepted before?
    fn is_remembered(&self, id: ConnId, owed: Owed) -> bool {
        let session = self.conn(id).and_then(super::Connection::session);
        session.zip(owed.packet_id).is_some_and(|(key, packet_id)| self.is_received(key, packet_id))
    }

    /// The broker itself publishes.
    pub(crate) fn publish_command(&mut self, message: &ApplicationMessage, out: &mut Outbox) {
        let Some(properties) = message.forwarded() else {
            self.counters.host_misuse += 1;
            return;
        };
        let publication = Publication {
            topic: &message.topic,
            properties: &properties,
            payload: &message.payload,
            qos: message.qos,
            retain: message.retain,
            expiry: self.expiry(self.now, message.message_expiry_interval),
            publisher: None,
        };
        if message.retain {
            // Over quota the live copies still go out; the counter of retained messages shows the rest.
            let _over_quota = self.retain(&publication, out);
        }
        self.route(&publication, None, out);
    }
}

/// Does the PUBLISH carry properties that end at the broker?
fn needs_filtering(publish: &Publish<'_>) -> bool {
    publish.properties.message_expiry_interval.is_some() || publish.properties.topic_alias.is_some()
}

/// The properties that travel on unchanged, in their order.
pub(crate) fn forwarded(raw: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(raw.len());
    for (id, bytes) in raw_properties(raw) {
        let ends_here = matches!(
            id,
            PropertyId::MessageExpiryInterval
                | PropertyId::TopicAlias
                | PropertyId::SubscriptionIdentifier
                | PropertyId::WillDelayInterval
        );
        if !ends_here {
            kept.extend_from_slice(bytes);
        }
    }
    kept
}
