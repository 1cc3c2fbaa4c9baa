//! Operations as records: what comes back, what keeps apart, what is noticed, and what may never change.

mod common;
#[cfg(feature = "redis")]
#[allow(dead_code)] // Each test program uses a part of it.
#[path = "common/redis_server.rs"]
mod redis_server;

use broker_engine::{Lifetime, MemoryStore, StoreOp, StoredDelivery, StoredWill, Time};
use common::{TableStore, directory};
use metronome_storage::record::{self, Unreadable};
use metronome_storage::{Batch, RedbStore, Store, Totals};
use mqtt_proto::{QoS, RetainHandling, SubscribeOptions};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::time::Duration;

/// Some moment, Unix microseconds.
const NOW: u64 = 1_700_000_000_000_000;

/// All facts of a store, as they are handed over then.
fn facts(store: &dyn Store, now: u64) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    let mut each = |key: &[u8], value: &[u8]| {
        facts.insert(format!("{:?}", record::read(key, value, now).unwrap()));
        ControlFlow::Continue(())
    };
    store.scan(&[], &mut each).unwrap();
    facts
}

fn id() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "ab", "b", "\u{1}", "\u{10ffff}"]).prop_map(str::to_owned)
}

fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn lifetime() -> impl Strategy<Value = Lifetime> {
    let left = || prop::option::of((0..1000_u64).prop_map(Duration::from_secs));
    (left(), left()).prop_map(|(left, told)| Lifetime { left, told })
}

fn publish() -> impl Strategy<Value = bytes::Bytes> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Into::into)
}

fn delivery() -> impl Strategy<Value = StoredDelivery> {
    let ids = prop::collection::vec(1..300_u32, 0..3);
    (0..4_u64, publish(), qos(), lifetime(), ids, prop::option::of(id())).prop_map(
        |(position, publish, qos, lifetime, subscription_ids, share)| StoredDelivery {
            position,
            publish,
            qos,
            lifetime,
            subscription_ids,
            share,
        },
    )
}

fn options() -> impl Strategy<Value = SubscribeOptions> {
    let handling = vec![RetainHandling::SendAlways, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
    (qos(), any::<bool>(), any::<bool>(), prop::sample::select(handling)).prop_map(
        |(qos, no_local, retain_as_published, retain_handling)| SubscribeOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        },
    )
}

fn op() -> impl Strategy<Value = StoreOp> {
    let away = prop::option::of((0..1000_u64).prop_map(Duration::from_secs));
    prop_oneof![
        (id(), any::<u32>(), prop::option::of(id()), away).prop_map(|(client_id, expiry, username, away)| {
            StoreOp::PutSession { client_id, expiry, username, away }
        }),
        id().prop_map(|client_id| StoreOp::EndSession { client_id }),
        (id(), id(), options(), prop::option::of(1..300_u32)).prop_map(|(client_id, filter, options, id)| {
            StoreOp::PutSubscription { client_id, filter, options, id }
        }),
        (id(), id()).prop_map(|(client_id, filter)| StoreOp::RemoveSubscription { client_id, filter }),
        (id(), delivery()).prop_map(|(client_id, delivery)| StoreOp::PutQueued { client_id, delivery }),
        (id(), 0..4_u64, any::<u16>(), any::<bool>()).prop_map(
            |(client_id, position, packet_id, released)| {
                StoreOp::PutInflight { client_id, position, packet_id, released }
            }
        ),
        (id(), 0..4_u64).prop_map(|(client_id, position)| StoreOp::RemoveQueued { client_id, position }),
        (id(), 0..4_u16).prop_map(|(client_id, packet_id)| StoreOp::PutReceived { client_id, packet_id }),
        (id(), 0..4_u16).prop_map(|(client_id, packet_id)| StoreOp::RemoveReceived { client_id, packet_id }),
        (id(), publish(), qos(), lifetime()).prop_map(|(topic, publish, qos, lifetime)| {
            StoreOp::PutRetained { topic, publish, qos, lifetime }
        }),
        id().prop_map(|topic| StoreOp::RemoveRetained { topic }),
        (id(), publish(), qos(), prop::option::of(any::<u32>()), any::<u32>()).prop_map(
            |(client_id, publish, qos, message_expiry, delay)| StoreOp::PutWill {
                client_id,
                will: StoredWill { publish, qos, message_expiry, delay },
            }
        ),
        id().prop_map(|client_id| StoreOp::RemoveWill { client_id }),
    ]
}

