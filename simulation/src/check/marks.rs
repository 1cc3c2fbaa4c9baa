//! Things that a campaign must have seen at least once: a world where they never happen shows nothing about them.

use std::collections::BTreeMap;

/// Everything that is worth seeing.
pub const MARKS: [&str; 26] = [
    "a client goes on with what was unfinished",
    "a client that is not read for a while",
    "a connection is refused",
    "a connection that breaks",
    "a connection that breaks and the broker is not told",
    "a keep-alive that ran out",
    "a message dropped: expired",
    "a message dropped: packet too large",
    "a message dropped: queue full",
    "a message dropped: queue full in bytes",
    "a message refused by its receiver",
    "a message to a shared subscription",
    "a packet sent again",
    "a QoS 2 message repeated on its connection",
    "a question that nobody answers",
    "a retained message to a new subscription",
    "a session goes on",
    "a session taken over",
    "a session that ended",
    "a socket that is full",
    "a topic alias used",
    "a will",
    "an engine from its snapshot",
    "bytes held up for long",
    "bytes that mean nothing",
    "PUBREL sent again",
];

/// What was seen, and how often.
#[derive(Clone, Debug, Default)]
pub struct Marks(BTreeMap<&'static str, u64>);

impl Marks {
    pub(crate) fn hit(&mut self, mark: &'static str) {
        debug_assert!(MARKS.contains(&mark), "{mark:?} is in the list");
        *self.0.entry(mark).or_default() += 1;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (mark, count) in &other.0 {
            *self.0.entry(mark).or_default() += count;
        }
    }

    /// How often something was seen.
    pub fn count(&self, mark: &str) -> u64 {
        self.0.get(mark).copied().unwrap_or_default()
    }

    /// What was never seen.
    pub fn missing(&self) -> Vec<&'static str> {
        MARKS.into_iter().filter(|mark| self.count(mark) == 0).collect()
    }
}
