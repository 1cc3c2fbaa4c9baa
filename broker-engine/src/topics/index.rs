//! Filters and their subscribers. A filter's text is kept once, however many subscribe to it.

use super::cache::MatchCache;
use super::groups::{Group, GroupId, Groups};
use super::trie::{Trie, Walk};
use super::watch::{Watch, length};
use crate::collections::{HashKey, KeyedIndex, SlotKey, Slots, make_room};
use alloc::{boxed::Box, format, string::String, vec::Vec};
use mqtt_proto::TopicFilter;
use serde::{Deserialize, Serialize};

/// A filter in the index.
pub(crate) type FilterId = SlotKey;

/// Where a subscription's entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryRef {
    list: List,
    position: u32,
}

/// A list of subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum List {
    Plain(FilterId),
    Shared(GroupId),
}

/// A filter with everybody who subscribed to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Filter<S> {
    text: Box<str>,
    /// In order of subscription, but for the gaps that were closed with the last one.
    pub(crate) plain: Vec<S>,
    /// In order of making, but for the gaps that were closed with the last one.
    pub(crate) groups: Vec<GroupId>,
}

/// An entry that was taken out, and the one that moved into its place.
#[derive(Debug)]
pub(crate) struct Removed<S> {
    pub(crate) moved: Option<(S, EntryRef)>,
}

/// The filters that match a topic name, as far as they are found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Matching {
    pub(crate) filters: Vec<FilterId>,
    walk: Walk,
}

impl Matching {
    /// Bytes that it keeps.
    pub(crate) fn bytes(&self) -> u64 {
        (size_of_val(&*self.filters) + self.walk.bytes()) as u64
    }
}

/// The lists of all filters as they were when a fan-out was cut off.
#[derive(Debug, Serialize, Deserialize)]
struct Watched<S> {
    plain: Watch<S>,
    groups: Watch<GroupId>,
}

/// All subscriptions, found by topic name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SubscriptionIndex<S> {
    filters: Slots<Filter<S>>,
    groups: Groups<S>,
    #[serde(skip, default = "no_texts")]
    by_text: KeyedIndex<FilterId>,
    trie: Trie,
    cache: MatchCache,
    watched: Option<Watched<S>>,
    entries: usize,
    /// Bytes of filters and names, wherever they are kept.
    texts: u64,
    #[serde(skip)]
    key: HashKey,
}

fn no_texts() -> KeyedIndex<FilterId> {
    KeyedIndex::new(HashKey::default())
}

impl<S: Copy> SubscriptionIndex<S> {
    pub(crate) fn new(key: HashKey, cache_entries: usize) -> Self {
        Self {
            filters: Slots::default(),
            groups: Groups::new(key),
            by_text: KeyedIndex::new(key),
            trie: Trie::new(key),
            cache: MatchCache::new(key, cache_entries),
            watched: None,
            entries: 0,
            texts: 0,
            key,
        }
    }

    /// Makes the tables that a snapshot leaves out.
    pub(crate) fn rebuild(&mut self, key: HashKey) {
        self.key = key;
        self.by_text = KeyedIndex::new(key);
        for (id, filter) in self.filters.iter() {
            self.by_text.insert(&filter.text, id);
        }
        self.groups.rebuild(key);
        self.trie.rebuild(key);
        self.cache.rebuild(key);
    }

    fn find(&self, text: &str, hash: u64) -> Option<FilterId> {
        self.by_text.get_hashed(hash, |id| self.filters.get(id).is_some_and(|filter| &*filter.text == text))
    }

    /// Adds a subscription; `filter` without its `$share` part.
    pub(crate) fn subscribe(&mut self, text: &str, group: Option<&str>, entry: S) -> EntryRef {
        let hash = self.by_text.hash(text.as_bytes());
        let id = self.find(text, hash).unwrap_or_else(|| {
            let id = self.filters.insert(Filter { text: text.into(), plain: Vec::new(), groups: Vec::new() });
            self.by_text.insert_hashed(hash, id);
            self.texts += text_kept(text);
            if is_wild(text) {
                self.trie.insert(text, id);
            }
            id
        });
        self.entries += 1;
        if group.is_none() {
            self.remember(List::Plain(id), u32::MAX);
        }
        let Some(filter) = self.filters.get_mut(id) else {
            return EntryRef { list: List::Plain(id), position: 0 };
        };
        let list = group.map_or(List::Plain(id), |name| {
            List::Shared(self.groups.find(id, name).unwrap_or_else(|| {
                self.texts += name.len() as u64;
                if let Some(watched) = &mut self.watched {
                    watched.groups.remember(id, u32::MAX, &filter.groups);
                }
                self.groups.add(id, name, &mut filter.groups)
            }))
        });
        let position = self.list_mut(list).map_or(0, |entries| {
            make_room(entries);
            entries.push(entry);
            last(entries)
        });
        EntryRef { list, position }
    }

