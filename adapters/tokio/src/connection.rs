//! One task for each connection. It holds no buffer: the thread's read buffer and the driver's write buffers are
//! there only while there are bytes.

use crate::turn::{Alarm, End, Shared, Socket};
use broker_engine::CloseCause;
use socket2::SockRef;
use std::net::Shutdown;
use std::ops::ControlFlow;
use std::rc::Rc;
use tokio::io::Interest;
use tokio::time::timeout;

/// Reads of one connection before others get their turn.
const READS_PER_TURN: usize = 4;

/// Runs a connection from accept to close.
pub(crate) async fn run(shared: Rc<Shared>, socket: Rc<Socket>) {
    let _alarm = Alarm(Rc::clone(&shared));
    match serve(&shared, &socket).await {
        Some(cause) => {
            if cause == CloseCause::PeerClosed {
                // It may only have ended its own direction; answers to its last packets still count.
                shared.flush_one(socket.id);
            }
            shared.driver.borrow_mut().closed(shared.now(), socket.id, cause);
            shared.fed();
        }
        // Rare and with timers inside, so it is not part of what every connection holds.
        None => Box::pin(let_go(&shared, &socket)).await,
    }
    shared.remove(socket.id);
}

/// Reads and lets be written until the end; `Some` when the transport ended by itself.
async fn serve(shared: &Shared, socket: &Socket) -> Option<CloseCause> {
    while socket.end.get() == End::Open {
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
        if ready.is_readable() {
            for _ in 0..READS_PER_TURN {
                if socket.paused.get() || socket.end.get() != End::Open {
                    break;
                }
                match shared.read(socket) {
                    None => break,
                    Some(Ok(0)) => return Some(CloseCause::PeerClosed),
                    Some(Err(_)) => return Some(CloseCause::Fault),
                    Some(Ok(_)) => shared.fed(),
                }
            }
        }
    }
    None
}

/// Closes a connection that the engine has done with: lets the client take what is unsent, says that nothing
/// more comes, and reads on until the client has seen it. A client that does not play along is dropped in time.
async fn let_go(shared: &Shared, socket: &Socket) {
    let mut allowance = shared.linger.bytes as usize;
    let time = shared.linger.time();
    let sent = timeout(time, async {
        while socket.end.get() == End::Closing {
            let Ok(ready) = socket.stream.ready(Interest::READABLE | Interest::WRITABLE).await else {
                return;
            };
            if ready.is_writable() {
                shared.flush_one(socket.id);
            }
            // A client that is itself stuck in writing would never come to read.
            if ready.is_readable() && discard(shared, socket, &mut allowance).is_break() {
                return;
            }
        }
    });
    if sent.await.is_err() || socket.end.get() != End::Written {
        return;
    }
    if SockRef::from(&socket.stream).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let seen = timeout(time, async {
        while socket.stream.readable().await.is_ok() {
            if discard(shared, socket, &mut allowance).is_break() {
                return;
            }
        }
    });
    // In time or not, it is closed now.
    let _late = seen.await;
}

/// Throws away what the client still sends; breaks at its end, or when it is too much.
fn discard(shared: &Shared, socket: &Socket, allowance: &mut usize) -> ControlFlow<()> {
    match shared.discard(socket) {
        None => ControlFlow::Continue(()),
        Some(Ok(count @ 1..)) if count <= *allowance => {
            *allowance -= count;
            ControlFlow::Continue(())
        }
        Some(_) => ControlFlow::Break(()),
    }
}
