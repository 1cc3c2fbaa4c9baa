//! Every kind of listener of one broker, over real sockets. The same for each runtime: who includes it has its own as
//! `adapter`.

use crate::adapter::host::config::Linger;
use crate::adapter::host::config::listeners::{
    ClientCertificates, ListenerConfig, TcpConfig, TlsConfig, Transport,
};
use crate::adapter::{AllowAll, Bound, Broker, BrokerConfig, BrokerHandle, Builder, Client, Decision, Hook};
use crate::authority::Authority;
use crate::client::{Messages, Stream, Tls, shake_hands, websocket};
use crate::packets::{connect, packet, publish};
use broker_engine::mqtt_proto::ReasonCode;
use broker_engine::{Authenticate, Config, Interest, ListenerId};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// All that clients can come in by, each on a listener of its own name.
const KINDS: [&str; 9] = ["tcp", "tls", "ws", "wss", "unix", "any", "any-tls", "any-ws", "any-wss"];

fn authority() -> Authority {
    let authority = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    authority.issue("localhost");
    authority
}

fn tls(authority: &Authority) -> TlsConfig {
    let (certificate, key) = (authority.file("localhost.pem"), authority.file("localhost.key"));
    TlsConfig { certificate, key, ..TlsConfig::default() }
}

fn listener(transport: Transport, authority: &Authority) -> ListenerConfig {
    let has_tls = matches!(transport, Transport::Tls | Transport::Wss | Transport::Https | Transport::Any);
    let address = match transport {
        Transport::Unix => authority.file("m.sock").display().to_string(),
        _ => "127.0.0.1:0".to_owned(),
    };
    ListenerConfig {
        transport: Some(transport),
        name: transport.scheme().to_owned(),
        tls: has_tls.then(|| tls(authority)),
        ..ListenerConfig::at(address)
    }
}

fn everything(authority: &Authority) -> Builder {
    let transports = [
        Transport::Tcp,
        Transport::Tls,
        Transport::Ws,
        Transport::Wss,
        Transport::Any,
        Transport::Http,
        Transport::Https,
        #[cfg(unix)]
        Transport::Unix,
    ];
    transports
        .iter()
        .fold(Broker::builder(), |builder, transport| builder.listener(listener(*transport, authority)))
}

fn address(broker: &BrokerHandle, transport: Transport) -> SocketAddr {
    let found = broker.listeners().iter().find(|listener| listener.transport == transport);
    found.unwrap().address.unwrap()
}

