//! The driver with a durable store: what waits for it, what is told when it fails, and the next process.

use broker_engine::{
    CloseCause, Config, ConnId, Durability, HashKey, Interest, ListenerId, Seed, StorePressure, Time,
};
use metronome_host::config::listeners::MetricNames;
use metronome_host::storage::{StorageConfig, StorageEngine, StorePlace, begin, pause};
use metronome_host::stores::RedisUrl;
use metronome_host::stores::{Batch, Keeper, KeeperOptions, Store, StoreError, Totals, Visit, counters};
use metronome_host::transport::Page;
use metronome_host::{AllowAll, Driver, Flushed, HookChain};
use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const NOW: Time = Time::from_secs(1);

/// A session that lasts, of MQTT 3.1.1.
const LASTING: &[u8] = b"\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01r";

#[derive(Default)]
struct Table {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What it may take.
    max_bytes: Option<u64>,
    /// Commits wait.
    is_slow: bool,
    /// Commits fail.
    is_full: bool,
    /// They always will.
    is_lost: bool,
}

/// A store in memory that is slow or full when it is told to.
#[derive(Clone, Default)]
struct TableStore(Arc<(Mutex<Table>, Condvar)>);

impl TableStore {
    fn set(&self, is_slow: bool, is_full: bool) {
        let (table, changed) = &*self.0;
        let mut table = table.lock().unwrap();
        (table.is_slow, table.is_full) = (is_slow, is_full);
        changed.notify_all();
    }
}

impl Store for TableStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let (table, changed) = &*self.0;
        let mut table = changed.wait_while(table.lock().unwrap(), |table| table.is_slow).unwrap();
        if table.is_lost {
            return Err(StoreError::Lost("it is gone".into()));
        }
        if table.is_full {
            return Err(StoreError::Failed("no space left".into()));
        }
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
        let records = self.0.0.lock().unwrap().records.clone();
        let _broke = records.range(from.to_vec()..).try_for_each(|(key, value)| each(key, value));
        Ok(())
    }

    fn size(&mut self) -> Option<u64> {
        let size = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.len() + value.len()) as u64;
        Some(self.0.0.lock().unwrap().records.iter().map(size).sum())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

struct World {
    driver: Driver,
    store: TableStore,
    woken: Receiver<()>,
}

impl World {
    /// A process that begins with what a store has.
    fn start(mut store: TableStore) -> Self {
        let config =
            Config { durability: Durability::Durable, interest: Interest::CLIENTS, ..Config::default() };
        let (engine, clock, _) =
            begin(&mut store, config, (Seed(1), HashKey([1, 2])), |_| (), &mut HookChain::default()).unwrap();
        let (wake, woken) = mpsc::channel();
        let max_bytes = store.0.0.lock().unwrap().max_bytes;
        let options = KeeperOptions {
            pause: pause(Durability::Durable),
            max_bytes,
            wake: Box::new(move || wake.send(()).unwrap_or_default()),
            report: Box::new(|_| ()),
        };
        let mut driver = Driver::new(engine, AllowAll);
        driver.keep(Keeper::start(Box::new(store.clone()), clock, options).unwrap());
        driver.tick(NOW);
        Self { driver, store, woken }
    }

    fn open(&mut self) -> ConnId {
        self.driver.open(NOW, ListenerId(0), None)
    }

