//! A proxy between clients and broker that fails as networks do.

use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How one direction of a connection is cut into pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Pieces {
    #[default]
    AsTheyCome,
    /// One byte each.
    Bytes,
    /// Of any size; what comes in several is joined sometimes.
    Random,
}

/// How a connection ends that the network ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// FIN to both sides, in the middle of whatever was on its way.
    Fin,
    /// RST to both sides; what they have not read yet is lost.
    Reset,
    /// Nothing comes any more, and nobody is told.
    Silence,
}

/// What happens to connections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) pieces: Pieces,
    /// Of each piece, milliseconds: at least, and at most.
    pub(crate) delay: (u64, u64),
    pub(crate) bytes_per_second: Option<u64>,
    /// One piece in fifty stops all behind it for so many milliseconds at most.
    pub(crate) clog: u64,
    /// The smallest socket buffers that the system has.
    pub(crate) small_buffers: bool,
    /// A direction ends behind so many bytes at most.
    pub(crate) ends: Option<(u64, End)>,
}

/// A direction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum To {
    Broker,
    Client,
}

/// A proxy on a port of its own. All connections end with it.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    network: Arc<Network>,
}

struct Network {
    weather: Weather,
    broker: SocketAddr,
    /// No piece gets through to the broker, or to clients.
    closed: [AtomicBool; 2],
    is_over: AtomicBool,
    chance: AtomicU64,
    /// Connections of which nobody hears any more.
    silent: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub(crate) fn new(broker: SocketAddr, weather: Weather) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let network = Arc::new(Network {
            weather,
            broker,
            closed: Default::default(),
            is_over: AtomicBool::new(false),
            chance: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
            silent: Mutex::default(),
        });
        let own = Arc::clone(&network);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if own.is_over() {
                    return;
                }
                let network = Arc::clone(&own);
                std::thread::spawn(move || network.connect(client.unwrap()));
            }
        });
        Self { address, network }
    }

    /// Lets nothing through in this direction, or everything again.
    pub(crate) fn close(&self, to: To, is_closed: bool) {
        self.network.closed[to as usize].store(is_closed, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.network.is_over.store(true, Ordering::Relaxed);
        // Its thread waits for one more.
        let _last = TcpStream::connect(self.address);
    }
}

impl Network {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Below `most`; another in each call.
    fn below(&self, most: u64) -> u64 {
        let step =
            |seed: u64| seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let seed = self.chance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seed| Some(step(seed)));
        (seed.unwrap_or_else(|seed| seed) >> 33) % most.max(1)
    }

    fn connect(self: Arc<Self>, client: TcpStream) {
        let Ok(broker) = TcpStream::connect(self.broker) else { return };
        for stream in [&client, &broker] {
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            if self.weather.small_buffers {
                // The system has a least size of its own.
                SockRef::from(stream).set_recv_buffer_size(1).unwrap();
                SockRef::from(stream).set_send_buffer_size(1).unwrap();
            }
        }
        let (theirs, ours) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
        let network = Arc::clone(&self);
        std::thread::spawn(move || network.carry(theirs, ours, To::Broker));
        self.carry(broker, client, To::Client);
    }

    /// Until one of them ends, or the weather ends it.
    fn carry(&self, mut from: TcpStream, mut into: TcpStream, to: To) {
        let mut left = self.weather.ends.map(|(most, end)| (self.below(most) + 1, end));
        let mut buffer = vec![0; 64 << 10];
        loop {
            let most = if matches!(self.weather.pieces, Pieces::Random) && self.below(4) > 0 {
                usize::try_from(1 << self.below(17)).unwrap()
            } else {
                buffer.len()
            };
            let count = match from.read(&mut buffer[..most]) {
                Ok(0) => {
                    // The other direction goes on.
                    let _gone = into.shutdown(Shutdown::Write);
                    return;
                }
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
                Err(_) => {
                    reset(&into);
                    return;
                }
            };
            while self.closed[to as usize].load(Ordering::Relaxed) && !self.is_over() {
                std::thread::sleep(Duration::from_millis(10));
            }
            if self.is_over() {
                return [&from, &into].into_iter().for_each(reset);
            }
            let through = left.map_or(count, |(left, _)| count.min(usize::try_from(left).unwrap()));
            if !self.pass(&buffer[..through], &mut into) {
                return reset(&from);
            }
            if let Some((left, end)) = &mut left {
                *left -= through as u64;
                if *left == 0 {
                    return self.end(*end, from, into);
                }
            }
        }
    }

    /// Is it through?
    fn pass(&self, bytes: &[u8], into: &mut TcpStream) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let size = if matches!(self.weather.pieces, Pieces::Bytes) { 1 } else { bytes.len() };
        let (least, most) = self.weather.delay;
        std::thread::sleep(Duration::from_millis(least + self.below(most - least)));
        if self.weather.clog > 0 && self.below(50) == 0 {
            std::thread::sleep(Duration::from_millis(self.below(self.weather.clog)));
        }
        if let Some(rate) = self.weather.bytes_per_second {
            std::thread::sleep(Duration::from_micros(bytes.len() as u64 * 1_000_000 / rate));
        }
        bytes.chunks(size).all(|piece| into.write_all(piece).is_ok())
    }

    fn end(&self, end: End, from: TcpStream, into: TcpStream) {
        match end {
            End::Fin => {
                for stream in [from, into] {
                    // It may be gone by itself.
                    let _gone = stream.shutdown(Shutdown::Write);
                }
            }
            End::Reset => [&from, &into].into_iter().for_each(reset),
            End::Silence => self.silent.lock().unwrap().extend([from, into]),
        }
    }
}

/// Ends a connection for both directions at once, with RST to the other side.
fn reset(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _gone = socket.set_linger(Some(Duration::ZERO));
    let _gone = socket.shutdown(Shutdown::Both);
}
