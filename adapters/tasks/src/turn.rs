//! Engine, sockets and tasks on one thread.
//!
//! Whoever reads feeds the driver and marks what is to be written. One flushing task runs behind all tasks that
//! were ready in the same turn, and writes each connection once.

use crate::alarm::{Alarm, watched};
use crate::bell::{Bell, Rung};
use crate::drops::Drops;
use crate::handle::Failure;
use crate::runtime::first;
use crate::signal::Signal;
use crate::{Runtime, Stream};
use broker_engine::{CloseCause, ConnId, Deadline, DeadlineReason, Time};
use metronome_host::config::Linger;
use metronome_host::transport::{self, Entrance, Layers, Page, Refused, Response, Step};
use metronome_host::{Driver, Flushed};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes of the one read buffer that all connections share.
const READ_BUFFER: usize = 64 << 10;

/// Slices of large work (of `work_per_call` deliveries each) that are done before what they lead to is written: a
/// client in several large fan-outs gets them in one write, and others wait a millisecond or so at most.
const SLICES_PER_TURN: usize = 16;

/// Connections written before others get their turn.
const FLUSHES_PER_TURN: usize = 256;

/// A socket and what whoever serves it should know.
pub struct Socket<R: Runtime> {
    pub(crate) id: ConnId,
    pub(crate) stream: R::Stream,
    /// What is between socket and MQTT; plain MQTT has nothing there.
    layers: Option<Box<RefCell<Layers>>>,
    /// Has it served, as when one of the cells has changed.
    pub(crate) bell: Arc<Bell>,
    /// Bytes wait for the socket to become writable.
    pub(crate) blocked: Cell<bool>,
    /// The engine wants nothing read.
    pub(crate) paused: Cell<bool>,
    pub(crate) end: Cell<End>,
    /// A task of its own sees it out.
    pub(crate) is_leaving: Cell<bool>,
}

impl<R: Runtime> Socket<R> {
    /// Has a layer said why it ends?
    pub(crate) fn has_goodbye(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.borrow().is_ending())
    }
}

/// How near its end a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    /// The engine has forgotten it, and something is still unsent.
    Closing,
    /// Everything is written.
    Written,
    /// The socket failed.
    Broken,
}

/// What all tasks of the thread share.
pub struct Shared<R: Runtime> {
    /// The engine with its connections.
    pub driver: RefCell<Driver>,
    sockets: RefCell<Vec<Option<Rc<Socket<R>>>>>,
    /// Those that are to be served.
    pub(crate) rung: Arc<Rung>,
    read_buffer: RefCell<Box<[u8]>>,
    started: Instant,
    flush: Signal,
    rearm: Signal,
    /// When the timer task will tick.
    armed: Cell<Time>,
    /// Open connections.
    open: Cell<usize>,
    /// There is none.
    pub all_closed: Signal,
    /// Connections before MQTT, and those of each address.
    entering: Cell<usize>,
    entering_at: RefCell<HashMap<IpAddr, usize>>,
    /// Time for what comes before MQTT.
    pub(crate) connect_timeout: Duration,
    pub(crate) linger: Linger,
    /// The broker cannot go on: for this reason, or as a task panicked.
    pub(crate) failure: RefCell<Option<Failure>>,
    pub(crate) alarm: Rc<Alarm>,
    /// What was lost, for the log.
    pub drops: RefCell<Drops>,
}

/// A connection that is counted as entering.
pub(crate) struct Entering<R: Runtime> {
    shared: Rc<Shared<R>>,
    address: Option<IpAddr>,
}

