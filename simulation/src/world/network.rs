//! Links between clients and broker, as TCP connections are: bytes of a direction keep their order, and everything
//! else may happen to them.

use super::client::Wake;
use super::door::Door;
use super::host::LISTENER;
use super::outside::Next;
use super::{Event, Host, Reader, World};
use crate::check::Violation;
use crate::random::Stream;
use broker_engine::{CloseCause, ConnId, Input};
use std::collections::BTreeSet;

/// One connection, both ends of it.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // Independent facts.
pub(super) struct Link {
    pub(super) conn: ConnId,
    pub(super) client: usize,
    /// What is in front of MQTT.
    pub(super) door: Option<Box<Door>>,
    /// The broker's process that it leads to.
    pub(super) life: u32,
    /// The broker's end is open.
    pub(super) broker: bool,
    /// The client's end is open.
    pub(super) client_end: bool,
    /// No bytes of either direction arrive any more.
    pub(super) dead: bool,
    /// The client has ended its direction, and reads on.
    half_closed: bool,
    /// Every byte travels by itself.
    pub(super) bytewise: bool,
    /// Nothing arrives before what was sent before it.
    up_at: u64,
    down_at: u64,
    /// When the last byte has left, where there is little bandwidth.
    pub(super) up_free_at: u64,
    pub(super) down_free_at: u64,
    /// The broker does not read.
    pub(super) paused: bool,
    /// The client does not read: what arrived waits here.
    reading: bool,
    held_down: Vec<u8>,
    /// A slow reader's next look is due.
    reads_soon: bool,
    /// Bytes of the broker that its socket has taken and the client has not read.
    in_socket: u64,
    /// Bytes that the host has to keep.
    pub(super) unsent: Vec<u8>,
    /// What the engine was last told of it.
    told: usize,
    /// The broker closes once everything is sent.
    closing: bool,
}

/// Links by the connection that the engine knows.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Option<(ConnId, usize)>>);

impl Table {
    pub(crate) fn get(&self, conn: ConnId) -> Option<usize> {
        let (known, link) = (*self.0.get(conn.slot())?)?;
        (known == conn).then_some(link)
    }

    pub(super) fn insert(&mut self, conn: ConnId, link: usize) {
        if self.0.len() <= conn.slot() {
            self.0.resize(conn.slot() + 1, None);
        }
        self.0[conn.slot()] = Some((conn, link));
    }

    pub(super) fn remove(&mut self, conn: ConnId) {
        if self.get(conn).is_some() {
            self.0[conn.slot()] = None;
        }
    }
}

