//! What the reference broker keeps: sessions, messages, and the copies that sessions are owed.

use super::topics::{is_shared, matches, plain};
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
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// From then on it is not delivered any more.
    pub(super) expires_at: Option<u64>,
    /// The publisher's own deadline, which receivers are told; the broker's cap is not.
    pub(super) told_until: Option<u64>,
    pub(super) is_will: bool,
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
}

impl Copy {
    /// Copies of one stream keep their order [MQTT-4.6.0-5].
    pub(super) fn is_before(&self, other: &Self) -> bool {
        let stream = |copy: &Self| (copy.message.qos, copy.qos);
        let (one, two) = (&self.message, &other.message);
        !Arc::ptr_eq(one, two)
            && stream(self) == stream(other)
            && (&one.publisher, &one.topic) == (&two.publisher, &two.topic)
            && one.is_will == two.is_will
            && self.for_filter.is_none()
            && other.for_filter.is_none()
    }
}

/// What a client asked for under its identifier.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) username: Option<String>,
    /// Its connection.
    pub(super) link: Option<usize>,
    /// Session Expiry Interval, seconds.
    pub(super) expiry: u32,
    pub(super) ends_at: Option<u64>,
    pub(super) will: Option<Will>,
    pub(super) will_at: Option<u64>,
    pub(super) subscriptions: BTreeMap<String, SubscribeOptions>,
    /// Packet identifiers of QoS 2 messages that wait for PUBREL.
    pub(super) received: BTreeSet<u16>,
    /// What it has to get, oldest first.
    pub(super) owed: VecDeque<Copy>,
    /// What it would have got, had not the connection, the subscription or the session ended in this very call.
    pub(super) last_words: Vec<Copy>,
    /// Filters whose retained messages may still be on their way, each as often as it was asked for.
    pub(super) scans: Vec<String>,
    /// What was given, to tell a second copy from one that should never be.
    pub(super) given: BTreeSet<(String, Vec<u8>)>,
    /// Losses that the broker owned up to, by topic.
    pub(super) drops: BTreeMap<String, u32>,
}

impl Session {
    /// Retained messages that are not sent by now, of this filter or of all, are not begun any more.
    pub(super) fn stop_scans(&mut self, of: Option<&str>) {
        let stops = |filter: &String| of.is_none_or(|of| of == filter);
        self.scans.retain(|filter| !stops(filter));
        let (stopped, rest) =
            self.owed.drain(..).partition(|copy: &Copy| copy.for_filter.as_ref().is_some_and(stops));
        self.owed = rest;
        self.last_words.extend::<VecDeque<Copy>>(stopped);
    }

    /// Has it messages to a topic by a shared group, and in another way too? Then it cannot be seen which of them it was
    /// that came or was lost.
    pub(super) fn has_two_ways(&self, topic: &str) -> bool {
        let filters = self.subscriptions.keys().filter(|filter| matches(plain(filter), topic));
        filters.clone().count() > 1 && filters.clone().any(|filter| is_shared(filter))
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
    pub(super) message_expiry: Option<u32>,
}

/// A message for one member of a shared group, whichever.
#[derive(Clone, Debug)]
pub(super) struct SharedCopy {
    pub(super) message: Arc<Message>,
    /// The group's filter with its `$share` part.
    pub(super) group: String,
    /// Who may get it, with which QoS and RETAIN flag.
    pub(super) members: BTreeMap<String, (QoS, bool)>,
    /// No member may get the message another way too, so it can be seen who got this one.
    pub(super) is_only_way: bool,
    /// The connections of all members when it came, if all had one.
    pub(super) here: Option<Vec<(String, usize)>>,
    /// Who got it. At QoS 1 it is another member's when that one's session ends unacknowledged [4.8.2].
    pub(super) to: Option<String>,
    /// It may be a member's by now who got it when another one's session ended, with the options of that moment.
    pub(super) handed_on: bool,
    /// It was some member's before, whose session ended; perhaps that one had acknowledged it.
    pub(super) optional: bool,
}

/// A member of a shared group got a copy, or lost it: one of those that `fits`. Which one cannot be seen where several
/// groups have the message for the same members, so earlier guesses are changed where that helps.
pub(super) fn take_shared(
    shared: &mut Vec<SharedCopy>,
    to: &str,
    fits: impl Fn(&SharedCopy) -> bool,
) -> Option<SharedCopy> {
    let fitting: Vec<usize> = (0..shared.len()).filter(|at| fits(&shared[*at])).collect();
    let is_free = |at: &usize| shared[*at].to.is_none();
    let free = fitting.iter().copied().filter(is_free).min_by_key(|at| shared[*at].members.len());
    let place = free.or_else(|| fitting.into_iter().find(|at| make_free(shared, *at, &mut Vec::new())))?;
    shared[place].to = Some(to.to_owned());
    let copy = shared[place].clone();
    // Nobody asks again for what everybody has, but of QoS 1.
    let is_over = |other: &SharedCopy| {
        let qos = other.to.as_ref().and_then(|to| other.members.get(to)).map(|(qos, _)| *qos);
        qos.is_some_and(|qos| qos != QoS::AtLeastOnce)
    };
    let is_same = |other: &SharedCopy| Arc::ptr_eq(&other.message, &copy.message);
    if shared.iter().filter(|other| is_same(other)).all(is_over) {
        shared.retain(|other| !is_same(other));
    }
    Some(copy)
}

/// Moves who has a copy to another copy of the same message, and who has that one further.
fn make_free(shared: &mut [SharedCopy], place: usize, seen: &mut Vec<usize>) -> bool {
    let Some(holder) = shared[place].to.clone() else { return true };
    seen.push(place);
    for other in 0..shared.len() {
        let is_same = Arc::ptr_eq(&shared[other].message, &shared[place].message);
        let fits = is_same && shared[other].members.contains_key(&holder) && !seen.contains(&other);
        if fits && make_free(shared, other, seen) {
            shared[other].to = Some(holder);
            shared[place].to = None;
            return true;
        }
    }
    false
}
