//! What the host does for the engine: carries the outbox out, answers questions, keeps what is to be kept, and calls
//! again in time.

use super::{Event, World};
use crate::check::Violation;
use crate::oracle::Turn;
use broker_engine::{
    Answer, CallId, Command, ConnId, DeadlineReason, Engine, Flow, HashKey, Input, Outbox, Question, StoreOp,
    StoreSeq, StoredDelivery, Time, Wire,
};
use mqtt_proto::ReasonCode;
use std::hash::Hasher;

/// Something to tell the engine once it has been heard out.
#[derive(Debug)]
pub(super) enum Next {
    /// What a socket has not taken.
    Backlog { conn: ConnId, unsent: u32 },
    /// A page of a queue.
    Loaded { fetch: StoreSeq, deliveries: Vec<StoredDelivery> },
    /// What came while nobody read.
    ReadOn { link: usize },
}

/// Something that the outside has finished.
#[derive(Debug)]
pub(super) enum Done {
    /// A question about a connection is answered.
    Answer(CallId, ConnId, Answer),
    /// Operations of the store up to this one.
    Stored(StoreSeq),
}

impl World<'_> {
    /// The one way into the engine; then everything that it wants is carried out.
    pub(super) fn handle(&mut self, input: Input<'_>) -> Result<(), Violation> {
        self.restore_sometimes()?;
        self.events += 1;
        self.trace.input(self.events, self.now, &input);
        let turn = self.checks.has_oracle().then(|| self.turn(&input));
        let mut out = std::mem::take(&mut self.out);
        self.call(input, &mut out);
        if let Some(change) = self.options.mutation.notes {
            change(&mut out.notes);
        }
        for note in &out.notes {
            self.trace.note(self.now, note);
        }
        let Self { checks, engine, by_conn, .. } = self;
        checks.after_call(self.now, turn.as_ref(), &out.notes, by_conn, engine, self.events)?;
        let result = self.carry_out(&mut out);
        out.clear();
        self.out = out;
        result?;
        self.checks.carried_out(self.now, &self.engine)?;
        if let Some(statement) = self.options.statement {
            statement(self.engine.view()).map_err(|detail| Violation::new("OWN", self.now, detail))?;
        }
        self.arm_tick();
        Ok(())
    }

    /// One input, in one call or in several that must come to the same.
    fn call(&mut self, input: Input<'_>, out: &mut Outbox) {
        let now = self.time();
        if self.options.restless {
            let between = Time::from_micros(self.called_at + (self.now - self.called_at) / 2);
            self.engine.handle(between, Input::Tick, out);
        }
        self.called_at = self.now;
        match input {
            Input::Received { conn, data } if self.options.piece > 0 => {
                for data in data.chunks(self.options.piece) {
                    self.engine.handle(now, Input::Received { conn, data }, out);
                }
            }
            input => self.engine.handle(now, input, out),
        }
    }

    /// An input, as the oracle sees it.
    fn turn(&self, input: &Input<'_>) -> Turn {
        match input {
            Input::Received { conn, data } => {
                self.by_conn.get(conn).map_or(Turn::Other, |link| Turn::Bytes(*link, data.to_vec()))
            }
            Input::Closed { conn, .. } => {
                self.by_conn.get(conn).map_or(Turn::Other, |link| Turn::Gone(*link))
            }
            Input::Command(Command::Disconnect { client_id, end_session, .. }) => {
                Turn::Kick { client_id: client_id.clone(), end_session: *end_session }
            }
            _ => Turn::Other,
        }
    }

    /// Tells the engine what came of its latest outputs.
    pub(super) fn settle(&mut self) -> Result<(), Violation> {
        while let Some(next) = self.next.pop_front() {
            match next {
                Next::Backlog { conn, unsent } => self.handle(Input::Backlog { conn, unsent })?,
                Next::Loaded { fetch, deliveries } => self.handle(Input::Loaded { fetch, deliveries })?,
                Next::ReadOn { link } if self.links[link].broker && !self.links[link].paused => {
                    self.read_on(link)?;
                }
                Next::ReadOn { .. } => {}
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, out: &mut Outbox) -> Result<(), Violation> {
        let mut touched: Vec<usize> = Vec::new();
        let mut closed: Vec<usize> = Vec::new();
        let mut resumed: Vec<usize> = Vec::new();
        for wire in &out.wire {
            match wire {
                Wire::Send { conn, frame } => {
                    if let Some(link) = self.by_conn.get(conn).copied() {
                        let bytes = [out.head(frame), &frame.payload].concat();
                        self.emitted(link, &bytes)?;
                        touched.push(link);
                    }
                }
                Wire::Fanout { frame, packet_id_at, targets } => {
                    for target in out.targets(targets) {
                        if let Some(link) = self.by_conn.get(&target.conn).copied() {
                            let mut bytes = out.head(frame).to_vec();
                            broker_engine::patch_packet_id(&mut bytes, *packet_id_at, target.packet_id);
                            bytes.extend_from_slice(&frame.payload);
                            self.emitted(link, &bytes)?;
                            touched.push(link);
                        }
                    }
                }
                Wire::Flow { conn, flow } => {
                    if let Some(link) = self.by_conn.get(conn).copied() {
                        self.links[link].paused = *flow == Flow::Pause;
                        self.checks.flow(self.now, link, *flow == Flow::Pause);
                        if *flow == Flow::Resume {
                            resumed.push(link);
                        } else {
                            self.checks.marks.hit("a client that is not read for a while");
                        }
                    }
                }
                Wire::Close { conn } => {
                    if let Some(link) = self.by_conn.get(conn).copied() {
                        self.digest.write(b"close");
                        self.digest.write_usize(link);
                        self.checks.closed(link);
                        self.trace.closed(self.now, self.links[link].client);
                        closed.push(link);
                        // What comes behind it in this outbox is for others.
                        self.by_conn.remove(conn);
                    }
                }
                _ => {}
            }
        }
        for call in std::mem::take(&mut out.calls) {
            self.ask(call.id, call.conn, &call.question);
        }
        for (seq, op) in std::mem::take(&mut out.stores) {
            self.keep(seq, op);
        }
        for link in closed {
            self.broker_closes(link);
        }
        touched.sort_unstable();
        touched.dedup();
        for link in touched {
            if self.links[link].broker {
                self.flush(link);
            }
        }
        for link in resumed {
            self.next.push_back(Next::ReadOn { link });
        }
        Ok(())
    }

    fn emitted(&mut self, link: usize, bytes: &[u8]) -> Result<(), Violation> {
        self.sent += 1;
        match self.options.mutation.packet.and_then(|change| change(self.sent, bytes)) {
            None => self.sends(link, bytes),
            Some(instead) => instead.iter().try_for_each(|bytes| self.sends(link, bytes)),
        }
    }

    fn sends(&mut self, link: usize, bytes: &[u8]) -> Result<(), Violation> {
        self.digest.write_u64(self.now);
        self.digest.write_usize(link);
        self.digest.write(bytes);
        self.checks.emitted(self.now, link, bytes, &mut self.trace)?;
        self.send_down(link, bytes);
        Ok(())
    }

    fn ask(&mut self, call: CallId, conn: ConnId, question: &Question) {
        let outside = &self.scenario.outside;
        if !self.healed && self.choices.answer.chance(outside.no_answer) {
            self.checks.marks.hit("a question that nobody answers");
            return;
        }
        let deny = !self.healed && self.choices.answer.chance(outside.deny);
        let answer = if deny { Answer::Deny(ReasonCode::NotAuthorized) } else { Answer::Allow };
        let answer = self.options.hook.map_or(answer, |hook| hook(question));
        let slowest = if self.healed { outside.answer_max.min(1000) } else { outside.answer_max };
        let at = self.now + self.choices.answer.between(0, slowest);
        self.schedule(at, Event::Outside(Done::Answer(call, conn, answer)));
    }

    fn keep(&mut self, seq: StoreSeq, op: StoreOp) {
        let now = self.time();
        if let Some(deliveries) = self.store.apply(now, op) {
            self.next.push_back(Next::Loaded { fetch: seq, deliveries });
        }
        let at = self.now + self.choices.store.between(0, self.scenario.outside.store_max);
        self.schedule(at, Event::Outside(Done::Stored(seq)));
    }

    pub(super) fn outside_done(&mut self, done: Done) -> Result<(), Violation> {
        match done {
            Done::Answer(call, conn, answer) => {
                if !self.by_conn.contains_key(&conn) {
                    self.checks.marks.hit("an answer after its connection ended");
                }
                self.handle(Input::Reply { call, answer })
            }
            Done::Stored(upto) => self.handle(Input::Stored { upto }),
        }
    }

    /// Sees to it that the engine is called at its next deadline, or a little late.
    pub(super) fn arm_tick(&mut self) {
        let Some(deadline) = self.engine.next_deadline() else { return };
        let mut at = deadline.at.as_micros().max(self.now);
        if at > self.now && !self.healed {
            let late = self.choices.timer.between(0, self.scenario.outside.late_max);
            at = at.saturating_add(late);
            if late > 0 {
                self.checks.marks.fault("T04");
            }
        }
        if self.tick.is_none_or(|armed| at < armed) {
            self.tick = Some(at);
            self.schedule(at, Event::Tick { armed: at });
        }
    }

    /// A deadline of the engine, which the host may miss, or call for twice.
    pub(super) fn ticks(&mut self) -> Result<(), Violation> {
        self.tick = None;
        let is_timer = self.engine.next_deadline().is_some_and(|next| next.reason == DeadlineReason::Timer);
        if is_timer && !self.healed {
            let outside = &self.scenario.outside;
            if self.choices.timer.chance(outside.tick_lost) {
                self.checks.marks.fault("T04");
                return Ok(());
            }
            if self.choices.timer.chance(outside.tick_twice) {
                self.checks.marks.fault("T04");
                self.handle(Input::Tick)?;
            }
        }
        self.handle(Input::Tick)
    }

    /// Takes the engine apart and puts it together again: nobody may notice.
    fn restore_sometimes(&mut self) -> Result<(), Violation> {
        if self.healed || !self.choices.restore.chance(self.scenario.outside.restore) {
            return Ok(());
        }
        self.checks.counts.look("INV-73");
        let [a, b] = self.options.hash_key;
        let snapshot = self.engine.snapshot();
        let restored = Engine::restore(&snapshot, HashKey([b, a ^ self.events]));
        self.engine = restored.map_err(|error| {
            Violation::new("INV-73", self.now, format!("a snapshot is not read back: {error:?}"))
        })?;
        self.checks.marks.hit("an engine from its snapshot");
        Ok(())
    }
}
