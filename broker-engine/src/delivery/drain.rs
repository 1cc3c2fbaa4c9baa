//! What waits for a connected client is sent as far as quota, socket and this call's budget allow.

use super::encode::Turn;
use crate::collections::SlotKey;
use crate::counters::DropReason;
use crate::engine::Engine;
use crate::ids::{ConnId, MessageKey};
use crate::outbox::Outbox;
use crate::sessions::Session;
use crate::sessions::inflight::{Sent, Step};
use crate::storage::StoreOp;
use mqtt_proto::planted;
use mqtt_proto::{Packet, PacketId, QoS, ReasonCode};

impl Engine {
    /// First what was in flight on an earlier connection, in its order, then the queue [MQTT-4.4.0-1, 4.6.0-5].
    pub(crate) fn drain(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(conn) = self.conn(id) else { return };
        let Some(key) = conn.session() else { return };
        let waits = |session: &Session| {
            !session.queue.is_empty() || session.inflight.len() > usize::from(conn.resent)
        };
        if conn.scans.is_empty() && !self.sessions.get(key).is_some_and(waits) {
            return;
        }
        while self.has_more(id, key) {
            if self.budget == 0 || !self.can_send(id) {
                if !self.is_held(id) {
                    self.drain_later(id);
                }
                return;
            }
            self.budget -= 1;
            if !self.resend_next(id, key, out) {
                self.send_next(id, key, out);
            }
        }
        self.refill(key);
        self.resume_scans(id, key, out);
    }

    /// Is there something that may be sent, quota permitting?
    fn has_more(&self, id: ConnId, key: SlotKey) -> bool {
        let (Some(conn), Some(session)) = (self.conn(id), self.sessions.get(key)) else { return false };
        match session.inflight.get(usize::from(conn.resent)) {
            // PUBREL does not need quota.
            Some(sent) => conn.has_quota() || matches!(sent.step, Step::Released(_)),
            None => match session.queue.front() {
                Some(delivery) => delivery.qos == QoS::AtMostOnce || self.has_room(conn, session),
                None => false,
            },
        }
    }

    /// Sends the next delivery of an earlier connection again; `false` when all were.
    fn resend_next(&mut self, id: ConnId, key: SlotKey, out: &mut Outbox) -> bool {
        let Some(index) = self.conn(id).map(|conn| usize::from(conn.resent)) else { return false };
        let Some(sent) = self.sessions.get(key).and_then(|session| session.inflight.get(index)) else {
            return false;
        };
        let packet_id = sent.id;
        let publish = match &sent.step {
            Step::Published(delivery) => Some(delivery.clone()),
            Step::Released(_) => None,
        };
        if let Some(conn) = self.conn_mut(id) {
            conn.resent += 1;
            conn.outstanding = conn.outstanding.saturating_add(1);
        }
        match publish {
            None if planted!("pubrel-not-resent") => {}
            None => self.send_ack(id, Packet::PubRel, packet_id, ReasonCode::Success, out),
            Some(delivery) if planted!("expiry-ends-exchange") && self.is_expired(delivery.message) => {
                self.drop_inflight(id, key, index, DropReason::Expired, out);
            }
            Some(delivery) => {
                let Some(buffer) = self.messages.get(delivery.message).map(super::message::Message::buffer)
                else {
                    return true;
                };
                let again = Turn { dup: !planted!("resend-without-dup"), is_kept: false };
                if self.is_revoked(key, delivery.message) && !planted!("resend-skips-permissions") {
                    self.drop_inflight(id, key, index, DropReason::AclRevoked, out);
                } else if !self.send_in_flight(id, &buffer, &delivery, (packet_id, again), out) {
                    // The client takes smaller packets now than when it was sent first.
                    self.drop_inflight(id, key, index, DropReason::PacketTooLarge, out);
                }
            }
        }
        true
    }

    /// What a PUBLISH waited for at the store's gate is kept: it leaves, unless it has expired before its first time
    /// [MQTT-3.3.2-5], or may not be read any more.
    pub(crate) fn send_held(&mut self, id: ConnId, packet_id: PacketId, dup: bool, out: &mut Outbox) {
        let Some((key, index)) = self.find_inflight(id, packet_id) else { return };
        let sent = self.sessions.get(key).and_then(|session| session.inflight.get(index));
        let Some(delivery) = sent.and_then(Sent::delivery).cloned() else { return };
        if !dup && self.is_expired(delivery.message) {
            self.drop_inflight(id, key, index, DropReason::Expired, out);
            self.drain_later(id);
        } else if self.is_revoked(key, delivery.message) {
            self.drop_inflight(id, key, index, DropReason::AclRevoked, out);
            self.drain_later(id);
        } else if let Some(buffer) = self.messages.get(delivery.message).map(super::message::Message::buffer)
        {
            let turn = Turn { dup, is_kept: true };
            self.send_in_flight(id, &buffer, &delivery, (packet_id, turn), out);
        }
    }

    /// The same for one of QoS 0, which counts as completed since it left the queue.
    pub(crate) fn send_once(&mut self, id: ConnId, topic: &str, frame: &[u8], out: &mut Outbox) {
        let Some(key) = self.conn(id).and_then(crate::connections::Connection::session) else { return };
        if self.sessions.get(key).is_some_and(|session| session.may_read(topic)) {
            if let Some(count) = self.counters.publish_sent.first_mut() {
                *count += 1;
            }
            return self.send_now(id, frame, out);
        }
        self.counters.completed -= 1;
        self.dropped(key, topic, DropReason::AclRevoked, out);
    }

    /// May the session's client not read a message any more that waits for it?
    fn is_revoked(&self, key: SlotKey, message: MessageKey) -> bool {
        let restricted = self.sessions.get(key).filter(|session| session.permissions.is_some());
        restricted.is_some_and(|session| {
            let buffer = self.messages.get(message).map(super::message::Message::buffer);
            buffer.is_some_and(|buffer| !session.may_read(buffer.publication().topic))
        })
    }

    fn send_next(&mut self, id: ConnId, key: SlotKey, out: &mut Outbox) {
        let Some(front) = self.sessions.get(key).and_then(|session| session.queue.front()) else { return };
        if self.is_expired(front.message) {
            self.drop_queued(key, 0, DropReason::Expired, out);
            return self.refill(key);
        }
        if self.is_revoked(key, front.message) && !planted!("queue-skips-permissions") {
            self.drop_queued(key, 0, DropReason::AclRevoked, out);
            return self.refill(key);
        }
        let Some(delivery) = self.unqueue(key, 0) else { return };
        self.refill(key);
        let Some(buffer) = self.messages.get(delivery.message).map(super::message::Message::buffer) else {
            return;
        };
        let publication = buffer.publication();
        if delivery.qos != QoS::AtMostOnce {
            self.start(id, key, delivery, &publication, out);
            return self.flush_templates(out);
        }
        let (message, position) = (delivery.message, delivery.position);
        let touched = self.gates.begin_taking_out();
        self.store_for(key, |client_id| StoreOp::RemoveQueued { client_id, position });
        let sent = self.send_publish(
            id,
            &publication,
            Some(message),
            delivery.qos,
            delivery.retain,
            None,
            &delivery.ids,
            out,
        );
        self.gates.end_taking_out(touched);
        if sent {
            self.counters.completed += 1;
        } else {
            self.dropped(key, publication.topic, DropReason::PacketTooLarge, out);
        }
        self.flush_templates(out);
        self.messages.let_go(&delivery);
    }
}
