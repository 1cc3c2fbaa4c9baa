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
    /// Grows with each first transmission; among what is sent again it is that of the one before.
    pub(in crate::check) order: u64,
}

impl Known {
    /// Something is sent again: in the order in which what shares its `lane` was sent first.
    fn sent_behind(&mut self, link: usize, order: u64, lane: usize) -> Result<(), ()> {
        let latest = std::mem::replace(self.latest_resent(link, lane), order);
        if latest > order { Err(()) } else { Ok(()) }
    }

    /// The order of what was sent again last.
    fn latest_resent(&mut self, link: usize, lane: usize) -> &mut u64 {
        if self.resent.0 != link {
            self.resent = (link, [0; 3]);
        }
        &mut self.resent.1[lane]
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

    /// Sent for the first time; with DUP nevertheless if it `is_among_resent`, as what never left before may have, for all
    /// that the broker knows.
    pub(in crate::check) fn in_flight(
        &mut self,
        client_id: &str,
        id: u16,
        outgoing: Outgoing,
        is_among_resent: bool,
    ) -> Result<(), String> {
        let (next, lane) = (self.step(), self.lane(outgoing.qos));
        let known = self.session(client_id);
        let order = if is_among_resent {
            *known.latest_resent(outgoing.link, lane)
        } else {
            // Copies of one message, for several subscriptions, are sent at once: their order says nothing.
            let same = known.newest.filter(|(number, _)| *number == outgoing.number);
            let order = same.map_or(next, |(_, order)| order);
            known.newest = Some((outgoing.number, order));
            order
        };
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
        // What was under this identifier before may have been acknowledged, or given up.
        let is_it = |outgoing: &Outgoing| outgoing.number == number;
        let is_known = |known: &Known| {
            known.outgoing.get(&id).is_some_and(|before| !known.gave_up || is_it(before))
                || known.uncertain.get(&id).is_some_and(is_it)
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use broker_engine::Config;

    /// The second waited for the store, left nobody's wire, and is sent with DUP nevertheless: before or behind the first,
    /// and in that order from then on.
    #[test]
    fn what_never_left_has_its_place_among_what_is_sent_again() {
        for [one, two] in [[6, 5], [5, 6]] {
            let mut ledger = Ledger::new(&Config::default(), 0);
            ledger.durable = true;
            let sent =
                |number, link| Outgoing { number, qos: QoS::ExactlyOnce, link, released: false, order: 0 };
            ledger.in_flight("c", 6, sent(60, 0), false).unwrap();
            for id in [one, two] {
                let outgoing = sent(u32::from(id) * 10, 1);
                if ledger.never_left("c", id, outgoing.number, outgoing.qos) {
                    ledger.in_flight("c", id, outgoing, true).unwrap();
                } else {
                    ledger.sent_again("c", id, outgoing).unwrap();
                }
                ledger.acknowledged("c", id, QoS::ExactlyOnce, ReasonCode::Success);
            }
            let marks = &mut Marks::default();
            assert!(ledger.released("c", one, 2, marks) && ledger.released("c", two, 2, marks));
        }
    }
}
