//! A store on a thread of its own.
//!
//! What is submitted while a batch is on its way to the disk makes the next one, so batches are as large as the disk is
//! slow. A batch that fails is tried again until it is kept, and what is submitted meanwhile waits behind it: the store
//! is never without something that comes before what it has.

use crate::clock::Clock;
use crate::record;
use crate::store::{Batch, Store, StoreError};
use broker_engine::{StoreOp, StoreSeq, StoredDelivery};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of messages that go into one batch.
const BATCH: usize = 8 << 20;

/// Bytes of what is not kept yet from which on no more should be read from clients.
const FULL: usize = 64 << 20;

/// What an operation takes beside its message, about.
const OP: usize = 200;

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
}

/// Is told why a store fails, or (with `None`) that it works again.
pub type Report = dyn Fn(Option<&StoreError>) + Send;

/// How a [`Keeper`] works, and whom it tells.
pub struct KeeperOptions {
    /// Time between two batches, unless a page is asked for; nobody should wait for them then. None is at once.
    pub pause: Duration,
    /// There are events; called on the keeper's thread.
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

#[derive(Default)]
struct State {
    groups: VecDeque<(Group, usize)>,
    /// Of everything that is not kept yet.
    bytes: usize,
    events: Vec<Event>,
    /// Somebody waits for a page.
    is_asked: bool,
    stopping: bool,
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
        let worker = Worker { shared: Arc::clone(&shared), store, clock, options };
        let thread = std::thread::Builder::new().name("store".into()).spawn(|| worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Hands over operations of whole calls of the engine; they are kept together or not at all. Says whether so much is
    /// waiting now that no more should be read from clients.
    pub fn submit(&self, group: Group) -> bool {
        if group.is_empty() {
            return self.is_full();
        }
        let bytes = group.iter().map(|(_, op)| size(op)).sum();
        let asks = group.iter().any(|(_, op)| matches!(op, StoreOp::Fetch { .. }));
        let mut state = self.shared.lock();
        let is_news = state.groups.is_empty() || asks;
        state.is_asked |= asks;
        state.bytes += bytes;
        state.groups.push_back((group, bytes));
        let is_full = state.bytes >= FULL;
        drop(state);
        if is_news {
            self.shared.changed.notify_one();
        }
        is_full
    }

    /// Takes what the engine is to be told, in order.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.shared.lock().events)
    }

    /// Is still so much waiting?
    pub fn is_full(&self) -> bool {
        self.shared.lock().bytes >= FULL
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

    /// Waits for something to do, and takes as much as makes a batch; `None` at the end.
    fn next(&self) -> Option<Vec<(Group, usize)>> {
        let mut state = self.lock();
        while state.groups.is_empty() {
            if state.stopping {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut taken = 0;
        let count = state.groups.iter().take_while(|(_, bytes)| {
            let fits = taken < BATCH;
            taken += bytes;
            fits
        });
        let count = count.count();
        state.is_asked = false;
        Some(state.groups.drain(..count).collect())
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
}

impl Worker {
    fn run(mut self) {
        while let Some(groups) = self.shared.next() {
            let bytes: usize = groups.iter().map(|(_, bytes)| bytes).sum();
            let ops: Group = groups.into_iter().flat_map(|(group, _)| group).collect();
            let Some(events) = self.keep(&ops) else { return };
            let mut state = self.shared.lock();
            state.bytes -= bytes;
            state.events.extend(events);
            drop(state);
            (self.options.wake)();
            if !self.options.pause.is_zero() {
                self.shared.pause(self.options.pause);
            }
        }
    }

    /// Keeps operations, however often that has to be tried; `None` if the keeper is to stop and it still fails.
    fn keep(&mut self, ops: &[(StoreSeq, StoreOp)]) -> Option<Vec<Event>> {
        let (first, last) = (ops.first()?.0, ops.last()?.0);
        let now = self.clock.now();
        let mut batch = Batch::default();
        for (_, op) in ops {
            record::write(&mut batch, op, now);
        }
        if batch.changes().next().is_some() {
            batch.put(record::store_key(), record::store_value(now));
        }
        let mut failure = None;
        loop {
            let begun = if failure.is_some() { self.store.reopen() } else { Ok(()) };
            match begun.and_then(|()| self.commit(&batch, ops)) {
                Ok(mut events) => {
                    if failure.is_some() {
                        (self.options.report)(None);
                    }
                    events.push(Event::Stored(last));
                    return Some(events);
                }
                Err(error) => {
                    if failure.as_ref() != Some(&error) {
                        (self.options.report)(Some(&error));
                    }
                    failure = Some(error);
                    self.shared.lock().events.push(Event::Failed(first));
                    (self.options.wake)();
                    if self.shared.rest(RETRY) {
                        return None;
                    }
                }
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
fn page(
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
