//! A wall clock that never goes back, not even from one process to the next: what has expired stays so.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    latest: u64,
}

impl Clock {
    /// A clock that shows no less than `latest`, which a store knows.
    pub const fn behind(latest: u64) -> Self {
        Self { latest }
    }

    /// What the system says, but never less than before.
    pub fn now(&mut self) -> u64 {
        self.at(system_time())
    }

    /// The same where the time comes from elsewhere.
    pub fn at(&mut self, system: u64) -> u64 {
        self.latest = self.latest.max(system);
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

    #[test]
    fn it_goes_on_from_where_the_store_was_and_never_back() {
        let system = Clock::default().now();
        assert!(system > 1_600_000_000_000_000);
        let mut ahead = Clock::behind(u64::MAX - 1);
        assert_eq!((ahead.now(), ahead.now()), (u64::MAX - 1, u64::MAX - 1));
        let mut late = Clock::behind(1);
        let first = late.now();
        assert!(first >= system && late.now() >= first);
    }
}
