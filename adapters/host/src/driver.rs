//! Owns the engine and carries out what it asks for, up to the sockets.
//!
//! An adapter feeds it ([`Driver::open`], [`Driver::received`], [`Driver::closed`], [`Driver::tick`]), then
//! flushes every connection that [`Driver::next_dirty`] names, and calls [`Driver::tick`] by
//! [`Driver::next_deadline`]. Feeding several connections before flushing makes one write of what they sent to
//! one client. Where a hook answers later, [`Driver::poll_hooks`] takes its answers up.

mod clients;
mod totals;

use crate::config::listeners::Transport;
use crate::hooks::{HookChain, PacketStreams};
use crate::inline::{self, InjectError, PacketHandler};
use crate::pages;
use crate::recording::Recorder;
use crate::sys_topics::SysTopics;
use crate::transport::{Page, Response};
use crate::write_buffer::{Pool, WriteBuffer};
use broker_engine::mqtt_proto::Version;
use broker_engine::{
    Answer, CloseCause, Command, ConnId, ConnIds, Deadline, DeadlineReason, Engine, Flow, Input, ListenerId,
    MemoryStore, Note, Outbox, Question, StoreOp, StoreSeq, Time, View, Wire, patch_packet_id,
};
use clients::Connected;
use metronome_storage::{Event, Keeper, Room, StoreError};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

/// Unsent bytes from which on a connection wants to be flushed before the turn goes on.
const URGENT: usize = 256 << 10;

/// Bytes that a slow socket took and the engine is told of at the latest, as a sign of life.
const PROGRESS: u32 = 64 << 10;

const PINGREQ: [u8; 2] = [0xc0, 0];

/// Slices of one vectored write.
const SLICES: usize = 16;

/// What the driver keeps for one connection.
#[derive(Debug)]
struct Entry {
    id: ConnId,
    peer: Option<SocketAddr>,
    /// Who the transport has shown the client to be.
    user_name: Option<Box<str>>,
    buffer: WriteBuffer,
    /// Unsent bytes as the engine knows them.
    reported: u32,
    queued: Queued,
    closing: bool,
    paused: bool,
    destination: Destination,
    listener: ListenerId,
    transport: Transport,
    /// Its client was let in.
    accepted: bool,
}

/// Where its bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Destination {
    /// The adapter has a socket.
    Socket,
    /// Nowhere: see [`Driver::open_inline`].
    Inline,
}

/// Which lists of connections to be flushed name a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queued {
    No,
    Dirty,
    /// In both.
    Urgent,
}

/// Connections that have something unsent.
#[derive(Debug, Default)]
struct Unsent {
    dirty: VecDeque<ConnId>,
    urgent: Vec<ConnId>,
    /// Those of inline clients, which are in neither.
    inline: VecDeque<ConnId>,
}

impl Unsent {
    fn add(&mut self, entry: &mut Entry) {
        let is_socket = entry.destination == Destination::Socket;
        if entry.queued == Queued::No {
            entry.queued = Queued::Dirty;
            if is_socket { &mut self.dirty } else { &mut self.inline }.push_back(entry.id);
        }
        if entry.buffer.len() >= URGENT && entry.queued != Queued::Urgent && is_socket {
            entry.queued = Queued::Urgent;
            self.urgent.push(entry.id);
        }
    }
}

/// How a flush ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is written.
    Done,
    /// The socket takes no more; flush again when it does.
    Blocked,
    /// Everything is written and the engine wants it closed: end the stream, linger, then
    /// [`Driver::release`].
    Close,
    /// The socket is broken; the engine was told. [`Driver::release`] it.
    Broken,
}

/// Engine, outbox and connection table in one.
pub struct Driver {
    engine: Engine,
    out: Outbox,
    ids: ConnIds,
    table: Vec<Option<Entry>>,
    unsent: Unsent,
    /// Connections whose reads were paused or resumed since the last look.
    changed: Vec<ConnId>,
    /// What inline clients do with what they get; `None` while it is being done.
    inline: BTreeMap<ConnId, Option<PacketHandler>>,
    /// When they have to show that they are alive.
    next_ping: Option<Time>,
    connected: Connected,
    pool: Pool,
    hooks: HookChain,
    /// Where hooks want to see packets.
    packets: Option<PacketStreams>,
    recorder: Option<Recorder>,
    sys_topics: SysTopics,
    store: Kept,
    /// What the store can take. While too much waits for it, nothing is read from anybody.
    room: Room,
}

