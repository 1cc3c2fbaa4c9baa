//! What waits until its facts are kept. With [`Durability::Memory`] all of this is one branch.

use super::{StoreOp, StoreSeq};
use crate::collections::SlotKey;
use crate::config::Durability;
use crate::ids::ConnId;
use crate::outbox::Outbox;
use alloc::{collections::BTreeMap, collections::VecDeque, vec::Vec};
use mqtt_proto::QoS;
use serde::{Deserialize, Serialize};

/// Store operations on their way out, and the frames behind them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Gates {
    level: Durability,
    /// Number of the last operation.
    last: u64,
    stored: u64,
    /// Operations of the packet being handled; they leave before its acknowledgement.
    pending: Vec<(StoreSeq, StoreOp)>,
    /// The packet being handled made an operation.
    touched: bool,
    waiting: VecDeque<(u64, ConnId, Vec<u8>)>,
    /// How many frames of each connection wait, so that a later acknowledgement cannot overtake.
    by_connection: BTreeMap<ConnId, u32>,
    /// Pages that were asked for, and for which session.
    fetches: BTreeMap<StoreSeq, SlotKey>,
}

impl Gates {
    pub(crate) fn new(level: Durability) -> Self {
        Self {
            level,
            last: 0,
            stored: 0,
            pending: Vec::new(),
            touched: false,
            waiting: VecDeque::new(),
            by_connection: BTreeMap::new(),
            fetches: BTreeMap::new(),
        }
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.level != Durability::Memory
    }

    /// Does an outbound PUBLISH of this QoS wait for its operations?
    #[inline]
    pub(crate) fn holds(&self, qos: QoS) -> bool {
        self.level == Durability::Durable && qos == QoS::ExactlyOnce
    }

    /// From here on operations belong to another packet.
    #[inline]
    pub(crate) fn begin_packet(&mut self) {
        self.touched = false;
    }

    pub(crate) fn emit(&mut self, op: StoreOp) {
        self.last += 1;
        self.pending.push((StoreSeq(self.last), op));
        self.touched = true;
    }

    /// Asks for a page of a session's queue. It is no fact, so nothing waits for it.
    pub(crate) fn ask(&mut self, session: SlotKey, fetch: StoreOp) -> StoreSeq {
        self.last += 1;
        let seq = StoreSeq(self.last);
        self.pending.push((seq, fetch));
        self.fetches.insert(seq, session);
        seq
    }

    /// The session for which this page was asked, once.
    pub(crate) fn answered(&mut self, fetch: StoreSeq) -> Option<SlotKey> {
        self.fetches.remove(&fetch)
    }

    /// Pages from `seq` on will not come.
    pub(crate) fn fail_fetches(&mut self, seq: StoreSeq) -> BTreeMap<StoreSeq, SlotKey> {
        self.fetches.split_off(&seq)
    }

    /// Hands the operations so far to the outbox.
    pub(crate) fn flush_ops(&mut self, out: &mut Outbox) {
        out.stores.append(&mut self.pending);
    }

    /// Must a frame that answers the packet being handled wait?
    #[inline]
    pub(crate) fn must_wait(&self, conn: ConnId) -> bool {
        self.level == Durability::Durable
            && ((self.touched && self.last > self.stored) || self.is_waiting(conn))
    }

    /// Does anything wait for this connection?
    pub(crate) fn is_waiting(&self, conn: ConnId) -> bool {
        self.by_connection.contains_key(&conn)
    }

    pub(crate) fn wait(&mut self, conn: ConnId, frame: Vec<u8>) {
        self.waiting.push_back((self.last, conn, frame));
        *self.by_connection.entry(conn).or_default() += 1;
    }

    /// Everything up to `upto` is kept: these frames may leave, in order.
    pub(crate) fn open(&mut self, upto: StoreSeq) -> Vec<(ConnId, Vec<u8>)> {
        self.stored = self.stored.max(upto.0.min(self.last));
        let ready = self.waiting.iter().take_while(|(seq, ..)| *seq <= self.stored).count();
        let frames: Vec<_> = self.waiting.drain(..ready).map(|(_, conn, frame)| (conn, frame)).collect();
        for (conn, _) in &frames {
            self.leave(*conn);
        }
        frames
    }

    /// Nothing from `seq` on is kept: connections whose frames will never leave.
    pub(crate) fn fail(&mut self, seq: StoreSeq) -> Vec<ConnId> {
        let lost = self.waiting.iter().filter(|(waits_for, ..)| *waits_for >= seq.0);
        let mut conns: Vec<ConnId> = lost.map(|(_, conn, _)| *conn).collect();
        conns.sort_unstable();
        conns.dedup();
        conns
    }

    fn leave(&mut self, conn: ConnId) {
        if let Some(count) = self.by_connection.get_mut(&conn) {
            *count -= 1;
            if *count == 0 {
                self.by_connection.remove(&conn);
            }
        }
    }

    /// A connection is gone; what waited for it is not sent.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        if self.by_connection.remove(&conn).is_some() {
            self.waiting.retain(|(_, waiting, _)| *waiting != conn);
        }
    }

    /// Frames that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
