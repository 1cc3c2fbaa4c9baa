//! What came to a session by a shared subscription goes to another member of the group when the session ends.
//!
//! It is a new delivery: the other member's QoS, options and identifiers, in the order in which it was first
//! delivered, with what is left of the message's life.

use super::Publication;
use super::message::Message;
use crate::counters::DropReason;
use crate::engine::Engine;
use crate::ids::MessageKey;
use crate::outbox::Outbox;
use crate::sessions::inflight::{Sent, Step};
use crate::sessions::{Delivery, Session};
use crate::topics::GroupId;
use mqtt_proto::{QoS, planted};

impl Engine {
    /// Gives up or hands on everything that a session had, which is removed already; `reason` is for what is given
    /// up. What only the store has of its queue is given up: its facts end with the session.
    pub(crate) fn hand_on_all(&mut self, session: &mut Session, reason: DropReason, out: &mut Outbox) {
        let client_id = &*session.client_id;
        for sent in session.inflight.take_all() {
            match sent {
                Sent { step: Step::Published(delivery), .. }
                    if delivery.qos == QoS::AtLeastOnce || planted!("shared-qos2-handed-on") =>
                {
                    self.hand_on(client_id, &delivery, reason, out);
                }
                // What was begun at QoS 2 is for nobody else [MQTT-4.8.2-5].
                Sent { step: Step::Published(delivery), .. } => {
                    self.give_up(client_id, &delivery, reason, out);
                }
                // With PUBREC the client has it.
                Sent { step: Step::Released(_), .. } => self.counters.completed += 1,
            }
        }
        for delivery in session.queue.take_head() {
            self.hand_on(client_id, &delivery, reason, out);
        }
        for _ in 0..session.queue.forget_paged() {
            self.dropped_after_end(client_id, "", reason, out);
        }
    }

    fn hand_on(&mut self, client_id: &str, delivery: &Delivery, reason: DropReason, out: &mut Outbox) {
        let group = delivery.group.filter(|_| !planted!("shared-not-handed-on"));
        let Some(group) = group else { return self.give_up(client_id, delivery, reason, out) };
        self.budget = self.budget.saturating_sub(1);
        if self.is_expired(delivery.message) {
            return self.give_up(client_id, delivery, DropReason::Expired, out);
        }
        if let Some(buffer) = self.messages.get(delivery.message).map(Message::buffer) {
            let mut kept = Some(delivery.message);
            self.hand_to_another(client_id, &buffer.publication(), &mut kept, group, out);
            self.flush_templates(out);
        }
        self.messages.let_go(delivery);
    }

    fn give_up(&mut self, client_id: &str, delivery: &Delivery, reason: DropReason, out: &mut Outbox) {
        let buffer = self.messages.get(delivery.message).map(Message::buffer);
        let topic = buffer.as_ref().map_or("", |buffer| buffer.publication().topic);
        self.dropped_after_end(client_id, topic, reason, out);
        self.messages.let_go(delivery);
    }

    /// To the member of a shared group whose turn it is, instead of the client for whom it is counted as routed.
    pub(crate) fn hand_to_another(
        &mut self,
        client_id: &str,
        publication: &Publication<'_>,
        kept: &mut Option<MessageKey>,
        group: GroupId,
        out: &mut Outbox,
    ) {
        match self.choose_member(group, publication) {
            Some(recipient) => {
                // Once more for the same message.
                self.counters.routed -= 1;
                self.deliver(publication, kept, recipient, out);
            }
            None => self.dropped_after_end(client_id, publication.topic, DropReason::SharedNoMember, out),
        }
    }
}
