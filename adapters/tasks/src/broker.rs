//! Starting a broker from any program; the caller needs no runtime.

use crate::handle::{BrokerHandle, Failure, Listening, Order};
use crate::listener::{self, Bound, Door, Doors};
use crate::notes::Log;
use crate::runtime::{first, timeout};
use crate::signal::Signal;
use crate::store::{self, Keeping};
use crate::turn::{Shared, unix_time};
use crate::{Runtime, connection, drops, files};
use async_channel::Receiver;
use broker_engine::{Command, HashKey, ListenerId, Seed};
use metronome_host::config::ListenerConfig;
use metronome_host::listeners::{Listener, Place};
use metronome_host::recording::{RecordOptions, Recorder};
use metronome_host::storage::StorePlace;
use metronome_host::stores::{Store, StoreError};
use metronome_host::sys_topics::SysTopicsConfig;
use metronome_host::totals;
use metronome_host::{BrokerConfig, ConfigError, Driver, Hook, HookChain, HookPanic};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock, mpsc};
use std::task::Poll;
use std::time::Duration;

/// Orders that may wait for the broker's thread.
const ORDERS: usize = 1024;

/// Time for clients to hear that the broker ends, where it has to.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a broker is to be.
pub struct Builder<R> {
    config: BrokerConfig,
    hooks: HookChain,
    record: Option<RecordOptions>,
    store: Option<Box<dyn Store>>,
    /// Sockets that listen already.
    open: Vec<Bound>,
    runtime: PhantomData<fn() -> R>,
}

impl<R> Default for Builder<R> {
    fn default() -> Self {
        Self {
            config: BrokerConfig::default(),
            hooks: HookChain::default(),
            record: None,
            store: None,
            open: Vec::new(),
            runtime: PhantomData,
        }
    }
}

impl<R> fmt::Debug for Builder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Why a broker did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself or a rule.
    Config(ConfigError),
    /// At one of its places it cannot listen.
    Listen {
        /// Where.
        place: Place,
        /// What the system says.
        error: io::Error,
    },
    /// The recording cannot be begun.
    Record {
        /// As asked for.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The store cannot be used.
    Store {
        /// Where it is; none for a store of the embedding program.
        place: Option<Box<StorePlace>>,
        /// Why not.
        error: StoreError,
    },
    /// Thread, runtime or random source are not to be had.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Listen { place, error } if error.kind() == io::ErrorKind::AddrInUse => {
                let what = if matches!(place, Place::Port(_)) { "port" } else { "socket" };
                write!(f, "cannot listen on {place}: the {what} is in use by another program")
            }
            Self::Listen { place, error } => write!(f, "cannot listen on {place}: {error}"),
            Self::Record { file, error } => write!(f, "cannot record to {}: {error}", file.display()),
            Self::Store { place: None, error } => write!(f, "cannot use the store: {error}"),
            Self::Store { place: Some(place), error } => {
                write!(f, "cannot use the store in {place}: {error}")?;
                if *error == StoreError::Locked { write!(f, "; {}", place.hint()) } else { Ok(()) }
            }
            Self::System(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Listen { error, .. } | Self::Record { error, .. } | Self::System(error) => Some(error),
            Self::Store { error, .. } => Some(error),
        }
    }
}

impl<R: Runtime> Builder<R> {
    /// Takes listeners and limits from a configuration.
    #[must_use]
    pub fn config(mut self, config: BrokerConfig) -> Self {
        self.config = config;
        self
    }

    /// Adds an address, as `127.0.0.1:1883`; port 0 picks a free one. Its type may stand in front, as in
    /// `ws://127.0.0.1:8080/mqtt`.
    #[must_use]
    pub fn listen(self, address: &str) -> Self {
        self.listener(ListenerConfig::at(address))
    }

    /// Adds a listener of any type.
    #[must_use]
    pub fn listener(mut self, listener: ListenerConfig) -> Self {
        self.config.listeners.push(listener);
        self
    }

    /// Adds a listener with a socket that listens already, as a supervisor or a test hands it over. Its address is the
    /// socket's; everything else is as `listener` says.
    ///
    /// # Errors
    /// The socket has no address.
    pub fn listener_on(self, socket: impl Into<Bound>, listener: ListenerConfig) -> io::Result<Self> {
        let socket = socket.into();
        let place = socket.place().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(self.listener(listener.moved_to(&place)).socket(socket))
    }

    /// Brings a socket that listens already for the listener that is configured at its address. Without one, the broker does not
    /// start.
    #[must_use]
    pub fn socket(mut self, socket: Bound) -> Self {
        self.open.push(socket);
        self
    }

