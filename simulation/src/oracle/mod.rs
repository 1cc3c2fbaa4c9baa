//! A reference broker, written from the standard to be read and not to be fast: linear matching, ordered maps, no code
//! shared with the engine but packets. It gets the same inputs in the same order, says what every client has to get,
//! and compares that with what the engine sends.
//!
//! * `topics` — names, filters, matching
//! * `session` — what is kept: sessions, messages, copies that are owed
//! * `shared` — copies for shared groups, and who has which
//! * `unclear` — where copies look alike, so that it cannot be seen which of them was sent
//! * `broker` — what CONNECT, SUBSCRIBE, PUBLISH, the end of a connection and time do with them
//! * `connection` — from bytes to these
//! * `compare` — what the engine may do and what it must
//! * `losses` — what it gives up, and says so
//! * `permissions` — what clients may
//!
//! What the standard leaves open stays open: the order between topics, the member of a shared group, when exactly a
//! retained message is sent. What a broker may refuse or give up is taken from what the engine tells of itself.

mod broker;
mod compare;
mod connection;
mod losses;
pub(crate) mod permissions;
mod session;
mod shared;
pub(crate) mod topics;
mod unclear;

pub(crate) use compare::Given;

use crate::check::{AT_ONCE, Counts, Part, micros};
use crate::world::Table;
use broker::{Broker, told_until};
use broker_engine::{Answer, ApplicationMessage, Config, Note, Permissions, SessionEnd};
use connection::{Connections, State};
use mqtt_proto::{Limits, ReasonCode, SubscribeOptions};
use session::Message;
use std::collections::{BTreeMap, HashMap};

/// A shared group, and the connections of all its members.
type Members = (String, Here);

/// How often the members had changed by then, and the connections of all.
type Here = (u32, Vec<(String, usize)>);

/// An input of the engine, as far as it matters here.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Bytes of a client.
    Bytes(usize, Vec<u8>),
    /// A transport has ended.
    Gone(usize),
    /// A question about a connection is answered.
    Reply(usize, Answer),
    /// An operator ends a connection, and perhaps its session.
    Kick { client_id: String, end_session: bool },
    /// An operator says what a client may from now on.
    Permit { client_id: String, permissions: Option<Permissions> },
    /// The operator subscribes for a client.
    Subscribe { client_id: String, filter: String, options: SubscribeOptions },
    /// The operator ends a client's subscription.
    Unsubscribe { client_id: String, filter: String },
    /// The broker itself publishes.
    Announce(ApplicationMessage),
    /// Time, answers, and what a socket has not taken.
    Other,
}

/// The reference broker and its connections.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    broker: Broker,
    connections: Connections,
    /// How closely clients are followed that were accepted, by client identifier, where not everybody is.
    parts: Option<HashMap<String, Part>>,
    /// Of the first packet, and of all others.
    limits: [Limits; 2],
    /// Messages that each member of a shared group got, by the group and the connections of all its members; nothing
    /// once one was lost.
    turns: BTreeMap<Members, Option<BTreeMap<String, u32>>>,
    /// Connections that sent more than Receive Maximum in this call, and CONNECTs that were refused in it.
    exceeded: Vec<usize>,
    refused: Vec<String>,
    /// QoS 0 messages that were dropped in this call, by client identifier and topic.
    drops_at_once: Vec<(String, String)>,
    /// Whose permissions changed in this call: timers that were due came before.
    permitted: Option<String>,
    /// The engine's timers may be late.
    late: bool,
    /// From then on a question's answer is no, microseconds.
    hook_timeout: u64,
    /// From now on something is open that only the engine knows, so nothing is compared any more.
    undecided: bool,
}

