//! What is in a store, for people and other programs: counts, and every record as a line of JSON.

use crate::clock::Clock;
use crate::record::{self, Kind, Totals, Unreadable};
use crate::store::{Batch, Store, StoreError};
use base64ct::{Base64, Encoding};
use broker_engine::{Lifetime, StoreOp, StoredDelivery, StoredWill};
use mqtt_proto::QoS;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, BufRead, Write};
use std::ops::ControlFlow;
use std::time::Duration;

/// Records that are imported together.
const BATCH: usize = 10_000;

/// How many records of each kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Sessions.
    pub sessions: u64,
    /// Wills that may still be sent.
    pub wills: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Deliveries that were sent and not acknowledged.
    pub in_flight: u64,
    /// QoS 2 messages of clients that wait for PUBREL.
    pub received: u64,
    /// Deliveries that wait or are in flight.
    pub queued: u64,
    /// Retained messages.
    pub retained: u64,
    /// Records that were put aside, as they could not be read.
    pub quarantined: u64,
    /// Records that cannot be read.
    pub damaged: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [
            ("sessions", self.sessions),
            ("wills", self.wills),
            ("subscriptions", self.subscriptions),
            ("deliveries", self.queued),
            ("of them in flight", self.in_flight),
            ("received at QoS 2", self.received),
            ("retained messages", self.retained),
            ("put aside", self.quarantined),
            ("damaged", self.damaged),
            ("bytes", self.bytes),
        ];
        lines.iter().try_for_each(|(what, count)| writeln!(f, "{what:<18} {count:>12}"))
    }
}

/// Reads every record and counts them.
///
/// # Errors
/// The store cannot be read, or is of a newer version.
pub fn inspect(store: &dyn Store) -> Result<Summary, StoreError> {
    let mut summary = Summary::default();
    each(store, 0, |kind, key, value, read| {
        summary.bytes += (key.len() + value.len()) as u64;
        let count = match (kind, read) {
            (Some(Kind::Quarantined), _) => &mut summary.quarantined,
            (Some(Kind::Store), _) => return Ok(()),
            (Some(Kind::Counters), _) if totals(key, value).is_some() => return Ok(()),
            (_, Err(())) | (None | Some(Kind::Counters), _) => &mut summary.damaged,
            (Some(Kind::Session), _) => &mut summary.sessions,
            (Some(Kind::Will), _) => &mut summary.wills,
            (Some(Kind::Subscription), _) => &mut summary.subscriptions,
            (Some(Kind::InFlight), _) => &mut summary.in_flight,
            (Some(Kind::Received), _) => &mut summary.received,
            (Some(Kind::Queued), _) => &mut summary.queued,
            (Some(Kind::Retained), _) => &mut summary.retained,
        };
        *count += 1;
        Ok(())
    })?;
    Ok(summary)
}

/// Those of a record of totals that can be read.
fn totals(key: &[u8], value: &[u8]) -> Option<Totals> {
    (key == record::counters_key()).then(|| record::counters(value).ok())?
}

