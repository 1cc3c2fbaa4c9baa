//! How the broker's process ends, and another one begins in its place.

use super::outside::RARELY;
use super::{Broker, Host, Table, World};
use crate::check::Violation;
use broker_engine::{Command, ConnIds, Input, ListenerId, MemoryStore};

impl World<'_> {
    /// Between two events.
    pub(super) fn end_sometimes(&mut self) -> Result<(), Violation> {
        let outside = &self.scenario.outside;
        if self.healed {
            return Ok(());
        }
        if self.choices.process.below(RARELY) < u64::from(outside.crash) {
            self.checks.marks.fault("P01");
            // The driver gives no snapshot of its engine away.
            let with_snapshot = self.choices.process.chance(500) && self.options.host == Host::Played;
            return self.crash(with_snapshot);
        }
        if self.choices.process.below(RARELY) < u64::from(outside.shutdown) {
            self.checks.marks.fault("P02");
            return self.shut_down();
        }
        Ok(())
    }

    /// The process ends without a word. A snapshot of that moment brings everything back but connections; without one
    /// everything is gone, as nothing else keeps it.
    fn crash(&mut self, with_snapshot: bool) -> Result<(), Violation> {
        self.trace.line(self.now, if with_snapshot { "a crash, with a snapshot" } else { "a crash" });
        let open: Vec<usize> = (0..self.links.len()).filter(|link| self.links[*link].broker).collect();
        for link in &open {
            self.end_of_process(*link);
        }
        if !with_snapshot {
            self.begin_anew();
            return Ok(());
        }
        self.life += 1;
        self.restore()?;
        for link in open {
            // What ends in the same microsecond has no order.
            self.now += 1;
            self.broker_has_lost(link, false)?;
        }
        self.settle()
    }

    /// Every client is told, a second call does nothing, and nobody is let in any more, until another process begins: with
    /// what the first one left behind, or with nothing.
    fn shut_down(&mut self) -> Result<(), Violation> {
        self.trace.line(self.now, "the broker shuts down");
        self.checks.shutting_down = true;
        self.handle(Input::Command(Command::Shutdown))?;
        let sent = self.sent;
        self.handle(Input::Command(Command::Shutdown))?;
        let conn = self.accept(None);
        self.handle(Input::Opened { conn, listener: ListenerId(0), peer: None })?;
        self.checks.counts.look("LIV-6");
        let open = self.broker.view().transports();
        if open > 0 || self.sent > sent {
            let detail = format!("{open} transports are open behind the shutdown, or something was sent");
            return Err(Violation::new("LIV-6", self.now, detail));
        }
        self.checks.shutting_down = false;
        self.let_go(conn);
        if self.choices.restart.chance(500) && self.options.host == Host::Played {
            self.trace.line(self.now, "another process goes on from its snapshot");
            self.life += 1;
            return self.restore();
        }
        self.begin_anew();
        Ok(())
    }

    /// Another process, with nothing of the one before.
    fn begin_anew(&mut self) {
        self.life += 1;
        let config = self.broker.view().config().clone();
        self.broker = Broker::new(config, self.scenario.seed, &self.options);
        for link in 0..self.links.len() {
            if std::mem::replace(&mut self.links[link].broker, false) {
                self.checks.lost(link);
            }
        }
        (self.by_conn, self.ids, self.store) = (Table::default(), ConnIds::new(), MemoryStore::new());
        self.next.clear();
        self.checks.begin_anew();
    }
}
