//! Delivery: from a message to frames in the outbox.
//!
//! * [`message`] — messages, borrowed while routed, kept once while needed
//! * [`route`] — a message to all who get it; whose turn it is in a shared group
//! * [`recipients`] — who gets a message, one after the other
//! * [`fanout`] — fan-outs too large for one call
//! * [`deliver`] — one message for one session: sent, queued or dropped
//! * [`drops`] — what is given up: counted, and told of
//! * [`notes`] — what is told of messages
//! * [`handing_on`] — what a session that ends leaves to other members of a shared group
//! * [`drain`] — queues and resends, as far as quota and socket allow
//! * [`paging`] — the part of a long queue that only the store has
//! * [`retained`] — retained messages: kept, and sent to new subscriptions page by page
//! * [`encode`] — frames: control packets, templates, own copies, topic aliases

mod deliver;
mod drain;
mod drops;
mod encode;
mod fanout;
mod handing_on;
mod message;
mod notes;
mod paging;
mod recipients;
mod retained;
mod route;

pub(crate) use encode::{Aliases, stored_publish};
pub(crate) use fanout::Fanouts;
pub(crate) use message::{Expiry, MessageStore, Publication, read_stored};
pub use retained::RetainedPage;
pub(crate) use retained::{Retained, RetainedScans};
pub(crate) use route::{Recipient, Routed, Scratch};

use crate::ids::ConnId;
use serde::{Deserialize, Serialize};

/// Work that was sliced and goes on in later calls, first come first served.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// The first of [`Fanouts`].
    Fanout,
    /// A connection that can take more of its session's queue.
    Drain(ConnId),
    /// A connection that has retained messages coming.
    Retained(ConnId),
}
