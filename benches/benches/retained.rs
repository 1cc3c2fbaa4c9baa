//! SUBSCRIBE where 1,000,000 messages are retained, until those that match are in the outbox.

use broker_engine::mqtt_proto::{QoS, Version};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use metronome_benches::{Bench, subscribe};

fn retained(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("retained");
    let test = std::env::args().any(|argument| argument == "--test");
    let messages: usize = if test { 1000 } else { 1_000_000 };
    let mut bench = Bench::with_retained(messages);
    let subscriber = bench.connect(Version::V311, "s", false);
    for (name, filter, found) in [
        ("one by its name", "site/7/device/7/temperature", 1),
        ("one by a wildcard at its end", "site/7/device/7/+", 1),
        ("one by a wildcard at its beginning", "+/7/device/7/temperature", 1),
        ("none below a wildcard", "site/+/nothing/#", 0),
    ] {
        let packet = subscribe(Version::V311, filter, QoS::AtMostOnce);
        group.bench_function(BenchmarkId::new(name, messages), |bencher| {
            bencher.iter(|| {
                bench.receive(subscriber, &packet);
                assert_eq!(bench.settle(), 1 + found, "SUBACK and what is retained");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, retained);
criterion_main!(benches);
