//! What embedded stores take on the disk while queues come and go, and after they are compacted.

use broker_engine::mqtt_proto::QoS;
use broker_engine::{Lifetime, StoreOp, StoredDelivery};
use metronome_host::stores::{Batch, RedbStore, Store, record};
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

/// So many messages come, and as many that came earlier are acknowledged.
fn batch(first: u64) -> Batch {
    let mut batch = Batch::default();
    for number in (first..).take(BATCH) {
        let delivery = StoredDelivery {
            position: number,
            publish: vec![b'x'; MESSAGE].into(),
            qos: QoS::AtLeastOnce,
            lifetime: Lifetime::default(),
            subscription_ids: Vec::new(),
            share: None,
        };
        record::write(&mut batch, &StoreOp::PutQueued { client_id: client_id(number), delivery }, 0);
        if let Some(position) = number.checked_sub(BACKLOG) {
            record::write(&mut batch, &StoreOp::RemoveQueued { client_id: client_id(position), position }, 0);
        }
    }
    batch
}

fn bytes_below(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return path.metadata().map_or(0, |file| file.len()) };
    entries.flatten().map(|entry| bytes_below(&entry.path())).sum()
}

fn churn(name: &str, path: &Path, mut store: Box<dyn Store>, messages: u64) {
    let mebibytes = || bytes_below(path) >> 20;
    for tenth in 0..10 {
        let part = messages / 10;
        for first in (tenth * part..(tenth + 1) * part).step_by(BATCH) {
            store.commit(&batch(first)).expect("room on the disk");
        }
        println!("{name:>6} {:>10} messages so far {:>6} MiB", (tenth + 1) * part, mebibytes());
    }
    store.compact().expect("room on the disk");
    println!("{name:>6} compacted {:>27} MiB", mebibytes());
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let messages = if is_test { 10_000 } else { 5_000_000 };
    let kept = (BACKLOG.min(messages) * MESSAGE as u64) >> 20;
    println!("{kept} MiB of messages wait at any time:");
    let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("store-disk-{}", std::process::id()));
    let redb = data.join("redb");
    churn("redb", &redb, Box::new(RedbStore::open(&redb).expect("redb")), messages);
    #[cfg(feature = "fjall")]
    {
        let fjall = data.join("fjall");
        let store = metronome_host::stores::FjallStore::open(&fjall).expect("fjall");
        churn("fjall", &fjall, Box::new(store), messages);
    }
    let _left = std::fs::remove_dir_all(&data);
}
