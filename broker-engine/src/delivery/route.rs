//! Who gets a message: matching, and the members of shared groups whose turn it is.

use super::encode::Templates;
use super::fanout::{Origin, Stage};
use super::recipients::{Recipients, Spent};
use super::{Publication, Work};
use crate::collections::SlotKey;
use crate::config::SharedStrategy;
use crate::engine::Engine;
use crate::outbox::Outbox;
use crate::sessions::{SubIds, Subscriber};
use crate::topics::{GroupId, Matching};
use alloc::{boxed::Box, vec::Vec};
use mqtt_proto::{QoS, planted};

/// Members of a shared group that are looked at for the price of a delivery.
const GLANCES: usize = 16;

/// One copy of a message for one session.
#[derive(Debug)]
pub(crate) struct Recipient {
    pub(crate) session: SlotKey,
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
    pub(crate) ids: SubIds,
    /// The shared group that it was chosen from.
    pub(crate) group: Option<GroupId>,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routed {
    /// Every recipient's session has it.
    Done {
        /// Was there any?
        matched: bool,
    },
    /// It goes on in later calls; its origin is acknowledged then.
    Queued,
}

/// Buffers that are reused between calls; empty between them.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    matching: Matching,
    recipients: Recipients,
    /// A few subscribers of a list.
    pub(crate) batch: Vec<Subscriber>,
    pub(crate) templates: Templates,
}

impl Engine {
    /// Hands a message to the session of every matching subscription.
    pub(crate) fn route(
        &mut self,
        publication: &Publication<'_>,
        origin: Option<Origin>,
        out: &mut Outbox,
    ) -> Routed {
        self.tell_published(publication, out);
        // Behind an unfinished fan-out everything lines up, or a later message would overtake an earlier one.
        if self.fanouts.len() > 0 {
            return self.queue_fanout(publication, None, origin, Stage::Waiting);
        }
        let mut matching = core::mem::take(&mut self.scratch.matching);
        // The topic's bytes were work already, so as many steps come free, and ordinary matches take no more.
        let free = u32::try_from(publication.topic.len()).unwrap_or(u32::MAX);
        let steps = self.budget.saturating_add(free);
        let mut left = steps;
        let all_found = self.index.matches(publication.topic, &mut matching, &mut left);
        self.counters.matching_steps += u64::from(steps - left);
        self.budget = self.budget.min(left);
        if !all_found {
            return self.queue_fanout(publication, None, origin, Stage::Matching(matching));
        }
        let mut to = core::mem::take(&mut self.scratch.recipients);
        self.begin_recipients(&mut to, &mut matching.filters, publication);
        self.scratch.matching = matching;
        let mut kept = None;
        let handed = self.each_recipient(&mut to, publication, |engine, recipient| {
            engine.deliver(publication, &mut kept, recipient, out);
        });
        self.flush_templates(out);
        if let Err(Spent) = handed {
            return self.queue_fanout(publication, kept, origin, Stage::Delivering(Box::new(to)));
        }
        let matched = to.matched;
        self.scratch.recipients = to;
        if let Some(kept) = kept {
            self.messages.release(kept);
        }
        Routed::Done { matched }
    }

    /// The member of a shared group whose turn it is, as the strategy says.
    pub(crate) fn choose_member(&mut self, id: GroupId, publication: &Publication<'_>) -> Option<Recipient> {
        let random = match self.config.shared_strategy {
            SharedStrategy::Random => self.rng.next_u64(),
            SharedStrategy::HashTopic => stable_hash(publication.topic.as_bytes()),
            SharedStrategy::HashClient => {
                let session = publication.publisher.and_then(|key| self.sessions.get(key));
                stable_hash(session.map_or(&[], |session| session.client_id.as_bytes()))
            }
            _ => 0,
        };
        let by_hash = planted!("hash-decides").then(|| self.clients.hash(publication.payload));
        let Self { index, sessions, config, .. } = self;
        let group = index.group_mut(id)?;
        let count = group.members.len();
        let may_read = |member: &Subscriber| {
            sessions.get(member.session).is_none_or(|s| s.may_read(publication.topic))
                || planted!("shared-skips-permissions")
        };
        let is_online = |member: &Subscriber| {
            sessions.get(member.session).is_some_and(|s| s.conn.is_some()) && may_read(member)
        };
        let load = |member: &Subscriber| {
            let session = sessions.get(member.session);
            session.map_or(usize::MAX, |session| session.inflight.len() + session.queue.len())
        };
        // In a group of many offline members that can be all of them, so it is charged for.
        let mut looked_at = 0;
        let start = match config.shared_strategy {
            SharedStrategy::RoundRobin => group.next as usize % count.max(1),
            SharedStrategy::Sticky => group.sticky as usize % count.max(1),
            SharedStrategy::LeastInflight => {
                looked_at = count;
                let least = group.members.iter().enumerate().filter(|(_, m)| is_online(m));
                least.min_by_key(|(_, member)| load(member)).map_or(0, |(at, _)| at)
            }
            _ => usize::try_from(random % (count.max(1) as u64)).unwrap_or_default(),
        };
        let mut order = (start..count).chain(0..start);
        let online = order.clone().find(|at| group.members.get(*at).is_some_and(is_online));
        looked_at += online.map_or(count, |at| (at + count - start) % count);
        self.budget = self.budget.saturating_sub(u32::try_from(looked_at / GLANCES).unwrap_or(u32::MAX));
        let chosen = online.or_else(|| order.find(|at| group.members.get(*at).is_some_and(may_read)))?;
        let chosen = if planted!("first-member-always") { 0 } else { chosen };
        let chosen = by_hash.map_or(chosen, |hash| usize::try_from(hash).unwrap_or_default() % count.max(1));
        group.next = u32::try_from(chosen + 1).unwrap_or(0);
        group.sticky = u32::try_from(chosen).unwrap_or(0);
        group.members.get(chosen).map(|member| Recipient { group: Some(id), ..Recipient::new(member) })
    }

    /// Goes on with sliced work, as far as this call's budget goes.
    pub(crate) fn do_work(&mut self, out: &mut Outbox) {
        // Work that asks to go on gets its turn in the next call, so one pass over what is there now.
        for _ in 0..self.work.len() {
            if self.budget == 0 {
                return;
            }
            match self.work.pop_front() {
                Some(Work::Fanout) => self.do_fanout(out),
                Some(Work::Drain(conn)) => {
                    if let Some(conn) = self.conn_mut(conn) {
                        conn.egress.draining = false;
                    }
                    self.drain(conn, out);
                }
                Some(Work::Retained(conn)) => {
                    if let Some(conn) = self.conn_mut(conn) {
                        conn.egress.scanning = false;
                    }
                    self.send_retained(conn, out);
                }
                None => return,
            }
        }
    }
}

impl Recipient {
    pub(crate) fn new(subscriber: &Subscriber) -> Self {
        Self {
            session: subscriber.session,
            qos: subscriber.options.qos,
            retain_as_published: subscriber.options.retain_as_published,
            ids: SubIds::new(subscriber.id),
            group: None,
        }
    }
}

/// A hash that is the same everywhere and for ever (FNV-1a); not for tables.
fn stable_hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
