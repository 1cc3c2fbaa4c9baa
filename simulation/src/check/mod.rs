//! What must hold, whatever happens. Every statement has the name that the catalogue of invariants gives it, says so
//! when it fails, and counts how often it was looked at: what is never looked at shows nothing.
//!
//! * `wire` — each connection by itself: what goes in and out of the engine
//! * `deadlines` — what has to be done by a certain time
//! * `ceilings` — the configuration's limits
//! * `ledger` — messages and sessions: who has to get what, and who got it
//! * `questions` — what the engine asks, and which answers count
//! * `promises` — what is acknowledged only when the store has kept it
//! * `retained` — what is told of retained messages
//! * `recovery` — what the store gives back to another process
//! * `sample` — how closely each client is followed
//! * `marks` — things that a campaign must have seen at least once, and the faults that happened
//! * `sightings` — where those take a memory to see
//!
//! In worlds of up to 50 clients the reference broker in `oracle` looks as well, in larger ones at a sample of them.

mod ceilings;
mod deadlines;
mod ledger;
mod marks;
mod promises;
mod questions;
mod recovery;
mod retained;
mod sample;
mod sightings;
mod wire;

pub(crate) use deadlines::micros;
pub use marks::{FAULTS, MARKS, Marks, STATES};
pub(crate) use recovery::Returned;
pub(crate) use sample::Part;

use crate::oracle::{Oracle, Turn};
use crate::scenario::{Outside, Scenario};
use crate::trace::Trace;
use crate::world::Table;
use broker_engine::{
    CallId, Config, DeadlineReason, Durability, Engine, MemoryPressure, Note, StoreOp, StoreSeq, View,
};
use ledger::Ledger;
use promises::Promises;
use questions::Asked;
use recovery::Recovery;
use retained::Retained;
use sample::Sample;
use sightings::Sightings;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use wire::Wires;

/// Something that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which statement.
    pub invariant: &'static str,
    /// When, virtual microseconds.
    pub at: u64,
    /// What was seen.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, at: u64, detail: impl Into<String>) -> Self {
        Self { invariant, at, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.6} s: {}", self.invariant, crate::trace::seconds(self.at), self.detail)
    }
}

