//! What the engine may do and what it must: every PUBLISH is one that is owed, in its order, and at the end nothing is
//! owed any more.

use super::session::{Copy, Session, SharedCopy, take_shared};
use super::topics::{is_shared, matches, plain};
use super::{Oracle, State};
use crate::check::Counts;
use broker_engine::{DeadlineReason, DropReason, Engine, Note, SharedStrategy};
use mqtt_proto::{QoS, ReasonCode, Version};
use std::collections::VecDeque;
use std::sync::Arc;

/// Name of a statement, and what was seen.
pub(crate) type Wrong = (&'static str, String);

/// A first transmission.
pub(crate) struct Given<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Message Expiry Interval, where the version has it.
    pub(crate) expiry: Option<Option<u32>>,
}

/// Earlier copies of the same stream.
fn overtaken(owed: &VecDeque<Copy>, place: usize) -> Vec<usize> {
    let earlier = owed.iter().enumerate().take(place);
    let is_before = |(_, copy): &(usize, &Copy)| !copy.optional && copy.is_before(&owed[place]);
    earlier.filter(is_before).map(|(at, _)| at).collect()
}

/// Bytes of a PUBLISH beside topic and payload at most.
const HEAD: usize = 24;

impl Given<'_> {
    fn is(&self, copy: &Copy) -> bool {
        self.is_message(&copy.message.topic, &copy.message.payload)
            && (self.qos, self.retain) == (copy.qos, copy.retain)
    }

    fn is_message(&self, topic: &str, payload: &[u8]) -> bool {
        self.topic == topic && self.payload == payload
    }

    fn is_shared(&self, copy: &SharedCopy) -> bool {
        let member = copy.members.get(self.client_id);
        // One that was handed on has the options that its member had at that time.
        let as_subscribed = |member: &(QoS, bool)| {
            *member == (self.qos, self.retain) || copy.handed_on && self.qos <= copy.message.qos
        };
        self.is_message(&copy.message.topic, &copy.message.payload) && member.is_some_and(as_subscribed)
    }

    /// What is left of its life is told, the last second counted as one [MQTT-3.3.2-6].
    fn lives_on(&self, now: u64, told_until: Option<u64>) -> Result<(), Wrong> {
        let left = told_until.map(|at| at.saturating_sub(now).div_ceil(1_000_000));
        match self.expiry {
            // One without payload cannot be told from others.
            Some(told) if told.map(u64::from) != left && !self.payload.is_empty() => {
                Err(("INV-10", format!("{} has {left:?} s left, and says {told:?}", self.shown())))
            }
            _ => Ok(()),
        }
    }

    fn shown(&self) -> String {
        let number = String::from_utf8_lossy(&self.payload[..self.payload.len().min(8)]).into_owned();
        format!(
            "{} to {}: {number:?} with QoS {}, retain {}",
            self.topic, self.client_id, self.qos as u8, self.retain
        )
    }
}

