//! Filters with wildcards as a tree of levels. No recursion: neither depth nor drop can exhaust the stack.

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

/// The tree of wildcard filters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Trie {
    nodes: Slots<Node>,
    root: SlotKey,
    /// By (parent, level).
    #[serde(skip, default = "empty_index")]
    children: KeyedIndex<SlotKey>,
    filters: usize,
    /// Nodes of the level being matched, and of the next one.
    #[serde(skip)]
    frontier: (Vec<SlotKey>, Vec<SlotKey>),
}

fn empty_index() -> KeyedIndex<SlotKey> {
    KeyedIndex::new(HashKey::default())
}

impl Trie {
    pub(super) fn new(key: HashKey) -> Self {
        let mut nodes = Slots::default();
        let root = nodes.insert(Node::new(None, ""));
        Self { nodes, root, children: KeyedIndex::new(key), filters: 0, frontier: Default::default() }
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

    /// All filters that match, and every node that was looked at. The order is that of the tree, which depends
    /// on the filters alone.
    pub(super) fn matches(&mut self, topic: &str, found: &mut Vec<FilterId>, visited: &mut Vec<Visit>) {
        let (mut now, mut next) = core::mem::take(&mut self.frontier);
        now.push(self.root);
        // A leading wildcard does not reach topics that begin with $ [MQTT-4.7.2-1].
        let mut hidden = topic.starts_with('$');
        for level in topic.split('/') {
            for at in now.drain(..) {
                let Some(node) = self.nodes.get(at) else { continue };
                visited.push((at, node.generation));
                if !hidden {
                    found.extend(node.hash);
                    next.extend(node.plus);
                }
                if node.named > 0 {
                    next.extend(self.child(at, level));
                }
            }
            hidden = false;
            core::mem::swap(&mut now, &mut next);
            if now.is_empty() {
                break;
            }
        }
        for at in now.drain(..) {
            let Some(node) = self.nodes.get(at) else { continue };
            visited.push((at, node.generation));
            found.extend(node.end);
            // "a/#" matches "a" too.
            found.extend(node.hash);
        }
        self.frontier = (now, next);
    }
}
