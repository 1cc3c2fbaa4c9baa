//! Tokio's timer and tasks, and its reactor, which watches the broker's poll set.

#[cfg(not(unix))]
use crate::sockets::{Acceptor, Stream};
#[cfg(unix)]
use metronome_tasks::poll_set::{Acceptor, PollSet, Stream};
use metronome_tasks::{Accepted, Bound, Runtime};
use std::future::Future;
use std::io;
use std::time::Duration;
#[cfg(unix)]
use tokio::io::{Interest, unix::AsyncFd};
use tokio::task::LocalSet;

/// Tokio with a thread of its own; its tasks live in a `LocalSet`.
#[derive(Debug)]
pub struct Tokio;

impl Runtime for Tokio {
    type Stream = Stream;
    type Acceptor = Acceptor;

    #[cfg(unix)]
    fn block_on(broker: impl Future<Output = ()>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sockets = PollSet::new()?;
        LocalSet::new().block_on(&runtime, async {
            let watching = tokio::task::spawn_local(watch(registered(sockets)?));
            tokio::select! {
                () = broker => Ok(()),
                ended = watching => Err(ended.unwrap_or_else(io::Error::other)),
            }
        })
    }

    #[cfg(not(unix))]
    fn block_on(broker: impl Future<Output = ()>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, broker);
        Ok(())
    }

    fn accept_with(bound: Bound) -> io::Result<Acceptor> {
        Acceptor::with(bound)
    }

    fn adopt(socket: Accepted) -> io::Result<Stream> {
        Stream::with(socket)
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }

    fn sleep(time: Duration) -> impl Future<Output = ()> {
        tokio::time::sleep(time)
    }

    fn yield_now() -> impl Future<Output = ()> {
        tokio::task::yield_now()
    }
}

/// The poll set as a file of tokio's reactor. If that watched each socket by itself, each would take some hundred bytes more.
#[cfg(unix)]
#[allow(unsafe_code)]
fn registered(sockets: PollSet) -> io::Result<AsyncFd<PollSet>> {
    // SAFETY: the set's file is open, the same, and its own for as long as the set is there, and the result has the set.
    Ok(unsafe { AsyncFd::register_with_interest(sockets, Interest::READABLE) }?)
}

/// Has the poll set wake whoever waits for a socket, until that fails.
#[cfg(unix)]
async fn watch(sockets: AsyncFd<PollSet>) -> io::Error {
    let all_taken = async || {
        let mut ready = sockets.readable().await?;
        let all_taken = ready.get_inner().take_events()?;
        if all_taken {
            ready.clear_ready();
        }
        io::Result::Ok(all_taken)
    };
    loop {
        match all_taken().await {
            Ok(true) => {}
            // The rest comes when what came has been handled.
            Ok(false) => tokio::task::yield_now().await,
            Err(error) => return error,
        }
    }
}
