//! What operators see of a store: counts, and lines of JSON that make the same store again.

mod common;

use broker_engine::{Lifetime, StoreOp, StoredDelivery, StoredWill};
use common::TableStore;
use metronome_storage::export::{export, import, inspect};
use metronome_storage::{Batch, Clock, Store, StoreError, Totals, counters, record};
use mqtt_proto::{QoS, RetainHandling, SubscribeOptions};
use std::time::Duration;

fn ops() -> Vec<StoreOp> {
    let client_id = || "c\u{e9}\"\n".to_owned();
    let lifetime = Lifetime { left: Some(Duration::from_secs(60)), told: None };
    let options = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: false,
        retain_handling: RetainHandling::SendIfNew,
    };
    let will = StoredWill {
        publish: "will".into(),
        qos: QoS::ExactlyOnce,
        message_expiry: Some(1),
        delay: u32::MAX,
    };
    let delivery = StoredDelivery {
        position: u64::MAX,
        publish: vec![0, 255, 7].into(),
        qos: QoS::ExactlyOnce,
        lifetime,
        subscription_ids: vec![1, 2],
        share: Some("$share/g/t".into()),
    };
    vec![
        StoreOp::PutSession { client_id: client_id(), expiry: 9, username: Some("u".into()), away: None },
        StoreOp::PutSession {
            client_id: String::new(),
            expiry: u32::MAX,
            username: None,
            away: Some(Duration::from_secs(5)),
        },
        StoreOp::PutWill { client_id: client_id(), will },
        StoreOp::PutSubscription { client_id: client_id(), filter: "a/#".into(), options, id: Some(3) },
        StoreOp::PutInflight { client_id: client_id(), position: u64::MAX, packet_id: 7, released: true },
        StoreOp::PutReceived { client_id: client_id(), packet_id: 65535 },
        StoreOp::PutQueued { client_id: client_id(), delivery },
        StoreOp::PutRetained {
            topic: "t".into(),
            publish: "r".into(),
            qos: QoS::AtMostOnce,
            lifetime: Lifetime::default(),
        },
    ]
}

/// Also if it has come a long way: it is empty again, and if the process is killed, it is none of ours.
#[test]
fn an_import_is_whole_or_nothing() {
    let line = |n| {
        format!(
            "{{\"record\":\"session\",\"client_id\":\"{n}\",\"expiry\":9,\"username\":null,\"away\":null}}\n"
        )
    };
    let sessions: String = (0..25_000).map(line).collect();
    let first = "{\"record\":\"store\",\"format\":1,\"unix_micros\":1}\n";
    let mut store = TableStore::default();
    let cut = format!("{first}{sessions}{{\"record\":\"sess");
    assert!(
        matches!(import(&mut store, cut.as_bytes()), Err(StoreError::Failed(text)) if text.starts_with("line 25002"))
    );
    assert!(store.0.lock().unwrap().commits > 2 && store.records().is_empty());

    // The process ends before the third of its four batches.
    let mut killed = TableStore::default();
    killed.0.lock().unwrap().commits_left = Some(2);
    let _killed = import(&mut killed, format!("{first}{sessions}").as_bytes());
    assert_eq!(killed.records().len(), 20_000);
    let again = import(&mut killed, first.as_bytes());
    assert_eq!(again, Err(StoreError::Failed("an import was cut off: remove it first".into())));
    assert_eq!(import(&mut TableStore::default(), format!("{first}{sessions}").as_bytes()), Ok(25_000));
}

fn filled() -> TableStore {
    let mut store = TableStore::default();
    let mut batch = Batch::default();
    let now = Clock::default().now();
    batch.put(record::store_key(), record::store_value(now));
    for op in ops() {
        record::write(&mut batch, &op, now);
    }
    batch.put(record::counters_key(), record::counters_value(&totals()));
    store.commit(&batch).unwrap();
    store
}

fn totals() -> Totals {
    Totals::from([("bytes_sent".to_owned(), u64::MAX), ("connects".to_owned(), 3)])
}

