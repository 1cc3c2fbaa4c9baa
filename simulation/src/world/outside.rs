//! What the host does for the engine: carries the outbox out, answers questions, keeps what is to be kept, and calls
//! again in time.

use super::client::application_message;
use super::{Broker, Event, Host, World};
use crate::check::Violation;
use crate::oracle::Turn;
use crate::scenario::{Message, TOPICS};
use broker_engine::{
    Answer, ApplicationMessage, Call, CallId, Command, ConnId, DeadlineReason, Engine, Flow, HashKey, Input,
    MemoryPressure, Note, Outbox, Question, StoreOp, StoreSeq, StoredDelivery, Time, Wire,
};
use mqtt_proto::ReasonCode;
use std::time::Duration;

/// Microseconds from which on an answer is late.
const SLOW: u64 = 1_000_000;

/// Of so many events, rates of what is rare are told.
pub(super) const RARELY: u64 = 100_000;

/// Something to tell the engine once it has been heard out.
#[derive(Debug)]
pub(super) enum Next {
    /// What a socket has not taken.
    Backlog { conn: ConnId, unsent: u32 },
    /// The store has not kept this operation, nor what came with it.
    StoreFailed(StoreSeq),
    /// The operator ends a client's connection.
    Kick { client_id: String },
    /// Who answers does something for a client: one of the scenario's deeds.
    Deed { client: usize, deed: usize },
    /// A page of a queue.
    Loaded { fetch: StoreSeq, deliveries: Vec<StoredDelivery> },
    /// What came while nobody read.
    ReadOn { link: usize },
}

/// What the engine wants of the host, beside what it has sent.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) calls: Vec<Call>,
    pub(super) stores: Vec<(StoreSeq, StoreOp)>,
    /// Connections that are to be closed, written, read on.
    pub(super) closed: Vec<usize>,
    pub(super) touched: Vec<usize>,
    pub(super) resumed: Vec<usize>,
}

/// Something that the outside has finished.
#[derive(Debug)]
pub(super) enum Done {
    /// A question about a connection is answered.
    Answer(CallId, ConnId, Answer),
    /// Operations of the store up to this one.
    Stored(StoreSeq),
    /// The batch on its way to the store that outlives the process.
    Committed,
    /// Sockets take something again.
    Unblocked,
}

