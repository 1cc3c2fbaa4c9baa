//! Files and sockets of the `metronome` binary, and that no client has the broker for itself.
#![cfg(unix)]

mod common;

use common::process::{binary, metronome, start, start_on_free_port};
use common::{Client, publish};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn the_open_file_limit_is_raised_as_far_as_it_goes() {
    let mut command = Command::new("sh");
    let script =
        format!("ulimit -Sn 100 && ulimit -Hn 400 && exec {} --listen 127.0.0.1:0", binary().display());
    command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let broker = start(command);
    assert!(broker.greeting.contains("open-file limit 400\n"), "{}", broker.greeting);
    let clients: Vec<Client> =
        (0..150).map(|number| Client::connect(broker.address, 4, &format!("c{number}"))).collect();
    drop(clients);
}

#[test]
fn a_broker_that_is_started_again_has_its_port_at_once() {
    let mut broker = start_on_free_port(&[]);
    let mut client = Client::connect(broker.address, 5, "c");
    broker.signal("TERM");
    // The broker ends the connection first, and all of it arrives, so that its side lingers in the kernel.
    assert_eq!(client.packet()[0], 0xe0);
    assert_eq!(client.try_packet(), None);
    drop(client);
    assert_eq!(broker.ended().0, Some(0));
    let mut command = metronome();
    command.args(["--listen", &broker.address.to_string()]);
    let again = start(command);
    Client::connect(again.address, 5, "c");
}

#[test]
fn a_flood_leaves_turns_to_others() {
    let broker = start_on_free_port(&[]);
    let mut calm = Client::connect(broker.address, 4, "calm");
    let mut flood = Client::connect(broker.address, 4, "flood");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let many = publish(4, "t", 0, b"x").repeat(100_000);
            while !stop.load(Ordering::Relaxed) {
                flood.stream.write_all(&many).unwrap();
            }
        });
        std::thread::sleep(Duration::from_millis(200));
        for _ in 0..20 {
            let asked = Instant::now();
            calm.send(&[0xc0, 0]);
            assert_eq!(calm.packet(), [0xd0, 0]);
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
    });
}
