//! Networks that fail: what was acknowledged arrives, nothing hangs, and nothing stays behind.

use crate::broker::PATIENCE;
use crate::chaos::{End, Pieces, Proxy, To, Weather};
use crate::client::{Client, Heard};
use crate::judge::{ATTACK, Attack, Site, connect};
use crate::packets::{FOR_EVER, Hello, PINGREQ, publish, subscribe};
use crate::{traffic, transports};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const FAULT: Attack = Attack { ceiling: 16, expected: "all arrives, QoS 2 once", ..ATTACK };

pub(crate) const FAULTS: &[Attack] = &[
    Attack { class: "N01", done: "bytes come one by one", run: single_bytes, ..FAULT },
    Attack { class: "N02", done: "bytes are split and joined anywhere", run: split, ..FAULT },
    Attack { class: "N03", done: "a delay that varies, in both directions", run: delay, ..FAULT },
    Attack { class: "N04", done: "few bytes in a second", run: narrow, ..FAULT },
    Attack { class: "N05", done: "sockets that take little at a time", run: small_buffers, ..FAULT },
    Attack {
        class: "N06",
        done: "clogs, and clients stopped one by one, going on in another order",
        run: clogs,
        ..FAULT
    },
    Attack { class: "N07", done: "peers vanish, and nobody is told", run: half_open, ..FAULT },
    Attack {
        class: "N08",
        done: "FIN anywhere; behind half a packet, DISCONNECT, questions; goodbyes of WebSocket and TLS",
        expected: "all arrives; a will but for DISCONNECT; answers to the last questions",
        run: ends,
        ..FAULT
    },
    Attack { class: "N09", done: "RST at any byte", run: resets, ..FAULT },
    Attack {
        class: "N10",
        done: "some clients are heard and hear nothing, or the other way round",
        run: one_way,
        ..FAULT
    },
    Attack {
        class: "N11",
        done: "2 to 50 connections of one client at once",
        expected: "one stays, the others are told 0x8E or closed",
        run: twins,
        ..FAULT
    },
    Attack {
        class: "N12",
        done: "all clients drop at once and come back at once",
        expected: "all find their session and what waits in it",
        run: storm,
        ..FAULT
    },
    Attack {
        class: "N13",
        done: "a client comes back from another address, also behind a proxy",
        expected: "its session is there",
        run: other_address,
        ..FAULT
    },
    Attack {
        class: "N14",
        done: "more connections than there may be, and no files for more",
        expected: "CONNACK 0x97 or closed; who is there is served, and so is who comes later",
        limits: "max_connections = 50",
        run: burst,
        ..FAULT
    },
    Attack {
        class: "N15",
        done: "clients that send on when the broker has closed, and go while it sends",
        expected: "they read why; nobody else notices",
        run: late_words,
        ..FAULT
    },
];

/// Messages of each publisher.
fn messages(site: &Site<'_>) -> u32 {
    if site.full { 1000 } else { 60 }
}

fn direct(address: SocketAddr) -> impl Fn() -> Option<Client> + Sync {
    move || {
        TcpStream::connect(address).ok().map(|stream| {
            stream.set_nodelay(true).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
            Client::over(stream)
        })
    }
}

/// Everybody comes through this weather.
fn under(site: &Site<'_>, weather: Weather) -> String {
    under_with(site, weather, messages(site), 100)
}

/// The same with so many messages of this length.
fn under_with(site: &Site<'_>, weather: Weather, messages: u32, len: usize) -> String {
    let proxy = Proxy::new(site.broker.address("mqtt"), weather);
    let route = direct(proxy.address);
    traffic::flow(site, [&route, &route, &route], messages, len)
}

/// The same, and over secure WebSockets, whose bytes have more boundaries.
fn under_all(site: &Site<'_>, weather: Weather) -> String {
    let note = under(site, weather);
    let proxy = Proxy::new(site.broker.address("wss"), weather);
    let route = || Some(Client::over(site.secure_websocket(proxy.address)));
    traffic::flow(site, [&route, &route, &route], messages(site) / 4, 100);
    note
}

fn single_bytes(site: &Site<'_>) -> String {
    under_all(site, Weather { pieces: Pieces::Bytes, ..Weather::default() })
}

fn split(site: &Site<'_>) -> String {
    under_all(site, Weather { pieces: Pieces::Random, ..Weather::default() })
}

fn delay(site: &Site<'_>) -> String {
    let weather = Weather { delay: (5, 60), ..Weather::default() };
    under_with(site, weather, messages(site) / 4, 100)
}

fn narrow(site: &Site<'_>) -> String {
    under_with(
        site,
        Weather { bytes_per_second: Some(40_000), ..Weather::default() },
        messages(site) / 2,
        400,
    )
}

