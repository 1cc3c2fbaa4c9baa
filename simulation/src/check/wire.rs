//! Each connection by itself, seen at the engine's two ends: what went in, and what came out.
//!
//! * `asked` — what a hook is asked about it
//! * `leaving` — what the engine sends: whether it may, now and in this order
//! * `offered` — what the broker takes, and what it says to who sends something else

mod asked;
mod leaving;
pub(super) mod offered;

use super::ledger::Ledger;
use super::{Books, Counts, Marks, Violation};
use crate::scenario::Properties;
use crate::trace::Trace;
use broker_engine::{CallId, Config, Permissions};
use mqtt_proto::{ConnAck, Connect, Disconnect, Limits, Packet, QoS, ReasonCode, Version};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// All connections.
#[derive(Clone, Debug)]
pub(super) struct Wires {
    /// Nothing where it was closed.
    links: Vec<Option<Box<Wire>>>,
    /// Those that are open.
    live: BTreeSet<usize>,
    /// Those of them that are followed by everything.
    followed: BTreeSet<usize>,
    config: Config,
    /// Of the first packet, and of all others.
    limits: [Limits; 2],
    /// Time until the store has kept something at most.
    pub(super) slowest_store: u64,
}

/// One connection.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // Independent facts.
pub(super) struct Wire {
    pub(super) client: usize,
    pub(super) opened_at: u64,
    version: Version,
    /// Bytes that are not a whole packet yet.
    inbox: Vec<u8>,
    /// What came cannot be understood; nothing further is expected of the engine but a close.
    pub(super) garbled: bool,
    pub(super) greeting: Option<Greeting>,
    /// The latest answer about it was yes.
    pub(super) is_allowed: bool,
    /// What its client may when it is let in; `None` is everything.
    pub(super) permissions: Option<Permissions>,
    /// It was let in, which CONNACK tells once the store has kept it: did an earlier session go on?
    goes_on: Option<bool>,
    /// The broker waits for its AUTH.
    pub(super) is_asked: bool,
    /// CONNACK came, with success.
    pub(super) online: bool,
    /// Something that ends the connection was sent.
    ended: bool,
    said_goodbye: bool,
    /// It sends bytes that need not mean anything.
    pub(super) hostile: bool,
    /// The broker does not read it.
    pub(super) paused: bool,
    /// When it was asked for, accepted, or the broker began or ended to read it.
    pub(super) last_flow: u64,
    /// When a hook was asked about it, until it hears the answer.
    pub(super) asked_at: Option<u64>,
    /// Open questions about its messages, and when the answer is no.
    publishes: Vec<(CallId, u64)>,
    /// Answers that it has still to hear: one may wait for the store while the next question is open.
    unheard: u32,
    /// Questions about its UNSUBSCRIBE packets that are not answered with UNSUBACK, and which of the filters were allowed.
    unsubscribes: VecDeque<(CallId, Vec<bool>)>,
    /// How many of its UNSUBACK packets came of questions that are not known of yet.
    answered_first: u32,
    /// Messages that came behind what was asked about.
    behind: Vec<u32>,
    /// When the oldest of its requests began to wait for nothing but its answer.
    pub(super) waiting_since: u64,
    /// Why the broker ended it, if it said so.
    told: Option<ReasonCode>,
    /// What it may say to a packet that is not what was offered.
    breaches: Vec<ReasonCode>,
    /// When its latest packet came, and the one before at another time.
    pub(super) last_packet: u64,
    packet_before: u64,
    /// Bytes that came.
    pub(super) came: u64,
    /// When anything came.
    pub(super) last_bytes: u64,
    /// PUBLISH packets that wait for PUBACK, or for PUBREC.
    unanswered: [VecDeque<u16>; 2],
    /// Requests that wait for their answer.
    requests: VecDeque<Request>,
    /// Filters of which the operator has changed the subscription since the client asked for them.
    overruled: BTreeSet<String>,
    /// Of its requests, the first so many came before its client's permissions changed.
    came_before: usize,
    releases: VecDeque<u16>,
    pings: u32,
    /// Its AUTH waits for an answer, while it is connected.
    authenticates: bool,
    /// Numbers of messages whose QoS 1 or 2 PUBLISH waits, by identifier.
    numbers: BTreeMap<u16, u32>,
    aliases: BTreeMap<u16, String>,
}