/// Where the engine's facts go.
enum Kept {
    /// To where the engine may ask them back, and no further than the process.
    Here(MemoryStore),
    /// To a durable store, which answers later.
    Durably(Keeper),
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("engine", &self.engine.view()).finish_non_exhaustive()
    }
}

impl Driver {
    /// A driver without connections.
    pub fn new(engine: Engine, hooks: impl Into<HookChain>) -> Self {
        let hooks = hooks.into();
        let packets = PacketStreams::new(&hooks, engine.view().config().max_packet_size);
        Self {
            engine,
            out: Outbox::new(),
            ids: ConnIds::new(),
            table: Vec::new(),
            unsent: Unsent::default(),
            changed: Vec::new(),
            inline: BTreeMap::new(),
            next_ping: None,
            connected: Connected::default(),
            pool: Pool::default(),
            hooks,
            packets,
            recorder: None,
            sys_topics: SysTopics::default(),
            store: Kept::Here(MemoryStore::new()),
            room: Room::default(),
        }
    }

    /// Keeps facts in a durable store from now on, which is to be before the first input. Whenever the keeper wakes,
    /// call [`Driver::stored`].
    pub fn keep(&mut self, keeper: Keeper) {
        self.store = Kept::Durably(keeper);
    }

    /// Tells the engine what the durable store has kept, failed to keep, or found.
    ///
    /// # Errors
    /// Nothing is kept any more, so the broker must end: what waits is never acknowledged.
    pub fn stored(&mut self, now: Time) -> Result<(), StoreError> {
        let Kept::Durably(keeper) = &self.store else { return Ok(()) };
        let room = keeper.room();
        for event in keeper.take_events() {
            match event {
                Event::Stored(upto) => self.handle(now, Input::Stored { upto }),
                Event::Failed(seq) => self.handle(now, Input::StoreFailed { seq }),
                Event::Loaded(fetch, deliveries) => self.handle(now, Input::Loaded { fetch, deliveries }),
                Event::Ended(error) => return Err(error),
                _ => {}
            }
        }
        for news in self.set_room(room).into_iter().flatten() {
            self.handle(now, news);
        }
        Ok(())
    }

    /// Stops reading from everybody, or goes on; says what the engine is to be told.
    fn set_room(&mut self, room: Room) -> [Option<Input<'static>>; 2] {
        let before = std::mem::replace(&mut self.room, room);
        let is_turned = before.is_backed_up != room.is_backed_up;
        if is_turned {
            self.changed.extend(self.table.iter().flatten().map(|entry| entry.id));
        }
        let flow = if room.is_backed_up { Flow::Pause } else { Flow::Resume };
        let is_nearer = before.pressure != room.pressure;
        [is_turned.then_some(Input::Reads(flow)), is_nearer.then_some(Input::StoreSpace(room.pressure))]
    }

