//! What waits until its facts are kept. With [`Durability::Memory`] all of this is one branch.

use super::{StoreOp, StoreSeq};
use crate::collections::SlotKey;
use crate::config::Durability;
use crate::ids::ConnId;
use crate::outbox::Outbox;
use alloc::{collections::BTreeMap, collections::BTreeSet, collections::VecDeque, string::String, vec::Vec};
use mqtt_proto::{PacketId, PacketType, QoS, planted};
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
    waiting: VecDeque<Waiting>,
    /// Bytes of the frames that wait, and of the clients whose session has ended.
    bytes: u64,
    /// A message of QoS 0 that the store has is being sent: once it is not there any more, so that it comes at most once.
    #[serde(skip)]
    takes_out: bool,
    /// What waits for each connection, so that a later acknowledgement cannot overtake.
    by_connection: BTreeMap<ConnId, Counts>,
    /// Clients whose session has ended, with the operation that keeps that.
    endings: BTreeMap<String, u64>,
    /// The same clients by operation.
    ended: BTreeMap<u64, String>,
    /// Up to here operations may have failed.
    failed: u64,
    /// Pages that were asked for, and for which session.
    fetches: BTreeMap<StoreSeq, SlotKey>,
}

/// A packet behind the operations that it promises.
#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    /// The last of them.
    seq: u64,
    conn: ConnId,
    held: Held,
}

/// A packet that waits.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Held {
    /// What it will be on the wire.
    Frame(Vec<u8>),
    /// A PUBLISH in flight, under this identifier. What it says, and whether it may leave at all, is judged when it leaves.
    Publish { packet_id: PacketId, dup: bool },
    /// A PUBLISH of QoS 0 that the store had, as it will be on the wire if its topic may be read then.
    Once { topic: String, frame: Vec<u8> },
}

impl Held {
    fn bytes(&self) -> u64 {
        match self {
            Self::Frame(frame) => frame.len() as u64,
            Self::Publish { .. } => 0,
            Self::Once { topic, frame } => (topic.len() + frame.len()) as u64,
        }
    }

    fn is_puback(&self) -> bool {
        match self {
            Self::Frame(frame) => frame.first().is_some_and(|first| first >> 4 == PacketType::PubAck as u8),
            Self::Publish { .. } | Self::Once { .. } => false,
        }
    }

    fn is_once(&self) -> bool {
        matches!(self, Self::Once { .. })
    }
}

/// Rough size of a name in both tables of ended sessions.
const ENDED: u64 = 128;

fn ended_bytes(client_id: &str) -> u64 {
    ENDED + 2 * client_id.len() as u64
}

