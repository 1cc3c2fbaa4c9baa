//! One task for each connection. It holds no buffer: the thread's read buffer and the driver's write buffers are
//! there only while there are bytes.

use crate::turn::{Shared, Socket};
use broker_engine::CloseCause;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;

/// Reads of one connection before others get their turn.
const READS_PER_TURN: usize = 4;

/// How long, and for how many bytes, a closed connection is read on, so that the client can read our last
/// packet: closing a socket with unread input would discard it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 << 10;

/// Runs a connection from accept to close.
pub(crate) async fn run(shared: Rc<Shared>, socket: Rc<Socket>) {
    let closed = serve(&shared, &socket).await;
    if let Some(cause) = closed {
        shared.driver.borrow_mut().closed(shared.now(), socket.id, cause);
        shared.fed();
    } else if !socket.broken.get() {
        let _timed_out = tokio::time::timeout(LINGER, linger(&socket)).await;
    }
    shared.remove(socket.id);
}

/// Reads and lets be written until the end; `Some` when the transport ended by itself.
async fn serve(shared: &Shared, socket: &Socket) -> Option<CloseCause> {
    loop {
        if socket.finished.get() || socket.broken.get() {
            return None;
        }
        let interest = match (socket.paused.get(), socket.blocked.get()) {
            (false, false) => Interest::READABLE,
            (false, true) => Interest::READABLE | Interest::WRITABLE,
            (true, true) => Interest::WRITABLE,
            (true, false) => {
                socket.wake.notified().await;
                continue;
            }
        };
        let ready = tokio::select! {
            ready = socket.stream.ready(interest) => ready,
            () = socket.wake.notified() => continue,
        };
        let Ok(ready) = ready else { return Some(CloseCause::Fault) };
        if ready.is_writable() && socket.blocked.get() {
            shared.flush_one(socket.id);
            shared.fed();
        }
        if ready.is_readable() && !socket.paused.get() {
            for _ in 0..READS_PER_TURN {
                let read = shared.read(socket);
                match read {
                    None => break,
                    Some(Ok(0)) => return Some(CloseCause::PeerClosed),
                    Some(Err(_)) => return Some(CloseCause::Fault),
                    Some(Ok(_)) => shared.fed(),
                }
                if socket.paused.get() || socket.finished.get() {
                    break;
                }
            }
        }
    }
}

/// Says that nothing more comes, and reads on for a moment.
async fn linger(socket: &Socket) {
    if socket2::SockRef::from(&socket.stream).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut drained = 0;
    let mut scratch = [0; 1024];
    while drained < LINGER_BYTES {
        if socket.stream.readable().await.is_err() {
            return;
        }
        match socket.stream.try_read(&mut scratch) {
            Ok(0) => return,
            Ok(count) => drained += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
