//! Clients inside the program: MQTT without a socket.

use broker_engine::mqtt_proto::{
    Ack, AckProperties, Limits, Packet, PacketId, Publish, QoS, ReasonCode, Version,
};

/// What an inline client does with each packet that the broker sends it. It runs on the broker's thread. Messages of
/// QoS 1 and 2 are acknowledged when it has returned.
pub type PacketHandler = Box<dyn FnMut(&Packet<'_>) + Send>;

/// Why a packet was not taken as a client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InjectError {
    /// No such client is connected, or none of this protocol version.
    NotConnected,
    /// What the client itself sent last waits to be handled, and may be half of a packet. Try again.
    Busy,
}

/// Hands whole packets of the broker to `handle`; returns what the client answers by itself.
pub(crate) fn receive(bytes: &[u8], mut handle: impl FnMut(&Packet<'_>)) -> Vec<u8> {
    let (mut rest, mut answers) = (bytes, Vec::new());
    // The engine's packets are whole and valid, and as large as its publishers' were.
    while let Ok(Some((packet, length))) = Packet::parse(rest, Version::V5, &Limits::NONE) {
        handle(&packet);
        if let Some(answer) = acknowledgement(&packet) {
            // Into memory, and with nothing that could be too long.
            let _encoded = answer.encode(Version::V5, &mut answers);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    answers
}

fn acknowledgement(packet: &Packet<'_>) -> Option<Packet<'static>> {
    let ack = |packet_id: PacketId| Ack {
        packet_id,
        reason: ReasonCode::Success,
        properties: AckProperties::default(),
    };
    match packet {
        Packet::Publish(Publish { qos: QoS::AtLeastOnce, packet_id: Some(id), .. }) => {
            Some(Packet::PubAck(ack(*id)))
        }
        Packet::Publish(Publish { qos: QoS::ExactlyOnce, packet_id: Some(id), .. }) => {
            Some(Packet::PubRec(ack(*id)))
        }
        Packet::PubRel(release) => Some(Packet::PubComp(ack(release.packet_id))),
        _ => None,
    }
}
