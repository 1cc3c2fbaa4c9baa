//! From the records that a store has kept to an engine that goes on.

use super::{Lifetime, StoreOp, StoredDelivery, StoredWill};
use crate::collections::{HashKey, KeyedIndex, SlotKey};
use crate::config::Config;
use crate::delivery::{Expiry, MessageStore, read_stored};
use crate::engine::{Engine, Seed};
use crate::ids::MessageKey;
use crate::permissions::Permissions;
use crate::sessions::queue::Window;
use crate::sessions::{Delivery, Received, Session, Subscriber, Will};
use crate::time::Time;
use alloc::{boxed::Box, collections::BTreeMap, collections::BTreeSet, string::String, vec::Vec};
use core::fmt;
use core::time::Duration;
use mqtt_proto::{PacketId, QoS, SubscribeOptions, TopicFilter, planted};

/// An engine that is being put together. Give it every record, in any order, then [`Boot::finish`].
///
/// Whoever was connected is not any more: what counts from the end of a connection counts from now, unless its record
/// says for how long the client has been away.
#[derive(Debug)]
pub struct Boot {
    engine: Engine,
    /// By client identifier.
    drafts: BTreeMap<String, Draft>,
    /// Messages that are kept already: most that wait for several sessions are the same.
    known: KeyedIndex<MessageKey>,
    /// All that is in flight was told of, so queues need not be kept beyond their window.
    in_flight_known: bool,
    report: BootReport,
}

/// What was found in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootReport {
    /// Sessions.
    pub sessions: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Deliveries that wait.
    pub queued: u64,
    /// Deliveries that were sent and not acknowledged.
    pub in_flight: u64,
    /// Retained messages.
    pub retained: u64,
    /// Wills that may still be sent.
    pub wills: u64,
    /// Records about a session or delivery that is not there. They are left out, and removed from the store.
    pub dangling: u64,
    /// Records that cannot be what the engine has written. They are left out.
    pub damaged: u64,
}

impl fmt::Display for BootReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, subscriptions, queued, in_flight, retained, wills, .. } = self;
        write!(
            f,
            "{sessions} sessions with {subscriptions} subscriptions, {queued} messages waiting and {in_flight} in \
             flight, {retained} retained messages, {wills} wills"
        )?;
        match (self.dangling, self.damaged) {
            (0, 0) => Ok(()),
            (dangling, damaged) => write!(f, "; left out: {dangling} dangling records, {damaged} damaged"),
        }
    }
}

/// What is known of a client so far.
#[derive(Debug, Default)]
struct Draft {
    session: Option<SessionFacts>,
    permissions: Option<Box<Permissions>>,
    will: Option<StoredWill>,
    subscriptions: BTreeMap<String, (SubscribeOptions, u32)>,
    received: BTreeSet<PacketId>,
    /// By position, like what waits.
    in_flight: BTreeMap<u64, InFlight>,
    waiting: BTreeMap<u64, Loaded>,
    /// Bytes of what waits.
    bytes: u64,
    beyond: Beyond,
    /// Position of the next delivery.
    next: u64,
}

#[derive(Debug)]
struct SessionFacts {
    expiry: u32,
    username: Option<String>,
    away: Option<Duration>,
}

#[derive(Debug)]
struct InFlight {
    packet_id: PacketId,
    /// PUBREC came.
    released: bool,
    loaded: Option<Loaded>,
}

/// A delivery whose shared group is looked up once subscriptions are there.
#[derive(Debug)]
struct Loaded {
    delivery: Delivery,
    size: u64,
    share: Option<Box<str>>,
}

/// The part of a queue that stays in the store.
#[derive(Debug)]
struct Beyond {
    from: u64,
    count: u64,
    bytes: u64,
    qos0: u64,
}

impl Default for Beyond {
    fn default() -> Self {
        Self { from: u64::MAX, count: 0, bytes: 0, qos0: 0 }
    }
}

impl Beyond {
    fn add(&mut self, position: u64, size: u64, qos: QoS) {
        self.from = self.from.min(position);
        self.count += 1;
        self.bytes += size;
        self.qos0 += u64::from(qos == QoS::AtMostOnce);
    }
}