/// Every statement that is looked at here, and what it says.
pub const INVARIANTS: [(&str, &str); 59] = [
    ("INV-01", "QoS 1 and 2: who subscribed gets what was acknowledged, or a drop is counted for it"),
    ("INV-02", "no message is first sent twice to a session, unless its publisher sent it twice"),
    ("INV-03", "QoS 0: at most once for each subscription, at once or dropped with a reason"),
    ("INV-04", "every message that goes out is one that came in, unchanged, and matches a subscription"),
    ("INV-05", "no message goes out with a higher QoS than it came with, or than was granted"),
    ("INV-06", "RETAIN is as the subscription asks, No Local is judged for each subscription by itself"),
    ("INV-07", "every PUBLISH above QoS 0 gets its own kind of acknowledgement"),
    ("INV-08", "a QoS 2 message that comes again before PUBREL is acknowledged each time and delivered once"),
    ("INV-09", "only what is larger than the receiver's Maximum Packet Size is dropped as too large"),
    ("INV-10", "an expired message is not sent for the first time, and what is left of its life is told"),
    ("INV-11", "messages of one publisher, topic and QoS are first sent in their order"),
    (
        "INV-12",
        "what is sent again was sent on an earlier connection, under the same identifier; nothing else has DUP",
    ),
    ("INV-13", "acknowledgements leave in the order of what they acknowledge"),
    ("INV-14", "no identifier is in use twice"),
    ("INV-15", "no more in flight than the client's Receive Maximum"),
    ("INV-16", "who sends more than the broker's Receive Maximum hears 0x93, and nobody else does"),
    ("INV-17", "no packet is larger than the client takes"),
    ("INV-18", "topic aliases are defined before they are used, and stay within the client's maximum"),
    ("INV-20", "each client identifier has one session and at most one connection, the latest"),
    ("INV-21", "a refused CONNECT changes nothing"),
    ("INV-22", "Session Present says whether there was a session"),
    ("INV-23", "a session ends when its expiry interval has passed, not earlier and not later"),
    ("INV-24", "a session that is bound to its user goes to nobody else"),
    ("INV-25", "another process is what the one before was when it handed over what the store has kept last"),
    ("INV-26", "a will is sent exactly once if it is due, and never after DISCONNECT"),
    (
        "INV-27",
        "silence ends a connection after one and a half keep-alive periods, not earlier and not later",
    ),
    ("INV-28", "who sends no CONNECT in time is closed"),
    ("INV-30", "a topic's retained message is the last one that has a payload"),
    ("INV-31", "a new subscription gets the retained messages that Retain Handling says, with RETAIN 1"),
    ("INV-32", "each filter of SUBSCRIBE is answered, in order, and in force from then on"),
    ("INV-33", "a message goes to exactly those whose filters match, and its publisher hears if to nobody"),
    ("INV-34", "of each shared group exactly one member gets a message"),
    ("INV-35", "members of a shared group that stay connected take turns"),
    ("INV-40", "nothing goes out, and no will is kept or sent, that its client may not publish"),
    (
        "INV-41",
        "from the moment that what a client may read changes, nothing else leaves for it, new, waiting, sent again or retained",
    ),
    (
        "INV-42",
        "nobody is let in, no message that is asked about goes out, and no subscription ends, without a yes in time",
    ),
    ("INV-43", "no filter is granted that reaches beyond what its client may read"),
    ("INV-50", "what goes out are whole, valid packets of the connection's version"),
    ("INV-51", "CONNACK comes first and once, and nothing after DISCONNECT"),
    ("INV-53", "a breach of the protocol ends its connection, and nobody is accused of one without"),
    ("INV-62", "what is reserved for a connection follows what came, and not what is only announced"),
    (
        "INV-63",
        "no limit of the configuration is exceeded: CONNACK tells those that it can, each breach has its own answer",
    ),
    ("INV-66", "nothing is left when everybody has gone"),
    ("INV-73", "an engine from its snapshot goes on as if nothing had happened"),
    ("INV-80", "nothing is acknowledged before the store has kept what that promises"),
    (
        "INV-81",
        "everything that was acknowledged is there in another process, and nothing that was not handed over",
    ),
    ("INV-82", "what is damaged in the store is told of, and left out"),
    ("INV-83", "a process that ends while it begins changes nothing for the next one"),
    ("INV-84", "when the store works again, everything that waited for it is kept"),
    (
        "INV-85",
        "what is left of lives and delays follows the wall clock, and does not grow when that goes back",
    ),
    ("INV-90", "the engine's own accounts add up, and with what it tells of losses"),
    ("INV-92", "every loss is told, with its true reason"),
    ("INV-93", "a question that is open delays nobody but the client that it is about"),
    ("LIV-1", "once nothing goes wrong any more, queues run empty"),
    ("LIV-2", "every request is answered in time"),
    ("LIV-4", "a client that was not read for a while is read again"),
    ("LIV-5", "the engine comes to rest"),
    ("LIV-6", "a shutdown tells every client 0x8B, closes everything, and is not repeated"),
    ("LIV-7", "memory that was short is free again when nobody asks for any, and everybody may come"),
];

/// How often each statement was looked at, and the reference broker knew what to expect.
#[derive(Clone, Debug)]
pub struct Counts {
    /// By the number in its name; those about liveness are behind the others.
    looks: [u64; 2 * LIVENESS],
    /// Messages that were sent, lost or missing, of which the reference broker could say whether they should be.
    pub decided: u64,
    /// Those of which it could not.
    pub left_open: u64,
}

/// Where statements about liveness begin.
const LIVENESS: usize = 100;

impl Default for Counts {
    fn default() -> Self {
        Self { looks: [0; 2 * LIVENESS], decided: 0, left_open: 0 }
    }
}

const fn place(name: &str) -> usize {
    let bytes = name.as_bytes();
    let (mut number, mut at) = (0, 4);
    while at < bytes.len() {
        number = number * 10 + (bytes[at] - b'0') as usize;
        at += 1;
    }
    if bytes[0] == b'L' { number + LIVENESS } else { number }
}

impl Counts {
    /// Looks at one.
    #[inline]
    pub(crate) fn look(&mut self, name: &'static str) {
        self.looks[place(name)] += 1;
    }

    /// The reference broker knows what to expect, or leaves it open.
    pub(crate) fn decide(&mut self, is_decided: bool) {
        *(if is_decided { &mut self.decided } else { &mut self.left_open }) += 1;
    }

    /// By name.
    pub fn by_name(&self) -> BTreeMap<&'static str, u64> {
        INVARIANTS.iter().map(|(name, _)| (*name, self.looks[place(name)])).collect()
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.looks.iter_mut().zip(other.looks) {
            *mine += theirs;
        }
        self.decided += other.decided;
        self.left_open += other.left_open;
    }
}