/// What CONNECT said.
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    client_id: String,
    clean: bool,
    /// Authentication Method.
    method: Option<String>,
    pub(super) keep_alive: u16,
    /// Session Expiry Interval.
    expiry: u32,
    receive_maximum: u16,
    maximum_packet_size: u32,
    topic_alias_maximum: u16,
    will: Option<u32>,
}

#[derive(Clone, Debug)]
enum Request {
    Subscribe(u16, Vec<(String, mqtt_proto::SubscribeOptions)>),
    Unsubscribe(u16, Vec<String>),
}

impl Request {
    fn is_about(&self, filter: &str) -> bool {
        match self {
            Self::Subscribe(_, filters) => filters.iter().any(|(known, _)| known == filter),
            Self::Unsubscribe(_, filters) => filters.iter().any(|known| known == filter),
        }
    }
}

/// Instead of a number, for messages without payload.
pub(super) const UNNUMBERED: u32 = u32::MAX;

/// The number of the message that a payload is.
pub(super) fn number_in(payload: &[u8]) -> Option<u32> {
    std::str::from_utf8(payload.get(..8)?).ok()?.parse().ok()
}

impl Wires {
    pub(super) fn new(config: &Config, slowest_store: u64) -> Self {
        let limits = Limits {
            max_packet_size: config.max_packet_size,
            max_filters: config.max_filters_per_packet,
            max_user_properties: config.max_user_properties,
            max_user_property_bytes: config.max_user_property_bytes,
            max_client_id_length: config.max_client_id_length,
            ..Limits::default()
        };
        let first = Limits { max_packet_size: config.max_packet_size_before_connect, ..limits };
        Self {
            links: Vec::new(),
            live: BTreeSet::new(),
            followed: BTreeSet::new(),
            config: config.clone(),
            limits: [first, limits],
            slowest_store,
        }
    }

    pub(super) fn opened(&mut self, now: u64, link: usize, client: usize, is_followed: bool) {
        debug_assert_eq!(link, self.links.len());
        self.live.insert(link);
        if is_followed {
            self.followed.insert(link);
        }
        self.links.push(Some(Box::new(Wire {
            client,
            opened_at: now,
            hostile: false,
            paused: false,
            last_flow: now,
            asked_at: None,
            publishes: Vec::new(),
            unheard: 0,
            unsubscribes: VecDeque::new(),
            answered_first: 0,
            behind: Vec::new(),
            waiting_since: now,
            told: None,
            breaches: Vec::new(),
            version: Version::V5,
            inbox: Vec::new(),
            garbled: false,
            greeting: None,
            goes_on: None,
            is_asked: false,
            is_allowed: false,
            online: false,
            ended: false,
            said_goodbye: false,
            last_packet: 0,
            packet_before: 0,
            came: 0,
            last_bytes: now,
            unanswered: [VecDeque::new(), VecDeque::new()],
            requests: VecDeque::new(),
            overruled: BTreeSet::new(),
            came_before: 0,
            permissions: None,
            releases: VecDeque::new(),
            pings: 0,
            authenticates: false,
            numbers: BTreeMap::new(),
            aliases: BTreeMap::new(),
        })));
    }

    /// Connections since then are none.
    pub(super) fn goes_back_from(&mut self, later: &Self) {
        self.links.resize_with(later.links.len(), || None);
    }

    pub(super) fn get(&self, link: usize) -> Option<&Wire> {
        self.links.get(link)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, link: usize) -> Option<&mut Wire> {
        self.links.get_mut(link)?.as_deref_mut()
    }

    /// Those that are open and followed by everything, in order.
    pub(super) fn followed(&self) -> impl Iterator<Item = &Wire> {
        self.followed.iter().filter_map(|link| self.get(*link))
    }

