//! Bugs that are planted on purpose, to measure what finds bugs: `simulation canary`. There are none unless the build
//! says `--cfg planted`, and then at most one at a time; anywhere else [`planted!`](crate::planted) is `false`.

/// Is this planted bug the chosen one?
#[cfg(not(planted))]
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        false
    };
}

/// Is this planted bug the chosen one?
#[cfg(planted)]
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($name:literal) => {
        $crate::is_planted(const { $crate::planted_number($name) })
    };
}

#[cfg(planted)]
mod chosen {
    use core::sync::atomic::{AtomicU32, Ordering};

    /// Number of the chosen bug; 0 for none.
    static CHOSEN: AtomicU32 = AtomicU32::new(0);

    /// Stays in every binary with planted bugs, so that one can be told from its bytes.
    #[used]
    static MARK: [u8; 27] = *b"this build has planted bugs";

    /// A name as a number (FNV-1a).
    pub const fn planted_number(name: &str) -> u32 {
        let (mut hash, mut rest) = (0x811c_9dc5_u32, name.as_bytes());
        while let [byte, tail @ ..] = rest {
            hash = (hash ^ *byte as u32).wrapping_mul(0x0100_0193);
            rest = tail;
        }
        hash
    }

    /// Chooses a bug for the whole process.
    pub fn plant(name: &str) {
        CHOSEN.store(planted_number(name), Ordering::Relaxed);
    }

    /// Is it this one?
    #[inline]
    pub fn is_planted(number: u32) -> bool {
        CHOSEN.load(Ordering::Relaxed) == number
    }
}

#[cfg(planted)]
#[doc(hidden)]
pub use chosen::{is_planted, plant, planted_number};
