//! Power cuts and errors of a disk that is played: what was committed is there, and of a batch everything or nothing.

use metronome_storage::{Batch, RedbStore, Store, StoreError};
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug)]
enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// Everything that was done to it, if that is wanted.
    history: Option<Vec<Step>>,
    /// So many more writes and syncs succeed.
    sound_for: Option<usize>,
}

/// A disk, which several databases may have one after the other.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<State>>);

impl Disk {
    fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { bytes, ..State::default() })))
    }

    fn open(&self) -> Result<RedbStore, StoreError> {
        let disk = self.clone();
        RedbStore::open_on(move || disk.clone())
    }

    fn change(&self, step: Step) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if let Some(left) = &mut state.sound_for {
            *left = left.checked_sub(1).ok_or(io::Error::from(ErrorKind::StorageFull))?;
        }
        carry_out(&mut state.bytes, &step, usize::MAX);
        if let Some(history) = &mut state.history {
            history.push(step);
        }
        Ok(())
    }
}

/// Of a write, the first `most` bytes.
fn carry_out(bytes: &mut Vec<u8>, step: &Step, most: usize) {
    match step {
        Step::Write(at, data) => {
            let at = usize::try_from(*at).unwrap();
            let data = &data[..data.len().min(most)];
            // What lies behind the end was lost with the change of the length.
            let end = bytes.len().min(at + data.len());
            if at < end {
                bytes[at..end].copy_from_slice(&data[..end - at]);
            }
        }
        Step::SetLen(len) => bytes.resize(usize::try_from(*len).unwrap(), 0),
        Step::Sync => {}
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        let found = state.bytes.get(at..at + out.len()).ok_or(io::Error::from(ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Step::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Step::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Step::Write(offset, data.to_vec()))
    }
}

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

fn records(store: &RedbStore) -> Records {
    let mut records = Records::new();
    let mut each = |key: &[u8], value: &[u8]| {
        records.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    };
    store.scan(&[], &mut each).unwrap();
    records
}

/// A batch that sets, overwrites, removes and clears.
fn batch(number: u8) -> Batch {
    let mut batch = Batch::default();
    if number % 4 == 3 {
        batch.clear(vec![number % 3]);
    }
    for key in 0..6 {
        batch.put(vec![key % 3, key, number % 5], vec![number; 40 * usize::from(key)]);
    }
    batch.remove(vec![1, 4, (number + 3) % 5]);
    batch
}

/// The power goes at every step: what was written since the last sync is there, is not, or is in parts.
#[test]
fn a_power_cut_at_any_step_leaves_whole_batches() {
    let disk = Disk::default();
    let mut store = disk.open().unwrap();
    let begun = disk.0.lock().unwrap().bytes.clone();
    disk.0.lock().unwrap().history = Some(Vec::new());
    // The records after each batch, and how far the history was by then.
    let mut states = vec![(0, records(&store))];
    for number in 0..10 {
        store.commit(&batch(number)).unwrap();
        let steps = disk.0.lock().unwrap().history.as_ref().map_or(0, Vec::len);
        states.push((steps, records(&store)));
    }
    let history = disk.0.lock().unwrap().history.take().unwrap();
    drop(store);
    assert!(!disk.open().unwrap().was_interrupted(), "it was closed");
    let mut cuts = 0;
    let mut synced = begun;
    let mut since = 0;
    for at in 0..=history.len() {
        let acknowledged = states.iter().rposition(|(steps, _)| *steps <= at).unwrap();
        let open = &history[since..at];
        // All of it, none, every other, the last alone, and all with the last one torn.
        let parts: [&dyn Fn(usize) -> usize; 5] = [
            &|_| usize::MAX,
            &|_| 0,
            &|step| if step % 2 == 0 { usize::MAX } else { 0 },
            &|step| if step + 1 == open.len() { usize::MAX } else { 0 },
            &|step| if step + 1 == open.len() { 100 } else { usize::MAX },
        ];
        for part in parts {
            let mut bytes = synced.clone();
            for (step, change) in open.iter().enumerate() {
                // The length of a file is not in parts.
                let most = if matches!(change, Step::SetLen(_)) { usize::MAX } else { part(step) };
                carry_out(&mut bytes, change, most);
            }
            let store = Disk::of(bytes).open().unwrap();
            // Before the first batch there is nothing that could have to be undone.
            assert!(store.was_interrupted() || acknowledged == 0);
            let found = records(&store);
            let allowed = &states[acknowledged..states.len().min(acknowledged + 2)];
            assert!(allowed.iter().any(|(_, wanted)| *wanted == found), "step {at} of {}", history.len());
            cuts += 1;
        }
        if let Some(Step::Sync) = history.get(at) {
            history[since..at].iter().for_each(|step| carry_out(&mut synced, step, usize::MAX));
            since = at + 1;
        }
    }
    assert!(cuts > 200, "{cuts} cuts");
}

/// The disk is full at any write or sync of a batch: nothing of it is there when the store begins anew, and then it goes on.
#[test]
fn an_error_at_any_step_is_survived_without_another_start() {
    for sound_for in 0..40 {
        let disk = Disk::default();
        let mut store = disk.open().unwrap();
        store.commit(&batch(1)).unwrap();
        let before = records(&store);
        disk.0.lock().unwrap().sound_for = Some(sound_for);
        let failed = store.commit(&batch(2));
        disk.0.lock().unwrap().sound_for = None;
        store.reopen().unwrap();
        let after = records(&store);
        match failed {
            Ok(()) => assert!(sound_for > 0 && after != before),
            Err(StoreError::Failed(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
        store.commit(&batch(2)).unwrap();
        let again = records(&store);
        drop(store);
        assert_eq!(records(&disk.open().unwrap()), again, "after {sound_for} steps");
    }
}
