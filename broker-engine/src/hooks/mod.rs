//! Questions, answers and notes: how the outside takes part in the broker's decisions.
//!
//! A question parks the packet it is about and the later packets of the same client, but for further PUBLISH packets
//! behind one that is asked about; other clients go on. It is answered by [`crate::Input::Reply`], or denied when its
//! time limit passes.

use crate::application_message::ApplicationMessage;
use crate::counters::DropReason;
use crate::ids::{CallId, ConnId, ListenerId};
use crate::permissions::Permissions;
use alloc::{boxed::Box, string::String, vec::Vec};
use core::net::SocketAddr;
use core::ops::BitOr;
use mqtt_proto::{QoS, ReasonCode, SubscribeOptions, Version};
use serde::{Deserialize, Serialize};

/// Which questions and notes anybody wants. A point outside it costs one branch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interest(u32);

impl Interest {
    /// Nobody listens; authentication is asked nevertheless, and denied when nobody answers.
    pub const NONE: Self = Self(0);
    /// Ask [`Question::Subscribe`].
    pub const SUBSCRIBE: Self = Self(1);
    /// Tell of clients that come and go: [`Note::Connected`], [`Note::Disconnected`], [`Note::SessionEnded`],
    /// [`Note::WillSent`].
    pub const CLIENTS: Self = Self(2);
    /// Tell of dropped messages: [`Note::MessageDropped`].
    pub const DROPS: Self = Self(4);
    /// Ask [`Question::Publish`].
    pub const PUBLISH: Self = Self(8);
    /// Tell of subscriptions that are made, replaced and ended: [`Note::Subscribed`], [`Note::Unsubscribed`].
    pub const SUBSCRIPTIONS: Self = Self(16);
    /// Ask [`Question::Unsubscribe`].
    pub const UNSUBSCRIBE: Self = Self(32);
    /// Tell of messages that are published: [`Note::MessagePublished`].
    pub const MESSAGES: Self = Self(64);
    /// Tell of messages on their way to clients: [`Note::MessageSent`], [`Note::MessageAcknowledged`].
    pub const DELIVERIES: Self = Self(128);
    /// Tell of retained messages that come and go: [`Note::RetainedChanged`].
    pub const RETAINED: Self = Self(256);

    /// Both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Does this include all of `other`?
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Does this include any of `other`?
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Interest {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}

/// A question that waits for its answer.
#[derive(Clone, Debug)]
pub struct Call {
    /// To be named in the reply.
    pub id: CallId,
    /// Who is asking to do something.
    pub conn: ConnId,
    /// What.
    pub question: Question,
}

/// What is asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Question {
    /// May this client connect?
    Authenticate(Box<Authenticate>),
    /// The next step of an enhanced authentication, or the first of a re-authentication.
    AuthenticateStep {
        /// Client identifier as the client sent it.
        client_id: String,
        /// Authentication method of the CONNECT.
        method: String,
        /// Authentication data, where sent.
        data: Option<Vec<u8>>,
        /// The client is connected already and asks to authenticate again.
        again: bool,
    },
    /// May this client subscribe to these?
    Subscribe {
        /// Client identifier.
        client_id: String,
        /// Topic filters with their options; those that are invalid anyway are not asked about.
        filters: Vec<(String, SubscribeOptions)>,
    },
    /// May this client end these subscriptions?
    Unsubscribe {
        /// Client identifier.
        client_id: String,
        /// Topic filters as they came; there need not be such subscriptions.
        filters: Vec<String>,
    },
    /// May this client publish this message, or what instead? Several of one client may be open, and are carried out
    /// in the order in which they came. The other packets of the client wait.
    Publish {
        /// Client identifier.
        client_id: String,
        /// The message, under the name that a topic alias stands for.
        message: Box<ApplicationMessage>,
    },
}

/// The facts about a client that wants to connect.
#[derive(Clone, Debug)]
pub struct Authenticate {
    /// Protocol version.
    pub version: Version,
    /// Client identifier, empty when the broker is to assign one.
    pub client_id: String,
    /// User name, where sent.
    pub username: Option<String>,
    /// Password, where sent.
    pub password: Option<Vec<u8>>,
    /// Enhanced authentication method, where sent.
    pub method: Option<String>,
    /// First data of the enhanced authentication.
    pub data: Option<Vec<u8>>,
    /// Clean Start / Clean Session.
    pub clean_start: bool,
    /// The will, where there is one.
    pub will: Option<Box<ApplicationMessage>>,
    /// Where it came in.
    pub listener: ListenerId,
    /// From where.
    pub peer: Option<SocketAddr>,
}

