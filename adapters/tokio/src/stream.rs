//! Sockets of both kinds, TCP and Unix: listening, and connected.

use crate::socket_file;
use metronome_host::listeners::Place;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::task::{Context, Poll};
use tokio::io::{Interest, Ready};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

/// Connections that the kernel holds until they are accepted.
pub(crate) const BACKLOG: i32 = 4096;

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Acceptor {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        listener: UnixListener,
        _claim: socket_file::Claim,
    },
}

impl Acceptor {
    /// Opens it; needs a runtime around.
    pub(crate) fn open(place: &Place) -> io::Result<Self> {
        match place {
            Place::Port(address) => Ok(Self::Tcp(TcpListener::from_std(listen(*address)?)?)),
            #[cfg(unix)]
            Place::File { path, mode } => {
                let (listener, claim) = socket_file::listen(path, *mode)?;
                Ok(Self::Unix { listener: UnixListener::from_std(listener)?, _claim: claim })
            }
            #[cfg(not(unix))]
            Place::File { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Its address, with the port that was picked.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix { .. } => None,
        }
    }

    pub(crate) fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Stream, Option<SocketAddr>)>> {
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

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
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

impl Stream {
    /// Small packets leave at once: what belongs together is one write already.
    pub(crate) fn prepare(&self) {
        if let Self::Tcp(stream) = self {
            // A failure means that the client has gone already; its task will find out.
            let _gone = stream.set_nodelay(true);
        }
    }

    pub(crate) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read_ready(context))
    }

    pub(crate) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_write_ready(context))
    }

    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        either!(self, stream => stream.ready(interest).await)
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        either!(self, stream => stream.readable().await)
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        either!(self, stream => stream.writable().await)
    }

    pub(crate) fn try_io<T>(
        &self,
        interest: Interest,
        work: impl FnOnce(&SockRef<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        either!(self, stream => stream.try_io(interest, || work(&SockRef::from(stream))))
    }

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, stream => stream.try_write(bytes))
    }

    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, stream => stream.try_write_vectored(slices))
    }

    /// Says that nothing more comes.
    pub(crate) fn end(&self) -> io::Result<()> {
        either!(self, stream => SockRef::from(stream).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn accepted_sockets_do_not_wait_for_more() {
        let listener = Acceptor::open(&Place::Port("127.0.0.1:0".parse().unwrap())).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = poll_fn(|context| listener.poll_accept(context)).await.unwrap();
        let nodelay =
            |stream: &Stream| either!(stream, stream => SockRef::from(stream).tcp_nodelay().unwrap());
        assert!(!nodelay(&stream));
        stream.prepare();
        assert!(nodelay(&stream));
    }
}
