//! 1,000,000 clients with a Keep Alive of a minute, each of which pings in time. A figure is one PINGREQ with its answer and
//! all ticks of the broker that fall between two of them.

use broker_engine::mqtt_proto::{Packet, Version};
use broker_engine::{Config, ConnId};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use metronome_benches::{Bench, encode};

/// Between two packets of a client, a third of a minute before its keep-alive runs out.
const BETWEEN: u64 = 50_000_000;

fn keep_alives(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keep_alives");
    let test = std::env::args().any(|argument| argument == "--test");
    let clients: usize = if test { 1000 } else { 1_000_000 };
    let mut bench = Bench::new(Config::default());
    let connect = |number| bench.connect(Version::V311, &format!("client-{number}"), false);
    let conns: Vec<ConnId> = (0..clients).map(connect).collect();
    let ping = encode(Version::V311, &Packet::PingReq);
    let mut at = 0;
    group.bench_function(BenchmarkId::new("PINGREQ", clients), |bencher| {
        bencher.iter(|| {
            at = (at + 1) % clients;
            bench.wait_micros(BETWEEN / clients as u64);
            bench.settle();
            bench.receive(conns[at], &ping);
        });
    });
    assert_eq!(bench.engine.view().connections(), clients, "nobody was forgotten");
    group.finish();
}

criterion_group!(benches, keep_alives);
criterion_main!(benches);
