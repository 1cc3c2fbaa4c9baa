//! Back-pressure: the host reports what a socket did not take, and when it reads from nobody.

use super::Farewell;
use crate::delivery::Work;
use crate::engine::Engine;
use crate::ids::ConnId;
use crate::outbox::{Flow, Outbox};
use crate::time::Time;
use mqtt_proto::{ReasonCode, planted};
use serde::{Deserialize, Serialize};

/// Whether clients can be heard at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Hearing {
    /// Since then.
    Since(Time),
    /// The host reads from nobody.
    Nobody,
}

impl Default for Hearing {
    fn default() -> Self {
        Self::Since(Time::ZERO)
    }
}

impl Hearing {
    pub(crate) fn of(flow: Flow, now: Time) -> Self {
        match flow {
            Flow::Pause => Self::Nobody,
            Flow::Resume => Self::Since(now),
        }
    }

    /// From when on the silence of a client counts that showed a sign of life then.
    pub(crate) fn latest(self, seen: Time, now: Time) -> Time {
        match self {
            Self::Since(begin) => seen.max(begin),
            Self::Nobody => now,
        }
    }
}

impl Engine {
    pub(crate) fn backlog(&mut self, id: ConnId, unsent: u32, out: &mut Outbox) {
        let (high, low, hard) = (self.config.egress_high, self.config.egress_low, self.config.egress_hard());
        let now = self.now;
        let Some(conn) = self.conn_mut(id) else {
            self.counters.stale_inputs += 1;
            return;
        };
        // A client that is not read cannot say more than this.
        if conn.is_paused() && unsent < conn.egress.unsent {
            conn.last_seen = now;
        }
        conn.egress.unsent = unsent;
        self.count_connection(id);
        let Some(conn) = self.conn_mut(id) else { return };
        if unsent > hard {
            self.close(id, Farewell::tell(ReasonCode::QuotaExceeded, "the client does not read"), out);
        } else if unsent >= high {
            conn.egress.congested = true;
            self.set_paused(id, true, out);
        } else if unsent <= low && conn.egress.congested {
            conn.egress.congested = false;
            let parked = conn.parked.is_some();
            if !parked && !planted!("lost-wake-up") {
                self.set_paused(id, false, out);
                self.resume_input(id, out);
            }
            self.scan_later(id);
            self.drain(id, out);
        }
    }

    /// May a message be sent to this connection in this call?
    pub(crate) fn can_send(&self, id: ConnId) -> bool {
        self.conn(id).is_some_and(|conn| conn.can_send(self.call, self.config.egress_high))
    }

    /// Will an input come that goes on sending to this connection: a drained socket, or a store that kept its
    /// session?
    pub(crate) fn is_held(&self, id: ConnId) -> bool {
        self.conn(id).is_some_and(|conn| conn.egress.congested || !conn.is_greeted() || conn.is_gone())
    }

    /// Goes on sending to this connection in the next call.
    pub(crate) fn drain_later(&mut self, id: ConnId) {
        if let Some(conn) = self.conn_mut(id)
            && !core::mem::replace(&mut conn.egress.draining, true)
        {
            self.work.push_back(Work::Drain(id));
        }
    }
}
