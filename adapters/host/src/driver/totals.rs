//! Totals, with those of earlier processes where a store keeps them.

use super::{Driver, Kept};
use broker_engine::Counters;
use metronome_storage::Totals;

impl Driver {
    /// What was counted; by earlier processes too, if there is [`Driver::go_on_from`].
    pub fn counters(&self) -> Counters {
        self.sys_topics.counters(self.engine.view())
    }

    /// Totals go on from what earlier processes have counted, and the durable store is to keep them: call
    /// [`Driver::keep_totals`] every [`crate::totals::INTERVAL`], and at the end.
    pub fn go_on_from(&mut self, earlier: Totals) {
        self.sys_topics.go_on_from(earlier);
    }

    /// Hands the durable store what was counted, if that has changed. Says whether totals are kept at all.
    pub fn keep_totals(&mut self) -> bool {
        let Kept::Durably(keeper) = &self.store else { return false };
        if let Some(totals) = self.sys_topics.news_for_the_store(self.engine.view()) {
            keeper.keep_totals(totals);
        }
        self.sys_topics.is_lasting()
    }
}
