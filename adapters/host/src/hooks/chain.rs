//! Hooks in order, and how their answers become one.

use super::responder::{Commands, Mail, Mailbox};
use super::{Client, Decision, Direction, Hook, PacketTypes, Responder};
use crate::config::listeners::Transport;
use broker_engine::mqtt_proto::{Packet, ReasonCode};
use broker_engine::{
    Admission, Answer, Call, ConnId, Input, Interest, ListenerId, Note, Permissions, Question,
};
use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

/// Points at which hooks are asked about a client that was let in.
const QUESTIONS: Interest = Interest::SUBSCRIBE.or(Interest::UNSUBSCRIBE).or(Interest::PUBLISH);

/// Hooks that are asked one behind the other, in the order in which they were added.
///
/// | point | who is asked | the answer |
/// |---|---|---|
/// | authentication, and each step of an enhanced one | one after the other, until one says something | the first that is not [`Decision::NotMine`]; if there is none, no (0x87, or 0x8C where the client names a method) |
/// | subscribe | all that want [`Interest::SUBSCRIBE`], until one denies all | for each topic filter the strictest: all must allow; if none says anything, yes |
/// | unsubscribe | all that want [`Interest::UNSUBSCRIBE`], until one denies all | as with subscribe |
/// | publish | all that want [`Interest::PUBLISH`], until one denies or discards it | yes, with the message that the last [`Answer::Replace`] has put in its place; each hook sees that of those before it |
/// | notes | all that want them | none |
///
/// An answer that comes later is put in its place: who comes behind it is asked then, and sees the same question.
pub struct HookChain {
    links: Vec<Link>,
    known: BTreeMap<ConnId, Known>,
    mailbox: Arc<Mailbox>,
    on_panic: Box<dyn FnMut(&HookPanic) + Send>,
    /// Of listeners, in their order.
    names: Vec<Arc<str>>,
}

struct Link {
    hook: Box<dyn Hook>,
    name: &'static str,
    interest: Interest,
    packets: PacketTypes,
    /// Whose clients it has to do with; `None` is all.
    listeners: Option<Vec<ListenerId>>,
}

impl Link {
    /// Has it to do with clients of this listener? What happens to a session, which belongs to none, is everybody's.
    fn serves(&self, listener: Option<ListenerId>) -> bool {
        let listeners = self.listeners.as_ref();
        listeners.is_none_or(|listeners| listener.is_none_or(|listener| listeners.contains(&listener)))
    }
}

/// What is kept of a connection.
struct Known {
    client: Client,
    /// Its user name is proven, not only what CONNECT says.
    is_named: bool,
    /// Questions that wait for a later answer.
    open: Vec<Open>,
    /// Its connection has ended. What it published before then is still decided.
    gone: bool,
}

impl Known {
    fn proven(&self) -> Option<String> {
        self.client.username.clone().filter(|_| self.is_named)
    }
}

/// A question on its way along the chain.
struct Open {
    call: Call,
    /// The hook that is asked next.
    next: usize,
    /// Of a SUBSCRIBE, what the hooks before that say to each topic filter.
    verdicts: Vec<ReasonCode>,
    /// The message of a PUBLISH is another than the client's.
    replaced: bool,
    /// What the client may, if nobody says more, and which hook says so.
    limits: Option<(usize, Permissions)>,
}

/// A hook panicked. It denied what it was asked, and is asked again the next time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HookPanic {
    /// The type of the hook.
    pub hook: &'static str,
    /// What the panic says.
    pub message: String,
}

