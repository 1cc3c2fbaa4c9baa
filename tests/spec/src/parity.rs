//! What becomes of each behaviour of the two model brokers: `tests/parity.toml`.
//!
//! ```toml
//! [MC-5]
//! says = "Maximum Packet Size is announced and kept with 0x95"
//! state = "done"
//! mark = "deviation"
//! tests = ["u-lengths::the_largest_packet"]
//! ```

use crate::names::root;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The rows by name.
pub type Parity = BTreeMap<String, Row>;

/// One behaviour.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What it is about, in the words of this project.
    pub says: String,
    /// What becomes of it here.
    pub state: State,
    /// What the model does that a drop-in has to decide about.
    #[serde(default)]
    pub mark: Option<Mark>,
    /// Tests that show it.
    #[serde(default)]
    pub tests: Vec<String>,
    /// Why it is different or refused, or what was decided about a quirk.
    #[serde(default)]
    pub reason: Option<String>,
    /// What will bring it.
    #[serde(default)]
    pub topic: Option<String>,
}

/// What becomes of a behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is there.
    Done,
    /// It is there in another way, on purpose.
    Different,
    /// It will not be there.
    Refused,
    /// It is not there yet.
    Open,
}

/// What stands beside a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The model deviates from the standard or has a plain mistake.
    Deviation,
    /// A harmless quirk that somebody may depend on.
    Quirk,
    /// Both.
    Both,
}

/// What will bring the open ones.
pub const TOPICS: [&str; 12] = [
    "access control",
    "configuration",
    "federation",
    "hooks",
    "inline client",
    "load tool",
    "management",
    "packaging",
    "speed",
    "storage",
    "sys topics",
    "transports",
];

/// Reads the rows.
///
/// # Panics
/// The file is not there or not understood.
pub fn read() -> Parity {
    let text = std::fs::read_to_string(root().join("tests/parity.toml")).expect("tests/parity.toml");
    toml::from_str(&text).unwrap_or_else(|error| panic!("tests/parity.toml: {error}"))
}
