//! A read-only look inside: metrics, `$SYS`, tests. Never on the path of a message.

use crate::config::Config;
use crate::counters::{Counters, DropReason};
use crate::delivery::RetainedPage;
use crate::engine::Engine;
use crate::ids::ConnId;
use crate::memory::MemoryPressure;
use crate::sessions::Session;
use crate::storage::StorePressure;
use crate::time::Time;
use mqtt_proto::{TopicFilter, Version};

/// What the broker holds right now.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    engine: &'a Engine,
}

impl<'a> View<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine }
    }

    /// The configuration in force.
    pub fn config(&self) -> &'a Config {
        &self.engine.config
    }

    /// Totals since the start.
    pub fn counters(&self) -> &'a Counters {
        &self.engine.counters
    }

    /// Connected clients.
    pub fn connections(&self) -> usize {
        self.engine.online as usize
    }

    /// Transports, whether their client was accepted or not.
    pub fn transports(&self) -> usize {
        self.engine.connections.iter().flatten().count()
    }

    /// Sessions, connected or not.
    pub fn sessions(&self) -> usize {
        self.engine.sessions.len()
    }

    /// Subscriptions of all sessions.
    pub fn subscriptions(&self) -> usize {
        self.engine.subscriptions as usize
    }

    /// Topics with a retained message.
    pub fn retained(&self) -> usize {
        self.engine.retained.len()
    }

    /// Retained messages whose topics match, in the order of topics: at most `most`, and those behind the topic `after`. As it
    /// looks at no more than `work_per_call` topics, there may be more of them also where these are fewer.
    pub fn retained_page(
        &self,
        now: Time,
        filter: TopicFilter<'_>,
        after: Option<&str>,
        most: usize,
    ) -> RetainedPage {
        self.engine.retained_page(now, filter, after, most)
    }

    /// Messages kept, each counted once however many sessions wait for it.
    pub fn messages(&self) -> usize {
        self.engine.messages.len()
    }

    /// Bytes that the broker keeps, by its own account: what the memory budget is compared with.
    pub fn memory_used(&self) -> u64 {
        self.engine.memory_used()
    }

    /// How near that is to the budget.
    pub fn memory_pressure(&self) -> MemoryPressure {
        self.engine.memory_pressure()
    }

    /// How near the store is to its bound, as the host has said.
    pub fn store_pressure(&self) -> StorePressure {
        self.engine.store_pressure
    }

    /// Bytes of the messages kept.
    pub fn message_bytes(&self) -> u64 {
        self.engine.messages.bytes()
    }

    /// Deliveries that wait to be sent, all sessions.
    pub fn queued(&self) -> u64 {
        self.engine.sessions.iter().map(|(_, session)| session.queue.len() as u64).sum()
    }

    /// Deliveries sent and not acknowledged, all sessions.
    pub fn inflight(&self) -> u64 {
        self.engine.sessions.iter().map(|(_, session)| session.inflight.len() as u64).sum()
    }

    /// Distinct topic filters (without `$share` part) and nodes of the tree of those with wildcards.
    pub fn filters(&self) -> (usize, usize) {
        self.engine.index.sizes()
    }

    /// Entries in the timer queue: at most one for each transport, session and retained message, and for each
    /// connection with messages that hooks have not decided about.
    pub fn timers(&self) -> usize {
        self.engine.timers.len()
    }

    /// Publications whose fan-out is not finished, and how many of them no publisher waits for.
    pub fn fanouts(&self) -> (usize, usize) {
        (self.engine.fanouts.len(), self.engine.fanouts.unowned() as usize)
    }

    /// Is a will due that stands behind messages of its client that a hook has not decided? Its session does not have it
    /// any more, the store does. It looks at all of these messages.
    pub fn has_waiting_wills(&self) -> bool {
        self.engine.undecided.has_wills()
    }

    /// Protocol version of a connection, and its bytes that wait to be handled: they begin with a whole packet or the
    /// beginning of one.
    pub fn connection(&self, conn: ConnId) -> Option<(Version, &'a [u8])> {
        self.engine.conn(conn).map(|conn| (conn.version, &*conn.input))
    }

    /// Bytes that are reserved for what a connection has sent and is not done with.
    pub fn reserved(&self, conn: ConnId) -> usize {
        self.engine.conn(conn).map_or(0, crate::connections::Connection::reserved)
    }

    /// One session, by client identifier.
    pub fn session(&self, client_id: &str) -> Option<SessionView<'a>> {
        let key = self.engine.session_of(client_id)?;
        self.engine.sessions.get(key).map(|session| SessionView { session })
    }

    /// All sessions, in the engine's own order.
    pub fn each_session(&self) -> impl Iterator<Item = SessionView<'a>> + use<'a> {
        self.engine.sessions.iter().map(|(_, session)| SessionView { session })
    }

    /// Bytes buffered for connections whose packets are incomplete or wait.
    pub fn input_bytes(&self) -> usize {
        self.engine.connections.iter().flatten().map(crate::connections::Connection::kept_bytes).sum()
    }

    /// Recounts what is counted on the way, for tests and simulators; says what does not add up.
    ///
    /// # Errors
    /// A sentence for a person. Any is a bug in the engine.
    pub fn verify(&self) -> Result<(), &'static str> {
        let counters = self.counters();
        let dropped: u64 = DropReason::ALL.iter().map(|reason| counters.dropped_for(*reason)).sum();
        if counters.routed != counters.completed + dropped + self.queued() + self.inflight() {
            return Err("routed is not completed + dropped + queued + in flight");
        }
        let online = self.engine.sessions.iter().filter(|(_, session)| session.conn.is_some()).count();
        if online != self.connections() {
            return Err("connected clients differ from sessions with a connection");
        }
        let subscriptions: usize = self.engine.sessions.iter().map(|(_, s)| s.subscriptions.len()).sum();
        if subscriptions != self.subscriptions() || subscriptions != self.engine.index.entries() {
            return Err("subscriptions of the sessions differ from the index");
        }
        self.engine.audit()?;
        if self.engine.messages.recount() != self.engine.messages.references() {
            return Err("references to messages differ from their sum");
        }
        let levels = |session: &Session| -> usize {
            session.subscriptions.iter().map(|known| known.filter.matches('/').count() + 1).sum()
        };
        if self.engine.sessions.iter().any(|(_, session)| levels(session) != session.filter_levels as usize) {
            return Err("levels of topic filters differ from their sum");
        }
        if self.timers() > self.transports() + self.sessions() + self.retained() + self.engine.undecided.len()
        {
            return Err("timers outlive what they are about");
        }
        let waiting = |conn: &Option<ConnId>| conn.is_some_and(|conn| self.engine.is_parked_by_fanout(conn));
        let unowned = self.engine.fanouts.origins().filter(|conn| !waiting(conn)).count();
        if unowned != self.fanouts().1 {
            return Err("fan-outs that nobody waits for differ from their count");
        }
        if self.engine.referenced_messages() != self.engine.messages.references() {
            return Err("references to messages differ from the count in the message store");
        }
        Ok(())
    }
}

