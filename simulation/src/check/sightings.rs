//! What is worth seeing and takes a memory to see: which steps were apart when a connection ended, who came back just in
//! time, what came in one chunk.

use super::Marks;
use crate::world::Table;
use broker_engine::{Config, DropReason, Note};
use mqtt_proto::{Ack, Connect, Packet, Publish, QoS, ReasonCode, Subscribe, Version};
use std::collections::{BTreeMap, BTreeSet};

const SECOND: u64 = 1_000_000;

/// What was seen of connections, sessions and messages.
#[derive(Clone, Debug)]
pub(super) struct Sightings {
    max_connections: usize,
    max_inflight: u16,
    max_session_expiry: u32,
    links: BTreeMap<usize, Seen>,
    /// Those that are accepted.
    online: usize,
    /// Connections that ended in this call.
    over: Vec<usize>,
    people: BTreeMap<String, Person>,
    /// Messages by number.
    messages: BTreeMap<u32, Life>,
    /// Messages that a member of a shared group had in flight when its session ended.
    orphaned: BTreeSet<u32>,
    /// Clients for which this call dropped something too large.
    too_large: BTreeSet<String>,
}

/// An accepted connection, or one that asks.
#[derive(Clone, Debug)]
struct Seen {
    client_id: String,
    version: Version,
    receive_maximum: u16,
    expiry: u32,
    /// Number, topic and delay of its will.
    will: Option<(Option<u32>, String, u32)>,
    online: bool,
    /// QoS 2 messages of the client that wait for PUBREL.
    received: BTreeSet<u16>,
    /// Messages to the client, in their order.
    outgoing: BTreeMap<u16, Outgoing>,
    sent: u64,
    last_id: u16,
    /// The message sent last, and how often in a row.
    latest: (Option<u32>, u32),
    filters: BTreeSet<String>,
    unsubscribed: BTreeMap<String, u64>,
    /// Retained messages since the latest SUBSCRIBE, and whether one was cleared behind one of them.
    retained: u32,
    cleared: bool,
    /// A SUBSCRIBE was in the latest chunk.
    subscribes: bool,
}

#[derive(Clone, Debug)]
struct Outgoing {
    order: u64,
    qos: QoS,
    number: Option<u32>,
    released: bool,
}

/// Who has or had a session.
#[derive(Clone, Debug, Default)]
struct Person {
    link: Option<usize>,
    ends_at: Option<u64>,
    will_at: Option<u64>,
    ended_at: Option<u64>,
    takeovers: Vec<u64>,
    /// Identifiers of messages that the broker has acknowledged.
    answered: BTreeSet<u16>,
}

/// A message.
#[derive(Clone, Copy, Debug)]
struct Life {
    version: Version,
    over_at: Option<u64>,
    /// It is a will with a delay.
    delayed: bool,
}

fn number_in(payload: &[u8]) -> Option<u32> {
    std::str::from_utf8(payload.get(..8)?).ok()?.parse().ok()
}

