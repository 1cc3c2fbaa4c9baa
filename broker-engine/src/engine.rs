//! The engine: one owner of all state, one way in.

use crate::collections::{HashKey, KeyedIndex, Rng, SlotKey, Slots, TimerQueue};
use crate::config::Config;
use crate::connections::{Connection, Farewell, Hearing, Reading, Undecided};
use crate::counters::Counters;
use crate::delivery::{Fanouts, MessageStore, Retained, Scratch, Work};
use crate::hooks::SessionEnd;
use crate::ids::ConnId;
use crate::input::{Change, CloseCause, Command, Input};
use crate::outbox::Outbox;
use crate::sessions::{Session, Subscriber};
use crate::storage::{Gates, Held, StorePressure, StoreSeq};
use crate::time::{Deadline, DeadlineReason, Time};
use crate::timers::TimerKey;
use crate::topics::{RetainedStore, SubscriptionIndex};
use crate::view::View;
use alloc::{collections::VecDeque, vec::Vec};
use mqtt_proto::ReasonCode;

/// Source of all random choices. Equal seeds give equal choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seed(pub u64);

/// An MQTT broker. See the crate's front page for the calling contract.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) now: Time,
    /// When this call is made. While timers fire that are late, `now` is behind it.
    pub(crate) called_at: Time,
    /// Numbers the calls of [`Engine::handle`]; what was emitted is counted per call.
    pub(crate) call: u64,
    /// Work that this call may still do.
    pub(crate) budget: u32,
    pub(crate) shutting_down: bool,
    pub(crate) rng: Rng,
    /// By [`ConnId::slot`].
    pub(crate) connections: Vec<Option<Connection>>,
    /// Accepted clients.
    pub(crate) online: u32,
    pub(crate) sessions: Slots<Session>,
    pub(crate) clients: KeyedIndex<SlotKey>,
    pub(crate) index: SubscriptionIndex<Subscriber>,
    pub(crate) subscriptions: u32,
    pub(crate) messages: MessageStore,
    /// Bytes that connections keep beside themselves, as output in the host too.
    pub(crate) connection_bytes: u64,
    /// Bytes that sessions keep beside themselves.
    pub(crate) session_bytes: u64,
    pub(crate) retained: RetainedStore<Retained>,
    pub(crate) retained_bytes: u64,
    /// Bytes of the names of retained messages where they are kept beside the messages.
    pub(crate) retained_names: u64,
    pub(crate) timers: TimerQueue<TimerKey>,
    pub(crate) work: VecDeque<Work>,
    /// Fan-outs in `work`. While there is one, later publications line up behind it to keep their order.
    pub(crate) fanouts: Fanouts,
    pub(crate) questions: u64,
    pub(crate) undecided: Undecided,
    /// A connection is about to end, and what waited for hooks waits no more.
    pub(crate) last_words: bool,
    pub(crate) gates: Gates,
    pub(crate) store_pressure: StorePressure,
    pub(crate) hearing: Hearing,
    pub(crate) counters: Counters,
    pub(crate) scratch: Scratch,
}

impl Engine {
    /// A broker without clients. `hash_key` should be secret and random; no output depends on it.
    pub fn new(config: Config, seed: Seed, hash_key: HashKey) -> Self {
        Self {
            index: SubscriptionIndex::new(hash_key, config.match_cache_entries as usize),
            clients: KeyedIndex::new(hash_key),
            rng: Rng::new(seed.0),
            gates: Gates::new(config.durability),
            config,
            now: Time::ZERO,
            called_at: Time::ZERO,
            call: 0,
            budget: 0,
            shutting_down: false,
            connections: Vec::new(),
            online: 0,
            sessions: Slots::default(),
            subscriptions: 0,
            messages: MessageStore::default(),
            connection_bytes: 0,
            session_bytes: 0,
            retained: RetainedStore::default(),
            retained_bytes: 0,
            retained_names: 0,
            timers: TimerQueue::default(),
            work: VecDeque::new(),
            fanouts: Fanouts::default(),
            questions: 0,
            undecided: Undecided::default(),
            last_words: false,
            store_pressure: StorePressure::default(),
            hearing: Hearing::default(),
            counters: Counters::default(),
            scratch: Scratch::default(),
        }
    }