#[test]
fn what_is_exported_makes_the_same_store_again() {
    let store = filled();
    let mut text = Vec::new();
    assert_eq!(export(&store, &mut text).unwrap(), 9);
    assert!(String::from_utf8(text.clone()).unwrap().lines().all(|line| line.starts_with("{\"record\":\"")));
    let mut other = TableStore::default();
    assert_eq!(import(&mut other, &text[..]).unwrap(), 9);
    assert_eq!(counters(&other), Ok(totals()));
    // What counts from a moment may be some microseconds older.
    let now = Clock::default().now();
    let near = |op: StoreOp| match op {
        StoreOp::PutSession { away: Some(away), client_id, expiry, username } => {
            let away = Some(Duration::from_secs(away.as_secs()));
            StoreOp::PutSession { client_id, expiry, username, away }
        }
        StoreOp::PutQueued { client_id, mut delivery } => {
            let left = delivery.lifetime.left.unwrap();
            assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60));
            delivery.lifetime = Lifetime::default();
            StoreOp::PutQueued { client_id, delivery }
        }
        op => op,
    };
    let facts = |store: &TableStore| -> Vec<StoreOp> {
        let apart = [record::store_key(), record::counters_key()];
        let records = store.records().into_iter().filter(|(key, _)| !apart.contains(key));
        records.map(|(key, value)| near(record::read(&key, &value, now).unwrap())).collect()
    };
    assert_eq!(facts(&other), facts(&store));
    assert!(
        matches!(import(&mut other, &text[..]), Err(StoreError::Failed(why)) if why == "it is not empty")
    );
}

#[test]
fn lines_that_are_no_export_are_named() {
    let first = "{\"record\":\"store\",\"format\":1,\"unix_micros\":1}\n";
    for (text, wanted) in [
        ("{}\n".to_owned(), "line 1: missing field `record`"),
        (
            "{\"record\":\"received\",\"client_id\":\"c\",\"packet_id\":1}\n".into(),
            "line 1: not the beginning",
        ),
        (format!("{first}{first}"), "line 2: a second beginning"),
        (format!("{first}nonsense\n"), "line 2: "),
        (
            format!("{first}{{\"record\":\"retained\",\"topic\":\"t\",\"qos\":3,\"publish\":\"\"}}\n"),
            "line 2: a value that cannot be",
        ),
        (
            format!("{first}{{\"record\":\"retained\",\"topic\":\"t\",\"qos\":1,\"publish\":\"%\"}}\n"),
            "line 2: a value that cannot be",
        ),
        (
            format!("{first}{{\"record\":\"session\",\"client_id\":\"c\",\"expiry\":1,\"away\":-1}}\n"),
            "line 2: a value that cannot be",
        ),
    ] {
        let mut store = TableStore::default();
        let error = import(&mut store, text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{text}: {error}");
        assert!(store.records().is_empty(), "nothing of it is kept");
    }
    let newer = first.replace("\"format\":1", "\"format\":2");
    assert_eq!(import(&mut TableStore::default(), newer.as_bytes()), Err(StoreError::Newer(2)));
}

#[test]
fn damage_is_counted() {
    let store = filled();
    let summary = inspect(&store).unwrap();
    let [sessions, wills, queued] = [summary.sessions, summary.wills, summary.queued];
    assert_eq!((sessions, wills, queued, summary.damaged), (2, 1, 1, 0), "{summary}");
    assert_eq!(summary.to_string().lines().count(), 10);
    let mut table = store.0.lock().unwrap();
    let last = table.records.values_mut().last().unwrap();
    last[2] ^= 1;
    table.records.insert(record::quarantined_key(b"x"), b"?".to_vec());
    table.records.insert(vec![99], b"?".to_vec());
    drop(table);
    let summary = inspect(&store).unwrap();
    assert_eq!((summary.damaged, summary.quarantined, summary.retained), (2, 1, 1), "{summary}");
    store.0.lock().unwrap().records.insert(record::store_key(), vec![2]);
    assert_eq!(inspect(&store), Err(StoreError::Newer(2)));
}
