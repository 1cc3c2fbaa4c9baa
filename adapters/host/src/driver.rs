//! Owns the engine and carries out what it asks for, up to the sockets.
//!
//! An adapter feeds it ([`Driver::open`], [`Driver::received`], [`Driver::closed`], [`Driver::tick`]), then
//! flushes every connection that [`Driver::next_dirty`] names, and calls [`Driver::tick`] by
//! [`Driver::next_deadline`]. Feeding several connections before flushing makes one write of what they sent to
//! one client. Where a hook answers later, [`Driver::poll_hooks`] takes its answers up.

use crate::hooks::HookChain;
use crate::recording::Recorder;
use crate::sys_topics::SysTopics;
use crate::write_buffer::{Pool, WriteBuffer};
use broker_engine::{
    CloseCause, Command, ConnId, ConnIds, Deadline, Engine, Flow, Input, ListenerId, MemoryStore, Note,
    Outbox, Time, View, Wire, patch_packet_id,
};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};

/// Unsent bytes from which on a connection wants to be flushed before the turn goes on.
const URGENT: usize = 256 << 10;

/// Bytes that a slow socket took and the engine is told of at the latest, as a sign of life.
const PROGRESS: u32 = 64 << 10;

/// Slices of one vectored write.
const SLICES: usize = 16;

/// What the driver keeps for one connection.
#[derive(Debug)]
struct Entry {
    id: ConnId,
    peer: Option<SocketAddr>,
    buffer: WriteBuffer,
    /// Unsent bytes as the engine knows them.
    reported: u32,
    queued: Queued,
    closing: bool,
    paused: bool,
    /// Its client was let in.
    accepted: bool,
}

/// Which lists of connections to be flushed name a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queued {
    No,
    Dirty,
    /// In both.
    Urgent,
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
    dirty: VecDeque<ConnId>,
    /// Connections whose reads were paused or resumed since the last look.
    changed: Vec<ConnId>,
    urgent: Vec<ConnId>,
    /// Connections whose client was not let in yet.
    strangers: usize,
    pool: Pool,
    hooks: HookChain,
    recorder: Option<Recorder>,
    sys_topics: SysTopics,
    /// Keeps what the engine may ask back; a durable one takes its place.
    store: MemoryStore,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("engine", &self.engine.view()).finish_non_exhaustive()
    }
}

