//! The driver's policies, with sockets played by closures.

use broker_engine::{
    CloseCause, Command, Config, ConnId, Durability, Engine, HashKey, Interest, ListenerId, Note, Question,
    SHARED_PAYLOAD, Seed, Time,
};
use metronome_host::{AllowAll, Client, Decision, Driver, Flushed, Hook, HookChain};
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NOW: Time = Time::from_secs(1);

fn driver(hooks: impl Into<HookChain>) -> Driver {
    let config = Config { interest: Interest::CLIENTS, ..Config::default() };
    Driver::new(Engine::new(config, Seed(1), HashKey([1, 2])), hooks)
}

fn open(driver: &mut Driver) -> ConnId {
    driver.open(NOW, ListenerId(0), Some("192.0.2.7:4711".parse().unwrap()))
}

/// An MQTT 3.1.1 client with a one-letter name.
fn connect(driver: &mut Driver, name: u8) -> ConnId {
    let conn = open(driver);
    driver.received(NOW, conn, &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, name]);
    assert_eq!(take(driver, conn), [0x20, 2, 0, 0]);
    conn
}

fn subscribe(driver: &mut Driver, conn: ConnId, topic: u8, qos: u8) {
    driver.received(NOW, conn, &[0x82, 6, 0, 1, 0, 1, topic, qos]);
    assert_eq!(take(driver, conn), [0x90, 3, 0, 1, qos]);
}

