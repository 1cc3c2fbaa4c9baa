//! A publisher as fast as it can, and a subscriber that is slower, through the binary: what the publisher is ahead fits
//! into the queue.
#![cfg(unix)]

mod common;

use common::process::{Running, start_on_free_port};
use common::{Client, packet};
use std::io::{Read, Write};
use std::path::PathBuf;

const MESSAGES: u16 = 20_000;

/// Bytes of every payload, of which the first two are the message's number.
const PAYLOAD: usize = 64;

/// Bytes of every PUBLISH: two of header, three of topic, two of identifier, the payload.
const PUBLISH: usize = 7 + PAYLOAD;

/// Publishes all of it without waiting for acknowledgements, and then takes those.
fn publish_all(mut publisher: Client) {
    let mut acknowledged = publisher.stream.try_clone().unwrap();
    let taking = std::thread::spawn(move || {
        acknowledged.read_exact(&mut vec![0; 4 * usize::from(MESSAGES)]).expect("every acknowledgement");
    });
    for number in 1..=MESSAGES {
        let number = number.to_be_bytes();
        let rest = [b'x'; PAYLOAD - 2];
        publisher.send(&packet(0x32, &[&[0, 1, b't'][..], &number, &number, &rest].concat()));
    }
    taking.join().unwrap();
}

/// Acknowledges whatever comes, as much at once as there is; the numbers that came.
fn receive_all(mut subscriber: Client) -> Vec<u16> {
    let mut buffer = vec![0; 64 << 10];
    let (mut numbers, mut have) = (Vec::new(), 0);
    while numbers.len() < usize::from(MESSAGES) {
        have += match subscriber.stream.read(&mut buffer[have..]) {
            Ok(count @ 1..) => count,
            end => panic!("{} of {MESSAGES} came, and then {end:?}", numbers.len()),
        };
        let whole = have / PUBLISH * PUBLISH;
        let messages = buffer[..whole].chunks(PUBLISH);
        numbers.extend(messages.clone().map(|message| u16::from_be_bytes([message[7], message[8]])));
        let acks: Vec<u8> = messages.flat_map(|message| [0x40, 2, message[5], message[6]]).collect();
        subscriber.stream.write_all(&acks).unwrap();
        buffer.copy_within(whole..have, 0);
        have -= whole;
    }
    numbers
}

/// A broker with a client that has subscribed to `t`, and its publisher.
fn start(flags: &[&str]) -> (Running, Client, Client) {
    let broker = start_on_free_port(&[&["--log-level", "warn"], flags].concat());
    let mut subscriber = Client::connect(broker.address, 4, "subscriber");
    subscriber.subscribe("t", 1);
    let publisher = Client::connect(broker.address, 4, "publisher");
    (broker, subscriber, publisher)
}

fn expect_all(mut broker: Running, numbers: Vec<u16>) {
    assert!(numbers.into_iter().eq(1..=MESSAGES), "in order, each once");
    broker.signal("TERM");
    assert_eq!(broker.ended(), (Some(0), String::new()), "and nothing to warn of");
}

/// Slower by its round trips: for each it gets no more than its window.
#[test]
fn nothing_is_lost_through_a_small_window() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("flat-{}.toml", std::process::id()));
    std::fs::write(&path, "[limits]\nmax_inflight = 20\n").unwrap();
    let (broker, subscriber, publisher) = start(&["--config", path.to_str().unwrap()]);
    let publishing = std::thread::spawn(move || publish_all(publisher));
    let numbers = receive_all(subscriber);
    publishing.join().unwrap();
    expect_all(broker, numbers);
}

/// As slow as can be, on every machine: it begins to read when everything is published and acknowledged.
#[test]
fn nothing_is_lost_for_a_slow_client_as_the_broker_comes() {
    let (broker, subscriber, publisher) = start(&[]);
    publish_all(publisher);
    let numbers = receive_all(subscriber);
    expect_all(broker, numbers);
}
