//! Asking and stopping a running broker.

use broker_engine::{ApplicationMessage, Command, Config, Counters};
use metronome_host::Driver;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;

/// How long [`BrokerHandle::publish`] sleeps before it tries again.
const BREATH: Duration = Duration::from_millis(1);

/// What the handle wants of the broker's thread.
pub(crate) enum Order {
    Command(Command),
    Stats(std::sync::mpsc::Sender<Stats>),
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command(_) => "Command",
            Self::Stats(_) => "Stats",
        })
    }
}

/// What a broker has done and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Totals since the start.
    pub counters: Counters,
    /// Connected clients.
    pub connections: usize,
    /// Sessions, connected or not.
    pub sessions: usize,
    /// Subscriptions of all sessions.
    pub subscriptions: usize,
    /// Topics with a retained message, without those below `$SYS`.
    pub retained: usize,
    /// Bytes that it keeps, by its own account: what the memory budget is compared with.
    pub memory_used: u64,
}

impl Stats {
    pub(crate) fn of(driver: &Driver) -> Self {
        let view = driver.view();
        Self {
            counters: view.counters().clone(),
            connections: view.connections(),
            sessions: view.sessions(),
            subscriptions: view.subscriptions(),
            retained: driver.retained(),
            memory_used: view.memory_used(),
        }
    }
}

/// Why a message was not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// A thousand orders wait already; the message is handed back.
    Busy(Box<ApplicationMessage>),
    /// The broker has stopped.
    Stopped,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy(_) => "the broker has too many orders waiting",
            Self::Stopped => "the broker has stopped",
        })
    }
}

impl std::error::Error for PublishError {}

/// A running broker. Dropping it stops the broker without waiting.
#[derive(Debug)]
pub struct BrokerHandle {
    orders: mpsc::Sender<Order>,
    stop: watch::Sender<Option<Duration>>,
    local_addrs: Vec<SocketAddr>,
    open_files: u64,
    limits: Config,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl BrokerHandle {
    pub(crate) fn new(
        orders: mpsc::Sender<Order>,
        stop: watch::Sender<Option<Duration>>,
        local_addrs: Vec<SocketAddr>,
        open_files: u64,
        limits: Config,
        thread: JoinHandle<()>,
    ) -> Self {
        Self { orders, stop, local_addrs, open_files, limits, thread: Mutex::new(Some(thread)) }
    }

    /// Where it listens, in the order of configuration, with the ports that were picked.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Files that the process may have open.
    pub fn open_file_limit(&self) -> u64 {
        self.open_files
    }

    /// The engine's limits and choices in force, with those filled in that depend on the machine.
    pub fn limits(&self) -> &Config {
        &self.limits
    }

    /// Waits until the broker has stopped, for whatever reason. Any runtime will do.
    pub async fn stopped(&self) {
        self.orders.closed().await;
    }

    /// Publishes as the broker itself, without waiting.
    ///
    /// # Errors
    /// A thousand orders are unfinished, or the broker has stopped.
    pub fn try_publish(&self, message: ApplicationMessage) -> Result<(), PublishError> {
        self.orders.try_send(Order::Command(Command::Publish(message))).map_err(|error| match error {
            TrySendError::Full(Order::Command(Command::Publish(message))) => {
                PublishError::Busy(Box::new(message))
            }
            TrySendError::Full(_) | TrySendError::Closed(_) => PublishError::Stopped,
        })
    }

    /// Publishes as the broker itself. Blocks the thread while a thousand orders are unfinished; in an
    /// asynchronous task, or in a hook of this broker, use [`BrokerHandle::try_publish`].
    ///
    /// # Errors
    /// The broker has stopped.
    pub fn publish(&self, mut message: ApplicationMessage) -> Result<(), PublishError> {
        loop {
            match self.try_publish(message) {
                Err(PublishError::Busy(back)) => message = *back,
                done => return done,
            }
            std::thread::sleep(BREATH);
        }
    }

    /// What the broker has done and what it holds; `None` when it has stopped. Blocks the thread until the
    /// broker gets to it, so a hook of this broker must not call it.
    pub fn stats(&self) -> Option<Stats> {
        let (answer, stats) = std::sync::mpsc::channel();
        let mut order = Order::Stats(answer);
        while let Err(error) = self.orders.try_send(order) {
            let TrySendError::Full(back) = error else { return None };
            order = back;
            std::thread::sleep(BREATH);
        }
        stats.recv().ok()
    }

    /// Tells every client that the broker goes down, waits until they are gone, at most for `deadline`, and ends
    /// the thread. Further calls wait for the first.
    pub fn shutdown(&self, deadline: Duration) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            self.stop.send_if_modified(|asked| asked.replace(deadline).is_none());
            if thread.join().is_err() {
                tracing::error!("the broker's thread panicked; this is a bug");
            }
        }
    }
}
