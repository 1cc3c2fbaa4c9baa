//! Packets to bytes and back.

use broker_engine::mqtt_proto::{
    Ack, AckProperties, Limits, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, TopicName,
    UserProperties, Version,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use metronome_benches::{connect, encode, publish, subscribe};
use std::hint::black_box;

fn with_properties() -> Vec<u8> {
    let packet = Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: Some(TopicName::parse("a/b/c").expect("a topic name")),
        packet_id: Some(PacketId::FIRST),
        properties: PublishProperties {
            content_type: Some("text/plain"),
            message_expiry_interval: Some(60),
            user_properties: UserProperties::Pairs(&[("name", "value"), ("other", "value")]),
            ..Default::default()
        },
        payload: &[b'x'; 64],
    });
    encode(Version::V5, &packet)
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let ack =
        Ack { packet_id: PacketId::FIRST, reason: ReasonCode::Success, properties: AckProperties::default() };
    let packets = [
        ("PUBLISH QoS 0", Version::V311, publish(Version::V311, "a/b/c", QoS::AtMostOnce, &[b'x'; 64])),
        ("PUBLISH QoS 1", Version::V5, publish(Version::V5, "a/b/c", QoS::AtLeastOnce, &[b'x'; 64])),
        ("PUBLISH with properties", Version::V5, with_properties()),
        ("CONNECT", Version::V5, connect(Version::V5, "client", true)),
        ("SUBSCRIBE", Version::V5, subscribe(Version::V5, "a/+/c", QoS::AtLeastOnce)),
        ("PUBACK", Version::V5, encode(Version::V5, &Packet::PubAck(ack))),
    ];
    for (name, version, bytes) in &packets {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("decode {name}"), |bencher| {
            bencher.iter(|| {
                Packet::parse(black_box(bytes), *version, &Limits::default()).expect("a packet").is_some()
            });
        });
        let (packet, _) = Packet::parse(bytes, *version, &Limits::default()).expect("valid").expect("whole");
        let mut buffer = Vec::with_capacity(bytes.len());
        group.bench_function(format!("encode {name}"), |bencher| {
            bencher.iter(|| {
                buffer.clear();
                black_box(&packet).encode(*version, &mut buffer).expect("it can be encoded");
            });
        });
        assert_eq!(buffer, *bytes);
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
