//! The standard, statement by statement: what shows that it holds.
//!
//! * [`trace`] — files of cases: packets sent and expected, in words
//! * [`wire`], [`render`] — words to bytes and back, a codec that shares nothing with the broker's
//! * [`run`] — runs a case over a transport
//! * [`engine`] — the transport that is the pure engine, with virtual time
//! * [`probe`] — one connection in a given state, and what it gets: for tables
//! * [`socket`] — the transport that is the broker behind real sockets
//! * [`authentication`] — who answers the broker's questions in a case
//! * [`ledger`] — every statement and the cases that show it, guarded from both sides
//! * [`parity`] — every behaviour of the two model brokers, and what becomes of it
//! * [`gotchas`] — what brokers get wrong, and the tests that show that it is right here
//! * [`names`] — names of tests in all of these, and where they are
//! * [`rust`] — the tests in Rust, found as the compiler finds them
//! * [`citations`] — statements that comments cite
//! * [`report`] — `docs/conformance.md`, made from all of it
#![forbid(unsafe_code)]

pub mod authentication;
pub mod citations;
pub mod engine;
pub mod gotchas;
pub mod ledger;
pub mod names;
pub mod parity;
pub mod probe;
pub mod render;
pub mod report;
pub mod run;
pub mod rust;
pub mod socket;
pub mod trace;
pub mod wire;

use std::fmt;

/// A protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 3.1
    V31,
    /// 3.1.1
    V311,
    /// 5.0
    V5,
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// Versions by name; `3` is both of them.
    fn list(text: &str) -> Option<Vec<Self>> {
        let mut versions = Vec::new();
        for name in text.split_whitespace() {
            match name {
                "3.1" => versions.push(Self::V31),
                "3.1.1" => versions.push(Self::V311),
                "5.0" => versions.push(Self::V5),
                "3" => versions.extend([Self::V31, Self::V311]),
                _ => return None,
            }
        }
        Some(versions)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// All cases of the trace files, in the order of the files' names.
///
/// # Panics
/// A file cannot be read or understood.
pub fn cases() -> Vec<trace::Case> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let cases = files.iter().flat_map(|path| {
        let name = path.file_stem().unwrap().to_string_lossy();
        trace::parse(&name, &std::fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{error}"))
    });
    cases.collect()
}
