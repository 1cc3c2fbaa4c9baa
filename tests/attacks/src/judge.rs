//! One row against one broker: what it answers, the memory that it takes, and what is left afterwards.

use crate::authority::Authority;
use crate::broker::{Broker, PATIENCE, Runtime};
use crate::client::{Client, Socket};
use crate::layers::{Messages, Stream, Tls, shake_hands, websocket};
use crate::packets::Hello;
use crate::{ceilings, exhaustion, faults, transports};
use rustls::{ClientConnection, StreamOwned};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A row.
#[derive(Clone, Copy)]
pub(crate) struct Attack {
    pub(crate) class: &'static str,
    pub(crate) done: &'static str,
    pub(crate) expected: &'static str,
    /// Limits of the broker where defaults would take too long.
    pub(crate) limits: &'static str,
    /// What the broker may take for it at most, MiB.
    pub(crate) ceiling: u64,
    /// It is about time or size, of which the short form has too little.
    pub(crate) only_full: bool,
    /// Does it and checks the answers; says what is worth saying of its figures.
    pub(crate) run: fn(&Site<'_>) -> String,
}

/// An ordinary row: 4 MiB, defaults, in both forms.
pub(crate) const ATTACK: Attack = Attack {
    class: "",
    done: "",
    expected: "",
    limits: "",
    ceiling: 4,
    only_full: false,
    run: |_| String::new(),
};

pub(crate) fn attacks() -> Vec<Attack> {
    [exhaustion::ATTACKS, transports::ATTACKS, ceilings::ATTACKS, faults::FAULTS].concat()
}

/// What a row came to.
pub(crate) struct Found {
    pub(crate) note: String,
    /// Memory above what it was before, at most and after all have gone, KiB.
    pub(crate) peak: u64,
    pub(crate) left: u64,
}

/// A broker under attack.
pub(crate) struct Site<'a> {
    pub(crate) broker: &'a Broker,
    pub(crate) authority: &'a Authority,
    pub(crate) runtime: Runtime,
    pub(crate) full: bool,
}

/// What is left may vary by so much from round to round, KiB.
const NOISE: u64 = 1024;

/// A leak is what every round leaves.
const ROUNDS: usize = 4;

/// Runs a row as often as it takes to tell a leak from what an allocator keeps for the next time.
pub(crate) fn attack(attack: Attack, runtime: Runtime, full: bool) -> Found {
    let authority = Authority::new(&std::env::temp_dir().to_string_lossy());
    authority.issue("localhost");
    let config = config(&authority, attack.limits);
    let broker =
        Broker::try_start(runtime, &authority.file(""), &config).unwrap_or_else(|said| panic!("{said}"));
    let site = Site { broker: &broker, authority: &authority, runtime, full };
    site.warm_up();
    site.wait_until_all_have_gone(None);
    let (files, threads, before) = (broker.files(), broker.threads(), broker.memory());
    broker.forget_peak();
    let note = (attack.run)(&site);
    let peak = broker.peak().saturating_sub(before);
    assert!(peak <= attack.ceiling << 10, "it took {peak} KiB; {note}");
    let mut left = vec![before];
    loop {
        site.wait_until_all_have_gone(Some(files));
        assert!(broker.threads() <= threads, "{} threads, and it were {threads}", broker.threads());
        left.push(broker.memory());
        let grown = left[left.len() - 1].saturating_sub(left[left.len() - 2]);
        if grown <= NOISE {
            break;
        }
        assert!(left.len() <= ROUNDS, "every round leaves more: {left:?} KiB");
        (attack.run)(&site);
    }
    site.warm_up();
    let left = left[1].saturating_sub(before);
    broker.stop();
    Found { note, peak, left }
}

