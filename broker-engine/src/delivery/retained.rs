//! Retained messages: kept by topic, sent to new subscriptions page by page.

use super::message::Message;
use super::{Expiry, Publication, Work, stored_publish};
use crate::application_message::ApplicationMessage;
use crate::collections::SlotKey;
use crate::engine::Engine;
use crate::hooks::RetainedChange;
use crate::ids::{ConnId, MessageKey};
use crate::outbox::Outbox;
use crate::sessions::{SubIds, Subscriber};
use crate::storage::StoreOp;
use crate::time::Time;
use crate::timers::TimerKey;
use crate::topics::{RetainedKey, ScanStep, is_own};
use alloc::{
    boxed::Box,
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use mqtt_proto::{Limits, Packet, QoS, ReasonCode, TopicFilter, Version, planted};
use serde::{Deserialize, Serialize};

/// A topic's retained message.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Retained {
    pub(crate) message: MessageKey,
}

/// Retained messages on their way to a new subscription, with the options that it has by the time they are sent.
#[derive(Debug, Serialize, Deserialize)]
struct RetainedScan {
    /// How often all of them are still to be sent, this time included.
    times: u32,
    /// The topic that was looked at last.
    after: Option<RetainedKey>,
}

/// Retained messages for a client's new subscriptions that are not sent yet, by topic filter. Each is sent as often as
/// the latest SUBSCRIBE has the filter, so that repeating a SUBSCRIBE begins anew instead of adding to it. Most clients
/// have none most of the time, so there is but a pointer until one has.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RetainedScans(Option<Box<Scans>>);

/// One or more.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Scans {
    by_filter: BTreeMap<Box<str>, RetainedScan>,
    bytes: u64,
}

impl RetainedScans {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Begins with them anew.
    pub(crate) fn begin(&mut self, filter: &str, times: u32) {
        self.remove(filter);
        self.put(filter.into(), RetainedScan { times, after: None });
    }

    pub(crate) fn remove(&mut self, filter: &str) {
        self.take(|scans| scans.remove_entry(filter));
    }

    fn put(&mut self, filter: Box<str>, scan: RetainedScan) {
        let scans = self.0.get_or_insert_default();
        scans.bytes += scan_kept(&filter, &scan);
        scans.by_filter.insert(filter, scan);
    }

    fn pop_first(&mut self) -> Option<(Box<str>, RetainedScan)> {
        self.take(BTreeMap::pop_first)
    }

    fn take(
        &mut self,
        take: impl FnOnce(&mut BTreeMap<Box<str>, RetainedScan>) -> Option<(Box<str>, RetainedScan)>,
    ) -> Option<(Box<str>, RetainedScan)> {
        let scans = self.0.as_mut()?;
        let (filter, scan) = take(&mut scans.by_filter)?;
        scans.bytes -= scan_kept(&filter, &scan);
        if scans.by_filter.is_empty() {
            self.0 = None;
        }
        Some((filter, scan))
    }

    /// Bytes that they keep.
    pub(crate) fn kept(&self) -> u64 {
        self.0.as_ref().map_or(0, |scans| scans.bytes)
    }

    /// Are they what a recount says?
    pub(crate) fn adds_up(&self) -> bool {
        self.0.as_ref().is_none_or(|scans| {
            let bytes = scans.by_filter.iter().map(|(filter, scan)| scan_kept(filter, scan)).sum::<u64>();
            bytes == scans.bytes && bytes > 0
        })
    }
}

/// Bytes that a filter's scan keeps.
fn scan_kept(filter: &str, scan: &RetainedScan) -> u64 {
    let after = scan.after.as_ref().map_or(0, RetainedKey::len);
    (filter.len() + after + 160) as u64
}

/// What became of a scan in this call.
enum Page {
    /// Everything is sent.
    Done,
    /// It goes on in the next call.
    Later,
    /// It is taken up again once the host reports that the socket drained, or the client acknowledges.
    Held,
}

impl Engine {
    /// Keeps a message as its topic's retained one; an empty payload removes it [MQTT-3.3.1-6].
    pub(crate) fn retain(
        &mut self,
        publication: &Publication<'_>,
        out: &mut Outbox,
    ) -> Result<(), ReasonCode> {
        if publication.payload.is_empty() && !planted!("empty-is-retained") {
            self.remove_retained(publication.topic, RetainedChange::Cleared, out);
            return Ok(());
        }
        let size = publication.size();
        let old = self.retained.get(publication.topic).map(|kept| kept.message);
        let old_size = old.map_or(0, |message| self.messages.size(message) as u64);
        let is_full = old.is_none()
            && self.retained.of_clients() >= self.config.max_retained_messages as usize
            || self.retained_bytes - old_size + size > self.config.max_retained_bytes;
        // What the broker tells of itself is as much as its host publishes, and is wanted most where something is full.
        if is_full && !is_own(publication.topic) {
            return Err(ReasonCode::QuotaExceeded);
        }
        self.keep_retained(publication);
        self.tell_retained(publication.topic, RetainedChange::Set, out);
        if self.is_stored_topic(publication.topic) {
            self.gates.emit(StoreOp::PutRetained {
                topic: publication.topic.to_string(),
                publish: stored_publish(publication, true),
                qos: publication.qos,
                lifetime: publication.expiry.lifetime(self.called_at),
            });
        }
        Ok(())
    }

