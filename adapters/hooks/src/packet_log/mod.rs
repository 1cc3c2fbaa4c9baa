//! What chosen clients and the broker say to each other, a line for each packet.
//!
//! * [`PacketLog`] — the hook: which packets are of interest
//! * `line` — a packet in words

mod line;

use metronome_host::config::PacketLogConfig;
use metronome_host::engine::{ConnId, Interest, Note};
use metronome_host::{Direction, Hook, PacketTypes};
use mqtt_proto::{Packet, PacketType, Publish, TopicError, TopicFilter, TopicName};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// Gets client identifier, direction and packet.
type Write = Box<dyn FnMut(&str, Direction, &str) + Send>;

/// Writes down the packets of chosen clients, and messages of chosen topics, as they pass.
pub struct PacketLog {
    config: PacketLogConfig,
    clients: BTreeMap<ConnId, Talker>,
    write: Write,
}

/// One end of a connection.
#[derive(Default)]
struct Talker {
    client_id: String,
    /// What topic aliases stand for, of either direction.
    aliases: BTreeMap<(bool, u16), String>,
}

impl PacketLog {
    /// `write` gets each packet in words; what clients have chosen stands in quotes, with escapes.
    ///
    /// # Errors
    /// A topic filter is none.
    pub fn new(
        config: PacketLogConfig,
        write: impl FnMut(&str, Direction, &str) + Send + 'static,
    ) -> Result<Self, (String, TopicError)> {
        for filter in &config.topics {
            TopicFilter::parse(filter).map_err(|error| (filter.clone(), error))?;
        }
        Ok(Self { config, clients: BTreeMap::new(), write: Box::new(write) })
    }

    fn is_chosen(&self, talker: &Talker, topic: Option<&str>) -> bool {
        let name = |name: &String| name == "*" || *name == talker.client_id;
        let matches = |filter: &String| {
            let names =
                TopicFilter::parse(filter).ok().zip(topic.and_then(|topic| TopicName::parse(topic).ok()));
            names.is_some_and(|(filter, topic)| filter.matches(topic))
        };
        self.config.clients.iter().any(name) || topic.is_some() && self.config.topics.iter().any(matches)
    }
}

impl Hook for PacketLog {
    fn interest(&self) -> Interest {
        Interest::CLIENTS
    }

    fn packets(&self) -> PacketTypes {
        let pings = PacketTypes::of(PacketType::PingReq) | PacketTypes::of(PacketType::PingResp);
        if self.config.pings { PacketTypes::ALL } else { PacketTypes::ALL.without(pings) }
    }

    fn note(&mut self, note: &Note, _: Option<SocketAddr>) {
        if let Note::Disconnected { conn, .. } = note {
            self.clients.remove(conn);
        }
    }

    fn packet(&mut self, conn: ConnId, direction: Direction, packet: &Packet<'_>) {
        let known = match packet {
            Packet::Connect(connect) => {
                Some(Talker { client_id: connect.client_id.to_owned(), ..Talker::default() })
            }
            _ => self.clients.remove(&conn),
        };
        let is_known = known.is_some();
        let mut talker = known.unwrap_or_default();
        if let Packet::ConnAck(connack) = packet
            && let Some(assigned) = connack.properties.assigned_client_id
        {
            assigned.clone_into(&mut talker.client_id);
        }
        let topic = match packet {
            Packet::Publish(publish) => talker.topic_of(direction, publish),
            Packet::Connect(connect) => connect.will.map(|will| will.topic.as_str().to_owned()),
            _ => None,
        };
        if self.is_chosen(&talker, topic.as_deref()) {
            let line = line::of(packet, topic.as_deref(), &self.config);
            (self.write)(&talker.client_id, direction, &line);
        }
        // Who is gone, or never said who it is, is not kept.
        if is_known {
            self.clients.insert(conn, talker);
        }
    }
}

impl Talker {
    /// The topic name of a message, also where a topic alias stands for it.
    fn topic_of(&mut self, direction: Direction, publish: &Publish<'_>) -> Option<String> {
        let name = publish.topic.map(|topic| topic.as_str().to_owned());
        let Some(alias) = publish.properties.topic_alias else { return name };
        let key = (direction == Direction::Read, alias);
        match name {
            Some(name) => {
                self.aliases.insert(key, name.clone());
                Some(name)
            }
            None => self.aliases.get(&key).cloned(),
        }
    }
}

impl fmt::Debug for PacketLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketLog").field("config", &self.config).finish_non_exhaustive()
    }
}