fn small_buffers(site: &Site<'_>) -> String {
    // Each full buffer costs a delayed acknowledgement of TCP.
    let weather = Weather { small_buffers: true, ..Weather::default() };
    under_with(site, weather, if site.full { 60 } else { 10 }, 8000)
}

fn clogs(site: &Site<'_>) -> String {
    let note = under(site, Weather { clog: 1000, ..Weather::default() });
    let proxies = [0; 3].map(|_| Proxy::new(site.broker.address("mqtt"), Weather::default()));
    let [once, twice, all] = proxies.each_ref().map(|proxy| direct(proxy.address));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (order, is_closed) in [([0, 1, 2], true), ([1, 2, 0], false)] {
                    for number in order {
                        proxies[number].close(To::Broker, is_closed);
                        proxies[number].close(To::Client, is_closed);
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
            }
        });
        traffic::flow(site, [&once, &twice, &all], messages(site), 100);
        done.store(true, Ordering::Relaxed);
    });
    note
}

/// Bytes behind which a connection ends at most, so that some messages get through in each.
const SOON: u64 = 6000;

/// Everybody's connections end again and again. Each comes back to all that is unacknowledged, so it takes many.
fn under_ends(site: &Site<'_>, end: End) -> String {
    let weather = Weather { ends: Some((SOON, end)), ..Weather::default() };
    under_with(site, weather, messages(site).min(200), 100)
}

fn half_open(site: &Site<'_>) -> String {
    // Each of them costs the clients' patience.
    let weather = Weather { ends: Some((8 * SOON, End::Silence)), ..Weather::default() };
    under_with(site, weather, messages(site).min(200), 400)
}

fn resets(site: &Site<'_>) -> String {
    under_ends(site, End::Reset)
}

fn ends(site: &Site<'_>) -> String {
    let note = under_ends(site, End::Fin);
    let mut watcher = site.client("watcher");
    watcher.subscribe(0, &["wills"]);
    for (last, has_will) in [(&publish("t", 1, 1, &[], b"long")[..6], true), (&[0xe0, 0], false)] {
        let mut stream = site.tcp();
        stream.write_all(&Hello { will: Some("wills"), ..Hello::new("mortal") }.bytes()).unwrap();
        stream.write_all(last).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let heard = watcher.hear_for(Duration::from_millis(if has_will { 10_000 } else { 300 }));
        assert_eq!(matches!(heard, Heard::Packet(0x30, _)), has_will, "{heard:?}");
    }
    let stream = site.tcp();
    let mut half = Client::accepted(stream.try_clone().unwrap(), &Hello::new("half"));
    half.send(&[subscribe(1, 0, ["a"]), publish("nobody", 1, 7, &[], b""), PINGREQ.to_vec()].concat());
    stream.shutdown(Shutdown::Write).unwrap();
    let answers = [(); 4].map(|()| half.hear().in_words());
    assert_eq!(answers, ["SUBACK 0x00", "PUBACK 0x10", "PINGRESP", "closed"]);
    transports::goodbyes(site);
    note
}

fn one_way(site: &Site<'_>) -> String {
    let proxies = [0; 3].map(|_| Proxy::new(site.broker.address("mqtt"), Weather::default()));
    let [once, twice, all] = proxies.each_ref().map(|proxy| direct(proxy.address));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (number, to) in [(0, To::Client), (1, To::Broker), (2, To::Client)] {
                std::thread::sleep(Duration::from_millis(20));
                proxies[number].close(to, true);
            }
            // Longer than clients are patient.
            std::thread::sleep(Duration::from_secs(4));
            for proxy in &proxies {
                proxy.close(To::Client, false);
                proxy.close(To::Broker, false);
            }
        });
        traffic::flow(site, [&once, &twice, &all], messages(site), 100)
    })
}

fn twins(site: &Site<'_>) -> String {
    for count in [2, 10, 50] {
        let weather = Weather { delay: (0, 40), ..Weather::default() };
        let proxy = Proxy::new(site.broker.address("mqtt"), weather);
        let mut twins: Vec<Client> = (0..count)
            .map(|_| {
                let mut twin = Client::over(connect(proxy.address));
                twin.send(&Hello::new("twin").bytes());
                twin
            })
            .collect();
        let is_in = |twin: &mut Client| twin.hear().in_words() == "CONNACK 0x00";
        assert!(twins.iter_mut().all(is_in), "each was there for a moment");
        let stays = |twin: &mut Client| match twin.hear_for(Duration::from_millis(200)) {
            Heard::Silence => twin.is_well(),
            heard => {
                assert!(["DISCONNECT 0x8e", "closed"].contains(&&*heard.in_words()), "{heard:?}");
                false
            }
        };
        assert_eq!(twins.iter_mut().map(stays).filter(|stays| *stays).count(), 1);
        assert_eq!(site.metric("clients"), 1);
    }
    String::new()
}

fn lasting(name: &str) -> Hello<'_> {
    Hello { clean: false, properties: FOR_EVER, ..Hello::new(name) }
}

