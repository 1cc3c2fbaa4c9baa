//! Which subscriptions surely are in force: from SUBACK until the client, or the operator, asks for something else.

use super::Ledger;
use mqtt_proto::{ReasonCode, SubscribeOptions};

/// Where filters with wildcards are kept.
pub(super) const WILD: &str = "#";

/// A subscription that surely is in force.
#[derive(Clone, Debug)]
pub(super) struct Surely {
    pub(super) qos: u8,
    pub(super) no_local: bool,
    pub(super) since: u64,
}

impl Ledger {
    /// A SUBSCRIBE came: what it replaces is uncertain for a while.
    pub(in crate::check) fn subscribing(&mut self, client_id: &str, filters: &[(String, SubscribeOptions)]) {
        let known = self.session(client_id);
        for (filter, options) in filters {
            let qos = options.qos as u8;
            let ever = known.ever.entry(filter.clone()).or_default();
            *ever = qos.max(*ever);
            known.ending.remove(filter);
            if let Some(surely) = known.surely.get_mut(filter) {
                surely.qos = surely.qos.min(qos);
                surely.no_local |= options.no_local;
            }
        }
    }

    pub(in crate::check) fn subscribed(
        &mut self,
        client_id: &str,
        filter: &str,
        options: SubscribeOptions,
        code: ReasonCode,
    ) {
        let since = self.step();
        if code.is_error() {
            return;
        }
        let key = if filter.contains(['+', '#']) { WILD } else { filter };
        self.interested.entry(key.to_owned()).or_default().insert(client_id.to_owned());
        let known = self.session(client_id);
        let surely = Surely { qos: code as u8, no_local: options.no_local, since };
        known.surely.insert(filter.to_owned(), surely);
    }

    pub(in crate::check) fn unsubscribing(&mut self, client_id: &str, filters: &[String]) {
        let known = self.session(client_id);
        for filter in filters {
            match known.surely.remove(filter) {
                Some(surely) => known.ending.insert(filter.clone(), surely),
                None => known.ending.remove(filter),
            };
        }
    }

    /// The client may not end this subscription: what came meanwhile may have come before that was said.
    pub(in crate::check) fn stays_subscribed(&mut self, client_id: &str, filter: &str) {
        let since = self.step();
        let known = self.session(client_id);
        if let Some(surely) = known.ending.remove(filter) {
            known.surely.insert(filter.to_owned(), Surely { since, ..surely });
        }
    }
}
