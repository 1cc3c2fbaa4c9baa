//! The embedded broker over real sockets.

mod common;

use common::{Client, connect, packet, publish};
use metronome_tokio::host::config::Linger;
use metronome_tokio::host::engine::{ApplicationMessage, Config, mqtt_proto::QoS};
use metronome_tokio::host::sys_topics::SysTopicsConfig;
use metronome_tokio::{AllowAll, Broker, BrokerConfig, BrokerHandle, PublishError};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

fn start_with(config: BrokerConfig) -> (BrokerHandle, SocketAddr) {
    let broker = Broker::builder().config(config).listen("127.0.0.1:0").hook(AllowAll).start().unwrap();
    let address = broker.local_addrs()[0];
    (broker, address)
}

fn start() -> (BrokerHandle, SocketAddr) {
    start_with(BrokerConfig::default())
}

fn command(topic: &str, payload: &'static [u8]) -> ApplicationMessage {
    ApplicationMessage {
        topic: topic.into(),
        payload: payload.into(),
        qos: QoS::AtMostOnce,
        retain: false,
        ..ApplicationMessage::default()
    }
}

/// Polls until it is so, or ten seconds have passed.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}: not within ten seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn messages_go_from_client_to_client() {
    let (broker, address) = start();
    for version in [4, 5] {
        let mut reader = Client::connect(address, version, "reader");
        let mut writer = Client::connect(address, version, "writer");
        reader.subscribe("a/+", 1);
        writer.publish("a/b", 0, b"zero");
        assert_eq!(reader.message(), b"zero");
        writer.publish("a/b", 1, b"one");
        assert_eq!(writer.packet()[..4], [0x40, 2, 0, 7]);
        let message = reader.packet();
        assert_eq!((message[0], message.ends_with(b"one")), (0x32, true));
        reader.send(&[0x40, 2, 0, 1]);
        for client in [&mut reader, &mut writer] {
            client.send(&[0xe0, 0]);
            assert_eq!(client.try_packet(), None);
        }
    }
    eventually("all acknowledged", || broker.stats().unwrap().counters.completed == 4);
    broker.shutdown(Duration::from_secs(5));
}

#[test]
fn order_holds_across_many_small_and_large_messages() {
    let (broker, address) = start();
    let mut reader = Client::connect(address, 4, "reader");
    reader.subscribe("t", 0);
    let (seen, wave_seen) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let mut writer = Client::connect(address, 4, "writer");
        let sizes = [4, 5000, 100, 20_000, 8, 4096, 4095];
        for number in 0..3000_u32 {
            let mut payload = number.to_be_bytes().to_vec();
            payload.resize(sizes[number as usize % sizes.len()], b'.');
            writer.publish("t", 0, &payload);
            // In waves that stay below what a reader may fall behind.
            if number % 10 == 9 {
                wave_seen.recv().unwrap();
            }
        }
        writer
    });
    for number in 0..3000_u32 {
        assert_eq!(reader.message()[..4], number.to_be_bytes());
        if number % 10 == 9 {
            seen.send(()).unwrap();
        }
    }
    drop(writer.join().unwrap());
    assert_eq!(broker.stats().unwrap().counters.dropped.iter().sum::<u64>(), 0);
}

#[test]
fn a_payload_of_a_mebibyte_reaches_everybody_whole() {
    let (_broker, address) = start();
    let mut readers: Vec<Client> =
        (0..5).map(|n| Client::connect(address, 5, &format!("reader{n}"))).collect();
    for reader in &mut readers {
        reader.subscribe("big", 0);
    }
    let payload: Vec<u8> = (0..1_u32 << 20).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[2]).collect();
    let mut writer = Client::connect(address, 5, "writer");
    writer.publish("big", 1, &payload);
    assert_eq!(writer.packet()[0], 0x40);
    for reader in &mut readers {
        assert!(reader.message() == payload);
    }
}

#[test]
fn a_client_that_does_not_read_delays_nobody() {
    let (broker, address) = start();
    let mut slow = Client::connect(address, 4, "slow");
    let mut quick = Client::connect(address, 4, "quick");
    let mut writer = Client::connect(address, 4, "writer");
    slow.subscribe("t", 0);
    quick.subscribe("t", 0);
    let payload = vec![b'x'; 64 << 10];
    for _ in 0..500 {
        writer.publish("t", 0, &payload);
        assert_eq!(quick.message().len(), payload.len());
    }
    let dropped = broker.stats().unwrap().counters.dropped.iter().sum::<u64>();
    assert!(dropped > 0, "32 MB did not fit into the slow client's socket");
    // It catches up with what was kept, and then gets new messages again.
    for _ in 0..500 - dropped {
        assert_eq!(slow.message().len(), payload.len());
    }
    slow.send(&[0xc0, 0]);
    assert_eq!(slow.packet(), [0xd0, 0]);
    writer.publish("t", 0, b"again");
    assert_eq!(slow.message(), b"again");
}

