//! A store on a thread of its own.
//!
//! What is submitted while a batch is on its way to the disk makes the next one, so batches are as large as the disk is
//! slow. A batch that fails is tried again until it is kept, and what is submitted meanwhile waits behind it: the store
//! is never without something that comes before what it has. Where no attempt can help, the keeper ends and says so.

use crate::clock::Clock;
use crate::load::LoadReport;
use crate::record::{self, Totals};
use crate::store::{Batch, Store, StoreError};
use broker_engine::{StoreOp, StorePressure, StoreSeq, StoredDelivery};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of messages that go into one batch.
const BATCH: usize = 8 << 20;

/// Bytes of what is not kept yet from which on no more should be read from clients.
const FULL: usize = 64 << 20;

/// What an operation takes beside its message, about.
const OP: usize = 200;

/// A full store rests for so many times as long as it took to look for room before it does that again.
const RECLAIMING: u32 = 10;

/// Time between two attempts to keep a batch.
const RETRY: Duration = Duration::from_secs(1);

/// What became of operations, for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// [`broker_engine::Input::Stored`]
    Stored(StoreSeq),
    /// [`broker_engine::Input::StoreFailed`]: clients that wait from here on are to be told. It is tried again.
    Failed(StoreSeq),
    /// [`broker_engine::Input::Loaded`]
    Loaded(StoreSeq, Vec<StoredDelivery>),
    /// Nothing more is kept, for this reason. It is the last event, and the broker has to end.
    Ended(StoreError),
}

/// Is told why a store fails, for a while or, unless [`StoreError::may_pass`], for good; or (with `None`) that it works again.
pub type Report = dyn Fn(Option<&StoreError>) + Send;

/// What a [`Keeper`] has done, and what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Batches that are kept.
    pub batches: u64,
    /// Operations in them.
    pub operations: u64,
    /// Operations of the largest.
    pub largest: u64,
    /// Bytes of keys and values in them.
    pub bytes: u64,
    /// Time that they took, failures included.
    pub time: Duration,
    /// Attempts that failed.
    pub failures: u64,
    /// The latest one did.
    pub is_failing: bool,
    /// Records that could not be read at the start.
    pub quarantined: u64,
    /// At the start it had to undo what was not whole.
    pub was_interrupted: bool,
    /// Operations that are not kept yet.
    pub waiting: u64,
    /// What those take in memory, about.
    pub waiting_bytes: u64,
    /// Bytes that the store takes, where it can tell.
    pub size: u64,
    /// Bytes that it may take; 0 is no bound.
    pub max_bytes: u64,
    /// How near it is to that.
    pub pressure: StorePressure,
}

/// What a [`Keeper`] can still take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// So much waits that no more should be read from clients.
    pub is_backed_up: bool,
    /// How near the store is to its bound, with what waits.
    pub pressure: StorePressure,
}

/// How a [`Keeper`] works, and whom it tells.
pub struct KeeperOptions {
    /// Time between two batches, unless a page is asked for; nobody should wait for them then. None is at once.
    pub pause: Duration,
    /// Bytes that the store may take, if it is bounded and can tell them.
    pub max_bytes: Option<u64>,
    /// There are events, or there is more room or less; called on the keeper's thread.
    pub wake: Box<dyn Fn() + Send>,
    /// Called on the keeper's thread.
    pub report: Box<Report>,
}

impl fmt::Debug for KeeperOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeeperOptions").field("pause", &self.pause).finish_non_exhaustive()
    }
}

/// Operations of one or more whole calls of the engine.
type Group = Vec<(StoreSeq, StoreOp)>;

/// A group that waits for its batch.
struct Submitted {
    group: Group,
    bytes: usize,
    at: Instant,
}

#[derive(Default)]
struct State {
    groups: VecDeque<Submitted>,
    /// Totals that wait for a batch.
    totals: Option<Totals>,
    /// Of everything that is not kept yet.
    bytes: usize,
    events: Vec<Event>,
    done: Statistics,
    /// Operations that are not kept yet.
    waiting: u64,
    /// Somebody waits for a page.
    is_asked: bool,
    stopping: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.totals.is_none()
    }

    fn room(&self) -> Room {
        Room { is_backed_up: self.bytes >= FULL, pressure: self.done.pressure }
    }

    /// Looks at how near the store is to its bound.
    fn weigh(&mut self) {
        let used = self.done.size.saturating_add(self.bytes as u64);
        self.done.pressure = pressure(self.done.pressure, used, self.done.max_bytes);
    }
}

