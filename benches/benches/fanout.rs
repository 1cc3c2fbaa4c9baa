//! One PUBLISH of 64 bytes to many subscribers, until its last slice is in the outbox, and by itself what these answer.
//! Figures are for each subscriber.

use broker_engine::Config;
use broker_engine::mqtt_proto::{QoS, Version};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use metronome_benches::{Bench, publish};
use std::time::{Duration, Instant};

fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout");
    let test = std::env::args().any(|argument| argument == "--test");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
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
            // Times of delivery and of acknowledgements in so many rounds of both.
            let mut rounds = |count: u64| {
                let (mut delivery, mut answers) = (Duration::ZERO, Duration::ZERO);
                for _ in 0..count {
                    id = id.checked_add(1).unwrap_or(1);
                    let start = Instant::now();
                    bench.fan_out(qos, &packet, publisher, &members);
                    delivery += start.elapsed();
                    let start = Instant::now();
                    bench.acknowledge(qos, publisher, &members, id);
                    answers += start.elapsed();
                }
                (delivery, answers)
            };
            group.bench_function(BenchmarkId::new(format!("QoS {}", qos as u8), subscribers), |bencher| {
                bencher.iter_custom(|count| rounds(count).0);
            });
            if qos != QoS::AtMostOnce {
                let name = format!("acknowledgements, QoS {}", qos as u8);
                group.bench_function(BenchmarkId::new(name, subscribers), |bencher| {
                    bencher.iter_custom(|count| rounds(count).1);
                });
            }
            assert_eq!(bench.engine.view().inflight(), 0, "everything is acknowledged");
        }
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
