//! Durable stores, from operations of the engine until they are kept: what an acknowledgement waits for. Files are below the
//! working directory, so that is the disk which is measured; Redis is one of this machine with `appendfsync always`.

#[allow(dead_code)] // Also for tests.
#[path = "../../adapters/storage/tests/common/redis_server.rs"]
mod redis_server;

use broker_engine::mqtt_proto::{QoS, Version};
use broker_engine::{Boot, Config, HashKey, Lifetime, Seed, StoreOp, StoreSeq, StoredDelivery, Time};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use metronome_benches::publish;
use metronome_host::stores::{
    Event, Keeper, KeeperOptions, RedbStore, RedisOptions, RedisStore, Store, load,
};
use redis_server::{DURABLE, RedisServer};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Bytes of a message.
const MESSAGE: usize = 256;

/// Topics of the retained messages that are replaced.
const TOPICS: u64 = 1000;

fn boot() -> Boot {
    Boot::new(Config::default(), Seed(1), HashKey([1, 2]), Time::ZERO)
}

/// A store at work.
struct Kept {
    keeper: Keeper,
    woken: Receiver<()>,
    seq: u64,
    message: u64,
}

impl Kept {
    fn start(mut store: Box<dyn Store>) -> Self {
        let (_, clock) = load(&mut *store, &mut boot(), |_| ()).expect("a store");
        let (wake, woken) = mpsc::channel();
        let options = KeeperOptions {
            pause: Duration::ZERO,
            max_bytes: None,
            wake: Box::new(move || wake.send(()).unwrap_or_default()),
            report: Box::new(|error| panic!("{error:?}")),
        };
        let keeper = Keeper::start(store, clock, options).expect("a thread");
        Self { keeper, woken, seq: 0, message: 0 }
    }

    /// Hands over one call's operations; says by which number they are kept.
    fn submit(&mut self, ops: Vec<StoreOp>) -> u64 {
        let first = self.seq + 1;
        self.seq += ops.len() as u64;
        self.keeper.submit((first..).map(StoreSeq).zip(ops).collect());
        self.seq
    }

    /// Time for so many groups, of which `window` wait at any time, as publishers with so many messages on their way do.
    fn run(&mut self, count: u64, window: usize, mut group: impl FnMut(u64) -> Vec<StoreOp>) -> Duration {
        let (mut waiting, mut handed_over) = (VecDeque::new(), 0);
        let began = Instant::now();
        while handed_over < count || !waiting.is_empty() {
            while handed_over < count && waiting.len() < window {
                self.message += 1;
                let ops = group(self.message);
                waiting.push_back(self.submit(ops));
                handed_over += 1;
            }
            self.woken.recv().expect("the keeper");
            for event in self.keeper.take_events() {
                if let Event::Stored(upto) = event {
                    while waiting.front().is_some_and(|seq| *seq <= upto.0) {
                        waiting.pop_front();
                    }
                }
            }
        }
        began.elapsed()
    }
}

fn client_id() -> String {
    "subscriber".to_owned()
}

/// As the engine hands it over.
fn message<M: From<Vec<u8>>>(topic: &str) -> M {
    publish(Version::V5, topic, QoS::AtMostOnce, &[b'x'; MESSAGE]).into()
}

fn queued(position: u64, qos: QoS) -> StoreOp {
    let publish = message("site/temperature");
    let (lifetime, subscription_ids, share) = (Lifetime::default(), Vec::new(), None);
    let delivery = StoredDelivery { position, publish, qos, lifetime, subscription_ids, share };
    StoreOp::PutQueued { client_id: client_id(), delivery }
}

fn removed(position: u64) -> StoreOp {
    StoreOp::RemoveQueued { client_id: client_id(), position }
}

/// A packet identifier for this message.
fn packet_id(number: u64) -> u16 {
    u16::try_from(number % 65_535).unwrap_or_default() + 1
}

/// Routed to one subscriber who is there; what it acknowledged goes along with what comes later.
fn at_qos1(number: u64) -> Vec<StoreOp> {
    let sent = StoreOp::PutInflight {
        client_id: client_id(),
        position: number,
        packet_id: packet_id(number),
        released: false,
    };
    vec![queued(number, QoS::AtLeastOnce), sent, removed(number.saturating_sub(1))]
}

