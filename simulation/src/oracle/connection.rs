//! From bytes to packets, and from packets to what the broker does.

use super::Oracle;
use super::broker::{Hello, told_until};
use super::compare::Wrong;
use super::permissions::{may_publish, may_subscribe};
use super::session::{Message, Will};
use crate::check::{Counts, Part};
use broker_engine::{Answer as Said, Permissions};
use mqtt_proto::{Auth, Connect, Packet, Publish, QoS, ReasonCode, SubscribeOptions, Version};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Index, IndexMut};

/// Those that are followed, by their number.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(BTreeMap<usize, Connection>);

/// A network connection.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // Independent facts.
pub(super) struct Connection {
    /// How closely its client is followed.
    part: Part,
    pub(super) state: State,
    /// Bytes that are not a whole packet yet, or wait for CONNACK.
    inbox: Vec<u8>,
    /// When its latest packet was handled.
    pub(super) last_seen: u64,
    pub(super) was_paused: bool,
    /// Its AUTH waits for an answer, and everything behind it.
    pub(super) authenticates: bool,
    /// The broker waits for its AUTH.
    is_asked: bool,
    /// What its client may when it is let in.
    pub(super) permissions: Option<Permissions>,
    /// Its client sent DISCONNECT.
    pub(super) said_goodbye: bool,
    aliases: BTreeMap<u16, String>,
    /// QoS 2 messages of this connection that wait for PUBREL.
    unreleased: BTreeSet<u16>,
    /// What PUBACK and PUBREC have to say, by identifier.
    pub(super) answers: [VecDeque<(u16, Answer)>; 2],
}

/// What is said of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It came before.
    Again,
    /// It is handed on, to somebody or to nobody.
    Routed { matched: bool },
    /// Not, for this reason: there is no room for what it wants to be retained, or its topic name is too long.
    Refused(ReasonCode),
    /// Its client may not publish it.
    Denied,
    /// It was not understood.
    Any,
}

#[derive(Clone, Debug, Default)]
pub(super) enum State {
    #[default]
    Opening,
    /// Its CONNECT waits for an answer.
    Waiting(Hello),
    Online(Hello),
    Over,
}

impl Connections {
    pub(super) fn open(&mut self, link: usize, part: Part) {
        self.0.insert(link, Connection::new(part, State::Opening));
    }

    /// Is this one followed?
    pub(super) fn has(&self, link: usize) -> bool {
        self.0.contains_key(&link)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Connection)> {
        self.0.iter().map(|(link, connection)| (*link, connection))
    }

    /// All have ended.
    pub(super) fn end(&mut self) {
        for connection in self.0.values_mut() {
            *connection = Connection::new(connection.part, State::Over);
        }
    }
}

impl Index<usize> for Connections {
    type Output = Connection;

    fn index(&self, link: usize) -> &Connection {
        &self.0[&link]
    }
}

impl IndexMut<usize> for Connections {
    fn index_mut(&mut self, link: usize) -> &mut Connection {
        self.0.get_mut(&link).expect("a connection that is followed")
    }
}

impl Connection {
    fn new(part: Part, state: State) -> Self {
        Self {
            part,
            state,
            inbox: Vec::new(),
            last_seen: 0,
            was_paused: false,
            authenticates: false,
            is_asked: false,
            permissions: None,
            said_goodbye: false,
            aliases: BTreeMap::new(),
            unreleased: BTreeSet::new(),
            answers: [VecDeque::new(), VecDeque::new()],
        }
    }

    pub(super) fn hello(&self) -> Option<&Hello> {
        match &self.state {
            State::Waiting(hello) | State::Online(hello) => Some(hello),
            State::Opening | State::Over => None,
        }
    }
}

impl Oracle {
    pub(super) fn received(&mut self, now: u64, link: usize, bytes: &[u8]) {
        self.connections[link].inbox.extend_from_slice(bytes);
        self.read(now, link);
    }

