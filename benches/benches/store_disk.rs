//! What embedded stores take on the disk while queues come and go, and after they are compacted; with `--day` over the hours of a
//! day, in which clients are away at night.

use broker_engine::mqtt_proto::QoS;
use broker_engine::{Lifetime, StoreOp, StoredDelivery};
use metronome_host::stores::{Batch, RedbStore, Store, record};
use std::ops::Range;
use std::path::Path;

/// Bytes of a message, with its topic.
const MESSAGE: usize = 256;

/// Sessions that take turns.
const SESSIONS: u64 = 1000;

/// Messages in a batch.
const BATCH: usize = 1000;

/// Messages that wait at any time, of all sessions together.
const BACKLOG: u64 = 50_000;

fn client_id(number: u64) -> String {
    format!("client-{}", number % SESSIONS)
}

/// Messages in an hour of the day: twenty a second.
const HOUR: u64 = 72_000;

/// Messages that wait at the end of each hour: at night a quarter of what comes is for clients that are away, and they are back in
/// the morning.
fn waiting(hour: u64) -> u64 {
    match hour {
        0..6 => 5_000 + (hour + 1) * HOUR / 4,
        6..9 => 5_000 + (8 - hour) * HOUR / 2,
        _ => 5_000,
    }
}

/// These messages come, and those are acknowledged.
fn batch(come: Range<u64>, acknowledged: Range<u64>) -> Batch {
    let mut batch = Batch::default();
    for number in come {
        let delivery = StoredDelivery {
            position: number,
            publish: vec![b'x'; MESSAGE].into(),
            qos: QoS::AtLeastOnce,
            lifetime: Lifetime::default(),
            subscription_ids: Vec::new(),
            share: None,
        };
        record::write(&mut batch, &StoreOp::PutQueued { client_id: client_id(number), delivery }, 0);
    }
    for position in acknowledged {
        record::write(&mut batch, &StoreOp::RemoveQueued { client_id: client_id(position), position }, 0);
    }
    batch
}

fn bytes_below(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return path.metadata().map_or(0, |file| file.len()) };
    entries.flatten().map(|entry| bytes_below(&entry.path())).sum()
}

/// The same without holes, of which a file may have many.
fn bytes_on_disk(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        #[cfg(unix)]
        return path.metadata().map_or(0, |file| 512 * std::os::unix::fs::MetadataExt::blocks(&file));
        #[cfg(not(unix))]
        return bytes_below(path);
    };
    entries.flatten().map(|entry| bytes_on_disk(&entry.path())).sum()
}

fn churn(name: &str, path: &Path, mut store: Box<dyn Store>, messages: u64) {
    println!("{} MiB of messages wait at any time:", (BACKLOG.min(messages) * MESSAGE as u64) >> 20);
    let mebibytes = || bytes_below(path) >> 20;
    for tenth in 0..10 {
        let part = messages / 10;
        for first in (tenth * part..(tenth + 1) * part).step_by(BATCH) {
            let come = first..first + BATCH as u64;
            let acknowledged = come.start.saturating_sub(BACKLOG)..come.end.saturating_sub(BACKLOG);
            store.commit(&batch(come, acknowledged)).expect("room on the disk");
        }
        println!("{name:>6} {:>10} messages so far {:>6} MiB", (tenth + 1) * part, mebibytes());
    }
    store.compact().expect("room on the disk");
    println!("{name:>6} compacted {:>27} MiB", mebibytes());
}

/// A day, with as small a part of its messages as `part` says; tells what was on the disk at the end of each hour.
fn day(name: &str, path: &Path, mut store: Box<dyn Store>, part: u64) {
    let (mut come, mut acknowledged, mut most) = (0, 0, 0);
    for hour in 0..24 {
        let end = (hour + 1) * HOUR / part;
        let done = end - waiting(hour) / part;
        let batches = ((end - come) / BATCH as u64).max(1);
        let (each, freed) = ((end - come).div_ceil(batches), (done - acknowledged).div_ceil(batches));
        while come < end || acknowledged < done {
            let (next, gone) = ((come + each).min(end), (acknowledged + freed).min(done));
            store.commit(&batch(come..next, acknowledged..gone)).expect("room on the disk");
            (come, acknowledged) = (next, gone);
        }
        let mebibytes = bytes_on_disk(path) >> 20;
        most = most.max(mebibytes);
        println!("{name:>6} {:>2}:00 {:>8} messages wait {mebibytes:>6} MiB", hour + 1, end - done);
    }
    store.compact().expect("room on the disk");
    println!("{name:>6} at most {most} MiB, compacted {} MiB", bytes_on_disk(path) >> 20);
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let is_day = std::env::args().any(|argument| argument == "--day");
    let messages = if is_test { 10_000 } else { 5_000_000 };
    let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("store-disk-{}", std::process::id()));
    let measure = |name: &str, path: &Path, open: &dyn Fn(&Path) -> Box<dyn Store>| {
        if is_day || is_test {
            let path = path.join("day");
            day(name, &path, open(&path), if is_test { 1000 } else { 1 });
        }
        if !is_day {
            churn(name, path, open(path), messages);
        }
    };
    measure("redb", &data.join("redb"), &|path| Box::new(RedbStore::open(path).expect("redb")));
    #[cfg(feature = "fjall")]
    measure("fjall", &data.join("fjall"), &|path| {
        Box::new(metronome_host::stores::FjallStore::open(path).expect("fjall"))
    });
    let _left = std::fs::remove_dir_all(&data);
}
