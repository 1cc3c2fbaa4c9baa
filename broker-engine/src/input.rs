//! Everything that can happen to the broker, as values.

use crate::application_message::ApplicationMessage;
use crate::hooks::Answer;
use crate::ids::{CallId, ConnId, ListenerId};
use crate::outbox::Flow;
use crate::permissions::Permissions;
use crate::storage::{StorePressure, StoreSeq, StoredDelivery};
use alloc::{string::String, vec::Vec};
use core::net::SocketAddr;
use mqtt_proto::{ReasonCode, SubscribeOptions};
use serde::{Deserialize, Serialize};

/// One event for [`crate::Engine::handle`].
#[derive(Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A transport connection is ready for MQTT bytes; the connect deadline starts.
    Opened {
        /// From [`crate::ConnIds::allocate`].
        conn: ConnId,
        /// Where it was accepted.
        listener: ListenerId,
        /// The client's address where there is one.
        peer: Option<SocketAddr>,
    },
    /// Bytes from the client, in any split.
    Received {
        /// The connection.
        conn: ConnId,
        /// The bytes; borrowed only for this call.
        data: &'a [u8],
    },
    /// MQTT bytes sent to `conn` that its socket has not taken yet. Reported when a flush fell short, and once
    /// more with a smaller number (0 when empty) as it drains.
    Backlog {
        /// The connection.
        conn: ConnId,
        /// MQTT bytes waiting in the host.
        unsent: u32,
    },
    /// The transport is gone without the engine having asked for it. Everything that came from it was handed over
    /// before. The engine has no more to say about this connection; its identifier may be used again.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        cause: CloseCause,
    },
    /// An answer to a question from [`crate::Outbox::calls`].
    Reply {
        /// The question.
        call: CallId,
        /// Its answer; one of the wrong kind counts as host misuse and denies.
        answer: Answer,
    },
    /// All store operations up to and including this one are kept.
    Stored {
        /// Cumulative.
        upto: StoreSeq,
    },
    /// A store operation failed for good; whatever waits for it is never acknowledged.
    StoreFailed {
        /// The first operation that was not kept.
        seq: StoreSeq,
    },
    /// A page of a queue, as [`crate::StoreOp::Fetch`] asked for it. An empty one says that nothing is there.
    Loaded {
        /// Number of the question.
        fetch: StoreSeq,
        /// In order of position, none before the one asked for.
        deliveries: Vec<StoredDelivery>,
    },
    /// The host has stopped reading from everybody, or goes on. Nobody can be heard meanwhile, so silence says nothing.
    Reads(Flow),
    /// What the store can still take, whenever that changes.
    StoreSpace(StorePressure),
    /// Wall clock, Unix microseconds. Nothing depends on it: stored facts carry durations, and stores know the time.
    WallClock(u64),
    /// Something that the embedding program or operator wants.
    Command(Command),
    /// Time passed; see [`crate::Engine::next_deadline`].
    Tick,
}

/// Why a transport ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CloseCause {
    /// The peer ended its stream.
    PeerClosed,
    /// Reset, time-out or other transport fault.
    Fault,
}

/// What an operator or embedding program can ask for.
#[derive(Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command {
    /// Publish as the broker itself; no session, no permission question. `$SYS/` is allowed.
    Publish(ApplicationMessage),
    /// Disconnect a client by its identifier; a will stays due unless the reason is `Success`.
    Disconnect {
        /// Client identifier.
        client_id: String,
        /// Sent to MQTT 5 clients.
        reason: ReasonCode,
        /// Also end the session at once.
        end_session: bool,
    },
    /// From now on a client may publish and read so much; `None` is everything. Also for what waits for it or was sent and
    /// not acknowledged, and for its will. It holds until the client authenticates again.
    SetPermissions {
        /// Client identifier.
        client_id: String,
        /// In place of those so far.
        permissions: Option<Permissions>,
    },
    /// Tell every client 0x8B, close, and accept nobody from now on. A second one changes nothing. It is not in a
    /// snapshot: an engine that is restored from one accepts clients.
    Shutdown,
    /// Subscribe for a session by its client identifier, within the limits of all; nobody is asked, and the client, where
    /// it is connected, is not told. Without the session, nothing happens.
    Subscribe {
        /// Client identifier.
        client_id: String,
        /// Topic filter.
        filter: String,
        /// As the client would ask for it.
        options: SubscribeOptions,
        /// Subscription Identifier, if any.
        subscription_id: Option<u32>,
    },
    /// End a session's subscription; the client is not told. What was routed before is still sent.
    Unsubscribe {
        /// Client identifier.
        client_id: String,
        /// Topic filter.
        filter: String,
    },
    /// Change a client that was seen before, whose identifier may be somebody else's by now: nothing happens unless its
    /// session still has the same connection, or none.
    Revise {
        /// Client identifier.
        client_id: String,
        /// The connection that the client had; `None` if it was away.
        conn: Option<ConnId>,
        /// What is to be done.
        change: Change,
    },
}

/// What [`Command::Revise`] does to a client.
#[derive(Debug, Serialize, Deserialize)]
pub enum Change {
    /// As [`Command::SetPermissions`] does.
    Permissions(Option<Permissions>),
    /// As [`Command::Disconnect`] does; its session goes on.
    Disconnect(ReasonCode),
}
