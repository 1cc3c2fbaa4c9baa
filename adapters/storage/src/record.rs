//! Operations of the engine as records, and back.
//!
//! A key is a kind, the client identifier behind its length, and what tells its records apart: no two facts share one,
//! whatever clients call themselves. A value is the format's version, a checksum over key and body, and the body.
//! Messages are MQTT 5 PUBLISH packets. Durations become points on the wall clock.

use crate::store::Batch;
use broker_engine::{Lifetime, StoreOp, StoredDelivery, StoredWill};
use mqtt_proto::{QoS, RetainHandling, SubscribeOptions, planted};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::time::Duration;

/// Version of the format, in every value.
pub const FORMAT: u8 = 1;

/// What a record is about. The order is that of loading: what is in flight comes before what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// The store itself: the latest time it knows.
    Store = 1,
    /// [`StoreOp::PutSession`].
    Session,
    /// [`StoreOp::PutWill`].
    Will,
    /// [`StoreOp::PutSubscription`].
    Subscription,
    /// [`StoreOp::PutInflight`].
    InFlight,
    /// [`StoreOp::PutReceived`].
    Received,
    /// [`StoreOp::PutQueued`].
    Queued,
    /// [`StoreOp::PutRetained`].
    Retained,
    /// [`Totals`].
    Counters,
    /// A record that could not be read, under its own key behind this byte.
    Quarantined = 255,
}

const KINDS: [Kind; 10] = [
    Kind::Store,
    Kind::Session,
    Kind::Will,
    Kind::Subscription,
    Kind::InFlight,
    Kind::Received,
    Kind::Queued,
    Kind::Retained,
    Kind::Counters,
    Kind::Quarantined,
];

impl Kind {
    /// The kind of a key.
    pub fn of(key: &[u8]) -> Option<Self> {
        KINDS.into_iter().find(|kind| key.first() == Some(&(*kind as u8)))
    }
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is written in a newer format.
    Newer(u8),
    /// It is cut off, altered, or under a key that is not its own.
    Damaged,
}

#[derive(Serialize, Deserialize)]
struct SessionBody {
    expiry: u32,
    username: Option<String>,
    /// Unix microseconds; none while the client is connected.
    away_since: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct SubscriptionBody {
    /// As in SUBSCRIBE.
    options: u8,
    id: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct InFlightBody {
    packet_id: u16,
    released: bool,
}

#[derive(Serialize, Deserialize)]
struct MessageBody<'a> {
    qos: u8,
    /// Unix microseconds from which on the two lifetimes count.
    at: u64,
    left: Option<u64>,
    told: Option<u64>,
    #[serde(borrow)]
    publish: &'a [u8],
}

#[derive(Serialize, Deserialize)]
struct QueuedBody<'a> {
    #[serde(borrow)]
    message: MessageBody<'a>,
    subscription_ids: Vec<u32>,
    share: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct WillBody<'a> {
    qos: u8,
    message_expiry: Option<u32>,
    delay: u32,
    #[serde(borrow)]
    publish: &'a [u8],
}

/// What all keys of a kind and client begin with.
fn prefix(kind: Kind, client_id: &str) -> Vec<u8> {
    let len = u32::try_from(client_id.len()).unwrap_or(u32::MAX);
    [&[kind as u8][..], &len.to_be_bytes(), client_id.as_bytes()].concat()
}

fn key(kind: Kind, client_id: &str, rest: &[u8]) -> Vec<u8> {
    let mut key = prefix(kind, client_id);
    key.extend_from_slice(rest);
    key
}

/// The end of a key that has a position.
fn at(position: u64) -> [u8; 8] {
    if planted!("positions-collide") { (position % 16).to_be_bytes() } else { position.to_be_bytes() }
}

fn retained_key(topic: &str) -> Vec<u8> {
    [&[Kind::Retained as u8][..], topic.as_bytes()].concat()
}

/// The key of the record about the store itself.
pub fn store_key() -> Vec<u8> {
    vec![Kind::Store as u8]
}

/// The record about the store itself, at this time.
pub fn store_value(now: u64) -> Vec<u8> {
    value(&store_key(), &now)
}

/// The latest time that a store knows. Its first byte is the format's version in every format there will ever be.
///
/// # Errors
/// The record cannot be read.
pub fn store_time(value: &[u8]) -> Result<u64, Unreadable> {
    if let Some(version) = value.first().filter(|version| **version > FORMAT) {
        return Err(Unreadable::Newer(*version));
    }
    from_body(body(&store_key(), value)?)
}

/// What was counted, by name: a version that counts something else reads what it knows.
pub type Totals = BTreeMap<String, u64>;

/// The key of the record of totals.
pub fn counters_key() -> Vec<u8> {
    vec![Kind::Counters as u8]
}

/// The record of totals.
pub fn counters_value(totals: &Totals) -> Vec<u8> {
    value(&counters_key(), totals)
}

/// The totals of a record.
///
/// # Errors
/// The record cannot be read.
pub fn counters(value: &[u8]) -> Result<Totals, Unreadable> {
    from_body(body(&counters_key(), value)?)
}

