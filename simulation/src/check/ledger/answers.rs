//! Messages that a hook is asked about: without a yes they go nowhere, and what it puts in their place goes instead.

use super::Ledger;
use super::permissions::Rights;
use crate::check::wire::number_in;
use crate::oracle::permissions::may_publish;
use broker_engine::ApplicationMessage;

impl Ledger {
    /// A hook is asked about a message, whose life begins with that.
    pub(in crate::check) fn asked(&mut self, now: u64, number: Option<u32>) {
        if let Some(sent) = number.and_then(|number| self.messages.get_mut(number as usize)) {
            sent.arrived_at = now;
            sent.asked += 1;
        }
    }

    /// The hook says yes: from now on it counts what the client may by then.
    pub(in crate::check) fn allowed(&mut self, number: Option<u32>) {
        let Some(sent) = number.and_then(|number| self.messages.get(number as usize)) else { return };
        let may = self.may_send(sent.link, &sent.publisher, &sent.topic);
        let Some(sent) = number.and_then(|number| self.messages.get_mut(number as usize)) else { return };
        sent.allowed += 1;
        if sent.asked == 1 && !sent.is_strange {
            sent.may = may;
        }
    }

    /// A connection ends; what its client may then counts for messages that hooks are asked about.
    pub(in crate::check) fn leaves(&mut self, link: usize, client_id: &str) {
        if self.asks
            && let Some(rights) = self.limited(client_id)
        {
            self.left.insert(link, rights.clone());
        }
    }

    /// May the client of a connection publish to a topic, or might it when that ended?
    fn may_send(&self, link: usize, client_id: &str, topic: &str) -> bool {
        let may = |rights: &Rights| rights.allow(|permissions| may_publish(permissions, topic));
        let known = self.sessions.get(client_id).filter(|known| known.link == Some(link));
        self.left.get(&link).is_none_or(may) && known.is_none_or(|known| may(&known.rights))
    }

    /// The hook puts another message in its place.
    pub(in crate::check) fn replaced(&mut self, now: u64, number: Option<u32>, with: &ApplicationMessage) {
        let Some(instead) = number_in(&with.payload) else {
            return self.strange(&with.topic, &with.payload);
        };
        let step = self.step();
        let of = number.and_then(|number| self.messages.get_mut(number as usize));
        let (at, step, link) = of.map_or((now, step, usize::MAX), |of| {
            of.instead = Some(instead);
            (of.arrived_at, of.arrived_step, of.link)
        });
        let Some(sent) = self.messages.get(instead as usize) else { return };
        let may = self.may_send(link, &sent.publisher, &sent.topic);
        let Some(sent) = self.messages.get_mut(instead as usize) else { return };
        sent.may |= may;
        (sent.arrived_at, sent.arrived_step, sent.link) = (at, step, link);
        (sent.arrivals, sent.asked, sent.allowed) = (sent.arrivals + 1, 1, 1);
    }

    /// The broker itself publishes a message: nobody is asked, and it may.
    pub(in crate::check) fn announced(&mut self, now: u64, message: &ApplicationMessage) {
        let step = self.step();
        let number = number_in(&message.payload);
        let Some(sent) = number.and_then(|number| self.messages.get_mut(number as usize)) else { return };
        (sent.arrived_at, sent.arrived_step, sent.may) = (now, step, true);
        (sent.arrivals, sent.asked, sent.allowed) = (sent.arrivals + 1, 1, 1);
    }

    /// Which message goes out when this one is acknowledged: itself, what a hook put in its place, or none, as far as the hook
    /// was asked once, or always said the same.
    pub(super) fn decided(&self, now: u64, number: u32) -> Option<u32> {
        if !self.asks {
            return Some(number);
        }
        let sent = self.messages.get(number as usize)?;
        let goes_out = match sent.instead {
            Some(instead) if sent.asked == 1 => instead,
            None if sent.asked > 0 && sent.asked == sent.allowed => number,
            _ => return None,
        };
        // What has expired meanwhile is acknowledged all the same.
        let sent = self.messages.get(goes_out as usize)?;
        let cap = (self.config.max_message_expiry > 0).then_some(self.config.max_message_expiry);
        let life = sent.expiry.into_iter().chain(cap).min();
        let is_over = |life: u32| now.saturating_sub(sent.arrived_at) >= u64::from(life) * 1_000_000;
        (!life.is_some_and(is_over)).then_some(goes_out)
    }
}