fn tcp(broker: &BrokerHandle, transport: Transport) -> TcpStream {
    let stream = TcpStream::connect(address(broker, transport)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A stream of MQTT bytes over one of [`KINDS`].
fn open(broker: &BrokerHandle, authority: &Authority, kind: &str) -> Box<dyn Stream> {
    let secure = |transport| {
        let mut stream = Tls::default().over(authority, tcp(broker, transport));
        shake_hands(&mut stream, || panic!("the socket blocks")).unwrap();
        stream
    };
    match kind {
        "tcp" => Box::new(tcp(broker, Transport::Tcp)),
        "any" => Box::new(tcp(broker, Transport::Any)),
        "tls" => Box::new(secure(Transport::Tls)),
        "any-tls" => Box::new(secure(Transport::Any)),
        "ws" => Box::new(Messages::of(websocket(tcp(broker, Transport::Ws), "/mqtt", || ()))),
        "any-ws" => Box::new(Messages::of(websocket(tcp(broker, Transport::Any), "/mqtt", || ()))),
        "wss" => Box::new(Messages::of(websocket(secure(Transport::Wss), "/mqtt", || ()))),
        "any-wss" => Box::new(Messages::of(websocket(secure(Transport::Any), "/mqtt", || ()))),
        #[cfg(unix)]
        "unix" => {
            let stream = std::os::unix::net::UnixStream::connect(authority.file("m.sock")).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Box::new(stream)
        }
        _ => panic!("{kind}"),
    }
}

fn expect(stream: &mut dyn Stream, wanted: &[u8], what: &str) {
    let mut got = vec![0; wanted.len()];
    stream.read_exact(&mut got).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(got == wanted, "{what}: {:02x?}", &got[..got.len().min(20)]);
}

/// An accepted client of MQTT 5.
fn client(broker: &BrokerHandle, authority: &Authority, kind: &str, name: &str) -> Box<dyn Stream> {
    accepted(open(broker, authority, kind), name)
}

fn accepted(mut stream: Box<dyn Stream>, name: &str) -> Box<dyn Stream> {
    stream.write_all(&connect(5, name)).unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut connack = vec![0; head[1].into()];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!((head[0], connack[1]), (0x20, 0), "{name}");
    stream
}

/// Closed, whatever was said before.
fn is_closed(stream: &mut dyn Read) -> bool {
    let mut buffer = [0; 1000];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

#[test]
fn messages_go_from_every_transport_to_every_other() {
    let authority = authority();
    let broker = everything(&authority).hook(AllowAll).start().unwrap();
    let mut subscribers: Vec<_> = KINDS
        .iter()
        .map(|kind| {
            let mut subscriber = client(&broker, &authority, kind, &format!("to-{kind}"));
            subscriber.write_all(&packet(0x82, &[0, 1, 0, 0, 1, b't', 0])).unwrap();
            expect(&mut subscriber, &[0x90, 4, 0, 1, 0, 0], kind);
            subscriber
        })
        .collect();
    for len in [3, 200, 70_000, 1 << 20] {
        for from in KINDS {
            let message = publish(5, "t", 0, &vec![7; len]);
            let mut publisher = client(&broker, &authority, from, &format!("from-{from}"));
            publisher.write_all(&message).unwrap();
            for (subscriber, to) in subscribers.iter_mut().zip(KINDS) {
                expect(subscriber, &message, &format!("{len} bytes from {from} to {to}"));
            }
        }
    }
    assert_eq!(broker.stats().unwrap().counters.protocol_errors, 0);
}

#[test]
fn the_last_words_arrive_over_every_transport() {
    let authority = authority();
    let broker = everything(&authority).hook(AllowAll).start().unwrap();
    let mut clients: Vec<_> =
        KINDS.iter().map(|kind| client(&broker, &authority, kind, &format!("at-{kind}"))).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| broker.shutdown(PATIENCE));
        for (client, kind) in clients.iter_mut().zip(KINDS) {
            let mut said = [0; 3];
            client.read_exact(&mut said).unwrap_or_else(|error| panic!("{kind}: {error}"));
            assert_eq!((said[0], said[2]), (0xe0, 0x8b), "{kind}");
            assert!(is_closed(client), "{kind}");
        }
        // Nobody waits for those that have heard it.
        drop(clients);
    });
}

#[test]
fn who_does_not_get_to_mqtt_in_time_is_closed() {
    let authority = authority();
    let config = BrokerConfig {
        limits: Config { connect_timeout: Duration::from_millis(300), ..Config::default() },
        linger: Linger { time_ms: 100, ..Linger::default() },
        ..BrokerConfig::default()
    };
    let proxied = ListenerConfig {
        proxies: vec!["127.0.0.0/8".to_owned()],
        name: "proxied".to_owned(),
        ..ListenerConfig::at("127.0.0.1:0")
    };
    // After the configuration, which brings no listeners.
    let mut builder = Broker::builder().config(config).hook(AllowAll).listener(proxied);
    for transport in [Transport::Tls, Transport::Ws, Transport::Wss, Transport::Any, Transport::Http] {
        builder = builder.listener(listener(transport, &authority));
    }
    let broker = builder.start().unwrap();
    for (transport, begin) in [
        (Transport::Tcp, &b"PROXY TCP4 "[..]),
        (Transport::Tls, b""),
        (Transport::Tls, b"\x16\x03\x01\x01\x00"),
        (Transport::Ws, b""),
        (Transport::Ws, b"GET /mqtt HTTP/1.1\r\nHost: x\r\n"),
        (Transport::Wss, b"\x16"),
        (Transport::Any, b""),
        (Transport::Any, b"\x16\x03"),
        (Transport::Any, b"GET "),
        (Transport::Http, b"GET /healthz HTTP/1.1\r\n"),
    ] {
        let mut stream = tcp(&broker, transport);
        let began = Instant::now();
        stream.write_all(begin).unwrap();
        assert!(is_closed(&mut stream), "{transport:?} {begin:?}");
        let took = began.elapsed();
        let in_time = Duration::from_millis(250)..Duration::from_secs(3);
        assert!(in_time.contains(&took), "{transport:?} {begin:?}: {took:?}");
    }
    assert_eq!(broker.stats().unwrap().connections, 0);
}

