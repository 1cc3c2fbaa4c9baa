//! Plays a scenario: one queue of events in virtual time, and the engine in the middle.
//!
//! * `agenda` — what is due, in order of time
//! * `network` — links between clients and broker: pieces, breaks, sockets that are full
//! * `door` — what is in front of MQTT on some connections
//! * `weather` — what the network makes of them: delays, bandwidth, partitions
//! * `client` — what clients do, and `answers`, what they answer
//! * `offers` — what they make of what the broker offers
//! * `misfortune` — what befalls them
//! * `ending` — how they lose connections, how the world heals, how everybody leaves
//! * `strangers` — connections of nobody: hostile bytes, retries that were given up
//! * [`Mutation`] — a world in which something is wrong on purpose
//! * `orders` — what happens at one time in an order that is chosen
//! * `outside` — what the host does: carries the outbox out, answers questions, keeps, wakes
//! * [`Host`] — who does that: the world itself, or the driver of `adapters/host`
//! * `process` — how the broker's process ends, and another one begins
//! * `keeper` — a store that outlives processes, and `restart`, how they begin from it

mod agenda;
mod answers;
mod client;
mod door;
mod ending;
mod host;
mod keeper;
mod misfortune;
mod mutation;
mod network;
mod offers;
mod orders;
mod outside;
mod process;
mod restart;
mod strangers;
mod weather;

pub use host::Host;
pub use mutation::{BytesChange, Mutation, PacketChange, StoresChange, TableChange, canary};
pub use orders::{Mishaps, Step, play_in_order};
pub use restart::Crash;

use crate::check::{Checks, SAMPLE, Violation};
use crate::figures::Course;
use crate::random::Stream;
use crate::scenario::{Scenario, What};
use crate::trace::Trace;
use agenda::Agenda;
use broker_engine::{Answer, Config, ConnIds, Interest, MemoryStore, Outbox, Question, StoreSeq, Time, View};
pub(crate) use client::payload_of;
use client::{Local, Player, Wake};
use host::{Agreeable, Broker};
use keeper::Keeper;
use network::Link;
pub(crate) use network::Table;
use outside::Next;
use process::Kept;
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use weather::{Stuck, Weather};

/// Time for everything that is owed to arrive once the world has healed.
const LIVENESS: u64 = 400 * 1_000_000;

/// What the wall clock shows at first, Unix microseconds: in the year 2027.
const WALL_CLOCK: u64 = 1_800_000_000_000_000;

/// Says what does not hold, seeing what the broker keeps.
pub type Statement = fn(View<'_>) -> Result<(), String>;

/// What one more client does, of whom nobody else may notice anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// It subscribes to everything and reads it.
    Prompt,
    /// It subscribes to everything and reads nothing.
    Stalled,
}

/// What does not belong to the scenario. Only who calls the engine, the reader, and the last four may change what happens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Protects the engine's tables.
    pub hash_key: [u64; 2],
    /// Write down what happens.
    pub trace: bool,
    /// Bytes that come at once are given to the engine in pieces of so many; 0 for as they come.
    pub piece: usize,
    /// Call the engine more often than it asks for.
    pub restless: bool,
    /// Who calls the engine.
    pub host: Host,
    /// The scenario's last client is this one, and what is sent to it is not part of the digest.
    pub reader: Option<Reader>,
    /// Clients of a large world that are followed by everything, if not [`SAMPLE`].
    pub sample: Option<usize>,
    /// Stop before this input, counted from 1.
    pub stop_at: Option<u64>,
    /// Behind a call of the engine its process ends, and no other time, where the store outlives it.
    pub crash: Option<Crash>,
    /// Something that is wrong on purpose, which changes what happens.
    pub mutation: Mutation,
    /// Answers the engine's questions instead of the scenario, which still says when.
    pub hook: Option<fn(&Question) -> Answer>,
    /// One more statement, looked at after every call: what does not hold.
    pub statement: Option<Statement>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// What did not hold.
    pub violation: Option<Violation>,
    /// Calls of the engine.
    pub events: u64,
    /// Calls' operations that were on their way at the crash that was asked for.
    pub underway: Option<usize>,
    /// Virtual microseconds.
    pub time: u64,
    /// Over everything that the engine sent, when, and to whom; where the host is not played, over what clients read.
    pub digest: u64,
    /// What was checked how often, and what was seen.
    pub checks: Checks,
    /// How it went over time.
    pub course: Course,
    /// What happened, if asked for.
    pub trace: Trace,
    /// What clients read, or are sent, if asked for, where the whole trace is not what is compared.
    pub(crate) seen: Trace,
}

