//! One publisher, one subscriber, 64 bytes: from the publisher's bytes to frames in the outbox. For QoS 1 and 2 the whole
//! exchange on both sides is counted, with every acknowledgement.

use broker_engine::mqtt_proto::{QoS, Version};
use broker_engine::{Config, ConnId};
use criterion::{Criterion, criterion_group, criterion_main};
use metronome_benches::{Bench, publish};

const PAYLOAD: [u8; 64] = [b'x'; 64];

/// Packet identifier of the only PUBLISH in the outbox, which is for `conn`.
fn packet_id(bench: &Bench, conn: ConnId) -> [u8; 2] {
    let bytes = bench.out.bytes_for(conn);
    // Fixed header, topic length, topic "a/b/c".
    [bytes[9], bytes[10]]
}

fn exchange(bench: &mut Bench, qos: QoS, packet: &[u8], publisher: ConnId, subscriber: ConnId) {
    bench.receive(publisher, packet);
    assert!(!bench.out.wire.is_empty());
    match qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => {
            let [high, low] = packet_id(bench, subscriber);
            bench.receive(subscriber, &[0x40, 2, high, low]);
        }
        QoS::ExactlyOnce => {
            let [high, low] = packet_id(bench, subscriber);
            bench.receive(subscriber, &[0x50, 2, high, low]);
            bench.receive(subscriber, &[0x70, 2, high, low]);
            bench.receive(publisher, &[0x62, 2, 0, 1]);
        }
    }
}

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
                bencher.iter(|| exchange(&mut bench, qos, &packet, publisher, subscriber));
            });
            assert_eq!(bench.engine.view().inflight(), 0, "every exchange came to its end");
        }
    }
    group.finish();
}

criterion_group!(benches, one_to_one);
criterion_main!(benches);