/// Frames of one connection that wait.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counts {
    frames: u32,
    pubacks: u32,
    once: u32,
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
            bytes: 0,
            takes_out: false,
            by_connection: BTreeMap::new(),
            endings: BTreeMap::new(),
            ended: BTreeMap::new(),
            failed: 0,
            fetches: BTreeMap::new(),
        }
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.level != Durability::Memory
    }

    /// Does an outbound PUBLISH of this QoS wait for its operations, or behind another one of QoS 0 that does?
    #[inline]
    pub(crate) fn holds(&self, conn: ConnId, qos: QoS) -> bool {
        self.level == Durability::Durable
            && match qos {
                QoS::AtMostOnce => self.takes_out || self.holds_once(conn),
                QoS::AtLeastOnce => false,
                QoS::ExactlyOnce => true,
            }
    }

    fn holds_once(&self, conn: ConnId) -> bool {
        self.by_connection.get(&conn).is_some_and(|counts| counts.once > 0)
    }

    /// From here on operations belong to another packet.
    #[inline]
    pub(crate) fn begin_packet(&mut self) {
        self.touched = false;
    }

    /// The packet being handled promises what earlier calls did.
    pub(crate) fn stand_behind_all(&mut self) {
        self.touched = true;
    }

    /// Whoever hears that there is no session of this client hears of its end, where that is not kept yet.
    pub(crate) fn stand_behind_end(&mut self, client_id: &str) {
        let Some(seq) = self.endings.get(client_id) else { return };
        self.touched = true;
        if *seq <= self.failed {
            // Nobody says whether that is tried again.
            self.emit(StoreOp::EndSession { client_id: client_id.into() });
        }
    }

    /// A delivery promises only its own operations; says what the packet being handled promises beside it.
    #[inline]
    pub(crate) fn begin_delivery(&mut self) -> bool {
        core::mem::take(&mut self.touched)
    }

    /// The same for a message of QoS 0 that is taken out of the store.
    pub(crate) fn begin_taking_out(&mut self) -> bool {
        self.takes_out = true;
        self.begin_delivery()
    }

    /// It has been sent, or waits.
    pub(crate) fn end_taking_out(&mut self, touched: bool) {
        self.takes_out = false;
        self.end_delivery(touched);
    }

    /// The packet is being handled further.
    #[inline]
    pub(crate) fn end_delivery(&mut self, touched: bool) {
        self.touched |= touched;
    }

    pub(crate) fn emit(&mut self, op: StoreOp) {
        self.last += 1;
        if let StoreOp::EndSession { client_id } = &op
            && self.level == Durability::Durable
        {
            self.ends(client_id.clone());
        }
        self.pending.push((StoreSeq(self.last), op));
        self.touched = true;
    }

    /// The last operation keeps that this client's session has ended.
    fn ends(&mut self, client_id: String) {
        match self.endings.insert(client_id.clone(), self.last) {
            Some(before) => {
                self.ended.remove(&before);
            }
            None => self.bytes += ended_bytes(&client_id),
        }
        self.ended.insert(self.last, client_id);
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
            && !planted!("acknowledged-too-early")
            && ((self.touched && self.last > self.stored) || self.is_waiting(conn))
    }

    /// Does anything wait for this connection?
    pub(crate) fn is_waiting(&self, conn: ConnId) -> bool {
        self.by_connection.contains_key(&conn)
    }

    /// QoS 1 messages of this client that are not acknowledged, because their PUBACK waits.
    pub(crate) fn pubacks_waiting(&self, conn: ConnId) -> usize {
        self.by_connection.get(&conn).map_or(0, |counts| counts.pubacks as usize)
    }

    pub(crate) fn wait(&mut self, conn: ConnId, held: Held) {
        let counts = self.by_connection.entry(conn).or_default();
        counts.frames += 1;
        counts.pubacks += u32::from(held.is_puback());
        counts.once += u32::from(held.is_once());
        self.bytes += held.bytes();
        // What promises nothing waits for its turn alone: the latest operation may have failed already.
        let before = self.waiting.back().filter(|_| !self.touched);
        let seq = before.map_or(self.last, |waiting| waiting.seq);
        self.waiting.push_back(Waiting { seq, conn, held });
    }

    /// Everything up to `upto` is kept: these packets may leave, in order.
    pub(crate) fn open(&mut self, upto: StoreSeq) -> Vec<(ConnId, Held)> {
        self.stored = self.stored.max(upto.0.min(self.last));
        while let Some(first) = self.ended.first_entry().filter(|first| *first.key() <= self.stored) {
            let client_id = first.remove();
            self.endings.remove(&client_id);
            self.bytes -= ended_bytes(&client_id);
        }
        let mut packets = Vec::new();
        let ready = self.waiting.iter().take_while(|waiting| waiting.seq <= self.stored).count();
        for _ in 0..ready {
            let Some(waiting) = self.waiting.pop_front() else { break };
            self.leave(&waiting);
            packets.push((waiting.conn, waiting.held));
        }
        self.shrink();
        packets
    }

    /// Memory goes back after a storm.
    fn shrink(&mut self) {
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            self.waiting = VecDeque::new();
        }
    }

    /// Nothing from `seq` on is kept: connections with packets that will never leave. All that waits for them is
    /// forgotten.
    pub(crate) fn fail(&mut self, seq: StoreSeq) -> BTreeSet<ConnId> {
        self.failed = self.last;
        let lost = self.waiting.iter().filter(|waiting| waiting.seq >= seq.0);
        let conns: BTreeSet<ConnId> = lost.map(|waiting| waiting.conn).collect();
        self.waiting.retain(|waiting| !conns.contains(&waiting.conn));
        self.by_connection.retain(|conn, _| !conns.contains(conn));
        self.bytes = self.recount();
        self.shrink();
        conns
    }

    /// All connections are about to end; nothing is looked for in what waits for each of them.
    pub(crate) fn forget_all(&mut self) {
        self.waiting = VecDeque::new();
        self.by_connection = BTreeMap::new();
        self.bytes = self.recount();
    }

    fn leave(&mut self, waiting: &Waiting) {
        self.bytes -= waiting.held.bytes();
        if let Some(counts) = self.by_connection.get_mut(&waiting.conn) {
            counts.frames -= 1;
            counts.pubacks -= u32::from(waiting.held.is_puback());
            counts.once -= u32::from(waiting.held.is_once());
            if counts.frames == 0 {
                self.by_connection.remove(&waiting.conn);
            }
        }
    }

    /// A connection is gone; what waited for it is not sent.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        if self.by_connection.remove(&conn).is_some() {
            self.waiting.retain(|waiting| waiting.conn != conn);
            self.bytes = self.recount();
            self.shrink();
        }
    }

    /// Overwrites secrets in the frames that wait.
    pub(crate) fn mask(&mut self, mask_for: impl Fn(ConnId) -> mqtt_proto::Mask) {
        for waiting in &mut self.waiting {
            if let Held::Frame(frame) | Held::Once { frame, .. } = &mut waiting.held {
                mask_for(waiting.conn).apply(frame);
            }
        }
    }

    /// Bytes that it keeps.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The same, counted anew.
    pub(crate) fn recount(&self) -> u64 {
        let packets: u64 = self.waiting.iter().map(|waiting| waiting.held.bytes()).sum();
        packets + self.endings.keys().map(|client_id| ended_bytes(client_id)).sum::<u64>()
    }

    /// Packets that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
