//! Who answers the broker's questions in a case. Both transports use the same.

use broker_engine::mqtt_proto::ReasonCode;
use broker_engine::{Answer, Question};
use metronome_tokio::{Client, Decision, Hook};

/// The authentication method that [`Authentication::InSteps`] knows.
const METHOD: &str = "m";

/// How clients come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Everybody may do everything, and no authentication method is known.
    AllowAll,
    /// With the method `m`, a client's data say what becomes of it: `more` is answered with `next` and asked for more,
    /// `last` is let in with `done`, anything else is refused. Other clients as in [`Authentication::AllowAll`].
    InSteps,
}

impl Authentication {
    /// By the name that trace files have for it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        (name == "in-steps").then_some(Self::InSteps)
    }

    pub(crate) fn answer(self, question: &Question) -> Answer {
        let (method, data) = match question {
            Question::Authenticate(client) => (client.method.as_deref(), &client.data),
            Question::AuthenticateStep { method, data, .. } => (Some(method.as_str()), data),
            _ => (None, &None),
        };
        match (method, data.as_deref()) {
            (None, _) => Answer::Allow,
            (Some(method), _) if self == Self::AllowAll || method != METHOD => {
                Answer::Deny(ReasonCode::BadAuthenticationMethod)
            }
            (_, Some(b"more")) => Answer::Continue(b"next".to_vec()),
            (_, Some(b"last")) => Answer::AllowWith(b"done".to_vec()),
            _ => Answer::Deny(ReasonCode::NotAuthorized),
        }
    }
}

impl Hook for Authentication {
    fn answer(&mut self, _: &Client, question: &Question) -> Decision {
        Self::answer(*self, question).into()
    }
}
