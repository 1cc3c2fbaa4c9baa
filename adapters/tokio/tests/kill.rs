//! The binary is killed at any moment, again and again, and loses nothing that it has acknowledged:
//! `cargo test -p metronome-tokio --test kill -- --cycles 1000`. With `--store redis` it keeps that in a Redis server, and
//! with `--kill store` it is the server that is killed and started again, while the broker goes on.
//!
//! Two publishers, one at QoS 1 and one at QoS 2, and two subscribers with a session, of which one is mostly away. All of
//! them go on after each kill where they were, as the standard wants it of clients.

#[allow(dead_code)]
#[path = "common/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../../storage/tests/common/redis_server.rs"]
mod redis_server;

use broker_engine::mqtt_proto::{
    Ack, AckProperties, Connect, ConnectProperties, Limits, Packet, PacketId, Publish, PublishProperties,
    QoS, ReasonCode, Subscribe, SubscribeFilters, SubscribeOptions, TopicName, UserProperties, Version,
};
use process::{Running, metronome, start};
use redis_server::{DURABLE, RedisServer};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Cycles unless told otherwise.
const CYCLES: u64 = 4;

/// Messages that a publisher has open.
const WINDOW: usize = 32;

/// Messages that a publisher begins in a cycle, so that nobody's queue is ever full.
const PER_CYCLE: u32 = 500;

/// Longest life of who is killed, milliseconds.
const LONGEST: u64 = 400;

/// Time for a broker to notice that its store is there again, and to do something with it, milliseconds.
const RECOVERY: u64 = 1500;

/// Time for everything to arrive once nobody is killed any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection ended.
struct Gone;

/// All clients break off.
static STOP: AtomicBool = AtomicBool::new(false);

/// Packets over a socket.
struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Wire {
    /// Connects with a session that lasts; says whether it was there.
    fn connect(address: SocketAddr, client_id: &str) -> Result<(Self, bool), Gone> {
        let stream = TcpStream::connect(address).map_err(|_| Gone)?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut wire = Self { stream, input: Vec::new() };
        let properties =
            ConnectProperties { session_expiry_interval: Some(u32::MAX), ..ConnectProperties::default() };
        wire.send(&Packet::Connect(Connect {
            version: Version::V5,
            client_id,
            clean_start: false,
            keep_alive: 0,
            username: None,
            password: None,
            will: None,
            properties,
        }))?;
        loop {
            let present = wire.next(|packet| match packet {
                Packet::ConnAck(connack) => {
                    // Somebody whose CONNECT the store does not take is told so.
                    (connack.reason == ReasonCode::Success).then_some(connack.session_present)
                }
                other => panic!("{other:?} before CONNACK"),
            })?;
            if let Some(accepted) = present {
                return accepted.map(|present| (wire, present)).ok_or(Gone);
            }
        }
    }

    fn send(&mut self, packet: &Packet<'_>) -> Result<(), Gone> {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes).unwrap();
        self.stream.write_all(&bytes).map_err(|_| Gone)
    }

    fn ack(&mut self, kind: fn(Ack<'static>) -> Packet<'static>, packet_id: PacketId) -> Result<(), Gone> {
        self.send(&kind(Ack { packet_id, reason: ReasonCode::Success, properties: AckProperties::default() }))
    }

    /// The next packet, if one comes within a moment.
    fn next<R>(&mut self, read: impl FnOnce(&Packet<'_>) -> R) -> Result<Option<R>, Gone> {
        loop {
            if STOP.load(Ordering::Relaxed) {
                return Err(Gone);
            }
            let parsed = Packet::parse(&self.input, Version::V5, &Limits::NONE).expect("sound packets");
            if let Some((packet, len)) = parsed {
                if let Packet::Disconnect(_) = packet {
                    return Err(Gone);
                }
                let answer = read(&packet);
                self.input.drain(..len);
                return Ok(Some(answer));
            }
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Gone),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(_) => return Err(Gone),
            }
        }
    }
}

/// Publishes numbers, and repeats what is not acknowledged.
struct Publisher {
    qos: QoS,
    known: bool,
    /// Numbers begun so far, and how far to go.
    begun: u32,
    most: u32,
    next_id: u16,
    /// Number by packet identifier, and whether it is released.
    open: BTreeMap<PacketId, (u32, bool)>,
    acknowledged: BTreeSet<u32>,
}

impl Publisher {
    fn new(qos: QoS) -> Self {
        Self {
            qos,
            known: false,
            begun: 0,
            most: 0,
            next_id: 0,
            open: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
        }
    }

