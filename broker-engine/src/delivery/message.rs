//! Messages: borrowed while they are routed, kept once and counted while anybody needs them.

use crate::collections::{KeyedIndex, SlotKey, Slots};
use crate::connections::forwarded;
use crate::ids::MessageKey;
use crate::sessions::Delivery;
use crate::storage::Lifetime;
use crate::time::Time;
use alloc::vec::Vec;
use bytes::Bytes;
use mqtt_proto::{Limits, Packet, QoS, Version, planted};
use serde::{Deserialize, Serialize};

/// When a message ends, and what its receivers are told about that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Expiry {
    /// From then on it is not delivered any more.
    pub(crate) at: Option<Time>,
    /// The publisher's own deadline. The broker's cap may come before it, and is never told.
    pub(crate) told: Option<Time>,
}

impl Expiry {
    /// For the store: how much is left.
    pub(crate) fn lifetime(self, now: Time) -> Lifetime {
        Lifetime { left: self.at.map(|at| at.since(now)), told: self.told.map(|at| at.since(now)) }
    }

    /// From the store.
    pub(crate) fn from_lifetime(lifetime: Lifetime, now: Time) -> Self {
        Self {
            at: lifetime.left.map(|left| now.after(left)),
            told: lifetime.told.map(|left| now.after(left)),
        }
    }

    /// Message Expiry Interval for a receiver: whole seconds left, the last one counted as one [MQTT-3.3.2-6].
    pub(crate) fn interval(self, now: Time) -> Option<u32> {
        let left = self.told?.since(now);
        let left = if planted!("expiry-grows") { left * 2 } else { left };
        Some(u32::try_from(left.as_micros().div_ceil(1_000_000)).unwrap_or(u32::MAX))
    }
}

/// A message on its way: everything that subscribers get, and what routing needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publication<'a> {
    pub(crate) topic: &'a str,
    /// Properties that travel unchanged, encoded: all but expiry, alias and Subscription Identifiers.
    pub(crate) properties: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expiry: Expiry,
    /// The publisher's session, for No Local and sticky choices.
    pub(crate) publisher: Option<SlotKey>,
}

impl Publication<'_> {
    /// Bytes that it takes when it is kept.
    pub(crate) fn size(&self) -> u64 {
        (self.topic.len() + self.properties.len() + self.payload.len()) as u64
    }
}

/// A message as a store has it, handed to `with`; `None` if it is none.
pub(crate) fn read_stored<R>(
    publish: &[u8],
    (qos, expiry): (QoS, Expiry),
    with: impl FnOnce(&Publication<'_>) -> R,
) -> Option<R> {
    let Ok(Some((Packet::Publish(publish), _))) = Packet::parse(publish, Version::V5, &Limits::NONE) else {
        return None;
    };
    let properties = forwarded(publish.properties.raw());
    Some(with(&Publication {
        topic: publish.topic?.as_str(),
        properties: &properties,
        payload: publish.payload,
        qos,
        retain: publish.retain,
        expiry,
        publisher: None,
    }))
}

/// A message kept for later: in a queue, in flight, as retained or will, or in a sliced fan-out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Topic, properties, payload, one after the other.
    data: Bytes,
    topic_len: u16,
    properties_len: u32,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expiry: Expiry,
    pub(crate) publisher: Option<SlotKey>,
    refs: u32,
}

impl Message {
    fn new(publication: &Publication<'_>) -> Self {
        let Publication { topic, properties, payload, .. } = *publication;
        let mut data = Vec::with_capacity(topic.len() + properties.len() + payload.len());
        data.extend_from_slice(topic.as_bytes());
        data.extend_from_slice(properties);
        data.extend_from_slice(payload);
        Self {
            data: Bytes::from(data),
            topic_len: u16::try_from(topic.len()).unwrap_or(u16::MAX),
            properties_len: u32::try_from(properties.len()).unwrap_or(u32::MAX),
            qos: publication.qos,
            retain: publication.retain,
            expiry: publication.expiry,
            publisher: publication.publisher,
            refs: 0,
        }
    }

    /// Bytes it keeps.
    pub(crate) fn size(&self) -> usize {
        self.data.len()
    }

    fn payload_at(&self) -> usize {
        usize::from(self.topic_len) + self.properties_len as usize
    }

    /// The payload as a shared buffer.
    pub(crate) fn shared_payload(&self) -> Bytes {
        self.data.slice(self.payload_at().min(self.data.len())..)
    }

    /// The whole buffer; cheap to clone, and then readable while the engine changes.
    pub(crate) fn buffer(&self) -> MessageBuffer {
        MessageBuffer { data: self.data.clone(), message: Self { data: Bytes::new(), ..*self } }
    }

