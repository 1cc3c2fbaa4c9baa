//! Connections: read, wait, close in peace. One task serves all of them, in the order in which their bells ring, and
//! holds no buffer: the thread's read buffer and the driver's write buffers are there only while there are bytes.

use crate::runtime::timeout;
use crate::turn::{End, Shared, Socket};
use crate::{Runtime, Stream};
use broker_engine::{CloseCause, ListenerId};
use metronome_host::transport::Entered;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Reads of one connection before others get their turn.
const READS_PER_TURN: usize = 4;

/// Connections served before other tasks get their turn.
const SERVED_PER_TURN: usize = 256;

/// Bytes of one connection behind which that is so as well: those of a hundred who send all they can are a hundred times as
/// much before everybody else's next packet.
const BYTES_PER_TURN: usize = 16 << 10;

/// Hands a client that has come in to the engine.
pub fn begin<R: Runtime>(shared: &Rc<Shared<R>>, stream: R::Stream, listener: ListenerId, client: Entered) {
    let Entered { transport, layers, peer, user_name, early } = client;
    let conn = shared.driver.borrow_mut().open(shared.now(), listener, peer);
    shared.driver.borrow_mut().came_over(conn, transport);
    if let Some(name) = user_name {
        shared.driver.borrow_mut().identify(conn, &name);
    }
    shared.insert(conn, stream, layers).bell.ring();
    if !early.is_empty() {
        shared.driver.borrow_mut().received(shared.now(), conn, &early);
    }
    shared.fed();
}

/// Serves all connections on which something has happened, until the broker ends.
pub(crate) async fn serve_all<R: Runtime>(shared: Rc<Shared<R>>) {
    let mut conns = Vec::new();
    loop {
        poll_fn(|context| shared.rung.poll_take(&mut conns, context)).await;
        for (count, conn) in (1..).zip(conns.drain(..)) {
            if let Some(socket) = shared.socket(conn) {
                serve(&shared, &socket);
            }
            if count % SERVED_PER_TURN == 0 {
                R::yield_now().await;
            }
        }
        // What they have done is written before they get their next turn.
        if shared.rung.has_some() {
            R::yield_now().await;
        }
    }
}

/// Serves one connection; at its end it gets a task of its own for its last words, and is served no more.
fn serve<R: Runtime>(shared: &Rc<Shared<R>>, socket: &Rc<Socket<R>>) {
    if socket.is_leaving.get() {
        return;
    }
    socket.bell.hush();
    let waker = Waker::from(Arc::clone(&socket.bell));
    let Poll::Ready(ended) = poll_serve(shared, socket, &mut Context::from_waker(&waker)) else { return };
    socket.is_leaving.set(true);
    if let Some(cause) = ended {
        if cause == CloseCause::PeerClosed {
            // It may only have ended its own direction; answers to its last packets still count.
            shared.flush_one(socket.id);
        }
        shared.driver.borrow_mut().closed(shared.now(), socket.id, cause);
        shared.fed();
        if !socket.has_goodbye() {
            return shared.remove(socket.id);
        }
        // Why it ends, in the words of a layer; unread input would take that away from the client.
        socket.end.set(End::Closing);
    }
    shared.spawn(leave(Rc::clone(shared), Rc::clone(socket)));
}

/// The end of a connection.
async fn leave<R: Runtime>(shared: Rc<Shared<R>>, socket: Rc<Socket<R>>) {
    let_go(&shared, &socket).await;
    shared.remove(socket.id);
}

/// Reads and lets be written as far as that goes; ready at the end, with `Some` when the transport ended by itself.
fn poll_serve<R: Runtime>(
    shared: &Shared<R>,
    socket: &Socket<R>,
    context: &mut Context<'_>,
) -> Poll<Option<CloseCause>> {
    while socket.end.get() == End::Open {
        let mut went_on = false;
        if socket.blocked.get() {
            match socket.stream.poll_write_ready(context) {
                Poll::Pending => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Some(CloseCause::Fault)),
                Poll::Ready(Ok(())) => {
                    shared.flush_one(socket.id);
                    shared.fed();
                    went_on = true;
                }
            }
        }
        if !socket.paused.get() && socket.end.get() == End::Open {
            match socket.stream.poll_read_ready(context) {
                Poll::Pending => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Some(CloseCause::Fault)),
                Poll::Ready(Ok(())) => match read_some(shared, socket) {
                    ControlFlow::Break(cause) => return Poll::Ready(Some(cause)),
                    ControlFlow::Continue(Emptied(true)) => went_on = true,
                    ControlFlow::Continue(Emptied(false)) => {
                        socket.bell.ring();
                        return Poll::Pending;
                    }
                },
            }
        }
        if !went_on {
            return Poll::Pending;
        }
    }
    Poll::Ready(None)
}

