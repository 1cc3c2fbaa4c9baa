//! Instructions for what a broker does most, counted by callgrind, each held to what it took when it was last looked at
//! and a twentieth more. Run by `benches/instructions/run`. Who makes one of them dearer has to say so here.

// The benches' macros make public items without a word, and want what they hand over by value.
#![allow(missing_docs, clippy::needless_pass_by_value)]

use broker_engine::mqtt_proto::{Limits, Packet, QoS, Version};
use broker_engine::{Config, ConnId, Input, Interest};
use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};
use metronome_benches::{Bench, connect, publish, subscribe, topic};
use std::hint::black_box;

/// So many instructions, a twentieth more at most.
fn of(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, instructions + instructions / 20)]);
    LibraryBenchmarkConfig::default().tool(callgrind).clone()
}

const V311: Version = Version::V311;
const V5: Version = Version::V5;
const PAYLOAD: [u8; 64] = [b'x'; 64];

#[library_benchmark(config = of(605_116))]
#[bench::qos1_v5(publish(V5, "a/b/c", QoS::AtLeastOnce, &PAYLOAD))]
fn decode_1000(packet: Vec<u8>) {
    for _ in 0..1000 {
        let _ = black_box(Packet::parse(black_box(&packet), V5, &Limits::default()));
    }
}

type Pair = (Bench, QoS, Vec<u8>, ConnId, ConnId);

fn pair(qos: QoS, version: Version) -> Pair {
    heard(qos, version, Interest::NONE)
}

/// With hooks that want so much.
fn heard(qos: QoS, version: Version, interest: Interest) -> Pair {
    let mut bench = Bench::new(Config { interest, ..Config::default() });
    let publisher = bench.connect(version, "p", false);
    let subscriber = bench.connect(version, "s", false);
    bench.subscribe(subscriber, version, "a/b/c", qos);
    let packet = publish(version, "a/b/c", qos, &PAYLOAD);
    // The first finds nothing where it looks, as no other does.
    bench.exchange(qos, &packet, publisher, subscriber);
    (bench, qos, packet, publisher, subscriber)
}

fn exchange_1000((mut bench, qos, packet, publisher, subscriber): Pair) -> Bench {
    for _ in 0..1000 {
        bench.exchange(qos, &packet, publisher, subscriber);
    }
    bench
}

#[library_benchmark]
#[bench::qos0(args = (pair(QoS::AtMostOnce, V311)), config = of(2_818_071))]
#[bench::qos1(args = (pair(QoS::AtLeastOnce, V311)), config = of(5_562_071))]
#[bench::qos2(args = (pair(QoS::ExactlyOnce, V311)), config = of(8_497_071))]
#[bench::qos1_v5(args = (pair(QoS::AtLeastOnce, V5)), config = of(5_996_071))]
fn one_to_one_1000(world: Pair) -> Bench {
    exchange_1000(world)
}

/// Hook points that this traffic never comes to.
const ELSEWHERE: Interest = Interest::SUBSCRIBE
    .or(Interest::UNSUBSCRIBE)
    .or(Interest::CLIENTS)
    .or(Interest::SUBSCRIPTIONS)
    .or(Interest::RETAINED)
    .or(Interest::DROPS);

// The same exchange as `one_to_one_1000` of QoS 1, with somebody who listens. Elsewhere takes what nobody takes.
#[library_benchmark]
#[bench::elsewhere(args = (heard(QoS::AtLeastOnce, V311, ELSEWHERE)), config = of(5_660_986))]
#[bench::messages(args = (heard(QoS::AtLeastOnce, V311, Interest::MESSAGES)), config = of(6_216_986))]
#[bench::deliveries(args = (heard(QoS::AtLeastOnce, V311, Interest::DELIVERIES)), config = of(7_144_986))]
#[bench::publish(args = (heard(QoS::AtLeastOnce, V311, Interest::PUBLISH)), config = of(11_381_986))]
fn one_to_one_1000_heard(world: Pair) -> Bench {
    exchange_1000(world)
}

fn crowd(qos: QoS) -> (Bench, QoS, Vec<u8>, ConnId, Vec<ConnId>) {
    let mut bench = Bench::new(Config::default());
    let publisher = bench.connect(V311, "p", false);
    let subscribers = bench.subscribers(1000, qos);
    let packet = publish(V311, "a/b/c", qos, &PAYLOAD);
    bench.fan_out(qos, &packet, publisher, &subscribers);
    bench.acknowledge(qos, publisher, &subscribers, 1);
    (bench, qos, packet, publisher, subscribers)
}

