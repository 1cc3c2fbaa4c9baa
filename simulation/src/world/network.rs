//! Links between clients and broker, as TCP connections are: bytes of a direction keep their order, and everything
//! else may happen to them.

use super::outside::Next;
use super::{Event, World};
use crate::check::Violation;
use broker_engine::{CloseCause, ConnId, Input};
use std::collections::BTreeSet;

/// One connection, both ends of it.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // Independent facts.
pub(super) struct Link {
    pub(super) conn: ConnId,
    pub(super) client: usize,
    /// The broker's end is open.
    pub(super) broker: bool,
    /// The client's end is open.
    pub(super) client_end: bool,
    /// No bytes of either direction arrive any more.
    pub(super) dead: bool,
    /// Nothing arrives before what was sent before it.
    up_at: u64,
    down_at: u64,
    /// The broker does not read: what arrived waits here.
    pub(super) paused: bool,
    held_up: Vec<u8>,
    /// The client does not read: what arrived waits here.
    reading: bool,
    held_down: Vec<u8>,
    /// Bytes of the broker that its socket has taken and the client has not read.
    in_socket: u64,
    /// Bytes that the host has to keep.
    unsent: Vec<u8>,
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

    fn insert(&mut self, conn: ConnId, link: usize) {
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
        let conn = self.ids.allocate();
        let link = self.links.len();
        self.links.push(Link {
            conn,
            client,
            broker: true,
            client_end: true,
            dead: false,
            up_at: self.now,
            down_at: self.now,
            paused: false,
            held_up: Vec::new(),
            reading: true,
            held_down: Vec::new(),
            in_socket: 0,
            unsent: Vec::new(),
            told: 0,
            closing: false,
        });
        self.by_conn.insert(conn, link);
        self.checks.opened(self.now, link, client);
        self.handle(Input::Opened { conn, listener: broker_engine::ListenerId(0), peer: None })?;
        Ok(link)
    }

