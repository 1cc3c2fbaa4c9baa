//! One deadline for everything: what is due, in a defined order.
//!
//! Objects remember the one entry that is set for them, and take it along when they go. An entry that fires too
//! early, because its object was busy meanwhile, sets itself again; so a packet costs a store, not a queue
//! operation.

use crate::collections::SlotKey;
use crate::connections::{Connection, Farewell, Parked, Phase};
use crate::engine::Engine;
use crate::hooks::{RetainedChange, SessionEnd};
use crate::ids::ConnId;
use crate::outbox::Outbox;
use crate::time::Time;
use crate::topics::RetainedKey;
use alloc::boxed::Box;
use core::time::Duration;
use mqtt_proto::{ReasonCode, planted};
use serde::{Deserialize, Serialize};

/// What a timer entry is about. The order decides between equal deadlines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum TimerKey {
    /// Connect deadline, keep-alive, hook time limit.
    Connection(ConnId),
    /// Will delay, session expiry.
    Session(SlotKey),
    /// A retained message's expiry.
    Retained(Box<RetainedKey>),
    /// Time limit of questions about the PUBLISH packets of a client.
    Undecided(Box<str>),
}

impl Engine {
    /// Fires what is due by `now`, each entry at its own time, as far as this call's budget goes.
    pub(crate) fn fire_timers(&mut self, now: Time, out: &mut Outbox) {
        while self.budget > 0 {
            let Some((at, key)) = self.timers.pop_due(now.as_micros()) else { return };
            self.budget -= 1;
            self.now = self.now.max(Time::from_micros(at));
            match key {
                TimerKey::Connection(conn) => self.connection_timer(conn, out),
                TimerKey::Session(session) => self.session_timer(session, out),
                TimerKey::Retained(topic) => self.retained_timer(&topic, out),
                TimerKey::Undecided(client_id) => self.undecided_timer(&client_id, out),
            }
        }
    }

    /// Makes sure that the connection's timer fires no later than its next deadline.
    pub(crate) fn arm_connection(&mut self, id: ConnId) {
        let Some(at) = self.connection_deadline(id) else { return };
        let Some(conn) = self.conn_mut(id) else { return };
        let before = conn.armed;
        if before.is_none_or(|armed| at < armed) {
            conn.armed = Some(at);
            self.disarm(before, TimerKey::Connection(id));
            self.timers.push(at.as_micros(), TimerKey::Connection(id));
        }
    }

    /// Takes out the entry of an object that goes, or gets an earlier one.
    pub(crate) fn disarm(&mut self, armed: Option<Time>, key: TimerKey) {
        if let Some(at) = armed.filter(|_| !planted!("timer-leak")) {
            self.timers.remove(at.as_micros(), key);
        }
    }

    fn connection_deadline(&self, id: ConnId) -> Option<Time> {
        let conn = self.conn(id)?;
        let parked = match conn.parked.as_deref() {
            Some(Parked::Question { deadline, .. }) => Some(*deadline),
            Some(Parked::Pressure { until } | Parked::Pace { until }) => Some(*until),
            _ => None,
        };
        let is_held_back = conn.parked.is_some() && conn.is_paused() || !conn.is_greeted();
        let heard = self.hearing.latest(conn.last_seen, self.now);
        let silence = match conn.phase {
            // It waits for us: it is not read, or has no CONNACK to answer, and may take nothing because there is nothing.
            Phase::Online { .. } if is_held_back && !conn.egress.congested => None,
            // Who is not read is not heard: its silence says nothing, only that it takes nothing does.
            Phase::Online { .. } if conn.is_paused() => Some(
                conn.last_seen.after(self.config.stall_timeout.max(Duration::from_micros(conn.patience))),
            ),
            Phase::Online { .. } if conn.patience > 0 => {
                Some(heard.after(Duration::from_micros(conn.patience)))
            }
            Phase::Online { .. } => None,
            // While a hook is asked, its own time limit counts.
            Phase::Authenticating(_) if parked.is_some() => None,
            Phase::Opening { .. } | Phase::Authenticating(_) => {
                (!planted!("no-connect-deadline")).then(|| heard.after(self.config.connect_timeout))
            }
        };
        parked.into_iter().chain(silence).min()
    }

    fn connection_timer(&mut self, id: ConnId, out: &mut Outbox) {
        let now = self.now;
        let Some(conn) = self.conn_mut(id) else { return };
        conn.armed = None;
        if let Some(Parked::Question { deadline, .. }) = conn.parked.as_deref()
            && *deadline <= now
        {
            self.question_timed_out(id, out);
            self.arm_connection(id);
            return;
        }
        if let Some(Parked::Pressure { until } | Parked::Pace { until }) = conn.parked.as_deref()
            && *until <= now
        {
            conn.parked = None;
            self.resume_input(id, out);
            self.arm_connection(id);
            return;
        }
        if self.connection_deadline(id).is_some_and(|at| at <= now) {
            let online = self.conn(id).is_some_and(|conn| conn.session().is_some());
            let farewell = if self.conn(id).is_some_and(Connection::is_paused) && online {
                self.counters.stall_timeouts += 1;
                Farewell::tell(ReasonCode::QuotaExceeded, "the client does not read")
            } else if online {
                self.counters.keep_alive_timeouts += 1;
                Farewell::tell(
                    ReasonCode::KeepAliveTimeout,
                    "no packet within one and a half keep-alive periods",
                )
            } else {
                self.counters.connect_timeouts += 1;
                Farewell::rude("no complete CONNECT within the connect deadline")
            };
            self.close(id, farewell, out);
            return;
        }
        self.arm_connection(id);
    }

    /// Makes sure that the session's timer fires no later than its will or its end is due.
    pub(crate) fn arm_session(&mut self, key: SlotKey) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(at) = session.will_at.into_iter().chain(session.ends_at).min() else { return };
        let before = session.armed;
        if before.is_none_or(|armed| at < armed) {
            session.armed = Some(at);
            self.disarm(before, TimerKey::Session(key));
            self.timers.push(at.as_micros(), TimerKey::Session(key));
        }
    }

    fn session_timer(&mut self, key: SlotKey, out: &mut Outbox) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.armed = None;
        if session.will_at.is_some_and(|at| at <= now) {
            self.send_will(key, out);
        }
        if self.sessions.get(key).is_some_and(|session| session.ends_at.is_some_and(|at| at <= now)) {
            self.end_session(key, SessionEnd::Expired, out);
        }
        self.arm_session(key);
    }

    fn retained_timer(&mut self, topic: &RetainedKey, out: &mut Outbox) {
        let name = topic.topic();
        if self.retained.get(&name).is_some_and(|kept| self.is_expired(kept.message)) {
            self.remove_retained(&name, RetainedChange::Expired, out);
        }
    }

    /// Is a kept message past its expiry, as its receiver would get it?
    pub(crate) fn is_expired(&self, message: SlotKey) -> bool {
        self.messages.get(message).is_some_and(|message| message.is_expired(self.called_at))
    }
}