    pub(super) fn closed(&mut self, link: usize, ledger: &mut Ledger) {
        self.live.remove(&link);
        self.followed.remove(&link);
        let wire = self.links.get_mut(link).and_then(Option::take);
        if let Some(greeting) = wire.and_then(|wire| wire.greeting) {
            ledger.closed(&greeting.client_id);
        }
    }

    pub(super) fn fed(
        &mut self,
        now: u64,
        link: usize,
        bytes: &[u8],
        books: &mut Books<'_>,
        trace: &mut Trace,
    ) {
        let Books { ledger, marks, seen, works, called_at, .. } = books;
        let Some(wire) = self.links.get_mut(link).and_then(Option::as_deref_mut) else { return };
        wire.last_bytes = now;
        wire.came += bytes.len() as u64;
        if wire.garbled || wire.said_goodbye {
            return;
        }
        seen.chunk(link);
        let mut inbox = std::mem::take(&mut wire.inbox);
        inbox.extend_from_slice(bytes);
        // Behind a question everything waits, and behind work: it is heard later, or never. So it may be behind what is asked
        // next when a question times out late.
        let waits = wire.is_asked(now) || *works;
        let may_wait = waits || wire.is_asked(*called_at);
        if let Some(greeting) = wire.greeting.as_ref().filter(|_| !waits) {
            ledger.next_input(&greeting.client_id);
        }
        let mut rest = &inbox[..];
        loop {
            // Behind other packets it may be that the engine closes before it comes to this one.
            let first = rest.len() == inbox.len();
            if let Some(byte) = rest.first() {
                marks.packet(wire.state(), *byte);
            }
            let limits = &self.limits[usize::from(wire.greeting.is_some())];
            match Packet::parse(rest, wire.version, limits) {
                Ok(Some((packet, len))) => {
                    rest = &rest[len..];
                    trace.packet(now, wire.client, true, &packet);
                    let breaches = offered::breaches(&self.config, wire.version, &packet, len);
                    if !breaches.is_empty() {
                        wire.breaks(breaches, marks);
                        if !matches!(packet, Packet::Connect(_)) {
                            wire.garbled = true;
                            break;
                        }
                    }
                    // Timers that are due fire before what has come meanwhile, and what waits may end the connection.
                    let in_time = first && !wire.is_overdue(now) && !may_wait;
                    if wire.last_packet < now {
                        wire.packet_before = std::mem::replace(&mut wire.last_packet, now);
                    }
                    wire.take(now, link, &packet, in_time, ledger, marks);
                    seen.came(now, link, &packet, !first, marks);
                }
                Ok(None) => break,
                Err(_) => {
                    wire.garbled = true;
                    let breaches = match Packet::parse(rest, wire.version, &Limits::NONE) {
                        Ok(Some((packet, len))) => {
                            offered::breaches(&self.config, wire.version, &packet, len)
                        }
                        Ok(None) => vec![ReasonCode::PacketTooLarge],
                        Err(_) => Vec::new(),
                    };
                    wire.breaks(breaches, marks);
                    break;
                }
            }
        }
        wire.inbox = rest.to_vec();
    }

