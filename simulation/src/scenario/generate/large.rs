//! A few worlds of another size, always the same few of the seeds: what takes thousands to happen.

use super::measure::quiet;
use super::{SECOND, calm, prompt};
use crate::scenario::{Client, FORMAT, Filter, Message, Operation, Scenario, What};
use broker_engine::{Config, Overlap};

/// One of so many seeds is of each kind.
const EVERY: u64 = 200;

/// The world of this seed, if it is one of them.
pub(super) fn of(seed: u64) -> Option<Scenario> {
    match seed % EVERY {
        67 => Some(overlapping(seed)),
        133 => Some(identifiers(seed)),
        _ => None,
    }
}

fn subscription(filter: String, qos: u8) -> Filter {
    Filter { filter, qos, no_local: false, retain_as_published: false, retain_handling: 0 }
}

fn publication(topic: &str, qos: u8) -> What {
    What::Publish(Message { topic: topic.to_owned(), qos, size: 8, ..Message::default() })
}

fn world(seed: u64, limits: Config, clients: Vec<Client>, operations: Vec<Operation>) -> Scenario {
    let heal_at = operations.last().map_or(0, |operation| operation.at) + SECOND;
    let (network, outside) = (calm(), prompt());
    Scenario { format: FORMAT, seed, epoch: 0, limits, network, outside, clients, operations, heal_at }
}

/// A thousand filters in one packet, all of which match one topic name, and `#`.
fn overlapping(seed: u64) -> Scenario {
    let overlap = if (seed / EVERY).is_multiple_of(2) { Overlap::Once } else { Overlap::PerSubscription };
    // Where each brings a copy of its own, a hundred will do.
    let depth = if overlap == Overlap::Once { 10 } else { 7 };
    let topic = ["t"].repeat(depth).join("/");
    let matching = (0..1_u32 << depth).map(|number| {
        let level = |at| if number >> at & 1 == 0 { "t" } else { "+" };
        let levels: Vec<&str> = (0..depth).map(level).collect();
        levels.join("/")
    });
    let others = (0..1000).map(|number| format!("t/{number}/#"));
    let filters: Vec<Filter> =
        matching.chain(others).chain(["#".to_owned()]).map(|filter| subscription(filter, 1)).collect();
    let limits = Config { max_filters_per_packet: 5000, overlap, ..Config::default() };
    let clients =
        vec![Client { id: "c0".into(), ..quiet() }, Client { id: "c1".into(), version: 4, ..quiet() }];
    let at = |second: u64, client, what| Operation { at: second * SECOND, client, what };
    let operations = vec![
        at(1, 0, What::Connect),
        at(1, 1, What::Connect),
        at(2, 0, What::Subscribe(filters.clone())),
        at(2, 1, What::Subscribe(filters[filters.len() - 20..].to_vec())),
        at(3, 1, publication(&topic, 1)),
        at(4, 0, What::Unsubscribe("#".to_owned())),
        at(5, 0, publication(&topic, 1)),
    ];
    world(seed, limits, clients, operations)
}

/// So many messages to one session that their identifiers begin again at 1.
fn identifiers(seed: u64) -> Scenario {
    const BATCHES: u64 = 330;
    const BATCH: u64 = 200;
    let clients =
        vec![Client { id: "c0".into(), ..quiet() }, Client { id: "c1".into(), version: 4, ..quiet() }];
    let mut operations = vec![
        Operation { at: SECOND, client: 0, what: What::Connect },
        Operation { at: SECOND, client: 1, what: What::Connect },
        Operation { at: 2 * SECOND, client: 1, what: What::Subscribe(vec![subscription("t".to_owned(), 1)]) },
    ];
    for batch in 0..BATCHES {
        let at = (3 + batch) * SECOND;
        operations.extend((0..BATCH).map(|_| Operation { at, client: 0, what: publication("t", 1) }));
    }
    world(seed, Config::default(), clients, operations)
}
