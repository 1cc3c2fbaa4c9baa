//! How the broker's process ends, and another one begins in its place.

use super::outside::RARELY;
use super::{Broker, Host, Table, World};
use crate::check::{Checks, Violation};
use broker_engine::{Command, ConnIds, Input, ListenerId, MemoryStore, StoreSeq};

/// What a host has kept of the broker, and what the world knew of it by then.
pub(super) struct Kept {
    at: u64,
    snapshot: Vec<u8>,
    store: MemoryStore,
    stored: Option<StoreSeq>,
    /// Connections of that time.
    open: Vec<usize>,
    checks: Checks,
}

impl World<'_> {
    /// Between two events.
    pub(super) fn end_sometimes(&mut self) -> Result<(), Violation> {
        let outside = &self.scenario.outside;
        if self.healed {
            return Ok(());
        }
        if self.options.crash.is_some() {
            return self.crash_as_told();
        }
        self.keep_snapshot();
        if self.choices.process.below(RARELY) < u64::from(outside.crash) {
            self.checks.marks.fault("P01");
            if self.is_lasting() {
                return self.crash_into_store();
            }
            // The driver gives no snapshot of its engine away.
            let with_snapshot = self.choices.process.chance(500) && self.options.host == Host::Played;
            return match self.kept.take().filter(|_| with_snapshot) {
                Some(kept) => self.go_back(kept),
                None => self.crash(with_snapshot),
            };
        }
        if self.choices.process.below(RARELY) < u64::from(outside.shutdown) {
            self.checks.marks.fault("P02");
            return self.shut_down();
        }
        Ok(())
    }

    /// As a host does that takes a snapshot now and then.
    fn keep_snapshot(&mut self) {
        let every = self.scenario.outside.snapshot_every;
        let is_due = self.kept.as_ref().is_none_or(|kept| self.now >= kept.at.saturating_add(every));
        if every == 0 || !is_due || self.is_lasting() {
            return;
        }
        let Broker::Engine(engine) = &self.broker else { return };
        self.kept = Some(Box::new(Kept {
            at: self.now,
            snapshot: engine.snapshot(),
            store: self.store.clone(),
            stored: self.stored,
            open: self.open_links(),
            checks: self.checks.clone(),
        }));
    }

    pub(super) fn open_links(&self) -> Vec<usize> {
        (0..self.links.len()).filter(|link| self.links[*link].broker).collect()
    }

    /// The process ends without a word, and another one goes on from an earlier snapshot: whatever has happened since is
    /// nothing to it, and was something to its clients.
    fn go_back(&mut self, kept: Box<Kept>) -> Result<(), Violation> {
        self.trace.line(self.now, "a crash, with an earlier snapshot");
        self.checks.marks.hit("an engine from an earlier snapshot");
        for link in self.open_links() {
            self.end_of_process(link);
            self.links[link].broker = false;
            self.ids.release(self.links[link].conn);
        }
        let Kept { at, snapshot, store, stored, open, checks } = *kept;
        self.life += 1;
        self.next.clear();
        (self.store, self.stored) = (store, stored);
        self.checks.go_back(checks, at, self.now);
        self.restore_from(&snapshot)?;
        // Whoever was connected then is not any more.
        self.by_conn = Table::default();
        for link in &open {
            self.by_conn.insert(self.links[*link].conn, *link);
            self.links[*link].broker = true;
        }
        self.say_lost(open)?;
        self.say_stored(stored)
    }

    /// The process ends without a word. A snapshot of that moment brings everything back but connections; without one
    /// everything is gone, as nothing else keeps it.
    fn crash(&mut self, with_snapshot: bool) -> Result<(), Violation> {
        self.trace.line(self.now, if with_snapshot { "a crash, with a snapshot" } else { "a crash" });
        let open = self.open_links();
        for link in &open {
            self.end_of_process(*link);
        }
        if !with_snapshot {
            self.begin_anew();
            return Ok(());
        }
        self.life += 1;
        let stored = self.stored;
        self.restore()?;
        self.say_lost(open)?;
        self.say_stored(stored)
    }

    /// Another process tells the engine of connections that ended with the one before.
    fn say_lost(&mut self, links: Vec<usize>) -> Result<(), Violation> {
        for link in links {
            // What ends in the same microsecond has no order.
            self.now += 1;
            self.broker_has_lost(link, false)?;
        }
        self.settle()
    }

    /// Another process tells the engine what the store has, as nobody else is going to.
    fn say_stored(&mut self, stored: Option<StoreSeq>) -> Result<(), Violation> {
        match stored {
            Some(upto) => self.handle(Input::Stored { upto }),
            None => Ok(()),
        }
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
        if self.is_lasting() {
            self.trace.line(self.now, "another process begins from the store");
            // All that was handed over is kept first, unless there is no room for it.
            let kept = if self.now < self.keeper.full_until { 0 } else { self.keeper.waiting() };
            self.begin_from_store(kept)?;
            return self.handle(Input::Tick);
        }
        if self.choices.restart.chance(500) && self.options.host == Host::Played {
            self.trace.line(self.now, "another process goes on from its snapshot");
            self.life += 1;
            if self.scenario.clients.iter().any(|client| client.will.is_some()) {
                // The engine alone knows whose connection ended first, and so who was still there for whose will.
                self.checks.stop_following();
            }
            self.restore()?;
            return self.say_stored(self.stored);
        }
        self.begin_anew();
        Ok(())
    }

    /// Another process, with nothing of the one before.
    fn begin_anew(&mut self) {
        self.life += 1;
        let config = self.broker.view().config().clone();
        self.broker = Broker::new(config, self.scenario.seed, &self.options, &self.agreeable);
        for link in 0..self.links.len() {
            if std::mem::replace(&mut self.links[link].broker, false) {
                self.checks.lost(link);
            }
        }
        (self.by_conn, self.ids) = (Table::default(), ConnIds::new());
        (self.store, self.stored) = (MemoryStore::new(), None);
        self.next.clear();
        self.kept = None;
        self.checks.begin_anew();
    }
}