// From the publisher's bytes to frames in the outbox; what the subscribers answer is counted by itself.
#[library_benchmark]
#[bench::qos0(args = (crowd(QoS::AtMostOnce)), config = of(254_259))]
#[bench::qos1(args = (crowd(QoS::AtLeastOnce)), config = of(608_584))]
#[bench::qos2(args = (crowd(QoS::ExactlyOnce)), config = of(612_834))]
fn fan_out_to_1000(world: (Bench, QoS, Vec<u8>, ConnId, Vec<ConnId>)) -> Bench {
    let (mut bench, qos, packet, publisher, subscribers) = world;
    bench.fan_out(qos, &packet, publisher, &subscribers);
    bench
}

fn addressed(qos: QoS) -> (Bench, QoS, ConnId, Vec<ConnId>) {
    let (mut bench, qos, packet, publisher, subscribers) = crowd(qos);
    bench.fan_out(qos, &packet, publisher, &subscribers);
    (bench, qos, publisher, subscribers)
}

// One call of the engine for each acknowledgement.
#[library_benchmark]
#[bench::qos1(args = (addressed(QoS::AtLeastOnce)), config = of(1_073_087))]
#[bench::qos2(args = (addressed(QoS::ExactlyOnce)), config = of(2_521_377))]
fn acknowledge_1000(world: (Bench, QoS, ConnId, Vec<ConnId>)) -> Bench {
    let (mut bench, qos, publisher, subscribers) = world;
    bench.acknowledge(qos, publisher, &subscribers, 2);
    bench
}

fn filters(count: usize) -> (Bench, ConnId, Vec<Vec<u8>>) {
    let (bench, publisher) = Bench::with_filters(count);
    let packets = (0..1000).map(|number| publish(V311, &topic(number), QoS::AtMostOnce, b""));
    (bench, publisher, packets.collect())
}

// Names that have not been seen before, so that nothing is remembered of them.
#[library_benchmark(config = of(6_607_996))]
#[bench::cold(filters(10_000))]
fn match_1000_of_10000(world: (Bench, ConnId, Vec<Vec<u8>>)) -> Bench {
    let (mut bench, publisher, packets) = world;
    for packet in &packets {
        bench.receive(publisher, packet);
    }
    bench
}

fn hellos() -> (Bench, Vec<Vec<u8>>) {
    let hellos = (0..1000).map(|number| connect(V5, &format!("client-{number}"), true));
    (Bench::new(Config::default()), hellos.collect())
}

#[library_benchmark(config = of(12_081_625))]
#[bench::lasting(hellos())]
fn connect_1000(world: (Bench, Vec<Vec<u8>>)) -> Bench {
    let (mut bench, hellos) = world;
    for hello in &hellos {
        bench.connect_with(hello);
    }
    bench
}

fn retained() -> (Bench, ConnId, Vec<u8>) {
    let mut bench = Bench::with_retained(10_000);
    let subscriber = bench.connect(V311, "s", false);
    // The hundred and some of one site.
    (bench, subscriber, subscribe(V311, "site/7/device/+/temperature", QoS::AtMostOnce))
}

#[library_benchmark(config = of(608_297))]
#[bench::of_10000(retained())]
fn retained_to_a_wildcard(world: (Bench, ConnId, Vec<u8>)) -> Bench {
    let (mut bench, subscriber, packet) = world;
    bench.receive(subscriber, &packet);
    assert!(bench.settle() > 100);
    bench
}

fn idle() -> Bench {
    let mut bench = Bench::new(Config::default());
    for number in 0..10_000 {
        bench.connect(V311, &format!("s{number}"), false);
    }
    bench
}

// Everybody has been silent for one and a half Keep Alive periods.
#[library_benchmark(config = of(24_367_972))]
#[bench::of_10000(idle())]
fn keep_alives_run_out(mut bench: Bench) -> Bench {
    bench.wait_micros(90_000_000);
    bench.handle(Input::Tick);
    bench.settle();
    assert_eq!(bench.engine.view().connections(), 0);
    bench
}

library_benchmark_group!(
    name = engine,
    benchmarks = [
        decode_1000,
        one_to_one_1000,
        one_to_one_1000_heard,
        fan_out_to_1000,
        acknowledge_1000,
        match_1000_of_10000,
        connect_1000,
        retained_to_a_wildcard,
        keep_alives_run_out
    ]
);
main!(library_benchmark_groups = engine);
