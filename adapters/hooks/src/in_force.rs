//! The rules that hold now, and the clients for whom they hold.

use crate::criteria::ClientFacts;
use crate::rules::Rules;
use metronome_host::engine::mqtt_proto::ReasonCode;
use metronome_host::engine::{Change, Command, ConnId, Permissions};
use metronome_host::{Client, Commands};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Clients that get other rules at once; the broker's thread waits for so many, and has as many commands to carry out.
const SLICE: usize = 256;

/// Time for the broker between two slices.
const BREATH: Duration = Duration::from_millis(1);

/// The rules that hold now. Copies share them, so that who asks them sees what who reads them has found.
#[derive(Clone, Debug, Default)]
pub struct RulesInForce(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    rules: Arc<Rules>,
    /// Clients that connect or are connected.
    clients: BTreeMap<ConnId, Known>,
    /// Those whose session goes on without them, by client identifier: its will may yet be sent.
    away: BTreeMap<String, Known>,
    commands: Option<Commands>,
}

#[derive(Debug)]
struct Known {
    client_id: String,
    username: Option<String>,
    peer: Option<SocketAddr>,
    connected: bool,
    /// Of the rules that say what it may.
    generation: u64,
    standing: u64,
}

impl RulesInForce {
    /// These, to begin with.
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(Mutex::new(State { rules: Arc::new(rules), ..State::default() })))
    }

    /// The rules.
    pub fn get(&self) -> Arc<Rules> {
        Arc::clone(&self.lock().rules)
    }

    /// Has others in their place from now on, also for clients that are connected or have a session: each may what the new
    /// rules say. Who would not have been let in as it was, because its user or password has changed, is disconnected
    /// (0x87), or, while it is away, may nothing: its will is not sent.
    ///
    /// Very many clients follow a few at a time, for the broker to go on meanwhile, and all have followed on return: about a
    /// millisecond for each 256 of them.
    pub fn replace(&self, rules: Rules) {
        self.lock().rules = Arc::new(rules);
        // Who leaves meanwhile is met among those who are away, which are looked at later.
        self.in_slices(|state, from: Option<ConnId>| {
            let State { rules, clients, commands, .. } = state;
            let slice = clients.range_mut((from.map_or(Unbounded, Excluded), Unbounded)).take(SLICE);
            slice.fold(None, |_, (conn, known)| {
                if known.connected {
                    known.follow(rules, Some(*conn), commands.as_ref());
                }
                Some(*conn)
            })
        });
        self.in_slices(|state, from: Option<String>| {
            let State { rules, away, commands, .. } = state;
            let from = from.as_deref().map_or(Unbounded, Excluded);
            let slice = away.range_mut::<str, _>((from, Unbounded)).take(SLICE);
            let last = slice.fold(None, |_, (client_id, known)| {
                known.follow(rules, None, commands.as_ref());
                Some(client_id)
            });
            last.cloned()
        });
    }

    /// Does something to a slice behind the one before, which it returns the last of, as long as there is one.
    fn in_slices<K>(&self, mut slice: impl FnMut(&mut State, Option<K>) -> Option<K>) {
        let mut from = None;
        loop {
            from = slice(&mut self.lock(), from);
            if from.is_none() {
                return;
            }
            thread::sleep(BREATH);
        }
    }

    /// Where clients are changed.
    pub(crate) fn joined(&self, commands: Commands) {
        self.lock().commands = Some(commands);
    }

    /// A client wants to connect: the rules that decide.
    pub(crate) fn begin(&self, client: &Client) -> Arc<Rules> {
        let mut state = self.lock();
        let rules = Arc::clone(&state.rules);
        let (generation, standing) = (rules.generation(), rules.standing(&facts(client)));
        // One that authenticates again is.
        let connected = state.clients.get(&client.conn).is_some_and(|known| known.connected);
        let Client { client_id, username, peer, .. } = client.clone();
        let known = Known { client_id, username, peer, connected, generation, standing };
        state.clients.insert(client.conn, known);
        rules
    }

    /// It was let in, and goes by this identifier. The rules may be others by now.
    pub(crate) fn connected(&self, conn: ConnId, client_id: &str) {
        let mut state = self.lock();
        let State { rules, clients, away, commands } = &mut *state;
        away.remove(client_id);
        let Some(known) = clients.get_mut(&conn) else { return };
        known.connected = true;
        // One that was assigned is another than the empty one that was asked about.
        let is_assigned = known.client_id != client_id;
        client_id.clone_into(&mut known.client_id);
        if is_assigned || known.generation != rules.generation() {
            known.follow(rules, Some(conn), commands.as_ref());
        }
    }

    /// Its session may go on.
    pub(crate) fn disconnected(&self, conn: ConnId) {
        let mut state = self.lock();
        if let Some(known) = state.clients.remove(&conn).filter(|known| known.connected) {
            let known = Known { connected: false, ..known };
            state.away.insert(known.client_id.clone(), known);
        }
    }

    /// A store has kept its session: what it may. It goes on being away.
    pub(crate) fn resumed(&self, client_id: &str, username: Option<&str>) -> Permissions {
        let mut state = self.lock();
        let mut known = Known {
            client_id: client_id.to_owned(),
            username: username.map(str::to_owned),
            peer: None,
            connected: false,
            generation: state.rules.generation(),
            standing: 0,
        };
        known.standing = state.rules.standing(&known.facts());
        let permissions = state.rules.permissions(&known.facts());
        state.away.insert(client_id.to_owned(), known);
        permissions
    }

    /// Its session has ended.
    pub(crate) fn ended(&self, client_id: &str) {
        self.lock().away.remove(client_id);
    }

    /// These rules have no say in what it may.
    pub(crate) fn forget(&self, conn: ConnId) {
        self.lock().clients.remove(&conn);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn facts(&self) -> ClientFacts<'_> {
        ClientFacts { client_id: &self.client_id, username: self.username.as_deref(), peer: self.peer }
    }

    /// The client may what these rules say. Whoever has its identifier by the time that is carried out, on another
    /// connection, is not meant.
    fn follow(&mut self, rules: &Rules, conn: Option<ConnId>, commands: Option<&Commands>) {
        let facts = self.facts();
        let was_assigned = self.generation == rules.generation();
        let change = if rules.standing(&facts) == self.standing || was_assigned {
            Change::Permissions(Some(rules.permissions(&facts)))
        } else if self.connected {
            Change::Disconnect(ReasonCode::NotAuthorized)
        } else {
            // It would not be let in, so nothing may be done for it.
            Change::Permissions(Some(Permissions::default()))
        };
        let standing = rules.standing(&facts);
        (self.generation, self.standing) = (rules.generation(), standing);
        if let Some(commands) = commands {
            commands.send(Command::Revise { client_id: self.client_id.clone(), conn, change });
        }
    }
}

pub(crate) fn facts(client: &Client) -> ClientFacts<'_> {
    ClientFacts { client_id: &client.client_id, username: client.username.as_deref(), peer: client.peer }
}
