//! What is told of messages, where anybody asked for it: published, sent, acknowledged, retained.

use super::Publication;
use super::message::{Message, MessageBuffer};
use crate::collections::SlotKey;
use crate::connections::Connection;
use crate::engine::Engine;
use crate::hooks::{Interest, Note, RetainedChange};
use crate::ids::ConnId;
use crate::outbox::Outbox;
use crate::sessions::inflight::Sent;
use alloc::string::{String, ToString};
use mqtt_proto::QoS;

impl Engine {
    /// A message goes to whoever subscribed.
    #[inline]
    pub(crate) fn tell_published(&self, publication: &Publication<'_>, out: &mut Outbox) {
        if self.config.interest.contains(Interest::MESSAGES) {
            self.note_published(publication, out);
        }
    }

    /// A PUBLISH leaves to a client.
    #[inline]
    pub(crate) fn tell_sent(&self, id: ConnId, topic: &str, how: (QoS, bool, bool), out: &mut Outbox) {
        if self.config.interest.contains(Interest::DELIVERIES) {
            self.note_sent(id, topic, how, out);
        }
    }

    /// The client has a message of QoS 1 or 2; it is not let go of yet.
    #[inline]
    pub(crate) fn tell_acknowledged(&self, key: SlotKey, index: usize, out: &mut Outbox) {
        if self.config.interest.contains(Interest::DELIVERIES) {
            self.note_acknowledged(key, index, out);
        }
    }

    // Beside the way of every delivery, which has but a branch for them.

    #[cold]
    fn note_published(&self, publication: &Publication<'_>, out: &mut Outbox) {
        out.notes.push(Note::MessagePublished {
            client_id: self.name_of(publication.publisher),
            topic: publication.topic.to_string(),
            qos: publication.qos,
            retain: publication.retain,
        });
    }

    #[cold]
    fn note_sent(&self, id: ConnId, topic: &str, (qos, retain, dup): (QoS, bool, bool), out: &mut Outbox) {
        let client_id = self.name_of(self.conn(id).and_then(Connection::session));
        out.notes.push(Note::MessageSent { client_id, topic: topic.to_string(), qos, retain, dup });
    }

    #[cold]
    fn note_acknowledged(&self, key: SlotKey, index: usize, out: &mut Outbox) {
        if let Some(session) = self.sessions.get(key)
            && let Some(delivery) = session.inflight.get(index).and_then(Sent::delivery)
        {
            let buffer = self.messages.get(delivery.message).map(Message::buffer);
            let publication = buffer.as_ref().map(MessageBuffer::publication);
            let topic = publication.map_or("", |publication| publication.topic).to_string();
            let client_id = session.client_id.to_string();
            out.notes.push(Note::MessageAcknowledged { client_id, topic, qos: delivery.qos });
        }
    }

    /// A topic has another retained message, or none any more.
    pub(crate) fn tell_retained(&self, topic: &str, change: RetainedChange, out: &mut Outbox) {
        if self.config.interest.contains(Interest::RETAINED) {
            out.notes.push(Note::RetainedChanged { topic: topic.to_string(), change });
        }
    }

    /// Client identifier of a session; empty for the broker itself, and who is gone.
    fn name_of(&self, key: Option<SlotKey>) -> String {
        let session = key.and_then(|key| self.sessions.get(key));
        session.map_or_else(String::new, |session| session.client_id.to_string())
    }
}
