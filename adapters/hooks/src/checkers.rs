//! Threads that find out answers, so that the broker's own does not wait for what is slow: checking passwords is so on
//! purpose.

use metronome_host::{Decision, Responder};
use mqtt_proto::ReasonCode;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Checks that may wait. Of tens of milliseconds each, they are about as many as can be done before the time limit of hooks.
const WAITING: usize = 256;

type Check = (Responder, Box<dyn FnOnce() -> Decision + Send>);

/// Hands checks to the threads, which end when the last of these is gone.
#[derive(Clone)]
pub(crate) struct Checkers(SyncSender<Check>);

impl Checkers {
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let (checks, waiting) = sync_channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let waiting = Arc::clone(&waiting);
            thread::Builder::new().name("metronome-check".into()).spawn(move || work(&waiting))?;
        }
        Ok(Self(checks))
    }

    /// Has a question answered by `check`. When too many wait already, the answer is no: come back later.
    pub(crate) fn check(&self, responder: Responder, check: impl FnOnce() -> Decision + Send + 'static) {
        match self.0.try_send((responder, Box::new(check))) {
            Ok(()) => {}
            Err(TrySendError::Full((responder, _)) | TrySendError::Disconnected((responder, _))) => {
                responder.answer(Decision::deny(ReasonCode::ServerBusy));
            }
        }
    }
}

fn work(waiting: &Mutex<Receiver<Check>>) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((responder, check)) = next else { return };
        // A panic, which would be a bug, drops the responder: that denies, and the thread goes on.
        let _reported = catch_unwind(AssertUnwindSafe(move || responder.answer(check())));
    }
}

impl fmt::Debug for Checkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checkers")
    }
}
