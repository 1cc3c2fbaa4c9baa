//! What other people's code may ask of those who build and ship Metronome.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Licences that ask for nothing but to be named.
const LICENCES: &[&str] =
    &["Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unicode-3.0", "Unlicense", "Zlib"];

/// What only somebody who asks for a feature builds, under a licence that is not among those: package, licence, and who needs
/// it. The documentation of the feature says so.
const ON_REQUEST: &[(&str, &str, &str)] =
    &[("varint-rs", "0BSD", "fjall"), ("xxhash-rust", "BSL-1.0", "fjall")];

fn metadata() -> Value {
    metadata_with(&[])
}

fn metadata_with(more: &[&str]) -> Value {
    let flags = ["metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"];
    let output = Command::new(env!("CARGO")).args(flags).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn is_allowed(licence: &str) -> bool {
    let parsed = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX);
    parsed.is_ok_and(|expression| {
        expression.evaluate(|wanted| {
            wanted.license.id().is_some_and(|id| LICENCES.contains(&id.name)) && wanted.addition.is_none()
        })
    })
}

#[test]
fn licences_ask_for_nothing_but_to_be_named() {
    for package in list(&metadata(), "packages") {
        let licence = text(package, "license");
        assert!(is_allowed(licence), "{} is under {licence:?}", text(package, "name"));
    }
    for (licence, wanted) in [
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only OR MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0-only", false),
        ("MPL-2.0", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(licence), wanted, "{licence:?}");
    }
}

/// Nothing else comes with a feature, and nobody has it who did not ask.
#[test]
fn other_licences_are_known_and_on_request() {
    let (all, regular) = (metadata_with(&["--all-features"]), metadata());
    let others = list(&all, "packages").iter().filter(|package| !is_allowed(text(package, "license")));
    let others: Vec<_> = others.map(|package| (text(package, "name"), text(package, "license"))).collect();
    assert_eq!(others, ON_REQUEST.iter().map(|(name, licence, _)| (*name, *licence)).collect::<Vec<_>>());
    let docs = std::fs::read_to_string("../../docs/storage.md").unwrap();
    for (name, licence, whose) in ON_REQUEST {
        for package in [name, whose] {
            let packages = list(&regular, "packages").iter();
            assert!(!packages.map(|regular| text(regular, "name")).any(|regular| regular == *package));
        }
        assert!(docs.contains(&format!("`{name}`")) && docs.contains(licence), "{name} is told of");
    }
}

/// Major and minor.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// What a user builds: everything but what only our tests and benches need.
fn built_by_users(metadata: &Value) -> BTreeSet<&str> {
    let public = |package: &&Value| {
        let member = list(metadata, "workspace_members").contains(&package["id"]);
        member && !list(package, "publish").is_empty() | package["publish"].is_null()
    };
    let public: Vec<&str> =
        list(metadata, "packages").iter().filter(public).map(|package| text(package, "id")).collect();
    assert!(public.len() >= 4, "the public crates: {public:?}");
    tree(metadata, public)
}

/// Packages, and all that they need to be built.
fn tree<'a>(metadata: &'a Value, mut next: Vec<&'a str>) -> BTreeSet<&'a str> {
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"], "nodes").iter().map(|node| (text(node, "id"), node)).collect();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    while let Some(id) = next.pop() {
        if seen.insert(id) {
            let dependencies = list(nodes[id], "deps").iter();
            let needed = dependencies.filter(|dependency| {
                list(dependency, "dep_kinds").iter().any(|kind| text(kind, "kind") != "dev")
            });
            next.extend(needed.map(|dependency| text(dependency, "pkg")));
        }
    }
    seen
}

#[test]
fn nothing_needs_a_newer_rust_than_we_say() {
    let metadata = metadata();
    let packages = list(&metadata, "packages");
    let ours = packages.iter().find(|package| text(package, "name") == "broker-engine").unwrap();
    let ours = version(text(ours, "rust_version")).unwrap();
    let built = built_by_users(&metadata);
    for package in packages.iter().filter(|package| built.contains(text(package, "id"))) {
        let needed = version(text(package, "rust_version")).unwrap_or_default();
        assert!(needed <= ours, "{} needs Rust {needed:?}, we promise {ours:?}", text(package, "name"));
    }
}

/// Who embeds a broker on one runtime builds no other.
#[test]
fn each_adapter_has_one_runtime() {
    let metadata = metadata();
    let packages = list(&metadata, "packages");
    let id =
        |name: &str| packages.iter().find(|package| text(package, "name") == name).map(|own| text(own, "id"));
    for (adapter, own, others) in [
        ("metronome-tokio", "tokio", ["smol", "async-std"]),
        ("metronome-smol", "smol", ["tokio", "async-std"]),
        ("metronome-async-std", "async-std", ["tokio", "smol"]),
    ] {
        let built = tree(&metadata, vec![id(adapter).unwrap()]);
        assert!(built.contains(id(own).unwrap()), "{adapter} is not on {own}");
        for other in others {
            assert!(!built.contains(id(other).unwrap()), "{adapter} needs {other}");
        }
    }
}
