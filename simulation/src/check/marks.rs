//! Things that a campaign must have seen at least once, faults among them: a world where they never happen shows
//! nothing about them.

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

/// Every class of fault that can happen here, by its place in the catalogue: network, time, clients.
pub const FAULTS: [(&str, &str); 6] = [
    ("N02", "what is sent at once arrives in pieces"),
    ("N05", "a socket takes only a part"),
    ("N06", "bytes are held up for long"),
    ("N07", "a connection breaks and the broker is not told"),
    ("N09", "a connection breaks at any byte"),
    ("T04", "a timer is late"),
];

/// What was seen, and how often.
#[derive(Clone, Debug, Default)]
pub struct Marks(BTreeMap<&'static str, u64>);

impl Marks {
    pub(crate) fn hit(&mut self, mark: &'static str) {
        debug_assert!(MARKS.contains(&mark), "{mark:?} is in the list");
        *self.0.entry(mark).or_default() += 1;
    }

    /// A fault of a class has happened.
    pub(crate) fn fault(&mut self, class: &'static str) {
        debug_assert!(FAULTS.iter().any(|(known, _)| *known == class), "{class} is in the list");
        *self.0.entry(class).or_default() += 1;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (mark, count) in &other.0 {
            *self.0.entry(mark).or_default() += count;
        }
    }

    /// How often a mark was seen, or a fault happened.
    pub fn count(&self, mark: &str) -> u64 {
        self.0.get(mark).copied().unwrap_or_default()
    }

    /// What was never seen, faults by their class.
    pub fn missing(&self) -> Vec<&'static str> {
        let faults = FAULTS.into_iter().map(|(class, _)| class);
        MARKS.into_iter().chain(faults).filter(|mark| self.count(mark) == 0).collect()
    }
}
