//! The will: kept as its packet was, due when the connection ends badly, sent at most once.

use crate::collections::SlotKey;
use crate::connections::forwarded;
use crate::delivery::Publication;
use crate::engine::Engine;
use crate::outbox::Outbox;
use alloc::{boxed::Box, vec::Vec};
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

/// Bytes of a will beside its text and payload.
const WILL: u64 = 96;

impl Will {
    /// Bytes that it keeps.
    pub(crate) fn kept(&self) -> u64 {
        (self.topic.len() + self.payload.len() + self.properties.len()) as u64 + WILL
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
    /// Publishes the session's will, if it has one. Its expiry counts from now.
    pub(crate) fn send_will(&mut self, key: SlotKey, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.will_at = None;
        let twice = planted!("will-sent-twice").then(|| session.will.clone()).flatten();
        let Some(will) = session.will.take() else { return };
        session.will = twice;
        self.count_session(key);
        if !self.may_publish(key, &will.topic) {
            // It was allowed when it was set.
            self.counters.publish_refused += 1;
            return;
        }
        self.counters.wills_sent += 1;
        let publication = Publication {
            topic: &will.topic,
            properties: &will.properties,
            payload: &will.payload,
            qos: will.qos,
            retain: will.retain,
            expiry: self.expiry(self.now, will.message_expiry),
            publisher: Some(key),
        };
        if will.retain {
            // Over quota the live copies still go out.
            let _over_quota = self.retain(&publication);
        }
        self.route(&publication, None, out);
    }
}
