//! What a client may publish and read, as a value that the engine looks at itself: for each message, when it is published,
//! and when it leaves.
//!
//! A hook says it once, with its answer to [`crate::Question::Authenticate`], and again with
//! [`crate::Command::SetPermissions`]. Nothing that is sent after that, however long it waited, is against it.
//!
//! * [`topics`] — which topics a rule is about

mod topics;

use crate::collections::SlotKey;
use crate::engine::Engine;
use alloc::{boxed::Box, string::String, vec::Vec};
use mqtt_proto::{TopicFilter, planted};
use serde::{Deserialize, Serialize};

/// What one client may. There may be any number of rules: they count as memory, and each message is compared with those
/// before the one that decides. A filter that is none counts as host misuse: whom it is about is not let in, or may nothing.
/// The first rule whose filter matches the topic, and which says something of what the client wants,
/// decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// In their order.
    pub rules: Vec<Permission>,
    /// Where no rule says anything. Default no.
    pub otherwise: bool,
}

/// A rule of [`Permissions`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// Topic filter, without `$share`.
    pub filter: String,
    /// A wildcard at its front reaches topics that begin with `$`, too.
    pub reaches_dollar: bool,
    /// May it get messages of these topics, whatever it has subscribed to? `None` leaves it to the next rules.
    pub read: Option<bool>,
    /// May it publish to these topics, its will included? `None` leaves it to the next rules.
    pub publish: Option<bool>,
}

impl Permissions {
    /// May the client get messages of this topic?
    pub fn may_read(&self, topic: &str) -> bool {
        self.says(topic, |rule| rule.read)
    }

    /// May the client publish to this topic?
    pub fn may_publish(&self, topic: &str) -> bool {
        self.says(topic, |rule| rule.publish)
    }

    fn says(&self, topic: &str, what: impl Fn(&Permission) -> Option<bool>) -> bool {
        let mut fitting = self.rules.iter().filter(|rule| rule.covers(topic));
        fitting.find_map(what).unwrap_or(self.otherwise)
    }

    /// May the client subscribe to this filter, without `$share`? Only if it may read every topic that the filter matches.
    /// Against one rule the answer is exact. A filter that several rules allow only together, each a part of it, is
    /// refused.
    pub fn may_subscribe(&self, filter: &str) -> bool {
        let mut allowed: Vec<&Permission> = Vec::new();
        for rule in &self.rules {
            let Some(read) = rule.read else { continue };
            let Some(common) = rule.common(filter) else { continue };
            if read {
                if rule.covers(filter) {
                    return true;
                }
                allowed.push(rule);
            } else if !allowed.iter().any(|earlier| earlier.covers(&common)) {
                return false;
            }
        }
        self.otherwise
    }

    /// Are all filters what MQTT knows as such? Others would be about more topics than they look as if they were.
    pub(crate) fn are_valid(&self) -> bool {
        let is_plain = |filter: TopicFilter<'_>| filter.share().is_none();
        self.rules.iter().all(|rule| TopicFilter::parse(&rule.filter).is_ok_and(is_plain))
    }

    /// Bytes that they keep.
    pub(crate) fn kept(&self) -> u64 {
        let filters: usize = self.rules.iter().map(|rule| rule.filter.len()).sum();
        (filters + self.rules.len() * size_of::<Permission>() + size_of::<Self>()) as u64
    }
}

impl Engine {
    /// May this session's client publish to this topic?
    pub(crate) fn may_publish(&self, key: SlotKey, topic: &str) -> bool {
        let session = self.sessions.get(key);
        let permissions = session.and_then(|session| session.permissions.as_deref());
        permissions.is_none_or(|permissions| permissions.may_publish(topic))
    }

    /// Somebody else than the client's own admission says what it may. With filters that are none, that is nothing.
    pub(crate) fn change_permissions(&mut self, key: SlotKey, permissions: Option<Permissions>) {
        let is_wrong = permissions.as_ref().is_some_and(|permissions| !permissions.are_valid());
        self.counters.host_misuse += u64::from(is_wrong);
        self.set_permissions(key, if is_wrong { Some(Permissions::default()) } else { permissions });
    }

    /// From now on the client may so much; `None` is everything.
    pub(crate) fn set_permissions(&mut self, key: SlotKey, permissions: Option<Permissions>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if planted!("permissions-stay") && session.permissions.is_some() {
            return;
        }
        session.permissions = permissions.map(Box::new);
        let (restricted, conn) = (session.permissions.is_some(), session.conn);
        self.count_session(key);
        if let Some(conn) = conn.and_then(|conn| self.conn_mut(conn)) {
            conn.restricted = restricted;
        }
    }
}
