//! Connections that the embedding program brings.

use std::io;
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;

/// A connected socket, of no runtime yet. One end of a [pair](UnixStream::pair) stands for any stream of bytes: the program
/// copies between that and the other end.
#[derive(Debug)]
pub enum Accepted {
    /// With an address.
    Tcp(TcpStream),
    /// With none.
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Accepted {
    /// Waits for nothing by itself.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(true),
            #[cfg(unix)]
            Self::Unix(stream) => stream.set_nonblocking(true),
        }
    }
}

impl From<TcpStream> for Accepted {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Accepted {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}