    /// Takes one event and says what to do about it.
    ///
    /// Timers that are due by `now` fire first, each at its own time, so that being called late changes when
    /// outputs leave but not what they are, except for what is left of a message's life and until when a hook may answer.
    /// A `now` smaller than an earlier one counts as that one.
    pub fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outbox) {
        self.call += 1;
        self.budget = self.config.work_per_call.max(1);
        let now = now.max(self.now);
        self.called_at = now;
        self.fire_timers(now, out);
        self.now = now;
        self.do_work(out);
        match input {
            Input::Opened { conn, listener, peer } => self.opened(conn, listener, peer, out),
            Input::Received { conn, data } => self.received(conn, data, out),
            Input::Backlog { conn, unsent } => self.backlog(conn, unsent, out),
            Input::Closed { conn, cause } => self.transport_closed(conn, cause, out),
            Input::Reply { call, answer } => self.replied(call, answer, out),
            Input::Stored { upto } => self.stored(upto, out),
            Input::StoreFailed { seq } => self.store_failed(seq, out),
            Input::Loaded { fetch, deliveries } => self.loaded(fetch, &deliveries, out),
            Input::Reads(flow) => self.hearing = Hearing::of(flow, now),
            Input::StoreSpace(pressure) => self.store_pressure = pressure,
            Input::WallClock(_) | Input::Tick => {}
            Input::Command(command) => self.command(command, out),
        }
        self.gates.flush_ops(out);
    }

    /// When to call again at the latest, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Deadline> {
        if !self.work.is_empty() {
            return Some(Deadline { at: self.now, reason: DeadlineReason::Work });
        }
        let (at, _) = self.timers.peek()?;
        Some(Deadline { at: Time::from_micros(at).max(self.now), reason: DeadlineReason::Timer })
    }

    /// A read-only look inside.
    pub fn view(&self) -> View<'_> {
        View::new(self)
    }

    pub(crate) fn conn(&self, id: ConnId) -> Option<&Connection> {
        self.connections.get(id.slot())?.as_ref().filter(|conn| conn.id == id)
    }

    pub(crate) fn conn_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(id.slot())?.as_mut().filter(|conn| conn.id == id)
    }

    pub(crate) fn session_of(&self, client_id: &str) -> Option<SlotKey> {
        let sessions = &self.sessions;
        self.clients.get(client_id, |key| sessions.get(key).is_some_and(|s| &*s.client_id == client_id))
    }

    fn transport_closed(&mut self, id: ConnId, cause: CloseCause, out: &mut Outbox) {
        let Some(conn) = self.conn_mut(id) else {
            self.counters.stale_inputs += 1;
            return;
        };
        conn.reading = Reading::Over;
        self.hear_out(id, out);
        let detail = match cause {
            CloseCause::PeerClosed => "the client closed the transport without DISCONNECT",
            CloseCause::Fault => "the transport failed",
        };
        self.close(id, Farewell::gone(ReasonCode::UnspecifiedError, detail), out);
    }

    fn command(&mut self, command: Command, out: &mut Outbox) {
        match command {
            Command::Publish(message) => self.publish_command(&message, out),
            Command::Disconnect { client_id, reason, end_session } => {
                let Some(key) = self.session_of(&client_id) else { return };
                if let Some(conn) = self.sessions.get(key).and_then(|session| session.conn) {
                    self.close(conn, Farewell::by_operator(reason), out);
                }
                if end_session && self.sessions.contains(key) {
                    self.end_session(key, SessionEnd::Admin, out);
                }
            }
            Command::SetPermissions { client_id, permissions } => {
                if let Some(key) = self.session_of(&client_id) {
                    self.change_permissions(key, permissions);
                }
            }
            Command::Revise { client_id, conn, change } => {
                let Some(key) = self.session_of(&client_id) else { return };
                if self.sessions.get(key).is_none_or(|session| session.conn != conn) {
                    return;
                }
                match (change, conn) {
                    (Change::Permissions(permissions), _) => self.change_permissions(key, permissions),
                    (Change::Disconnect(reason), Some(conn)) => {
                        self.close(conn, Farewell::by_operator(reason), out);
                    }
                    (Change::Disconnect(_), None) => {}
                }
            }
            Command::Shutdown => self.shut_down(out),
            Command::Subscribe { client_id, filter, options, subscription_id } => {
                if let Some(key) = self.session_of(&client_id) {
                    self.subscribe_for(key, &filter, options, subscription_id.unwrap_or(0), out);
                }
            }
            Command::Unsubscribe { client_id, filter } => {
                if let Some(key) = self.session_of(&client_id) {
                    self.unsubscribe(key, &filter, out);
                }
            }
        }
    }

    fn shut_down(&mut self, out: &mut Outbox) {
        if core::mem::replace(&mut self.shutting_down, true) {
            return;
        }
        self.gates.forget_all();
        let open: Vec<ConnId> = self.connections.iter().flatten().map(|conn| conn.id).collect();
        for conn in open {
            self.close(
                conn,
                Farewell::tell(ReasonCode::ServerShuttingDown, "the broker is shutting down"),
                out,
            );
        }
    }

    fn stored(&mut self, upto: StoreSeq, out: &mut Outbox) {
        for (conn, held) in self.gates.open(upto) {
            match held {
                Held::Frame(frame) => self.send_now(conn, &frame, out),
                Held::Publish { packet_id, dup } => self.send_held(conn, packet_id, dup, out),
                Held::Once { topic, frame } => self.send_once(conn, &topic, &frame, out),
            }
            self.greeted(conn, out);
        }
    }

    /// A frame left its gate; if it was CONNACK, the rest may follow.
    fn greeted(&mut self, id: ConnId, out: &mut Outbox) {
        let now = self.now;
        let Some(conn) = self.conn_mut(id).filter(|conn| !conn.is_greeted()) else { return };
        conn.parked = None;
        // Until now it had nothing to answer.
        conn.last_seen = now;
        self.arm_connection(id);
        self.drain(id, out);
        self.resume_input(id, out);
    }

    /// Nothing after the failed operation is ever acknowledged; the clients it concerns are told.
    fn store_failed(&mut self, seq: StoreSeq, out: &mut Outbox) {
        self.fetches_failed(seq);
        // Of a fan-out that goes on in later calls nobody knows which operations were its own.
        let unfinished: Vec<ConnId> =
            self.fanouts.owed().filter(|conn| self.is_parked_by_fanout(*conn)).collect();
        for conn in self.gates.fail(seq).into_iter().chain(unfinished) {
            self.close(
                conn,
                Farewell::tell(ReasonCode::QuotaExceeded, "the store refused to keep a message"),
                out,
            );
        }
        // What waited behind them, and for nothing that failed, goes on.
        self.stored(StoreSeq(0), out);
    }
}
