//! Who answers the engine's questions. Answers are given in the same turn.

use broker_engine::mqtt_proto::ReasonCode;
use broker_engine::{Answer, Note, Question};

/// Decides who may connect and subscribe, and hears what happened.
pub trait Authenticator: Send {
    /// Answers a question of the engine.
    fn answer(&mut self, question: &Question) -> Answer;

    /// Hears of something that happened; see [`broker_engine::Interest`].
    fn note(&mut self, note: &Note) {
        let _ = note;
    }
}

/// Lets everybody do everything. Enhanced authentication methods are refused, as none is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authenticator for AllowAll {
    fn answer(&mut self, _: &Question) -> Answer {
        Answer::Allow
    }
}

/// Lets nobody in.
#[derive(Clone, Copy, Debug, Default)]
pub struct DenyAll;

impl Authenticator for DenyAll {
    fn answer(&mut self, _: &Question) -> Answer {
        Answer::Deny(ReasonCode::NotAuthorized)
    }
}