/// What the checkers of connections write into.
struct Books<'a> {
    ledger: &'a mut Ledger,
    counts: &'a mut Counts,
    marks: &'a mut Marks,
    oracle: Option<&'a mut Oracle>,
    seen: &'a mut Sightings,
    promises: &'a Promises,
    /// The engine had work left behind its latest call.
    works: bool,
    /// When that was.
    called_at: u64,
}

/// Clients of a large world that are followed by everything, unless another number is asked for.
pub const SAMPLE: usize = 50;

/// Of so many calls that have to do with a sample, one looks at the deadlines of all of it.
const SELDOM: u64 = 16;

/// Bytes that may be reserved for a connection whatever came.
const ROOM: u64 = 4 << 10;

/// Work at one moment after which an engine is said never to come to rest.
const TIRELESS: u64 = 1_000_000;

/// Least work for each call with which everything that a packet does is done in its own call.
pub(crate) const AT_ONCE: u32 = 1000;

/// All checkers of a run.
#[derive(Clone, Debug)]
pub struct Checks {
    /// How often what was looked at.
    pub counts: Counts,
    /// What was seen.
    pub marks: Marks,
    config: Config,
    pub(crate) ledger: Ledger,
    /// The reference broker, where it can follow.
    oracle: Option<Oracle>,
    sample: Sample,
    /// The latest call had to do with somebody who is followed, and how many had.
    attends: bool,
    attended: u64,
    wires: Wires,
    promises: Promises,
    recovery: Recovery,
    retained: Retained,
    /// The latest operation of the latest call.
    handed_over: Option<StoreSeq>,
    /// Those that are open.
    questions: BTreeMap<CallId, Asked>,
    /// The broker was told to shut down.
    pub(crate) shutting_down: bool,
    seen: Sightings,
    /// Calls at one time with work left behind each.
    working: (u64, u32),
    /// There was some behind the latest call.
    works: bool,
    /// Losses that the engine has told of.
    told_losses: u64,
    /// Calls between two recounts: each one in small worlds, else some for each client, so that the time for it stays a
    /// small share.
    recount: u64,
}

impl Checks {
    /// `late`: the engine may be called later than it asks for.
    pub(crate) fn new(config: &Config, scenario: &Scenario, late: bool, size: usize) -> Self {
        let (outside, sample) = (&scenario.outside, Sample::of(scenario, size));
        let is_clear = sample.is_whole()
            || sample.count(Part::Chosen) > 0
                && sample::is_clear(scenario)
                && config.max_retained_messages >= Config::default().max_retained_messages;
        let asks = outside.ask_subscribe || outside.ask_publish;
        let follows = is_clear && !asks && config.durability == Durability::Memory;
        let oracle = follows.then(|| Oracle::new(config, late, sample.is_whole()));
        Self {
            counts: Counts::default(),
            marks: Marks::default(),
            config: config.clone(),
            ledger: Ledger::new(config, outside.store_max),
            oracle: oracle.filter(Oracle::is_decided),
            wires: Wires::new(config, outside.store_max),
            promises: Promises::new(config),
            recovery: Recovery::new(false),
            retained: Retained::default(),
            handed_over: None,
            questions: BTreeMap::new(),
            shutting_down: false,
            seen: Sightings::new(config),
            told_losses: 0,
            working: (0, 0),
            works: false,
            recount: if sample.is_whole() { 1 } else { 16 * scenario.clients.len() as u64 },
            sample,
            attends: true,
            attended: 0,
        }
    }

    /// The store outlives the processes of the broker. It may have to try again before something is kept, behind something
    /// else that waits.
    pub(crate) fn outlives(&mut self, outside: &Outside, retry: u64) {
        let slowest = outside.store_max.saturating_mul(2).saturating_add(retry);
        self.ledger.outlives(slowest);
        self.wires.slowest_store = slowest;
        self.promises.retries = true;
        self.recovery = Recovery::new(self.sample.is_whole());
    }

    /// Wants the oracle to know what the engine is asked?
    pub(crate) fn has_oracle(&self) -> bool {
        self.oracle.is_some()
    }

    pub(crate) fn opened(&mut self, now: u64, link: usize, client: usize) {
        let part = self.sample.part(client);
        self.wires.opened(now, link, client, part == Part::Chosen);
        if let Some(oracle) = self.oracle.as_mut().filter(|_| part != Part::Other) {
            oracle.opened(link, part);
        }
    }

