//! The least that a host does for the engine, with a look at everything that leaves.

use crate::feedback;
use crate::steps::{Answering, CLIENTS, Fault, Player};
use broker_engine::{
    Call, CloseCause, Command, Config, ConnId, ConnIds, Engine, Frame, HashKey, Input, Lifetime, ListenerId,
    MemoryStore, Outbox, Seed, StoreOp, StoreSeq, StoredDelivery, Time, Wire, patch_packet_id,
};
use bytes::Bytes;
use mqtt_proto::{Limits, Packet, PacketType, QoS, ReasonCode, Version};
use std::collections::{BTreeMap, VecDeque};

/// Calls after which the engine must have come to rest.
const MOST_CALLS: u32 = 20_000;

/// What is known of a connection.
#[derive(Debug, Default)]
struct Link {
    /// The beginning of what was sent, until it is known for a CONNECT or for something else.
    beginning: Vec<u8>,
    /// As its CONNECT says.
    version: Option<Version>,
    /// CONNACK has left, or whatever was the first.
    greeted: bool,
    /// Nothing may leave any more.
    ended: bool,
    /// Type of the latest packet to it.
    last: u8,
    /// Everything that was sent to it.
    output: Vec<u8>,
    /// How much of that was taken.
    taken: usize,
}

/// An engine and its world, which keeps to the engine's contract and to nothing else.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) now: u64,
    out: Outbox,
    ids: ConnIds,
    store: MemoryStore,
    current: [Option<ConnId>; CLIENTS],
    links: BTreeMap<ConnId, Link>,
    answering: Answering,
    calls: VecDeque<Call>,
    holds_stored: bool,
    kept: StoreSeq,
    /// What the store gives back instead of what it was given.
    foreign_page: Option<Vec<u8>>,
    /// After how many calls the engine is replaced by its own restored snapshot; 0 is never.
    pub(crate) restored_every: u32,
    handled: u32,
    /// Most bytes that arrive at once.
    pub(crate) chunk: usize,
}

