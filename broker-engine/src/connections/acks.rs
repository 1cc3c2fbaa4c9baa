//! The client's acknowledgements of our deliveries.

use crate::collections::SlotKey;
use crate::counters::DropReason;
use crate::engine::Engine;
use crate::ids::ConnId;
use crate::outbox::Outbox;
use crate::sessions::inflight::{Sent, Step};
use crate::storage::StoreOp;
use alloc::string::ToString;
use mqtt_proto::planted;
use mqtt_proto::{Ack, AckProperties, Packet, PacketId, QoS, ReasonCode};

impl Engine {
    /// QoS 1: the end. An unknown identifier is ignored.
    pub(crate) fn puback(&mut self, id: ConnId, ack: &Ack<'_>, out: &mut Outbox) {
        let Some((key, index)) = self.find_inflight(id, ack.packet_id) else { return };
        if self.qos_in_flight(key, index) == Some(QoS::AtLeastOnce) {
            if ack.reason.is_error() {
                self.drop_inflight(id, key, index, DropReason::ClientRejected, out);
            } else {
                self.tell_acknowledged(key, index, out);
                self.finish(id, key, index);
            }
            self.drain(id, out);
        }
    }

    /// QoS 2, half way: the message is no longer ours to repeat [MQTT-4.3.3-4].
    pub(crate) fn pubrec(&mut self, id: ConnId, ack: &Ack<'_>, out: &mut Outbox) {
        let Some((key, index)) = self.find_inflight(id, ack.packet_id) else {
            self.send_ack(id, Packet::PubRel, ack.packet_id, ReasonCode::PacketIdNotFound, out);
            return;
        };
        match self.qos_in_flight(key, index) {
            // PUBREC repeated, or for a QoS 1 delivery: PUBREL answers the first, the second means nothing.
            None => self.send_ack(id, Packet::PubRel, ack.packet_id, ReasonCode::Success, out),
            Some(QoS::ExactlyOnce) if ack.reason.is_error() => {
                self.drop_inflight(id, key, index, DropReason::ClientRejected, out);
                if planted!("quota-leak")
                    && let Some(conn) = self.conn_mut(id)
                {
                    conn.outstanding += 1;
                }
                self.drain(id, out);
            }
            Some(QoS::ExactlyOnce) => {
                let was_full = self.sessions.get(key).is_some_and(|session| self.is_full_in_flight(session));
                self.tell_acknowledged(key, index, out);
                if !planted!("publish-after-pubrec") {
                    self.release_delivery(key, index);
                }
                self.send_ack(id, Packet::PubRel, ack.packet_id, ReasonCode::Success, out);
                if was_full {
                    self.drain(id, out);
                }
            }
            Some(_) => {}
        }
    }

    /// QoS 2: the end.
    pub(crate) fn pubcomp(&mut self, id: ConnId, packet_id: PacketId, out: &mut Outbox) {
        let Some((key, index)) = self.find_inflight(id, packet_id) else { return };
        if self.qos_in_flight(key, index).is_none() {
            self.finish(id, key, index);
            self.drain(id, out);
        }
    }

    pub(crate) fn find_inflight(&self, id: ConnId, packet_id: PacketId) -> Option<(SlotKey, usize)> {
        let key = self.conn(id)?.session()?;
        let index = self.sessions.get(key)?.inflight.find(packet_id)?;
        // What was not sent on this connection yet cannot have been acknowledged on it.
        (index < usize::from(self.conn(id)?.resent)).then_some((key, index))
    }

    /// QoS of a delivery in flight; `None` once it waits for PUBCOMP.
    fn qos_in_flight(&self, key: SlotKey, index: usize) -> Option<QoS> {
        match &self.sessions.get(key)?.inflight.get(index)?.step {
            Step::Published(delivery) => Some(delivery.qos),
            Step::Released(_) => None,
        }
    }

    fn release_delivery(&mut self, key: SlotKey, index: usize) {
        let Self { sessions, messages, .. } = self;
        let Some(inflight) = sessions.get_mut(key).map(|session| &mut session.inflight) else { return };
        let Some(packet_id) = inflight.get(index).map(|sent| sent.id.get()) else { return };
        let Some(position) = inflight.release(index, |delivery| messages.let_go(delivery)) else { return };
        self.count_session(key);
        self.store_for(key, |client_id| StoreOp::PutInflight {
            client_id,
            position,
            packet_id,
            released: !planted!("release-not-kept"),
        });
    }

    /// The client has it.
    pub(crate) fn finish(&mut self, id: ConnId, key: SlotKey, index: usize) {
        self.counters.completed += 1;
        self.end_exchange(id, key, index);
    }

    /// Gives up a delivery in flight that is not released.
    pub(crate) fn drop_inflight(
        &mut self,
        id: ConnId,
        key: SlotKey,
        index: usize,
        reason: DropReason,
        out: &mut Outbox,
    ) {
        let sent = self.sessions.get(key).and_then(|session| session.inflight.get(index));
        let Some(message) = sent.and_then(Sent::delivery).map(|delivery| delivery.message) else { return };
        self.dropped_kept(key, message, reason, out);
        self.end_exchange(id, key, index);
    }

    /// An exchange is over: identifier and quota are free again.
    fn end_exchange(&mut self, id: ConnId, key: SlotKey, index: usize) {
        let Self { sessions, messages, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return };
        let forgotten = session.inflight.remove(index, |delivery| messages.let_go(delivery));
        let Some((position, released)) = forgotten else { return };
        if let Some(conn) = self.conn_mut(id) {
            conn.outstanding = conn.outstanding.saturating_sub(1);
            conn.resent = conn.resent.saturating_sub(1);
        }
        if released {
            self.count_session(key);
        }
        if planted!("delivered-is-kept") {
            return;
        }
        self.store_for(key, |client_id| StoreOp::RemoveQueued { client_id, position });
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP without properties, behind what it promises.
    pub(crate) fn send_ack(
        &mut self,
        id: ConnId,
        kind: impl Fn(Ack<'static>) -> Packet<'static>,
        packet_id: PacketId,
        reason: ReasonCode,
        out: &mut Outbox,
    ) {
        let packet = kind(Ack { packet_id, reason, properties: AckProperties::default() });
        self.send_gated(id, &packet, out);
    }

    /// Emits a store operation about a session that outlives its connection.
    pub(crate) fn store_for(&mut self, key: SlotKey, op: impl FnOnce(alloc::string::String) -> StoreOp) {
        if !self.gates.is_on() {
            return;
        }
        if let Some(session) = self.sessions.get(key).filter(|session| session.is_stored()) {
            let op = op(session.client_id.to_string());
            self.gates.emit(op);
        }
    }

    /// Keeps the session's own facts.
    pub(crate) fn store_session(&mut self, key: SlotKey) {
        if !self.gates.is_on() {
            return;
        }
        if let Some(session) = self.sessions.get(key) {
            let client_id = session.client_id.to_string();
            let op = if session.is_stored() {
                let username = session.username.as_deref().map(ToString::to_string);
                // A timer may have ended its connection some time before this call.
                let away = session.conn.is_none().then(|| self.called_at.since(self.now));
                StoreOp::PutSession { client_id, expiry: session.expiry, username, away }
            } else {
                StoreOp::EndSession { client_id }
            };
            self.gates.emit(op);
        }
    }
}
