//! Where it cannot be seen which of several copies was sent or lost. A message that its publisher sent again looks like
//! the one before, but for what is left of its life. That matters to clients who get it by a shared group and in
//! another way too: a wrong guess which of these it was goes on in all members of the group, in what is still owed, in
//! order and in lives. There the other checkers look alone.

use super::session::{Message, Session};
use super::topics::{is_shared, matches, plain};
use std::collections::{BTreeMap, BTreeSet};

/// Messages with copies that look alike, and the clients that may get them.
#[derive(Clone, Debug, Default)]
pub(super) struct Unclear {
    /// How often each message came.
    seen: BTreeMap<String, Seen>,
    /// By topic.
    clients: BTreeMap<String, BTreeSet<String>>,
}

/// Messages to a topic.
#[derive(Clone, Debug, Default)]
struct Seen {
    times: BTreeMap<Vec<u8>, u32>,
    /// Some came more than once.
    again: bool,
}

impl Unclear {
    /// A message is on its way.
    pub(super) fn published(&mut self, message: &Message, sessions: &BTreeMap<String, Session>) {
        let topic = &message.topic;
        // All without payload look alike.
        let seen = self.seen.entry(topic.clone()).or_default();
        let times = seen.times.entry(message.payload.clone()).or_default();
        *times += 1;
        seen.again |= *times > 1;
        if !seen.again {
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

    /// Did this message, or any to the topic, come again?
    fn is_repeated(&self, topic: &str, payload: Option<&[u8]>) -> bool {
        self.seen.get(topic).is_some_and(|seen| match payload {
            Some(payload) => seen.times.get(payload).is_some_and(|times| *times > 1),
            None => seen.again,
        })
    }

    /// Can it not be seen which copy it is that this client gets, or loses?
    pub(super) fn contains(&self, client_id: &str, topic: &str, payload: Option<&[u8]>) -> bool {
        self.clients.get(topic).is_some_and(|clients| clients.contains(client_id))
            && self.is_repeated(topic, payload)
    }

    /// Do several look like this one?
    pub(super) fn came_again(&self, message: &Message) -> bool {
        self.is_repeated(&message.topic, Some(&message.payload))
    }

    /// Can it not be seen of some client?
    pub(super) fn has(&self, message: &Message) -> bool {
        self.clients.contains_key(&message.topic) && self.is_repeated(&message.topic, Some(&message.payload))
    }
}