    /// Records everything that the engine is given from now on, which is to be before its first input.
    pub fn record(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// Was [`Driver::record`] called?
    pub fn is_recording(&self) -> bool {
        self.recorder.is_some()
    }

    /// Writes what was recorded so far, which otherwise waits for the next input. Call it every second or so.
    pub fn write_recording(&mut self, now: Time) {
        if let Some(recorder) = &mut self.recorder {
            recorder.between_turns(now, &self.engine);
        }
    }

    /// Writes the rest of the recording and waits until the store keeps what it was given, as dropping the driver does: for
    /// when something else may have it longer.
    pub fn finish(&mut self) {
        self.recorder = None;
        self.store = Kept::Here(MemoryStore::new());
    }

    /// A transport is ready.
    pub fn open(&mut self, now: Time, listener: ListenerId, peer: Option<SocketAddr>) -> ConnId {
        let id = self.ids.allocate();
        self.open_as(now, id, Destination::Socket, listener, peer);
        id
    }

    fn open_as(
        &mut self,
        now: Time,
        id: ConnId,
        destination: Destination,
        listener: ListenerId,
        peer: Option<SocketAddr>,
    ) {
        if self.table.len() <= id.slot() {
            self.table.resize_with(id.slot() + 1, || None);
        }
        self.table[id.slot()] = Some(Entry {
            id,
            peer,
            user_name: None,
            buffer: WriteBuffer::default(),
            reported: 0,
            queued: Queued::No,
            closing: false,
            paused: false,
            destination,
            listener,
            transport: Transport::default(),
            accepted: false,
        });
        self.connected.opened(peer);
        if self.room.is_backed_up {
            self.changed.push(id);
        }
        self.handle(now, Input::Opened { conn: id, listener, peer });
    }

    /// A client inside the program connects. Nobody is asked what it may; what the broker sends goes to `handle` before
    /// the call that led to it returns. Its first packet is to be a CONNECT of MQTT 5.
    pub fn open_inline(&mut self, now: Time, listener: ListenerId, handle: PacketHandler) -> ConnId {
        let conn = self.ids.allocate();
        self.inline.insert(conn, Some(handle));
        self.open_as(now, conn, Destination::Inline, listener, None);
        if let Some(interval) = self.ping_interval() {
            self.next_ping.get_or_insert(now.after(interval));
        }
        conn
    }

    /// Sends a packet as an inline client.
    ///
    /// # Errors
    /// It has been disconnected.
    pub fn send_inline(&mut self, now: Time, conn: ConnId, packet: &[u8]) -> Result<(), InjectError> {
        if !self.inline.contains_key(&conn) {
            return Err(InjectError::NotConnected);
        }
        self.received(now, conn, packet);
        Ok(())
    }

    /// Puts a packet behind what a client of this version has sent, as if it came from there too; what the broker answers
    /// goes to the client. Hooks are asked as ever.
    ///
    /// # Errors
    /// The client is not connected, or in the middle of a packet.
    pub fn inject(
        &mut self,
        now: Time,
        client_id: &str,
        version: Version,
        packet: &[u8],
    ) -> Result<(), InjectError> {
        let view = self.view();
        let conn = view.session(client_id).and_then(|session| session.connection());
        let known = conn.and_then(|conn| Some((conn, view.connection(conn)?)));
        match known {
            Some((conn, (theirs, waiting))) if theirs == version => {
                if !waiting.is_empty() {
                    return Err(InjectError::Busy);
                }
                self.received(now, conn, packet);
                Ok(())
            }
            _ => Err(InjectError::NotConnected),
        }
    }

    /// The transport has shown who the client is, as by a certificate: hooks are asked about this user, whatever its
    /// CONNECT will say.
    pub fn identify(&mut self, conn: ConnId, user_name: &str) {
        if let Some(entry) = entry_mut(&mut self.table, conn) {
            entry.user_name = Some(user_name.into());
        }
    }

    /// What the client speaks below MQTT, where that is not plain TCP.
    pub fn came_over(&mut self, conn: ConnId, transport: Transport) {
        if let Some(entry) = entry_mut(&mut self.table, conn) {
            entry.transport = transport;
        }
    }

    /// Bytes arrived.
    pub fn received(&mut self, now: Time, conn: ConnId, data: &[u8]) {
        if let Some(packets) = &mut self.packets {
            let listener = entry_mut(&mut self.table, conn).map(|entry| entry.listener);
            packets.read(conn, listener, data, &mut self.hooks);
        }
        self.handle(now, Input::Received { conn, data });
    }

    /// The transport ended by itself.
    pub fn closed(&mut self, now: Time, conn: ConnId, cause: CloseCause) {
        self.handle(now, Input::Closed { conn, cause });
    }

    /// The operator or embedding program wants something.
    pub fn command(&mut self, now: Time, command: Command) {
        self.handle(now, Input::Command(command));
    }

    /// Publishes what has changed below `$SYS`; `unix_time` in seconds. Call it once at the start, and then at the
    /// interval of [`crate::sys_topics::SysTopicsConfig`].
    pub fn publish_sys_topics(&mut self, now: Time, unix_time: u64) {
        for message in self.sys_topics.publications(now, unix_time, self.engine.view()) {
            self.command(now, Command::Publish(message));
        }
    }

    /// What an HTTP listener answers; `unix_time` in seconds.
    pub fn page(&self, page: Page, now: Time, unix_time: u64) -> Response {
        let mut facts = self.sys_topics.facts(now, unix_time, self.engine.view());
        if let Kept::Durably(keeper) = &self.store {
            facts.store = Some(keeper.statistics());
        }
        pages::respond(page, &facts, || self.clients_by_listener())
    }

    /// Topics with a retained message, without those below `$SYS`.
    pub fn retained(&self) -> usize {
        self.engine.view().retained().saturating_sub(self.sys_topics.published())
    }

    /// Time passed.
    pub fn tick(&mut self, now: Time) {
        if self.next_ping.is_some_and(|at| at <= now) {
            for conn in self.inline.keys().copied().collect::<Vec<_>>() {
                self.received(now, conn, &PINGREQ);
            }
            self.next_ping = self.ping_interval().map(|interval| now.after(interval));
        }
        self.handle(now, Input::Tick);
    }

    /// Where the broker wants to hear from everybody, inline clients must not be silent either.
    fn ping_interval(&self) -> Option<Duration> {
        let keep_alive = self.view().config().max_keep_alive;
        (keep_alive > 0 && !self.inline.is_empty()).then(|| Duration::from_secs(keep_alive.into()) / 2)
    }

    /// Takes up answers that hooks gave later, and commands of theirs. When there are none, `context` is woken by the next,
    /// from whichever thread it comes.
    pub fn poll_hooks(&mut self, now: Time, context: &Context<'_>) -> Poll<()> {
        self.hooks.poll(context).map(|inputs| {
            for input in inputs {
                self.handle(now, input);
            }
        })
    }

    /// When to call [`Driver::tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let ping = self.next_ping.map(|at| Deadline { at, reason: DeadlineReason::Timer });
        self.engine.next_deadline().into_iter().chain(ping).min_by_key(|deadline| deadline.at)
    }