impl Oracle {
    /// Behind a call of the engine: losses that it tells of, and what it keeps.
    pub(crate) fn agrees(
        &mut self,
        now: u64,
        notes: &[Note],
        engine: &Engine,
        counts: &mut Counts,
    ) -> Result<(), Wrong> {
        let mut ended: Vec<&str> = Vec::new();
        for note in notes {
            match note {
                Note::MessageDropped { client_id, topic, reason } => {
                    counts.look("INV-92");
                    self.lost(now, client_id, topic, *reason, counts)?;
                }
                Note::SessionEnded { client_id } => ended.push(client_id),
                _ => {}
            }
        }
        let mut expected: Vec<&str> = self.broker.ended.iter().map(|(id, _)| id.as_str()).collect();
        ended.sort_unstable();
        expected.sort_unstable();
        counts.look("INV-23");
        if ended != expected {
            return Err(("INV-23", format!("sessions of {ended:?} end, it is time for {expected:?}")));
        }
        let (view, broker) = (engine.view(), &self.broker);
        counts.look("INV-26");
        if view.counters().wills_sent != broker.wills {
            let (sent, due) = (view.counters().wills_sent, broker.wills);
            return Err(("INV-26", format!("{sent} wills were sent, {due} were due")));
        }
        counts.look("INV-30");
        if view.retained() != broker.retained.len() {
            let (kept, due) = (view.retained(), broker.retained.len());
            return Err(("INV-30", format!("{kept} retained messages are kept, there should be {due}")));
        }
        counts.look("INV-20");
        if view.sessions() != broker.sessions.len() {
            let (kept, due) = (view.sessions(), broker.sessions.len());
            return Err(("INV-20", format!("{kept} sessions are there, there should be {due}")));
        }
        for client_id in &broker.touched {
            let (Some(session), Some(seen)) = (broker.sessions.get(client_id), view.session(client_id))
            else {
                continue;
            };
            let filters: Vec<&str> = session.subscriptions.keys().map(String::as_str).collect();
            for (name, is_equal, what) in [
                ("INV-20", seen.connection().is_some() == session.link.is_some(), "a connection"),
                ("INV-26", seen.has_will() == session.will.is_some(), "a will"),
                ("INV-32", seen.filters().eq(filters), "subscriptions"),
                ("INV-08", seen.received() == session.received.len(), "QoS 2 messages without PUBREL"),
            ] {
                let name = if self.refused.contains(client_id) { "INV-21" } else { name };
                counts.look(name);
                if !is_equal {
                    return Err((name, format!("{client_id} should have {what} that differ: {session:?}")));
                }
            }
        }
        Ok(())
    }

    /// The engine gave a message up for a session. Of QoS 0 it is known which, of others how many.
    fn lost(
        &mut self,
        now: u64,
        client_id: &str,
        topic: &str,
        reason: DropReason,
        counts: &mut Counts,
    ) -> Result<(), Wrong> {
        let most = self
            .broker
            .sessions
            .get(client_id)
            .and_then(|session| self.connections.get(session.link?)?.hello())
            .map(|hello| hello.maximum_packet_size as usize);
        let broker = &mut self.broker;
        let ended = broker.ended.iter_mut().filter(|(id, _)| id == client_id).map(|(_, session)| session);
        let sessions: Vec<&mut Session> =
            broker.sessions.get_mut(client_id).into_iter().chain(ended).collect();
        if sessions.is_empty() {
            return Err(("INV-92", format!("a loss for {client_id}, who has no session")));
        }
        for ((_, members), turns) in &mut self.turns {
            if members.iter().any(|(id, _)| id == client_id) {
                *turns = None;
            }
        }
        // A message in flight that the next connection of its client does not take.
        if topic.is_empty() {
            return Ok(());
        }
        if matches!(reason, DropReason::Qos0Offline | DropReason::Qos0SlowReader) {
            self.drops_at_once.push((client_id.to_owned(), topic.to_owned()));
            return Ok(());
        }
        let messages = sessions.iter().flat_map(|session| &session.owed).map(|copy| &copy.message).chain(
            broker
                .shared
                .iter()
                .filter(|copy| copy.members.contains_key(client_id))
                .map(|copy| &copy.message),
        );
        let mut about = messages.filter(|message| message.topic == topic).peekable();
        if about.peek().is_none() {
            return Ok(());
        }
        counts.look("INV-09");
        let wrong = match reason {
            DropReason::Expired => {
                about.all(|message| message.expires_at.is_none_or(|at| at > now)).then_some("INV-10")
            }
            DropReason::PacketTooLarge => about
                .all(|message| {
                    most.is_some_and(|most| message.topic.len() + message.payload.len() + HEAD <= most)
                })
                .then_some("INV-09"),
            _ => None,
        };
        if let Some(name) = wrong {
            return Err((name, format!("{reason:?} for {client_id} to {topic}, and it is none of these")));
        }
        for session in sessions {
            *session.drops.entry(topic.to_owned()).or_default() += 1;
        }
        Ok(())
    }

