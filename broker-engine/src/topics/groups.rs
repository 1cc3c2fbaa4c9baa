//! Shared groups: subscribers of one topic filter under one share name, of whom one gets each message.

use super::index::FilterId;
use crate::collections::{HashKey, KeyedIndex, SlotKey, Slots};
use alloc::{boxed::Box, vec::Vec};
use serde::{Deserialize, Serialize};

/// A group of some filter.
pub(crate) type GroupId = SlotKey;

/// A shared subscription.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Group<S> {
    filter: FilterId,
    name: Box<str>,
    /// Where it stands among the groups of its filter.
    place: u32,
    pub(crate) members: Vec<S>,
    /// Whose turn it is.
    pub(crate) next: u32,
    /// Who had the last message.
    pub(crate) sticky: u32,
}

impl<S> Group<S> {
    pub(super) fn filter(&self) -> FilterId {
        self.filter
    }

    pub(super) fn place(&self) -> u32 {
        self.place
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// The groups of all filters. A filter lists its own, so that they are visited in a defined order; by name they are
/// found here, as one filter can have many thousands.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Groups<S> {
    slots: Slots<Group<S>>,
    /// By (filter, name).
    #[serde(skip, default = "no_names")]
    by_name: KeyedIndex<GroupId>,
    /// Groups that were looked at to find one.
    #[cfg(test)]
    #[serde(skip)]
    looked_at: core::cell::Cell<usize>,
}

fn no_names() -> KeyedIndex<GroupId> {
    KeyedIndex::new(HashKey::default())
}

impl<S> Groups<S> {
    pub(super) fn new(key: HashKey) -> Self {
        Self {
            slots: Slots::default(),
            by_name: KeyedIndex::new(key),
            #[cfg(test)]
            looked_at: core::cell::Cell::default(),
        }
    }

    /// Tables are not part of a snapshot; they follow from the groups.
    pub(super) fn rebuild(&mut self, key: HashKey) {
        self.by_name = KeyedIndex::new(key);
        for (id, group) in self.slots.iter() {
            self.by_name.insert_hashed(self.by_name.hash_under(group.filter, &group.name), id);
        }
    }

    pub(super) fn find(&self, filter: FilterId, name: &str) -> Option<GroupId> {
        self.by_name.get_hashed(self.by_name.hash_under(filter, name), |id| {
            #[cfg(test)]
            self.looked_at.set(self.looked_at.get() + 1);
            self.slots.get(id).is_some_and(|group| group.filter == filter && &*group.name == name)
        })
    }

    /// A new group without members; the caller has made sure that there is none of this name.
    pub(super) fn add(&mut self, filter: FilterId, name: &str, listed: &mut Vec<GroupId>) -> GroupId {
        let place = u32::try_from(listed.len()).unwrap_or(u32::MAX);
        let group = Group { filter, name: name.into(), place, members: Vec::new(), next: 0, sticky: 0 };
        let id = self.slots.insert(group);
        self.by_name.insert_hashed(self.by_name.hash_under(filter, name), id);
        listed.push(id);
        id
    }

    pub(super) fn get(&self, id: GroupId) -> Option<&Group<S>> {
        self.slots.get(id)
    }

    pub(super) fn get_mut(&mut self, id: GroupId) -> Option<&mut Group<S>> {
        self.slots.get_mut(id)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of all names.
    pub(super) fn names(&self) -> u64 {
        self.slots.iter().map(|(_, group)| group.name.len() as u64).sum()
    }

    /// Takes a group out, in constant time: the last one of its filter moves into the gap. Gives the bytes of its
    /// name.
    pub(super) fn remove(&mut self, id: GroupId, listed: &mut Vec<GroupId>) -> u64 {
        let Some(group) = self.slots.remove(id) else { return 0 };
        self.by_name.remove_hashed(self.by_name.hash_under(group.filter, &group.name), |other| other == id);
        let place = group.place as usize;
        if place < listed.len() {
            listed.swap_remove(place);
        }
        if let Some(moved) = listed.get(place).and_then(|id| self.slots.get_mut(*id)) {
            moved.place = group.place;
        }
        group.name.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    /// Ten thousand groups of one filter are looked at once each when they are joined again, and go one by one.
    #[test]
    fn a_group_is_found_without_looking_at_the_others() {
        let (mut groups, mut listed) = (Groups::<()>::new(HashKey([1, 2])), Vec::new());
        let (filter, other) = {
            let mut slots = Slots::default();
            (slots.insert(()), slots.insert(()))
        };
        let names: Vec<_> = (0..10_000).map(|number| format!("g{number}")).collect();
        for name in &names {
            assert_eq!(groups.find(filter, name), None);
            groups.add(filter, name, &mut listed);
        }
        assert_eq!(groups.looked_at.get(), 0, "no two names have one hash");
        let ids: Vec<_> = names.iter().map(|name| groups.find(filter, name).unwrap()).collect();
        assert_eq!((groups.looked_at.get(), &ids), (10_000, &listed));
        assert_eq!(groups.find(other, "g1"), None);
        groups.rebuild(HashKey([3, 4]));
        for (gone, (name, id)) in names.iter().zip(ids).enumerate() {
            assert_eq!(groups.find(filter, name), Some(id));
            groups.remove(id, &mut listed);
            assert_eq!((groups.find(filter, name), listed.len()), (None, 9999 - gone));
        }
    }
}