    /// From now on a client sends what need not mean anything.
    pub(crate) fn hostile(&mut self, link: usize) {
        if let Some(wire) = self.wires.get_mut(link) {
            wire.hostile = true;
        }
    }

    /// Did a client send what need not mean anything?
    pub(crate) fn is_hostile(&mut self, link: usize) -> bool {
        self.wires.get_mut(link).is_some_and(|wire| wire.hostile)
    }

    /// The engine stops or begins to read a client.
    pub(crate) fn flow(&mut self, now: u64, link: usize, paused: bool) {
        if let Some(wire) = self.wires.get_mut(link) {
            (wire.paused, wire.last_flow) = (paused, now);
        }
        if self.is_followed(link)
            && let Some(oracle) = &mut self.oracle
        {
            oracle.paused(link);
        }
    }

    /// The world stands still: hooks and the store answer so much later.
    pub(crate) fn stands_still(&mut self, now: u64, pause: u64) {
        self.ledger.standstills.begin(now, pause);
    }

    /// Another process of the broker has begun, which knows nothing.
    pub(crate) fn begin_anew(&mut self) {
        self.ledger.begin_anew();
        self.promises.begin_anew();
        self.recovery.begin_anew();
        self.retained = Retained::default();
        self.questions.clear();
        self.told_losses = 0;
        if let Some(oracle) = &mut self.oracle {
            oracle.begin_anew();
        }
    }

    /// Something has happened of which only the engine knows the order.
    pub(crate) fn stop_following(&mut self) {
        self.oracle = None;
    }

    /// Another process goes on from what was kept when the world was so: what has come and gone since never was. Whoever was
    /// connected then is in the broker's eyes until it hears otherwise, and what waited for an answer has waited in vain.
    pub(crate) fn go_back(&mut self, then: Self, at: u64, now: u64) {
        let Self { counts, marks, ledger, seen, wires, .. } = std::mem::replace(self, then);
        (self.counts, self.marks, self.seen) = (counts, marks, seen);
        self.ledger.goes_back_from(ledger);
        self.wires.goes_back_from(&wires);
        self.stands_still(at, now - at);
    }

    /// The store has carried these out, at a time by its clock.
    pub(crate) fn kept(&mut self, clock: u64, ops: &[(StoreSeq, StoreOp)]) {
        self.recovery.kept(clock, ops);
    }

    /// The store's clock is so much behind the time that has passed, as the wall clock went back.
    pub(crate) fn slips(&mut self, now: u64, slip: u64) {
        self.ledger.slips(now, slip);
    }

    /// Another process has begun with what the store has.
    pub(crate) fn begins_from(&mut self, now: u64, from: &Returned<'_>) -> Result<(), Violation> {
        let wrong = |(name, detail)| Violation::new(name, now, detail);
        let upto = self.recovery.begins(now, from, &mut self.counts)?;
        from.engine.view().verify().map_err(|what| Violation::new("INV-90", now, what))?;
        let hurt = from.lost.iter().filter_map(recovery::client_of).map(str::to_owned).collect();
        self.retained.begins_from(from);
        self.ledger.begins_from(from, upto, &hurt, &mut self.counts).map_err(wrong)?;
        self.promises.begin_anew();
        self.questions.clear();
        self.told_losses = 0;
        Ok(())
    }

    fn wires_and_books(&mut self) -> (&mut Wires, Books<'_>) {
        let books = Books {
            ledger: &mut self.ledger,
            counts: &mut self.counts,
            marks: &mut self.marks,
            oracle: self.oracle.as_mut(),
            seen: &mut self.seen,
            promises: &self.promises,
            works: self.works,
            called_at: self.working.0,
        };
        (&mut self.wires, books)
    }

    /// What the engine wants to be kept; `is_told`: it was told what is.
    pub(crate) fn wants(&mut self, stores: &[(StoreSeq, StoreOp)], notes: &[Note], is_told: bool) {
        self.promises.wants(stores, notes, is_told);
        self.ledger.hands_over(stores);
        self.handed_over = stores.last().map(|(seq, _)| *seq);
    }

    /// Bytes that the engine is about to get.
    pub(crate) fn fed(&mut self, now: u64, link: usize, bytes: &[u8], trace: &mut Trace) {
        let (wires, mut books) = self.wires_and_books();
        wires.fed(now, link, bytes, &mut books, trace);
    }

