//! Values by topic name, found by filter, page by page.
//!
//! Keys are topic names with `/` replaced by the null character, which no name has. So the order of bytes is the
//! order of levels, everything below a topic is one range, and a scan can leap over what cannot match. A cursor
//! is just a key, and stays good whatever is added or removed meanwhile.

use alloc::{borrow::ToOwned, boxed::Box, collections::BTreeMap, string::String, vec::Vec};
use core::ops::Bound;
use serde::{Deserialize, Serialize};

/// A topic name in the order of levels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct RetainedKey(Box<[u8]>);

impl RetainedKey {
    pub(crate) fn new(topic: &str) -> Self {
        Self(topic.bytes().map(|byte| if byte == b'/' { 0 } else { byte }).collect())
    }

    /// Bytes of the topic name.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The topic name.
    pub(crate) fn topic(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect();
        String::from_utf8(bytes).unwrap_or_default()
    }
}

/// The next step of a scan.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ScanStep<'a, V> {
    /// A match.
    Found(&'a RetainedKey, &'a V),
    /// Go on behind this topic with a new budget; `None`: from where this call began.
    OutOfBudget(Option<RetainedKey>),
    /// There is no further match.
    Done,
}

/// Values by topic name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RetainedStore<V> {
    values: BTreeMap<RetainedKey, V>,
    /// Of those, what the broker tells of itself.
    own: usize,
}

impl<V> Default for RetainedStore<V> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), own: 0 }
    }
}

/// Is it a topic below which only the broker itself publishes?
pub(crate) fn is_own(topic: &str) -> bool {
    topic.starts_with("$SYS/")
}

impl<V> RetainedStore<V> {
    pub(crate) fn get(&self, topic: &str) -> Option<&V> {
        self.values.get(&RetainedKey::new(topic))
    }

    pub(crate) fn insert(&mut self, topic: &str, value: V) -> Option<V> {
        let old = self.values.insert(RetainedKey::new(topic), value);
        self.own += usize::from(old.is_none() && is_own(topic));
        old
    }

    pub(crate) fn remove(&mut self, topic: &str) -> Option<V> {
        let old = self.values.remove(&RetainedKey::new(topic));
        self.own -= usize::from(old.is_some() && is_own(topic));
        old
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Those that are not the broker's own.
    pub(crate) fn of_clients(&self) -> usize {
        self.values.len() - self.own
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RetainedKey, &V)> {
        self.values.iter()
    }

    /// The first match behind `after`. Each topic that is looked at costs one of `budget`.
    pub(crate) fn scan(
        &self,
        filter: &str,
        after: Option<&RetainedKey>,
        budget: &mut u32,
    ) -> ScanStep<'_, V> {
        // Everything that can match begins with the levels before the first wildcard.
        let fixed = filter.split('/').take_while(|level| !matches!(*level, "+" | "#")).count();
        let prefix = RetainedKey::new(&filter.split('/').take(fixed).collect::<Vec<_>>().join("/"));
        let mut from = match after {
            Some(key) => Bound::Excluded(key.clone()),
            None => Bound::Included(prefix.clone()),
        };
        let mut last = None;
        loop {
            if *budget == 0 {
                return ScanStep::OutOfBudget(last);
            }
            *budget -= 1;
            let Some((key, value)) = self.values.range((from, Bound::Unbounded)).next() else {
                return ScanStep::Done;
            };
            if fixed > 0 && !is_under(&key.0, &prefix.0) {
                // Names that only begin with the same letters, such as "ab" for "a", stand between "a" and "a/b"
                // no more once "/" sorts first; so the first foreign one ends the range.
                return ScanStep::Done;
            }
            from = match compare(filter, &key.0) {
                Fit::Match => return ScanStep::Found(key, value),
                Fit::Next => Bound::Excluded(key.clone()),
                Fit::Seek(to) => Bound::Included(to),
                Fit::Beyond => return ScanStep::Done,
            };
            last = Some(key.clone());
        }
    }
}

fn is_under(key: &[u8], prefix: &[u8]) -> bool {
    key.strip_prefix(prefix).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == 0))
}

/// How a topic stands to a filter, and where the next candidate can be.
enum Fit {
    Match,
    /// Whatever comes next.
    Next,
    /// Nothing before this key can match.
    Seek(RetainedKey),
    /// Nothing behind can match.
    Beyond,
}

fn compare(filter: &str, key: &[u8]) -> Fit {
    // A leading wildcard does not reach topics that begin with $; they are one range.
    if key.first() == Some(&b'$') && filter.starts_with(['+', '#']) {
        return Fit::Seek(RetainedKey([b'$' + 1].into()));
    }
    let mut levels = key.split(|byte| *byte == 0);
    // Length of the key's levels so far, with their separators, and the end of the last level under a "+".
    let (mut at, mut last_plus) = (0_usize, None);
    for wanted in filter.split('/') {
        if wanted == "#" {
            return Fit::Match;
        }
        let Some(level) = levels.next() else {
            // Too short: deeper topics follow at once, as "/" sorts first.
            return Fit::Next;
        };
        let end = at + level.len();
        if wanted == "+" {
            last_plus = Some(end);
        } else if level < wanted.as_bytes() {
            let mut to = key.get(..at).unwrap_or_default().to_owned();
            to.extend_from_slice(wanted.as_bytes());
            return Fit::Seek(RetainedKey(to.into()));
        } else if level > wanted.as_bytes() {
            return leap(key, last_plus);
        }
        at = end + 1;
    }
    if levels.next().is_none() { Fit::Match } else { leap(key, last_plus) }
}

/// The next value of the last level that "+" stands for: behind everything below the present one.
fn leap(key: &[u8], last_plus: Option<usize>) -> Fit {
    let Some(end) = last_plus else { return Fit::Beyond };
    let mut to = key.get(..end).unwrap_or_default().to_owned();
    to.push(1);
    Fit::Seek(RetainedKey(to.into()))
}
