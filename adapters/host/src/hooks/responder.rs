//! What comes to the broker's thread from others: answers, and commands.

use super::Decision;
use broker_engine::mqtt_proto::ReasonCode;
use broker_engine::{CallId, Command, ConnId};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Gives the answer to one question, once, whenever and wherever. One that is dropped without denies, so that a task that
/// fails or panics keeps nobody waiting.
pub struct Responder {
    /// `None` once it has answered.
    call: Option<(ConnId, CallId)>,
    mailbox: Arc<Mailbox>,
}

impl Responder {
    pub(super) fn new(conn: ConnId, call: CallId, mailbox: Arc<Mailbox>) -> Self {
        Self { call: Some((conn, call)), mailbox }
    }

    /// Answers, as the hook would have at once; with [`Decision::NotMine`] the next hook is asked. Comes to nothing when
    /// the client is gone or the time limit has passed.
    pub fn answer(mut self, decision: impl Into<Decision>) {
        self.send(decision.into());
    }

    fn send(&mut self, decision: Decision) {
        if let Some((conn, call)) = self.call.take() {
            self.mailbox.put(Mail::Answer { conn, call, decision });
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.send(Decision::deny(ReasonCode::NotAuthorized));
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("call", &self.call).finish_non_exhaustive()
    }
}

/// Has the broker do something: publish, disconnect a client, change what it may. From a hook's own methods, where it is done
/// once they have returned, or from any thread.
#[derive(Clone, Debug, Default)]
pub struct Commands(Arc<Mailbox>);

impl Commands {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self(mailbox)
    }

    /// Commands are carried out in their order.
    pub fn send(&self, command: Command) {
        self.0.put(Mail::Command(command));
    }
}

/// Something on its way to the broker's thread.
#[derive(Debug)]
pub(super) enum Mail {
    Answer { conn: ConnId, call: CallId, decision: Decision },
    Command(Command),
}

/// Where it waits, and whom it wakes.
#[derive(Debug, Default)]
pub(super) struct Mailbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    mail: Vec<Mail>,
    waker: Option<Waker>,
}

impl Mailbox {
    fn put(&self, mail: Mail) {
        let mut waiting = self.lock();
        waiting.mail.push(mail);
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// All mail, or word to the waker when there is some.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<Vec<Mail>> {
        let mut waiting = self.lock();
        if waiting.mail.is_empty() {
            waiting.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut waiting.mail))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
