//! What a runtime brings.

use crate::accepted::Accepted;
use crate::listener::Bound;
use metronome_host::config::listeners::TcpConfig;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Sockets, a timer and local tasks.
pub trait Runtime: Sized + 'static {
    /// A connected socket.
    type Stream: Stream;
    /// A listening socket.
    type Acceptor: Acceptor<Stream = Self::Stream>;

    /// Runs the broker on this thread, with the tasks that it spawns, until it has ended.
    ///
    /// # Errors
    /// There is no runtime to be had, and nothing was run; or its sockets cannot be watched any more.
    fn block_on(broker: impl Future<Output = ()>) -> io::Result<()>;

    /// Accepts with a socket that listens.
    ///
    /// # Errors
    /// What the system says.
    fn accept_with(bound: Bound) -> io::Result<Self::Acceptor>;

    /// Takes over a connected socket, which does not block.
    ///
    /// # Errors
    /// What the system says.
    fn adopt(socket: Accepted) -> io::Result<Self::Stream>;

    /// Runs a task on this thread, until it ends or the broker does.
    fn spawn(task: impl Future<Output = ()> + 'static);

    /// Waits.
    fn sleep(time: Duration) -> impl Future<Output = ()>;

    /// Lets all other tasks, and sockets that have become ready, have their turn.
    fn yield_now() -> impl Future<Output = ()>;
}

/// A connected socket. Nothing but the two polls waits, and those only for readiness.
pub trait Stream: 'static {
    /// Is there something to read, or the end?
    ///
    /// # Errors
    /// The socket is broken.
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Does it take something?
    ///
    /// # Errors
    /// The socket is broken.
    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads once. `None` when there is nothing to read now, 0 at the end.
    fn read(&self, buffer: &mut [u8]) -> Option<io::Result<usize>>;

    /// Writes what it takes.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing now, and those of the socket.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Writes what it takes of these in order.
    ///
    /// # Errors
    /// As [`Stream::write`].
    fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Sets options of its socket, where it is one of TCP: see [`crate::tcp::prepare`].
    fn prepare(&self, options: TcpConfig);

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// The socket is broken.
    fn end(&self) -> io::Result<()>;
}

/// A listening socket.
pub trait Acceptor: 'static {
    /// What it accepts.
    type Stream;

    /// The next connection, and from where.
    ///
    /// # Errors
    /// Those of one connection, or of the socket.
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, Option<SocketAddr>)>>;
}

/// Waits for the first of two, which have nothing to say.
pub(crate) async fn first(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| match one.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => other.as_mut().poll(context),
    })
    .await;
}

/// Waits for `future`, at most for `time`.
pub(crate) async fn timeout<R: Runtime, T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut late) = (pin!(future), pin!(R::sleep(time)));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => late.as_mut().poll(context).map(|()| None),
    })
    .await
}
