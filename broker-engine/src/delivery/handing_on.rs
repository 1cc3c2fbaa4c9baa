//! What came to a session by a shared subscription goes to another member of the group when the session ends.
//!
//! It is a new delivery: the other member's QoS, options and identifiers, in the order in which it was first
//! delivered, with what is left of the message's life.

use super::Publication;
use crate::counters::DropReason;
use crate::engine::Engine;
use crate::ids::MessageKey;
use crate::outbox::Outbox;
use crate::sessions::inflight::{Sent, Step};
use crate::sessions::{Delivery, Session};
use crate::topics::GroupId;
use mqtt_proto::QoS;

impl Engine {
    /// Gives up or hands on everything that a session had, which is removed already; `reason` is for what is given
    /// up. What only the store has of its queue is given up: its facts end with the session.
    pub(crate) fn hand_on_all(&mut self, session: &mut Session, reason: DropReason, out: &mut Outbox) {
        for sent in session.inflight.take_all() {
            match sent {
                Sent { step: Step::Published(delivery), .. } if delivery.qos == QoS::AtLeastOnce => {
                    self.hand_on(&delivery, reason, out);
                }
                // What was begun at QoS 2 is for nobody else [MQTT-4.8.2-5].
                sent => {
                    sent.delivery().map(|delivery| self.messages.let_go(delivery));
                    self.counters.drop_one(reason);
                }
            }
        }
        for delivery in session.queue.take_head() {
            self.hand_on(&delivery, reason, out);
        }
        self.counters.drop_many(reason, session.queue.forget_paged());
    }

    fn hand_on(&mut self, delivery: &Delivery, reason: DropReason, out: &mut Outbox) {
        let buffer = self.messages.get(delivery.message).map(super::message::Message::buffer);
        match (buffer.as_ref().map(super::message::MessageBuffer::publication), delivery.group) {
            (Some(publication), Some(group)) => {
                self.budget = self.budget.saturating_sub(1);
                if self.is_expired(delivery.message) {
                    self.counters.drop_one(DropReason::Expired);
                } else {
                    let mut kept = Some(delivery.message);
                    self.hand_to_another(&publication, &mut kept, group, out);
                    self.flush_templates(out);
                }
            }
            _ => self.counters.drop_one(reason),
        }
        self.messages.let_go(delivery);
    }

    /// To the member of a shared group whose turn it is, instead of one for whom it is counted as routed.
    pub(crate) fn hand_to_another(
        &mut self,
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
            None => self.counters.drop_one(DropReason::SharedNoMember),
        }
    }
}
