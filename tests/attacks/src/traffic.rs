//! Clients that go on where they were whatever the network does, and what may not be lost meanwhile.

use crate::client::{Client, Heard};
use crate::judge::Site;
use crate::packets::{FOR_EVER, Hello, ack, publish, subscribe};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Messages that a publisher has open.
const WINDOW: usize = 16;

/// Silence after which a client believes that the connection is no more.
const SILENCE: Duration = Duration::from_secs(3);

/// Time for all of it.
const LONGEST: Duration = Duration::from_secs(100);

/// How a client gets to the broker; `None` when that fails.
pub(crate) type Route<'a> = &'a (dyn Fn() -> Option<Client> + Sync);

/// The connection is no more.
struct Gone;

/// Two publishers, of QoS 1 and 2, and a subscriber come by these routes, and are done when everything that was
/// acknowledged has arrived, and what has QoS 2 once. Says how often they had to connect.
pub(crate) fn flow(site: &Site<'_>, routes: [Route<'_>; 3], messages: u32, len: usize) -> String {
    let [once, twice, all] = routes;
    let connects = AtomicUsize::new(0);
    let mut subscriber = Subscriber::default();
    insist(&connects, || Subscriber::begin(all));
    std::thread::scope(|scope| {
        for (route, qos) in [(once, 1), (twice, 2)] {
            let connects = &connects;
            scope.spawn(move || {
                let mut publisher = Publisher::new(qos, len);
                insist(connects, || publisher.run(route, messages));
            });
        }
        insist(&connects, || subscriber.run(all, messages as usize * 2));
    });
    for qos in [1, 2] {
        for number in 1..=messages {
            let times = subscriber.got.get(&(qos, number)).copied().unwrap_or_default();
            assert!(times == 1 || (qos == 1 && times > 1), "QoS {qos}, number {number} came {times} times");
        }
    }
    for name in ["subscriber", "publisher-1", "publisher-2"] {
        // Their sessions end with this one.
        site.client(name).send(&[0xe0, 0]);
    }
    format!("{} connections", connects.into_inner())
}

/// Tries until it works.
fn insist(connects: &AtomicUsize, mut run: impl FnMut() -> Result<(), Gone>) {
    let began = Instant::now();
    loop {
        connects.fetch_add(1, Ordering::Relaxed);
        if run().is_ok() {
            return;
        }
        assert!(began.elapsed() < LONGEST, "it hangs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A client with a session that lasts.
fn connect(route: Route<'_>, name: &str) -> Result<Client, Gone> {
    let mut client = route().ok_or(Gone)?;
    client.send(&Hello { clean: false, properties: FOR_EVER, ..Hello::new(name) }.bytes());
    match client.hear_for(SILENCE) {
        Heard::Packet(0x20, connack) if connack[1] == 0 => Ok(client),
        _ => Err(Gone),
    }
}

/// The next packet, as kind and body; `None` when nothing comes for a moment.
fn next(client: &mut Client, patience: Duration) -> Result<Option<(u8, Vec<u8>)>, Gone> {
    match client.hear_for(patience) {
        Heard::Packet(first, body) => Ok(Some((first, body))),
        Heard::Silence => Ok(None),
        Heard::Closed => Err(Gone),
    }
}

fn id(body: &[u8]) -> u16 {
    u16::from_be_bytes([body[0], body[1]])
}

/// Publishes numbers, and repeats what is not acknowledged.
struct Publisher {
    qos: u8,
    begun: u32,
    /// Number by packet identifier, and whether it is released.
    open: BTreeMap<u16, (u32, bool)>,
    padding: Vec<u8>,
}

impl Publisher {
    fn new(qos: u8, len: usize) -> Self {
        Self { qos, begun: 0, open: BTreeMap::new(), padding: vec![7; len] }
    }

    /// Until the connection ends, or so many are acknowledged.
    fn run(&mut self, route: Route<'_>, most: u32) -> Result<(), Gone> {
        let mut client = connect(route, &format!("publisher-{}", self.qos))?;
        for (id, (number, released)) in self.open.clone() {
            let mut again = self.message(id, number);
            again[0] |= 8;
            client.send(&if released { ack(0x62, id) } else { again });
        }
        while self.begun < most || !self.open.is_empty() {
            while self.open.len() < WINDOW && self.begun < most {
                self.begun += 1;
                let id = (1..=u16::MAX).find(|id| !self.open.contains_key(id)).unwrap();
                self.open.insert(id, (self.begun, false));
                client.send(&self.message(id, self.begun));
            }
            match next(&mut client, SILENCE)? {
                Some((0x40 | 0x70, body)) => {
                    self.open.remove(&id(&body));
                }
                Some((0x50, body)) => {
                    if let Some((_, released)) = self.open.get_mut(&id(&body)) {
                        *released = true;
                    }
                    client.send(&ack(0x62, id(&body)));
                }
                _ => return Err(Gone),
            }
        }
        Ok(())
    }

    fn message(&self, id: u16, number: u32) -> Vec<u8> {
        publish("flow", self.qos, id, &[], &[&[self.qos][..], &number.to_be_bytes(), &self.padding].concat())
    }
}

/// Counts what comes.
#[derive(Default)]
struct Subscriber {
    held: BTreeSet<u16>,
    /// How often each number came, of each QoS.
    got: BTreeMap<(u8, u32), u32>,
}

impl Subscriber {
    /// Subscribes; that may be done twice.
    fn begin(route: Route<'_>) -> Result<(), Gone> {
        let mut client = connect(route, "subscriber")?;
        client.send(&subscribe(1, 2, ["flow"]));
        match next(&mut client, SILENCE)? {
            Some((0x90, _)) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Until the connection ends, or so many came and nothing is open.
    fn run(&mut self, route: Route<'_>, wanted: usize) -> Result<(), Gone> {
        let mut client = connect(route, "subscriber")?;
        let mut heard_at = Instant::now();
        loop {
            let Some((first, body)) = next(&mut client, Duration::from_millis(300))? else {
                if self.got.len() >= wanted && self.held.is_empty() {
                    return Ok(());
                }
                if heard_at.elapsed() > SILENCE {
                    return Err(Gone);
                }
                continue;
            };
            heard_at = Instant::now();
            match first >> 4 {
                3 => self.take(&mut client, first, &body),
                6 => {
                    self.held.remove(&id(&body));
                    client.send(&ack(0x70, id(&body)));
                }
                _ => return Err(Gone),
            }
        }
    }

    fn take(&mut self, client: &mut Client, first: u8, body: &[u8]) {
        let body = &body[2 + "flow".len()..];
        let (qos, id) = (first >> 1 & 3, id(body));
        // Behind the identifier are no properties.
        let number = u32::from_be_bytes(body[4..8].try_into().unwrap());
        assert_eq!((body[2], body[3]), (0, qos), "it comes as it was published");
        let is_new = qos == 1 || self.held.insert(id);
        *self.got.entry((qos, number)).or_default() += u32::from(is_new);
        client.send(&ack(if qos == 1 { 0x40 } else { 0x50 }, id));
    }
}