    /// Until the connection ends, or everything is acknowledged.
    fn run(&mut self, address: SocketAddr) -> Result<(), Gone> {
        let (mut wire, present) = Wire::connect(address, &format!("publisher-{}", self.qos as u8))?;
        assert!(present || !self.known, "an acknowledged session is gone");
        self.known = true;
        for (packet_id, (number, released)) in self.open.clone() {
            self.send(&mut wire, packet_id, number, released, true)?;
        }
        while self.begun < self.most || !self.open.is_empty() {
            while self.open.len() < WINDOW && self.begun < self.most {
                let packet_id = self.free_id();
                self.begun += 1;
                self.open.insert(packet_id, (self.begun, false));
                self.send(&mut wire, packet_id, self.begun, false, false)?;
            }
            let heard = wire.next(|packet| match packet {
                Packet::PubAck(ack) | Packet::PubComp(ack) => (ack.packet_id, true),
                Packet::PubRec(ack) => (ack.packet_id, false),
                other => panic!("{other:?} for a publisher"),
            })?;
            match heard {
                Some((packet_id, true)) => {
                    let done = self.open.remove(&packet_id);
                    self.acknowledged.extend(done.map(|(number, _)| number));
                }
                Some((packet_id, false)) => {
                    if let Some((_, released)) = self.open.get_mut(&packet_id) {
                        *released = true;
                    }
                    wire.ack(Packet::PubRel, packet_id)?;
                }
                None => {}
            }
        }
        Ok(())
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            self.next_id = self.next_id % 1000 + 1;
            let id = PacketId::new(self.next_id).unwrap();
            if !self.open.contains_key(&id) {
                return id;
            }
        }
    }

    fn send(
        &self,
        wire: &mut Wire,
        id: PacketId,
        number: u32,
        released: bool,
        dup: bool,
    ) -> Result<(), Gone> {
        if released {
            return wire.ack(Packet::PubRel, id);
        }
        let mut payload = [0; 64];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        let topic = format!("kill/{}", self.qos as u8);
        wire.send(&Packet::Publish(Publish {
            dup,
            qos: self.qos,
            retain: false,
            topic: Some(TopicName::parse(&topic).unwrap()),
            packet_id: Some(id),
            properties: PublishProperties::default(),
            payload: &payload,
        }))
    }
}

/// Counts what comes.
struct Subscriber {
    name: &'static str,
    known: bool,
    subscribed: bool,
    held: BTreeSet<PacketId>,
    /// How often each number came, of each QoS.
    got: BTreeMap<(u8, u32), u32>,
}

impl Subscriber {
    fn new(name: &'static str) -> Self {
        Self { name, known: false, subscribed: false, held: BTreeSet::new(), got: BTreeMap::new() }
    }

    /// Until the connection ends, or `wanted` deliveries came and nothing is open.
    fn run(&mut self, address: SocketAddr, wanted: usize) -> Result<(), Gone> {
        let (mut wire, present) = Wire::connect(address, self.name)?;
        assert!(present || !self.known, "an acknowledged session is gone");
        self.known = true;
        if !self.subscribed {
            wire.send(&Packet::Subscribe(Subscribe {
                packet_id: PacketId::FIRST,
                subscription_id: None,
                user_properties: UserProperties::default(),
                filters: SubscribeFilters::List(&[(
                    "kill/#",
                    SubscribeOptions { qos: QoS::ExactlyOnce, ..SubscribeOptions::default() },
                )]),
            }))?;
        }
        let began = Instant::now();
        let mut is_quiet = false;
        while !(is_quiet && self.subscribed && self.held.is_empty() && self.got.len() >= wanted) {
            assert!(began.elapsed() < PATIENCE, "{} has {} of {wanted}", self.name, self.got.len());
            let answer = wire.next(|packet| self.hear(packet))?;
            is_quiet = answer.is_none();
            if let Some((kind, packet_id)) = answer.flatten() {
                wire.ack(kind, packet_id)?;
            }
        }
        Ok(())
    }

    #[allow(clippy::type_complexity)] // What to answer with, and about what.
    fn hear(&mut self, packet: &Packet<'_>) -> Option<(fn(Ack<'static>) -> Packet<'static>, PacketId)> {
        match packet {
            Packet::SubAck(_) => {
                self.subscribed = true;
                None
            }
            Packet::Publish(publish) => {
                let packet_id = publish.packet_id.expect("no QoS 0 here");
                let is_new = publish.qos == QoS::AtLeastOnce || self.held.insert(packet_id);
                let number = u32::from_be_bytes(publish.payload[..4].try_into().unwrap());
                *self.got.entry((publish.qos as u8, number)).or_default() += u32::from(is_new);
                let kind = if publish.qos == QoS::AtLeastOnce { Packet::PubAck } else { Packet::PubRec };
                Some((kind, packet_id))
            }
            Packet::PubRel(ack) => {
                self.held.remove(&ack.packet_id);
                Some((Packet::PubComp, ack.packet_id))
            }
            other => panic!("{other:?} for a subscriber"),
        }
    }

    /// Lost, repeated at QoS 1, repeated at QoS 2.
    fn losses(&self, publishers: &[&Publisher]) -> (usize, u32, u32) {
        let mut found = (0, 0, 0);
        for publisher in publishers {
            for number in &publisher.acknowledged {
                match self.got.get(&(publisher.qos as u8, *number)) {
                    None | Some(0) => found.0 += 1,
                    Some(times) if publisher.qos == QoS::AtLeastOnce => found.1 += times - 1,
                    Some(times) => found.2 += times - 1,
                }
            }
        }
        found
    }
}

/// Times that nobody can foresee.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// What is killed, and what it keeps things in.
struct World {
    data: PathBuf,
    engine: String,
    /// With that store.
    redis: Option<RedisServer>,
    slowest: Duration,
}