    /// Handles whole packets; before CONNECT is answered, they wait.
    fn read(&mut self, now: u64, link: usize) {
        let inbox = std::mem::take(&mut self.connections[link].inbox);
        let mut rest = &inbox[..];
        loop {
            let connection = &mut self.connections[link];
            if connection.authenticates {
                break;
            }
            let [first, others] = &self.limits;
            let (version, limits) = match &connection.state {
                State::Opening => (Version::V5, first),
                State::Online(hello) => (hello.version, others),
                // Steps of its authentication; everything else waits.
                State::Waiting(hello) => match Packet::parse(rest, hello.version, others) {
                    Ok(Some((Packet::Auth(_), len))) => {
                        rest = &rest[len..];
                        continue;
                    }
                    _ => break,
                },
                State::Over => return,
            };
            match Packet::parse(rest, version, limits) {
                Ok(Some((packet, len))) => {
                    connection.last_seen = now;
                    self.packet(now, link, &packet);
                    rest = &rest[len..];
                }
                Ok(None) => break,
                Err(_) => return self.close(now, link, true),
            }
        }
        self.connections[link].inbox = rest.to_vec();
    }

    fn packet(&mut self, now: u64, link: usize, packet: &Packet<'_>) {
        let client_id = match (&self.connections[link].state, packet) {
            (State::Opening, Packet::Connect(connect)) => {
                self.connections[link].state = State::Waiting(hello(connect));
                return;
            }
            (State::Online(hello), _) => hello.client_id.clone(),
            _ => return self.close(now, link, true),
        };
        match packet {
            Packet::Publish(publish) => self.publish(now, link, &client_id, publish),
            Packet::PubRel(ack) => {
                self.connections[link].unreleased.remove(&ack.packet_id.get());
                if let Some(session) = self.broker.session(&client_id) {
                    session.received.remove(&ack.packet_id.get());
                }
            }
            // What it gets is not judged.
            Packet::Subscribe(_) if self.connections[link].part == Part::Sender => {}
            Packet::Subscribe(subscribe) => {
                let filters: Vec<_> =
                    subscribe.filters.iter().map(|(filter, options)| (filter.to_owned(), options)).collect();
                // [MQTT-3.8.3-4]
                if filters
                    .iter()
                    .any(|(filter, options)| options.no_local && super::topics::is_shared(filter))
                {
                    return self.close(now, link, true);
                }
                // Who was told what is not offered ends its connection by asking for it.
                let config = &self.broker.config;
                let is_told =
                    self.connections[link].hello().is_some_and(|hello| hello.version == Version::V5);
                let mut taken = filters.iter().filter(|(filter, _)| self.broker.is_taken(filter));
                if subscribe.subscription_id.is_some() && !config.subscription_ids
                    || is_told && taken.any(|(filter, _)| !self.broker.is_offered(filter))
                {
                    return self.close(now, link, true);
                }
                let filters = self.allowed(&client_id, filters);
                self.broker.subscribe(&client_id, subscribe.subscription_id, &filters);
            }
            Packet::Unsubscribe(unsubscribe) => {
                for filter in unsubscribe.filters.iter() {
                    self.broker.unsubscribe(&client_id, filter);
                }
            }
            Packet::Disconnect(disconnect) => {
                self.connections[link].said_goodbye = true;
                let longest = self.broker.config.max_session_expiry;
                if let (Some(expiry), Some(session)) =
                    (disconnect.properties.session_expiry_interval, self.broker.session(&client_id))
                {
                    // One that was to end with its connection gets no longer life [3.14.2.2.2].
                    if session.expiry == 0 && expiry > 0 {
                        return self.close(now, link, true);
                    }
                    session.expiry = expiry.min(longest);
                }
                // [MQTT-3.14.4-3]
                self.close(now, link, disconnect.reason != ReasonCode::Success);
            }
            Packet::Auth(auth) if self.may_authenticate(link, auth) => {
                let connection = &mut self.connections[link];
                (connection.authenticates, connection.is_asked) = (true, false);
                // What its silence says is for the engine to know.
                connection.was_paused = true;
            }
            Packet::PingReq | Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_) => {}
            // A second CONNECT, what only a server sends, and authentication that nobody began.
            _ => self.close(now, link, true),
        }
    }

    /// By the method of CONNECT, anew or because it was asked to [MQTT-4.12.0-5], [MQTT-4.12.1-1].
    fn may_authenticate(&self, link: usize, auth: &Auth<'_>) -> bool {
        let connection = &self.connections[link];
        let method = connection.hello().and_then(|hello| hello.method.as_deref());
        method.is_some()
            && method == auth.properties.authentication_method
            && match auth.reason {
                ReasonCode::ContinueAuthentication => connection.is_asked,
                ReasonCode::ReAuthenticate => !connection.is_asked,
                _ => false,
            }
    }

    /// Who authenticates again goes on; who is refused is told so and closed.
    pub(super) fn authenticated(&mut self, now: u64, link: usize, said: &Said) {
        let connection = &mut self.connections[link];
        let State::Online(hello) = &connection.state else { return };
        match said {
            _ if !connection.authenticates => return,
            Said::Continue(_) => connection.is_asked = true,
            Said::Admit(admission) => {
                let client_id = hello.client_id.clone();
                self.broker.permit(&client_id, admission.permissions.as_ref());
                self.permitted = Some(client_id);
            }
            Said::Allow | Said::AllowWith(_) => {}
            _ => return,
        }
        self.connections[link].authenticates = false;
        self.read(now, link);
    }

    /// Filters of a SUBSCRIBE without those that reach beyond what its client may read.
    fn allowed(
        &mut self,
        client_id: &str,
        mut filters: Vec<(String, SubscribeOptions)>,
    ) -> Vec<(String, SubscribeOptions)> {
        let session = self.broker.sessions.get(client_id).filter(|_| self.broker.config.check_subscriptions);
        if let Some(permissions) = session.and_then(|session| session.permissions.as_ref()) {
            let may: Vec<_> = filters.iter().map(|(filter, _)| may_subscribe(permissions, filter)).collect();
            self.undecided |= may.contains(&None);
            let mut may = may.into_iter();
            filters.retain(|_| may.next() == Some(Some(true)));
        }
        filters
    }

    fn publish(&mut self, now: u64, link: usize, client_id: &str, publish: &Publish<'_>) {
        let config = &self.broker.config;
        let is_offered = publish.qos <= config.maximum_qos && (!publish.retain || config.retain_available);
        let receive_maximum = usize::from(config.receive_maximum);
        let connection = &mut self.connections[link];
        let name = publish.topic.map(|topic| topic.as_str().to_owned());
        let topic = match (name, publish.properties.topic_alias) {
            (Some(name), alias) => {
                alias.map(|alias| connection.aliases.insert(alias, name.clone()));
                Some(name)
            }
            (None, alias) => alias.and_then(|alias| connection.aliases.get(&alias).cloned()),
        };
        let Some(topic) = topic.filter(|_| is_offered) else { return self.close(now, link, true) };
        let is_full = publish.retain && !self.broker.can_keep(&topic, publish.payload);
        let is_short = self.broker.is_short(&topic);
        let is_new = connection.hello().is_some_and(|hello| hello.version == Version::V5);
        let id = publish.packet_id.map_or(0, mqtt_proto::PacketId::get);
        let kind = usize::from(publish.qos == QoS::ExactlyOnce);
        let Some(session) = self.broker.session(client_id) else { return };
        // A QoS 2 message that was received already is acknowledged again and goes nowhere [MQTT-4.3.3-10].
        if publish.qos == QoS::ExactlyOnce && session.received.contains(&id) {
            connection.answers[kind].push_back((id, Answer::Again));
            return;
        }
        // [MQTT-3.3.4-7]
        if publish.qos > QoS::AtMostOnce && connection.unreleased.len() >= receive_maximum {
            self.exceeded.push(link);
            return self.close(now, link, true);
        }
        if topic.is_empty() || topic.starts_with("$SYS") || topic.starts_with("$share/") {
            connection.answers[kind].push_back((id, Answer::Any));
            self.undecided = true;
            return;
        }
        let is_denied = !may_publish(session.permissions.as_ref(), &topic);
        let refusal = if !is_short {
            Some(Answer::Refused(ReasonCode::TopicNameInvalid))
        } else if is_denied {
            Some(Answer::Denied)
        } else {
            is_full.then_some(Answer::Refused(ReasonCode::QuotaExceeded))
        };
        if let Some(answer) = refusal {
            // Who cannot be told why goes on to PUBREL.
            if publish.qos == QoS::ExactlyOnce && !is_new {
                session.received.insert(id);
                connection.unreleased.insert(id);
            }
            if publish.qos > QoS::AtMostOnce {
                connection.answers[kind].push_back((id, answer));
            }
            if is_denied {
                self.broker.denied.insert((topic, publish.payload.to_vec()));
            }
            return;
        }
        if publish.qos == QoS::ExactlyOnce {
            session.received.insert(id);
            connection.unreleased.insert(id);
        }
        let message = Message {
            publisher: client_id.to_owned(),
            topic,
            payload: publish.payload.to_vec(),
            properties: publish.properties.raw().len(),
            qos: publish.qos,
            retain: publish.retain,
            expires_at: self.broker.expires_at(now, publish.properties.message_expiry_interval),
            told_until: told_until(now, publish.properties.message_expiry_interval),
            is_will: false,
        };
        let matched = self.broker.publish(message);
        if publish.qos > QoS::AtMostOnce {
            // It may be for somebody who is not followed.
            let is_known = matched || self.parts.is_none();
            let answer = if is_known { Answer::Routed { matched } } else { Answer::Any };
            self.connections[link].answers[kind].push_back((id, answer));
        }
    }

    /// CONNECT is answered with yes: there is a session now, and what the client sent meanwhile counts.
    pub(super) fn accepted(
        &mut self,
        now: u64,
        link: usize,
        (client_id, present): (&str, bool),
        counts: &mut Counts,
    ) -> Result<(), Wrong> {
        let State::Waiting(mut hello) = std::mem::take(&mut self.connections[link].state) else {
            return Err(("INV-51", format!("connection {link} is accepted, and did not ask")));
        };
        if hello.client_id.is_empty() {
            // An identifier that nobody has [MQTT-3.1.3-6].
            client_id.clone_into(&mut hello.client_id);
            if self.broker.sessions.contains_key(client_id) {
                return Err(("INV-20", format!("{client_id} is given to another client")));
            }
        }
        if let Some(session) = self.broker.sessions.get(&hello.client_id) {
            counts.look("INV-24");
            if self.broker.config.bind_session_to_user && session.username != hello.username {
                let (owner, other) = (&session.username, &hello.username);
                return Err(("INV-24", format!("the session of {owner:?} goes to {other:?}")));
            }
            if let Some(older) = session.link {
                self.connections[older].state = State::Over;
            }
        }
        // Who can be told has the broker's keep-alive [MQTT-3.1.2-21].
        let longest = self.broker.config.max_keep_alive;
        if hello.version == Version::V5
            && longest > 0
            && (hello.keep_alive == 0 || hello.keep_alive > longest)
        {
            hello.keep_alive = longest;
        }
        if let Some(parts) = &mut self.parts {
            parts.insert(hello.client_id.clone(), self.connections[link].part);
        }
        let existed = self.broker.connect(now, &hello, link);
        let permissions = self.connections[link].permissions.take();
        self.broker.permit(&hello.client_id, permissions.as_ref());
        if existed != present {
            return Err(("INV-22", format!("Session Present is {present}, and there was one: {existed}")));
        }
        let connection = &mut self.connections[link];
        (connection.state, connection.last_seen) = (State::Online(hello), now);
        self.read(now, link);
        Ok(())
    }

    /// A connection ends, and with it perhaps more.
    pub(super) fn close(&mut self, now: u64, link: usize, will_is_due: bool) {
        let state = std::mem::replace(&mut self.connections[link].state, State::Over);
        let State::Online(hello) = state else { return };
        if self.broker.session(&hello.client_id).is_some_and(|session| session.link == Some(link)) {
            self.broker.disconnect(now, &hello.client_id, will_is_due);
        }
    }
}

fn hello(connect: &Connect<'_>) -> Hello {
    let properties = &connect.properties;
    Hello {
        version: connect.version,
        client_id: connect.client_id.to_owned(),
        method: properties.authentication_method.map(str::to_owned),
        username: connect.username.map(str::to_owned),
        clean: connect.clean_start,
        keep_alive: connect.keep_alive,
        maximum_packet_size: properties.maximum_packet_size.unwrap_or(u32::MAX),
        expiry: properties.session_expiry_interval.unwrap_or(0),
        will: connect.will.as_ref().map(|will| Will {
            topic: will.topic.as_str().to_owned(),
            payload: will.payload.to_vec(),
            qos: will.qos,
            retain: will.retain,
            delay: will.properties.will_delay_interval.unwrap_or(0),
            properties: will.properties.raw().len(),
            message_expiry: will.properties.message_expiry_interval,
        }),
    }
}
