//! When the tokens of connected clients expire, and what becomes of who holds one then.

use metronome_host::Commands;
use metronome_host::engine::mqtt_proto::ReasonCode;
use metronome_host::engine::{Change, Command, ConnId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Time between two looks at the clock.
const LOOK: Duration = Duration::from_secs(1);

/// Clients with a token that connect or are connected.
#[derive(Debug, Default)]
pub(super) struct Expiries(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    holders: BTreeMap<ConnId, Holder>,
    /// Those of connected clients, in their order.
    ends: BTreeSet<(Duration, ConnId)>,
    commands: Commands,
}

#[derive(Debug, Default)]
struct Holder {
    /// Since 1970.
    ends: Option<Duration>,
    /// Once it is connected.
    client_id: Option<String>,
}

impl Expiries {
    /// Has somebody look at the clock as long as these are there.
    pub(super) fn watch(self: &Arc<Self>) -> io::Result<()> {
        let expiries = Arc::downgrade(self);
        thread::Builder::new().name("metronome-tokens".into()).spawn(move || {
            while let Some(expiries) = expiries.upgrade() {
                expiries.disconnect(super::unix_time());
                drop(expiries);
                thread::sleep(LOOK);
            }
        })?;
        Ok(())
    }

    /// Where clients are disconnected.
    pub(super) fn joined(&self, commands: Commands) {
        self.lock().commands = commands;
    }

    /// A client shows a token, which is not checked yet.
    pub(super) fn begin(&self, conn: ConnId) {
        self.lock().holders.entry(conn).or_default();
    }

    /// It is a good one, until then. The client may be gone by now.
    pub(super) fn set(&self, conn: ConnId, ends: Option<Duration>) {
        let mut state = self.lock();
        let Some(holder) = state.holders.get_mut(&conn) else { return };
        let (before, connected) = (std::mem::replace(&mut holder.ends, ends), holder.client_id.is_some());
        if let Some(before) = before {
            state.ends.remove(&(before, conn));
        }
        if let Some(ends) = ends.filter(|_| connected) {
            state.ends.insert((ends, conn));
        }
    }

    pub(super) fn connected(&self, conn: ConnId, client_id: &str) {
        let mut state = self.lock();
        let Some(holder) = state.holders.get_mut(&conn) else { return };
        holder.client_id = Some(client_id.to_owned());
        if let Some(ends) = holder.ends {
            state.ends.insert((ends, conn));
        }
    }

    pub(super) fn forget(&self, conn: ConnId) {
        let mut state = self.lock();
        if let Some(ends) = state.holders.remove(&conn).and_then(|holder| holder.ends) {
            state.ends.remove(&(ends, conn));
        }
    }

    /// Disconnects whose token has expired (0xA0).
    fn disconnect(&self, now: Duration) {
        let mut state = self.lock();
        while let Some((_, conn)) = state.ends.first().copied().filter(|(ends, _)| *ends <= now) {
            state.ends.pop_first();
            let client_id = state.holders.get_mut(&conn).and_then(|holder| holder.client_id.take());
            if let Some(client_id) = client_id {
                // Somebody else may have the identifier by the time it is carried out.
                let change = Change::Disconnect(ReasonCode::MaximumConnectTime);
                state.commands.send(Command::Revise { client_id, conn: Some(conn), change });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Expiries;
    use metronome_host::engine::ConnIds;
    use std::time::Duration;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What is kept of a client goes with it, in whatever order its events come.
    #[test]
    fn nothing_is_left_of_clients_that_are_gone() {
        let expiries = Expiries::default();
        let mut ids = ConnIds::new();
        let [kept, early, expired, renewed] = [(); 4].map(|()| ids.allocate());
        for conn in [kept, early, expired, renewed] {
            expiries.begin(conn);
        }
        // Gone before its token was checked.
        expiries.forget(early);
        expiries.set(early, Some(at(5)));
        for conn in [kept, expired, renewed] {
            expiries.set(conn, Some(at(5)));
            expiries.connected(conn, "c");
        }
        expiries.set(kept, None);
        expiries.set(renewed, Some(at(9)));
        assert_eq!(expiries.lock().ends.len(), 2);
        expiries.disconnect(at(4));
        assert_eq!(expiries.lock().ends.len(), 2);
        expiries.disconnect(at(5));
        assert_eq!(expiries.lock().ends.iter().next(), Some(&(at(9), renewed)));
        for conn in [kept, expired, renewed] {
            expiries.forget(conn);
        }
        let state = expiries.lock();
        assert!(state.holders.is_empty() && state.ends.is_empty());
    }
}