impl<R: Runtime> Drop for Entering<R> {
    fn drop(&mut self) {
        self.shared.entering.set(self.shared.entering.get() - 1);
        let Some(address) = self.address else { return };
        if let Entry::Occupied(mut count) = self.shared.entering_at.borrow_mut().entry(address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl<R: Runtime> Shared<R> {
    /// Runs a task until it ends or the broker does, which it does when the task panics.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        R::spawn(watched(Rc::clone(&self.alarm), task));
    }

    /// The broker has to end.
    pub(crate) fn fail(&self, failure: Failure) {
        *self.failure.borrow_mut() = Some(failure);
        self.alarm.ring();
    }

    /// Nobody is connected yet.
    pub fn new(driver: Driver, linger: Linger) -> Rc<Self> {
        let connect_timeout = driver.view().config().connect_timeout;
        Rc::new(Self {
            driver: RefCell::new(driver),
            sockets: RefCell::default(),
            rung: Arc::default(),
            read_buffer: RefCell::new(vec![0; READ_BUFFER].into()),
            started: Instant::now(),
            flush: Signal::default(),
            rearm: Signal::default(),
            armed: Cell::new(Time::MAX),
            open: Cell::new(0),
            all_closed: Signal::default(),
            entering: Cell::new(0),
            entering_at: RefCell::default(),
            connect_timeout,
            linger,
            failure: RefCell::default(),
            alarm: Rc::default(),
            drops: RefCell::default(),
        })
    }

    /// Since the start.
    pub fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Connections that the engine knows, or whose last words are on their way.
    pub fn open_connections(&self) -> usize {
        self.open.get()
    }

    /// All connections that have a file.
    pub(crate) fn occupied(&self) -> usize {
        self.open.get() + self.entering.get()
    }

    /// Connections whose client is not let in yet.
    pub(crate) fn strangers(&self) -> usize {
        self.driver.borrow().strangers() + self.entering.get()
    }

    /// Those of one address.
    pub(crate) fn strangers_at(&self, address: IpAddr) -> usize {
        let entering = self.entering_at.borrow().get(&address).copied().unwrap_or_default();
        self.driver.borrow().strangers_at(address) + entering
    }

    /// Counts a connection as entering while the answer is kept.
    pub(crate) fn entering(self: &Rc<Self>, address: Option<IpAddr>) -> Entering<R> {
        self.entering.set(self.entering.get() + 1);
        if let Some(address) = address {
            *self.entering_at.borrow_mut().entry(address).or_default() += 1;
        }
        Entering { shared: Rc::clone(self), address }
    }

    pub(crate) fn insert(&self, id: ConnId, stream: R::Stream, layers: Option<Layers>) -> Rc<Socket<R>> {
        let socket = Rc::new(Socket {
            id,
            stream,
            layers: layers.map(|layers| Box::new(RefCell::new(layers))),
            bell: Bell::new(id, Arc::clone(&self.rung)),
            blocked: Cell::new(false),
            paused: Cell::new(false),
            end: Cell::new(End::Open),
            is_leaving: Cell::new(false),
        });
        let mut sockets = self.sockets.borrow_mut();
        if sockets.len() <= id.slot() {
            sockets.resize_with(id.slot() + 1, || None);
        }
        sockets[id.slot()] = Some(Rc::clone(&socket));
        self.open.set(self.open.get() + 1);
        socket
    }

    /// A connection has ended.
    pub(crate) fn remove(&self, id: ConnId) {
        self.sockets.borrow_mut()[id.slot()] = None;
        self.driver.borrow_mut().release(id);
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.all_closed.notify();
        }
    }

    pub(crate) fn socket(&self, id: ConnId) -> Option<Rc<Socket<R>>> {
        self.sockets.borrow().get(id.slot())?.clone().filter(|socket| socket.id == id)
    }

    /// Reads once and feeds the engine. `None` when there is nothing to read now, 0 at the end of the stream.
    pub(crate) fn read(&self, socket: &Socket<R>) -> Option<io::Result<usize>> {
        let mut buffer = self.read_buffer.borrow_mut();
        let read = socket.stream.read(&mut buffer);
        let Some(Ok(count @ 1..)) = read else { return read };
        let (now, bytes) = (self.now(), &mut buffer[..count]);
        let mut driver = self.driver.borrow_mut();
        let Some(layers) = &socket.layers else {
            driver.received(now, socket.id, bytes);
            return read;
        };
        let mut layers = layers.borrow_mut();
        let received = layers.receive(bytes, |bytes| driver.received(now, socket.id, bytes));
        let answers = layers.has_outgoing();
        drop((driver, layers));
        if answers {
            self.flush_one(socket.id);
        }
        match received {
            Ok(()) => read,
            Err(CloseCause::PeerClosed) => Some(Ok(0)),
            Err(_) => Some(Err(ErrorKind::InvalidData.into())),
        }
    }

    /// Reads once before MQTT. `None` when there is nothing to read now.
    pub(crate) fn read_entrance(
        &self,
        stream: &R::Stream,
        entrance: &mut Entrance,
    ) -> io::Result<Option<Result<Step, Refused>>> {
        let mut buffer = self.read_buffer.borrow_mut();
        match stream.read(&mut buffer).transpose()? {
            None => Ok(None),
            Some(0) => Err(ErrorKind::UnexpectedEof.into()),
            Some(count) => Ok(Some(entrance.receive(&buffer[..count]))),
        }
    }

    /// Reads once and throws it away.
    pub(crate) fn discard(&self, stream: &R::Stream) -> Option<io::Result<usize>> {
        stream.read(&mut self.read_buffer.borrow_mut())
    }

    /// What an HTTP listener answers.
    pub(crate) fn page(&self, page: Page) -> Response {
        self.driver.borrow().page(page, self.now(), unix_time())
    }

    /// To be called whenever the driver was fed: sees to flushing and to the timer.
    pub fn fed(&self) {
        loop {
            let urgent = self.driver.borrow_mut().next_urgent();
            let Some(id) = urgent else { break };
            self.flush_one(id);
        }
        let driver = self.driver.borrow();
        let deadline = driver.next_deadline();
        // While work goes on, the timer task does it first and then sees to flushing.
        if driver.has_dirty() && !is_work(deadline) {
            self.flush.notify();
        }
        if deadline.is_some_and(|deadline| deadline.at < self.armed.get()) {
            self.rearm.notify();
        }
        drop(driver);
        self.tell_changed();
    }

    /// Tells tasks whose reads are paused or resumed.
    fn tell_changed(&self) {
        loop {
            let mut driver = self.driver.borrow_mut();
            let Some(id) = driver.next_changed() else { return };
            let paused = driver.is_paused(id);
            drop(driver);
            if let Some(socket) = self.socket(id) {
                socket.paused.set(paused);
                socket.bell.ring();
            }
        }
    }

    /// Writes what waits for one connection.
    pub(crate) fn flush_one(&self, id: ConnId) {
        let Some(socket) = self.socket(id) else { return };
        let now = self.now();
        let mut driver = self.driver.borrow_mut();
        let outcome = match &socket.layers {
            None => driver.flush(now, id, |slices| socket.stream.write_vectored(slices)),
            Some(layers) => {
                let write = |bytes: &[u8]| socket.stream.write(bytes);
                transport::flush(&mut driver, now, id, &mut layers.borrow_mut(), write)
            }
        };
        let closing = driver.is_closing(id);
        drop(driver);
        let blocked = outcome == Flushed::Blocked;
        let end = match outcome {
            Flushed::Close => End::Written,
            Flushed::Broken => End::Broken,
            Flushed::Blocked if closing => End::Closing,
            Flushed::Done | Flushed::Blocked => socket.end.get(),
        };
        let was_blocked = socket.blocked.replace(blocked);
        if socket.end.replace(end) != end || (blocked && !was_blocked) {
            socket.bell.ring();
        }
    }

    /// The flushing task.
    pub async fn run_flusher(self: Rc<Self>) {
        loop {
            self.flush.notified().await;
            // A flush can lead to new output (a queue that drains), so it goes on until there is none.
            for count in 1.. {
                let next = self.driver.borrow_mut().next_dirty();
                let Some(id) = next else { break };
                self.flush_one(id);
                if count % FLUSHES_PER_TURN == 0 {
                    self.fed();
                    R::yield_now().await;
                }
            }
            self.fed();
        }
    }

    /// The task that takes up what hooks answer later.
    pub(crate) async fn take_up_answers(self: Rc<Self>) {
        loop {
            poll_fn(|context| self.driver.borrow_mut().poll_hooks(self.now(), context)).await;
            self.fed();
            R::yield_now().await;
        }
    }

    /// The timer task.
    pub async fn run_timer(self: Rc<Self>) {
        loop {
            let deadline = self.driver.borrow().next_deadline();
            self.armed.set(deadline.map_or(Time::MAX, |deadline| deadline.at));
            let now = self.now();
            match deadline {
                None => self.rearm.notified().await,
                Some(deadline) if deadline.at <= now => {
                    for _ in 0..SLICES_PER_TURN {
                        self.driver.borrow_mut().tick(now);
                        self.fed();
                        if !is_work(self.driver.borrow().next_deadline()) {
                            break;
                        }
                    }
                    self.flush.notify();
                    // Sockets get their turn between slices of large work.
                    R::yield_now().await;
                }
                Some(deadline) => {
                    let wait = deadline.at.since(now).max(Duration::from_millis(1));
                    first(self.rearm.notified(), R::sleep(wait)).await;
                }
            }
        }
    }
}

/// Seconds.
pub fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn is_work(deadline: Option<Deadline>) -> bool {
    deadline.is_some_and(|deadline| deadline.reason == DeadlineReason::Work)
}
