//! Retained messages: kept by topic, sent to new subscriptions page by page.

use super::{Expiry, Publication, Work};
use crate::collections::SlotKey;
use crate::engine::Engine;
use crate::ids::{ConnId, MessageKey};
use crate::outbox::Outbox;
use crate::sessions::SubIds;
use crate::storage::StoreOp;
use crate::timers::TimerKey;
use crate::topics::{RetainedKey, ScanStep};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::{boxed::Box, string::ToString};
use mqtt_proto::{QoS, ReasonCode, planted};
use serde::{Deserialize, Serialize};

/// A topic's retained message.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Retained {
    pub(crate) message: MessageKey,
}

/// Retained messages on their way to a new subscription.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RetainedScan {
    pub(crate) qos: QoS,
    /// Subscription Identifier, 0 for none.
    pub(crate) id: u32,
    /// The topic that was looked at last.
    pub(crate) after: Option<RetainedKey>,
}

/// Retained messages for a client's new subscriptions that are not sent yet, by topic filter: one scan for each time
/// that the latest SUBSCRIBE has it, so that repeating a SUBSCRIBE begins anew instead of adding another.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RetainedScans {
    by_filter: BTreeMap<Box<str>, VecDeque<RetainedScan>>,
    bytes: u64,
}

impl RetainedScans {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_filter.is_empty()
    }

    /// Begins with them anew.
    pub(crate) fn begin(&mut self, filter: &str, scans: VecDeque<RetainedScan>) {
        self.remove(filter);
        self.put(filter.into(), scans);
    }

    pub(crate) fn remove(&mut self, filter: &str) {
        if let Some((filter, scans)) = self.by_filter.remove_entry(filter) {
            self.bytes -= scans_kept(&filter, &scans);
        }
    }

    fn put(&mut self, filter: Box<str>, scans: VecDeque<RetainedScan>) {
        self.bytes += scans_kept(&filter, &scans);
        self.by_filter.insert(filter, scans);
    }

    fn pop_first(&mut self) -> Option<(Box<str>, VecDeque<RetainedScan>)> {
        let (filter, scans) = self.by_filter.pop_first()?;
        self.bytes -= scans_kept(&filter, &scans);
        Some((filter, scans))
    }

    /// Bytes that they keep.
    pub(crate) fn kept(&self) -> u64 {
        self.bytes
    }

    /// Are they what a recount says?
    pub(crate) fn adds_up(&self) -> bool {
        self.by_filter.iter().map(|(filter, scans)| scans_kept(filter, scans)).sum::<u64>() == self.bytes
    }
}

/// Bytes that a filter's scans keep. Only the first of them has begun.
fn scans_kept(filter: &str, scans: &VecDeque<RetainedScan>) -> u64 {
    let after = scans.front().and_then(|scan| scan.after.as_ref()).map_or(0, RetainedKey::len);
    (filter.len() + after + 160 + scans.len() * 32) as u64
}

/// What became of a scan in this call.
enum Page {
    /// Everything is sent.
    Done,
    /// It goes on in the next call.
    Later(RetainedScan),
    /// It is taken up again once the host reports that the socket drained, or the client acknowledges.
    Held(RetainedScan),
}

impl Engine {
    /// Keeps a message as its topic's retained one; an empty payload removes it [MQTT-3.3.1-6].
    pub(crate) fn retain(&mut self, publication: &Publication<'_>) -> Result<(), ReasonCode> {
        if publication.payload.is_empty() && !planted!("empty-is-retained") {
            self.remove_retained(publication.topic);
            return Ok(());
        }
        let size =
            (publication.topic.len() + publication.properties.len() + publication.payload.len()) as u64;
        let old = self.retained.get(publication.topic).map(|kept| kept.message);
        let old_size = old.map_or(0, |message| self.messages.size(message) as u64);
        if old.is_none() && self.retained.len() >= self.config.max_retained_messages as usize
            || self.retained_bytes - old_size + size > self.config.max_retained_bytes
        {
            return Err(ReasonCode::QuotaExceeded);
        }
        let message = self.messages.insert(publication);
        self.retained_bytes = self.retained_bytes - old_size + size;
        self.retained_names += names_kept(publication.topic, publication.expiry);
        if let Some(old) = self.retained.insert(publication.topic, Retained { message }) {
            self.release_retained(publication.topic, old);
        }
        if let Some(at) = publication.expiry.at {
            self.timers
                .push(at.as_micros(), TimerKey::Retained(Box::new(RetainedKey::new(publication.topic))));
        }
        if self.gates.is_on() {
            let lifetime = publication.expiry.lifetime(self.now);
            let publish = super::encode::stored_publish(publication, true);
            self.gates.emit(StoreOp::PutRetained { topic: publication.topic.to_string(), publish, lifetime });
        }
        Ok(())
    }

    pub(crate) fn remove_retained(&mut self, topic: &str) {
        let Some(old) = self.retained.remove(topic) else { return };
        self.retained_bytes -= self.messages.size(old.message) as u64;
        self.release_retained(topic, old);
        if self.gates.is_on() {
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
            let Some((filter, mut scans)) = conn.scans.pop_first() else { return };
            let Some(scan) = scans.pop_front() else { continue };
            let page = self.send_page(id, key, &filter, scan, out);
            let later = matches!(page, Page::Later(_));
            let done = matches!(page, Page::Done);
            if let Page::Later(scan) | Page::Held(scan) = page {
                scans.push_front(scan);
            }
            if let Some(conn) = self.conn_mut(id)
                && !scans.is_empty()
            {
                conn.scans.put(filter, scans);
            }
            if later {
                self.scan_later(id);
            }
            if !done {
                return;
            }
        }
    }

    fn send_page(
        &mut self,
        id: ConnId,
        key: SlotKey,
        filter: &str,
        mut scan: RetainedScan,
        out: &mut Outbox,
    ) -> Page {
        loop {
            // What the client's window does not take waits here: its queue would have to let go of the rest.
            let full = scan.qos > QoS::AtMostOnce && !self.has_window(id, key);
            if full || self.is_held(id) {
                return Page::Held(scan);
            }
            if self.budget == 0 || !self.can_send(id) {
                return Page::Later(scan);
            }
            let (message, topic) = match self.retained.scan(filter, scan.after.as_ref(), &mut self.budget) {
                ScanStep::Found(topic, kept) => (kept.message, topic.clone()),
                ScanStep::OutOfBudget(topic) => {
                    scan.after = topic.or(scan.after);
                    return Page::Later(scan);
                }
                ScanStep::Done => return Page::Done,
            };
            scan.after = Some(topic);
            if !self.is_expired(message) {
                self.deliver_retained(id, key, &scan, message, out);
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

    /// Goes on with retained messages that waited for the client's acknowledgements.
    pub(crate) fn resume_scans(&mut self, id: ConnId, key: SlotKey) {
        if self.has_window(id, key) && !self.is_held(id) {
            self.scan_later(id);
        }
    }

    /// RETAIN is 1 whatever Retain As Published says [MQTT-3.3.1-8].
    fn deliver_retained(
        &mut self,
        id: ConnId,
        key: SlotKey,
        scan: &RetainedScan,
        message: MessageKey,
        out: &mut Outbox,
    ) {
        let Some(buffer) = self.messages.get(message).map(super::message::Message::buffer) else { return };
        let publication = buffer.publication();
        let qos = publication.qos.min(scan.qos);
        let ids = SubIds::new(scan.id);
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
