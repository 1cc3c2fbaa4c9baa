//! What the broker tells of itself below `$SYS`.

use broker_engine::mqtt_proto::{FixedHeader, Limits, Packet, Version};
use broker_engine::{CloseCause, Config, ConnId, Engine, HashKey, Interest, ListenerId, Seed, Time};
use metronome_host::{AllowAll, Driver};
use std::io::IoSlice;

/// Unix seconds when the driver's clock shows 0.
const EPOCH: u64 = 1_800_000_000;

fn driver() -> Driver {
    let config = Config { interest: Interest::CLIENTS, ..Config::default() };
    Driver::new(Engine::new(config, Seed(1), HashKey([1, 2])), AllowAll)
}

/// An MQTT 3.1.1 client with a one-letter name and a session that lives on.
fn connect(driver: &mut Driver, now: Time, name: u8) -> ConnId {
    let conn = driver.open(now, ListenerId(0), None);
    driver.received(now, conn, &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 0, 0, 1, name]);
    assert_eq!(take(driver, now, conn), [0x20, 2, 0, 0]);
    conn
}

fn subscribe(driver: &mut Driver, now: Time, conn: ConnId, filter: &str) {
    let body = [&[0, 1, 0, u8::try_from(filter.len()).unwrap()], filter.as_bytes(), &[0]].concat();
    driver.received(now, conn, &[&[0x82, u8::try_from(body.len()).unwrap()], &*body].concat());
}

fn tell(driver: &mut Driver, seconds: u64) -> Time {
    let now = Time::from_secs(seconds);
    driver.publish_sys_topics(now, EPOCH + seconds);
    now
}

/// Flushes into memory.
fn take(driver: &mut Driver, now: Time, conn: ConnId) -> Vec<u8> {
    let mut bytes = Vec::new();
    driver.flush(now, conn, |slices: &[IoSlice<'_>]| {
        let before = bytes.len();
        for slice in slices {
            bytes.extend_from_slice(slice);
        }
        Ok(bytes.len() - before)
    });
    bytes
}

/// The messages that came, a line for each: topic and text.
fn messages(driver: &mut Driver, now: Time, conn: ConnId) -> Vec<String> {
    let bytes = take(driver, now, conn);
    let (mut rest, mut lines) = (&*bytes, Vec::new());
    while let Ok(Some(header)) = FixedHeader::parse(rest) {
        let (packet, behind) = rest.split_at(header.packet_len() as usize);
        let body = &packet[usize::from(header.header_len)..];
        let packet = Packet::decode(header, body, Version::V311, &Limits::default());
        if let Ok(Packet::Publish(publish)) = packet {
            let topic = publish.topic.unwrap().as_str().strip_prefix("$SYS/broker/").unwrap();
            lines.push(format!("{topic} = {}", String::from_utf8_lossy(publish.payload)));
        }
        rest = behind;
    }
    lines
}

#[test]
fn every_topic_says_what_it_should() {
    let mut driver = driver();
    let start = tell(&mut driver, 0);
    let [first, second] = [b'a', b'b'].map(|name| connect(&mut driver, start, name));
    subscribe(&mut driver, start, second, "t");
    driver.closed(start, second, CloseCause::PeerClosed);
    // Retained "t", of QoS 0: nobody is there for it.
    driver.received(start, first, &[0x31, 4, 0, 1, b't', b'1']);
    let now = tell(&mut driver, 60);
    subscribe(&mut driver, now, first, "$SYS/#");
    let mut lines = messages(&mut driver, now, first);
    lines.sort();
    // What differs between versions.
    let account = driver.view().memory_used();
    assert!(account > 0);
    lines.retain(|line| {
        !["version = metronome ", "heap/current = ", "system/memory = "]
            .iter()
            .any(|told| line.starts_with(told))
    });
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_topic_is_in_the_documentation() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sys-topics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut driver = driver();
    let now = tell(&mut driver, 0);
    let reader = connect(&mut driver, now, b'r');
    subscribe(&mut driver, now, reader, "$SYS/#");
    for line in messages(&mut driver, now, reader) {
        let (topic, _) = line.split_once(" = ").unwrap();
        let plain = topic.trim_start_matches("messages/dropped/").trim_start_matches("load/");
        let plain = ["/1min", "/5min", "/15min"].iter().fold(plain, |name, span| name.trim_end_matches(span));
        assert!([topic, plain].iter().any(|name| page.contains(&format!("`{name}`"))), "{topic}");
    }
}

#[test]
fn only_what_has_changed_is_told_again() {
    let mut driver = driver();
    let start = tell(&mut driver, 0);
    let reader = connect(&mut driver, start, b'r');
    subscribe(&mut driver, start, reader, "$SYS/broker/clients/#");
    assert_eq!(messages(&mut driver, start, reader).len(), 6);
    connect(&mut driver, start, b'c');
    let now = tell(&mut driver, 10);
    let changed = ["connected = 2", "active = 2", "maximum = 2", "total = 2"];
    assert_eq!(messages(&mut driver, now, reader), changed.map(|line| format!("clients/{line}")));
    let now = tell(&mut driver, 20);
    assert!(messages(&mut driver, now, reader).is_empty());
}

#[test]
fn a_wildcard_in_front_does_not_reach_it() {
    let mut driver = driver();
    let start = tell(&mut driver, 0);
    let reader = connect(&mut driver, start, b'r');
    for filter in ["#", "+/broker/uptime", "+/#"] {
        subscribe(&mut driver, start, reader, filter);
    }
    let now = tell(&mut driver, 10);
    assert!(messages(&mut driver, now, reader).is_empty());
    assert_eq!(driver.retained(), 0);
    assert!(driver.view().retained() > 60);
}