/// From an eighth below its bound on a store is nearly full. When it was full, it is so until a sixteenth is free: whoever is
/// let in then does not fill it at once.
fn pressure(before: StorePressure, used: u64, max: u64) -> StorePressure {
    let full = if before == StorePressure::Max { max - max / 16 } else { max };
    match used {
        _ if max == 0 => StorePressure::None,
        used if used >= full => StorePressure::Max,
        used if used >= max - max / 8 => StorePressure::High,
        _ => StorePressure::None,
    }
}

impl Submitted {
    /// Its operations as they are now: behind a batch that failed they may have waited for long.
    fn handed_on(self) -> impl Iterator<Item = (StoreSeq, StoreOp)> {
        let age = self.at.elapsed();
        self.group.into_iter().map(move |(seq, op)| (seq, op.aged(age)))
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Keeps operations on a thread of its own. Dropping it keeps what was submitted, and waits for that.
pub struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(store: Box<dyn Store>, clock: Clock, options: KeeperOptions) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.lock().done.max_bytes = options.max_bytes.unwrap_or(0);
        let mut worker =
            Worker { shared: Arc::clone(&shared), store, clock, options, failure: None, reclaimed: None };
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            // After a panic the worker only says that.
            let ended = catch_unwind(AssertUnwindSafe(|| worker.run()));
            let panicked = |_| Err(StoreError::Lost("its thread panicked, which is a bug".to_owned()));
            if let Err(error) = ended.unwrap_or_else(panicked) {
                (worker.options.report)(Some(&error));
                worker.shared.lock().events.push(Event::Ended(error));
                (worker.options.wake)();
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The same, for a store in which this was found.
    #[must_use]
    pub fn with_found(self, found: LoadReport) -> Self {
        let mut shared = self.shared.lock();
        (shared.done.quarantined, shared.done.was_interrupted) = (found.quarantined, found.was_interrupted);
        drop(shared);
        self
    }

    /// Hands over operations of whole calls of the engine; they are kept together or not at all. Says what room there is
    /// behind them.
    pub fn submit(&self, group: Group) -> Room {
        if group.is_empty() {
            return self.room();
        }
        let bytes = group.iter().map(|(_, op)| size(op)).sum();
        let asks = group.iter().any(|(_, op)| matches!(op, StoreOp::Fetch { .. }));
        let mut state = self.shared.lock();
        let is_news = state.groups.is_empty() || asks;
        state.is_asked |= asks;
        state.bytes += bytes;
        state.waiting += group.len() as u64;
        state.groups.push_back(Submitted { group, bytes, at: Instant::now() });
        state.weigh();
        let room = state.room();
        drop(state);
        if is_news {
            self.shared.changed.notify_one();
        }
        room
    }

    /// Keeps totals with the next batch, which begins for their sake if nothing else does. Later ones take their place.
    pub fn keep_totals(&self, totals: Totals) {
        self.shared.lock().totals = Some(totals);
        self.shared.changed.notify_one();
    }

    /// Takes what the engine is to be told, in order.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.shared.lock().events)
    }

    /// What was done so far.
    pub fn statistics(&self) -> Statistics {
        let state = self.shared.lock();
        Statistics { waiting: state.waiting, waiting_bytes: state.bytes as u64, ..state.done }
    }

    /// What room there is now.
    pub fn room(&self) -> Room {
        self.shared.lock().room()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_one();
        // It reports what it could not keep; a panic has been printed.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do, but no longer than `rest`, and takes as much as makes a batch; `None` at the end.
    fn next(&self, rest: Option<Duration>) -> Option<(Vec<Submitted>, Option<Totals>)> {
        let has_nothing = |state: &mut State| state.is_empty() && !state.stopping;
        let state = self.lock();
        let mut state = if let Some(rest) = rest {
            let waited = self.changed.wait_timeout_while(state, rest, has_nothing);
            waited.unwrap_or_else(PoisonError::into_inner).0
        } else {
            self.changed.wait_while(state, has_nothing).unwrap_or_else(PoisonError::into_inner)
        };
        if state.is_empty() && state.stopping {
            return None;
        }
        let mut taken = 0;
        let count = state.groups.iter().take_while(|Submitted { bytes, .. }| {
            let fits = taken < BATCH;
            taken += bytes;
            fits
        });
        let count = count.count();
        state.is_asked = false;
        let totals = state.totals.take();
        Some((state.groups.drain(..count).collect(), totals))
    }

    /// Waits for so long, or until the keeper is to stop; says whether it is.
    fn rest(&self, time: Duration) -> bool {
        self.wait(time, |_| true)
    }

    /// The same, or until somebody waits for a page.
    fn pause(&self, time: Duration) {
        self.wait(time, |state| !state.is_asked);
    }

    fn wait(&self, time: Duration, may_wait: impl Fn(&State) -> bool) -> bool {
        let state = self.lock();
        let waits = |state: &mut State| !state.stopping && may_wait(state);
        let waited = self.changed.wait_timeout_while(state, time, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }
}

/// What an operation takes in memory, about.
fn size(op: &StoreOp) -> usize {
    let message = match op {
        StoreOp::PutQueued { delivery, .. } => delivery.publish.len(),
        StoreOp::PutRetained { publish, .. } => publish.len(),
        StoreOp::PutWill { will, .. } => will.publish.len(),
        _ => 0,
    };
    message + OP
}

struct Worker {
    shared: Arc<Shared>,
    store: Box<dyn Store>,
    clock: Clock,
    options: KeeperOptions,
    /// Why the latest attempt failed, if it did.
    failure: Option<StoreError>,
    /// When room was looked for among what was removed, and how long that took.
    reclaimed: Option<(Instant, Duration)>,
}

impl Worker {
    /// Works until the keeper is to stop.
    ///
    /// # Errors
    /// The store cannot be used any more.
    fn run(&mut self) -> Result<(), StoreError> {
        loop {
            let rest = self.attempt(|worker| worker.store.idle())?.unwrap_or(Some(RETRY));
            let is_short = self.measure();
            // What was removed may become room by and by.
            let rest = if is_short { Some(rest.unwrap_or(RETRY).min(RETRY)) } else { rest };
            let Some((groups, totals)) = self.shared.next(rest) else { return Ok(()) };
            if groups.is_empty() && totals.is_none() {
                continue;
            }
            let bytes: usize = groups.iter().map(|submitted| submitted.bytes).sum();
            let ops: Group = groups.into_iter().flat_map(Submitted::handed_on).collect();
            let Some(events) = self.keep(&ops, totals.as_ref())? else { return self.gives_up() };
            let mut state = self.shared.lock();
            state.bytes -= bytes;
            state.waiting -= ops.len() as u64;
            state.events.extend(events);
            drop(state);
            (self.options.wake)();
            if !self.options.pause.is_zero() {
                self.shared.pause(self.options.pause);
            }
        }
    }

    /// What waits is never kept. Those who waited for that were told; where nobody does, it was acknowledged.
    fn gives_up(&self) -> Result<(), StoreError> {
        let waiting = self.shared.lock().waiting;
        let why = self.failure.as_ref().map(ToString::to_string).unwrap_or_default();
        match waiting {
            0 => Ok(()),
            _ => Err(StoreError::Lost(format!("{waiting} operations were not kept until the end: {why}"))),
        }
    }

    /// Looks at what the store takes; says whether it is short of room.
    fn measure(&mut self) -> bool {
        let Statistics { size, pressure, .. } = self.shared.lock().done;
        // A store that fails does not say.
        let mut size = self.store.size().unwrap_or(size);
        let is_full = pressure == StorePressure::Max;
        if is_full && self.reclaimed.is_none_or(|(at, took)| at.elapsed() > RETRY.max(took * RECLAIMING)) {
            let began = Instant::now();
            // A failure shows with the next batch.
            let _reclaimed = self.store.reclaim();
            self.reclaimed = Some((Instant::now(), began.elapsed()));
            size = self.store.size().unwrap_or(size);
        }
        let mut state = self.shared.lock();
        let before = state.done.pressure;
        state.done.size = size;
        state.weigh();
        let pressure = state.done.pressure;
        drop(state);
        if pressure != before {
            (self.options.wake)();
        }
        pressure > StorePressure::None
    }

    /// Keeps operations and totals, however often that has to be tried; `None` if the keeper is to stop and it still fails.
    fn keep(
        &mut self,
        ops: &[(StoreSeq, StoreOp)],
        totals: Option<&Totals>,
    ) -> Result<Option<Vec<Event>>, StoreError> {
        let now = self.clock.now();
        let mut batch = Batch::default();
        for (_, op) in ops {
            record::write(&mut batch, op, now);
        }
        if let Some(totals) = totals {
            batch.put(record::counters_key(), record::counters_value(totals));
        }
        if batch.changes().next().is_some() {
            batch.put(record::store_key(), record::store_value(now));
        }
        let began = Instant::now();
        loop {
            if let Some(mut events) = self.attempt(|worker| worker.commit(&batch, ops))? {
                let mut state = self.shared.lock();
                let done = &mut state.done;
                done.batches += 1;
                done.operations += ops.len() as u64;
                done.largest = done.largest.max(ops.len() as u64);
                done.bytes += batch.bytes();
                done.time += began.elapsed();
                drop(state);
                events.extend(ops.last().map(|(last, _)| Event::Stored(*last)));
                return Ok(Some(events));
            }
            self.shared.lock().events.extend(ops.first().map(|(first, _)| Event::Failed(*first)));
            (self.options.wake)();
            if self.shared.rest(RETRY) {
                return Ok(None);
            }
        }
    }

    /// Tries something, with the store opened anew after a failure, and reports when that begins and ends.
    ///
    /// # Errors
    /// No further attempt can help.
    fn attempt<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<R, StoreError>,
    ) -> Result<Option<R>, StoreError> {
        let begun = if self.failure.is_some() { self.store.reopen() } else { Ok(()) };
        match begun.and_then(|()| work(self)) {
            Ok(done) => {
                if self.failure.take().is_some() {
                    self.shared.lock().done.is_failing = false;
                    (self.options.report)(None);
                }
                Ok(Some(done))
            }
            Err(error) => {
                let mut state = self.shared.lock();
                state.done.failures += 1;
                state.done.is_failing = true;
                drop(state);
                if !error.may_pass() {
                    return Err(error);
                }
                if self.failure.as_ref() != Some(&error) {
                    (self.options.report)(Some(&error));
                }
                self.failure = Some(error);
                Ok(None)
            }
        }
    }

    /// Pages are read behind the batch. They may hold what came after their question, which changes nothing: the engine
    /// has counted it by then.
    fn commit(&mut self, batch: &Batch, ops: &[(StoreSeq, StoreOp)]) -> Result<Vec<Event>, StoreError> {
        if !batch.is_empty() {
            self.store.commit(batch)?;
        }
        let now = self.clock.now();
        let mut pages = Vec::new();
        for (seq, op) in ops {
            if let StoreOp::Fetch { client_id, from, max_messages, max_bytes } = op {
                let page = page(&*self.store, now, client_id, *from, (*max_messages, *max_bytes))?;
                pages.push(Event::Loaded(*seq, page));
            }
        }
        Ok(pages)
    }
}

/// A page of a session's queue. A delivery that cannot be read is left out, as if it were lost.
///
/// # Errors
/// The store cannot be read.
pub fn page(
    store: &dyn Store,
    now: u64,
    client_id: &str,
    from: u64,
    (max_messages, max_bytes): (u32, u64),
) -> Result<Vec<StoredDelivery>, StoreError> {
    let prefix = record::queue_prefix(client_id);
    let (mut page, mut bytes) = (Vec::new(), 0);
    store.scan(&record::queue_from(client_id, from), &mut |key, value| {
        if !key.starts_with(&prefix) || page.len() >= max_messages as usize {
            return ControlFlow::Break(());
        }
        if let Ok(StoreOp::PutQueued { delivery, .. }) = record::read(key, value, now) {
            bytes += delivery.publish.len() as u64;
            if !page.is_empty() && bytes > max_bytes {
                return ControlFlow::Break(());
            }
            page.push(delivery);
        }
        ControlFlow::Continue(())
    })?;
    Ok(page)
}
