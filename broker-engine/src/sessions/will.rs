//! The will: kept as its packet was, due when the connection ends badly, sent at most once.

use crate::application_message::ApplicationMessage;
use crate::collections::SlotKey;
use crate::connections::forwarded;
use crate::delivery::{Expiry, Publication, Routed, stored_publish};
use crate::engine::Engine;
use crate::hooks::{Interest, Note};
use crate::outbox::Outbox;
use crate::storage::{StoreOp, StoredWill};
use alloc::{boxed::Box, string::ToString, vec::Vec};
use mqtt_proto::{QoS, planted};
use serde::{Deserialize, Serialize};

/// A will as owned values.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Will {
    topic: Box<str>,
    payload: Vec<u8>,
    /// Encoded properties that go into the PUBLISH.
    properties: Vec<u8>,
    qos: QoS,
    retain: bool,
    message_expiry: Option<u32>,
    /// Will Delay Interval, seconds.
    pub(crate) delay: u32,
}

impl Will {
    pub(crate) fn new(will: &mqtt_proto::Will<'_>) -> Self {
        Self {
            topic: will.topic.as_str().into(),
            payload: will.payload.to_vec(),
            properties: forwarded(will.properties.raw()),
            qos: will.qos,
            retain: will.retain,
            message_expiry: will.properties.message_expiry_interval,
            delay: will.properties.will_delay_interval.unwrap_or(0),
        }
    }
}

impl Will {
    /// What a hook has put in place of a client's; `None` if it is no message that MQTT can carry.
    pub(crate) fn of_message(message: ApplicationMessage, delay: Option<u32>) -> Option<Self> {
        Some(Self {
            properties: message.forwarded()?,
            topic: message.topic.into(),
            payload: message.payload.to_vec(),
            qos: message.qos,
            retain: message.retain,
            message_expiry: message.message_expiry_interval,
            delay: delay.unwrap_or(0),
        })
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }
}

/// Bytes of a will beside its text and payload.
const WILL: u64 = 96;

impl Will {
    /// Bytes that it keeps.
    pub(crate) fn kept(&self) -> u64 {
        (self.topic.len() + self.payload.len() + self.properties.len()) as u64 + WILL
    }

    /// For the store.
    fn stored(&self) -> StoredWill {
        StoredWill {
            publish: stored_publish(&self.publication(Expiry::default(), None), self.retain),
            qos: self.qos,
            message_expiry: self.message_expiry,
            delay: self.delay,
        }
    }

    /// From the store, where its message was read as `publication`.
    pub(crate) fn from_stored(will: &StoredWill, publication: &Publication<'_>) -> Self {
        Self {
            topic: publication.topic.into(),
            payload: publication.payload.to_vec(),
            properties: publication.properties.to_vec(),
            qos: will.qos,
            retain: publication.retain,
            message_expiry: will.message_expiry,
            delay: will.delay,
        }
    }

    fn publication(&self, expiry: Expiry, publisher: Option<SlotKey>) -> Publication<'_> {
        Publication {
            topic: &self.topic,
            properties: &self.properties,
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
            expiry,
            publisher,
        }
    }

    pub(crate) fn mask_payload(&mut self) {
        self.payload.fill(mqtt_proto::FILLER);
    }

    /// Bytes that a will would keep, or less: properties that end at the broker are not yet out of it.
    pub(crate) fn would_keep(will: &mqtt_proto::Will<'_>) -> u64 {
        (will.topic.as_str().len() + will.payload.len() + will.properties.raw().len()) as u64 + WILL
    }
}

impl Engine {
    /// Publishes the session's will, if it has one, behind what its client has published. Says which it is where the store
    /// has to have it until later calls have delivered it.
    pub(crate) fn send_will(&mut self, key: SlotKey, out: &mut Outbox) -> Option<StoredWill> {
        let session = self.sessions.get_mut(key)?;
        session.will_at = None;
        let twice = planted!("will-sent-twice").then(|| session.will.clone()).flatten();
        let will = session.will.take()?;
        session.will = twice;
        self.count_session(key);
        if self.refuses_will(key, &will) {
            return None;
        }
        let client_id = self.sessions.get(key)?.client_id.clone();
        match self.line_up_will(key, will) {
            Ok(()) => self.will_that_waits(&client_id),
            Err(will) => self.publish_will((key, &client_id), &will, out),
        }
    }

    /// May a client not publish its will any more? It might when that was set. Where its session has ended, what it might
    /// then counts.
    pub(crate) fn refuses_will(&mut self, key: SlotKey, will: &Will) -> bool {
        if self.may_publish(key, &will.topic) || planted!("will-skips-permissions") {
            return false;
        }
        self.counters.publish_refused += 1;
        self.store_will(key);
        true
    }

    /// A will that hooks hold up, where the store has to have it until it is delivered.
    pub(crate) fn will_that_waits(&self, client_id: &str) -> Option<StoredWill> {
        self.undecided.will_of(client_id).filter(|_| self.gates.is_on()).map(Will::stored)
    }

    /// Publishes a will of a client whose session may have ended. Its expiry counts from now.
    pub(crate) fn publish_will(
        &mut self,
        (key, client_id): (SlotKey, &str),
        will: &Will,
        out: &mut Outbox,
    ) -> Option<StoredWill> {
        self.counters.wills_sent += 1;
        if self.config.interest.contains(Interest::CLIENTS) {
            out.notes.push(Note::WillSent { client_id: client_id.into(), topic: will.topic.to_string() });
        }
        let publication = will.publication(self.expiry(self.now, will.message_expiry), Some(key));
        if will.retain {
            // Over quota the live copies still go out.
            let _over_quota = self.retain(&publication, out);
        }
        // Where the host calls late it may be over already, which the fan-out finds out.
        let is_over = publication.expiry.at.is_some_and(|at| at <= self.called_at);
        let routed =
            if is_over { self.drop_for_all(&publication, None) } else { self.route(&publication, None, out) };
        // Forgotten behind its deliveries, so that no cut between loses it.
        match routed {
            Routed::Queued if self.gates.is_on() => {
                self.fanouts.is_will_of(client_id);
                Some(will.stored())
            }
            _ => {
                self.store_will_of(client_id);
                None
            }
        }
    }

    /// A will is delivered: the store forgets it, unless the client has another one by now.
    pub(crate) fn store_will_of(&mut self, client_id: &str) {
        match self.session_of(client_id) {
            Some(key) => self.store_will(key),
            None => self.gates.emit(StoreOp::RemoveWill { client_id: client_id.into() }),
        }
    }

    /// Keeps whether a session has a will, and which.
    pub(crate) fn store_will(&mut self, key: SlotKey) {
        if !self.gates.is_on() || planted!("will-not-kept") {
            return;
        }
        if let Some(session) = self.sessions.get(key) {
            let client_id = session.client_id.to_string();
            let op = match &session.will {
                Some(will) => StoreOp::PutWill { client_id, will: will.stored() },
                None => StoreOp::RemoveWill { client_id },
            };
            self.gates.emit(op);
        }
    }
}