impl Driver {
    /// A driver without connections.
    pub fn new(engine: Engine, hooks: impl Into<HookChain>) -> Self {
        Self {
            engine,
            out: Outbox::new(),
            ids: ConnIds::new(),
            table: Vec::new(),
            dirty: VecDeque::new(),
            changed: Vec::new(),
            urgent: Vec::new(),
            strangers: 0,
            pool: Pool::default(),
            hooks: hooks.into(),
            recorder: None,
            sys_topics: SysTopics::default(),
            store: MemoryStore::new(),
        }
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

    /// A transport is ready.
    pub fn open(&mut self, now: Time, listener: ListenerId, peer: Option<SocketAddr>) -> ConnId {
        let id = self.ids.allocate();
        if self.table.len() <= id.slot() {
            self.table.resize_with(id.slot() + 1, || None);
        }
        self.table[id.slot()] = Some(Entry {
            id,
            peer,
            buffer: WriteBuffer::default(),
            reported: 0,
            queued: Queued::No,
            closing: false,
            paused: false,
            accepted: false,
        });
        self.strangers += 1;
        self.handle(now, Input::Opened { conn: id, listener, peer });
        id
    }

    /// Bytes arrived.
    pub fn received(&mut self, now: Time, conn: ConnId, data: &[u8]) {
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

    /// Topics with a retained message, without those below `$SYS`.
    pub fn retained(&self) -> usize {
        self.engine.view().retained().saturating_sub(self.sys_topics.published())
    }

    /// Time passed.
    pub fn tick(&mut self, now: Time) {
        self.handle(now, Input::Tick);
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
        self.engine.next_deadline()
    }

    /// A look into the engine.
    pub fn view(&self) -> View<'_> {
        self.engine.view()
    }

    /// A connection with something to flush, in the order in which they got it. None is named twice before it is
    /// flushed.
    pub fn next_dirty(&mut self) -> Option<ConnId> {
        self.dirty.pop_front()
    }

    /// Is there anything to flush?
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// A connection with so much to send that it should be flushed before more is fed.
    pub fn next_urgent(&mut self) -> Option<ConnId> {
        self.urgent.pop()
    }

    /// A connection whose reading was paused or resumed.
    pub fn next_changed(&mut self) -> Option<ConnId> {
        self.changed.pop()
    }

    /// Should nothing be read from this client?
    pub fn is_paused(&self, conn: ConnId) -> bool {
        self.entry(conn).is_some_and(|entry| entry.paused)
    }

    /// Is this connection to be closed once everything is written?
    pub fn is_closing(&self, conn: ConnId) -> bool {
        self.entry(conn).is_none_or(|entry| entry.closing)
    }

    /// Bytes that wait to be written to this connection.
    pub fn unsent(&self, conn: ConnId) -> usize {
        self.entry(conn).map_or(0, |entry| entry.buffer.len())
    }

    /// Connections whose client was not let in yet. Needs [`broker_engine::Interest::CLIENTS`].
    pub fn strangers(&self) -> usize {
        self.strangers
    }

    /// The socket is closed; its slot may be used again. The engine has been told, or wanted it.
    pub fn release(&mut self, conn: ConnId) {
        let Some(slot) = self.table.get_mut(conn.slot()) else { return };
        if let Some(mut entry) = slot.take_if(|entry| entry.id == conn) {
            entry.buffer.clear(&mut self.pool);
            self.strangers -= usize::from(!entry.accepted);
            self.hooks.forget(conn);
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
        let Some(entry) = self.table.get_mut(conn.slot()).and_then(Option::as_mut).filter(|e| e.id == conn)
        else {
            return Flushed::Done;
        };
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
            for call in calls {
                let id = call.id;
                if let Some(answer) = self.hooks.ask(call) {
                    self.feed(now, Input::Reply { call: id, answer }, &mut out);
                }
            }
            let upto = stores.last().map(|(seq, _)| *seq);
            for (seq, op) in stores {
                if let Some(deliveries) = self.store.apply(now, op) {
                    self.feed(now, Input::Loaded { fetch: seq, deliveries }, &mut out);
                }
            }
            if let Some(upto) = upto {
                // One batch, kept as one.
                self.feed(now, Input::Stored { upto }, &mut out);
            }
        }
        self.out = out;
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
                    let (table, dirty) = (&mut self.table, &mut self.dirty);
                    let Some(entry) = writable(table, *conn) else { continue };
                    entry.buffer.push(out.head(frame), &frame.payload, &mut self.pool, |_| ());
                    mark(entry, dirty, &mut self.urgent);
                }
                Wire::Fanout { frame, packet_id_at, targets } => {
                    let head = out.head(frame);
                    for target in out.targets(targets) {
                        let Some(entry) = writable(&mut self.table, target.conn) else { continue };
                        entry.buffer.push(head, &frame.payload, &mut self.pool, |copy| {
                            patch_packet_id(copy, *packet_id_at, target.packet_id);
                        });
                        mark(entry, &mut self.dirty, &mut self.urgent);
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
                        mark(entry, &mut self.dirty, &mut self.urgent);
                    }
                }
                _ => {}
            }
        }
        for note in &out.notes {
            let (Note::Connected { conn, .. } | Note::Disconnected { conn, .. }) = note else {
                self.hooks.note(note, None);
                continue;
            };
            let entry = self.table.get_mut(conn.slot()).and_then(Option::as_mut).filter(|e| e.id == *conn);
            let peer = entry.and_then(|entry| {
                if matches!(note, Note::Connected { .. }) && !std::mem::replace(&mut entry.accepted, true) {
                    self.strangers -= 1;
                    self.sys_topics.connected(self.engine.view().connections());
                }
                entry.peer
            });
            self.hooks.note(note, peer);
        }
    }
}

fn writable(table: &mut [Option<Entry>], conn: ConnId) -> Option<&mut Entry> {
    table.get_mut(conn.slot())?.as_mut().filter(|entry| entry.id == conn && !entry.closing)
}

fn mark(entry: &mut Entry, dirty: &mut VecDeque<ConnId>, urgent: &mut Vec<ConnId>) {
    if entry.queued == Queued::No {
        entry.queued = Queued::Dirty;
        dirty.push_back(entry.id);
    }
    if entry.buffer.len() >= URGENT && entry.queued != Queued::Urgent {
        entry.queued = Queued::Urgent;
        urgent.push(entry.id);
    }
}
