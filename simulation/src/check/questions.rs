//! What the engine asks and is told: which answers count, and what they allow.

use super::{Checks, deadlines};
use crate::check::wire::number_in;
use broker_engine::{Answer, Call, CallId, Command, Input, Permissions, Question};
use mqtt_proto::QoS;

/// A question that is open.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    link: usize,
    /// From then on the answer is no.
    until: u64,
    /// The message that it is about, by its number if it has one, and its QoS.
    message: Option<(Option<u32>, QoS)>,
    /// Whose message that is.
    publisher: Option<String>,
    /// Its client is connected, and authenticates again.
    again: bool,
    /// It is about UNSUBSCRIBE.
    unsubscribes: bool,
}

impl Asked {
    /// Is it about a message of this client that goes out although the connection has ended? What it has no acknowledgement
    /// for it sends again.
    fn outlives_connection(&self, client_id: &str) -> bool {
        self.publisher.as_deref() == Some(client_id) && matches!(self.message, Some((_, QoS::AtMostOnce)))
    }
}

impl Checks {
    /// The engine asks about a client.
    pub(crate) fn asked(&mut self, now: u64, link: usize, call: &Call) {
        let Some(wire) = self.wires.get_mut(link) else { return };
        let until = now.saturating_add(deadlines::micros(self.config.hook_timeout));
        let mut publisher = None;
        let message = if let Question::Publish { message, client_id } = &call.question {
            publisher = Some(client_id.clone());
            if wire.asked_about_message(now, call.id, until) {
                self.marks.hit("several messages of a client that are asked about at once");
            }
            let number = number_in(&message.payload);
            self.ledger.asked(now, number);
            Some((number, message.qos))
        } else {
            wire.asked(now);
            None
        };
        if let Question::Unsubscribe { filters, .. } = &call.question {
            wire.asked_about_unsubscribe(call.id, filters.len());
        }
        let again = matches!(call.question, Question::AuthenticateStep { again: true, .. });
        let unsubscribes = matches!(call.question, Question::Unsubscribe { .. });
        self.questions.insert(call.id, Asked { link, until, message, publisher, again, unsubscribes });
    }

    /// A client is let in: what it says stands behind its messages of earlier connections that are not decided.
    pub(super) fn begins_behind(&mut self, link: usize) {
        let Some(wire) = self.wires.get_mut(link) else { return };
        for (call, asked) in &self.questions {
            let is_own = wire.client_id().is_some_and(|client_id| asked.outlives_connection(client_id));
            if is_own && asked.link != link {
                wire.is_behind(*call, asked.until);
            }
        }
    }

    /// The connection that a question is about, as long as nothing is said to it.
    pub(crate) fn open_about(&self, call: CallId) -> Option<usize> {
        self.questions.get(&call).map(|asked| asked.link)
    }

    /// The engine is about to be told something.
    pub(crate) fn told(&mut self, now: u64, input: &Input<'_>) {
        self.ledger.permissions_hold();
        // What had timed out by the latest call is decided.
        let (questions, called_at) = (&self.questions, self.working.0);
        self.ledger.wills_wait(|client_id| {
            questions.values().any(|asked| asked.until > called_at && asked.outlives_connection(client_id))
        });
        match input {
            Input::Reply { call, answer } => {
                if let Some(asked) = self.questions.remove(call) {
                    self.answered(now, *call, &asked, answer);
                }
            }
            Input::Command(Command::SetPermissions { client_id, permissions }) => {
                self.permitted(client_id, permissions.as_ref());
            }
            Input::Command(Command::Subscribe { client_id, filter, options, .. }) => {
                self.ledger.subscribing(client_id, &[(filter.clone(), *options)]);
                self.overruled(client_id, filter);
                self.marks.hit("a subscription by the operator");
            }
            Input::Command(Command::Unsubscribe { client_id, filter }) => {
                self.ledger.unsubscribing(client_id, std::slice::from_ref(filter));
                self.overruled(client_id, filter);
            }
            Input::Command(Command::Publish(message)) => {
                self.ledger.announced(now, message);
                self.marks.hit("a message of the broker itself");
            }
            Input::Stored { upto } => self.recovery.told(*upto),
            _ => {}
        }
        self.promises.told(input);
    }

    fn answered(&mut self, now: u64, call: CallId, asked: &Asked, answer: &Answer) {
        let mut wire = self.wires.get_mut(asked.link);
        if asked.unsubscribes {
            if let Some(wire) = wire.filter(|_| now < asked.until) {
                wire.heard_about_unsubscribe(call, answer);
            }
            return;
        }
        let Some((number, qos)) = asked.message else {
            let client_id = wire.and_then(|wire| wire.heard(answer));
            if let (Some(client_id), Answer::Admit(admission), true) = (client_id, answer, asked.again) {
                self.permitted(&client_id, admission.permissions.as_ref());
            }
            return;
        };
        if let Some(wire) = &mut wire {
            wire.heard_about_message(now, call);
        } else {
            self.marks.hit("an answer about a message of a connection that ended");
        }
        // What a client waits to have acknowledged it sends again, and is asked about again.
        let counts = now < asked.until && (wire.is_some() || qos == QoS::AtMostOnce);
        let link = asked.publisher.as_deref().and_then(|client_id| self.ledger.link_of(client_id));
        if let Some(next) = link.filter(|link| *link != asked.link).and_then(|link| self.wires.get_mut(link))
        {
            next.heard_about_message(now, call);
        }
        match answer {
            Answer::Allow if counts => self.ledger.allowed(number),
            Answer::Replace(instead) if counts => {
                self.marks.hit("a message replaced by a hook");
                self.ledger.replaced(now, number, instead);
            }
            Answer::Discard if counts => self.marks.hit("a message discarded by a hook"),
            _ => {}
        }
    }

    /// The operator changes a subscription of a client.
    fn overruled(&mut self, client_id: &str, filter: &str) {
        let link = self.ledger.link_of(client_id);
        if let Some(wire) = link.and_then(|link| self.wires.get_mut(link)) {
            wire.overruled(filter);
        }
    }

    /// A client with a session may so much from now on.
    fn permitted(&mut self, client_id: &str, permissions: Option<&Permissions>) {
        let link = self.ledger.permit(client_id, permissions.cloned());
        if let Some(wire) = link.and_then(|link| self.wires.get_mut(link)) {
            wire.permitted();
        }
    }
}
