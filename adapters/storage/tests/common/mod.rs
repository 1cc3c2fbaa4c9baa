//! A store in memory that fails when it is told to: also what a store of one's own comes to.
#![allow(dead_code)] // Each test program uses a part of it.

use metronome_storage::{Batch, Store, StoreError, Visit};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Default)]
pub(crate) struct Table {
    pub(crate) records: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) commits: usize,
    /// So many commits fail.
    pub(crate) failures: usize,
    /// So many more commits succeed, and none behind them, as when the process is killed.
    pub(crate) commits_left: Option<usize>,
    /// From now on commits end with this.
    pub(crate) end: Option<End>,
    /// It was not opened anew since the last failure.
    pub(crate) failed: bool,
}

/// How a store ends.
#[derive(Clone)]
pub(crate) enum End {
    Error(StoreError),
    Panic,
}

/// Handles on one table, so that a test can look at it.
#[derive(Clone, Default)]
pub(crate) struct TableStore(pub(crate) Arc<Mutex<Table>>);

impl TableStore {
    pub(crate) fn records(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.0.lock().unwrap().records.clone()
    }
}

impl Store for TableStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut table = self.0.lock().unwrap();
        assert!(!table.failed, "an error comes before reopen");
        if table.commits_left == Some(0) {
            return Err(StoreError::Failed("the process was killed".into()));
        }
        table.commits_left = table.commits_left.map(|left| left - 1);
        match table.end.clone() {
            None => {}
            Some(End::Error(error)) => return Err(error),
            Some(End::Panic) => {
                drop(table);
                panic!("this is the test's panic");
            }
        }
        if table.failures > 0 {
            table.failures -= 1;
            table.failed = true;
            return Err(StoreError::Failed("no space left".into()));
        }
        table.commits += 1;
        for prefix in batch.cleared() {
            table.records.retain(|key, _| !key.starts_with(prefix));
        }
        for (key, value) in batch.changes() {
            match value {
                Some(value) => drop(table.records.insert(key.to_vec(), value.to_vec())),
                None => drop(table.records.remove(key)),
            }
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], each: &mut Visit<'_>) -> Result<(), StoreError> {
        let records = self.records();
        let _broke = records.range(from.to_vec()..).try_for_each(|(key, value)| each(key, value));
        Ok(())
    }

    fn size(&mut self) -> Option<u64> {
        let size = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.len() + value.len()) as u64;
        Some(self.0.lock().unwrap().records.iter().map(size).sum())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.0.lock().unwrap().failed = false;
        Ok(())
    }
}

/// A directory of its own for each call, empty.
pub(crate) fn directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}", std::process::id()));
    if path.exists() {
        std::fs::remove_dir_all(&path).unwrap();
    }
    path
}

/// Keeps a value under this key.
pub(crate) fn put(store: &mut dyn Store, key: &[u8]) {
    let mut batch = Batch::default();
    batch.put(key.to_vec(), b"value".to_vec());
    store.commit(&batch).unwrap();
}

/// Fills a store with a thousand records of a thousand bytes that nobody can make smaller, and removes them again; says
/// what it took in kilobytes: empty, full, and empty again.
pub(crate) fn sizes(store: &mut dyn Store) -> [u64; 3] {
    let mut seed = 1_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    };
    let empty = store.size().unwrap();
    for first in (0..1000_u32).step_by(100) {
        let mut batch = Batch::default();
        for key in first..first + 100 {
            batch.put(key.to_be_bytes().to_vec(), (0..1000).map(|_| noise()).collect());
        }
        store.commit(&batch).unwrap();
    }
    let full = store.size().unwrap();
    let mut batch = Batch::default();
    for key in 0..900_u32 {
        batch.remove(key.to_be_bytes().to_vec());
    }
    store.commit(&batch).unwrap();
    let mut batch = Batch::default();
    batch.clear(vec![0]);
    store.commit(&batch).unwrap();
    store.reclaim().unwrap();
    [empty, full, store.size().unwrap()].map(|bytes| bytes / 1000)
}

/// All keys, in their order.
pub(crate) fn keys(store: &dyn Store) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut each = |key: &[u8], _: &[u8]| {
        keys.push(key.to_vec());
        ControlFlow::Continue(())
    };
    store.scan(&[], &mut each).unwrap();
    keys
}
