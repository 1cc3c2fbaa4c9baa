//! Tokio's sockets, timer and tasks.

use metronome_host::config::listeners::TcpConfig;
#[cfg(unix)]
use metronome_tasks::socket_file;
use metronome_tasks::{Accepted, Bound, Runtime, tcp};
use socket2::SockRef;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::{Shutdown, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::task::LocalSet;

/// Where readiness is told at edges, a read that does not fill the buffer has emptied the socket, and asking
/// once more would be a wasted system call.
const EDGES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Tokio with a thread of its own; its tasks live in a `LocalSet`.
#[derive(Debug)]
pub struct Tokio;

impl Runtime for Tokio {
    type Stream = Stream;
    type Acceptor = Acceptor;

    fn block_on(broker: impl Future<Output = ()>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, broker);
        Ok(())
    }

    fn accept_with(bound: Bound) -> io::Result<Acceptor> {
        Ok(match bound {
            Bound::Tcp(listener) => Acceptor::Tcp(TcpListener::from_std(listener)?),
            #[cfg(unix)]
            Bound::Unix(listener, claim) => {
                Acceptor::Unix { listener: UnixListener::from_std(listener)?, _claim: claim }
            }
        })
    }

    fn adopt(socket: Accepted) -> io::Result<Stream> {
        Ok(match socket {
            Accepted::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            #[cfg(unix)]
            Accepted::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }

    fn sleep(time: Duration) -> impl Future<Output = ()> {
        tokio::time::sleep(time)
    }

    fn yield_now() -> impl Future<Output = ()> {
        tokio::task::yield_now()
    }
}

/// A listening socket.
#[derive(Debug)]
pub enum Acceptor {
    /// At a port.
    Tcp(TcpListener),
    /// At a path, with the claim to its file where that is ours.
    #[cfg(unix)]
    Unix {
        /// The socket.
        listener: UnixListener,
        #[doc(hidden)]
        _claim: Option<socket_file::Claim>,
    },
}

impl metronome_tasks::Acceptor for Acceptor {
    type Stream = Stream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, Option<SocketAddr>)>> {
        match self {
            Self::Tcp(listener) => {
                let accepted = listener.poll_accept(context);
                accepted.map_ok(|(stream, peer)| (Stream::Tcp(stream), Some(peer)))
            }
            #[cfg(unix)]
            Self::Unix { listener, .. } => {
                listener.poll_accept(context).map_ok(|(stream, _)| (Stream::Unix(stream), None))
            }
        }
    }
}

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// With an address.
    Tcp(TcpStream),
    /// With none.
    #[cfg(unix)]
    Unix(UnixStream),
}

/// The same for both.
macro_rules! either {
    ($socket:expr, $stream:ident => $do:expr) => {
        match $socket {
            Stream::Tcp($stream) => $do,
            #[cfg(unix)]
            Stream::Unix($stream) => $do,
        }
    };
}

impl metronome_tasks::Stream for Stream {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read_ready(context))
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_write_ready(context))
    }

    fn read(&self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        let mut partial = 0;
        let read = either!(self, stream => stream.try_io(Interest::READABLE, || {
            let count = (&*SockRef::from(stream)).read(buffer)?;
            if EDGES && count > 0 && count < buffer.len() {
                // Said to the runtime as "nothing more to read"; the end of the stream stays known to it.
                partial = count;
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(count)
        }));
        match read {
            Err(error) if error.kind() == ErrorKind::WouldBlock => (partial > 0).then_some(Ok(partial)),
            Err(error) if error.kind() == ErrorKind::Interrupted => None,
            read => Some(read),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, stream => stream.try_write(bytes))
    }

    fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, stream => stream.try_write_vectored(slices))
    }

    fn prepare(&self, options: TcpConfig) {
        if let Self::Tcp(stream) = self {
            tcp::prepare(&SockRef::from(stream), options);
        }
    }

    fn end(&self) -> io::Result<()> {
        either!(self, stream => SockRef::from(stream).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metronome_host::listeners::Place;
    use metronome_tasks::{Acceptor as _, Stream as _};
    use std::future::poll_fn;

    #[tokio::test]
    async fn accepted_sockets_do_not_wait_for_more() {
        let bound = Bound::at(&Place::Port("127.0.0.1:0".parse().unwrap())).unwrap();
        let _client = TcpStream::connect(bound.local_addr().unwrap()).await.unwrap();
        let listener = Tokio::accept_with(bound).unwrap();
        let (stream, _) = poll_fn(|context| listener.poll_accept(context)).await.unwrap();
        let nodelay =
            |stream: &Stream| either!(stream, stream => SockRef::from(stream).tcp_nodelay().unwrap());
        assert!(!nodelay(&stream));
        stream.prepare(TcpConfig::default());
        assert!(nodelay(&stream));
    }
}
