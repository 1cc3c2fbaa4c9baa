//! One publisher, one subscriber, 64 bytes: from the publisher's bytes to frames in the outbox. For QoS 1 and 2 the whole
//! exchange on both sides is counted, with every acknowledgement.

use broker_engine::Config;
use broker_engine::mqtt_proto::{QoS, Version};
use criterion::{Criterion, criterion_group, criterion_main};
use metronome_benches::{Bench, publish};

const PAYLOAD: [u8; 64] = [b'x'; 64];

fn one_to_one(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one_to_one");
    for version in [Version::V311, Version::V5] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut bench = Bench::new(Config::default());
            let publisher = bench.connect(version, "p", false);
            let subscriber = bench.connect(version, "s", false);
            bench.subscribe(subscriber, version, "a/b/c", qos);
            let packet = publish(version, "a/b/c", qos, &PAYLOAD);
            group.bench_function(format!("{version:?}/QoS {}", qos as u8), |bencher| {
                bencher.iter(|| bench.exchange(qos, &packet, publisher, subscriber));
            });
            assert_eq!(bench.engine.view().inflight(), 0, "every exchange came to its end");
        }
    }
    group.finish();
}

criterion_group!(benches, one_to_one);
criterion_main!(benches);
