//! What the reference broker keeps: sessions, messages, and the copies that sessions are owed.

use super::permissions::may_read;
use super::topics::matches;
use broker_engine::{Permissions, SessionEnd};
use mqtt_proto::{QoS, SubscribeOptions};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

/// An application message.
#[derive(PartialEq)]
pub(super) struct Message {
    pub(super) publisher: String,
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    /// Bytes of its properties.
    pub(super) properties: usize,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// From then on it is not delivered any more.
    pub(super) expires_at: Option<u64>,
    /// The publisher's own deadline, which receivers are told; the broker's cap is not.
    pub(super) told_until: Option<u64>,
    pub(super) is_will: bool,
}

impl Message {
    /// Bytes beside its topic.
    pub(super) fn size(&self) -> usize {
        self.payload.len() + self.properties
    }

    /// A receiver cannot tell them apart: one that its publisher sent twice, with another life only where that is told.
    pub(super) fn looks_like(&self, other: &Self, has_expiry: bool) -> bool {
        (&self.topic, &self.payload) == (&other.topic, &other.payload)
            && (!has_expiry || self.told_until == other.told_until)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = String::from_utf8_lossy(&self.payload[..self.payload.len().min(8)]).into_owned();
        let will = if self.is_will { " (will)" } else { "" };
        write!(f, "{start}{will} of {} to {} q{}", self.publisher, self.topic, self.qos as u8)?;
        if self.retain { f.write_str(" retain") } else { Ok(()) }
    }
}

/// A message for one session.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) message: Arc<Message>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Kept as retained, and sent for a subscription with this filter.
    pub(super) for_filter: Option<String>,
    /// The session may get it, and need not.
    pub(super) optional: bool,
    /// Subscription Identifiers of the subscriptions that it is for.
    pub(super) ids: Vec<u32>,
}

impl Copy {
    /// Copies of one stream keep their order [MQTT-4.6.0-5].
    pub(super) fn is_before(&self, other: &Self) -> bool {
        !Arc::ptr_eq(&self.message, &other.message) && self.is_of_stream(other)
    }

    pub(super) fn is_of_stream(&self, other: &Self) -> bool {
        let (one, two) = (&self.message, &other.message);
        (one.qos, self.qos) == (two.qos, other.qos)
            && (&one.publisher, &one.topic) == (&two.publisher, &two.topic)
            && one.is_will == two.is_will
            && self.for_filter.is_none()
            && other.for_filter.is_none()
    }
}

/// What a client asked for under its identifier.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) username: Option<String>,
    /// What its client may; `None` is everything.
    pub(super) permissions: Option<Permissions>,
    /// Its client is told what is left of a message's life.
    pub(super) has_expiry: bool,
    /// It has had a client who is told no Subscription Identifiers.
    pub(super) is_untold: bool,
    /// Its connection.
    pub(super) link: Option<usize>,
    /// Session Expiry Interval, seconds.
    pub(super) expiry: u32,
    pub(super) ends_at: Option<u64>,
    /// It is over, for this reason.
    pub(super) ended: Option<SessionEnd>,
    pub(super) will: Option<Will>,
    pub(super) will_at: Option<u64>,
    pub(super) subscriptions: BTreeMap<String, SubscribeOptions>,
    /// Subscription Identifiers of those that have one.
    pub(super) ids: BTreeMap<String, u32>,
    /// Packet identifiers of QoS 2 messages that wait for PUBREL.
    pub(super) received: BTreeSet<u16>,
    /// What it has to get, oldest first.
    pub(super) owed: VecDeque<Copy>,
    /// What it would have got, had not the connection, the subscription or the session ended in this very call.
    pub(super) last_words: Vec<Copy>,
    /// Filters whose retained messages may still be on their way, each as often as it was asked for.
    pub(super) scans: Vec<String>,
    /// What was given, to tell a second copy from one that should never be, and its bytes beside the topic.
    pub(super) given: BTreeMap<(String, Vec<u8>), usize>,
    /// Losses that the broker owned up to, by topic.
    pub(super) drops: BTreeMap<String, u32>,
}

impl Session {
    pub(super) fn may_read(&self, topic: &str) -> bool {
        may_read(self.permissions.as_ref(), topic)
    }

    /// Its client may something else from now on. Of retained messages on their way it gets those that it may read when
    /// their turn comes.
    pub(super) fn permit(
        &mut self,
        permissions: Option<&Permissions>,
        retained: &BTreeMap<String, Arc<Message>>,
    ) {
        if self.permissions.as_ref() == permissions {
            return;
        }
        self.permissions = permissions.cloned();
        self.owed.iter_mut().filter(|copy| copy.for_filter.is_some()).for_each(|copy| copy.optional = true);
        for filter in self.scans.clone() {
            let is_owed = |message: &&Arc<Message>| {
                self.owed.iter().any(|copy| {
                    copy.for_filter.as_ref() == Some(&filter) && Arc::ptr_eq(&copy.message, message)
                })
            };
            let found = retained.values().filter(|message| matches(&filter, &message.topic));
            let new: Vec<Copy> = found
                .filter(|message| !is_owed(message))
                .map(|message| self.retained_copy(message, &filter))
                .collect();
            self.owed.extend(new);
        }
    }

    /// A retained message that may come for a subscription.
    pub(super) fn retained_copy(&self, message: &Arc<Message>, filter: &str) -> Copy {
        let qos = self.subscriptions.get(filter).map_or(QoS::ExactlyOnce, |options| options.qos);
        Copy {
            message: message.clone(),
            qos: message.qos.min(qos),
            retain: true,
            for_filter: Some(filter.to_owned()),
            optional: true,
            ids: self.ids.get(filter).copied().into_iter().collect(),
        }
    }

    /// Retained messages that are not sent by now, of this filter or of all, are not begun any more.
    pub(super) fn stop_scans(&mut self, of: Option<&str>) {
        let stops = |filter: &String| of.is_none_or(|of| of == filter);
        self.scans.retain(|filter| !stops(filter));
        let (stopped, rest) =
            self.owed.drain(..).partition(|copy: &Copy| copy.for_filter.as_ref().is_some_and(stops));
        self.owed = rest;
        self.last_words.extend::<VecDeque<Copy>>(stopped);
    }

    /// Retained messages that are not sent by now are asked for once more.
    pub(super) fn scan_again(&mut self, filter: &str) {
        let for_it = |copy: &&mut Copy| copy.for_filter.as_deref() == Some(filter);
        self.owed.iter_mut().filter(for_it).for_each(|copy| copy.optional = true);
    }

    /// Retained messages that are not sent by now are sent with another QoS or identifier; in this call it may have been the
    /// old one.
    pub(super) fn scan_with(&mut self, filter: &str, qos: QoS) {
        let ids: Vec<u32> = self.ids.get(filter).copied().into_iter().collect();
        for copy in self.owed.iter_mut().filter(|copy| copy.for_filter.as_deref() == Some(filter)) {
            let qos = copy.message.qos.min(qos);
            if (copy.qos, &copy.ids) != (qos, &ids) {
                copy.optional = true;
                self.last_words.push(copy.clone());
                (copy.qos, copy.ids) = (qos, ids.clone());
            }
        }
    }

    /// A loss that the broker owned up to stands for one copy.
    pub(super) fn excuse(&mut self, topic: &str) -> bool {
        let left = self.drops.get_mut(topic).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }
}

/// A will.
#[derive(Clone, Debug)]
pub(super) struct Will {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) delay: u32,
    /// Bytes of its properties.
    pub(super) properties: usize,
    pub(super) message_expiry: Option<u32>,
}
