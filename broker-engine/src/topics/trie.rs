//! Filters with wildcards as a tree of levels. No recursion: neither depth nor drop can exhaust the stack. A topic can
//! match its way through every node, so a match is a walk that pauses when its steps are used up.

use super::index::FilterId;
use crate::collections::{HashKey, KeyedIndex, SlotKey, Slots};
use alloc::{boxed::Box, vec::Vec};
use serde::{Deserialize, Serialize};

/// One level of some filter.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Node {
    parent: Option<SlotKey>,
    level: Box<str>,
    /// Child for the level `+`.
    plus: Option<SlotKey>,
    /// The filter that ends here with `#`.
    hash: Option<FilterId>,
    /// The filter that ends here.
    end: Option<FilterId>,
    /// Children with a name.
    named: u32,
    /// Changes whenever a match that comes by here could change; what is remembered of it is then void.
    generation: u32,
}

impl Node {
    fn new(parent: Option<SlotKey>, level: &str) -> Self {
        Self { parent, level: level.into(), plus: None, hash: None, end: None, named: 0, generation: 0 }
    }

    fn is_unused(&self) -> bool {
        self.plus.is_none() && self.hash.is_none() && self.end.is_none() && self.named == 0
    }
}

/// What a match rests on: a node and its generation when it was visited.
pub(super) type Visit = (SlotKey, u32);

/// Bytes of a level that are hashed and compared within one step.
const BYTES_PER_STEP: usize = 64;

/// A match on its way: the nodes still to be visited, each with where its level begins in the topic name. A filter that
/// is there from beginning to end is found exactly once, whatever else comes and goes between two slices: its
/// nodes stay, and a tree has one way to each. What is gone is found no more, as its keys are stale.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Walk(Vec<(SlotKey, u32)>);

impl Walk {
    /// Bytes that it keeps.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// The tree of wildcard filters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Trie {
    nodes: Slots<Node>,
    root: SlotKey,
    /// By (parent, level).
    #[serde(skip, default = "empty_index")]
    children: KeyedIndex<SlotKey>,
    filters: usize,
}

fn empty_index() -> KeyedIndex<SlotKey> {
    KeyedIndex::new(HashKey::default())
}

impl Trie {
    pub(super) fn new(key: HashKey) -> Self {
        let mut nodes = Slots::default();
        let root = nodes.insert(Node::new(None, ""));
        Self { nodes, root, children: KeyedIndex::new(key), filters: 0 }
    }

    /// Tables are not part of a snapshot; they follow from the nodes.
    pub(super) fn rebuild(&mut self, key: HashKey) {
        self.children = KeyedIndex::new(key);
        for (child, node) in self.nodes.iter() {
            if let Some(parent) = node.parent
                && &*node.level != "+"
            {
                let hash = self.children.hash_under(parent, &node.level);
                self.children.insert_hashed(hash, child);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filters == 0
    }

    /// Nodes besides the root.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len() - 1
    }

    pub(super) fn generation(&self, node: SlotKey) -> Option<u32> {
        self.nodes.get(node).map(|node| node.generation)
    }

    fn child(&self, parent: SlotKey, level: &str) -> Option<SlotKey> {
        let hash = self.children.hash_under(parent, level);
        self.children.get_hashed(hash, |child| {
            self.nodes.get(child).is_some_and(|node| node.parent == Some(parent) && &*node.level == level)
        })
    }

    pub(super) fn insert(&mut self, filter: &str, id: FilterId) {
        self.filters += 1;
        let mut at = self.root;
        for level in filter.split('/') {
            if level == "#" {
                return self.change(at, |node| node.hash = Some(id));
            }
            let known =
                if level == "+" { self.nodes.get(at).and_then(|n| n.plus) } else { self.child(at, level) };
            at = known.unwrap_or_else(|| self.grow(at, level));
        }
        self.change(at, |node| node.end = Some(id));
    }

    fn change(&mut self, at: SlotKey, how: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(at) {
            how(node);
            node.generation = node.generation.wrapping_add(1);
        }
    }

    fn grow(&mut self, parent: SlotKey, level: &str) -> SlotKey {
        let child = self.nodes.insert(Node::new(Some(parent), level));
        if level == "+" {
            self.change(parent, |node| node.plus = Some(child));
        } else {
            let hash = self.children.hash_under(parent, level);
            self.children.insert_hashed(hash, child);
            self.change(parent, |node| node.named += 1);
        }
        child
    }

    pub(super) fn remove(&mut self, filter: &str) {
        let mut at = self.root;
        let mut ends_with_hash = false;
        for level in filter.split('/') {
            ends_with_hash = level == "#";
            if ends_with_hash {
                break;
            }
            let next =
                if level == "+" { self.nodes.get(at).and_then(|n| n.plus) } else { self.child(at, level) };
            let Some(next) = next else { return };
            at = next;
        }
        self.filters -= 1;
        self.change(at, |node| if ends_with_hash { node.hash = None } else { node.end = None });
        // Upwards, as long as nothing else needs the node.
        while let Some(node) = self.nodes.get(at)
            && node.is_unused()
            && let Some(parent) = node.parent
        {
            let Some(node) = self.nodes.remove(at) else { return };
            if &*node.level == "+" {
                self.change(parent, |parent| parent.plus = None);
            } else {
                let hash = self.children.hash_under(parent, &node.level);
                self.children.remove_hashed(hash, |child| child == at);
                self.change(parent, |parent| parent.named -= 1);
            }
            at = parent;
        }
    }

    pub(super) fn begin(&self, walk: &mut Walk) {
        walk.0.clear();
        walk.0.push((self.root, 0));
    }

    /// Goes on with a match until its end or that of `steps`; says whether it is at its end. Adds the filters that
    /// match to `found`, in an order that depends on the filters alone, and tells of each node that it looks at.
    pub(super) fn walk(
        &self,
        topic: &str,
        walk: &mut Walk,
        steps: &mut u32,
        found: &mut Vec<FilterId>,
        mut visited: impl FnMut(Visit),
    ) -> bool {
        while let Some((at, from)) = walk.0.pop() {
            if *steps == 0 {
                walk.0.push((at, from));
                return false;
            }
            *steps -= 1;
            let Some(node) = self.nodes.get(at) else { continue };
            visited((at, node.generation));
            let Some(rest) = topic.get(from as usize..) else {
                // Behind the last level. "a/#" matches "a" too.
                found.extend(node.end);
                found.extend(node.hash);
                continue;
            };
            let level = rest.split_once('/').map_or(rest, |(level, _)| level);
            let next = from + u32::try_from(level.len()).unwrap_or(u32::MAX) + 1;
            // A leading wildcard does not reach topics that begin with $ [MQTT-4.7.2-1].
            if from > 0 || !topic.starts_with('$') || mqtt_proto::planted!("wildcard-reaches-dollar") {
                found.extend(node.hash);
                walk.0.extend(node.plus.map(|plus| (plus, next)));
            }
            if node.named > 0 {
                *steps =
                    steps.saturating_sub(u32::try_from(level.len() / BYTES_PER_STEP).unwrap_or(u32::MAX));
                walk.0.extend(self.child(at, level).map(|child| (child, next)));
            }
        }
        true
    }
}