impl HookChain {
    /// Adds a hook behind the others.
    #[must_use]
    pub fn and<H: Hook + 'static>(self, hook: H) -> Self {
        self.link(hook, None)
    }

    /// Adds a hook behind the others that is asked about clients of these listeners alone, and hears of no other
    /// connections. Of sessions, which belong to no listener, it hears of all.
    #[must_use]
    pub fn and_for<H: Hook + 'static>(self, listeners: Vec<ListenerId>, hook: H) -> Self {
        self.link(hook, Some(listeners))
    }

    fn link<H: Hook + 'static>(mut self, mut hook: H, listeners: Option<Vec<ListenerId>>) -> Self {
        hook.joined(Commands::new(Arc::clone(&self.mailbox)));
        let (interest, packets) = (hook.interest(), hook.packets());
        self.links.push(Link { hook: Box::new(hook), name: type_name::<H>(), interest, packets, listeners });
        self
    }

    /// Names of listeners, in the order of their numbers, for [`Client::listener_name`].
    #[must_use]
    pub fn with_listeners(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Empty where it has none.
    pub(crate) fn name_of(&self, listener: ListenerId) -> &str {
        self.names.get(usize::from(listener.0)).map_or("", |name| name)
    }

    /// Whom to tell of panics; by default nobody.
    #[must_use]
    pub fn on_panic(mut self, tell: impl FnMut(&HookPanic) + Send + 'static) -> Self {
        self.on_panic = Box::new(tell);
        self
    }

    /// Without hooks nobody is let in.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// What any of the hooks wants: to be given to the engine in its configuration.
    pub fn interest(&self) -> Interest {
        self.links.iter().fold(Interest::NONE, |all, link| all | link.interest)
    }

    /// What any of them wants to see pass.
    pub(crate) fn packets(&self) -> PacketTypes {
        self.links.iter().fold(PacketTypes::NONE, |all, link| all | link.packets)
    }

    /// Asks the hooks; `is_named` where the user name of a CONNECT is proven. `None` when one of them answers later.
    pub(crate) fn ask(&mut self, call: Call, transport: Transport, is_named: bool) -> Option<Answer> {
        let conn = call.conn;
        match &call.question {
            Question::Authenticate(connect) => {
                let name = self.names.get(usize::from(connect.listener.0)).cloned().unwrap_or_default();
                let client = Client::new(conn, connect, name, transport);
                self.known.insert(conn, Known { client, is_named, open: Vec::new(), gone: false });
            }
            Question::AuthenticateStep { client_id, .. }
            | Question::Subscribe { client_id, .. }
            | Question::Unsubscribe { client_id, .. }
            | Question::Publish { client_id, .. } => {
                // By now it may have been assigned.
                if let Some(Known { client, .. }) = self.known.get_mut(&conn)
                    && client.client_id.is_empty()
                {
                    client.client_id.clone_from(client_id);
                }
            }
            _ => {}
        }
        self.go_on(Open::new(call), Decision::NotMine)
    }

    /// Answers and commands that came since the last time; to answers also what hooks further on say. When there are none,
    /// `context` is woken by the next.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Vec<Input<'static>>> {
        self.mailbox
            .poll(context)
            .map(|mail| mail.into_iter().filter_map(|mail| self.take_up(mail)).collect())
    }

    fn take_up(&mut self, mail: Mail) -> Option<Input<'static>> {
        let (conn, call, decision) = match mail {
            Mail::Command(command) => return Some(Input::Command(command)),
            Mail::Answer { conn, call, decision } => (conn, call, decision),
        };
        let open = &mut self.known.get_mut(&conn)?.open;
        let at = open.iter().position(|open| open.call.id == call)?;
        let open = open.swap_remove(at);
        let answer = self.go_on(open, decision);
        if self.known.get(&conn).is_some_and(|known| known.gone && known.open.is_empty()) {
            self.known.remove(&conn);
        }
        Some(Input::Reply { call, answer: answer? })
    }

    /// Takes a question further along the chain, beginning with what the last hook said.
    fn go_on(&mut self, open: Open, said: Decision) -> Option<Answer> {
        let conn = open.call.conn;
        // Where nobody is asked about it again, the client need not be remembered.
        let is_last = open.is_simple() && !self.interest().intersects(QUESTIONS);
        let answer = self.walk(open, said);
        if is_last && answer.is_some() {
            self.forget(conn);
        }
        answer
    }

    fn walk(&mut self, mut open: Open, mut decision: Decision) -> Option<Answer> {
        let Some(known) = self.known.get_mut(&open.call.conn) else {
            return Some(Answer::Deny(ReasonCode::NotAuthorized));
        };
        loop {
            let answer = match decision {
                Decision::NotMine => None,
                Decision::Limited(permissions) => {
                    let by = open.next.saturating_sub(1);
                    open.limits.get_or_insert((by, permissions));
                    None
                }
                Decision::Now(answer) => Some(answer),
                Decision::Named(name, answer) => {
                    known.client.username = Some(name);
                    known.is_named = true;
                    Some(answer)
                }
                Decision::Later(begin) => {
                    let responder = Responder::new(open.call.conn, open.call.id, Arc::clone(&self.mailbox));
                    let name =
                        open.next.checked_sub(1).and_then(|last| self.links.get(last)).map(|link| link.name);
                    known.open.push(open);
                    // If it panics, the responder that goes with it denies.
                    contained(name.unwrap_or_default(), &mut self.on_panic, || begin(responder));
                    return None;
                }
            };
            if let Some(answer) = answer.and_then(|answer| open.put(answer)) {
                let (answer, overruled) = open.complete(answer, known.proven());
                if let Some(link) = overruled.and_then(|by| self.links.get_mut(by)) {
                    contained(link.name, &mut self.on_panic, || link.hook.overruled(&known.client));
                }
                return Some(answer);
            }
            let Some(link) = self.links.get_mut(open.next) else { return Some(open.end()) };
            open.next += 1;
            let is_its = link.serves(Some(known.client.listener));
            decision = if is_its && link.interest.contains(open.point()) {
                let ask = || link.hook.answer(&known.client, &open.call.question);
                let denied = || Decision::deny(ReasonCode::NotAuthorized);
                contained(link.name, &mut self.on_panic, ask).unwrap_or_else(denied)
            } else {
                Decision::NotMine
            };
        }
    }

    /// Tells the hooks, of a client of a listener or of none.
    pub(crate) fn note(&mut self, note: &Note, peer: Option<SocketAddr>, listener: Option<ListenerId>) {
        let kind = match note {
            Note::MessageDropped { .. } => Interest::DROPS,
            Note::Subscribed { .. } | Note::Unsubscribed { .. } => Interest::SUBSCRIPTIONS,
            Note::MessagePublished { .. } => Interest::MESSAGES,
            Note::MessageSent { .. } | Note::MessageAcknowledged { .. } => Interest::DELIVERIES,
            Note::RetainedChanged { .. } => Interest::RETAINED,
            _ => Interest::CLIENTS,
        };
        let concerned = |link: &&mut Link| link.interest.contains(kind) && link.serves(listener);
        for link in self.links.iter_mut().filter(concerned) {
            contained(link.name, &mut self.on_panic, || link.hook.note(note, peer));
        }
    }

    /// What a client may whose session a store has kept. Of a hook that panics, nothing.
    pub(crate) fn resumed(&mut self, client_id: &str, username: Option<&str>) -> Option<Permissions> {
        let on_panic = &mut self.on_panic;
        self.links.iter_mut().find_map(|link| {
            let said = contained(link.name, on_panic, || link.hook.resumed(client_id, username));
            said.unwrap_or_else(|| Some(Permissions::default()))
        })
    }

    /// Shows them a packet.
    pub(crate) fn packet(
        &mut self,
        conn: ConnId,
        listener: Option<ListenerId>,
        direction: Direction,
        packet: &Packet<'_>,
    ) {
        let kind = packet.packet_type();
        let concerned = |link: &&mut Link| link.packets.contains(kind) && link.serves(listener);
        for link in self.links.iter_mut().filter(concerned) {
            contained(link.name, &mut self.on_panic, || link.hook.packet(conn, direction, packet));
        }
    }

    /// Keeps a panic of what the program does beside hooks from the broker, and tells of it under this name.
    pub(crate) fn contain(&mut self, name: &'static str, call: impl FnOnce()) {
        contained(name, &mut self.on_panic, call);
    }

    /// A connection is gone; answers that still come are late, but for those about messages that it published.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        let Some(known) = self.known.get_mut(&conn) else { return };
        known.gone = true;
        known.open.retain(|open| matches!(open.call.question, Question::Publish { .. }));
        if known.open.is_empty() {
            self.known.remove(&conn);
        }
    }
}

