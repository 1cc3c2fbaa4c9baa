//! Guard: everything that brokers get wrong has its tests.

use metronome_spec::gotchas::{COUNT, read};
use metronome_spec::names::Tests;
use std::collections::BTreeSet;

#[test]
fn every_gotcha_has_its_tests() {
    let gotchas = read();
    assert!(gotchas.keys().copied().eq(1..=COUNT), "{:?}", gotchas.keys());
    let tests = Tests::all();
    for (number, gotcha) in gotchas {
        assert!(!gotcha.says.is_empty(), "{number} says nothing");
        assert!(!gotcha.tests.is_empty(), "{number} is shown by nothing");
        let missing = gotcha.tests.iter().find(|test| tests.place(test).is_none());
        assert!(missing.is_none(), "{number} names {missing:?}, which is no test");
        let once: BTreeSet<&String> = gotcha.tests.iter().collect();
        assert_eq!(once.len(), gotcha.tests.len(), "{number} names a test twice");
    }
}