impl Oracle {
    pub(crate) fn new(config: &Config, late: bool, follows_all: bool) -> Self {
        let limits = Limits {
            max_packet_size: config.max_packet_size,
            max_filters: config.max_filters_per_packet,
            max_user_properties: config.max_user_properties,
            max_user_property_bytes: config.max_user_property_bytes,
            max_client_id_length: config.max_client_id_length,
            ..Limits::default()
        };
        let first = Limits { max_packet_size: config.max_packet_size_before_connect, ..limits };
        Self {
            limits: [first, limits],
            undecided: config.work_per_call < AT_ONCE || config.memory_high.is_some(),
            broker: Broker::new(config.clone()),
            connections: Connections::default(),
            parts: (!follows_all).then(HashMap::new),
            turns: BTreeMap::new(),
            exceeded: Vec::new(),
            refused: Vec::new(),
            drops_at_once: Vec::new(),
            permitted: None,
            late,
            hook_timeout: micros(config.hook_timeout),
        }
    }

    /// Another process of the broker has begun, which knows nothing.
    pub(crate) fn begin_anew(&mut self) {
        self.broker = Broker::new(self.broker.config.clone());
        self.turns.clear();
        self.connections.end();
    }

    /// Does it still follow?
    pub(crate) fn is_decided(&self) -> bool {
        !self.undecided
    }

    pub(crate) fn opened(&mut self, link: usize, part: Part) {
        self.connections.open(link, part);
    }

    /// A client is admitted, and may so much.
    pub(crate) fn admitted(&mut self, link: usize, permissions: Option<&Permissions>) {
        self.connections[link].permissions = permissions.cloned();
    }

    /// A client is not read for a while: what its silence says is for the engine to know.
    pub(crate) fn paused(&mut self, link: usize) {
        self.connections[link].was_paused = true;
    }

    /// How closely is the client of this identifier followed?
    pub(crate) fn part(&self, client_id: &str) -> Part {
        match &self.parts {
            Some(parts) => parts.get(client_id).copied().unwrap_or(Part::Other),
            None => Part::Chosen,
        }
    }

    /// Does what the engine was just asked to do. Of the engine's notes it uses what is the engine's to decide: who is
    /// accepted, and when it gives up on a silent client.
    pub(crate) fn turn(
        &mut self,
        now: u64,
        turn: &Turn,
        notes: &[Note],
        links: &Table,
        counts: &mut Counts,
    ) -> Result<(), compare::Wrong> {
        self.broker.begin();
        self.exceeded.clear();
        self.refused.clear();
        self.permitted = None;
        let gone: Vec<(usize, ReasonCode)> = notes
            .iter()
            .filter_map(|note| match note {
                Note::Disconnected { conn, reason, .. } => Some((links.get(*conn)?, *reason)),
                _ => None,
            })
            .filter(|(link, _)| self.connections.has(*link))
            .collect();
        self.broker.ending = notes
            .iter()
            .filter_map(|note| match note {
                Note::SessionEnded { client_id, .. } => Some(client_id.clone()),
                _ => None,
            })
            .collect();
        self.timers(now, &gone);
        match turn {
            Turn::Bytes(link, bytes) => self.received(now, *link, bytes),
            Turn::Gone(link) => self.close(now, *link, true),
            Turn::Reply(link, answer) => self.authenticated(now, *link, answer),
            Turn::Kick { client_id, end_session } => {
                if let Some(link) = self.broker.session(client_id).and_then(|session| session.link) {
                    self.close(now, link, true);
                }
                if *end_session {
                    self.broker.end(now, client_id, SessionEnd::Admin);
                }
            }
            Turn::Permit { client_id, permissions } => {
                self.broker.permit(client_id, permissions.as_ref());
                self.permitted = Some(client_id.clone());
            }
            Turn::Subscribe { client_id, filter, options } => {
                self.broker.subscribe_for(client_id, filter, *options);
            }
            Turn::Unsubscribe { client_id, filter } => self.broker.unsubscribe(client_id, filter),
            Turn::Announce(message) => self.announce(now, message),
            Turn::Other => {}
        }
        for note in notes {
            if let Note::Connected { conn, client_id, session_present, .. } = note
                && let Some(link) = links.get(*conn).filter(|link| self.connections.has(*link))
            {
                self.accepted(now, link, (client_id, *session_present), counts)?;
            }
        }
        self.receive_maximum_kept(&gone, counts)?;
        for (link, reason) in gone {
            if let State::Waiting(hello) = &self.connections[link].state {
                self.refused.push(hello.client_id.clone());
                self.broker.touched.insert(hello.client_id.clone());
            }
            let is_open = !matches!(self.connections[link].state, State::Over);
            // Which of its packets it was, and whether those behind it counted, only the engine knows.
            let is_let_in = notes
                .iter()
                .any(|note| matches!(note, Note::Connected { conn, .. } if links.get(*conn) == Some(link)));
            self.undecided |= is_open
                && (is_let_in
                    || matches!(turn, Turn::Bytes(from, _) | Turn::Reply(from, _) if *from == link))
                && matches!(self.connections[link].state, State::Online(_));
            self.close(now, link, reason != ReasonCode::Success);
        }
        Ok(())
    }

