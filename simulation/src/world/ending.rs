//! How clients lose their connections, how the world heals, and how everybody leaves.

use super::client::{Hello, Wake};
use super::{Event, World};
use crate::check::Violation;
use crate::scenario::{Message, What};
use std::collections::BTreeSet;

/// CONNECT of MQTT 3.1.1 under a name of its own, without a session.
const NEWCOMER: &[u8] = b"\x10\x0E\0\x04MQTT\x04\x02\0\0\0\x02me";

impl World<'_> {
    /// A connection is no more, for whatever reason.
    pub(super) fn client_is_offline(&mut self, link: usize) {
        let client = self.links[link].client;
        if self.players[client].link != Some(link) {
            return;
        }
        let player = &mut self.players[client];
        *player = player.offline();
        // Two that go on fighting for a session would never let it come to rest.
        let is_alone = self.players[client].first || !self.healed;
        if let Some(pause) = self.spec(client).reconnect.filter(|_| is_alone && self.comes_back(client)) {
            let pause = self.paced(client, pause);
            let at = self.now + pause + self.choices.client.below(pause + 1);
            self.schedule(at, Event::Wake { client, wake: Wake::Reconnect });
        }
    }

    /// Does it open another connection by itself? Who is incurable would only begin anew what never ends.
    pub(super) fn comes_back(&self, client: usize) -> bool {
        !self.leaving && (!self.healed || self.is_well(client))
    }

    /// From now on nothing goes wrong, and the first client of each identifier comes back for what is owed to it.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        (self.healed, self.keeper.full_until) = (true, 0);
        self.trace.line(self.now, "the world heals");
        self.strangers_leave();
        for client in 0..self.players.len() {
            self.release(client)?;
            if !self.is_well(client) {
                continue;
            }
            let first = self.players[client].first;
            let severed = self.players[client].link.is_none_or(|link| !self.links[link].client_end);
            if let Some(link) = self.players[client].link {
                self.acknowledge_all(client, link);
                for bytes in std::mem::take(&mut self.players[client].held) {
                    self.send_up(link, &bytes);
                }
                self.set_reading(link, true);
                self.flush(link);
            } else if first && severed {
                self.schedule(self.now, Event::Wake { client, wake: Wake::Reconnect });
            }
        }
        self.arm_tick();
        Ok(())
    }

    /// Everybody comes once more, without a will and with a session that ends, and goes.
    pub(super) fn everybody_leaves(&mut self) -> Result<(), Violation> {
        self.leaving = true;
        self.strangers_are_forgotten()?;
        // Who reads nothing does not even know that it is let in, and takes the place of others.
        for client in 0..self.players.len() {
            if let Some(link) = self.players[client].link.filter(|_| self.spec(client).incurable) {
                self.client_closes(link, true);
                self.client_is_offline(link);
            }
        }
        if self.scenario.limits.memory_max.is_some() {
            // What nobody comes back for may take so much memory that nobody is let in any more.
            for client in 0..self.players.len() {
                self.operate(client, &What::Kick { end_session: true })?;
            }
        }
        // What broke without the broker being told is noticed now.
        for link in 0..self.links.len() {
            if self.links[link].broker && !self.links[link].client_end {
                self.broker_lost(link, false)?;
            }
        }
        // Where few may be there at once, everybody goes before anybody comes.
        if (self.scenario.limits.max_connections as usize) <= self.players.len() {
            for client in 0..self.players.len() {
                self.operate(client, &What::Disconnect { with_will: false, expiry: None })?;
            }
            self.run_until(self.now + 1_000_000)?;
        }
        // A few one after the other, many at once.
        let at_once = self.players.len().div_ceil(50);
        let everybody: Vec<usize> = (0..self.players.len()).collect();
        for some in everybody.chunks(at_once) {
            self.come_and_go(some, &BTreeSet::new())?;
        }
        // The last of them may have left wills behind, and those may be retained.
        let topics = self.checks.ledger.retained_topics();
        self.come_and_go(&[0], &topics)
    }

    /// Where memory was short, somebody new is let in when everybody has gone.
    pub(super) fn somebody_comes(&mut self) -> Result<(), Violation> {
        let link = self.open(0)?;
        self.send_up(link, NEWCOMER);
        self.run_until(self.now + 2_000_000)?;
        // Through a driver nobody sees it, and a hook may have its own opinion.
        if self.broker.is_driver() || self.options.hook.is_some() || self.has_stopped() {
            return Ok(());
        }
        self.checks.newcomer(self.now, link)
    }

    /// Clients connect, remove what is retained, and leave.
    fn come_and_go(&mut self, clients: &[usize], topics: &BTreeSet<String>) -> Result<(), Violation> {
        for client in clients {
            self.connect(*client, &Hello { leave: true, ..Hello::default() })?;
        }
        self.run_until(self.now + 2_000_000)?;
        // Whatever is retained has to go.
        if !topics.is_empty() && self.spec(clients[0]).permissions.is_some() {
            self.set_permissions(clients[0], None)?;
        }
        for topic in topics {
            let empty = Message { topic: topic.clone(), qos: 0, retain: true, size: 0, ..Message::default() };
            // What no client may retain, the broker itself did.
            let may_retain = self.may_retain(topic);
            let what = if may_retain { What::Publish(empty) } else { What::Announce(empty) };
            self.operate(clients[0], &what)?;
        }
        self.run_until(self.now + 2_000_000)?;
        for client in clients {
            self.operate(*client, &What::Disconnect { with_will: false, expiry: None })?;
        }
        self.run_until(self.now + 1_000_000)
    }
}
