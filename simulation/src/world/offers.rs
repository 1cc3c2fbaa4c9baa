//! What clients make of what the broker offers. It says most of that in CONNACK; clients of 3.x cannot be told, and know it
//! from elsewhere, as everybody does of limits that CONNACK has no place for. Topic names and filters that are too long are
//! refused by themselves, so those are sent by everybody.

use super::World;
use super::client::{encoded, version_of};
use crate::oracle::topics::{is_shared, is_wild, plain};
use crate::scenario::{Filter, Message, Properties, Will};
use mqtt_proto::Packet;

/// Bytes that a topic alias takes.
const ALIAS: usize = 3;

/// Bytes of a PUBLISH beside topic, payload and what it says, at most.
const HEAD: usize = 32;

impl World<'_> {
    /// Does it ask for whatever comes to its mind?
    pub(super) fn is_heedless(&self, client: usize) -> bool {
        self.spec(client).heedless && !self.healed
    }

    /// Is this packet small enough for who cares?
    pub(super) fn is_taken(&self, client: usize, packet: &Packet<'_>) -> bool {
        let len = packet.encoded_len(version_of(self.spec(client)));
        self.is_heedless(client) || len.is_ok_and(|len| len <= self.scenario.limits.max_packet_size)
    }

    /// A message as the broker takes it, unless it is too large.
    pub(super) fn allowed(&self, client: usize, message: &Message) -> Option<Message> {
        if self.is_heedless(client) {
            return Some(message.clone());
        }
        let (player, limits) = (&self.players[client], &self.scenario.limits);
        let mut message = message.clone();
        message.qos = message.qos.min(player.maximum_qos).min(limits.maximum_qos as u8);
        message.retain &= player.retain_available && limits.retain_available;
        message.properties = message.properties.filter(|told| self.is_short(told));
        self.is_allowed(client, &message).then_some(message)
    }

    /// May it be sent as it is?
    pub(super) fn is_allowed(&self, client: usize, message: &Message) -> bool {
        let limits = &self.scenario.limits;
        message.qos <= limits.maximum_qos as u8
            && (limits.retain_available || !message.retain)
            && message.properties.as_ref().is_none_or(|told| self.is_short(told))
            && self.is_small(client, message)
    }

    fn is_small(&self, client: usize, message: &Message) -> bool {
        let most = self.scenario.limits.max_packet_size as usize;
        // Most are, and need not be written to know it.
        if message.properties.is_none() && HEAD + message.topic.len() + message.size as usize <= most {
            return true;
        }
        // Any number takes as many bytes, and so does any identifier.
        let bytes = encoded(version_of(self.spec(client)), 0, message, 1, false, (false, None));
        bytes.len() + ALIAS <= most
    }

    /// Does the broker take this topic name of clients?
    fn fits(&self, topic: &str) -> bool {
        let limits = &self.scenario.limits;
        topic.len() <= usize::from(limits.max_topic_length)
            && topic.split('/').count() <= usize::from(limits.max_topic_levels)
    }

    /// Can a client have something retained there?
    pub(super) fn may_retain(&self, topic: &str) -> bool {
        self.scenario.limits.retain_available && self.fits(topic)
    }

    /// A will as the broker takes it.
    pub(super) fn allowed_will(&self, client: usize, will: &Will) -> Option<Will> {
        let limits = &self.scenario.limits;
        if self.is_heedless(client) {
            return Some(will.clone());
        }
        self.fits(&will.topic).then(|| Will {
            qos: will.qos.min(limits.maximum_qos as u8),
            retain: will.retain && limits.retain_available,
            properties: will.properties.clone().filter(|told| self.is_short(told)),
            ..will.clone()
        })
    }

    /// Subscriptions that the broker takes in one packet.
    pub(super) fn offered<'f>(
        &self,
        client: usize,
        filters: &'f [Filter],
    ) -> impl Iterator<Item = &'f Filter> + use<'f> {
        let limits = &self.scenario.limits;
        let (shared, wild) = (limits.shared_subscriptions, limits.wildcard_subscriptions);
        let is_heedless = self.is_heedless(client);
        let most = if is_heedless { usize::MAX } else { usize::from(limits.max_filters_per_packet) };
        let is_offered = move |Filter { filter, .. }: &&Filter| {
            is_heedless || (shared || !is_shared(filter)) && (wild || !is_wild(plain(filter)))
        };
        filters.iter().filter(is_offered).take(most)
    }

    /// Are there no more user properties than a packet may have?
    fn is_short(&self, told: &Properties) -> bool {
        let limits = &self.scenario.limits;
        let bytes: usize = told.user.iter().map(|(name, value)| 5 + name.len() + value.len()).sum();
        told.user.len() <= usize::from(limits.max_user_properties)
            && bytes <= limits.max_user_property_bytes as usize
    }
}