    pub(super) fn emitted(
        &mut self,
        now: u64,
        link: usize,
        bytes: &[u8],
        books: &mut Books<'_>,
        trace: &mut Trace,
    ) -> Result<(), Violation> {
        let Some(wire) = self.links.get_mut(link).and_then(Option::as_deref_mut) else {
            return Err(Violation::new("INV-51", now, "something is sent behind the close"));
        };
        let wrong = |name, detail: String| {
            Err(Violation::new(name, now, format!("client {}: {detail}", wire.client)))
        };
        books.counts.look("INV-50");
        // A CONNECT of a level that nobody knows is answered as 3.x clients understand it.
        let is_unknown = wire.greeting.is_none() && bytes.starts_with(&[0x20, 2]);
        let version = if is_unknown { Version::V311 } else { wire.version };
        let packet = match Packet::parse(bytes, version, &Limits::NONE) {
            Ok(Some((packet, len))) if len == bytes.len() => packet,
            other => return wrong("INV-50", format!("{bytes:02x?} is {other:?}")),
        };
        trace.packet(now, wire.client, false, &packet);
        books.counts.look("INV-51");
        if wire.ended {
            return wrong("INV-51", format!("{packet:?} comes behind the end"));
        }
        let greets = matches!(packet, Packet::ConnAck(_) | Packet::Auth(_));
        if greets == wire.online && !matches!(packet, Packet::Auth(_)) {
            return wrong("INV-51", format!("{packet:?} comes before CONNACK, or CONNACK again"));
        }
        if let Some(greeting) = &wire.greeting {
            books.counts.look("INV-17");
            if bytes.len() > greeting.maximum_packet_size as usize {
                return wrong(
                    "INV-17",
                    format!("{} bytes, {} are taken", bytes.len(), greeting.maximum_packet_size),
                );
            }
        }
        if let Packet::ConnAck(ConnAck { reason, .. }) | Packet::Disconnect(Disconnect { reason, .. }) =
            &packet
            && let Err((name, detail)) = wire.refused(*reason, books.counts)
        {
            return wrong(name, detail);
        }
        books.seen.left(now, link, &packet, books.marks);
        wire.give(now, link, &packet, books, &self.config)
            .map_err(|(name, detail)| Violation::new(name, now, format!("client {}: {detail}", wire.client)))
    }

    /// `short`: of memory, for which whoever publishes is not read for a moment each time.
    pub(super) fn all_answered(
        &self,
        now: u64,
        short: bool,
        spared: &BTreeSet<usize>,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        let expected = self.live.difference(spared).filter_map(|link| self.links.get(*link)?.as_deref());
        for wire in expected.filter(|wire| wire.online && !wire.garbled) {
            if short && wire.paused {
                continue;
            }
            counts.look("LIV-4");
            if wire.paused {
                let detail = format!("client {}: it is not read, and nothing is in the way", wire.client);
                return Err(Violation::new("LIV-4", now, detail));
            }
            counts.look("LIV-2");
            if let Some((what, count)) = wire.unanswered() {
                let detail = format!("client {}: {count} {what} were never answered", wire.client);
                return Err(Violation::new("LIV-2", now, detail));
            }
        }
        Ok(())
    }
}

