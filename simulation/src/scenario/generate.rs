//! From a seed to a scenario. Each seed has its own subset of clients' habits, operations, faults and limits: what
//! is left out matters as much as what is there.

use super::{
    Acks, Client, FORMAT, Filter, Message, Network, Operation, Outside, Scenario, What, Will, faults,
};
use crate::random::Stream;
use broker_engine::{Config, Overlap, QueueFull, SharedStrategy};
use mqtt_proto::QoS;

const SECOND: u64 = 1_000_000;

/// How large a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A few clients, everything that can go wrong, tiny limits.
    Small,
    /// Many clients that publish and subscribe, few faults: for measuring.
    Dense {
        /// How many.
        clients: usize,
    },
    /// Very many clients that are mostly idle: keep-alives, wills, and a reconnect of all of them.
    Fleet {
        /// How many.
        clients: usize,
    },
}

/// The scenario of a seed.
pub fn generate(seed: u64, profile: Profile) -> Scenario {
    match profile {
        Profile::Small => small(seed, |purpose| Stream::new(seed, purpose)),
        Profile::Dense { clients } => dense(seed, clients),
        Profile::Fleet { clients } => fleet(seed, clients),
    }
}

/// Bytes of the seed, for limits, clients and faults of a scenario that bytes make; all others are for operations.
const GIVEN: [(&str, usize); 14] = [
    ("seed", 2),
    ("limits", 48),
    ("clients", 96),
    ("faults", 32),
    ("H01", 6),
    ("H02", 8),
    ("H03", 4),
    ("H05", 4),
    ("S01", 8),
    ("S02", 4),
    ("P01", 4),
    ("P02", 4),
    ("P03", 4),
    ("P04", 6),
];

/// The small scenario whose choices bytes make, for a fuzzer. Each purpose has its own place in them, so that
/// changing one leaves the others alone. There are no more operations than bytes for them.
pub fn from_bytes(bytes: &[u8]) -> Scenario {
    let mut rest = bytes;
    let given = GIVEN.map(|(purpose, len)| {
        let part = rest.split_off(..len.min(rest.len())).unwrap_or_default();
        (purpose, part)
    });
    let seed = given[0].1.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let bytes_of =
        |purpose| given.iter().find(|(known, _)| *known == purpose).map_or(rest, |(_, part)| *part);
    small(seed, |purpose| Stream::given(bytes_of(purpose)))
}

