//! Sockets for runtimes whose reactor is async-io.

use crate::accepted::Accepted;
use crate::listener::Bound;
#[cfg(unix)]
use crate::socket_file;
use crate::tcp;
use async_io::Async;
use metronome_host::config::listeners::TcpConfig;
use socket2::SockRef;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::task::{Context, Poll, ready};

/// A listening socket.
#[derive(Debug)]
pub enum Acceptor {
    /// At a port.
    Tcp(Async<TcpListener>),
    /// At a path, with the claim to its file where that is ours.
    #[cfg(unix)]
    Unix {
        /// The socket.
        listener: Async<UnixListener>,
        #[doc(hidden)]
        _claim: Option<socket_file::Claim>,
    },
}

impl Acceptor {
    /// Accepts with a socket that listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn with(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(listener) => Self::Tcp(Async::new(listener)?),
            #[cfg(unix)]
            Bound::Unix(listener, claim) => Self::Unix { listener: Async::new(listener)?, _claim: claim },
        })
    }
}

impl crate::Acceptor for Acceptor {
    type Stream = Stream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, Option<SocketAddr>)>> {
        loop {
            let accepted = match self {
                Self::Tcp(listener) => listener
                    .get_ref()
                    .accept()
                    .and_then(|(stream, peer)| Ok((Stream::Tcp(Async::new(stream)?), Some(peer)))),
                #[cfg(unix)]
                Self::Unix { listener, .. } => {
                    let accepted = listener.get_ref().accept();
                    accepted.and_then(|(stream, _)| Ok((Stream::Unix(Async::new(stream)?), None)))
                }
            };
            match accepted {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                accepted => return Poll::Ready(accepted),
            }
            ready!(match self {
                Self::Tcp(listener) => listener.poll_readable(context),
                #[cfg(unix)]
                Self::Unix { listener, .. } => listener.poll_readable(context),
            })?;
        }
    }
}

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// With an address.
    Tcp(Async<TcpStream>),
    /// With none.
    #[cfg(unix)]
    Unix(Async<UnixStream>),
}

impl Stream {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// What the system says.
    pub fn with(socket: Accepted) -> io::Result<Self> {
        Ok(match socket {
            Accepted::Tcp(stream) => Self::Tcp(Async::new(stream)?),
            #[cfg(unix)]
            Accepted::Unix(stream) => Self::Unix(Async::new(stream)?),
        })
    }
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

impl crate::Stream for Stream {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_readable(context))
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_writable(context))
    }

    fn read(&self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        match either!(self, stream => stream.get_ref().read(buffer)) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            read => Some(read),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, stream => stream.get_ref().write(bytes))
    }

    fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, stream => stream.get_ref().write_vectored(slices))
    }

    fn prepare(&self, options: TcpConfig) {
        if let Self::Tcp(stream) = self {
            tcp::prepare(&SockRef::from(stream.get_ref()), options);
        }
    }

    fn end(&self) -> io::Result<()> {
        either!(self, stream => SockRef::from(stream.get_ref()).shutdown(Shutdown::Write))
    }
}
