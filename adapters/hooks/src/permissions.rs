//! What one client may.

use crate::topics::TopicSet;
use mqtt_proto::{TopicFilter, TopicName};

/// What a client wants with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Send a message to it; also as a will.
    Publish,
    /// Get a message of it, whatever it has subscribed to.
    Read,
}

/// What a rule says of some topics. Where it says nothing, the next one is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Says {
    pub(crate) read: Option<bool>,
    pub(crate) publish: Option<bool>,
}

impl Says {
    pub(crate) const DENY: Self = Self { read: Some(false), publish: Some(false) };
    pub(crate) const ALLOW: Self = Self { read: Some(true), publish: Some(true) };

    fn of(self, access: Access) -> Option<bool> {
        match access {
            Access::Publish => self.publish,
            Access::Read => self.read,
        }
    }

    /// What is left of it for a client whose names cannot stand in its filter: what it denies.
    pub(crate) fn denials(self) -> Self {
        let deny = |says: Option<bool>| says.filter(|&allowed| !allowed);
        Self { read: deny(self.read), publish: deny(self.publish) }
    }
}

/// What one client may: the rules that are about it, with its names filled in. Good for as long as
/// [`Rules::generation`](crate::Rules::generation) stays what it was, and the client who it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    rules: Vec<(TopicSet, Says)>,
    otherwise: bool,
}

impl Permissions {
    pub(crate) fn new(rules: Vec<(TopicSet, Says)>, otherwise: bool) -> Self {
        Self { rules, otherwise }
    }

    /// May it publish to this topic, or read what is published there? The first rule that says something decides.
    pub fn may(&self, access: Access, topic: TopicName<'_>) -> bool {
        let mut fitting = self.rules.iter().filter(|(topics, _)| topics.covers(topic.as_str()));
        fitting.find_map(|(_, says)| says.of(access)).unwrap_or(self.otherwise)
    }

    /// May it subscribe to this filter? Only if it may read every topic that the filter matches. Against one rule the
    /// answer is exact. A filter that several rules allow only together, each a part of it, is refused.
    pub fn may_subscribe(&self, filter: TopicFilter<'_>) -> bool {
        let wanted = filter.filter();
        let mut allowed: Vec<&TopicSet> = Vec::new();
        for (topics, says) in &self.rules {
            let Some(read) = says.read else { continue };
            let Some(common) = topics.common(wanted) else { continue };
            if read {
                if topics.covers(wanted) {
                    return true;
                }
                allowed.push(topics);
            } else if !allowed.iter().any(|earlier| earlier.covers(&common)) {
                return false;
            }
        }
        self.otherwise
    }
}