impl Boot {
    /// Nothing is there yet. Durations in records count to `now`.
    pub fn new(config: Config, seed: Seed, hash_key: HashKey, now: Time) -> Self {
        let mut engine = Engine::new(config, seed, hash_key);
        (engine.now, engine.called_at) = (now, now);
        Self {
            engine,
            drafts: BTreeMap::new(),
            known: KeyedIndex::new(hash_key),
            in_flight_known: false,
            report: BootReport::default(),
        }
    }

    /// Takes one record, which is the operation that made it. One that makes none counts as damaged.
    pub fn push(&mut self, record: StoreOp) {
        match record {
            StoreOp::PutSession { client_id, expiry, username, away } => {
                self.draft(client_id).session = Some(SessionFacts { expiry, username, away });
            }
            StoreOp::PutWill { client_id, will } => self.draft(client_id).will = Some(will),
            StoreOp::PutSubscription { client_id, filter, options, id } => {
                self.draft(client_id).subscriptions.insert(filter, (options, id.unwrap_or(0)));
            }
            StoreOp::PutReceived { client_id, packet_id } => match PacketId::new(packet_id) {
                Some(packet_id) => {
                    self.draft(client_id).received.insert(packet_id);
                }
                None => self.report.damaged += 1,
            },
            StoreOp::PutInflight { client_id, position, packet_id, released } => {
                match PacketId::new(packet_id).filter(|_| is_position(position)) {
                    Some(packet_id) => self.draft(client_id).send(position, packet_id, released),
                    None => self.report.damaged += 1,
                }
            }
            StoreOp::PutQueued { client_id, delivery } if is_position(delivery.position) => {
                self.push_delivery(client_id, &delivery);
            }
            StoreOp::PutRetained { topic, publish, qos, lifetime } => {
                self.push_retained(&topic, &publish, qos, lifetime);
            }
            _ => self.report.damaged += 1,
        }
    }

    /// Says that every [`StoreOp::PutInflight`] was pushed. What follows of long queues is then not kept beyond their
    /// window, as when the engine runs.
    pub fn in_flight_known(&mut self) {
        self.in_flight_known = true;
    }

    /// Says what each client may, by its identifier and user name, until it connects again: its will is judged by that, and
    /// whether it gets messages of a shared subscription. `None` is everything. Of sessions that were to end with their
    /// connection only the will is kept, and not whose it is: it was allowed when it was set, and is sent.
    pub fn permit(&mut self, mut may: impl FnMut(&str, Option<&str>) -> Option<Permissions>) {
        for (client_id, draft) in &mut self.drafts {
            if let Some(facts) = &draft.session
                && !planted!("restart-allows-all")
            {
                draft.permissions = may(client_id, facts.username.as_deref()).map(Box::new);
            }
        }
    }

    fn draft(&mut self, client_id: String) -> &mut Draft {
        self.drafts.entry(client_id).or_default()
    }

    fn push_delivery(&mut self, client_id: String, stored: &StoredDelivery) {
        let expiry = Expiry::from_lifetime(stored.lifetime, self.engine.now);
        let (messages, known) = (&mut self.engine.messages, &mut self.known);
        let delivery = read_stored(&stored.publish, (stored.qos, expiry), |publication| {
            stored.delivery(messages.insert_once(publication, &stored.publish, known), publication)
        });
        let Some(delivery) = delivery else {
            self.report.damaged += 1;
            return;
        };
        messages.take_on(&delivery);
        let size = messages.size_of(&delivery);
        let share = stored.share.as_deref().map(Into::into);
        let draft = self.drafts.entry(client_id).or_default();
        if let Some(before) = draft.put(stored.position, Loaded { delivery, size, share }) {
            messages.let_go(&before.delivery);
        }
        if self.in_flight_known && self.engine.gates.is_on() {
            draft.trim(self.engine.window(), &mut self.engine.messages);
        }
    }

