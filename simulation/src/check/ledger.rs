//! Messages and sessions: who has to get what, and who got it. Whatever cannot be known from outside, such as the
//! moment at which a message between SUBSCRIBE and SUBACK is routed, is left open: then a session may get it and need
//! not.
//!
//! * `answers` — messages that a hook is asked about
//! * `at_last` — everybody has what was owed
//! * `forms` — what messages say beside topic and payload
//! * `in_flight` — what is on its way to a client and not acknowledged
//! * `permissions` — what clients may
//! * `restart` — what another process knows of all that, which begins from the store
//! * `subscriptions` — which of them surely are in force

mod answers;
mod at_last;
mod forms;
mod in_flight;
mod permissions;
mod restart;
mod subscriptions;

use super::deadlines::Standstills;
use super::wire::offered;
use super::{AT_ONCE, Counts, Marks};
use crate::oracle::permissions::{may_publish, may_read};
use crate::oracle::topics::{matches, plain};
use crate::scenario::{Message, Properties, Will};
use crate::world::payload_of;
use broker_engine::{Config, DropReason, Durability, Interest, Note, Overlap};
use mqtt_proto::{QoS, Version};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

pub(super) use in_flight::Outgoing;
use permissions::Rights;
use restart::{Over, Unkept};
use subscriptions::{Surely, WILD};

/// All messages and sessions.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // Independent facts.
pub(crate) struct Ledger {
    messages: Vec<Sent>,
    /// Where they say something, as each of them came.
    forms: BTreeMap<u32, Vec<Properties>>,
    /// By client identifier; looked up for each packet, and never gone through.
    sessions: hashbrown::HashMap<String, Box<Known>>,
    /// Who has or had a subscription with this topic filter; those with wildcards are together.
    interested: BTreeMap<String, BTreeSet<String>>,
    /// Publishers and topics, each kept once.
    names: HashSet<Arc<str>>,
    /// Numbers for (publisher, topic, QoS), within which messages keep their order.
    streams: HashMap<(Arc<str>, Arc<str>, u8), u32>,
    /// Grows with everything that is seen.
    step: u64,
    each_subscription: bool,
    config: Config,
    /// There is room for whatever is retained.
    keeps_all: bool,
    /// QoS 2 waits for the store before it is sent first, and QoS 1 does not.
    durable: bool,
    /// There is little work for each call.
    works_on: bool,
    /// Time until the store has kept something at most.
    slowest_store: u64,
    pub(super) standstills: Standstills,
    /// Publishers are slowed down when memory is short, so that nobody knows when a message is handled.
    slows: bool,
    /// An older snapshot brought packet identifiers back that clients have used again since, so that a new QoS 2 message can
    /// pass for an earlier one.
    went_back: bool,
    /// Payloads and topics of messages that are no client's.
    strange: (BTreeSet<Vec<u8>>, BTreeSet<String>),
    /// Clients whose sessions have such messages of QoS 2, for which the client's own may pass as well.
    estranged: BTreeSet<String>,
    /// Some clients may not do everything.
    limits: bool,
    /// What their clients might when connections ended, about whose messages a hook was asked.
    left: BTreeMap<usize, Rights>,
    /// What clients might when their sessions ended, as long as a will may wait for what a hook says of their messages.
    last_rights: BTreeMap<String, Vec<Rights>>,
    /// Whose permissions changed in this call.
    permitted: Option<String>,
    /// Filters that reach beyond what a client may read are refused.
    judges_filters: bool,
    /// Hooks are asked about messages.
    asks: bool,
    /// What may be undone when the process ends and another one begins from the store.
    unkept: Unkept,
}

