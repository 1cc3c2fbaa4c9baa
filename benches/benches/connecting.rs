//! A storm: 10,000 clients that all connect, with new sessions and with ones that wait for them. Figures are for each.

use broker_engine::mqtt_proto::Version;
use broker_engine::{CloseCause, Config, ConnId, Input};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use metronome_benches::{Bench, connect};

const CLIENTS: usize = 10_000;

fn hellos() -> Vec<Vec<u8>> {
    (0..CLIENTS).map(|number| connect(Version::V5, &format!("client-{number}"), true)).collect()
}

fn storm(mut bench: Bench, hellos: &[Vec<u8>]) -> (Bench, Vec<ConnId>) {
    let conns = hellos.iter().map(|hello| bench.connect_with(hello)).collect();
    assert_eq!(bench.engine.view().connections(), hellos.len());
    (bench, conns)
}

fn connecting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connecting");
    group.throughput(Throughput::Elements(CLIENTS as u64));
    let hellos = hellos();
    let new = || Bench::new(Config::default());
    group.bench_function("new sessions", |bencher| {
        bencher.iter_batched(new, |bench| storm(bench, &hellos), BatchSize::LargeInput);
    });
    let offline = || {
        let (mut bench, conns) = storm(new(), &hellos);
        for conn in conns {
            bench.handle(Input::Closed { conn, cause: CloseCause::Fault });
        }
        bench
    };
    group.bench_function("sessions that go on", |bencher| {
        bencher.iter_batched(offline, |bench| storm(bench, &hellos), BatchSize::LargeInput);
    });
    group.bench_function("sessions taken over", |bencher| {
        bencher.iter_batched(
            || storm(new(), &hellos).0,
            |bench| storm(bench, &hellos),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, connecting);
criterion_main!(benches);
