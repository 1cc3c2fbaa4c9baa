//! What a hook is asked about a connection: whether a question is open, and what its answer lets the client do.

use super::{Request, Wire};
use crate::check::ledger::Ledger;
use broker_engine::{Answer, CallId};
use mqtt_proto::ReasonCode;

impl Wire {
    /// The answer to the question about it: about which client, if that is known.
    pub(in crate::check) fn heard(&mut self, answer: &Answer) -> Option<String> {
        self.is_allowed = matches!(answer, Answer::Allow | Answer::AllowWith(_) | Answer::Admit(_));
        self.permissions = match answer {
            Answer::Admit(admission) => admission.permissions.clone(),
            _ => None,
        };
        self.greeting.as_ref().map(|greeting| greeting.client_id.clone())
    }

    /// A hook is asked about it.
    pub(in crate::check) fn asked(&mut self, now: u64) {
        self.asked_at = Some(now);
        self.unheard += 1;
    }

    /// A hook is asked about one of its messages, and until then waits for the answer. Is it asked about others, too?
    pub(in crate::check) fn asked_about_message(&mut self, now: u64, call: CallId, until: u64) -> bool {
        self.last_flow = now;
        self.publishes.retain(|(_, until)| now < *until);
        self.publishes.push((call, until));
        self.publishes.len() > 1
    }

    /// A message of an earlier connection of its client stands before all that it says.
    pub(in crate::check) fn is_behind(&mut self, call: CallId, until: u64) {
        self.publishes.push((call, until));
    }

    /// The client identifier that it came with.
    pub(in crate::check) fn client_id(&self) -> Option<&str> {
        self.greeting.as_ref().map(|greeting| &*greeting.client_id)
    }

    /// A hook is asked whether it may end so many subscriptions: without an answer it may not.
    pub(in crate::check) fn asked_about_unsubscribe(&mut self, call: CallId, filters: usize) {
        if self.answered_first > 0 {
            self.answered_first -= 1;
            return;
        }
        self.unsubscribes.push_back((call, vec![false; filters]));
    }

    /// It ends, perhaps with questions about its messages open.
    pub(in crate::check) fn leaves(&self, link: usize, ledger: &mut Ledger) {
        if let Some(greeting) = &self.greeting {
            ledger.leaves(link, &greeting.client_id);
        }
    }

    /// The answer came in time.
    pub(in crate::check) fn heard_about_unsubscribe(&mut self, call: CallId, answer: &Answer) {
        let asked = self.unsubscribes.iter_mut().find(|(asked, _)| *asked == call);
        for (at, may) in asked.into_iter().flat_map(|(_, may)| may.iter_mut().enumerate()) {
            *may = match answer {
                Answer::Allow => true,
                Answer::Filters(codes) => codes.get(at) == Some(&ReasonCode::Success),
                _ => false,
            };
        }
    }

    /// It is answered, or too late.
    pub(in crate::check) fn heard_about_message(&mut self, now: u64, call: CallId) {
        self.last_flow = now;
        self.publishes.retain(|(open, _)| *open != call);
    }

    /// Is a question about it open?
    pub(in crate::check) fn is_asked(&self, now: u64) -> bool {
        self.asked_at.is_some() || self.publishes.iter().any(|(_, until)| now < *until)
    }

    /// When the broker ceased last to wait for an answer about a message.
    pub(in crate::check) fn gave_up_asking(&self, now: u64) -> u64 {
        self.publishes.iter().map(|(_, until)| *until).filter(|until| *until <= now).max().unwrap_or_default()
    }

    /// A question is no longer open: what came behind it is heard now.
    pub(super) fn hook_heard(&mut self, now: u64, ledger: &mut Ledger) {
        self.last_flow = now;
        self.unheard = self.unheard.saturating_sub(1);
        if self.unheard == 0 {
            self.asked_at = None;
        }
        // The life of a message begins when its packet is handled, which another SUBSCRIBE may hold up.
        let subscribes = self.requests.iter().filter(|request| matches!(request, Request::Subscribe(..)));
        if subscribes.count() <= 1 {
            self.behind.iter().for_each(|number| ledger.handled(now, *number));
        }
    }
}
