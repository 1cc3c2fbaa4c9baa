//! From a seed to a scenario. Each seed has its own subset of clients' habits, operations, faults and limits: what
//! is left out matters as much as what is there.
//!
//! * `limits` — of the broker
//! * `clients` — who takes part, with which habits
//! * `work` — what clients do
//! * `properties` — what MQTT 5 lets them say beside
//! * `faults` — what the network and clocks do
//! * `host` — what hooks, store and process do
//! * `operator` — what is done for clients
//! * `permissions` — what clients may, and when that changes
//! * `events` — faults that have their time: partitions, storms, pauses, clients at odds
//! * `hostile` — when somebody sends what no client would, and `bytes`, what that is
//! * `doors` — the same where MQTT is not the first thing
//! * `large` — a few worlds of another size
//! * `measure` — worlds to measure with

mod bytes;
mod clients;
mod doors;
mod events;
mod faults;
mod host;
mod hostile;
mod large;
mod limits;
mod measure;
mod operator;
mod permissions;
mod properties;
mod work;

pub(crate) use measure::quiet;

use super::{FORMAT, Network, Outside, Scenario};
use crate::check::FAULTS;
use crate::random::Stream;

const SECOND: u64 = 1_000_000;

/// How large a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A few clients, everything that can go wrong, tiny limits.
    Small,
    /// The same, with a broker whose processes end again and again and begin from the store.
    Crash,
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
        Profile::Small => large::of(seed)
            .unwrap_or_else(|| Small::new(seed, move |purpose| Stream::new(seed, purpose)).scenario()),
        Profile::Crash => {
            let small = Small::new(seed, move |purpose| Stream::new(seed, purpose));
            Small { crashes: true, ..small }.scenario()
        }
        Profile::Dense { clients } => measure::dense(seed, clients),
        Profile::Fleet { clients } => measure::fleet(seed, clients),
    }
}

/// Bytes of the seed, and for limits, clients and classes of faults of a scenario that bytes make; all others are for
/// operations.
const GIVEN: [(&str, usize); 4] =
    [("seed", 2), ("limits", 48), ("clients", 96), ("faults", CLASS * FAULTS.len())];

/// Bytes of a class of faults: two choices say whether this seed has it and how often, and what else it wants to know follows
/// from them.
const CLASS: usize = 4;

/// The small scenario whose choices bytes make, for a fuzzer. Each purpose has its own place in them, so that
/// changing one leaves the others alone. There are no more operations than bytes for them.
pub fn from_bytes(bytes: &[u8]) -> Scenario {
    let mut rest = bytes;
    let given = GIVEN.map(|(purpose, len)| {
        let part = rest.split_off(..len.min(rest.len())).unwrap_or_default();
        (purpose, part.to_vec())
    });
    let seed = given[0].1.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let operations = rest.to_vec();
    Small::new(seed, move |purpose| {
        let [.., (_, faults)] = &given;
        let class = FAULTS.iter().position(|(class, _)| *class == purpose);
        let own = |place: usize| faults.get(CLASS * place..).unwrap_or_default();
        let named = given.iter().find(|(known, _)| *known == purpose).map(|(_, part)| &part[..]);
        Stream::given(class.map_or_else(|| named.unwrap_or(&operations), own))
    })
    .scenario()
}

/// A network where everything takes a moment and nothing breaks.
fn calm() -> Network {
    Network {
        delay_min: 1000,
        delay_max: 40_000,
        split: 300,
        piece: 1460,
        socket_buffer: 1 << 20,
        ..Network::default()
    }
}

/// A host that answers at once.
fn prompt() -> Outside {
    Outside { answer_max: 1000, ..Outside::default() }
}

/// What clients publish to.
pub(crate) const TOPICS: [&str; 8] = ["a", "a/b", "a/b/c", "a//c", "b", "b/a", "$x/a", "/"];
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

/// The swarm: what this seed has of everything.
struct Small {
    seed: u64,
    /// Choices of a purpose.
    stream: Box<dyn Fn(&'static str) -> Stream>,
    /// Does anything go wrong at all?
    is_faulty: bool,
    /// Processes end again and again.
    crashes: bool,
    clients: Stream,
    limits: Stream,
    work: Stream,
    topics: Vec<&'static str>,
    filters: Vec<&'static str>,
    versions: Vec<u8>,
    highest_qos: u64,
    /// The broker's Receive Maximum.
    window: u16,
}

impl Small {
    fn new(seed: u64, stream: impl Fn(&'static str) -> Stream + 'static) -> Self {
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
            is_faulty: stream("faults").chance(900),
            crashes: false,
            clients: stream("clients"),
            limits: stream("limits"),
            work,
            stream: Box::new(stream),
            topics,
            filters,
            versions,
            highest_qos,
            window: 0,
        }
    }

    /// The choices of a class of faults, where this seed has it. Each class has a stream of its own, so that one more or
    /// less does not shift the others.
    fn class(&self, class: &'static str) -> Option<Stream> {
        self.seldom(class, 500)
    }

    /// The same, for a class that only so many of a thousand seeds have.
    fn seldom(&self, class: &'static str, seeds: u32) -> Option<Stream> {
        let mut stream = (self.stream)(class);
        (self.is_faulty && stream.chance(seeds)).then_some(stream)
    }

    fn scenario(mut self) -> Scenario {
        let mut limits = self.limits();
        self.window = limits.receive_maximum;
        let mut clients = self.clients();
        self.greetings(&mut clients);
        let heal_at = self.work.between(20, 300) * SECOND;
        let mut operations = self.operations(&clients, heal_at);
        operations.extend(self.events(&clients, heal_at));
        operations.extend(self.hostile(clients.len(), heal_at, &limits));
        self.group(clients.len(), heal_at, &mut operations);
        self.authenticating(&clients, heal_at, &mut operations);
        self.operator(&clients, heal_at, &mut operations);
        self.permissions(&mut clients, &mut operations, heal_at, &mut limits);
        operations.sort_by_key(|operation| operation.at);
        self.told(&clients, &mut operations);
        let mut scenario = Scenario {
            format: FORMAT,
            seed: self.seed,
            epoch: self.epoch(),
            limits,
            network: self.network(),
            outside: self.outside(),
            clients,
            operations,
            heal_at,
        };
        self.host(&mut scenario.outside, &mut scenario.limits);
        if self.crashes {
            self.crashes(&mut scenario.outside, &mut scenario.limits);
        }
        scenario
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
        scenario.format = 9;
        assert!(Scenario::from_json(&scenario.to_json()).unwrap_err().contains("form 9"));
        assert!(Scenario::from_json("{}").unwrap_err().starts_with("no scenario: "));
    }
}