    /// Bytes of a connection that the engine has closed.
    pub(crate) fn late_bytes(&mut self, link: usize, bytes: &[u8]) {
        if let Some(first) = bytes.first() {
            let state = self.wires.get_mut(link).map_or(STATES.len() - 1, |wire| wire.state());
            self.marks.packet(state, *first);
        }
    }

    /// A packet that the engine has sent.
    pub(crate) fn emitted(
        &mut self,
        now: u64,
        link: usize,
        bytes: &[u8],
        trace: &mut Trace,
    ) -> Result<(), Violation> {
        let is_followed = self.is_followed(link);
        let is_online = |checks: &mut Self| checks.wires.get_mut(link).is_some_and(|wire| wire.online);
        let was_online = is_online(self);
        let (wires, mut books) = self.wires_and_books();
        books.oracle = books.oracle.filter(|_| is_followed);
        wires.emitted(now, link, bytes, &mut books, trace)?;
        if !was_online && is_online(self) {
            self.begins_behind(link);
        }
        Ok(())
    }

    /// The engine has closed.
    pub(crate) fn closed(&mut self, now: u64, link: usize) -> Result<(), Violation> {
        if self.shutting_down
            && let Some(wire) = self.wires.get_mut(link)
        {
            self.counts.look("LIV-6");
            wire.told_of_shutdown().map_err(|detail| Violation::new("LIV-6", now, detail))?;
        }
        self.wires.closed(link, &mut self.ledger);
        Ok(())
    }

    /// The transport is gone.
    pub(crate) fn lost(&mut self, link: usize) {
        self.wires.closed(link, &mut self.ledger);
    }

    /// The engine was asked something, and has answered; nothing is carried out yet.
    pub(crate) fn after_call(
        &mut self,
        now: u64,
        turn: Option<&Turn>,
        notes: &[Note],
        links: &Table,
        engine: &Engine,
        calls: u64,
    ) -> Result<(), Violation> {
        let wrong = |(name, detail)| Violation::new(name, now, detail);
        self.seen.begin();
        for note in notes {
            if let Note::Disconnected { conn, reason, .. } = note
                && let Some(link) = links.get(*conn)
                && let Some(wire) = self.wires.get_mut(link)
            {
                wire.accused(*reason).map_err(wrong)?;
                wire.leaves(link, &mut self.ledger);
            }
            if let Note::Connected { conn, client_id, .. } = note
                && let Some(link) = links.get(*conn)
                && let Some(wire) = self.wires.get_mut(link)
            {
                self.counts.look("INV-42");
                if !wire.is_allowed {
                    return Err(Violation::new("INV-42", now, format!("{client_id} is let in unasked")));
                }
                let is_followed = self.sample.part(wire.client) != Part::Other;
                if let Some(oracle) = self.oracle.as_mut().filter(|_| is_followed) {
                    oracle.admitted(link, wire.permissions.as_ref());
                }
                wire.let_in(link, client_id, &mut self.ledger, &mut self.counts).map_err(wrong)?;
            }
            if let Note::WillSent { client_id, topic } = note
                && let Some(may) = self.ledger.may_send_will(client_id, topic)
            {
                self.counts.look("INV-40");
                if !may {
                    let detail = format!("the will of {client_id} goes to {topic}, where it may not publish");
                    return Err(Violation::new("INV-40", now, detail));
                }
            }
            self.told_losses += u64::from(matches!(note, Note::MessageDropped { .. }));
            self.ledger.noted(note, &mut self.marks);
            self.seen.noted(now, note, links, &mut self.marks);
        }
        self.recovery.after_call(now, self.handed_over, engine, &mut self.counts)?;
        self.retained.told(notes, engine.view(), &mut self.counts).map_err(wrong)?;
        if let (Some(oracle), Some(turn)) = (&mut self.oracle, turn) {
            oracle.turn(now, turn, notes, links, &mut self.counts).map_err(wrong)?;
            if oracle.is_decided() {
                oracle.agrees(now, notes, engine, &mut self.counts).map_err(wrong)?;
            } else {
                self.oracle = None;
            }
        }
        if calls.is_multiple_of(self.recount) {
            self.counts.look("INV-90");
            engine.view().verify().map_err(|what| Violation::new("INV-90", now, what))?;
            let (counted, told) = (engine.view().counters().dropped.iter().sum::<u64>(), self.told_losses);
            if counted != told {
                let detail = format!("{counted} losses are counted, {told} are told");
                return Err(Violation::new("INV-90", now, detail));
            }
            let is_hurt = |client_id: &str| self.ledger.is_hurt(client_id);
            ceilings::within(now, &self.config, engine, is_hurt, &mut self.counts)?;
        }
        // No livelock: time goes on, or there is no work left.
        let works = engine.next_deadline().is_some_and(|deadline| deadline.reason == DeadlineReason::Work);
        let calls = if works && self.working.0 == now { self.working.1 + 1 } else { 0 };
        (self.working, self.works) = ((now, calls), works);
        if works && self.attends && !self.sample.is_whole() {
            // What is done when is for the engine to say, as where there is little work for each call.
            self.oracle = None;
        }
        self.counts.look("LIV-5");
        if u64::from(calls) * u64::from(self.config.work_per_call) > TIRELESS {
            return Err(Violation::new("LIV-5", now, "the engine never comes to rest"));
        }
        Ok(())
    }

