//! A broker on plain threads and blocking sockets, for programs that have a networking stack of their own:
//! `cargo run -p metronome-host --example threads -- 127.0.0.1:1883`. WebSockets come in on the same port.
//!
//! One lock is around the driver. Each connection has a thread that reads and one that writes, and one thread ticks. Nobody
//! holds the lock while a socket keeps it waiting.

use broker_engine::{CloseCause, Config, ConnId, Engine, HashKey, ListenerId, Seed, Time};
use metronome_host::config::ListenerConfig;
use metronome_host::transport::{Entered, Entrance, Layers, Stages, Step, flush};
use metronome_host::{AllowAll, BrokerConfig, Driver, Flushed};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that one connection has on their way besides what the driver keeps.
const ON_THE_WAY: usize = 64 << 10;

/// What all threads share.
struct Broker {
    state: Mutex<State>,
    /// Something is to be written or timed anew.
    changed: Condvar,
    started: Instant,
}

struct State {
    driver: Driver,
    layers: HashMap<ConnId, Layers>,
}

impl Broker {
    fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread that ticks.
    fn tick(&self) {
        let mut state = self.lock();
        loop {
            let wait = state.driver.next_deadline().map_or(Duration::from_secs(3600), |deadline| {
                let now = self.now();
                deadline.at.since(now).max(Duration::from_millis(1))
            });
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            let now = self.now();
            if state.driver.next_deadline().is_some_and(|deadline| deadline.at <= now) {
                state.driver.tick(now);
                self.changed.notify_all();
            }
        }
    }

    /// The thread that sees a client in, and then reads.
    fn serve(self: Arc<Self>, mut socket: TcpStream, stages: &Arc<Stages>) -> io::Result<()> {
        let mut entrance = Entrance::new(stages, Some(socket.peer_addr()?));
        let mut buffer = [0; 4096];
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        loop {
            let count = socket.read(&mut buffer)?;
            let step = if count == 0 { return Ok(()) } else { entrance.receive(&buffer[..count]) };
            entrance.write_outgoing(|bytes| socket.write(bytes))?;
            match step {
                Ok(Step::More) => {}
                Ok(Step::In) => break,
                // Refused; it has been told so.
                _ => return Ok(()),
            }
        }
        socket.set_read_timeout(None)?;
        let Entered { layers, peer, early, .. } = entrance.enter();
        let mut state = self.lock();
        let conn = state.driver.open(self.now(), ListenerId(0), peer);
        state.layers.insert(conn, layers.unwrap_or_default());
        state.driver.received(self.now(), conn, &early);
        drop(state);
        self.changed.notify_all();
        let writer = (Arc::clone(&self), socket.try_clone()?);
        let writer = std::thread::spawn(move || writer.0.write(conn, writer.1));
        loop {
            let read = socket.read(&mut buffer);
            let mut state = self.lock();
            let State { driver, layers } = &mut *state;
            let end = match (read, layers.get_mut(&conn)) {
                // The writing thread has closed it.
                (_, None) => break,
                (Ok(0), _) => Err(CloseCause::PeerClosed),
                (Ok(count), Some(layers)) => {
                    layers.receive(&mut buffer[..count], |mqtt| driver.received(self.now(), conn, mqtt))
                }
                (Err(_), _) => Err(CloseCause::Fault),
            };
            if let Err(cause) = end {
                if !driver.is_closing(conn) {
                    driver.closed(self.now(), conn, cause);
                }
                layers.remove(&conn);
            }
            self.changed.notify_all();
            // Whose reading is paused waits until it is not, and so does its client.
            while state.driver.is_paused(conn) && state.layers.contains_key(&conn) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        // The driver forgets it when both threads have.
        let _panicked = writer.join();
        self.lock().driver.release(conn);
        Ok(())
    }

    /// The thread that writes.
    fn write(&self, conn: ConnId, mut socket: TcpStream) {
        let mut bytes = Vec::new();
        let mut state = self.lock();
        loop {
            let State { driver, layers } = &mut *state;
            let Some(own) = layers.get_mut(&conn) else { break };
            let outcome = flush(driver, self.now(), conn, own, |part| match ON_THE_WAY - bytes.len() {
                0 => Err(ErrorKind::WouldBlock.into()),
                room => bytes.write(&part[..part.len().min(room)]),
            });
            if bytes.is_empty() && outcome == Flushed::Done {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            let written = socket.write_all(&bytes);
            bytes.clear();
            state = self.lock();
            if written.is_err() || outcome == Flushed::Close {
                state.layers.remove(&conn);
            }
            self.changed.notify_all();
        }
        drop(state);
        // Wakes the thread that reads. It may be closed already.
        let _closed = socket.shutdown(Shutdown::Both);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1883".to_owned());
    let listeners = vec![ListenerConfig::at(format!("any://{address}"))];
    let config = BrokerConfig { listeners, ..BrokerConfig::default() };
    let stages = config.checked_listeners(false)?.remove(0).stages;
    let listener = TcpListener::bind(address)?;
    println!("listening on mqtt://{}", listener.local_addr()?);
    // A broker for others takes these from a source that nobody can guess.
    let engine = Engine::new(Config::default(), Seed(1), HashKey([2, 3]));
    let driver = Driver::new(engine, AllowAll);
    let state = Mutex::new(State { driver, layers: HashMap::new() });
    let broker = Arc::new(Broker { state, changed: Condvar::new(), started: Instant::now() });
    let ticking = Arc::clone(&broker);
    std::thread::spawn(move || ticking.tick());
    for socket in listener.incoming() {
        let (socket, broker, stages) = (socket?, Arc::clone(&broker), Arc::clone(&stages));
        socket.set_nodelay(true)?;
        std::thread::spawn(move || broker.serve(socket, &stages));
    }
    Ok(())
}
