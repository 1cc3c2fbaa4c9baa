//! Planted bugs are where the table says, and in no other build than their own.

use simulation::planted::BUGS;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn names_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names_in(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let uses = text.split("planted!(\"").skip(1).filter_map(|rest| rest.split('"').next());
        found.extend(uses.map(str::to_owned));
    }
}

#[test]
fn the_table_has_every_planted_bug() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    for folder in ["mqtt-proto/src", "broker-engine/src", "adapters/host/src", "adapters/storage/src"] {
        names_in(&root.join(folder), &mut found);
    }
    let table: BTreeSet<String> = BUGS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(found, table);
}

/// The selector is a constant, so that no optimiser is needed to have nothing of it.
#[cfg(not(planted))]
#[test]
fn a_normal_build_has_none() {
    const IS_PLANTED: bool = mqtt_proto::planted!("one-id-space");
    const { assert!(!IS_PLANTED) };
}
