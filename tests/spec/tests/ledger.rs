//! Guards: the ledger and the cases agree, and nothing is missing from either.

use metronome_spec::cases;
use metronome_spec::ledger::{Ledger, Status, read};
use metronome_spec::names::{Tests, is_case, root};
use metronome_spec::trace::DOCUMENTS;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Statements of each chapter, as the standards number them.
const NUMBERED: [(&str, &[(u32, usize)]); 2] = [
    ("5.0", &[(1, 5), (2, 7), (3, 175), (4, 60), (6, 4)]),
    ("3.1.1", &[(1, 3), (2, 9), (3, 95), (4, 26), (6, 4), (7, 4)]),
];

fn ledgers() -> BTreeMap<&'static str, Ledger> {
    DOCUMENTS.iter().map(|document| (*document, read(document))).collect()
}

#[test]
fn every_numbered_statement_is_there() {
    for (document, chapters) in NUMBERED {
        let ledger = read(document);
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        for id in ledger.keys() {
            let (section, number) = id.strip_prefix("MQTT-").and_then(|id| id.rsplit_once('-')).expect(id);
            assert!(number.parse::<u32>().is_ok() && section.split('.').count() == 3, "{document}: {id}");
            *counts.entry(section.split('.').next().unwrap().parse().expect(id)).or_default() += 1;
        }
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), chapters, "{document}: statements by chapter");
    }
}

#[test]
fn every_statement_says_how_it_stands() {
    for (document, ledger) in ledgers() {
        for (id, statement) in &ledger {
            let wrong = |what: &str| panic!("{document} {id}: {what}");
            let bound = ["server", "client", "both"].contains(&statement.binds.as_str());
            let reason = statement.reason.as_deref().unwrap_or_default();
            match statement.status {
                _ if !bound => wrong("binds server, client or both"),
                _ if statement.says.is_empty() => wrong("says nothing"),
                Status::Tested if statement.tests.is_empty() => wrong("is tested by nothing"),
                Status::Tested if !reason.is_empty() => wrong("gives a reason and is tested"),
                Status::NotApplicable | Status::Waits if reason.is_empty() => wrong("gives no reason"),
                Status::NotApplicable | Status::Waits if !statement.tests.is_empty() => {
                    wrong("has tests and is not tested");
                }
                Status::Waits if !reason.starts_with("hooks") && !reason.starts_with("transports") => {
                    wrong("waits for hooks or transports");
                }
                _ => {}
            }
        }
    }
}

/// What the ledger names is what the cases hold, and the other way round.
#[test]
fn ledger_and_cases_agree() {
    let cases = cases();
    let mut held: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for case in &cases {
        assert!(!case.holds.is_empty(), "{} holds nothing", case.name);
        assert!(!case.versions.is_empty() && !case.steps.is_empty(), "{} does nothing", case.name);
        for statement in &case.holds {
            held.entry(statement.clone()).or_default().insert(case.name.clone());
        }
    }
    let (ledgers, tests) = (ledgers(), Tests::all());
    for (document, id) in held.keys() {
        assert!(
            ledgers[document.as_str()].contains_key(id),
            "{:?} hold {document} {id}, which is no statement",
            held[&(document.clone(), id.clone())]
        );
    }
    for (document, ledger) in &ledgers {
        for (id, statement) in ledger {
            let named: BTreeSet<String> = statement.tests.iter().cloned().collect();
            assert_eq!(named.len(), statement.tests.len(), "{document} {id} names a test twice");
            let (in_rust, in_traces): (BTreeSet<String>, BTreeSet<String>) =
                named.into_iter().partition(|name| !is_case(name));
            for name in &in_rust {
                assert!(tests.file(name).is_some(), "{document} {id} names {name}, which is no test");
            }
            let held = held.get(&((*document).to_owned(), id.clone())).cloned().unwrap_or_default();
            assert_eq!(
                in_traces, held,
                "{document} {id}: tests of the ledger (left), cases that hold it (right)"
            );
        }
    }
}

/// Statements that comments in the sources cite, as `[MQTT-3.3.1-5]` or `[MQTT-3.3.1-5, 3.3.1-6]`.
fn cited(text: &str) -> Vec<String> {
    let lists = text.split("[MQTT-").skip(1).filter_map(|rest| rest.split(']').next());
    lists
        .flat_map(|list| list.split(',').map(|id| format!("MQTT-{}", id.trim().trim_start_matches("MQTT-"))))
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn comments_cite_real_statements() {
    let (v5, v311) = (read("5.0"), read("3.1.1"));
    let mut files = Vec::new();
    for folder in ["mqtt-proto", "broker-engine", "adapters"] {
        sources(&root().join(folder), &mut files);
    }
    let mut count = 0;
    for path in files {
        for id in cited(&fs::read_to_string(&path).unwrap()) {
            assert!(v5.contains_key(&id) || v311.contains_key(&id), "{} cites {id}", path.display());
            count += 1;
        }
    }
    assert!(count > 20, "only {count} citations found");
    assert_eq!(
        cited("see [MQTT-3.1.2-4, 3.1.2-5] and [MQTT-4.3.3-1]"),
        ["MQTT-3.1.2-4", "MQTT-3.1.2-5", "MQTT-4.3.3-1"]
    );
}