fn small(seed: u64, stream: impl Fn(&'static str) -> Stream) -> Scenario {
    let mut scenario = Small::new(seed, &stream).scenario();
    faults::add(&mut scenario, stream);
    scenario
}

/// A network where everything takes a moment and nothing breaks.
fn calm() -> Network {
    Network {
        delay_min: 1000,
        delay_max: 40_000,
        split: 300,
        piece: 1460,
        clog: 0,
        clog_max: 0,
        cut: 0,
        half_open: 0,
        socket_buffer: 1 << 20,
    }
}

/// A host that answers at once.
fn prompt() -> Outside {
    Outside { answer_max: 1000, ..Outside::default() }
}

const TOPICS: [&str; 8] = ["a", "a/b", "a/b/c", "a//c", "b", "b/a", "$x/a", "/"];
const FILTERS: [&str; 16] = [
    "a",
    "a/b",
    "a/+",
    "a/#",
    "+",
    "+/b",
    "#",
    "+/+/c",
    "b/a",
    "$x/#",
    "/",
    "+/+",
    "a//c",
    "$share/g/a/#",
    "$share/g/#",
    "$share/h/a/+",
];

/// Kinds of operations.
#[derive(Clone, Copy)]
enum Kind {
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    Flood,
    Repeat,
    Ping,
    Disconnect,
    Cut,
    StopReading,
    Read,
    Bytes,
    Kick,
}

/// How often each is done, beside the others.
const KINDS: [(Kind, u64); 13] = [
    (Kind::Connect, 3),
    (Kind::Subscribe, 30),
    (Kind::Unsubscribe, 8),
    (Kind::Publish, 100),
    (Kind::Flood, 1),
    (Kind::Repeat, 5),
    (Kind::Ping, 3),
    (Kind::Disconnect, 6),
    (Kind::Cut, 6),
    (Kind::StopReading, 3),
    (Kind::Read, 3),
    (Kind::Bytes, 1),
    (Kind::Kick, 2),
];

/// The swarm: what this seed has of everything.
struct Small {
    seed: u64,
    clients: Stream,
    limits: Stream,
    work: Stream,
    faults: Stream,
    topics: Vec<&'static str>,
    filters: Vec<&'static str>,
    versions: Vec<u8>,
    highest_qos: u64,
    /// The broker's Receive Maximum.
    window: u16,
}

impl Small {
    fn new(seed: u64, stream: impl Fn(&'static str) -> Stream) -> Self {
        let mut work = stream("work");
        let mut some = |all: &[&'static str]| -> Vec<&'static str> {
            let kept: Vec<_> = all.iter().copied().filter(|_| work.chance(500)).collect();
            if kept.is_empty() { vec![all[0]] } else { kept }
        };
        let (topics, filters) = (some(&TOPICS), some(&FILTERS));
        let versions = match work.below(5) {
            0 => vec![5],
            1 => vec![4],
            _ => vec![3, 4, 5, 5],
        };
        let highest_qos = work.pick(&[0, 1, 2, 2, 2, 2]).to_owned();
        Self {
            seed,
            clients: stream("clients"),
            limits: stream("limits"),
            work,
            faults: stream("faults"),
            topics,
            filters,
            versions,
            highest_qos,
            window: 0,
        }
    }

    fn scenario(mut self) -> Scenario {
        let limits = self.limits();
        self.window = limits.receive_maximum;
        let count = usize::try_from(self.clients.between(2, 8)).unwrap_or(2);
        // Sometimes two share an identifier and take each other's session over.
        let shared_names = self.clients.chance(300);
        let clients: Vec<Client> = (0..count)
            .map(|number| {
                let name = if shared_names { number / 2 } else { number };
                self.client(format!("c{name}"), shared_names)
            })
            .collect();
        let heal_at = self.work.between(20, 300) * SECOND;
        let operations = self.operations(&clients, heal_at);
        Scenario {
            format: FORMAT,
            seed: self.seed,
            limits,
            network: self.network(),
            outside: self.outside(),
            clients,
            operations,
            heal_at,
        }
    }

    fn limits(&mut self) -> Config {
        let Self { limits: stream, .. } = self;
        let mut config = Config::default();
        if stream.chance(500) {
            config.max_inflight = u16::try_from(stream.by_magnitude(1, 20)).unwrap_or(1);
        }
        if stream.chance(300) {
            config.max_queued_messages = u32::try_from(stream.by_magnitude(1, 50)).unwrap_or(1);
        }
        if stream.chance(200) {
            config.max_queued_bytes = u32::try_from(stream.by_magnitude(50, 5000)).unwrap_or(50);
        }
        if stream.chance(300) {
            config.receive_maximum = u16::try_from(stream.by_magnitude(1, 20)).unwrap_or(1);
        }
        config.max_session_expiry = match stream.below(10) {
            0 | 1 => u32::try_from(stream.by_magnitude(1, 600)).unwrap_or(1),
            2 | 3 => u32::MAX,
            _ => config.max_session_expiry,
        };
        if stream.chance(100) {
            config.max_sessions = u32::try_from(stream.between(1, 6)).unwrap_or(1);
        }
        if stream.chance(200) {
            config.max_message_expiry = u32::try_from(stream.by_magnitude(1, 100)).unwrap_or(1);
        }
        if stream.chance(300) {
            config.work_per_call = u32::try_from(stream.by_magnitude(1, 64)).unwrap_or(1);
        }
        if stream.chance(200) {
            config.match_cache_entries = u32::try_from(stream.below(4)).unwrap_or(0);
        }
        if stream.chance(300) {
            (config.egress_high, config.egress_low) = (2000, 500);
        }
        config.queue_qos0_offline = stream.chance(300);
        if stream.chance(300) {
            config.queue_full = QueueFull::DropNew;
        }
        if stream.chance(300) {
            config.overlap = Overlap::PerSubscription;
        }
        let strategies = [
            SharedStrategy::RoundRobin,
            SharedStrategy::Random,
            SharedStrategy::Sticky,
            SharedStrategy::LeastInflight,
            SharedStrategy::HashClient,
            SharedStrategy::HashTopic,
        ];
        config.shared_strategy = *stream.pick(&strategies);
        if stream.chance(100) {
            config.maximum_qos = QoS::AtLeastOnce;
        }
        config.bind_session_to_user = stream.chance(300);
        config
    }

    fn client(&mut self, id: String, shared: bool) -> Client {
        let version = *self.clients.pick(&self.versions);
        let stream = &mut self.clients;
        let will = stream.chance(300).then(|| Will {
            topic: (*stream.pick(&self.topics)).to_owned(),
            qos: u8::try_from(stream.between(0, self.highest_qos)).unwrap_or(0),
            retain: stream.chance(200),
            delay: if stream.chance(500) {
                u32::try_from(stream.by_magnitude(1, 60)).unwrap_or(1)
            } else {
                0
            },
        });
        Client {
            id,
            // Two who share an identifier may be of two minds.
            username: shared.then(|| (*stream.pick(&["u", "u", "v"])).to_owned()),
            version,
            clean: stream.chance(350),
            expiry: *stream.pick(&[0, 1, 10, 100, 1000, u32::MAX]),
            keep_alive: *stream.pick(&[0, 0, 1, 5, 60, 43_700]),
            receive_maximum: stream
                .chance(400)
                .then(|| u16::try_from(stream.by_magnitude(1, 30)).unwrap_or(1)),
            maximum_packet_size: stream
                .chance(150)
                .then(|| u32::try_from(stream.by_magnitude(40, 400)).unwrap_or(40)),
            topic_alias_maximum: *stream.pick(&[0, 0, 1, 3, 100]),
            will,
            acks: match stream.below(10) {
                0 => Acks::Never,
                1 => Acks::Refuse,
                2..=4 => Acks::After(stream.by_magnitude(1000, 20 * SECOND)),
                _ => Acks::Prompt,
            },
            reconnect: stream.chance(700).then(|| stream.by_magnitude(100_000, 30 * SECOND)),
        }
    }

    fn operations(&mut self, clients: &[Client], heal_at: u64) -> Vec<Operation> {
        let count = self.work.by_magnitude(10, 400);
        // Some kinds are left out this time, others are frequent.
        let weights: Vec<u64> = KINDS
            .iter()
            .map(|(_, weight)| if self.work.chance(700) { weight * self.work.between(1, 4) } else { 0 })
            .collect();
        let mut operations: Vec<Operation> = (0..clients.len())
            .map(|client| Operation { at: self.work.below(heal_at / 4), client, what: What::Connect })
            .collect();
        for _ in 0..count {
            if self.work.is_spent() {
                break;
            }
            let client = usize::try_from(self.work.below(clients.len() as u64)).unwrap_or(0);
            let at = self.work.below(heal_at);
            let kind = self.kind(&weights);
            let what = self.what(kind, clients[client].version);
            operations.push(Operation { at, client, what });
            // A burst now and then.
            if self.work.chance(30) {
                for _ in 0..self.work.between(2, 30) {
                    let what = self.what(Kind::Publish, clients[client].version);
                    operations.push(Operation { at, client, what });
                }
            }
        }
        operations.sort_by_key(|operation| operation.at);
        operations
    }

    fn kind(&mut self, weights: &[u64]) -> Kind {
        let mut rest = self.work.below(weights.iter().sum());
        for ((kind, _), weight) in KINDS.iter().zip(weights) {
            if rest < *weight {
                return *kind;
            }
            rest -= weight;
        }
        Kind::Publish
    }

    fn what(&mut self, kind: Kind, version: u8) -> What {
        let new = version == 5;
        let stream = &mut self.work;
        match kind {
            Kind::Connect => What::Connect,
            Kind::Subscribe => {
                let count = *stream.pick(&[1, 1, 1, 2, 3]);
                What::Subscribe((0..count).map(|_| self.filter(new)).collect())
            }
            Kind::Unsubscribe => What::Unsubscribe((*stream.pick(&self.filters)).to_owned()),
            Kind::Publish => What::Publish(self.message(new)),
            // With a large window it would be nothing but a large burst.
            Kind::Flood if self.window > 20 => What::Ping,
            Kind::Flood => What::Flood(self.message(new)),
            Kind::Repeat => What::Repeat,
            Kind::Ping => What::Ping,
            Kind::Disconnect => What::Disconnect { with_will: new && stream.chance(300) },
            Kind::Cut => What::Cut,
            Kind::StopReading => What::StopReading,
            Kind::Read => What::Read,
            Kind::Bytes => {
                let first = u8::try_from(stream.below(256)).unwrap_or(0);
                let count = stream.below(6);
                let rest = (0..count).map(|_| u8::try_from(stream.below(256)).unwrap_or(0));
                What::Bytes([first, u8::try_from(count).unwrap_or(0)].into_iter().chain(rest).collect())
            }
            Kind::Kick => What::Kick { end_session: stream.chance(300) },
        }
    }

    fn filter(&mut self, new: bool) -> Filter {
        let stream = &mut self.work;
        let filter = (*stream.pick(&self.filters)).to_owned();
        Filter {
            qos: u8::try_from(stream.between(0, self.highest_qos)).unwrap_or(0),
            no_local: new && !filter.starts_with("$share") && stream.chance(200),
            retain_as_published: new && stream.chance(300),
            retain_handling: if new { *stream.pick(&[0, 0, 1, 2]) } else { 0 },
            filter,
        }
    }

    fn message(&mut self, new: bool) -> Message {
        let stream = &mut self.work;
        let retain = stream.chance(150);
        Message {
            topic: (*stream.pick(&self.topics)).to_owned(),
            qos: u8::try_from(stream.between(0, self.highest_qos)).unwrap_or(0),
            retain,
            size: if retain && stream.chance(200) {
                0
            } else {
                u32::try_from(stream.by_magnitude(8, 500)).unwrap_or(8)
            },
            expiry: (new && stream.chance(200))
                .then(|| u32::try_from(stream.by_magnitude(1, 100)).unwrap_or(1)),
        }
    }

    fn network(&mut self) -> Network {
        let stream = &mut self.faults;
        let delay_min = stream.by_magnitude(0, 30_000);
        let mut network =
            Network { delay_min, delay_max: delay_min + stream.by_magnitude(0, 100_000), ..calm() };
        if stream.chance(100) {
            return Network { split: 0, ..network };
        }
        network.split =
            if stream.chance(500) { u32::try_from(stream.by_magnitude(1, 1000)).unwrap_or(0) } else { 0 };
        network.piece = *stream.pick(&[1, 2, 7, 100, 1460]);
        if stream.chance(300) {
            network.clog = u32::try_from(stream.by_magnitude(1, 20)).unwrap_or(0);
            network.clog_max = stream.by_magnitude(SECOND, 60 * SECOND);
        }
        if stream.chance(500) {
            network.cut = u32::try_from(stream.by_magnitude(1, 50)).unwrap_or(0);
            network.half_open = *stream.pick(&[0, 0, 100, 500]);
        }
        if stream.chance(300) {
            network.socket_buffer = stream.by_magnitude(1, 4000);
        }
        network
    }

    fn outside(&mut self) -> Outside {
        let stream = &mut self.faults;
        let mut outside = prompt();
        if stream.chance(400) {
            outside.answer_max = stream.by_magnitude(1000, 20 * SECOND);
            outside.deny = *stream.pick(&[0, 0, 100]);
        }
        if stream.chance(300) {
            outside.late_max = stream.by_magnitude(1000, 2 * SECOND);
        }
        if stream.chance(200) {
            outside.restore = u32::try_from(stream.by_magnitude(1, 50)).unwrap_or(1);
        }
        outside
    }
}

/// Pairs of publisher and subscriber that do nothing else.
fn dense(seed: u64, clients: usize) -> Scenario {
    let mut stream = Stream::new(seed, "dense");
    let end = 3600 * SECOND;
    let mut operations = Vec::new();
    let plain = |number: usize| Client { id: format!("c{number}"), keep_alive: 60, ..quiet() };
    for client in 0..clients {
        let start = stream.below(10 * SECOND);
        operations.push(Operation { at: start, client, what: What::Connect });
        let filter = Filter {
            filter: format!("t/{client}"),
            qos: 1,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        };
        operations.push(Operation { at: start + SECOND, client, what: What::Subscribe(vec![filter]) });
        let mut at = start + stream.below(10 * SECOND) + 2 * SECOND;
        let to = stream.below(clients as u64);
        while at < end {
            let message = Message { topic: format!("t/{to}"), qos: 1, retain: false, size: 64, expiry: None };
            operations.push(Operation { at, client, what: What::Publish(message) });
            at += 10 * SECOND;
        }
    }
    operations.sort_by_key(|operation| operation.at);
    Scenario {
        format: FORMAT,
        seed,
        limits: Config::default(),
        network: calm(),
        outside: prompt(),
        clients: (0..clients).map(plain).collect(),
        operations,
        heal_at: end,
    }
}

/// Clients that keep alive, have wills, and all lose their connections at once half-way. With the time for what is owed
/// and for leaving it is an hour in all.
fn fleet(seed: u64, clients: usize) -> Scenario {
    let mut stream = Stream::new(seed, "fleet");
    let end = 2940 * SECOND;
    let mut operations = Vec::new();
    for client in 0..clients {
        operations.push(Operation { at: stream.below(60 * SECOND), client, what: What::Connect });
        operations.push(Operation { at: end / 2, client, what: What::Cut });
    }
    operations.sort_by_key(|operation| operation.at);
    let member = |number: usize| Client {
        id: format!("c{number}"),
        keep_alive: 60,
        clean: false,
        expiry: 600,
        will: Some(Will { topic: format!("gone/{number}"), qos: 0, retain: false, delay: 30 }),
        reconnect: Some(20 * SECOND),
        ..quiet()
    };
    Scenario {
        format: FORMAT,
        seed,
        limits: Config { max_sessions: u32::MAX, ..Config::default() },
        network: Network { split: 0, ..calm() },
        outside: prompt(),
        clients: (0..clients).map(member).collect(),
        operations,
        heal_at: end,
    }
}

/// An MQTT 5 client that does as expected.
fn quiet() -> Client {
    Client {
        id: String::new(),
        username: None,
        version: 5,
        clean: true,
        expiry: 0,
        keep_alive: 0,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        will: None,
        acks: Acks::Prompt,
        reconnect: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_saved_and_read_back() {
        for seed in 0..50 {
            let scenario = generate(seed, Profile::Small);
            let text = scenario.to_json();
            let read = Scenario::from_json(&text).unwrap();
            assert_eq!(read.to_json(), text);
            assert!(scenario.operations.is_sorted_by_key(|operation| operation.at));
        }
    }

    #[test]
    fn bytes_make_a_scenario() {
        let bytes: Vec<u8> = (0..2000_u32).map(|at| at.wrapping_mul(0x9e37_79b9).to_be_bytes()[0]).collect();
        let scenario = from_bytes(&bytes);
        assert!(scenario.operations.len() > 20, "{}", scenario.operations.len());
        assert_eq!(scenario.to_json(), from_bytes(&bytes).to_json());
        let mut other = bytes.clone();
        other[10] ^= 0x80;
        let other = from_bytes(&other);
        assert_ne!(other.limits, scenario.limits);
        assert_eq!(other.operations, scenario.operations);
        for len in 0..200 {
            let short = from_bytes(&bytes[..len]);
            assert_eq!(Scenario::from_json(&short.to_json()).unwrap().to_json(), short.to_json());
        }
    }

    #[test]
    fn what_is_no_scenario_is_refused() {
        let mut scenario = generate(1, Profile::Small);
        scenario.operations[0].client = 99;
        assert!(Scenario::from_json(&scenario.to_json()).unwrap_err().contains("client 99"));
        scenario.format = 9;
        assert!(Scenario::from_json(&scenario.to_json()).unwrap_err().contains("form 9"));
        assert!(Scenario::from_json("{}").unwrap_err().starts_with("no scenario: "));
    }
}
