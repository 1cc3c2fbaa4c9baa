//! How fast a client publishes: so many messages and bytes in a second, some of them at once.

use super::Parked;
use crate::config::{Config, PublishRateExceeded};
use crate::engine::Engine;
use crate::ids::ConnId;
use crate::outbox::Outbox;
use crate::time::Time;
use alloc::boxed::Box;
use core::time::Duration;
use mqtt_proto::QoS;
use serde::{Deserialize, Serialize};

const SECOND: u64 = 1_000_000_000;

/// When what a client has published will have taken its time, in nanoseconds since the host started: a message takes its
/// share of a second, by its number and by its bytes. So a limit takes two numbers, and no timer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pace {
    messages: u64,
    bytes: u64,
}

/// What a PUBLISH of so many bytes takes, as a message and in bytes. Without a limit it takes nothing.
fn shares(size: usize, config: &Config) -> [u64; 2] {
    let share =
        |amount: u64, rate: u32| amount.saturating_mul(SECOND).checked_div(rate.into()).unwrap_or_default();
    [share(1, config.max_publish_rate), share(size as u64, config.max_publish_byte_rate)]
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Pace {
    /// When a PUBLISH of so many bytes may come: as soon as it ends within the burst, or everything before it has taken
    /// its time. So one that is larger than the burst may come too.
    fn next(&self, size: usize, config: &Config) -> Time {
        let burst = nanos(config.publish_burst);
        let may_come = |done: u64, share: u64| done.saturating_sub(burst.saturating_sub(share));
        let [message, bytes] = shares(size, config);
        let at = may_come(self.messages, message).max(may_come(self.bytes, bytes));
        Time::from_micros(at.div_ceil(1000))
    }

    fn take(&mut self, now: Time, size: usize, config: &Config) {
        let now = now.as_micros().saturating_mul(1000);
        let [message, bytes] = shares(size, config);
        self.messages = self.messages.max(now).saturating_add(message);
        self.bytes = self.bytes.max(now).saturating_add(bytes);
    }
}

impl Engine {
    /// Does a PUBLISH of so many bytes have to wait because its client publishes faster than it may? Then it is parked,
    /// everything of that client waits behind it, and no more is read.
    pub(crate) fn must_wait_for_pace(&mut self, id: ConnId, size: usize, out: &mut Outbox) -> bool {
        if self.last_words || self.config.publish_rate_exceeded != PublishRateExceeded::Pause {
            return false;
        }
        let Some(until) = self.too_early(id, size) else { return false };
        let Some(conn) = self.conn_mut(id) else { return false };
        conn.parked = Some(Box::new(Parked::Pace { until }));
        self.counters.publish_delayed += 1;
        self.set_paused(id, true, out);
        self.arm_connection(id);
        true
    }

    /// Counts a PUBLISH of so many bytes. False where it has come too early and is to be refused.
    pub(crate) fn keeps_pace(&mut self, id: ConnId, size: usize) -> bool {
        if !self.config.limits_pace() {
            return true;
        }
        let is_refused = self.config.publish_rate_exceeded == PublishRateExceeded::Refuse
            && self.too_early(id, size).is_some();
        let now = self.now;
        if !is_refused
            && let Some(Some(conn)) = self.connections.get_mut(id.slot())
            && conn.id == id
        {
            conn.pace.take(now, size, &self.config);
        }
        !is_refused
    }

    /// When it may come, where that is later.
    fn too_early(&self, id: ConnId, size: usize) -> Option<Time> {
        if !self.config.limits_pace() {
            return None;
        }
        let conn = self.conn(id).filter(|conn| conn.session().is_some())?;
        Some(conn.pace.next(size, &self.config)).filter(|at| *at > self.now)
    }

    /// Can an acknowledgement tell this client that its message was not routed?
    pub(crate) fn can_refuse(&self, id: ConnId, qos: QoS) -> bool {
        qos != QoS::AtMostOnce && self.conn(id).is_some_and(|conn| conn.version.is_v5())
    }
}
