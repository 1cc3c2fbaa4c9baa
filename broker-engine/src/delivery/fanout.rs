//! Fan-outs that one call does not finish: one after the other, in the order of their publications.
//!
//! Only the first has more than its message. Those behind it are matched when their turn comes, so that many
//! publications to many subscribers do not take as much memory as all their deliveries.

use super::message::{Message, MessageStore};
use super::recipients::Recipients;
use super::{Publication, Routed, Work};
use crate::collections::SlotKey;
use crate::connections::{Owed, Parked};
use crate::counters::DropReason;
use crate::engine::Engine;
use crate::ids::{ConnId, MessageKey};
use crate::outbox::Outbox;
use crate::topics::Matching;
use alloc::{boxed::Box, collections::VecDeque};
use mqtt_proto::{PacketId, QoS};
use serde::{Deserialize, Serialize};

/// Whose PUBLISH it is, and what acknowledges it.
pub(crate) type Origin = (ConnId, Option<(QoS, PacketId)>);

#[derive(Debug, Serialize, Deserialize)]
struct Fanout {
    message: MessageKey,
    /// `None` for wills and the broker's own messages.
    origin: Option<Origin>,
    /// The client whose will it is, where the store has that until it is over.
    will_of: Option<Box<str>>,
    stage: Stage,
}

/// How far a fan-out has come.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// It is behind another one.
    Waiting,
    /// Its filters are being found.
    Matching(Matching),
    /// Its filters are known, and are watched from that moment on; copies leave.
    Delivering(Box<Recipients>),
}

