//! From the bytes of a socket to those of MQTT, and back, without I/O.
//!
//! PROXY header → TLS → HTTP upgrade → WebSocket → MQTT, each where the listener asks for it:
//!
//! * [`Entrance`] — what comes before the first byte of MQTT; ends with a client, a page, or a refusal
//! * [`Layers`] — what is left of it while a client is there: TLS, WebSocket, or both. Plain MQTT has none
//! * [`flush`] — writes through them what the driver has for a client
//! * `proxy`, `http`, `upgrade`, `tls`, `websocket` — the stages, each by itself
//! * [`certificates`] — from files to what TLS needs, and again when they change
//!
//! Bytes may come in any split. No stage keeps what it has handed on, and none has a timer: a host gives the whole
//! entrance one deadline.

pub mod certificates;
mod entrance;
mod http;
mod layers;
mod proxy;
mod tls;
mod upgrade;
mod websocket;

pub use certificates::Certificates;
pub use entrance::{Entered, Entrance, Page, Service, Stages, Step};
pub use http::Response;
pub use layers::{Layers, flush};
pub use upgrade::WebSocketPolicy;

use std::borrow::Cow;
use std::fmt;

/// Why somebody did not get in, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(Cow<'static, str>);

impl Refused {
    pub(crate) fn new(why: impl Into<Cow<'static, str>>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}
