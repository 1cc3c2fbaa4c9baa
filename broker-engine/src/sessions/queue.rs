//! Deliveries that wait to be sent: the head in memory, the rest of a long queue in the store.

use super::Delivery;
use crate::storage::StoreSeq;
use alloc::{boxed::Box, collections::VecDeque};
use mqtt_proto::QoS;
use serde::{Deserialize, Serialize};

/// A session's queue, oldest first. Most have nothing, and take no more than a pointer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Queue(Option<Box<Waiting>>);

/// What waits in a queue that is not empty.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Waiting {
    head: VecDeque<Delivery>,
    head_bytes: u64,
    /// Deliveries of QoS 0 in the head; most queues have none, and need not be searched for one.
    qos0: u32,
    /// What waits behind the head, in the store alone.
    paged: Option<Paged>,
}

/// The part of a queue of which memory knows only how much it is.
#[derive(Debug, Serialize, Deserialize)]
struct Paged {
    count: u64,
    bytes: u64,
    /// Deliveries of QoS 0 in it.
    qos0: u64,
    /// No delivery in it has a smaller position.
    from: u64,
    /// The page that was asked for.
    fetch: Option<StoreSeq>,
}

/// How much of a queue stays in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
}

/// A page to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRequest {
    pub(crate) from: u64,
    pub(crate) max_messages: u32,
    pub(crate) max_bytes: u64,
}

impl Queue {
    fn paged_part(&self) -> Option<&Paged> {
        self.0.as_ref()?.paged.as_ref()
    }

    fn paged_part_mut(&mut self) -> Option<&mut Paged> {
        self.0.as_mut()?.paged.as_mut()
    }

    /// Memory goes back once nothing waits.
    fn tidy(&mut self) {
        if self.0.as_ref().is_some_and(|waiting| waiting.head.is_empty() && waiting.paged.is_none()) {
            self.0 = None;
        }
    }

