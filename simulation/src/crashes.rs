//! A small run with a crash behind every call of the engine, and with every part of what was on its way to the store by
//! then: in order, as the store keeps nothing before what comes first.

use crate::check::Violation;
use crate::scenario::{
    Client, FORMAT, Filter, Message, Network, Operation, Outside, Scenario, What, Will, quiet,
};
use crate::world::{Crash, Mutation, Options, Outcome, play};
use broker_engine::{Config, Durability};

const SECOND: u64 = 1_000_000;

/// What came of it.
#[derive(Debug, Default)]
pub struct Crashes {
    /// Runs, each with its own crash.
    pub runs: u64,
    /// Processes that began from the store.
    pub restarts: u64,
    /// Most calls' operations that were on their way.
    pub most_underway: usize,
    /// The first that did not hold.
    pub failure: Option<(Crash, Violation)>,
}

/// Everything that is kept: sessions, subscriptions, wills, retained messages, queues, and every step of QoS 1 and 2, with a
/// subscriber that is away for a while. The store is slow, so that much is on its way.
pub fn scenario() -> Scenario {
    let client =
        |id: &str| Client { id: id.into(), clean: false, expiry: 1000, reconnect: Some(SECOND), ..quiet() };
    let will = |delay| {
        let (topic, properties) = ("a".into(), None);
        Some(Will { topic, qos: 1, retain: false, delay, expiry: None, properties })
    };
    let filter = |filter: &str, qos| Filter {
        filter: filter.into(),
        qos,
        no_local: false,
        retain_as_published: true,
        retain_handling: 0,
    };
    let message = |topic: &str, qos, retain, size| {
        What::Publish(Message { topic: topic.into(), qos, retain, size, expiry: Some(900), properties: None })
    };
    let (publisher, subscriber) = (0, 1);
    let steps = [
        (publisher, What::Connect),
        (subscriber, What::Connect),
        (subscriber, What::Subscribe(vec![filter("a", 2), filter("$share/g/b", 1), filter("c", 1)])),
        (publisher, message("a", 1, false, 8)),
        (publisher, message("a", 2, true, 8)),
        (publisher, message("b", 1, false, 8)),
        (subscriber, What::Cut),
        (publisher, message("a", 2, false, 8)),
        (publisher, message("a", 1, true, 0)),
        (publisher, message("a", 2, false, 8)),
        (subscriber, What::Connect),
        (subscriber, What::Unsubscribe("c".into())),
        (publisher, What::Disconnect { with_will: true, expiry: None }),
        (publisher, What::Connect),
        (publisher, message("a", 2, false, 8)),
    ];
    let operations = steps.into_iter().zip(1..).map(|((client, what), number)| Operation {
        at: SECOND + number * 100_000,
        client,
        what,
    });
    Scenario {
        format: FORMAT,
        seed: 0,
        epoch: 0,
        limits: Config { durability: Durability::Durable, queue_window_messages: 1, ..Config::default() },
        network: Network {
            delay_min: 1000,
            delay_max: 1000,
            piece: 1460,
            socket_buffer: 1 << 20,
            ..Network::default()
        },
        outside: Outside { store_max: 200_000, lasting: true, ..Outside::default() },
        clients: vec![
            Client { will: will(30), ..client("publisher") },
            Client { will: will(0), ..client("subscriber") },
        ],
        operations: operations.collect(),
        heal_at: 4 * SECOND,
    }
}

/// Plays it with each of these crashes; `again`: with a second one before the next process is told anything.
pub fn every(again: bool, options: Options) -> Crashes {
    let scenario = scenario();
    let calls = play(&scenario, Options { mutation: Mutation::default(), ..options }).events;
    let mut crashes = Crashes::default();
    for call in 1..=calls {
        let mut kept = 0;
        loop {
            let crash = Crash { call, kept, again };
            let Outcome { violation, underway, checks, .. } =
                play(&scenario, Options { crash: Some(crash), ..options });
            let Some(underway) = underway else { return crashes };
            crashes.runs += 1;
            crashes.restarts += checks.marks.fault_count("S03");
            crashes.most_underway = crashes.most_underway.max(underway);
            if let Some(violation) = violation {
                crashes.failure = Some((crash, violation));
                return crashes;
            }
            if kept >= underway {
                break;
            }
            kept += 1;
        }
    }
    crashes
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_engine::StoreOp;

    #[test]
    fn nothing_is_lost_wherever_it_crashes() {
        for again in [false, true] {
            let crashes = every(again, Options::default());
            assert!(crashes.failure.is_none(), "{:?}", crashes.failure);
            assert!(crashes.runs > 150 && crashes.most_underway > 2, "{crashes:?}");
        }
    }

    /// One operation that is not handed over, of each kind: some crash shows it.
    #[test]
    fn whatever_is_not_handed_over_is_found() {
        macro_rules! without {
            ($($kind:ident)*) => {
                [$((stringify!($kind), (|stores: &mut Vec<_>| {
                    stores.retain(|(_, op)| !matches!(op, StoreOp::$kind { .. }));
                }) as fn(&mut Vec<_>))),*]
            };
        }
        let kinds = without![PutSession PutSubscription RemoveSubscription PutQueued PutInflight RemoveQueued
            PutReceived RemoveReceived PutRetained RemoveRetained PutWill RemoveWill];
        for (kind, change) in kinds {
            let mutation = Mutation { stores: Some(change), ..Mutation::default() };
            let crashes = every(false, Options { mutation, ..Options::default() });
            assert!(crashes.failure.is_some(), "{kind} is not missed");
        }
    }
}