#[test]
fn who_publishes_too_fast_waits_and_others_do_not() {
    let config = BrokerConfig {
        limits: Config { max_publish_rate: 20, publish_burst: Duration::ZERO, ..Config::default() },
        ..BrokerConfig::default()
    };
    let authority = authority();
    let tcp = listener(Transport::Tcp, &authority);
    let broker = Broker::builder().config(config).hook(AllowAll).listener(tcp).start().unwrap();
    let mut hasty = client(&broker, &authority, "tcp", "hasty");
    let mut patient = client(&broker, &authority, "tcp", "patient");
    let began = Instant::now();
    hasty.write_all(&publish(5, "t", 1, b"").repeat(6)).unwrap();
    patient.write_all(&publish(5, "t", 1, b"")).unwrap();
    // Nobody subscribed.
    let acknowledged = [0x40, 3, 0, 7, 0x10];
    expect(&mut patient, &acknowledged, "who sends one");
    expect(&mut hasty, &acknowledged.repeat(6), "who sends six");
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    assert_eq!(broker.stats().unwrap().counters.publish_delayed, 5);
}

/// The system's own account of its sockets says which timer runs.
#[cfg(target_os = "linux")]
#[test]
fn options_of_sockets_are_set() {
    let tcp = |keepalive_idle_s| {
        let tcp = TcpConfig { keepalive_idle_s, ..TcpConfig::default() };
        ListenerConfig { tcp, ..ListenerConfig::at("127.0.0.1:0") }
    };
    let broker = Broker::builder().hook(AllowAll).listener(tcp(0)).listener(tcp(100)).start().unwrap();
    let has_keepalive = |address: SocketAddr| {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(&connect(4, "c")).unwrap();
        expect(&mut client, &[0x20, 2, 0, 0], "CONNACK");
        let ends = [address, client.local_addr().unwrap()].map(|end| format!(":{:04X}", end.port()));
        let sockets = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let fields = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut found =
            fields.filter(|fields| ends.iter().zip(&fields[1..]).all(|(end, at)| at.ends_with(end)));
        found.next().unwrap()[5].starts_with("02:")
    };
    let found: Vec<bool> = broker.local_addrs().iter().map(|address| has_keepalive(*address)).collect();
    assert_eq!(found, [false, true]);
}

/// User name and address.
type Arrival = (Option<String>, Option<SocketAddr>);

/// Keeps who asked to come in.
struct Asked(Arc<Mutex<Vec<Arrival>>>);

impl Hook for Asked {
    fn interest(&self) -> Interest {
        Interest::NONE
    }

    fn authenticate(&mut self, client: &Client, _: &Authenticate) -> Decision {
        self.0.lock().unwrap().push((client.username.clone(), client.peer));
        Decision::allow()
    }
}

/// Keeps by which listener and over what each client came in.
struct CameBy(Arc<Mutex<BTreeMap<String, (String, &'static str)>>>);

impl Hook for CameBy {
    fn authenticate(&mut self, client: &Client, _: &Authenticate) -> Decision {
        let by = (client.listener_name.to_string(), client.transport.name());
        self.0.lock().unwrap().insert(client.client_id.clone(), by);
        Decision::allow()
    }
}

#[test]
fn it_is_known_by_which_listener_and_over_what_a_client_came() {
    let (authority, came_by) = (authority(), Arc::default());
    let broker = everything(&authority).hook(CameBy(Arc::clone(&came_by))).start().unwrap();
    let clients = KINDS.map(|kind| client(&broker, &authority, kind, kind));
    let mut over = BTreeMap::new();
    for (kind, (listener, transport)) in &*came_by.lock().unwrap() {
        let (first, last) = kind.split_once('-').unwrap_or((kind, kind));
        let wanted = match (first, last) {
            ("any", "any") => ("any", "tcp"),
            ("any", last) => ("any", last),
            ("tcp", _) => ("mqtt", "tcp"),
            ("tls", _) => ("mqtts", "tls"),
            (kind, _) => (kind, kind),
        };
        assert_eq!((&**listener, *transport), wanted, "{kind}");
        *over.entry(*transport).or_insert(0) += 1;
    }
    let stats = broker.stats().unwrap().connections_over;
    assert_eq!(stats.into_iter().map(|(over, count)| (over.name(), count)).collect::<BTreeMap<_, _>>(), over);
    drop(clients);
}

#[test]
fn hooks_of_a_listener_decide_about_nobody_else() {
    let broker = Broker::builder().listen("127.0.0.1:0").listen("127.0.0.1:0").listen("127.0.0.1:0");
    let broker = broker.hook_for(vec![ListenerId(1)], AllowAll).hook_for(vec![ListenerId(2)], Refuses);
    let broker = broker.start().unwrap();
    let code = |address: &SocketAddr| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&connect(5, "c")).unwrap();
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).unwrap();
        connack[3]
    };
    // Not authorized where nobody says anything, success, banned.
    assert_eq!(broker.local_addrs().iter().map(code).collect::<Vec<_>>(), [0x87, 0, 0x8a]);
}