impl World {
    fn new(engine: String) -> Self {
        let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kill-{}", std::process::id()));
        let redis = (engine == "redis").then(|| RedisServer::start(&data, DURABLE));
        Self { data, engine, redis, slowest: Duration::ZERO }
    }

    fn start(&mut self) -> Running {
        let mut command = metronome();
        command.env("METRONOME_DURABILITY", "durable");
        command.env("METRONOME_LIMITS_MAX_QUEUED_BYTES", "1000000000");
        command.env("METRONOME_STORAGE_ENGINE", &self.engine);
        if let Some(redis) = &self.redis {
            command.env("METRONOME_STORAGE_REDIS_URL", redis.url());
        }
        command.stderr(std::process::Stdio::inherit());
        // That a store fails is an error, and what is to be seen here.
        let level = if self.redis.is_some() { "off" } else { "error" };
        command.args(["--listen", "127.0.0.1:0", "--log-level", level, "--data"]).arg(&self.data);
        let began = Instant::now();
        let broker = start(command);
        self.slowest = self.slowest.max(began.elapsed());
        broker
    }
}

/// The word behind this one.
fn word(name: &str) -> Option<String> {
    let mut words = std::env::args();
    words.find(|word| word == name)?;
    Some(words.next().unwrap_or_else(|| panic!("a word behind {name}")))
}

/// Tries until it works, or everybody is to break off.
fn insist(mut run: impl FnMut() -> Result<(), Gone>) {
    while run().is_err() && !STOP.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn main() {
    let cycles = word("--cycles").map_or(CYCLES, |word| word.parse().expect("a number of cycles"));
    let engine = word("--store").or_else(|| std::env::var("METRONOME_STORAGE_ENGINE").ok());
    let mut world = World::new(engine.unwrap_or_else(|| "redb".to_owned()));
    let kills_store = word("--kill").is_some_and(|what| what == "store");
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut chance = Chance(seed);
    let (mut once, mut twice) = (Publisher::new(QoS::AtLeastOnce), Publisher::new(QoS::ExactlyOnce));
    let (mut online, mut offline) = (Subscriber::new("online"), Subscriber::new("offline"));
    // Both are subscribed before anything is published.
    let mut broker = world.start();
    assert!(online.run(broker.address, 0).is_ok() && offline.run(broker.address, 0).is_ok());
    for cycle in 0..cycles {
        if !kills_store {
            drop(broker);
            broker = world.start();
        }
        let address = broker.address;
        for publisher in [&mut once, &mut twice] {
            publisher.most = publisher.begun + PER_CYCLE;
        }
        let mut time = |least, most| Duration::from_millis(least + chance.below(most));
        let (life, death) = (time(5, LONGEST), time(5, LONGEST));
        let is_there = cycle % 3 == 2;
        std::thread::scope(|scope| {
            scope.spawn(|| insist(|| once.run(address)));
            scope.spawn(|| insist(|| twice.run(address)));
            scope.spawn(|| insist(|| online.run(address, usize::MAX)));
            if is_there {
                scope.spawn(|| insist(|| offline.run(address, usize::MAX)));
            }
            std::thread::sleep(life);
            match &mut world.redis {
                Some(redis) if kills_store => {
                    redis.kill();
                    std::thread::sleep(death);
                    redis.start_again();
                    std::thread::sleep(Duration::from_millis(RECOVERY));
                }
                _ => {
                    broker.child.kill().unwrap();
                    broker.child.wait().unwrap();
                }
            }
            STOP.store(true, Ordering::Relaxed);
        });
        STOP.store(false, Ordering::Relaxed);
        if (cycle + 1) % 100 == 0 {
            eprintln!("killed {} times", cycle + 1);
        }
    }
    if !kills_store {
        drop(broker);
        broker = world.start();
    }
    for publisher in [&mut once, &mut twice] {
        publisher.most = publisher.begun;
        assert!(publisher.run(broker.address).is_ok(), "the broker ended");
    }
    let acknowledged = once.acknowledged.len() + twice.acknowledged.len();
    for subscriber in [&mut online, &mut offline] {
        assert!(subscriber.run(broker.address, acknowledged).is_ok(), "the broker ended");
    }
    drop(broker);
    let World { data, engine, redis, slowest } = world;
    drop(redis);
    // A server has taken its own with it.
    let _left = std::fs::remove_dir_all(&data);
    let attempted = once.begun + twice.begun;
    println!(
        "| store | cycles | attempted | acknowledged | to | lost | repeated, QoS 1 | repeated, QoS 2 | slowest start |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut failed = acknowledged == 0;
    for subscriber in [&online, &offline] {
        let (lost, at_qos1, at_qos2) = subscriber.losses(&[&once, &twice]);
        failed |= lost > 0 || at_qos2 > 0;
        println!(
            "| {engine} | {cycles} | {attempted} | {acknowledged} | {} | {lost} | {at_qos1} | {at_qos2} | {} ms |",
            subscriber.name,
            slowest.as_millis()
        );
    }
    assert!(!failed, "seed {seed}");
}
