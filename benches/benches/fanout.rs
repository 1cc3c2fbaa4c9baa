//! One PUBLISH of 64 bytes to many subscribers, until its last slice is in the outbox. Figures are for each subscriber. At
//! QoS 1 the subscribers' acknowledgements are part of it.

use broker_engine::Config;
use broker_engine::mqtt_proto::{QoS, Version};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use metronome_benches::{Bench, publish};

fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        for subscribers in [10, 1000, 10_000] {
            let mut bench = Bench::new(Config::default());
            let publisher = bench.connect(Version::V311, "p", false);
            let members: Vec<_> = (0..subscribers)
                .map(|number| {
                    let conn = bench.connect(Version::V311, &format!("s{number}"), false);
                    bench.subscribe(conn, Version::V311, "a/b/c", qos);
                    conn
                })
                .collect();
            let packet = publish(Version::V311, "a/b/c", qos, &[b'x'; 64]);
            group.throughput(Throughput::Elements(subscribers));
            // Every client gets the same identifiers in the same order, as all have seen the same.
            let mut id: u16 = 0;
            group.bench_function(BenchmarkId::new(format!("QoS {}", qos as u8), subscribers), |bencher| {
                bencher.iter(|| {
                    bench.receive(publisher, &packet);
                    let acknowledged = usize::from(qos == QoS::AtLeastOnce);
                    assert_eq!(bench.settle(), members.len() + acknowledged);
                    if qos == QoS::AtLeastOnce {
                        id = id.checked_add(1).unwrap_or(1);
                        let [high, low] = id.to_be_bytes();
                        for conn in &members {
                            bench.receive(*conn, &[0x40, 2, high, low]);
                        }
                    }
                });
            });
            assert_eq!(bench.engine.view().inflight(), 0, "everything is acknowledged");
        }
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