/// Something that is due.
#[derive(Debug)]
enum Event {
    /// The scenario's operation of this number.
    Operation(usize),
    /// Bytes arrive at the broker.
    ToBroker { link: usize, bytes: Vec<u8> },
    /// Bytes arrive at the client.
    ToClient { link: usize, bytes: Vec<u8> },
    /// The broker hears that a link is gone.
    BrokerLost { link: usize, by_peer: bool },
    /// The client sees that a link is gone.
    ClientLost { link: usize },
    /// A client does what it had in mind.
    Wake { client: usize, wake: Wake },
    /// A deadline of the engine, unless another was armed since.
    Tick { armed: u64 },
    /// An answer of the outside to the process of this number.
    Outside(u32, Box<outside::Done>),
    /// Nothing goes wrong any more.
    Heal,
}

/// Random choices, each purpose with a stream of its own.
struct Choices {
    delay: Stream,
    split: Stream,
    clog: Stream,
    cut: Stream,
    abrupt: Stream,
    bytewise: Stream,
    roaming: Stream,
    client: Stream,
    answer: Stream,
    deed: Stream,
    store: Stream,
    timer: Stream,
    restore: Stream,
    process: Stream,
    restart: Stream,
    blocked: Stream,
    full: Stream,
    damage: Stream,
}

impl Choices {
    fn new(seed: u64) -> Self {
        let stream = |purpose| Stream::new(seed, purpose);
        Self {
            delay: stream("world: delay"),
            split: stream("world: split"),
            clog: stream("world: clog"),
            cut: stream("world: cut"),
            abrupt: stream("world: abrupt"),
            bytewise: stream("world: bytewise"),
            roaming: stream("world: roaming"),
            client: stream("world: client"),
            answer: stream("world: answer"),
            deed: stream("world: deed"),
            store: stream("world: store"),
            timer: stream("world: timer"),
            restore: stream("world: restore"),
            process: stream("world: process"),
            restart: stream("world: restart"),
            blocked: stream("world: blocked"),
            full: stream("world: full"),
            damage: stream("world: damage"),
        }
    }
}

/// May the engine be called later than it asked for?
pub(crate) fn is_late(scenario: &Scenario) -> bool {
    let outside = &scenario.outside;
    let pauses = scenario.operations.iter().any(|operation| matches!(operation.what, What::Pause(_)));
    outside.late_max > 0 || outside.tick_lost > 0 || outside.snapshot_every > 0 || pauses
}

