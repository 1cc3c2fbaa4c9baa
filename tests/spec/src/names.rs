//! Names of tests as the ledgers have them, and where they are.
//!
//! * `03-01-connect::a_second_connect_ends_the_connection`: a case of a trace file
//! * `broker-engine::sessions::takeover`: a function in `broker-engine/tests/sessions.rs`, or, where there is no
//!   such file, in `broker-engine/src/sessions.rs`
//! * `broker-engine::topics::cache::the_oldest_entry_gives_way`: a function in `broker-engine/src/topics/cache.rs`

use crate::authentication::Authentication;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All tests that can be named.
#[derive(Debug)]
pub struct Tests {
    cases: BTreeMap<String, Authentication>,
}

impl Tests {
    /// The cases there are. Tests in Rust are looked for when they are asked about.
    pub fn all() -> Self {
        Self { cases: crate::cases().into_iter().map(|case| (case.name, case.authentication)).collect() }
    }

    /// What a test is run against, unless it is both the engine and the binary behind real sockets.
    pub fn against<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self.cases.get(name) {
            Some(Authentication::AllowAll) => None,
            Some(Authentication::InSteps) => Some("engine and library"),
            None => name.split("::").next(),
        }
    }

    /// The file of a test, from the root of the project; `None` if there is no such test.
    pub fn file(&self, name: &str) -> Option<String> {
        if is_case(name) {
            let (file, _) = name.split_once("::")?;
            return self.cases.contains_key(name).then(|| format!("tests/spec/traces/{file}.trace"));
        }
        let (path, function) = name.rsplit_once("::")?;
        let (package, path) = path.split_once("::")?;
        let folder = match package {
            "metronome-host" => "adapters/host",
            "metronome-tokio" => "adapters/tokio",
            "metronome-spec" => "tests/spec",
            folder => folder,
        };
        let path = path.replace("::", "/");
        let places = [format!("{folder}/tests/{path}.rs"), format!("{folder}/src/{path}.rs")];
        places
            .into_iter()
            .find(|file| fs::read_to_string(root().join(file)).is_ok_and(|text| is_test(&text, function)))
    }
}

/// A case of a trace file, not a test in Rust.
pub fn is_case(name: &str) -> bool {
    name.split("::").count() == 2
}

/// Has this source such a test, and is it run?
fn is_test(text: &str, function: &str) -> bool {
    let Some(at) = text.find(&format!("fn {function}(")) else { return false };
    let before = text[..at].trim_end_matches("async ").trim_end();
    let is_attribute = |line: &&str| line.starts_with("#[") || line.starts_with("//");
    let attributes: Vec<&str> = before.lines().rev().map(str::trim).take_while(is_attribute).collect();
    attributes.iter().any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"))
        && !attributes.iter().any(|line| line.starts_with("#[ignore"))
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
            ("metronome-host::config::bad_addresses_are_named", "adapters/host/src/config.rs"),
        ] {
            assert_eq!(tests.file(name).as_deref(), Some(file));
        }
        for name in
            ["03-01-connect::no", "broker-engine::delivery::no", "broker-engine::delivery::world", "no"]
        {
            assert_eq!(tests.file(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_not_run_is_no_test() {
        assert!(is_test("\n#[test]\nfn a() {", "a"));
        assert!(!is_test("\n#[test]\n#[ignore]\nfn a() {", "a"));
        assert!(!is_test("\n#[test]\nfn b() {}\n\nfn a() {", "a"));
    }
}