/// Shows every record with its kind, read as of `now` if it can be.
fn each(
    store: &dyn Store,
    now: u64,
    mut show: impl FnMut(Option<Kind>, &[u8], &[u8], Result<StoreOp, ()>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut end = Ok(());
    store.scan(&[], &mut |key, value| {
        let begins = if key == record::store_key() { record::store_time(value).map(drop) } else { Ok(()) };
        end = match (begins, record::read(key, value, now)) {
            (Err(Unreadable::Newer(format)), _) | (_, Err(Unreadable::Newer(format))) => {
                Err(StoreError::Newer(format))
            }
            (_, read) => show(Kind::of(key), key, value, read.map_err(|_| ())),
        };
        if end.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    end
}

/// A line of an export. Times are seconds, counted to when the export was made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case", deny_unknown_fields)]
enum Line {
    /// The first line.
    Store {
        format: u8,
        unix_micros: u64,
    },
    Session {
        client_id: String,
        expiry: u32,
        username: Option<String>,
        away: Option<f64>,
    },
    Will {
        client_id: String,
        qos: u8,
        delay: u32,
        message_expiry: Option<u32>,
        publish: String,
    },
    Subscription {
        client_id: String,
        filter: String,
        qos: u8,
        no_local: bool,
        retain_as_published: bool,
        retain_handling: u8,
        id: Option<u32>,
    },
    InFlight {
        client_id: String,
        position: u64,
        packet_id: u16,
        released: bool,
    },
    Received {
        client_id: String,
        packet_id: u16,
    },
    Queued {
        client_id: String,
        position: u64,
        qos: u8,
        expires: Option<f64>,
        expires_told: Option<f64>,
        subscription_ids: Vec<u32>,
        share: Option<String>,
        publish: String,
    },
    Retained {
        topic: String,
        qos: u8,
        expires: Option<f64>,
        expires_told: Option<f64>,
        publish: String,
    },
    Counters {
        totals: Totals,
    },
}

impl Line {
    /// `None` for an operation that makes no record.
    fn of(op: StoreOp) -> Option<Self> {
        let secs = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
        Some(match op {
            StoreOp::PutSession { client_id, expiry, username, away } => {
                Self::Session { client_id, expiry, username, away: secs(away) }
            }
            StoreOp::PutWill { client_id, will: StoredWill { publish, qos, message_expiry, delay } } => {
                let publish = Base64::encode_string(&publish);
                Self::Will { client_id, qos: qos as u8, delay, message_expiry, publish }
            }
            StoreOp::PutSubscription { client_id, filter, options, id } => Self::Subscription {
                client_id,
                filter,
                qos: options.qos as u8,
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                retain_handling: options.retain_handling as u8,
                id,
            },
            StoreOp::PutInflight { client_id, position, packet_id, released } => {
                Self::InFlight { client_id, position, packet_id, released }
            }
            StoreOp::PutReceived { client_id, packet_id } => Self::Received { client_id, packet_id },
            StoreOp::PutQueued { client_id, delivery } => Self::Queued {
                client_id,
                position: delivery.position,
                qos: delivery.qos as u8,
                expires: secs(delivery.lifetime.left),
                expires_told: secs(delivery.lifetime.told),
                subscription_ids: delivery.subscription_ids,
                share: delivery.share,
                publish: Base64::encode_string(&delivery.publish),
            },
            StoreOp::PutRetained { topic, publish, qos, lifetime } => Self::Retained {
                topic,
                qos: qos as u8,
                expires: secs(lifetime.left),
                expires_told: secs(lifetime.told),
                publish: Base64::encode_string(&publish),
            },
            _ => return None,
        })
    }

    /// `None` where a value cannot be.
    fn op(self) -> Option<StoreOp> {
        let lifetime = |left, told| Some(Lifetime { left: duration(left)?, told: duration(told)? });
        let bytes = |text: &str| Base64::decode_vec(text).ok().map(Into::into);
        Some(match self {
            Self::Store { .. } | Self::Counters { .. } => return None,
            Self::Session { client_id, expiry, username, away } => {
                StoreOp::PutSession { client_id, expiry, username, away: duration(away)? }
            }
            Self::Will { client_id, qos, delay, message_expiry, publish } => {
                let (publish, qos) = (bytes(&publish)?, QoS::from_bits(qos)?);
                StoreOp::PutWill { client_id, will: StoredWill { publish, qos, message_expiry, delay } }
            }
            Self::Subscription {
                client_id,
                filter,
                qos,
                no_local,
                retain_as_published,
                retain_handling,
                id,
            } => {
                let flags = u8::from(no_local) << 2 | u8::from(retain_as_published) << 3;
                let bits = QoS::from_bits(qos)? as u8 | flags | retain_handling.checked_shl(4)?;
                StoreOp::PutSubscription { client_id, filter, options: record::from_bits(bits)?, id }
            }
            Self::InFlight { client_id, position, packet_id, released } => {
                StoreOp::PutInflight { client_id, position, packet_id, released }
            }
            Self::Received { client_id, packet_id } => StoreOp::PutReceived { client_id, packet_id },
            Self::Queued {
                client_id,
                position,
                qos,
                expires,
                expires_told,
                subscription_ids,
                share,
                publish,
            } => {
                let (publish, qos) = (bytes(&publish)?, QoS::from_bits(qos)?);
                let lifetime = lifetime(expires, expires_told)?;
                let delivery = StoredDelivery { position, publish, qos, lifetime, subscription_ids, share };
                StoreOp::PutQueued { client_id, delivery }
            }
            Self::Retained { topic, qos, expires, expires_told, publish } => StoreOp::PutRetained {
                topic,
                publish: bytes(&publish)?,
                qos: QoS::from_bits(qos)?,
                lifetime: lifetime(expires, expires_told)?,
            },
        })
    }
}

/// Some duration, or none at all; `None` where the number is none.
#[allow(clippy::option_option)] // A number that is not there is not a number that cannot be.
fn duration(secs: Option<f64>) -> Option<Option<Duration>> {
    secs.map_or(Some(None), |secs| Duration::try_from_secs_f64(secs).ok().map(Some))
}

/// Writes every record that can be read as a line of JSON; says how many.
///
/// # Errors
/// The store cannot be read, or is of a newer version, or nothing can be written.
pub fn export(store: &dyn Store, out: &mut dyn Write) -> Result<u64, StoreError> {
    let now = Clock::default().now();
    let mut write = |line: &Line| {
        let text = serde_json::to_string(line).map_err(io::Error::other);
        text.and_then(|text| writeln!(out, "{text}"))
            .map_err(|error| StoreError::Failed(format!("cannot write: {error}")))
    };
    write(&Line::Store { format: record::FORMAT, unix_micros: now })?;
    let mut count = 0;
    each(store, now, |_, key, value, read| {
        let counters = totals(key, value).map(|totals| Line::Counters { totals });
        let Some(line) = counters.or_else(|| read.ok().and_then(Line::of)) else { return Ok(()) };
        count += 1;
        write(&line)
    })?;
    Ok(count)
}

/// Reads what was exported into an empty store; says how many records. A store that does not get to the end is empty again;
/// one whose process is killed meanwhile is none of ours, as only the last batch makes it one.
///
/// # Errors
/// The store is not empty or cannot be written, or a line is none of an export: names its number.
pub fn import(store: &mut dyn Store, lines: impl BufRead) -> Result<u64, StoreError> {
    let mut first = None;
    store.scan(&[], &mut |key, _| {
        first = Some(key.to_vec());
        ControlFlow::Break(())
    })?;
    match first {
        Some(key) if key != record::store_key() && Kind::of(&key).is_some() => {
            return Err(StoreError::Failed("an import was cut off: remove it first".to_owned()));
        }
        Some(_) => return Err(StoreError::Failed("it is not empty".to_owned())),
        None => {}
    }
    let imported = import_all(store, lines);
    if imported.is_err() {
        let mut everything = Batch::default();
        everything.clear(Vec::new());
        // What went wrong is more than that it is left.
        let _cleared = store.reopen().and_then(|()| store.commit(&everything));
    }
    imported
}

fn import_all(store: &mut dyn Store, lines: impl BufRead) -> Result<u64, StoreError> {
    let now = Clock::default().now();
    let (mut batch, mut count, mut age) = (Batch::default(), 0, Duration::ZERO);
    for (number, line) in (1_u64..).zip(lines.lines()) {
        let wrong = |what: String| StoreError::Failed(format!("line {number}: {what}"));
        let line = line.map_err(|error| wrong(error.to_string()))?;
        let line: Line = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        match line {
            Line::Store { format, .. } if format > record::FORMAT => return Err(StoreError::Newer(format)),
            Line::Store { unix_micros, .. } if number == 1 => {
                age = Duration::from_micros(now.saturating_sub(unix_micros));
            }
            Line::Store { .. } => return Err(wrong("a second beginning".to_owned())),
            _ if number == 1 => return Err(wrong("not the beginning of an export".to_owned())),
            Line::Counters { totals } => {
                batch.put(record::counters_key(), record::counters_value(&totals));
                count += 1;
            }
            line => {
                let op = line.op().ok_or_else(|| wrong("a value that cannot be".to_owned()))?;
                record::write(&mut batch, &op.aged(age), now);
                count += 1;
            }
        }
        if batch.changes().len() >= BATCH {
            store.commit(&std::mem::take(&mut batch))?;
        }
    }
    batch.put(record::store_key(), record::store_value(now));
    store.commit(&batch)?;
    Ok(count)
}