fn publish(topic: u8, payload: &[u8]) -> Vec<u8> {
    let mut rest = payload.len() + 3;
    let mut packet = vec![0x30];
    loop {
        let low = u8::try_from(rest % 128).unwrap();
        rest /= 128;
        packet.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    packet.extend([0, 1, topic]);
    packet.extend(payload);
    packet
}

/// Flushes into memory.
fn take(driver: &mut Driver, conn: ConnId) -> Vec<u8> {
    let mut bytes = Vec::new();
    driver.flush(NOW, conn, |slices| Ok(write_some(&mut bytes, slices, usize::MAX)));
    bytes
}

fn write_some(into: &mut Vec<u8>, slices: &[IoSlice<'_>], most: usize) -> usize {
    let before = into.len();
    into.extend(slices.iter().flat_map(|slice| slice.iter().copied()).take(most));
    into.len() - before
}

/// A socket that takes `room` bytes and then blocks.
fn take_at_most(driver: &mut Driver, conn: ConnId, mut room: usize) -> (Vec<u8>, Flushed) {
    let mut bytes = Vec::new();
    let outcome = driver.flush(NOW, conn, |slices| {
        if room == 0 {
            return Err(io::Error::from(ErrorKind::WouldBlock));
        }
        let count = write_some(&mut bytes, slices, room);
        room -= count;
        Ok(count)
    });
    (bytes, outcome)
}

fn dirty(driver: &mut Driver) -> Vec<ConnId> {
    std::iter::from_fn(|| driver.next_dirty()).collect()
}

#[test]
fn one_turn_names_a_connection_once_and_writes_it_once() {
    let mut driver = driver(AllowAll);
    let (reader, writer) = (connect(&mut driver, b'r'), connect(&mut driver, b'w'));
    subscribe(&mut driver, reader, b't', 0);
    dirty(&mut driver);
    // The second one is shared with whoever else gets it, and goes out in the same write.
    let packets = [publish(b't', b"1"), publish(b't', &[b'2'; SHARED_PAYLOAD]), publish(b't', b"3")];
    for packet in &packets {
        driver.received(NOW, writer, packet);
    }
    assert_eq!(dirty(&mut driver), [reader]);
    let mut count = 0;
    let mut bytes = Vec::new();
    let outcome = driver.flush(NOW, reader, |slices| {
        count += 1;
        Ok(write_some(&mut bytes, slices, usize::MAX))
    });
    assert_eq!((outcome, count), (Flushed::Done, 1));
    assert_eq!(bytes, packets.concat());
}

/// The rest of a long queue comes back from the driver's store, in order, without anybody asking again.
#[test]
fn a_long_queue_comes_back_from_the_store() {
    let config = Config { durability: Durability::Durable, queue_window_messages: 1, ..Config::default() };
    let engine = Engine::new(config, Seed(1), HashKey([1, 2]));
    let mut driver = Driver::new(engine, AllowAll);
    // A CONNECT without Clean Session.
    let lasting = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 0, 0, 1, b'r'];
    let reader = open(&mut driver);
    driver.received(NOW, reader, &lasting);
    assert_eq!(take(&mut driver, reader), [0x20, 2, 0, 0]);
    subscribe(&mut driver, reader, b't', 1);
    driver.closed(NOW, reader, CloseCause::Fault);
    let writer = connect(&mut driver, b'w');
    for id in 1..=4 {
        driver.received(NOW, writer, &[0x32, 6, 0, 1, b't', 0, id, id]);
        assert_eq!(take(&mut driver, writer), [0x40, 2, 0, id]);
    }
    assert_eq!(driver.view().messages(), 1, "three of them are in the store alone");
    let again = open(&mut driver);
    driver.received(NOW, again, &lasting);
    let mut wanted = vec![0x20, 2, 1, 0];
    wanted.extend((1..=4).flat_map(|id| [0x32, 6, 0, 1, b't', 0, id, id]));
    assert_eq!(take(&mut driver, again), wanted);
}

#[test]
fn a_fan_out_gets_each_subscriber_its_own_packet_identifier() {
    let mut driver = driver(AllowAll);
    let readers: Vec<ConnId> = (b'a'..b'e').map(|name| connect(&mut driver, name)).collect();
    let writer = connect(&mut driver, b'w');
    for reader in &readers {
        subscribe(&mut driver, *reader, b't', 1);
    }
    // The first reader is one message ahead, so the identifiers differ.
    driver.received(NOW, readers[0], &[0x82, 6, 0, 1, 0, 1, b'x', 1]);
    driver.received(NOW, writer, &[0x32, 6, 0, 1, b'x', 0, 9, b'!']);
    take(&mut driver, readers[0]);
    driver.received(NOW, writer, &[0x32, 6, 0, 1, b't', 0, 10, b'!']);
    for (at, reader) in readers.iter().enumerate() {
        let id = if at == 0 { 2 } else { 1 };
        assert_eq!(take(&mut driver, *reader), [0x32, 6, 0, 1, b't', 0, id, b'!']);
    }
}

#[test]
fn large_payloads_arrive_whole_through_any_socket() {
    let mut driver = driver(AllowAll);
    let (reader, writer) = (connect(&mut driver, b'r'), connect(&mut driver, b'w'));
    subscribe(&mut driver, reader, b't', 0);
    let packet = publish(b't', &vec![b'x'; 100_000]);
    driver.received(NOW, writer, &packet);
    let mut arrived = Vec::new();
    loop {
        let (bytes, outcome) = take_at_most(&mut driver, reader, 999);
        arrived.extend(bytes);
        if outcome == Flushed::Done {
            break;
        }
    }
    assert!(arrived == packet);
}

#[test]
fn a_client_that_does_not_read_is_paused_and_resumed() {
    let mut driver = driver(AllowAll);
    let (reader, writer) = (connect(&mut driver, b'r'), connect(&mut driver, b'w'));
    subscribe(&mut driver, reader, b't', 0);
    let packet = publish(b't', &vec![b'x'; 100_000]);
    for _ in 0..10 {
        driver.received(NOW, writer, &packet);
        take_at_most(&mut driver, reader, 0);
    }
    assert!(driver.is_paused(reader) && !driver.is_paused(writer));
    assert!(driver.unsent(reader) < 512 << 10, "{} bytes wait", driver.unsent(reader));
    assert!(std::iter::from_fn(|| driver.next_changed()).any(|conn| conn == reader));
    assert!(driver.view().counters().dropped.iter().sum::<u64>() > 0);
    take(&mut driver, reader);
    assert!(!driver.is_paused(reader));
    assert_eq!(driver.view().verify(), Ok(()));
}

/// Below high water a client may be sent the largest packet there is; that alone is no reason to close it.
#[test]
fn a_client_that_reads_slowly_is_not_closed_for_one_large_packet() {
    let mut driver = driver(AllowAll);
    let (reader, writer) = (connect(&mut driver, b'r'), connect(&mut driver, b'w'));
    subscribe(&mut driver, reader, b't', 0);
    let limits = Config::default();
    for size in [limits.egress_high - 100, limits.max_packet_size - 8] {
        driver.received(NOW, writer, &publish(b't', &vec![b'x'; size as usize]));
        take_at_most(&mut driver, reader, 0);
    }
    assert!(driver.unsent(reader) > limits.max_packet_size as usize + (64 << 10));
    assert!(driver.is_paused(reader) && !driver.is_closing(reader));
}

/// It takes a little now and then, and is not closed for it.
#[test]
fn a_socket_that_takes_little_is_alive() {
    let mut driver = driver(AllowAll);
    let (slow, publisher) = (connect(&mut driver, b's'), connect(&mut driver, b'p'));
    subscribe(&mut driver, slow, b't', 0);
    driver.received(NOW, publisher, &publish(b't', &vec![b'x'; 1 << 20]));
    take_at_most(&mut driver, slow, 0);
    assert!(driver.is_paused(slow));
    for minute in 1..8 {
        driver.tick(NOW.after(Duration::from_secs(59 * minute)));
        assert!(!driver.is_closing(slow), "after {minute} minutes");
        let now = NOW.after(Duration::from_secs(59 * minute));
        let mut room = true;
        driver.flush(now, slow, |_| {
            if std::mem::take(&mut room) { Ok(64 << 10) } else { Err(ErrorKind::WouldBlock.into()) }
        });
    }
    driver.tick(NOW.after(Duration::from_secs(59 * 7 + 60)));
    assert!(driver.is_closing(slow));
}

#[test]
fn much_output_in_one_turn_is_urgent() {
    let mut driver = driver(AllowAll);
    let readers = [connect(&mut driver, b'r'), connect(&mut driver, b's')];
    let writer = connect(&mut driver, b'w');
    for reader in readers {
        subscribe(&mut driver, reader, b't', 0);
    }
    assert_eq!(driver.next_urgent(), None);
    let packet = publish(b't', &vec![b'x'; 300_000]);
    driver.received(NOW, writer, &packet);
    let mut urgent: Vec<ConnId> = std::iter::from_fn(|| driver.next_urgent()).collect();
    urgent.sort();
    assert_eq!(urgent, readers);
}

#[test]
fn a_refused_client_hears_why_before_the_close() {
    let mut driver = driver(HookChain::default());
    let conn = open(&mut driver);
    driver.received(NOW, conn, &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'c']);
    assert!(driver.is_closing(conn));
    let (bytes, outcome) = take_at_most(&mut driver, conn, 3);
    assert_eq!((&bytes[..], outcome), (&[0x20, 2, 0][..], Flushed::Blocked));
    let (bytes, outcome) = take_at_most(&mut driver, conn, 3);
    assert_eq!((&bytes[..], outcome), (&[5][..], Flushed::Close));
    driver.release(conn);
    driver.release(conn);
    assert_eq!(driver.strangers(), 0);
}

