//! What brokers get wrong, and the tests that show that it is right here: `tests/gotchas.toml`.
//!
//! ```toml
//! [4]
//! says = "A clean start sends a will that waits"
//! tests = ["03-01-will::a_clean_start_sends_a_will_that_waits"]
//! ```

use crate::names::root;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How many there are; they are numbered from 1.
pub const COUNT: u32 = 60;

/// The rows by number.
pub type Gotchas = BTreeMap<u32, Gotcha>;

/// One of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gotcha {
    /// What is right.
    pub says: String,
    /// Tests that show it.
    pub tests: Vec<String>,
}

/// Reads the rows.
///
/// # Panics
/// The file is not there or not understood.
pub fn read() -> Gotchas {
    let text = std::fs::read_to_string(root().join("tests/gotchas.toml")).expect("tests/gotchas.toml");
    toml::from_str(&text).unwrap_or_else(|error| panic!("tests/gotchas.toml: {error}"))
}
