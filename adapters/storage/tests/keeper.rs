//! The thread that keeps: batches, pages, failures, the end.

mod common;

use broker_engine::{
    Boot, Config, HashKey, Lifetime, Seed, StoreOp, StorePressure, StoreSeq, StoredDelivery, Time,
};
use common::{End, Table, TableStore};
use metronome_storage::record;
use metronome_storage::{
    Batch, Clock, Event, Keeper, KeeperOptions, Store, StoreError, Totals, Visit, counters, load,
};
use mqtt_proto::QoS;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

struct World {
    table: TableStore,
    keeper: Keeper,
    woken: Receiver<()>,
    reports: Receiver<Option<StoreError>>,
}

fn start(table: Table) -> World {
    start_with(table, Duration::ZERO)
}

fn start_with(table: Table, pause: Duration) -> World {
    start_bounded(table, pause, None)
}

fn start_bounded(table: Table, pause: Duration, max_bytes: Option<u64>) -> World {
    start_by(Clock::default(), table, pause, max_bytes)
}

fn start_by(clock: Clock, table: Table, pause: Duration, max_bytes: Option<u64>) -> World {
    let table = TableStore(std::sync::Arc::new(std::sync::Mutex::new(table)));
    let (wake, woken) = mpsc::channel();
    let (report, reports) = mpsc::channel();
    let options = KeeperOptions {
        pause,
        max_bytes,
        wake: Box::new(move || wake.send(()).unwrap_or_default()),
        report: Box::new(move |error| report.send(error.cloned()).unwrap_or_default()),
    };
    let keeper = Keeper::start(Box::new(table.clone()), clock, options).unwrap();
    World { table, keeper, woken, reports }
}

impl World {
    /// Events until one satisfies `is_last`.
    fn events(&self, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        while !events.last().is_some_and(&is_last) {
            self.woken.recv_timeout(Duration::from_secs(60)).expect("events in time");
            events.extend(self.keeper.take_events());
        }
        events
    }
}

fn queued(position: u64, len: usize) -> StoreOp {
    let delivery = StoredDelivery {
        position,
        publish: vec![0; len].into(),
        qos: QoS::AtLeastOnce,
        lifetime: Lifetime::default(),
        subscription_ids: Vec::new(),
        share: None,
    };
    StoreOp::PutQueued { client_id: "c".into(), delivery }
}

fn fetch(from: u64, max_messages: u32, max_bytes: u64) -> StoreOp {
    StoreOp::Fetch { client_id: "c".into(), from, max_messages, max_bytes }
}

fn numbered(ops: Vec<StoreOp>, first: u64) -> Vec<(StoreSeq, StoreOp)> {
    (first..).map(StoreSeq).zip(ops).collect()
}

#[test]
fn what_is_submitted_is_kept_in_batches_and_told_in_order() {
    let world = start(Table::default());
    for seq in 1..=500 {
        world.keeper.submit(numbered(vec![queued(seq, 10)], seq));
    }
    let events = world.events(|event| *event == Event::Stored(StoreSeq(500)));
    assert!(events.is_sorted_by_key(|event| match event {
        Event::Stored(seq) => *seq,
        other => panic!("{other:?}"),
    }));
    assert_eq!((world.table.records().len(), world.table.0.lock().unwrap().commits), (501, events.len()));
    let done = world.keeper.statistics();
    assert_eq!((done.batches, done.operations, done.failures), (events.len() as u64, 500, 0));
    assert!(done.bytes > 5000 && (1..=500).contains(&done.largest), "{done:?}");
    assert_eq!((done.waiting, done.waiting_bytes), (0, 0));
    assert!(!world.keeper.room().is_backed_up);
}

#[test]
fn pages_are_bounded_and_of_one_session() {
    let world = start(Table::default());
    let mut ops: Vec<StoreOp> = (0..6).map(|position| queued(position, 100)).collect();
    let StoreOp::PutQueued { delivery, .. } = queued(0, 1) else { unreachable!() };
    ops.push(StoreOp::PutQueued { client_id: "d".into(), delivery });
    ops.extend([fetch(2, 2, 1000), fetch(4, 9, 1000), fetch(0, 9, 250), fetch(1, 9, 1), fetch(6, 9, 9)]);
    world.keeper.submit(numbered(ops, 1));
    let events = world.events(|event| matches!(event, Event::Stored(_)));
    let pages: Vec<(u64, Vec<u64>)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Loaded(seq, page) => Some((seq.0, page.iter().map(|kept| kept.position).collect())),
            _ => None,
        })
        .collect();
    let wanted = [(8, vec![2, 3]), (9, vec![4, 5]), (10, vec![0, 1]), (11, vec![1]), (12, vec![])];
    assert_eq!(pages, wanted);
}

