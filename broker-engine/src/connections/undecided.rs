//! PUBLISH packets that a hook is asked about: several of one client may be open, and they are carried out in the order
//! in which they came.
//!
//! They are kept beside the connections, as they may outlive theirs: a client that publishes at QoS 0 and leaves in the
//! same breath has published. What it would have an acknowledgement for, it sends again.

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
use crate::time::Time;
use crate::timers::TimerKey;
use alloc::{boxed::Box, collections::BTreeMap, collections::VecDeque, string::String, vec::Vec};
use bytes::Bytes;
use mqtt_proto::{PacketType, QoS, ReasonCode, planted};
use serde::{Deserialize, Serialize};

/// Bytes of one client's undecided messages from which on its next PUBLISH waits.
const ENOUGH: u64 = 256 << 10;

/// Rough size of an undecided message beside its text, properties and payload; with the question it is in memory twice.
const ENTRY: u64 = 512;

/// The undecided PUBLISH packets of all connections.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Undecided {
    lines: BTreeMap<ConnId, Line>,
    bytes: u64,
}

/// Those of one connection, in order. Never empty.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// The publisher's session.
    session: SlotKey,
    /// What its client might when the connection ended; by then the session may be gone, or another user's.
    left_with: Option<Box<Permissions>>,
    entries: VecDeque<Entry>,
    /// The timer entry that is set for it.
    armed: Option<Time>,
    bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    call: CallId,
    /// Then the answer is no.
    deadline: Time,
    /// `None` while nobody has answered.
    decision: Option<Decision>,
    owed: Owed,
    message: Message,
}

/// A message that waits.
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
        let message = &self.message;
        (message.topic.len() + message.properties.len() + message.payload.len()) as u64 + ENTRY
    }
}

impl Line {
    fn recount(&self) -> u64 {
        let permissions = self.left_with.as_ref().map_or(0, |permissions| permissions.kept());
        permissions + self.entries.iter().map(Entry::bytes).sum::<u64>()
    }

    /// When its oldest open question times out.
    fn deadline(&self) -> Option<Time> {
        self.entries.iter().find(|entry| entry.decision.is_none()).map(|entry| entry.deadline)
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
        self.lines.values().map(Line::recount).sum()
    }

    pub(crate) fn is_waiting(&self, id: ConnId) -> bool {
        self.lines.contains_key(&id)
    }

    /// QoS 1 and 2 messages of a connection that are not acknowledged for this reason.
    pub(crate) fn owed(&self, id: ConnId) -> usize {
        let line = self.lines.get(&id).into_iter();
        line.flat_map(|line| &line.entries).filter(|entry| entry.owed.packet_id.is_some()).count()
    }

    pub(crate) fn mask_payloads(&mut self) {
        for entry in self.lines.values_mut().flat_map(|line| &mut line.entries) {
            entry.message.payload = Bytes::from(alloc::vec![mqtt_proto::FILLER; entry.message.payload.len()]);
        }
    }

