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

/// Every class of fault that can happen here, by its place in the catalogue: hooks, network, process, store,
/// time.
pub const FAULTS: [(&str, &str); 16] = [
    ("H01", "a question is answered late"),
    ("H02", "a question is not answered, or twice, or too late, or nobody asked it"),
    ("H03", "an answer changes what was asked for"),
    ("H05", "who answers ends the connection that it is about"),
    ("N02", "what is sent at once arrives in pieces"),
    ("N05", "a socket takes only a part"),
    ("N06", "bytes are held up for long"),
    ("N07", "a connection breaks and the broker is not told"),
    ("N09", "a connection breaks at any byte"),
    ("P01", "the process ends without a word"),
    ("P02", "the broker is shut down, and told so again"),
    ("P03", "memory is short"),
    ("P04", "no socket takes anything"),
    ("S01", "the store takes its time"),
    ("S02", "the store fails"),
    ("T04", "a timer is late"),
];

/// What was seen, and how often.
#[derive(Clone, Debug)]
pub struct Marks {
    marks: BTreeMap<&'static str, u64>,
    faults: [u64; FAULTS.len()],
}

impl Default for Marks {
    fn default() -> Self {
        Self { marks: BTreeMap::new(), faults: [0; FAULTS.len()] }
    }
}

fn place(class: &str) -> Option<usize> {
    FAULTS.iter().position(|(known, _)| *known == class)
}

impl Marks {
    pub(crate) fn hit(&mut self, mark: &'static str) {
        debug_assert!(MARKS.contains(&mark), "{mark:?} is in the list");
        *self.marks.entry(mark).or_default() += 1;
    }

    /// A fault of a class has happened.
    pub(crate) fn fault(&mut self, class: &'static str) {
        debug_assert!(place(class).is_some(), "{class} is in the list");
        if let Some(place) = place(class) {
            self.faults[place] += 1;
        }
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (mark, count) in &other.marks {
            *self.marks.entry(mark).or_default() += count;
        }
        for (mine, theirs) in self.faults.iter_mut().zip(other.faults) {
            *mine += theirs;
        }
    }

    /// How often a mark was seen.
    pub fn count(&self, mark: &str) -> u64 {
        self.marks.get(mark).copied().unwrap_or_default()
    }

    /// How often faults happened, in the order of [`FAULTS`].
    pub fn faults(&self) -> [u64; FAULTS.len()] {
        self.faults
    }

    /// What was never seen, faults by their class.
    pub fn missing(&self) -> Vec<&'static str> {
        let marks = MARKS.into_iter().filter(|mark| self.count(mark) == 0);
        let faults = FAULTS.iter().zip(self.faults).filter(|(_, count)| *count == 0);
        marks.chain(faults.map(|((class, _), _)| *class)).collect()
    }
}