struct Refuses;

impl Hook for Refuses {
    fn authenticate(&mut self, _: &Client, _: &Authenticate) -> Decision {
        Decision::deny(ReasonCode::Banned)
    }
}

#[test]
fn only_proxies_come_in_where_proxies_are_named() {
    let asked = Arc::default();
    let named =
        |proxy: &str| ListenerConfig { proxies: vec![proxy.to_owned()], ..ListenerConfig::at("127.0.0.1:0") };
    let broker = Broker::builder()
        .listener(named("127.0.0.1"))
        .listener(named("192.0.2.0/24"))
        .hook(Asked(Arc::clone(&asked)))
        .start()
        .unwrap();
    let [trusted, strange] = *broker.local_addrs() else { panic!() };
    let ask = |address: SocketAddr, header: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may be closed already.
        let _closed = stream.write_all(&[header, &connect(4, "c")].concat());
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).is_ok()
    };
    let header = b"PROXY TCP4 203.0.113.9 127.0.0.1 12345 1883\r\n";
    assert!(ask(trusted, header));
    assert_eq!(asked.lock().unwrap().pop().unwrap().1, Some("203.0.113.9:12345".parse().unwrap()));
    assert!(!ask(trusted, b""));
    assert!(!ask(strange, header));
    assert_eq!(asked.lock().unwrap().len(), 0);
}

#[test]
fn a_certificate_makes_the_user_and_a_reload_is_for_those_to_come() {
    let (authority, other) = (authority(), authority());
    authority.issue("alice");
    let asked = Arc::default();
    let secure = ListenerConfig {
        tls: Some(TlsConfig {
            ca: Some(authority.file("ca.pem")),
            client_certificates: ClientCertificates::Required,
            username_from_certificate: true,
            ..tls(&authority)
        }),
        ..ListenerConfig::at("tls://127.0.0.1:0")
    };
    let broker = Broker::builder().listener(secure).hook(Asked(Arc::clone(&asked))).start().unwrap();
    let come = |name: &str, client: &Tls, authority: &Authority| {
        let mut stream = client.over(authority, tcp(&broker, Transport::Tls));
        shake_hands(&mut stream, || panic!("the socket blocks"))?;
        stream.write_all(&connect(4, name))?;
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).map(|()| stream)
    };
    let alice = Tls { name: Some("alice"), ..Tls::default() };
    let mut first = come("first", &alice, &authority).unwrap();
    assert_eq!(asked.lock().unwrap().pop().unwrap().0.as_deref(), Some("alice"));
    assert!(come("nobody", &Tls::default(), &authority).is_err());

    std::fs::remove_file(authority.file("localhost.key")).unwrap();
    let error = broker.reload_certificates().unwrap_err().to_string();
    assert!(error.contains("localhost.key"), "{error}");
    drop(come("second", &alice, &authority).unwrap());
    // From now on it is another who vouches for us, and for clients.
    for file in ["localhost.key", "localhost.pem", "ca.pem"] {
        std::fs::copy(other.file(file), authority.file(file)).unwrap();
    }
    broker.reload_certificates().unwrap();
    assert!(come("third", &alice, &authority).is_err());
    other.issue("bob");
    drop(come("bob", &Tls { name: Some("bob"), ..Tls::default() }, &other).unwrap());
    // Who was there stays.
    first.write_all(&[0xc0, 0]).unwrap();
    expect(&mut first, &[0xd0, 0], "PINGRESP");
}

