//! Letting clients in by JSON Web Tokens (RFC 7519).
//!
//! * [`Jwt`] — the hook: where it finds a token, and what follows from one that is good
//! * [`JwtKeys`] — the file of keys
//! * `token` — what a token says
//! * `claims` — what it has to say, and what its holder may then
//! * `keys` — who has signed it
//! * `expiry` — when it is over
//!
//! What a token says is looked at first, as that costs nothing; signatures are checked on threads of their own.

mod claims;
mod expiry;
mod keys;
mod token;

pub use keys::JwtKeys;

use crate::checkers::Checkers;
use crate::in_force::{RulesInForce, facts};
use claims::Granted;
use expiry::Expiries;
use keys::InForce;
use metronome_host::config::{JwtConfig, JwtPlace};
use metronome_host::engine::{Admission, Answer, Authenticate, Interest, Note};
use metronome_host::{Client, Commands, Decision, Hook};
use mqtt_proto::ReasonCode;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use token::Token;

/// Has this the form of a token, which may be good?
pub(crate) fn is_token(text: &str) -> bool {
    Token::parse(text).is_some()
}

/// Threads that check signatures: a hundred microseconds each, so one is enough for ten thousand clients in a second.
const THREADS: usize = 1;

/// Is told why a client's token was refused.
type OnRefusal = dyn Fn(&Client, &str) + Send + Sync;

/// Lets in who has a good token, as CONNECT's password or user name, or as authentication data. What is no token at all is
/// somebody else's business; a token that is not good refuses its client.
pub struct Jwt {
    config: JwtConfig,
    keys: InForce,
    /// What holders of tokens may that do not say it themselves.
    rules: Option<RulesInForce>,
    expiries: Option<Arc<Expiries>>,
    checkers: Checkers,
    on_refusal: Arc<OnRefusal>,
}

const REFUSED: Decision = Decision::deny(ReasonCode::NotAuthorized);

impl Jwt {
    /// With the keys of this file. Where a token does not say what its holder may, `rules` do; without any, it may
    /// everything. `on_refusal` is told why a token was refused.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub fn new(
        config: JwtConfig,
        keys: &JwtKeys,
        rules: Option<RulesInForce>,
        on_refusal: impl Fn(&Client, &str) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let expiries = config.disconnect_expired.then(Arc::<Expiries>::default);
        expiries.as_ref().map_or(Ok(()), Expiries::watch)?;
        let (keys, checkers) = (keys.in_force(), Checkers::start(THREADS)?);
        Ok(Self { config, keys, rules, expiries, checkers, on_refusal: Arc::new(on_refusal) })
    }

    /// Lets in who has this token, if it is good; `username` is what CONNECT calls its user.
    fn admit(&self, client: &Client, username: Option<&str>, token: Token) -> Decision {
        let allowed = &self.config.algorithms;
        let is_allowed = |algorithm| allowed.is_empty() || allowed.contains(&algorithm);
        if !token.algorithm.is_some_and(is_allowed) {
            (self.on_refusal)(client, "it is signed in a way that is not accepted");
            return REFUSED;
        }
        let granted = match claims::judge(&self.config, &token.claims, unix_time(), client, username) {
            Ok(granted) => granted,
            Err(problem) => {
                (self.on_refusal)(client, &problem);
                return REFUSED;
            }
        };
        if let Some(expiries) = &self.expiries {
            expiries.begin(client.conn);
        }
        let Granted { username, permissions, ends } = granted;
        let permissions = permissions.or_else(|| {
            let mut client = client.clone();
            client.username = Some(username.clone());
            let rules = self.rules.as_ref()?.begin(&client);
            Some(rules.permissions(&facts(&client)))
        });
        let admission = Admission { permissions, ..Admission::default() };
        let admitted = Decision::named(username, Answer::Admit(Box::new(admission)));
        let (client, keys, expiries) = (client.clone(), self.keys.get(), self.expiries.clone());
        let (checkers, on_refusal) = (self.checkers.clone(), Arc::clone(&self.on_refusal));
        Decision::later(move |responder| {
            checkers.check(responder, move || {
                if !keys.verify(&token) {
                    on_refusal(&client, "no key that is known has signed it");
                    return REFUSED;
                }
                if let Some(expiries) = expiries {
                    expiries.set(client.conn, ends);
                }
                admitted
            });
        })
    }

    fn is_method(&self, method: &str) -> bool {
        self.config.method.as_deref() == Some(method)
    }

    /// Takes authentication data, which has to be a token.
    fn take(&self, client: &Client, data: Option<&[u8]>) -> Decision {
        let token = data.and_then(|data| Token::parse(str::from_utf8(data).ok()?));
        match token {
            Some(token) => self.admit(client, client.username.as_deref(), token),
            None => REFUSED,
        }
    }
}

impl Hook for Jwt {
    fn interest(&self) -> Interest {
        Interest::CLIENTS
    }

    fn joined(&mut self, commands: Commands) {
        if let Some(expiries) = &self.expiries {
            expiries.joined(commands.clone());
        }
        if let Some(rules) = &self.rules {
            rules.joined(commands);
        }
    }

    fn authenticate(&mut self, client: &Client, connect: &Authenticate) -> Decision {
        if let Some(method) = &connect.method {
            let is_ours = self.is_method(method);
            return if is_ours { self.take(client, connect.data.as_deref()) } else { Decision::NotMine };
        }
        let username = client.username.as_deref();
        let (text, username) = match self.config.from {
            JwtPlace::Password => {
                let password = connect.password.as_deref();
                (password.and_then(|password| str::from_utf8(password).ok()), username)
            }
            JwtPlace::Username => (username, None),
        };
        match text.and_then(Token::parse) {
            Some(token) => self.admit(client, username, token),
            None => Decision::NotMine,
        }
    }

    fn authenticate_step(
        &mut self,
        client: &Client,
        method: &str,
        data: Option<&[u8]>,
        again: bool,
    ) -> Decision {
        match again {
            _ if !self.is_method(method) => Decision::NotMine,
            true => self.take(client, data),
            // Nothing more is ever asked for.
            false => REFUSED,
        }
    }

    fn note(&mut self, note: &Note, _: Option<SocketAddr>) {
        match note {
            Note::Connected { conn, client_id, .. } => {
                if let Some(expiries) = &self.expiries {
                    expiries.connected(*conn, client_id);
                }
                if let Some(rules) = &self.rules {
                    rules.connected(*conn, client_id);
                }
            }
            Note::Disconnected { conn, .. } => {
                if let Some(expiries) = &self.expiries {
                    expiries.forget(*conn);
                }
                if let Some(rules) = &self.rules {
                    rules.disconnected(*conn);
                }
            }
            Note::SessionEnded { client_id, .. } => {
                if let Some(rules) = &self.rules {
                    rules.ended(client_id);
                }
            }
            _ => {}
        }
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Since 1970.
fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
