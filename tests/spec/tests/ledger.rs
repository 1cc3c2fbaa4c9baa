//! Guards: the ledger and the cases agree, and nothing is missing from either.

use metronome_spec::cases;
use metronome_spec::citations::{cited, numbered};
use metronome_spec::ledger::{Ledger, Status, ids, read};
use metronome_spec::names::{Tests, is_case, root};
use metronome_spec::trace::DOCUMENTS;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

fn ledgers() -> BTreeMap<&'static str, Ledger> {
    DOCUMENTS.iter().map(|document| (*document, read(document))).collect()
}

/// The lists of `ids` are the standards' own, and that of the rules without a number what they were once searched for.
#[test]
fn every_statement_is_there() {
    for (document, ledger) in ledgers() {
        let listed = ids(document);
        let there: BTreeSet<String> = ledger.into_keys().collect();
        let missing: Vec<&String> = listed.difference(&there).collect();
        let invented: Vec<&String> = there.difference(&listed).collect();
        assert!(
            missing.is_empty() && invented.is_empty(),
            "{document}: without {missing:?}, with {invented:?}"
        );
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
                Status::Tested | Status::Deviates if statement.tests.is_empty() => {
                    wrong("is tested by nothing");
                }
                Status::Tested if !reason.is_empty() => wrong("gives a reason and is tested"),
                Status::NotApplicable | Status::Waits | Status::Deviates if reason.is_empty() => {
                    wrong("gives no reason");
                }
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

/// Statements by document and number, each with the tests that say that they show it.
type Shown = BTreeMap<(String, String), BTreeSet<String>>;

/// What the ledger names is what tests of this kind say that they show, and the other way round.
fn assert_agree(shown: &Shown, is_of_kind: impl Fn(&str) -> bool) {
    let (ledgers, tests) = (ledgers(), Tests::all());
    let mut wrong = String::new();
    for ((document, id), names) in shown {
        let there = ledgers[document.as_str()].contains_key(id);
        assert!(there, "{names:?} show {document} {id}, which is no statement");
    }
    for (document, ledger) in &ledgers {
        for (id, statement) in ledger {
            let once: BTreeSet<&String> = statement.tests.iter().collect();
            assert_eq!(once.len(), statement.tests.len(), "{document} {id} names a test twice");
            let named: BTreeSet<String> =
                statement.tests.iter().filter(|name| is_of_kind(name)).cloned().collect();
            for name in &named {
                assert!(tests.place(name).is_some(), "{document} {id} names {name}, which is no test");
            }
            let shown = shown.get(&((*document).to_owned(), id.clone())).cloned().unwrap_or_default();
            for name in named.difference(&shown) {
                writeln!(wrong, "{document} {id}: {name} does not say that it shows it").unwrap();
            }
            for name in shown.difference(&named) {
                writeln!(wrong, "{document} {id}: {name} shows it and is not in the ledger").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn ledger_and_cases_agree() {
    let mut shown = Shown::new();
    for case in cases() {
        assert!(!case.holds.is_empty(), "{} holds nothing", case.name);
        assert!(!case.versions.is_empty() && !case.steps.is_empty(), "{} does nothing", case.name);
        for statement in case.holds {
            shown.entry(statement).or_default().insert(case.name.clone());
        }
    }
    assert_agree(&shown, is_case);
}

/// A test in Rust shows what it cites, in its comment or further down.
#[test]
fn ledger_and_tests_in_rust_agree() {
    let ledgers = ledgers();
    let mut shown = Shown::new();
    for test in Tests::all().in_rust() {
        for citation in cited(&test.text) {
            let ids = citation.ids(&ledgers);
            assert!(!ids.is_empty(), "{} cites {citation:?}, which is no statement", test.name);
            for id in ids {
                let statement = (citation.document.to_owned(), id.clone());
                shown.entry(statement).or_default().insert(test.name.clone());
            }
        }
    }
    assert_agree(&shown, |name| !is_case(name));
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                files(&path, found);
            }
        } else if path
            .extension()
            .is_some_and(|ending| ["rs", "md", "toml", "trace"].iter().any(|of| ending == *of))
        {
            found.push(path);
        }
    }
}

/// In brackets or not, in sources, documents, ledgers and cases.
#[test]
fn every_statement_that_is_cited_is_real() {
    let ledgers = ledgers();
    let mut all = Vec::new();
    files(&root(), &mut all);
    let mut count = 0;
    for path in all {
        let text = fs::read_to_string(&path).unwrap();
        for id in numbered(&text) {
            let real = ["5.0", "3.1.1"].iter().any(|document| ledgers[document].contains_key(&id));
            assert!(real, "{} names {id}", path.display());
        }
        if path.extension().is_some_and(|ending| ending == "rs") {
            for citation in cited(&text) {
                assert!(!citation.ids(&ledgers).is_empty(), "{} cites {citation:?}", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 100, "only {count} citations found");
}
