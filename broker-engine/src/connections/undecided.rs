//! PUBLISH packets that a hook is asked about: several of one client may be open, and they are carried out in the order
//! in which they came.
//!
//! They are kept beside the connections, as they may outlive theirs: a client that publishes at QoS 0 and leaves in the
//! same breath has published. What it would have an acknowledgement for, it sends again. What it says when it comes back,
//! and its will if it does not, stand behind them.

use super::Parked;
use super::publish::{Decision, Owed};
use crate::application_message::ApplicationMessage;
use crate::collections::SlotKey;
use crate::delivery::Publication;
use crate::engine::Engine;
use crate::hooks::{Answer, Call, Question};
use crate::ids::{CallId, ConnId};
use crate::outbox::Outbox;
use crate::permissions::Permissions;
use crate::sessions::Will;
use crate::time::Time;
use crate::timers::TimerKey;
use alloc::{
    boxed::Box, collections::BTreeMap, collections::BTreeSet, collections::VecDeque, string::String, vec::Vec,
};
use bytes::Bytes;
use mqtt_proto::{PacketType, QoS, ReasonCode, planted};
use serde::{Deserialize, Serialize};

/// Bytes of one client's undecided messages from which on its next PUBLISH waits.
const ENOUGH: u64 = 256 << 10;

/// Rough size of an undecided message beside its text, properties and payload; with the question it is in memory twice.
const ENTRY: u64 = 512;

/// The undecided PUBLISH packets of all clients.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Undecided {
    /// By client identifier: what a client says on its next connection comes behind what it said on the one before, and
    /// so does its will.
    lines: BTreeMap<Box<str>, Line>,
    /// The client of each connection, here or gone, that has messages in a line.
    clients: BTreeMap<ConnId, Box<str>>,
    bytes: u64,
}

/// Those of one client, in order. Never empty.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Line {
    entries: VecDeque<Entry>,
    /// What the client might when a connection ended, and when its session did; by now that may be gone, or another user's.
    left_with: BTreeMap<ConnId, Vec<Permissions>>,
    /// The timer entry that is set for it.
    armed: Option<Time>,
    bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Entry {
    Publish(Box<Waiting>),
    /// A will that became due. It is allowed already, and nobody is asked about it.
    Will {
        session: SlotKey,
        will: Box<Will>,
    },
}

/// A PUBLISH that waits.
#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    call: CallId,
    /// The publisher's session.
    session: SlotKey,
    /// Then the answer is no.
    deadline: Time,
    /// `None` while nobody has answered.
    decision: Option<Decision>,
    owed: Owed,
    message: Message,
}

/// Its message.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Message {
    topic: String,
    /// Those that travel on, encoded.
    properties: Vec<u8>,
    payload: Bytes,
    qos: QoS,
    retain: bool,
    expiry_interval: Option<u32>,
    /// Its expiry counts from here.
    arrived: Time,
}

impl Entry {
    fn bytes(&self) -> u64 {
        match self {
            Self::Publish(waiting) => waiting.bytes(),
            Self::Will { will, .. } => will.kept() + ENTRY,
        }
    }

    /// The connection that it came on.
    fn conn(&self) -> Option<ConnId> {
        self.publish().map(|waiting| waiting.call.conn)
    }

    fn publish(&self) -> Option<&Waiting> {
        match self {
            Self::Publish(waiting) => Some(waiting),
            Self::Will { .. } => None,
        }
    }

    fn publish_mut(&mut self) -> Option<&mut Waiting> {
        match self {
            Self::Publish(waiting) => Some(waiting),
            Self::Will { .. } => None,
        }
    }

    fn is_decided(&self) -> bool {
        self.publish().is_none_or(|waiting| waiting.decision.is_some())
    }
}

impl Waiting {
    fn bytes(&self) -> u64 {
        let message = &self.message;
        (message.topic.len() + message.properties.len() + message.payload.len()) as u64 + ENTRY
    }
}