/// A message.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // Independent facts.
struct Sent {
    publisher: Arc<str>,
    topic: Arc<str>,
    qos: u8,
    retain: bool,
    size: u32,
    /// The longest that it came with, and whether it came without.
    expiry: Option<u32>,
    lives_on: bool,
    is_will: bool,
    /// The client said goodbye, so this will is not to be seen.
    cancelled: bool,
    /// When it came to the engine last, when first, and how often.
    arrived_at: u64,
    arrived_step: u64,
    arrivals: u32,
    /// The connection on which it came last.
    link: usize,
    accepted: bool,
    /// How often a hook was asked about it, and said yes in time.
    asked: u32,
    allowed: u32,
    /// What a hook put in its place.
    instead: Option<u32>,
    /// Its client was allowed to publish it when it came, when a hook said yes, or later.
    may: bool,
    /// Somebody sent it who does not keep to the protocol.
    is_strange: bool,
    stream: u32,
}

/// A session, by client identifier.
#[derive(Clone, Debug, Default)]
struct Known {
    exists: bool,
    /// When the session before it ended.
    ended: u64,
    /// Its connection, or its last one.
    link: Option<usize>,
    /// Its connection before.
    before: Option<usize>,
    /// What its client may.
    rights: Rights,
    /// The last connection of the session that it replaced.
    replaced: Option<usize>,
    /// Subscriptions that surely are in force.
    surely: BTreeMap<String, Surely>,
    /// Those whose end was asked for, until that is answered.
    ending: BTreeMap<String, Surely>,
    /// Topic filters that were asked for, ever, and the highest QoS.
    ever: BTreeMap<String, u8>,
    /// First transmissions by message.
    got: BTreeMap<u32, u32>,
    /// Messages that it has to get.
    owed: Vec<u32>,
    /// Counted drops by topic.
    drops: BTreeMap<String, u32>,
    /// Something was given up that may have been in flight: it was too large for the next connection, or not to be read any
    /// more.
    gave_up: bool,
    outgoing: BTreeMap<u16, Outgoing>,
    /// The message that was sent last, and its order.
    newest: Option<(u32, u64)>,
    /// The connection on which something was sent again, and the order of what was last, where QoS 1 and 2 take turns by
    /// QoS.
    resent: (usize, [u64; 3]),
    /// What the latest input acknowledged.
    just_acknowledged: Vec<(u16, Outgoing)>,
    /// What was acknowledged in an input in the midst of which the engine closed: nobody knows whether it counts.
    uncertain: BTreeMap<u16, Outgoing>,
    /// Identifiers that the latest input acknowledged with nothing under them: there may have been, by the time that the
    /// engine came to it.
    surplus: Vec<u16>,
    /// What was acknowledged, and may be in flight again in another process.
    over: Vec<Over>,
    /// Records of it were damaged, so that what was in flight may have been sent anew behind others.
    is_hurt: bool,
    /// Latest message of each stream and QoS of the delivery, and the connection on which it came.
    latest: BTreeMap<(u32, u8), (u64, usize)>,
}

/// A first transmission.
pub(super) struct Route<'a> {
    pub(super) now: u64,
    pub(super) number: u32,
    pub(super) client_id: &'a str,
    pub(super) topic: &'a str,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) payload: &'a [u8],
    pub(super) expiry: Option<u32>,
    /// Sending it was begun on an earlier connection, where it waited for the store, so that it expires no more.
    pub(super) begun: bool,
}

impl Ledger {
    pub(super) fn new(config: &Config, slowest_store: u64) -> Self {
        Self {
            messages: Vec::new(),
            forms: BTreeMap::new(),
            sessions: hashbrown::HashMap::new(),
            names: HashSet::new(),
            streams: HashMap::new(),
            interested: BTreeMap::new(),
            step: 0,
            each_subscription: config.overlap == Overlap::PerSubscription,
            config: config.clone(),
            keeps_all: config.max_retained_messages >= Config::default().max_retained_messages,
            durable: config.durability == Durability::Durable,
            works_on: config.work_per_call < AT_ONCE,
            slowest_store,
            standstills: Standstills::default(),
            slows: config.memory_high.is_some(),
            went_back: false,
            strange: (BTreeSet::new(), BTreeSet::new()),
            estranged: BTreeSet::new(),
            limits: false,
            left: BTreeMap::new(),
            last_rights: BTreeMap::new(),
            permitted: None,
            judges_filters: config.check_subscriptions,
            asks: config.interest.contains(Interest::PUBLISH),
            unkept: Unkept::default(),
        }
    }

