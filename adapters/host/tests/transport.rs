//! Every transport with a driver behind it, over memory: in any split, with sockets that take little, against
//! independent clients.

mod common;

use broker_engine::mqtt_proto::ReasonCode;
use broker_engine::{Authenticate, CloseCause};
use common::authority::Authority;
use common::client::{Messages, Stream, Tls, shake_hands, websocket};
use common::server::{NOW, Server};
use metronome_host::config::listeners::{ClientCertificates, MetricNames, TlsConfig, TlsVersion};
use metronome_host::transport::{Certificates, Page, Service, Stages, WebSocketPolicy};
use metronome_host::{Client, Decision, Flushed, Hook};
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, Mutex};

const CONNECT: &[u8] = &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'c'];
const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const SUBSCRIBE: &[u8] = &[0x82, 6, 0, 1, 0, 1, b't', 0];
const SUBACK: &[u8] = &[0x90, 3, 0, 1, 0];

/// QoS 0 to topic t; `len` is at least 125 bytes and below 2 MiB.
fn publish(len: usize) -> Vec<u8> {
    let rest = len + 3;
    let low = |number: usize| u8::try_from(number % 128).unwrap();
    let mut packet = vec![0x30, low(rest) | 0x80];
    if rest < 1 << 14 {
        packet.push(low(rest >> 7));
    } else {
        packet.extend([low(rest >> 7) | 0x80, low(rest >> 14)]);
    }
    packet.extend([0, 1, b't']);
    packet.extend((0..len).map(low));
    packet
}

fn tls_config(authority: &Authority) -> TlsConfig {
    authority.issue("localhost");
    TlsConfig {
        certificate: authority.file("localhost.pem"),
        key: authority.file("localhost.key"),
        ..TlsConfig::default()
    }
}

fn certificates(config: TlsConfig) -> Arc<Certificates> {
    Arc::new(Certificates::load(config, &[b"mqtt", b"http/1.1"]).unwrap())
}

fn policy() -> WebSocketPolicy {
    WebSocketPolicy { path: "/mqtt".to_owned(), origins: Vec::new(), max_message: 1 << 22 }
}

/// A kind of transport, from both sides.
#[allow(clippy::struct_excessive_bools)] // Each is a stage by itself.
#[derive(Clone, Copy, Debug)]
struct Kind {
    is_proxied: bool,
    tls: bool,
    websocket: bool,
    any: bool,
}

const KINDS: [Kind; 9] = {
    const PLAIN: Kind = Kind { is_proxied: false, tls: false, websocket: false, any: false };
    [
        Kind { is_proxied: true, ..PLAIN },
        Kind { tls: true, ..PLAIN },
        Kind { websocket: true, ..PLAIN },
        Kind { tls: true, websocket: true, ..PLAIN },
        Kind { is_proxied: true, tls: true, websocket: true, any: false },
        Kind { any: true, ..PLAIN },
        Kind { any: true, tls: true, ..PLAIN },
        Kind { any: true, websocket: true, ..PLAIN },
        Kind { any: true, is_proxied: true, tls: true, websocket: true },
    ]
};

impl Kind {
    fn stages(self, certificates: &Arc<Certificates>) -> Stages {
        Stages {
            is_proxied: self.is_proxied,
            tls: (self.tls || self.any).then(|| Arc::clone(certificates)),
            service: match (self.any, self.websocket) {
                (true, _) => Service::Any(policy()),
                (_, true) => Service::WebSocket(policy()),
                _ => Service::Mqtt,
            },
        }
    }

    fn client(self, authority: &Authority, server: &mut Server) -> Box<dyn Stream> {
        let mut pipe = server.pipe.clone();
        if self.is_proxied {
            pipe.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 1883\r\n").unwrap();
        }
        let stream: Box<dyn Stream> = if self.tls {
            let mut stream = Tls::default().over(authority, pipe);
            shake_hands(&mut stream, || server.run()).unwrap();
            Box::new(stream)
        } else {
            Box::new(pipe)
        };
        if !self.websocket {
            return stream;
        }
        Box::new(Messages::of(websocket(stream, "/mqtt", || server.run())))
    }
}

