//! Tokio's own sockets, where no file stands for a poll set.

use metronome_host::config::listeners::TcpConfig;
use metronome_tasks::{Accepted, Bound, tcp};
use socket2::SockRef;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::task::{Context, Poll};
use tokio::net::{TcpListener, TcpStream};

/// A listening socket.
#[derive(Debug)]
pub struct Acceptor(TcpListener);

impl Acceptor {
    pub(crate) fn with(bound: Bound) -> io::Result<Self> {
        let Bound::Tcp(listener) = bound;
        TcpListener::from_std(listener).map(Self)
    }
}

impl metronome_tasks::Acceptor for Acceptor {
    type Stream = Stream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, Option<SocketAddr>)>> {
        self.0.poll_accept(context).map_ok(|(stream, peer)| (Stream(stream), Some(peer)))
    }
}

/// A connected socket.
#[derive(Debug)]
pub struct Stream(TcpStream);

impl Stream {
    pub(crate) fn with(socket: Accepted) -> io::Result<Self> {
        let Accepted::Tcp(stream) = socket;
        TcpStream::from_std(stream).map(Self)
    }
}

impl metronome_tasks::Stream for Stream {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(context)
    }

    fn read(&self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        match self.0.try_read(buffer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            read => Some(read),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn prepare(&self, options: TcpConfig) {
        tcp::prepare(&SockRef::from(&self.0), options);
    }

    fn end(&self) -> io::Result<()> {
        SockRef::from(&self.0).shutdown(Shutdown::Write)
    }
}