/// Whoever waits is told, and nothing is lost: it is tried again until the store takes it.
#[test]
fn a_store_that_fails_is_tried_again() {
    let world = start(Table { failures: 2, ..Table::default() });
    world.keeper.submit(numbered(vec![queued(1, 1)], 1));
    let events = world.events(|event| matches!(event, Event::Stored(_)));
    let failed = Event::Failed(StoreSeq(1));
    assert_eq!(events, [failed.clone(), failed, Event::Stored(StoreSeq(1))]);
    let reports: Vec<_> = world.reports.try_iter().map(|report| report.is_some()).collect();
    assert_eq!((reports, world.table.records().len()), (vec![true, false], 2));
    let done = world.keeper.statistics();
    assert_eq!((done.failures, done.is_failing, done.batches), (2, false, 1));
}

/// With `async` it was acknowledged.
#[test]
fn what_is_not_kept_until_the_end_is_told_of() {
    let world = start(Table { failures: usize::MAX, ..Table::default() });
    world.keeper.submit(numbered(vec![queued(1, 1), queued(2, 1)], 1));
    world.events(|event| matches!(event, Event::Failed(_)));
    world.keeper.submit(numbered(vec![queued(3, 1)], 3));
    drop(world.keeper);
    let lost = StoreError::Lost("3 operations were not kept until the end: no space left".into());
    assert_eq!(world.reports.try_iter().last(), Some(Some(lost)));
}

/// Nobody waits for ever for what is never kept.
#[test]
fn where_no_attempt_can_help_the_keeper_ends_and_says_so() {
    let lost = StoreError::Lost("it is gone".into());
    let panicked = StoreError::Lost("its thread panicked, which is a bug".into());
    let foreign = StoreError::Foreign("it has another table".into());
    for (end, wanted) in [
        (End::Error(lost.clone()), lost),
        (End::Panic, panicked),
        (End::Error(foreign.clone()), foreign),
        (End::Error(StoreError::Newer(9)), StoreError::Newer(9)),
    ] {
        let world = start(Table { end: Some(end), ..Table::default() });
        world.keeper.submit(numbered(vec![queued(1, 1)], 1));
        assert_eq!(world.events(|_| true), [Event::Ended(wanted.clone())]);
        assert_eq!(world.reports.try_iter().collect::<Vec<_>>(), [Some(wanted)]);
        // What comes late is in nobody's way.
        world.keeper.submit(numbered(vec![queued(2, 1)], 2));
        drop(world.keeper);
        assert_eq!(world.table.records().len(), 0);
    }
}

/// A store that wants to be called now and then, and fails once.
struct Restless {
    table: TableStore,
    calls: mpsc::Sender<()>,
    fails: bool,
}

impl Store for Restless {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.table.commit(batch)
    }

    fn scan(&self, from: &[u8], each: &mut Visit<'_>) -> Result<(), StoreError> {
        self.table.scan(from, each)
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.table.reopen()
    }

    fn idle(&mut self) -> Result<Option<Duration>, StoreError> {
        self.calls.send(()).unwrap_or_default();
        if std::mem::replace(&mut self.fails, false) {
            return Err(StoreError::Failed("gone".into()));
        }
        Ok(Some(Duration::from_millis(1)))
    }
}

/// Failures are told of although nobody waits.
#[test]
fn a_store_is_looked_after_while_there_is_nothing_to_keep() {
    let (calls, called) = mpsc::channel();
    let (report, reports) = mpsc::channel();
    let store = Restless { table: TableStore::default(), calls, fails: true };
    let options = KeeperOptions {
        pause: Duration::ZERO,
        max_bytes: None,
        wake: Box::new(|| ()),
        report: Box::new(move |error| report.send(error.cloned()).unwrap_or_default()),
    };
    let keeper = Keeper::start(Box::new(store), Clock::default(), options).unwrap();
    for _ in 0..5 {
        called.recv_timeout(Duration::from_secs(10)).expect("it is called again and again");
    }
    drop(keeper);
    let told: Vec<_> = reports.try_iter().collect();
    assert_eq!(told, [Some(StoreError::Failed("gone".into())), None]);
}

/// Behind a batch that fails it may wait for long, and its life goes on meanwhile.
#[test]
fn what_waits_for_its_batch_grows_older() {
    let world = start(Table { failures: 1, ..Table::default() });
    world.keeper.submit(numbered(vec![queued(1, 1)], 1));
    world.events(|event| matches!(event, Event::Failed(_)));
    let StoreOp::PutQueued { client_id, mut delivery } = queued(2, 1) else { unreachable!() };
    delivery.lifetime.left = Some(Duration::from_secs(60));
    world.keeper.submit(numbered(vec![StoreOp::PutQueued { client_id, delivery }], 2));
    world.events(|event| *event == Event::Stored(StoreSeq(2)));
    let records = world.table.records();
    let kept_at = record::store_time(&records[&record::store_key()]).unwrap();
    let key = record::queue_from("c", 2);
    let StoreOp::PutQueued { delivery, .. } = record::read(&key, &records[&key], kept_at).unwrap() else {
        unreachable!()
    };
    assert!(delivery.lifetime.left < Some(Duration::from_millis(59_500)), "{:?}", delivery.lifetime);
}