    /// Somebody who does not keep to the protocol has a message of their own.
    pub(super) fn strange(&mut self, topic: &str, payload: &[u8]) {
        self.strange.0.insert(payload.to_vec());
        self.strange.1.insert(topic.to_owned());
    }

    /// A message of QoS 2 on a client's connection is not the client's.
    pub(super) fn estranged(&mut self, client_id: &str) {
        self.estranged.insert(client_id.to_owned());
    }

    pub(super) fn is_strange(&self, payload: &[u8]) -> bool {
        self.strange.0.contains(payload)
    }

    fn step(&mut self) -> u64 {
        self.step += 1;
        self.step
    }

    fn session(&mut self, client_id: &str) -> &mut Known {
        self.sessions.entry_ref(client_id).or_default()
    }

    /// Another process of the broker has begun: sessions are gone, and with them what was owed.
    pub(super) fn begin_anew(&mut self) {
        self.sessions.clear();
        self.interested.clear();
    }

    /// What was kept is what counts again. Of later messages only the clients know, who may send them again; and the time
    /// has passed.
    pub(super) fn goes_back_from(&mut self, later: Self) {
        let Self { names, streams, step, strange, forms, standstills, mut messages, .. } = later;
        let unknown = messages.drain(self.messages.len()..);
        self.messages.extend(unknown.map(|sent| Sent { arrivals: 0, accepted: false, ..sent }));
        (self.names, self.streams, self.step, self.strange) = (names, streams, step, strange);
        (self.forms, self.standstills) = (forms, standstills);
        self.went_back = true;
    }

    /// A message that a client is going to publish: its number.
    pub(crate) fn message(&mut self, publisher: &str, message: &Message) -> u32 {
        let next = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
        let (publisher, topic) = (self.name(publisher), self.name(&message.topic));
        let stream = (publisher.clone(), topic.clone(), message.qos);
        let stream = *self.streams.entry(stream).or_insert(next);
        self.enter(Sent {
            publisher,
            topic,
            qos: message.qos,
            retain: message.retain,
            size: message.size,
            expiry: message.expiry,
            lives_on: message.expiry.is_none(),
            is_will: false,
            cancelled: false,
            arrived_at: 0,
            arrived_step: 0,
            arrivals: 0,
            link: usize::MAX,
            accepted: false,
            asked: 0,
            allowed: 0,
            instead: None,
            may: false,
            is_strange: false,
            stream,
        })
    }

    /// The will of a CONNECT: its number.
    pub(crate) fn will(&mut self, now: u64, publisher: &str, will: &Will) -> u32 {
        let step = self.step();
        let (publisher, topic) = (self.name(publisher), self.name(&will.topic));
        self.enter(Sent {
            publisher,
            topic,
            qos: will.qos,
            retain: will.retain,
            size: 8,
            expiry: will.expiry,
            // Its life begins when it is sent.
            lives_on: true,
            is_will: true,
            cancelled: false,
            arrived_at: now,
            arrived_step: step,
            arrivals: 1,
            link: usize::MAX,
            accepted: false,
            asked: 0,
            allowed: 0,
            instead: None,
            may: true,
            is_strange: false,
            stream: u32::MAX,
        })
    }

    fn name(&mut self, text: &str) -> Arc<str> {
        let known = self.names.get(text).cloned();
        known.unwrap_or_else(|| {
            let name: Arc<str> = text.into();
            self.names.insert(name.clone());
            name
        })
    }

