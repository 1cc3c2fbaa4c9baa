//! Topics: who subscribed to what, and which topics have a retained message.
//!
//! * [`index`] — filters and their subscribers, plain ones and groups; exact filters by lookup
//! * [`groups`] — shared groups, by topic filter and share name
//! * [`trie`] — filters with wildcards, level by level
//! * [`cache`] — wildcard matches remembered by topic name
//! * [`watch`] — lists of subscribers as of one moment, for a fan-out that takes long
//! * [`retained`] — values by topic name, found by filter, page by page

mod cache;
mod groups;
mod index;
mod retained;
mod trie;
mod watch;

pub(crate) use groups::GroupId;
pub(crate) use index::{EntryRef, FilterId, Matching, SubscriptionIndex};
pub(crate) use retained::{RetainedKey, RetainedStore, ScanStep, is_own};

#[cfg(test)]
mod tests;
