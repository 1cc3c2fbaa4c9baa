//! One message for one session: sent now, queued, or dropped for a counted reason.

use super::{Publication, Recipient};
use crate::collections::SlotKey;
use crate::config::QueueFull;
use crate::connections::Connection;
use crate::counters::DropReason;
use crate::engine::Engine;
use crate::ids::{ConnId, MessageKey};
use crate::outbox::Outbox;
use crate::sessions::{Delivery, Session, SubIds};
use crate::storage::{Lifetime, StoreOp, StorePressure, StoredDelivery};
use crate::topics::GroupId;
use mqtt_proto::{QoS, planted};

impl Engine {
    /// `kept` is the message's place in the store once anybody needs it there; the caller holds a reference.
    pub(crate) fn deliver(
        &mut self,
        publication: &Publication<'_>,
        kept: &mut Option<MessageKey>,
        recipient: Recipient,
        out: &mut Outbox,
    ) {
        let key = recipient.session;
        let Some(session) = self.sessions.get(key) else {
            // It ended since a sliced fan-out was cut off, and with it who it was.
            self.counters.routed += 1;
            return self.dropped_after_end("", publication.topic, DropReason::SessionEnded, out);
        };
        if !session.may_read(publication.topic) {
            return;
        }
        self.counters.routed += 1;
        let conn = session.conn;
        let qos = publication.qos.min(recipient.qos);
        let qos = if planted!("qos-as-published") { publication.qos } else { qos };
        let retain = publication.retain
            && recipient.retain_as_published
            && !(planted!("retain-flag-lost-offline") && conn.is_none());
        if qos == QoS::AtMostOnce {
            // Messages of QoS 0 may still wait from when the client was away, and go first [MQTT-4.6.0-5].
            let behind = self.config.queue_qos0_offline && session.queue.holds_qos0();
            match conn {
                Some(conn) if behind && self.can_send(conn) && !planted!("qos0-overtakes") => {}
                Some(conn) if self.can_send(conn) => {
                    if self.send_publish(conn, publication, *kept, qos, retain, None, &recipient.ids, out) {
                        self.counters.completed += 1;
                    } else {
                        self.dropped(key, publication.topic, DropReason::PacketTooLarge, out);
                    }
                    return;
                }
                Some(conn) => {
                    let greeted = self.conn(conn).is_some_and(Connection::is_greeted);
                    let reason = if greeted { DropReason::Qos0SlowReader } else { DropReason::Qos0Offline };
                    return self.dropped(key, publication.topic, reason, out);
                }
                None if !self.config.queue_qos0_offline || self.store_pressure >= StorePressure::High => {
                    return self.dropped(key, publication.topic, DropReason::Qos0Offline, out);
                }
                None => {}
            }
        }
        let message = *kept.get_or_insert_with(|| self.messages.insert(publication));
        self.messages.retain(message);
        self.start_or_queue(key, message, publication, (qos, retain, recipient.ids, recipient.group), out);
    }

    /// Sends a delivery that outlives this call, or lines it up; takes over one reference to `message`.
    pub(crate) fn start_or_queue(
        &mut self,
        key: SlotKey,
        message: MessageKey,
        publication: &Publication<'_>,
        (qos, retain, ids, group): (QoS, bool, SubIds, Option<GroupId>),
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get(key) else {
            self.messages.release(message);
            return;
        };
        let (conn, is_first) = (session.conn, session.queue.is_empty());
        let starts = conn.filter(|id| is_first && self.may_start(*id, session));
        let position = session.position;
        if let Some(session) = self.sessions.get_mut(key) {
            session.position += 1;
        }
        let delivery = Delivery { message, qos, retain, ids, group, position };
        self.messages.take_on(&delivery);
        self.store_queued(key, &delivery, publication);
        if let Some(conn) = starts {
            return self.start(conn, key, delivery, publication, out);
        }
        self.enqueue(key, delivery, publication.topic, out);
        // What this call has sent already may be all that keeps it, and then no input tells that there is room again.
        if let Some(conn) = conn.filter(|conn| is_first && !self.can_send(*conn) && !self.is_held(*conn)) {
            self.drain_later(conn);
        }
    }

    /// Is there quota and room in the socket for a new delivery, and nothing to be sent again before it?
    fn may_start(&self, id: ConnId, session: &Session) -> bool {
        self.conn(id).is_some_and(|conn| {
            self.has_room(conn, session) && conn.can_send(self.call, self.config.egress_high)
        })
    }

    /// May one more delivery be in flight, with all of an earlier connection sent again? What is in flight is
    /// bounded in bytes too, but one message always may.
    pub(crate) fn has_room(&self, conn: &Connection, session: &Session) -> bool {
        conn.has_quota()
            && usize::from(conn.resent) == session.inflight.len()
            && !self.is_full_in_flight(session)
    }

    /// Do the bytes in flight keep more from being sent?
    pub(crate) fn is_full_in_flight(&self, session: &Session) -> bool {
        session.inflight.bytes() >= u64::from(self.config.max_queued_bytes.max(1))
    }

    /// Could a new delivery be sent at once, as far as the client's acknowledgements go?
    pub(crate) fn has_window(&self, id: ConnId, key: SlotKey) -> bool {
        let (Some(conn), Some(session)) = (self.conn(id), self.sessions.get(key)) else { return false };
        self.has_room(conn, session) && session.queue.is_empty()
    }