impl Host {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            engine: Engine::new(config, Seed(3), HashKey([1, 2])),
            now: 1_000_000,
            out: Outbox::new(),
            ids: ConnIds::new(),
            store: MemoryStore::new(),
            current: [None; CLIENTS],
            links: BTreeMap::new(),
            answering: Answering::Allow,
            calls: VecDeque::new(),
            holds_stored: false,
            kept: StoreSeq(0),
            foreign_page: None,
            restored_every: 0,
            handled: 0,
            chunk: usize::MAX,
        }
    }

    fn time(&self) -> Time {
        Time::from_micros(self.now)
    }

    /// The one way into the engine; then everything that it wants is carried out.
    pub(crate) fn handle(&mut self, input: Input<'_>) {
        self.handled += 1;
        if self.restored_every > 0 && self.handled.is_multiple_of(self.restored_every) {
            let snapshot = self.engine.snapshot();
            let key = HashKey([8, self.handled.into()]);
            self.engine = Engine::restore(&snapshot, key).expect("an engine reads its own snapshot");
            assert!(self.engine.snapshot() == snapshot, "a restored engine has another state");
        }
        let mut out = std::mem::take(&mut self.out);
        self.engine.handle(self.time(), input, &mut out);
        while !out.is_empty() {
            self.carry_out(&out);
            let (calls, stores) = (std::mem::take(&mut out.calls), std::mem::take(&mut out.stores));
            out.clear();
            for call in calls {
                match self.answering.answer() {
                    None => self.calls.push_back(call),
                    Some(answer) => {
                        self.engine.handle(self.time(), Input::Reply { call: call.id, answer }, &mut out);
                    }
                }
            }
            for (seq, op) in stores {
                if let Some(deliveries) = self.keep(op) {
                    self.engine.handle(self.time(), Input::Loaded { fetch: seq, deliveries }, &mut out);
                }
                self.kept = seq;
                if !self.holds_stored {
                    self.engine.handle(self.time(), Input::Stored { upto: seq }, &mut out);
                }
            }
        }
        self.out = out;
        self.engine.view().verify().expect("the engine's accounts add up");
    }

    fn keep(&mut self, op: StoreOp) -> Option<Vec<StoredDelivery>> {
        let from = if let StoreOp::Fetch { from, .. } = &op { *from } else { 0 };
        let page = self.store.apply(self.time(), op)?;
        Some(match &self.foreign_page {
            None => page,
            Some(bytes) => vec![StoredDelivery {
                position: from,
                publish: Bytes::copy_from_slice(bytes),
                qos: QoS::AtLeastOnce,
                lifetime: Lifetime::default(),
                subscription_ids: Vec::new(),
                share: None,
            }],
        })
    }

    fn carry_out(&mut self, out: &Outbox) {
        for wire in &out.wire {
            match wire {
                Wire::Send { conn, frame } => self.send(*conn, out, frame, None, 0),
                Wire::Fanout { frame, packet_id_at, targets } => {
                    for target in out.targets(targets) {
                        self.send(target.conn, out, frame, *packet_id_at, target.packet_id);
                    }
                }
                Wire::Close { conn } => {
                    let link = self.links.get_mut(conn).expect("only connections are closed");
                    assert!(!std::mem::replace(&mut link.ended, true), "{conn:?} is closed twice");
                    self.forget(*conn);
                }
                _ => {}
            }
        }
    }

    fn forget(&mut self, conn: ConnId) {
        for current in &mut self.current {
            current.take_if(|known| *known == conn);
        }
        self.ids.release(conn);
    }

    fn send(&mut self, conn: ConnId, out: &Outbox, frame: &Frame, packet_id_at: Option<u32>, id: u16) {
        let state = self.state(conn);
        let link = self.links.get_mut(&conn).expect("only connections are sent to");
        assert!(!link.ended, "{conn:?} is sent to behind its end");
        let start = link.output.len();
        link.output.extend_from_slice(out.head(frame));
        patch_packet_id(&mut link.output[start..], packet_id_at, id);
        link.output.extend_from_slice(&frame.payload);
        let bytes = &link.output[start..];
        let versions = link.version.as_ref().map_or(&[Version::V5, Version::V311][..], std::slice::from_ref);
        let parsed =
            versions.iter().find_map(|version| match Packet::parse(bytes, *version, &Limits::NONE) {
                Ok(Some((packet, len))) if len == bytes.len() => Some(packet),
                _ => None,
            });
        let packet = parsed.unwrap_or_else(|| panic!("{:?} gets {bytes:02x?}", link.version));
        check_order(link.greeted, &packet);
        feedback::saw((state, link.last), answer(&packet));
        link.last = packet.packet_type() as u8;
        link.greeted |= packet.packet_type() != PacketType::Auth;
    }

    /// The state of a client, in rough numbers.
    fn state(&self, conn: ConnId) -> Option<[usize; 5]> {
        let mut sessions = self.engine.view().each_session();
        let session = sessions.find(|session| session.connection() == Some(conn))?;
        let some = |count: usize| count.min(2);
        Some([
            some(session.queued()),
            some(session.inflight()),
            some(session.received()),
            some(session.filters().count()),
            usize::from(session.has_will()),
        ])
    }

    /// Lets the engine finish what it can without anything new.
    pub(crate) fn settle(&mut self) {
        let mut calls = 0;
        while self.engine.next_deadline().is_some_and(|deadline| deadline.at <= self.time()) {
            self.handle(Input::Tick);
            calls += 1;
            assert!(calls < MOST_CALLS, "work that never ends");
        }
    }

    /// The socket has not taken so many bytes.
    pub(crate) fn backlog(&mut self, who: usize, unsent: u32) {
        if let Some(conn) = self.current[who] {
            self.handle(Input::Backlog { conn, unsent });
            self.settle();
        }
    }

    /// What a connection got since the last look.
    pub(crate) fn take(&mut self, conn: ConnId) -> &[u8] {
        let Some(link) = self.links.get_mut(&conn) else { return &[] };
        let taken = std::mem::replace(&mut link.taken, link.output.len());
        &link.output[taken..]
    }

    /// What each connection got, and whether it was closed.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = (ConnId, &[u8], bool)> {
        self.links.iter().map(|(conn, link)| (*conn, &link.output[..], link.ended))
    }

    pub(crate) fn conn(&self, who: usize) -> Option<ConnId> {
        self.current[who]
    }

    /// Everybody goes for good; then nothing may be left but what is retained.
    pub(crate) fn end(&mut self) {
        self.fault(&Fault::Answering(Answering::Allow));
        self.fault(&Fault::HoldStored(false));
        for who in 0..CLIENTS {
            self.cut(who, CloseCause::Fault);
        }
        let names: Vec<String> =
            self.engine.view().each_session().map(|session| session.client_id().to_owned()).collect();
        for client_id in names {
            let reason = ReasonCode::AdministrativeAction;
            self.command(Command::Disconnect { client_id, reason, end_session: true });
        }
        self.settle();
        let view = self.engine.view();
        let left = [
            ("transports", view.transports()),
            ("sessions", view.sessions()),
            ("subscriptions", view.subscriptions()),
            ("filters", view.filters().0 + view.filters().1),
            ("bytes of input", view.input_bytes()),
            ("fan-outs", view.fanouts().0),
            ("messages that are not retained", view.messages().saturating_sub(view.retained())),
        ];
        assert!(left.iter().all(|(_, count)| *count == 0), "left: {left:?}");
    }
}

