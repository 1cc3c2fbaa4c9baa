//! A wall clock that never goes back, not even from one process to the next: what has expired stays so.
//!
//! Where the system's is set back, this one goes on by the time that passes, so that nothing lives longer for that.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Unix time in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    latest: u64,
    /// When it showed that, counted from `begun`.
    shown: Duration,
    begun: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self::behind(0)
    }
}

impl Clock {
    /// A clock that begins now and shows no less than `latest`, which a store knows.
    pub fn behind(latest: u64) -> Self {
        Self { latest, shown: Duration::ZERO, begun: Instant::now() }
    }

    /// What the system says, but never less than before, and what has passed since.
    pub fn now(&mut self) -> u64 {
        self.at(system_time(), self.begun.elapsed())
    }

    /// The same where the time comes from elsewhere, and how long ago this clock began.
    pub fn at(&mut self, system: u64, age: Duration) -> u64 {
        let passed = age.saturating_sub(self.shown);
        self.shown = self.shown.max(age);
        let passed = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        self.latest = self.latest.saturating_add(passed).max(system);
        self.latest
    }
}

/// Unix time in microseconds, by the system.
pub(crate) fn system_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use std::time::Duration;

    #[test]
    fn it_goes_on_from_where_the_store_was_and_never_back() {
        let system = Clock::default().now();
        assert!(system > 1_600_000_000_000_000);
        let mut end = Clock::behind(u64::MAX - 1);
        assert!(end.now() >= u64::MAX - 1 && end.now() >= u64::MAX - 1);
        let mut late = Clock::behind(1);
        let first = late.now();
        assert!(first >= system && late.now() >= first);
    }

    /// Also while the system's clock is behind it.
    #[test]
    fn it_never_stands_still() {
        let mut clock = Clock::behind(5_000_000);
        let mut shows = |system: u64, age| clock.at(system * 1_000_000, Duration::from_secs(age)) / 1_000_000;
        assert_eq!(shows(7, 1), 7);
        assert_eq!(shows(2, 3), 9, "set back");
        assert_eq!(shows(2, 3), 9, "no time has passed");
        assert_eq!(shows(4, 5), 11);
        assert_eq!(shows(12, 6), 12, "set right again");
    }
}