#[test]
fn a_broken_socket_ends_its_client_only() {
    let mut driver = driver(AllowAll);
    let (reader, other) = (connect(&mut driver, b'r'), connect(&mut driver, b'o'));
    driver.received(NOW, reader, &[0xc0, 0]);
    let outcome = driver.flush(NOW, reader, |_| Err(io::Error::from(ErrorKind::BrokenPipe)));
    assert_eq!(outcome, Flushed::Broken);
    driver.release(reader);
    assert_eq!(driver.view().connections(), 1);
    driver.received(NOW, other, &[0xc0, 0]);
    assert_eq!(take(&mut driver, other), [0xd0, 0]);
}

#[test]
fn a_stale_handle_touches_nobody() {
    let mut driver = driver(AllowAll);
    let old = connect(&mut driver, b'o');
    driver.closed(NOW, old, CloseCause::PeerClosed);
    driver.release(old);
    let new = connect(&mut driver, b'n');
    assert_eq!((old.slot(), driver.strangers()), (new.slot(), 0));
    driver.received(NOW, old, &[0xc0, 0]);
    driver.release(old);
    assert!(take(&mut driver, old).is_empty());
    driver.received(NOW, new, &[0xc0, 0]);
    assert_eq!(take(&mut driver, new), [0xd0, 0]);
}

#[test]
fn shutdown_says_so_to_everybody() {
    let mut driver = driver(AllowAll);
    let conn = open(&mut driver);
    driver.received(NOW, conn, &[0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 1, b'c']);
    take(&mut driver, conn);
    driver.command(NOW, Command::Shutdown);
    let (bytes, outcome) = take_at_most(&mut driver, conn, 1000);
    assert_eq!((bytes[0], bytes[2], outcome), (0xe0, 0x8b, Flushed::Close));
}

/// Remembers what it was told.
#[derive(Clone, Default)]
struct Listening(Arc<Mutex<Vec<String>>>);

impl Hook for Listening {
    fn answer(&mut self, _: &Client, _: &Question) -> Decision {
        Decision::allow()
    }

    fn note(&mut self, note: &Note, peer: Option<SocketAddr>) {
        let name = match note {
            Note::Connected { client_id, .. } => format!("{client_id} came"),
            Note::Disconnected { client_id, .. } => format!("{client_id} went"),
            _ => return,
        };
        self.0.lock().unwrap().push(format!("{name} {}", peer.unwrap()));
    }
}

#[test]
fn notes_carry_the_address() {
    let heard = Listening::default();
    let mut driver = driver(heard.clone());
    let stranger = open(&mut driver);
    let conn = connect(&mut driver, b'c');
    assert_eq!(driver.strangers(), 1);
    driver.received(NOW, conn, &[0xe0, 0]);
    driver.release(conn);
    driver.closed(NOW, stranger, CloseCause::Fault);
    driver.release(stranger);
    assert_eq!(driver.strangers(), 0);
    let heard = heard.0.lock().unwrap();
    assert_eq!(*heard, ["c came 192.0.2.7:4711", "c went 192.0.2.7:4711", " went 192.0.2.7:4711"]);
}
