//! Deliveries in flight: what is sent again, released and acknowledged, under which identifiers and in which order.

use super::{Known, Ledger, Over};
use crate::check::Marks;
use mqtt_proto::{QoS, ReasonCode};

/// A delivery in flight.
#[derive(Clone, Copy, Debug)]
pub(in crate::check) struct Outgoing {
    pub(in crate::check) number: u32,
    pub(in crate::check) qos: QoS,
    pub(in crate::check) link: usize,
    /// PUBREC came.
    pub(in crate::check) released: bool,
    /// Grows with each first transmission.
    pub(in crate::check) order: u64,
}

impl Known {
    /// Something is sent again: in the order in which what shares its `lane` was sent first.
    fn sent_behind(&mut self, link: usize, order: u64, lane: usize) -> Result<(), ()> {
        if self.resent.0 != link {
            self.resent = (link, [0; 3]);
        }
        let latest = std::mem::replace(&mut self.resent.1[lane], order);
        if latest > order { Err(()) } else { Ok(()) }
    }
}

impl Ledger {
    /// The engine is about to get bytes of this client.
    pub(in crate::check) fn next_input(&mut self, client_id: &str) {
        let known = self.session(client_id);
        known.just_acknowledged.clear();
        known.surplus.clear();
    }

    /// The engine has closed the client's connection, perhaps in the midst of its latest input.
    pub(in crate::check) fn closed(&mut self, client_id: &str) {
        let known = self.session(client_id);
        for (id, before) in std::mem::take(&mut known.just_acknowledged) {
            // As it was before the first of several acknowledgements.
            known.uncertain.entry(id).or_insert(before);
        }
    }

    pub(in crate::check) fn in_flight(
        &mut self,
        client_id: &str,
        id: u16,
        outgoing: Outgoing,
    ) -> Result<(), String> {
        // Copies of one message, for several subscriptions, are sent at once: their order says nothing.
        let next = self.step();
        let known = self.session(client_id);
        let same = known.newest.filter(|(number, _)| *number == outgoing.number);
        let order = same.map_or(next, |(_, order)| order);
        known.newest = Some((outgoing.number, order));
        let outgoing = Outgoing { order, ..outgoing };
        // Whatever it was before is acknowledged for sure.
        let known = self.session(client_id);
        known.uncertain.remove(&id);
        known.just_acknowledged.retain(|(other, _)| *other != id);
        let known = self.session(client_id);
        if known.surplus.contains(&id) {
            known.uncertain.insert(id, outgoing);
            return Ok(());
        }
        // What is too large for a later connection is dropped from what is in flight, and its identifier is free.
        match known.outgoing.insert(id, outgoing).filter(|_| !known.gave_up) {
            Some(before) => Err(format!("#{id} is in use by message {}", before.number)),
            None => Ok(()),
        }
    }

    /// Sent with DUP, which says that it may have been sent before: what waited for the store when its connection ended
    /// never was.
    pub(in crate::check) fn never_left(&self, client_id: &str, id: u16, number: u32, qos: QoS) -> bool {
        // What was under this identifier before may have been acknowledged.
        let is_it = |outgoing: &Outgoing| outgoing.number == number;
        let is_known =
            |known: &Known| known.outgoing.contains_key(&id) || known.uncertain.get(&id).is_some_and(is_it);
        self.durable
            && qos == QoS::ExactlyOnce
            && !self.sessions.get(client_id).is_some_and(|known| is_known(known))
    }

    /// Where order is kept among what is sent again.
    fn lane(&self, qos: QoS) -> usize {
        if self.durable { qos as usize } else { 0 }
    }

    pub(in crate::check) fn sent_again(
        &mut self,
        client_id: &str,
        id: u16,
        outgoing: Outgoing,
    ) -> Result<(), String> {
        let lane = self.lane(outgoing.qos);
        let known = self.session(client_id);
        if let Some(uncertain) = known.uncertain.remove(&id) {
            known.outgoing.insert(id, uncertain);
        }
        let Some(before) = known.outgoing.get_mut(&id) else {
            return Err(format!("#{id} has DUP, and was never sent"));
        };
        if before.number != outgoing.number || before.qos != outgoing.qos || before.released {
            return Err(format!("#{id} was message {}, and is {}", before.number, outgoing.number));
        }
        if before.link == outgoing.link {
            return Err(format!("#{id} is sent again on the same connection"));
        }
        before.link = outgoing.link;
        let order = before.order;
        known
            .sent_behind(outgoing.link, order, lane)
            .map_err(|()| format!("#{id} is sent again out of order"))
    }

    /// The engine sends PUBREL: is there something to release, and is it its turn?
    pub(in crate::check) fn released(
        &mut self,
        client_id: &str,
        id: u16,
        link: usize,
        marks: &mut Marks,
    ) -> bool {
        let lane = self.lane(QoS::ExactlyOnce);
        let known = self.session(client_id);
        if let Some(uncertain) = known.uncertain.remove(&id) {
            known.outgoing.entry(id).or_insert(Outgoing { released: true, ..uncertain });
        }
        let Some(outgoing) = known.outgoing.get_mut(&id) else { return false };
        let again = outgoing.link != link;
        outgoing.link = link;
        let (order, released) = (outgoing.order, outgoing.released);
        if again {
            marks.hit("PUBREL sent again");
            return released && known.sent_behind(link, order, lane).is_ok();
        }
        released
    }

    pub(in crate::check) fn acknowledged(&mut self, client_id: &str, id: u16, qos: QoS, reason: ReasonCode) {
        let may_come_back = self.unkept.is_on;
        let known = self.session(client_id);
        let Some(before) = known.outgoing.get_mut(&id).filter(|before| before.qos == qos) else {
            return known.surplus.push(id);
        };
        known.just_acknowledged.push((id, *before));
        if qos == QoS::AtLeastOnce || reason.is_error() && !before.released {
            let over = may_come_back.then_some(Over { id, outgoing: *before, removed: None });
            known.outgoing.remove(&id);
            known.over.extend(over);
        } else if !reason.is_error() {
            before.released = true;
        }
    }

    pub(in crate::check) fn completed(&mut self, client_id: &str, id: u16) {
        let may_come_back = self.unkept.is_on;
        let known = self.session(client_id);
        if let Some(before) = known.outgoing.get(&id).filter(|before| before.released) {
            let over = may_come_back.then_some(Over { id, outgoing: *before, removed: None });
            known.just_acknowledged.push((id, *before));
            known.outgoing.remove(&id);
            known.over.extend(over);
        }
    }

    /// In flight on this connection.
    pub(in crate::check) fn open_on(&self, client_id: &str, link: usize) -> usize {
        let outgoing = self.sessions.get(client_id).map(|known| &known.outgoing);
        outgoing.map_or(0, |outgoing| outgoing.values().filter(|outgoing| outgoing.link == link).count())
    }
}
