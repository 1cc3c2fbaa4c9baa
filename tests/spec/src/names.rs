//! Names of tests as the ledgers have them, and where they are.
//!
//! * `03-01-connect::a_second_connect_ends_the_connection`: a case of a trace file
//! * `broker-engine::delivery::resume_sends_again_in_order`: a function in `broker-engine/tests/delivery.rs`
//! * `broker-engine::topics::cache::the_oldest_entry_gives_way`: a function in `broker-engine/src/topics/cache.rs`

use crate::authentication::Authentication;
use crate::rust::{self, RustTest};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where a test is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From the root of the project.
    pub file: String,
    /// Of its first line.
    pub line: usize,
}

/// All tests that can be named.
#[derive(Debug)]
pub struct Tests {
    places: BTreeMap<String, Place>,
    /// Cases, and who answers questions in them.
    cases: BTreeMap<String, Authentication>,
    rust: Vec<RustTest>,
}

impl Tests {
    /// The tests there are, looked for once.
    ///
    /// # Panics
    /// Two have the same name.
    pub fn all() -> &'static Self {
        static ALL: OnceLock<Tests> = OnceLock::new();
        ALL.get_or_init(|| {
            let (mut places, mut cases) = (BTreeMap::new(), BTreeMap::new());
            for case in crate::cases() {
                let file = case.name.split("::").next().unwrap_or_default();
                let place = Place { file: format!("tests/spec/traces/{file}.trace"), line: case.line };
                places.insert(case.name.clone(), place);
                cases.insert(case.name, case.authentication);
            }
            let rust = rust::all();
            for test in &rust {
                let place = Place { file: test.file.clone(), line: test.line };
                assert!(
                    places.insert(test.name.clone(), place).is_none(),
                    "two tests are called {}",
                    test.name
                );
            }
            Self { places, cases, rust }
        })
    }

    /// What a test is run against, unless it is both the engine and the binary behind real sockets.
    pub fn against<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self.cases.get(name) {
            Some(Authentication::AllowAll) => None,
            Some(Authentication::InSteps) => Some("engine and library"),
            None => name.split("::").next(),
        }
    }

    /// Where a test is; `None` if there is no such test.
    pub fn place(&self, name: &str) -> Option<&Place> {
        self.places.get(name)
    }

    /// Those in Rust.
    pub fn in_rust(&self) -> &[RustTest] {
        &self.rust
    }
}

/// A case of a trace file, not a test in Rust.
pub fn is_case(name: &str) -> bool {
    name.split("::").count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_where_they_are() {
        let tests = Tests::all();
        for (name, file) in [
            ("03-01-connect::a_second_connect_ends_the_connection", "tests/spec/traces/03-01-connect.trace"),
            (
                "broker-engine::delivery::every_qos_in_every_pair_of_versions",
                "broker-engine/tests/delivery.rs",
            ),
            ("broker-engine::topics::cache::the_oldest_entry_gives_way", "broker-engine/src/topics/cache.rs"),
            ("metronome-host::config::what_is_written_can_be_read", "adapters/host/src/config.rs"),
            (
                "metronome-smol::listeners::pages_tell_of_the_broker",
                "adapters/tasks/tests/suite/listeners.rs",
            ),
        ] {
            let place = tests.place(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(place.file, file);
            let text = std::fs::read_to_string(root().join(file)).unwrap();
            let line = text.lines().nth(place.line - 1).unwrap();
            assert!(line.contains(name.rsplit("::").next().unwrap()), "{name} begins with {line}");
        }
        for name in
            ["03-01-connect::no", "broker-engine::delivery::no", "broker-engine::delivery::world", "no"]
        {
            assert_eq!(tests.place(name), None, "{name}");
        }
    }
}
