//! Where it cannot be seen which of several copies was sent or lost. A message that its publisher sent again looks like
//! the one before, but for what is left of its life. That matters to clients who get it by a shared group and in
//! another way too: a wrong guess which of these it was goes on in all members of the group, in what is still owed, in
//! order and in lives. There the other checkers look alone.

use super::session::{Message, Session};
use super::topics::{is_shared, matches, plain};
use std::collections::{BTreeMap, BTreeSet};

/// Topics with copies that look alike, and the clients that may get them.
#[derive(Debug, Default)]
pub(super) struct Unclear {
    seen: BTreeSet<(String, Vec<u8>)>,
    /// Topics to which a message was sent again.
    repeated: BTreeSet<String>,
    clients: BTreeMap<String, BTreeSet<String>>,
}

impl Unclear {
    /// A message is on its way.
    pub(super) fn published(&mut self, message: &Message, sessions: &BTreeMap<String, Session>) {
        let topic = &message.topic;
        // Those without payload have no number, and no checker but this one counts them.
        if !message.payload.is_empty() && !self.seen.insert((topic.clone(), message.payload.clone())) {
            self.repeated.insert(topic.clone());
        }
        if !self.repeated.contains(topic) {
            return;
        }
        let ways = |session: &Session| {
            let filters = session.subscriptions.keys().filter(|filter| matches(plain(filter), topic));
            filters.fold((0, 0), |(all, shared), filter| (all + 1, shared + u32::from(is_shared(filter))))
        };
        let members = sessions.iter().map(|(client_id, session)| (client_id, ways(session)));
        let members = members.filter(|(_, (_, shared))| *shared > 0);
        if members.clone().any(|(_, (all, _))| all > 1) {
            let clients = members.map(|(client_id, _)| client_id.clone());
            self.clients.entry(topic.clone()).or_default().extend(clients);
        }
    }

    /// Can it not be seen which copy it is that this client gets?
    pub(super) fn contains(&self, client_id: &str, topic: &str) -> bool {
        self.clients.get(topic).is_some_and(|clients| clients.contains(client_id))
    }

    /// Can it not be seen of some client?
    pub(super) fn has(&self, topic: &str) -> bool {
        self.clients.contains_key(topic)
    }
}