impl Sightings {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            max_connections: config.max_connections as usize,
            max_inflight: config.max_inflight,
            max_session_expiry: config.max_session_expiry,
            links: BTreeMap::new(),
            online: 0,
            over: Vec::new(),
            people: BTreeMap::new(),
            messages: BTreeMap::new(),
            orphaned: BTreeSet::new(),
            too_large: BTreeSet::new(),
        }
    }

    /// The engine is about to get a chunk.
    pub(super) fn chunk(&mut self, link: usize) {
        if let Some(seen) = self.links.get_mut(&link) {
            seen.subscribes = false;
        }
    }

    /// A packet of a client; `behind`: others were before it in its chunk.
    pub(super) fn came(
        &mut self,
        now: u64,
        link: usize,
        packet: &Packet<'_>,
        behind: bool,
        marks: &mut Marks,
    ) {
        if let Packet::Connect(connect) = packet {
            return self.greeted(link, connect, marks);
        }
        if let Packet::Publish(publish) = packet
            && publish.retain
            && publish.payload.is_empty()
        {
            self.links.values_mut().for_each(|seen| seen.cleared |= seen.retained > 0);
        }
        let Some(seen) = self.links.get_mut(&link) else { return };
        if behind && !seen.online {
            marks.hit("CONNECT and more at once");
        }
        match packet {
            Packet::Publish(publish) => {
                let life = Life {
                    version: seen.version,
                    over_at: publish
                        .properties
                        .message_expiry_interval
                        .map(|life| now + u64::from(life) * SECOND),
                    delayed: false,
                };
                if let Some(number) = number_in(publish.payload) {
                    self.messages.insert(number, life);
                }
                let person = self.people.entry(seen.client_id.clone()).or_default();
                seen.publishes(publish, person, marks);
            }
            Packet::PubAck(ack) => seen.acknowledges(ack, QoS::AtLeastOnce, marks),
            Packet::PubRec(ack) => seen.acknowledges(ack, QoS::ExactlyOnce, marks),
            Packet::PubComp(ack) => {
                let id = ack.packet_id.get();
                seen.outgoing.retain(|other, outgoing| *other != id || !outgoing.released);
            }
            Packet::PubRel(ack) => drop(seen.received.remove(&ack.packet_id.get())),
            Packet::Subscribe(subscribe) => seen.subscribes(now, subscribe, marks),
            Packet::Unsubscribe(unsubscribe) => {
                if !seen.outgoing.is_empty() {
                    marks.hit("UNSUBSCRIBE with messages in flight");
                }
                for filter in unsubscribe.filters.iter() {
                    seen.filters.remove(filter);
                    seen.unsubscribed.insert(filter.to_owned(), now);
                }
            }
            Packet::Disconnect(disconnect) => {
                if let Some(expiry) = disconnect.properties.session_expiry_interval {
                    seen.expiry = expiry;
                    marks.hit("DISCONNECT with another expiry");
                }
                match disconnect.reason {
                    ReasonCode::Success => seen.will = None,
                    _ => marks.hit("DISCONNECT that leaves the will due"),
                }
            }
            _ => {}
        }
    }

    fn greeted(&mut self, link: usize, connect: &Connect<'_>, marks: &mut Marks) {
        let p = &connect.properties;
        if self.links.contains_key(&link) {
            return marks.hit("a second CONNECT on a connection");
        }
        for (is_so, mark) in [
            (p.receive_maximum == Some(u16::MAX), "a Receive Maximum of 65,535"),
            (p.topic_alias_maximum == Some(u16::MAX), "a Topic Alias Maximum of 65,535"),
            (p.maximum_packet_size.is_some_and(|most| most < 10), "a Maximum Packet Size below CONNACK"),
            (p.session_expiry_interval == Some(u32::MAX), "a session that never expires"),
            (connect.version == Version::V31 && connect.client_id.len() > 23, "a long identifier in 3.1"),
        ] {
            if is_so {
                marks.hit(mark);
            }
        }
        let will = connect.will.as_ref().map(|will| {
            let delay = will.properties.will_delay_interval.unwrap_or(0);
            let number = number_in(will.payload);
            if let Some(number) = number {
                let life = Life { version: connect.version, over_at: None, delayed: delay > 0 };
                self.messages.insert(number, life);
            }
            (number, will.topic.as_str().to_owned(), delay)
        });
        let expiry = match connect.version {
            Version::V5 => p.session_expiry_interval.unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => u32::MAX,
        };
        let seen = Seen {
            client_id: connect.client_id.to_owned(),
            version: connect.version,
            receive_maximum: p.receive_maximum.unwrap_or(u16::MAX).min(self.max_inflight),
            expiry: expiry.min(self.max_session_expiry),
            will,
            online: false,
            received: BTreeSet::new(),
            outgoing: BTreeMap::new(),
            sent: 0,
            last_id: 0,
            latest: (None, 0),
            filters: BTreeSet::new(),
            unsubscribed: BTreeMap::new(),
            retained: 0,
            cleared: false,
            subscribes: false,
        };
        self.links.insert(link, seen);
    }

    /// A packet of the engine.
    pub(super) fn left(&mut self, now: u64, link: usize, packet: &Packet<'_>, marks: &mut Marks) {
        let Some(seen) = self.links.get_mut(&link) else { return };
        match packet {
            Packet::ConnAck(connack) => match connack.reason {
                ReasonCode::QuotaExceeded => {
                    marks.hit("a client refused for want of room");
                    if self.max_connections < u32::MAX as usize {
                        marks.fault("N14");
                    }
                }
                ReasonCode::NotAuthorized => marks.hit("a client that is not let in"),
                reason => {
                    let was_online = std::mem::replace(&mut seen.online, !reason.is_error());
                    self.online += usize::from(seen.online && !was_online);
                }
            },
            Packet::PubAck(ack) | Packet::PubRec(ack) => {
                if let Packet::PubRec(_) = packet
                    && !ack.reason.is_error()
                {
                    seen.received.insert(ack.packet_id.get());
                }
                if ack.reason.is_error() {
                    marks.hit("a message refused by the broker");
                }
                self.people.entry(seen.client_id.clone()).or_default().answered.insert(ack.packet_id.get());
            }
            Packet::PubRel(ack) if ack.reason.is_error() => marks.hit("PUBREC for nothing"),
            Packet::PubRel(ack) => {
                let (order, id) = (seen.sent, ack.packet_id.get());
                let known = Outgoing { order, qos: QoS::ExactlyOnce, number: None, released: true };
                seen.outgoing.entry(id).or_insert(known).released = true;
            }
            Packet::PubComp(ack) if ack.reason.is_error() => marks.hit("PUBREL for nothing"),
            Packet::SubAck(ack) if ack.reasons.iter().any(ReasonCode::is_error) => {
                marks.hit("a subscription refused");
            }
            Packet::Publish(publish) => self.delivered(now, link, publish, marks),
            Packet::Disconnect(disconnect) => match disconnect.reason {
                ReasonCode::MalformedPacket => marks.hit("DISCONNECT for a malformed packet"),
                ReasonCode::ProtocolError => marks.hit("DISCONNECT for a breach of the protocol"),
                ReasonCode::ReceiveMaximumExceeded => marks.hit("DISCONNECT for too many messages at once"),
                ReasonCode::AdministrativeAction => marks.hit("DISCONNECT by the operator"),
                _ => {}
            },
            _ => {}
        }
    }

    fn delivered(&mut self, now: u64, link: usize, publish: &Publish<'_>, marks: &mut Marks) {
        let Some(seen) = self.links.get_mut(&link) else { return };
        let number = number_in(publish.payload);
        if let Some(life) = number.and_then(|number| self.messages.get(&number)) {
            if (life.version == Version::V5) != (seen.version == Version::V5) {
                marks.hit("a message between two versions");
                marks.fault("C12");
            }
            if publish.dup && life.over_at.is_some_and(|at| at < now) {
                marks.hit("a message sent again behind its expiry");
            }
            if life.delayed {
                marks.hit("a will with a delay");
            }
        }
        let own_will = seen.will.as_ref().is_some_and(|(own, topic, _)| {
            *own != number && Some(topic.as_str()) == publish.topic.map(mqtt_proto::TopicName::as_str)
        });
        let wills = |number| self.messages.contains_key(&number);
        if own_will && number.is_some_and(wills) {
            marks.fault("C11");
        }
        if self.too_large.contains(&seen.client_id) {
            marks.hit("an oversized message in front of others");
        }
        if publish.retain {
            seen.retained += 1;
            if seen.cleared {
                marks.hit("a retained message cleared while others were on their way");
            }
        }
        if !publish.dup && number.is_some_and(|number| self.orphaned.contains(&number)) {
            marks.hit("a shared message handed on to another member");
        }
        seen.latest = if seen.latest.0 == number { (number, seen.latest.1 + 1) } else { (number, 1) };
        if seen.latest.1 == 100 && number.is_some() {
            marks.hit("a message for a hundred subscriptions of one client");
        }
        let Some(id) = publish.packet_id.map(mqtt_proto::PacketId::get) else { return };
        if seen.received.contains(&id) {
            marks.hit("an identifier in use in both directions");
        }
        if id < seen.last_id / 2 && seen.last_id > 60_000 {
            marks.hit("packet identifiers begin again at 1");
        }
        (seen.last_id, seen.sent) = (id, seen.sent + 1);
        let outgoing = Outgoing { order: seen.sent, qos: publish.qos, number, released: false };
        seen.outgoing.insert(id, outgoing);
        if seen.outgoing.len() >= usize::from(seen.receive_maximum) {
            marks.hit("a quota used up");
            if seen.receive_maximum == 1 {
                marks.hit("a quota of one used up");
            }
            if seen.outgoing.values().any(|outgoing| outgoing.released) {
                marks.hit("a quota used up while a PUBREL waits");
            }
        }
    }

    /// A call of the engine begins to be told.
    pub(super) fn begin(&mut self) {
        for link in self.over.drain(..) {
            self.links.remove(&link);
        }
        self.too_large.clear();
    }

    /// What the engine tells of itself.
    pub(super) fn noted(&mut self, now: u64, note: &Note, links: &Table, marks: &mut Marks) {
        match note {
            Note::Connected { conn, client_id, session_present, .. } => {
                if let Some(seen) = links.get(*conn).and_then(|link| self.links.get_mut(&link)) {
                    seen.client_id.clone_from(client_id);
                }
                let person = self.people.entry(client_id.clone()).or_default();
                let within = |at: Option<u64>, time: u64| at.is_some_and(|at| at.abs_diff(now) <= time);
                if *session_present && within(person.ends_at, SECOND) {
                    marks.hit("a client back just before its session ended");
                }
                if !*session_present && within(person.ended_at, SECOND) {
                    marks.hit("a client back just behind the end of its session");
                }
                if *session_present && within(person.will_at, 2 * SECOND) {
                    marks.hit("a will cancelled shortly before it was due");
                }
                (person.ends_at, person.will_at) = (None, None);
                person.link = links.get(*conn);
            }
            Note::Disconnected { conn, reason, .. } => {
                if let Some(link) = links.get(*conn) {
                    self.ended(now, link, *reason, marks);
                }
            }
            Note::SessionEnded { client_id, .. } => {
                let person = self.people.entry(client_id.clone()).or_default();
                if person.will_at.is_some_and(|at| at > now) {
                    marks.hit("a will sent because its session ended before its delay");
                }
                *person = Person {
                    ended_at: Some(now),
                    takeovers: std::mem::take(&mut person.takeovers),
                    ..Person::default()
                };
            }
            Note::MessageDropped { client_id, reason, .. } => {
                let link = self.people.get(client_id).and_then(|person| person.link);
                let seen = link.and_then(|link| self.links.get(&link));
                let in_flight = seen.is_some_and(|seen| !seen.outgoing.is_empty());
                match reason {
                    DropReason::Expired if seen.is_none_or(|seen| seen.sent == 0) => {
                        marks.hit("a message expired while its client was away");
                    }
                    DropReason::Expired => {
                        marks.hit("a message expired in the queue of a client that is there");
                    }
                    DropReason::QueueFull if in_flight => marks.hit("a queue full behind messages in flight"),
                    DropReason::PacketTooLarge => drop(self.too_large.insert(client_id.clone())),
                    DropReason::Qos0Offline => {
                        marks.hit("a message dropped: QoS 0 for a client that is away");
                    }
                    DropReason::Qos0SlowReader => marks.hit("a message dropped: QoS 0 for a slow reader"),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn ended(&mut self, now: u64, link: usize, reason: ReasonCode, marks: &mut Marks) {
        let clients = self.online;
        let Some(seen) = self.links.get_mut(&link) else {
            return marks.hit("a connection that ended before its CONNECT");
        };
        // What it is told last is still to be seen.
        self.over.push(link);
        if !std::mem::replace(&mut seen.online, false) {
            return;
        }
        self.online -= 1;
        let person = self.people.entry(seen.client_id.clone()).or_default();
        let any = |is: &dyn Fn(&Outgoing) -> bool| seen.outgoing.values().any(is);
        let taken_over = reason == ReasonCode::SessionTakenOver;
        let apart = [
            (any(&|out| out.qos == QoS::AtLeastOnce), "a connection ended between PUBLISH and PUBACK"),
            (
                any(&|out| out.qos == QoS::ExactlyOnce && !out.released),
                "a connection ended between PUBLISH and PUBREC",
            ),
            (any(&|out| out.released), "a connection ended between PUBREL and PUBCOMP"),
            (!seen.received.is_empty(), "a connection ended between PUBREC and PUBREL"),
        ];
        for (_, mark) in apart.into_iter().filter(|(is_so, _)| *is_so) {
            marks.hit(mark);
            marks.fault("C04");
        }
        let is_shared = seen.filters.iter().any(|filter| filter.starts_with("$share/"));
        if is_shared && !seen.outgoing.is_empty() {
            marks.hit("a member of a shared group gone with messages in flight");
            let numbers =
                seen.outgoing.values().filter(|out| out.qos == QoS::AtLeastOnce).filter_map(|out| out.number);
            self.orphaned.extend(numbers);
        }
        if taken_over {
            if !seen.received.is_empty() {
                marks.hit("a session taken over between PUBREC and PUBREL");
            }
            if !seen.outgoing.is_empty() {
                marks.hit("a session taken over with messages in flight");
            }
            if clients >= self.max_connections {
                marks.hit("a session taken over where no more clients are let in");
            }
            person.takeovers.retain(|at| now.saturating_sub(*at) < 30 * SECOND);
            person.takeovers.push(now);
            if person.takeovers.len() >= 3 {
                marks.fault("C08");
            }
        }
        if reason == ReasonCode::QuotaExceeded {
            marks.hit("a client that does not read is closed");
        }
        let after = |seconds: u32| now.saturating_add(u64::from(seconds) * SECOND);
        person.link = None;
        person.ends_at = (seen.expiry != u32::MAX).then(|| after(seen.expiry));
        person.will_at = seen.will.as_ref().map(|(_, _, delay)| after(*delay));
    }
}

impl Seen {
    fn publishes(&mut self, publish: &Publish<'_>, person: &mut Person, marks: &mut Marks) {
        if self.subscribes {
            marks.hit("SUBSCRIBE and PUBLISH in one chunk");
        }
        if publish.topic.is_none() {
            marks.hit("a client's topic alias used");
        }
        let Some(id) = publish.packet_id.map(mqtt_proto::PacketId::get) else { return };
        if publish.dup && person.answered.contains(&id) {
            marks.hit("a message that was acknowledged comes again");
        }
        if self.received.contains(&id) && !publish.dup {
            marks.hit("a QoS 2 message repeated as if it were new");
        }
        if id < 10 && person.answered.range(65_000..).next().is_some() {
            marks.hit("a client's packet identifiers begin again at 1");
        }
        person.answered.remove(&id);
        if self.outgoing.contains_key(&id) {
            marks.hit("an identifier in use in both directions");
        }
    }

    fn acknowledges(&mut self, ack: &Ack<'_>, qos: QoS, marks: &mut Marks) {
        let id = ack.packet_id.get();
        let Some(outgoing) = self.outgoing.get_mut(&id).filter(|outgoing| outgoing.qos == qos) else {
            return marks.hit("an acknowledgement for nothing");
        };
        if outgoing.released {
            marks.hit("PUBREC two times");
        }
        let order = outgoing.order;
        outgoing.released = qos == QoS::ExactlyOnce;
        if self.outgoing.values().any(|other| other.qos == qos && !other.released && other.order < order) {
            marks.hit("acknowledgements out of order");
        }
        if qos == QoS::AtLeastOnce || ack.reason.is_error() {
            self.outgoing.remove(&id);
        }
    }

    fn subscribes(&mut self, now: u64, subscribe: &Subscribe<'_>, marks: &mut Marks) {
        self.subscribes = true;
        (self.retained, self.cleared) = (0, false);
        let mut count = 0;
        for (filter, _) in subscribe.filters.iter() {
            count += 1;
            if !self.filters.insert(filter.to_owned()) {
                marks.hit("a subscription replaced");
            }
            if self.unsubscribed.get(filter).is_some_and(|at| now - at <= SECOND) {
                marks.hit("a filter subscribed to again at once");
                marks.fault("C06");
            }
        }
        if count >= 1000 {
            marks.hit("a thousand filters in one packet");
            marks.fault("C07");
        }
    }
}
