//! Starting, asking and stopping a broker from any program; the caller needs no runtime.

use crate::listener;
use crate::turn::Shared;
use broker_engine::{Command, CommandPublish, Counters, Engine, HashKey, Interest, ListenerId, Seed};
use metronome_host::{Authenticator, BrokerConfig, ConfigError, DenyAll, Driver};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// Orders that may wait for the broker's thread.
const ORDERS: usize = 1024;

/// Entry point for embedding.
#[derive(Debug)]
pub struct Broker;

impl Broker {
    /// A broker with default limits and nobody who lets clients in: name an [`Authenticator`].
    pub fn builder() -> Builder {
        Builder { config: BrokerConfig::default(), authenticator: None }
    }
}

/// What a broker is to be.
pub struct Builder {
    config: BrokerConfig,
    authenticator: Option<Box<dyn Authenticator>>,
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
    /// An address cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// Thread, runtime or random source are not to be had.
    System(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Listen { address, error } if error.kind() == std::io::ErrorKind::AddrInUse => {
                write!(f, "cannot listen on {address}: the port is in use by another program")
            }
            Self::Listen { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::System(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

enum Order {
    Command(Command),
    Counters(oneshot::Sender<Counters>),
    Stop(Duration),
}

impl Builder {
    /// Takes listeners and limits from a configuration.
    #[must_use]
    pub fn config(mut self, config: BrokerConfig) -> Self {
        self.config = config;
        self
    }

    /// Adds an address, as `127.0.0.1:1883`; port 0 picks a free one.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.config.listeners.push(metronome_host::config::ListenerConfig { address: address.to_owned() });
        self
    }

    /// Who decides about clients. Without one, all are refused.
    #[must_use]
    pub fn authenticator(mut self, authenticator: impl Authenticator + 'static) -> Self {
        self.authenticator = Some(Box::new(authenticator));
        self
    }

    /// Listens, and runs the broker on a thread of its own.
    ///
    /// # Errors
    /// A configuration that cannot be used, an address that cannot be listened on, or no thread to be had.
    pub fn start(self) -> Result<BrokerHandle, StartError> {
        let authenticated = self.authenticator.is_some();
        let addresses = self.config.addresses(authenticated).map_err(StartError::Config)?;
        let mut listeners = Vec::new();
        for address in addresses {
            let bound = listener::bind(address).and_then(|bound| Ok((bound.local_addr()?, bound)));
            listeners.push(bound.map_err(|error| StartError::Listen { address, error })?);
        }
        let local_addrs = listeners.iter().map(|(address, _)| *address).collect();
        let (open_files, most) = listener::raise_file_limit();
        let (seed, hash_key) = random().map_err(StartError::System)?;
        let mut limits = self.config.limits;
        limits.interest = limits.interest | Interest::CLIENTS;
        let authenticator = self.authenticator.unwrap_or_else(|| Box::new(DenyAll));
        let (orders, inbox) = mpsc::channel(ORDERS);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::System)?;
        let thread = std::thread::Builder::new().name("metronome".into()).spawn(move || {
            let driver = Driver::new(Engine::new(limits, seed, hash_key), authenticator);
            let sockets = listeners.into_iter().map(|(_, listener)| listener).collect();
            LocalSet::new().block_on(&runtime, run(Shared::new(driver), sockets, most, inbox));
        });
        let thread = Mutex::new(Some(thread.map_err(StartError::System)?));
        Ok(BrokerHandle { orders, local_addrs, open_files, thread })
    }
}

/// Seed and hash key that nobody can guess.
fn random() -> std::io::Result<(Seed, HashKey)> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    let word = |at: usize| bytes[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    Ok((Seed(word(0)), HashKey([word(8), word(16)])))
}

async fn run(
    shared: Rc<Shared>,
    listeners: Vec<std::net::TcpListener>,
    most: usize,
    mut inbox: mpsc::Receiver<Order>,
) {
    let mut accepting = Vec::new();
    for (number, listener) in (0..).zip(listeners) {
        // Made non-blocking when it was bound; registering it has no other way to fail than a lack of files.
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                let task = listener::accept(Rc::clone(&shared), listener, ListenerId(number), most);
                accepting.push(tokio::task::spawn_local(task));
            }
            Err(error) => tracing::error!(%error, "a listener could not be started"),
        }
    }
    tokio::task::spawn_local(Rc::clone(&shared).run_flusher());
    tokio::task::spawn_local(Rc::clone(&shared).run_timer());
    let deadline = loop {
        match inbox.recv().await {
            Some(Order::Command(command)) => {
                shared.driver.borrow_mut().command(shared.now(), command);
                shared.fed();
            }
            Some(Order::Counters(answer)) => {
                let counters = shared.driver.borrow().view().counters().clone();
                // Who asked may have gone.
                let _gone = answer.send(counters);
            }
            Some(Order::Stop(deadline)) => break deadline,
            None => break Duration::ZERO,
        }
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
}

/// A running broker. Dropping it stops the broker without waiting.
#[derive(Debug)]
pub struct BrokerHandle {
    orders: mpsc::Sender<Order>,
    local_addrs: Vec<SocketAddr>,
    open_files: u64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command(_) => "Command",
            Self::Counters(_) => "Counters",
            Self::Stop(_) => "Stop",
        })
    }
}

impl BrokerHandle {
    /// Where it listens, in the order of configuration, with the ports that were picked.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Files that the process may have open.
    pub fn open_file_limit(&self) -> u64 {
        self.open_files
    }

    /// Waits until the broker has stopped, for whatever reason.
    pub async fn stopped(&self) {
        self.orders.closed().await;
    }

    /// Publishes as the broker itself. Waits while more than a thousand orders are unfinished; not to be called
    /// from an asynchronous task. `false` when the broker has stopped.
    pub fn publish(&self, message: CommandPublish) -> bool {
        self.order(Order::Command(Command::Publish(message)))
    }

    /// Totals since the start; `None` when the broker has stopped. Not to be called from an asynchronous task.
    pub fn counters(&self) -> Option<Counters> {
        let (answer, counters) = oneshot::channel();
        self.order(Order::Counters(answer)).then(|| counters.blocking_recv().ok()).flatten()
    }

    fn order(&self, order: Order) -> bool {
        self.orders.blocking_send(order).is_ok()
    }

    /// Tells every client that the broker goes down, waits until they are gone, at most for `deadline`, and ends
    /// the thread. A second call does nothing.
    pub fn shutdown(&self, deadline: Duration) {
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            self.order(Order::Stop(deadline));
            if thread.join().is_err() {
                tracing::error!("the broker's thread panicked; this is a bug");
            }
        }
    }
}