    fn push_retained(&mut self, topic: &str, publish: &[u8], qos: QoS, lifetime: Lifetime) {
        let expiry = Expiry::from_lifetime(lifetime, self.engine.now);
        let engine = &mut self.engine;
        let is_kept = read_stored(publish, (qos, expiry), |publication| {
            let is_sound = publication.topic == topic && publication.retain;
            if is_sound {
                engine.keep_retained(publication);
            }
            is_sound
        });
        if is_kept != Some(true) {
            self.report.damaged += 1;
        }
    }

    /// The engine, and what it is made of. Operations that bring the store up to date leave with its first call.
    pub fn finish(mut self) -> (Engine, BootReport) {
        let mut begun = Vec::new();
        while let Some((client_id, mut draft)) = self.drafts.pop_first() {
            match self.begin_session(&client_id, &mut draft) {
                Some(key) => begun.push((key, draft)),
                None => self.give_up(&client_id, draft),
            }
        }
        // Shared groups are complete now.
        for (key, mut draft) in begun {
            self.add_deliveries(key, &mut draft);
        }
        self.report.retained = self.engine.retained.len() as u64;
        (self.engine, self.report)
    }

    /// The session with all but its deliveries.
    fn begin_session(&mut self, client_id: &str, draft: &mut Draft) -> Option<SlotKey> {
        // A will without a session is of a client whose session ends with its connection.
        let alone = SessionFacts { expiry: 0, username: None, away: None };
        let facts = draft.session.take().or(draft.will.is_some().then_some(alone))?;
        let mut session = Session::new(client_id, facts.username.as_deref());
        session.expiry = facts.expiry;
        session.permissions = draft.permissions.take();
        let key = self.engine.sessions.insert(session);
        self.engine.clients.insert(client_id, key);
        self.report.sessions += 1;
        self.add_subscriptions(key, core::mem::take(&mut draft.subscriptions));
        let will = draft.will.as_ref().and_then(|will| {
            let read = read_stored(&will.publish, (will.qos, Expiry::default()), |publication| {
                Box::new(Will::from_stored(will, publication))
            });
            self.report.wills += u64::from(read.is_some());
            self.report.damaged += u64::from(read.is_none());
            read
        });
        let now = self.engine.now;
        let away = facts.away.filter(|_| !planted!("younger-after-restart")).unwrap_or_default();
        let after = |secs: u32| now.after(Duration::from_secs(secs.into()).saturating_sub(away));
        let ends_at = self.engine.expiry_deadline(facts.expiry).map(|_| after(facts.expiry));
        if let Some(session) = self.engine.sessions.get_mut(key) {
            session.will_at = will.as_ref().map(|will| after(will.delay.min(facts.expiry)));
            session.will = will;
            session.ends_at = ends_at;
            session.received = (draft.received.iter())
                .map(|packet_id| Received { packet_id: packet_id.get(), is_earlier: true })
                .collect();
        }
        self.engine.count_session(key);
        self.engine.arm_session(key);
        if facts.away.is_none() && facts.expiry > 0 {
            // From now on it is known since when.
            self.engine.store_session(key);
        }
        Some(key)
    }

    fn add_subscriptions(&mut self, key: SlotKey, subscriptions: BTreeMap<String, (SubscribeOptions, u32)>) {
        let mut at = 0;
        for (filter, (options, id)) in subscriptions {
            let Ok(parsed) = TopicFilter::parse(&filter) else {
                self.report.damaged += 1;
                continue;
            };
            self.engine.add_subscription(&filter, parsed, at, Subscriber { session: key, options, id });
            at += 1;
        }
        self.report.subscriptions += at as u64;
    }