    /// What is written now.
    fn take(&mut self, conn: ConnId) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.driver.flush(NOW, conn, |slices| {
            bytes.extend(slices.iter().flat_map(|slice| slice.iter().copied()));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        bytes
    }

    /// What is written once the store has answered.
    #[track_caller]
    fn answer(&mut self, conn: ConnId) -> Vec<u8> {
        loop {
            let bytes = self.take(conn);
            if !bytes.is_empty() {
                return bytes;
            }
            self.woken.recv_timeout(Duration::from_secs(10)).expect("an answer in time");
            self.driver.stored(NOW).unwrap();
        }
    }

    fn writer(&mut self, name: u8) -> ConnId {
        let writer = self.open();
        let connect = [&b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01"[..], &[name]].concat();
        self.driver.received(NOW, writer, &connect);
        assert_eq!(self.take(writer)[..4], [0x20, 14, 0, 0], "no store is asked about a session that ends");
        writer
    }

    /// Somebody who is away has a subscription to "t".
    fn with_reader(store: TableStore) -> Self {
        let mut world = Self::start(store);
        let reader = world.open();
        world.driver.received(NOW, reader, LASTING);
        assert_eq!(world.answer(reader), [0x20, 2, 0, 0]);
        world.driver.received(NOW, reader, b"\x82\x06\0\x01\0\x01t\x01");
        assert_eq!(world.answer(reader), [0x90, 3, 0, 1, 1]);
        world.driver.closed(NOW, reader, CloseCause::PeerClosed);
        world.driver.release(reader);
        world
    }
}

/// PUBLISH of MQTT 5 at QoS 1.
fn publish(payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x32];
    let mut rest = payload.len() + 6;
    while rest > 0 {
        let low = u8::try_from(rest % 128).unwrap();
        rest /= 128;
        packet.push(if rest > 0 { low | 0x80 } else { low });
    }
    packet.extend(b"\0\x01t\0\x05\0");
    packet.extend(payload);
    packet
}

#[test]
fn an_acknowledgement_waits_for_the_store_and_a_ping_for_nothing() {
    let mut world = World::with_reader(TableStore::default());
    let writer = world.writer(b'w');
    world.store.set(true, false);
    world.driver.received(NOW, writer, &publish(b"!"));
    world.driver.received(NOW, writer, b"\xc0\0");
    assert_eq!(world.take(writer), [0xd0, 0]);
    world.store.set(false, false);
    assert_eq!(world.answer(writer), [0x40, 2, 0, 5]);

    // The next process has it.
    let World { driver, store, .. } = world;
    drop(driver);
    let mut world = World::start(store);
    let reader = world.open();
    world.driver.received(NOW, reader, LASTING);
    let mut bytes = world.answer(reader);
    while bytes.len() < 12 {
        bytes.extend(world.answer(reader));
    }
    assert_eq!(bytes, [&[0x20, 2, 1, 0][..], &[0x32, 6, 0, 1, b't', 0, 1, b'!']].concat());
}

/// INV-84: who waits is told, nobody is acknowledged, and it goes on without another start.
#[test]
fn a_full_store_is_told_of_and_survived() {
    let mut world = World::with_reader(TableStore::default());
    let writer = world.writer(b'w');
    world.store.set(false, true);
    world.driver.received(NOW, writer, &publish(b"!"));
    let goodbye = world.answer(writer);
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x97));
    let page = |world: &World, page| world.driver.page(page, NOW, 0);
    let ready = page(&world, Page::Ready);
    assert_eq!((ready.status, &*ready.body), (503, "the store fails: nothing is acknowledged\n"));
    let metrics = page(&world, Page::Metrics(MetricNames::Metronome)).body;
    assert!(metrics.contains("\nmetronome_store_failing 1\n"), "{metrics}");
    assert!(!metrics.contains("\nmetronome_store_waiting_operations 0\n"), "{metrics}");
    assert_eq!(world.driver.flush(NOW, writer, |_| Ok(0)), Flushed::Close);
    world.driver.release(writer);
    world.store.set(false, false);
    // The end of the first one's session may not be kept yet.
    let writer = world.writer(b'v');
    world.driver.received(NOW, writer, &publish(b"?"));
    assert_eq!(world.answer(writer), [0x40, 2, 0, 5]);
    assert_eq!(page(&world, Page::Ready).status, 200);
    let metrics = page(&world, Page::Metrics(MetricNames::Metronome)).body;
    assert!(metrics.contains("\nmetronome_store_failing 0\n"), "{metrics}");
    assert!(!metrics.contains("\nmetronome_store_failures_total 0\n"), "{metrics}");
}

/// Whoever drives the broker cannot miss it.
#[test]
fn a_store_that_cannot_be_used_any_more_ends_the_broker() {
    let mut world = World::with_reader(TableStore::default());
    let writer = world.writer(b'w');
    world.store.0.0.lock().unwrap().is_lost = true;
    world.driver.received(NOW, writer, &publish(b"!"));
    let why = loop {
        // What was kept before may be told first.
        world.woken.recv_timeout(Duration::from_secs(10)).expect("an end in time");
        if let Err(why) = world.driver.stored(NOW) {
            break why;
        }
    };
    assert_eq!(why, StoreError::Lost("it is gone".into()));
    assert!(world.take(writer).is_empty(), "nobody is acknowledged");
}

