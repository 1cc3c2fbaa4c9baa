//! What a store gives back to another process: all that was handed over up to some operation, and nothing else; which is
//! all that was acknowledged, and what the broker was at that operation.

use super::{Counts, Violation};
use broker_engine::{BootReport, Engine, MemoryStore, Permissions, StoreOp, StoreSeq, Time, View};
use metronome_storage::LoadReport;
use std::collections::BTreeMap;
use std::time::Duration;

/// What was handed over, and what the broker was by then.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    /// Does the store outlive a process, and is the world small enough to look at after every call?
    is_on: bool,
    /// What the store has, by the engine's own model of one.
    model: MemoryStore,
    /// The latest time that it knows.
    latest: u64,
    /// The latest operation that it has.
    position: u64,
    /// The engine was told that it is kept up to here.
    told: u64,
    /// The latest operation that the engine has handed over.
    last: u64,
    /// Records were damaged, so that what was in flight may have been sent anew behind others.
    is_hurt: bool,
    /// What the broker was behind operations that the store has, or may have when the process ends.
    states: BTreeMap<u64, State>,
}

/// What another process began with.
pub(crate) struct Returned<'a> {
    pub(crate) engine: &'a Engine,
    /// Records that can be read, as they were handed over.
    pub(crate) records: &'a [StoreOp],
    pub(crate) load: LoadReport,
    pub(crate) boot: BootReport,
    /// Unix microseconds, by the wall clock.
    pub(crate) wall: u64,
    /// That clock has never jumped.
    pub(crate) is_steady: bool,
    /// Records that were made unreadable.
    pub(crate) damaged: u64,
    /// What was in records that were made unreadable or taken away.
    pub(crate) lost: &'a [StoreOp],
    /// What clients may until they are let in again.
    pub(crate) resumes: &'a BTreeMap<String, Permissions>,
}

/// As much of a broker as outlives its process.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    /// Those that outlive their connection, or have a will.
    sessions: BTreeMap<String, Session>,
    retained: usize,
    /// Some message is on its way to many sessions: that it came, and was a will, is told behind the last of them. Or a will
    /// has left its session, and waits for what its client had said before.
    is_underway: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Session {
    expiry: u32,
    filters: Vec<String>,
    queued: (usize, u64),
    in_flight: Vec<(u16, bool)>,
    received: Vec<u16>,
    has_will: bool,
    /// When it ends and when its will is due, once its client is away.
    due: Option<[Option<Time>; 2]>,
}

impl State {
    fn of(view: View<'_>) -> Self {
        let lasting = view.each_session().filter(|session| session.expiry() > 0 || session.has_will());
        let sessions = lasting.map(|session| {
            let lasts = session.expiry() > 0;
            let known = Session {
                expiry: session.expiry(),
                filters: session.filters().filter(|_| lasts).map(str::to_owned).collect(),
                queued: if lasts { (session.queued(), session.queued_bytes()) } else { (0, 0) },
                in_flight: session.packet_ids().filter(|_| lasts).collect(),
                received: session.received_ids().filter(|_| lasts).collect(),
                has_will: session.has_will(),
                due: session.connection().is_none().then(|| [session.ends_at(), session.will_at()]),
            };
            (session.client_id().to_owned(), known)
        });
        let is_underway = view.fanouts().0 > 0 || view.has_waiting_wills();
        Self { sessions: sessions.collect(), retained: view.retained(), is_underway }
    }
}

impl Recovery {
    pub(super) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            model: MemoryStore::new(),
            latest: 0,
            position: 0,
            told: 0,
            last: 0,
            is_hurt: false,
            states: BTreeMap::from([(0, State::default())]),
        }
    }

    /// The engine was told up to where its operations are kept.
    pub(super) fn told(&mut self, upto: StoreSeq) {
        self.told = self.told.max(upto.0);
    }

    /// Behind a call of the engine, which handed these over: whatever has changed, the store is told.
    pub(super) fn after_call(
        &mut self,
        now: u64,
        stores: Option<StoreSeq>,
        engine: &Engine,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        if !self.is_on {
            return Ok(());
        }
        counts.look("INV-25");
        self.last = stores.map_or(self.last, |last| last.0);
        let state = State::of(engine.view());
        match self.states.get(&self.last) {
            Some(known) if !known.fits(&state) => {
                let detail = format!("the store is not told of {}", known.difference(&state));
                Err(Violation::new("INV-25", now, detail))
            }
            _ => {
                self.states.insert(self.last, state);
                Ok(())
            }
        }
    }

    /// The store has carried these out, at a time by its clock.
    pub(super) fn kept(&mut self, clock: u64, ops: &[(StoreSeq, StoreOp)]) {
        for (seq, op) in ops {
            self.position = self.position.max(seq.0);
            if !self.is_on {
                continue;
            }
            if !matches!(op, StoreOp::Fetch { .. }) {
                self.latest = self.latest.max(clock);
                self.model.apply(Time::from_micros(clock), op.clone());
            }
        }
        self.states = self.states.split_off(&self.position);
    }

    /// Another process has begun, with an empty store.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::new(self.is_on);
    }

    /// Another process has begun with what the store has: all of it up to the operation that this says.
    pub(super) fn begins(
        &mut self,
        now: u64,
        from: &Returned<'_>,
        counts: &mut Counts,
    ) -> Result<StoreSeq, Violation> {
        if !self.is_on {
            return Ok(StoreSeq(self.position));
        }
        let wrong = |name, detail| Err(Violation::new(name, now, detail));
        counts.look("INV-82");
        if (from.load.quarantined, from.boot.damaged) != (from.damaged, 0) {
            let (told, also) = (from.load.quarantined, from.boot.damaged);
            let detail = format!("{} records are damaged, {told} are told of, and {also} more", from.damaged);
            return wrong("INV-82", detail);
        }
        counts.look("INV-81");
        if self.position < self.told {
            let detail = format!("operation {} was said to be kept, {} is there", self.told, self.position);
            return wrong("INV-81", detail);
        }
        let clock = Time::from_micros(self.latest.max(from.wall));
        let expected: Vec<StoreOp> =
            self.model.records(clock).filter(|record| !from.lost.contains(record)).collect();
        counts.look("INV-85");
        // Behind damage the model knows ages only as they were then.
        let is_dated = !self.is_hurt || from.is_steady;
        if let Err((name, detail)) = compare(expected.clone(), from.records, is_dated) {
            return wrong(name, detail);
        }
        counts.look("INV-25");
        let state = State::of(from.engine.view());
        let before = self.states.get(&self.position).filter(|_| from.lost.is_empty());
        if let Some(before) = before {
            let mut states = [before.undated(from, &state, now), state.undated(from, before, now)];
            if self.is_hurt {
                states.iter_mut().for_each(State::forget_order);
            }
            let [known, found] = states;
            if !known.fits(&found) {
                let detail = format!("another process begins with another {}", known.difference(&found));
                return wrong("INV-25", detail);
            }
        } else if from.lost.is_empty() {
            return wrong("INV-25", format!("no call ended at operation {}", self.position));
        }
        if !from.lost.is_empty() {
            self.is_hurt = true;
            self.model = MemoryStore::new();
            for record in expected {
                self.model.apply(clock, record);
            }
        }
        let upto = StoreSeq(std::mem::take(&mut self.position));
        (self.told, self.last) = (0, 0);
        self.states = BTreeMap::from([(0, state)]);
        Ok(upto)
    }
}