fn storm(site: &Site<'_>) -> String {
    let count = site.scale(200, 2000);
    let names: Vec<String> = (0..count).map(|number| format!("storm-{number}")).collect();
    let clients: Vec<Client> = names
        .iter()
        .map(|name| {
            let mut client = site.hello(&lasting(name));
            client.subscribe(1, &["all"]);
            client
        })
        .collect();
    drop(clients);
    let mut publisher = site.client("publisher");
    assert_eq!(publisher.ask(&publish("all", 1, 1, &[], b"news")), "PUBACK 0x00");
    let began = Instant::now();
    // All connect before the first is answered.
    let streams: Vec<TcpStream> = names.iter().map(|_| site.tcp()).collect();
    let mut back: Vec<Client> = streams
        .into_iter()
        .zip(&names)
        .map(|(stream, name)| {
            let mut client = Client::over(stream);
            client.send(&lasting(name).bytes());
            client
        })
        .collect();
    for client in &mut back {
        let Heard::Packet(0x20, connack) = client.hear() else { panic!("no CONNACK") };
        assert_eq!(connack[..2], [1, 0], "its session is there");
        assert!(matches!(client.hear(), Heard::Packet(0x32, _)), "and what waits in it");
    }
    let took = began.elapsed();
    assert!(took < PATIENCE, "{took:?}");
    drop(back);
    for name in &names {
        site.client(name).send(&[0xe0, 0]);
    }
    format!("{count} are back after {} ms", took.as_millis())
}

fn other_address(site: &Site<'_>) -> String {
    let moves = lasting("moves");
    site.hello(&moves).subscribe(1, &["post"]);
    let resumes = |stream: TcpStream, header: &[u8]| {
        let mut client = Client::over(stream);
        client.send(&[header, &moves.bytes()].concat());
        let Heard::Packet(0x20, connack) = client.hear() else { panic!("no CONNACK") };
        assert_eq!(connack[..2], [1, 0]);
        client
    };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&site.broker.address("mqtt").into()).unwrap();
    drop(resumes(socket.into(), b""));
    for host in 1..4 {
        let header = format!("PROXY TCP4 203.0.113.{host} 127.0.0.1 {host} 1883\r\n");
        drop(resumes(connect(site.broker.nth("mqtt", 1)), header.as_bytes()));
    }
    site.client("moves").send(&[0xe0, 0]);
    String::new()
}

fn burst(site: &Site<'_>) -> String {
    let mut there = site.client("there");
    let hello = |number: usize| Hello::new(&format!("burst-{number}")).bytes();
    let mut clients: Vec<Client> = (0..200)
        .map(|number| {
            let mut client = Client::over(site.tcp());
            client.send(&hello(number));
            client
        })
        .collect();
    let answers: Vec<String> = clients.iter_mut().map(|client| client.hear().in_words()).collect();
    let accepted = answers.iter().filter(|answer| *answer == "CONNACK 0x00").count();
    assert_eq!(accepted, 49, "as many as there may be");
    assert!(answers.iter().all(|answer| ["CONNACK 0x00", "CONNACK 0x97", "closed"].contains(&&**answer)));
    assert!(there.is_well());
    drop(clients);
    while site.metric("clients") > 1 {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Those of the lowest numbers are taken.
    let most = site.broker.files() as u64 + 10;
    site.broker.limit_files(most);
    let starving: Vec<TcpStream> = (0..40).map(|_| site.tcp()).collect();
    for _ in 0..20 {
        assert!(there.is_well());
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(starving);
    let later = || Client::over(site.tcp()).ask(&hello(0));
    let began = Instant::now();
    while later() != "CONNACK 0x00" {
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    String::new()
}

fn late_words(site: &Site<'_>) -> String {
    let mut other = site.client("other");
    other.subscribe(0, &["all"]);
    for round in 0..site.scale(20, 200) {
        let mut client = site.client("late");
        // No packet, and behind it what nobody will look at.
        client.send(&[0xf0, 0x00].repeat(2000));
        client.send(&[0; 4096].repeat(4));
        client.send(PINGREQ);
        assert_eq!(client.last_words(), "DISCONNECT 0x82", "round {round}");
        let leaves = site.tcp();
        let mut leaving = Client::accepted(leaves.try_clone().unwrap(), &Hello::new("leaves"));
        leaving.subscribe(0, &["all"]);
        for _ in 0..20 {
            other.send(&publish("all", 0, 0, &[], &[7; 4000]));
        }
        // With what it was sent unread: RST.
        SockRef::from(&leaves).set_linger(Some(Duration::ZERO)).unwrap();
        drop((leaves, leaving));
        for _ in 0..20 {
            assert!(matches!(other.hear(), Heard::Packet(0x30, _)));
        }
    }
    assert!(other.is_well());
    String::new()
}