/// While very much waits for the store, nothing is read from anybody.
#[test]
fn a_slow_store_slows_publishers_down() {
    let mut world = World::with_reader(TableStore::default());
    let writer = world.writer(b'w');
    world.store.set(true, false);
    let packet = publish(&vec![b'x'; 1 << 20]);
    let mut count = 0;
    while !world.driver.is_paused(writer) {
        count += 1;
        world.driver.received(NOW, writer, &packet);
    }
    assert!((60..70).contains(&count), "{count} MiB");
    let late = world.open();
    let mut changed: Vec<ConnId> = std::iter::from_fn(|| world.driver.next_changed()).collect();
    changed.sort_unstable();
    changed.dedup();
    assert_eq!(changed, [writer, late]);
    world.store.set(false, false);
    while world.driver.is_paused(writer) {
        world.woken.recv_timeout(Duration::from_secs(10)).expect("the store in time");
        world.driver.stored(NOW).unwrap();
    }
    let mut acknowledged = 0;
    while acknowledged < count {
        acknowledged += world.answer(writer).len() / 4;
    }
}

/// It may have sent its PINGREQ, which nobody has read.
#[test]
fn who_is_not_read_is_not_taken_for_dead() {
    let mut world = World::with_reader(TableStore::default());
    let (writer, silent) = (world.writer(b'w'), world.open());
    world.driver.received(NOW, silent, b"\x10\x0e\0\x04MQTT\x05\x02\0\x0a\0\0\x01s");
    world.take(silent);
    world.store.set(true, false);
    while !world.driver.is_paused(writer) {
        world.driver.received(NOW, writer, &publish(&vec![b'x'; 1 << 20]));
    }
    let later = NOW.after_secs(3600);
    world.driver.tick(later);
    assert!(!world.driver.is_closing(silent));
    world.store.set(false, false);
    while world.driver.is_paused(writer) {
        world.woken.recv_timeout(Duration::from_secs(10)).expect("the store in time");
        world.driver.stored(later).unwrap();
    }
    world.driver.tick(later.after_secs(14));
    assert!(!world.driver.is_closing(silent));
    world.driver.tick(later.after_secs(15));
    assert!(world.driver.is_closing(silent));
}

/// Who would fill it is refused, and it goes on when there is room.
#[test]
fn a_store_keeps_to_its_bound() {
    /// PUBACK: kept, and nobody gets it now.
    const NOBODY: [u8; 5] = [0x40, 3, 0, 5, 0x10];
    const MAX_BYTES: u64 = 20 << 20;
    let store = TableStore::default();
    store.0.0.lock().unwrap().max_bytes = Some(MAX_BYTES);
    let mut world = World::with_reader(store);
    let writer = world.writer(b'w');
    let retained = |payload: &[u8], topic: u8| {
        let mut packet = publish(payload);
        packet[0] |= 1;
        let at = packet.len() - payload.len() - 4;
        packet[at] = topic;
        packet
    };
    let packet = |topic| retained(&vec![b'x'; 1 << 20], topic);
    let mut kept = 0_u8;
    let refused = loop {
        world.driver.received(NOW, writer, &packet(b'A' + kept));
        let answer = world.answer(writer);
        if answer != NOBODY {
            break answer;
        }
        kept += 1;
    };
    assert_eq!(refused, [0x40, 3, 0, 5, 0x97]);
    assert!((18..=20).contains(&kept), "{kept} MiB");
    let page = |world: &World, page| world.driver.page(page, NOW, 0);
    assert_eq!(page(&world, Page::Ready).status, 503);
    let metrics = page(&world, Page::Metrics(MetricNames::Metronome)).body;
    assert!(metrics.contains("\nmetronome_store_pressure 2\n"), "{metrics}");
    assert!(metrics.contains(&format!("\nmetronome_store_max_bytes {MAX_BYTES}\n")), "{metrics}");
    for topic in b'A'..b'D' {
        world.driver.received(NOW, writer, &retained(b"", topic));
        assert_eq!(world.answer(writer), NOBODY);
    }
    while world.driver.view().store_pressure() == StorePressure::Max {
        world.woken.recv_timeout(Duration::from_secs(10)).expect("room in time");
        world.driver.stored(NOW).unwrap();
    }
    world.driver.received(NOW, writer, &packet(b'A'));
    assert_eq!(world.answer(writer), NOBODY);
    assert_eq!(page(&world, Page::Ready).status, 200);
}

