//! Guards: every behaviour of the model brokers is accounted for.

use metronome_spec::names::Tests;
use metronome_spec::parity::{Mark, State, TOPICS, read};
use std::collections::BTreeMap;

/// Rows by the letters they begin with.
const ROWS: [(&str, usize); 33] = [
    ("A12", 1),
    ("A13", 1),
    ("C9", 1),
    ("D", 15),
    ("GA", 8),
    ("GC", 24),
    ("GF", 11),
    ("GH", 19),
    ("GP", 6),
    ("GR", 4),
    ("GS", 29),
    ("GU", 3),
    ("MA", 14),
    ("MB", 7),
    ("MC", 15),
    ("MD", 14),
    ("ME", 4),
    ("MF", 17),
    ("MH", 38),
    ("MI", 5),
    ("MK", 5),
    ("ML", 11),
    ("MO", 8),
    ("MP", 16),
    ("MS", 26),
    ("MT", 12),
    ("MW", 6),
    ("MX", 8),
    ("MZ", 11),
    ("OB", 7),
    ("OC", 18),
    ("OG", 15),
    ("OM", 9),
];

#[test]
fn every_row_is_there() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for name in read().keys() {
        *counts.entry(name.split('-').next().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), ROWS.map(|(name, count)| (name.to_owned(), count)));
    let marked = |wanted: Mark| read().values().filter(|row| row.mark == Some(wanted)).count();
    assert_eq!([Mark::Deviation, Mark::Quirk, Mark::Both].map(marked), [107, 6, 1]);
}

#[test]
fn every_row_says_how_it_stands() {
    let tests = Tests::all();
    for (name, row) in read() {
        let wrong = |what: &str| panic!("{name}: {what}");
        let deviates = matches!(row.mark, Some(Mark::Deviation | Mark::Both));
        let quirk = matches!(row.mark, Some(Mark::Quirk | Mark::Both));
        let missing = row.tests.iter().find(|test| tests.place(test).is_none());
        match row.state {
            _ if row.says.is_empty() => wrong("says nothing"),
            _ if missing.is_some() => wrong(&format!("names {missing:?}, which is no test")),
            State::Done if row.tests.is_empty() => wrong("is done and shown by nothing"),
            State::Different | State::Refused if row.reason.is_none() => wrong("gives no reason"),
            State::Done | State::Different if deviates && row.tests.is_empty() => {
                wrong("has a mistake of the model's, and no test shows ours");
            }
            State::Done | State::Different if quirk && row.reason.is_none() => {
                wrong("does not say what was decided");
            }
            State::Open if row.topic.as_deref().is_none_or(|topic| !TOPICS.contains(&topic)) => {
                wrong("is open and names no topic that will bring it");
            }
            State::Open if !row.tests.is_empty() => wrong("is open and has tests"),
            State::Done | State::Different | State::Refused if row.topic.is_some() => {
                wrong("waits for nothing");
            }
            _ => {}
        }
    }
}
