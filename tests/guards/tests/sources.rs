//! What must never get into codec and engine, and what every file keeps to.

use std::fs;
use std::path::{Path, PathBuf};

/// Words that stand for a clock, a thread, chance, I/O or a table whose order is not defined.
const BANNED: &[&str] = &[
    "std::",
    "extern crate std",
    "Instant",
    "SystemTime",
    "thread::",
    "rand::",
    "getrandom",
    "HashMap",
    "HashSet",
    "RandomState",
];

/// The one place that may name a hash table.
const WRAPPER: &str = "collections/hash.rs";

/// What would show the order of a hash table there.
const IN_ORDER: &[&str] = &["iter(", "drain(", "retain(", "extract_if(", "for ", " in "];

/// Lines that a person reads in one sitting.
const MAX_LINES: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                files(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn all(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(&root().join(folder), ending, &mut found);
    found.sort();
    assert!(!found.is_empty(), "{folder} has no {ending}");
    found.into_iter().map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect()
}

/// The code of a file: without comments, and without the tests at its end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let code = &text[..tests];
    (1..).zip(code.lines()).map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
}

fn banned(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in code(text) {
        for word in BANNED {
            if line.contains(word) {
                found.push(format!("{path}:{number}: {word}"));
            }
        }
        if line.contains("hashbrown") && !path.ends_with(WRAPPER) {
            found.push(format!("{path}:{number}: a hash table outside {WRAPPER}"));
        }
        let is_header = line.trim_start().starts_with("impl");
        if path.ends_with(WRAPPER) && !is_header && IN_ORDER.iter().any(|word| line.contains(word)) {
            found.push(format!("{path}:{number}: the order of a hash table"));
        }
    }
    found
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs")
}

#[test]
fn codec_and_engine_are_pure() {
    for folder in ["mqtt-proto/src", "broker-engine/src"] {
        for (path, text) in all(folder, ".rs").iter().filter(|(path, _)| !is_test_file(path)) {
            assert_eq!(banned(path, text), Vec::<String>::new());
        }
        let front = fs::read_to_string(root().join(folder).join("lib.rs")).unwrap();
        for line in
            ["#![no_std]", "#![forbid(unsafe_code)]", "clippy::unwrap_used", "clippy::indexing_slicing"]
        {
            assert!(front.contains(line), "{folder}/lib.rs must say {line}");
        }
    }
}

#[test]
fn the_check_of_purity_can_fail() {
    for bad in [
        "use std::time::Instant;",
        "let t = SystemTime::now();",
        "use hashbrown::HashTable;",
        "HashMap::new()",
        "HashSet::new()",
        "std::thread::spawn(work);",
        "rand::random()",
        "getrandom::fill(&mut bytes)",
        "RandomState::new()",
        "#[cfg(test)]\nfn helper() {}\nfn code() { std::process::exit(1) }",
    ] {
        assert!(!banned("x.rs", bad).is_empty(), "{bad}");
    }
    for bad in ["table.into_iter().next()", "for entry in &self.table {", "self.table.retain(|_| true);"] {
        assert!(!banned(WRAPPER, bad).is_empty(), "{bad}");
    }
    assert!(banned("x.rs", "let fine = 1; // not std::").is_empty());
}

#[test]
fn files_are_read_in_one_sitting() {
    for (path, text) in all(".", ".rs") {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{path} has {lines} lines");
    }
}

/// The arrows: the engine sees no adapter, and hooks and host no runtime.
#[test]
fn dependencies_point_one_way() {
    let forbidden = [
        ("mqtt-proto", &["broker-engine", "metronome", "tokio", "smol"][..]),
        ("broker-engine", &["metronome", "tokio", "smol", "simulation"]),
        (
            "adapters/storage",
            &["metronome-host", "metronome-tokio", "tokio", "smol", "async-std", "simulation"],
        ),
        ("adapters/hooks", &["metronome-tokio", "tokio", "smol", "async-std", "simulation"]),
        ("adapters/host", &["metronome-tokio", "tokio", "smol", "async-std", "simulation"]),
        (
            "adapters/tasks",
            &["metronome-tokio", "metronome-smol", "metronome-async-std", "tokio", "smol", "simulation"],
        ),
        ("adapters/tokio", &["simulation", "metronome-smol", "metronome-async-std", "smol", "async-std"]),
        ("adapters/smol", &["simulation", "metronome-tokio", "metronome-async-std", "tokio", "async-std"]),
        ("adapters/async-std", &["simulation", "metronome-tokio", "metronome-smol", "tokio", "smol"]),
    ];
    for (folder, names) in forbidden {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        // Those of some platforms only too.
        let sections = manifest.split("\n[").filter(|section| {
            let title = section.split(']').next().unwrap_or_default();
            title.ends_with("dependencies") && !title.ends_with("dev-dependencies")
        });
        for line in sections.flat_map(|section| section.lines().skip(1)) {
            for name in names {
                assert!(!line.starts_with(name), "{folder} must not depend on {name}");
            }
            assert!(!line.contains("version ="), "{folder}: versions live in the workspace: {line}");
        }
    }
}

/// Links between documents lead somewhere.
#[test]
fn documents_link_to_what_exists() {
    for (path, text) in all(".", ".md") {
        let folder = Path::new(&path).parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            assert!(link.starts_with("http") || folder.join(file).exists(), "{path} links to {link}");
        }
    }
}

/// What users are promised of a build: a panic unwinds, sums that overflow are found in codec and engine also in release,
/// and a plain `cargo run` is the broker.
#[test]
fn the_workspace_builds_what_it_promises() {
    let manifest: toml::Table =
        toml::from_str(&fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
    let release = &manifest["profile"]["release"];
    assert_eq!(release["panic"].as_str(), Some("unwind"));
    for name in ["mqtt-proto", "broker-engine"] {
        assert_eq!(release["package"][name]["overflow-checks"].as_bool(), Some(true), "{name}");
    }
    let default: Vec<_> = manifest["workspace"]["default-members"].as_array().unwrap().iter().collect();
    assert_eq!(default, [&toml::Value::from("adapters/tokio")]);
}
