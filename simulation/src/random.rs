//! Random choices, each purpose with a stream of its own, so that switching one off does not shift the others.
//!
//! The generator is xoshiro256**, its state filled by SplitMix64: public, tiny and the same for ever, which a
//! seed in a bug report needs.

use std::collections::VecDeque;

/// A stream of choices.
#[derive(Clone, Debug)]
pub struct Stream(Source);

#[derive(Clone, Debug)]
enum Source {
    Seeded([u64; 4]),
    /// What is left of given bytes.
    Given(VecDeque<u8>),
}

impl Stream {
    /// The stream of one purpose under a seed.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut state = purpose.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(Source::Seeded(std::array::from_fn(|_| split_mix(&mut state))))
    }

    /// Choices that bytes make, two bytes for each, so that who changes a byte changes a choice. Once they are used up,
    /// nothing that is left to chance happens.
    pub fn given(bytes: &[u8]) -> Self {
        Self(Source::Given(bytes.iter().copied().collect()))
    }

    /// All given bytes are used up; those of a seed never are.
    pub fn is_spent(&self) -> bool {
        matches!(&self.0, Source::Given(left) if left.is_empty())
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let state = match &mut self.0 {
            Source::Seeded(state) => state,
            Source::Given(left) => {
                let mut next = || left.pop_front().unwrap_or(u8::MAX);
                // The highest bits decide most.
                return u64::from_be_bytes([next(), next(), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
            }
        };
        let [a, b, c, d] = state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The widening multiplication is biased by less than 2^-32 for what is asked here.
        u64::try_from((u128::from(self.bits()) * u128::from(end)) >> 64).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Yes in so many of a thousand cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(choices.len() as u64)).unwrap_or(0);
        &choices[at]
    }

    /// Small numbers as often as large ones: from `low` to `high`, by powers of two.
    pub fn by_magnitude(&mut self, low: u64, high: u64) -> u64 {
        let magnitude = |number: u64| 64 - number.leading_zeros();
        let bits = self.between(u64::from(magnitude(low)), u64::from(magnitude(high)));
        let floor = if bits == 0 { 0 } else { 1 << (bits - 1) };
        self.between(floor, floor.saturating_mul(2).saturating_sub(1)).clamp(low, high)
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_the_same_for_ever_and_apart() {
        let mut network = Stream::new(1, "network");
        assert_eq!([network.bits(), network.bits()], [253_477_687_580_074_606, 17_023_121_823_485_640_482]);
        assert_ne!(Stream::new(1, "network").bits(), Stream::new(1, "store").bits());
        assert_ne!(Stream::new(1, "network").bits(), Stream::new(2, "network").bits());
    }

    #[test]
    fn given_bytes_choose_and_run_out() {
        let mut stream = Stream::given(&[0, 0, 0x80, 0, 0xff]);
        assert_eq!((stream.below(10), stream.below(10), stream.below(10)), (0, 5, 9));
        assert!(stream.is_spent() && !stream.chance(999) && stream.between(3, 7) == 7);
        assert!(!Stream::new(1, "test").is_spent());
    }

    #[test]
    fn numbers_stay_in_their_range_and_reach_its_ends() {
        let mut stream = Stream::new(3, "test");
        let seen: std::collections::BTreeSet<u64> = (0..1000).map(|_| stream.between(2, 9)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), (2..=9).collect::<Vec<_>>());
        assert!((0..1000).all(|_| (5..=900).contains(&stream.by_magnitude(5, 900))));
        assert_eq!(stream.below(0), 0);
        let yes = (0..1000).filter(|_| stream.chance(250)).count();
        assert!((200..300).contains(&yes), "{yes} of 1000");
    }
}
