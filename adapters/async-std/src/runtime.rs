//! async-std's timer and tasks, with sockets that the reactor below it watches.

use async_std::task;
use metronome_tasks::async_io::{self, Acceptor, Stream};
use metronome_tasks::{Accepted, Bound, Runtime};
use std::future::Future;
use std::io;
use std::time::Duration;

/// async-std with a thread of its own.
#[derive(Debug)]
pub struct AsyncStd;

impl Runtime for AsyncStd {
    type Stream = Stream;
    type Acceptor = Acceptor;

    fn block_on(broker: impl Future<Output = ()>) -> io::Result<()> {
        task::block_on(async_io::run(broker))
    }

    fn accept_with(bound: Bound) -> io::Result<Acceptor> {
        Acceptor::with(bound)
    }

    fn adopt(socket: Accepted) -> io::Result<Stream> {
        Stream::with(socket)
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        // A handle that is dropped detaches its task.
        let _detached = task::spawn_local(task);
    }

    fn sleep(time: Duration) -> impl Future<Output = ()> {
        task::sleep(time)
    }

    fn yield_now() -> impl Future<Output = ()> {
        task::yield_now()
    }
}