/// What both sides of a QoS 2 message lead to, spread over the messages that follow.
fn at_qos2(number: u64) -> Vec<StoreOp> {
    let client_id = || "publisher".to_owned();
    let mut ops = at_qos1(number);
    ops.push(StoreOp::PutReceived { client_id: client_id(), packet_id: packet_id(number) });
    ops.push(StoreOp::RemoveReceived { client_id: client_id(), packet_id: packet_id(number - 1) });
    ops
}

fn retained(number: u64) -> Vec<StoreOp> {
    let topic = format!("site/{}", number % TOPICS);
    let publish = message(&topic);
    vec![StoreOp::PutRetained { topic, publish, qos: QoS::AtLeastOnce, lifetime: Lifetime::default() }]
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, store: Box<dyn Store>) {
    let mut kept = Kept::start(store);
    group.throughput(Throughput::Elements(1));
    for (what, window, ops) in [
        ("QoS 1, 1 publisher", 1, at_qos1 as fn(u64) -> Vec<StoreOp>),
        ("QoS 1, 64 publishers of 4", 256, at_qos1),
        ("QoS 2, 64 publishers of 4", 256, at_qos2),
        ("retained, 64 publishers of 4", 256, retained),
    ] {
        group.bench_function(format!("{name}: {what}"), |bencher| {
            bencher.iter_custom(|count| kept.run(count, window, ops));
        });
    }
    group.bench_function(format!("{name}: a queue is filled, then drained"), |bencher| {
        bencher.iter_custom(|count| {
            let filled = kept.run(count, 256, |number| vec![queued(number, QoS::AtLeastOnce)]);
            filled + kept.run(count, 256, |number| vec![removed(number - count)])
        });
    });
}

/// From the store at rest to an engine that goes on with so many messages that wait.
fn restart(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, open: &Open<'_>, messages: u64) {
    let mut kept = Kept::start(open());
    let session =
        StoreOp::PutSession { client_id: client_id(), expiry: u32::MAX, username: None, away: None };
    kept.submit(vec![StoreOp::EndSession { client_id: client_id() }, session]);
    kept.run(messages, 4096, |number| vec![queued(number, QoS::AtLeastOnce)]);
    drop(kept);
    group.throughput(Throughput::Elements(messages));
    group.bench_function(format!("{name}: restart"), |bencher| {
        bencher.iter_custom(|count| {
            let times = (0..count).map(|_| {
                let began = Instant::now();
                let (mut store, mut boot) = (open(), boot());
                load(&mut *store, &mut boot, |_| ()).expect("a store");
                assert_eq!(boot.finish().1.queued, messages);
                began.elapsed()
            });
            times.sum()
        });
    });
}

/// Opens a store, which goes on where it was.
type Open<'a> = dyn Fn() -> Box<dyn Store> + 'a;

fn stores(criterion: &mut Criterion) {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let messages = if is_test { 100 } else { 20_000 };
    let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stores-{}", std::process::id()));
    let server = RedisServer::start(&data.join("redis"), DURABLE);
    let options = RedisOptions {
        url: server.url().parse().expect("a URL"),
        password_file: None,
        ca: None,
        prefix: "metronome".into(),
        wait_for_fsync: false,
    };
    let redb = || -> Box<dyn Store> { Box::new(RedbStore::open(&data).expect("redb")) };
    let redis = || -> Box<dyn Store> { Box::new(RedisStore::open(options.clone()).expect("Redis")) };
    #[cfg(feature = "fjall")]
    let fjall =
        || -> Box<dyn Store> { Box::new(metronome_host::stores::FjallStore::open(&data).expect("fjall")) };
    let kinds: &[(&str, &Open<'_>)] = &[
        ("redb", &redb),
        #[cfg(feature = "fjall")]
        ("fjall", &fjall),
        ("redis", &redis),
    ];
    let mut group = criterion.benchmark_group("stores");
    group.sample_size(10);
    for (name, open) in kinds {
        measure(&mut group, name, open());
        restart(&mut group, name, open, messages);
    }
    group.finish();
    drop(server);
    let _left = std::fs::remove_dir_all(&data);
}

criterion_group!(benches, stores);
criterion_main!(benches);