impl Open {
    fn new(call: Call) -> Self {
        let verdicts = match &call.question {
            Question::Subscribe { filters, .. } => vec![ReasonCode::Success; filters.len()],
            Question::Unsubscribe { filters, .. } => vec![ReasonCode::Success; filters.len()],
            _ => Vec::new(),
        };
        Self { call, next: 0, verdicts, replaced: false, limits: None }
    }

    /// What a hook must want to be asked; authentication concerns all.
    fn point(&self) -> Interest {
        match self.call.question {
            Question::Subscribe { .. } => Interest::SUBSCRIBE,
            Question::Unsubscribe { .. } => Interest::UNSUBSCRIBE,
            Question::Publish { .. } => Interest::PUBLISH,
            _ => Interest::NONE,
        }
    }

    /// Puts an answer to those before it. `Some` if that is the end, whoever comes behind.
    fn put(&mut self, answer: Answer) -> Option<Answer> {
        match (&mut self.call.question, answer) {
            (
                Question::Subscribe { .. } | Question::Unsubscribe { .. } | Question::Publish { .. },
                Answer::Allow,
            ) => None,
            (Question::Publish { message, .. }, Answer::Replace(with)) => {
                *message = with;
                self.replaced = true;
                None
            }
            (Question::Subscribe { .. } | Question::Unsubscribe { .. }, Answer::Filters(theirs)) => {
                // What an answer leaves out, it refuses.
                let theirs = theirs.into_iter().chain(std::iter::repeat(ReasonCode::NotAuthorized));
                for (verdict, their) in self.verdicts.iter_mut().zip(theirs) {
                    *verdict = stricter(*verdict, their);
                }
                None
            }
            (_, answer) => Some(answer),
        }
    }