    /// Deliveries that wait, wherever they are.
    pub(crate) fn len(&self) -> usize {
        self.in_memory() + self.paged()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes of the deliveries that wait, wherever they are.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |waiting| waiting.head_bytes)
            + self.paged_part().map_or(0, |paged| paged.bytes)
    }

    /// Deliveries that wait in the store alone.
    pub(crate) fn paged(&self) -> usize {
        self.paged_part().map_or(0, |paged| usize::try_from(paged.count).unwrap_or(usize::MAX))
    }

    /// Deliveries that wait in memory.
    pub(crate) fn in_memory(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.head.len())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.0.iter().flat_map(|waiting| &waiting.head)
    }

    /// The oldest delivery, if it is in memory.
    #[inline]
    pub(crate) fn front(&self) -> Option<&Delivery> {
        self.0.as_ref()?.head.front()
    }

    /// Where the oldest QoS 0 delivery in memory is.
    pub(crate) fn first_qos0(&self) -> Option<usize> {
        let waiting = self.0.as_ref().filter(|waiting| waiting.qos0 > 0)?;
        waiting.head.iter().position(|delivery| delivery.qos == QoS::AtMostOnce)
    }

    /// Does any delivery of QoS 0 wait, wherever it is?
    pub(crate) fn holds_qos0(&self) -> bool {
        self.0.as_ref().is_some_and(|waiting| waiting.qos0 > 0)
            || self.paged_part().is_some_and(|paged| paged.qos0 > 0)
    }

    /// Would one more delivery of this size not fit into the window?
    pub(crate) fn is_beyond(&self, window: Window, size: u64) -> bool {
        self.0.as_ref().is_some_and(|waiting| {
            waiting.paged.is_some()
                || waiting.head.len() >= window.messages
                || (!waiting.head.is_empty() && waiting.head_bytes + size > window.bytes)
        })
    }

    /// Appends in memory.
    pub(crate) fn push(&mut self, delivery: Delivery, size: u64) {
        let waiting = self.0.get_or_insert_default();
        waiting.qos0 += u32::from(delivery.qos == QoS::AtMostOnce);
        waiting.head_bytes += size;
        waiting.head.push_back(delivery);
    }

    /// Appends in the store alone.
    pub(crate) fn page(&mut self, position: u64, size: u64, qos: QoS) {
        let nothing = Paged { count: 0, bytes: 0, qos0: 0, from: position, fetch: None };
        let paged = self.0.get_or_insert_default().paged.get_or_insert(nothing);
        paged.count += 1;
        paged.qos0 += u64::from(qos == QoS::AtMostOnce);
        paged.bytes += size;
    }

    /// Begins with so many deliveries, bytes and deliveries of QoS 0 in the store alone, none before position `from`.
    pub(crate) fn begin_paged(&mut self, from: u64, (count, bytes, qos0): (u64, u64, u64)) {
        let paged = Paged { count, bytes, qos0, from, fetch: None };
        self.0.get_or_insert_default().paged = Some(paged);
    }

    /// Takes a delivery out of memory; `size` is that of its message.
    pub(crate) fn remove(&mut self, index: usize, size: impl FnOnce(&Delivery) -> u64) -> Option<Delivery> {
        let waiting = self.0.as_mut()?;
        let delivery = waiting.head.remove(index)?;
        waiting.qos0 -= u32::from(delivery.qos == QoS::AtMostOnce);
        waiting.head_bytes -= size(&delivery);
        if waiting.head.is_empty() {
            waiting.head = VecDeque::new();
        }
        self.tidy();
        Some(delivery)
    }

    /// The page to ask for next: when the window is half empty and none is on its way.
    pub(crate) fn wants(&self, window: Window) -> Option<PageRequest> {
        let waiting = self.0.as_ref()?;
        let paged = waiting.paged.as_ref().filter(|paged| paged.fetch.is_none())?;
        let half_empty = waiting.head.len() <= window.messages / 2 && waiting.head_bytes <= window.bytes / 2;
        half_empty.then(|| PageRequest {
            from: paged.from,
            max_messages: u32::try_from(window.messages - waiting.head.len()).unwrap_or(u32::MAX),
            max_bytes: window.bytes - waiting.head_bytes,
        })
    }

    /// A page was asked for, or (with `None`) will not come.
    pub(crate) fn set_fetch(&mut self, fetch: Option<StoreSeq>) {
        if let Some(paged) = self.paged_part_mut() {
            paged.fetch = fetch;
        }
    }

    /// Is this the page that was asked for?
    pub(crate) fn expects(&self, fetch: StoreSeq) -> bool {
        self.paged_part().is_some_and(|paged| paged.fetch == Some(fetch))
    }

    /// No delivery before this position is asked for any more.
    pub(crate) fn accepts(&self, position: u64) -> bool {
        self.paged_part().is_some_and(|paged| position >= paged.from)
    }

    /// A delivery left the store for memory, or for nowhere.
    pub(crate) fn unpage(&mut self, position: u64, size: u64, qos: QoS) {
        let Some(paged) = self.paged_part_mut() else { return };
        paged.count -= 1;
        paged.qos0 = paged.qos0.saturating_sub(u64::from(qos == QoS::AtMostOnce));
        paged.bytes = paged.bytes.saturating_sub(size);
        paged.from = position.saturating_add(1);
        if paged.count == 0 {
            self.forget_paged();
        }
    }

    /// Gives up what only the store had; says how many deliveries that was.
    pub(crate) fn forget_paged(&mut self) -> usize {
        let count = self.paged();
        if let Some(waiting) = &mut self.0 {
            waiting.paged = None;
        }
        self.tidy();
        count
    }

    /// Takes everything that is in memory.
    pub(crate) fn take_head(&mut self) -> VecDeque<Delivery> {
        let Some(waiting) = &mut self.0 else { return VecDeque::new() };
        waiting.head_bytes = 0;
        waiting.qos0 = 0;
        let head = core::mem::take(&mut waiting.head);
        self.tidy();
        head
    }
}