    /// A PUBLISH leaves for the first time.
    pub(crate) fn given(&mut self, now: u64, given: &Given<'_>, counts: &mut Counts) -> Result<(), Wrong> {
        let broker = &mut self.broker;
        let ended =
            broker.ended.iter_mut().filter(|(id, _)| id == given.client_id).map(|(_, session)| session);
        let current = broker.sessions.get_mut(given.client_id);
        let mut sessions: Vec<&mut Session> = current.into_iter().chain(ended).collect();
        for session in &mut sessions {
            counts.look("INV-33");
            counts.look(if given.retain { "INV-31" } else { "INV-06" });
            let excuses = session.drops.get(given.topic).copied().unwrap_or_default() as usize;
            // What was published just now goes out before what was kept, and one that came twice may have two lives.
            let fitting =
                session.owed.iter().enumerate().filter(|(_, copy)| given.is(copy)).map(|(at, copy)| {
                    let before = overtaken(&session.owed, at);
                    let lives_on = given.lives_on(now, copy.message.told_until).is_ok();
                    let rank =
                        (before.len() > excuses, !lives_on, copy.optional, copy.for_filter.is_some(), at);
                    (rank, before)
                });
            let Some(((overtakes, is_another, .., place), before)) = fitting.min() else { continue };
            let copy = session.owed[place].clone();
            if overtakes || is_another {
                // Or it is what came by a shared group.
                if take_shared(&mut broker.shared, given.client_id, |copy| given.is_shared(copy)).is_some() {
                    return Ok(());
                }
                if let Some(earlier) = before.first().filter(|_| overtakes) {
                    let earlier = &session.owed[*earlier];
                    return Err(("INV-11", format!("{} overtakes {earlier:?}", given.shown())));
                }
            }
            // For which of several filters a retained message came cannot be seen.
            let is_alike = |other: &&mut Copy| given.is(other) && other.for_filter.is_some();
            if copy.for_filter.is_some() && session.owed.iter_mut().filter(is_alike).count() > 1 {
                session.owed.iter_mut().filter(is_alike).for_each(|other| other.optional = true);
            } else {
                session.owed.remove(place);
            }
            for at in before.into_iter().rev() {
                session.excuse(given.topic);
                session.owed.remove(at);
            }
            session.given.insert((given.topic.to_owned(), given.payload.to_owned()));
            counts.look("INV-10");
            return given.lives_on(now, copy.message.told_until);
        }
        if let Some(copy) = take_shared(&mut broker.shared, given.client_id, |copy| given.is_shared(copy)) {
            counts.look("INV-34");
            for session in &mut sessions {
                session.given.insert((given.topic.to_owned(), given.payload.to_owned()));
            }
            return self.fair(&copy, given.client_id, counts);
        }
        for session in &mut sessions {
            if let Some(place) = session.last_words.iter().position(|copy| given.is(copy)) {
                session.last_words.remove(place);
                return Ok(());
            }
        }
        // Whoever has it by a shared group and in another way cannot be told which of them it was that came or was lost.
        let ways = |session: &&mut Session| {
            let filters = session.subscriptions.keys().filter(|filter| matches(plain(filter), given.topic));
            filters.clone().count() > 1 && filters.clone().any(|filter| is_shared(filter))
        };
        let is_unclear = |copy: &SharedCopy| {
            let is_it = given.is_message(&copy.message.topic, &copy.message.payload);
            is_it && !copy.is_only_way && copy.members.contains_key(given.client_id)
        };
        if sessions.iter().any(ways) || broker.shared.iter().any(is_unclear) {
            return Ok(());
        }
        // Not owed: why not?
        let nearly = sessions
            .iter()
            .flat_map(|session| &session.owed)
            .find(|copy| given.is_message(&copy.message.topic, &copy.message.payload));
        let again = sessions
            .iter()
            .any(|session| session.given.contains(&(given.topic.into(), given.payload.into())));
        let is_subscribed = sessions.iter().any(|session| {
            session.subscriptions.keys().any(|filter| !is_shared(filter) && matches(filter, given.topic))
        });
        let name = match nearly {
            Some(copy) if copy.qos != given.qos => "INV-05",
            Some(_) => "INV-06",
            None if given.retain => "INV-31",
            None if again && given.qos == QoS::AtMostOnce => "INV-03",
            None if again && is_subscribed => "INV-08",
            None if again => "INV-34",
            None => "INV-33",
        };
        Err((name, format!("{} is not owed", given.shown())))
    }

