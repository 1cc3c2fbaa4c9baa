//! Accepting connections, also when files run out.

use crate::connection;
use crate::files::{Reserve, is_out_of_files};
use crate::turn::{Alarm, Shared};
use broker_engine::ListenerId;
use socket2::{Domain, Protocol, Socket, Type};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// How long accepting rests when the system has nothing left to accept with.
const REST: Duration = Duration::from_millis(200);

/// How long new connections wait, unaccepted, before it is seen whether there are fewer strangers.
const PATIENCE: Duration = Duration::from_millis(20);

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
///
/// At most `most` connections are open; further ones are closed at once: a client that is refused can try
/// elsewhere, one that hangs cannot. At most half of `most` may be strangers, that is, not yet let in by the
/// engine, whose connect deadline clears them; meanwhile further ones wait in the kernel and are not closed.
pub(crate) async fn accept(shared: Rc<Shared>, listener: TcpListener, id: ListenerId, most: usize) {
    let _alarm = Alarm(Rc::clone(&shared));
    let mut reserve = Reserve::new();
    // Said once for a burst of refusals, not for each.
    let mut complained = false;
    loop {
        while shared.driver.borrow().strangers() > most / 2 {
            tokio::time::sleep(PATIENCE).await;
        }
        match listener.accept().await {
            Ok((stream, _)) if shared.open_connections() >= most => {
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
                start(&shared, stream, peer, id);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!(%error, "cannot accept; connected clients are not affected");
                }
                if !(is_out_of_files(&error) && refuse(&listener, &mut reserve).await) {
                    tokio::time::sleep(REST).await;
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
async fn refuse(listener: &TcpListener, reserve: &mut Reserve) -> bool {
    if !reserve.release() {
        return false;
    }
    let first = poll_fn(|context| Poll::Ready(listener.poll_accept(context))).await;
    let refused = !matches!(first, Poll::Ready(Err(_)));
    drop(first);
    reserve.take_again();
    tokio::task::yield_now().await;
    refused
}

fn start(shared: &Rc<Shared>, stream: TcpStream, peer: SocketAddr, id: ListenerId) {
    prepare(&stream);
    let conn = shared.driver.borrow_mut().open(shared.now(), id, Some(peer));
    let socket = shared.insert(conn, stream);
    tokio::task::spawn_local(connection::run(Rc::clone(shared), socket));
    shared.fed();
}

/// Small packets leave at once: what belongs together is one write already.
fn prepare(stream: &TcpStream) {
    // A failure means that the client has gone already; its task will find out.
    let _gone = stream.set_nodelay(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_sockets_do_not_wait_for_more() {
        let listener = TcpListener::from_std(bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(!stream.nodelay().unwrap());
        prepare(&stream);
        assert!(stream.nodelay().unwrap());
    }
}