/// Reads until as much has come as is wanted, or nothing comes any more.
fn receive(client: &mut dyn Stream, server: &mut Server, wanted: usize) -> Vec<u8> {
    let (mut got, mut buffer, mut idle) = (Vec::new(), [0; 4096], 0);
    while got.len() < wanted && idle < 10 {
        server.run();
        match client.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                got.extend(&buffer[..count]);
                idle = 0;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => idle += 1,
            Err(error) => panic!("{error}"),
        }
    }
    got
}

/// [MQTT-6.0.0-2], [3.1.1: MQTT-6.0.0-2]
#[test]
fn mqtt_is_the_same_over_every_transport_in_any_split() {
    let authority = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    let certificates = certificates(tls_config(&authority));
    let sent = publish(40_000);
    let wanted = [CONNACK, SUBACK, &sent].concat();
    for kind in KINDS {
        for step in [1, 7, 1000, usize::MAX] {
            let mut server = Server::new(kind.stages(&certificates), step);
            let mut client = kind.client(&authority, &mut server);
            // Packets that share a message, and one that is in several.
            client.write_all(&[CONNECT, SUBSCRIBE, &sent[..5]].concat()).unwrap();
            for part in sent[5..].chunks(9000) {
                client.write_all(part).unwrap();
            }
            let got = receive(&mut client, &mut server, wanted.len());
            assert!(got == wanted, "{kind:?} in steps of {step}: {} bytes, {:?}", got.len(), server.end);
        }
    }
}

#[test]
fn the_peer_is_who_the_proxy_says() {
    struct Peers(Arc<Mutex<Vec<String>>>);
    impl Hook for Peers {
        fn authenticate(&mut self, client: &Client, _: &Authenticate) -> Decision {
            self.0.lock().unwrap().push(client.peer.unwrap().to_string());
            Decision::allow()
        }
    }
    let peers = Arc::default();
    for (header, wanted) in [
        (&b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 1883\r\n"[..], "192.0.2.7:12345"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1:4711"),
    ] {
        let stages = Stages { is_proxied: true, ..Stages::default() };
        let mut server = Server::with(stages, usize::MAX, Peers(Arc::clone(&peers)));
        server.take(&[header, CONNECT].concat());
        assert_eq!(peers.lock().unwrap().pop().as_deref(), Some(wanted));
    }
    let mut server = Server::new(Stages { is_proxied: true, ..Stages::default() }, usize::MAX);
    server.take(CONNECT);
    assert_eq!(server.end, Some(Err("no PROXY header".to_owned())));
}

#[test]
fn what_a_socket_does_not_take_is_backlog_whatever_it_is_wrapped_in() {
    let authority = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    let certificates = certificates(tls_config(&authority));
    let sent = publish(200_000);
    for kind in KINDS {
        let mut server = Server::new(kind.stages(&certificates), usize::MAX);
        let mut client = kind.client(&authority, &mut server);
        client.write_all(&[CONNECT, SUBSCRIBE].concat()).unwrap();
        assert_eq!(receive(&mut client, &mut server, 9), [CONNACK, SUBACK].concat());
        let (conn, _) = server.client.as_ref().unwrap();
        let conn = *conn;
        server.driver.received(NOW, conn, &sent);
        // Not a byte counts as sent before all that it is wrapped in has gone with it.
        for _ in 0..10 {
            assert_eq!(server.flush(100), Flushed::Blocked, "{kind:?}");
        }
        assert!(server.driver.unsent(conn) > sent.len() - 1000, "{kind:?}");
        let mut rounds = 0;
        while server.flush(10_000) == Flushed::Blocked {
            rounds += 1;
        }
        assert!((18..30).contains(&rounds), "{kind:?}: {rounds}");
        assert_eq!(server.driver.unsent(conn), 0);
        let got = receive(&mut client, &mut server, sent.len());
        assert!(got == sent, "{kind:?}: {} bytes", got.len());
    }
}