    fn enter(&mut self, sent: Sent) -> u32 {
        self.messages.push(sent);
        u32::try_from(self.messages.len() - 1).unwrap_or(u32::MAX)
    }

    /// Topics that may have a retained message.
    pub(crate) fn retained_topics(&self) -> BTreeSet<String> {
        let own = self.messages.iter().filter(|sent| sent.retain).map(|sent| sent.topic.to_string());
        own.chain(self.strange.1.iter().cloned()).collect()
    }

    /// A PUBLISH of a client came to the engine; a stranger's may pass for it.
    pub(super) fn arrived(&mut self, now: u64, number: u32, expiry: Option<u32>, from: (usize, &str, bool)) {
        let step = self.step();
        let (link, client_id, is_strange) = from;
        let may = self.topic_of(number).is_none_or(|topic| self.may_publish(client_id, topic) != Some(false));
        let Some(sent) = self.messages.get_mut(number as usize) else { return };
        sent.is_strange |= is_strange;
        sent.may |= is_strange || may;
        // A publisher that sends it again, not having heard that it came, begins its life anew; another one of the same
        // identifier may do so in a version without expiry, so that one of the two copies lives for ever.
        let again = sent.arrivals > 0;
        sent.lives_on = sent.lives_on && again || expiry.is_none();
        sent.expiry = if again { sent.expiry.max(expiry) } else { expiry };
        sent.arrived_at = now;
        // What was accepted at QoS 2 stays accepted, also by another process that begins from the store; unless the session
        // has ended meanwhile, of which its client need not have heard.
        let is_kept = self.sessions.get(&*sent.publisher).is_none_or(|known| known.ended < sent.arrived_step);
        let is_known = self.unkept.is_on && sent.qos == 2 && sent.accepted && is_kept;
        if is_known && !self.estranged.contains(&*sent.publisher) {
            return;
        }
        sent.arrivals += 1;
        sent.link = link;
        if sent.arrivals == 1 {
            sent.arrived_step = step;
        }
    }

    /// A PUBLISH that waited for a hook is handled.
    pub(super) fn handled(&mut self, now: u64, number: u32) {
        if let Some(sent) = self.messages.get_mut(number as usize) {
            sent.arrived_at = now;
        }
    }

    /// The engine took a message: from now on it is owed to everybody who surely was subscribed all the time.
    pub(super) fn accepted(&mut self, now: u64, number: u32, version: Version) {
        let Some(number) = self.decided(now, number) else { return };
        let Some(sent) = self.messages.get_mut(number as usize) else { return };
        let may = |permissions: Option<&_>| may_publish(permissions, &sent.topic);
        let publisher = self.sessions.get(&*sent.publisher);
        let may_surely = publisher.is_none_or(|known| known.rights.allow_since(sent.arrived_step, may));
        // A client of 3.x is not told that there was no room, that it may not, or that the message is not taken, which may be
        // what a hook put in its place.
        let is_taken = offered::is_taken(&self.config, &sent.topic, sent.qos, sent.retain);
        let is_untold = sent.retain && !self.keeps_all || !is_taken || !may_surely;
        if version < Version::V5 && is_untold {
            return;
        }
        let passes_for_another =
            sent.qos == 2 && (self.went_back || self.estranged.contains(&*sent.publisher));
        if std::mem::replace(&mut sent.accepted, true) || sent.qos == 0 || passes_for_another {
            return;
        }
        // A filter without wildcards is the topic itself.
        let candidates: BTreeSet<&String> =
            [&*sent.topic, WILD].iter().filter_map(|key| self.interested.get(*key)).flatten().collect();
        for client_id in candidates {
            let Some(known) = self.sessions.get_mut(client_id) else { continue };
            let owed = known.surely.iter().any(|(filter, surely)| {
                surely.qos > 0
                    && surely.since < sent.arrived_step
                    && !(surely.no_local && **client_id == *sent.publisher)
                    && !filter.starts_with("$share/")
                    && matches(filter, &sent.topic)
            });
            let may = |permissions: Option<&_>| may_read(permissions, &sent.topic);
            if owed && known.rights.allow_since(sent.arrived_step, may) {
                known.owed.push(number);
            }
        }
    }

