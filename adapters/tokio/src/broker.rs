//! Starting a broker from any program; the caller needs no runtime.

use crate::drops;
use crate::files;
use crate::handle::{BrokerHandle, Listening, Order};
use crate::listener::{self, Door};
use crate::notes::Log;
use crate::store::{self, Keeping};
use crate::stream::Acceptor;
use crate::turn::{Shared, unix_time};
use broker_engine::{Command, HashKey, ListenerId, Seed};
use metronome_host::config::ListenerConfig;
use metronome_host::listeners::{Listener, Place};
use metronome_host::recording::{RecordOptions, Recorder};
use metronome_host::stores::{Store, StoreError};
use metronome_host::sys_topics::SysTopicsConfig;
use metronome_host::{BrokerConfig, ConfigError, Driver, Hook, HookChain, HookPanic};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::MissedTickBehavior;

/// Orders that may wait for the broker's thread.
const ORDERS: usize = 1024;

/// Entry point for embedding.
#[derive(Debug)]
pub struct Broker;

impl Broker {
    /// A broker with default limits and nobody who lets clients in: name a [`Hook`].
    pub fn builder() -> Builder {
        Builder { config: BrokerConfig::default(), hooks: HookChain::default(), record: None, store: None }
    }
}

/// What a broker is to be.
pub struct Builder {
    config: BrokerConfig,
    hooks: HookChain,
    record: Option<RecordOptions>,
    store: Option<Box<dyn Store>>,
}