    fn list_mut(&mut self, list: List) -> Option<&mut Vec<S>> {
        match list {
            List::Plain(filter) => self.filters.get_mut(filter).map(|filter| &mut filter.plain),
            List::Shared(group) => self.groups.get_mut(group).map(|group| &mut group.members),
        }
    }

    pub(crate) fn entry_mut(&mut self, at: EntryRef) -> Option<&mut S> {
        self.remember(at.list, at.position);
        self.list_mut(at.list)?.get_mut(at.position as usize)
    }

    /// Takes a subscription out, in constant time: the last entry of its list moves into the gap.
    pub(crate) fn unsubscribe(&mut self, at: EntryRef) -> Option<Removed<S>> {
        let list = self.list_mut(at.list)?;
        let position = at.position as usize;
        if position >= list.len() {
            return None;
        }
        let end = last(list);
        self.remember(at.list, at.position);
        self.remember(at.list, end);
        let list = self.list_mut(at.list)?;
        list.swap_remove(position);
        let moved = list.get(position).map(|entry| (*entry, at));
        // Memory of a once popular filter goes back.
        if list.capacity() > 64 && list.len() < list.capacity() / 4 {
            list.shrink_to(list.len() * 2);
        }
        self.entries -= 1;
        self.prune(at.list);
        Some(Removed { moved })
    }

    /// From here on filters are seen as they are now, until everything is [forgotten](Self::forget_change).
    pub(crate) fn watch(&mut self) {
        self.watched.get_or_insert_with(|| Watched { plain: Watch::default(), groups: Watch::default() });
    }

    /// Forgets one thing that has changed since [`Self::watch`]; says whether there was any.
    pub(crate) fn forget_change(&mut self) -> bool {
        let was_any = self.watched.as_mut().is_some_and(|w| w.plain.forget() || w.groups.forget());
        if !was_any {
            self.watched = None;
        }
        was_any
    }

    /// How many plain subscribers a filter has; where it is watched, had.
    pub(crate) fn crowd(&self, id: FilterId) -> u32 {
        let list = self.filters.get(id).map_or(&[][..], |filter| &filter.plain);
        self.watched.as_ref().map_or(length(list), |watched| watched.plain.length(id, list))
    }

    /// A filter's plain subscribers from a position of its list on, as many as there is room for.
    pub(crate) fn subscribers(&self, id: FilterId, from: u32, room: &mut Vec<S>) {
        let list = self.filters.get(id).map_or(&[][..], |filter| &filter.plain);
        let most = room.capacity() - room.len();
        match &self.watched {
            Some(watched) if watched.plain.has_changed(id) => {
                room.extend((from..).map_while(|position| watched.plain.get(id, position, list)).take(most));
            }
            _ => {
                let rest = list.get(from as usize..).unwrap_or_default();
                room.extend_from_slice(rest.get(..most).unwrap_or(rest));
            }
        }
    }

    /// The shared group at a position of a filter's list; it may be gone.
    pub(crate) fn group(&self, id: FilterId, position: u32) -> Option<GroupId> {
        let list = self.filters.get(id).map_or(&[][..], |filter| &filter.groups);
        match &self.watched {
            None => list.get(position as usize).copied(),
            Some(watched) => watched.groups.get(id, position, list),
        }
    }

    /// Bytes of what is known of lists that are watched beside the lists themselves.
    pub(crate) fn watched_bytes(&self) -> u64 {
        self.watched.as_ref().map_or(0, |watched| watched.plain.bytes() + watched.groups.bytes())
    }

