//! What clients answer, and when.

use super::client::{Local, METHOD, Wake, version_of};
use super::{Event, World};
use crate::scenario::Acks;
use mqtt_proto::{
    Ack, AckProperties, Auth, AuthProperties, ConnAck, Limits, Packet, PacketId, Publish, QoS, ReasonCode,
};

impl World<'_> {
    /// A client has read bytes.
    pub(super) fn client_reads(&mut self, link: usize, bytes: &[u8]) {
        self.sees(link, Some(bytes));
        let client = self.links[link].client;
        if self.players[client].link != Some(link) {
            return;
        }
        self.players[client].inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut self.players[client].inbox);
        let version = version_of(self.spec(client));
        let mut rest = &inbox[..];
        // The bytes are judged where they leave the engine.
        while let Ok(Some((packet, len))) = Packet::parse(rest, version, &Limits::NONE) {
            rest = &rest[len..];
            self.client_takes(client, link, &packet);
            if self.players[client].link != Some(link) {
                return;
            }
        }
        self.players[client].inbox = rest.to_vec();
    }

    fn client_takes(&mut self, client: usize, link: usize, packet: &Packet<'_>) {
        match packet {
            Packet::ConnAck(connack) => self.accepted(client, link, connack),
            Packet::Auth(auth) if auth.reason == ReasonCode::ContinueAuthentication => {
                let properties = AuthProperties {
                    authentication_method: Some(METHOD),
                    authentication_data: auth.properties.authentication_data,
                    ..AuthProperties::default()
                };
                self.send(client, &Packet::Auth(Auth { reason: auth.reason, properties }));
            }
            Packet::Auth(_) => self.players[client].authenticates = false,
            Packet::Publish(publish) => self.message_came(client, link, publish),
            Packet::PubRec(ack) if ack.reason.is_error() => self.finished(client, ack.packet_id),
            Packet::PubRec(ack) => {
                let local = &mut self.locals[self.players[client].local];
                let message = local.unacked.values_mut().find(|message| message.id == ack.packet_id.get());
                if let Some(message) = message {
                    message.released = true;
                }
                if self.spec(client).holds_release && !self.is_well(client) {
                    self.checks.marks.fault("C03");
                    let mut bytes = Vec::new();
                    let release = Packet::PubRel(plain(ack.packet_id));
                    release
                        .encode(version_of(self.spec(client)), &mut bytes)
                        .expect("a packet that can be written");
                    self.players[client].held.push(bytes);
                    return;
                }
                self.send(client, &Packet::PubRel(plain(ack.packet_id)));
            }
            Packet::PubAck(ack) | Packet::PubComp(ack) => self.finished(client, ack.packet_id),
            Packet::PubRel(ack) => {
                self.locals[self.players[client].local].received.remove(&ack.packet_id.get());
                self.acknowledge(client, link, &Packet::PubComp(plain(ack.packet_id)));
            }
            Packet::SubAck(ack) => {
                self.locals[self.players[client].local].asked.remove(&ack.packet_id.get());
            }
            Packet::UnsubAck(ack) => {
                self.locals[self.players[client].local].asked.remove(&ack.packet_id.get());
            }
            _ => {}
        }
    }

    fn accepted(&mut self, client: usize, link: usize, connack: &ConnAck<'_>) {
        if connack.reason.is_error() {
            return;
        }
        let place = self.players[client].local;
        self.locals[place].asked.clear();
        if !connack.session_present {
            self.locals[place] = Local { last_id: self.locals[place].last_id, ..Local::default() };
        }
        if self.spec(client).has_odd_limits() {
            self.checks.marks.fault("C05");
        }
        let player = &mut self.players[client];
        player.online = true;
        if let Some(assigned) = connack.properties.assigned_client_id {
            player.assigned = Some(assigned.to_owned());
        }
        // Clients of 3.x cannot be told, and know it from elsewhere.
        player.quota = connack.properties.receive_maximum.unwrap_or(self.scenario.limits.receive_maximum);
        player.maximum_qos = connack.properties.maximum_qos.map_or(2, |qos| qos as u8);
        player.retain_available = connack.properties.retain_available != Some(false);
        player.alias_maximum = connack.properties.topic_alias_maximum.unwrap_or(0);
        if let Some(keep_alive) = connack.properties.server_keep_alive {
            player.keep_alive = keep_alive;
            self.schedule(self.now, Event::Wake { client, wake: Wake::KeepAlive(link) });
        }
        // What is unfinished goes on, in its order.
        let keys: Vec<u64> = self.locals[place].unacked.keys().copied().collect();
        for key in keys {
            let Some(unacked) = self.locals[place].unacked.get_mut(&key) else { continue };
            unacked.link = link;
            let (id, number, released, message) =
                (unacked.id, unacked.number, unacked.released, unacked.message.clone());
            if self.players[client].quota == 0 || !self.is_allowed(client, &message) {
                // More than the broker takes, at once or ever: the rest is given up by the client.
                self.locals[place].unacked.remove(&key);
                continue;
            }
            self.players[client].quota -= 1;
            self.checks.marks.hit("a client goes on with what was unfinished");
            if released {
                if let Some(id) = PacketId::new(id) {
                    self.send(client, &Packet::PubRel(plain(id)));
                }
            } else {
                self.send_publish(client, number, &message, id, true);
            }
        }
        self.publish_waiting(client);
    }

    fn message_came(&mut self, client: usize, link: usize, publish: &Publish<'_>) {
        let Some(id) = publish.packet_id else { return };
        let refuses =
            self.spec(client).acks == Acks::Refuse && self.spec(client).version == 5 && !self.is_well(client);
        let reason = if refuses { ReasonCode::ImplementationSpecificError } else { ReasonCode::Success };
        let ack = Ack { packet_id: id, reason, properties: AckProperties::default() };
        if publish.qos == QoS::AtLeastOnce {
            return self.acknowledge(client, link, &Packet::PubAck(ack));
        }
        let new = self.locals[self.players[client].local].received.insert(id.get());
        if refuses && new {
            self.locals[self.players[client].local].received.remove(&id.get());
            return self.acknowledge(client, link, &Packet::PubRec(ack));
        }
        self.acknowledge(client, link, &Packet::PubRec(plain(id)));
    }

    /// By the client's habit.
    fn acknowledge(&mut self, client: usize, link: usize, packet: &Packet<'_>) {
        let habit = if self.is_well(client) { Acks::Prompt } else { self.spec(client).acks };
        let version = version_of(self.spec(client));
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).expect("a packet that can be written");
        match habit {
            Acks::Prompt => return self.send_now(client, link, &bytes),
            Acks::HalfWay if !matches!(packet, Packet::PubComp(_)) => {
                return self.send_now(client, link, &bytes);
            }
            Acks::HalfWay => {
                self.checks.marks.fault("C03");
                return self.players[client].held.push(bytes);
            }
            Acks::Refuse => self.send_now(client, link, &bytes),
            Acks::After(pause) => {
                let at = self.now + self.paced(client, pause);
                self.schedule(at, Event::Wake { client, wake: Wake::Acknowledge(link, bytes) });
            }
            Acks::Never => self.players[client].held.push(bytes),
            Acks::Reverse(pause) => {
                if self.players[client].gathered.is_empty() {
                    let at = self.now + self.paced(client, pause);
                    self.schedule(at, Event::Wake { client, wake: Wake::AcknowledgeAll(link) });
                }
                self.players[client].gathered.push(bytes);
            }
            Acks::Twice => self.send_now(client, link, &bytes.repeat(2)),
            Acks::Stray => {
                // Far from those in use: what is sent in the same call would be acknowledged by it.
                let id = u16::try_from(self.choices.client.between(30_000, 60_000)).unwrap_or(1);
                let kind = *self.choices.client.pick(&[
                    Packet::PubAck,
                    Packet::PubRec,
                    Packet::PubComp,
                    Packet::PubRel,
                ]);
                if let Some(id) = PacketId::new(id) {
                    kind(plain(id)).encode(version, &mut bytes).expect("a packet that can be written");
                }
                self.send_now(client, link, &bytes);
            }
        }
        self.checks.marks.fault("C02");
    }

    fn send_now(&mut self, client: usize, link: usize, bytes: &[u8]) {
        self.players[client].last_sent = self.now;
        self.send_up(link, bytes);
    }

    /// An own message is through.
    fn finished(&mut self, client: usize, id: PacketId) {
        let local = &mut self.locals[self.players[client].local];
        let before = local.unacked.len();
        local.unacked.retain(|_, message| message.id != id.get());
        if local.unacked.len() < before {
            let player = &mut self.players[client];
            player.quota = player.quota.saturating_add(1);
            self.publish_waiting(client);
        }
    }
}

pub(super) fn plain(id: PacketId) -> Ack<'static> {
    Ack { packet_id: id, reason: ReasonCode::Success, properties: AckProperties::default() }
}
