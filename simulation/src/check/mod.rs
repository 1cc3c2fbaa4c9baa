//! What must hold, whatever happens. Every statement has the name that the catalogue of invariants gives it, says so
//! when it fails, and counts how often it was looked at: what is never looked at shows nothing.
//!
//! * `wire` — each connection by itself: what goes in and out of the engine
//! * `ledger` — messages and sessions: who has to get what, and who got it
//! * `marks` — things that a campaign must have seen at least once

mod ledger;
mod marks;
mod wire;

pub use marks::{MARKS, Marks};

use crate::trace::Trace;
use broker_engine::{Config, Engine, Note};
use ledger::Ledger;
use std::collections::BTreeMap;
use std::fmt;
use wire::Wires;

/// Something that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which statement.
    pub invariant: &'static str,
    /// When, virtual microseconds.
    pub at: u64,
    /// What was seen.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, at: u64, detail: impl Into<String>) -> Self {
        Self { invariant, at, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.6} s: {}", self.invariant, crate::trace::seconds(self.at), self.detail)
    }
}

/// Every statement that is looked at here, and what it says.
pub const INVARIANTS: [(&str, &str); 22] = [
    ("INV-01", "QoS 1 and 2: who subscribed gets what was acknowledged, or a drop is counted for it"),
    ("INV-02", "no message is first sent twice to a session, unless its publisher sent it twice"),
    ("INV-04", "every message that goes out is one that came in, unchanged, and matches a subscription"),
    ("INV-05", "no message goes out with a higher QoS than it came with, or than was granted"),
    ("INV-07", "every PUBLISH above QoS 0 gets its own kind of acknowledgement"),
    ("INV-10", "an expired message is not sent for the first time, and its interval does not grow"),
    ("INV-11", "messages of one publisher, topic and QoS are first sent in their order"),
    (
        "INV-12",
        "what is sent again was sent on an earlier connection, under the same identifier; nothing else has DUP",
    ),
    ("INV-13", "acknowledgements leave in the order of what they acknowledge"),
    ("INV-14", "no identifier is in use twice"),
    ("INV-15", "no more in flight than the client's Receive Maximum"),
    ("INV-17", "no packet is larger than the client takes"),
    ("INV-18", "topic aliases are defined before they are used, and stay within the client's maximum"),
    ("INV-22", "Session Present says whether there was a session"),
    ("INV-26", "a will is not sent after DISCONNECT, and not twice"),
    ("INV-27", "nobody is closed for silence before one and a half keep-alive periods"),
    ("INV-50", "what goes out are whole, valid packets of the connection's version"),
    ("INV-51", "CONNACK comes first and once, and nothing after DISCONNECT"),
    ("INV-66", "nothing is left when everybody has gone"),
    ("INV-73", "an engine from its snapshot goes on as if nothing had happened"),
    ("INV-90", "the engine's own accounts add up"),
    ("LIV-1", "once nothing goes wrong any more, queues run empty and everything is answered"),
];

/// How often each statement was looked at.
#[derive(Clone, Debug, Default)]
pub struct Counts([u64; INVARIANTS.len()]);

impl Counts {
    /// Looks at one. A name that is not in the list is a mistake of the caller.
    pub(crate) fn look(&mut self, name: &'static str) {
        if let Some(at) = INVARIANTS.iter().position(|(known, _)| *known == name) {
            self.0[at] += 1;
        }
    }

    /// By name.
    pub fn by_name(&self) -> BTreeMap<&'static str, u64> {
        INVARIANTS.iter().zip(self.0).map(|((name, _), count)| (*name, count)).collect()
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

/// All checkers of a run.
#[derive(Debug)]
pub struct Checks {
    /// How often what was looked at.
    pub counts: Counts,
    /// What was seen.
    pub marks: Marks,
    pub(crate) ledger: Ledger,
    wires: Wires,
    /// Calls at one time without anything but work.
    idle: (u64, u32),
    /// Worlds of this size and above are recounted now and then, smaller ones after every call.
    large: bool,
}

impl Checks {
    pub(crate) fn new(config: &Config, clients: usize) -> Self {
        Self {
            counts: Counts::default(),
            marks: Marks::default(),
            ledger: Ledger::new(config),
            wires: Wires::new(config),
            idle: (0, 0),
            large: clients > 50,
        }
    }

    pub(crate) fn opened(&mut self, link: usize, client: usize) {
        self.wires.opened(link, client);
    }

    /// Bytes that the engine is about to get.
    pub(crate) fn fed(&mut self, now: u64, link: usize, bytes: &[u8], trace: &mut Trace) {
        self.wires.fed(now, link, bytes, &mut self.ledger, &mut self.marks, trace);
    }

    /// A packet that the engine has sent.
    pub(crate) fn emitted(
        &mut self,
        now: u64,
        link: usize,
        bytes: &[u8],
        trace: &mut Trace,
    ) -> Result<(), Violation> {
        self.wires.emitted(now, link, bytes, &mut self.ledger, &mut self.counts, &mut self.marks, trace)
    }

    /// The engine has closed.
    pub(crate) fn closed(&mut self, link: usize) {
        self.wires.closed(link, &mut self.ledger);
    }

    /// The transport is gone.
    pub(crate) fn lost(&mut self, link: usize) {
        self.wires.closed(link, &mut self.ledger);
    }

    pub(crate) fn noted(&mut self, note: &Note) {
        self.ledger.noted(note, &mut self.marks);
    }

    pub(crate) fn after_call(&mut self, now: u64, engine: &Engine, calls: u64) -> Result<(), Violation> {
        if !self.large || calls.is_multiple_of(1 << 14) {
            self.counts.look("INV-90");
            engine.view().verify().map_err(|what| Violation::new("INV-90", now, what))?;
        }
        // No livelock: time goes on.
        self.idle = if self.idle.0 == now { (now, self.idle.1 + 1) } else { (now, 0) };
        if self.idle.1 > 50_000_000 {
            return Err(Violation::new("LIV-1", now, "the engine never comes to rest"));
        }
        Ok(())
    }

    /// All faults have ended long ago.
    pub(crate) fn everything_arrived(&mut self, now: u64, engine: &Engine) -> Result<(), Violation> {
        self.wires.all_answered(now, &mut self.counts)?;
        self.ledger.all_delivered(now, engine, &mut self.counts)
    }

    /// Everybody has gone for good.
    pub(crate) fn nothing_is_left(&mut self, now: u64, engine: &Engine) -> Result<(), Violation> {
        self.counts.look("INV-66");
        let view = engine.view();
        let left = [
            ("transports", view.transports()),
            ("sessions", view.sessions()),
            ("subscriptions", view.subscriptions()),
            ("retained messages", view.retained()),
            ("messages", view.messages()),
            ("timers", view.timers()),
            ("bytes of input", view.input_bytes()),
        ];
        match left.iter().find(|(_, count)| *count > 0) {
            Some((what, count)) => Err(Violation::new("INV-66", now, format!("{count} {what} are left"))),
            None => Ok(()),
        }
    }
}