    /// A client sends.
    pub(super) fn send_up(&mut self, link: usize, bytes: &[u8]) {
        for piece in self.pieces(bytes) {
            let state = &self.links[link];
            if state.dead || !state.client_end {
                return;
            }
            if self.breaks() {
                self.sever(link);
                return;
            }
            let at = self.delay().max(self.links[link].up_at);
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
        let state = &mut self.links[link];
        let all = state.closing || self.healed;
        let room = if all {
            usize::MAX
        } else if self.now < self.blocked_until {
            0
        } else {
            usize_of(self.scenario.network.socket_buffer.saturating_sub(state.in_socket))
        };
        let count = state.unsent.len().min(room);
        let taken: Vec<u8> = state.unsent.drain(..count).collect();
        state.in_socket += taken.len() as u64;
        let dead = state.dead;
        for piece in self.pieces(&taken) {
            if dead || self.links[link].dead {
                break;
            }
            if self.breaks() {
                self.sever(link);
                break;
            }
            let at = self.delay().max(self.links[link].down_at);
            self.links[link].down_at = at;
            self.schedule(at, Event::ToClient { link, bytes: piece });
        }
        let state = &mut self.links[link];
        if state.closing && state.unsent.is_empty() && !state.dead {
            state.closing = false;
            let at = state.down_at;
            self.schedule(at, Event::ClientLost { link });
            return;
        }
        let unsent = self.links[link].unsent.len();
        if self.links[link].broker && unsent != self.links[link].told {
            self.links[link].told = unsent;
            let conn = self.links[link].conn;
            self.checks.marks.hit("a socket that is full");
            self.checks.marks.fault("N05");
            let unsent = u32::try_from(unsent).unwrap_or(u32::MAX);
            self.next.push_back(Next::Backlog { conn, unsent });
        }
    }

    /// The engine has closed: what is unsent goes out first.
    pub(super) fn broker_closes(&mut self, link: usize) {
        let state = &mut self.links[link];
        (state.broker, state.closing, state.paused) = (false, true, false);
        state.held_up.clear();
        self.by_conn.remove(self.links[link].conn);
        self.ids.release(self.links[link].conn);
        self.flush(link);
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
        let at = if reset { self.delay() } else { self.delay().max(self.links[link].up_at) };
        self.links[link].up_at = at;
        self.schedule(at, Event::BrokerLost { link, by_peer: !reset });
    }

    /// The network breaks a connection: both sides are told sooner or later, or the broker never is.
    pub(super) fn sever(&mut self, link: usize) {
        if std::mem::replace(&mut self.links[link].dead, true) {
            return;
        }
        self.checks.marks.hit("a connection that breaks");
        self.checks.marks.fault("N09");
        let at = self.delay();
        self.schedule(at, Event::ClientLost { link });
        if self.network.chance(self.scenario.network.half_open) {
            self.checks.marks.hit("a connection that breaks and the broker is not told");
            self.checks.marks.fault("N07");
        } else {
            let at = self.delay();
            self.schedule(at, Event::BrokerLost { link, by_peer: false });
        }
    }

    /// Connections of which the broker does not know that they are gone.
    pub(super) fn half_open(&self) -> BTreeSet<usize> {
        let links = self.links.iter().enumerate().filter(|(_, state)| state.broker && state.dead);
        links.map(|(link, _)| link).collect()
    }

    /// The broker's process is no more: what its sockets have taken arrives, then the end.
    pub(super) fn end_of_process(&mut self, link: usize) {
        let state = &mut self.links[link];
        state.unsent.clear();
        state.held_up.clear();
        if !state.dead {
            let at = self.delay().max(self.links[link].down_at);
            self.schedule(at, Event::ClientLost { link });
        }
    }

    pub(super) fn arrived(&mut self, link: usize, bytes: &[u8]) -> Result<(), Violation> {
        let state = &mut self.links[link];
        if state.dead || !state.broker {
            return Ok(());
        }
        if state.paused {
            state.held_up.extend_from_slice(bytes);
            return Ok(());
        }
        let conn = state.conn;
        self.checks.fed(self.now, link, bytes, &mut self.trace);
        self.handle(Input::Received { conn, data: bytes })
    }

    /// The engine wants to read again.
    pub(super) fn read_on(&mut self, link: usize) -> Result<(), Violation> {
        self.links[link].paused = false;
        let held = std::mem::take(&mut self.links[link].held_up);
        if held.is_empty() { Ok(()) } else { self.arrived(link, &held) }
    }

    pub(super) fn delivered(&mut self, link: usize, bytes: &[u8]) {
        let state = &mut self.links[link];
        if state.dead || !state.client_end {
            return;
        }
        if !state.reading {
            state.held_down.extend_from_slice(bytes);
            return;
        }
        state.in_socket = state.in_socket.saturating_sub(bytes.len() as u64);
        self.flush(link);
        self.client_reads(link, bytes);
    }

    pub(super) fn set_reading(&mut self, link: usize, reading: bool) {
        self.links[link].reading = reading;
        let held = if reading { std::mem::take(&mut self.links[link].held_down) } else { Vec::new() };
        if !held.is_empty() {
            self.delivered(link, &held);
        }
    }

    pub(super) fn broker_lost(&mut self, link: usize, by_peer: bool) -> Result<(), Violation> {
        let state = &mut self.links[link];
        if !std::mem::replace(&mut state.broker, false) {
            return Ok(());
        }
        let conn = state.conn;
        let cause = if by_peer { CloseCause::PeerClosed } else { CloseCause::Fault };
        // What the engine sends before it hears of this counts as sent.
        self.handle(Input::Closed { conn, cause })?;
        self.checks.lost(link);
        self.by_conn.remove(conn);
        self.ids.release(conn);
        Ok(())
    }

    pub(super) fn client_lost(&mut self, link: usize) {
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
        self.client_is_offline(link);
    }

    /// What is sent at once, in pieces.
    fn pieces(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let network = &self.scenario.network;
        if bytes.is_empty() {
            return Vec::new();
        }
        if self.healed || !self.network.chance(network.split) {
            return vec![bytes.to_vec()];
        }
        self.checks.marks.fault("N02");
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            // Not more than so many, or a large message would be an event for each byte.
            let least = rest.len() / 50 + 1;
            let count = usize_of(self.network.between(1, network.piece.max(1))).max(least).min(rest.len());
            let (piece, left) = rest.split_at(count);
            pieces.push(piece.to_vec());
            rest = left;
        }
        pieces
    }

    fn breaks(&mut self) -> bool {
        !self.healed && self.network.chance(self.scenario.network.cut)
    }

    /// When something that is sent now arrives.
    fn delay(&mut self) -> u64 {
        let network = &self.scenario.network;
        let mut delay = self.network.between(network.delay_min, network.delay_max.max(network.delay_min));
        if !self.healed && self.network.chance(network.clog) {
            delay += self.network.between(0, network.clog_max);
            self.checks.marks.hit("bytes held up for long");
            self.checks.marks.fault("N06");
        }
        self.now + delay
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