impl Line {
    fn recount(&self) -> u64 {
        let permissions = self.left_with.values().flatten().map(Permissions::kept).sum::<u64>();
        permissions + self.entries.iter().map(Entry::bytes).sum::<u64>()
    }

    /// When its oldest open question times out.
    fn deadline(&self) -> Option<Time> {
        let mut packets = self.entries.iter().filter_map(Entry::publish);
        packets.find(|waiting| waiting.decision.is_none()).map(|waiting| waiting.deadline)
    }

    /// Has this connection anything in it? Those of a client stand behind each other.
    fn has(&self, id: ConnId) -> bool {
        let ends = [self.entries.front(), self.entries.back()];
        ends.into_iter().flatten().any(|entry| entry.conn() == Some(id))
    }
}

impl Undecided {
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Is there any at all?
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes that they keep.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The same, counted anew, for consistency checks.
    pub(crate) fn recount(&self) -> u64 {
        let names = self.lines.keys().chain(self.clients.values());
        self.lines.values().map(Line::recount).sum::<u64>() + names.map(|name| name.len() as u64).sum::<u64>()
    }

    /// QoS 1 and 2 messages of a connection that are not acknowledged for this reason.
    pub(crate) fn owed(&self, id: ConnId) -> usize {
        let line = self.line_of(id).into_iter();
        let its = line.flat_map(|line| &line.entries).filter_map(Entry::publish);
        its.filter(|waiting| waiting.call.conn == id && waiting.owed.packet_id.is_some()).count()
    }

    /// Does a will that is due stand behind messages of its client?
    pub(crate) fn has_wills(&self) -> bool {
        self.lines.values().flat_map(|line| &line.entries).any(|entry| matches!(entry, Entry::Will { .. }))
    }

    /// A client's will that is due and waits; the store has it until it is delivered.
    pub(crate) fn will_of(&self, client_id: &str) -> Option<&Will> {
        self.lines.get(client_id)?.entries.iter().rev().find_map(|entry| match entry {
            Entry::Will { will, .. } => Some(&**will),
            Entry::Publish(_) => None,
        })
    }

    pub(crate) fn mask_payloads(&mut self) {
        for entry in self.lines.values_mut().flat_map(|line| &mut line.entries) {
            match entry {
                Entry::Will { will, .. } => will.mask_payload(),
                Entry::Publish(waiting) => {
                    let len = waiting.message.payload.len();
                    waiting.message.payload = Bytes::from(alloc::vec![mqtt_proto::FILLER; len]);
                }
            }
        }
    }

    fn line_of(&self, id: ConnId) -> Option<&Line> {
        self.lines.get(self.clients.get(&id)?)
    }

    fn push(&mut self, client_id: &str, entry: Entry) {
        let (name, bytes) = (client_id.len() as u64, entry.bytes());
        if let Some(conn) = entry.conn()
            && self.clients.insert(conn, client_id.into()).is_none()
        {
            self.bytes += name;
        }
        let line = self.lines.entry(client_id.into()).or_insert_with(|| {
            self.bytes += name;
            Line::default()
        });
        line.bytes += bytes;
        self.bytes += bytes;
        line.entries.push_back(entry);
    }

    fn pop_decided(&mut self, client_id: &str) -> Option<Entry> {
        let line = self.lines.get_mut(client_id)?;
        let overtaking =
            planted!("answers-overtake").then(|| line.entries.iter().position(Entry::is_decided));
        let first = overtaking.flatten().unwrap_or(0);
        line.entries.get(first).filter(|entry| entry.is_decided())?;
        let entry = line.entries.remove(first)?;
        line.bytes -= entry.bytes();
        self.bytes -= entry.bytes();
        Some(entry)
    }