/// A world at some moment.
pub(crate) struct World<'s> {
    scenario: &'s Scenario,
    options: Options,
    broker: Broker,
    agreeable: Agreeable,
    out: Outbox,
    ids: ConnIds,
    now: u64,
    agenda: Agenda<'s>,
    /// When the engine was called last.
    called_at: u64,
    /// When the engine's next tick is on the agenda.
    tick: Option<u64>,
    links: Vec<Link>,
    /// What arrived at links that the broker does not read.
    held_up: BTreeMap<usize, Vec<u8>>,
    /// What waits behind partitions, by link.
    stuck: BTreeMap<usize, Stuck>,
    by_conn: Table,
    players: Vec<Player>,
    locals: Vec<Local>,
    choices: Choices,
    weather: Vec<Weather>,
    /// Clients that were cut at one moment.
    storm: (u64, usize),
    /// Unix microseconds when the broker's clock showed 0.
    wall_clock: u64,
    /// The most that it ever was.
    ahead: u64,
    /// It has never jumped.
    is_steady: bool,
    /// A store for one process, and the latest operation that it has.
    store: MemoryStore,
    stored: Option<StoreSeq>,
    /// One that outlives processes.
    keeper: Keeper,
    /// What was on its way there at the crash that was asked for.
    underway: Option<usize>,
    /// The host's latest snapshot.
    kept: Option<Box<Kept>>,
    /// Number of the process that the broker is.
    life: u32,
    /// No socket takes anything until then.
    blocked_until: u64,
    /// What the engine is told next.
    next: VecDeque<Next>,
    healed: bool,
    leaving: bool,
    events: u64,
    /// Packets that the engine sent.
    sent: u64,
    digest: SipHasher13,
    /// Of each link, where another reader may change who is first in one microsecond.
    digests: BTreeMap<usize, SipHasher13>,
    checks: Checks,
    course: Course,
    trace: Trace,
    seen: Trace,
}

/// Plays a scenario to its end.
pub fn play(scenario: &Scenario, options: Options) -> Outcome {
    outcome(scenario, options, World::run)
}

fn outcome<'s>(
    scenario: &'s Scenario,
    options: Options,
    run: impl FnOnce(&mut World<'s>) -> Result<(), Violation>,
) -> Outcome {
    let mut world = World::new(scenario, options);
    let run = catch_unwind(AssertUnwindSafe(|| run(&mut world)));
    let panicked = |_| Err(Violation::new("INV-53", world.now, "a panic, see above"));
    let violation = run.unwrap_or_else(panicked).err();
    for digest in world.digests.values() {
        world.digest.write_u64(digest.finish());
    }
    Outcome {
        violation,
        events: world.events,
        underway: world.underway,
        time: world.now - scenario.epoch,
        digest: world.digest.finish(),
        checks: world.checks,
        course: world.course,
        trace: world.trace,
        seen: world.seen,
    }
}

impl<'s> World<'s> {
    fn new(scenario: &'s Scenario, options: Options) -> Self {
        let asked = |is_asked, what| if is_asked { what } else { Interest::NONE };
        let interest = Interest::CLIENTS
            | Interest::DROPS
            | Interest::RETAINED
            | asked(scenario.outside.ask_subscribe, Interest::SUBSCRIBE | Interest::UNSUBSCRIBE)
            | asked(scenario.outside.ask_publish, Interest::PUBLISH);
        let config = Config { interest, ..scenario.limits.clone() };
        let believed = options.mutation.believed(&config);
        let (players, locals) = client::players(scenario);
        let agreeable = Agreeable::new(scenario, &options);
        let mut world = Self {
            scenario,
            options,
            checks: Checks::new(&believed, scenario, is_late(scenario), options.sample.unwrap_or(SAMPLE)),
            broker: Broker::new(config, scenario.seed, &options, &agreeable),
            agreeable,
            out: Outbox::new(),
            ids: ConnIds::new(),
            now: scenario.epoch,
            agenda: Agenda::new(&scenario.operations, scenario.epoch),
            called_at: scenario.epoch,
            tick: None,
            links: Vec::new(),
            held_up: BTreeMap::new(),
            stuck: BTreeMap::new(),
            by_conn: Table::default(),
            players,
            locals,
            choices: Choices::new(scenario.seed),
            weather: vec![Weather::default(); scenario.clients.len()],
            storm: (0, 0),
            wall_clock: WALL_CLOCK,
            ahead: WALL_CLOCK,
            is_steady: true,
            store: MemoryStore::new(),
            stored: None,
            keeper: Keeper::new(),
            underway: None,
            kept: None,
            life: 0,
            blocked_until: 0,
            next: VecDeque::new(),
            healed: false,
            leaving: false,
            events: 0,
            sent: 0,
            digest: SipHasher13::new(),
            digests: BTreeMap::new(),
            course: Course::new(scenario.heal_at),
            trace: Trace::new(options.trace),
            seen: Trace::new(options.trace && (options.host != Host::Played || options.reader.is_some())),
        };
        if scenario.epoch > 0 {
            world.checks.marks.fault("T05");
        }
        if world.is_lasting() {
            world.checks.outlives(&scenario.outside, keeper::RETRY);
        }
        world.schedule(scenario.epoch + scenario.heal_at, Event::Heal);
        world
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.agenda.add(at.max(self.now), event);
    }

