//! Waking a task of the same thread.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::task::{Context, Poll, Waker};

/// Wakes the one task that waits for it, also when it was told before that waited.
#[derive(Default)]
pub struct Signal {
    told: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signal").field("told", &self.told).finish_non_exhaustive()
    }
}

impl Signal {
    /// Wakes the task.
    pub fn notify(&self) {
        self.told.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits until it is told.
    pub fn notified(&self) -> impl Future<Output = ()> {
        poll_fn(|context| self.poll(context))
    }

    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.told.take() {
            return Poll::Ready(());
        }
        self.waker.set(Some(context.waker().clone()));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::Signal;
    use std::task::{Context, Waker};

    #[test]
    fn being_told_early_counts_once() {
        let (signal, context) = (Signal::default(), Context::from_waker(Waker::noop()));
        assert!(signal.poll(&context).is_pending());
        signal.notify();
        signal.notify();
        assert!(signal.poll(&context).is_ready());
        assert!(signal.poll(&context).is_pending());
    }
}