impl Stage {
    /// Bytes that it keeps.
    fn bytes(&self) -> u64 {
        match self {
            Self::Waiting => 0,
            Self::Matching(matching) => matching.bytes(),
            Self::Delivering(to) => to.bytes(),
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

    /// Gives a QoS 2 message whose publisher left to a later connection of its session, which has sent it again; says
    /// whether it is here.
    fn adopt(
        &mut self,
        messages: &MessageStore,
        session: SlotKey,
        owed: (QoS, PacketId),
        conn: ConnId,
    ) -> bool {
        let found = self.queue.iter_mut().find(|fanout| {
            let publisher = messages.get(fanout.message).and_then(|message| message.publisher);
            publisher == Some(session) && fanout.origin.is_some_and(|(_, other)| other == Some(owed))
        });
        if let Some(fanout) = found {
            fanout.origin = Some((conn, Some(owed)));
            self.unowned -= 1;
            return true;
        }
        false
    }

    /// Bytes that the first one keeps beside its message.
    pub(crate) fn bytes(&self) -> u64 {
        self.queue.front().map_or(0, |first| first.stage.bytes())
    }

    /// Whose they are, for consistency checks.
    pub(crate) fn origins(&self) -> impl Iterator<Item = Option<ConnId>> {
        self.queue.iter().map(|fanout| fanout.origin.map(|(conn, _)| conn))
    }

    /// Publishers, perhaps gone by now, that are owed an acknowledgement.
    pub(crate) fn owed(&self) -> impl Iterator<Item = ConnId> {
        let origins = self.queue.iter().filter_map(|fanout| fanout.origin);
        origins.filter_map(|(conn, owed)| owed.map(|_| conn))
    }

    /// The last one is a will.
    pub(crate) fn is_will_of(&mut self, client_id: &str) {
        if let Some(last) = self.queue.back_mut() {
            last.will_of = Some(client_id.into());
        }
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
    /// Goes on with a publication in later calls; takes over the reference to its message, if it is `kept` already.
    #[cold]
    pub(crate) fn queue_fanout(
        &mut self,
        publication: &Publication<'_>,
        kept: Option<MessageKey>,
        origin: Option<Origin>,
        stage: Stage,
    ) -> Routed {
        let message = kept.unwrap_or_else(|| self.messages.insert(publication));
        if matches!(stage, Stage::Delivering(_)) {
            self.index.watch();
        }
        self.fanouts.unowned += u32::from(origin.is_none());
        self.fanouts.queue.push_back(Fanout { message, origin, will_of: None, stage });
        self.work.push_back(Work::Fanout);
        Routed::Queued
    }

    /// Has a publication that has expired already counted as dropped for each who would have got it.
    pub(crate) fn drop_for_all(&mut self, publication: &Publication<'_>, origin: Option<Origin>) -> Routed {
        // A fan-out that waits looks at the life of its message when its turn comes.
        self.queue_fanout(publication, None, origin, Stage::Waiting)
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
            Stage::Delivering(to) => return self.deliver_slice(to, message, publication, out),
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
        let mut to = Box::<Recipients>::default();
        self.begin_recipients(&mut to, &mut matching.filters, publication);
        self.deliver_slice(to, message, publication, out)
    }

    fn deliver_slice(
        &mut self,
        mut to: Box<Recipients>,
        message: MessageKey,
        publication: &Publication<'_>,
        out: &mut Outbox,
    ) -> Result<bool, Stage> {
        let mut kept = Some(message);
        let is_expired = self.is_expired(message);
        let handed = self.each_recipient(&mut to, publication, |engine, recipient| {
            if is_expired {
                engine.counters.routed += 1;
                engine.dropped(recipient.session, publication.topic, DropReason::Expired, out);
            } else {
                engine.deliver(publication, &mut kept, recipient, out);
            }
        });
        self.flush_templates(out);
        if handed.is_ok() && self.forget_changes() {
            return Ok(to.matched);
        }
        self.index.watch();
        Err(Stage::Delivering(to))
    }

    /// Lets go of what has changed since the fan-out was cut off, as far as this call's budget goes; says whether that is
    /// all.
    fn forget_changes(&mut self) -> bool {
        while self.index.forget_change() {
            let Some(left) = self.budget.checked_sub(1) else { return false };
            self.budget = left;
        }
        true
    }

    /// The PUBLISH that waited is acknowledged and the packets behind it go on.
    fn end_fanout(&mut self, matched: bool, out: &mut Outbox) {
        let Some(Fanout { message, origin, will_of, .. }) = self.fanouts.pop() else { return };
        let publisher = self.messages.get(message).and_then(|message| message.publisher);
        self.messages.release(message);
        self.gates.begin_packet();
        // Its deliveries were kept in earlier calls too.
        self.gates.stand_behind_all();
        if let Some(client_id) = will_of {
            self.store_will_of(&client_id);
        }
        let owed = origin.and_then(|(_, owed)| owed);
        let owed = owed.map(|(qos, packet_id)| Owed { qos, packet_id: Some(packet_id) });
        if let (Some(publisher), Some(owed)) = (publisher, owed) {
            self.store_received_of(publisher, owed);
        }
        let waiting = origin.filter(|(id, _)| self.is_parked_by_fanout(*id));
        let Some((id, _)) = waiting else {
            self.fanouts.unowned -= 1;
            return;
        };
        if let Some(conn) = self.conn_mut(id) {
            conn.parked = None;
        }
        if let Some(owed) = owed {
            let reason = self.publish_reason(matched);
            self.acknowledge_publish(id, owed, reason, out);
        }
        self.resume_input(id, out);
    }

    /// A QoS 2 message came again on another connection. While it is on its way to those who get it, its deliveries are
    /// not all kept, and so its acknowledgement waits with it.
    pub(crate) fn wait_for_fanout(&mut self, id: ConnId, session: SlotKey, packet_id: PacketId) -> bool {
        let owed = (QoS::ExactlyOnce, packet_id);
        let waits = self.gates.is_on() && self.fanouts.adopt(&self.messages, session, owed, id);
        if let Some(conn) = self.conn_mut(id).filter(|_| waits) {
            conn.parked = Some(Box::new(Parked::Fanout));
        }
        waits
    }

    /// Does this connection's publisher wait for its fan-out?
    pub(crate) fn is_parked_by_fanout(&self, id: ConnId) -> bool {
        self.conn(id).is_some_and(|conn| matches!(conn.parked.as_deref(), Some(Parked::Fanout)))
    }
}