#[test]
fn queued_messages_follow_a_slow_reader_in_order() {
    let (_broker, address) = start();
    let mut slow = Client::connect(address, 4, "slow");
    slow.subscribe("t", 1);
    let mut writer = Client::connect(address, 4, "writer");
    let mut payload = vec![b'x'; 20 << 10];
    // Less than fits into the queue, more than fits into the socket's and the broker's buffers.
    for number in 0..350_u16 {
        payload[..2].copy_from_slice(&number.to_be_bytes());
        writer.publish("t", 1, &payload);
        assert_eq!(writer.packet()[0], 0x40);
    }
    for number in 0..350_u16 {
        let message = slow.packet();
        let (id, body) = message[message.len() - payload.len() - 2..].split_at(2);
        assert_eq!(body[..2], number.to_be_bytes());
        slow.send(&[0x40, 2, id[0], id[1]]);
    }
}

#[test]
fn a_refused_client_gets_its_connack() {
    let broker = Broker::builder().listen("127.0.0.1:0").start().unwrap();
    let address = broker.local_addrs()[0];
    for _ in 0..20 {
        let mut client = Client::open(address, 5);
        // Unread input at our close would make the system throw the CONNACK away.
        let mut bytes = connect(5, "nobody");
        bytes.extend(publish(5, "t", 0, &[b'x'; 10_000]));
        client.send(&bytes);
        let connack = client.packet();
        assert_eq!((connack[0], connack[3]), (0x20, 0x87), "{connack:02x?}");
        assert_eq!(client.try_packet(), None);
    }
}

#[test]
fn a_flooding_client_still_hears_why_it_is_closed() {
    let config = BrokerConfig {
        limits: Config { receive_maximum: 5, ..Config::default() },
        ..BrokerConfig::default()
    };
    let (_broker, address) = start_with(config);
    let mut client = Client::connect(address, 5, "flood");
    let mut flood = Vec::new();
    for id in 1..=20_000_u16 {
        let [high, low] = id.to_be_bytes();
        flood.extend(packet(0x34, &[0, 1, b't', high, low, 0, b'x', b'x', b'x', b'x']));
    }
    // The end of the flood may find the connection closed.
    let _cut_off = client.stream.write_all(&flood);
    let mut last = Vec::new();
    while let Some(packet) = client.try_packet() {
        last = packet;
    }
    assert_eq!((last[0], last[2]), (0xe0, 0x93), "{last:02x?}");
}

#[test]
fn a_closed_client_that_never_reads_is_let_go() {
    let linger = Linger { time_ms: 50, ..Linger::default() };
    let (broker, address) = start_with(BrokerConfig { linger, ..BrokerConfig::default() });
    let mut slow = Client::connect(address, 5, "slow");
    slow.subscribe("t", 0);
    let mut writer = Client::connect(address, 5, "writer");
    while broker.stats().unwrap().counters.dropped.iter().sum::<u64>() == 0 {
        writer.publish("t", 0, &vec![b'x'; 64 << 10]);
    }
    // Taken over with unsent bytes: they, and so the socket, must not stay for ever.
    let _other = Client::connect(address, 5, "slow");
    std::thread::sleep(Duration::from_millis(300));
    let mut rest = Vec::new();
    // A reset is as good as an end; only a time-out is not.
    match slow.stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    // Had it been waited for, the last packet would have come.
    let tail = &rest[rest.len() - 100..];
    assert!(tail.iter().all(|byte| *byte == b'x'), "{tail:02x?}");
}

#[test]
fn an_answer_reaches_a_client_that_has_ended_its_own_direction() {
    let (_broker, address) = start();
    let mut client = Client::open(address, 4);
    client.send(&[&connect(4, "c")[..], &publish(4, "t", 1, b"x"), &[0xc0, 0]].concat());
    client.stream.shutdown(Shutdown::Write).unwrap();
    let mut answers = Vec::new();
    client.stream.read_to_end(&mut answers).unwrap();
    assert_eq!(answers, [0x20, 2, 0, 0, 0x40, 2, 0, 7, 0xd0, 0]);
}