    /// Has the engine acknowledged this message?
    pub(super) fn is_accepted(&self, number: u32) -> bool {
        self.messages.get(number as usize).is_some_and(|sent| sent.accepted)
    }

    pub(super) fn will_cancelled(&mut self, number: u32) {
        if let Some(sent) = self.messages.get_mut(number as usize) {
            sent.cancelled = true;
        }
    }

    /// A client is in; says whether it had a session.
    pub(super) fn connected(&mut self, client_id: &str, link: usize) -> bool {
        let known = self.session(client_id);
        known.before = known.link.replace(link);
        std::mem::replace(&mut known.exists, true)
    }

    /// The session is a new one.
    pub(super) fn began_anew(&mut self, client_id: &str, link: usize) {
        let ended = self.step();
        let known = self.session(client_id);
        let (ever, replaced) = (std::mem::take(&mut known.ever), known.before);
        *known = Known { exists: true, link: Some(link), ended, replaced, ever, ..Known::default() };
    }

    /// Is this a connection of a session that another one has replaced?
    pub(super) fn is_replaced(&self, client_id: &str, link: usize) -> bool {
        self.sessions
            .get(client_id)
            .is_some_and(|known| known.link != Some(link) && known.replaced == Some(link))
    }

    /// Has the client's session ended, perhaps with what its connection said last?
    pub(super) fn is_over(&self, client_id: &str) -> bool {
        self.sessions.get(client_id).is_none_or(|known| !known.exists)
    }

    /// What the engine tells of itself.
    pub(super) fn noted(&mut self, note: &Note, marks: &mut Marks) {
        match note {
            Note::SessionEnded { client_id, .. } => {
                marks.hit("a session that ended");
                self.may_come_back(client_id);
                let ended = self.step();
                self.leaves_its_rights(client_id);
                let known = self.session(client_id);
                let (ever, link) = (std::mem::take(&mut known.ever), known.link);
                // What its connection said last is still answered, as it might then.
                let rights = std::mem::take(&mut known.rights);
                *known = Known { ended, link, rights, ever, ..Known::default() };
            }
            Note::MessageDropped { client_id, topic, reason } => {
                match reason {
                    DropReason::Expired => marks.hit("a message dropped: expired"),
                    DropReason::PacketTooLarge => marks.hit("a message dropped: packet too large"),
                    DropReason::QueueFull => marks.hit("a message dropped: queue full"),
                    DropReason::AclRevoked => marks.hit("a message dropped: not to be read any more"),
                    DropReason::QuotaBytes => marks.hit("a message dropped: queue full in bytes"),
                    // The client did get it.
                    DropReason::ClientRejected => return,
                    _ => {}
                }
                self.session(client_id).gave_up |=
                    matches!(reason, DropReason::PacketTooLarge | DropReason::AclRevoked);
                *self.session(client_id).drops.entry(topic.clone()).or_default() += 1;
            }
            _ => {}
        }
    }

