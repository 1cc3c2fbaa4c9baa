//! What a broker does with sessions and messages, as the standard says it and as slowly as a person would.

use super::permissions::may_publish;
use super::session::{Copy, Message, Session, Will};
use super::shared::SharedCopy;
use super::topics::{is_shared, is_valid, is_wild, matches, plain};
use super::unclear::Unclear;
use broker_engine::{Config, Overlap, Permissions, SessionEnd};
use mqtt_proto::{QoS, RetainHandling, SubscribeOptions, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SECOND: u64 = 1_000_000;

/// What CONNECT said.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    pub(super) version: Version,
    pub(super) client_id: String,
    pub(super) username: Option<String>,
    /// Authentication Method.
    pub(super) method: Option<String>,
    pub(super) clean: bool,
    pub(super) keep_alive: u16,
    pub(super) maximum_packet_size: u32,
    /// Session Expiry Interval.
    pub(super) expiry: u32,
    pub(super) will: Option<Will>,
}

/// All sessions and messages.
#[derive(Clone, Debug)]
pub(super) struct Broker {
    pub(super) config: Config,
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) retained: BTreeMap<String, Arc<Message>>,
    pub(super) shared: Vec<SharedCopy>,
    pub(super) unclear: Unclear,
    /// What was published by clients that may not, as they sent it.
    pub(super) denied: BTreeSet<(String, Vec<u8>)>,
    /// Shared groups, with their members' connections, in which it could not be seen whose turn it was.
    pub(super) unseen_turns: BTreeSet<super::Members>,
    /// How often the members of shared groups, or what they ask for, have changed.
    eras: BTreeMap<String, u32>,
    /// Messages that were published in this call.
    pub(super) published: Vec<Arc<Message>>,
    /// Wills that were published.
    pub(super) wills: u64,
    /// Sessions that ended in this call, and what they had.
    pub(super) ended: Vec<(String, Session)>,
    /// Client identifiers whose session the engine ended in this call, in its order.
    pub(super) ending: Vec<String>,
    /// Client identifiers whose session changed in this call.
    pub(super) touched: BTreeSet<String>,
}

