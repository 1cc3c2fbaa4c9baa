//! Connections on which something may have happened.
//!
//! One task serves all connections, so an idle one costs no task. What wakes it is a bell for each connection, because a
//! runtime that finds a socket ready knows a waker and nothing else, and may ring it from any thread.

use broker_engine::ConnId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Those whose bells have rung, in order.
#[derive(Debug, Default)]
pub(crate) struct Rung {
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    conns: Vec<ConnId>,
    /// Of the task that serves them, while it waits.
    server: Option<Waker>,
}

impl Rung {
    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_some(&self) -> bool {
        !self.list().conns.is_empty()
    }

    /// Takes all of them; waits while there is none.
    pub(crate) fn poll_take(&self, taken: &mut Vec<ConnId>, context: &Context<'_>) -> Poll<()> {
        let mut list = self.list();
        if list.conns.is_empty() {
            list.server = Some(context.waker().clone());
            return Poll::Pending;
        }
        taken.append(&mut list.conns);
        Poll::Ready(())
    }
}

/// The bell of one connection.
#[derive(Debug)]
pub(crate) struct Bell {
    conn: ConnId,
    /// It is in the list.
    has_rung: AtomicBool,
    rung: Arc<Rung>,
}

impl Bell {
    pub(crate) fn new(conn: ConnId, rung: Arc<Rung>) -> Arc<Self> {
        Arc::new(Self { conn, has_rung: AtomicBool::new(false), rung })
    }

    /// Has the connection served soon.
    pub(crate) fn ring(&self) {
        if self.has_rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let server = {
            let mut list = self.rung.list();
            list.conns.push(self.conn);
            list.server.take()
        };
        if let Some(server) = server {
            server.wake();
        }
    }

    /// Its connection is about to be served: what happens from now on rings again.
    pub(crate) fn hush(&self) {
        self.has_rung.store(false, Ordering::Release);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::{Bell, Rung};
    use broker_engine::ConnIds;
    use std::sync::Arc;
    use std::task::{Context, Waker};

    #[test]
    fn a_bell_that_rings_twice_is_heard_once_until_it_is_hushed() {
        let rung = Arc::new(Rung::default());
        let context = Context::from_waker(Waker::noop());
        let mut ids = ConnIds::new();
        let conns = [ids.allocate(), ids.allocate()];
        let bells = conns.map(|conn| Bell::new(conn, Arc::clone(&rung)));
        let mut taken = Vec::new();
        assert!(rung.poll_take(&mut taken, &context).is_pending());
        for bell in [&bells[1], &bells[0], &bells[1]] {
            Waker::from(Arc::clone(bell)).wake();
        }
        assert!(rung.poll_take(&mut taken, &context).is_ready());
        assert_eq!(taken, [conns[1], conns[0]]);
        // Until it is served, it need not be in the list again.
        bells[1].ring();
        assert!(rung.poll_take(&mut taken, &context).is_pending());
        bells[1].hush();
        bells[1].ring();
        taken.clear();
        assert!(rung.poll_take(&mut taken, &context).is_ready());
        assert_eq!(taken, [conns[1]]);
    }
}
