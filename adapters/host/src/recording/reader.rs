//! Reads segments of a recording, also what was cut off or damaged later on.

use super::{DIGEST, FRAME, HEADER, Header, INPUT, MAGIC, SNAPSHOT, checksum, segments};
use broker_engine::{Input, Time};
use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why a file is no segment that can be played.
#[derive(Debug)]
#[non_exhaustive]
pub enum SegmentError {
    /// It cannot be read.
    Unreadable(io::Error),
    /// Not a recording.
    Foreign,
    /// A recording of another format version.
    Version(u8),
    /// It ends, or is damaged, before the engine's snapshot is complete.
    NoBeginning,
    /// There is no file of this name, and no segment of it.
    Missing,
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::Foreign => f.write_str("not a recording"),
            Self::Version(version) => {
                write!(f, "a recording of format {version}; this program reads format {}", MAGIC[7])
            }
            Self::NoBeginning => f.write_str("cut off or damaged before its first input"),
            Self::Missing => f.write_str("no such recording, and no segment of it"),
        }
    }
}

impl std::error::Error for SegmentError {}

/// The files of a recording, oldest first: `path` itself, or the segments `path.1`, `path.2` and so on.
///
/// # Errors
/// There are none.
pub fn segments_of(path: &Path) -> Result<Vec<PathBuf>, SegmentError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let found = segments::existing(path).map_err(|_| SegmentError::Missing)?;
    let found: Vec<PathBuf> = found.into_iter().map(|(_, path)| path).collect();
    if found.is_empty() { Err(SegmentError::Missing) } else { Ok(found) }
}

/// One file of a recording.
#[derive(Debug)]
pub struct Segment {
    /// What it says about itself.
    pub header: Header,
    bytes: Vec<u8>,
    snapshot: (usize, usize),
    /// Where the first input begins.
    entries: usize,
}

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Entry<'a> {
    /// The engine was given this.
    Input(Time, Input<'a>),
    /// All outputs since the segment began sum up to this.
    Digest(u64),
    /// Nothing more can be read, though bytes follow: the file is cut off or damaged at this offset.
    Torn(usize),
}

impl Segment {
    /// Reads a file.
    ///
    /// # Errors
    /// It is no segment, or ends before its first input.
    pub fn open(path: &Path) -> Result<Self, SegmentError> {
        Self::from_bytes(fs::read(path).map_err(SegmentError::Unreadable)?)
    }

    /// The same from memory.
    ///
    /// # Errors
    /// They are no segment, or end before its first input.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, SegmentError> {
        match bytes.get(..MAGIC.len()) {
            Some(magic) if magic == MAGIC => {}
            Some(magic) if magic[..7] == MAGIC[..7] => return Err(SegmentError::Version(magic[7])),
            _ => return Err(SegmentError::Foreign),
        }
        let (kind, header, next) = body(&bytes, MAGIC.len()).ok_or(SegmentError::NoBeginning)?;
        let header = std::str::from_utf8(header).ok().and_then(|text| toml::from_str(text).ok());
        let header = header.filter(|_| kind == HEADER).ok_or(SegmentError::NoBeginning)?;
        let (kind, snapshot, entries) = body(&bytes, next).ok_or(SegmentError::NoBeginning)?;
        if kind != SNAPSHOT {
            return Err(SegmentError::NoBeginning);
        }
        let snapshot = (entries - snapshot.len(), entries);
        Ok(Self { header, bytes, snapshot, entries })
    }

    /// The engine before the first input.
    pub fn snapshot(&self) -> &[u8] {
        &self.bytes[self.snapshot.0..self.snapshot.1]
    }

    /// Everything that happened, in order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.parts().map(|(entry, _)| entry)
    }

    /// The same segment with those entries only of which `keep` says so by their number. What outputs summed up to does
    /// not hold for it and is left out.
    #[must_use]
    pub fn with_only(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let mut bytes = self.bytes[..self.entries].to_vec();
        for (number, (entry, place)) in self.parts().enumerate() {
            if matches!(entry, Entry::Input(..)) && keep(number) {
                bytes.extend_from_slice(&self.bytes[place]);
            }
        }
        Self { header: self.header.clone(), bytes, ..*self }
    }

    /// The segment as a file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Entries and where they are.
    fn parts(&self) -> impl Iterator<Item = (Entry<'_>, Range<usize>)> {
        let mut at = self.entries;
        std::iter::from_fn(move || {
            let here = at;
            if here == self.bytes.len() {
                return None;
            }
            let read =
                body(&self.bytes, here).and_then(|(kind, body, next)| Some((entry(kind, body)?, next)));
            // After damage nothing is certain any more.
            let (entry, next) = read.unwrap_or((Entry::Torn(here), self.bytes.len()));
            at = next;
            Some((entry, here..next))
        })
    }
}

fn entry(kind: u8, body: &[u8]) -> Option<Entry<'_>> {
    match kind {
        INPUT => postcard::from_bytes(body).ok().map(|(now, input)| Entry::Input(now, input)),
        DIGEST => Some(Entry::Digest(u64::from_le_bytes(body.try_into().ok()?))),
        _ => None,
    }
}

/// Kind, content and end of the entry at `at`, if it is whole.
fn body(bytes: &[u8], at: usize) -> Option<(u8, &[u8], usize)> {
    let frame = bytes.get(at..at + FRAME)?;
    let len = u32::from_le_bytes(frame[..4].try_into().ok()?) as usize;
    let end = (at + FRAME).checked_add(len)?;
    let body = bytes.get(at + FRAME..end)?;
    if checksum(body) != frame[4..] {
        return None;
    }
    let (kind, content) = body.split_first()?;
    Some((*kind, content, end))
}
