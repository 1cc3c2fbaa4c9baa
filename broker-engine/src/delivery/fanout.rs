//! Fan-outs that one call does not finish: one after the other, in the order of their publications.
//!
//! Only the first has more than its message. Those behind it are matched when their turn comes, so that many
//! publications to many subscribers do not take as much memory as all their deliveries.

use super::message::Message;
use super::route::wants;
use super::{Publication, Recipient, Routed, Work};
use crate::connections::Parked;
use crate::counters::DropReason;
use crate::engine::Engine;
use crate::ids::{ConnId, MessageKey};
use crate::outbox::Outbox;
use crate::topics::Matching;
use alloc::{collections::VecDeque, vec::Vec};
use mqtt_proto::{PacketId, QoS};
use serde::{Deserialize, Serialize};

/// Whose PUBLISH it is, and what acknowledges it.
pub(crate) type Origin = (ConnId, Option<(QoS, PacketId)>);

#[derive(Debug, Serialize, Deserialize)]
struct Fanout {
    message: MessageKey,
    /// `None` for wills and the broker's own messages.
    origin: Option<Origin>,
    stage: Stage,
}

/// How far a fan-out has come.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// It is behind another one.
    Waiting,
    /// Its filters are being found.
    Matching(Matching),
    /// Its recipients are known: those of the moment when the last filter was found.
    Delivering(Slice),
}

/// Recipients, and how many of them have had their copy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Slice {
    recipients: Recipients,
    count: usize,
    next: usize,
    bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Recipients {
    Copied(Vec<Recipient>),
    /// All subscribers of the filter that the index watches.
    Watched,
}

impl Slice {
    #[cold]
    pub(crate) fn new(recipients: Vec<Recipient>) -> Self {
        let ids: usize = recipients.iter().map(|recipient| size_of_val(recipient.ids.as_slice())).sum();
        let bytes = (size_of_val(&*recipients) + ids) as u64;
        Self { count: recipients.len(), recipients: Recipients::Copied(recipients), next: 0, bytes }
    }
}

impl Stage {
    /// Bytes that it keeps.
    fn bytes(&self) -> u64 {
        match self {
            Self::Waiting => 0,
            Self::Matching(matching) => matching.bytes(),
            Self::Delivering(slice) => slice.bytes,
        }
    }
}

/// All unfinished fan-outs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Fanouts {
    queue: VecDeque<Fanout>,
    /// Those that no publisher waits for.
    unowned: u32,
}

impl Fanouts {
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// How many of them no publisher waits for: it is gone, or there was none.
    pub(crate) fn unowned(&self) -> u32 {
        self.unowned
    }

    /// A publisher left while its PUBLISH was in here.
    pub(crate) fn disown(&mut self) {
        self.unowned += 1;
    }

    /// Bytes that the first one keeps beside its message.
    pub(crate) fn bytes(&self) -> u64 {
        self.queue.front().map_or(0, |first| first.stage.bytes())
    }

    /// Whose they are, for consistency checks.
    pub(crate) fn origins(&self) -> impl Iterator<Item = Option<ConnId>> {
        self.queue.iter().map(|fanout| fanout.origin.map(|(conn, _)| conn))
    }

    fn pop(&mut self) -> Option<Fanout> {
        let first = self.queue.pop_front();
        if self.queue.is_empty() {
            // Memory goes back after a storm.
            self.queue = VecDeque::new();
        }
        first
    }
}

impl Engine {
    /// Goes on with a publication in later calls.
    #[cold]
    pub(crate) fn queue_fanout(
        &mut self,
        publication: &Publication<'_>,
        origin: Option<Origin>,
        stage: Stage,
    ) -> Routed {
        let message = self.messages.insert(publication);
        self.fanouts.unowned += u32::from(origin.is_none());
        self.fanouts.queue.push_back(Fanout { message, origin, stage });
        self.work.push_back(Work::Fanout);
        Routed::Queued
    }

    /// The first fan-out goes on, as far as this call's budget goes.
    pub(crate) fn do_fanout(&mut self, out: &mut Outbox) {
        // It stays the first meanwhile, so that what it leads to lines up behind it.
        let Some(first) = self.fanouts.queue.front_mut() else { return };
        let message = first.message;
        let stage = core::mem::replace(&mut first.stage, Stage::Waiting);
        let buffer = self.messages.get(message).map(Message::buffer);
        let ended = match &buffer {
            Some(buffer) => self.go_on(stage, message, &buffer.publication(), out),
            None => Ok(false),
        };
        match ended {
            Ok(matched) => self.end_fanout(matched, out),
            Err(stage) => {
                if let Some(first) = self.fanouts.queue.front_mut() {
                    first.stage = stage;
                }
                // In front again: publications behind it must not overtake it.
                self.work.push_front(Work::Fanout);
            }
        }
    }