impl World<'_> {
    /// Opens a connection of a client.
    pub(super) fn open(&mut self, client: usize) -> Result<usize, Violation> {
        let link = self.links.len();
        let address = self.address(client, link);
        let peer = Some(address);
        let conn = self.accept(peer);
        let door = (self.options.host == Host::Transports).then(|| {
            let choices = Stream::new(self.scenario.seed ^ (link as u64) << 32, "door");
            Box::new(Door::of_client(choices, address))
        });
        self.links.push(Link {
            conn,
            client,
            door,
            life: self.life,
            broker: true,
            client_end: true,
            dead: false,
            half_closed: false,
            bytewise: self.choices.bytewise.chance(self.scenario.network.bytewise),
            up_at: self.now,
            down_at: self.now,
            up_free_at: self.now,
            down_free_at: self.now,
            paused: false,
            reading: true,
            held_down: Vec::new(),
            reads_soon: false,
            in_socket: 0,
            unsent: Vec::new(),
            told: 0,
            closing: false,
        });
        self.by_conn.insert(conn, link);
        self.checks.opened(self.now, link, client);
        self.handle(Input::Opened { conn, listener: LISTENER, peer })?;
        Ok(link)
    }

    /// A client sends.
    pub(super) fn send_up(&mut self, link: usize, bytes: &[u8]) {
        let pieces = self.pieces(link, bytes);
        let cut_at = self.breaks(pieces.len());
        for (number, piece) in pieces.into_iter().enumerate() {
            let state = &self.links[link];
            if state.dead || !state.client_end || state.half_closed {
                return;
            }
            if cut_at == Some(number) {
                self.sever(link);
                return;
            }
            let leaves_at = self.leaves_at(link, piece.len(), true);
            let at = self.delay(leaves_at).max(self.links[link].up_at);
            self.links[link].up_at = at;
            self.schedule(at, Event::ToBroker { link, bytes: piece });
        }
    }

    /// The broker's host sends: as much as the socket takes, the rest waits.
    pub(super) fn send_down(&mut self, link: usize, bytes: &[u8]) {
        self.links[link].unsent.extend_from_slice(bytes);
    }

    /// Gives the socket what it takes, and tells the engine what it does not.
    pub(super) fn flush(&mut self, link: usize) {
        let state = &self.links[link];
        let all = state.closing || self.is_well(state.client);
        let is_stalled = self.options.reader == Some(Reader::Stalled)
            && !self.counts(link)
            && !state.reading
            && !state.closing;
        let room = if is_stalled {
            0
        } else if all {
            usize::MAX
        } else if self.now < self.blocked_until {
            0
        } else {
            usize_of(self.scenario.network.socket_buffer.saturating_sub(state.in_socket))
        };
        let taken = self.taken(link, room);
        let state = &mut self.links[link];
        state.in_socket += taken.len() as u64;
        let dead = state.dead;
        let pieces = self.pieces(link, &taken);
        let cut_at = self.breaks(pieces.len());
        for (number, piece) in pieces.into_iter().enumerate() {
            if dead || self.links[link].dead {
                break;
            }
            if cut_at == Some(number) {
                self.sever(link);
                break;
            }
            let leaves_at = self.leaves_at(link, piece.len(), false);
            let at = self.delay(leaves_at).max(self.links[link].down_at);
            self.links[link].down_at = at;
            self.schedule(at, Event::ToClient { link, bytes: piece });
        }
        let unsent = self.unsent(link);
        let state = &mut self.links[link];
        if state.closing && unsent == 0 && !state.dead {
            state.closing = false;
            let at = state.down_at;
            self.schedule(at, Event::ClientLost { link });
            return;
        }
        if self.links[link].broker && unsent != self.links[link].told {
            self.links[link].told = unsent;
            let conn = self.links[link].conn;
            self.checks.marks.hit("a socket that is full");
            self.checks.marks.fault("N05");
            // The driver has told the engine itself.
            if !self.broker.is_driver() {
                let unsent = u32::try_from(unsent).unwrap_or(u32::MAX);
                // In a small world there is never so much for one client that it is more than enough.
                let high = self.scenario.limits.egress_high;
                let unsent = if is_stalled { unsent.max(high) } else { unsent };
                self.next.push_back(Next::Backlog { conn, unsent });
            }
        }
    }

    /// The engine has closed: what is unsent goes out first.
    pub(super) fn broker_closes(&mut self, link: usize) {
        let state = &mut self.links[link];
        (state.broker, state.closing, state.paused) = (false, true, false);
        let conn = state.conn;
        self.held_up.remove(&link);
        self.by_conn.remove(conn);
        let abrupt = !self.healed && self.choices.abrupt.chance(self.scenario.network.abrupt);
        if abrupt && !self.links[link].dead {
            // A reset: what was sent last is discarded.
            self.checks.marks.hit("the end of a connection discards what was sent last");
            self.checks.marks.fault("N09");
            self.links[link].dead = true;
            let at = self.delay(self.now);
            self.schedule(at, Event::ClientLost { link });
        } else {
            self.flush(link);
        }
        self.let_go(conn);
    }

    /// The client lets go of a connection: the broker sees its end, or a reset.
    pub(super) fn client_closes(&mut self, link: usize, reset: bool) {
        let state = &mut self.links[link];
        if !state.client_end || state.dead {
            return;
        }
        state.client_end = false;
        if reset {
            state.dead = true;
        }
        let at = self.delay(self.now);
        let at = if reset { at } else { at.max(self.links[link].up_at) };
        self.links[link].up_at = at;
        self.schedule(at, Event::BrokerLost { link, by_peer: !reset });
    }

    /// The client ends its direction of a connection, and reads what still comes.
    pub(super) fn half_close(&mut self, link: usize) {
        let state = &mut self.links[link];
        if !state.client_end || state.dead || std::mem::replace(&mut state.half_closed, true) {
            return;
        }
        self.checks.marks.fault("N08");
        let at = self.delay(self.now).max(self.links[link].up_at);
        self.links[link].up_at = at;
        self.schedule(at, Event::BrokerLost { link, by_peer: true });
    }

    /// The network breaks a connection: both sides are told sooner or later, or the broker never is.
    pub(super) fn sever(&mut self, link: usize) {
        if std::mem::replace(&mut self.links[link].dead, true) {
            return;
        }
        self.checks.marks.hit("a connection that breaks");
        self.checks.marks.fault("N09");
        let at = self.delay(self.now);
        self.schedule(at, Event::ClientLost { link });
        if self.choices.cut.chance(self.scenario.network.half_open) {
            self.checks.marks.hit("a connection that breaks and the broker is not told");
            self.checks.marks.fault("N07");
        } else {
            let at = self.delay(self.now);
            self.schedule(at, Event::BrokerLost { link, by_peer: false });
        }
    }

    /// Connections of which nothing is expected once the world has healed: the broker does not know that they are gone, or
    /// their client is incurable.
    pub(super) fn spared(&self) -> BTreeSet<usize> {
        let links = self.links.iter().enumerate().filter(|(_, state)| state.broker);
        let is_spared = |state: &Link| state.dead || self.spec(state.client).incurable;
        links.filter(|(_, state)| is_spared(state)).map(|(link, _)| link).collect()
    }

    /// The broker's process is no more: what its sockets have taken arrives, then the end.
    pub(super) fn end_of_process(&mut self, link: usize) {
        let state = &mut self.links[link];
        state.unsent.clear();
        self.held_up.remove(&link);
        if !state.dead {
            let at = self.delay(self.now).max(self.links[link].down_at);
            self.schedule(at, Event::ClientLost { link });
        }
    }

    pub(super) fn arrived(&mut self, link: usize, bytes: &[u8]) -> Result<(), Violation> {
        if self.is_held_up(link, bytes) { Ok(()) } else { self.received(link, bytes) }
    }

    /// Bytes are there for the broker to read.
    fn received(&mut self, link: usize, bytes: &[u8]) -> Result<(), Violation> {
        let state = &mut self.links[link];
        if state.dead || !state.broker && state.life < self.life {
            return Ok(());
        }
        let conn = state.conn;
        if !state.broker {
            // The host reads on for a moment, and the engine has forgotten the connection.
            self.checks.marks.fault("N15");
            self.checks.late_bytes(link, bytes);
            return self.handle(Input::Received { conn, data: bytes });
        }
        if state.paused {
            self.held_up.entry(link).or_default().extend_from_slice(bytes);
            return Ok(());
        }
        let Some(door) = &mut state.door else { return self.feed(link, bytes) };
        match door.enters(bytes) {
            Ok(mqtt) if mqtt.is_empty() => Ok(()),
            Ok(mqtt) => {
                door.mark().into_iter().for_each(|mark| self.checks.marks.hit(mark));
                self.feed(link, &mqtt)
            }
            Err(cause) => self.broker_has_lost(link, cause == CloseCause::PeerClosed),
        }
    }

    /// The broker reads bytes of MQTT.
    fn feed(&mut self, link: usize, bytes: &[u8]) -> Result<(), Violation> {
        let conn = self.links[link].conn;
        self.checks.fed(self.now, link, bytes, &mut self.trace);
        self.handle(Input::Received { conn, data: bytes })
    }

    /// The engine wants to read again.
    pub(super) fn read_on(&mut self, link: usize) -> Result<(), Violation> {
        self.links[link].paused = false;
        self.held_up.remove(&link).map_or(Ok(()), |held| self.received(link, &held))
    }

    pub(super) fn delivered(&mut self, link: usize, bytes: &[u8]) {
        if !self.is_held_down(link, bytes) {
            self.reaches(link, bytes);
        }
    }

    /// Bytes are there for a client to read.
    fn reaches(&mut self, link: usize, bytes: &[u8]) {
        let pace = self.pace(self.links[link].client);
        let state = &mut self.links[link];
        if state.dead || !state.client_end {
            return;
        }
        if !state.reading || pace.is_some() {
            state.held_down.extend_from_slice(bytes);
            let looks = state.reading && !state.reads_soon && pace.is_some_and(|pace| pace > 0);
            if looks {
                state.reads_soon = true;
                let client = state.client;
                self.schedule(self.now + 1_000_000, Event::Wake { client, wake: Wake::Read(link) });
            }
            return;
        }
        let mut all = std::mem::take(&mut state.held_down);
        all.extend_from_slice(bytes);
        self.reads(link, &all);
    }

    fn reads(&mut self, link: usize, bytes: &[u8]) {
        let state = &mut self.links[link];
        state.in_socket = state.in_socket.saturating_sub(bytes.len() as u64);
        self.flush(link);
        self.client_reads(link, bytes);
    }

    /// A slow reader's second is over.
    pub(super) fn reads_on(&mut self, link: usize) {
        let pace = self.pace(self.links[link].client);
        let state = &mut self.links[link];
        state.reads_soon = false;
        if state.dead || !state.client_end || !state.reading || state.held_down.is_empty() {
            return;
        }
        let count = pace.map_or(usize::MAX, usize_of).min(state.held_down.len());
        let some: Vec<u8> = state.held_down.drain(..count).collect();
        if !state.held_down.is_empty() {
            state.reads_soon = true;
            let client = state.client;
            self.schedule(self.now + 1_000_000, Event::Wake { client, wake: Wake::Read(link) });
        }
        self.checks.marks.fault("C01");
        self.reads(link, &some);
    }

    /// How many bytes a client reads in a second, if not all.
    fn pace(&self, client: usize) -> Option<u64> {
        self.spec(client).reads.filter(|_| !self.is_well(client))
    }

    pub(super) fn set_reading(&mut self, link: usize, reading: bool) {
        self.links[link].reading = reading;
        if !reading {
            self.checks.marks.fault("C01");
        }
        let held = if reading { std::mem::take(&mut self.links[link].held_down) } else { Vec::new() };
        if !held.is_empty() {
            self.reaches(link, &held);
        }
    }

    pub(super) fn broker_lost(&mut self, link: usize, by_peer: bool) -> Result<(), Violation> {
        if self.is_end_held_up(link, by_peer) { Ok(()) } else { self.broker_has_lost(link, by_peer) }
    }

    /// The broker's end of a link is closed, whatever the network does.
    pub(super) fn broker_has_lost(&mut self, link: usize, by_peer: bool) -> Result<(), Violation> {
        let state = &mut self.links[link];
        if !std::mem::replace(&mut state.broker, false) {
            return Ok(());
        }
        let conn = state.conn;
        if state.half_closed && !state.dead {
            // The host closes its own direction too.
            let at = state.down_at;
            self.schedule(at, Event::ClientLost { link });
        }
        let cause = if by_peer { CloseCause::PeerClosed } else { CloseCause::Fault };
        // What the engine sends before it hears of this counts as sent.
        self.handle(Input::Closed { conn, cause })?;
        self.checks.lost(link);
        self.by_conn.remove(conn);
        self.let_go(conn);
        if self.options.host != Host::Played {
            // What the driver has not written by then is never written.
            self.links[link].unsent.clear();
        }
        Ok(())
    }

    pub(super) fn client_lost(&mut self, link: usize) {
        if self.is_end_held_down(link) {
            return;
        }
        let state = &mut self.links[link];
        if !std::mem::replace(&mut state.client_end, false) {
            return;
        }
        // The client has not read everything: the end comes behind it.
        if !state.dead && !state.held_down.is_empty() && !state.reading {
            state.reading = true;
            let held = std::mem::take(&mut state.held_down);
            state.client_end = true;
            self.client_reads(link, &held);
            self.links[link].client_end = false;
        }
        self.sees(link, None);
        self.client_is_offline(link);
    }
}

pub(super) fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