    fn run(&mut self) -> Result<(), Violation> {
        self.run_until(self.scenario.epoch + self.scenario.heal_at + 1)?;
        // Everything that is owed arrives.
        self.run_until(self.now + LIVENESS)?;
        if self.has_stopped() {
            return Ok(());
        }
        if self.is_lasting() {
            self.keeper_catches_up()?;
        }
        if let Broker::Engine(engine) = &self.broker {
            let spared = self.spared();
            self.checks.everything_arrived(self.now, engine, &spared)?;
        }
        // Everybody leaves for good, and nothing is left.
        self.everybody_leaves()?;
        if self.has_stopped() {
            return Ok(());
        }
        self.checks.nothing_is_left(self.now, self.broker.view())?;
        self.broker.has_let_go(self.now)?;
        if self.is_lasting() {
            self.store_is_empty()?;
        }
        if self.scenario.limits.memory_high.is_some() { self.somebody_comes() } else { Ok(()) }
    }

    fn has_stopped(&self) -> bool {
        self.options.stop_at.is_some_and(|stop| self.events + 1 >= stop)
    }

    fn run_until(&mut self, end: u64) -> Result<(), Violation> {
        while !self.has_stopped()
            && let Some((at, event)) = self.agenda.next_before(end)
        {
            // What was due while the world stood still comes behind.
            let at = self.now.max(at);
            self.course.goes_on(at - self.scenario.epoch, self.broker.view(), &self.checks.marks);
            self.now = at;
            // How often the engine asks for more time depends on how its input is cut.
            let is_tick = matches!(event, Event::Tick { .. });
            self.happen(event)?;
            self.settle()?;
            if !is_tick {
                self.block_sometimes();
                self.fill_sometimes();
                self.end_sometimes()?;
            }
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Operation(number) => {
                let operation = &self.scenario.operations[number];
                self.operate(operation.client, &operation.what)
            }
            Event::ToBroker { link, bytes } => self.arrived(link, &bytes),
            Event::ToClient { link, bytes } => {
                self.delivered(link, &bytes);
                Ok(())
            }
            Event::BrokerLost { link, by_peer } => self.broker_lost(link, by_peer),
            Event::ClientLost { link } => {
                self.client_lost(link);
                Ok(())
            }
            Event::Wake { client, wake } => self.wake(client, wake),
            Event::Tick { armed } if self.tick == Some(armed) => self.ticks(),
            Event::Tick { .. } => Ok(()),
            Event::Outside(life, done) => self.outside_done(life, *done),
            Event::Heal => self.heal(),
        }
    }

    /// What is sent on a link is part of the digest.
    fn digest(&mut self, link: usize, what: &[u8]) {
        let digest = match self.options.reader {
            None => &mut self.digest,
            Some(_) => self.digests.entry(link).or_default(),
        };
        digest.write_u64(self.now);
        digest.write_usize(link);
        digest.write(what);
    }

    /// Is it?
    fn counts(&self, link: usize) -> bool {
        let last = self.scenario.clients.len() - 1;
        self.options.host == Host::Played
            && (self.options.reader.is_none() || self.links[link].client != last)
    }

    fn time(&self) -> Time {
        Time::from_micros(self.now)
    }
}
