//! Rules as a hook of the broker.

use crate::checkers::Checkers;
use crate::in_force::{RulesInForce, facts};
use crate::rules::{Rules, Verdict};
use metronome_host::engine::{Admission, Answer, Authenticate, Interest, Note, Permissions};
use metronome_host::{Client, Commands, Decision, Hook};
use mqtt_proto::ReasonCode;
use std::io;
use std::net::SocketAddr;
use std::thread;

/// Most threads that check passwords; a broker has other work for its processors.
const MOST_THREADS: usize = 4;

/// Asks [`Rules`] who may connect, and says what it may from then on. Passwords are checked on threads of their own. Who
/// names an authentication method is somebody else's business.
#[derive(Debug)]
pub struct AccessControl {
    rules: RulesInForce,
    allow_anonymous: bool,
    checkers: Checkers,
}

impl AccessControl {
    /// With `allow_anonymous` clients that send no user name are let in where no rule is about them.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub fn new(rules: RulesInForce, allow_anonymous: bool) -> io::Result<Self> {
        // One processor is left for the broker's thread.
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = processors.saturating_sub(1).clamp(1, MOST_THREADS);
        Ok(Self { rules, allow_anonymous, checkers: Checkers::start(threads)? })
    }
}

impl Hook for AccessControl {
    fn interest(&self) -> Interest {
        Interest::CLIENTS
    }

    fn joined(&mut self, commands: Commands) {
        self.rules.joined(commands);
    }

    fn authenticate(&mut self, client: &Client, connect: &Authenticate) -> Decision {
        if connect.method.is_some() {
            return Decision::NotMine;
        }
        let (rules, allow_anonymous) = (self.rules.begin(client), self.allow_anonymous);
        // Without a password nothing is slow.
        if connect.password.is_none() {
            return decide(&rules, client, connect, allow_anonymous);
        }
        let (client, connect) = (client.clone(), connect.clone());
        let checkers = self.checkers.clone();
        Decision::later(move |responder| {
            checkers.check(responder, move || decide(&rules, &client, &connect, allow_anonymous));
        })
    }

    fn resumed(&mut self, client_id: &str, username: Option<&str>) -> Option<Permissions> {
        Some(self.rules.resumed(client_id, username))
    }

    fn overruled(&mut self, client: &Client) {
        self.rules.forget(client.conn);
    }

    fn note(&mut self, note: &Note, _: Option<SocketAddr>) {
        match note {
            Note::Connected { conn, client_id, .. } => self.rules.connected(*conn, client_id),
            Note::Disconnected { conn, .. } => self.rules.disconnected(*conn),
            Note::SessionEnded { client_id, .. } => self.rules.ended(client_id),
            _ => {}
        }
    }
}

/// Is it let in, and what may it then?
fn decide(rules: &Rules, client: &Client, connect: &Authenticate, allow_anonymous: bool) -> Decision {
    let facts = facts(client);
    match rules.authenticate(&facts, connect.password.as_deref()) {
        Verdict::Allow => {}
        Verdict::NotMine if allow_anonymous && client.username.is_none() => {}
        // Whoever lets it in, these rules hold for it as well.
        Verdict::NotMine => return Decision::limited(rules.permissions(&facts)),
        Verdict::Deny => return Decision::deny(ReasonCode::NotAuthorized),
    }
    let admission = Admission { permissions: Some(rules.permissions(&facts)), ..Admission::default() };
    Answer::Admit(Box::new(admission)).into()
}
