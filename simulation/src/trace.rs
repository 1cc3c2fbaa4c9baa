//! What happened, a line each, as text for a person.

use crate::scenario::What;
use broker_engine::{Input, Note};
use mqtt_proto::{Packet, ReasonCode};
use std::fmt::Write as _;

/// The lines, if anybody wants them.
#[derive(Debug, Default)]
pub struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(on: bool) -> Self {
        Self { lines: on.then(Vec::new) }
    }

    /// All lines.
    pub fn text(&self) -> String {
        self.lines.as_ref().map(|lines| lines.join("\n")).unwrap_or_default()
    }

    /// What two runs have in common from the beginning on, and the first line of each that differs.
    pub(crate) fn until_different(one: &Self, other: &Self) -> Self {
        let [one, other] = [one, other].map(|trace| trace.lines.as_deref());
        let (Some(one), Some(other)) = (one, other) else { return Self::default() };
        let equal = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        let end = "the end".to_owned();
        let [plain, varied] = [one, other].map(|lines| lines.get(equal).unwrap_or(&end));
        let differ = [format!("plain:   {plain}"), format!("variant: {varied}")];
        Self { lines: Some(one.iter().take(equal).cloned().chain(differ).collect()) }
    }

    pub(crate) fn line(&mut self, now: u64, text: &str) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>12.6}  {text}", seconds(now)));
        }
    }

    pub(crate) fn input(&mut self, number: u64, now: u64, input: &Input<'_>) {
        if self.lines.is_none() {
            return;
        }
        let text = match input {
            Input::Opened { .. } => "a connection is accepted".to_owned(),
            Input::Backlog { unsent, .. } => format!("{unsent} bytes are unsent"),
            Input::Closed { cause, .. } => format!("the transport ends: {cause:?}"),
            Input::Reply { answer, .. } => format!("a question is answered: {answer:?}"),
            Input::Command(command) => format!("{command:?}"),
            _ => return,
        };
        self.line(now, &format!("[{number}] {text}"));
    }

    /// What the engine tells of itself, where no packet shows it.
    pub(crate) fn note(&mut self, now: u64, note: &Note) {
        if self.lines.is_none() {
            return;
        }
        let text = match note {
            Note::SessionEnded { client_id, .. } => format!("the session of {client_id} ends"),
            Note::MessageDropped { client_id, topic, reason } => {
                format!("a message to {topic} for {client_id} is dropped: {}", reason.name())
            }
            _ => return,
        };
        self.line(now, &text);
    }

    pub(crate) fn operation(&mut self, now: u64, client: usize, what: &What) {
        if self.lines.is_some() {
            self.line(now, &format!("client {client}: {what:?}"));
        }
    }

    pub(crate) fn closed(&mut self, now: u64, client: usize) {
        if self.lines.is_some() {
            self.line(now, &format!("client {client} < closed"));
        }
    }

    pub(crate) fn packet(&mut self, now: u64, client: usize, to_broker: bool, packet: &Packet<'_>) {
        if self.lines.is_some() {
            let arrow = if to_broker { '>' } else { '<' };
            self.line(now, &format!("client {client} {arrow} {}", render(packet)));
        }
    }
}

/// Virtual time in seconds.
#[allow(clippy::cast_precision_loss)] // For people.
pub fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// A packet in one line: what matters of it.
pub fn render(packet: &Packet<'_>) -> String {
    let code =
        |reason: ReasonCode| if reason as u8 == 0 { String::new() } else { format!(" {:02x}", reason as u8) };
    match packet {
        Packet::Connect(connect) => {
            let clean = if connect.clean_start { " clean" } else { "" };
            let mut text = format!("CONNECT {}{clean} keep-alive={}", connect.client_id, connect.keep_alive);
            let p = &connect.properties;
            for (name, value) in [
                ("expiry", p.session_expiry_interval),
                ("receive-maximum", p.receive_maximum.map(u32::from)),
                ("maximum-packet-size", p.maximum_packet_size),
            ] {
                let _ = value.map(|value| write!(text, " {name}={value}"));
            }
            let will = connect.will.as_ref().map(|will| {
                let delay = will.properties.will_delay_interval.unwrap_or(0);
                format!(" will={} {} delay={delay}", will.topic.as_str(), payload(will.payload))
            });
            text + &will.unwrap_or_default()
        }
        Packet::ConnAck(connack) => {
            let present = if connack.session_present { " present" } else { "" };
            format!("CONNACK {:02x}{present}", connack.reason as u8)
        }
        Packet::Publish(publish) => {
            let mut text = format!("PUBLISH {}", publish.topic.map_or("-", mqtt_proto::TopicName::as_str));
            let _ = write!(text, " {} q{}", payload(publish.payload), publish.qos as u8);
            let _ = publish.packet_id.map(|id| write!(text, " #{}", id.get()));
            text += if publish.dup { " dup" } else { "" };
            text += if publish.retain { " retain" } else { "" };
            let p = &publish.properties;
            let _ = p.topic_alias.map(|alias| write!(text, " alias={alias}"));
            let _ = p.message_expiry_interval.map(|left| write!(text, " expiry={left}"));
            text
        }
        Packet::PubAck(ack) => format!("PUBACK #{}{}", ack.packet_id.get(), code(ack.reason)),
        Packet::PubRec(ack) => format!("PUBREC #{}{}", ack.packet_id.get(), code(ack.reason)),
        Packet::PubRel(ack) => format!("PUBREL #{}{}", ack.packet_id.get(), code(ack.reason)),
        Packet::PubComp(ack) => format!("PUBCOMP #{}{}", ack.packet_id.get(), code(ack.reason)),
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters.iter().map(|(filter, options)| {
                let mut text = format!("{filter} q{}", options.qos as u8);
                text += if options.no_local { " nl" } else { "" };
                text += if options.retain_as_published { " rap" } else { "" };
                match options.retain_handling as u8 {
                    0 => text,
                    handling => format!("{text} rh={handling}"),
                }
            });
            format!("SUBSCRIBE #{} {}", subscribe.packet_id.get(), filters.collect::<Vec<_>>().join(", "))
        }
        Packet::SubAck(ack) => {
            let codes: Vec<String> = ack.reasons.iter().map(|code| format!("{:02x}", code as u8)).collect();
            format!("SUBACK #{} {}", ack.packet_id.get(), codes.join(" "))
        }
        Packet::Unsubscribe(unsubscribe) => {
            let filters: Vec<&str> = unsubscribe.filters.iter().collect();
            format!("UNSUBSCRIBE #{} {}", unsubscribe.packet_id.get(), filters.join(", "))
        }
        Packet::UnsubAck(ack) => format!("UNSUBACK #{}", ack.packet_id.get()),
        Packet::PingReq => "PINGREQ".into(),
        Packet::PingResp => "PINGRESP".into(),
        Packet::Disconnect(disconnect) => format!("DISCONNECT{}", code(disconnect.reason)),
        Packet::Auth(auth) => format!("AUTH{}", code(auth.reason)),
    }
}

fn payload(bytes: &[u8]) -> String {
    match bytes.get(..8) {
        Some(number) => format!("m{}", String::from_utf8_lossy(number).trim_start_matches('0')),
        None => format!("({} bytes)", bytes.len()),
    }
}
