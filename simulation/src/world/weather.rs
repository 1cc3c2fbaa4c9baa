//! What the network makes of links: pieces, delays, little bandwidth, partitions.

use super::World;
use super::network::usize_of;
use crate::check::Violation;
use std::net::{Ipv4Addr, SocketAddr};

/// The network around one client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    /// Nothing reaches the broker, or the client.
    up_held: bool,
    down_held: bool,
    /// When that began, by the number of such events.
    held_since: u64,
    /// The last part of the client's address.
    address: u8,
}

/// What waits behind a partition.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    up: Vec<Vec<u8>>,
    down: Vec<Vec<u8>>,
    /// The broker's end, and whether it is the client's doing.
    up_end: Option<bool>,
    down_end: bool,
}

/// Longest time that bytes wait for bandwidth, as a sender does not go on for ever.
const QUEUED: u64 = 60_000_000;

impl World<'_> {
    /// What is sent at once, in pieces.
    pub(super) fn pieces(&mut self, link: usize, bytes: &[u8]) -> Vec<Vec<u8>> {
        let network = &self.scenario.network;
        if bytes.is_empty() {
            return Vec::new();
        }
        if self.links[link].bytewise && !self.healed {
            self.checks.marks.fault("N01");
            // Heads byte by byte, or a large message would be an event for each byte.
            let (head, rest) = bytes.split_at(bytes.len().min(64));
            let head = head.iter().map(|byte| vec![*byte]);
            return head.chain((!rest.is_empty()).then(|| rest.to_vec())).collect();
        }
        if self.healed || !self.choices.split.chance(network.split) {
            return vec![bytes.to_vec()];
        }
        self.checks.marks.fault("N02");
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            // Not more than so many, or a large message would be an event for each byte.
            let least = rest.len() / 50 + 1;
            let count =
                usize_of(self.choices.split.between(1, network.piece.max(1))).max(least).min(rest.len());
            let (piece, left) = rest.split_at(count);
            pieces.push(piece.to_vec());
            rest = left;
        }
        pieces
    }

    /// The piece of something that is sent at which the connection breaks instead.
    pub(super) fn breaks(&mut self, pieces: usize) -> Option<usize> {
        let breaks = !self.healed && pieces > 0 && self.choices.cut.chance(self.scenario.network.cut);
        breaks.then(|| usize_of(self.choices.cut.below(pieces as u64)))
    }

    /// When something that leaves then arrives.
    pub(super) fn delay(&mut self, leaves_at: u64) -> u64 {
        let network = &self.scenario.network;
        let mut delay =
            self.choices.delay.between(network.delay_min, network.delay_max.max(network.delay_min));
        if !self.healed && self.choices.delay.chance(network.tail) {
            delay += self.choices.delay.by_magnitude(1, 60_000_000);
            self.checks.marks.fault("N03");
        }
        if !self.healed && self.choices.clog.chance(network.clog) {
            delay += self.choices.clog.between(0, network.clog_max);
            self.checks.marks.hit("bytes held up for long");
            self.checks.marks.fault("N06");
        }
        leaves_at + delay
    }

    /// When so many bytes have left, behind those before them.
    pub(super) fn leaves_at(&mut self, link: usize, len: usize, up: bool) -> u64 {
        let bandwidth = self.scenario.network.bandwidth;
        if bandwidth == 0 || self.healed {
            return self.now;
        }
        let state = &mut self.links[link];
        let free_at = if up { &mut state.up_free_at } else { &mut state.down_free_at };
        let takes = len as u64 * 1_000_000 / bandwidth;
        *free_at = (self.now.max(*free_at) + takes).min(self.now + QUEUED);
        let at = *free_at;
        if at > self.now + 1000 {
            self.checks.marks.fault("N04");
        }
        at
    }

    /// Where a client's next connection comes from.
    pub(super) fn address(&mut self, client: usize, link: usize) -> SocketAddr {
        let weather = &mut self.weather[client];
        if self.choices.roaming.chance(self.scenario.network.roaming) {
            weather.address = weather.address.wrapping_add(1);
            self.checks.marks.fault("N13");
        }
        let client = u8::try_from(client % 256).unwrap_or(0);
        let port = 1024 + u16::try_from(link % 60_000).unwrap_or(0);
        SocketAddr::from((Ipv4Addr::new(10, 0, client, weather.address), port))
    }

    /// From now on bytes of this client wait.
    pub(super) fn hold(&mut self, client: usize, up: bool, down: bool) {
        if !self.healed {
            let last = self.weather.iter().map(|weather| weather.held_since).max().unwrap_or_default();
            let weather = &mut self.weather[client];
            weather.up_held |= up;
            weather.down_held |= down;
            weather.held_since = last + 1;
        }
    }

    /// What waited goes on, in its order.
    pub(super) fn release(&mut self, client: usize) -> Result<(), Violation> {
        let Weather { up_held, down_held, held_since, .. } = self.weather[client];
        if !up_held && !down_held {
            return Ok(());
        }
        let is_held = |weather: &Weather| weather.up_held || weather.down_held;
        // In another order than they were cut off.
        if self.weather.iter().any(|other| is_held(other) && other.held_since < held_since) {
            self.checks.marks.hit("clients cut off one by one come back in another order");
            self.checks.marks.fault("N06");
        }
        let weather = &mut self.weather[client];
        (weather.up_held, weather.down_held) = (false, false);
        for link in 0..self.links.len() {
            if self.links[link].client != client {
                continue;
            }
            let Stuck { up, down, up_end, down_end } = self.stuck.remove(&link).unwrap_or_default();
            if !up.is_empty() || !down.is_empty() || up_end.is_some() || down_end {
                self.checks.marks.fault("N10");
            }
            for bytes in up {
                self.arrived(link, &bytes)?;
                self.settle()?;
            }
            for bytes in down {
                self.delivered(link, &bytes);
            }
            if let Some(by_peer) = up_end {
                self.broker_lost(link, by_peer)?;
                self.settle()?;
            }
            if down_end {
                self.client_lost(link);
            }
        }
        Ok(())
    }

    pub(super) fn is_held_up(&mut self, link: usize, bytes: &[u8]) -> bool {
        let held = self.weather[self.links[link].client].up_held;
        if held {
            self.stuck.entry(link).or_default().up.push(bytes.to_vec());
        }
        held
    }

    pub(super) fn is_held_down(&mut self, link: usize, bytes: &[u8]) -> bool {
        let held = self.weather[self.links[link].client].down_held;
        if held {
            self.stuck.entry(link).or_default().down.push(bytes.to_vec());
        }
        held
    }

    pub(super) fn is_end_held_up(&mut self, link: usize, by_peer: bool) -> bool {
        let held = self.weather[self.links[link].client].up_held;
        if held {
            self.stuck.entry(link).or_default().up_end = Some(by_peer);
        }
        held
    }

    pub(super) fn is_end_held_down(&mut self, link: usize) -> bool {
        let held = self.weather[self.links[link].client].down_held;
        if held {
            self.stuck.entry(link).or_default().down_end = true;
        }
        held
    }

    /// Half of all clients cut in one moment are a storm when they come back.
    pub(super) fn counts_as_storm(&mut self) {
        let before = if self.storm.0 == self.now { self.storm.1 } else { 0 };
        self.storm = (self.now, before + 1);
        if before > 0 && 2 * (before + 1) >= self.players.len() {
            self.checks.marks.fault("N12");
        }
    }
}