#[test]
fn bytes_may_come_one_by_one() {
    let (_broker, address) = start();
    let mut client = Client::open(address, 4);
    for byte in connect(4, "slowly") {
        client.stream.write_all(&[byte]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.packet(), [0x20, 2, 0, 0]);
}

#[test]
fn a_silent_transport_is_closed_in_time() {
    let limits = Config { connect_timeout: Duration::from_millis(100), ..Config::default() };
    let (_broker, address) = start_with(BrokerConfig { limits, ..BrokerConfig::default() });
    let mut client = Client::open(address, 4);
    let began = Instant::now();
    assert_eq!(client.try_packet(), None);
    assert!(began.elapsed() >= Duration::from_millis(90) && began.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_embedding_program_can_publish_ask_and_stop() {
    let (broker, address) = start();
    let mut reader = Client::connect(address, 5, "reader");
    reader.subscribe("$SYS/x", 0);
    broker.publish(command("$SYS/x", b"from inside")).unwrap();
    assert_eq!(reader.message(), b"from inside");
    let stats = broker.stats().unwrap();
    assert_eq!((stats.connections, stats.sessions, stats.subscriptions, stats.retained), (1, 1, 1, 0));
    broker.shutdown(Duration::from_secs(5));
    let disconnect = reader.packet();
    assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x8b));
    assert_eq!(reader.try_packet(), None);
    broker.shutdown(Duration::from_secs(5));
    assert!(broker.stats().is_none());
    assert!(matches!(broker.publish(command("t", b"")), Err(PublishError::Stopped)));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_retained_message_of_the_embedding_program_is_kept_until_an_empty_one() {
    let (broker, address) = start();
    for (payload, kept) in [(&b"first"[..], 1), (b"second", 1), (b"", 0)] {
        broker.publish(ApplicationMessage { retain: true, ..command("t", payload) }).unwrap();
        let mut reader = Client::connect(address, 4, "reader");
        reader.subscribe("#", 0);
        if kept == 1 {
            // RETAIN is set: it was there before the subscription.
            assert_eq!(reader.packet(), packet(0x31, &[b"\0\x01t", payload].concat()));
        }
        reader.send(&[0xc0, 0]);
        assert_eq!(reader.packet(), [0xd0, 0]);
        assert_eq!(broker.stats().unwrap().retained, kept);
    }
}

#[test]
fn the_broker_tells_of_itself_unless_it_is_told_not_to() {
    for interval_ms in [10, 0] {
        let sys_topics = SysTopicsConfig { interval_ms };
        let (broker, address) = start_with(BrokerConfig { sys_topics, ..BrokerConfig::default() });
        let mut reader = Client::connect(address, 4, "reader");
        reader.subscribe("$SYS/broker/clients/total", 0);
        if interval_ms > 0 {
            while reader.message() != b"1" {}
        }
        reader.send(&[0xc0, 0]);
        assert_eq!(reader.packet(), [0xd0, 0]);
        assert_eq!(broker.stats().unwrap().retained, 0);
    }
}

#[test]
fn shutdown_does_not_wait_beyond_its_deadline() {
    let linger = Linger { time_ms: 60_000, ..Linger::default() };
    let (broker, address) = start_with(BrokerConfig { linger, ..BrokerConfig::default() });
    // It never closes its side.
    let mut stubborn = Client::connect(address, 5, "stubborn");
    let deadline = Duration::from_secs(1);
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| broker.shutdown(deadline));
        let disconnect = stubborn.packet();
        assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x8b));
        // Who comes meanwhile finds the door closed.
        eventually("closed", || TcpStream::connect(address).is_err());
        assert!(began.elapsed() < deadline);
    });
    assert!(began.elapsed() >= deadline && began.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_handle_works_inside_somebody_elses_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (broker, _) = start();
        for _ in 0..5000 {
            broker.publish(command("t", b"x")).unwrap();
        }
        assert!(broker.stats().is_some());
        broker.shutdown(Duration::from_secs(1));
        broker.stopped().await;
    });
}

#[test]
fn strangers_need_a_hook() {
    let error = Broker::builder().listen("0.0.0.0:0").start().unwrap_err();
    assert!(error.to_string().contains("no authentication"), "{error}");
    // From this machine it can be reached, and lets nobody in.
    let broker = Broker::builder().listen("127.0.0.1:0").start().unwrap();
    let mut stranger = Client::open(broker.local_addrs()[0], 4);
    stranger.send(&connect(4, "stranger"));
    assert_eq!(stranger.packet(), [0x20, 2, 0, 5]);
    let (_broker, address) = start();
    let error = Broker::builder().listen(&address.to_string()).hook(AllowAll).start().unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
}

#[test]
fn thousands_of_clients_come_and_go() {
    let (broker, address) = start();
    for round in 0..20 {
        let mut clients: Vec<Client> =
            (0..50).map(|n| Client::connect(address, 4, &format!("client{round}-{n}"))).collect();
        for client in &mut clients {
            client.stream.flush().unwrap();
        }
    }
    eventually("all gone", || broker.stats().unwrap().connections == 0);
    assert_eq!(broker.stats().unwrap().counters.disconnects, 1000);
}
