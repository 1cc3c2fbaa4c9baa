//! Sockets in a poll set of the broker's own, which the runtime watches as one file.
//!
//! A runtime keeps some hundred bytes for each socket that it watches, a table of our own 32; and what the system
//! tells of a hundred sockets costs the runtime one event. What comes from sockets is taken by [`PollSet::take_events`], on
//! the thread that made the set, where all its sockets live.

use crate::accepted::Accepted;
use crate::listener::Bound;
use crate::{socket_file, tcp};
use metronome_host::config::listeners::TcpConfig;
use mio::event::{Event, Source};
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Events, Interest, Poll as Poller, Registry, Token};
use slab::Slab;
use socket2::SockRef;
use std::cell::{RefCell, RefMut};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// Events that are taken at once.
const EVENTS: usize = 256;

/// Where readiness is told at edges, a read that does not fill the buffer has emptied the socket, and asking
/// once more would be a wasted system call.
const EDGES: bool = cfg!(any(target_os = "linux", target_os = "android"));

thread_local! {
    /// The sockets of this thread's broker.
    static WATCHING: RefCell<Option<Rc<Watching>>> = const { RefCell::new(None) };
}

/// What the sockets of a set share.
#[derive(Debug)]
struct Watching {
    registry: Registry,
    states: RefCell<Slab<State>>,
}

/// What is known of one socket.
#[derive(Debug, Default)]
struct State {
    ready: Sides,
    /// Nothing more comes, or it is broken: whoever reads is told so.
    has_ended: bool,
    /// What its task waits for.
    awaited: Sides,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Sides {
    read: bool,
    write: bool,
}

impl State {
    fn note(&mut self, event: &Event) {
        self.has_ended |= event.is_read_closed() || event.is_error();
        self.ready.read |= event.is_readable();
        self.ready.write |= event.is_writable() || event.is_error();
        let is_awaited = self.awaited.read && self.is_readable() || self.awaited.write && self.ready.write;
        if let Some(waker) = self.waker.as_ref().filter(|_| is_awaited) {
            self.awaited = Sides::default();
            waker.wake_by_ref();
        }
    }

    fn is_readable(&self) -> bool {
        self.ready.read || self.has_ended
    }

    fn wait(&mut self, context: &Context<'_>) -> Poll<()> {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

/// The poll set of this thread, a file that is readable when something has happened.
#[derive(Debug)]
pub struct PollSet {
    system: RefCell<(Poller, Events)>,
    watching: Rc<Watching>,
}

impl PollSet {
    /// Makes the set of this thread, which is gone with it.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        let registry = poller.registry().try_clone()?;
        let watching = Rc::new(Watching { registry, states: RefCell::default() });
        WATCHING.set(Some(Rc::clone(&watching)));
        Ok(Self { system: RefCell::new((poller, Events::with_capacity(EVENTS))), watching })
    }

    /// Wakes whoever waits for what has happened; `true` when that was all of it.
    ///
    /// # Errors
    /// What the system says.
    pub fn take_events(&self) -> io::Result<bool> {
        let (poller, events) = &mut *self.system.borrow_mut();
        match poller.poll(events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(false),
            done => done?,
        }
        let mut states = self.watching.states.borrow_mut();
        for event in &*events {
            if let Some(state) = states.get_mut(event.token().0) {
                state.note(event);
            }
        }
        Ok(events.iter().count() < EVENTS)
    }
}

impl Drop for PollSet {
    fn drop(&mut self) {
        WATCHING.set(None);
    }
}

/// It is the same for as long as the set is there.
impl AsRawFd for PollSet {
    fn as_raw_fd(&self) -> RawFd {
        self.system.borrow().0.as_raw_fd()
    }
}

// There is no safe way to have the system's poller lend its file, and without one a runtime would have to watch each
// socket by itself, at some hundred bytes more for every connection.
#[allow(unsafe_code)]
impl AsFd for PollSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the poller is never replaced, so its file is open as long as `self` is.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}

/// A socket that the set of its thread watches.
#[derive(Debug)]
struct Watched<S: Source> {
    socket: S,
    watching: Rc<Watching>,
    key: usize,
}

impl<S: Source> Watched<S> {
    fn new(mut socket: S, interest: Interest) -> io::Result<Self> {
        let watching = WATCHING.with_borrow(Option::clone).ok_or(ErrorKind::NotConnected)?;
        // It takes something at first, as far as one knows, and is told nothing of what was there before.
        let key = watching
            .states
            .borrow_mut()
            .insert(State { ready: Sides { read: false, write: true }, ..State::default() });
        let registered = watching.registry.register(&mut socket, Token(key), interest);
        let watched = Self { socket, watching, key };
        registered.map(|()| watched)
    }