    /// At the end, whether anybody got it; before, how far it is.
    fn go_on(
        &mut self,
        stage: Stage,
        message: MessageKey,
        publication: &Publication<'_>,
        out: &mut Outbox,
    ) -> Result<bool, Stage> {
        let mut steps = self.budget;
        let (mut matching, all_found) = match stage {
            Stage::Delivering(slice) => return self.deliver_slice(slice, message, publication, out),
            Stage::Waiting => {
                // A turn is work by itself, or any number that nobody subscribed to would fit into one call.
                steps = steps.saturating_sub(1);
                let mut matching = Matching::default();
                let all_found = self.index.matches(publication.topic, &mut matching, &mut steps);
                (matching, all_found)
            }
            Stage::Matching(mut matching) => {
                let all_found = self.index.go_on(publication.topic, &mut matching, &mut steps);
                (matching, all_found)
            }
        };
        self.counters.matching_steps += u64::from(self.budget - steps);
        self.budget = steps;
        if !all_found {
            return Err(Stage::Matching(matching));
        }
        let slice = self.watch_crowd(&mut matching).unwrap_or_else(|| {
            let mut recipients = Vec::new();
            self.find_recipients(publication, &mut matching, &mut recipients);
            Slice::new(recipients)
        });
        self.deliver_slice(slice, message, publication, out)
    }

    /// Recipients that are too many for this call, if one filter alone has them all: even to copy them takes long.
    pub(crate) fn watch_crowd(&mut self, matching: &mut Matching) -> Option<Slice> {
        let [id] = *matching.filters else { return None };
        let filter = self.index.filter(id)?;
        let count = filter.plain.len();
        // One of them can be the publisher, with No Local.
        if !filter.groups.is_empty() || count <= self.budget as usize + 1 {
            return None;
        }
        matching.filters.clear();
        self.index.watch(id);
        Some(Slice { recipients: Recipients::Watched, count, next: 0, bytes: 0 })
    }

    fn next_recipient(&self, slice: &mut Slice, publication: &Publication<'_>) -> Option<Recipient> {
        while slice.next < slice.count {
            let next = slice.next;
            slice.next += 1;
            let subscriber = match &mut slice.recipients {
                Recipients::Copied(list) => {
                    let recipient = list.get_mut(next)?;
                    return Some(Recipient { ids: core::mem::take(&mut recipient.ids), ..*recipient });
                }
                Recipients::Watched => self.index.watched(u32::try_from(next).ok()?)?,
            };
            if wants(&subscriber, publication) {
                return Some(Recipient::new(&subscriber));
            }
        }
        None
    }

    /// Is nobody left who wants a copy?
    fn is_over(&self, slice: &Slice, publication: &Publication<'_>) -> bool {
        let wanted = |next: usize| match &slice.recipients {
            Recipients::Copied(_) => true,
            Recipients::Watched => {
                let subscriber = u32::try_from(next).ok().and_then(|next| self.index.watched(next));
                subscriber.is_some_and(|subscriber| wants(&subscriber, publication))
            }
        };
        !(slice.next..slice.count).any(wanted)
    }

    fn deliver_slice(
        &mut self,
        mut slice: Slice,
        message: MessageKey,
        publication: &Publication<'_>,
        out: &mut Outbox,
    ) -> Result<bool, Stage> {
        let mut kept = Some(message);
        let is_expired = self.is_expired(message);
        while self.budget > 0 {
            let Some(recipient) = self.next_recipient(&mut slice, publication) else { break };
            self.budget -= 1;
            if is_expired {
                self.counters.routed += 1;
                self.dropped(recipient.session, publication.topic, DropReason::Expired, out);
            } else {
                self.deliver(publication, &mut kept, recipient, out);
            }
        }
        self.flush_templates(out);
        if !self.is_over(&slice, publication) {
            return Err(Stage::Delivering(slice));
        }
        Ok(slice.count > 0)
    }

    /// The PUBLISH that waited is acknowledged and the packets behind it go on.
    fn end_fanout(&mut self, matched: bool, out: &mut Outbox) {
        let Some(Fanout { message, origin, .. }) = self.fanouts.pop() else { return };
        self.index.unwatch();
        self.messages.release(message);
        let waiting = origin.filter(|(id, _)| self.is_parked_by_fanout(*id));
        let Some((id, owed)) = waiting else {
            self.fanouts.unowned -= 1;
            return;
        };
        if let Some(conn) = self.conn_mut(id) {
            conn.parked = None;
        }
        if let Some((qos, packet_id)) = owed {
            self.gates.begin_packet();
            let reason = self.publish_reason(matched);
            self.acknowledge_publish(id, qos, Some(packet_id), reason, out);
        }
        self.resume_input(id, out);
    }

    /// Does this connection's publisher wait for its fan-out?
    pub(crate) fn is_parked_by_fanout(&self, id: ConnId) -> bool {
        self.conn(id).is_some_and(|conn| matches!(conn.parked.as_deref(), Some(Parked::Fanout)))
    }
}