    /// What the broker itself publishes is nobody's.
    fn announce(&mut self, now: u64, message: &ApplicationMessage) {
        let expiry = message.message_expiry_interval;
        self.broker.publish(Message {
            publisher: String::new(),
            topic: message.topic.clone(),
            payload: message.payload.to_vec(),
            properties: 0,
            qos: message.qos,
            retain: message.retain,
            expires_at: self.broker.expires_at(now, expiry),
            told_until: told_until(now, expiry),
            is_will: false,
        });
    }

    /// Who sends more than Receive Maximum is told so, and nobody else is [MQTT-3.3.4-9].
    fn receive_maximum_kept(
        &self,
        gone: &[(usize, ReasonCode)],
        counts: &mut Counts,
    ) -> Result<(), compare::Wrong> {
        counts.look("INV-16");
        if self.undecided {
            return Ok(());
        }
        let is_told = |(link, reason): &&(usize, ReasonCode)| {
            *reason == ReasonCode::ReceiveMaximumExceeded && !self.connections[*link].said_goodbye
        };
        let accused: Vec<usize> = gone.iter().filter(is_told).map(|(link, _)| *link).collect();
        if accused == self.exceeded {
            return Ok(());
        }
        Err(("INV-16", format!("connections {:?} sent too much, {accused:?} are told so", self.exceeded)))
    }

    /// What was due by now, in order of time: clients that are silent or of whom nobody says yes, wills, sessions.
    fn timers(&mut self, now: u64, gone: &[(usize, ReasonCode)]) {
        let mut silent = Vec::new();
        for (link, reason) in gone {
            let connection = &self.connections[*link];
            let State::Online(hello) = &connection.state else { continue };
            let is_silence = *reason == ReasonCode::KeepAliveTimeout;
            // When a client that is not read was given up is known only if the engine was called in time.
            self.undecided |=
                self.late && (*reason == ReasonCode::QuotaExceeded || is_silence && connection.was_paused);
            // Nobody answers in time who is asked about its AUTH: what it says behind that is not heard.
            let is_unanswered = *reason == ReasonCode::NotAuthorized && connection.authenticates;
            let unanswered_at = connection.last_seen.saturating_add(self.hook_timeout);
            if is_silence {
                let patience = u64::from(hello.keep_alive) * 1_500_000;
                let at = if self.late { connection.last_seen + patience } else { now };
                silent.push((at.min(now), *link));
            } else if is_unanswered && unanswered_at <= now {
                silent.push((unanswered_at, *link));
            }
        }
        // Those of one time in the order in which the engine tells of them.
        silent.sort_by_key(|(at, _)| *at);
        for (at, link) in silent {
            self.broker.advance(at - 1);
            self.close(at, link, true);
        }
        self.broker.advance(now);
    }
}
