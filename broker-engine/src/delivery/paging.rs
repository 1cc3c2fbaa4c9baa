//! Long queues: the head is in memory, the rest is fetched from the store page by page.

use super::{Expiry, Publication, read_stored};
use crate::collections::SlotKey;
use crate::counters::DropReason;
use crate::engine::Engine;
use crate::ids::MessageKey;
use crate::outbox::Outbox;
use crate::sessions::queue::Window;
use crate::sessions::{Delivery, SubIds};
use crate::storage::{StoreOp, StoreSeq, StoredDelivery};
use alloc::string::ToString;

impl Engine {
    /// How much of a queue stays in memory where a store keeps the rest.
    pub(crate) fn window(&self) -> Window {
        Window {
            messages: self.config.queue_window_messages.max(1) as usize,
            bytes: u64::from(self.config.queue_window_bytes),
        }
    }

    /// Asks for the next page once the head of a queue has run half empty.
    pub(crate) fn refill(&mut self, key: SlotKey) {
        let window = self.window();
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(page) = session.queue.wants(window) else { return };
        let fetch = StoreOp::Fetch {
            client_id: session.client_id.to_string(),
            from: page.from,
            max_messages: page.max_messages,
            max_bytes: page.max_bytes,
        };
        let seq = self.gates.ask(key, fetch);
        session.queue.set_fetch(Some(seq));
    }

    /// A page came. What the store no longer has is counted as lost.
    pub(crate) fn loaded(&mut self, fetch: StoreSeq, deliveries: &[StoredDelivery], out: &mut Outbox) {
        let Some(key) = self.gates.answered(fetch) else {
            self.counters.late_replies += 1;
            return;
        };
        let Some(session) = self.sessions.get_mut(key).filter(|session| session.queue.expects(fetch)) else {
            self.counters.late_replies += 1;
            return;
        };
        session.queue.set_fetch(None);
        if deliveries.is_empty() {
            for _ in 0..session.queue.forget_paged() {
                self.dropped(key, "", DropReason::StoreLost, out);
            }
        }
        for delivery in deliveries {
            if !self.take_loaded(key, delivery, out) {
                self.counters.host_misuse += 1;
            }
        }
        let conn = self.sessions.get(key).and_then(|session| session.conn);
        self.refill(key);
        if let Some(conn) = conn {
            self.drain(conn, out);
        }
    }

    /// Puts a loaded delivery behind the head; `false` if it is none that was kept for this queue.
    fn take_loaded(&mut self, key: SlotKey, stored: &StoredDelivery, out: &mut Outbox) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        if !session.queue.accepts(stored.position) {
            return false;
        }
        let expiry = Expiry::from_lifetime(stored.lifetime, self.now);
        let messages = &mut self.messages;
        let Some(mut delivery) = read_stored(&stored.publish, (stored.qos, expiry), |publication| {
            stored.delivery(messages.insert(publication), publication)
        }) else {
            session.queue.unpage(stored.position, 0, stored.qos);
            self.dropped(key, "", DropReason::StoreLost, out);
            return false;
        };
        delivery.group = stored.share.as_deref().and_then(|share| self.index.group_of(share));
        self.messages.take_on(&delivery);
        let size = self.messages.size_of(&delivery);
        session.queue.unpage(stored.position, size, stored.qos);
        session.queue.push(delivery, size);
        true
    }

    /// The store failed from this operation on: pages that were asked for since are asked for again later.
    pub(crate) fn fetches_failed(&mut self, seq: StoreSeq) {
        for (fetch, key) in self.gates.fail_fetches(seq) {
            if let Some(session) = self.sessions.get_mut(key).filter(|session| session.queue.expects(fetch)) {
                session.queue.set_fetch(None);
            }
        }
    }
}

impl StoredDelivery {
    /// As a session has it, of a message that is kept; the shared group is not looked up.
    pub(crate) fn delivery(&self, message: MessageKey, publication: &Publication<'_>) -> Delivery {
        Delivery {
            message,
            qos: self.qos,
            retain: publication.retain,
            ids: SubIds::from_slice(&self.subscription_ids),
            group: None,
            position: self.position,
        }
    }
}
