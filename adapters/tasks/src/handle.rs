//! Asking and stopping a running broker.

use crate::accepted::Accepted;
use crate::inline::{InlineClient, InlineError};
use async_channel::{Receiver, Sender, TrySendError};
use broker_engine::mqtt_proto::{Packet, Publish, ReasonCode, TopicFilter};
use broker_engine::{ApplicationMessage, Command, Config, Counters, ListenerId, Time, View};
use metronome_host::config::listeners::Transport;
use metronome_host::listeners::Listener;
use metronome_host::storage::Found;
use metronome_host::stores::StoreError;
use metronome_host::transport::{Certificates, Stages};
use metronome_host::{ConfigError, Driver, InjectError, WatchedFiles};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long [`BrokerHandle::publish`] sleeps before it tries again.
const BREATH: Duration = Duration::from_millis(1);

/// Something to be done on the broker's thread.
pub(crate) type Errand = Box<dyn FnOnce(&mut Driver, Time) + Send>;

/// What the handle wants of the broker's thread.
pub(crate) enum Order {
    Command(Command),
    /// To serve a connection that came in by this listener, and from where.
    Serve(ListenerId, Accepted, Option<SocketAddr>),
    /// Anything else.
    Do(Errand),
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command(_) => "Command",
            Self::Serve(..) => "Serve",
            Self::Do(_) => "Do",
        })
    }
}

/// Where orders go.
#[derive(Clone, Debug)]
pub(crate) struct Orders(Sender<Order>);

impl Orders {
    /// Waits until there is room; false when the broker has stopped.
    pub(crate) fn give(&self, mut order: Order) -> bool {
        while let Err(error) = self.0.try_send(order) {
            let TrySendError::Full(back) = error else { return false };
            order = back;
            std::thread::sleep(BREATH);
        }
        true
    }

    /// Does not wait: where there is no room, another thread does.
    pub(crate) fn give_from_anywhere(&self, order: Order) {
        if let Err(TrySendError::Full(order)) = self.0.try_send(order) {
            let orders = self.clone();
            std::thread::spawn(move || orders.give(order));
        }
    }

    /// Has something done on the broker's thread and waits for what comes of it.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Driver, Time) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = std::sync::mpsc::channel();
        let asked = self.give(Order::Do(Box::new(move |driver, now| {
            // Who asked waits for it.
            let _waits = answer.send(question(driver, now));
        })));
        if asked { answered.recv().ok() } else { None }
    }
}

/// What a broker has done and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Totals since the start; with `storage.keep_counters` those of earlier processes are in them.
    pub counters: Counters,
    /// Connected clients.
    pub connections: usize,
    /// Of those that came in by a listener, how many speak what below MQTT.
    pub connections_over: BTreeMap<Transport, usize>,
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
            counters: driver.counters(),
            connections: view.connections(),
            connections_over: driver.clients_by_transport(),
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

/// Why a broker ended that nobody asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Its store cannot be used any more: what it acknowledged could not be kept.
    Store(StoreError),
    /// Its sockets cannot be watched any more.
    Sockets(String),
    /// A panic, which is a bug.
    Panic,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "the store cannot be used any more: {error}"),
            Self::Sockets(error) => write!(f, "its sockets cannot be watched any more: {error}"),
            Self::Panic => f.write_str("the broker panicked, which is a bug"),
        }
    }
}

impl std::error::Error for Failure {}

/// A listener that is open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listening {
    /// As configured, or empty.
    pub name: String,
    /// What is spoken.
    pub transport: Transport,
    /// Where clients find it, as in `wss://127.0.0.1:8084/mqtt`, with the port that was picked.
    pub url: String,
    /// Its address; a Unix socket has none.
    pub address: Option<SocketAddr>,
    stages: Arc<Stages>,
}

impl Listening {
    pub(crate) fn new(listener: &Listener, address: Option<SocketAddr>) -> Self {
        let (url, stages) = (listener.url(address), Arc::clone(&listener.stages));
        Self { name: listener.name.clone(), transport: listener.transport, url, address, stages }
    }
}

