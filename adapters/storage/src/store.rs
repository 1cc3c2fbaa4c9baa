//! What a store has to do. Whoever has an ordered table of bytes that changes in batches can be one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

/// Is shown a key and its value, and says whether to go on.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Records by key, in the order of the keys' bytes.
pub trait Store: Send {
    /// Carries out a batch, all of it or nothing. When this returns, it survives the end of the process and of the
    /// machine.
    ///
    /// # Errors
    /// Nothing is said about what was carried out; [`Store::reopen`] comes before the next call.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Hands over records in order, from the first key that is not before `from`, until `each` breaks.
    ///
    /// # Errors
    /// The store cannot be read.
    fn scan(&self, from: &[u8], each: &mut Visit<'_>) -> Result<(), StoreError>;

    /// Begins anew after an error: what was not committed is forgotten.
    ///
    /// # Errors
    /// It cannot be used yet.
    fn reopen(&mut self) -> Result<(), StoreError>;

    /// Is called while nothing is to be kept, for what has to be done now and then. Says after which time to call it again;
    /// `None` is not before the next batch.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn idle(&mut self) -> Result<Option<Duration>, StoreError> {
        Ok(None)
    }

    /// What becomes of kept batches, where that is up to somebody else's settings.
    fn promise(&self) -> Option<Promise> {
        None
    }

    /// About how many records there are, if that is known without reading them.
    fn count(&self) -> Option<u64> {
        None
    }

    /// Bytes that the records take, about, if the store can tell without reading them. What was removed and is used again
    /// does not count. It is called often.
    fn size(&mut self) -> Option<u64> {
        None
    }

    /// Is called now and then while the store is full: makes room of what was removed, where that takes more than removing.
    ///
    /// # Errors
    /// It cannot be written.
    fn reclaim(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Was it left in the midst of something, so that what was not whole was undone when it was opened?
    fn was_interrupted(&self) -> bool {
        false
    }

    /// Looks at what is below the records; says whether it is sound.
    ///
    /// # Errors
    /// It cannot be read.
    fn check(&mut self) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Gives disk space back that is not needed.
    ///
    /// # Errors
    /// It cannot be written.
    fn compact(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What is told of a store at the start whose settings are somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Batches that are kept survive a power cut.
    pub is_durable: bool,
    /// What becomes of them, in one line for the log.
    pub text: String,
}

/// Why a store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// Another broker has it.
    Locked,
    /// It is something else than a store of ours.
    Foreign(String),
    /// A newer version has written it, in this format.
    Newer(u8),
    /// It cannot be read, not even in parts.
    Damaged(String),
    /// It is not what this broker has written any more, so only another start can go on with it.
    Lost(String),
    /// What the system or the database says.
    Failed(String),
}

impl StoreError {
    /// May another attempt of the same process come to something?
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Locked)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str("another broker is using it"),
            Self::Foreign(what) => write!(f, "this is not a store of Metronome: {what}"),
            Self::Newer(format) => {
                write!(f, "a newer version of Metronome has written it, in format {format}")
            }
            Self::Damaged(what) => {
                write!(f, "it is damaged ({what}): put a copy in its place, or begin another one")
            }
            Self::Lost(what) => write!(f, "{what}; restart this broker to go on with what is there"),
            Self::Failed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for StoreError {}

/// Changes that are carried out together. Of several changes of one key, only the last is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    cleared: BTreeSet<Vec<u8>>,
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Batch {
    /// Sets a record.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key, Some(value));
    }

    /// Removes a record.
    pub fn remove(&mut self, key: Vec<u8>) {
        self.changes.insert(key, None);
    }

    /// Removes all records whose keys begin with these bytes.
    pub fn clear(&mut self, prefix: Vec<u8>) {
        let changed = self.changes.range(prefix.clone()..).map(|(key, _)| key);
        let gone: Vec<_> = changed.take_while(|key| key.starts_with(&prefix)).cloned().collect();
        for key in gone {
            self.changes.remove(&key);
        }
        self.cleared.insert(prefix);
    }

    /// Beginnings of keys to be removed, before anything else.
    pub fn cleared(&self) -> impl Iterator<Item = &[u8]> {
        self.cleared.iter().map(Vec::as_slice)
    }

    /// Records to be set, or with `None` to be removed, each key once and in order.
    pub fn changes(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> {
        self.changes.iter().map(|(key, value)| (&**key, value.as_deref()))
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> u64 {
        let cleared: usize = self.cleared.iter().map(Vec::len).sum();
        let changed = self.changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len));
        (cleared + changed.sum::<usize>()) as u64
    }

    /// Is there nothing to be done?
    pub fn is_empty(&self) -> bool {
        self.cleared.is_empty() && self.changes.is_empty()
    }
}

/// The first key behind all that begin with `prefix`; `None` if there is no such key.
pub fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::{Batch, end_of};

    #[test]
    fn the_last_change_of_a_key_counts() {
        let mut batch = Batch::default();
        batch.put(b"a1".to_vec(), b"x".to_vec());
        batch.put(b"b".to_vec(), b"y".to_vec());
        batch.clear(b"a".to_vec());
        batch.put(b"a2".to_vec(), b"z".to_vec());
        batch.remove(b"b".to_vec());
        assert_eq!(batch.cleared().collect::<Vec<_>>(), [b"a"]);
        let changes: Vec<_> = batch.changes().collect();
        assert_eq!(changes, [(&b"a2"[..], Some(&b"z"[..])), (b"b", None)]);
    }

    #[test]
    fn behind_a_prefix() {
        assert_eq!(end_of(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(end_of(&[1, 255, 255]).as_deref(), Some(&[2][..]));
        assert_eq!(end_of(&[255, 255]), None);
    }
}
