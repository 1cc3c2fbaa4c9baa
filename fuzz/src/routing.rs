//! Who gets what: subscriptions, retained messages and shared groups against lists that are searched from end to end.

use crate::host::Host;
use crate::steps::{CLIENTS, Player, Setup};
use crate::topics::{Filter, Name, reaches};
use arbitrary::{Arbitrary, Unstructured};
use broker_engine::{Config, Interest, Overlap};
use mqtt_proto::{
    Connect, ConnectProperties, Limits, Packet, PacketId, Publish, PublishProperties, QoS, Subscribe,
    SubscribeFilters, SubscribeOptions, TopicName, Unsubscribe, UnsubscribeFilters, UserProperties, Version,
};
use std::collections::BTreeMap;

/// Clients of MQTT 5 on an engine that has nothing against what they do here.
struct Routing(Host);

impl Routing {
    fn new(setup: Setup) -> Self {
        let limits = setup.config();
        let mut routing = Self(Host::new(Config {
            work_per_call: limits.work_per_call,
            match_cache_entries: limits.match_cache_entries,
            shared_strategy: limits.shared_strategy,
            overlap: Overlap::Once,
            interest: Interest::NONE,
            ..Config::default()
        }));
        for who in 0..CLIENTS {
            routing.connect(who);
        }
        routing
    }

    fn send(&mut self, who: usize, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes).expect("small packets");
        self.0.feed(who, &bytes);
    }

    fn connect(&mut self, who: usize) {
        self.0.open(who);
        let connect = Connect {
            version: Version::V5,
            client_id: ["a", "b", "c", "d"][who],
            clean_start: true,
            keep_alive: 0,
            username: None,
            password: None,
            will: None,
            properties: ConnectProperties::default(),
        };
        self.send(who, &Packet::Connect(connect));
    }

    fn subscribe(&mut self, who: usize, filter: &str, id: u32) {
        let filters = [(filter, SubscribeOptions::default())];
        let packet = Subscribe {
            packet_id: PacketId::FIRST,
            subscription_id: Some(id),
            user_properties: UserProperties::default(),
            filters: SubscribeFilters::List(&filters),
        };
        self.send(who, &Packet::Subscribe(packet));
    }

    fn unsubscribe(&mut self, who: usize, filter: &str) {
        let packet = Unsubscribe {
            packet_id: PacketId::FIRST,
            user_properties: UserProperties::default(),
            filters: UnsubscribeFilters::List(&[filter]),
        };
        self.send(who, &Packet::Unsubscribe(packet));
    }

    fn publish(&mut self, who: usize, topic: &str, payload: &[u8], retain: bool) {
        let packet = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain,
            topic: TopicName::parse(topic).ok(),
            packet_id: None,
            properties: PublishProperties::default(),
            payload,
        };
        self.send(who, &Packet::Publish(packet));
    }

    /// Messages that a client got since the last look.
    fn take(&mut self, who: usize) -> Vec<Got> {
        let Some(conn) = self.0.conn(who) else { return Vec::new() };
        let (mut rest, mut got) = (self.0.take(conn), Vec::new());
        while let Ok(Some((packet, len))) = Packet::parse(rest, Version::V5, &Limits::NONE) {
            rest = &rest[len..];
            if let Packet::Publish(publish) = packet {
                let mut ids: Vec<u32> = publish.properties.subscription_ids.iter().collect();
                ids.sort_unstable();
                let topic = publish.topic.map_or("", TopicName::as_str).to_owned();
                got.push(Got { topic, payload: publish.payload.to_vec(), retain: publish.retain, ids });
            }
        }
        got
    }

    fn forget(&mut self) {
        for who in 0..CLIENTS {
            self.take(who);
        }
    }
}

/// A message that arrived.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Got {
    topic: String,
    payload: Vec<u8>,
    retain: bool,
    /// Subscription Identifiers, sorted.
    ids: Vec<u32>,
}

fn draw<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> Option<(Routing, Vec<T>)> {
    let mut bytes = Unstructured::new(bytes);
    let setup = Setup::arbitrary(&mut bytes).ok()?;
    let steps = bytes.arbitrary_iter().ok()?.map_while(Result::ok).collect();
    Some((Routing::new(setup), steps))
}

#[derive(Arbitrary, Debug)]
enum Change {
    Subscribe(Filter),
    Unsubscribe(u8),
    Publish(Name),
}

