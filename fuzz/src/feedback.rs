//! The broker's states and answers as coverage: an input that gets a known answer in a new state is worth keeping,
//! although it runs through the same code.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// Places of a table that is small beside the counters of the code, as all of it is looked at after every input.
const PLACES: usize = 1 << 13;

/// libFuzzer takes everything in this section for counters. Nobody else reads it.
// The linker joins all sections of that name, and this is an array of bytes like any other in it.
#[allow(unsafe_code)]
#[cfg_attr(target_os = "linux", unsafe(link_section = "__libfuzzer_extra_counters"))]
static COUNTERS: [AtomicU8; PLACES] = [const { AtomicU8::new(0) }; PLACES];

/// Corpora that are committed are made small by the coverage of code alone: combinations are many.
static CODE_ONLY: LazyLock<bool> = LazyLock::new(|| std::env::var_os("METRONOME_FUZZ_CODE_ONLY").is_some());

/// An answer in a state.
pub(crate) fn saw(state: impl Hash, answer: impl Hash) {
    if *CODE_ONLY {
        return;
    }
    let mut hasher = DefaultHasher::new();
    (state, answer).hash(&mut hasher);
    let place = usize::try_from(hasher.finish() % PLACES as u64).unwrap_or(0);
    // Once is what counts: how often is seen in the code. And what is only ever stored would be optimised away.
    COUNTERS[place].fetch_or(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_answers_are_told_apart() {
        let count = || COUNTERS.iter().filter(|counter| counter.load(Ordering::Relaxed) > 0).count();
        let before = count();
        for _ in 0..2 {
            saw("online", 1);
            saw("online", 2);
            saw("offline", 1);
        }
        assert_eq!(count() - before, 3);
    }
}
