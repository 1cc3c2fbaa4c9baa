//! Faults of hooks, store and process.

use super::clients::share;
use super::{SECOND, Small};
use crate::random::Stream;
use crate::scenario::{Outside, What};
use broker_engine::{Config, Durability};
use std::time::Duration;

impl Small {
    /// The reference broker does not follow where SUBSCRIBE or PUBLISH is asked about, the store is waited for, or memory is short,
    /// so these are in fewer seeds.
    pub(super) fn host(&self, outside: &mut Outside, limits: &mut Config) {
        if let Some(mut stream) = self.seldom("H01", 300) {
            outside.answer_max = stream.by_magnitude(1000, 120 * SECOND);
            limits.hook_timeout = Duration::from_millis(stream.by_magnitude(10, 120_000));
        }
        if let Some(mut stream) = self.class("H02") {
            outside.no_answer = share(&mut stream, 100);
            outside.answer_again = share(&mut stream, 1000);
            outside.stray_answer = share(&mut stream, 1000);
        }
        if let Some(mut stream) = self.seldom("H03", 300) {
            let asked =
                *stream.pick(&[(true, false), (true, false), (false, true), (false, true), (true, true)]);
            (outside.ask_subscribe, outside.ask_publish) = asked;
            outside.change = u32::try_from(stream.by_magnitude(20, 500)).unwrap_or(500);
            limits.max_publish_questions = *stream.pick(&[1, 2, 16]);
            if outside.ask_publish && stream.chance(500) {
                // Meanwhile clients leave, and what they may changes.
                outside.answer_max = outside.answer_max.max(stream.by_magnitude(1000, 10 * SECOND));
            }
        }
        if let Some(mut stream) = self.class("H05") {
            outside.interrupt = share(&mut stream, 100);
            outside.deeds = (0..stream.below(5)).map(|_| self.meanwhile(&mut stream)).collect();
        }
        if let Some(mut stream) = self.seldom("S01", 150) {
            limits.durability = Durability::Durable;
            outside.store_max = stream.by_magnitude(1, 10 * SECOND);
            if stream.chance(500) {
                limits.queue_window_messages = share(&mut stream, 20);
            }
        }
        if let Some(mut stream) = self.class("S02") {
            outside.store_fail = share(&mut stream, 100);
        }
        if let Some(mut stream) = self.seldom("S03", 150) {
            self.lasting(&mut stream, outside, limits);
        }
        if let Some(mut stream) = self.class("P01") {
            outside.crash = share(&mut stream, 1000);
            if stream.chance(500) {
                outside.snapshot_every = stream.by_magnitude(1, 120 * SECOND);
            }
        }
        if let Some(mut stream) = self.class("P02") {
            outside.shutdown = share(&mut stream, 1000);
        }
        if let Some(mut stream) = self.seldom("P03", 100) {
            let high = stream.by_magnitude(5000, 200_000);
            (limits.memory_high, limits.memory_max) = (Some(high), Some(high + high / 2));
        }
        if let Some(mut stream) = self.class("P04") {
            outside.blocked = share(&mut stream, 2000);
            outside.blocked_max = stream.by_magnitude(1000, 30 * SECOND);
        }
    }

    /// What who answers does to the client that it is about.
    fn meanwhile(&self, stream: &mut Stream) -> What {
        match stream.below(4) {
            0 => What::Kick { end_session: stream.chance(300) },
            1 => What::SetPermissions(stream.chance(700).then(|| self.rules(stream))),
            _ => self.deed(stream),
        }
    }

    /// The store outlives processes, of which there are many.
    fn lasting(&self, stream: &mut Stream, outside: &mut Outside, limits: &mut Config) {
        (outside.lasting, limits.durability) = (true, Durability::Durable);
        outside.store_max = stream.by_magnitude(1, 5 * SECOND);
        outside.crash = share(stream, 1000);
        if let Some(mut stream) = self.class("S04") {
            outside.damage = share(&mut stream, 1000);
        }
        if let Some(mut stream) = self.class("S05") {
            // Only where a process ends at all, and those that begin from a store are few.
            outside.crash_again = u32::try_from(stream.by_magnitude(50, 500)).unwrap_or(500);
        }
        if let Some(mut stream) = self.class("S06") {
            outside.store_full = share(&mut stream, 1000);
            outside.store_full_max = stream.by_magnitude(1000, 30 * SECOND);
        }
        if let Some(mut stream) = self.class("S07") {
            outside.other_limits = share(&mut stream, 1000);
        }
    }

    /// Processes end again and again, and nothing lives but what the store has.
    pub(super) fn crashes(&self, outside: &mut Outside, limits: &mut Config) {
        let mut stream = (self.stream)("crashes");
        self.lasting(&mut stream, outside, limits);
        outside.crash = u32::try_from(stream.by_magnitude(500, 10_000)).unwrap_or(500);
        (outside.shutdown, outside.snapshot_every) = (outside.crash / 10, 0);
        (limits.memory_high, limits.memory_max) = (None, None);
    }
}