    /// A position of a list is about to change, or to be added behind its end.
    fn remember(&mut self, list: List, position: u32) {
        if let Some(watched) = &mut self.watched
            && let List::Plain(id) = list
            && let Some(filter) = self.filters.get(id)
        {
            watched.plain.remember(id, position, &filter.plain);
        }
    }

    /// Forgets a list that has become empty, and its filter with the last one.
    fn prune(&mut self, list: List) {
        let id = match list {
            List::Plain(filter) => filter,
            List::Shared(group) => match self.groups.get_mut(group) {
                Some(emptied) if emptied.members.is_empty() => emptied.filter(),
                _ => return,
            },
        };
        let Some(filter) = self.filters.get_mut(id) else { return };
        if let List::Shared(group) = list {
            if let Some(watched) = &mut self.watched {
                let place = self.groups.get(group).map_or(u32::MAX, Group::place);
                watched.groups.remember(id, place, &filter.groups);
                watched.groups.remember(id, last(&filter.groups), &filter.groups);
            }
            self.texts -= self.groups.remove(group, &mut filter.groups);
        }
        if !filter.plain.is_empty() || !filter.groups.is_empty() {
            return;
        }
        let Some(filter) = self.filters.remove(id) else { return };
        self.texts -= text_kept(&filter.text);
        self.by_text.remove(&filter.text, |known| known == id);
        if is_wild(&filter.text) {
            self.trie.remove(&filter.text);
            if self.trie.is_empty() {
                self.cache.clear(self.key);
            }
        }
    }

    /// Finds all filters that match a topic name, as far as `steps` go: the equal one first, then those with
    /// wildcards. Says whether that is all of them.
    #[inline]
    pub(crate) fn matches(&mut self, topic: &str, found: &mut Matching, steps: &mut u32) -> bool {
        let hash = self.by_text.hash(topic.as_bytes());
        found.filters.extend(self.find(topic, hash));
        let Matching { filters, walk } = found;
        self.trie.is_empty() || self.cache.matches(&self.trie, topic, hash, walk, steps, filters)
    }

    /// Goes on where [`Self::matches`] stopped.
    pub(crate) fn go_on(&self, topic: &str, found: &mut Matching, steps: &mut u32) -> bool {
        self.trie.walk(topic, &mut found.walk, steps, &mut found.filters, |_| ())
    }

    /// Lets go of what is only remembered; it changes no match.
    pub(crate) fn forget_matches(&mut self) {
        self.cache.clear(self.key);
    }

    /// Bytes of what is only remembered.
    pub(crate) fn remembered_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    pub(crate) fn filter(&self, id: FilterId) -> Option<&Filter<S>> {
        self.filters.get(id)
    }

    pub(crate) fn group_mut(&mut self, id: GroupId) -> Option<&mut Group<S>> {
        self.groups.get_mut(id)
    }

    /// Subscriptions.
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// Shared groups.
    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// A group by its filter and name, if there is one.
    pub(crate) fn group_of(&self, full: &str) -> Option<GroupId> {
        let filter = TopicFilter::parse(full).ok()?;
        let text = filter.filter();
        let id = self.find(text, self.by_text.hash(text.as_bytes()))?;
        self.groups.find(id, filter.share()?)
    }

    /// The whole topic filter of a group's members.
    pub(crate) fn group_filter(&self, id: GroupId) -> Option<String> {
        let group = self.groups.get(id)?;
        let filter = self.filters.get(group.filter())?;
        Some(format!("$share/{}/{}", group.name(), filter.text))
    }

    /// Bytes of filters and names of groups.
    pub(crate) fn texts(&self) -> u64 {
        self.texts
    }

    /// Are groups and bytes what a recount says?
    pub(crate) fn adds_up(&self) -> bool {
        let (mut groups, mut texts) = (0, self.groups.names());
        for (_, filter) in self.filters.iter() {
            groups += filter.groups.len();
            texts += text_kept(&filter.text);
        }
        (groups, texts) == (self.groups.len(), self.texts)
    }

    /// Distinct filters, and nodes of their tree.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.filters.len(), self.trie.nodes())
    }
}

fn is_wild(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Bytes that a filter's text takes, as such and level by level in the tree.
fn text_kept(text: &str) -> u64 {
    (text.len() as u64) << u32::from(is_wild(text))
}

fn last<S>(list: &[S]) -> u32 {
    length(list).saturating_sub(1)
}