    /// Makes a message its topic's retained one.
    pub(crate) fn keep_retained(&mut self, publication: &Publication<'_>) {
        let message = self.messages.insert(publication);
        self.retained_bytes += publication.size();
        self.retained_names += names_kept(publication.topic, publication.expiry);
        if let Some(old) = self.retained.insert(publication.topic, Retained { message }) {
            self.retained_bytes -= self.messages.size(old.message) as u64;
            self.release_retained(publication.topic, old);
        }
        if let Some(at) = publication.expiry.at {
            self.timers
                .push(at.as_micros(), TimerKey::Retained(Box::new(RetainedKey::new(publication.topic))));
        }
    }

    /// Is there a store, and is this for it? What the broker tells of itself is of this process.
    fn is_stored_topic(&self, topic: &str) -> bool {
        self.gates.is_on() && !is_own(topic)
    }

    pub(crate) fn remove_retained(&mut self, topic: &str, change: RetainedChange, out: &mut Outbox) {
        let Some(old) = self.retained.remove(topic) else { return };
        self.retained_bytes -= self.messages.size(old.message) as u64;
        self.release_retained(topic, old);
        self.tell_retained(topic, change, out);
        if self.is_stored_topic(topic) && !planted!("retained-comes-back") {
            self.gates.emit(StoreOp::RemoveRetained { topic: topic.to_string() });
        }
    }

    fn release_retained(&mut self, topic: &str, old: Retained) {
        let expiry = self.messages.get(old.message).map_or_else(Expiry::default, |message| message.expiry);
        self.retained_names -= names_kept(topic, expiry);
        if let Some(at) = expiry.at {
            self.timers.remove(at.as_micros(), TimerKey::Retained(Box::new(RetainedKey::new(topic))));
        }
        self.messages.release(old.message);
    }

    /// Sends a client what it has coming of retained messages, as far as budget, socket and window allow.
    pub(crate) fn send_retained(&mut self, id: ConnId, out: &mut Outbox) {
        self.send_pages(id, out);
        self.count_connection(id);
    }

    fn send_pages(&mut self, id: ConnId, out: &mut Outbox) {
        loop {
            let Some(conn) = self.conn_mut(id) else { return };
            let Some(key) = conn.session() else { return };
            let Some((filter, mut scan)) = conn.scans.pop_first() else { return };
            let Some(subscriber) = self.subscriber(key, &filter) else { continue };
            let page = self.send_page(id, &subscriber, &filter, &mut scan, out);
            if matches!(page, Page::Done) {
                scan = RetainedScan { times: scan.times - 1, after: None };
            }
            if let Some(conn) = self.conn_mut(id)
                && scan.times > 0
            {
                conn.scans.put(filter, scan);
            }
            match page {
                Page::Done => {}
                Page::Later => return self.scan_later(id),
                Page::Held => return,
            }
        }
    }

    fn send_page(
        &mut self,
        id: ConnId,
        subscriber: &Subscriber,
        filter: &str,
        scan: &mut RetainedScan,
        out: &mut Outbox,
    ) -> Page {
        loop {
            // What the client's window does not take waits here: its queue would have to let go of the rest.
            let full = subscriber.options.qos > QoS::AtMostOnce && !self.has_window(id, subscriber.session);
            if full || self.is_held(id) {
                return Page::Held;
            }
            if self.budget == 0 || !self.can_send(id) {
                return Page::Later;
            }
            let (message, topic) = match self.retained.scan(filter, scan.after.as_ref(), &mut self.budget) {
                ScanStep::Found(topic, kept) => (kept.message, topic.clone()),
                ScanStep::OutOfBudget(topic) => {
                    scan.after = topic.or(scan.after.take());
                    return Page::Later;
                }
                ScanStep::Done => return Page::Done,
            };
            scan.after = Some(topic);
            if !self.is_expired(message) {
                self.deliver_retained(id, subscriber, message, out);
            }
        }
    }

    /// Goes on with retained messages for this connection in the next call.
    pub(crate) fn scan_later(&mut self, id: ConnId) {
        if let Some(conn) = self.conn_mut(id)
            && !conn.scans.is_empty()
            && !core::mem::replace(&mut conn.egress.scanning, true)
        {
            self.work.push_back(Work::Retained(id));
        }
    }

