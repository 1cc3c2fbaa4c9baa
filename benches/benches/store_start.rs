//! A start with 100,000 sessions and 1,000,000 messages that wait: how long it takes until an engine goes on with them, and what
//! that takes in memory beside what it took before. Each broker, before and after, is a process of its own, without sockets.

#[allow(dead_code)] // Also for tests.
#[path = "../../adapters/storage/tests/common/redis_server.rs"]
mod redis_server;

use broker_engine::mqtt_proto::{QoS, Version};
use broker_engine::{Boot, CloseCause, Config, Durability, Engine, HashKey, Input, Seed, Time};
use metronome_benches::{Bench, publish};
use metronome_host::stores::{Batch, RedbStore, RedisOptions, RedisStore, Store, load, record};
use redis_server::{DURABLE, RedisServer};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Bytes of a message, without its topic.
const MESSAGE: usize = 128;

/// Messages that wait for each session.
const EACH: usize = 10;

/// Operations that are kept together.
const BATCH: usize = 10_000;

/// `place` is a directory, or the URL of a server.
fn open(name: &str, place: &str) -> Box<dyn Store> {
    match name {
        "redb" => Box::new(RedbStore::open(Path::new(place)).expect("redb")),
        #[cfg(feature = "fjall")]
        "fjall" => Box::new(metronome_host::stores::FjallStore::open(Path::new(place)).expect("fjall")),
        _ => {
            let options = RedisOptions {
                url: place.parse().expect("a URL"),
                password_file: None,
                ca: None,
                prefix: "metronome".into(),
                wait_for_fsync: false,
            };
            Box::new(RedisStore::open(options).expect("Redis"))
        }
    }
}

/// An engine that goes on with what is there.
fn begin(store: &mut dyn Store) -> (Engine, u64) {
    let config = Config { durability: Durability::Durable, ..Config::default() };
    let mut boot = Boot::new(config, Seed(1), HashKey([1, 2]), Time::ZERO);
    load(store, &mut boot, |_| ()).expect("a store");
    let (engine, report) = boot.finish();
    (engine, report.queued)
}

/// A broker, and the store in which it keeps all of it.
struct Kept {
    broker: Bench,
    store: Box<dyn Store>,
    batch: Batch,
    operations: usize,
}

impl Kept {
    /// What the latest call wants to be kept is on its way, and the engine goes on at once.
    fn keep(&mut self) {
        while let Some((upto, _)) = self.broker.out.stores.last() {
            let upto = *upto;
            for (_, op) in std::mem::take(&mut self.broker.out.stores) {
                record::write(&mut self.batch, &op, 0);
                self.operations += 1;
            }
            self.broker.handle(Input::Stored { upto });
        }
        if self.operations >= BATCH {
            self.commit();
        }
    }

    fn commit(&mut self) {
        self.operations = 0;
        self.store.commit(&std::mem::take(&mut self.batch)).expect("room");
    }
}

/// Sessions come, subscribe and go, and messages come for them.
fn fill(mut store: Box<dyn Store>, sessions: usize) {
    let mut broker = Bench::new(Config::default());
    broker.engine = begin(&mut *store).0;
    let mut kept = Kept { broker, store, batch: Batch::default(), operations: 0 };
    let version = Version::V5;
    let topic = |number| format!("devices/{number}/commands");
    for number in 0..sessions {
        let conn = kept.broker.connect(version, &format!("device-{number}"), true);
        kept.keep();
        kept.broker.subscribe(conn, version, &topic(number), QoS::AtLeastOnce);
        kept.keep();
        kept.broker.handle(Input::Closed { conn, cause: CloseCause::PeerClosed });
        kept.keep();
    }
    let publisher = kept.broker.connect(version, "publisher", false);
    kept.keep();
    for _ in 0..EACH {
        for number in 0..sessions {
            let packet = publish(version, &topic(number), QoS::AtLeastOnce, &[b'x'; MESSAGE]);
            kept.broker.receive(publisher, &packet);
            kept.keep();
        }
    }
    kept.commit();
    let waiting = kept.broker.engine.view().each_session().map(|session| session.queued()).sum::<usize>();
    assert_eq!(waiting, sessions * EACH);
    println!("{:>35} MB of memory before", memory("VmRSS"));
}

fn start(name: &str, place: &str, sessions: usize) {
    let began = Instant::now();
    let mut store = open(name, place);
    let (engine, queued) = begin(&mut *store);
    let took = began.elapsed();
    assert_eq!((engine.view().sessions(), queued), (sessions, (sessions * EACH) as u64));
    let (after, most) = (memory("VmRSS"), memory("VmHWM"));
    println!("{:>28.2} s until it serves, {after} MB behind that, at most {most} MB", took.as_secs_f64());
}

/// Of this process, where the system tells.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() / 1000
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, name, place, sessions, ..] = &arguments[..] {
        let sessions = sessions.parse().expect("a number of sessions");
        match role.as_str() {
            "fill" => return fill(open(name, place), sessions),
            _ => return start(name, place, sessions),
        }
    }
    let sessions = if arguments.iter().any(|argument| argument == "--test") { 100 } else { 100_000 };
    let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("store-start-{}", std::process::id()));
    let server = RedisServer::start(&data.join("redis"), DURABLE);
    let below = |name| data.join(name).display().to_string();
    for (name, place) in [
        ("redb", below("redb")),
        #[cfg(feature = "fjall")]
        ("fjall", below("fjall")),
        ("redis", server.url()),
    ] {
        println!("{name}, {sessions} sessions, {} messages of {MESSAGE} bytes:", sessions * EACH);
        for role in ["fill", "start", "start"] {
            let broker = std::env::current_exe().expect("this program");
            let status = Command::new(broker).args([role, name, &place, &sessions.to_string()]).status();
            assert!(status.expect("a process").success(), "{role}");
        }
    }
    drop(server);
    let _left = std::fs::remove_dir_all(&data);
}
