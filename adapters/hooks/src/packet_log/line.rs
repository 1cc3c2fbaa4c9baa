//! A packet in words, such as `PUBLISH q1 #7 retain "a/b" 5 bytes`.

use crate::jwt::is_token;
use metronome_host::config::PacketLogConfig;
use mqtt_proto::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, Publish, QoS, ReasonCode, ReasonCodes,
    TopicName,
};
use std::fmt::{Display, Write};

/// Longest piece of a payload or secret that is shown, bytes.
const SHOWN: usize = 256;

/// The packet's name, and behind it what is known of it. `topic` is that of a message.
pub(super) fn of(packet: &Packet<'_>, topic: Option<&str>, config: &PacketLogConfig) -> String {
    let mut line = Line(packet.packet_type().name().to_owned());
    match packet {
        Packet::Connect(connect) => line.connect(connect, config),
        Packet::ConnAck(connack) => line.connack(connack, config),
        Packet::Publish(publish) => line.publish(publish, topic, config),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            line.ack(ack);
        }
        Packet::Subscribe(subscribe) => {
            line.id(subscribe.packet_id);
            line.option("id", subscribe.subscription_id);
            for (filter, options) in subscribe.filters.iter() {
                line.word(format_args!("{filter:?} q{}", options.qos as u8));
                line.flag("no-local", options.no_local);
                line.flag("retain-as-published", options.retain_as_published);
            }
        }
        Packet::Unsubscribe(unsubscribe) => {
            line.id(unsubscribe.packet_id);
            unsubscribe.filters.iter().for_each(|filter| line.word(format_args!("{filter:?}")));
        }
        Packet::SubAck(ack) => line.reasons(ack.packet_id, &ack.reasons),
        Packet::UnsubAck(ack) => line.reasons(ack.packet_id, &ack.reasons),
        Packet::PingReq | Packet::PingResp => {}
        Packet::Disconnect(disconnect) => line.disconnect(disconnect),
        Packet::Auth(auth) => line.auth(auth, config),
    }
    line.0
}

struct Line(String);

impl Line {
    fn word(&mut self, word: impl Display) {
        // Into memory, where nothing fails.
        let _written = write!(self.0, " {word}");
    }

    fn flag(&mut self, name: &str, is_set: bool) {
        if is_set {
            self.word(name);
        }
    }

    fn option(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.word(format_args!("{name}={value}"));
        }
    }

    /// A text that a client has chosen.
    fn text(&mut self, name: &str, value: Option<&str>) {
        self.option(name, value.map(|text| format!("{text:?}")));
    }

    fn id(&mut self, id: PacketId) {
        self.word(format_args!("#{id}", id = id.get()));
    }

    fn reason(&mut self, reason: ReasonCode) {
        if reason != ReasonCode::Success {
            self.word(format_args!("0x{:02x} ({})", reason as u8, reason.name()));
        }
    }

    fn reasons(&mut self, id: PacketId, reasons: &ReasonCodes<'_>) {
        self.id(id);
        for reason in reasons.iter() {
            self.word(format_args!("0x{:02x}", reason as u8));
        }
    }

    /// How long it is, and what it is if that is to be shown.
    fn bytes(&mut self, name: &str, bytes: &[u8], is_shown: bool) {
        let shown = bytes.get(..SHOWN).unwrap_or(bytes);
        let rest = if shown.len() < bytes.len() { "…" } else { "" };
        let what = if is_shown { format!(" \"{}{rest}\"", shown.escape_ascii()) } else { String::new() };
        self.word(format_args!("{name}{} bytes{what}", bytes.len()));
    }

    fn connect(&mut self, connect: &Connect<'_>, config: &PacketLogConfig) {
        self.word(format_args!("level={} {:?}", connect.version.level(), connect.client_id));
        self.flag("clean", connect.clean_start);
        self.word(format_args!("keep-alive={}", connect.keep_alive));
        let properties = &connect.properties;
        self.option("session-expiry", properties.session_expiry_interval);
        self.option("receive-maximum", properties.receive_maximum);
        self.option("maximum-packet-size", properties.maximum_packet_size);
        self.option("topic-alias-maximum", properties.topic_alias_maximum);
        // Whoever has a token needs no more to be let in.
        match connect.username.filter(|name| is_token(name)) {
            Some(token) => self.bytes("user=", token.as_bytes(), config.secrets),
            None => self.text("user", connect.username),
        }
        if let Some(password) = connect.password {
            self.bytes("password=", password, config.secrets);
        }
        self.method(properties.authentication_method, properties.authentication_data, config);
        if let Some(will) = connect.will {
            self.word(format_args!("will={:?} q{}", will.topic.as_str(), will.qos as u8));
            self.flag("retain", will.retain);
            self.option("delay", will.properties.will_delay_interval);
            self.bytes("", will.payload, config.payloads);
        }
    }

    fn connack(&mut self, connack: &ConnAck<'_>, config: &PacketLogConfig) {
        self.reason(connack.reason);
        self.flag("session-present", connack.session_present);
        let properties = &connack.properties;
        self.text("assigned", properties.assigned_client_id);
        self.option("session-expiry", properties.session_expiry_interval);
        self.option("receive-maximum", properties.receive_maximum);
        self.option("maximum-qos", properties.maximum_qos.map(|qos| qos as u8));
        self.option("maximum-packet-size", properties.maximum_packet_size);
        self.option("topic-alias-maximum", properties.topic_alias_maximum);
        self.option("server-keep-alive", properties.server_keep_alive);
        self.text("because", properties.reason_string);
        self.method(properties.authentication_method, properties.authentication_data, config);
    }

    fn publish(&mut self, publish: &Publish<'_>, topic: Option<&str>, config: &PacketLogConfig) {
        self.word(format_args!("q{}", publish.qos as u8));
        if let Some(id) = publish.packet_id.filter(|_| publish.qos != QoS::AtMostOnce) {
            self.id(id);
        }
        self.flag("dup", publish.dup);
        self.flag("retain", publish.retain);
        match topic {
            Some(topic) => self.word(format_args!("{topic:?}")),
            None => self.word("an unknown topic"),
        }
        let properties = &publish.properties;
        self.option("alias", properties.topic_alias);
        self.option("expiry", properties.message_expiry_interval);
        self.text("response-topic", properties.response_topic.map(TopicName::as_str));
        self.text("content-type", properties.content_type);
        properties.subscription_ids.iter().for_each(|id| self.option("id", Some(id)));
        self.bytes("", publish.payload, config.payloads);
    }

    fn ack(&mut self, ack: &Ack<'_>) {
        self.id(ack.packet_id);
        self.reason(ack.reason);
        self.text("because", ack.properties.reason_string);
    }

    fn disconnect(&mut self, disconnect: &Disconnect<'_>) {
        self.reason(disconnect.reason);
        self.option("session-expiry", disconnect.properties.session_expiry_interval);
        self.text("because", disconnect.properties.reason_string);
    }

    fn auth(&mut self, auth: &Auth<'_>, config: &PacketLogConfig) {
        self.reason(auth.reason);
        self.method(auth.properties.authentication_method, auth.properties.authentication_data, config);
    }

    fn method(&mut self, method: Option<&str>, data: Option<&[u8]>, config: &PacketLogConfig) {
        self.text("method", method);
        if let Some(data) = data {
            self.bytes("data=", data, config.secrets);
        }
    }
}