    /// A first transmission.
    pub(super) fn sent(
        &mut self,
        route: &Route<'_>,
        counts: &mut Counts,
        marks: &mut Marks,
    ) -> Result<(), super::wire::Wrong> {
        let Some(message) = self.messages.get(route.number as usize) else {
            return Err(("INV-04", format!("message {} was never sent", route.number)));
        };
        let Some(known) = self.sessions.get_mut(route.client_id) else {
            return Err(("INV-04", "a message for nobody".to_owned()));
        };
        if *message.topic != *route.topic || route.payload != payload_of(route.number, message.size) {
            return Err(("INV-04", format!("message {} has changed", route.number)));
        }
        if message.arrivals == 0 {
            return Err(("INV-04", format!("message {} has not come yet", route.number)));
        }
        let matching = || known.ever.iter().filter(|(filter, _)| matches(plain(filter), &message.topic));
        let Some(granted) = matching().map(|(_, qos)| *qos).max() else {
            return Err(("INV-04", format!("message {} matches no subscription", route.number)));
        };
        if self.limits && !message.is_will {
            counts.look("INV-40");
            if !message.may {
                let (number, publisher) = (route.number, &message.publisher);
                return Err((
                    "INV-40",
                    format!("message {number} goes out, which {publisher} may not publish"),
                ));
            }
        }
        if self.asks && !message.is_will {
            counts.look("INV-42");
            if message.allowed == 0 {
                return Err(("INV-42", format!("message {} goes out without a yes", route.number)));
            }
        }
        counts.look("INV-05");
        if route.qos as u8 > granted.min(message.qos) {
            return Err((
                "INV-05",
                format!("message {} goes out with QoS {}", route.number, route.qos as u8),
            ));
        }
        if message.is_will {
            counts.look("INV-26");
            marks.hit("a will");
            if message.cancelled {
                return Err(("INV-26", format!("will {} is sent after DISCONNECT", route.number)));
            }
        }
        counts.look("INV-10");
        // What waits for the store has been taken out of the queue in time, and the store stands still with the world;
        // with little work for each call a PUBLISH waits to be handled.
        let waits = self.durable && route.qos == QoS::ExactlyOnce || self.works_on;
        let stood_still = if waits { self.standstills.since(message.arrived_at) } else { 0 };
        let age = route.now.saturating_sub(message.arrived_at);
        let age = age.saturating_sub(self.slowest_store).saturating_sub(stood_still);
        let age = age.saturating_sub(self.unkept.slipped_since(message.arrived_at));
        let longest = self.config.max_message_expiry;
        let cap = (longest > 0 && !message.is_will).then_some(longest);
        let life = message.expiry.filter(|_| !message.lives_on).into_iter().chain(cap).min();
        if !route.begun && !self.slows && life.is_some_and(|life| age > u64::from(life) * 1_000_000) {
            return Err((
                "INV-10",
                format!("message {} lives {life:?} s and is sent after {age} us", route.number),
            ));
        }
        if route.expiry > message.expiry {
            return Err((
                "INV-10",
                format!(
                    "message {} came with {:?} s and leaves with {:?}",
                    route.number, message.expiry, route.expiry
                ),
            ));
        }
        let shared = matching().filter(|(filter, _)| filter.starts_with("$share/")).count();
        if shared > 0 {
            marks.hit("a message to a shared subscription");
        }
        *known.got.entry(route.number).or_default() += 1;
        if message.retain {
            // It may be the kept one, which every subscription brings anew.
            if route.retain {
                marks.hit("a retained message to a new subscription");
            }
            return Ok(());
        }
        counts.look("INV-02");
        let copies = if self.each_subscription { matching().count() } else { shared + 1 };
        let most = u32::try_from(copies).unwrap_or(u32::MAX).saturating_mul(message.arrivals);
        if known.got[&route.number] > most {
            let name = if message.is_will { "INV-26" } else { "INV-02" };
            return Err((
                name,
                format!("message {} is sent {} times", route.number, known.got[&route.number]),
            ));
        }
        if shared == 0 && message.arrivals == 1 && !message.is_will && !self.each_subscription {
            counts.look("INV-11");
            let latest = known.latest.entry((message.stream, route.qos as u8)).or_default();
            // Questions about messages of one connection do not wait for those of another.
            if latest.0 > message.arrived_step && !(self.asks && latest.1 != message.link) {
                return Err(("INV-11", format!("message {} is sent behind a later one", route.number)));
            }
            *latest = (message.arrived_step, message.link);
        }
        Ok(())
    }
}
