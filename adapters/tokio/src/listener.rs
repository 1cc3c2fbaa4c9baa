//! Accepting connections, also when files run out.

use crate::connection;
use crate::turn::Shared;
use broker_engine::ListenerId;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// Files that stay free for everything but clients.
const RESERVED_FILES: u64 = 64;

/// How long accepting rests when there are no files left.
const REST: Duration = Duration::from_millis(200);

/// Opens a listening socket.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
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

/// Accepts for ever. Errors of single connections and a lack of files pass; what is connected stays.
pub(crate) async fn accept(shared: Rc<Shared>, listener: TcpListener, id: ListenerId, most: usize) {
    let mut out_of_files = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) if shared.open_connections() >= most => {
                // Closed at once: a client that is refused can try elsewhere, one that hangs cannot.
                drop(stream);
                if !std::mem::replace(&mut out_of_files, true) {
                    tracing::warn!(connections = most, "out of files: new clients are refused");
                }
            }
            Ok((stream, peer)) => {
                out_of_files = false;
                start(&shared, stream, peer, id);
            }
            Err(error) => {
                if !std::mem::replace(&mut out_of_files, true) {
                    tracing::warn!(%error, "cannot accept; connected clients are not affected");
                }
                tokio::time::sleep(REST).await;
            }
        }
    }
}

fn start(shared: &Rc<Shared>, stream: TcpStream, peer: SocketAddr, id: ListenerId) {
    // A failure means that the client has gone already; its task will find out.
    let _gone = stream.set_nodelay(true);
    let conn = shared.driver.borrow_mut().open(shared.now(), id, Some(peer));
    let socket = shared.insert(conn, stream);
    tokio::task::spawn_local(connection::run(Rc::clone(shared), socket));
    shared.fed();
}

/// Raises the open-file limit as far as it goes, and says how many clients that allows.
pub(crate) fn raise_file_limit() -> (u64, usize) {
    #[cfg(unix)]
    let files = {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        if setrlimit(Resource::Nofile, limit).is_err() {
            limit = getrlimit(Resource::Nofile);
        }
        limit.current.unwrap_or(u64::MAX)
    };
    #[cfg(not(unix))]
    let files = u64::MAX;
    (files, usize::try_from(files.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX).max(1))
}