/// Topic filters of one client: a message comes once, with the identifiers of all that it fits through.
pub fn matching(bytes: &[u8]) {
    let Some((mut routing, changes)) = draw(bytes) else { return };
    let mut model: Vec<(Filter, u32)> = Vec::new();
    for (change, number) in changes.into_iter().zip(1..) {
        match change {
            Change::Subscribe(filter) => {
                routing.subscribe(0, &filter.0, number);
                model.retain(|(known, _)| *known != filter);
                model.push((filter, number));
            }
            Change::Unsubscribe(which) if !model.is_empty() => {
                let (filter, _) = model.swap_remove(usize::from(which) % model.len());
                routing.unsubscribe(0, &filter.0);
            }
            Change::Unsubscribe(_) => {}
            Change::Publish(topic) => {
                routing.publish(1, &topic.0, b"m", false);
                let fits = model.iter().filter(|(filter, _)| reaches(&filter.0, &topic.0));
                let mut ids: Vec<u32> = fits.map(|(_, id)| *id).collect();
                ids.sort_unstable();
                let message = Got { topic: topic.0, payload: b"m".to_vec(), retain: false, ids };
                let wanted = if message.ids.is_empty() { Vec::new() } else { vec![message] };
                assert_eq!(routing.take(0), wanted, "filters: {model:?}");
            }
        }
    }
    routing.0.end();
}

#[derive(Arbitrary, Debug)]
enum Retaining {
    Set(Name, u8),
    Clear(Name),
    Look(Filter),
}

/// Retained messages as a map of topics; a new subscription gets all that it reaches, each once.
pub fn retained(bytes: &[u8]) {
    let Some((mut routing, steps)) = draw(bytes) else { return };
    let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for step in steps {
        match step {
            Retaining::Set(topic, payload) => {
                routing.publish(1, &topic.0, &[payload], true);
                model.insert(topic.0, vec![payload]);
            }
            Retaining::Clear(topic) => {
                routing.publish(1, &topic.0, b"", true);
                model.remove(&topic.0);
            }
            Retaining::Look(filter) => {
                routing.subscribe(0, &filter.0, 1);
                let mut got = routing.take(0);
                got.sort();
                let reached = model.iter().filter(|(topic, _)| reaches(&filter.0, topic));
                let mut wanted: Vec<Got> = reached
                    .map(|(topic, payload)| Got {
                        topic: topic.clone(),
                        payload: payload.clone(),
                        retain: true,
                        ids: vec![1],
                    })
                    .collect();
                wanted.sort();
                assert_eq!(got, wanted, "{filter:?}");
                routing.unsubscribe(0, &filter.0);
            }
        }
        assert_eq!(routing.0.engine.view().retained(), model.len());
    }
    routing.0.end();
}

#[derive(Arbitrary, Debug)]
enum Sharing {
    Join(u8, bool, Filter),
    Leave(u8, u8),
    Publish(u8, Name),
    Reconnect(u8),
}

/// Shared groups: of each that a message reaches, exactly one member gets it.
pub fn shared(bytes: &[u8]) {
    let Some((mut routing, steps)) = draw(bytes) else { return };
    // By share name and filter, with the identifier that all members give.
    let mut groups: Vec<(String, Filter, Vec<usize>)> = Vec::new();
    let client = |who: u8| usize::from(who) % CLIENTS;
    for step in steps {
        match step {
            Sharing::Join(who, first, filter) => {
                let text = format!("$share/{}/{}", if first { "g" } else { "h" }, filter.0);
                let place = groups.iter().position(|(known, ..)| *known == text).unwrap_or_else(|| {
                    groups.push((text.clone(), filter, Vec::new()));
                    groups.len() - 1
                });
                routing.subscribe(client(who), &text, identifier(place));
                let members = &mut groups[place].2;
                members.retain(|member| *member != client(who));
                members.push(client(who));
            }
            Sharing::Leave(who, which) if !groups.is_empty() => {
                let place = usize::from(which) % groups.len();
                routing.unsubscribe(client(who), &groups[place].0);
                groups[place].2.retain(|member| *member != client(who));
            }
            Sharing::Leave(..) => {}
            Sharing::Reconnect(who) => {
                routing.connect(client(who));
                for (_, _, members) in &mut groups {
                    members.retain(|member| *member != client(who));
                }
            }
            Sharing::Publish(who, topic) => {
                routing.forget();
                routing.publish(client(who), &topic.0, b"m", false);
                let mut got: Vec<(u32, usize)> = Vec::new();
                for receiver in 0..CLIENTS {
                    for message in routing.take(receiver) {
                        assert_eq!((&message.topic, message.retain), (&topic.0, false));
                        got.extend(message.ids.iter().map(|id| (*id, receiver)));
                    }
                }
                for (place, (text, filter, members)) in groups.iter().enumerate() {
                    let mut receivers =
                        got.iter().filter(|(id, _)| *id == identifier(place)).map(|(_, who)| who);
                    let reached = reaches(&filter.0, &topic.0) && !members.is_empty();
                    let first = receivers.next();
                    assert_eq!(first.is_some(), reached, "{text}, members {members:?}, {topic:?}");
                    assert!(first.is_none_or(|who| members.contains(who)), "{text}: {first:?} is no member");
                    assert_eq!(receivers.next(), None, "{text}: a second receiver of {topic:?}");
                }
            }
        }
    }
    routing.0.end();
}

fn identifier(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(0) + 1
}
