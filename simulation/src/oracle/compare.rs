//! What the engine may do and what it must: every PUBLISH is one that is owed, in its order, and at the end nothing is
//! owed any more.

use super::connection::Answer;
use super::session::{Copy, Session};
use super::shared::SharedCopy;
use super::topics::{is_shared, matches};
use super::{Oracle, State};
use crate::check::{Counts, Part};
use broker_engine::{DeadlineReason, Engine, Note, SessionEnd, SharedStrategy};
use mqtt_proto::{QoS, ReasonCode, Version};
use std::collections::{BTreeSet, VecDeque};

/// Name of a statement, and what was seen.
pub(crate) type Wrong = (&'static str, String);

/// A first transmission.
pub(crate) struct Given<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Message Expiry Interval.
    pub(crate) expiry: Option<u32>,
    /// Is the receiver one of MQTT 5, to be told of that?
    pub(crate) is_new: bool,
    /// Subscription Identifiers, in any order; nothing where they cannot say for which of several subscriptions it is, as
    /// the session has had a receiver who is not told.
    pub(crate) ids: Option<Vec<u32>>,
}

/// Earlier copies of the same stream.
fn overtaken(owed: &VecDeque<Copy>, place: usize) -> Vec<usize> {
    let earlier = owed.iter().enumerate().take(place);
    let is_before = |(_, copy): &(usize, &Copy)| !copy.optional && copy.is_before(&owed[place]);
    earlier.filter(is_before).map(|(at, _)| at).collect()
}

/// A copy that a session is owed.
struct Found {
    place: usize,
    /// Earlier ones of its stream, which it overtakes unless they were lost.
    before: Vec<usize>,
    overtakes: bool,
    /// It has another life left than what was sent.
    is_another: bool,
}