pub(super) type Wrong = (&'static str, String);

impl Greeting {
    /// The client is let in; says whether its earlier session goes on.
    fn let_in(&self, link: usize, ledger: &mut Ledger) -> bool {
        let goes_on = ledger.connected(&self.client_id, link) && !self.clean;
        if !goes_on {
            ledger.began_anew(&self.client_id, link);
        }
        goes_on
    }
}

impl Wire {
    /// It is let in under this identifier, which the broker chose if it had none.
    pub(super) fn let_in(
        &mut self,
        link: usize,
        client_id: &str,
        ledger: &mut Ledger,
        counts: &mut Counts,
    ) -> Result<(), Wrong> {
        let Some(greeting) = &mut self.greeting else { return Ok(()) };
        client_id.clone_into(&mut greeting.client_id);
        self.goes_on = Some(greeting.let_in(link, ledger));
        ledger.admitted(client_id, self.permissions.take());
        let will = greeting.will.filter(|_| !self.hostile).and_then(|number| ledger.topic_of(number));
        let Some((topic, may)) = will.and_then(|topic| Some((topic, ledger.may_publish(client_id, topic)?)))
        else {
            return Ok(());
        };
        counts.look("INV-40");
        if may {
            return Ok(());
        }
        Err(("INV-40", format!("{client_id} is let in with a will to {topic}, where it may not publish")))
    }

    /// The operator changes the subscription with this filter: what is answered later was before that.
    pub(super) fn overruled(&mut self, filter: &str) {
        if self.requests.iter().any(|request| request.is_about(filter)) {
            self.overruled.insert(filter.to_owned());
        }
    }

    /// Is it not known whether a request that is answered is in force, as another one behind it is about the same filter?
    fn is_overruled(&mut self, filter: &str) -> bool {
        let by_itself = self.requests.iter().any(|request| request.is_about(filter));
        if by_itself { true } else { self.overruled.remove(filter) }
    }

    /// What its client may has changed: how what came before is judged is not known.
    pub(super) fn permitted(&mut self) {
        self.came_before = self.requests.len();
    }

    /// What is not answered, of one kind, and how often.
    pub(super) fn unanswered(&self) -> Option<(&'static str, usize)> {
        let open = [
            ("PUBLISH", self.unanswered.iter().map(VecDeque::len).sum::<usize>()),
            ("SUBSCRIBE or UNSUBSCRIBE", self.requests.len()),
            ("PUBREL", self.releases.len()),
            ("PINGREQ", self.pings as usize),
            ("AUTH", usize::from(self.authenticates)),
        ];
        open.into_iter().find(|(_, count)| *count > 0)
    }

    /// A shutdown closes it: a client of MQTT 5 was told, unless it had been silent for too long before: timers that are
    /// due fire first.
    pub(super) fn told_of_shutdown(&self) -> Result<(), String> {
        let hears = self.online && self.version == Version::V5;
        let is_right = |told| matches!(told, ReasonCode::ServerShuttingDown | ReasonCode::KeepAliveTimeout);
        if hears && !self.told.is_some_and(is_right) {
            return Err(format!("client {} hears {:?} of a shutdown", self.client, self.told));
        }
        Ok(())
    }

    /// Its client was let in.
    pub(super) fn is_online(&self) -> bool {
        self.online
    }

    /// Its place in [`super::STATES`].
    pub(super) fn state(&self) -> usize {
        match (&self.greeting, self.online) {
            _ if self.said_goodbye || self.ended => 3,
            (None, _) => 0,
            (Some(_), false) => 1,
            (Some(_), true) => 2,
        }
    }

    /// A packet of the client.
    fn take(
        &mut self,
        now: u64,
        link: usize,
        packet: &Packet<'_>,
        in_time: bool,
        ledger: &mut Ledger,
        marks: &mut Marks,
    ) {
        let client_id = self.greeting.as_ref().map(|greeting| greeting.client_id.clone()).unwrap_or_default();
        if self.unanswered().is_none() {
            self.waiting_since = now;
        }
        match packet {
            Packet::Connect(connect) if self.greeting.is_none() => {
                self.last_flow = now;
                self.greeted(connect);
                if let Some(will) = &connect.will
                    && let Some(number) = number_in(will.payload)
                {
                    ledger.says(number, Properties::of_will(&will.properties), false);
                }
                if let Some(will) = connect.will.as_ref().filter(|_| self.hostile) {
                    ledger.strange(will.topic.as_str(), will.payload);
                }
            }
            Packet::Publish(publish) => {
                let number = number_in(publish.payload);
                if let Some(topic) = publish.topic.filter(|_| self.hostile) {
                    ledger.strange(topic.as_str(), publish.payload);
                }
                if self.hostile && publish.qos == QoS::ExactlyOnce {
                    ledger.estranged(&client_id);
                }
                if let Some(number) = number {
                    let came_before = ledger.has_come(number);
                    ledger.says(number, Properties::of_publish(&publish.properties), came_before);
                    // Behind a question it is handled later, and sooner than it is answered where the connection ends.
                    let waits = self.is_asked(now);
                    let at = if waits { u64::MAX } else { now };
                    let from = (link, &*client_id, self.hostile);
                    ledger.arrived(at, number, publish.properties.message_expiry_interval, from);
                    if waits {
                        self.behind.push(number);
                    } else {
                        self.behind.clear();
                    }
                }
                if let Some(id) = publish.packet_id {
                    let kind = usize::from(publish.qos == QoS::ExactlyOnce);
                    self.unanswered[kind].push_back(id.get());
                    if let Some(number) = number {
                        self.numbers.insert(id.get(), number);
                    }
                }
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) if ack.reason.is_error() => {
                marks.hit("a message refused by its receiver");
                let qos =
                    if matches!(packet, Packet::PubAck(_)) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
                ledger.acknowledged(&client_id, ack.packet_id.get(), qos, ack.reason);
            }
            Packet::PubAck(ack) => {
                ledger.acknowledged(&client_id, ack.packet_id.get(), QoS::AtLeastOnce, ack.reason);
            }
            Packet::PubRec(ack) => {
                ledger.acknowledged(&client_id, ack.packet_id.get(), QoS::ExactlyOnce, ack.reason);
            }
            Packet::PubComp(ack) => ledger.completed(&client_id, ack.packet_id.get()),
            Packet::PubRel(ack) => self.releases.push_back(ack.packet_id.get()),
            Packet::Subscribe(subscribe) => {
                let filters: Vec<_> =
                    subscribe.filters.iter().map(|(filter, options)| (filter.to_owned(), options)).collect();
                ledger.subscribing(&client_id, &filters);
                self.requests.push_back(Request::Subscribe(subscribe.packet_id.get(), filters));
            }
            Packet::Unsubscribe(unsubscribe) => {
                let filters: Vec<String> = unsubscribe.filters.iter().map(str::to_owned).collect();
                ledger.unsubscribing(&client_id, &filters);
                self.requests.push_back(Request::Unsubscribe(unsubscribe.packet_id.get(), filters));
            }
            Packet::PingReq => self.pings += 1,
            Packet::Auth(_) => {
                (self.last_flow, self.is_asked) = (now, false);
                if self.online {
                    (self.authenticates, self.is_allowed) = (true, false);
                }
            }
            Packet::Disconnect(disconnect) => {
                self.said_goodbye = true;
                let will = self.greeting.as_ref().and_then(|greeting| greeting.will);
                if let Some(will) = will.filter(|_| {
                    in_time && self.online && !self.hostile && disconnect.reason == ReasonCode::Success
                }) {
                    ledger.will_cancelled(will);
                }
            }
            _ => {}
        }
    }

    /// The engine says why it ends the connection: a client that keeps to the rules is not accused of breaking them.
    pub(super) fn accused(&self, reason: ReasonCode) -> Result<(), Wrong> {
        let is_accused = offered::is_accusation(reason) && self.breaches.is_empty();
        if is_accused && self.online && !self.hostile {
            return Err((
                "INV-53",
                format!("client {} did nothing wrong, and hears {reason:?}", self.client),
            ));
        }
        Ok(())
    }

    /// It has sent what the broker does not take.
    fn breaks(&mut self, breaches: Vec<ReasonCode>, marks: &mut Marks) {
        if let Some(breach) = breaches.first() {
            marks.refused(*breach);
            self.breaches = breaches;
        }
    }

    /// What ends the connection names a breach where there was one, and the right one.
    fn refused(&self, reason: ReasonCode, counts: &mut Counts) -> Result<(), Wrong> {
        let is_judged = self.version == Version::V5 && !self.hostile && !self.breaches.is_empty();
        if !is_judged {
            return Ok(());
        }
        counts.look("INV-63");
        let is_wrong = offered::is_accusation(reason) && !self.breaches.contains(&reason);
        if is_wrong || reason == ReasonCode::Success && !self.online {
            return Err(("INV-63", format!("what breaks {:?} is answered {reason:?}", self.breaches)));
        }
        Ok(())
    }

    fn is_overdue(&self, now: u64) -> bool {
        let keep_alive = self.greeting.as_ref().map_or(0, |greeting| u64::from(greeting.keep_alive));
        keep_alive > 0 && now - self.last_packet >= keep_alive * 1_500_000
    }

    fn greeted(&mut self, connect: &Connect<'_>) {
        self.version = connect.version;
        let p = &connect.properties;
        self.greeting = Some(Greeting {
            client_id: connect.client_id.to_owned(),
            clean: connect.clean_start,
            method: p.authentication_method.map(str::to_owned),
            keep_alive: connect.keep_alive,
            expiry: p.session_expiry_interval.unwrap_or(0),
            receive_maximum: p.receive_maximum.unwrap_or(u16::MAX),
            maximum_packet_size: p.maximum_packet_size.unwrap_or(u32::MAX),
            topic_alias_maximum: p.topic_alias_maximum.unwrap_or(0),
            will: connect.will.as_ref().and_then(|will| number_in(will.payload)),
        });
    }
}
