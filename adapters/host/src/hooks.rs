//! Who answers the engine's questions. Answers are given in the same turn.

use broker_engine::mqtt_proto::ReasonCode;
use broker_engine::{Answer, Interest, Note, Question};
use std::net::SocketAddr;

/// Decides who may connect and subscribe, and hears what happened. It runs on the broker's thread: while it
/// thinks, nobody is served.
pub trait Authenticator: Send {
    /// What it wants to be asked and told beyond authentication, taken down when the broker starts. Default nothing.
    fn interest(&self) -> Interest {
        Interest::NONE
    }

    /// Answers a question of the engine.
    fn answer(&mut self, question: &Question) -> Answer;

    /// Hears of something that happened, and with which client's address where that is known. It may hear of more
    /// than it asked for.
    fn note(&mut self, note: &Note, peer: Option<SocketAddr>) {
        let _ = (note, peer);
    }
}

/// Lets everybody do everything. Enhanced authentication is refused (0x8C): no method is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authenticator for AllowAll {
    fn answer(&mut self, question: &Question) -> Answer {
        match question {
            Question::Authenticate(client) if client.method.is_some() => {
                Answer::Deny(ReasonCode::BadAuthenticationMethod)
            }
            Question::AuthenticateStep { .. } => Answer::Deny(ReasonCode::BadAuthenticationMethod),
            _ => Answer::Allow,
        }
    }
}

/// Lets nobody in (0x87).
#[derive(Clone, Copy, Debug, Default)]
pub struct DenyAll;

impl Authenticator for DenyAll {
    fn answer(&mut self, _: &Question) -> Answer {
        Answer::Deny(ReasonCode::NotAuthorized)
    }
}
