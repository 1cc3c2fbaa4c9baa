//! What the engine gives up, and says so: every loss is of something that was owed.

use super::Oracle;
use super::compare::Wrong;
use super::session::Message;
use super::shared::SharedCopy;
use crate::check::Counts;
use broker_engine::DropReason;
use mqtt_proto::QoS;
use std::sync::Arc;

/// Bytes of a PUBLISH beside topic, payload and Subscription Identifiers at most.
const HEAD: usize = 24;

/// Bytes of a Subscription Identifier at most.
const IDENTIFIER: usize = 5;

impl Oracle {
    /// The engine gave a message up for a session. Of QoS 0 it is known which, of others how many.
    pub(super) fn lost(
        &mut self,
        now: u64,
        client_id: &str,
        topic: &str,
        reason: DropReason,
        counts: &mut Counts,
    ) -> Result<(), Wrong> {
        let session = self.broker.sessions.get(client_id);
        let head = HEAD + session.map_or(0, |session| session.ids.len() * IDENTIFIER);
        let most = session
            .and_then(|session| self.connections[session.link?].hello())
            .map(|hello| hello.maximum_packet_size as usize);
        let broker = &mut self.broker;
        if broker.sessions_of(client_id).next().is_none() {
            return Err(("INV-92", format!("a loss for {client_id}, who has no session")));
        }
        for ((_, (_, members)), turns) in &mut self.turns {
            if members.iter().any(|(id, _)| id == client_id) {
                *turns = None;
            }
        }
        if reason == DropReason::AclRevoked && self.permitted.as_deref() != Some(client_id) {
            let session = broker.sessions.get(client_id);
            if !topic.is_empty() && session.is_some_and(|session| session.may_read(topic)) {
                return Err(("INV-92", format!("{client_id} may read {topic}, and loses a message to it")));
            }
        }
        // A message that only the store had.
        if topic.is_empty() {
            return Ok(());
        }
        if matches!(reason, DropReason::Qos0Offline | DropReason::Qos0SlowReader) {
            self.drops_at_once.push((client_id.to_owned(), topic.to_owned()));
            return Ok(());
        }
        let fits = |size: usize| most.is_some_and(|most| topic.len() + size + head <= most);
        let own = broker.sessions_of(client_id).flat_map(|session| &session.owed);
        let mut about: Vec<Arc<Message>> = own.map(|copy| copy.message.clone()).collect();
        let shared = broker.shared.iter().filter(|copy| copy.members.contains_key(client_id));
        about.extend(shared.map(|copy| copy.message.clone()));
        about.retain(|message| message.topic == topic);
        if about.is_empty() {
            return Ok(());
        }
        counts.look("INV-09");
        let is_unclear = broker.unclear.contains(client_id, topic, None);
        counts.decide(!is_unclear);
        // What was sent to it and expired meanwhile is not handed on to anybody.
        let is_over = broker.ended.iter().any(|(id, _)| id == client_id);
        let wrong = match reason {
            DropReason::Expired if !is_over => {
                about.iter().all(|message| message.expires_at.is_none_or(|at| at > now)).then_some("INV-10")
            }
            DropReason::PacketTooLarge if about.iter().all(|message| fits(message.size())) => {
                // It may be in flight, and the client's next connection does not take it.
                let mut given = broker.sessions_of(client_id).flat_map(|session| &session.given);
                if given.any(|((given, _), size)| given == topic && !fits(*size)) {
                    return Ok(());
                }
                Some("INV-09")
            }
            _ => None,
        };
        if let Some(name) = wrong.filter(|_| !is_unclear) {
            return Err((name, format!("{reason:?} for {client_id} to {topic}, and it is none of these")));
        }
        for session in broker.sessions_of(client_id) {
            *session.drops.entry(topic.to_owned()).or_default() += 1;
        }
        Ok(())
    }

    /// Everything of a call has been sent: a QoS 0 message went out, was dropped, or waits for a client that is away.
    pub(crate) fn carried_out(&mut self, counts: &mut Counts) -> Result<(), Wrong> {
        let broker = &mut self.broker;
        let waits = broker.config.queue_qos0_offline;
        let published = std::mem::take(&mut broker.published);
        let is_new = |message: &Arc<Message>| published.iter().any(|new| Arc::ptr_eq(new, message));
        let ended = broker.ended.iter_mut().map(|(id, session)| (&*id, session));
        let touched = broker.sessions.iter_mut().filter(|(id, _)| broker.touched.contains(*id));
        let mut dropped = std::mem::take(&mut self.drops_at_once);
        for (client_id, session) in ended.chain(touched) {
            counts.look("INV-03");
            let mut place = 0;
            while let Some(copy) = session.owed.get(place) {
                place += 1;
                if copy.qos > QoS::AtMostOnce || copy.for_filter.is_some() || copy.optional {
                    continue;
                }
                let topic = copy.message.topic.clone();
                // What is dropped at once has just been published, while the client was there: before what waits.
                let is_told = |(id, about): &(String, String)| (id, about) == (client_id, &topic);
                let told = dropped.iter().position(is_told).filter(|_| is_new(&copy.message));
                let excused = told.map(|told| dropped.swap_remove(told)).is_some();
                if excused || !waits && session.excuse(&topic) {
                    place -= 1;
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
            // Of several that were handed on at once, or before, it cannot be seen which.
            let is_handed_on = |copy: &SharedCopy| copy.handed_on || !broker.ended.is_empty();
            if broker.shared.iter().any(|copy| is_handed_on(copy) && may_be(copy)) {
                broker.shared.iter_mut().filter(|copy| may_be(copy)).for_each(|copy| copy.optional = true);
                continue;
            }
            // At QoS 0 it is decided at once, though not to be seen of which message where there are several.
            let is_it = |copy: &SharedCopy| may_be(copy) && is_new(&copy.message);
            let free = || broker.shared.iter().filter(|copy| copy.to.is_none() && is_it(copy));
            let first = free().next().map(|copy| copy.message.clone());
            if free().any(|copy| first.as_ref().is_some_and(|first| !Arc::ptr_eq(first, &copy.message))) {
                broker.shared.iter_mut().filter(|copy| is_it(copy)).for_each(|copy| copy.optional = true);
                counts.decide(false);
                continue;
            }
            // Whether it came before or behind the end of a session at one time is for the engine to say.
            let is_over = broker.ended.iter().any(|(id, _)| *id == client_id);
            let taken = broker.take_shared(&client_id, QoS::AtMostOnce, is_it).is_some();
            let is_unclear = broker.unclear.contains(&client_id, &topic, None);
            counts.decide(!is_unclear);
            if !taken && !is_over && !is_unclear {
                let detail = format!("QoS 0 to {topic} for {client_id} is dropped, and was not owed");
                return Err(("INV-92", detail));
            }
        }
        Ok(())
    }
}