    /// Who decides about clients, behind those named before: see [`HookChain`]. Without any, all clients are refused.
    #[must_use]
    pub fn hook(mut self, hook: impl Hook + 'static) -> Self {
        self.hooks = self.hooks.and(hook);
        self
    }

    /// Who decides about the clients of these listeners, which are numbered from 0 in the order of configuration. It is
    /// asked about no others: see [`HookChain::and_for`].
    #[must_use]
    pub fn hook_for(mut self, listeners: Vec<ListenerId>, hook: impl Hook + 'static) -> Self {
        self.hooks = self.hooks.and_for(listeners, hook);
        self
    }

    /// Records every input, so that what happened can be played again. Costs time and disk; passwords are not written.
    #[must_use]
    pub fn record(mut self, options: RecordOptions) -> Self {
        self.record = Some(options);
        self
    }

    /// Keeps what is to outlive the process in a store of the embedding program, instead of one that the configuration
    /// names; how much waits for it is up to `storage.durability`.
    #[must_use]
    pub fn store(mut self, store: impl Store + 'static) -> Self {
        self.store = Some(Box::new(store));
        self
    }

    /// Listens, and runs the broker on a thread of its own. Raises the process's open-file limit to its maximum.
    ///
    /// # Errors
    /// A configuration that cannot be used, a place that cannot be listened on, a store that cannot be used, a recording
    /// that cannot be begun, or no thread to be had.
    pub fn start(self) -> Result<BrokerHandle, StartError> {
        let config = self.config.complete().map_err(StartError::Config)?;
        let asked = config.checked_listeners(!self.hooks.is_empty()).map_err(StartError::Config)?;
        let doors = open(asked, self.open)?;
        let address = |bound: &Option<Bound>| bound.as_ref().and_then(Bound::local_addr);
        let listening = doors.iter().map(|(bound, door)| Listening::new(&door.listener, address(bound)));
        let listening = listening.collect();
        let (open_files, most) = files::raise_limit();
        let (seed, hash_key) = random().map_err(StartError::System)?;
        let mut limits = config.limits.clone();
        let names: Vec<String> = doors.iter().map(|(_, door)| door.listener.name.clone()).collect();
        let mut hooks =
            self.hooks.with_listeners(names).and(Log).on_panic(|HookPanic { hook, message, .. }| {
                tracing::error!(hook, message, "a hook panicked, which is a bug in it; the answer is no");
            });
        limits.interest = limits.interest | hooks.interest();
        let (linger, sys_topics) = (config.linger, config.sys_topics);
        let (orders, inbox) = async_channel::bounded(ORDERS);
        let (stop, stopping) = async_channel::bounded(1);
        let (ending, running) = async_channel::bounded(1);
        let (started, start) = mpsc::channel();
        let failure = Arc::new(OnceLock::new());
        let store = match self.store {
            Some(store) => {
                limits.durability = config.storage.durability;
                Ok(Some(store))
            }
            None => config.storage.open(),
        };
        let in_force = limits.clone();
        let place = config.storage.place().map(Box::new);
        let identity = (seed, hash_key);
        let begun = store.and_then(|store| {
            Keeping::begin(store, limits, config.storage.keep_counters, identity, &mut hooks)
        });
        let (engine, mut keeping) = begun.map_err(|error| StartError::Store { place, error })?;
        let found = keeping.as_ref().map(|keeping| keeping.found);
        let totals = keeping.as_mut().and_then(|keeping| keeping.totals.take());
        let max_bytes = config.storage.max_bytes;
        let keeping = keeping.map(|keeping| keeping.start(max_bytes));
        let keeping = keeping.transpose().map_err(StartError::System)?;
        let recorder = self.record.map(|options| {
            let file = options.file.clone();
            let started = Recorder::create(options, &engine, seed, |error| {
                tracing::error!(%error, "the recording ended; the broker goes on");
            });
            started.map_err(|error| StartError::Record { file, error })
        });
        let recorder = recorder.transpose()?;
        let told = Arc::clone(&failure);
        let thread = std::thread::Builder::new().name("metronome".into()).spawn(move || {
            // The last to be dropped: who hears of the end finds everything done.
            let _ending = ending;
            let _last_words = LastWords(Arc::clone(&told));
            let mut driver = Driver::new(engine, hooks);
            if let Some(recorder) = recorder {
                driver.record(recorder);
            }
            let events = keeping.map(|(keeper, events)| {
                driver.keep(keeper);
                events
            });
            if let Some(totals) = totals {
                driver.go_on_from(totals);
            }
            let shared = Shared::<R>::new(driver, linger);
            let _finish = Finish(Rc::clone(&shared));
            let broker = async {
                let acceptors =
                    doors.into_iter().map(|(bound, door)| Ok((bound.map(R::accept_with).transpose()?, door)));
                let doors = acceptors.collect::<io::Result<Vec<_>>>();
                // Who starts it waits for this.
                let _gone = started.send(doors.as_ref().map(drop).map_err(|error| error.kind().into()));
                if let Ok(doors) = doors
                    && let Err(failure) =
                        run(shared, doors, most, sys_topics, events, (inbox, stopping)).await
                {
                    // Nobody else says it.
                    let _first = told.set(failure);
                }
            };
            if let Err(error) = R::block_on(broker)
                && let Err(unheard) = started.send(Err(error))
                && let Err(error) = unheard.0
            {
                // It had started already.
                tracing::error!(%error, "sockets cannot be watched any more: stopping");
                let _first = told.set(Failure::Sockets(error.to_string()));
            }
        });
        let thread = thread.map_err(StartError::System)?;
        let lost = |_| io::Error::other("the broker's thread ended");
        start.recv().map_err(lost).and_then(|started| started).map_err(StartError::System)?;
        let running = (running, failure);
        Ok(BrokerHandle::new(orders, stop, running, listening, open_files, (in_force, found), thread))
    }
}

