//! What all of it may cost, and what others may notice of it.

use crate::client::{Client, Heard};
use crate::judge::{ATTACK, Attack, Site, connect};
use crate::packets::{Hello, publish, subscribe};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        class: "B-01",
        done: "1 GB of packets with broken bytes over 1,000 connections, 100 MB in a second",
        expected: "at most 16 MiB; a healthy client's p99 at most 50 ms above that of a plain echo",
        // A byte that is another can make a message one that is kept.
        limits: "max_message_expiry = 2",
        ceiling: 16,
        run: hostile_stream,
        ..ATTACK
    },
    Attack {
        class: "B-06",
        done: "20 readers stall while 1,500 messages of 1 KiB come in a second",
        expected: "at most 1 MiB each; a healthy client's p99 at most 1.2 times or 0.5 ms more, median of five",
        ceiling: 20,
        run: stalled_readers,
        ..ATTACK
    },
];

/// Bytes that one of four attackers sends at a time, and how often: faster, and all that waits is their own, in the kernel.
const PIECE: usize = 16 << 10;
const EACH: Duration = Duration::from_micros(655);

/// Xorshift: another byte each time, and the same in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A stream of packets, of which one in eight has a byte that is another.
fn hostile_bytes(chance: &mut Chance, stranger: bool) -> Vec<u8> {
    let mut bytes = if stranger { Vec::new() } else { Hello::new("").bytes() };
    while bytes.len() < 768 << 10 {
        let size = [10, 1000, 60_000][usize::try_from(chance.next() % 3).unwrap()];
        let mut next = match chance.next() % 4 {
            0 => subscribe(1, 2, ["a/+/b", "#"]),
            1 => publish("nobody", 1, 1, &[], &vec![7; size]),
            _ => publish("nobody", 0, 0, &[], &vec![7; size]),
        };
        if chance.next().is_multiple_of(8) {
            let at = usize::try_from(chance.next() % 16).unwrap();
            next[at] ^= u8::try_from(chance.next() % 255 + 1).unwrap();
        }
        bytes.extend(next);
    }
    bytes
}

fn hostile_stream(site: &Site<'_>) -> String {
    let most = site.scale(32 << 20, 1 << 30) as u64;
    let (sent, connections) = (AtomicU64::new(0), AtomicU64::new(0));
    let attack = |seed: u64| {
        let (mut chance, mut next) = (Chance(seed * 0x9e37_79b9), Instant::now());
        while sent.load(Ordering::Relaxed) < most {
            let number = connections.fetch_add(1, Ordering::Relaxed);
            let bytes = hostile_bytes(&mut chance, number.is_multiple_of(8));
            let mut stream = site.tcp();
            stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
            for piece in bytes.chunks(PIECE) {
                match stream.write(piece) {
                    Ok(count) => sent.fetch_add(count as u64, Ordering::Relaxed),
                    Err(_) => break,
                };
                next += EACH;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                stream.set_nonblocking(true).unwrap();
                let _answers = stream.read(&mut [0; 16 << 10]);
                stream.set_nonblocking(false).unwrap();
            }
        }
    };
    let (p99, floor) = noticed(site, Duration::from_millis(5), 64, || {
        std::thread::scope(|scope| (1..=4).for_each(|seed| drop(scope.spawn(move || attack(seed)))));
    });
    let connections = connections.into_inner();
    if site.full {
        assert!(connections >= 1000, "{connections} connections");
        assert!(
            p99 <= floor + Duration::from_millis(50),
            "p99 of a healthy client {p99:?}, of an echo {floor:?}"
        );
    }
    format!(
        "{} MB over {connections} connections; p99 {p99:.1?}, of an echo {floor:.1?}",
        sent.into_inner() / 1_000_000
    )
}

/// The 99th percentile of what an exchange takes, at this pace.
fn p99(pace: Duration, done: &AtomicBool, mut exchange: impl FnMut()) -> Duration {
    let (mut took, mut next) = (Vec::new(), Instant::now());
    while !done.load(Ordering::Relaxed) || took.is_empty() {
        let began = Instant::now();
        exchange();
        took.push(began.elapsed());
        next += pace;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    took.sort();
    took[took.len() * 99 / 100]
}

/// What a healthy client notices while this is done, and what an echo notices that knows nothing of MQTT: so much is the
/// machine's.
fn noticed(site: &Site<'_>, pace: Duration, len: usize, meanwhile: impl FnOnce()) -> (Duration, Duration) {
    let done = AtomicBool::new(false);
    let mut client = site.client("canary");
    client.subscribe(0, &["canary"]);
    let message = publish("canary", 0, 0, &[], &vec![7; len]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut plain = connect(listener.local_addr().unwrap());
    let (mut echo, _) = listener.accept().unwrap();
    echo.set_nodelay(true).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut buffer = vec![0; len];
            while echo.read_exact(&mut buffer).is_ok() {
                echo.write_all(&buffer).unwrap();
            }
        });
        let canary = scope.spawn(|| {
            p99(pace, &done, || {
                client.send(&message);
                assert!(matches!(client.hear(), Heard::Packet(0x30, _)));
            })
        });
        let floor = scope.spawn(|| {
            let mut buffer = vec![7; len];
            let p99 = p99(pace, &done, || {
                plain.write_all(&buffer).unwrap();
                plain.read_exact(&mut buffer).unwrap();
            });
            drop(plain);
            p99
        });
        meanwhile();
        done.store(true, Ordering::Relaxed);
        (canary.join().unwrap(), floor.join().unwrap())
    })
}

fn stalled_readers(site: &Site<'_>) -> String {
    let seconds = site.scale(1, 4) as u64;
    let rounds = site.scale(1, 5);
    let measure = || {
        noticed(site, Duration::from_micros(667), 1024, || std::thread::sleep(Duration::from_secs(seconds)))
    };
    let (mut alone, mut among, mut readers) = (Vec::new(), Vec::new(), Vec::<Client>::new());
    for round in 0..rounds {
        readers.clear();
        alone.push(measure());
        for number in 0..20 {
            let mut reader = site.client(&format!("stalled-{round}-{number}"));
            reader.subscribe(0, &["canary"]);
            readers.push(reader);
        }
        // Until nothing fits into their sockets any more, they are as good as any.
        let mut publisher = site.client("publisher");
        let filling = publish("canary", 1, 1, &[], &vec![7; 64 << 10]);
        for _ in 0..160 {
            assert_eq!(publisher.ask(&filling), "PUBACK 0x00");
        }
        among.push(measure());
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let medians = |found: Vec<(Duration, Duration)>| {
        let (mut own, mut floor): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        (median(&mut own), median(&mut floor))
    };
    let ((alone, floor_alone), (among, floor_among)) = (medians(alone), medians(among));
    if site.full {
        let most = alone.mul_f64(1.2).max(alone + Duration::from_micros(500));
        let busier = floor_among.saturating_sub(floor_alone);
        assert!(among <= most + busier, "p99 of a healthy client: {alone:?} and {among:?}");
    }
    format!(
        "p99 {alone:.1?} without them, {among:.1?} with them; of an echo {floor_alone:.1?} and {floor_among:.1?}"
    )
}
