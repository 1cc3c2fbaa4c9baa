//! Seeded random numbers: equal seeds give equal choices on every platform, and who has seen some cannot tell others.
//! Clients do see some, in the identifiers that the broker assigns.

use core::hash::Hasher;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

/// A keyed one-way function of a counter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rng {
    seed: u64,
    drawn: u64,
}

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.seed, !self.seed);
        hasher.write_u64(self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        hasher.finish()
    }
}