    /// Goes on with retained messages behind everything else that goes on: at once if there is nothing, so that it is
    /// no matter whether what comes next comes in the same call.
    pub(crate) fn scan_on(&mut self, id: ConnId, out: &mut Outbox) {
        if self.work.is_empty() {
            self.send_retained(id, out);
        } else {
            self.scan_later(id);
        }
    }

    /// Goes on with retained messages that waited for the client's acknowledgements.
    pub(crate) fn resume_scans(&mut self, id: ConnId, key: SlotKey, out: &mut Outbox) {
        if self.has_window(id, key) && !self.is_held(id) {
            self.scan_on(id, out);
        }
    }

    /// RETAIN is 1 whatever Retain As Published says [MQTT-3.3.1-8].
    fn deliver_retained(
        &mut self,
        id: ConnId,
        subscriber: &Subscriber,
        message: MessageKey,
        out: &mut Outbox,
    ) {
        let Some(buffer) = self.messages.get(message).map(Message::buffer) else { return };
        let publication = buffer.publication();
        let key = subscriber.session;
        let may_read = self.sessions.get(key).is_some_and(|session| session.may_read(publication.topic));
        if !may_read && !planted!("retained-skips-permissions") {
            return;
        }
        let qos = publication.qos.min(subscriber.options.qos);
        let ids = SubIds::new(subscriber.id);
        self.counters.routed += 1;
        let retain = !planted!("retained-without-flag");
        if qos == QoS::AtMostOnce {
            if self.send_publish(id, &publication, Some(message), qos, retain, None, &ids, out) {
                self.counters.completed += 1;
            } else {
                self.dropped(key, publication.topic, crate::counters::DropReason::PacketTooLarge, out);
            }
        } else {
            self.messages.retain(message);
            self.start_or_queue(key, message, &publication, (qos, retain, ids, None), out);
        }
        self.flush_templates(out);
    }
}

/// Some of the retained messages that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetainedPage {
    /// As a new subscriber would get them: the Message Expiry Interval is what is left of it.
    pub messages: Vec<ApplicationMessage>,
    /// The topic behind which to go on; `None` where there is no more.
    pub after: Option<String>,
}

impl Engine {
    /// See [`crate::View::retained_page`].
    pub(crate) fn retained_page(
        &self,
        now: Time,
        filter: TopicFilter<'_>,
        after: Option<&str>,
        most: usize,
    ) -> RetainedPage {
        let mut budget = self.config.work_per_call.max(1);
        let (mut messages, mut after) = (Vec::new(), after.map(RetainedKey::new));
        while messages.len() < most {
            match self.retained.scan(filter.filter(), after.as_ref(), &mut budget) {
                ScanStep::Found(topic, kept) => {
                    let message = self.messages.get(kept.message);
                    messages.extend(message.and_then(|message| as_sent(message, now)));
                    after = Some(topic.clone());
                }
                ScanStep::OutOfBudget(topic) => {
                    after = topic.or(after);
                    break;
                }
                ScanStep::Done => return RetainedPage { messages, after: None },
            }
        }
        RetainedPage { messages, after: after.map(|topic| topic.topic()) }
    }
}

/// A retained message as a new subscriber would get it; `None` if it has expired. The payload is shared.
fn as_sent(message: &Message, now: Time) -> Option<ApplicationMessage> {
    if message.is_expired(now) {
        return None;
    }
    let buffer = message.buffer();
    let stored = stored_publish(&Publication { payload: &[], ..buffer.publication() }, true);
    let Ok(Some((Packet::Publish(publish), _))) = Packet::parse(&stored, Version::V5, &Limits::NONE) else {
        return None;
    };
    Some(ApplicationMessage {
        payload: message.shared_payload(),
        qos: message.qos,
        message_expiry_interval: message.expiry.interval(now),
        ..ApplicationMessage::of(publish.topic?.as_str(), &publish)
    })
}

/// Bytes of a retained message's topic name where it is beside the message: as key, and with its timer.
fn names_kept(topic: &str, expiry: Expiry) -> u64 {
    let timer = if expiry.at.is_some() { topic.len() as u64 + 64 } else { 0 };
    topic.len() as u64 + timer
}

impl Engine {
    /// The bytes of all names, counted anew.
    pub(crate) fn recount_retained_names(&self) -> u64 {
        let expiry = |kept: &Retained| self.messages.get(kept.message).map(|message| message.expiry);
        let each = self.retained.iter().map(|(key, kept)| (key.topic(), expiry(kept).unwrap_or_default()));
        each.map(|(topic, expiry)| names_kept(&topic, expiry)).sum()
    }
}
