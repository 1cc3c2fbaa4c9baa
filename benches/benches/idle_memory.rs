//! Bytes on the heap for each client that does nothing, by counting what the allocator gives out.

// Counting needs an allocator of one's own, and the trait for that is unsafe to implement.
#![allow(unsafe_code)]

use broker_engine::mqtt_proto::{QoS, Version};
use broker_engine::{CloseCause, Config, Engine, HashKey, Input, ListenerId, Seed, Time};
use metronome_benches::{Bench, connect, publish, subscribe};
use metronome_host::{AllowAll, Driver};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::IoSlice;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised to us.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes for each of `count` that `fill` makes.
fn each(count: usize, fill: impl FnOnce(usize)) -> usize {
    let before = BYTES.load(Ordering::Relaxed);
    fill(count);
    (BYTES.load(Ordering::Relaxed) - before) / count
}

/// Both ends of a driver's connection: what it sends is thrown away.
fn talk(driver: &mut Driver, bytes: &[&[u8]]) {
    let now = Time::from_secs(1);
    let conn = driver.open(now, ListenerId(0), None);
    for data in bytes {
        driver.received(now, conn, data);
        driver.flush(now, conn, |slices: &[IoSlice<'_>]| Ok(slices.iter().map(|slice| slice.len()).sum()));
    }
    while driver.next_dirty().is_some() {}
}

fn main() {
    let count = if std::env::args().any(|argument| argument == "--test") { 100 } else { 10_000 };
    let mut bench = Bench::new(Config::default());
    let version = Version::V311;
    println!("bytes on the heap for each of {count}:");
    let row = |what: &str, bytes: usize| println!("{bytes:>8}  {what}");

    let mut clients = Vec::with_capacity(count);
    row(
        "connection with its session, engine",
        each(count, |count| {
            clients.extend(
                (0..count).map(|number| bench.connect(version, &format!("idle-client-{number}"), false)),
            );
        }),
    );
    row(
        "subscription of its own topic filter, engine",
        each(count, |_| {
            for (number, conn) in clients.iter().enumerate() {
                bench.subscribe(*conn, version, &format!("idle/{number}/commands"), QoS::AtLeastOnce);
            }
        }),
    );
    let mut lasting = Bench::new(Config::default());
    row(
        "offline session with one subscription, engine",
        each(count, |count| {
            for number in 0..count {
                let conn = lasting.connect(version, &format!("idle-client-{number}"), true);
                lasting.subscribe(conn, version, &format!("idle/{number}/commands"), QoS::AtLeastOnce);
                lasting.handle(Input::Closed { conn, cause: CloseCause::PeerClosed });
            }
        }),
    );
    let mut retained = Bench::new(Config::default());
    let publisher = retained.connect(version, "p", false);
    row(
        "retained message of 64 bytes, engine",
        each(count, |count| {
            for number in 0..count {
                let topic = format!("state/{number}/temperature");
                let mut packet = publish(version, &topic, QoS::AtMostOnce, &[b'x'; 64]);
                packet[0] |= 1;
                retained.receive(publisher, &packet);
            }
        }),
    );
    let engine = Engine::new(Config::default(), Seed(1), HashKey([2, 3]));
    let mut driver = Driver::new(engine, AllowAll);
    row(
        "connection with its session and one subscription, driver",
        each(count, |count| {
            for number in 0..count {
                let hello = connect(version, &format!("idle-client-{number}"), false);
                let filter = subscribe(version, &format!("idle/{number}/commands"), QoS::AtLeastOnce);
                talk(&mut driver, &[&hello, &filter]);
            }
        }),
    );
    assert_eq!(bench.engine.view().connections(), count);
    assert_eq!(driver.view().subscriptions(), count);
    assert_eq!(lasting.engine.view().sessions(), count);
    assert_eq!(retained.engine.view().retained(), count);
}
