//! Accepting connections, also when files run out.

use crate::accepted::Accepted;
use crate::files::{Reserve, is_out_of_files};
#[cfg(unix)]
use crate::socket_file;
use crate::turn::Shared;
use crate::{Acceptor, Runtime, Stream, connection, entrance};
use broker_engine::ListenerId;
use metronome_host::listeners::{Listener, Place};
use metronome_host::transport::Entered;
use socket2::{Domain, Protocol, Socket, Type};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Connections that the kernel holds until they are accepted.
pub(crate) const BACKLOG: i32 = 4096;

/// How long accepting rests when the system has nothing left to accept with.
const REST: Duration = Duration::from_millis(200);

/// How long new connections wait, unaccepted, before it is seen whether there are fewer strangers.
const PATIENCE: Duration = Duration::from_millis(20);

/// A listener as its connections see it.
#[derive(Debug)]
pub struct Door {
    /// As configured.
    pub listener: Listener,
    /// As the engine knows it.
    pub id: ListenerId,
}

/// A socket that listens, of no runtime yet.
#[derive(Debug)]
pub enum Bound {
    /// At a port.
    Tcp(std::net::TcpListener),
    /// At a path, with the claim to its file where that is ours.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, Option<socket_file::Claim>),
}

impl From<std::net::TcpListener> for Bound {
    fn from(socket: std::net::TcpListener) -> Self {
        Self::Tcp(socket)
    }
}

/// Whoever made its file takes it away.
#[cfg(unix)]
impl From<std::os::unix::net::UnixListener> for Bound {
    fn from(socket: std::os::unix::net::UnixListener) -> Self {
        Self::Unix(socket, None)
    }
}

/// A socket as another process hands it over.
#[cfg(unix)]
impl TryFrom<std::os::fd::OwnedFd> for Bound {
    type Error = io::Error;

    fn try_from(file: std::os::fd::OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(file);
        if socket.r#type()? != Type::STREAM {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a socket that accepts connections"));
        }
        let is_port = socket.local_addr()?.as_socket().is_some();
        Ok(if is_port { Self::Tcp(socket.into()) } else { Self::Unix(socket.into(), None) })
    }
}

impl Bound {
    /// Listens.
    ///
    /// # Errors
    /// The place cannot be had.
    pub fn at(place: &Place) -> io::Result<Self> {
        match place {
            Place::Port(address) => listen(*address).map(Self::Tcp),
            #[cfg(unix)]
            Place::File { path, mode } => {
                socket_file::listen(path, *mode).map(|(listener, claim)| Self::Unix(listener, Some(claim)))
            }
            #[cfg(not(unix))]
            Place::File { .. } => Err(ErrorKind::Unsupported.into()),
            Place::Program => Err(ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// Where it listens; the mode of a file is not its to say. `None` where nobody could find it.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Tcp(_) => self.local_addr().map(Place::Port),
            #[cfg(unix)]
            Self::Unix(listener, _) => {
                let path = listener.local_addr().ok()?.as_pathname()?.to_owned();
                Some(Place::File { path, mode: 0 })
            }
        }
    }

    /// Waits for nobody by itself.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            #[cfg(unix)]
            Self::Unix(listener, _) => listener.set_nonblocking(true),
        }
    }

    /// Its address, with the port that was picked.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix(..) => None,
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A broker that is started again takes its port back at once.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// So many in a second, also at once, and no more.
struct Pace {
    /// Time that each connection takes; `None` without a limit.
    each: Option<Duration>,
    /// When all that were accepted have taken their time.
    done: Option<Instant>,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { each: Duration::from_secs(1).checked_div(per_second), done: None }
    }

    /// How long the next one has to wait.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let ahead = self.done?.saturating_duration_since(now) + self.each?;
        ahead.checked_sub(Duration::from_secs(1)).filter(|wait| !wait.is_zero())
    }

    fn accepted(&mut self, now: Instant) {
        if let Some(each) = self.each {
            self.done = Some(self.done.unwrap_or(now).max(now) + each);
        }
    }
}

