//! How tables grow.

use alloc::vec::Vec;

/// Makes room for one more value. A table that doubles is half empty at worst, one that grows by a quarter a fifth; and
/// each value is copied four times on the way instead of once.
pub(crate) fn make_room<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 4).max(1));
    }
}
