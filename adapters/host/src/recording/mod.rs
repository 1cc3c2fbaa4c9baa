//! The flight recorder: every input of the engine in files, from which everything that happened can be played again.
//!
//! * `recorder` — writes, with secrets overwritten
//! * `segments` — files of bounded size, of which the oldest go
//! * `reader` — reads, also what was cut off
//! * `digest` — a sum over what the engine said, to compare with
//!
//! # Format
//!
//! A recording `FILE` is a row of segments `FILE.1`, `FILE.2` and so on. A segment begins with eight bytes, the last of
//! which is the format's version; entries follow. An entry is the length of its body (four bytes, little-endian), a
//! checksum of the body (four bytes), and the body, of which the first byte says what it is:
//!
//! | first byte | the rest |
//! |---|---|
//! | 0 | header, TOML: see [`Header`] |
//! | 1 | snapshot of the engine before the segment's first input |
//! | 2 | an input and its time, as `postcard` writes them |
//! | 3 | digest of all outputs since the segment began, eight bytes, little-endian |
//!
//! Passwords and authentication data are never written; see [`mqtt_proto::Mask`](broker_engine::mqtt_proto::Mask).

mod digest;
mod reader;
mod recorder;
mod segments;

pub use digest::Digest;
pub use reader::{Entry, Segment, SegmentError, segments_of};
pub use recorder::{RecordOptions, Recorder};

use broker_engine::Config;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// First bytes of every segment; the last one is the format's version.
const MAGIC: [u8; 8] = *b"METRREC\x01";

/// Bytes before the body of an entry.
const FRAME: usize = 8;

const HEADER: u8 = 0;
const SNAPSHOT: u8 = 1;
const INPUT: u8 = 2;
const DIGEST: u8 = 3;

/// What a segment says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the broker.
    pub version: String,
    /// Commit that it was built from, where known.
    pub commit: String,
    /// Number of the segment, from 1.
    pub segment: u64,
    /// Inputs of the recording before this segment.
    pub inputs_before: u64,
    /// When the segment began, Unix seconds.
    pub began: u64,
    /// Seed of the broker, hexadecimal. What the engine has drawn from it since is in the snapshot.
    pub seed: String,
    /// Payloads are overwritten too.
    pub payloads_masked: bool,
    /// Limits in force.
    pub limits: Config,
}

/// Tells damage; it need not keep anybody out.
fn checksum(body: &[u8]) -> [u8; 4] {
    let mut hasher = SipHasher13::new();
    hasher.write(body);
    let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
    [a, b, c, d]
}