    /// Is it about a client without an authentication method?
    fn is_simple(&self) -> bool {
        matches!(&self.call.question, Question::Authenticate(connect) if connect.method.is_none())
    }

    /// What hooks before have said goes with the admission. Also which of them has limited what the client may, where
    /// somebody else has decided that.
    fn complete(self, answer: Answer, username: Option<String>) -> (Answer, Option<usize>) {
        let is_asked =
            matches!(self.call.question, Question::Authenticate(_) | Question::AuthenticateStep { .. });
        if !is_asked || (self.limits.is_none() && username.is_none()) {
            return (answer, None);
        }
        let mut admission = match answer {
            // To an authentication method that is no answer.
            Answer::Allow if self.is_simple() => Box::default(),
            Answer::AllowWith(data) => Box::new(Admission { data, ..Admission::default() }),
            Answer::Admit(admission) => admission,
            answer => return (answer, None),
        };
        let by = self.limits.as_ref().map(|(by, _)| *by).filter(|_| admission.permissions.is_some());
        admission.permissions = admission.permissions.or(self.limits.map(|(_, permissions)| permissions));
        admission.username = admission.username.or(username);
        (Answer::Admit(admission), by)
    }

    /// Nobody is left to be asked.
    fn end(self) -> Answer {
        match self.call.question {
            Question::Subscribe { .. } | Question::Unsubscribe { .. }
                if self.verdicts.iter().all(|&verdict| verdict == ReasonCode::Success) =>
            {
                Answer::Allow
            }
            Question::Subscribe { .. } | Question::Unsubscribe { .. } => Answer::Filters(self.verdicts),
            Question::Publish { message, .. } if self.replaced => Answer::Replace(message),
            Question::Publish { .. } => Answer::Allow,
            Question::Authenticate(connect) if connect.method.is_none() => {
                Answer::Deny(ReasonCode::NotAuthorized)
            }
            Question::Authenticate(_) | Question::AuthenticateStep { .. } => {
                Answer::Deny(ReasonCode::BadAuthenticationMethod)
            }
            _ => Answer::Deny(ReasonCode::NotAuthorized),
        }
    }
}

/// Of two verdicts on a topic filter the one that grants less; of two refusals the first.
fn stricter(one: ReasonCode, other: ReasonCode) -> ReasonCode {
    let granted = |verdict| match verdict {
        ReasonCode::GrantedQoS1 => 1,
        ReasonCode::GrantedQoS2 => 2,
        ReasonCode::Success => 3,
        // Also what is no verdict at all.
        _ => 0,
    };
    if granted(other) < granted(one) { other } else { one }
}

/// Keeps a panic from the broker, of which a hook can reach nothing.
fn contained<T>(
    hook: &'static str,
    on_panic: &mut dyn FnMut(&HookPanic),
    call: impl FnOnce() -> T,
) -> Option<T> {
    let panic = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => return Some(value),
        Err(panic) => panic,
    };
    on_panic(&HookPanic { hook, message: message(&*panic) });
    None
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

impl Default for HookChain {
    fn default() -> Self {
        Self {
            links: Vec::new(),
            known: BTreeMap::new(),
            mailbox: Arc::default(),
            on_panic: Box::new(|_| ()),
            names: Vec::new(),
        }
    }
}

impl<H: Hook + 'static> From<H> for HookChain {
    fn from(hook: H) -> Self {
        Self::default().and(hook)
    }
}

impl fmt::Debug for HookChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.links.iter().map(|link| link.name).collect();
        f.debug_tuple("HookChain").field(&names).finish()
    }
}
