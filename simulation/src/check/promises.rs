//! What an acknowledgement promises where it waits for the store: whatever was to be kept for it is kept.
//!
//! Operations and packets leave the engine in lanes of their own, so which of them belong together is told by what they
//! are about. Where that is not sure, as with two SUBSCRIBEs of the same filter on their way, nothing is expected.

use super::Counts;
use super::wire::{Wrong, number_in};
use broker_engine::{Command, Config, Durability, Input, Note, StoreOp, StoreSeq};
use mqtt_proto::{Limits, Packet, Version};
use std::collections::{BTreeMap, BTreeSet};

/// What an operation is about: of which client, by its identifier, and what of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fact {
    /// A session began, ended, or ends at another time.
    Session(String),
    /// The subscription with this filter changed.
    Subscription(String, String),
    /// A message, by its number, waits for somebody or is retained.
    Message(u32),
    /// The client's QoS 2 PUBLISH of this identifier was accepted.
    Received(String, u16),
    /// Its PUBREL came.
    Completed(String, u16),
    /// A delivery to the client has this identifier.
    Begun(String, u16),
    /// The client's PUBREC for it came.
    Released(String, u16),
}

/// Facts that are not kept, or not yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Promises {
    /// Does anything wait for the store?
    is_on: bool,
    /// By the number of the operation that keeps it.
    open: BTreeMap<Fact, u64>,
    /// Those of a call that told what is kept: what it lets go waited for others.
    fresh: Vec<(Fact, u64)>,
    /// What the store failed to keep. Somebody who connects may hear of it all the same, as the engine still knows it.
    lost: BTreeMap<Fact, u64>,
    /// The store tries again until it has kept that, too.
    pub(super) retries: bool,
    /// What the operator has changed, too: which operation is whose cannot be told.
    shared: BTreeSet<Fact>,
}

impl Promises {
    pub(super) fn new(config: &Config) -> Self {
        Self { is_on: config.durability == Durability::Durable, ..Self::default() }
    }

    /// Another process of the broker has begun, which knows nothing.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { is_on: self.is_on, retries: self.retries, ..Self::default() };
    }

    /// The engine is about to be told something, perhaps of the store.
    pub(super) fn told(&mut self, input: &Input<'_>) {
        self.open.extend(self.fresh.drain(..));
        match input {
            Input::Stored { upto } => {
                self.open.retain(|_, seq| *seq > upto.0);
                self.lost.retain(|_, seq| !self.retries || *seq > upto.0);
            }
            Input::StoreFailed { seq: first } => {
                let open = std::mem::take(&mut self.open);
                let (failed, open) = open.into_iter().partition(|(_, seq)| *seq >= first.0);
                self.open = open;
                let failed: BTreeMap<Fact, u64> = failed;
                self.lost.extend(failed);
            }
            Input::Command(
                Command::Subscribe { client_id, filter, .. } | Command::Unsubscribe { client_id, filter },
            ) => drop(self.shared.insert(Fact::Subscription(client_id.clone(), filter.clone()))),
            _ => {}
        }
    }

    /// What the engine wants to be kept, having been told so of earlier things or not.
    pub(super) fn wants(&mut self, stores: &[(StoreSeq, StoreOp)], notes: &[Note], is_told: bool) {
        if !self.is_on {
            return;
        }
        // Messages that are handed on were acknowledged, or are about to be, for their first receiver.
        let hands_on = notes.iter().any(|note| matches!(note, Note::SessionEnded { .. }));
        let mut new: BTreeMap<Fact, u64> = BTreeMap::new();
        for (seq, op) in stores {
            if let Some(fact) = fact_of(op).filter(|fact| !hands_on || !matches!(fact, Fact::Message(_))) {
                new.insert(fact, seq.0);
            }
        }
        // So were those that go out again because they are retained.
        new.retain(|fact, _| !matches!(fact, Fact::Message(_)) || !self.open.contains_key(fact));
        if notes.iter().any(|note| matches!(note, Note::Connected { .. })) {
            self.lost.clear();
        }
        self.lost.retain(|fact, _| !new.contains_key(fact));
        if is_told {
            self.fresh.extend(new);
        } else {
            self.open.extend(new);
        }
    }

    /// A packet leaves that promises this.
    pub(super) fn kept(&self, fact: &Fact, counts: &mut Counts) -> Result<(), Wrong> {
        if !self.is_on || self.shared.contains(fact) {
            return Ok(());
        }
        counts.look("INV-80");
        if self.open.contains_key(fact) {
            return Err(("INV-80", format!("{fact:?} is acknowledged, and is not kept yet")));
        }
        if self.lost.contains_key(fact) {
            return Err(("INV-80", format!("{fact:?} is acknowledged, and the store failed to keep it")));
        }
        Ok(())
    }
}

fn fact_of(op: &StoreOp) -> Option<Fact> {
    match op {
        StoreOp::PutSession { client_id, .. } | StoreOp::EndSession { client_id } => {
            Some(Fact::Session(client_id.clone()))
        }
        StoreOp::PutSubscription { client_id, filter, .. }
        | StoreOp::RemoveSubscription { client_id, filter } => {
            Some(Fact::Subscription(client_id.clone(), filter.clone()))
        }
        // With RETAIN it is there as a retained message already, for which its publisher's acknowledgement waits; whose
        // subscription asks for it by then promises nothing to the publisher.
        StoreOp::PutQueued { delivery, .. } => message(&delivery.publish, |retain| !retain),
        StoreOp::PutRetained { publish, .. } => message(publish, |_| true),
        StoreOp::PutInflight { client_id, packet_id, released: false, .. } => {
            Some(Fact::Begun(client_id.clone(), *packet_id))
        }
        StoreOp::PutInflight { client_id, packet_id, .. } => {
            Some(Fact::Released(client_id.clone(), *packet_id))
        }
        StoreOp::PutReceived { client_id, packet_id } => Some(Fact::Received(client_id.clone(), *packet_id)),
        StoreOp::RemoveReceived { client_id, packet_id } => {
            Some(Fact::Completed(client_id.clone(), *packet_id))
        }
        _ => None,
    }
}

/// The message of a record, if its RETAIN is right.
fn message(publish: &[u8], is_it: impl Fn(bool) -> bool) -> Option<Fact> {
    match Packet::parse(publish, Version::V5, &Limits::NONE) {
        Ok(Some((Packet::Publish(publish), _))) if is_it(publish.retain) => {
            number_in(publish.payload).map(Fact::Message)
        }
        _ => None,
    }
}