#[test]
fn a_close_by_the_engine_is_said_in_every_layer() {
    let authority = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    let certificates = certificates(tls_config(&authority));
    for kind in KINDS {
        let mut server = Server::new(kind.stages(&certificates), usize::MAX);
        let mut client = kind.client(&authority, &mut server);
        client.write_all(CONNECT).unwrap();
        assert_eq!(receive(&mut client, &mut server, 4), CONNACK);
        // A second CONNECT is a breach of the protocol.
        client.write_all(CONNECT).unwrap();
        let bytes = std::mem::take(&mut server.pipe.0.borrow_mut().to_server);
        let (conn, layers) = server.client.as_mut().unwrap();
        let driver = &mut server.driver;
        layers.receive(&mut bytes.clone(), |mqtt| driver.received(NOW, *conn, mqtt)).unwrap();
        if kind.tls || kind.websocket {
            // It is not over before the goodbye is written.
            assert_eq!(server.flush(1), Flushed::Blocked, "{kind:?}");
        }
        assert_eq!(server.flush(usize::MAX), Flushed::Close, "{kind:?}");
        let end = client.read(&mut [0; 100]);
        match end {
            Ok(0) => assert!(kind.tls || kind.websocket, "{kind:?}"),
            Ok(count) => panic!("{kind:?}: {count} bytes"),
            // Of plain MQTT only the socket says it.
            Err(error) => assert!(!kind.tls && !kind.websocket, "{kind:?}: {error}"),
        }
    }
}

#[test]
fn a_client_that_closes_a_layer_has_closed_the_connection() {
    let authority = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    let certificates = certificates(tls_config(&authority));
    let tls = Stages { tls: Some(Arc::clone(&certificates)), ..Stages::default() };
    let mut server = Server::new(tls, 5);
    let mut client = Tls::default().over(&authority, server.pipe.clone());
    shake_hands(&mut client, || server.run()).unwrap();
    client.write_all(CONNECT).unwrap();
    assert_eq!(receive(&mut client, &mut server, 4), CONNACK);
    client.conn.send_close_notify();
    client.flush().unwrap();
    server.run();
    assert_eq!(server.closed, Some(CloseCause::PeerClosed));

    let stages = Stages { service: Service::WebSocket(policy()), ..Stages::default() };
    let mut server = Server::new(stages, 5);
    let pipe = server.pipe.clone();
    let mut client = Messages::of(websocket(pipe, "/mqtt", || server.run()));
    client.write_all(CONNECT).unwrap();
    assert_eq!(receive(&mut client, &mut server, 4), CONNACK);
    client.socket.close(None).unwrap();
    server.run();
    assert_eq!(server.closed, Some(CloseCause::PeerClosed));
    // The answer to its Close frame has come.
    assert!(matches!(client.socket.read(), Ok(tungstenite::Message::Close(None))));
}

/// What was asked in the same read as the goodbye is answered, whatever a socket takes at a time, and the goodbye comes last.
#[test]
fn answers_come_before_the_goodbye() {
    const PINGREQ: [u8; 2] = [0xc0, 0];
    const PINGRESP: [u8; 2] = [0xd0, 0];
    let authority = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    let certificates = certificates(tls_config(&authority));
    for room in [3, usize::MAX] {
        let tls = Stages { tls: Some(Arc::clone(&certificates)), ..Stages::default() };
        let mut server = Server::new(tls, usize::MAX);
        let mut client = Tls::default().over(&authority, server.pipe.clone());
        shake_hands(&mut client, || server.run()).unwrap();
        client.write_all(CONNECT).unwrap();
        assert_eq!(receive(&mut client, &mut server, 4), CONNACK);
        client.write_all(&PINGREQ).unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
        server.part(room);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!((answer, server.closed), (PINGRESP.to_vec(), Some(CloseCause::PeerClosed)));

        for (goodbye, cause) in [
            ([0x88, 0x80, 0, 0, 0, 0], CloseCause::PeerClosed),
            ([0x81, 0x80, 0, 0, 0, 0], CloseCause::Fault),
        ] {
            let stages = Stages { service: Service::WebSocket(policy()), ..Stages::default() };
            let mut server = Server::new(stages, usize::MAX);
            let pipe = server.pipe.clone();
            let mut client = Messages::of(websocket(pipe, "/mqtt", || server.run()));
            client.write_all(CONNECT).unwrap();
            assert_eq!(receive(&mut client, &mut server, 4), CONNACK);
            client.write_all(&PINGREQ).unwrap();
            client.socket.get_mut().write_all(&goodbye).unwrap();
            server.part(room);
            assert_eq!(server.closed, Some(cause));
            let mut answer = [0; 2];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer, PINGRESP);
            assert_eq!(client.read(&mut answer).unwrap(), 0, "the goodbye");
        }
    }
}