impl Player for Host {
    fn open(&mut self, who: usize) {
        self.cut(who, CloseCause::Fault);
        let conn = self.ids.allocate();
        self.current[who] = Some(conn);
        self.links.insert(conn, Link::default());
        self.handle(Input::Opened { conn, listener: ListenerId(0), peer: None });
        self.settle();
    }

    fn feed(&mut self, who: usize, bytes: &[u8]) {
        let Some(conn) = self.current[who] else { return };
        if let Some(link) = self.links.get_mut(&conn).filter(|link| link.version.is_none() && !link.greeted) {
            link.beginning.extend_from_slice(bytes);
            let parsed = Packet::parse(&link.beginning, Version::V5, &Limits::NONE);
            if let Ok(Some((Packet::Connect(connect), _))) = parsed {
                link.version = Some(connect.version);
            }
        }
        for data in bytes.chunks(self.chunk) {
            if self.current[who] != Some(conn) {
                return;
            }
            self.handle(Input::Received { conn, data });
        }
        self.settle();
    }

    fn cut(&mut self, who: usize, cause: CloseCause) {
        if let Some(conn) = self.current[who].take() {
            self.handle(Input::Closed { conn, cause });
            if let Some(link) = self.links.get_mut(&conn) {
                link.ended = true;
            }
            self.forget(conn);
            self.settle();
        }
    }

    fn command(&mut self, command: Command) {
        self.handle(Input::Command(command));
        self.settle();
    }

    fn wait(&mut self, micros: u64) {
        let until = self.now + micros;
        let mut calls = 0;
        while let Some(deadline) =
            self.engine.next_deadline().map(|due| due.at.as_micros()).filter(|at| *at <= until)
        {
            self.now = self.now.max(deadline);
            self.handle(Input::Tick);
            calls += 1;
            assert!(calls < MOST_CALLS, "timers that never end");
        }
        self.now = until;
        self.handle(Input::Tick);
        self.settle();
    }

    fn fault(&mut self, fault: &Fault) {
        match fault {
            Fault::Backlog(who, unsent) => self.backlog(who.get(), unsent.bytes()),
            Fault::Answering(answering) => {
                self.answering = *answering;
                while let Some((call, answer)) =
                    self.answering.answer().and_then(|answer| Some((self.calls.pop_front()?, answer)))
                {
                    self.handle(Input::Reply { call: call.id, answer });
                }
            }
            Fault::HoldStored(hold) => {
                self.holds_stored = *hold;
                if !hold {
                    self.handle(Input::Stored { upto: self.kept });
                }
            }
            Fault::StoreFailed(back) => {
                let seq = StoreSeq(self.kept.0.saturating_sub(u64::from(*back)));
                self.handle(Input::StoreFailed { seq });
            }
            Fault::ForeignPage(bytes) => self.foreign_page.clone_from(bytes),
        }
        self.settle();
    }
}

/// What a broker may say, and when.
fn check_order(greeted: bool, packet: &Packet<'_>) {
    let may = match packet.packet_type() {
        PacketType::ConnAck => !greeted,
        PacketType::Auth | PacketType::Disconnect => true,
        PacketType::Connect | PacketType::Subscribe | PacketType::Unsubscribe | PacketType::PingReq => false,
        _ => greeted,
    };
    assert!(may, "{packet:?} {} the CONNACK", if greeted { "behind" } else { "before" });
}

/// Type and first reason of a packet, for coverage.
fn answer(packet: &Packet<'_>) -> (u8, u8) {
    let detail = match packet {
        Packet::ConnAck(packet) => packet.reason as u8,
        Packet::PubAck(packet) | Packet::PubRec(packet) | Packet::PubComp(packet) => packet.reason as u8,
        Packet::SubAck(packet) => packet.reasons.iter().next().map_or(0, |reason| reason as u8),
        Packet::UnsubAck(packet) => packet.reasons.iter().next().map_or(0, |reason| reason as u8),
        Packet::Disconnect(packet) => packet.reason as u8,
        Packet::Auth(packet) => packet.reason as u8,
        Packet::Publish(packet) => {
            (packet.qos as u8) << 2 | u8::from(packet.dup) << 1 | u8::from(packet.retain)
        }
        _ => 0,
    };
    (packet.packet_type() as u8, detail)
}