/// One session.
#[derive(Clone, Copy, Debug)]
pub struct SessionView<'a> {
    session: &'a Session,
}

impl<'a> SessionView<'a> {
    /// Client identifier.
    pub fn client_id(&self) -> &'a str {
        &self.session.client_id
    }

    /// Its connection, while there is one.
    pub fn connection(&self) -> Option<ConnId> {
        self.session.conn
    }

    /// Session Expiry Interval in force, seconds.
    pub fn expiry(&self) -> u32 {
        self.session.expiry
    }

    /// Topic filters, sorted.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.session.subscriptions.iter().map(|subscription| &*subscription.filter)
    }

    /// Deliveries that wait to be sent.
    pub fn queued(&self) -> usize {
        self.session.queue.len()
    }

    /// Those of them that wait in the store alone.
    pub fn paged(&self) -> usize {
        self.session.queue.paged()
    }

    /// Bytes of the deliveries that wait.
    pub fn queued_bytes(&self) -> u64 {
        self.session.queue.bytes()
    }

    /// Deliveries sent and not acknowledged.
    pub fn inflight(&self) -> usize {
        self.session.inflight.len()
    }

    /// Bytes of those of them whose message is still kept.
    pub fn inflight_bytes(&self) -> u64 {
        self.session.inflight.bytes()
    }

    /// Their packet identifiers in the order of sending, and whether PUBREC came.
    pub fn packet_ids(&self) -> impl Iterator<Item = (u16, bool)> + use<'a> {
        self.session.inflight.iter().map(|sent| (sent.id.get(), !sent.holds_message()))
    }

    /// QoS 2 messages of the client that wait for PUBREL.
    pub fn received(&self) -> usize {
        self.session.received.len()
    }

    /// Their packet identifiers, sorted.
    pub fn received_ids(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.session.received.iter().map(|received| received.packet_id)
    }

    /// When it ends, if its client is away and does not come back.
    pub fn ends_at(&self) -> Option<Time> {
        self.session.ends_at
    }

    /// When its will is due, if its client is away and does not come back.
    pub fn will_at(&self) -> Option<Time> {
        self.session.will_at
    }

    /// Has it a will that may still be sent?
    pub fn has_will(&self) -> bool {
        self.session.will.is_some()
    }
}