    /// A connection may have nothing in its client's line any more.
    fn forget_connection(&mut self, id: ConnId, client_id: &str) {
        let Some(line) = self.lines.get_mut(client_id).filter(|line| !line.has(id)) else { return };
        if let Some(permissions) = line.left_with.remove(&id) {
            let kept = permissions.iter().map(Permissions::kept).sum::<u64>();
            line.bytes -= kept;
            self.bytes -= kept;
        }
        if let Some(name) = self.clients.remove(&id) {
            self.bytes -= name.len() as u64;
        }
    }
}

impl Engine {
    /// Asks about a PUBLISH, or, where the decision is there already, has it wait for those before it.
    pub(crate) fn line_up(
        &mut self,
        id: ConnId,
        publication: &Publication<'_>,
        expiry_interval: Option<u32>,
        (owed, decision): (Owed, Option<Decision>),
        question: impl FnOnce() -> ApplicationMessage,
        out: &mut Outbox,
    ) {
        let Some(session) = publication.publisher else { return };
        self.questions += 1;
        let call = CallId { conn: id, number: self.questions };
        let client_id = self.client_id_of(id);
        let mut message = Message { arrived: self.now, ..Message::default() };
        if decision.is_none() {
            let asked = question();
            message = Message {
                topic: asked.topic.clone(),
                properties: publication.properties.to_vec(),
                payload: asked.payload.clone(),
                qos: publication.qos,
                retain: publication.retain,
                expiry_interval,
                ..message
            };
            let question = Question::Publish { client_id: client_id.clone(), message: Box::new(asked) };
            out.calls.push(Call { id: call, conn: id, question });
        }
        let deadline = self.called_at.after(self.config.publish_timeout.unwrap_or(self.config.hook_timeout));
        let waiting = Waiting { call, session, deadline, decision, owed, message };
        self.undecided.push(&client_id, Entry::Publish(Box::new(waiting)));
        self.arm_undecided(&client_id);
    }

    /// Has a will that is due wait for the messages of its client before it; gives it back if there are none.
    pub(crate) fn line_up_will(&mut self, session: SlotKey, will: Box<Will>) -> Result<(), Box<Will>> {
        if !self.has_undecided(session) {
            return Err(will);
        }
        let Some(client_id) = self.sessions.get(session).map(|session| &*session.client_id) else {
            return Err(will);
        };
        self.undecided.push(client_id, Entry::Will { session, will });
        Ok(())
    }

    /// Do messages of a session's client wait for hooks? Then its next ones wait behind them.
    #[inline]
    pub(crate) fn has_undecided(&self, key: SlotKey) -> bool {
        !self.undecided.is_empty() && self.line_of(key).is_some()
    }

    fn line_of(&self, key: SlotKey) -> Option<&Line> {
        self.undecided.lines.get(&self.sessions.get(key)?.client_id)
    }

    /// Does a packet wait for the PUBLISH packets before it? Everything but a further PUBLISH does, so that what a client
    /// sees does not depend on how its bytes were split.
    #[inline]
    pub(crate) fn must_wait_for_hooks(&self, id: ConnId, kind: PacketType) -> bool {
        !self.undecided.is_empty() && self.is_held_up(id, kind)
    }

    #[cold]
    fn is_held_up(&self, id: ConnId, kind: PacketType) -> bool {
        if self.last_words {
            return false;
        }
        if kind != PacketType::Publish {
            return self.undecided.clients.contains_key(&id);
        }
        let session = self.conn(id).and_then(super::Connection::session);
        session.and_then(|key| self.line_of(key)).is_some_and(|line| {
            line.entries.len() >= usize::from(self.config.max_publish_questions) || line.bytes >= ENOUGH
        })
    }