/// Where a record goes that cannot be read.
pub fn quarantined_key(key: &[u8]) -> Vec<u8> {
    [&[Kind::Quarantined as u8][..], key].concat()
}

/// The first key of a session's queue that is not before a position.
pub fn queue_from(client_id: &str, position: u64) -> Vec<u8> {
    key(Kind::Queued, client_id, &at(position))
}

/// What all keys of a session's queue begin with.
pub fn queue_prefix(client_id: &str) -> Vec<u8> {
    prefix(Kind::Queued, client_id)
}

/// Adds an operation that happens `now` to a batch; a [`StoreOp::Fetch`] is none.
pub fn write(batch: &mut Batch, op: &StoreOp, now: u64) {
    match op {
        StoreOp::EndSession { client_id } => {
            for kind in [Kind::Session, Kind::Will] {
                batch.remove(key(kind, client_id, &[]));
            }
            for kind in [Kind::Subscription, Kind::InFlight, Kind::Received, Kind::Queued] {
                batch.clear(prefix(kind, client_id));
            }
        }
        StoreOp::RemoveWill { client_id } => batch.remove(key(Kind::Will, client_id, &[])),
        StoreOp::RemoveSubscription { client_id, filter } => {
            batch.remove(key(Kind::Subscription, client_id, filter.as_bytes()));
        }
        StoreOp::RemoveQueued { client_id, position } => {
            batch.remove(key(Kind::InFlight, client_id, &at(*position)));
            batch.remove(key(Kind::Queued, client_id, &at(*position)));
        }
        StoreOp::RemoveReceived { client_id, packet_id } => {
            batch.remove(key(Kind::Received, client_id, &packet_id.to_be_bytes()));
        }
        StoreOp::RemoveRetained { topic } => batch.remove(retained_key(topic)),
        put => {
            if let Some((key, value)) = record(put, now) {
                batch.put(key, value);
            }
        }
    }
}

/// The record of an operation that makes one.
fn record(op: &StoreOp, now: u64) -> Option<(Vec<u8>, Vec<u8>)> {
    Some(match op {
        StoreOp::PutSession { client_id, expiry, username, away } => {
            let away_since = away.map(|away| now.saturating_sub(micros(away)));
            let body = SessionBody { expiry: *expiry, username: username.clone(), away_since };
            with_value(key(Kind::Session, client_id, &[]), &body)
        }
        StoreOp::PutWill { client_id, will } => {
            let StoredWill { publish, qos, message_expiry, delay } = will;
            let (qos, message_expiry, delay) = (*qos as u8, *message_expiry, *delay);
            let body = WillBody { qos, message_expiry, delay, publish };
            with_value(key(Kind::Will, client_id, &[]), &body)
        }
        StoreOp::PutSubscription { client_id, filter, options, id } => {
            let body = SubscriptionBody { options: to_bits(*options), id: *id };
            with_value(key(Kind::Subscription, client_id, filter.as_bytes()), &body)
        }
        StoreOp::PutInflight { client_id, position, packet_id, released } => {
            let body = InFlightBody { packet_id: *packet_id, released: *released };
            with_value(key(Kind::InFlight, client_id, &at(*position)), &body)
        }
        StoreOp::PutReceived { client_id, packet_id } => {
            with_value(key(Kind::Received, client_id, &packet_id.to_be_bytes()), &())
        }
        StoreOp::PutQueued { client_id, delivery } => {
            let body = QueuedBody {
                message: message(&delivery.publish, delivery.qos, delivery.lifetime, now),
                subscription_ids: delivery.subscription_ids.clone(),
                share: delivery.share.as_deref(),
            };
            with_value(queue_from(client_id, delivery.position), &body)
        }
        StoreOp::PutRetained { topic, publish, qos, lifetime } => {
            with_value(retained_key(topic), &message(publish, *qos, *lifetime, now))
        }
        _ => return None,
    })
}

