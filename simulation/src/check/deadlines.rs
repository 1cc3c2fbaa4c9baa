//! What the engine has to do by a certain time: give up on clients that are silent, answer those that are not.

use super::wire::{Wire, Wires};
use super::{Counts, Violation};
use broker_engine::Config;

impl Wires {
    /// Behind a call of the engine, by which everything that was due has happened.
    pub(super) fn in_time(&self, now: u64, config: &Config, counts: &mut Counts) -> Result<(), Violation> {
        for wire in self.open() {
            if let Err((name, detail)) = wire.in_time(now, config, counts) {
                return Err(Violation::new(name, now, format!("client {}: {detail}", wire.client)));
            }
        }
        Ok(())
    }
}

impl Wire {
    fn in_time(&self, now: u64, config: &Config, counts: &mut Counts) -> Result<(), super::wire::Wrong> {
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
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
            let is_late = now >= self.last_flow + micros(config.hook_timeout);
            return if is_late { Err(("LIV-2", since("no CONNACK", self.last_flow))) } else { Ok(()) };
        }
        counts.look("INV-53");
        if self.garbled {
            return Err(("INV-53", "what cannot be understood does not end the connection".to_owned()));
        }
        let patience = u64::from(greeting.keep_alive) * 1_500_000;
        let heard = self.last_packet.max(self.last_flow);
        if patience > 0 && !self.paused {
            counts.look("INV-27");
            if now >= heard + patience {
                return Err(("INV-27", since("silent", heard)));
            }
        }
        Ok(())
    }
}
