//! Accepting connections, also when files run out.

use crate::files::{Reserve, is_out_of_files};
use crate::stream::{Acceptor, Stream};
use crate::turn::{Alarm, Shared};
use crate::{connection, entrance};
use broker_engine::ListenerId;
use metronome_host::listeners::Listener;
use metronome_host::transport::Entered;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// How long accepting rests when the system has nothing left to accept with.
const REST: Duration = Duration::from_millis(200);

/// How long new connections wait, unaccepted, before it is seen whether there are fewer strangers.
const PATIENCE: Duration = Duration::from_millis(20);

/// A listener as its connections see it.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) listener: Listener,
    pub(crate) id: ListenerId,
}

/// Accepts for ever. Errors of single connections and a lack of files pass; what is connected stays.
///
/// At most `most` connections are open; further ones are closed at once: a client that is refused can try
/// elsewhere, one that hangs cannot. At most half of `most` may be strangers, that is, not yet let in by the
/// engine, whose connect deadline clears them; meanwhile further ones wait in the kernel and are not closed.
pub(crate) async fn accept(shared: Rc<Shared>, acceptor: Acceptor, door: Rc<Door>, most: usize) {
    let _alarm = Alarm(Rc::clone(&shared));
    let mut reserve = Reserve::new();
    // Said once for a burst of refusals, not for each.
    let mut complained = false;
    loop {
        while shared.strangers() > most / 2 {
            tokio::time::sleep(PATIENCE).await;
        }
        match poll_fn(|context| acceptor.poll_accept(context)).await {
            Ok((stream, _)) if shared.occupied() >= most => {
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
                start(&shared, stream, peer, &door);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!(%error, "cannot accept; connected clients are not affected");
                }
                if !(is_out_of_files(&error) && refuse(&acceptor, &mut reserve).await) {
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
async fn refuse(acceptor: &Acceptor, reserve: &mut Reserve) -> bool {
    if !reserve.release() {
        return false;
    }
    let first = poll_fn(|context| Poll::Ready(acceptor.poll_accept(context))).await;
    let refused = !matches!(first, Poll::Ready(Err(_)));
    drop(first);
    reserve.take_again();
    tokio::task::yield_now().await;
    refused
}

fn start(shared: &Rc<Shared>, stream: Stream, peer: Option<SocketAddr>, door: &Rc<Door>) {
    if !door.listener.admits(peer.map(|peer| peer.ip())) {
        entrance::log(peer, &"not one of the proxies that may connect here");
        return;
    }
    stream.prepare();
    if door.listener.stages.is_plain() {
        connection::begin(shared, stream, door.id, Entered::plain(peer));
    } else {
        let entering = entrance::run(Rc::clone(shared), stream, peer, Rc::clone(door));
        tokio::task::spawn_local(entering);
    }
}