    /// A hook answered a question about a PUBLISH. Gives the answer back if none is open under this name.
    pub(crate) fn publish_answered(
        &mut self,
        call: CallId,
        answer: Answer,
        out: &mut Outbox,
    ) -> Result<(), Answer> {
        let id = call.conn;
        let is_it = |waiting: &Waiting| waiting.call == call || planted!("answer-for-another");
        let open = |waiting: &&mut Waiting| is_it(waiting) && waiting.decision.is_none();
        let Some(client_id) = self.undecided.clients.get(&id).cloned() else { return Err(answer) };
        let line = self.undecided.lines.get_mut(&client_id).into_iter();
        let mut packets = line.flat_map(|line| &mut line.entries).filter_map(Entry::publish_mut);
        let Some(entry) = packets.find(open) else { return Err(answer) };
        if entry.deadline <= self.now {
            // The timer waits its turn.
            self.counters.late_replies += 1;
            self.undecided_timed_out(&client_id, out);
            return Ok(());
        }
        let (call, before) = (entry.call, entry.bytes());
        let decision = match answer {
            Answer::Allow => Decision::Route,
            Answer::Discard => Decision::Discard,
            Answer::Deny(reason) => Decision::Refuse(self.refusal(reason)),
            Answer::Replace(with) => match with.forwarded() {
                Some(properties) => {
                    entry.message = Message {
                        topic: with.topic,
                        properties,
                        payload: with.payload,
                        qos: with.qos,
                        retain: with.retain,
                        expiry_interval: with.message_expiry_interval,
                        arrived: entry.message.arrived,
                    };
                    Decision::Replace
                }
                None => self.misused(),
            },
            Answer::Continue(_) | Answer::AllowWith(_) | Answer::Admit(_) | Answer::Filters(_) => {
                self.misused()
            }
        };
        self.decide(&client_id, call, before, decision);
        self.go_on_behind(&client_id, out);
        Ok(())
    }

    /// The reason as the client is to hear it.
    pub(crate) fn refusal(&self, reason: ReasonCode) -> ReasonCode {
        let fits = reason.is_error() && reason.allowed_in(PacketType::PubAck);
        match if fits { reason } else { ReasonCode::NotAuthorized } {
            ReasonCode::NotAuthorized if self.config.obscure_not_authorized => ReasonCode::UnspecifiedError,
            reason => reason,
        }
    }

    /// An answer that makes no sense here.
    fn misused(&mut self) -> Decision {
        self.counters.host_misuse += 1;
        Decision::Refuse(ReasonCode::NotAuthorized)
    }

    /// Writes a decision down; `before` is what the entry kept until then.
    fn decide(&mut self, client_id: &str, call: CallId, before: u64, decision: Decision) {
        let Some(line) = self.undecided.lines.get_mut(client_id) else { return };
        let mut packets = line.entries.iter_mut().filter_map(Entry::publish_mut);
        let Some(waiting) = packets.find(|waiting| waiting.call == call) else { return };
        waiting.decision = Some(decision);
        let after = waiting.bytes();
        line.bytes = line.bytes - before + after;
        self.undecided.bytes = self.undecided.bytes - before + after;
    }

    /// Questions about PUBLISH packets of a client have been open for too long.
    pub(crate) fn undecided_timer(&mut self, client_id: &str, out: &mut Outbox) {
        if let Some(line) = self.undecided.lines.get_mut(client_id) {
            line.armed = None;
            self.undecided_timed_out(client_id, out);
        }
    }

    /// Nobody answered in time: the answer is no.
    fn undecided_timed_out(&mut self, client_id: &str, out: &mut Outbox) {
        let now = self.now;
        let Some(line) = self.undecided.lines.get_mut(client_id) else { return };
        for waiting in line.entries.iter_mut().filter_map(Entry::publish_mut) {
            if waiting.decision.is_none() && waiting.deadline <= now {
                let refusal = Decision::Refuse(ReasonCode::NotAuthorized);
                waiting.decision = Some(if planted!("silence-allows") { Decision::Route } else { refusal });
                self.counters.hook_timeouts += 1;
            }
        }
        self.go_on_behind(client_id, out);
    }