#[test]
fn pages_tell_of_the_broker() {
    let authority = authority();
    let broker = everything(&authority).hook(AllowAll).start().unwrap();
    let _client = client(&broker, &authority, "wss", "c");
    let get = |path: &str| {
        let mut stream = tcp(&broker, Transport::Http);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("/healthz").ends_with("\r\n\r\nok\n"));
    assert!(get("/stats").contains("\n\t\"clients_connected\": 1,\n"));
    assert!(get("/metrics").contains("\nmetronome_clients 1\n"));
    assert!(get("/").starts_with("HTTP/1.1 404 "));
    let mut secure = Tls::default().over(&authority, tcp(&broker, Transport::Https));
    secure.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    secure.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nready\n"), "{answer}");
    // Who only reads a page never was a client.
    assert_eq!(broker.stats().unwrap().counters.connects, 1);
}

#[test]
fn who_does_not_read_over_any_transport_disturbs_nobody() {
    let authority = authority();
    let broker = everything(&authority).hook(AllowAll).start().unwrap();
    let stalled: Vec<_> = KINDS
        .iter()
        .map(|kind| {
            let mut stalled = client(&broker, &authority, kind, &format!("stalled-{kind}"));
            stalled.write_all(&packet(0x82, &[0, 1, 0, 0, 1, b't', 0])).unwrap();
            stalled
        })
        .collect();
    let mut reader = client(&broker, &authority, "wss", "reader");
    reader.write_all(&packet(0x82, &[0, 1, 0, 0, 1, b't', 0])).unwrap();
    expect(&mut reader, &[0x90, 4, 0, 1, 0, 0], "SUBACK");
    let mut publisher = client(&broker, &authority, "tls", "publisher");
    // More than the kernel holds for those who do not read.
    let message = publish(5, "t", 0, &vec![7; 1 << 18]);
    for _ in 0..60 {
        publisher.write_all(&message).unwrap();
        expect(&mut reader, &message, "who reads");
    }
    let stats = broker.stats().unwrap();
    assert!(stats.counters.dropped.iter().sum::<u64>() > 0, "they were slow");
    // High water, a message and what it is wrapped in for each, which share the message.
    assert!(stats.memory_used < 32 << 20, "{} bytes", stats.memory_used);
    drop(stalled);
}

#[test]
fn why_a_websocket_ends_is_read_although_more_was_sent() {
    let authority = authority();
    let broker = everything(&authority).hook(AllowAll).start().unwrap();
    for round in 0..20 {
        let mut socket = websocket(tcp(&broker, Transport::Ws), "/mqtt", || ());
        let stream = socket.get_mut();
        // Text, and behind it what nobody will look at.
        stream.write_all(&[0x81, 0x84, 0, 0, 0, 0, b't', b'e', b'x', b't']).unwrap();
        for _ in 0..10 {
            stream.write_all(&[0; 4096]).unwrap();
        }
        expect(stream, &[0x88, 2, 0x03, 0xeb], &format!("round {round}"));
    }
}

