//! Asking a web service who may connect, subscribe and publish.
//!
//! * [`Webhook`] — the hook: what it asks, how it reads the answer, and what it remembers
//! * `http` — one request over TCP
//! * `names` — the addresses of the service, asked for with a time limit
//!
//! Each question is a POST with a JSON object, and its answer one too:
//!
//! | question | answer |
//! |---|---|
//! | `{"action": "connect", "client_id": …, "username": …, "password": …, "peer": …, "will_topic": …}` | `{"result": "allow"}`, `"deny"`, or `"ignore"` for the next hook |
//! | `{"action": "subscribe", "client_id": …, "username": …, "peer": …, "filters": [ … ]}` | the same for all topic filters, or `{"filters": ["allow", "deny"]}` for each |
//! | `{"action": "publish", "client_id": …, "username": …, "peer": …, "topic": …, "qos": …, "retain": …}` | `{"result": "allow"}`, `"deny"`, or `"ignore"`, which leaves it to the next hook |
//!
//! What is not known is `null`; a password that is not UTF-8 is a list of bytes. Any other answer, a status that is not
//! 200, and none in time are no (0x88), and are not remembered.

mod http;
mod names;

use crate::checkers::Checkers;
use http::Url;
use metronome_host::engine::{Answer, ApplicationMessage, Authenticate, Interest};
use metronome_host::{Client, Decision, Hook};
use mqtt_proto::{ReasonCode, SubscribeOptions};
use names::Name;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Requests on their way at once.
const THREADS: usize = 8;

/// Answers that are remembered.
const REMEMBERED: usize = 10_000;

/// Asks a web service who may connect, subscribe and publish, on threads of its own.
#[derive(Debug)]
pub struct Webhook {
    service: Arc<Service>,
    checkers: Checkers,
}

/// What the threads share.
struct Service {
    url: Url,
    name: Name,
    timeout: Duration,
    /// How long an answer holds.
    lifetime: Duration,
    remembered: Mutex<HashMap<[u8; 32], (Instant, Said)>>,
    on_error: Box<dyn Fn(&str) + Send + Sync>,
}

/// A question. What is not sent would be an error of the service, so all is.
#[derive(Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
enum Question<'a> {
    Connect {
        client_id: &'a str,
        username: Option<&'a str>,
        password: Option<Password<'a>>,
        peer: Option<String>,
        will_topic: Option<&'a str>,
    },
    Subscribe {
        client_id: &'a str,
        username: Option<&'a str>,
        peer: Option<String>,
        filters: Vec<&'a str>,
    },
    Publish {
        client_id: &'a str,
        username: Option<&'a str>,
        peer: Option<String>,
        topic: &'a str,
        qos: u8,
        retain: bool,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Password<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// An answer: an object with exactly one of these keys.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Result(Verdict),
    Filters(Vec<Verdict>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Allow,
    Deny,
    Ignore,
}

impl Webhook {
    /// Asks at `url`, such as `http://127.0.0.1:8080/mqtt`, and waits for `timeout` at most. Answers hold for `lifetime`.
    /// `on_error` is told of what went wrong.
    ///
    /// # Errors
    /// The address is none, or there are no threads to be had.
    pub fn new(
        url: &str,
        timeout: Duration,
        lifetime: Duration,
        on_error: impl Fn(&str) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let url = Url::parse(url).map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))?;
        if timeout.is_zero() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a service needs some time to answer"));
        }
        let (remembered, on_error) = (Mutex::default(), Box::new(on_error));
        let name = Name::new(url.host());
        let service = Arc::new(Service { url, name, timeout, lifetime, remembered, on_error });
        Ok(Self { service, checkers: Checkers::start(THREADS)? })
    }

    fn ask(
        &self,
        question: &Question<'_>,
        read: impl FnOnce(Said) -> Option<Decision> + Send + 'static,
    ) -> Decision {
        // It consists of texts and numbers only.
        let Ok(question) = serde_json::to_vec(question) else { return UNAVAILABLE };
        let key = Sha256::digest(&question).into();
        if let Some(said) = self.service.recall(&key) {
            return read(said).unwrap_or(UNAVAILABLE);
        }
        let (service, checkers) = (Arc::clone(&self.service), self.checkers.clone());
        Decision::later(move |responder| {
            checkers.check(responder, move || {
                let decision = service.ask(&question).and_then(|said| {
                    let decision = read(said.clone()).ok_or("answers something else than was asked")?;
                    service.remember(key, said);
                    Ok(decision)
                });
                decision.unwrap_or_else(|problem| {
                    (service.on_error)(&problem);
                    UNAVAILABLE
                })
            });
        })
    }
}