impl fmt::Debug for Builder {
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
        /// Its directory; none for a store of the embedding program.
        directory: Option<PathBuf>,
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
            Self::Store { directory, error } => {
                f.write_str("cannot use the store")?;
                if let Some(directory) = directory {
                    write!(f, " in {}", directory.display())?;
                }
                write!(f, ": {error}")?;
                match error {
                    StoreError::Locked => f.write_str(
                        "; take another directory with --data, or keep nothing with --durability memory",
                    ),
                    _ => Ok(()),
                }
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

impl Builder {
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

    /// Who decides about clients, behind those named before: see [`HookChain`]. Without any, all clients are refused.
    #[must_use]
    pub fn hook(mut self, hook: impl Hook + 'static) -> Self {
        self.hooks = self.hooks.and(hook);
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::System)?;
        let doors = open(&runtime, asked)?;
        let listening =
            doors.iter().map(|(acceptor, door)| Listening::new(&door.listener, acceptor.local_addr()));
        let listening = listening.collect();
        let (open_files, most) = files::raise_limit();
        let (seed, hash_key) = random().map_err(StartError::System)?;
        let mut limits = config.limits.clone();
        let hooks = self.hooks.and(Log).on_panic(|HookPanic { hook, message, .. }| {
            tracing::error!(hook, message, "a hook panicked, which is a bug in it; the answer is no");
        });
        limits.interest = limits.interest | hooks.interest();
        let (linger, sys_topics) = (config.linger, config.sys_topics);
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (stop, stopping) = watch::channel(None);
        let store = match self.store {
            Some(store) => {
                limits.durability = config.storage.durability;
                Ok(Some(store))
            }
            None => config.storage.open(),
        };
        let in_force = limits.clone();
        let directory = config.storage.directory().map(Into::into);
        let begun = store.and_then(|store| Keeping::begin(store, limits, (seed, hash_key)));
        let (engine, keeping) = begun.map_err(|error| StartError::Store { directory, error })?;
        let found = keeping.as_ref().map(|keeping| keeping.found);
        let keeping = keeping.map(Keeping::start).transpose().map_err(StartError::System)?;
        let recorder = self.record.map(|options| {
            let file = options.file.clone();
            let started = Recorder::create(options, &engine, seed, |error| {
                tracing::error!(%error, "the recording ended; the broker goes on");
            });
            started.map_err(|error| StartError::Record { file, error })
        });
        let recorder = recorder.transpose()?;
        let thread = std::thread::Builder::new().name("metronome".into()).spawn(move || {
            let mut driver = Driver::new(engine, hooks);
            if let Some(recorder) = recorder {
                driver.record(recorder);
            }
            let events = keeping.map(|(keeper, events)| {
                driver.keep(keeper);
                events
            });
            let shared = Shared::new(driver, linger);
            let run = run(shared, doors, most, sys_topics, events, inbox, stopping);
            LocalSet::new().block_on(&runtime, run);
        });
        let thread = thread.map_err(StartError::System)?;
        Ok(BrokerHandle::new(orders, stop, listening, open_files, (in_force, found), thread))
    }
}

/// Opens all listeners, or none.
fn open(
    runtime: &tokio::runtime::Runtime,
    asked: Vec<Listener>,
) -> Result<Vec<(Acceptor, Door)>, StartError> {
    let _inside = runtime.enter();
    let opened = (0..).zip(asked).map(|(number, listener)| {
        let acceptor = Acceptor::open(&listener.place)
            .map_err(|error| StartError::Listen { place: listener.place.clone(), error })?;
        Ok((acceptor, Door { listener, id: ListenerId(number) }))
    });
    opened.collect()
}

/// Seed and hash key that nobody can guess.
fn random() -> io::Result<(Seed, HashKey)> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let word = |at: usize| bytes[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    Ok((Seed(word(0)), HashKey([word(8), word(16)])))
}

/// The broker's thread.
async fn run(
    shared: Rc<Shared>,
    doors: Vec<(Acceptor, Door)>,
    most: usize,
    sys_topics: SysTopicsConfig,
    store_events: Option<Arc<Notify>>,
    mut inbox: mpsc::Receiver<Order>,
    mut stopping: watch::Receiver<Option<Duration>>,
) {
    if let Some(events) = store_events {
        // What the store is to be told of the beginning.
        shared.driver.borrow_mut().tick(shared.now());
        spawn_local(store::listen(Rc::clone(&shared), events));
    }
    let mut accepting = Vec::new();
    for (acceptor, door) in doors {
        accepting.push(spawn_local(listener::accept(Rc::clone(&shared), acceptor, Rc::new(door), most)));
    }
    spawn_local(Rc::clone(&shared).run_flusher());
    spawn_local(Rc::clone(&shared).run_timer());
    spawn_local(Rc::clone(&shared).take_up_answers());
    spawn_local(drops::report(Rc::clone(&shared)));
    spawn_local(write_recording(Rc::clone(&shared)));
    if let Some(interval) = sys_topics.interval() {
        spawn_local(publish_sys_topics(Rc::clone(&shared), interval));
    }
    let deadline = tokio::select! {
        deadline = stop_asked(&mut stopping) => deadline,
        () = shared.failed.notified() => return tracing::error!("a task panicked, which is a bug: stopping"),
        () = carry_out(&shared, &mut inbox) => Duration::ZERO,
    };
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
    shared.driver.borrow_mut().command(shared.now(), Command::Shutdown);
    shared.fed();
    let closed = async {
        while shared.open_connections() > 0 {
            shared.all_closed.notified().await;
        }
    };
    if tokio::time::timeout(deadline, closed).await.is_err() {
        tracing::warn!(connections = shared.open_connections(), "clients did not close in time");
    }
    // The rest, which the task would have reported later.
    shared.drops.borrow_mut().report(shared.driver.borrow().view().counters());
}

/// Waits for [`BrokerHandle::shutdown`], or for the handle to be dropped.
async fn stop_asked(stopping: &mut watch::Receiver<Option<Duration>>) -> Duration {
    let asked = stopping.wait_for(Option::is_some).await;
    asked.ok().and_then(|deadline| *deadline).unwrap_or_default()
}

/// Has recorded inputs written, also when none follow.
async fn write_recording(shared: Rc<Shared>) {
    while shared.driver.borrow().is_recording() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        shared.driver.borrow_mut().write_recording(shared.now());
    }
}

/// Publishes below `$SYS`, at once and at every interval.
async fn publish_sys_topics(shared: Rc<Shared>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.driver.borrow_mut().publish_sys_topics(shared.now(), unix_time());
        shared.fed();
    }
}

/// Carries out orders until nobody can give any.
async fn carry_out(shared: &Shared, inbox: &mut mpsc::Receiver<Order>) {
    while let Some(order) = inbox.recv().await {
        match order {
            Order::Command(command) => {
                shared.driver.borrow_mut().command(shared.now(), command);
                shared.fed();
            }
            Order::Do(order) => {
                order(&mut shared.driver.borrow_mut(), shared.now());
                shared.fed();
            }
        }
    }
}