    /// Members of a shared group that stay connected take turns, where that is the rule.
    fn fair(&mut self, copy: &SharedCopy, to: &str, counts: &mut Counts) -> Result<(), Wrong> {
        let round_robin = self.broker.config.shared_strategy == SharedStrategy::RoundRobin;
        let Some(members) = copy.here.as_ref().filter(|_| round_robin && copy.is_only_way) else {
            return Ok(());
        };
        let key = (copy.group.clone(), members.clone());
        if self.broker.unseen_turns.contains(&key) {
            return Ok(());
        }
        if copy.handed_on {
            // It was for another member, who is gone.
            self.turns.insert(key, None);
            return Ok(());
        }
        let turns = self.turns.entry(key);
        let turns = turns.or_insert_with(|| Some(members.iter().map(|(id, _)| (id.clone(), 0)).collect()));
        let Some(turns) = turns else { return Ok(()) };
        *turns.entry(to.to_owned()).or_default() += 1;
        let is_alike = |other: &SharedCopy| other.group == copy.group && other.here == copy.here;
        let waiting = self.broker.shared.iter().any(|other| other.to.is_none() && is_alike(other));
        let (least, most) = (turns.values().min(), turns.values().max());
        counts.look("INV-35");
        match (least, most) {
            (Some(least), Some(most)) if !waiting && *most > least + 1 => {
                Err(("INV-35", format!("{} takes turns as {turns:?}", copy.group)))
            }
            _ => Ok(()),
        }
    }

    /// PUBACK or PUBREC leaves.
    pub(crate) fn answered(
        &mut self,
        link: usize,
        kind: usize,
        id: u16,
        reason: ReasonCode,
        counts: &mut Counts,
    ) -> Result<(), Wrong> {
        let Some((expected, matched)) = self.connections[link].answers[kind].pop_front() else {
            return Ok(());
        };
        let version = self.connections[link].hello().map(|hello| hello.version);
        let told = self.broker.config.report_no_subscribers && version == Some(Version::V5);
        counts.look("INV-33");
        match (expected == id, matched) {
            (true, None) if kind == 1 && reason != ReasonCode::Success => {
                Err(("INV-08", format!("QoS 2 message #{id} comes again and is answered {reason:?}")))
            }
            (true, Some(matched))
                if told && !reason.is_error() && matched == (reason == ReasonCode::NoMatchingSubscribers) =>
            {
                Err(("INV-33", format!("#{id} is answered {reason:?}, and has a subscriber: {matched}")))
            }
            _ => Ok(()),
        }
    }