const UNAVAILABLE: Decision = Decision::deny(ReasonCode::ServerUnavailable);

impl Hook for Webhook {
    fn interest(&self) -> Interest {
        Interest::SUBSCRIBE | Interest::PUBLISH
    }

    fn authenticate(&mut self, client: &Client, connect: &Authenticate) -> Decision {
        if connect.method.is_some() {
            return Decision::NotMine;
        }
        let password = connect.password.as_deref();
        let password =
            password.map(|bytes| str::from_utf8(bytes).map_or(Password::Bytes(bytes), Password::Text));
        let question = Question::Connect {
            client_id: &client.client_id,
            username: client.username.as_deref(),
            password,
            peer: client.peer.map(|peer| peer.to_string()),
            will_topic: connect.will.as_ref().map(|will| will.topic.as_str()),
        };
        self.ask(&question, |said| match said {
            Said::Result(Verdict::Allow) => Some(Decision::allow()),
            Said::Result(Verdict::Deny) => Some(Decision::deny(ReasonCode::NotAuthorized)),
            Said::Result(Verdict::Ignore) => Some(Decision::NotMine),
            Said::Filters(_) => None,
        })
    }

    fn subscribe(&mut self, client: &Client, filters: &[(String, SubscribeOptions)]) -> Decision {
        let question = Question::Subscribe {
            client_id: &client.client_id,
            username: client.username.as_deref(),
            peer: client.peer.map(|peer| peer.to_string()),
            filters: filters.iter().map(|(filter, _)| filter.as_str()).collect(),
        };
        let count = filters.len();
        self.ask(&question, move |said| {
            let each = match said {
                Said::Result(verdict) => vec![verdict; count],
                Said::Filters(verdicts) => verdicts,
            };
            let verdict = |verdict| match verdict {
                Verdict::Allow | Verdict::Ignore => ReasonCode::Success,
                Verdict::Deny => ReasonCode::NotAuthorized,
            };
            (each.len() == count).then(|| Answer::Filters(each.into_iter().map(verdict).collect()).into())
        })
    }

    fn publish(&mut self, client: &Client, message: &ApplicationMessage) -> Decision {
        let question = Question::Publish {
            client_id: &client.client_id,
            username: client.username.as_deref(),
            peer: client.peer.map(|peer| peer.to_string()),
            topic: &message.topic,
            qos: message.qos as u8,
            retain: message.retain,
        };
        self.ask(&question, |said| match said {
            Said::Result(Verdict::Allow | Verdict::Ignore) => Some(Decision::NotMine),
            Said::Result(Verdict::Deny) => Some(Decision::deny(ReasonCode::NotAuthorized)),
            Said::Filters(_) => None,
        })
    }
}

impl Service {
    fn ask(&self, question: &[u8]) -> Result<Said, String> {
        let answer = http::post(&self.url, &self.name, question, self.timeout)
            .map_err(|error| format!("{}: {error}", self.url))?;
        serde_json::from_slice(&answer).map_err(|error| format!("{}: no answer: {error}", self.url))
    }

    fn recall(&self, key: &[u8; 32]) -> Option<Said> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(key).filter(|(until, _)| *until > Instant::now()).map(|(_, said)| said.clone())
    }

    fn remember(&self, key: [u8; 32], said: Said) {
        if self.lifetime.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, (until, _)| *until > now);
        }
        // A table of answers that all still hold makes room for none.
        if remembered.len() < REMEMBERED {
            remembered.insert(key, (now + self.lifetime, said));
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("url", &self.url).finish_non_exhaustive()
    }
}