/// [MQTT-6.0.0-1], [3.1.1: MQTT-6.0.0-1]
#[test]
fn a_breach_of_framing_ends_the_connection_with_its_status() {
    let stages = Stages { service: Service::WebSocket(policy()), ..Stages::default() };
    let mut server = Server::new(stages, usize::MAX);
    let pipe = server.pipe.clone();
    let mut client = websocket(pipe, "/mqtt", || server.run());
    client.send(tungstenite::Message::Ping(b"there?".to_vec().into())).unwrap();
    server.run();
    assert_eq!(client.read().unwrap(), tungstenite::Message::Pong(b"there?".to_vec().into()));
    client.send(tungstenite::Message::text("hello")).unwrap();
    server.run();
    assert_eq!(server.closed, Some(CloseCause::Fault));
    let Ok(tungstenite::Message::Close(Some(frame))) = client.read() else { panic!("no Close frame") };
    assert_eq!(u16::from(frame.code), 1003);
    assert_eq!(server.flush(usize::MAX), Flushed::Close);
}

#[test]
fn garbage_is_refused_before_mqtt_or_left_to_it() {
    let authority = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    let certificates = certificates(tls_config(&authority));
    for kind in KINDS {
        for garbage in [0xff, b'G', 0x16, 0] {
            for step in [1000, usize::MAX] {
                let mut server = Server::new(kind.stages(&certificates), step);
                server.pipe.0.borrow_mut().to_server = vec![garbage; 200_000];
                server.run();
                let refused = matches!(server.end, Some(Err(_)));
                // What is MQTT for the transport is for the engine to refuse.
                assert!(refused || server.client.is_some(), "{kind:?} of {garbage:02x}");
            }
        }
    }
}

