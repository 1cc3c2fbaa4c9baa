//! What the engine tells of retained messages: who listens knows which topics have one.

use super::wire::Wrong;
use super::{Counts, Returned};
use broker_engine::{Note, RetainedChange, StoreOp, View};
use std::collections::BTreeSet;

/// Topics with a retained message, by what the engine tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Retained {
    topics: BTreeSet<String>,
    /// The process began with some of which nobody was told whether they are still alive.
    is_open: bool,
}

impl Retained {
    /// Another process has begun with these.
    pub(super) fn begins_from(&mut self, from: &Returned<'_>) {
        let kept = from.records.iter().filter_map(|record| match record {
            StoreOp::PutRetained { topic, .. } => Some(topic.clone()),
            _ => None,
        });
        self.topics = kept.collect();
        self.is_open = self.topics.len() != from.engine.view().retained();
    }

    /// Behind a call of the engine.
    pub(super) fn told(&mut self, notes: &[Note], view: View<'_>, counts: &mut Counts) -> Result<(), Wrong> {
        for note in notes {
            let Note::RetainedChanged { topic, change } = note else { continue };
            let is_there = if *change == RetainedChange::Set {
                self.topics.insert(topic.clone());
                true
            } else {
                self.topics.remove(topic)
            };
            if !is_there && !self.is_open {
                return Err(("INV-30", format!("{topic} is told to be {change:?}, and had no message")));
            }
        }
        if self.is_open {
            return Ok(());
        }
        counts.look("INV-30");
        let (told, kept) = (self.topics.len(), view.retained());
        if told == kept {
            return Ok(());
        }
        Err(("INV-30", format!("{kept} retained messages are kept, {told} are told of")))
    }
}
