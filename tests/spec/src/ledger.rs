//! The ledger: what each statement of the standard says, and which cases show that it holds.
//!
//! One TOML file for each document, with a table for each statement:
//!
//! ```toml
//! ["MQTT-3.1.0-2"]
//! binds = "server"
//! says = "A second CONNECT on a connection is a protocol error."
//! status = "tested"
//! tests = ["03-01-connect::a_second_connect"]
//! ```

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The statements of one document, by number.
pub type Ledger = BTreeMap<String, Statement>;

/// One statement.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Who has to keep to it: `server`, `client`, `both`.
    pub binds: String,
    /// What it says, in few words.
    pub says: String,
    /// How it stands.
    pub status: Status,
    /// Names of the tests that show it: cases of trace files, or `crate::file::test` in Rust.
    #[serde(default)]
    pub tests: Vec<String>,
    /// Why it does not apply, what it waits for, or why it is not kept.
    #[serde(default)]
    pub reason: Option<String>,
}

/// How a statement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Shown by tests.
    Tested,
    /// Cannot be shown on a server, for the reason given.
    NotApplicable,
    /// Will be shown once something is there that the reason names.
    Waits,
    /// Is not kept, for the reason given; its tests show what happens instead.
    Deviates,
}

/// A ledger by the name of its document.
///
/// # Panics
/// The file is not there or not understood.
pub fn read(document: &str) -> Ledger {
    let name = format!("{}.toml", file(document));
    toml::from_str(&text(&name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What a document's ledger must have: one identifier a line.
///
/// # Panics
/// The file is not there.
pub fn ids(document: &str) -> BTreeSet<String> {
    text(&format!("ids/{}.txt", file(document))).lines().map(str::to_owned).collect()
}

fn file(document: &str) -> String {
    if document == "unnumbered" { document.to_owned() } else { format!("mqtt-{document}") }
}

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