/// The operation that made a record, as it is handed over `now`.
///
/// # Errors
/// The record is damaged, or of a newer format.
pub fn read(key: &[u8], value: &[u8], now: u64) -> Result<StoreOp, Unreadable> {
    let body = body(key, value)?;
    if Kind::of(key) == Some(Kind::Retained) {
        let topic = text(key.get(1..).unwrap_or_default())?;
        let message: MessageBody<'_> = from_body(body)?;
        let (publish, qos, lifetime) = message.read(now)?;
        return Ok(StoreOp::PutRetained { topic, publish: publish.to_vec().into(), qos, lifetime });
    }
    let (kind, client_id, rest) = split(key).ok_or(Unreadable::Damaged)?;
    let client_id = text(client_id)?;
    Ok(match kind {
        Kind::Session => {
            let SessionBody { expiry, username, away_since } = from_body(body)?;
            let away = away_since.map(|since| Duration::from_micros(now.saturating_sub(since)));
            StoreOp::PutSession { client_id, expiry, username, away }
        }
        Kind::Will => {
            let WillBody { qos, message_expiry, delay, publish } = from_body(body)?;
            let will =
                StoredWill { publish: publish.to_vec().into(), qos: to_qos(qos)?, message_expiry, delay };
            StoreOp::PutWill { client_id, will }
        }
        Kind::Subscription => {
            let SubscriptionBody { options, id } = from_body(body)?;
            let options = from_bits(options).ok_or(Unreadable::Damaged)?;
            StoreOp::PutSubscription { client_id, filter: text(rest)?, options, id }
        }
        Kind::InFlight => {
            let InFlightBody { packet_id, released } = from_body(body)?;
            StoreOp::PutInflight { client_id, position: number(rest)?, packet_id, released }
        }
        Kind::Received => {
            let packet_id = rest.try_into().map(u16::from_be_bytes).map_err(|_| Unreadable::Damaged)?;
            StoreOp::PutReceived { client_id, packet_id }
        }
        Kind::Queued => {
            let QueuedBody { message, subscription_ids, share } = from_body(body)?;
            let (publish, qos, lifetime) = message.read(now)?;
            let delivery = StoredDelivery {
                position: number(rest)?,
                publish: publish.to_vec().into(),
                qos,
                lifetime,
                subscription_ids,
                share: share.map(str::to_owned),
            };
            StoreOp::PutQueued { client_id, delivery }
        }
        Kind::Store | Kind::Retained | Kind::Counters | Kind::Quarantined => return Err(Unreadable::Damaged),
    })
}

fn with_value(key: Vec<u8>, body: &impl Serialize) -> (Vec<u8>, Vec<u8>) {
    let value = value(&key, body);
    (key, value)
}

/// Version, checksum, body.
fn value(key: &[u8], body: &impl Serialize) -> Vec<u8> {
    // Room for the checksum, which is known last. Writing plain data into a vector has no way to fail.
    let mut value = postcard::to_extend(body, vec![FORMAT, 0, 0, 0, 0]).unwrap_or_default();
    if let Some((head, body)) = value.split_at_mut_checked(5) {
        head[1..].copy_from_slice(&checksum(key, FORMAT, body));
    }
    value
}

/// The body of a value that is whole and under its own key.
fn body<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Unreadable> {
    match value {
        [version, a, b, c, d, body @ ..] if checksum(key, *version, body) == [*a, *b, *c, *d] => {
            if *version > FORMAT { Err(Unreadable::Newer(*version)) } else { Ok(body) }
        }
        _ => Err(Unreadable::Damaged),
    }
}

/// It finds damage and misplaced records, and need not keep anybody out.
fn checksum(key: &[u8], version: u8, body: &[u8]) -> [u8; 4] {
    let mut hasher = SipHasher13::new();
    hasher.write(&(key.len() as u64).to_le_bytes());
    hasher.write(key);
    hasher.write(&[version]);
    hasher.write(body);
    let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
    [a, b, c, d]
}

fn from_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Unreadable> {
    match postcard::take_from_bytes(body) {
        Ok((read, [])) => Ok(read),
        _ => Err(Unreadable::Damaged),
    }
}

/// Kind, client identifier, and the rest.
fn split(key: &[u8]) -> Option<(Kind, &[u8], &[u8])> {
    let (len, rest) = key.get(1..)?.split_first_chunk()?;
    let (client_id, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    Some((Kind::of(key)?, client_id, rest))
}

fn text(bytes: &[u8]) -> Result<String, Unreadable> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Unreadable::Damaged)
}

fn number(bytes: &[u8]) -> Result<u64, Unreadable> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| Unreadable::Damaged)
}

fn to_qos(bits: u8) -> Result<QoS, Unreadable> {
    QoS::from_bits(bits).ok_or(Unreadable::Damaged)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn message(publish: &[u8], qos: QoS, lifetime: Lifetime, now: u64) -> MessageBody<'_> {
    let Lifetime { left, told } = lifetime;
    MessageBody { qos: qos as u8, at: now, left: left.map(micros), told: told.map(micros), publish }
}

impl<'a> MessageBody<'a> {
    fn read(self, now: u64) -> Result<(&'a [u8], QoS, Lifetime), Unreadable> {
        let (left, told) = (self.left.map(Duration::from_micros), self.told.map(Duration::from_micros));
        // A clock that went back makes nobody younger.
        let age = Duration::from_micros(now.saturating_sub(self.at));
        Ok((self.publish, to_qos(self.qos)?, Lifetime { left, told }.aged(age)))
    }
}

/// The byte of SUBSCRIBE.
fn to_bits(options: SubscribeOptions) -> u8 {
    let SubscribeOptions { qos, no_local, retain_as_published, retain_handling } = options;
    qos as u8 | u8::from(no_local) << 2 | u8::from(retain_as_published) << 3 | (retain_handling as u8) << 4
}

/// Options from the byte of SUBSCRIBE.
pub(crate) fn from_bits(bits: u8) -> Option<SubscribeOptions> {
    let retain_handling = match bits >> 4 {
        0 => RetainHandling::SendAlways,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return None,
    };
    Some(SubscribeOptions {
        qos: QoS::from_bits(bits & 3)?,
        no_local: bits & 4 != 0,
        retain_as_published: bits & 8 != 0,
        retain_handling,
    })
}
