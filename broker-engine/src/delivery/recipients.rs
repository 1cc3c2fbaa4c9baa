//! The recipients of a message, one after the other, as far as a call's budget goes.
//!
//! Nobody's list is copied or sorted. Where a session may subscribe by several filters, only those beside the filter with
//! the most subscribers are put together first, by session; who is met in the largest list then takes along what is
//! there. Nothing of this depends on how much of it one call does.

use super::{Publication, Recipient};
use crate::collections::SlotKey;
use crate::config::Overlap;
use crate::engine::Engine;
use crate::sessions::{SubIds, Subscriber};
use crate::topics::FilterId;
use alloc::{collections::BTreeMap, vec::Vec};
use mqtt_proto::{QoS, planted};
use serde::{Deserialize, Serialize};

/// Filters that are looked at for the price of a delivery.
const GLANCES: usize = 16;

/// Subscribers that are taken from a list together.
const BATCH: usize = 32;

/// Who gets a message, as far as it has come.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Recipients {
    filters: Vec<FilterId>,
    pass: Pass,
    /// Which of the filters, and where in its list.
    at: usize,
    position: u32,
    /// Which of the filters has the most plain subscribers, and how many, as far as the first pass has come.
    largest: usize,
    most: u32,
    /// Copies for subscribers of the other filters.
    others: BTreeMap<SlotKey, Merged>,
    /// Subscription Identifiers in them.
    ids: usize,
    /// Was there any?
    pub(crate) matched: bool,
}

/// What is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Pass {
    /// A member of each shared group. That is the first pass, so that its turn is taken when the message comes.
    #[default]
    Groups,
    /// Those who are not in the largest list are put together; nobody gets anything.
    Others,
    /// The largest list, or with a copy for each subscription, all.
    Lists,
    /// Who was not met there.
    Rest,
}

/// A session's subscriptions that match: one copy at the highest QoS and with all Subscription Identifiers
/// [MQTT-3.3.4-2].
#[derive(Debug, Default, Serialize, Deserialize)]
struct Merged {
    qos: QoS,
    retain_as_published: bool,
    ids: Vec<u32>,
}

impl Merged {
    fn add(&mut self, subscriber: &Subscriber) {
        self.qos = self.qos.max(subscriber.options.qos);
        self.retain_as_published |= subscriber.options.retain_as_published;
        self.ids.extend((subscriber.id > 0).then_some(subscriber.id));
    }

    /// The identifiers in an order that is the same whichever list is the largest.
    fn into_recipient(mut self, session: SlotKey) -> Recipient {
        self.ids.sort_unstable();
        let ids = SubIds::from_slice(&self.ids);
        Recipient { session, qos: self.qos, retain_as_published: self.retain_as_published, ids, group: None }
    }
}

impl Recipients {
    /// Bytes that it keeps.
    pub(crate) fn bytes(&self) -> u64 {
        let others = self.others.len() * size_of::<(SlotKey, Merged)>() + self.ids * size_of::<u32>();
        (size_of_val(&*self.filters) + others) as u64
    }

    /// Takes out what a session has by other filters than the largest.
    fn take_other(&mut self, session: SlotKey) -> Option<Merged> {
        let merged = self.others.remove(&session)?;
        self.ids -= merged.ids.len();
        Some(merged)
    }
}

/// This call's budget is used up.
pub(crate) struct Spent;

impl Engine {
    /// Begins with the filters that were found; leaves their list empty.
    pub(crate) fn begin_recipients(
        &self,
        to: &mut Recipients,
        filters: &mut Vec<FilterId>,
        publication: &Publication<'_>,
    ) {
        let mut found = filters.iter().filter_map(|filter| self.index.filter(*filter));
        if planted!("no-local-merged")
            && found.any(|filter| filter.plain.iter().any(|subscriber| !wants(subscriber, publication)))
        {
            filters.clear();
        }
        // Most often there is one filter, without groups: nothing is to be put together.
        let plain = |filter: FilterId| self.index.filter(filter).is_some_and(|known| known.groups.is_empty());
        to.pass = match **filters {
            [filter] if plain(filter) => Pass::Lists,
            _ => Pass::Groups,
        };
        to.filters.clear();
        core::mem::swap(&mut to.filters, filters);
        (to.at, to.position, to.largest, to.most) = (0, 0, 0, 0);
        to.matched = false;
    }

