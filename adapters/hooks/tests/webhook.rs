//! A web service that decides: what it is asked, and what becomes of its answers and of their absence.

use metronome_hooks::Webhook;
use metronome_host::engine::{Config, ConnId, Engine, HashKey, ListenerId, Seed, Time};
use metronome_host::{AllowAll, Driver, HookChain};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

const NOW: Time = Time::from_secs(1);

/// Answers each request with the next of these, of which `None` is to stay silent; tells what it was asked.
fn service(answers: &'static [Option<&'static str>]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mqtt", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            tell.lock().unwrap().push(request.split("\r\n\r\n").nth(1).unwrap().to_owned());
            match answer {
                Some(answer) => write!(stream, "HTTP/1.1 200 OK\r\n\r\n{answer}").unwrap(),
                None => silent.push(stream),
            }
        }
    });
    (url, asked)
}

struct World {
    driver: Driver,
    problems: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new(url: &str, lifetime: Duration) -> Self {
        let problems = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&problems);
        let on_error = move |problem: &str| tell.lock().unwrap().push(problem.to_owned());
        let webhook = Webhook::new(url, Duration::from_millis(500), lifetime, on_error).unwrap();
        let hooks = HookChain::from(webhook).and(AllowAll);
        let config = Config { interest: hooks.interest(), ..Config::default() };
        Self { driver: Driver::new(Engine::new(config, Seed(1), HashKey([1, 2])), hooks), problems }
    }

    /// Connects with MQTT 5 as user `u` with password `p`; returns the reason code.
    fn connect(&mut self) -> (ConnId, u8) {
        let conn = self.driver.open(NOW, ListenerId(0), "192.0.2.7:4711".parse().ok());
        self.driver.received(NOW, conn, b"\x10\x14\0\x04MQTT\x05\xc2\0\0\0\0\x01c\0\x01u\0\x01p");
        (conn, self.wait(conn)[3])
    }

    /// Subscribes to `a` and `b`; returns the reason codes.
    fn subscribe(&mut self, conn: ConnId) -> Vec<u8> {
        self.driver.received(NOW, conn, b"\x82\x0b\0\x01\0\0\x01a\x01\0\x01b\x01");
        self.wait(conn)[5..].to_vec()
    }

    fn wait(&mut self, conn: ConnId) -> Vec<u8> {
        let began = Instant::now();
        loop {
            let mut bytes = Vec::new();
            self.driver.flush(NOW, conn, |slices| {
                bytes.extend(slices.iter().flat_map(|slice| slice.iter()));
                Ok(slices.iter().map(|slice| slice.len()).sum())
            });
            if !bytes.is_empty() {
                return bytes;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "no answer");
            if self.driver.poll_hooks(NOW, &Context::from_waker(Waker::noop())).is_pending() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

const ALLOW: Option<&str> = Some(r#"{"result": "allow"}"#);

#[test]
fn it_is_asked_and_decides() {
    let (url, asked) = service(&[
        ALLOW,
        Some(r#"{"filters": ["allow", "deny"]}"#),
        Some(r#"{"result": "deny"}"#),
        Some(r#"{"result": "ignore"}"#),
        ALLOW,
        Some(r#"{"result": "deny"}"#),
    ]);
    let mut world = World::new(&url, Duration::ZERO);
    let (conn, code) = world.connect();
    assert_eq!((code, world.subscribe(conn)), (0, vec![1, 0x87]));
    assert_eq!(world.subscribe(conn), [0x87, 0x87]);
    // The next hook lets in everybody.
    let (conn, code) = world.connect();
    assert_eq!((code, world.subscribe(conn)), (0, vec![1, 1]));
    assert_eq!(world.connect().1, 0x87);
    let asked = asked.lock().unwrap();
    let wanted = r#"{"action":"connect","client_id":"c","username":"u","password":"p","peer":"192.0.2.7:4711","will_topic":null}"#;
    assert_eq!(asked[0], wanted);
    let wanted = r#"{"action":"subscribe","client_id":"c","username":"u","peer":"192.0.2.7:4711","filters":["a","b"]}"#;
    assert_eq!(asked[1], wanted);
    assert!(world.problems.lock().unwrap().is_empty());
}

#[test]
fn it_is_asked_about_messages() {
    let (url, asked) = service(&[ALLOW, ALLOW, Some(r#"{"result": "deny"}"#), None]);
    let mut world = World::new(&url, Duration::from_secs(60));
    let (conn, _) = world.connect();
    let mut publish = |topic: u8| {
        world.driver.received(NOW, conn, &[0x33, 7, 0, 1, topic, 0, 1, 0, b'x']);
        let puback = world.wait(conn);
        if puback[1] == 2 { 0 } else { puback[4] }
    };
    // The second time the answer is remembered; nobody has subscribed.
    assert_eq!((publish(b'a'), publish(b'a')), (0x10, 0x10));
    assert_eq!(publish(b'b'), 0x87);
    // No answer is no.
    assert_eq!(publish(b'c'), 0x87);
    let asked = asked.lock().unwrap();
    let wanted = r#"{"action":"publish","client_id":"c","username":"u","peer":"192.0.2.7:4711","topic":"a","qos":1,"retain":true}"#;
    assert_eq!((asked.len(), &*asked[1]), (4, wanted));
}

#[test]
fn what_is_no_answer_is_no_and_is_told() {
    let (url, _) = service(&[
        None,
        Some("allow"),
        Some(r#"{"result": "Allow"}"#),
        Some(r#"{"result": "allow", "filters": ["deny"]}"#),
        Some(r#"{"filters": ["allow"]}"#),
        ALLOW,
        Some(r#"{"filters": ["allow"]}"#),
    ]);
    let mut world = World::new(&url, Duration::from_secs(60));
    for _ in 0..5 {
        assert_eq!(world.connect().1, 0x88);
    }
    let (conn, code) = world.connect();
    // SUBACK has no code for a server that is not available.
    assert_eq!((code, world.subscribe(conn)), (0, vec![0x80, 0x80]));
    // Nobody listens any more.
    assert_eq!(world.subscribe(conn), [0x80, 0x80]);
    let problems = world.problems.lock().unwrap();
    assert!(
        problems.len() == 7
            && problems.iter().all(|problem| problem.contains("answer") || problem.starts_with(&url)),
        "{problems:?}"
    );
    for (url, timeout) in [("https://h", 500), ("http://h", 0)] {
        let timeout = Duration::from_millis(timeout);
        assert!(Webhook::new(url, timeout, Duration::ZERO, |_| ()).is_err());
    }
}

#[test]
fn an_answer_holds_for_a_while() {
    let (url, asked) = service(&[ALLOW, Some(r#"{"result": "deny"}"#), ALLOW]);
    let mut world = World::new(&url, Duration::from_millis(300));
    for _ in 0..3 {
        assert_eq!(world.connect().1, 0);
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(world.connect().1, 0x87);
    assert_eq!(asked.lock().unwrap().len(), 2);
}
