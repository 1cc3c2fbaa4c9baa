//! Sessions begin, are resumed or taken over, expire and end.

use super::{Session, Subscription};
use crate::collections::SlotKey;
use crate::connections::Farewell;
use crate::counters::DropReason;
use crate::engine::Engine;
use crate::hooks::{Interest, Note, SessionEnd};
use crate::outbox::Outbox;
use crate::storage::StoreOp;
use crate::timers::TimerKey;
use alloc::string::ToString;
use mqtt_proto::{Connect, ReasonCode, planted};

impl Engine {
    /// The session for an accepted CONNECT, and whether it is an old one.
    pub(crate) fn begin_session(
        &mut self,
        client_id: &str,
        username: Option<&str>,
        connect: &Connect<'_>,
        expiry: u32,
        out: &mut Outbox,
    ) -> (SlotKey, bool) {
        if let Some(key) = self.session_of(client_id) {
            if let Some(old) = self.sessions.get(key).and_then(|session| session.conn) {
                self.counters.takeovers += 1;
                // Ends the session too, if it was not to outlive its connection.
                self.close(
                    old,
                    Farewell::tell(ReasonCode::SessionTakenOver, "another connection took the session"),
                    out,
                );
            }
            if self.sessions.contains(key) {
                if !connect.clean_start {
                    // The client is back in time: a delayed will is not sent [MQTT-3.1.3-9].
                    if planted!("resend-order")
                        && let Some(session) = self.sessions.get_mut(key)
                    {
                        session.inflight.reverse();
                    }
                    if planted!("resumed-without-routes") {
                        self.forget_routes(key);
                    }
                    return (key, !planted!("session-present-0"));
                }
                self.end_session(key, SessionEnd::CleanStart, out);
            }
        }
        let mut session = Session::new(client_id, username);
        session.expiry = expiry;
        let key = self.sessions.insert(session);
        self.count_session(key);
        self.clients.insert(client_id, key);
        self.counters.sessions_created += 1;
        (key, false)
    }

    /// The session's connection is gone: its will and its end become due.
    pub(crate) fn detach(&mut self, key: SlotKey, cancels_will: bool, out: &mut Outbox) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.conn = None;
        let cancelled = if cancels_will { session.will.take() } else { None };
        let expiry = session.expiry;
        let delay = session.will.as_ref().map(|will| will.delay.min(expiry));
        let is_late = planted!("will-lost-with-session") && delay == Some(expiry);
        let delay = if is_late { None } else { delay };
        self.count_session(key);
        if cancelled.is_some() {
            self.store_will(key);
        }
        if expiry == 0 {
            self.end_session(key, SessionEnd::WithConnection, out);
            return;
        }
        if delay == Some(0) {
            self.send_will(key, out);
        }
        let ends_at = self.expiry_deadline(expiry);
        if let Some(session) = self.sessions.get_mut(key) {
            session.will_at = delay.filter(|delay| *delay > 0).map(|delay| now.after_secs(delay));
            session.ends_at = ends_at;
        }
        self.arm_session(key);
        self.store_session(key);
    }

    /// Forgets a session and everything in it. A will that was still waiting is sent now [MQTT-3.1.2-8].
    pub(crate) fn end_session(&mut self, key: SlotKey, reason: SessionEnd, out: &mut Outbox) {
        let mut leaving = None;
        if self.sessions.get(key).is_some_and(|session| session.conn.is_none())
            && !planted!("will-lost-with-session")
        {
            leaving = self.send_will(key, out);
        }
        if !self.undecided.is_empty() {
            self.leave_undecided(key);
        }
        let Some(mut session) = self.sessions.remove(key) else { return };
        leaving = leaving.or_else(|| self.will_that_waits(&session.client_id));
        self.session_bytes -= session.counted;
        self.disarm(session.armed, TimerKey::Session(key));
        let sessions = &self.sessions;
        self.clients.remove(&session.client_id, |other| other == key || !sessions.contains(other));
        for Subscription { at, filter } in core::mem::take(&mut session.subscriptions) {
            self.remove_entry(at, &filter);
        }
        let dropped = match reason {
            SessionEnd::Admin => DropReason::AdminDropped,
            SessionEnd::WithConnection | SessionEnd::Expired | SessionEnd::CleanStart => {
                DropReason::SessionEnded
            }
        };
        // Before its facts end in the store, so that no cut between loses a message.
        self.hand_on_all(&mut session, dropped, out);
        self.counters.sessions_ended += 1;
        if self.gates.is_on() {
            let client_id = session.client_id.to_string();
            self.gates.emit(StoreOp::EndSession { client_id: client_id.clone() });
            if let Some(will) = leaving {
                self.gates.emit(StoreOp::PutWill { client_id, will });
            }
        }
        if self.config.interest.contains(Interest::CLIENTS) {
            out.notes.push(Note::SessionEnded { client_id: session.client_id.into_string(), reason });
        }
    }

    /// Only where a bug is planted.
    fn forget_routes(&mut self, key: SlotKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        for Subscription { at, filter } in core::mem::take(&mut session.subscriptions) {
            self.remove_entry(at, &filter);
        }
    }
}