    fn state(&self) -> RefMut<'_, State> {
        RefMut::map(self.watching.states.borrow_mut(), |states| &mut states[self.key])
    }

    fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.is_readable() {
            return Poll::Ready(());
        }
        state.awaited.read = true;
        state.wait(context)
    }

    fn poll_writable(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.ready.write {
            return Poll::Ready(());
        }
        state.awaited.write = true;
        state.wait(context)
    }

    /// Reads once, unless that is known to be in vain. `None` when there is nothing to read now.
    fn read(&self, buffer: &mut [u8]) -> Option<io::Result<usize>>
    where
        for<'a> &'a S: Read,
    {
        if !self.state().is_readable() {
            return None;
        }
        let read = self.taken((&self.socket).read(buffer));
        if EDGES && read.as_ref().is_ok_and(|count| (1..buffer.len()).contains(count)) {
            self.state().ready.read = false;
        }
        match read {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            read => Some(read),
        }
    }

    /// Looks at what was read or accepted.
    fn taken<T>(&self, taken: io::Result<T>) -> io::Result<T> {
        if taken.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            let mut state = self.state();
            (state.ready.read, state.has_ended) = (false, false);
        }
        taken
    }

    fn written<T>(&self, written: io::Result<T>) -> io::Result<T> {
        if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.state().ready.write = false;
        }
        written
    }
}

impl<S: Source> Drop for Watched<S> {
    fn drop(&mut self) {
        // It may be broken; it is closed in any case.
        let _gone = self.watching.registry.deregister(&mut self.socket);
        self.watching.states.borrow_mut().try_remove(self.key);
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Acceptor(Door);

#[derive(Debug)]
enum Door {
    Port(Watched<TcpListener>),
    /// With the claim to its file where that is ours.
    File {
        listener: Watched<UnixListener>,
        _claim: Option<socket_file::Claim>,
    },
}

impl Acceptor {
    /// Accepts with a socket that listens.
    ///
    /// # Errors
    /// What the system says, and that this thread has no [`PollSet`].
    pub fn with(bound: Bound) -> io::Result<Self> {
        Ok(Self(match bound {
            Bound::Tcp(listener) => {
                Door::Port(Watched::new(TcpListener::from_std(listener), Interest::READABLE)?)
            }
            Bound::Unix(listener, claim) => {
                let listener = Watched::new(UnixListener::from_std(listener), Interest::READABLE)?;
                Door::File { listener, _claim: claim }
            }
        }))
    }
}

impl crate::Acceptor for Acceptor {
    type Stream = Stream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, Option<SocketAddr>)>> {
        loop {
            let accepted = match &self.0 {
                Door::Port(listener) => {
                    ready!(listener.poll_readable(context));
                    let accepted = listener.taken(listener.socket.accept());
                    accepted.and_then(|(stream, peer)| Ok((Stream::tcp(stream)?, Some(peer))))
                }
                Door::File { listener, .. } => {
                    ready!(listener.poll_readable(context));
                    let accepted = listener.taken(listener.socket.accept());
                    accepted.and_then(|(stream, _)| Ok((Stream::unix(stream)?, None)))
                }
            };
            if !accepted.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                return Poll::Ready(accepted);
            }
        }
    }
}

/// A connected socket.
#[derive(Debug)]
pub struct Stream(Socket);

#[derive(Debug)]
enum Socket {
    /// With an address.
    Tcp(Watched<TcpStream>),
    /// With none.
    Unix(Watched<UnixStream>),
}

/// The same for both.
macro_rules! either {
    ($stream:expr, $watched:ident => $do:expr) => {
        match &$stream.0 {
            Socket::Tcp($watched) => $do,
            Socket::Unix($watched) => $do,
        }
    };
}

impl Stream {
    /// Takes over a connected socket, which does not block.
    ///
    /// # Errors
    /// What the system says, and that this thread has no [`PollSet`].
    pub fn with(socket: Accepted) -> io::Result<Self> {
        match socket {
            Accepted::Tcp(stream) => Self::tcp(TcpStream::from_std(stream)),
            Accepted::Unix(stream) => Self::unix(UnixStream::from_std(stream)),
        }
    }

    fn tcp(stream: TcpStream) -> io::Result<Self> {
        Watched::new(stream, Interest::READABLE | Interest::WRITABLE)
            .map(|watched| Self(Socket::Tcp(watched)))
    }

    fn unix(stream: UnixStream) -> io::Result<Self> {
        Watched::new(stream, Interest::READABLE | Interest::WRITABLE)
            .map(|watched| Self(Socket::Unix(watched)))
    }
}

