//! A PUBLISH of QoS 0 that one of many topic filters matches. Nine of ten filters are exact, the tenth has a wildcard.
//! `hot` takes its topic names from 10,000, `cold` from all. And 10,000 SUBSCRIBEs of one client, of one filter each.

use broker_engine::Config;
use broker_engine::mqtt_proto::{QoS, Version};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use metronome_benches::{Bench, publish, subscribe, topic};

fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matching");
    let test = std::env::args().any(|argument| argument == "--test");
    for filters in [1000, 100_000, 1_000_000] {
        if test && filters > 1000 {
            continue;
        }
        let (mut bench, publisher) = Bench::with_filters(filters);
        for (name, names) in [("hot", filters.min(10_000)), ("cold", filters)] {
            let packets: Vec<Vec<u8>> = (0..names)
                .map(|number| publish(Version::V311, &topic(number), QoS::AtMostOnce, b""))
                .collect();
            // A stride that is prime to every number of names visits all of them, far from each other.
            let mut at = 0;
            group.bench_function(BenchmarkId::new(name, filters), |bencher| {
                bencher.iter(|| {
                    at = (at + 7919) % names;
                    bench.receive(publisher, &packets[at]);
                    assert_eq!(metronome_benches::frames(&bench.out), 1);
                });
            });
        }
    }
    group.finish();
}

fn subscribing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("subscribing");
    let count: u32 = 10_000;
    group.throughput(Throughput::Elements(count.into()));
    // Each 0 stands for the filter's number.
    for (name, shape) in [
        ("exact", "d/0/x/y"),
        ("wildcard", "d/0/x0/#"),
        ("wildcard, equal levels", "d/0/x/#"),
        ("shared, equal filters", "$share/g0/t"),
    ] {
        let packets: Vec<Vec<u8>> = (0..count)
            .map(|number| shape.replace('0', &number.to_string()))
            .map(|filter| subscribe(Version::V311, &filter, QoS::AtMostOnce))
            .collect();
        let empty = || {
            let mut bench = Bench::new(Config::default());
            let conn = bench.connect(Version::V311, "s", false);
            (bench, conn)
        };
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                empty,
                |(mut bench, conn)| {
                    for packet in &packets {
                        bench.receive(conn, packet);
                    }
                    assert_eq!(bench.engine.view().subscriptions(), packets.len());
                    bench
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, matching, subscribing);
criterion_main!(benches);