/// Is there nothing more to read for now?
struct Emptied(bool);

fn read_some<R: Runtime>(shared: &Shared<R>, socket: &Socket<R>) -> ControlFlow<CloseCause, Emptied> {
    let mut bytes = 0;
    for _ in 0..READS_PER_TURN {
        if socket.paused.get() || socket.end.get() != End::Open {
            return ControlFlow::Continue(Emptied(true));
        }
        match shared.read(socket) {
            None => return ControlFlow::Continue(Emptied(true)),
            Some(Ok(0)) => return ControlFlow::Break(CloseCause::PeerClosed),
            Some(Err(_)) => return ControlFlow::Break(CloseCause::Fault),
            Some(Ok(count)) => {
                shared.fed();
                bytes += count;
            }
        }
        if bytes >= BYTES_PER_TURN {
            break;
        }
    }
    ControlFlow::Continue(Emptied(false))
}

/// Closes a connection that the engine has done with: lets the client take what is unsent, says that nothing
/// more comes, and reads on until the client has seen it. A client that does not play along is dropped in time.
async fn let_go<R: Runtime>(shared: &Shared<R>, socket: &Socket<R>) {
    let mut allowance = shared.linger.bytes as usize;
    let sent = timeout::<R, _>(
        shared.linger.time(),
        poll_fn(|context| poll_send(shared, socket, &mut allowance, context)),
    );
    if sent.await.is_some() && socket.end.get() == End::Written {
        see_out(shared, &socket.stream, &mut allowance).await;
    }
}

/// Sends what is unsent, or gives up.
fn poll_send<R: Runtime>(
    shared: &Shared<R>,
    socket: &Socket<R>,
    allowance: &mut usize,
    context: &mut Context<'_>,
) -> Poll<()> {
    while socket.end.get() == End::Closing {
        let writable = socket.stream.poll_write_ready(context);
        if let Poll::Ready(Ok(())) = writable {
            shared.flush_one(socket.id);
        }
        // A client that is itself stuck in writing would never come to read.
        let readable = socket.stream.poll_read_ready(context);
        match (&readable, &writable) {
            (Poll::Ready(Ok(())), _) if discard(shared, &socket.stream, allowance).is_break() => break,
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => break,
            (Poll::Pending, Poll::Pending) => return Poll::Pending,
            _ => {}
        }
    }
    Poll::Ready(())
}

/// Lets go of somebody who never became a client, and has been told all there is to say.
pub(crate) async fn part<R: Runtime>(shared: &Shared<R>, stream: &R::Stream) {
    see_out(shared, stream, &mut (shared.linger.bytes as usize)).await;
}

/// Says that nothing more comes, and reads on until the client has seen it, in time or not.
async fn see_out<R: Runtime>(shared: &Shared<R>, stream: &R::Stream, allowance: &mut usize) {
    if stream.end().is_err() {
        return;
    }
    let seen = timeout::<R, _>(shared.linger.time(), async {
        while poll_fn(|context| stream.poll_read_ready(context)).await.is_ok() {
            if discard(shared, stream, allowance).is_break() {
                return;
            }
        }
    });
    let _late = seen.await;
}

/// Throws away what the client still sends; breaks at its end, or when it is too much.
fn discard<R: Runtime>(shared: &Shared<R>, stream: &R::Stream, allowance: &mut usize) -> ControlFlow<()> {
    match shared.discard(stream) {
        None => ControlFlow::Continue(()),
        Some(Ok(count @ 1..)) if count <= *allowance => {
            *allowance -= count;
            ControlFlow::Continue(())
        }
        Some(_) => ControlFlow::Break(()),
    }
}