fn handshake(authority: &Authority, config: TlsConfig, client: &Tls) -> (Server, Result<Vec<u8>, String>) {
    let stages = Stages { tls: Some(certificates(config)), ..Stages::default() };
    let users = Users(Arc::default());
    let mut server = Server::with(stages, usize::MAX, users);
    let mut stream = client.over(authority, server.pipe.clone());
    let shaken = shake_hands(&mut stream, || server.run());
    if let Err(error) = shaken.and_then(|()| stream.write_all(CONNECT)) {
        return (server, Err(error.to_string()));
    }
    let mut got = [0; 4];
    for _ in 0..10 {
        server.run();
        match stream.read(&mut got) {
            Ok(4) => return (server, Ok(got.to_vec())),
            Ok(count) => return (server, Err(format!("{count} bytes"))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return (server, Err(error.to_string())),
        }
    }
    (server, Err("nothing".to_owned()))
}

/// Lets in who is known by a certificate, and everybody who asks for nothing else.
struct Users(Arc<Mutex<Vec<String>>>);

impl Hook for Users {
    fn authenticate(&mut self, client: &Client, _: &Authenticate) -> Decision {
        self.0.lock().unwrap().extend(client.username.clone());
        match client.username.as_deref() {
            Some("mallory") => Decision::deny(ReasonCode::NotAuthorized),
            _ => Decision::allow(),
        }
    }
}

#[test]
fn client_certificates_are_asked_for_as_configured() {
    let authority = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    let strange = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    authority.issue_as("alice", "alice", 7, 4000);
    authority.issue_as("bob", "bob", 8, 4000);
    authority.issue_as("carol", "carol", 9, 2000);
    strange.issue("mallory");
    for file in ["mallory.pem", "mallory.key"] {
        std::fs::copy(strange.file(file), authority.file(file)).unwrap();
    }
    authority.revoke(&[8]);
    let base = TlsConfig {
        ca: Some(authority.file("ca.pem")),
        crl: vec![authority.file("revoked.pem")],
        ..tls_config(&authority)
    };
    for (asked, name, wanted) in [
        (ClientCertificates::None, None, Ok(())),
        (ClientCertificates::None, Some("mallory"), Ok(())),
        (ClientCertificates::Optional, None, Ok(())),
        (ClientCertificates::Optional, Some("alice"), Ok(())),
        (ClientCertificates::Optional, Some("mallory"), Err("UnknownIssuer")),
        (ClientCertificates::Required, None, Err("peer sent no certificates")),
        (ClientCertificates::Required, Some("alice"), Ok(())),
        (ClientCertificates::Required, Some("bob"), Err("Revoked")),
        (ClientCertificates::Required, Some("carol"), Err("expired")),
        (ClientCertificates::Required, Some("mallory"), Err("UnknownIssuer")),
    ] {
        let config = TlsConfig { client_certificates: asked, ..base.clone() };
        let client = Tls { name, ..Tls::default() };
        let (server, got) = handshake(&authority, config, &client);
        match wanted {
            Ok(()) => assert_eq!(got.as_deref(), Ok(CONNACK), "{asked:?} {name:?}: {:?}", server.end),
            Err(wanted) => {
                let Some(Err(why)) = server.end else { panic!("{asked:?} {name:?}: {got:?}") };
                assert!(why.contains(wanted) && got.is_err(), "{asked:?} {name:?}: {why}");
            }
        }
    }
}

#[test]
fn a_certificate_can_say_who_the_user_is() {
    let authority = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    for name in ["alice", "mallory"] {
        authority.issue(name);
    }
    for (by_certificate, name, wanted) in
        [(true, "alice", CONNACK), (true, "mallory", &[0x20, 2, 0, 5]), (false, "mallory", CONNACK)]
    {
        let config = TlsConfig {
            ca: Some(authority.file("ca.pem")),
            client_certificates: ClientCertificates::Required,
            username_from_certificate: by_certificate,
            ..tls_config(&authority)
        };
        let (_, got) = handshake(&authority, config, &Tls { name: Some(name), ..Tls::default() });
        assert_eq!(got.as_deref(), Ok(wanted), "{name}");
    }
}

#[test]
fn versions_protocols_and_names_are_agreed_on() {
    let authority = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    let base = tls_config(&authority);
    let ask = |config: &TlsConfig, client: Tls| handshake(&authority, config.clone(), &client).1;
    assert!(ask(&base, Tls { only_1_2: true, ..Tls::default() }).is_ok());
    let only_1_3 = TlsConfig { minimum_version: TlsVersion::Tls13, ..base.clone() };
    assert!(ask(&only_1_3, Tls { only_1_2: true, ..Tls::default() }).is_err());
    assert!(ask(&only_1_3, Tls::default()).is_ok());
    assert!(ask(&base, Tls { protocols: vec!["mqtt"], ..Tls::default() }).is_ok());
    assert!(ask(&base, Tls { protocols: vec!["h2"], ..Tls::default() }).is_err());
    // A name that no certificate has, before and after there is one.
    let other = Tls { server_name: "other.example", ..Tls::default() };
    assert!(ask(&base, other.clone()).is_err());
    authority.issue("other.example");
    let named = metronome_host::config::listeners::NamedCertificate {
        name: "Other.example".to_owned(),
        certificate: authority.file("other.example.pem"),
        key: authority.file("other.example.key"),
    };
    let both = TlsConfig { names: vec![named], ..base };
    assert!(ask(&both, other).is_ok());
    assert!(ask(&both, Tls::default()).is_ok());
}

#[test]
fn a_reload_changes_all_or_nothing_for_those_to_come() {
    let authority = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    let other = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    let loaded = certificates(tls_config(&authority));
    let is_trusted = |authority: &Authority| {
        let stages = Stages { tls: Some(Arc::clone(&loaded)), ..Stages::default() };
        let mut server = Server::new(stages, usize::MAX);
        let mut client = Tls::default().over(authority, server.pipe.clone());
        shake_hands(&mut client, || server.run()).is_ok()
    };
    assert!(is_trusted(&authority) && !is_trusted(&other));
    // The certificate without its key.
    other.issue("localhost");
    std::fs::copy(other.file("localhost.pem"), authority.file("localhost.pem")).unwrap();
    let error = Certificates::reload(std::iter::once(&*loaded)).unwrap_err().to_string();
    assert!(error.contains("is not the key of the certificate in"), "{error}");
    assert!(is_trusted(&authority) && !is_trusted(&other));
    std::fs::copy(other.file("localhost.key"), authority.file("localhost.key")).unwrap();
    Certificates::reload(std::iter::once(&*loaded)).unwrap();
    assert!(!is_trusted(&authority) && is_trusted(&other));
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let authority = Authority::new(env!("CARGO_TARGET_TMPDIR"));
    let good = tls_config(&authority);
    authority.issue_as("expired", "localhost", 1, 2000);
    authority.issue("other");
    std::fs::write(authority.file("empty"), "").unwrap();
    std::fs::write(authority.file("broken"), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
        .unwrap();
    let file = |name: &str| authority.file(name);
    let required = ClientCertificates::Required;
    let named = |name: &str| metronome_host::config::listeners::NamedCertificate {
        name: name.to_owned(),
        certificate: file("other.pem"),
        key: file("other.key"),
    };
    for (config, wanted) in [
        (TlsConfig { certificate: file("nowhere"), ..good.clone() }, "cannot read "),
        (TlsConfig { certificate: file("empty"), ..good.clone() }, "empty: there is no certificate in it"),
        (TlsConfig { certificate: file("broken"), ..good.clone() }, "broken: "),
        (
            TlsConfig { certificate: file("expired.pem"), key: file("expired.key"), ..good.clone() },
            "expired.pem: the certificate has expired on 2000-01-01",
        ),
        (TlsConfig { key: file("empty"), ..good.clone() }, "empty: "),
        (
            TlsConfig { key: file("other.key"), ..good.clone() },
            "other.key: is not the key of the certificate in",
        ),
        (TlsConfig { key: authority.file(""), ..good.clone() }, "cannot read "),
        (
            TlsConfig { client_certificates: required, ..good.clone() },
            "client_certificates needs listeners.tls.ca",
        ),
        (
            TlsConfig { client_certificates: required, ca: Some(file("empty")), ..good.clone() },
            "empty: there is no certificate in it",
        ),
        (
            TlsConfig {
                client_certificates: required,
                ca: Some(file("ca.pem")),
                crl: vec![file("empty")],
                ..good.clone()
            },
            "empty: there is no list of revoked certificates in it",
        ),
        (
            TlsConfig { names: vec![named("elsewhere")], ..good.clone() },
            "the certificate for elsewhere does not",
        ),
        (TlsConfig { names: vec![named("other")], ..good.clone() }, ""),
    ] {
        match Certificates::load(config, &[b"mqtt"]) {
            Ok(_) => assert_eq!(wanted, ""),
            Err(error) => {
                let error = error.to_string();
                assert!(!wanted.is_empty() && error.contains(wanted), "{wanted:?}: {error}");
                assert_eq!(error.lines().count(), 1);
            }
        }
    }
}

#[test]
fn pages_are_answered_and_everything_else_is_refused() {
    let ask = |request: &str| {
        let service = Service::Pages(MetricNames::Metronome);
        let stages = Stages { service, ..Stages::default() };
        let mut server = Server::new(stages, 3);
        server.pipe.0.borrow_mut().to_server = request.as_bytes().to_vec();
        server.run();
        let bytes = std::mem::take(&mut server.pipe.0.borrow_mut().to_client);
        (String::from_utf8(bytes.into()).unwrap(), server.end)
    };
    let get = |path: &str| ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    for (path, page, kind, text) in [
        ("/healthz", Page::Health, "text/plain", "\r\n\r\nok\n"),
        ("/readyz?verbose", Page::Ready, "text/plain", "\r\n\r\nready\n"),
        ("/healthcheck", Page::Healthcheck, "text/plain", "Content-Length: 0\r\n"),
        ("/stats", Page::Statistics, "application/json", "\t\"uptime\": 1,\n"),
        (
            "/metrics",
            Page::Metrics(MetricNames::Metronome),
            "text/plain; version=0.0.4",
            "\nmetronome_uptime_seconds 1\n",
        ),
    ] {
        let (answer, end) = get(path);
        assert_eq!(end, Some(Ok(page)));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(&format!("Content-Type: {kind}")) && answer.contains(text), "{answer}");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
    }
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 404),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 405),
        ("GET /healthz HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(1 << 16)), 431),
    ] {
        let (answer, end) = ask(&request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let Some(Err(why)) = end else { panic!("{end:?}") };
        assert!(why.starts_with(&format!("HTTP {status}: ")), "{why}");
    }
}
