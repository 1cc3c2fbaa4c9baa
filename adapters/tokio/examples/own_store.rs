//! A store of one's own: `cargo run -p metronome-tokio --example own_store`
//!
//! This one is in memory, and what a first broker leaves in it a second one finds. A real one would write to a database in
//! `commit`, and return when that is safe.

use metronome_tokio::host::engine::{ApplicationMessage, mqtt_proto::QoS};
use metronome_tokio::host::stores::{Batch, Store, StoreError, Visit};
use metronome_tokio::{AllowAll, Broker};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[derive(Clone, Default)]
struct Table(Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>);

impl Store for Table {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for prefix in batch.cleared() {
            records.retain(|key, _| !key.starts_with(prefix));
        }
        for (key, value) in batch.changes() {
            match value {
                Some(value) => drop(records.insert(key.to_vec(), value.to_vec())),
                None => drop(records.remove(key)),
            }
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], each: &mut Visit<'_>) -> Result<(), StoreError> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ended_early = records.range(from.to_vec()..).try_for_each(|(key, value)| each(key, value));
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let table = Table::default();
    let broker = || Broker::builder().listen("127.0.0.1:0").hook(AllowAll).store(table.clone()).start();
    let first = broker()?;
    first.publish(ApplicationMessage {
        topic: "hello/world".into(),
        payload: "tick".into(),
        qos: QoS::AtLeastOnce,
        retain: true,
        ..ApplicationMessage::default()
    })?;
    println!("published: {} retained messages", first.stats().ok_or("the broker stopped")?.retained);
    // Waits until the store has everything.
    first.shutdown(Duration::from_secs(1));
    let second = broker()?;
    println!("found: {}", second.found().ok_or("nothing is kept")?.boot);
    second.shutdown(Duration::from_secs(1));
    Ok(())
}
