//! Sockets of async-io's own reactor, where no file stands for a poll set.

use crate::accepted::Accepted;
use crate::listener::Bound;
use crate::tcp;
use async_io::Async;
use metronome_host::config::listeners::TcpConfig;
use socket2::SockRef;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::task::{Context, Poll, ready};

/// A listening socket.
#[derive(Debug)]
pub struct Acceptor(Async<TcpListener>);

impl Acceptor {
    /// Accepts with a socket that listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn with(bound: Bound) -> io::Result<Self> {
        let Bound::Tcp(listener) = bound;
        Async::new(listener).map(Self)
    }
}

impl crate::Acceptor for Acceptor {
    type Stream = Stream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, Option<SocketAddr>)>> {
        loop {
            match self.0.get_ref().accept() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                accepted => {
                    return Poll::Ready(
                        accepted.and_then(|(stream, peer)| Ok((Stream(Async::new(stream)?), Some(peer)))),
                    );
                }
            }
            ready!(self.0.poll_readable(context))?;
        }
    }
}

/// A connected socket.
#[derive(Debug)]
pub struct Stream(Async<TcpStream>);

impl Stream {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// What the system says.
    pub fn with(socket: Accepted) -> io::Result<Self> {
        let Accepted::Tcp(stream) = socket;
        Async::new(stream).map(Self)
    }
}

impl crate::Stream for Stream {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_writable(context)
    }

    fn read(&self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        match self.0.get_ref().read(buffer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            read => Some(read),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_ref().write(bytes)
    }

    fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.get_ref().write_vectored(slices)
    }

    fn prepare(&self, options: TcpConfig) {
        tcp::prepare(&SockRef::from(self.0.get_ref()), options);
    }

    fn end(&self) -> io::Result<()> {
        SockRef::from(self.0.get_ref()).shutdown(Shutdown::Write)
    }
}
