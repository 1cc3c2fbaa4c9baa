//! Deliveries that are given up: each is counted under one reason, and told of where that was asked for.

use super::message::{Message, MessageBuffer};
use crate::collections::SlotKey;
use crate::counters::DropReason;
use crate::engine::Engine;
use crate::hooks::{Interest, Note};
use crate::ids::MessageKey;
use crate::outbox::Outbox;
use alloc::string::ToString;

impl Engine {
    /// A session does not get a message.
    pub(crate) fn dropped(&mut self, key: SlotKey, topic: &str, reason: DropReason, out: &mut Outbox) {
        self.counters.drop_one(reason);
        if self.tells_of_drops() {
            let client_id = self.sessions.get(key).map_or("", |session| &*session.client_id);
            out.notes.push(note(client_id, topic, reason));
        }
    }

    /// The same for a message that is kept; before it is let go of.
    pub(crate) fn dropped_kept(
        &mut self,
        key: SlotKey,
        message: MessageKey,
        reason: DropReason,
        out: &mut Outbox,
    ) {
        // Nobody needs the topic otherwise.
        let buffer = self.messages.get(message).filter(|_| self.tells_of_drops()).map(Message::buffer);
        let publication = buffer.as_ref().map(MessageBuffer::publication);
        self.dropped(key, publication.map_or("", |publication| publication.topic), reason, out);
    }

    /// The same for a client whose session is removed already, or for nobody.
    pub(crate) fn dropped_after_end(
        &mut self,
        client_id: &str,
        topic: &str,
        reason: DropReason,
        out: &mut Outbox,
    ) {
        self.counters.drop_one(reason);
        if self.tells_of_drops() {
            out.notes.push(note(client_id, topic, reason));
        }
    }

    /// A hook keeps a message from everybody. It is not known who would have got it, so it counts as one delivery.
    pub(crate) fn discarded(&mut self, topic: &str, out: &mut Outbox) {
        self.counters.routed += 1;
        self.dropped_after_end("", topic, DropReason::HookDropped, out);
    }

    fn tells_of_drops(&self) -> bool {
        self.config.interest.contains(Interest::DROPS)
    }
}

fn note(client_id: &str, topic: &str, reason: DropReason) -> Note {
    Note::MessageDropped { client_id: client_id.to_string(), topic: topic.to_string(), reason }
}
