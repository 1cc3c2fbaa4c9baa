//! What a rule says of some topics.

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

    /// What is left of it for a client whose names cannot stand in its filter: what it denies.
    pub(crate) fn denials(self) -> Self {
        let deny = |says: Option<bool>| says.filter(|&allowed| !allowed);
        Self { read: deny(self.read), publish: deny(self.publish) }
    }
}