impl Broker {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            shared: Vec::new(),
            unclear: Unclear::default(),
            denied: BTreeSet::new(),
            unseen_turns: BTreeSet::new(),
            eras: BTreeMap::new(),
            published: Vec::new(),
            wills: 0,
            ended: Vec::new(),
            ending: Vec::new(),
            touched: BTreeSet::new(),
        }
    }

    /// A call of the engine begins.
    pub(super) fn begin(&mut self) {
        self.ended.clear();
        self.published.clear();
        for client_id in std::mem::take(&mut self.touched) {
            if let Some(session) = self.sessions.get_mut(&client_id) {
                session.last_words.clear();
            }
        }
    }

    /// Who may be sent something in this call: a client's session that is there, and those that ended.
    pub(super) fn sessions_of<'a>(&'a mut self, client_id: &'a str) -> impl Iterator<Item = &'a mut Session> {
        let ended = self.ended.iter_mut().filter(move |(id, _)| id == client_id).map(|(_, session)| session);
        self.sessions.get_mut(client_id).into_iter().chain(ended)
    }

    pub(super) fn session(&mut self, client_id: &str) -> Option<&mut Session> {
        if !self.touched.contains(client_id) {
            self.touched.insert(client_id.to_owned());
        }
        self.sessions.get_mut(client_id)
    }

    /// Wills and sessions that are due by now, in order of time; a session's will comes before its end. Which of two
    /// sessions ends first at one time is for the engine to say, and with it who is still there to get the other's will.
    pub(super) fn advance(&mut self, now: u64) {
        loop {
            let due = |session: &Session| session.will_at.into_iter().chain(session.ends_at).min();
            let turn = |id: &String| self.ending.iter().position(|ending| ending == id).unwrap_or(usize::MAX);
            let dues =
                self.sessions.iter().filter_map(|(id, session)| Some((due(session)?, turn(id), id.clone())));
            let Some((at, _, client_id)) = dues.min().filter(|(at, ..)| *at <= now) else { break };
            let is_will = self.sessions[&client_id].will_at == Some(at);
            if is_will {
                self.send_will(at, &client_id);
            } else {
                self.end(at, &client_id, SessionEnd::Expired);
            }
        }
        self.retained.retain(|_, message| message.expires_at.is_none_or(|at| at > now));
    }

    /// A client is accepted: says whether it had a session [3.1.2.4].
    pub(super) fn connect(&mut self, now: u64, hello: &Hello, link: usize) -> bool {
        let id = hello.client_id.clone();
        if self.sessions.get(&id).is_some_and(|session| session.link.is_some()) {
            // Taken over [MQTT-3.1.4-3]; the older connection's will is due.
            self.disconnect(now, &id, true);
        }
        if hello.clean && self.sessions.contains_key(&id) {
            self.end(now, &id, SessionEnd::CleanStart);
        }
        let existed = self.sessions.contains_key(&id);
        let longest = self.config.max_session_expiry;
        let session = self.sessions.entry(id.clone()).or_default();
        if !existed {
            session.username.clone_from(&hello.username);
        }
        session.link = Some(link);
        session.has_expiry = hello.version == Version::V5;
        session.expiry = match hello.version {
            Version::V5 => hello.expiry.min(longest),
            _ if hello.clean => 0,
            _ => longest,
        };
        // A delayed will is not sent when the client is back in time [MQTT-3.1.3-9].
        (session.ends_at, session.will_at) = (None, None);
        session.will.clone_from(&hello.will);
        self.touched.insert(id);
        existed
    }

    /// From now on a client may so much, also of what waits for it.
    pub(super) fn permit(&mut self, client_id: &str, permissions: Option<&Permissions>) {
        self.touched.insert(client_id.to_owned());
        if let Some(session) = self.sessions.get_mut(client_id) {
            session.permit(permissions, &self.retained);
        }
    }

    /// A connection is gone, with a will that is due or is not [3.1.2.5].
    pub(super) fn disconnect(&mut self, now: u64, client_id: &str, will_is_due: bool) {
        let Some(session) = self.session(client_id) else { return };
        session.link = None;
        session.stop_scans(None);
        if !will_is_due {
            session.will = None;
        }
        let expiry = session.expiry;
        let delay = session.will.as_ref().map(|will| will.delay.min(expiry));
        session.will_at = delay.map(|delay| now + u64::from(delay) * SECOND);
        session.ends_at = (expiry != u32::MAX).then(|| now + u64::from(expiry) * SECOND);
        if delay == Some(0) {
            self.send_will(now, client_id);
        }
        if expiry == 0 {
            self.end(now, client_id, SessionEnd::WithConnection);
        }
    }

    /// A session ends; a will that still waits is sent now [MQTT-3.1.2-8].
    pub(super) fn end(&mut self, now: u64, client_id: &str, why: SessionEnd) {
        self.send_will(now, client_id);
        let Some(mut session) = self.sessions.remove(client_id) else { return };
        (session.link, session.ended) = (None, Some(why));
        session.subscriptions.keys().for_each(|filter| change(&mut self.eras, filter));
        self.touched.insert(client_id.to_owned());
        self.leave_open(client_id);
        // What it had of shared subscriptions goes to another member, or to nobody [4.8.2].
        self.shared.retain(|copy| {
            let is_at_least_once =
                copy.members.get(client_id).is_some_and(|(qos, _)| *qos == QoS::AtLeastOnce);
            copy.to.as_deref() != Some(client_id) || is_at_least_once
        });
        // Perhaps it had acknowledged what it had.
        for copy in self.shared.iter_mut().filter(|copy| copy.to.as_deref() == Some(client_id)) {
            (copy.to, copy.optional) = (None, true);
        }
        // Who is thought to have one may have another that looks the same, and this one was the leaver's. Which of them it
        // was cannot be seen, so all of them may go to somebody.
        let mut open = BTreeSet::new();
        for place in 0..self.shared.len() {
            let copy = &self.shared[place];
            if copy.to.is_none() || !copy.members.contains_key(client_id) || open.contains(&place) {
                continue;
            }
            let before: Vec<_> = self.shared.iter().map(|copy| copy.to.clone()).collect();
            if self.make_free(place, client_id, &mut Vec::new()) {
                let pairs = before.iter().zip(&self.shared).enumerate();
                open.extend(pairs.filter(|(_, (to, copy))| **to != copy.to).map(|(place, _)| place));
            }
        }
        for place in open {
            (self.shared[place].to, self.shared[place].optional) = (None, true);
        }
        for mut copy in std::mem::take(&mut self.shared) {
            let is_given = copy.to.is_some();
            let Some((qos, retain)) = copy.members.get(client_id).copied().filter(|_| !is_given) else {
                self.shared.push(copy);
                continue;
            };
            let message = copy.message.clone();
            session.last_words.push(Copy {
                message: message.clone(),
                qos,
                retain,
                for_filter: None,
                optional: true,
                ids: copy.ids.get(client_id).copied().into_iter().collect(),
            });
            copy.optional |= session.drops.contains_key(&message.topic);
            copy.handed_on = true;
            // That was somebody's turn.
            change(&mut self.eras, &copy.group);
            copy.optional |= qos == QoS::AtMostOnce;
            copy.members.retain(|id, _| self.sessions.contains_key(id));
            let members = self.members(&copy.group, &copy.message, client_id);
            // Where nobody is left, who has it is known to the engine alone; QoS 0 may be dropped again.
            copy.optional |= members.is_empty();
            copy.members.extend(members);
            copy.optional |= copy.members.values().any(|(qos, _)| *qos == QoS::AtMostOnce);
            self.shared.push(copy);
        }
        self.shared.retain(|copy| !copy.members.is_empty());
        self.ended.push((client_id.to_owned(), session));
    }

    fn send_will(&mut self, now: u64, client_id: &str) {
        let Some(session) = self.session(client_id) else { return };
        session.will_at = None;
        let Some(will) = session.will.take() else { return };
        if !may_publish(session.permissions.as_ref(), &will.topic) {
            return;
        }
        self.wills += 1;
        self.publish(Message {
            publisher: client_id.to_owned(),
            topic: will.topic,
            payload: will.payload,
            properties: will.properties,
            qos: will.qos,
            retain: will.retain,
            expires_at: self.expires_at(now, will.message_expiry),
            told_until: told_until(now, will.message_expiry),
            is_will: true,
        });
    }

    pub(super) fn expires_at(&self, now: u64, interval: Option<u32>) -> Option<u64> {
        let cap = Some(self.config.max_message_expiry).filter(|cap| *cap > 0);
        interval.into_iter().chain(cap).min().map(|seconds| now + u64::from(seconds) * SECOND)
    }

    /// Hands a message to whoever subscribed; says whether anybody did.
    pub(super) fn publish(&mut self, message: Message) -> bool {
        let message = Arc::new(message);
        self.published.push(message.clone());
        self.unclear.published(&message, &self.sessions);
        if message.retain {
            self.keep(&message);
        }
        let mut matched = false;
        for (client_id, session) in &mut self.sessions {
            let mut wanted: Vec<(SubscribeOptions, Vec<u32>)> = Vec::new();
            for (filter, options) in &session.subscriptions {
                // No Local is judged for each subscription by itself [MQTT-3.8.3-3].
                let own = options.no_local && message.publisher == *client_id;
                if !is_shared(filter) && matches(filter, &message.topic) && !own {
                    wanted.push((*options, session.ids.get(filter).copied().into_iter().collect()));
                }
            }
            matched |= !wanted.is_empty();
            if !session.may_read(&message.topic) {
                continue;
            }
            if self.config.overlap == Overlap::Once && wanted.len() > 1 {
                // One copy at the highest QoS [MQTT-3.3.4-2].
                let mut all = wanted[0].0;
                all.qos = wanted.iter().map(|(options, _)| options.qos).max().unwrap_or_default();
                all.retain_as_published = wanted.iter().any(|(options, _)| options.retain_as_published);
                wanted = vec![(all, wanted.into_iter().flat_map(|(_, ids)| ids).collect())];
            }
            if !wanted.is_empty() {
                self.touched.insert(client_id.clone());
            }
            session.owed.extend(wanted.into_iter().map(|(options, ids)| Copy {
                ids,
                message: message.clone(),
                qos: message.qos.min(options.qos),
                retain: message.retain && options.retain_as_published,
                for_filter: None,
                optional: false,
            }));
        }
        // One member of each shared group [MQTT-4.8.2-4].
        let filters = self.sessions.values().flat_map(|session| session.subscriptions.keys());
        let groups: BTreeSet<String> = filters
            .filter(|filter| is_shared(filter) && matches(plain(filter), &message.topic))
            .cloned()
            .collect();
        for group in groups {
            let members = self.members(&group, &message, "");
            if members.is_empty() {
                continue;
            }
            matched = true;
            let era = self.eras.get(&group).copied().unwrap_or_default();
            let here: Option<Vec<_>> =
                members.keys().map(|id| Some((id.clone(), self.sessions[id].link?))).collect();
            // Whoever may not read a message is passed over, and who is behind gets a turn more.
            let is_free = |session: &Session| {
                session.permissions.is_none() || !session.subscriptions.contains_key(&group)
            };
            let here = here.filter(|_| self.sessions.values().all(is_free)).map(|members| (era, members));
            if here.is_none() {
                // Whose turn this was is not followed.
                change(&mut self.eras, &group);
            }
            let has_another_way = |id: &String| self.has_another_way(id, &group, &message.topic);
            if let Some(here) = here.as_ref().filter(|_| members.keys().any(has_another_way)) {
                self.unseen_turns.insert((group.clone(), here.clone()));
            }
            let id =
                |client_id: &String| Some((client_id.clone(), *self.sessions[client_id].ids.get(&group)?));
            let ids = members.keys().filter_map(id).collect();
            self.shared.push(SharedCopy {
                message: message.clone(),
                ids,
                group,
                members,
                here,
                to: None,
                handed_on: false,
                optional: false,
            });
        }
        matched
    }

    /// Gets a member of a shared group messages to this topic in another way too?
    pub(super) fn has_another_way(&self, client_id: &str, group: &str, topic: &str) -> bool {
        let filters =
            self.sessions.get(client_id).into_iter().flat_map(|session| session.subscriptions.keys());
        filters.filter(|filter| *filter != group).any(|filter| matches(plain(filter), topic))
    }

    /// Members of a shared group but one who may read a message, and what each would get of it.
    fn members(&self, group: &str, message: &Message, but: &str) -> BTreeMap<String, (QoS, bool)> {
        let options = self.sessions.iter().filter(|(id, _)| *id != but).filter_map(|(id, session)| {
            let options = session.subscriptions.get(group).filter(|_| session.may_read(&message.topic))?;
            let retain = message.retain && options.retain_as_published;
            Some((id.clone(), (message.qos.min(options.qos), retain)))
        });
        options.collect()
    }

    /// Is there room for this as a topic's retained message?
    pub(super) fn can_keep(&self, topic: &str, payload: &[u8]) -> bool {
        let most = self.config.max_retained_messages as usize;
        payload.is_empty() || self.retained.contains_key(topic) || self.retained.len() < most
    }

    /// A topic's retained message: the last one, or none behind one without payload [3.3.1.3].
    fn keep(&mut self, message: &Arc<Message>) {
        // Of a will the copies go out all the same.
        if !self.can_keep(&message.topic, &message.payload) {
            return;
        }
        let removes = message.payload.is_empty();
        if removes {
            self.retained.remove(&message.topic);
        } else {
            self.retained.insert(message.topic.clone(), message.clone());
        }
        // Retained messages that are on their way may be the old one, the new one, or none.
        for session in self.sessions.values_mut() {
            for copy in session.owed.iter_mut().filter(|copy| copy.for_filter.is_some()) {
                copy.optional |= copy.message.topic == message.topic;
            }
            let scans = session.scans.iter().filter(|filter| !removes && matches(filter, &message.topic));
            let copies: Vec<Copy> = scans.map(|filter| session.retained_copy(message, filter)).collect();
            session.owed.extend(copies);
        }
    }

    /// Is a topic name or filter as short and as flat as it has to be?
    pub(super) fn is_short(&self, topic: &str) -> bool {
        topic.len() <= usize::from(self.config.max_topic_length)
            && plain(topic).split('/').count() <= usize::from(self.config.max_topic_levels)
    }

    /// May this be subscribed to?
    pub(super) fn is_taken(&self, filter: &str) -> bool {
        is_valid(filter) && self.is_short(filter)
    }

    /// Are subscriptions of this kind offered?
    pub(super) fn is_offered(&self, filter: &str) -> bool {
        (self.config.shared_subscriptions || !is_shared(filter))
            && (self.config.wildcard_subscriptions || !is_wild(plain(filter)))
    }

    /// SUBSCRIBE: each filter by itself [MQTT-3.8.4-3], [MQTT-3.8.4-4].
    pub(super) fn subscribe(
        &mut self,
        client_id: &str,
        id: Option<u32>,
        filters: &[(String, SubscribeOptions)],
    ) {
        let maximum = self.config.maximum_qos;
        let most = self.config.max_subscriptions_per_session as usize;
        let retained = self.retained.clone();
        for (filter, _) in filters {
            change(&mut self.eras, filter);
        }
        let taken: Vec<_> =
            filters.iter().filter(|(filter, _)| self.is_taken(filter) && self.is_offered(filter)).collect();
        let Some(session) = self.session(client_id) else { return };
        // What an earlier SUBSCRIBE asked for is sent again, whether or not it has been sent before.
        for (filter, options) in filters {
            let existed = session.subscriptions.contains_key(filter);
            if wants_retained(*options, existed) {
                session.scan_again(filter);
            }
        }
        for (filter, options) in taken {
            let options = SubscribeOptions { qos: options.qos.min(maximum), ..*options };
            if session.subscriptions.len() >= most && !session.subscriptions.contains_key(filter) {
                continue;
            }
            let existed = session.subscriptions.insert(filter.clone(), options).is_some();
            match id {
                Some(id) => session.ids.insert(filter.clone(), id),
                None => session.ids.remove(filter),
            };
            session.scan_with(filter, options.qos);
            if !wants_retained(options, existed) || is_shared(filter) {
                continue;
            }
            session.scans.push(filter.clone());
            let found = retained.values().filter(|message| matches(filter, &message.topic));
            let found = found.filter(|message| session.may_read(&message.topic));
            let copies: Vec<Copy> = found
                .map(|message| Copy { optional: false, ..session.retained_copy(message, filter) })
                .collect();
            session.owed.extend(copies);
        }
    }

    /// The operator subscribes for a client, whatever that one may. Retained messages are for who is connected.
    pub(super) fn subscribe_for(&mut self, client_id: &str, filter: &str, options: SubscribeOptions) {
        if options.no_local && is_shared(filter) {
            return;
        }
        self.subscribe(client_id, None, &[(filter.to_owned(), options)]);
        if let Some(session) = self.session(client_id).filter(|session| session.link.is_none()) {
            session.stop_scans(None);
        }
    }

    pub(super) fn unsubscribe(&mut self, client_id: &str, filter: &str) {
        change(&mut self.eras, filter);
        let Some(session) = self.session(client_id) else { return };
        session.subscriptions.remove(filter);
        session.ids.remove(filter);
        session.stop_scans(Some(filter));
    }
}

/// Turns of a shared group begin anew: a member comes, goes, or asks for something else, or one more turn is taken.
fn change(eras: &mut BTreeMap<String, u32>, filter: &str) {
    if is_shared(filter) {
        *eras.entry(filter.to_owned()).or_default() += 1;
    }
}

/// Retain Handling [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11].
fn wants_retained(options: SubscribeOptions, existed: bool) -> bool {
    match options.retain_handling {
        RetainHandling::SendAlways => true,
        RetainHandling::SendIfNew => !existed,
        RetainHandling::DoNotSend => false,
    }
}

/// When a message has lived as long as its publisher said.
pub(super) fn told_until(now: u64, interval: Option<u32>) -> Option<u64> {
    interval.map(|seconds| now + u64::from(seconds) * SECOND)
}
