//! Messages for shared groups: which of the members has which copy is seen only as far as copies differ, so every guess
//! is changed where another one explains more.

use super::broker::Broker;
use super::session::{Copy, Message};
use mqtt_proto::QoS;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A message for one member of a shared group, whichever.
#[derive(Clone, Debug)]
pub(super) struct SharedCopy {
    pub(super) message: Arc<Message>,
    /// The group's filter with its `$share` part.
    pub(super) group: String,
    /// Who may get it, with which QoS and RETAIN flag.
    pub(super) members: BTreeMap<String, (QoS, bool)>,
    /// Their Subscription Identifiers.
    pub(super) ids: BTreeMap<String, u32>,
    /// The connections of all members when it came, if all had one.
    pub(super) here: Option<super::Here>,
    /// Who got it. At QoS 1 it is another member's when that one's session ends unacknowledged [4.8.2].
    pub(super) to: Option<String>,
    /// It may be a member's by now who got it when another one's session ended, with the options of that moment.
    pub(super) handed_on: bool,
    /// It was some member's before, whose session ended; perhaps that one had acknowledged it.
    pub(super) optional: bool,
}

impl Broker {
    /// A member of a shared group got a copy with this QoS, or lost it: one of those that `fits`.
    pub(super) fn take_shared(
        &mut self,
        to: &str,
        qos: QoS,
        fits: impl Fn(&SharedCopy) -> bool,
    ) -> Option<SharedCopy> {
        let fitting: Vec<usize> = (0..self.shared.len()).filter(|at| fits(&self.shared[*at])).collect();
        let is_free = |at: &usize| self.shared[*at].to.is_none();
        let is_same = |one: &SharedCopy, other: &SharedCopy| Arc::ptr_eq(&one.message, &other.message);
        let age = |copy| self.shared.iter().position(|other| is_same(copy, other));
        // QoS 0 is decided at once, so it is of the newest message; and it is one that fewer may have.
        let rank = |at: &usize| {
            let copy = &self.shared[*at];
            let is_another = copy.members.get(to).is_some_and(|(subscribed, _)| *subscribed != qos);
            let age = age(copy).filter(|_| qos == QoS::AtMostOnce);
            (is_another, std::cmp::Reverse(age), copy.members.len())
        };
        let free = fitting.iter().copied().filter(is_free).min_by_key(rank);
        let place =
            free.or_else(|| fitting.into_iter().find(|at| self.make_free(*at, to, &mut Vec::new())))?;
        self.shared[place].to = Some(to.to_owned());
        if let Some((subscribed, _)) = self.shared[place].members.get_mut(to) {
            *subscribed = qos;
        }
        let copy = self.shared[place].clone();
        // Nobody asks again for what everybody has, but of QoS 1.
        let is_over = |other: &SharedCopy| {
            let qos = other.to.as_ref().and_then(|to| other.members.get(to)).map(|(qos, _)| *qos);
            qos.is_some_and(|qos| qos != QoS::AtLeastOnce)
        };
        if self.shared.iter().filter(|other| is_same(&copy, other)).all(is_over) {
            self.shared.retain(|other| !is_same(&copy, other));
        }
        Some(copy)
    }

    /// A session ends that got a message by one of several groups at QoS 0: by which one cannot be seen any more.
    pub(super) fn leave_open(&mut self, client_id: &str) {
        let is_at_once = |copy: &SharedCopy| {
            copy.members.get(client_id).is_some_and(|(subscribed, _)| *subscribed == QoS::AtMostOnce)
        };
        let has = |copy: &&SharedCopy| copy.to.as_deref() == Some(client_id) && is_at_once(copy);
        let given: Vec<_> = self.shared.iter().filter(has).map(|copy| copy.message.clone()).collect();
        let is_given = |copy: &SharedCopy| given.iter().any(|message| Arc::ptr_eq(message, &copy.message));
        let may_be = |copy: &SharedCopy| copy.to.is_none() && is_at_once(copy) && is_given(copy);
        let open: Vec<_> =
            self.shared.iter().filter(|copy| may_be(copy)).map(|copy| copy.message.clone()).collect();
        for copy in &mut self.shared {
            let is_open = open.iter().any(|message| Arc::ptr_eq(message, &copy.message));
            if is_open && is_at_once(copy) && copy.to.as_deref().is_none_or(|to| to == client_id) {
                (copy.to, copy.optional) = (None, true);
            }
        }
    }

    /// One of these copies that no loss stands for, where each loss that a member owned up to stands for one of them.
    pub(super) fn not_lost<'a>(&self, missing: &[&'a SharedCopy]) -> Option<&'a SharedCopy> {
        let losses: Vec<(&String, &String)> = self
            .sessions
            .iter()
            .flat_map(|(id, session)| session.drops.iter().map(move |(topic, count)| (id, topic, *count)))
            .flat_map(|(id, topic, count)| (0..missing.len().min(count as usize)).map(move |_| (id, topic)))
            .collect();
        let mut stands_for = vec![None; losses.len()];
        let is_left =
            |place: &usize| !explain(*place, missing, &losses, &mut stands_for, &mut BTreeSet::new());
        (0..missing.len()).find(is_left).map(|place| missing[place])
    }

    /// Who has this copy may just as well have another one that looks the same: its own by a subscription that is not
    /// shared, or that of another group, and who has that one yet another.
    pub(super) fn make_free(&mut self, place: usize, to: &str, seen: &mut Vec<usize>) -> bool {
        let copy = self.shared[place].clone();
        let Some(holder) = copy.to.clone() else { return true };
        let options = copy.members.get(&holder);
        let Some(session) = self.sessions.get_mut(&holder) else { return false };
        let has_expiry = session.has_expiry;
        // Where the holder was told identifiers, they tell copies apart.
        let id = copy.ids.get(&holder);
        let is_any = session.is_untold || copy.handed_on;
        let is_own = |own: &Copy| {
            own.message.looks_like(&copy.message, has_expiry)
                && Some(&(own.qos, own.retain)) == options
                && (is_any || own.ids.iter().eq(id))
        };
        if let Some(own) = session.owed.iter().position(is_own).filter(|_| holder != to) {
            session.owed.remove(own);
            self.shared[place].to = None;
            return true;
        }
        seen.push(place);
        for other in 0..self.shared.len() {
            let another = &self.shared[other];
            // Of one that was lost RETAIN was not seen.
            let as_subscribed = another.members.get(&holder).is_some_and(|(qos, _)| {
                options.is_some_and(|(other, _)| other == qos) || copy.handed_on || another.handed_on
            });
            let is_told_so = is_any || another.handed_on || another.ids.get(&holder) == id;
            let fits = as_subscribed && is_told_so && another.message.looks_like(&copy.message, has_expiry);
            if fits && !seen.contains(&other) && self.make_free(other, to, seen) {
                self.shared[other].to = Some(holder);
                self.shared[place].to = None;
                return true;
            }
        }
        false
    }
}

/// Finds a loss that stands for the copy at this place; one that stands for another copy, if that one has another loss.
fn explain(
    place: usize,
    missing: &[&SharedCopy],
    losses: &[(&String, &String)],
    stands_for: &mut [Option<usize>],
    seen: &mut BTreeSet<usize>,
) -> bool {
    let copy = missing[place];
    for (at, (client_id, topic)) in losses.iter().enumerate() {
        let fits = copy.message.topic == **topic && copy.members.contains_key(*client_id);
        if !fits || !seen.insert(at) {
            continue;
        }
        if stands_for[at].is_none_or(|other| explain(other, missing, losses, stands_for, seen)) {
            stands_for[at] = Some(place);
            return true;
        }
    }
    false
}