/// Also where the system's clock is an hour behind what the store has seen.
#[test]
fn what_waits_in_the_store_grows_older() {
    let clock = Clock::behind(Clock::default().now() + 3_600_000_000);
    let world = start_by(clock, Table::default(), Duration::ZERO, None);
    let StoreOp::PutQueued { client_id, mut delivery } = queued(1, 1) else { unreachable!() };
    delivery.lifetime.left = Some(Duration::from_secs(60));
    world.keeper.submit(numbered(vec![StoreOp::PutQueued { client_id, delivery }], 1));
    world.events(|event| *event == Event::Stored(StoreSeq(1)));
    std::thread::sleep(Duration::from_millis(20));
    world.keeper.submit(numbered(vec![fetch(1, 9, 9)], 2));
    let events = world.events(|event| *event == Event::Stored(StoreSeq(2)));
    let Event::Loaded(_, page) = &events[0] else { panic!("{events:?}") };
    let left = page[0].lifetime.left.unwrap();
    assert!(left <= Duration::from_millis(59_980), "{left:?}");
}

/// From 64 MiB on that are not kept, no more should be read from clients.
#[test]
fn what_waits_for_a_store_that_fails_is_bounded() {
    let world = start(Table { failures: 1, ..Table::default() });
    world.keeper.submit(numbered(vec![queued(1, 1)], 1));
    world.events(|event| matches!(event, Event::Failed(_)));
    world.keeper.submit(numbered(vec![queued(2, 32 << 20)], 2));
    assert!(!world.keeper.room().is_backed_up);
    world.keeper.submit(numbered(vec![queued(3, 32 << 20)], 3));
    assert!(world.keeper.room().is_backed_up);
    world.events(|event| *event == Event::Stored(StoreSeq(3)));
    assert!(!world.keeper.room().is_backed_up);
}

/// What waits counts, so that a bound is kept to although what is kept is measured later.
#[test]
fn a_bounded_store_says_how_near_it_is_to_its_bound() {
    let world = start_bounded(Table::default(), Duration::ZERO, Some(1_000_000));
    let pressure = |seq, op| {
        let room = world.keeper.submit(numbered(vec![op], seq));
        let told = world.keeper.statistics().pressure;
        world.events(|event| *event == Event::Stored(StoreSeq(seq)));
        // What follows its end is seen to then.
        assert!(world.woken.recv_timeout(Duration::from_millis(100)).is_ok() || room.pressure == told);
        (room.pressure, world.keeper.room().pressure)
    };
    let (none, high, max) = (StorePressure::None, StorePressure::High, StorePressure::Max);
    assert_eq!(pressure(1, queued(1, 800_000)), (none, none));
    assert_eq!(pressure(2, queued(2, 100_000)), (high, high));
    assert_eq!(pressure(3, queued(3, 100_000)), (max, max));
    let done = world.keeper.statistics();
    assert!(done.max_bytes == 1_000_000 && (1_000_000..1_000_200).contains(&done.size), "{done:?}");
    let remove = |position| StoreOp::RemoveQueued { client_id: "c".into(), position };
    // A sixteenth has to be free.
    assert_eq!(pressure(4, queued(4, 10_000)).1, max);
    assert_eq!(pressure(5, remove(4)).1, max);
    assert_eq!(pressure(6, remove(3)).1, high);
    assert_eq!(pressure(7, remove(1)).1, none);
}

/// Batches are far apart, but a page does not wait for the next one, and neither does the end.
#[test]
fn where_nobody_waits_for_batches_pages_and_the_end_are_at_once() {
    let world = start_with(Table::default(), Duration::from_secs(3600));
    world.keeper.submit(numbered(vec![queued(1, 1)], 1));
    world.events(|event| matches!(event, Event::Stored(_)));
    world.keeper.submit(numbered(vec![queued(2, 1)], 2));
    world.keeper.submit(numbered(vec![fetch(1, 9, 9)], 3));
    let events = world.events(|event| matches!(event, Event::Stored(_)));
    assert!(matches!(&events[0], Event::Loaded(StoreSeq(3), page) if page.len() == 2), "{events:?}");
    world.keeper.submit(numbered(vec![queued(3, 1)], 4));
    drop(world.keeper);
    assert_eq!(world.table.records().len(), 4);
}

