//! Another process begins from the store: what counts again, of which the clients have heard otherwise. Whatever was
//! acknowledged to them, or to the broker and is surely kept, must be as it was.

use super::{Known, Ledger, Outgoing, Rights};
use crate::check::wire::{UNNUMBERED, Wrong, number_in};
use crate::check::{Counts, Returned};
use broker_engine::{StoreOp, StoreSeq};
use mqtt_proto::{Limits, Packet, QoS, Version};
use std::collections::{BTreeMap, BTreeSet};

/// A delivery that its client has acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    pub(super) id: u16,
    pub(super) outgoing: Outgoing,
    /// The operation that removes it from the store.
    pub(super) removed: Option<StoreSeq>,
}

/// What may be undone.
#[derive(Clone, Debug, Default)]
pub(super) struct Unkept {
    /// Does the store outlive the process?
    pub(super) is_on: bool,
    /// Packet identifiers of what is in flight, by client identifier and position.
    ids: BTreeMap<(String, u64), u16>,
    /// Operations of the latest call that end sessions.
    ending: BTreeMap<String, StoreSeq>,
    /// Sessions that have ended by these operations.
    ended: Vec<(String, StoreSeq, Box<Known>)>,
    /// When processes began, or a page was read, by a clock that was behind, and by how much.
    slips: Vec<(u64, u64)>,
}

impl Unkept {
    /// By how much less than it should have a message has aged that came then.
    pub(super) fn slipped_since(&self, then: u64) -> u64 {
        self.slips.iter().filter(|(at, _)| *at >= then).map(|(_, slip)| *slip).max().unwrap_or_default()
    }
}

/// Deliveries to one client that a store gave back.
#[derive(Debug, Default)]
struct Back {
    /// By packet identifier; what is released has no message.
    in_flight: BTreeMap<u16, (u64, bool)>,
    messages: BTreeMap<u64, (u32, QoS)>,
}

impl Ledger {
    /// The store outlives the process, and takes so long to keep something at most.
    pub(in crate::check) fn outlives(&mut self, slowest_store: u64) {
        self.unkept.is_on = true;
        self.slowest_store = slowest_store;
    }

    /// What the engine hands over in a call.
    pub(in crate::check) fn hands_over(&mut self, stores: &[(StoreSeq, StoreOp)]) {
        if !self.unkept.is_on {
            return;
        }
        self.unkept.ending.clear();
        for (seq, op) in stores {
            match op {
                StoreOp::PutInflight { client_id, position, packet_id, .. } => {
                    self.unkept.ids.insert((client_id.clone(), *position), *packet_id);
                }
                StoreOp::RemoveQueued { client_id, position } => {
                    let id = self.unkept.ids.remove(&(client_id.clone(), *position));
                    let over = self.sessions.get_mut(client_id).into_iter().flat_map(|known| &mut known.over);
                    let mut over = over.filter(|over| Some(over.id) == id && over.removed.is_none());
                    if let Some(over) = over.next() {
                        over.removed = Some(*seq);
                    }
                }
                StoreOp::EndSession { client_id } => {
                    self.unkept.ending.insert(client_id.clone(), *seq);
                }
                _ => {}
            }
        }
    }

    /// A session ends: if that is not kept, it is there again in another process.
    pub(super) fn may_come_back(&mut self, client_id: &str) {
        if let (Some(seq), Some(known)) = (self.unkept.ending.get(client_id), self.sessions.get(client_id))
            && known.exists
        {
            self.unkept.ended.push((client_id.to_owned(), *seq, known.clone()));
        }
    }

    /// The store's clock is so much behind the time that has passed.
    pub(in crate::check) fn slips(&mut self, now: u64, slip: u64) {
        if slip > 0 {
            self.unkept.slips.push((now, slip));
        }
    }

    /// Another process has begun with these records, which end with an operation of the one before. Records of those who are
    /// `hurt` were damaged.
    pub(in crate::check) fn begins_from(
        &mut self,
        from: &Returned<'_>,
        upto: StoreSeq,
        hurt: &BTreeSet<String>,
        counts: &mut Counts,
    ) -> Result<(), Wrong> {
        // Of several ends of one client's sessions the first that is not kept is that of the one that is there.
        let mut ended = std::mem::take(&mut self.unkept.ended);
        ended.retain(|(_, seq, _)| *seq > upto);
        for (client_id, _, known) in ended.into_iter().rev() {
            self.sessions.insert(client_id, known);
        }
        self.undo_wills(from.records);
        let step = self.step();
        let mut back = deliveries(from.records);
        let mut before = std::mem::take(&mut self.sessions);
        self.unkept.ids.clear();
        for session in from.engine.view().each_session().filter(|session| session.expiry() > 0) {
            let client_id = session.client_id();
            let mut known = before.remove(client_id).unwrap_or_default();
            if hurt.contains(client_id) {
                known.surely.clear();
                known.owed.clear();
                known.is_hurt = true;
                self.estranged.insert(client_id.to_owned());
            }
            counts.look("INV-81");
            let filters: BTreeSet<&str> = session.filters().collect();
            if let Some(filter) = known.surely.keys().find(|filter| !filters.contains(filter.as_str())) {
                let detail = format!("{client_id} was told that it has subscribed to {filter}, and has not");
                return Err(("INV-81", detail));
            }
            let back = back.remove(client_id).unwrap_or_default();
            for (id, (position, _)) in &back.in_flight {
                self.unkept.ids.insert((client_id.to_owned(), *position), *id);
            }
            known.goes_on(client_id, &back, upto)?;
            // What its client may is not kept, but said when the process begins.
            let permissions = from.resumes.get(client_id).cloned();
            self.limits |= permissions.is_some();
            known.rights = Rights::new(permissions, step);
            known.exists = true;
            self.sessions.insert(client_id.to_owned(), known);
            self.may_now(client_id);
        }
        Ok(())
    }