    /// First transmission of a QoS 1 or 2 delivery.
    pub(crate) fn start(
        &mut self,
        id: ConnId,
        key: SlotKey,
        delivery: Delivery,
        publication: &Publication<'_>,
        out: &mut Outbox,
    ) {
        let Some(packet_id) = self.sessions.get_mut(key).and_then(|session| session.inflight.next_id())
        else {
            return self.enqueue(key, delivery, publication.topic, out);
        };
        let (message, position) = (delivery.message, delivery.position);
        let size = publication.size() + delivery.ids.kept();
        let number = packet_id.get();
        let touched = delivery.qos == QoS::ExactlyOnce && self.gates.begin_delivery();
        self.store_for(key, |client_id| StoreOp::PutInflight {
            client_id,
            position,
            packet_id: if planted!("identifier-not-kept") { 1 } else { number },
            released: false,
        });
        let sent = self.send_publish(
            id,
            publication,
            Some(message),
            delivery.qos,
            delivery.retain,
            Some(packet_id),
            &delivery.ids,
            out,
        );
        self.gates.end_delivery(touched);
        if !sent {
            return self.give_up_too_large(key, delivery, publication, out);
        }
        if let Some(conn) = self.conn_mut(id) {
            conn.outstanding += 1;
            conn.resent += 1;
        }
        if let Some(session) = self.sessions.get_mut(key) {
            session.inflight.push(packet_id, delivery, size);
        }
    }

    /// A delivery that its client does not take is as if it were delivered: neither identifier nor quota is used
    /// [MQTT-3.1.2-25].
    #[cold]
    fn give_up_too_large(
        &mut self,
        key: SlotKey,
        delivery: Delivery,
        publication: &Publication<'_>,
        out: &mut Outbox,
    ) {
        if planted!("too-large-stalls") {
            return self.enqueue(key, delivery, publication.topic, out);
        }
        self.messages.let_go(&delivery);
        self.dropped(key, publication.topic, DropReason::PacketTooLarge, out);
        let position = delivery.position;
        self.store_for(key, |client_id| StoreOp::RemoveQueued { client_id, position });
    }

    /// Queues a delivery; a full queue lets something go, by the configured rule. A page is asked for when it is settled
    /// what the store keeps of this.
    pub(crate) fn enqueue(&mut self, key: SlotKey, delivery: Delivery, topic: &str, out: &mut Outbox) {
        self.push_or_drop(key, delivery, topic, out);
        self.refill(key);
    }

    fn push_or_drop(&mut self, key: SlotKey, delivery: Delivery, topic: &str, out: &mut Outbox) {
        let size = self.messages.size_of(&delivery);
        let (max_messages, max_bytes) =
            (self.config.max_queued_messages as usize, u64::from(self.config.max_queued_bytes));
        loop {
            let Some(session) = self.sessions.get(key) else { return };
            let reason = if session.queue.len() >= max_messages {
                DropReason::QueueFull
            } else if session.queue.bytes() + size > max_bytes {
                DropReason::QuotaBytes
            } else {
                break;
            };
            let first_qos0 = session.queue.first_qos0();
            // Of what waits in the store alone nothing can be let go, and nothing is worth letting go for what has no
            // room even then.
            let drop_new = session.queue.in_memory() == 0
                || size > max_bytes
                || (first_qos0.is_none() && delivery.qos == QoS::AtMostOnce)
                || self.config.queue_full == QueueFull::DropNew;
            if drop_new {
                self.messages.let_go(&delivery);
                self.dropped(key, topic, reason, out);
                let position = delivery.position;
                self.store_for(key, |client_id| StoreOp::RemoveQueued { client_id, position });
                return;
            }
            self.drop_queued(key, first_qos0.unwrap_or(0), reason, out);
        }
        let window = self.window();
        let pages = self.gates.is_on();
        let Some(session) = self.sessions.get_mut(key) else { return };
        if pages && session.is_stored() && session.queue.is_beyond(window, size) {
            session.queue.page(delivery.position, size, delivery.qos);
            self.messages.let_go(&delivery);
        } else {
            session.queue.push(delivery, size);
        }
    }

    /// Gives up a waiting delivery.
    pub(crate) fn drop_queued(&mut self, key: SlotKey, index: usize, reason: DropReason, out: &mut Outbox) {
        let Some(delivery) = self.unqueue(key, index) else { return };
        if !planted!("silent-loss") {
            self.dropped_kept(key, delivery.message, reason, out);
        }
        self.messages.let_go(&delivery);
        let position = delivery.position;
        self.store_for(key, |client_id| StoreOp::RemoveQueued { client_id, position });
    }

    /// Takes a delivery out of the queue; its message reference goes with it.
    pub(crate) fn unqueue(&mut self, key: SlotKey, index: usize) -> Option<Delivery> {
        let messages = &self.messages;
        self.sessions.get_mut(key)?.queue.remove(index, |delivery| messages.size_of(delivery))
    }

    fn store_queued(&mut self, key: SlotKey, delivery: &Delivery, publication: &Publication<'_>) {
        if !self.gates.is_on() {
            return;
        }
        let now = self.called_at;
        let share = delivery.group.and_then(|group| self.index.group_filter(group));
        let lifetime = publication.expiry.lifetime(now);
        let lifetime = if planted!("kept-for-ever") { Lifetime::default() } else { lifetime };
        self.store_for(key, |client_id| StoreOp::PutQueued {
            client_id,
            delivery: StoredDelivery {
                position: delivery.position,
                publish: super::encode::stored_publish(publication, delivery.retain),
                qos: delivery.qos,
                lifetime,
                subscription_ids: delivery.ids.as_slice().to_vec(),
                share,
            },
        });
    }
}
