//! The longest call of the engine in a fan-out of one PUBLISH; not a rate, so it prints a table. A call is as long as in
//! the fastest of several equal rounds, so that what else the machine does is not in it.

use broker_engine::mqtt_proto::{QoS, Version};
use broker_engine::{Config, ConnId, DeadlineReason, Input};
use metronome_benches::{Bench, publish};
use std::time::{Duration, Instant};

const ROUNDS: u16 = 8;

/// How long each call of one fan-out takes, the one with the PUBLISH first.
fn fan_out(bench: &mut Bench, publisher: ConnId, packet: &[u8]) -> Vec<Duration> {
    let mut calls = Vec::new();
    let mut start = Instant::now();
    bench.receive(publisher, packet);
    calls.push(start.elapsed());
    while bench.engine.next_deadline().is_some_and(|deadline| deadline.reason == DeadlineReason::Work) {
        start = Instant::now();
        bench.handle(Input::Tick);
        calls.push(start.elapsed());
    }
    calls
}

/// Who is there beside the subscribers of one filter.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Nobody,
    /// One more at `#`.
    Monitor,
    /// Each of them again, at `a/b/+`.
    Themselves,
    /// As many shared groups of one member.
    Groups,
}

/// The longest call, in microseconds, with so many subscribers at one filter.
fn longest(count: usize, qos: QoS, beside: Beside) -> u128 {
    let unbounded = Config { max_sessions: u32::MAX, max_subscriptions: u32::MAX, ..Config::default() };
    let mut bench = Bench::new(Config {
        max_subscriptions_per_session: u32::MAX,
        max_filter_levels_per_session: u32::MAX,
        ..unbounded
    });
    let publisher = bench.connect(Version::V311, "p", false);
    let subscribers = bench.subscribers(count, qos);
    match beside {
        Beside::Nobody => {}
        Beside::Monitor => {
            let monitor = bench.connect(Version::V311, "monitor", false);
            bench.subscribe(monitor, Version::V311, "#", QoS::AtMostOnce);
        }
        Beside::Themselves => {
            for subscriber in &subscribers {
                bench.subscribe(*subscriber, Version::V311, "a/b/+", qos);
            }
        }
        Beside::Groups => {
            let member = bench.connect(Version::V311, "member", false);
            for number in 0..count {
                bench.subscribe(member, Version::V311, &format!("$share/{number}/a/b/c"), QoS::AtMostOnce);
            }
        }
    }
    let packet = publish(Version::V311, "a/b/c", qos, &[b'x'; 64]);
    let rounds = (1..=ROUNDS).map(|id| {
        let calls = fan_out(&mut bench, publisher, &packet);
        bench.acknowledge(qos, publisher, &subscribers, id);
        calls
    });
    let fastest = rounds.reduce(|fastest, calls| {
        assert_eq!(fastest.len(), calls.len(), "every round is the same work");
        fastest.into_iter().zip(calls).map(|(before, now)| before.min(now)).collect()
    });
    fastest.into_iter().flatten().max().unwrap_or_default().as_micros()
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    let counts: &[usize] = if test { &[10_000] } else { &[10_000, 100_000, 1_000_000] };
    println!("microseconds of the longest call:");
    for count in counts {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            for beside in [Beside::Nobody, Beside::Monitor, Beside::Themselves, Beside::Groups] {
                let micros = longest(*count, qos, beside);
                println!("{micros:>8}  QoS {} to {count} subscribers, beside: {beside:?}", qos as u8);
            }
        }
    }
}
