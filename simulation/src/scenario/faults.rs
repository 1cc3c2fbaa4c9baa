//! Faults of hooks, store and process: each class is there in half of the seeds or fewer, at a rate of its own, from a
//! stream of its own, so that none shifts another.

use super::Scenario;
use crate::random::Stream;
use broker_engine::Durability;
use std::time::Duration;

const SECOND: u64 = 1_000_000;

fn rate(stream: &mut Stream, most: u64) -> u32 {
    u32::try_from(stream.by_magnitude(1, most)).unwrap_or(1)
}

/// Adds them to a scenario.
pub(super) fn add(scenario: &mut Scenario, stream: impl Fn(&'static str) -> Stream) {
    let Scenario { outside, limits, .. } = scenario;
    // The reference broker does not follow where SUBSCRIBE is asked about, the store is waited for, or memory is short,
    // so these are in fewer seeds.
    let class = |name, in_a_thousand, add: &mut dyn FnMut(&mut Stream)| {
        let mut stream = stream(name);
        if stream.chance(in_a_thousand) {
            add(&mut stream);
        }
    };
    class("H01", 300, &mut |stream| {
        outside.answer_max = stream.by_magnitude(1000, 120 * SECOND);
        let timeout = stream.by_magnitude(10, 120_000);
        limits.hook_timeout = Duration::from_millis(timeout);
    });
    class("H02", 500, &mut |stream| {
        outside.no_answer = rate(stream, 100);
        outside.answer_again = rate(stream, 1000);
        outside.stray_answer = rate(stream, 1000);
    });
    class("H03", 200, &mut |stream| {
        outside.ask_subscribe = true;
        outside.change = rate(stream, 500);
    });
    class("H05", 500, &mut |stream| outside.interrupt = rate(stream, 100));
    class("S01", 150, &mut |stream| {
        limits.durability = Durability::Durable;
        outside.store_max = stream.by_magnitude(1, 10 * SECOND);
        if stream.chance(500) {
            limits.queue_window_messages = rate(stream, 20);
        }
    });
    class("S02", 500, &mut |stream| outside.store_fail = rate(stream, 100));
    class("P01", 500, &mut |stream| outside.crash = rate(stream, 1000));
    class("P02", 500, &mut |stream| outside.shutdown = rate(stream, 1000));
    class("P03", 100, &mut |stream| {
        let high = stream.by_magnitude(5000, 200_000);
        (limits.memory_high, limits.memory_max) = (Some(high), Some(high + high / 2));
    });
    class("P04", 500, &mut |stream| {
        outside.blocked = rate(stream, 2000);
        outside.blocked_max = stream.by_magnitude(1000, 30 * SECOND);
    });
}