    /// A look into the engine.
    pub fn view(&self) -> View<'_> {
        self.engine.view()
    }

    /// A connection with something to flush, in the order in which they got it. None is named twice before it is
    /// flushed.
    pub fn next_dirty(&mut self) -> Option<ConnId> {
        self.unsent.dirty.pop_front()
    }

    /// Is there anything to flush?
    pub fn has_dirty(&self) -> bool {
        !self.unsent.dirty.is_empty()
    }

    /// A connection with so much to send that it should be flushed before more is fed.
    pub fn next_urgent(&mut self) -> Option<ConnId> {
        self.unsent.urgent.pop()
    }

    /// A connection whose reading was paused or resumed.
    pub fn next_changed(&mut self) -> Option<ConnId> {
        self.changed.pop()
    }

    /// Should nothing be read from this client?
    pub fn is_paused(&self, conn: ConnId) -> bool {
        self.entry(conn).is_some_and(|entry| entry.paused || self.room.is_backed_up)
    }

    /// Is this connection to be closed once everything is written?
    pub fn is_closing(&self, conn: ConnId) -> bool {
        self.entry(conn).is_none_or(|entry| entry.closing)
    }

    /// Bytes that wait to be written to this connection.
    pub fn unsent(&self, conn: ConnId) -> usize {
        self.entry(conn).map_or(0, |entry| entry.buffer.len())
    }

    /// The socket is closed; its slot may be used again. The engine has been told, or wanted it.
    pub fn release(&mut self, conn: ConnId) {
        let Some(slot) = self.table.get_mut(conn.slot()) else { return };
        if let Some(mut entry) = slot.take_if(|entry| entry.id == conn) {
            entry.buffer.clear(&mut self.pool);
            self.connected.released(&entry);
            self.hooks.forget(conn);
            if let Some(packets) = &mut self.packets {
                packets.forget(conn);
            }
            self.inline.remove(&conn);
            self.ids.release(conn);
        }
    }

    /// Writes what waits for a connection with `write`, and tells the engine what the socket did not take.
    pub fn flush(
        &mut self,
        now: Time,
        conn: ConnId,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Flushed {
        let Some(entry) = entry_mut(&mut self.table, conn) else { return Flushed::Done };
        entry.queued = Queued::No;
        let mut outcome = Flushed::Done;
        while !entry.buffer.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = entry.buffer.slices(&mut slices);
            match write(&slices[..filled]) {
                Ok(0) => outcome = Flushed::Broken,
                Ok(count) => {
                    entry.buffer.advance(count, &mut self.pool);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => outcome = Flushed::Blocked,
                Err(_) => outcome = Flushed::Broken,
            }
            break;
        }
        if outcome == Flushed::Broken {
            let closing = entry.closing;
            if !closing {
                self.closed(now, conn, CloseCause::Fault);
            }
            return Flushed::Broken;
        }
        if entry.closing {
            return if outcome == Flushed::Done { Flushed::Close } else { outcome };
        }
        let unsent = u32::try_from(entry.buffer.len()).unwrap_or(u32::MAX);
        // Reported when it grew, and again as it drains, but not for every byte.
        let drained =
            unsent < entry.reported && entry.reported - unsent >= PROGRESS.min(entry.reported.div_ceil(2));
        let tell = unsent > entry.reported || drained;
        if tell {
            entry.reported = unsent;
            self.handle(now, Input::Backlog { conn, unsent });
        }
        outcome
    }

    /// Hands inline clients what came for them, and the engine what they say to it.
    fn serve_inline(&mut self, now: Time) {
        // What follows from an answer is served by the loop that gave it.
        if self.unsent.inline.is_empty() || self.inline.values().any(Option::is_none) {
            return;
        }
        while let Some(conn) = self.unsent.inline.pop_front() {
            let Some(mut handle) = self.inline.get_mut(&conn).and_then(Option::take) else { continue };
            let mut bytes = Vec::new();
            let outcome = self.flush(now, conn, |slices| {
                let before = bytes.len();
                bytes.extend(slices.iter().flat_map(|slice| slice.iter()));
                Ok(bytes.len() - before)
            });
            let hooks = &mut self.hooks;
            let answers = inline::receive(&bytes, |packet| hooks.contain("inline client", || handle(packet)));
            if outcome == Flushed::Close {
                self.release(conn);
                continue;
            }
            if !answers.is_empty() {
                self.received(now, conn, &answers);
            }
            if let Some(place) = self.inline.get_mut(&conn) {
                *place = Some(handle);
            }
        }
    }

    fn entry(&self, conn: ConnId) -> Option<&Entry> {
        self.table.get(conn.slot())?.as_ref().filter(|entry| entry.id == conn)
    }

    fn handle(&mut self, now: Time, input: Input<'_>) {
        let mut out = std::mem::take(&mut self.out);
        if let Some(recorder) = &mut self.recorder {
            recorder.between_turns(now, &self.engine);
        }
        self.feed(now, input, &mut out);
        // Answers lead to further outputs, which may hold further questions.
        while !out.is_empty() {
            self.carry_out(&mut out);
            let (calls, stores) = (std::mem::take(&mut out.calls), std::mem::take(&mut out.stores));
            out.clear();
            for mut call in calls {
                let id = call.id;
                let entry = self.entry(call.conn);
                let name = entry.and_then(|entry| entry.user_name.as_deref());
                let is_named = name.is_some();
                if let Question::Authenticate(client) = &mut call.question
                    && let Some(name) = name
                {
                    client.username = Some(name.to_owned());
                }
                let transport = entry.map(|entry| entry.transport).unwrap_or_default();
                // The program need not ask itself.
                let is_inline = self.inline.contains_key(&call.conn);
                let answer =
                    if is_inline { Some(Answer::Allow) } else { self.hooks.ask(call, transport, is_named) };
                if let Some(answer) = answer {
                    self.feed(now, Input::Reply { call: id, answer }, &mut out);
                }
            }
            self.keep_facts(now, stores, &mut out);
        }
        self.out = out;
        self.serve_inline(now);
    }

    /// One batch, kept as one.
    fn keep_facts(&mut self, now: Time, batch: Vec<(StoreSeq, StoreOp)>, out: &mut Outbox) {
        let Some(upto) = batch.last().map(|(seq, _)| *seq) else { return };
        let store = match &mut self.store {
            Kept::Here(store) => store,
            Kept::Durably(keeper) => {
                let room = keeper.submit(batch);
                for news in self.set_room(room).into_iter().flatten() {
                    self.feed(now, news, out);
                }
                return;
            }
        };
        let page = |(seq, op)| Some(Input::Loaded { fetch: seq, deliveries: store.apply(now, op)? });
        let pages: Vec<Input<'_>> = batch.into_iter().filter_map(page).collect();
        for page in pages {
            self.feed(now, page, out);
        }
        self.feed(now, Input::Stored { upto }, out);
    }

    fn feed(&mut self, now: Time, input: Input<'_>, out: &mut Outbox) {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(now, &input);
        }
        self.engine.handle(now, input, out);
    }

    fn carry_out(&mut self, out: &mut Outbox) {
        if let Some(recorder) = &mut self.recorder {
            recorder.output(out);
        }
        for wire in &out.wire {
            match wire {
                Wire::Send { conn, frame } => {
                    let Some(entry) = writable(&mut self.table, *conn) else { continue };
                    entry.buffer.push(out.head(frame), &frame.payload, &mut self.pool, |_| ());
                    self.unsent.add(entry);
                    if let Some(packets) = &self.packets {
                        packets.sent(*conn, out.head(frame), &frame.payload, |_| (), &mut self.hooks);
                    }
                }
                Wire::Fanout { frame, packet_id_at, targets } => {
                    let head = out.head(frame);
                    for target in out.targets(targets) {
                        let Some(entry) = writable(&mut self.table, target.conn) else { continue };
                        let patch = |copy: &mut [u8]| patch_packet_id(copy, *packet_id_at, target.packet_id);
                        entry.buffer.push(head, &frame.payload, &mut self.pool, patch);
                        self.unsent.add(entry);
                        if let Some(packets) = &self.packets {
                            packets.sent(target.conn, head, &frame.payload, patch, &mut self.hooks);
                        }
                    }
                }
                Wire::Flow { conn, flow } => {
                    if let Some(entry) = writable(&mut self.table, *conn) {
                        entry.paused = *flow == Flow::Pause;
                        self.changed.push(*conn);
                    }
                }
                Wire::Close { conn } => {
                    if let Some(entry) = writable(&mut self.table, *conn) {
                        entry.closing = true;
                        self.unsent.add(entry);
                    }
                }
                _ => {}
            }
        }
        for note in &out.notes {
            let (Note::Connected { conn, .. } | Note::Disconnected { conn, .. }) = note else {
                self.hooks.note(note, None, None);
                continue;
            };
            let entry = entry_mut(&mut self.table, *conn).map(|entry| {
                if matches!(note, Note::Connected { .. }) && !std::mem::replace(&mut entry.accepted, true) {
                    self.connected.accepted(entry);
                    self.sys_topics.connected(self.engine.view().connections());
                }
                &*entry
            });
            let (peer, listener) = (entry.and_then(|entry| entry.peer), entry.map(|entry| entry.listener));
            self.hooks.note(note, peer, listener);
        }
    }
}

fn entry_mut(table: &mut [Option<Entry>], conn: ConnId) -> Option<&mut Entry> {
    table.get_mut(conn.slot())?.as_mut().filter(|entry| entry.id == conn)
}

fn writable(table: &mut [Option<Entry>], conn: ConnId) -> Option<&mut Entry> {
    entry_mut(table, conn).filter(|entry| !entry.closing)
}
