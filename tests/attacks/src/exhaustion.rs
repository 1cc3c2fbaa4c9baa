//! Attacks that exhaust memory, processor time, files or patience.

use crate::broker::PATIENCE;
use crate::client::{Client, Heard};
use crate::judge::{ATTACK, Attack, Site};
use crate::packets::{
    FOR_EVER, Hello, PINGREQ, ack, packet, publish, string, subscribe, subscribe_with, variable,
};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        class: "B-01",
        done: "16 strangers declare 256 MiB and send 32 MB each",
        expected: "closed at the header, without an answer",
        run: declared_lengths,
        ..ATTACK
    },
    Attack {
        class: "B-02",
        done: "a thousand strangers are silent, or send a byte now and then, over each transport",
        expected: "closed at the deadline for CONNECT; at most 4 KiB each, and 16 KiB with TLS begun",
        limits: "connect_timeout_ms = 1500",
        ceiling: 12,
        run: slow_strangers,
        ..ATTACK
    },
    Attack {
        class: "B-03",
        done: "keep-alive of 0, and of 65,535 s, and then silence",
        expected: "the broker's own cap is announced, and holds",
        limits: "max_keep_alive = 1",
        run: no_keep_alive,
        ..ATTACK
    },
    Attack {
        class: "B-04",
        done: "QoS 2 of 64 KiB without PUBREL, every identifier another, a session away that subscribed",
        expected: "DISCONNECT 0x93 above Receive Maximum; no more than a queue is kept",
        limits: "max_session_expiry = 1",
        ceiling: 12,
        run: hoard,
        ..ATTACK
    },
    Attack {
        class: "B-05",
        done: "the same QoS 2 PUBLISH again and again",
        expected: "PUBREC each time, one delivery",
        run: one_identifier,
        ..ATTACK
    },
    Attack {
        class: "B-06",
        done: "asks without end and reads no answer",
        expected: "is not read; closed when it takes nothing for stall_timeout",
        limits: "stall_timeout_ms = 1000",
        run: reads_nothing,
        ..ATTACK
    },
    Attack {
        class: "B-07",
        done: "8,000 user properties in each packet",
        expected: "DISCONNECT 0x97 at the first",
        run: user_properties,
        ..ATTACK
    },
    Attack {
        class: "B-08",
        done: "packets of 64 KiB and 256 KiB in pieces of 16 bytes",
        expected: "four times the bytes take at most eight times the time",
        run: trickle,
        ..ATTACK
    },
    Attack {
        class: "B-09",
        done: "65,535 times / as topic filter and as topic name",
        expected: "refused; a bystander's SUBSCRIBE is answered within 50 ms",
        run: many_levels,
        ..ATTACK
    },
    Attack {
        class: "B-10",
        done: "topic filters and retained topics without end",
        expected: "SUBACK 0x97, PUBACK 0x97 at the limits",
        limits: "max_subscriptions_per_session = 2000\nmax_retained_messages = 2000\nmax_message_expiry = 2",
        run: distinct_names,
        ..ATTACK
    },
    Attack {
        class: "B-11",
        done: "# for thousands of retained messages, from 100 clients that do not read",
        expected: "page by page: at most 300 KiB for each",
        limits: "max_message_expiry = 4",
        ceiling: 32,
        run: retained_for_all,
        ..ATTACK
    },
    Attack {
        class: "B-12",
        done: "messages for a hundred sessions that are away",
        expected: "each queue keeps to its limit; somebody else is served",
        limits: "max_queued_bytes = 65536\nmax_session_expiry = 1",
        ceiling: 12,
        run: offline_queues,
        ..ATTACK
    },
    Attack {
        class: "B-13",
        done: "a topic alias above the maximum",
        expected: "DISCONNECT 0x94",
        run: aliases,
        ..ATTACK
    },
    Attack {
        class: "B-14",
        done: "sessions without end that are never used again",
        expected: "CONNACK 0x97 at the limit, and again room when they have expired",
        limits: "max_sessions = 500\nmax_session_expiry = 1",
        run: sessions,
        ..ATTACK
    },
    Attack {
        class: "B-15",
        done: "small retained messages, each behind 60 KB that nobody wants",
        expected: "what is kept does not keep what it came with",
        limits: "max_message_expiry = 3",
        run: small_among_large,
        ..ATTACK
    },
    Attack {
        class: "B-16",
        done: "thousands of messages wait for a client that acknowledges nothing",
        expected: "at most 1 KiB for each, and no thread",
        run: no_acknowledgements,
        ..ATTACK
    },
    Attack {
        class: "B-17",
        done: "client identifiers that collide in hashes without a key",
        expected: "cost at most twice what others do",
        ceiling: 8,
        only_full: true,
        run: collisions,
        ..ATTACK
    },
    Attack {
        class: "B-18",
        done: "a will to one's own topic, subscribed by those who have the same will",
        expected: "one message for each will, and then silence",
        run: wills_for_wills,
        ..ATTACK
    },
    Attack {
        class: "B-19",
        done: "one client identifier is taken over again and again, with messages that wait",
        expected: "each is told 0x8E; the last one gets what waits",
        limits: "max_session_expiry = 1",
        run: takeovers,
        ..ATTACK
    },
    Attack {
        class: "B-20",
        done: "one client more than there may be, over TCP and WebSocket",
        expected: "CONNACK 0x97; who takes over a session comes in",
        limits: "max_connections = 20",
        run: one_too_many,
        ..ATTACK
    },
    Attack {
        class: "B-21",
        done: "a hundred thousand PUBLISH packets to oneself at once, and no answer is read",
        expected: "is not read meanwhile, and two queues are full at most; served as soon as it reads",
        ceiling: 20,
        run: pipeline,
        ..ATTACK
    },
    Attack {
        class: "B-22",
        done: "Subscription Identifiers that make a message larger than the client takes",
        expected: "that message is dropped and counted; the next one comes",
        run: grown_beyond,
        ..ATTACK
    },
];