    fn add_deliveries(&mut self, key: SlotKey, draft: &mut Draft) {
        let engine = &mut self.engine;
        if engine.gates.is_on() {
            draft.trim(engine.window(), &mut engine.messages);
        }
        let Engine { sessions, messages, index, counters, .. } = &mut *engine;
        let Some(session) = sessions.get_mut(key) else { return };
        session.position = draft.next;
        let placed = |loaded: Loaded| {
            let group = loaded.share.and_then(|share| index.group_of(&share));
            (Delivery { group, ..loaded.delivery }, loaded.size)
        };
        let (mut used, mut dangling) = (BTreeSet::new(), Vec::new());
        let mut in_flight: Vec<_> = core::mem::take(&mut draft.in_flight).into_iter().collect();
        if planted!("restart-order") {
            in_flight.reverse();
        }
        for (position, InFlight { packet_id, released, loaded }) in in_flight {
            match loaded {
                Some(loaded) if !used.insert(packet_id) => {
                    messages.let_go(&loaded.delivery);
                    dangling.push(position);
                }
                Some(loaded) if released && !planted!("released-is-sent-again") => {
                    messages.let_go(&loaded.delivery);
                    session.inflight.push_released(packet_id, position);
                }
                Some(loaded) => {
                    let (delivery, size) = placed(loaded);
                    session.inflight.push(packet_id, delivery, size);
                }
                None => dangling.push(position),
            }
        }
        for loaded in core::mem::take(&mut draft.waiting).into_values() {
            let (delivery, size) = placed(loaded);
            session.queue.push(delivery, size);
        }
        let Beyond { from, count, bytes, qos0 } = draft.beyond;
        if count > 0 {
            session.queue.begin_paged(from, (count, bytes, qos0));
        }
        let (queued, sent) = (session.queue.len() as u64, session.inflight.len() as u64);
        counters.routed += queued + sent;
        self.report.queued += queued;
        self.report.in_flight += sent;
        self.report.dangling += dangling.len() as u64;
        for position in dangling {
            engine.store_for(key, |client_id| StoreOp::RemoveQueued { client_id, position });
        }
        engine.count_session(key);
    }

    /// Nothing of it can be used without its session.
    fn give_up(&mut self, client_id: &str, draft: Draft) {
        let Draft { subscriptions, received, in_flight, waiting, beyond, .. } = draft;
        let several = subscriptions.len() + received.len() + in_flight.len();
        self.report.dangling += several as u64 + beyond.count;
        let sent = in_flight.into_values().filter_map(|sent| sent.loaded);
        for loaded in waiting.into_values().chain(sent) {
            self.report.dangling += 1;
            self.engine.messages.let_go(&loaded.delivery);
        }
        if self.engine.gates.is_on() {
            self.engine.gates.emit(StoreOp::EndSession { client_id: client_id.into() });
        }
    }
}

/// No engine has ever counted so far, and the next ones have to be counted on from here.
fn is_position(position: u64) -> bool {
    position < u64::MAX / 2
}

impl Draft {
    /// A delivery was sent.
    fn send(&mut self, position: u64, packet_id: PacketId, released: bool) {
        let waiting = self.waiting.remove(&position);
        self.bytes -= waiting.as_ref().map_or(0, |loaded| loaded.size);
        self.next = self.next.max(position.saturating_add(1));
        let before = self.in_flight.remove(&position).and_then(|sent| sent.loaded);
        self.in_flight.insert(position, InFlight { packet_id, released, loaded: waiting.or(before) });
    }

    /// Takes a delivery; says what was in its place.
    fn put(&mut self, position: u64, loaded: Loaded) -> Option<Loaded> {
        self.next = self.next.max(position.saturating_add(1));
        if let Some(sent) = self.in_flight.get_mut(&position) {
            return sent.loaded.replace(loaded);
        }
        self.bytes += loaded.size;
        let before = self.waiting.insert(position, loaded);
        self.bytes -= before.as_ref().map_or(0, |before| before.size);
        before
    }

    /// Leaves in the store what is beyond the window, from the end of the queue on.
    fn trim(&mut self, window: Window, messages: &mut MessageStore) {
        while let Some((last, _)) = self.waiting.last_key_value() {
            let has_gap = *last > self.beyond.from;
            let count = self.waiting.len();
            let is_beyond = count > window.messages || (count > 1 && self.bytes > window.bytes);
            if !has_gap && !is_beyond {
                return;
            }
            let Some((position, loaded)) = self.waiting.pop_last() else { return };
            self.bytes -= loaded.size;
            self.beyond.add(position, loaded.size, loaded.delivery.qos);
            messages.let_go(&loaded.delivery);
        }
    }
}
