//! A publisher and a subscriber on one machine, both as fast as they can, through the binary. The subscriber's window
//! is small, so it is slower by its round trips, and what the publisher is ahead must fit into the queue.
#![cfg(unix)]

mod common;

use common::process::start_on_free_port;
use common::{Client, packet};
use std::io::{Read, Write};
use std::path::PathBuf;

const MESSAGES: u16 = 20_000;

/// Bytes of every PUBLISH here: two of header, three of topic, two of identifier, two of payload.
const PUBLISH: usize = 9;

fn config(queue: u16) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("flat-{}.toml", std::process::id()));
    std::fs::write(&path, format!("[limits]\nmax_inflight = 20\nmax_queued_messages = {queue}\n")).unwrap();
    path
}

/// Publishes all of it without waiting for acknowledgements, and then takes those.
fn publish_all(mut publisher: Client) {
    let mut acknowledged = publisher.stream.try_clone().unwrap();
    let taking = std::thread::spawn(move || {
        acknowledged.read_exact(&mut vec![0; 4 * usize::from(MESSAGES)]).expect("every acknowledgement");
    });
    for number in 1..=MESSAGES {
        let number = number.to_be_bytes();
        publisher.send(&packet(0x32, &[&[0, 1, b't'][..], &number, &number].concat()));
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

#[test]
fn nothing_is_lost_where_the_queue_has_room_for_the_burst() {
    let path = config(MESSAGES);
    let mut broker = start_on_free_port(&["--config", path.to_str().unwrap(), "--log-level", "warn"]);
    let mut subscriber = Client::connect(broker.address, 4, "subscriber");
    subscriber.subscribe("t", 1);
    let publisher = Client::connect(broker.address, 4, "publisher");
    let publishing = std::thread::spawn(move || publish_all(publisher));
    let numbers = receive_all(subscriber);
    publishing.join().unwrap();
    assert!(numbers.into_iter().eq(1..=MESSAGES), "in order, each once");
    broker.signal("TERM");
    assert_eq!(broker.ended(), (Some(0), String::new()), "and nothing to warn of");
}
