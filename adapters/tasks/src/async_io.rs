//! What smol and async-std have in common: async-io's reactor, which watches the broker's poll set.

#[cfg(not(unix))]
mod sockets;

#[cfg(unix)]
pub use crate::poll_set::{Acceptor, Stream};
#[cfg(not(unix))]
pub use sockets::{Acceptor, Stream};

use std::future::Future;
use std::io;

/// Waits for the broker, and meanwhile has whoever waits for a socket woken.
///
/// # Errors
/// There is no poll set to be had, or it failed.
#[cfg(unix)]
pub async fn run(broker: impl Future<Output = ()>) -> io::Result<()> {
    use crate::poll_set::PollSet;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    let sockets = async_io::Async::new(PollSet::new()?)?;
    let (mut broker, mut sockets) = (pin!(broker), pin!(watch(&sockets)));
    poll_fn(|context| match broker.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(Ok(())),
        Poll::Pending => sockets.as_mut().poll(context).map(Err),
    })
    .await
}

/// Has the poll set wake whoever waits for a socket, until that fails.
#[cfg(unix)]
async fn watch(sockets: &async_io::Async<crate::poll_set::PollSet>) -> io::Error {
    loop {
        let taken = sockets.readable().await.and_then(|()| sockets.get_ref().take_events());
        if let Err(error) = taken {
            return error;
        }
    }
}

/// Waits for the broker.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub async fn run(broker: impl Future<Output = ()>) -> io::Result<()> {
    broker.await;
    Ok(())
}
