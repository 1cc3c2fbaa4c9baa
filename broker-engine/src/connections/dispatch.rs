//! Every packet of an accepted client but AUTH: to its handler, or refused.

use super::Farewell;
use super::receive::After;
use crate::engine::Engine;
use crate::ids::ConnId;
use crate::outbox::Outbox;
use mqtt_proto::{Disconnect, Packet, ReasonCode};

impl Engine {
    /// `size` is the packet's, in bytes.
    pub(crate) fn dispatch(
        &mut self,
        id: ConnId,
        packet: &Packet<'_>,
        size: usize,
        out: &mut Outbox,
    ) -> After {
        match packet {
            Packet::Publish(publish) => return self.publish_packet(id, publish, size, out),
            Packet::PubAck(ack) => self.puback(id, ack, out),
            Packet::PubRec(ack) => self.pubrec(id, ack, out),
            Packet::PubRel(ack) => self.pubrel(id, ack.packet_id, out),
            Packet::PubComp(ack) => self.pubcomp(id, ack.packet_id, out),
            Packet::Subscribe(subscribe) => return self.subscribe_packet(id, subscribe, out),
            Packet::Unsubscribe(unsubscribe) => return self.unsubscribe_packet(id, unsubscribe, out),
            Packet::PingReq => self.send(id, &Packet::PingResp, out),
            Packet::Disconnect(disconnect) => return self.disconnect_packet(id, disconnect, out),
            Packet::Connect(_) => return self.breach(id, "a second CONNECT", out),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return self.breach(id, "a packet that only a server sends", out);
            }
            Packet::Auth(auth) => return self.auth_packet(id, auth, out),
        }
        if self.conn(id).is_some() { After::Continue } else { After::Closed }
    }

    /// A rule of the protocol was broken: DISCONNECT 0x82 and close.
    pub(crate) fn breach(&mut self, id: ConnId, detail: &str, out: &mut Outbox) -> After {
        self.refuse_packet(id, ReasonCode::ProtocolError, detail, out)
    }

    /// A packet that ends its connection with the given reason.
    pub(crate) fn refuse_packet(
        &mut self,
        id: ConnId,
        reason: ReasonCode,
        detail: &str,
        out: &mut Outbox,
    ) -> After {
        self.counters.protocol_errors += 1;
        self.close(id, Farewell::tell(reason, detail), out);
        After::Closed
    }

    fn disconnect_packet(&mut self, id: ConnId, packet: &Disconnect<'_>, out: &mut Outbox) -> After {
        let Some(conn) = self.conn(id) else { return After::Closed };
        if is_for_servers(packet.reason) {
            return self.breach(id, "DISCONNECT with a reason that only a server has", out);
        }
        if let Some(expiry) = packet.properties.session_expiry_interval {
            // Then it is not a valid DISCONNECT and the will stays due.
            if conn.expiry_was_zero && expiry > 0 {
                return self.breach(id, "DISCONNECT raises a Session Expiry Interval of 0", out);
            }
            let expiry = expiry.min(self.config.max_session_expiry);
            if let Some(key) = conn.session()
                && let Some(session) = self.sessions.get_mut(key)
            {
                session.expiry = expiry;
                self.store_session(key);
            }
        }
        self.close(id, Farewell::by_client(packet.reason), out);
        After::Closed
    }
}

/// Reasons that DISCONNECT has from a server alone [MQTT-3.14.2-1].
const fn is_for_servers(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::NotAuthorized
            | ReasonCode::ServerBusy
            | ReasonCode::ServerShuttingDown
            | ReasonCode::BadAuthenticationMethod
            | ReasonCode::KeepAliveTimeout
            | ReasonCode::SessionTakenOver
            | ReasonCode::TopicFilterInvalid
            | ReasonCode::RetainNotSupported
            | ReasonCode::QoSNotSupported
            | ReasonCode::UseAnotherServer
            | ReasonCode::ServerMoved
            | ReasonCode::SharedSubscriptionsNotSupported
            | ReasonCode::ConnectionRateExceeded
            | ReasonCode::MaximumConnectTime
            | ReasonCode::SubscriptionIdsNotSupported
            | ReasonCode::WildcardSubscriptionsNotSupported
    )
}