#[test]
fn an_address_has_so_many_strangers_and_no_more() {
    let limited = |proxies: &[&str]| ListenerConfig {
        max_strangers_per_address: 2,
        proxies: proxies.iter().map(|proxy| (*proxy).to_owned()).collect(),
        ..ListenerConfig::at("127.0.0.1:0")
    };
    let ws = ListenerConfig { transport: Some(Transport::Ws), ..limited(&[]) };
    let builder = Broker::builder().listener(limited(&[])).listener(ws).listener(limited(&["127.0.0.1"]));
    let broker = builder.hook(AllowAll).start().unwrap();
    let [plain, ws, proxied] = *broker.local_addrs() else { panic!() };
    let open = |address: SocketAddr, hello: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        stream.write_all(hello).unwrap();
        stream
    };
    let is_out = |stream: &mut TcpStream| is_closed(stream);
    // One before MQTT, one in it.
    let mut entering = open(ws, b"GET ");
    let mut silent = open(plain, b"");
    assert!(!is_out(&mut entering) && !is_out(&mut silent));
    assert!(is_out(&mut open(plain, b"")) && is_out(&mut open(ws, b"GET ")));
    // Whoever is let in, or goes, makes room.
    silent.write_all(&connect(4, "c")).unwrap();
    expect(&mut silent, &[0x20, 2, 0, 0], "CONNACK");
    let mut another = open(plain, b"");
    assert!(!is_out(&mut another));
    drop((another, entering));
    std::thread::sleep(Duration::from_millis(200));
    // Behind a proxy it is the client's address that counts.
    let header = |host: u8| format!("PROXY TCP4 192.0.2.{host} 127.0.0.1 1 2\r\n").into_bytes();
    let mut first: Vec<TcpStream> = (0..2).map(|_| open(proxied, &header(1))).collect();
    assert!(first.iter_mut().all(|stream| !is_out(stream)));
    assert!(is_out(&mut open(proxied, &header(1))));
    assert!(!is_out(&mut open(proxied, &header(2))));
}

#[test]
fn a_socket_that_listens_already_is_taken_as_it_is() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let own = socket.local_addr().unwrap();
    let ws = ListenerConfig { transport: Some(Transport::Ws), ..ListenerConfig::default() };
    let builder = Broker::builder().listen("127.0.0.1:0").listener_on(socket, ws).unwrap();
    let broker = builder.hook(AllowAll).start().unwrap();
    assert_eq!(broker.local_addrs()[1], own);
    let authority = authority();
    drop(client(&broker, &authority, "ws", "c"));
    drop(client(&broker, &authority, "tcp", "c"));
    let nobodys = Bound::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let error = Broker::builder().listen("program").socket(nobodys).hook(AllowAll).start().unwrap_err();
    assert!(error.to_string().ends_with(": no listener is configured for this socket"), "{error}");
}

#[test]
fn connections_that_the_program_brings_are_served() {
    let came_by = Arc::default();
    let ws = ListenerConfig { name: "web".to_owned(), ..ListenerConfig::at("ws://program/mqtt") };
    let broker = Broker::builder().listen("program").listener(ws).hook(CameBy(Arc::clone(&came_by)));
    let broker = broker.start().unwrap();
    assert_eq!(broker.local_addrs(), [], "it listens nowhere");
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let come = |listener: u16| {
        let stream = TcpStream::connect(own.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (accepted, peer) = own.accept().unwrap();
        broker.accept(ListenerId(listener), accepted, Some(peer)).map(|()| stream)
    };
    let mut plain = accepted(Box::new(come(0).unwrap()), "plain");
    let mut web = accepted(Box::new(Messages::of(websocket(come(1).unwrap(), "/mqtt", || ()))), "web");
    for client in [&mut plain, &mut web] {
        client.write_all(&[0xc0, 0]).unwrap();
        expect(client, &[0xd0, 0], "PINGRESP");
    }
    let seen = came_by.lock().unwrap().clone();
    assert_eq!((seen["plain"].1, &seen["web"]), ("tcp", &("web".to_owned(), "ws")));
    #[cfg(unix)]
    {
        // Any stream of bytes: the program has the other end.
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        broker.accept(ListenerId(0), theirs, None).unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        drop(accepted(Box::new(ours), "pair"));
    }
    assert_eq!(come(2).unwrap_err().kind(), ErrorKind::InvalidInput);
    broker.shutdown(PATIENCE);
    assert_eq!(come(0).unwrap_err().kind(), ErrorKind::NotConnected);
}

#[cfg(unix)]
#[test]
fn a_socket_file_goes_with_the_broker() {
    let authority = authority();
    let path = authority.file("m.sock");
    let start = || {
        let listener = listener(Transport::Unix, &authority);
        Broker::builder().listener(listener).hook(AllowAll).start()
    };
    let broker = start().unwrap();
    let error = start().unwrap_err().to_string();
    assert!(error.ends_with("m.sock: the socket is in use by another program"), "{error}");
    drop(client(&broker, &authority, "unix", "c"));
    broker.shutdown(PATIENCE);
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    let error = start().unwrap_err().to_string();
    assert!(error.ends_with("m.sock: a file that is no socket is there"), "{error}");
}
