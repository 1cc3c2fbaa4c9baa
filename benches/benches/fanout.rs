//! One PUBLISH of 64 bytes to many subscribers, until its last slice is in the outbox. Figures are for each subscriber. At
//! QoS 1 the subscribers' acknowledgements are part of it.

use broker_engine::Config;
use broker_engine::mqtt_proto::{QoS, Version};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use metronome_benches::{Bench, publish};

fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout");
    let test = std::env::args().any(|argument| argument == "--test");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        for subscribers in [10, 1000, 10_000, 1_000_000] {
            if test && subscribers > 10_000 {
                continue;
            }
            let mut bench = Bench::new(Config { max_sessions: u32::MAX, ..Config::default() });
            let publisher = bench.connect(Version::V311, "p", false);
            let members = bench.subscribers(subscribers, qos);
            let packet = publish(Version::V311, "a/b/c", qos, &[b'x'; 64]);
            group.throughput(Throughput::Elements(subscribers as u64));
            let mut id: u16 = 0;
            group.bench_function(BenchmarkId::new(format!("QoS {}", qos as u8), subscribers), |bencher| {
                bencher.iter(|| {
                    id = id.checked_add(1).unwrap_or(1);
                    bench.fan_out(qos, &packet, publisher, &members, id);
                });
            });
            assert_eq!(bench.engine.view().inflight(), 0, "everything is acknowledged");
        }
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
