//! Engine, sockets and tasks on one thread.
//!
//! Reading tasks feed the driver and mark what is to be written. One flushing task runs behind all tasks that
//! were ready in the same turn, and writes each connection once.

use broker_engine::{ConnId, Time};
use metronome_host::{Driver, Flushed};
use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Bytes of the one read buffer that all connections share.
const READ_BUFFER: usize = 64 << 10;

/// A socket and what its task should know.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) id: ConnId,
    pub(crate) stream: TcpStream,
    /// Wakes the task when one of the cells has changed.
    pub(crate) wake: Notify,
    /// Bytes wait for the socket to become writable.
    pub(crate) blocked: Cell<bool>,
    pub(crate) paused: Cell<bool>,
    /// Everything is written and the engine wants it closed.
    pub(crate) finished: Cell<bool>,
    /// The socket failed.
    pub(crate) broken: Cell<bool>,
}

/// What all tasks of the thread share.
pub(crate) struct Shared {
    pub(crate) driver: RefCell<Driver>,
    sockets: RefCell<Vec<Option<Rc<Socket>>>>,
    read_buffer: RefCell<Box<[u8]>>,
    started: Instant,
    flush: Notify,
    rearm: Notify,
    /// When the timer task will tick.
    armed: Cell<Time>,
    /// Open connections, and who waits for there to be none.
    open: Cell<usize>,
    pub(crate) all_closed: Notify,
}

impl Shared {
    pub(crate) fn new(driver: Driver) -> Rc<Self> {
        Rc::new(Self {
            driver: RefCell::new(driver),
            sockets: RefCell::default(),
            read_buffer: RefCell::new(vec![0; READ_BUFFER].into()),
            started: Instant::now(),
            flush: Notify::new(),
            rearm: Notify::new(),
            armed: Cell::new(Time::MAX),
            open: Cell::new(0),
            all_closed: Notify::new(),
        })
    }

    pub(crate) fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.open.get()
    }

    pub(crate) fn insert(&self, id: ConnId, stream: TcpStream) -> Rc<Socket> {
        let socket = Rc::new(Socket {
            id,
            stream,
            wake: Notify::new(),
            blocked: Cell::new(false),
            paused: Cell::new(false),
            finished: Cell::new(false),
            broken: Cell::new(false),
        });
        let mut sockets = self.sockets.borrow_mut();
        if sockets.len() <= id.slot() {
            sockets.resize_with(id.slot() + 1, || None);
        }
        sockets[id.slot()] = Some(Rc::clone(&socket));
        self.open.set(self.open.get() + 1);
        socket
    }

    /// The task of a connection has ended.
    pub(crate) fn remove(&self, id: ConnId) {
        self.sockets.borrow_mut()[id.slot()] = None;
        self.driver.borrow_mut().release(id);
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.all_closed.notify_waiters();
        }
    }

    fn socket(&self, id: ConnId) -> Option<Rc<Socket>> {
        self.sockets.borrow().get(id.slot())?.clone().filter(|socket| socket.id == id)
    }

    /// Reads once and feeds the engine. `None` when there is nothing to read now, 0 at the end of the stream.
    pub(crate) fn read(&self, socket: &Socket) -> Option<std::io::Result<usize>> {
        let mut buffer = self.read_buffer.borrow_mut();
        match socket.stream.try_read(&mut buffer) {
            Ok(0) => Some(Ok(0)),
            Ok(count) => {
                self.driver.borrow_mut().received(self.now(), socket.id, &buffer[..count]);
                Some(Ok(count))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// To be called whenever the driver was fed: sees to flushing and to the timer.
    pub(crate) fn fed(&self) {
        let urgent = self.driver.borrow_mut().take_urgent();
        if let Some(id) = urgent {
            self.flush_one(id);
        }
        let driver = self.driver.borrow();
        if driver.has_dirty() {
            self.flush.notify_one();
        }
        if driver.next_deadline().is_some_and(|deadline| deadline.at < self.armed.get()) {
            self.rearm.notify_one();
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
                socket.wake.notify_one();
            }
        }
    }

    /// Writes what waits for one connection.
    pub(crate) fn flush_one(&self, id: ConnId) {
        let Some(socket) = self.socket(id) else { return };
        let now = self.now();
        let outcome =
            self.driver.borrow_mut().flush(now, id, |slices| socket.stream.try_write_vectored(slices));
        let was_blocked = socket.blocked.replace(outcome == Flushed::Blocked);
        match outcome {
            Flushed::Done => {}
            Flushed::Blocked if was_blocked => {}
            Flushed::Blocked => socket.wake.notify_one(),
            Flushed::Close => {
                socket.finished.set(true);
                socket.wake.notify_one();
            }
            Flushed::Broken => {
                socket.broken.set(true);
                socket.wake.notify_one();
            }
        }
    }

    /// The flushing task.
    pub(crate) async fn run_flusher(self: Rc<Self>) {
        loop {
            self.flush.notified().await;
            // A flush can lead to new output (a queue that drains), so it goes on until there is none.
            loop {
                let next = self.driver.borrow_mut().next_dirty();
                let Some(id) = next else { break };
                self.flush_one(id);
            }
            self.fed();
        }
    }

    /// The timer task.
    pub(crate) async fn run_timer(self: Rc<Self>) {
        loop {
            let deadline = self.driver.borrow().next_deadline();
            self.armed.set(deadline.map_or(Time::MAX, |deadline| deadline.at));
            let now = self.now();
            match deadline {
                None => self.rearm.notified().await,
                Some(deadline) if deadline.at <= now => {
                    self.driver.borrow_mut().tick(now);
                    self.fed();
                    // Sockets get their turn between slices of large work.
                    tokio::task::yield_now().await;
                }
                Some(deadline) => {
                    let wait = deadline.at.since(now).max(Duration::from_millis(1));
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.rearm.notified() => {}
                    }
                }
            }
        }
    }
}