    /// Carries out what is decided, and then the packets that waited for it.
    fn go_on_behind(&mut self, client_id: &str, out: &mut Outbox) {
        self.carry_out(client_id, out);
        let here = self.session_of(client_id).and_then(|key| self.sessions.get(key)?.conn);
        if let Some(id) = here
            && let Some(conn) = self.conn_mut(id)
            && matches!(conn.parked.as_deref(), Some(Parked::Publishes))
        {
            conn.parked = None;
            self.resume_input(id, out);
        }
    }

    /// Carries out what is decided of a connection's messages and has nothing undecided before it.
    pub(crate) fn carry_out_decided(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(client_id) = self.undecided.clients.get(&id).cloned() {
            self.carry_out(&client_id, out);
        }
    }

    fn carry_out(&mut self, client_id: &str, out: &mut Outbox) {
        while !self.is_first_held_up(client_id)
            && let Some(entry) = self.undecided.pop_decided(client_id)
        {
            self.gates.begin_packet();
            match entry {
                Entry::Publish(waiting) => self.carry_out_publish(client_id, &waiting, out),
                Entry::Will { session, will } => {
                    self.forget_empty_line(client_id);
                    if !self.refuses_will(session, &will) {
                        self.publish_will((session, client_id), &will, out);
                    }
                }
            }
        }
        self.arm_undecided(client_id);
    }

    /// Does the connection of the first one wait for a fan-out or for memory? Then it goes on.
    fn is_first_held_up(&self, client_id: &str) -> bool {
        let first = self.undecided.lines.get(client_id).and_then(|line| line.entries.front()?.conn());
        let parked = first.and_then(|id| self.conn(id)?.parked.as_deref());
        parked.is_some_and(|parked| !matches!(parked, Parked::Publishes | Parked::Pace { .. }))
    }

    fn carry_out_publish(&mut self, client_id: &str, waiting: &Waiting, out: &mut Outbox) {
        let Waiting { call: CallId { conn: id, .. }, message, .. } = waiting;
        let publication = Publication {
            topic: &message.topic,
            properties: &message.properties,
            payload: &message.payload,
            qos: message.qos,
            retain: message.retain,
            expiry: self.expiry(message.arrived, message.expiry_interval),
            publisher: Some(waiting.session),
        };
        let decision = self.reconsider(client_id, waiting, &publication);
        self.undecided.forget_connection(*id, client_id);
        self.forget_empty_line(client_id);
        let is_here = self.conn(*id).is_some();
        self.decided(*id, is_here, (waiting.owed, decision), &publication, out);
    }

    /// What has changed since a PUBLISH came.
    fn reconsider(&mut self, client_id: &str, waiting: &Waiting, publication: &Publication<'_>) -> Decision {
        let Waiting { session, owed, .. } = *waiting;
        let decision = waiting.decision.unwrap_or(Decision::Refuse(ReasonCode::NotAuthorized));
        let routed = matches!(decision, Decision::Route | Decision::Replace);
        let repeated = owed.qos == QoS::ExactlyOnce
            && owed.packet_id.is_some_and(|packet_id| self.is_received(session, packet_id));
        let expired = publication.expiry.at.is_some_and(|at| at <= self.called_at);
        match decision {
            _ if repeated => Decision::Acknowledge,
            // Judged by the name under which it goes out, and by what the client may now.
            Decision::Replace if planted!("permissions-before-rewriting") => decision,
            _ if routed
                && !(self.might_publish(client_id, waiting.call.conn, publication.topic)
                    && self.may_publish(session, publication.topic)) =>
            {
                Decision::Refuse(self.refusal(ReasonCode::NotAuthorized))
            }
            // A hook's own message keeps to the limits, too.
            Decision::Replace
                if self.judge_topic(publication.topic).is_err()
                    || publication.qos > self.config.maximum_qos
                    || publication.retain && !self.config.retain_available =>
            {
                self.misused()
            }
            _ if routed && expired => Decision::Expire,
            decision => decision,
        }
    }