    /// Hands a copy to each recipient, as far as the budget goes.
    #[inline]
    pub(crate) fn each_recipient(
        &mut self,
        to: &mut Recipients,
        publication: &Publication<'_>,
        mut hand: impl FnMut(&mut Self, Recipient),
    ) -> Result<(), Spent> {
        let merges = self.config.overlap == Overlap::Once;
        loop {
            while let Some(filter) = to.filters.get(to.at).copied() {
                match to.pass {
                    Pass::Groups => self.each_group(to, filter, publication, &mut hand)?,
                    Pass::Others => self.put_together(to, filter, publication)?,
                    Pass::Lists | Pass::Rest => self.each_in_list(to, filter, publication, &mut hand)?,
                }
                to.position = 0;
                to.at = if merges && to.pass == Pass::Lists { to.filters.len() } else { to.at + 1 };
                if to.at.is_multiple_of(GLANCES) {
                    self.pay()?;
                }
            }
            (to.pass, to.at) = match to.pass {
                Pass::Groups if merges => (Pass::Others, 0),
                Pass::Groups => (Pass::Lists, 0),
                Pass::Others => (Pass::Lists, to.largest),
                Pass::Lists => (Pass::Rest, to.filters.len()),
                Pass::Rest => return self.each_of_rest(to, hand),
            };
        }
    }

    fn pay(&mut self) -> Result<(), Spent> {
        self.budget = self.budget.checked_sub(1).ok_or(Spent)?;
        Ok(())
    }

    /// A member of each shared group of a filter.
    fn each_group(
        &mut self,
        to: &mut Recipients,
        filter: FilterId,
        publication: &Publication<'_>,
        mut hand: impl FnMut(&mut Self, Recipient),
    ) -> Result<(), Spent> {
        while let Some(group) = self.index.group(filter, to.position) {
            self.pay()?;
            to.position += 1;
            if let Some(member) = self.choose_member(group, publication) {
                to.matched = true;
                hand(self, member);
            }
        }
        let count = self.index.crowd(filter);
        if count > to.most {
            (to.largest, to.most) = (to.at, count);
        }
        Ok(())
    }

    /// Adds a filter's subscribers to what others have.
    fn put_together(
        &mut self,
        to: &mut Recipients,
        filter: FilterId,
        publication: &Publication<'_>,
    ) -> Result<(), Spent> {
        if to.at == to.largest {
            return Ok(());
        }
        let mut batch = core::mem::take(&mut self.scratch.batch);
        let mut paid = Ok(());
        while paid.is_ok() && self.next_batch(to, filter, &mut batch) {
            for subscriber in &batch {
                paid = self.pay();
                if paid.is_err() {
                    break;
                }
                to.position += 1;
                if wants(subscriber, publication) {
                    to.others.entry(subscriber.session).or_default().add(subscriber);
                    to.ids += usize::from(subscriber.id > 0);
                }
            }
        }
        self.scratch.batch = batch;
        paid
    }

    /// A filter's next few subscribers; says whether there are any.
    #[inline]
    fn next_batch(&self, to: &Recipients, filter: FilterId, batch: &mut Vec<Subscriber>) -> bool {
        batch.clear();
        batch.reserve(BATCH);
        self.index.subscribers(filter, to.position, batch);
        !batch.is_empty()
    }

    /// The subscribers of a filter, each with what else is for it.
    #[inline]
    fn each_in_list(
        &mut self,
        to: &mut Recipients,
        filter: FilterId,
        publication: &Publication<'_>,
        mut hand: impl FnMut(&mut Self, Recipient),
    ) -> Result<(), Spent> {
        let mut batch = core::mem::take(&mut self.scratch.batch);
        let mut paid = Ok(());
        let mut is_last = false;
        while paid.is_ok() && !is_last && self.next_batch(to, filter, &mut batch) {
            is_last = batch.len() < BATCH;
            for subscriber in &batch {
                // The publisher itself costs nothing: it is in a list once.
                if wants(subscriber, publication) {
                    paid = self.pay();
                    if paid.is_err() {
                        break;
                    }
                    to.matched = true;
                    let other = if to.others.is_empty() { None } else { to.take_other(subscriber.session) };
                    match other {
                        None => hand(self, Recipient::new(subscriber)),
                        Some(mut merged) => {
                            merged.add(subscriber);
                            hand(self, merged.into_recipient(subscriber.session));
                        }
                    }
                }
                to.position += 1;
            }
        }
        self.scratch.batch = batch;
        paid
    }

    /// Those who are not in the largest list.
    fn each_of_rest(
        &mut self,
        to: &mut Recipients,
        mut hand: impl FnMut(&mut Self, Recipient),
    ) -> Result<(), Spent> {
        while let Some((session, _)) = to.others.first_key_value() {
            let session = *session;
            self.pay()?;
            to.matched = true;
            if let Some(merged) = to.take_other(session) {
                hand(self, merged.into_recipient(session));
            }
        }
        Ok(())
    }
}

/// No Local is judged for each subscription by itself.
fn wants(subscriber: &Subscriber, publication: &Publication<'_>) -> bool {
    !(subscriber.options.no_local && publication.publisher == Some(subscriber.session))
}
