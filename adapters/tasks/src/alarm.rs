//! Telling the broker that it cannot go on. When a task panics the engine may be left half-way, so from then on no task is
//! run: nobody is served by it.

use crate::signal::Signal;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// Rings for a failure of any kind, and when a task panics.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    signal: Signal,
    panicked: Cell<bool>,
}

impl Alarm {
    /// The broker has to end.
    pub(crate) fn ring(&self) {
        self.signal.notify();
    }

    /// Waits until it rings.
    pub(crate) fn rung(&self) -> impl Future<Output = ()> {
        self.signal.notified()
    }

    /// Has a task panicked?
    pub(crate) fn has_panicked(&self) -> bool {
        self.panicked.get()
    }
}

/// Rings when it is dropped by a panic.
struct Watch(Rc<Alarm>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked.set(true);
            self.0.ring();
        }
    }
}

/// A task whose panic is heard, and which does nothing any more when another has panicked.
pub(crate) async fn watched(alarm: Rc<Alarm>, task: impl Future<Output = ()>) {
    let watch = Watch(alarm);
    let mut task = pin!(task);
    poll_fn(|context| if watch.0.has_panicked() { Poll::Pending } else { task.as_mut().poll(context) }).await;
}

#[cfg(test)]
mod tests {
    use super::{Alarm, watched};
    use std::cell::Cell;
    use std::future::{Future, poll_fn};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::pin;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};

    /// The engine may be left half-way, so the broker must not go on half alive.
    #[test]
    fn a_panic_of_a_task_is_heard_and_the_last_thing_that_any_task_does() {
        for panics in [false, true] {
            let alarm = Rc::new(Alarm::default());
            let mut context = Context::from_waker(Waker::noop());
            let mut task = Box::pin(watched(Rc::clone(&alarm), async move {
                yield_once().await;
                assert!(!panics, "this is the test's panic");
            }));
            let went_on = Cell::new(false);
            let mut other = pin!(watched(Rc::clone(&alarm), async {
                yield_once().await;
                went_on.set(true);
            }));
            assert!(task.as_mut().poll(&mut context).is_pending());
            assert!(other.as_mut().poll(&mut context).is_pending());
            let ended = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut context).is_ready()));
            assert_eq!((ended.is_err(), alarm.has_panicked()), (panics, panics));
            assert_eq!(pin!(alarm.rung()).poll(&mut context).is_ready(), panics);
            assert_eq!(other.as_mut().poll(&mut context).is_ready(), !panics);
            assert_eq!(went_on.get(), !panics);
        }
    }

    async fn yield_once() {
        let mut waits = true;
        poll_fn(|_| if std::mem::take(&mut waits) { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}
