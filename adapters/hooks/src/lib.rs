//! Who may connect, and who may publish and read what: files of rules, and the decisions that follow from them.
//!
//! * [`Rules`] — the one surface: [`authenticate`](Rules::authenticate), [`may`](Rules::may),
//!   [`may_subscribe`](Rules::may_subscribe)
//! * [`Permissions`] — what one client may, to be kept for as long as it is connected
//! * `topics` — topic filters of rules, with placeholders
//! * `criteria` — which clients a rule is about
//! * [`Source`] — the files that rules are read from, and [`LoadError`], which says what is wrong with one
//! * [`ledger`] — users and rules in the layout of Mochi's auth ledger, and how it differs from that
//! * [`mosquitto`] — `password_file` and `acl_file`
//! * [`layouts`] — configuration files of Mochi and gmqtt
//! * [`accounts`] — user names and hashes in the layout of gmqtt's accounts
//! * [`passwords`] — how passwords are stored and checked
//! * [`AccessControl`] — rules as a hook of the broker
//! * [`Scram`] — enhanced authentication with SCRAM-SHA-256, as a hook
//! * [`Jwt`] — letting in by tokens, as a hook, and [`JwtKeys`], which check them
//! * [`webhook`] — asking a web service
//! * [`PacketLog`] — what clients and broker say to each other, as a hook that writes it down
//! * [`RuleFiles`] — files that are read again when they change, and [`RulesInForce`], which follow
//! * `checkers` — threads on which passwords are and signatures checked and services asked
//!
//! [`Rules`] keep no state, wait for nothing and have no clock: equal rules and facts give equal decisions. Checking a
//! password is slow on purpose, so the hook does it away from the broker's thread.
//!
//! # A reload that fails keeps the old rules
//!
//! ```
//! use metronome_hooks::{RuleFiles, Source};
//!
//! let mut files = RuleFiles::load(vec![Source::Ledger("examples/ledger.yaml".into())])?;
//! let rules = files.rules();
//! // Later, when `files.have_changed()`:
//! match files.reload() {
//!     Ok(_) => println!("the rules of generation {} hold", rules.get().generation()),
//!     Err(error) => eprintln!("the old rules stay: {error}"),
//! }
//! # Ok::<(), metronome_hooks::LoadError>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable,
        clippy::todo
    )
)]

mod access_control;
pub mod accounts;
mod checkers;
mod criteria;
mod files;
mod in_force;
mod jwt;
pub mod layouts;
pub mod ledger;
pub mod mosquitto;
mod packet_log;
pub mod passwords;
mod permissions;
mod rules;
mod scram;
mod source;
mod topics;
pub mod webhook;

pub use access_control::AccessControl;
pub use broker_engine::{Permission, Permissions};
pub use criteria::{ClientFacts, Text};
pub use files::{RuleFiles, sources};
pub use in_force::RulesInForce;
pub use jwt::{Jwt, JwtKeys};
pub use packet_log::PacketLog;
pub use permissions::Access;
pub use rules::{Rules, Verdict};
pub use scram::Scram;
pub use source::{LoadError, Source};
pub use topics::Pattern;
pub use webhook::Webhook;

/// The example of the front page is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