/// In batches of any size, and handed over later: every store has what the one in memory has.
#[test]
fn stores_keep_what_the_one_in_memory_keeps() {
    let path = directory();
    #[cfg(feature = "redis")]
    let server = redis_server::RedisServer::start(&directory(), &[]);
    let cases = ProptestConfig::with_cases(60);
    proptest!(cases, |(batches in prop::collection::vec(prop::collection::vec(op(), 1..12), 1..8))| {
        if path.exists() {
            std::fs::remove_dir_all(&path).unwrap();
        }
        let (mut model, mut table) = (MemoryStore::new(), TableStore::default());
        let mut redb = RedbStore::open(&path).unwrap();
        #[cfg(feature = "fjall")]
        let mut fjall = metronome_storage::FjallStore::open(&path.join("fjall")).unwrap();
        #[cfg(feature = "redis")]
        let mut redis = {
            server.say("FLUSHALL");
            metronome_storage::RedisStore::open(metronome_storage::RedisOptions {
                url: server.url().parse().unwrap(),
                password_file: None,
                ca: None,
                prefix: "metronome".into(),
                wait_for_fsync: false,
            })
            .unwrap()
        };
        for (at, ops) in (0..).zip(batches) {
            let mut batch = Batch::default();
            for op in ops {
                record::write(&mut batch, &op, NOW + at * 1_000_000);
                model.apply(Time::from_secs(at), op);
            }
            table.commit(&batch).unwrap();
            redb.commit(&batch).unwrap();
            #[cfg(feature = "fjall")]
            fjall.commit(&batch).unwrap();
            #[cfg(feature = "redis")]
            redis.commit(&batch).unwrap();
        }
        let wanted: BTreeSet<_> =
            model.records(Time::from_secs(100)).map(|op| format!("{op:?}")).collect();
        let later = NOW + 100_000_000;
        prop_assert_eq!(&facts(&table, later), &wanted);
        prop_assert_eq!(&facts(&redb, later), &wanted);
        redb.reopen().unwrap();
        prop_assert_eq!(&facts(&redb, later), &wanted);
        #[cfg(feature = "fjall")]
        {
            prop_assert_eq!(&facts(&fjall, later), &wanted);
            fjall.reopen().unwrap();
            prop_assert_eq!(&facts(&fjall, later), &wanted);
        }
        #[cfg(feature = "redis")]
        {
            prop_assert_eq!(&facts(&redis, later), &wanted);
            redis.reopen().unwrap();
            prop_assert_eq!(&facts(&redis, later), &wanted);
        }
    });
}

/// One of each kind, with everything in it.
fn examples() -> Vec<StoreOp> {
    let client_id = || "client \u{e9}".to_owned();
    let publish = || bytes::Bytes::from_static(b"\x31\x0c\0\x03a/b\x05\x01\x01\x03\0\0hi");
    let lifetime =
        Lifetime { left: Some(Duration::from_secs(60)), told: Some(Duration::from_millis(61_500)) };
    let options = SubscribeOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let delivery = StoredDelivery {
        position: 258,
        publish: publish(),
        qos: QoS::AtLeastOnce,
        lifetime,
        subscription_ids: vec![1, 268_435_455],
        share: Some("$share/g/a/+".into()),
    };
    let will =
        StoredWill { publish: publish(), qos: QoS::ExactlyOnce, message_expiry: Some(9), delay: u32::MAX };
    vec![
        StoreOp::PutSession { client_id: client_id(), expiry: 600, username: Some("u".into()), away: None },
        StoreOp::PutSession {
            client_id: String::new(),
            expiry: u32::MAX,
            username: None,
            away: Some(Duration::from_secs(5)),
        },
        StoreOp::PutWill { client_id: client_id(), will },
        StoreOp::PutSubscription { client_id: client_id(), filter: "a/+/#".into(), options, id: Some(7) },
        StoreOp::PutInflight { client_id: client_id(), position: 257, packet_id: 65535, released: true },
        StoreOp::PutReceived { client_id: client_id(), packet_id: 258 },
        StoreOp::PutQueued { client_id: client_id(), delivery },
        StoreOp::PutRetained { topic: "a/b".into(), publish: publish(), qos: QoS::AtLeastOnce, lifetime },
    ]
}