/// Says why the broker's thread ends, when that is a panic of its own.
struct LastWords(Arc<OnceLock<Failure>>);

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _first = self.0.set(Failure::Panic);
        }
    }
}

/// Has recording and store finished when the broker ends, also by a panic. Its tasks, which have the driver as well, may stay
/// until the thread is gone: so it is on smol and async-std.
struct Finish<R: Runtime>(Rc<Shared<R>>);

impl<R: Runtime> Drop for Finish<R> {
    fn drop(&mut self) {
        // Whoever panicked while it had the driver has given it back.
        if let Ok(mut driver) = self.0.driver.try_borrow_mut() {
            driver.finish();
        }
    }
}

/// Opens all listeners that are not `open` and are anywhere, or none.
fn open(asked: Vec<Listener>, mut open: Vec<Bound>) -> Result<Vec<(Option<Bound>, Door)>, StartError> {
    let opened = (0..).zip(asked).map(|(number, listener)| {
        let is_there = |bound: &Bound| bound.place().is_some_and(|place| place.is_same(&listener.place));
        let bound = match open.iter().position(is_there).map(|at| open.swap_remove(at)) {
            Some(socket) => socket.set_nonblocking().map(|()| Some(socket)),
            None if listener.place == Place::Program => Ok(None),
            None => Bound::at(&listener.place).map(Some),
        };
        let bound = bound.map_err(|error| StartError::Listen { place: listener.place.clone(), error })?;
        Ok((bound, Door { listener, id: ListenerId(number) }))
    });
    let opened = opened.collect::<Result<Vec<_>, _>>()?;
    match open.first() {
        None => Ok(opened),
        Some(unused) => {
            let error =
                io::Error::new(io::ErrorKind::InvalidInput, "no listener is configured for this socket");
            Err(StartError::Listen { place: unused.place().unwrap_or(Place::Program), error })
        }
    }
}

/// Seed and hash key that nobody can guess.
fn random() -> io::Result<(Seed, HashKey)> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let word = |at: usize| bytes[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    Ok((Seed(word(0)), HashKey([word(8), word(16)])))
}