/// Everywhere that totals are told, and for who was connected at once; gauges are of now, and rates of these minutes.
#[test]
fn totals_go_on_with_the_next_process_where_they_are_kept() {
    let mut world = World::with_reader(TableStore::default());
    world.driver.go_on_from(counters(&world.store).unwrap());
    let writer = world.writer(b'w');
    world.driver.received(NOW, writer, &publish(b"!"));
    assert_eq!(world.answer(writer), [0x40, 2, 0, 5]);
    let before = world.driver.counters();
    assert_eq!(before, *world.driver.view().counters());
    assert!(world.driver.keep_totals());
    let World { driver, store, .. } = world;
    drop(driver);

    let mut world = World::start(store);
    world.driver.go_on_from(counters(&world.store).unwrap());
    // What waits was handed to its session once.
    let told = world.driver.counters();
    assert_eq!(told, before);
    assert_eq!(world.driver.view().counters().publish_received, [0; 3]);
    let minute = Time::from_secs(60);
    let page = |page| world.driver.page(page, minute, 0).body;
    let metrics = page(Page::Metrics(MetricNames::Metronome));
    for wanted in [
        "publish_received_total{qos=\"1\"} 1",
        "connects_total 2",
        "deliveries_total 1",
        "deliveries_unfinished 1",
        "clients_maximum 1",
        "clients 0",
    ] {
        assert!(metrics.contains(&format!("\nmetronome_{wanted}\n")), "{wanted}: {metrics}");
    }
    assert!(page(Page::Metrics(MetricNames::Gmqtt)).contains("gmqtt_clients_connected_total 2\n"));
    assert!(page(Page::Statistics).contains("\"messages_received\": 1,"));
    world.driver.publish_sys_topics(minute, 0);
    let reader = world.writer(b's');
    let mut subscribe = vec![0x82, 84, 0, 1, 0];
    for name in ["publish/messages/received", "load/publish/received/1min"] {
        let filter = format!("$SYS/broker/{name}");
        subscribe.extend([0, u8::try_from(filter.len()).unwrap()]);
        subscribe.extend(filter.bytes().chain([0]));
    }
    world.driver.received(minute, reader, &subscribe);
    let text = String::from_utf8_lossy(&world.take(reader)).into_owned();
    assert!(text.contains("messages/received\u{0}1") && text.contains("/1min\u{0}0.00"), "{text:?}");
}

#[test]
fn totals_are_of_this_process_where_they_are_not_kept() {
    let mut world = World::with_reader(TableStore::default());
    assert!(!world.driver.keep_totals());
    let World { driver, store, .. } = world;
    drop(driver);
    assert_eq!(counters(&store), Ok(Totals::default()));
}

#[test]
fn without_a_path_nothing_is_kept() {
    let nothing = StorageConfig::default();
    assert_eq!((nothing.level(), nothing.place()), (Durability::Memory, None));
    assert!(nothing.open().unwrap().is_none());
    let named = StorageConfig { path: Some("/x".into()), ..nothing };
    assert_eq!(
        (named.level(), named.place()),
        (Durability::Durable, Some(StorePlace::Directory("/x".into())))
    );
    let elsewhere = StorageConfig { engine: StorageEngine::Redis, ..named.clone() };
    assert_eq!((elsewhere.level(), elsewhere.place()), (Durability::Memory, None));
    let url: RedisUrl = "redis://u:secret@h".parse().unwrap();
    let place = StorageConfig { redis_url: Some(url), ..elsewhere }.place().unwrap();
    assert_eq!(place.to_string(), "redis://u@h:6379/0 below metronome");
    let memory = StorageConfig { durability: Durability::Memory, ..named };
    assert_eq!((memory.level(), memory.place()), (Durability::Memory, None));
}

#[test]
fn only_where_nobody_waits_batches_do() {
    assert_eq!((pause(Durability::Durable), pause(Durability::Memory)), (Duration::ZERO, Duration::ZERO));
    assert!(pause(Durability::Async) > Duration::ZERO);
}
