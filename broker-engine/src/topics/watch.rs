//! Lists as they were at one moment, while they go on changing. To copy them would take a call as long as there is much in
//! them, so only what makes room for something else is written down, and how long a list was that changes.

use super::index::FilterId;
use alloc::collections::BTreeMap;
use serde::{Deserialize, Serialize};

/// The lists of filters at the moment from which they are watched: their subscribers, or their groups.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Watch<T> {
    /// How long each list was that has changed since.
    lengths: BTreeMap<FilterId, u32>,
    /// What was at the positions that have changed since.
    before: BTreeMap<(FilterId, u32), T>,
}

impl<T> Default for Watch<T> {
    fn default() -> Self {
        Self { lengths: BTreeMap::new(), before: BTreeMap::new() }
    }
}

impl<T: Copy> Watch<T> {
    /// A position of a list is about to change, or to be added behind its end.
    pub(super) fn remember(&mut self, filter: FilterId, position: u32, list: &[T]) {
        let length = *self.lengths.entry(filter).or_insert(length(list));
        if position < length
            && let Some(entry) = list.get(position as usize)
        {
            // What is there since a first change was not there at the moment.
            self.before.entry((filter, position)).or_insert(*entry);
        }
    }

    /// Is a list not as it was?
    pub(super) fn has_changed(&self, filter: FilterId) -> bool {
        self.lengths.contains_key(&filter)
    }

    /// What was at a position; `list` is what has become of the filter's list.
    pub(super) fn get(&self, filter: FilterId, position: u32, list: &[T]) -> Option<T> {
        match self.lengths.get(&filter) {
            Some(length) if position >= *length => None,
            Some(_) => self.before.get(&(filter, position)).or_else(|| list.get(position as usize)).copied(),
            None => list.get(position as usize).copied(),
        }
    }

    /// How long a list was.
    pub(super) fn length(&self, filter: FilterId, list: &[T]) -> u32 {
        self.lengths.get(&filter).copied().unwrap_or(length(list))
    }

    /// Forgets one thing; says whether there was any.
    pub(super) fn forget(&mut self) -> bool {
        self.before.pop_first().is_some() || self.lengths.pop_first().is_some()
    }

    /// Bytes that it keeps.
    pub(super) fn bytes(&self) -> u64 {
        (self.before.len() * (size_of::<T>() + 24) + self.lengths.len() * 24) as u64
    }
}

/// How long a list is.
pub(super) fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}
