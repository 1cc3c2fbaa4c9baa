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
//! * [`accounts`] — user names and hashes in the layout of gmqtt's accounts
//! * [`passwords`] — how passwords are stored and checked
//!
//! Nothing here keeps a state, waits or has a clock: equal rules and facts give equal decisions. Checking a password
//! is slow on purpose, and [`Rules`] can be shared between threads, so a host does it away from its broker's thread.
//!
//! # A reload that fails keeps the old rules
//!
//! ```
//! use metronome_hooks::{Rules, Source};
//!
//! /// Replaces the rules, unless a file cannot be used: then those that were there stay in force.
//! fn reload(rules: &mut Rules, sources: &[Source]) {
//!     match Rules::load(sources) {
//!         Ok(new) => *rules = new,
//!         Err(error) => eprintln!("the old rules stay: {error}"),
//!     }
//! }
//!
//! let mut rules = Rules::load(&[Source::Ledger("examples/ledger.yaml".into())])?;
//! let before = rules.generation();
//! reload(&mut rules, &[Source::Ledger("examples/no-such-file.yaml".into())]);
//! assert_eq!(rules.generation(), before);
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

pub mod accounts;
mod criteria;
pub mod ledger;
pub mod mosquitto;
pub mod passwords;
mod permissions;
mod rules;
mod source;
mod topics;

pub use broker_engine::{Permission, Permissions};
pub use criteria::{ClientFacts, Text};
pub use permissions::Access;
pub use rules::{Rules, Verdict};
pub use source::{LoadError, Source};
pub use topics::Pattern;

/// The example of the front page is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