    fn mask_payload(&mut self) {
        let mut data = self.data.to_vec();
        if let Some(payload) = data.get_mut(self.payload_at()..) {
            payload.fill(mqtt_proto::FILLER);
        }
        self.data = Bytes::from(data);
    }

    /// Would this make the same message?
    fn is(&self, publication: &Publication<'_>) -> bool {
        let Publication { topic, properties, payload, .. } = *publication;
        let parts = [topic.as_bytes(), properties, payload];
        let lens = (usize::from(self.topic_len), self.properties_len as usize);
        lens == (topic.len(), properties.len())
            && self.data.iter().eq(parts.into_iter().flatten())
            && (self.qos, self.retain) == (publication.qos, publication.retain)
            && self.expiry == publication.expiry
    }

    pub(crate) fn is_expired(&self, now: Time) -> bool {
        self.expiry.at.is_some_and(|at| at <= now)
    }
}

/// A handle on a kept message's bytes that does not borrow the store.
pub(crate) struct MessageBuffer {
    data: Bytes,
    message: Message,
}

impl MessageBuffer {
    /// The message as it is routed.
    pub(crate) fn publication(&self) -> Publication<'_> {
        let message = &self.message;
        let (topic, rest) = self.data.split_at_checked(usize::from(message.topic_len)).unwrap_or_default();
        let (properties, payload) =
            rest.split_at_checked(message.properties_len as usize).unwrap_or_default();
        Publication {
            topic: core::str::from_utf8(topic).unwrap_or_default(),
            properties,
            payload,
            qos: message.qos,
            retain: message.retain,
            expiry: message.expiry,
            publisher: message.publisher,
        }
    }
}

/// All kept messages, each once, with counted references.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct MessageStore {
    slots: Slots<Message>,
    bytes: u64,
    references: u64,
    /// Bytes that deliveries keep beside their message.
    beside: u64,
}

impl MessageStore {
    /// Keeps a message with one reference.
    pub(crate) fn insert(&mut self, publication: &Publication<'_>) -> MessageKey {
        let mut message = Message::new(publication);
        message.refs = 1;
        self.references += 1;
        self.bytes += message.size() as u64;
        self.slots.insert(message)
    }

    /// Keeps a message with one reference, or gives one more to the same one that `known` names; `stored` is what it
    /// was read from.
    pub(crate) fn insert_once(
        &mut self,
        publication: &Publication<'_>,
        stored: &[u8],
        known: &mut KeyedIndex<MessageKey>,
    ) -> MessageKey {
        let hash = known.hash(stored);
        let same = |key| self.get(key).is_some_and(|message| message.is(publication));
        if let Some(key) = known.get_hashed(hash, same) {
            self.retain(key);
            return key;
        }
        let key = self.insert(publication);
        known.insert_hashed(hash, key);
        key
    }

    /// One more reference.
    pub(crate) fn retain(&mut self, key: MessageKey) {
        if let Some(message) = self.slots.get_mut(key) {
            message.refs += 1;
            self.references += 1;
        }
    }

    /// One reference less; the last one frees the message. Says what its size is.
    pub(crate) fn release(&mut self, key: MessageKey) -> u64 {
        let Some(message) = self.slots.get_mut(key) else { return 0 };
        let size = message.size() as u64;
        message.refs -= 1;
        self.references -= 1;
        if message.refs == 0 {
            self.bytes -= size;
            self.slots.remove(key);
        }
        size
    }

    /// A delivery is made; its reference is counted already.
    pub(crate) fn take_on(&mut self, delivery: &Delivery) {
        self.beside += delivery.ids.kept();
    }

    /// A delivery is done with; its reference goes with it. Says what its size was.
    pub(crate) fn let_go(&mut self, delivery: &Delivery) -> u64 {
        let beside = delivery.ids.kept();
        self.beside -= beside;
        beside + self.release(delivery.message)
    }

    /// Bytes that all deliveries keep beside their message.
    pub(crate) fn beside(&self) -> u64 {
        self.beside
    }

    /// Overwrites the payloads of all messages.
    pub(crate) fn mask_payloads(&mut self) {
        self.slots.values_mut().for_each(Message::mask_payload);
    }

    pub(crate) fn get(&self, key: MessageKey) -> Option<&Message> {
        self.slots.get(key)
    }

    pub(crate) fn size(&self, key: MessageKey) -> usize {
        self.slots.get(key).map_or(0, Message::size)
    }

    /// Bytes that a delivery keeps: its message and its Subscription Identifiers.
    pub(crate) fn size_of(&self, delivery: &Delivery) -> u64 {
        self.size(delivery.message) as u64 + delivery.ids.kept()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sum of all references.
    pub(crate) fn references(&self) -> u64 {
        self.references
    }

    /// The same, counted anew, for consistency checks.
    pub(crate) fn recount(&self) -> u64 {
        self.slots.iter().map(|(_, message)| u64::from(message.refs)).sum()
    }
}