impl Given<'_> {
    fn is(&self, copy: &Copy) -> bool {
        self.is_message(&copy.message.topic, &copy.message.payload)
            && (self.qos, self.retain) == (copy.qos, copy.retain)
    }

    /// The same, for the same subscriptions.
    fn looks_like(&self, copy: &Copy) -> bool {
        self.is(copy) && self.has_ids(&copy.ids)
    }

    fn is_message(&self, topic: &str, payload: &[u8]) -> bool {
        self.topic == topic && self.payload == payload
    }

    fn is_shared(&self, copy: &SharedCopy, now: u64) -> bool {
        let member = copy.members.get(self.client_id);
        // One that was handed on has the options that its member had at that time.
        let as_subscribed = |member: &(QoS, bool)| {
            *member == (self.qos, self.retain) || copy.handed_on && self.qos <= copy.message.qos
        };
        self.is_message(&copy.message.topic, &copy.message.payload)
            && member.is_some_and(as_subscribed)
            && (copy.handed_on || self.has_ids(copy.ids.get(self.client_id).as_slice()))
            && self.lives_on(now, copy.message.told_until).is_ok()
    }

    /// Are these the identifiers of the subscriptions that it is for [MQTT-3.3.4-3], [MQTT-3.3.4-4]?
    fn has_ids(&self, expected: &[impl std::borrow::Borrow<u32>]) -> bool {
        let sorted = |mut ids: Vec<u32>| {
            ids.sort_unstable();
            ids
        };
        let expected = sorted(expected.iter().map(|id| *id.borrow()).collect());
        self.ids.as_ref().is_none_or(|ids| sorted(ids.clone()) == expected)
    }

    /// What is left of its life is told, the last second counted as one [MQTT-3.3.2-6].
    fn lives_on(&self, now: u64, told_until: Option<u64>) -> Result<(), Wrong> {
        let left = told_until.map(|at| at.saturating_sub(now).div_ceil(1_000_000));
        // One without payload cannot be told from others.
        if !self.is_new || self.payload.is_empty() || self.expiry.map(u64::from) == left {
            return Ok(());
        }
        Err(("INV-10", format!("{} has {left:?} s left, and says {:?}", self.shown(), self.expiry)))
    }

    /// What this may be of what a session is owed.
    fn find(&self, session: &Session, now: u64) -> Option<Found> {
        let excuses = session.drops.get(self.topic).copied().unwrap_or_default() as usize;
        // What was published just now goes out before what was kept, and one that came twice may have two lives.
        let fitting =
            session.owed.iter().enumerate().filter(|(_, copy)| self.is(copy)).map(|(place, copy)| {
                let before = overtaken(&session.owed, place);
                let (overtakes, is_another) =
                    (before.len() > excuses, self.lives_on(now, copy.message.told_until).is_err());
                let rank = (
                    !self.has_ids(&copy.ids),
                    overtakes,
                    is_another,
                    !before.is_empty(),
                    copy.optional,
                    copy.for_filter.is_some(),
                    place,
                );
                (rank, Found { place, before, overtakes, is_another })
            });
        fitting.min_by_key(|(rank, _)| *rank).map(|(_, found)| found)
    }

    /// Takes it out, and with it what it overtakes, which was lost; where it may be another copy, that need not be so.
    fn take(&self, session: &mut Session, found: Found, is_unclear: bool) -> Result<Copy, Wrong> {
        if let Some(earlier) = found.before.first().filter(|_| found.overtakes) {
            let earlier = &session.owed[*earlier];
            return Err(("INV-11", format!("{} overtakes {earlier:?}", self.shown())));
        }
        let copy = session.owed[found.place].clone();
        if is_unclear {
            found.before.iter().for_each(|earlier| session.owed[*earlier].optional = true);
            session.owed.remove(found.place);
            session.owed.iter_mut().filter(|other| self.is(other)).for_each(|other| other.optional = true);
            return Ok(copy);
        }
        // Whether it was on its way, or is kept, cannot be seen either.
        let is_kept = |other: &Copy| self.looks_like(other) && other.for_filter.is_some();
        let kept = session.owed.iter().position(is_kept).filter(|_| copy.for_filter.is_none());
        if let Some(kept) = kept.filter(|_| found.before.is_empty()) {
            session.owed[found.place].optional = true;
            session.owed.remove(kept);
            return Ok(copy);
        }
        // For which of several filters a retained message came cannot be seen.
        let is_alike = |other: &&mut Copy| self.looks_like(other) && other.for_filter.is_some();
        if copy.for_filter.is_some() && session.owed.iter_mut().filter(is_alike).count() > 1 {
            session.owed.iter_mut().filter(is_alike).for_each(|other| other.optional = true);
        } else {
            session.owed.remove(found.place);
        }
        for at in found.before.into_iter().rev() {
            session.excuse(self.topic);
            session.owed.remove(at);
        }
        // Of which stream it was cannot be seen either.
        let is_other = |other: &&mut Copy| self.looks_like(other) && !other.is_of_stream(&copy);
        session.owed.iter_mut().filter(is_other).for_each(|other| other.optional = true);
        Ok(copy)
    }

    /// What something that is not owed breaks.
    fn why_not(&self, sessions: &[&mut Session]) -> &'static str {
        let mut owed = sessions.iter().flat_map(|session| &session.owed);
        let nearly = owed.find(|copy| self.is_message(&copy.message.topic, &copy.message.payload));
        let message = (self.topic.to_owned(), self.payload.to_owned());
        let again = sessions.iter().any(|session| session.given.contains_key(&message));
        let mut filters = sessions.iter().flat_map(|session| session.subscriptions.keys());
        let is_subscribed = filters.any(|filter| !is_shared(filter) && matches(filter, self.topic));
        match nearly {
            Some(copy) if copy.qos != self.qos => "INV-05",
            Some(_) => "INV-06",
            None if self.retain => "INV-31",
            None if again && self.qos == QoS::AtMostOnce => "INV-03",
            None if again && is_subscribed => "INV-08",
            None if again => "INV-34",
            None => "INV-33",
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
        let mut ended: Vec<(&str, Option<SessionEnd>)> = Vec::new();
        for note in notes {
            match note {
                Note::MessageDropped { client_id, topic, reason } if self.part(client_id) == Part::Chosen => {
                    counts.look("INV-92");
                    self.lost(now, client_id, topic, *reason, counts)?;
                }
                Note::SessionEnded { client_id, reason } if self.part(client_id) != Part::Other => {
                    ended.push((client_id, Some(*reason)));
                }
                _ => {}
            }
        }
        let mut expected: Vec<(&str, Option<SessionEnd>)> =
            self.broker.ended.iter().map(|(id, session)| (id.as_str(), session.ended)).collect();
        ended.sort_by_key(|(id, _)| *id);
        expected.sort_by_key(|(id, _)| *id);
        counts.look("INV-23");
        if ended != expected {
            return Err(("INV-23", format!("sessions of {ended:?} end, it is time for {expected:?}")));
        }
        if self.parts.is_none() {
            self.agrees_in_all(engine, counts)?;
        }
        self.agrees_in_each(engine, counts)
    }

    /// What the engine keeps altogether.
    fn agrees_in_all(&self, engine: &Engine, counts: &mut Counts) -> Result<(), Wrong> {
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
        Ok(())
    }

    /// What it keeps for each session that has changed.
    fn agrees_in_each(&self, engine: &Engine, counts: &mut Counts) -> Result<(), Wrong> {
        let (view, broker) = (engine.view(), &self.broker);
        for client_id in &broker.touched {
            let (Some(session), Some(seen)) = (broker.sessions.get(client_id), view.session(client_id))
            else {
                continue;
            };
            let filters: Vec<&str> = session.subscriptions.keys().map(String::as_str).collect();
            let is_sender = self.part(client_id) == Part::Sender;
            for (name, is_equal, what) in [
                ("INV-20", seen.connection().is_some() == session.link.is_some(), "a connection"),
                ("INV-26", seen.has_will() == session.will.is_some(), "a will"),
                ("INV-32", is_sender || seen.filters().eq(filters), "subscriptions"),
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

    /// A PUBLISH leaves for the first time.
    pub(crate) fn given(&mut self, now: u64, mut given: Given<'_>, counts: &mut Counts) -> Result<(), Wrong> {
        if self.part(given.client_id) != Part::Chosen {
            return Ok(());
        }
        for session in self.broker.sessions_of(given.client_id) {
            session.is_untold |= !given.is_new;
            given.ids = given.ids.take().filter(|_| !session.is_untold);
        }
        let given = &given;
        let is_unclear = self.broker.unclear.contains(given.client_id, given.topic, Some(given.payload));
        counts.decide(!is_unclear);
        let result = self.judge(now, given, is_unclear, counts);
        if is_unclear { Ok(()) } else { result }
    }

    fn judge(
        &mut self,
        now: u64,
        given: &Given<'_>,
        is_unclear: bool,
        counts: &mut Counts,
    ) -> Result<(), Wrong> {
        counts.look("INV-33");
        counts.look(if given.retain { "INV-31" } else { "INV-06" });
        let mut sessions = self.broker.sessions_of(given.client_id).enumerate();
        let found = sessions.find_map(|(number, session)| {
            let found = given.find(session, now)?;
            let copy = &session.owed[found.place];
            Some((number, found, copy.optional, given.has_ids(&copy.ids)))
        });
        drop(sessions);
        // What does not fit well, or need not be, may rather be what a shared group brings. What was handed on can explain
        // more than what fits, and so it does not come first.
        let fits = found
            .as_ref()
            .is_some_and(|(_, found, _, has_ids)| !found.overtakes && !found.is_another && *has_ids);
        let may_be_missing = found.as_ref().is_some_and(|(_, _, optional, _)| *optional);
        let may_be = |copy: &SharedCopy| given.is_shared(copy, now) && !(fits && copy.handed_on);
        let shared = if fits && !may_be_missing {
            None
        } else {
            self.broker.take_shared(given.client_id, given.qos, may_be)
        };
        let mut sessions: Vec<&mut Session> = self.broker.sessions_of(given.client_id).collect();
        let own = found.as_ref().map(|(number, found, ..)| &sessions[*number].owed[found.place].message);
        let size = shared.as_ref().map(|copy| &copy.message).or(own).map(|message| message.size());
        if let Some(size) = size {
            for session in &mut sessions {
                session.given.insert((given.topic.to_owned(), given.payload.to_owned()), size);
            }
        }
        if let Some(copy) = shared {
            counts.look("INV-34");
            return self.fair(&copy, given.client_id, counts);
        }
        if let Some((number, found, _, has_ids)) = found {
            if !has_ids
                && !sessions.iter().any(|session| session.last_words.iter().any(|copy| given.is(copy)))
            {
                let expected = &sessions[number].owed[found.place].ids;
                let detail = format!("{} for {:?}, {expected:?} match", given.shown(), given.ids);
                return Err(("INV-05", detail));
            }
            // It may rather be what was on its way before the subscription changed in this very call.
            let session = &mut *sessions[number];
            let is_kept = |copy: &Copy| copy.for_filter.is_some() && given.looks_like(copy);
            let before = session.last_words.iter().position(is_kept);
            if let Some(before) = before.filter(|_| is_kept(&session.owed[found.place])) {
                session.last_words.remove(before);
                session.owed[found.place].optional = true;
                return Ok(());
            }
            let copy = given.take(sessions[number], found, is_unclear)?;
            counts.look("INV-10");
            return given.lives_on(now, copy.message.told_until);
        }
        for session in &mut sessions {
            if let Some(place) = session.last_words.iter().position(|copy| given.is(copy)) {
                session.last_words.remove(place);
                return Ok(());
            }
        }
        let mut name = given.why_not(&sessions);
        drop(sessions);
        if self.broker.denied.contains(&(given.topic.to_owned(), given.payload.to_owned())) {
            name = "INV-40";
        }
        Err((name, format!("{} is not owed", given.shown())))
    }

    /// Members of a shared group that stay connected take turns, where that is the rule.
    fn fair(&mut self, copy: &SharedCopy, to: &str, counts: &mut Counts) -> Result<(), Wrong> {
        let round_robin = self.broker.config.shared_strategy == SharedStrategy::RoundRobin;
        let Some(here) = copy.here.as_ref().filter(|_| round_robin) else { return Ok(()) };
        let (key, (_, members)) = ((copy.group.clone(), here.clone()), here);
        let is_seen = !self.broker.unseen_turns.contains(&key);
        counts.decide(is_seen);
        if !is_seen {
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

    /// What a client hears that may not do what it wants.
    fn denial(&self) -> ReasonCode {
        if self.broker.config.obscure_not_authorized {
            ReasonCode::UnspecifiedError
        } else {
            ReasonCode::NotAuthorized
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
        let Some((expected, answer)) = self.connections[link].answers[kind].pop_front() else {
            return Ok(());
        };
        let version = self.connections[link].hello().map(|hello| hello.version);
        let told = self.broker.config.report_no_subscribers && version == Some(Version::V5);
        counts.look("INV-33");
        match (expected == id, answer) {
            (true, Answer::Again) if kind == 1 && reason != ReasonCode::Success => {
                Err(("INV-08", format!("QoS 2 message #{id} comes again and is answered {reason:?}")))
            }
            (true, Answer::Refused(why)) if version == Some(Version::V5) && reason != why => {
                let name = if why == ReasonCode::QuotaExceeded { "INV-30" } else { "INV-63" };
                Err((name, format!("#{id} is answered {reason:?}, and should be refused with {why:?}")))
            }
            (true, Answer::Denied) if version == Some(Version::V5) && reason != self.denial() => {
                Err(("INV-40", format!("#{id} is answered {reason:?}, and its client may not publish it")))
            }
            (true, Answer::Routed { matched })
                if told && !reason.is_error() && matched == (reason == ReasonCode::NoMatchingSubscribers) =>
            {
                Err(("INV-33", format!("#{id} is answered {reason:?}, and has a subscriber: {matched}")))
            }
            _ => Ok(()),
        }
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
    pub(crate) fn all_given(
        &mut self,
        now: u64,
        spared: &BTreeSet<usize>,
        counts: &mut Counts,
    ) -> Result<(), Wrong> {
        let connections = self.connections.iter().filter(|(link, _)| !spared.contains(link));
        let is_online: Vec<String> = connections
            .filter_map(|(_, connection)| match &connection.state {
                State::Online(hello) => Some(hello.client_id.clone()),
                _ => None,
            })
            .collect();
        for client_id in &is_online {
            let Some(session) = self.broker.sessions.get_mut(client_id) else { continue };
            for copy in std::mem::take(&mut session.owed) {
                let is_unclear =
                    self.broker.unclear.contains(client_id, &copy.message.topic, Some(&copy.message.payload));
                counts.decide(!copy.optional && !is_unclear);
                let is_over = copy.message.expires_at.is_some_and(|at| at <= now);
                let retained = copy.for_filter.is_some();
                if copy.optional || is_unclear || retained && is_over || session.excuse(&copy.message.topic) {
                    continue;
                }
                let name = if retained { "INV-31" } else { "INV-33" };
                return Err((name, format!("{client_id} never got {copy:?}")));
            }
        }
        let mut missing: Vec<&SharedCopy> = Vec::new();
        for copy in &self.broker.shared {
            // Who still has a session is connected, and somebody is.
            let sessions = &self.broker.sessions;
            let mut members = copy.members.keys().filter(|id| sessions.contains_key(*id)).peekable();
            let is_over = copy.message.expires_at.is_some_and(|at| at <= now);
            let here = !is_over && members.peek().is_some() && members.all(|id| is_online.contains(id));
            if !here || copy.to.is_some() {
                continue;
            }
            let unclear = &self.broker.unclear;
            let is_open = copy.optional
                || unclear.has(&copy.message)
                || copy.handed_on && unclear.came_again(&copy.message);
            counts.decide(!is_open);
            if is_open {
                continue;
            }
            let message = (copy.message.topic.clone(), copy.message.payload.clone());
            let has_it =
                |id: &String| sessions.get(id).is_some_and(|known| known.given.contains_key(&message));
            if !copy.members.keys().any(has_it) {
                missing.push(copy);
            }
        }
        match self.broker.not_lost(&missing) {
            Some(copy) => Err(("INV-34", format!("no member ever got {copy:?}"))),
            None => Ok(()),
        }
    }
}
