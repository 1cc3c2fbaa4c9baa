//! The store in a folder: who may have it, and what else may be in its place.
#![cfg(feature = "fjall")]

mod common;

use common::{directory, keys, put, sizes};
use metronome_storage::{Batch, FjallStore, Store, StoreError};

#[test]
fn it_is_there_again_and_for_one_broker_and_its_owner_only() {
    let path = directory();
    let mut store = FjallStore::open(&path).unwrap();
    put(&mut store, b"a");
    assert_eq!(FjallStore::open(&path).unwrap_err(), StoreError::Locked);
    drop(store);
    let store = FjallStore::open(&path).unwrap();
    assert_eq!(keys(&store), [b"a"]);
    assert_eq!(store.count(), Some(1));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(path.join("metronome.fjall").metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn what_is_something_else_is_refused_and_left_alone() {
    let path = directory();
    std::fs::create_dir_all(&path).unwrap();
    let folder = path.join("metronome.fjall");
    std::fs::write(&folder, "a diary").unwrap();
    assert!(matches!(FjallStore::open(&path), Err(StoreError::Failed(_))));
    assert_eq!(std::fs::read_to_string(&folder).unwrap(), "a diary");
    std::fs::remove_file(&folder).unwrap();
    let other = fjall::Database::builder(&folder).open().unwrap();
    other.keyspace("theirs", fjall::KeyspaceCreateOptions::default).unwrap();
    drop(other);
    assert_eq!(FjallStore::open(&path).unwrap_err(), StoreError::Foreign("it has a keyspace theirs".into()));
}

/// As long as a broker has it, nobody else gets in between: not while it is opened anew, and not if that fails.
#[test]
fn a_store_that_is_opened_anew_stays_ours() {
    let path = directory();
    let mut store = FjallStore::open(&path).unwrap();
    put(&mut store, b"a");
    let folder = path.join("metronome.fjall");
    std::fs::rename(&folder, path.join("elsewhere")).unwrap();
    // The system goes on writing to it where nobody finds it.
    let gone = Err(StoreError::Lost("its folder is gone".into()));
    assert_eq!(store.commit(&Batch::default()), gone);
    assert_eq!(store.reopen(), gone);
    assert!(!folder.exists());
    assert_eq!(FjallStore::open(&path).unwrap_err(), StoreError::Locked);
    std::fs::rename(path.join("elsewhere"), &folder).unwrap();
    store.reopen().unwrap();
    assert_eq!(keys(&store), [b"a"]);
}

/// What was removed becomes room when it is looked for.
#[test]
fn it_knows_how_large_it_is() {
    let mut store = FjallStore::open(&directory()).unwrap();
    let [empty, full, again] = sizes(&mut store);
    assert!(empty < 10 && (1000..2000).contains(&full) && again < 10, "{empty} {full} {again}");
}

/// A key that is cleared and set in one batch is set.
#[test]
fn clearing_comes_before_setting() {
    let mut store = FjallStore::open(&directory()).unwrap();
    put(&mut store, b"ab");
    put(&mut store, b"ac");
    let mut batch = Batch::default();
    batch.clear(b"a".to_vec());
    batch.put(b"ab".to_vec(), b"again".to_vec());
    store.commit(&batch).unwrap();
    assert_eq!(keys(&store), [b"ab"]);
    store.compact().unwrap();
    assert_eq!(keys(&store), [b"ab"]);
}
