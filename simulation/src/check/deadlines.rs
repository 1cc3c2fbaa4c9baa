//! What the engine has to do by a certain time: give up on clients that are silent, answer those that are not.

use super::wire::{Wire, Wires, Wrong};
use super::{Counts, Violation};
use broker_engine::{Config, Durability};
use std::time::Duration;

/// How long publishers may be slowed down where memory is short.
const SLOWED: u64 = 60_000_000;

/// When the world stood still, and for how long: hooks and the store answer so much later.
#[derive(Clone, Debug, Default)]
pub(super) struct Standstills(Vec<(u64, u64)>);

impl Standstills {
    pub(super) fn begin(&mut self, now: u64, pause: u64) {
        self.0.push((now, pause));
    }

    /// For how long since then, which may be in the midst of one.
    pub(super) fn since(&self, then: u64) -> u64 {
        let later = self.0.iter().rev().take_while(|(at, pause)| at + pause > then);
        later.map(|(at, pause)| (at + pause - then).min(*pause)).sum()
    }
}

impl Wires {
    /// Behind a call of the engine, by which everything that was due has happened. Where it `works` on, packets may wait for
    /// what is left of that: they are handled in its next calls, at the same time.
    pub(super) fn in_time(
        &self,
        now: u64,
        config: &Config,
        standstills: &Standstills,
        works: bool,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        let nobody_waits = config.durability == Durability::Memory && config.memory_high.is_none();
        // Everything is answered at once, but for who is asked about.
        let at_once = nobody_waits && !works && self.followed().any(|wire| wire.is_asked(now));
        // Hooks and the store stand still with the world, and with them whatever waits for them. Publishers are slowed
        // down one packet after the other.
        let slowed = config.memory_high.map_or(0, |_| SLOWED);
        let patience =
            |since: u64| micros(config.hook_timeout) + self.slowest_store + slowed + standstills.since(since);
        for wire in self.followed() {
            let mut holds = wire.in_time(now, config, patience, works, counts);
            if at_once && holds.is_ok() {
                holds = wire.undelayed(now, counts);
            }
            if let Err((name, detail)) = holds {
                return Err(Violation::new(name, now, format!("client {}: {detail}", wire.client)));
            }
        }
        Ok(())
    }
}

impl Wire {
    /// `patience`: for what has waited since a time.
    fn in_time(
        &self,
        now: u64,
        config: &Config,
        patience: impl Fn(u64) -> u64,
        works: bool,
        counts: &mut Counts,
    ) -> Result<(), Wrong> {
        let since = |what: &str, from: u64| format!("{what} for {} us", now - from);
        let Some(greeting) = &self.greeting else {
            counts.look("INV-28");
            let is_late = now >= self.opened_at + micros(config.connect_timeout);
            return if is_late && !self.garbled {
                Err(("INV-28", since("no CONNECT", self.opened_at)))
            } else {
                Ok(())
            };
        };
        if !self.online {
            counts.look("LIV-2");
            // Who is asked for more has to answer first.
            let is_late = !self.is_asked && now >= self.last_flow + patience(self.last_flow);
            return if is_late { Err(("LIV-2", since("no CONNACK", self.last_flow))) } else { Ok(()) };
        }
        counts.look("INV-53");
        // Behind a question it waits like everything else, behind a fan-out, and behind a PUBLISH when memory is short.
        let is_slowed = config.memory_high.is_some()
            && (self.paused || now < self.last_packet + patience(self.last_packet));
        if self.garbled && !self.is_asked(now) && !is_slowed && !works {
            return Err(("INV-53", "what cannot be understood does not end the connection".to_owned()));
        }
        let silence = u64::from(greeting.keep_alive) * 1_500_000;
        // Whether what waits behind a question is a packet is not known before.
        let last = if self.is_asked(now) { self.last_bytes } else { self.last_packet };
        let flow = self.last_flow.max(self.gave_up_asking(now));
        let heard = last.max(flow);
        if silence > 0 && !self.paused {
            counts.look("INV-27");
            if now >= heard + silence {
                return Err(("INV-27", since("silent", heard)));
            }
        }
        counts.look("LIV-2");
        if let Some((what, _)) = self.unanswered().filter(|_| !self.hostile && !works) {
            // Who is not read is not waited for, unless it is for a hook.
            let is_read = !self.paused || self.is_asked(now);
            let waits = self.asked_at.or(is_read.then(|| self.waiting_since.max(flow)));
            if let Some(from) = waits.filter(|from| now >= from + patience(*from)) {
                return Err(("LIV-2", format!("{what} is not answered within {} us", patience(from))));
            }
        }
        Ok(())
    }

    /// While a question about somebody else is open.
    fn undelayed(&self, now: u64, counts: &mut Counts) -> Result<(), Wrong> {
        if !self.online || self.paused || self.hostile || self.is_asked(now) {
            return Ok(());
        }
        counts.look("INV-93");
        match self.unanswered() {
            Some((what, count)) => {
                Err(("INV-93", format!("{count} {what} wait, and no question is about it")))
            }
            None => Ok(()),
        }
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