#[test]
fn at_the_end_everything_submitted_is_kept() {
    let world = start(Table::default());
    for seq in 1..=100 {
        world.keeper.submit(numbered(vec![queued(seq, 1)], seq));
    }
    drop(world.keeper);
    assert_eq!(world.table.records().len(), 101);
}

fn totals(bytes_sent: u64) -> Totals {
    Totals::from([("bytes_sent".to_owned(), bytes_sent)])
}

/// By themselves, with what else is to be kept, when an attempt has failed, and at the end.
#[test]
fn totals_are_kept_with_the_next_batch() {
    let world = start(Table { failures: 1, ..Table::default() });
    world.keeper.keep_totals(totals(1));
    for _ in ["failed", "kept"] {
        world.woken.recv_timeout(Duration::from_secs(10)).expect("an attempt in time");
    }
    assert_eq!(counters(&world.table), Ok(totals(1)));
    assert!(world.keeper.take_events().is_empty(), "nobody waits for them");
    world.keeper.submit(numbered(vec![queued(1, 1)], 1));
    world.keeper.keep_totals(totals(2));
    world.events(|event| *event == Event::Stored(StoreSeq(1)));
    world.keeper.keep_totals(totals(3));
    world.keeper.keep_totals(totals(4));
    drop(world.keeper);
    assert_eq!(counters(&world.table), Ok(totals(4)));
    assert_eq!(world.table.records().len(), 3, "the store itself, a message, and one record of totals");
}

/// They are nothing to the engine.
#[test]
fn damaged_totals_are_put_aside() {
    let world = start(Table::default());
    world.keeper.keep_totals(totals(1));
    let World { mut table, keeper, .. } = world;
    drop(keeper);
    let loaded = |table: &mut TableStore| {
        let (report, _) = load(table, &mut boot(), |_| ()).unwrap();
        (report.records, report.quarantined, counters(table).unwrap())
    };
    assert_eq!(loaded(&mut table), (0, 0, totals(1)));
    table.0.lock().unwrap().records.get_mut(&record::counters_key()).unwrap()[6] ^= 1;
    assert_eq!(loaded(&mut table), (0, 1, Totals::default()));
    assert_eq!(loaded(&mut table), (0, 0, Totals::default()));
    assert!(table.records().contains_key(&record::quarantined_key(&record::counters_key())));
}

fn boot() -> Boot {
    Boot::new(Config::default(), Seed(1), HashKey([1, 2]), Time::ZERO)
}

/// Records that cannot be read are kept aside, once; everything else is there.
#[test]
fn damaged_records_are_put_aside() {
    let world = start(Table::default());
    let session = |client_id: &str| StoreOp::PutSession {
        client_id: client_id.into(),
        expiry: 9,
        username: None,
        away: None,
    };
    world.keeper.submit(numbered(vec![session("a"), session("b")], 1));
    let World { mut table, keeper, .. } = world;
    drop(keeper);
    table.0.lock().unwrap().records.values_mut().last().unwrap()[6] ^= 1;
    table.0.lock().unwrap().records.insert(vec![99, 1], vec![record::FORMAT]);
    for quarantined in [2, 0] {
        let mut boot = boot();
        let (report, _) = load(&mut table, &mut boot, |_| ()).unwrap();
        assert_eq!((report.records, report.quarantined), (1, quarantined));
        assert_eq!(boot.finish().1.sessions, 1);
    }
    assert_eq!(table.records().keys().filter(|key| key[0] == 255).count(), 2);
}

#[test]
fn what_is_newer_or_foreign_is_refused_and_left_alone() {
    let newer = vec![record::FORMAT + 1, 1, 2, 3, 4, 5];
    for (records, wanted) in [
        (vec![(record::store_key(), newer)], StoreError::Newer(2)),
        (vec![(b"x".to_vec(), vec![])], StoreError::Foreign("its first record is of something else".into())),
        (
            vec![(record::queue_from("c", 1), vec![])],
            StoreError::Foreign("an import into it was cut off: remove it, and import again".into()),
        ),
    ] {
        let mut table = TableStore::default();
        table.0.lock().unwrap().records.extend(records.clone());
        assert_eq!(load(&mut table, &mut boot(), |_| ()).unwrap_err(), wanted);
        assert_eq!(table.records(), records.into_iter().collect());
    }
}

/// Also if the system's clock was set back since.
#[test]
fn time_goes_on_from_where_the_store_was() {
    let mut table = TableStore::default();
    let (_, mut clock) = load(&mut table, &mut boot(), |_| ()).unwrap();
    assert_eq!(table.records().len(), 1);
    let ahead = clock.now() + 3_600_000_000;
    table.0.lock().unwrap().records.insert(record::store_key(), record::store_value(ahead));
    let (_, mut clock) = load(&mut table, &mut boot(), |_| ()).unwrap();
    assert!((ahead..ahead + 60_000_000).contains(&clock.now()));
}