/// A running broker. Dropping it stops the broker without waiting.
#[derive(Debug)]
pub struct BrokerHandle {
    orders: Orders,
    stop: Sender<Duration>,
    running: Receiver<()>,
    listening: Vec<Listening>,
    local_addrs: Vec<SocketAddr>,
    open_files: u64,
    limits: Config,
    found: Option<Found>,
    failure: Arc<OnceLock<Failure>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl BrokerHandle {
    /// Of `running` the broker's thread has the only sender, which says nothing and goes with the thread. `failure` is said
    /// before.
    pub(crate) fn new(
        orders: Sender<Order>,
        stop: Sender<Duration>,
        (running, failure): (Receiver<()>, Arc<OnceLock<Failure>>),
        listening: Vec<Listening>,
        open_files: u64,
        (limits, found): (Config, Option<Found>),
        thread: JoinHandle<()>,
    ) -> Self {
        let orders = Orders(orders);
        let local_addrs = listening.iter().filter_map(|listener| listener.address).collect();
        let thread = Mutex::new(Some(thread));
        Self { orders, stop, running, listening, local_addrs, open_files, limits, found, failure, thread }
    }

    /// Where and how it listens, in the order of configuration.
    pub fn listeners(&self) -> &[Listening] {
        &self.listening
    }

    /// The files of TLS, to be looked at for changes.
    pub fn certificate_files(&self) -> WatchedFiles {
        let certificates = self.listening.iter().filter_map(|listener| listener.stages.tls.as_deref());
        WatchedFiles::new(certificates.flat_map(Certificates::files).cloned().collect())
    }

    /// Reads the files of TLS again: certificates, keys, authorities and lists of revoked certificates. Connections to
    /// come get what is new, and nobody is dropped. Blocks while it reads.
    ///
    /// # Errors
    /// Names the first file that cannot be used, and why; then everything stays as it was.
    pub fn reload_certificates(&self) -> Result<(), ConfigError> {
        Certificates::reload(self.listening.iter().filter_map(|listener| listener.stages.tls.as_deref()))
    }

    /// The addresses on which it listens, in the order of configuration, with the ports that were picked.
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

    /// What was in the store at the start; `None` where nothing is kept.
    pub fn found(&self) -> Option<&Found> {
        self.found.as_ref()
    }

    /// Waits until the broker has stopped, for whatever reason. Any runtime will do.
    pub async fn stopped(&self) {
        let _ended = self.running.recv().await;
    }

    /// Why it has stopped, or is about to, where nobody asked it to.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// Waits until the broker's thread has come by, which shows that it is alive. False when it has stopped. Any runtime will
    /// do.
    pub async fn responds(&self) -> bool {
        let (answer, answered) = async_channel::bounded(1);
        let ask = Order::Do(Box::new(move |_, _| {
            // Who asked may have given up.
            let _waits = answer.try_send(());
        }));
        self.orders.0.send(ask).await.is_ok() && answered.recv().await.is_ok()
    }

    /// Publishes as the broker itself, without waiting.
    ///
    /// # Errors
    /// A thousand orders are unfinished, or the broker has stopped.
    pub fn try_publish(&self, message: ApplicationMessage) -> Result<(), PublishError> {
        self.orders.0.try_send(Order::Command(Command::Publish(message))).map_err(|error| match error {
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
        self.orders.ask(|driver, _| Stats::of(driver))
    }

    /// Looks at clients, sessions, subscriptions and figures, on the broker's thread; `None` when it has stopped, or
    /// `look` panics. As long as it looks, nobody is served. Blocks the thread, so a hook of this broker must not call it.
    ///
    /// ```
    /// # fn connected(broker: &metronome_tasks::BrokerHandle) -> Option<Vec<String>> {
    /// broker.look(|view| {
    ///     let connected = view.each_session().filter(|session| session.connection().is_some());
    ///     connected.map(|session| session.client_id().to_owned()).collect()
    /// })
    /// # }
    /// ```
    pub fn look<T: Send + 'static>(&self, look: impl FnOnce(View<'_>) -> T + Send + 'static) -> Option<T> {
        // It only reads, so nothing is left half done by a panic.
        self.orders.ask(|driver, _| catch_unwind(AssertUnwindSafe(|| look(driver.view()))).ok())?
    }

    /// Retained messages whose topics match this filter, in the order of topics, at most `most`: as a new subscriber would get
    /// them, so that the Message Expiry Interval is what is left of it. Nobody is asked whether they may be read. Others are
    /// served between pages of them, so it is no picture of one moment. One is cleared by publishing an empty one
    /// to its topic. Blocks the thread, so a hook of this broker must not call it.
    ///
    /// # Errors
    /// It is no topic filter, or the broker has stopped.
    pub fn retained(&self, filter: &str, most: usize) -> Result<Vec<ApplicationMessage>, InlineError> {
        let invalid = InlineError::Refused(ReasonCode::TopicFilterInvalid);
        let (mut messages, mut after) = (Vec::new(), None);
        loop {
            let (filter, wanted) = (filter.to_owned(), most - messages.len());
            let page = self.orders.ask(move |driver, now| {
                let filter = TopicFilter::parse(&filter).ok()?;
                Some(driver.view().retained_page(now, filter, after.as_deref(), wanted))
            });
            let page = page.ok_or(InlineError::Stopped)?.ok_or(invalid)?;
            messages.extend(page.messages);
            after = page.after;
            if after.is_none() || messages.len() >= most {
                return Ok(messages);
            }
        }
    }

    /// Disconnects a client with this reason, and ends its session if asked to; a will is sent unless the reason is
    /// `Success`. A client that is not there is none to be disconnected. Blocks the thread while a thousand orders are
    /// unfinished.
    pub fn disconnect(&self, client_id: &str, reason: ReasonCode, end_session: bool) {
        let client_id = client_id.to_owned();
        self.command(Command::Disconnect { client_id, reason, end_session });
    }

    /// Gives a command, such as to subscribe for somebody's session. Blocks the thread while a thousand orders are
    /// unfinished.
    pub fn command(&self, command: Command) {
        self.orders.give(Order::Command(command));
    }

    /// Serves a connection that the program has accepted, as if it had come in by this listener, which are numbered from 0 in
    /// the order of configuration: with its TLS and WebSocket, hooks and limits. `peer` is from where it came, for hooks and
    /// the log. Blocks the thread while a thousand orders are unfinished, so a hook of this broker must not call it.
    ///
    /// # Errors
    /// There is no such listener, the socket is broken, or the broker has stopped.
    pub fn accept(
        &self,
        listener: ListenerId,
        socket: impl Into<Accepted>,
        peer: Option<SocketAddr>,
    ) -> io::Result<()> {
        let socket = socket.into();
        if usize::from(listener.0) >= self.listening.len() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "there is no such listener"));
        }
        socket.set_nonblocking()?;
        let given = self.orders.give(Order::Serve(listener, socket, peer));
        given.then_some(()).ok_or_else(|| io::Error::new(ErrorKind::NotConnected, "the broker has stopped"))
    }

    /// A client inside the program, whose messages go to `on_message`, on the broker's thread: while that runs, nobody is
    /// served. Nobody is asked what it may; below `$SYS` only [`BrokerHandle::publish`] publishes. With an empty client identifier
    /// the broker assigns one. Blocks the thread, so a hook of this broker must not call it.
    ///
    /// # Errors
    /// The broker refuses it, or has stopped.
    pub fn inline_client(
        &self,
        client_id: &str,
        on_message: impl FnMut(&Publish<'_>) + Send + 'static,
    ) -> Result<InlineClient, InlineError> {
        InlineClient::connect(self.orders.clone(), client_id, on_message)
    }

    /// Does as if a client had sent this packet: what the broker answers goes to the client, and hooks are asked as ever.
    /// Blocks the thread, so a hook of this broker must not call it.
    ///
    /// # Errors
    /// The client is not connected, or in the middle of a packet of its own; the packet is none; the broker has stopped.
    pub fn inject(&self, client_id: &str, packet: &Packet<'_>) -> Result<(), InlineError> {
        let name = client_id.to_owned();
        let version = self.look(move |view| {
            let conn = view.session(&name)?.connection()?;
            view.connection(conn).map(|(version, _)| version)
        });
        let version = version.ok_or(InlineError::Stopped)?.ok_or(InjectError::NotConnected)?;
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).map_err(InlineError::Packet)?;
        let name = client_id.to_owned();
        let injected = self.orders.ask(move |driver, now| driver.inject(now, &name, version, &bytes));
        Ok(injected.ok_or(InlineError::Stopped)??)
    }

    /// Tells every client that the broker goes down, waits until they are gone, at most for `deadline`, and ends
    /// the thread. Further calls wait for the first.
    pub fn shutdown(&self, deadline: Duration) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // Nobody else asks, and who does not listen has stopped.
            let _stopped = self.stop.try_send(deadline);
            if thread.join().is_err() {
                tracing::error!("the broker's thread panicked; this is a bug");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, Orders};

    /// The thread that carries out orders may give one, and cannot wait for itself.
    #[test]
    fn an_order_that_finds_no_room_keeps_nobody() {
        let (sender, orders) = async_channel::bounded(1);
        let sender = Orders(sender);
        for _ in 0..3 {
            sender.give_from_anywhere(Order::Do(Box::new(|_, _| ())));
        }
        for _ in 0..3 {
            assert!(matches!(orders.recv_blocking(), Ok(Order::Do(_))));
        }
    }
}