impl crate::Stream for Stream {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, watched => watched.poll_readable(context).map(Ok))
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, watched => watched.poll_writable(context).map(Ok))
    }

    fn read(&self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        either!(self, watched => watched.read(buffer))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, watched => watched.written((&watched.socket).write(bytes)))
    }

    fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, watched => watched.written((&watched.socket).write_vectored(slices)))
    }

    fn prepare(&self, options: TcpConfig) {
        if let Socket::Tcp(watched) = &self.0 {
            tcp::prepare(&SockRef::from(&watched.socket), options);
        }
    }

    fn end(&self) -> io::Result<()> {
        either!(self, watched => SockRef::from(&watched.socket).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Acceptor as _, Stream as _};
    use metronome_host::listeners::Place;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A socket of the set with its other end, and how often its task was woken.
    fn pair() -> (Stream, std::os::unix::net::UnixStream, Arc<Count>) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (Stream::with(Accepted::Unix(ours)).unwrap(), theirs, Arc::default())
    }

    #[test]
    fn who_waits_to_read_is_woken_by_bytes_and_by_the_end() {
        let set = PollSet::new().unwrap();
        let (stream, mut other, woken) = pair();
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        assert!(stream.poll_read_ready(&mut context).is_pending());
        // That it takes something is nothing that the task waits for.
        assert!(set.take_events().unwrap());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        other.write_all(b"ab").unwrap();
        assert!(set.take_events().unwrap());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(stream.poll_read_ready(&mut context).is_ready());
        let mut buffer = [0; 8];
        assert_eq!(stream.read(&mut buffer).unwrap().unwrap(), 2);
        assert!(stream.read(&mut buffer).is_none());
        assert!(stream.poll_read_ready(&mut context).is_pending());
        // Bytes and the end at once: the end is not forgotten over a read that did not fill the buffer.
        other.write_all(b"c").unwrap();
        drop(other);
        assert!(set.take_events().unwrap());
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        assert_eq!(stream.read(&mut buffer).unwrap().unwrap(), 1);
        assert!(stream.poll_read_ready(&mut context).is_ready());
        assert_eq!(stream.read(&mut buffer).unwrap().unwrap(), 0);
    }

    #[test]
    fn who_waits_to_write_is_woken_when_there_is_room() {
        let set = PollSet::new().unwrap();
        let (stream, mut other, woken) = pair();
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        assert!(stream.poll_write_ready(&mut context).is_ready());
        let blocked = std::iter::repeat_with(|| stream.write(&[0; 4096])).find_map(Result::err).unwrap();
        assert_eq!(blocked.kind(), ErrorKind::WouldBlock);
        set.take_events().unwrap();
        assert!(stream.poll_write_ready(&mut context).is_pending());
        let mut buffer = vec![0; 1 << 20];
        while other.read(&mut buffer).is_ok() {}
        set.take_events().unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(stream.poll_write_ready(&mut context).is_ready());
    }

    /// More has happened than is taken at once.
    #[test]
    fn nothing_is_lost_when_much_happens() {
        let set = PollSet::new().unwrap();
        let count = EVENTS * 3 / 2;
        let pairs: Vec<_> = (0..count).map(|_| pair()).collect();
        for (stream, other, woken) in &pairs {
            let waker = Waker::from(Arc::clone(woken));
            assert!(stream.poll_read_ready(&mut Context::from_waker(&waker)).is_pending());
            (&*other).write_all(b"x").unwrap();
        }
        assert!(!set.take_events().unwrap());
        while !set.take_events().unwrap() {}
        assert!(pairs.iter().all(|(_, _, woken)| woken.0.load(Ordering::Relaxed) == 1));
        drop(pairs);
        assert!(set.watching.states.borrow().is_empty());
    }

    #[test]
    fn accepted_sockets_do_not_wait_for_more() {
        let set = PollSet::new().unwrap();
        let bound = Bound::at(&Place::Port("127.0.0.1:0".parse().unwrap())).unwrap();
        let address = bound.local_addr().unwrap();
        let acceptor = Acceptor::with(bound).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        assert!(acceptor.poll_accept(&mut context).is_pending());
        let _client = std::net::TcpStream::connect(address).unwrap();
        assert!(set.take_events().unwrap());
        let Poll::Ready(Ok((stream, Some(_)))) = acceptor.poll_accept(&mut context) else { panic!("nobody") };
        stream.prepare(TcpConfig::default());
        let Socket::Tcp(watched) = &stream.0 else { panic!("{stream:?}") };
        assert!(SockRef::from(&watched.socket).tcp_nodelay().unwrap());
    }
}
