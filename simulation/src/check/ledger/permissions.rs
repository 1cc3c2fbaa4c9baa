//! What clients may: nothing of theirs goes out, and nothing reaches them, against it.

use super::Ledger;
use crate::oracle::permissions::{may_publish, may_read, may_subscribe};
use broker_engine::Permissions;

/// What a client might.
#[derive(Clone, Debug)]
struct Before(Option<Permissions>);

/// What a client may; `None` is everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights {
    now: Option<Permissions>,
    /// Until the call that changed it, in which timers that are due come first.
    before: Option<Before>,
    /// When it changed last.
    since: u64,
}

impl Rights {
    /// So much, since this step.
    pub(super) fn new(now: Option<Permissions>, since: u64) -> Self {
        Self { now, before: None, since }
    }

    /// Does what holds in this call allow something?
    pub(super) fn allow(&self, may: impl Fn(Option<&Permissions>) -> bool) -> bool {
        may(self.now.as_ref()) || self.before.as_ref().is_some_and(|Before(before)| may(before.as_ref()))
    }

    /// Has it allowed something all the time since this step?
    pub(super) fn allow_since(&self, step: u64, may: impl Fn(Option<&Permissions>) -> bool) -> bool {
        self.since < step && may(self.now.as_ref())
    }

    fn is_limited(&self) -> bool {
        self.now.is_some() || matches!(self.before, Some(Before(Some(_))))
    }
}

impl Ledger {
    /// A client is let in, and may so much.
    pub(in crate::check) fn admitted(&mut self, client_id: &str, permissions: Option<Permissions>) {
        self.limits |= permissions.is_some();
        let step = self.step();
        let rights = &mut self.session(client_id).rights;
        if rights.now != permissions {
            (rights.now, rights.since) = (permissions, step);
        }
        self.may_now(client_id);
    }

    /// From now on a client with a session may so much: its connection, or its last one.
    pub(in crate::check) fn permit(
        &mut self,
        client_id: &str,
        permissions: Option<Permissions>,
    ) -> Option<usize> {
        let step = self.step();
        let known = self.sessions.get_mut(client_id).filter(|known| known.exists)?;
        let before = Before(known.rights.now.take());
        known.rights = Rights { before: Some(before), now: permissions, since: step };
        let link = known.link;
        self.limits = true;
        self.permitted = Some(client_id.to_owned());
        self.may_now(client_id);
        link
    }

    /// Another call begins: what was changed by the one before holds alone.
    pub(in crate::check) fn permissions_hold(&mut self) {
        if let Some(client_id) = self.permitted.take() {
            self.session(&client_id).rights.before = None;
        }
    }

    /// What a client has published may go out, as it may publish that now.
    pub(super) fn may_now(&mut self, client_id: &str) {
        let Some(known) = self.sessions.get(client_id) else { return };
        for sent in self.messages.iter_mut().filter(|sent| !sent.may && *sent.publisher == *client_id) {
            sent.may = known.rights.allow(|permissions| may_publish(permissions, &sent.topic));
        }
    }

    /// May this client publish to a topic, where it may not do everything?
    pub(in crate::check) fn may_publish(&self, client_id: &str, topic: &str) -> Option<bool> {
        let rights = self.limited(client_id)?;
        Some(rights.allow(|permissions| may_publish(permissions, topic)))
    }

    /// The session of a client ends. Its will may wait for what a hook says of its messages, and goes out by what the client
    /// might by now: whoever has the identifier next has permissions of its own.
    pub(super) fn leaves_its_rights(&mut self, client_id: &str) {
        if self.asks
            && let Some(known) = self.sessions.get(client_id)
        {
            self.last_rights.entry(client_id.to_owned()).or_default().push(known.rights.clone());
        }
    }

    /// Of these clients alone messages are undecided: no will of an ended session waits for those of others.
    pub(in crate::check) fn wills_wait(&mut self, is_undecided: impl Fn(&str) -> bool) {
        self.last_rights.retain(|client_id, _| is_undecided(client_id));
    }

    /// May a will of this client go to a topic, where it may not go everywhere? That of a session that has ended goes by what
    /// the client might then.
    pub(in crate::check) fn may_send_will(&self, client_id: &str, topic: &str) -> Option<bool> {
        let may = self.may_publish(client_id, topic)?;
        let mut ended = self.last_rights.get(client_id).into_iter().flatten();
        Some(may || ended.any(|rights| rights.allow(|permissions| may_publish(permissions, topic))))
    }

    /// May what is sent on a connection be read by its client, where that may not read everything?
    pub(in crate::check) fn may_read(&self, client_id: &str, link: usize, topic: &str) -> Option<bool> {
        let rights = self.limited(client_id)?;
        // One that was replaced in this call has had the permissions of before.
        self.sessions.get(client_id).filter(|known| known.link == Some(link))?;
        Some(rights.allow(|permissions| may_read(permissions, topic)))
    }

    /// May a client subscribe to this, where it may not read everything, and filters are judged?
    pub(in crate::check) fn may_subscribe(&self, client_id: &str, filter: &str) -> Option<bool> {
        let rights =
            self.limited(client_id).filter(|rights| self.judges_filters && rights.before.is_none())?;
        may_subscribe(rights.now.as_ref()?, filter)
    }

    pub(super) fn limited(&self, client_id: &str) -> Option<&Rights> {
        if !self.limits {
            return None;
        }
        self.sessions.get(client_id).map(|known| &known.rights).filter(|rights| rights.is_limited())
    }

    /// What the client of a session may, or one without a session; `None` is everything.
    pub(crate) fn rights_of(
        &self,
        client_id: &str,
        without: impl FnOnce() -> Option<Permissions>,
    ) -> Option<Permissions> {
        let known = self.sessions.get(client_id).filter(|known| known.exists);
        known.map_or_else(without, |known| known.rights.now.clone())
    }

    /// The connection of a session, or its last one.
    pub(in crate::check) fn link_of(&self, client_id: &str) -> Option<usize> {
        self.sessions.get(client_id)?.link
    }

    /// The topic of a message.
    pub(in crate::check) fn topic_of(&self, number: u32) -> Option<&str> {
        self.messages.get(number as usize).map(|sent| &*sent.topic)
    }
}