/// Every kind of listener, and `limits`.
pub(crate) fn config(authority: &Authority, limits: &str) -> String {
    let file = |name: &str| authority.file(name).display().to_string();
    let tls =
        format!("tls = {{ certificate = '{}', key = '{}' }}", file("localhost.pem"), file("localhost.key"));
    let mut config = String::new();
    for (scheme, more) in [
        ("mqtt", ""),
        ("mqtt", "proxies = ['127.0.0.0/8']"),
        ("mqtt", "proxies = ['192.0.2.0/24']"),
        ("ws", ""),
        ("ws", "origins = ['https://app.example']"),
        ("mqtts", &tls),
        ("wss", &tls),
        ("http", ""),
    ] {
        writeln!(config, "[[listeners]]\naddress = '{scheme}://127.0.0.1:0'\n{more}").unwrap();
    }
    config + "[sys_topics]\ninterval_ms = 0\n[linger]\ntime_ms = 300\n[limits]\n" + limits
}

impl Site<'_> {
    /// How much is done, in the short form and in the full one.
    pub(crate) fn scale(&self, short: usize, full: usize) -> usize {
        if self.full { full } else { short }
    }

    pub(crate) fn tcp(&self) -> TcpStream {
        connect(self.broker.address("mqtt"))
    }

    pub(crate) fn to(&self, scheme: &str) -> TcpStream {
        connect(self.broker.address(scheme))
    }

    /// An accepted client of MQTT 5 that keeps nothing.
    pub(crate) fn client(&self, name: &str) -> Client {
        self.hello(&Hello::new(name))
    }

    pub(crate) fn hello(&self, hello: &Hello<'_>) -> Client {
        Client::accepted(self.tcp(), hello)
    }

    pub(crate) fn websocket(&self) -> Messages<TcpStream> {
        Messages::of(websocket(self.to("ws"), "/mqtt", || ()))
    }

    pub(crate) fn tls(&self, address: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
        let mut stream = Tls::default().over(self.authority, connect(address));
        shake_hands(&mut stream, || panic!("the socket blocks")).unwrap();
        stream
    }

    /// To a listener for that, or a proxy before it.
    pub(crate) fn secure_websocket(
        &self,
        address: SocketAddr,
    ) -> Messages<StreamOwned<ClientConnection, TcpStream>> {
        Messages::of(websocket(self.tls(address), "/mqtt", || ()))
    }

    /// What the broker does when it does nothing special: a message over each transport.
    fn warm_up(&self) {
        let name = |number: usize| format!("well-{number}");
        let [first, second, third, fourth] = [0, 1, 2, 3].map(name);
        let clients = [
            self.client(&first),
            Client::accepted(self.websocket(), &Hello::new(&second)),
            Client::accepted(self.tls(self.broker.address("mqtts")), &Hello::new(&third)),
            Client::accepted(self.secure_websocket(self.broker.address("wss")), &Hello::new(&fourth)),
        ];
        for mut client in clients {
            client.subscribe(1, &["well"]);
            let own = crate::packets::publish("well", 0, 0, &[], &vec![7; 20_000]);
            assert_eq!(client.ask(&own), "PUBLISH");
            client.send(&[0xe0, 0]);
        }
    }

    /// One figure of the pages.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let mut stream = self.to("http");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let value = page.lines().find_map(|line| line.strip_prefix(&format!("metronome_{name} ")));
        value.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }

    /// Connections, sessions and messages end, and their files with them.
    fn wait_until_all_have_gone(&self, files: Option<usize>) {
        let began = Instant::now();
        loop {
            let names =
                ["clients", "sessions", "subscriptions", "retained_messages", "deliveries_unfinished"];
            let left = names.map(|name| self.metric(name));
            let open = self.broker.files();
            if left.iter().all(|count| *count == 0) && files.is_none_or(|files| open <= files) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "left: {names:?} {left:?}, {open} files of {files:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whose time limit is that of the TCP socket below.
pub(crate) trait OverTcp: Stream {
    fn tcp(&self) -> &TcpStream;
}

impl OverTcp for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl OverTcp for StreamOwned<ClientConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

impl Socket for StreamOwned<ClientConnection, TcpStream> {
    fn wait_at_most(&mut self, time: Duration) {
        self.sock.wait_at_most(time);
    }
}

impl<S: OverTcp + Send> Socket for Messages<S> {
    fn wait_at_most(&mut self, time: Duration) {
        self.socket.get_ref().tcp().set_read_timeout(Some(time)).unwrap();
    }
}