fn records_of(ops: &[StoreOp]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut table = TableStore::default();
    let mut batch = Batch::default();
    for op in ops {
        record::write(&mut batch, op, NOW);
    }
    table.commit(&batch).unwrap();
    table.records().into_iter().collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Records of each version that was ever released are read for ever, and what is written is still the same.
#[test]
fn golden_records_are_read_and_written() {
    let golden: Vec<(Vec<u8>, Vec<u8>)> = include_str!("golden/v1.txt")
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(key, value)| (unhex(key), unhex(value)))
        .collect();
    let read: Vec<StoreOp> =
        golden.iter().map(|(key, value)| record::read(key, value, NOW).unwrap()).collect();
    let mut wanted = examples();
    wanted.sort_by_key(|op| records_of(std::slice::from_ref(op)).remove(0).0);
    assert_eq!(read, wanted);
    let written = records_of(&wanted);
    let text = written.iter().map(|(key, value)| format!("{} {}\n", hex(key), hex(value)));
    assert_eq!(text.collect::<String>(), include_str!("golden/v1.txt"));
}

/// The same of totals, which no operation makes.
#[test]
fn golden_totals_are_read_and_written() {
    let totals = [("bytes_received", u64::MAX), ("connects", 0), ("dropped_queue-full", 300)];
    let totals: Totals = totals.map(|(name, total)| (name.to_owned(), total)).into();
    let golden = include_str!("golden/v1-counters.txt").trim_end();
    let (key, value) = golden.split_once(' ').unwrap();
    assert_eq!(unhex(key), record::counters_key());
    let written = record::counters_value(&totals);
    assert_eq!(hex(&written), value);
    assert_eq!(record::counters(&unhex(value)), Ok(totals));
    for at in 0..written.len() * 8 {
        let mut other = written.clone();
        other[at / 8] ^= 1 << (at % 8);
        assert_eq!(record::counters(&other), Err(Unreadable::Damaged), "bit {at}");
        assert_eq!(record::counters(&written[..at / 8]), Err(Unreadable::Damaged), "cut to {}", at / 8);
    }
}

/// Every flipped bit, every cut, and every record under another one's key.
#[test]
fn damage_is_noticed() {
    let records = records_of(&examples());
    for (key, value) in &records {
        for at in 0..value.len() {
            assert_eq!(record::read(key, &value[..at], NOW), Err(Unreadable::Damaged), "cut to {at}");
            for bit in 0..8 {
                let mut other = value.clone();
                other[at] ^= 1 << bit;
                assert_eq!(record::read(key, &other, NOW), Err(Unreadable::Damaged), "bit {bit} of {at}");
            }
        }
        for (other, _) in records.iter().filter(|(other, _)| other != key) {
            assert_eq!(record::read(other, value, NOW), Err(Unreadable::Damaged));
        }
    }
}

/// The clock may have gone back between two processes: nothing lives longer for that.
#[test]
fn a_clock_that_went_back_makes_nobody_younger() {
    for (key, value) in records_of(&examples()) {
        let at_once = record::read(&key, &value, NOW).unwrap();
        let earlier = record::read(&key, &value, NOW - 1_000_000_000).unwrap();
        if let (StoreOp::PutSession { away, .. }, StoreOp::PutSession { away: then, .. }) =
            (&at_once, &earlier)
        {
            assert!(then <= away);
        } else {
            assert_eq!(earlier, at_once);
        }
    }
}