    /// Were records of this client's session damaged?
    pub(in crate::check) fn is_hurt(&self, client_id: &str) -> bool {
        self.sessions.get(client_id).is_some_and(|known| known.is_hurt)
    }

    /// Wills that are to be sent, though they were sent or cancelled already.
    fn undo_wills(&mut self, records: &[StoreOp]) {
        for record in records {
            let StoreOp::PutWill { will, .. } = record else { continue };
            let Some((number, _)) = message(&will.publish, will.qos) else { continue };
            if let Some(sent) = self.messages.get_mut(number as usize) {
                sent.cancelled = false;
                // Each time to those to whom it may go.
                sent.arrivals += 1;
            }
        }
    }
}

impl Known {
    /// What is in flight and what waits is as the store says.
    fn goes_on(&mut self, client_id: &str, back: &Back, upto: StoreSeq) -> Result<(), Wrong> {
        let is_hurt = self.is_hurt;
        self.over.retain(|over| over.removed.is_none_or(|seq| seq > upto));
        let mut before = std::mem::take(&mut self.outgoing);
        let over: Vec<Over> = std::mem::take(&mut self.over);
        let uncertain = std::mem::take(&mut self.uncertain);
        self.just_acknowledged.clear();
        let mut in_order: Vec<_> = back.in_flight.iter().collect();
        in_order.sort_by_key(|(_, (position, _))| *position);
        let mut latest = 0;
        for (id, (position, released)) in in_order {
            let message = back.messages.get(position);
            let is_it = |outgoing: &Outgoing| message.is_some_and(|(number, _)| outgoing.number == *number);
            let acknowledged = over.iter().filter(|over| over.id == *id).map(|over| over.outgoing);
            let known = before.get(id).copied().into_iter().chain(uncertain.get(id).copied());
            // Of copies of one message under one identifier it is the one whose turn it is.
            let found = known.chain(acknowledged).filter(is_it);
            let found = found.min_by_key(|outgoing| (outgoing.order < latest, outgoing.order));
            latest = found.map_or(latest, |outgoing| outgoing.order);
            match (found, message) {
                // It is left out, and its identifier is free.
                (_, None) => drop(before.remove(id)),
                (Some(outgoing), _) => {
                    before.remove(id);
                    let order = if is_hurt { *position } else { outgoing.order };
                    self.outgoing.insert(*id, Outgoing { released: *released, order, ..outgoing });
                }
                // It was to be sent when the store had it.
                (None, Some((_, QoS::ExactlyOnce))) if !released => {}
                (None, Some((number, qos))) if is_hurt => {
                    let outgoing = Outgoing {
                        number: *number,
                        qos: *qos,
                        link: usize::MAX,
                        released: *released,
                        order: *position,
                    };
                    self.outgoing.insert(*id, outgoing);
                }
                (None, _) => {
                    let detail = format!("{client_id} has acknowledged #{id}, which is in flight again");
                    return Err(("INV-81", detail));
                }
            }
        }
        // At QoS 1 it may have been sent before the store had it, and is sent for the first time once more.
        let waiting = back
            .messages
            .iter()
            .filter(|(position, _)| !back.in_flight.values().any(|(sent, _)| sent == *position));
        for (number, qos) in waiting.map(|(_, message)| *message) {
            if let Some(got) = self.got.get_mut(&number)
                && (qos == QoS::AtLeastOnce || is_hurt)
            {
                *got = got.saturating_sub(1);
            }
        }
        self.latest.retain(|(_, qos), _| *qos == QoS::ExactlyOnce as u8 && !is_hurt);
        // What is in flight at QoS 2 and is not there any more was never forgotten by its client.
        let forgotten =
            before.into_iter().filter(|(_, outgoing)| outgoing.qos == QoS::ExactlyOnce && !is_hurt);
        self.outgoing.extend(forgotten);
        Ok(())
    }
}

/// The message of a record, by its number.
fn message(publish: &[u8], qos: QoS) -> Option<(u32, QoS)> {
    match Packet::parse(publish, Version::V5, &Limits::NONE) {
        Ok(Some((Packet::Publish(publish), _))) => {
            Some((number_in(publish.payload).unwrap_or(UNNUMBERED), qos))
        }
        _ => None,
    }
}

/// Deliveries by client identifier.
fn deliveries(records: &[StoreOp]) -> BTreeMap<&str, Back> {
    let mut back: BTreeMap<&str, Back> = BTreeMap::new();
    for record in records {
        match record {
            StoreOp::PutInflight { client_id, position, packet_id, released } => {
                let client = back.entry(client_id).or_default();
                client.in_flight.insert(*packet_id, (*position, *released));
            }
            StoreOp::PutQueued { client_id, delivery } => {
                if let Some(message) = message(&delivery.publish, delivery.qos) {
                    back.entry(client_id).or_default().messages.insert(delivery.position, message);
                }
            }
            _ => {}
        }
    }
    back
}