    /// Everything of a call has been sent: a QoS 0 message went out, was dropped, or waits for a client that is away.
    pub(crate) fn carried_out(&mut self, counts: &mut Counts) -> Result<(), Wrong> {
        let broker = &mut self.broker;
        let waits = broker.config.queue_qos0_offline;
        let ended = broker.ended.iter_mut().map(|(id, session)| (&*id, session));
        let touched = broker.sessions.iter_mut().filter(|(id, _)| broker.touched.contains(*id));
        let mut dropped = std::mem::take(&mut self.drops_at_once);
        for (client_id, session) in ended.chain(touched) {
            counts.look("INV-03");
            for place in (0..session.owed.len()).rev() {
                let copy = &session.owed[place];
                if copy.qos > QoS::AtMostOnce || copy.for_filter.is_some() || copy.optional {
                    continue;
                }
                let topic = copy.message.topic.clone();
                let told = dropped.iter().position(|(id, about)| (id, about) == (client_id, &topic));
                let excused = told.map(|told| dropped.swap_remove(told)).is_some();
                if excused || !waits && session.excuse(&topic) {
                    session.owed.remove(place);
                } else if !waits && session.link.is_some() {
                    let detail = format!("QoS 0 to {topic} for {client_id} is neither sent nor dropped");
                    return Err(("INV-03", detail));
                }
            }
        }
        for (client_id, topic) in dropped {
            let may_be = |copy: &SharedCopy| {
                let qos = copy.members.get(&client_id).map(|(qos, _)| *qos);
                copy.message.topic == topic && qos == Some(QoS::AtMostOnce)
            };
            // Of several that were handed on at once it cannot be seen which.
            if broker.shared.iter().any(|copy| copy.handed_on && may_be(copy)) {
                broker.shared.iter_mut().filter(|copy| may_be(copy)).for_each(|copy| copy.optional = true);
                continue;
            }
            // The newest one: at QoS 0 it is decided at once.
            let newest = broker.shared.iter().rfind(|copy| copy.to.is_none() && may_be(copy));
            let newest = newest.map(|copy| copy.message.clone());
            let is_it = |copy: &SharedCopy| {
                may_be(copy) && newest.as_ref().is_none_or(|newest| Arc::ptr_eq(newest, &copy.message))
            };
            let was_its = |copy: &Copy| copy.message.topic == topic && copy.qos == QoS::AtMostOnce;
            let mut ended = broker.ended.iter().filter(|(id, _)| *id == client_id);
            let is_over = ended.any(|(_, session)| session.last_words.iter().any(was_its));
            if take_shared(&mut broker.shared, &client_id, is_it).is_none() && !is_over {
                let detail = format!("QoS 0 to {topic} for {client_id} is dropped, and was not owed");
                return Err(("INV-92", detail));
            }
        }
        Ok(())
    }

    /// Retained messages of a client that has nothing else under way are all sent.
    pub(crate) fn came_to_rest(&mut self, engine: &Engine) {
        let view = engine.view();
        if engine.next_deadline().is_some_and(|deadline| deadline.reason == DeadlineReason::Work) {
            return;
        }
        for client_id in &self.broker.touched {
            let Some(session) = self.broker.sessions.get_mut(client_id) else { continue };
            let waits = |copy: &Copy| copy.for_filter.is_some() && !copy.optional;
            let is_idle = view.session(client_id).is_some_and(|seen| seen.queued() + seen.inflight() == 0);
            let was_paused = session.link.is_some_and(|link| self.connections[link].was_paused);
            if is_idle && !was_paused && !session.scans.is_empty() && !session.owed.iter().any(waits) {
                session.stop_scans(None);
            }
        }
    }

    /// Nothing goes wrong any more, and everything has arrived.
    pub(crate) fn all_given(&mut self, now: u64) -> Result<(), Wrong> {
        let is_online: Vec<String> = self
            .connections
            .iter()
            .filter_map(|connection| match &connection.state {
                State::Online(hello) => Some(hello.client_id.clone()),
                _ => None,
            })
            .collect();
        for client_id in &is_online {
            let Some(session) = self.broker.sessions.get_mut(client_id) else { continue };
            for copy in std::mem::take(&mut session.owed) {
                let is_over = copy.message.expires_at.is_some_and(|at| at <= now);
                let retained = copy.for_filter.is_some();
                if copy.optional || retained && is_over || session.excuse(&copy.message.topic) {
                    continue;
                }
                let name = if retained { "INV-31" } else { "INV-33" };
                return Err((name, format!("{client_id} never got {copy:?}")));
            }
        }
        for copy in std::mem::take(&mut self.broker.shared) {
            // Who still has a session is connected, and somebody is.
            let sessions = &self.broker.sessions;
            let mut members = copy.members.keys().filter(|id| sessions.contains_key(*id)).peekable();
            let is_over = copy.message.expires_at.is_some_and(|at| at <= now);
            let here = !is_over && members.peek().is_some() && members.all(|id| is_online.contains(id));
            if !here || copy.to.is_some() || copy.optional || !copy.is_only_way {
                continue;
            }
            let message = (copy.message.topic.clone(), copy.message.payload.clone());
            let excused = copy.members.keys().any(|id| {
                let session = self.broker.sessions.get_mut(id);
                session.is_some_and(|session| session.given.contains(&message) || session.excuse(&message.0))
            });
            if !excused {
                return Err(("INV-34", format!("no member ever got {copy:?}")));
            }
        }
        Ok(())
    }
}