/// Accepts for ever. Errors of single connections and a lack of files pass; what is connected stays.
///
/// At most `most` connections are open; further ones are closed at once: a client that is refused can try
/// elsewhere, one that hangs cannot. At most half of `most` may be strangers, that is, not yet let in by the
/// engine, whose connect deadline clears them; meanwhile further ones wait in the kernel and are not closed.
pub async fn accept<R: Runtime>(shared: Rc<Shared<R>>, acceptor: R::Acceptor, door: Rc<Door>, most: usize) {
    let mut reserve = Reserve::new();
    // Said once for a burst of refusals, not for each.
    let mut complained = false;
    let mut pace = Pace::new(door.listener.max_connections_per_second);
    loop {
        while shared.strangers() > most / 2 {
            R::sleep(PATIENCE).await;
        }
        if let Some(wait) = pace.wait(Instant::now()) {
            R::sleep(wait).await;
        }
        match poll_fn(|context| acceptor.poll_accept(context)).await {
            Ok((stream, _)) if shared.occupied() >= most => {
                drop(stream);
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!(
                        connections = most,
                        "as many clients as files allow: new ones are refused"
                    );
                }
            }
            Ok((stream, peer)) => {
                complained = false;
                pace.accepted(Instant::now());
                start(&shared, stream, peer, &door);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!(%error, "cannot accept; connected clients are not affected");
                }
                if !(is_out_of_files(&error) && refuse::<R>(&acceptor, &mut reserve).await) {
                    R::sleep(REST).await;
                }
            }
        }
    }
}

/// The client gave up, or the network did, between its arrival and its acceptance.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
            | ErrorKind::TimedOut
    )
}

/// Closes the first waiting connection with the help of the reserved file. That none waits is fine: some systems
/// look for a free file first, and only then for a connection.
async fn refuse<R: Runtime>(acceptor: &R::Acceptor, reserve: &mut Reserve) -> bool {
    if !reserve.release() {
        return false;
    }
    let first = poll_fn(|context| Poll::Ready(acceptor.poll_accept(context))).await;
    let refused = !matches!(first, Poll::Ready(Err(_)));
    drop(first);
    reserve.take_again();
    R::yield_now().await;
    refused
}

/// Where the embedding program brings connections: the doors of all listeners, and how many may be open.
pub(crate) struct Doors {
    pub(crate) doors: Vec<Rc<Door>>,
    pub(crate) most: usize,
}

impl Doors {
    /// Lets a connection in that the program has accepted; as many may be open as ever.
    pub(crate) fn bring<R: Runtime>(
        &self,
        shared: &Rc<Shared<R>>,
        listener: ListenerId,
        socket: Accepted,
        peer: Option<SocketAddr>,
    ) {
        let Some(door) = self.doors.get(usize::from(listener.0)) else { return };
        if shared.occupied() >= self.most {
            return entrance::log(peer, &"as many clients as files allow");
        }
        match R::adopt(socket) {
            Ok(stream) => start(shared, stream, peer, door),
            Err(error) => entrance::log(peer, &error),
        }
    }
}

fn start<R: Runtime>(shared: &Rc<Shared<R>>, stream: R::Stream, peer: Option<SocketAddr>, door: &Rc<Door>) {
    if !door.listener.admits(peer.map(|peer| peer.ip())) {
        entrance::log(peer, &"not one of the proxies that may connect here");
        return;
    }
    if !door.listener.stages.is_proxied && entrance::is_one_too_many(shared, door, peer) {
        return;
    }
    stream.prepare(door.listener.tcp);
    if door.listener.stages.is_plain() {
        connection::begin(shared, stream, door.id, Entered::plain(door.listener.transport, peer));
    } else {
        shared.spawn(entrance::run(Rc::clone(shared), stream, peer, Rc::clone(door)));
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use std::time::{Duration, Instant};

    #[test]
    fn a_second_of_connections_may_come_at_once_and_then_one_after_the_other() {
        let (start, mut pace) = (Instant::now(), Pace::new(10));
        for _ in 0..10 {
            assert_eq!(pace.wait(start), None);
            pace.accepted(start);
        }
        assert_eq!(pace.wait(start), Some(Duration::from_millis(100)));
        assert_eq!(pace.wait(start + Duration::from_millis(100)), None);
        pace.accepted(start + Duration::from_millis(100));
        assert_eq!(pace.wait(start + Duration::from_millis(150)), Some(Duration::from_millis(50)));
        // Who rests saves no more than a second.
        let later = start + Duration::from_secs(60);
        for _ in 0..10 {
            assert_eq!(pace.wait(later), None);
            pace.accepted(later);
        }
        assert!(pace.wait(later).is_some());
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let (start, mut pace) = (Instant::now(), Pace::new(0));
        for _ in 0..10_000 {
            assert_eq!(pace.wait(start), None);
            pace.accepted(start);
        }
    }
}
