//! The store in one file: who may have it, and what else may be in its place.

mod common;

use common::{directory, keys, put, sizes};
use metronome_storage::{Batch, RedbStore, Store, StoreError};

#[test]
fn it_is_there_again_and_for_one_broker_and_its_owner_only() {
    let path = directory();
    let mut store = RedbStore::open(&path).unwrap();
    put(&mut store, b"a");
    assert_eq!(RedbStore::open(&path).unwrap_err(), StoreError::Locked);
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(keys(&store), [b"a"]);
    assert_eq!(store.count(), Some(1));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("metronome.redb"))), (0o700, 0o600));
    }
}

#[test]
fn what_is_something_else_is_refused_and_left_alone() {
    let path = directory();
    std::fs::create_dir_all(&path).unwrap();
    let file = path.join("metronome.redb");
    std::fs::write(&file, "a diary, of more than one line\n".repeat(1000)).unwrap();
    assert_eq!(RedbStore::open(&path).unwrap_err(), StoreError::Foreign("it is no redb file".into()));
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("a diary"));

    std::fs::remove_file(&file).unwrap();
    let other = redb::Database::create(&file).unwrap();
    let writing = other.begin_write().unwrap();
    writing.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap();
    writing.commit().unwrap();
    drop(other);
    assert_eq!(RedbStore::open(&path).unwrap_err(), StoreError::Foreign("it has a table theirs".into()));

    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert_eq!(RedbStore::open(&path).unwrap_err(), StoreError::Foreign("it is a directory".into()));
    assert!(matches!(RedbStore::open(&file.join("x").join("\0")), Err(StoreError::Failed(_))));
}

#[test]
fn a_file_that_was_cut_off_is_refused_and_left_alone() {
    let path = directory();
    put(&mut RedbStore::open(&path).unwrap(), b"a");
    let file = path.join("metronome.redb");
    let cut = std::fs::read(&file).unwrap()[..20_001].to_vec();
    std::fs::write(&file, &cut).unwrap();
    let error = RedbStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)) && error.to_string().lines().count() == 1, "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), cut);
}

/// Wherever its bytes are others, the store is opened and read, or refused.
#[test]
fn no_damage_of_a_file_is_a_panic() {
    let path = directory();
    let mut store = RedbStore::open(&path).unwrap();
    for key in 0..200_u8 {
        put(&mut store, &[key; 40]);
    }
    drop(store);
    let sound = std::fs::read(path.join("metronome.redb")).unwrap();
    let mut damaged = 0;
    for page in (0..sound.len()).step_by(4096) {
        for (at, len) in [(4, 8), (60, 64)] {
            let mut bytes = sound.clone();
            bytes[page + at..page + at + len].fill(0xff);
            // Another one each time: what was refused may be open until the process ends.
            let path = directory();
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("metronome.redb"), bytes).unwrap();
            match RedbStore::open(&path) {
                Ok(store) => drop(keys(&store)),
                Err(error) => damaged += usize::from(matches!(error, StoreError::Damaged(_))),
            }
        }
    }
    assert!(damaged > 2, "{damaged}");
}

/// A process that ended while it made its file keeps the next one from nothing.
#[test]
fn a_first_start_that_was_cut_off_is_no_harm() {
    let path = directory();
    std::fs::create_dir_all(&path).unwrap();
    for left in ["", "half of a file"] {
        std::fs::write(path.join("metronome.redb.new"), left).unwrap();
        let mut store = RedbStore::open(&path).unwrap();
        put(&mut store, b"a");
        drop(store);
        assert_eq!(keys(&RedbStore::open(&path).unwrap()), [b"a"]);
        assert!(!path.join("metronome.redb.new").exists());
        std::fs::remove_file(path.join("metronome.redb")).unwrap();
    }
    std::fs::write(path.join("metronome.redb"), "").unwrap();
    assert!(keys(&RedbStore::open(&path).unwrap()).is_empty());
}

/// What another process is making, or has made since and uses, is left alone.
#[test]
fn a_file_that_another_process_makes_is_not_emptied() {
    let path = directory();
    std::fs::create_dir_all(&path).unwrap();
    let unfinished = path.join("metronome.redb.new");
    std::fs::write(&unfinished, "theirs").unwrap();
    let theirs = std::fs::File::open(&unfinished).unwrap();
    theirs.try_lock().unwrap();
    assert_eq!(RedbStore::open(&path).unwrap_err(), StoreError::Locked);
    assert_eq!(std::fs::read(&unfinished).unwrap(), b"theirs");
    drop(theirs);
    assert!(RedbStore::open(&path).is_ok());
}

/// As long as a broker has it, nobody else gets in between: not while it is opened anew, and not if that fails.
#[test]
fn a_store_that_is_opened_anew_stays_ours() {
    let path = directory();
    let mut store = RedbStore::open(&path).unwrap();
    put(&mut store, b"a");
    let file = path.join("metronome.redb");
    std::fs::rename(&file, path.join("elsewhere")).unwrap();
    // The system goes on writing to it where nobody finds it.
    let gone = Err(StoreError::Lost("its file is gone".into()));
    assert_eq!(store.commit(&Batch::default()), gone);
    // Another one would be without what was kept.
    assert_eq!(store.reopen(), gone);
    assert!(!file.exists());
    assert_eq!(RedbStore::open(&path).unwrap_err(), StoreError::Locked);
    std::fs::rename(path.join("elsewhere"), &file).unwrap();
    store.reopen().unwrap();
    assert_eq!(keys(&store), [b"a"]);
    drop(store);
    assert!(RedbStore::open(&path).is_ok());
}

/// What it says of its size goes with what is in it, also after another start.
#[test]
fn it_knows_how_large_it_is() {
    let path = directory();
    let mut store = RedbStore::open(&path).unwrap();
    let [empty, full, again] = sizes(&mut store);
    assert!(empty == 0 && (1000..2000).contains(&full) && again == 0, "{empty} {full} {again}");
    sizes(&mut store);
    put(&mut store, b"a");
    put(&mut store, b"a");
    let size = store.size();
    drop(store);
    assert_eq!(RedbStore::open(&path).unwrap().size(), size);
}

/// Half of what was removed is room again, and a file does not grow by being written over.
#[test]
fn disk_is_used_again() {
    let path = directory();
    let mut store = RedbStore::open(&path).unwrap();
    let size = || path.join("metronome.redb").metadata().unwrap().len();
    let mut sizes = Vec::new();
    for _ in 0..6 {
        let mut batch = Batch::default();
        for key in 0..2000_u32 {
            batch.put(key.to_be_bytes().to_vec(), vec![7; 500]);
        }
        store.commit(&batch).unwrap();
        let mut batch = Batch::default();
        batch.clear(vec![0]);
        store.commit(&batch).unwrap();
        assert!(keys(&store).is_empty());
        sizes.push(size());
    }
    assert!(sizes[5] <= sizes[1], "{sizes:?}");
}