    /// Might the client of a connection that has ended publish to this topic then, and when its session ended?
    fn might_publish(&self, client_id: &str, id: ConnId, topic: &str) -> bool {
        let line = self.undecided.lines.get(client_id);
        let left_with = line.and_then(|line| line.left_with.get(&id));
        left_with.is_none_or(|permissions| permissions.iter().all(|then| then.may_publish(topic)))
            || planted!("no-session-no-permissions")
    }

    /// A connection ends: what its client waits to have acknowledged it sends again, the rest is carried out.
    pub(crate) fn disown_undecided(&mut self, id: ConnId, session: Option<SlotKey>) {
        let Some(client_id) = self.undecided.clients.get(&id).cloned() else { return };
        let Some(line) = self.undecided.lines.get_mut(&client_id) else { return };
        let before = (line.entries.len(), line.bytes);
        line.entries.retain(|entry| {
            let is_owed = |waiting: &Waiting| waiting.call.conn == id && waiting.owed.packet_id.is_some();
            !entry.publish().is_some_and(is_owed) || planted!("answer-outlives-connection")
        });
        let session = session.and_then(|key| self.sessions.get(key));
        if let Some(permissions) = session.and_then(|session| session.permissions.clone()) {
            line.left_with.insert(id, Vec::from([*permissions]));
        }
        line.bytes = line.recount();
        self.counters.publish_refused += (before.0 - line.entries.len()) as u64;
        self.undecided.bytes = self.undecided.bytes - before.1 + line.bytes;
        self.undecided.forget_connection(id, &client_id);
        self.forget_empty_line(&client_id);
    }

    /// A session ends, and nobody knows later what its client might: it is written down for its messages that wait, and of its
    /// wills those go that it may not publish any more.
    #[cold]
    pub(crate) fn leave_undecided(&mut self, key: SlotKey) {
        let Some(session) = self.sessions.get(key) else { return };
        let Some(line) = self.undecided.lines.get_mut(&session.client_id) else { return };
        let Some(permissions) = session.permissions.as_deref() else { return };
        let before = (line.entries.len(), line.bytes);
        line.entries.retain(|entry| match entry {
            Entry::Will { session, will } if *session == key => {
                permissions.may_publish(will.topic()) || planted!("will-skips-permissions")
            }
            _ => true,
        });
        let packets = line.entries.iter().filter_map(Entry::publish);
        let conns: BTreeSet<_> =
            packets.filter(|waiting| waiting.session == key).map(|waiting| waiting.call.conn).collect();
        for id in conns {
            let left_with = line.left_with.entry(id).or_default();
            if left_with.last() != Some(permissions) {
                left_with.push(permissions.clone());
            }
        }
        line.bytes = line.recount();
        self.counters.publish_refused += (before.0 - line.entries.len()) as u64;
        self.undecided.bytes = self.undecided.bytes - before.1 + line.bytes;
        let client_id = session.client_id.clone();
        self.forget_empty_line(&client_id);
    }

    fn forget_empty_line(&mut self, client_id: &str) {
        if let Some(line) = self.undecided.lines.get(client_id)
            && line.entries.is_empty()
            && let Some((name, line)) = self.undecided.lines.remove_entry(client_id)
        {
            self.undecided.bytes -= line.bytes + name.len() as u64;
            self.disarm(line.armed, TimerKey::Undecided(name));
        }
    }

    /// Makes sure that the timer of a client's questions fires no later than the first one times out.
    fn arm_undecided(&mut self, client_id: &str) {
        let Some(line) = self.undecided.lines.get_mut(client_id) else { return };
        if line.armed.is_none()
            && let Some(at) = line.deadline()
        {
            line.armed = Some(at);
            self.timers.push(at.as_micros(), TimerKey::Undecided(client_id.into()));
        }
    }
}