    fn pop_decided(&mut self, id: ConnId) -> Option<(SlotKey, Decision, Entry)> {
        let line = self.lines.get_mut(&id)?;
        let is_decided = |entry: &Entry| entry.decision.is_some();
        let overtaking =
            if planted!("answers-overtake") { line.entries.iter().position(is_decided) } else { None };
        let first = overtaking.unwrap_or(0);
        let decision = line.entries.get_mut(first)?.decision.take()?;
        let entry = line.entries.remove(first)?;
        line.bytes -= entry.bytes();
        self.bytes -= entry.bytes();
        Some((line.session, decision, entry))
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
            let question = Question::Publish { client_id: self.client_id_of(id), message: Box::new(asked) };
            out.calls.push(Call { id: call, conn: id, question });
        }
        let deadline = self.now.after(self.config.publish_timeout.unwrap_or(self.config.hook_timeout));
        let entry = Entry { call, deadline, decision, owed, message };
        let bytes = entry.bytes();
        let line = self.undecided.lines.entry(id).or_insert_with(|| Line {
            session,
            left_with: None,
            entries: VecDeque::new(),
            armed: None,
            bytes: 0,
        });
        line.entries.push_back(entry);
        line.bytes += bytes;
        self.undecided.bytes += bytes;
        self.arm_undecided(id);
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
        let Some(line) = self.undecided.lines.get(&id) else { return false };
        let is_full =
            line.entries.len() >= usize::from(self.config.max_publish_questions) || line.bytes >= ENOUGH;
        kind != PacketType::Publish || is_full
    }

    /// A hook answered a question about a PUBLISH. Gives the answer back if none is open under this name.
    pub(crate) fn publish_answered(
        &mut self,
        call: CallId,
        answer: Answer,
        out: &mut Outbox,
    ) -> Result<(), Answer> {
        let id = call.conn;
        let is_it = |entry: &Entry| entry.call == call || planted!("answer-for-another");
        let open = |entry: &&mut Entry| is_it(entry) && entry.decision.is_none();
        let line = self.undecided.lines.get_mut(&id);
        let Some(entry) = line.and_then(|line| line.entries.iter_mut().find(open)) else {
            return Err(answer);
        };
        let (call, before) = (entry.call, entry.bytes());
        let decision = match answer {
            Answer::Allow => Decision::Route,
            Answer::Discard => Decision::Acknowledge,
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
        self.decide(call, before, decision);
        self.go_on_behind(id, out);
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
    fn decide(&mut self, call: CallId, before: u64, decision: Decision) {
        let Some(line) = self.undecided.lines.get_mut(&call.conn) else { return };
        let Some(entry) = line.entries.iter_mut().find(|entry| entry.call == call) else { return };
        entry.decision = Some(decision);
        let after = entry.bytes();
        line.bytes = line.bytes - before + after;
        self.undecided.bytes = self.undecided.bytes - before + after;
    }

    /// Questions about PUBLISH packets of a connection have been open for too long: the answer is no.
    pub(crate) fn undecided_timer(&mut self, id: ConnId, out: &mut Outbox) {
        let now = self.now;
        let Some(line) = self.undecided.lines.get_mut(&id) else { return };
        line.armed = None;
        for entry in &mut line.entries {
            if entry.decision.is_none() && entry.deadline <= now {
                let refusal = Decision::Refuse(ReasonCode::NotAuthorized);
                entry.decision = Some(if planted!("silence-allows") { Decision::Route } else { refusal });
                self.counters.hook_timeouts += 1;
            }
        }
        self.go_on_behind(id, out);
    }

    /// Carries out what is decided, and then the packets that waited for it.
    fn go_on_behind(&mut self, id: ConnId, out: &mut Outbox) {
        self.carry_out_decided(id, out);
        if let Some(conn) = self.conn_mut(id)
            && matches!(conn.parked.as_deref(), Some(Parked::Publishes))
        {
            conn.parked = None;
            self.resume_input(id, out);
        }
    }

    /// Carries out what is decided and has nothing undecided before it.
    pub(crate) fn carry_out_decided(&mut self, id: ConnId, out: &mut Outbox) {
        loop {
            let parked = self.conn(id).and_then(|conn| conn.parked.as_deref());
            if parked.is_some_and(|parked| !matches!(parked, Parked::Publishes | Parked::Pace { .. })) {
                // For a fan-out or for memory; then it goes on.
                return;
            }
            let Some((session, decision, entry)) = self.undecided.pop_decided(id) else { break };
            self.gates.begin_packet();
            let message = &entry.message;
            let publication = Publication {
                topic: &message.topic,
                properties: &message.properties,
                payload: &message.payload,
                qos: message.qos,
                retain: message.retain,
                expiry: self.expiry(message.arrived, message.expiry_interval),
                publisher: Some(session),
            };
            let decision = self.reconsider(id, session, entry.owed, decision, &publication);
            self.forget_empty_line(id);
            let is_here = self.conn(id).is_some();
            self.decided(id, is_here, (entry.owed, decision), &publication, out);
        }
        self.arm_undecided(id);
    }

    /// What has changed since a PUBLISH came.
    fn reconsider(
        &mut self,
        id: ConnId,
        session: SlotKey,
        owed: Owed,
        decision: Decision,
        publication: &Publication<'_>,
    ) -> Decision {
        let routed = matches!(decision, Decision::Route | Decision::Replace);
        let repeated = owed.qos == QoS::ExactlyOnce
            && owed.packet_id.is_some_and(|packet_id| self.is_received(session, packet_id));
        let expired = publication.expiry.at.is_some_and(|at| at <= self.called_at);
        match decision {
            _ if repeated || (routed && expired) => Decision::Acknowledge,
            // Judged by the name under which it goes out, and by what the client may now.
            Decision::Replace if planted!("permissions-before-rewriting") => decision,
            _ if routed
                && !(self.might_publish(id, publication.topic)
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
            decision => decision,
        }
    }

    /// Might the client of a connection that has ended publish to this topic then?
    fn might_publish(&self, id: ConnId, topic: &str) -> bool {
        let line = self.undecided.lines.get(&id);
        let left_with = line.and_then(|line| line.left_with.as_deref());
        left_with.is_none_or(|permissions| permissions.may_publish(topic))
            || planted!("no-session-no-permissions")
    }

    /// A connection ends: what its client waits to have acknowledged it sends again, the rest is carried out.
    pub(crate) fn disown_undecided(&mut self, id: ConnId) {
        let Some(line) = self.undecided.lines.get_mut(&id) else { return };
        let before = (line.entries.len(), line.bytes);
        line.entries.retain(|entry| entry.owed.packet_id.is_none() || planted!("answer-outlives-connection"));
        let session = self.sessions.get(line.session);
        line.left_with = session.and_then(|session| session.permissions.clone());
        line.bytes = line.recount();
        self.counters.publish_refused += (before.0 - line.entries.len()) as u64;
        self.undecided.bytes = self.undecided.bytes - before.1 + line.bytes;
        self.forget_empty_line(id);
    }

    fn forget_empty_line(&mut self, id: ConnId) {
        if let Some(line) = self.undecided.lines.get(&id)
            && line.entries.is_empty()
        {
            let armed = line.armed;
            self.undecided.bytes -= line.bytes;
            self.undecided.lines.remove(&id);
            self.disarm(armed, TimerKey::Undecided(id));
        }
    }

    /// Makes sure that the timer of a connection's questions fires no later than the first one times out.
    fn arm_undecided(&mut self, id: ConnId) {
        let Some(line) = self.undecided.lines.get_mut(&id) else { return };
        if line.armed.is_none()
            && let Some(at) = line.deadline()
        {
            line.armed = Some(at);
            self.timers.push(at.as_micros(), TimerKey::Undecided(id));
        }
    }
}