impl World<'_> {
    /// The one way into the engine; then everything that it wants is carried out.
    pub(super) fn handle(&mut self, input: Input<'_>) -> Result<(), Violation> {
        match self.options.host {
            Host::Played => {
                self.restore_sometimes()?;
                let mut wanted = Wanted::default();
                self.tell(input, &mut wanted)?;
                self.respond(wanted)?;
            }
            Host::Prompt => self.in_one_turn(input)?,
            Host::Driver | Host::Transports => self.drive(input),
        }
        self.arm_tick();
        Ok(())
    }

    /// Calls the engine, and sends what it says.
    pub(super) fn tell(&mut self, input: Input<'_>, wanted: &mut Wanted) -> Result<(), Violation> {
        self.events += 1;
        self.trace.input(self.events, self.now, &input);
        let turn = self.checks.has_oracle().then(|| self.turn(&input));
        let about = match &input {
            Input::Received { conn, .. } | Input::Closed { conn, .. } => self.by_conn.get(*conn),
            Input::Reply { call, .. } => self.checks.open_about(*call),
            _ => None,
        };
        let is_told = matches!(input, Input::Stored { .. } | Input::StoreFailed { .. });
        self.checks.told(self.now, &input);
        let from = match &input {
            Input::Received { conn, .. } => Some(*conn),
            _ => None,
        };
        let mut out = std::mem::take(&mut self.out);
        self.call(self.options.mutation.input(input), &mut out);
        if let Some(change) = self.options.mutation.notes {
            change(&mut out.notes);
        }
        for note in &out.notes {
            self.trace.note(self.now, note);
            self.noted(note);
        }
        if let Some(change) = self.options.mutation.stores {
            change(&mut out.stores);
        }
        let Self { checks, broker, by_conn, .. } = self;
        let attends = checks.attend(about, &out, by_conn);
        let turn = turn.filter(|_| attends);
        checks.wants(&out.stores, &out.notes, is_told);
        if let Broker::Engine(engine) = broker {
            checks.after_call(self.now, turn.as_ref(), &out.notes, by_conn, engine, self.events)?;
            if let Some((link, conn)) = from.and_then(|conn| Some((by_conn.get(conn)?, conn))) {
                checks.reserved(self.now, link, engine.view().reserved(conn))?;
            }
        }
        let result = self.carry_out(&out, wanted);
        wanted.calls.append(&mut out.calls);
        wanted.stores.append(&mut out.stores);
        out.clear();
        self.out = out;
        result
    }

    /// Who has no identifier has the session that the broker made for it, and not that of a stranger who came from there.
    fn noted(&mut self, note: &Note) {
        if let Note::Connected { conn, client_id, .. } = note
            && let Some(link) = self.by_conn.get(*conn)
            && let client = self.links[link].client
            && self.spec(client).id.is_empty()
            && self.players[client].link == Some(link)
        {
            self.players[client].assigned = Some(client_id.clone());
        }
    }

    /// What the engine wants is done, or on its way.
    fn respond(&mut self, mut wanted: Wanted) -> Result<(), Violation> {
        for call in std::mem::take(&mut wanted.calls) {
            self.ask(&call);
        }
        self.keep(std::mem::take(&mut wanted.stores));
        self.write(wanted);
        self.carried_out()
    }

    /// Everything that the engine wanted in a call is carried out.
    pub(super) fn carried_out(&mut self) -> Result<(), Violation> {
        let Broker::Engine(engine) = &self.broker else { return Ok(()) };
        self.checks.carried_out(self.now, engine)?;
        if engine.view().memory_pressure() != MemoryPressure::None {
            self.checks.marks.fault("P03");
        }
        if let Some(statement) = self.options.statement {
            statement(engine.view()).map_err(|detail| Violation::new("OWN", self.now, detail))?;
        }
        Ok(())
    }

    /// One input, in one call or in several that must come to the same.
    fn call(&mut self, input: Input<'_>, out: &mut Outbox) {
        let now = self.time();
        let Broker::Engine(engine) = &mut self.broker else { return };
        let between = self.called_at + (self.now - self.called_at) / 2;
        // What is due by then would be done in time instead of late, and so is no call too many.
        let is_due = engine.next_deadline().is_some_and(|deadline| deadline.at.as_micros() <= between);
        if self.options.restless && !is_due {
            engine.handle(Time::from_micros(between), Input::Tick, out);
            // Durations of what is to be kept count from then, and it is handed over now.
            let age = Duration::from_micros(self.now - between);
            out.stores.iter_mut().for_each(|(_, op)| *op = op.clone().aged(age));
        }
        self.called_at = self.now;
        match input {
            Input::Received { conn, data } if self.options.piece > 0 => {
                for data in data.chunks(self.options.piece) {
                    engine.handle(now, Input::Received { conn, data }, out);
                }
            }
            input => engine.handle(now, input, out),
        }
    }

    /// An input, as the oracle sees it.
    fn turn(&self, input: &Input<'_>) -> Turn {
        let followed = |conn| self.by_conn.get(conn).filter(|link: &usize| self.checks.is_followed(*link));
        match input {
            Input::Received { conn, data } => {
                followed(*conn).map_or(Turn::Other, |link| Turn::Bytes(link, data.to_vec()))
            }
            Input::Closed { conn, .. } => followed(*conn).map_or(Turn::Other, Turn::Gone),
            Input::Reply { call, answer } => {
                let link = self.checks.open_about(*call).filter(|link| self.checks.is_followed(*link));
                link.map_or(Turn::Other, |link| Turn::Reply(link, answer.clone()))
            }
            Input::Command(Command::Disconnect { client_id, end_session, .. }) => {
                Turn::Kick { client_id: client_id.clone(), end_session: *end_session }
            }
            Input::Command(Command::SetPermissions { client_id, permissions }) => {
                Turn::Permit { client_id: client_id.clone(), permissions: permissions.clone() }
            }
            Input::Command(Command::Subscribe { client_id, filter, options, .. }) => {
                Turn::Subscribe { client_id: client_id.clone(), filter: filter.clone(), options: *options }
            }
            Input::Command(Command::Unsubscribe { client_id, filter }) => {
                Turn::Unsubscribe { client_id: client_id.clone(), filter: filter.clone() }
            }
            Input::Command(Command::Publish(message)) => Turn::Announce(message.clone()),
            _ => Turn::Other,
        }
    }

    /// Tells the engine what came of its latest outputs.
    pub(super) fn settle(&mut self) -> Result<(), Violation> {
        if self.broker.has_dirty() {
            self.write_driven();
            self.arm_tick();
        }
        while let Some(next) = self.next.pop_front() {
            match next {
                Next::Backlog { conn, unsent } => self.handle(Input::Backlog { conn, unsent })?,
                Next::Loaded { fetch, deliveries } => self.handle(Input::Loaded { fetch, deliveries })?,
                Next::StoreFailed(seq) => self.handle(Input::StoreFailed { seq })?,
                Next::Kick { client_id } => {
                    let (reason, end_session) = (ReasonCode::AdministrativeAction, false);
                    self.handle(Input::Command(Command::Disconnect { client_id, reason, end_session }))?;
                }
                Next::Deed { client, deed } => {
                    let scenario = self.scenario;
                    self.operate(client, &scenario.outside.deeds[deed])?;
                }
                Next::ReadOn { link } if self.links[link].broker && !self.links[link].paused => {
                    self.read_on(link)?;
                }
                Next::ReadOn { .. } => {}
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, out: &Outbox, wanted: &mut Wanted) -> Result<(), Violation> {
        // A message may be asked about and its connection end in one call.
        let (about_messages, others): (Vec<_>, Vec<_>) =
            out.calls.iter().partition(|call| matches!(call.question, Question::Publish { .. }));
        self.asked(&about_messages);
        for wire in &out.wire {
            match wire {
                Wire::Send { conn, frame } => {
                    if let Some(link) = self.by_conn.get(*conn) {
                        let bytes = [out.head(frame), &frame.payload].concat();
                        self.emitted(link, &bytes)?;
                        wanted.touched.push(link);
                    }
                }
                Wire::Fanout { frame, packet_id_at, targets } => {
                    for target in out.targets(targets) {
                        if let Some(link) = self.by_conn.get(target.conn) {
                            let mut bytes = out.head(frame).to_vec();
                            broker_engine::patch_packet_id(&mut bytes, *packet_id_at, target.packet_id);
                            bytes.extend_from_slice(&frame.payload);
                            self.emitted(link, &bytes)?;
                            wanted.touched.push(link);
                        }
                    }
                }
                Wire::Flow { flow: Flow::Resume, .. } if self.options.mutation.deaf => {}
                Wire::Flow { conn, flow } => {
                    if let Some(link) = self.by_conn.get(*conn) {
                        self.links[link].paused = *flow == Flow::Pause;
                        self.checks.flow(self.now, link, *flow == Flow::Pause);
                        if *flow == Flow::Resume {
                            wanted.resumed.push(link);
                        } else {
                            self.checks.marks.hit("a client that is not read for a while");
                        }
                    }
                }
                Wire::Close { conn } => {
                    if let Some(link) = self.by_conn.get(*conn) {
                        if self.counts(link) {
                            self.digest(link, b"close");
                            self.hears(link, "the end");
                        }
                        self.checks.closed(self.now, link)?;
                        self.trace.closed(self.now, self.links[link].client);
                        wanted.closed.push(link);
                        // What comes behind it in this outbox is for others.
                        self.by_conn.remove(*conn);
                    }
                }
                _ => {}
            }
        }
        self.asked(&others);
        Ok(())
    }

    fn asked(&mut self, calls: &[&Call]) {
        for call in calls {
            if let Some(link) = self.by_conn.get(call.conn) {
                self.checks.asked(self.now, link, call);
            }
        }
    }

    /// Gives sockets what there is for them.
    pub(super) fn write(&mut self, wanted: Wanted) {
        let Wanted { closed, mut touched, resumed, .. } = wanted;
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
    }

    fn emitted(&mut self, link: usize, bytes: &[u8]) -> Result<(), Violation> {
        self.sent += 1;
        match self.options.mutation.packet.and_then(|change| change(self.sent, bytes)) {
            None => self.sends(link, bytes),
            Some(instead) => instead.iter().try_for_each(|bytes| self.sends(link, bytes)),
        }
    }

    fn sends(&mut self, link: usize, bytes: &[u8]) -> Result<(), Violation> {
        if self.counts(link) {
            self.digest(link, bytes);
            if self.options.reader.is_some() {
                self.hears(link, &format!("{bytes:02x?}"));
            }
        }
        self.checks.emitted(self.now, link, bytes, &mut self.trace)?;
        self.send_down(link, bytes);
        Ok(())
    }

    fn ask(&mut self, call: &Call) {
        let outside = &self.scenario.outside;
        let slowest = if self.healed { outside.answer_max.min(1000) } else { outside.answer_max };
        if self.healed {
            let answer = self.agreeable.agrees(&call.question);
            return self.answer((call.id, call.conn), answer, slowest);
        }
        if self.choices.answer.chance(outside.interrupt) {
            self.checks.marks.fault("H05");
            self.does_something_else(call);
        }
        if self.choices.answer.chance(outside.stray_answer) {
            self.checks.marks.fault("H02");
            self.answer((asked_by_nobody(call.id), call.conn), Answer::Allow, slowest);
        }
        if self.choices.answer.chance(outside.no_answer) {
            self.checks.marks.hit("a question that nobody answers");
            self.checks.marks.fault("H02");
            return;
        }
        let answer = self.opinion(&call.question);
        if self.choices.answer.chance(outside.answer_again) {
            self.checks.marks.fault("H02");
            self.answer((call.id, call.conn), answer.clone(), slowest);
        }
        self.answer((call.id, call.conn), answer, slowest);
    }

    /// Who is asked does something else first.
    fn does_something_else(&mut self, call: &Call) {
        let deeds = self.scenario.outside.deeds.len() as u64;
        let client = self.by_conn.get(call.conn).map(|link| self.links[link].client);
        let next = match (client, &call.question) {
            (Some(client), _) if deeds > 0 => {
                let deed = usize::try_from(self.choices.deed.below(deeds)).unwrap_or(0);
                Next::Deed { client, deed }
            }
            (_, Question::Authenticate(who)) => Next::Kick { client_id: who.client_id.clone() },
            (
                _,
                Question::Subscribe { client_id, .. }
                | Question::Publish { client_id, .. }
                | Question::AuthenticateStep { client_id, again: true, .. },
            ) => Next::Kick { client_id: client_id.clone() },
            _ => Next::Kick { client_id: String::new() },
        };
        self.next.push_back(next);
    }

    /// What is answered.
    fn opinion(&mut self, question: &Question) -> Answer {
        if let Some(hook) = self.options.hook {
            return hook(question);
        }
        let outside = &self.scenario.outside;
        if self.choices.answer.chance(outside.deny) {
            return Answer::Deny(ReasonCode::NotAuthorized);
        }
        match question {
            Question::Subscribe { filters, .. } if self.choices.answer.chance(outside.change) => {
                self.checks.marks.fault("H03");
                let codes = [ReasonCode::Success, ReasonCode::GrantedQoS1, ReasonCode::NotAuthorized];
                // Sometimes fewer than there are filters.
                let count = self.choices.answer.between(0, filters.len() as u64);
                Answer::Filters((0..count).map(|_| *self.choices.answer.pick(&codes)).collect())
            }
            Question::Unsubscribe { filters, .. } if self.choices.answer.chance(outside.change) => {
                self.checks.marks.fault("H03");
                let codes = [ReasonCode::Success, ReasonCode::NotAuthorized];
                let count = self.choices.answer.between(0, filters.len() as u64);
                Answer::Filters((0..count).map(|_| *self.choices.answer.pick(&codes)).collect())
            }
            Question::Publish { client_id, message } if self.choices.answer.chance(outside.change) => {
                self.checks.marks.fault("H03");
                self.instead(client_id, message)
            }
            question => self.agreeable.agrees(question),
        }
    }

    /// Another message for one that is asked about, none, or one that no client may publish.
    fn instead(&mut self, client_id: &str, of: &ApplicationMessage) -> Answer {
        let stream = &mut self.choices.answer;
        let topic = match stream.below(6) {
            0 | 1 => return Answer::Discard,
            2 => *stream.pick(&["$SYS/a", "a/+", ""]),
            _ => *stream.pick(&TOPICS),
        };
        let message = Message {
            topic: topic.to_owned(),
            qos: u8::try_from(stream.below(3)).unwrap_or(0),
            retain: TOPICS.contains(&topic) && stream.chance(200),
            size: 8,
            expiry: of.message_expiry_interval.filter(|_| stream.chance(500)),
            properties: None,
        };
        let number = self.checks.ledger.message(client_id, &message);
        Answer::Replace(Box::new(application_message(number, &message)))
    }

    fn answer(&mut self, (call, conn): (CallId, ConnId), answer: Answer, slowest: u64) {
        let pause = if slowest == 0 { 0 } else { self.choices.answer.by_magnitude(1, slowest) };
        if pause > SLOW {
            self.checks.marks.fault("H01");
        }
        self.schedule(
            self.now + pause,
            Event::Outside(self.life, Box::new(Done::Answer(call, conn, answer))),
        );
    }

    /// Keeps what is to be kept, in one batch that is kept or not.
    fn keep(&mut self, batch: Vec<(StoreSeq, StoreOp)>) {
        if self.is_lasting() {
            return self.submit(batch);
        }
        let (Some((first, _)), Some((last, _))) = (batch.first(), batch.last()) else { return };
        let (first, last) = (*first, *last);
        if !self.healed && self.choices.store.chance(self.scenario.outside.store_fail) {
            self.checks.marks.fault("S02");
            self.next.push_back(Next::StoreFailed(first));
            return;
        }
        let now = self.time();
        for (fetch, op) in batch {
            if let Some(deliveries) = self.store.apply(now, op) {
                self.next.push_back(Next::Loaded { fetch, deliveries });
            }
        }
        self.stored = Some(last);
        let slowest = self.scenario.outside.store_max;
        let pause = self.choices.store.between(0, if self.healed { slowest.min(1000) } else { slowest });
        if pause > SLOW {
            self.checks.marks.fault("S01");
        }
        self.schedule(self.now + pause, Event::Outside(self.life, Box::new(Done::Stored(last))));
    }

    pub(super) fn outside_done(&mut self, life: u32, done: Done) -> Result<(), Violation> {
        match done {
            Done::Unblocked => {
                for link in 0..self.links.len() {
                    if self.links[link].broker {
                        self.flush(link);
                    }
                }
                Ok(())
            }
            // For a process that is no more.
            _ if life != self.life => Ok(()),
            Done::Answer(call, conn, answer) => {
                if self.by_conn.get(conn).is_none() {
                    self.checks.marks.hit("an answer after its connection ended");
                }
                self.handle(Input::Reply { call, answer })
            }
            Done::Stored(upto) => self.handle(Input::Stored { upto }),
            Done::Committed => self.committed(),
        }
    }

    /// For a while no socket takes anything, whoever reads.
    pub(super) fn block_sometimes(&mut self) {
        let outside = &self.scenario.outside;
        if self.healed || self.choices.blocked.below(RARELY) >= u64::from(outside.blocked) {
            return;
        }
        self.checks.marks.fault("P04");
        self.blocked_until = self.now + self.choices.blocked.between(1, outside.blocked_max);
        self.schedule(self.blocked_until, Event::Outside(self.life, Box::new(Done::Unblocked)));
    }

    /// Sees to it that the engine is called at its next deadline, or a little late.
    pub(super) fn arm_tick(&mut self) {
        let Some(deadline) = self.broker.next_deadline() else { return };
        let mut at = deadline.at.as_micros().max(self.now);
        if at > self.now && !self.healed {
            at = at.saturating_add(self.choices.timer.between(0, self.scenario.outside.late_max));
        }
        if self.tick.is_none_or(|armed| at < armed) {
            self.tick = Some(at);
            self.schedule(at, Event::Tick { armed: at });
        }
    }

    /// A deadline of the engine, which the host may miss, or call for twice.
    pub(super) fn ticks(&mut self) -> Result<(), Violation> {
        let armed = self.tick.take();
        let timer = self.broker.next_deadline().filter(|next| next.reason == DeadlineReason::Timer);
        if let Some(timer) = timer.filter(|_| !self.healed) {
            let outside = &self.scenario.outside;
            if self.choices.timer.chance(outside.tick_lost) {
                self.checks.marks.fault("T04");
                return Ok(());
            }
            // Nothing came before it that would have fired the timer.
            if armed.is_some_and(|armed| timer.at.as_micros() < armed) {
                self.checks.marks.fault("T04");
            }
            if self.choices.timer.chance(outside.tick_twice) {
                self.checks.marks.fault("T04");
                self.handle(Input::Tick)?;
            }
        }
        self.handle(Input::Tick)
    }

    fn restore_sometimes(&mut self) -> Result<(), Violation> {
        let due = !self.healed && self.choices.restore.chance(self.scenario.outside.restore);
        // Whoever goes on from a snapshot is open again.
        if !due || self.checks.shutting_down {
            return Ok(());
        }
        self.restore()
    }

    /// Takes the engine apart and puts it together again: nobody may notice.
    pub(super) fn restore(&mut self) -> Result<(), Violation> {
        let Broker::Engine(engine) = &self.broker else { return Ok(()) };
        let snapshot = engine.snapshot();
        self.restore_from(&snapshot)
    }

    pub(super) fn restore_from(&mut self, snapshot: &[u8]) -> Result<(), Violation> {
        self.checks.counts.look("INV-73");
        let [a, b] = self.options.hash_key;
        let mut snapshot = snapshot.to_vec();
        if let Some(damage) = self.options.mutation.snapshot {
            damage(&mut snapshot);
        }
        let restored = Engine::restore(&snapshot, HashKey([b, a ^ self.events]));
        let Broker::Engine(engine) = &mut self.broker else { return Ok(()) };
        **engine = restored.map_err(|error| {
            Violation::new("INV-73", self.now, format!("a snapshot is not read back: {error:?}"))
        })?;
        self.checks.marks.hit("an engine from its snapshot");
        Ok(())
    }
}

/// A question of the same connection that was never asked.
fn asked_by_nobody(call: CallId) -> CallId {
    let mut text = serde_json::to_value(call).unwrap_or_default();
    text["number"] = u64::MAX.into();
    serde_json::from_value(text).unwrap_or(call)
}
