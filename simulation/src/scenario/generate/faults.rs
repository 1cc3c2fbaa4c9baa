//! What the network and the clocks do.

use super::clients::share;
use super::{SECOND, Small, calm, prompt};
use crate::scenario::{Network, Outside};

impl Small {
    pub(super) fn network(&self) -> Network {
        let mut stream = (self.stream)("delay");
        let delay_min = stream.by_magnitude(0, 30_000);
        // Sometimes everything takes the same time, so that what is to meet does.
        let spread = if stream.chance(250) { 0 } else { stream.by_magnitude(0, 100_000) };
        let mut network = Network { delay_min, delay_max: delay_min + spread, split: 0, ..calm() };
        if let Some(mut stream) = self.class("N01") {
            network.bytewise = share(&mut stream, 1000);
        }
        if let Some(mut stream) = self.class("N02") {
            network.split = share(&mut stream, 1000);
            network.piece = *stream.pick(&[1, 2, 7, 100, 1460]);
        }
        if let Some(mut stream) = self.class("N03") {
            network.tail = share(&mut stream, 20);
        }
        if let Some(mut stream) = self.class("N04") {
            network.bandwidth = stream.by_magnitude(100, 1_000_000_000);
        }
        // Who reads slowly is noticed once the socket is full.
        if let Some(mut stream) = self.class("C01") {
            network.socket_buffer = stream.by_magnitude(100, 4000);
        }
        if let Some(mut stream) = self.class("N05") {
            network.socket_buffer = stream.by_magnitude(1, 4000);
        }
        if let Some(mut stream) = self.class("N06") {
            network.clog = share(&mut stream, 20);
            network.clog_max = stream.by_magnitude(SECOND, 60 * SECOND);
        }
        if let Some(mut stream) = self.class("N09") {
            network.cut = share(&mut stream, 50);
            network.abrupt = share(&mut stream, 1000);
        }
        if let Some(mut stream) = self.class("N07") {
            network.half_open = share(&mut stream, 500);
        }
        if let Some(mut stream) = self.class("N13") {
            network.roaming = share(&mut stream, 1000);
        }
        network
    }

    pub(super) fn outside(&self) -> Outside {
        let mut outside = prompt();
        let mut stream = (self.stream)("host");
        outside.answer_max = *stream.pick(&[0, 1000]);
        if self.is_faulty && stream.chance(400) {
            outside.answer_max = stream.by_magnitude(1000, 20 * SECOND);
            outside.deny = *stream.pick(&[0, 0, 100]);
        }
        if self.is_faulty && stream.chance(200) {
            outside.restore = u32::try_from(stream.by_magnitude(1, 50)).unwrap_or(1);
        }
        if let Some(mut stream) = self.class("T04") {
            outside.late_max = stream.by_magnitude(1000, 2 * SECOND);
            outside.tick_twice = share(&mut stream, 1000);
            outside.tick_lost = if stream.chance(300) { share(&mut stream, 1000) } else { 0 };
        }
        outside
    }

    /// Near the ends of what clocks count in: 32 bits of microseconds, milliseconds and seconds, the years 2038 and 2106,
    /// 63 bits of microseconds.
    pub(super) fn epoch(&self) -> u64 {
        const LIMITS: [u64; 5] = [1 << 32, 1000 << 32, SECOND << 31, SECOND << 32, 1 << 63];
        self.class("T05").map_or(0, |mut stream| {
            let limit = *stream.pick(&LIMITS);
            limit - stream.by_magnitude(1, 300 * SECOND)
        })
    }
}
