//! How many are connected: strangers by their address, and clients that were let in by listener and transport.

use super::{Destination, Driver, Entry};
use crate::config::listeners::Transport;
use broker_engine::ListenerId;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

/// Counted as they come and go, as looking at a million connections would take too long.
#[derive(Debug, Default)]
pub(super) struct Connected {
    /// Connections whose client was not let in yet.
    strangers: usize,
    /// Of those, the ones of each address.
    strangers_at: HashMap<IpAddr, usize>,
    /// Those that were, but for inline clients.
    clients: BTreeMap<(ListenerId, Transport), usize>,
}

impl Connected {
    pub(super) fn opened(&mut self, peer: Option<SocketAddr>) {
        self.strangers += 1;
        if let Some(peer) = peer {
            *self.strangers_at.entry(peer.ip()).or_default() += 1;
        }
    }

    /// Its client is let in.
    pub(super) fn accepted(&mut self, entry: &Entry) {
        self.stranger_left(entry.peer);
        if entry.destination == Destination::Socket {
            *self.clients.entry((entry.listener, entry.transport)).or_default() += 1;
        }
    }

    pub(super) fn released(&mut self, entry: &Entry) {
        if !entry.accepted {
            self.stranger_left(entry.peer);
        } else if entry.destination == Destination::Socket
            && let Some(count) = self.clients.get_mut(&(entry.listener, entry.transport))
        {
            *count -= 1;
        }
    }

    fn stranger_left(&mut self, peer: Option<SocketAddr>) {
        self.strangers -= 1;
        let Some(address) = peer.map(|peer| peer.ip()) else { return };
        if let Some(count) = self.strangers_at.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.strangers_at.remove(&address);
            }
        }
    }
}

impl Driver {
    /// Connections whose client was not let in yet. Needs [`broker_engine::Interest::CLIENTS`].
    pub fn strangers(&self) -> usize {
        self.connected.strangers
    }

    /// Those of one address.
    pub fn strangers_at(&self, address: IpAddr) -> usize {
        self.connected.strangers_at.get(&address).copied().unwrap_or_default()
    }

    /// How many clients that were let in have a connection over each transport; 0 where none is left. Needs
    /// [`broker_engine::Interest::CLIENTS`].
    pub fn clients_by_transport(&self) -> BTreeMap<Transport, usize> {
        let mut counts = BTreeMap::new();
        for ((_, transport), count) in &self.connected.clients {
            *counts.entry(*transport).or_default() += count;
        }
        counts
    }

    /// The same by the name of their listener too.
    pub(super) fn clients_by_listener(&self) -> BTreeMap<(&str, Transport), usize> {
        let mut counts = BTreeMap::new();
        for ((listener, transport), count) in &self.connected.clients {
            *counts.entry((self.hooks.name_of(*listener), *transport)).or_default() += count;
        }
        counts
    }
}