/// The broker's thread.
///
/// # Errors
/// It cannot go on.
async fn run<R: Runtime>(
    shared: Rc<Shared<R>>,
    doors: Vec<(Option<R::Acceptor>, Door)>,
    most: usize,
    sys_topics: SysTopicsConfig,
    store_events: Option<Receiver<()>>,
    (inbox, stopping): (Receiver<Order>, Receiver<Duration>),
) -> Result<(), Failure> {
    if let Some(events) = store_events {
        // What the store is to be told of the beginning.
        shared.driver.borrow_mut().tick(shared.now());
        shared.spawn(store::listen(Rc::clone(&shared), events));
    }
    let mut accepting = Vec::new();
    let (acceptors, doors): (Vec<_>, Vec<_>) =
        doors.into_iter().map(|(acceptor, door)| (acceptor, Rc::new(door))).unzip();
    for (acceptor, door) in acceptors.into_iter().zip(&doors) {
        let Some(acceptor) = acceptor else { continue };
        let enough = Rc::new(Signal::default());
        accepting.push(Rc::clone(&enough));
        let accept = listener::accept(Rc::clone(&shared), acceptor, Rc::clone(door), most);
        shared.spawn(async move { first(enough.notified(), accept).await });
    }
    shared.spawn(connection::serve_all(Rc::clone(&shared)));
    shared.spawn(Rc::clone(&shared).run_flusher());
    shared.spawn(Rc::clone(&shared).run_timer());
    shared.spawn(Rc::clone(&shared).take_up_answers());
    shared.spawn(drops::report(Rc::clone(&shared)));
    shared.spawn(write_recording(Rc::clone(&shared)));
    shared.spawn(keep_totals(Rc::clone(&shared)));
    if let Some(interval) = sys_topics.interval() {
        shared.spawn(publish_sys_topics(Rc::clone(&shared), interval));
    }
    let asked = ending(&shared, &Doors { doors, most }, inbox, &stopping).await;
    let (deadline, ended) = match asked {
        Ok(deadline) => (deadline, Ok(())),
        // The engine may be left half-way.
        Err(Failure::Panic) => {
            tracing::error!("a task panicked, which is a bug: stopping");
            return Err(Failure::Panic);
        }
        Err(failure) => (GOODBYE, Err(failure)),
    };
    for enough in accepting {
        enough.notify();
    }
    shared.driver.borrow_mut().command(shared.now(), Command::Shutdown);
    shared.fed();
    let closed = async {
        while shared.open_connections() > 0 && !shared.alarm.has_panicked() {
            first(shared.all_closed.notified(), shared.alarm.rung()).await;
        }
    };
    if timeout::<R, _>(deadline, closed).await.is_none() {
        tracing::warn!(connections = shared.open_connections(), "clients did not close in time");
    }
    if shared.alarm.has_panicked() {
        tracing::error!("a task panicked while the broker stopped, which is a bug");
        return Err(Failure::Panic);
    }
    // The rest, which the task would have reported later.
    shared.drops.borrow_mut().report(shared.driver.borrow().view().counters());
    shared.driver.borrow_mut().keep_totals();
    ended
}

/// Carries out orders until the broker is to end, and says how long that may take.
///
/// # Errors
/// It cannot go on.
async fn ending<R: Runtime>(
    shared: &Rc<Shared<R>>,
    doors: &Doors,
    inbox: Receiver<Order>,
    stopping: &Receiver<Duration>,
) -> Result<Duration, Failure> {
    let mut stop = pin!(stopping.recv());
    let mut failed = pin!(shared.alarm.rung());
    let mut orders = pin!(carry_out(shared, doors, inbox));
    poll_fn(|context| {
        if failed.as_mut().poll(context).is_ready() {
            let known = shared.failure.take().filter(|_| !shared.alarm.has_panicked());
            return Poll::Ready(Err(known.unwrap_or(Failure::Panic)));
        }
        // [`BrokerHandle::shutdown`], or the handle was dropped.
        if let Poll::Ready(asked) = stop.as_mut().poll(context) {
            return Poll::Ready(Ok(asked.unwrap_or_default()));
        }
        orders.as_mut().poll(context).map(|()| Ok(Duration::ZERO))
    })
    .await
}

/// Has recorded inputs written, also when none follow.
async fn write_recording<R: Runtime>(shared: Rc<Shared<R>>) {
    while shared.driver.borrow().is_recording() {
        R::sleep(Duration::from_secs(1)).await;
        shared.driver.borrow_mut().write_recording(shared.now());
    }
}

/// Has the store keep what is counted, where that is to outlive the process.
async fn keep_totals<R: Runtime>(shared: Rc<Shared<R>>) {
    while shared.driver.borrow_mut().keep_totals() {
        R::sleep(totals::INTERVAL).await;
    }
}

/// Publishes below `$SYS`, at once and at every interval.
async fn publish_sys_topics<R: Runtime>(shared: Rc<Shared<R>>, interval: Duration) {
    loop {
        shared.driver.borrow_mut().publish_sys_topics(shared.now(), unix_time());
        shared.fed();
        R::sleep(interval).await;
    }
}

/// Carries out orders until nobody can give any.
async fn carry_out<R: Runtime>(shared: &Rc<Shared<R>>, doors: &Doors, inbox: Receiver<Order>) {
    while let Ok(order) = inbox.recv().await {
        match order {
            Order::Command(command) => {
                shared.driver.borrow_mut().command(shared.now(), command);
                shared.fed();
            }
            Order::Serve(listener, socket, peer) => doors.bring(shared, listener, socket, peer),
            Order::Do(order) => {
                order(&mut shared.driver.borrow_mut(), shared.now());
                shared.fed();
            }
        }
    }
}
