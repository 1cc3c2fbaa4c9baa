//! Smol's timer and tasks, with sockets that its reactor watches.

use metronome_tasks::async_io::{self, Acceptor, Stream};
use metronome_tasks::{Accepted, Bound, Runtime};
use smol::{LocalExecutor, Timer, future};
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Smol with a thread of its own.
#[derive(Debug)]
pub struct Smol;

thread_local! {
    /// The tasks of the broker on this thread.
    static EXECUTOR: Rc<LocalExecutor<'static>> = Rc::default();
}

impl Runtime for Smol {
    type Stream = Stream;
    type Acceptor = Acceptor;

    fn block_on(broker: impl Future<Output = ()>) -> io::Result<()> {
        let executor = EXECUTOR.with(Rc::clone);
        smol::block_on(executor.run(async_io::run(broker)))
    }

    fn accept_with(bound: Bound) -> io::Result<Acceptor> {
        Acceptor::with(bound)
    }

    fn adopt(socket: Accepted) -> io::Result<Stream> {
        Stream::with(socket)
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        EXECUTOR.with(|executor| executor.spawn(task).detach());
    }

    async fn sleep(time: Duration) {
        Timer::after(time).await;
    }

    fn yield_now() -> impl Future<Output = ()> {
        future::yield_now()
    }
}