    /// So many bytes are reserved for what came on a connection.
    pub(crate) fn reserved(&mut self, now: u64, link: usize, reserved: usize) -> Result<(), Violation> {
        let Some(wire) = self.wires.get_mut(link) else { return Ok(()) };
        self.counts.look("INV-62");
        let came = wire.came;
        if reserved as u64 <= 2 * came + ROOM {
            return Ok(());
        }
        let detail = format!("{reserved} bytes are reserved for client {}, and {came} came", wire.client);
        Err(Violation::new("INV-62", now, detail))
    }

    /// Everything that the engine wanted is carried out.
    pub(crate) fn carried_out(&mut self, now: u64, engine: &Engine) -> Result<(), Violation> {
        if !self.attends {
            return Ok(());
        }
        if let Some(oracle) = &mut self.oracle {
            let result = oracle.carried_out(&mut self.counts);
            result.map_err(|(name, detail)| Violation::new(name, now, detail))?;
            oracle.came_to_rest(engine);
        }
        // With little work for each call, packets and timers may still wait.
        let is_due = self.sample.is_whole() || self.attended.is_multiple_of(SELDOM);
        if self.config.work_per_call < AT_ONCE || !is_due {
            return Ok(());
        }
        let works = engine.next_deadline().is_some_and(|deadline| deadline.reason == DeadlineReason::Work);
        self.wires.in_time(now, &self.config, &self.ledger.standstills, works, &mut self.counts)
    }

    /// All faults have ended long ago, but on the connections that are `spared`: without a keep-alive, and where nobody may
    /// take the session over, nothing ends one of which the broker does not know that it is gone.
    pub(crate) fn everything_arrived(
        &mut self,
        now: u64,
        engine: &Engine,
        spared: &BTreeSet<usize>,
    ) -> Result<(), Violation> {
        let short = engine.view().memory_pressure() != MemoryPressure::None;
        self.wires.all_answered(now, short, spared, &mut self.counts)?;
        self.ledger.all_delivered(now, engine, spared, &mut self.counts)?;
        let result =
            self.oracle.as_mut().map_or(Ok(()), |oracle| oracle.all_given(now, spared, &mut self.counts));
        result.map_err(|(name, detail)| Violation::new(name, now, detail))
    }

    /// Everybody has gone for good.
    pub(crate) fn nothing_is_left(&mut self, now: u64, view: View<'_>) -> Result<(), Violation> {
        self.counts.look("INV-66");
        let left = [
            ("transports", view.transports()),
            ("sessions", view.sessions()),
            ("subscriptions", view.subscriptions()),
            ("retained messages", view.retained()),
            ("messages", view.messages()),
            ("timers", view.timers()),
            ("bytes of input", view.input_bytes()),
        ];
        if let Some((what, count)) = left.iter().find(|(_, count)| *count > 0) {
            return Err(Violation::new("INV-66", now, format!("{count} {what} are left")));
        }
        let Some(high) = self.config.memory_high else { return Ok(()) };
        self.counts.look("LIV-7");
        let used = view.memory_used();
        if used >= high || view.memory_pressure() != MemoryPressure::None {
            let detail = format!("{used} bytes are in use when everybody has gone, {high} are too many");
            return Err(Violation::new("LIV-7", now, detail));
        }
        Ok(())
    }

    /// A newcomer has had time to come in, and nobody else is there.
    pub(crate) fn newcomer(&mut self, now: u64, link: usize) -> Result<(), Violation> {
        self.counts.look("LIV-7");
        match self.wires.get_mut(link) {
            Some(wire) if wire.is_online() => Ok(()),
            _ => Err(Violation::new("LIV-7", now, "nobody is let in, though memory is free")),
        }
    }
}
