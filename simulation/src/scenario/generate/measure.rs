//! Worlds to measure with: many clients that do one thing.

use super::{SECOND, calm, prompt};
use crate::random::Stream;
use crate::scenario::{
    Acks, Client, Drift, FORMAT, Filter, Message, Network, Operation, Scenario, What, Will,
};
use broker_engine::Config;

/// Pairs of publisher and subscriber that do nothing else.
pub(super) fn dense(seed: u64, clients: usize) -> Scenario {
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
            let message = Message { topic: format!("t/{to}"), qos: 1, size: 64, ..Message::default() };
            operations.push(Operation { at, client, what: What::Publish(message) });
            at += 10 * SECOND;
        }
    }
    operations.sort_by_key(|operation| operation.at);
    Scenario {
        format: FORMAT,
        seed,
        epoch: 0,
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
pub(super) fn fleet(seed: u64, clients: usize) -> Scenario {
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
        will: Some(Will {
            topic: format!("gone/{number}"),
            qos: 0,
            retain: false,
            delay: 30,
            expiry: None,
            properties: None,
        }),
        reconnect: Some(20 * SECOND),
        ..quiet()
    };
    Scenario {
        format: FORMAT,
        seed,
        epoch: 0,
        limits: Config { max_sessions: u32::MAX, ..Config::default() },
        network: Network { split: 0, ..calm() },
        outside: prompt(),
        clients: (0..clients).map(member).collect(),
        operations,
        heal_at: end,
    }
}

/// An MQTT 5 client that does as expected.
pub(crate) fn quiet() -> Client {
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
        reads: None,
        holds_release: false,
        uses_aliases: false,
        last_packet_id: 0,
        drift: Drift::default(),
        incurable: false,
        steps: None,
        heedless: false,
        permissions: None,
    }
}
