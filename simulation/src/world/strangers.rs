//! Connections of nobody: those on which somebody sends what no client would, and those that a client has given up
//! without closing them.

use super::client::Wake;
use super::door::Door;
use super::{Event, World};
use crate::check::Violation;
use crate::scenario::Hostile;
use broker_engine::{Command, Input};
use mqtt_proto::ReasonCode;
use std::collections::HashSet;

impl World<'_> {
    /// Hostile bytes, on a client's connection or on one of their own.
    pub(super) fn hostile(&mut self, client: usize, hostile: &Hostile) -> Result<(), Violation> {
        if self.healed {
            return Ok(());
        }
        let own = self.players[client].link.filter(|_| self.players[client].online);
        let link = match own.filter(|_| hostile.own) {
            Some(link) => link,
            None if hostile.own => return Ok(()),
            None => {
                let link = self.open(client)?;
                self.links[link].door = Door::of_stranger(hostile.through).map(Box::new);
                link
            }
        };
        self.checks.marks.fault(hostile.class.class());
        self.checks.hostile(link);
        for (number, bytes) in hostile.chunks.iter().enumerate() {
            let at = self.now + number as u64 * hostile.pause;
            self.schedule(at, Event::Wake { client, wake: Wake::Send(link, bytes.clone()) });
        }
        Ok(())
    }

    /// Nobody but clients is there any more, and each on one connection, on which nothing came but what it meant.
    pub(super) fn strangers_leave(&mut self) {
        for link in 0..self.links.len() {
            let state = &self.links[link];
            let is_own = self.players[state.client].link == Some(link);
            if state.client_end && (!is_own || self.checks.is_hostile(link)) {
                self.client_closes(link, true);
                self.client_is_offline(link);
            }
        }
    }

    /// Sessions that strangers have left behind end.
    pub(super) fn strangers_are_forgotten(&mut self) -> Result<(), Violation> {
        let known: HashSet<&str> = self.scenario.clients.iter().map(|client| &*client.id).collect();
        let ids = self.broker.view().each_session().map(|session| session.client_id());
        let strange: Vec<String> = ids.filter(|id| !known.contains(id)).map(str::to_owned).collect();
        for client_id in strange {
            let (reason, end_session) = (ReasonCode::AdministrativeAction, true);
            self.handle(Input::Command(Command::Disconnect { client_id, reason, end_session }))?;
            self.settle()?;
        }
        Ok(())
    }
}