impl Session {
    /// Without what is told only when a message has come to the last of its sessions.
    fn told_early(&self) -> Self {
        let due = self.due.map(|[ends_at, _]| [ends_at, None]);
        Self { received: Vec::new(), has_will: false, due, ..self.clone() }
    }
}

impl State {
    /// Without the times that cannot be the same in another process: of who was still connected in the eyes of the store,
    /// and where the wall clock has jumped. What is overdue is due now.
    fn undated(&self, from: &Returned<'_>, other: &Self, now: u64) -> Self {
        let away = |client_id: &str| {
            from.records.iter().any(|record| {
                matches!(record, StoreOp::PutSession { client_id: of, away: Some(_), .. } if of == client_id)
            })
        };
        let mut state = self.clone();
        for (client_id, session) in &mut state.sessions {
            let is_dated =
                |state: &Self| state.sessions.get(client_id).is_some_and(|known| known.due.is_some());
            if !from.is_steady || !is_dated(self) || !is_dated(other) || !away(client_id) {
                session.due = None;
            }
            if let Some(due) = &mut session.due {
                *due = due.map(|at| at.map(|at| at.max(Time::from_micros(now))));
            }
        }
        state
    }

    /// What can be said while a message is on its way: not who would be gone but for a will.
    fn told_early(&self) -> Self {
        let lasting = self.sessions.iter().filter(|(_, session)| session.expiry > 0);
        let sessions =
            lasting.map(|(client_id, session)| (client_id.clone(), session.told_early())).collect();
        Self { sessions, is_underway: true, ..self.clone() }
    }

    /// Both as far as they can be compared.
    fn comparable(&self, other: &Self) -> [Self; 2] {
        let both = [self, other];
        both.map(
            |state| if self.is_underway || other.is_underway { state.told_early() } else { state.clone() },
        )
    }

    fn fits(&self, other: &Self) -> bool {
        let [one, two] = self.comparable(other);
        one == two
    }

    fn forget_order(&mut self) {
        self.sessions.values_mut().for_each(|session| session.in_flight.sort_unstable());
    }

    /// The first thing that is not the same in another one.
    fn difference(&self, other: &Self) -> String {
        let states = self.comparable(other);
        let ids = states.iter().flat_map(|state| state.sessions.keys());
        for client_id in ids {
            let [one, two] = states.each_ref().map(|state| state.sessions.get(client_id));
            if one != two {
                return format!("the session of {client_id}: {one:?}, and then {two:?}");
            }
        }
        format!("retained messages: {}, and then {}", self.retained, other.retained)
    }
}

/// Whose record it is, or whose message.
pub(super) fn client_of(record: &StoreOp) -> Option<&str> {
    match record {
        StoreOp::PutSession { client_id, .. }
        | StoreOp::PutWill { client_id, .. }
        | StoreOp::PutSubscription { client_id, .. }
        | StoreOp::PutInflight { client_id, .. }
        | StoreOp::PutReceived { client_id, .. }
        | StoreOp::PutQueued { client_id, .. } => Some(client_id),
        _ => None,
    }
}

/// Are these the same records, in any order?
fn compare(
    mut expected: Vec<StoreOp>,
    found: &[StoreOp],
    is_dated: bool,
) -> Result<(), (&'static str, String)> {
    let ageless = |record: &StoreOp| record.clone().aged(Duration::MAX);
    for record in found {
        let is_it = |known: &StoreOp| known == record || !is_dated && ageless(known) == ageless(record);
        if let Some(at) = expected.iter().position(is_it) {
            expected.remove(at);
            continue;
        }
        return Err(match expected.iter().find(|known| ageless(known) == ageless(record)) {
            Some(known) => ("INV-85", format!("{record:?} is there, and by the clock it is {known:?}")),
            None => ("INV-81", format!("{record:?} is there, and was not kept like this")),
        });
    }
    match expected.first() {
        Some(missing) => Err(("INV-81", format!("{missing:?} was kept, and is not there"))),
        None => Ok(()),
    }
}
