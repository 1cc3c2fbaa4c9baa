//! A filter's subscribers as they were at one moment, while the filter goes on changing. To copy them would take a call as
//! long as there are many of them, so only those who make room for others are written down.

use super::index::FilterId;
use alloc::collections::BTreeMap;
use serde::{Deserialize, Serialize};

/// The subscribers of one filter at the moment from which it is watched.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Watch<S> {
    pub(super) filter: FilterId,
    count: u32,
    /// Who was at a position of the list that has changed since.
    before: BTreeMap<u32, S>,
}

impl<S: Copy> Watch<S> {
    pub(super) fn new(filter: FilterId, list: &[S]) -> Self {
        Self { filter, count: u32::try_from(list.len()).unwrap_or(u32::MAX), before: BTreeMap::new() }
    }

    /// A position of the list is about to change.
    pub(super) fn remember(&mut self, position: u32, list: &[S]) {
        if position < self.count
            && let Some(entry) = list.get(position as usize)
        {
            // What is there since a first change was not there at the moment.
            self.before.entry(position).or_insert(*entry);
        }
    }

    /// Who was at a position; `list` is what has become of it.
    pub(super) fn get(&self, position: u32, list: &[S]) -> Option<S> {
        if position >= self.count {
            return None;
        }
        self.before.get(&position).or_else(|| list.get(position as usize)).copied()
    }

    /// Bytes that it keeps.
    pub(super) fn bytes(&self) -> u64 {
        (self.before.len() * (size_of::<S>() + 16)) as u64
    }
}
