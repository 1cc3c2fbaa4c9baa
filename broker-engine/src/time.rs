//! The engine's clock: a value that the caller hands in, never a clock that the engine reads.

use core::time::Duration;
use serde::{Deserialize, Serialize};

/// A point in monotonic time: microseconds since the host started.
///
/// The engine never sees a wall clock except as [`crate::Input::WallClock`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(u64);

impl Time {
    /// The start of time.
    pub const ZERO: Self = Self(0);
    /// Later than every deadline.
    pub const MAX: Self = Self(u64::MAX);

    /// A time from microseconds since the host started.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// A time from whole seconds since the host started.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the host started.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// This time plus `duration`; saturates at [`Time::MAX`] instead of wrapping.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// This time plus whole seconds, saturating.
    #[must_use]
    pub const fn after_secs(self, secs: u32) -> Self {
        Self(self.0.saturating_add(secs as u64 * 1_000_000))
    }

    /// Time passed since `earlier`, zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// When the engine wants to be called again, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Call [`crate::Engine::handle`] with [`crate::Input::Tick`] no earlier than this.
    pub at: Time,
    /// What is waiting; for logs and tests.
    pub reason: DeadlineReason,
}

/// What a [`Deadline`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadlineReason {
    /// Work was sliced and goes on at once (large fan-out, retained messages, a queue being drained).
    Work,
    /// A timer: connect deadline, keep-alive, session expiry, will delay, hook time limit, retained expiry.
    Timer,
}
