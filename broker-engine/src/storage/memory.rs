//! A store that keeps queues in memory: the least that answers [`StoreOp::Fetch`].

use super::{Lifetime, StoreOp, StoredDelivery};
use crate::time::Time;
use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::time::Duration;

/// Keeps what the engine may ask back. It survives nothing, so it suits tests, simulations, and hosts whose
/// durable store is elsewhere.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    queues: BTreeMap<String, BTreeMap<u64, Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    delivery: StoredDelivery,
    since: Time,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out one operation; a [`StoreOp::Fetch`] gives its page.
    pub fn apply(&mut self, now: Time, op: StoreOp) -> Option<Vec<StoredDelivery>> {
        match op {
            StoreOp::PutQueued { client_id, delivery } => {
                let queue = self.queues.entry(client_id).or_default();
                queue.insert(delivery.position, Kept { delivery, since: now });
            }
            StoreOp::RemoveQueued { client_id, position } => {
                if let Some(queue) = self.queues.get_mut(&client_id) {
                    queue.remove(&position);
                    if queue.is_empty() {
                        self.queues.remove(&client_id);
                    }
                }
            }
            StoreOp::EndSession { client_id } => {
                self.queues.remove(&client_id);
            }
            StoreOp::Fetch { client_id, from, max_messages, max_bytes } => {
                let queue = self.queues.get(&client_id);
                return Some(queue.map_or_else(Vec::new, |queue| {
                    page(now, queue.range(from..).map(|(_, kept)| kept), max_messages, max_bytes)
                }));
            }
            _ => {}
        }
        None
    }

    /// Deliveries that are kept.
    pub fn queued(&self) -> usize {
        self.queues.values().map(BTreeMap::len).sum()
    }
}

fn page<'a>(
    now: Time,
    kept: impl Iterator<Item = &'a Kept>,
    max_messages: u32,
    max_bytes: u64,
) -> Vec<StoredDelivery> {
    let mut bytes = 0;
    kept.take(max_messages as usize)
        .enumerate()
        .take_while(|(at, kept)| {
            bytes += kept.delivery.publish.len() as u64;
            *at == 0 || bytes <= max_bytes
        })
        .map(|(_, kept)| {
            let age = now.since(kept.since);
            let aged = |left: Option<Duration>| left.map(|left| left.saturating_sub(age));
            let Lifetime { left, told } = kept.delivery.lifetime;
            let lifetime = Lifetime { left: aged(left), told: aged(told) };
            StoredDelivery { lifetime, ..kept.delivery.clone() }
        })
        .collect()
}