/// The answer to a question.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Answer {
    /// Yes, as asked.
    Allow,
    /// No, with the reason for the client (0x80 or above; others become 0x87).
    Deny(ReasonCode),
    /// Enhanced authentication goes on: send AUTH 0x18 with this data.
    Continue(Vec<u8>),
    /// Enhanced authentication succeeded; data for the CONNACK or the closing AUTH.
    AllowWith(Vec<u8>),
    /// To [`Question::Authenticate`] and [`Question::AuthenticateStep`]: yes, and this goes with it. A will that the
    /// permissions do not allow refuses the client with 0x87.
    Admit(Box<Admission>),
    /// To [`Question::Publish`]: acknowledge the message as if it were routed, and forget it. It counts as dropped:
    /// [`DropReason::HookDropped`](crate::DropReason::HookDropped).
    Discard,
    /// To [`Question::Publish`]: this message in its place. It is acknowledged by the QoS that the client chose. One that
    /// MQTT cannot carry, above a limit of the broker or below `$SYS` counts as host misuse and denies.
    Replace(Box<ApplicationMessage>),
    /// One verdict for each filter of [`Question::Subscribe`], in order: `Success` grants what was asked, a
    /// `GrantedQoS` code lowers it, a code of 0x80 or above refuses. Missing ones refuse. To [`Question::Unsubscribe`] the
    /// same: `Success` ends the subscription, a code of 0x80 or above keeps it.
    Filters(Vec<ReasonCode>),
}

/// What goes with a client's admission.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// What it may publish and read; `None` is everything. With authentication again, in place of what was so far.
    pub permissions: Option<Permissions>,
    /// Whose client it is, where that is not the user name of its CONNECT: the user that `bind_session_to_user` is about.
    pub username: Option<String>,
    /// Enhanced authentication: data for the CONNACK or the closing AUTH.
    pub data: Vec<u8>,
    /// With a CONNECT: what is kept of its will.
    pub will: KeptWill,
}

/// What is kept of the will that a CONNECT has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeptWill {
    /// All of it.
    #[default]
    AsSent,
    /// Nothing.
    Nothing,
    /// This one in its place, after the same delay. One that no client may have counts as host misuse, and refuses the
    /// client.
    Instead(Box<ApplicationMessage>),
}

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Note {
    /// A client was accepted.
    Connected {
        /// Its connection.
        conn: ConnId,
        /// Client identifier, assigned or sent.
        client_id: String,
        /// Protocol version.
        version: Version,
        /// An earlier session goes on.
        session_present: bool,
    },
    /// A client's connection ended.
    Disconnected {
        /// Its connection.
        conn: ConnId,
        /// Client identifier; empty when it never was accepted.
        client_id: String,
        /// Why, in the words of MQTT 5.
        reason: ReasonCode,
        /// Detail for a person.
        detail: String,
    },
    /// A session is gone with all its state.
    SessionEnded {
        /// Client identifier.
        client_id: String,
        /// Why.
        reason: SessionEnd,
    },
    /// A will was published.
    WillSent {
        /// Client identifier of who left it.
        client_id: String,
        /// Topic name.
        topic: String,
    },
    /// A session has a subscription, by its client or a command.
    Subscribed {
        /// Client identifier.
        client_id: String,
        /// Topic filter, with its `$share` part.
        filter: String,
        /// With the QoS that was granted.
        options: SubscribeOptions,
        /// It has replaced one with the same filter.
        existed: bool,
    },
    /// A session has no such subscription any more, by its client or a command. At the end of a session there is none for
    /// each: [`Note::SessionEnded`] is about all.
    Unsubscribed {
        /// Client identifier.
        client_id: String,
        /// Topic filter, with its `$share` part.
        filter: String,
    },
    /// A message was not delivered to a session. There is one for each that [`crate::Counters::dropped`] counts.
    MessageDropped {
        /// Client identifier of the receiver; empty when its session ended while the message was routed, and when a hook
        /// discarded it.
        client_id: String,
        /// Topic name; empty when only the store had it.
        topic: String,
        /// Why.
        reason: DropReason,
    },
    /// A message was accepted and goes to whoever subscribed, if anybody did.
    MessagePublished {
        /// Client identifier of who published it, or left it as a will; empty for the broker itself.
        client_id: String,
        /// Topic name.
        topic: String,
        /// As it was published.
        qos: QoS,
        /// It is to be the topic's retained message.
        retain: bool,
    },
    /// A PUBLISH left to a client.
    MessageSent {
        /// Client identifier of the receiver.
        client_id: String,
        /// Topic name.
        topic: String,
        /// As it was sent.
        qos: QoS,
        /// It was kept as the topic's retained message, or its receiver wants to know that it was published so.
        retain: bool,
        /// It is sent again, on a new connection.
        dup: bool,
    },
    /// A client has acknowledged a message, with PUBACK or PUBREC.
    MessageAcknowledged {
        /// Client identifier of the receiver.
        client_id: String,
        /// Topic name.
        topic: String,
        /// As it was sent.
        qos: QoS,
    },
    /// A topic has another retained message than before, or none any more.
    RetainedChanged {
        /// Topic name.
        topic: String,
        /// What has become of it.
        change: RetainedChange,
    },
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEnd {
    /// It was not to outlive its connection.
    WithConnection,
    /// Its expiry interval passed.
    Expired,
    /// The client asked for a clean start.
    CleanStart,
    /// An operator ended it.
    Admin,
}

/// What has become of a topic's retained message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetainedChange {
    /// There is another one, or a first one.
    Set,
    /// An empty message has removed it.
    Cleared,
    /// Its time was over.
    Expired,
}