/// Closed without a packet.
fn is_shut_out(stream: TcpStream) -> bool {
    Client::over(stream).hear() == Heard::Closed
}

fn declared_lengths(site: &Site<'_>) -> String {
    let mut sent = 0;
    for number in 0..16 {
        let mut stream = site.tcp();
        let first = [0x10, 0x30, 0x82, 0xf0][number % 4];
        let head = [&[first][..], &variable(268_435_455), &string("MQTT"), &[5, 2, 0, 0]].concat();
        let chunk = vec![0; 1 << 16];
        let mut whole = stream.write_all(&head).is_ok();
        for _ in 0..488 {
            // What the kernel takes after the end is read by nobody.
            whole = whole && stream.write_all(&chunk).is_ok();
            sent += if whole { chunk.len() } else { 0 };
        }
        assert!(!whole, "it takes all of them");
        assert!(is_shut_out(stream));
    }
    format!("{} KiB were taken", sent >> 10)
}

fn slow_strangers(site: &Site<'_>) -> String {
    let began = Instant::now();
    let each = site.scale(50, 250);
    let mut strangers = Vec::new();
    for scheme in ["mqtt", "ws", "mqtts", "wss"] {
        for number in 0..each {
            strangers.push((site.to(scheme), number % 2 == 0));
        }
    }
    while began.elapsed() < Duration::from_millis(1200) {
        for (stream, trickles) in &mut strangers {
            // A CONNECT, a request and a record may all begin with these.
            if *trickles {
                let first =
                    if stream.peer_addr().unwrap() == site.broker.address("ws") { b"G" } else { &[0x16] };
                let _closed = stream.write(first);
                *trickles = false;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    for (stream, _) in strangers {
        assert!(is_shut_out(stream));
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    format!("all gone after {:.1} s", took.as_secs_f32())
}

fn no_keep_alive(site: &Site<'_>) -> String {
    for keep_alive in [0, u16::MAX] {
        let mut client = Client::over(site.tcp());
        client.send(&Hello { keep_alive, ..Hello::new("quiet") }.bytes());
        let Heard::Packet(0x20, connack) = client.hear() else { panic!("no CONNACK") };
        assert!(connack.windows(3).any(|property| property == [0x13, 0, 1]), "{connack:02x?}");
        assert_eq!(client.last_words(), "DISCONNECT 0x8d");
    }
    String::new()
}

fn hoard(site: &Site<'_>) -> String {
    let away = Hello { properties: FOR_EVER, ..Hello::new("away") };
    let mut subscriber = site.hello(&away);
    subscriber.subscribe(2, &["hoard"]);
    drop(subscriber);
    let mut client = site.client("hoarder");
    let payload = vec![7; 64 << 10];
    let mut received = 0;
    for id in 1..=1025 {
        client.send(&publish("hoard", 2, id, &[], &payload));
        // Not more than a few are on their way, so that nothing is lost when the broker closes.
        match client.hear() {
            Heard::Packet(0x50, _) => received += 1,
            heard => {
                assert_eq!((heard.in_words(), received), ("DISCONNECT 0x93".to_owned(), 1024));
                return format!("{received} were taken");
            }
        }
    }
    panic!("it takes more than it announced");
}

fn one_identifier(site: &Site<'_>) -> String {
    let mut subscriber = site.client("subscriber");
    subscriber.subscribe(2, &["once"]);
    let mut client = site.client("again");
    let again = publish("once", 2, 1, &[], b"x").repeat(100);
    for _ in 0..site.scale(20, 2000) {
        client.send(&again);
        for _ in 0..100 {
            assert_eq!(client.hear().in_words(), "PUBREC 0x00");
        }
    }
    assert_eq!(client.ask(&ack(0x62, 1)), "PUBCOMP 0x00");
    assert_eq!(subscriber.hear().in_words(), "PUBLISH");
    assert_eq!(subscriber.ask(PINGREQ), "PINGRESP", "and once");
    String::new()
}

/// Writes until nothing more is taken for a second; says how much was.
fn press(mut stream: TcpStream, bytes: &[u8], most: usize) -> (TcpStream, usize) {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut taken = 0;
    while taken < most {
        match stream.write(bytes) {
            Ok(count) => taken += count,
            Err(_) => return (stream, taken),
        }
    }
    panic!("{taken} bytes were taken without an end");
}

fn reads_nothing(site: &Site<'_>) -> String {
    let mut taken = 0;
    for (name, question) in [
        ("pings", PINGREQ.repeat(1000)),
        ("subscribes", subscribe(1, 0, ["a"]).repeat(1000)),
        ("publishes", publish("a", 1, 1, &[], b"").repeat(1000)),
    ] {
        let mut stream = site.tcp();
        stream.write_all(&Hello::new(name).bytes()).unwrap();
        let (stream, bytes) = press(stream, &question, 256 << 20);
        taken += bytes;
        // What it has taken may still have to be handled, and then its time runs.
        let began = Instant::now();
        while site.metric("clients") > 0 {
            assert!(began.elapsed() < PATIENCE, "{name} is still there");
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(stream);
    }
    format!("{} KiB were taken", taken >> 10)
}

fn user_properties(site: &Site<'_>) -> String {
    let property = [&[0x26][..], &string("k"), &string("v")].concat();
    let flood = publish("t", 1, 1, &property.repeat(8000), b"");
    let began = site.broker.processor_time();
    for _ in 0..site.scale(20, 200) {
        let mut client = site.client("verbose");
        client.send(&flood);
        assert_eq!(client.last_words(), "DISCONNECT 0x97");
    }
    let took = site.broker.processor_time_since(began);
    format!("{took:.1?} of a processor")
}

fn trickle(site: &Site<'_>) -> String {
    let mut client = site.client("trickle");
    let mut cost = |len: usize| {
        let began = site.broker.processor_time();
        for _ in 0..site.scale(1, 20) {
            for piece in publish("t", 1, 1, &[], &vec![7; len]).chunks(16) {
                client.send(piece);
            }
            assert_eq!(client.hear().in_words(), "PUBACK 0x10");
        }
        site.broker.processor_time_since(began)
    };
    let (short, long) = (cost(64 << 10), cost(256 << 10));
    assert!(long <= short * 8 + Duration::from_millis(200), "{short:?} and {long:?}");
    format!("{short:?} and {long:?} of a processor")
}

fn many_levels(site: &Site<'_>) -> String {
    let slashes = "/".repeat(65_535);
    let mut bystander = site.client("bystander");
    let mut longest = Duration::ZERO;
    for (question, wanted) in [
        (subscribe(1, 0, [&*slashes]), ["SUBACK 0x8f", "SUBACK 0x97", "DISCONNECT 0x81", "DISCONNECT 0x95"]),
        (
            publish(&slashes, 1, 1, &[], b""),
            ["PUBACK 0x90", "PUBACK 0x97", "DISCONNECT 0x90", "DISCONNECT 0x95"],
        ),
    ] {
        for _ in 0..20 {
            let mut client = site.client("deep");
            client.send(&question);
            let began = Instant::now();
            bystander.subscribe(0, &["b"]);
            longest = longest.max(began.elapsed());
            let answer = client.hear().in_words();
            assert!(wanted.contains(&&*answer), "{answer}");
        }
    }
    // In the short form other rows have the machine as well.
    let most = Duration::from_millis(if site.full { 50 } else { 1000 });
    assert!(longest <= most, "{longest:?}");
    format!("{longest:.1?} at the longest")
}

fn distinct_names(site: &Site<'_>) -> String {
    let mut client = site.client("names");
    for hundred in 0..20 {
        let filters: Vec<String> = (0..100).map(|number| format!("{hundred}/{number}/+")).collect();
        assert_eq!(client.ask(&subscribe(1, 0, filters.iter().map(String::as_str))), "SUBACK 0x00");
    }
    assert_eq!(client.ask(&subscribe(1, 0, ["one/more"])), "SUBACK 0x97");
    let retain = |number: usize| {
        let mut bytes = publish(&format!("kept/{number}"), 1, 1, &[], b"x");
        bytes[0] |= 1;
        bytes
    };
    for number in 0..2000 {
        assert_eq!(client.ask(&retain(number)), "PUBACK 0x10");
    }
    assert_eq!(client.ask(&retain(2000)), "PUBACK 0x97");
    assert!(client.is_well());
    String::new()
}

fn retained_for_all(site: &Site<'_>) -> String {
    let mut publisher = site.client("publisher");
    for number in 0..site.scale(2000, 5000) {
        let mut bytes = publish(&format!("kept/{number}"), 1, 1, &[], &[7; 200]);
        bytes[0] |= 1;
        assert_eq!(publisher.ask(&bytes), "PUBACK 0x10");
    }
    let before = site.broker.memory();
    site.broker.forget_peak();
    let readers: Vec<Client> = (0..100)
        .map(|number| {
            let mut reader = site.client(&format!("reader-{number}"));
            reader.send(&subscribe(1, 1, ["#"]));
            reader
        })
        .collect();
    assert!(publisher.is_well());
    std::thread::sleep(Duration::from_secs(1));
    let each = site.broker.peak().saturating_sub(before) / 100;
    assert!(each <= 300, "{each} KiB for each");
    drop(readers);
    format!("{each} KiB for each")
}

fn offline_queues(site: &Site<'_>) -> String {
    let names: Vec<String> = (0..100).map(|number| format!("away-{number}")).collect();
    for name in &names {
        let mut client = site.hello(&Hello { properties: FOR_EVER, ..Hello::new(name) });
        client.subscribe(1, &["all"]);
    }
    let mut publisher = site.client("publisher");
    let mut reader = site.client("reader");
    reader.subscribe(0, &["all"]);
    for number in 0..site.scale(200, 1000) {
        // Nothing is shared between these, as each is another.
        let payload = [&number.to_be_bytes()[..], &[7; 2000]].concat();
        assert_eq!(publisher.ask(&publish("all", 1, 1, &[], &payload)), "PUBACK 0x00");
        assert_eq!(reader.hear().in_words(), "PUBLISH");
    }
    format!("{} deliveries wait", site.metric("deliveries_unfinished"))
}

fn aliases(site: &Site<'_>) -> String {
    for alias in [17u16, 1000, u16::MAX, 0] {
        let mut client = site.client("alias");
        let [high, low] = alias.to_be_bytes();
        client.send(&publish("t", 0, 0, &[0x23, high, low], b""));
        assert_eq!(client.last_words(), "DISCONNECT 0x94", "{alias}");
    }
    String::new()
}

fn sessions(site: &Site<'_>) -> String {
    let lasting = |name: &str| {
        let mut client = Client::over(site.tcp());
        client.ask(&Hello { properties: FOR_EVER, ..Hello::new(name) }.bytes())
    };
    // The first may have expired when the last one comes.
    let refused = (0..5000).find(|number| lasting(&format!("flood-{number}")) == "CONNACK 0x97");
    let refused = refused.expect("one is refused");
    assert!(refused >= 500, "{refused}");
    let began = Instant::now();
    while lasting("later") != "CONNACK 0x00" {
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(100));
    }
    format!("one was refused behind {refused}")
}

fn small_among_large(site: &Site<'_>) -> String {
    let mut client = site.client("pins");
    let large = publish("nobody", 0, 0, &[], &vec![7; 60_000]);
    for number in 0..site.scale(200, 1000) {
        let mut small = publish(&format!("kept/{number}"), 1, 1, &[], b"x");
        small[0] |= 1;
        assert_eq!(client.ask(&[&small[..], &large].concat()), "PUBACK 0x10");
    }
    String::new()
}

fn no_acknowledgements(site: &Site<'_>) -> String {
    let threads = site.broker.threads();
    let mut stubborn = site.client("stubborn");
    stubborn.subscribe(1, &["queue"]);
    let before = site.broker.memory();
    let mut publisher = site.client("publisher");
    let count = site.scale(20, 200);
    let messages = publish("queue", 1, 1, &[], b"16 bytes of them").repeat(100);
    for _ in 0..count {
        publisher.send(&messages);
        for _ in 0..100 {
            assert_eq!(publisher.hear().in_words(), "PUBACK 0x00");
        }
    }
    let each = (site.broker.peak().saturating_sub(before) << 10) / (count as u64 * 100);
    assert!(each <= 1024, "{each} bytes");
    assert_eq!(site.broker.threads(), threads);
    format!("{each} bytes for each")
}

/// FNV-1a, as brokers without a key have it.
fn fnv(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn collisions(site: &Site<'_>) -> String {
    let names = |wanted: fn(u64) -> bool| -> Vec<String> {
        (0..).map(|number| format!("id-{number:08}")).filter(|name| wanted(fnv(name))).take(3000).collect()
    };
    let kinds = [names(|_| true), names(|hash| hash.trailing_zeros() >= 12)];
    let cost = |names: &Vec<String>| {
        let began = site.broker.processor_time();
        let clients: Vec<Client> = names.iter().map(|name| site.client(name)).collect();
        drop(clients);
        while site.metric("clients") > 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        site.broker.processor_time_since(began)
    };
    // In turns, and the least of each, as the machine has other work too.
    let rounds = [(); 5].map(|()| kinds.each_ref().map(cost));
    let least = |kind: usize| rounds.iter().map(|round| round[kind]).min().unwrap();
    let (ordinary, colliding) = (least(0), least(1));
    assert!(colliding <= ordinary * 2, "{ordinary:?} and {colliding:?}");
    format!("{ordinary:?} and {colliding:?} of a processor")
}

fn wills_for_wills(site: &Site<'_>) -> String {
    let count = 50;
    let mut mortals: Vec<Client> = (0..count)
        .map(|number| {
            let name = format!("mortal-{number}");
            let mut client = site.hello(&Hello { will: Some("wills"), ..Hello::new(&name) });
            client.subscribe(0, &["wills"]);
            client
        })
        .collect();
    let mut watcher = site.client("watcher");
    watcher.subscribe(0, &["wills"]);
    while let Some(mortal) = mortals.pop() {
        drop(mortal);
        assert_eq!(watcher.hear().in_words(), "PUBLISH");
    }
    assert_eq!(watcher.hear_for(Duration::from_millis(300)), Heard::Silence);
    String::new()
}

fn takeovers(site: &Site<'_>) -> String {
    let lasting = Hello { properties: FOR_EVER, clean: false, ..Hello::new("wanted") };
    let mut holder = site.hello(&lasting);
    holder.subscribe(1, &["post"]);
    let mut publisher = site.client("publisher");
    let payload = vec![7; 1000];
    for _ in 0..100 {
        assert_eq!(publisher.ask(&publish("post", 1, 1, &[], &payload)), "PUBACK 0x00");
    }
    let rounds = site.scale(100, 2000);
    for _ in 0..rounds {
        let next = site.hello(&lasting);
        assert_eq!(holder.last_words(), "DISCONNECT 0x8e");
        holder = next;
    }
    for _ in 0..100 {
        assert_eq!(holder.hear().in_words(), "PUBLISH");
    }
    format!("{rounds} times")
}

fn one_too_many(site: &Site<'_>) -> String {
    let mut clients: Vec<Client> = (0..20).map(|number| site.client(&format!("c-{number}"))).collect();
    let hello = Hello::new("one-more").bytes();
    assert_eq!(Client::over(site.tcp()).ask(&hello), "CONNACK 0x97");
    assert_eq!(Client::over(site.websocket()).ask(&hello), "CONNACK 0x97");
    let mut again = site.client("c-0");
    assert_eq!(clients[0].last_words(), "DISCONNECT 0x8e");
    assert!(again.is_well() && clients[1].is_well());
    String::new()
}

fn pipeline(site: &Site<'_>) -> String {
    let mut client = site.client("pipeline");
    client.subscribe(1, &["own"]);
    let batch = publish("own", 1, 1, &[], &[7; 100]).repeat(1000);
    let mut sender = site.tcp();
    sender.write_all(&[Hello::new("sender").bytes(), subscribe(1, 1, ["own"])].concat()).unwrap();
    let (sender, taken) = press(sender, &batch, 256 << 20);
    assert!(client.hear() != Heard::Closed);
    // What it has been sent meanwhile is read at last, and then it is read again.
    let mut sender = Client::over(sender);
    let until = Instant::now() + Duration::from_secs(20);
    let mut acknowledged = 0;
    while acknowledged < 2000 {
        assert!(Instant::now() < until, "it is stuck after {acknowledged}");
        match sender.hear() {
            Heard::Packet(0x40, _) => acknowledged += 1,
            Heard::Packet(..) => {}
            heard => panic!("{heard:?} after {acknowledged}"),
        }
    }
    format!("{} KiB were taken", taken >> 10)
}

fn grown_beyond(site: &Site<'_>) -> String {
    // Maximum Packet Size of 64.
    let mut small = site.hello(&Hello { properties: &[0x27, 0, 0, 0, 64], ..Hello::new("small") });
    for (number, filter) in (1u8..).zip(["t/#", "t/+", "+/a", "#", "+/#", "t/a"]) {
        let identifier = [0x0b, 0xff, 0xff, 0xff, number];
        assert_eq!(small.ask(&subscribe_with(1, 0, &identifier, [filter])), "SUBACK 0x00");
    }
    let mut publisher = site.client("publisher");
    publisher.send(&[publish("t/a", 0, 0, &[], &[7; 40]), publish("t/a", 0, 0, &[], b"x")].concat());
    let Heard::Packet(0x30, next) = small.hear() else { panic!("the next one comes") };
    assert_eq!(next.last(), Some(&b'x'));
    assert!(packet(0x30, &next).len() <= 64);
    String::new()
}
