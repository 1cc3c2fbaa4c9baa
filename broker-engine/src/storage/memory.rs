//! A store that keeps facts in memory: the least that answers [`StoreOp::Fetch`], and what durable stores are compared with.

use super::{StoreOp, StoredDelivery};
use crate::time::Time;
use alloc::{collections::BTreeMap, string::String, vec::Vec};

/// Keeps what the engine may ask back. It survives nothing, so it suits tests, simulations, and hosts whose
/// durable store is elsewhere.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    facts: BTreeMap<Key, (StoreOp, Time)>,
}

/// What a fact is about. Those of a client that are many stand in a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Session(String),
    Will(String),
    Subscription(String, String),
    Received(String, u16),
    InFlight(String, u64),
    Queued(String, u64),
    Retained(String),
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out one operation; a [`StoreOp::Fetch`] gives its page.
    pub fn apply(&mut self, now: Time, op: StoreOp) -> Option<Vec<StoredDelivery>> {
        match op {
            StoreOp::Fetch { client_id, from, max_messages, max_bytes } => {
                return Some(self.page(now, client_id, from, max_messages, max_bytes));
            }
            StoreOp::EndSession { client_id } => self.end_session(&client_id),
            StoreOp::RemoveSubscription { client_id, filter } => {
                self.facts.remove(&Key::Subscription(client_id, filter));
            }
            StoreOp::RemoveReceived { client_id, packet_id } => {
                self.facts.remove(&Key::Received(client_id, packet_id));
            }
            StoreOp::RemoveQueued { client_id, position } => {
                self.facts.remove(&Key::InFlight(client_id.clone(), position));
                self.facts.remove(&Key::Queued(client_id, position));
            }
            StoreOp::RemoveRetained { topic } => {
                self.facts.remove(&Key::Retained(topic));
            }
            StoreOp::RemoveWill { client_id } => {
                self.facts.remove(&Key::Will(client_id));
            }
            put => {
                if let Some(key) = key(&put) {
                    self.facts.insert(key, (put, now));
                }
            }
        }
        None
    }

    fn end_session(&mut self, client_id: &str) {
        let id = || String::from(client_id);
        self.facts.remove(&Key::Session(id()));
        self.facts.remove(&Key::Will(id()));
        let numbered = [
            Key::Received(id(), 0)..=Key::Received(id(), u16::MAX),
            Key::InFlight(id(), 0)..=Key::InFlight(id(), u64::MAX),
            Key::Queued(id(), 0)..=Key::Queued(id(), u64::MAX),
        ];
        let numbered = numbered.into_iter().flat_map(|keys| self.facts.range(keys));
        let mut gone: Vec<Key> = numbered.map(|(key, _)| key.clone()).collect();
        let filters = self.facts.range(Key::Subscription(id(), String::new())..).map(|(key, _)| key);
        let of_client = |key: &&Key| matches!(key, Key::Subscription(of, _) if of == client_id);
        gone.extend(filters.take_while(of_client).cloned());
        for key in gone {
            self.facts.remove(&key);
        }
    }

    fn page(
        &self,
        now: Time,
        client_id: String,
        from: u64,
        max_messages: u32,
        max_bytes: u64,
    ) -> Vec<StoredDelivery> {
        let mut bytes = 0;
        let keys = Key::Queued(client_id.clone(), from)..=Key::Queued(client_id, u64::MAX);
        let kept = self.facts.range(keys).filter_map(|(_, (op, since))| match op {
            StoreOp::PutQueued { delivery, .. } => Some((delivery, now.since(*since))),
            _ => None,
        });
        kept.take(max_messages as usize)
            .enumerate()
            .take_while(|(at, (delivery, _))| {
                bytes += delivery.publish.len() as u64;
                *at == 0 || bytes <= max_bytes
            })
            .map(|(_, (delivery, age))| StoredDelivery {
                lifetime: delivery.lifetime.aged(age),
                ..delivery.clone()
            })
            .collect()
    }

    /// All records, for [`super::Boot`].
    pub fn records(&self, now: Time) -> impl Iterator<Item = StoreOp> {
        self.facts.values().map(move |(op, since)| op.clone().aged(now.since(*since)))
    }

    /// Deliveries that are kept.
    pub fn queued(&self) -> usize {
        self.facts.keys().filter(|key| matches!(key, Key::Queued(..))).count()
    }
}

/// What a record is about; `None` for an operation that is none.
fn key(op: &StoreOp) -> Option<Key> {
    Some(match op {
        StoreOp::PutSession { client_id, .. } => Key::Session(client_id.clone()),
        StoreOp::PutWill { client_id, .. } => Key::Will(client_id.clone()),
        StoreOp::PutSubscription { client_id, filter, .. } => {
            Key::Subscription(client_id.clone(), filter.clone())
        }
        StoreOp::PutReceived { client_id, packet_id } => Key::Received(client_id.clone(), *packet_id),
        StoreOp::PutInflight { client_id, position, .. } => Key::InFlight(client_id.clone(), *position),
        StoreOp::PutQueued { client_id, delivery } => Key::Queued(client_id.clone(), delivery.position),
        StoreOp::PutRetained { topic, .. } => Key::Retained(topic.clone()),
        _ => return None,
    })
}
