//! Every way a connection ends.

use super::{Connection, Parked, Phase};
use crate::engine::Engine;
use crate::hooks::{Interest, Note};
use crate::ids::ConnId;
use crate::outbox::{Outbox, Wire};
use crate::timers::TimerKey;
use alloc::string::{String, ToString};
use mqtt_proto::{
    ConnAck, ConnAckProperties, DecodeError, Disconnect, DisconnectProperties, Packet, PacketType,
    ReasonCode, Version, planted,
};

/// Why a connection ends and what the client is told.
#[derive(Clone, Debug)]
pub(crate) struct Farewell {
    pub(crate) reason: ReasonCode,
    pub(crate) detail: String,
    /// Send DISCONNECT (or CONNACK before the client is accepted), where its version has it.
    tell: bool,
    /// The transport is gone already; the host needs no `Close`.
    gone: bool,
    /// The client said goodbye, so its will is not due [MQTT-3.14.4-3], or an operator wants it so.
    pub(crate) cancels_will: bool,
    /// Version to refuse a CONNECT in, where it was readable.
    version: Option<Version>,
}

impl Farewell {
    /// The client is told the reason where its version allows.
    pub(crate) fn tell(reason: ReasonCode, detail: &str) -> Self {
        Self {
            reason,
            detail: detail.to_string(),
            tell: true,
            gone: false,
            cancels_will: false,
            version: None,
        }
    }

    /// Closed without a word.
    pub(crate) fn rude(detail: &str) -> Self {
        Self { tell: false, ..Self::tell(ReasonCode::ProtocolError, detail) }
    }

    /// The transport is gone already; there is nobody to tell and nothing to close.
    pub(crate) fn gone(reason: ReasonCode, detail: &str) -> Self {
        let cancels_will = planted!("will-lost-on-reset");
        Self { tell: false, gone: true, cancels_will, ..Self::tell(reason, detail) }
    }

    /// The broker is going down.
    pub(crate) fn shutting_down() -> Self {
        Self { tell: false, ..Self::tell(ReasonCode::ServerShuttingDown, "the broker is shutting down") }
    }

    /// The client's own DISCONNECT.
    pub(crate) fn by_client(reason: ReasonCode) -> Self {
        let cancels_will = reason == ReasonCode::Success || planted!("will-lost-on-0x04");
        Self { tell: false, cancels_will, ..Self::tell(reason, "the client disconnected") }
    }

    /// An operator ends it; the will stays due unless the reason is Success.
    pub(crate) fn by_operator(reason: ReasonCode) -> Self {
        let cancels_will = reason == ReasonCode::Success;
        Self { cancels_will, ..Self::tell(reason, "disconnected by an operator") }
    }

    /// A packet that could not be decoded.
    pub(crate) fn decode(error: DecodeError) -> Self {
        Self { version: error.connect_version(), ..Self::tell(error.reason(), &error.to_string()) }
    }

    /// A CONNECT that is refused in the client's own version.
    pub(crate) fn refuse(version: Version, reason: ReasonCode, detail: &str) -> Self {
        Self { version: Some(version), ..Self::tell(reason, detail) }
    }
}

impl Engine {
    #[allow(clippy::needless_pass_by_value)] // A farewell is said once.
    /// Ends a connection: tells the client, forgets the connection, and lets the session go on or end.
    pub(crate) fn close(&mut self, id: ConnId, farewell: Farewell, out: &mut Outbox) {
        if self.conn(id).is_none() {
            return;
        }
        if farewell.tell {
            self.say_goodbye(id, &farewell, out);
        }
        let Some(conn) = self.connections.get_mut(id.slot()).and_then(Option::take) else { return };
        self.connection_bytes -= conn.counted;
        if matches!(conn.parked.as_deref(), Some(Parked::Fanout)) {
            self.fanouts.disown();
        }
        self.disarm(conn.armed, TimerKey::Connection(id));
        self.shrink_connections();
        if !farewell.gone {
            out.wire.push(Wire::Close { conn: id });
        }
        self.gates.forget(id);
        let session = conn.session();
        if !self.undecided.is_empty() {
            self.disown_undecided(id, session);
            self.carry_out_decided(id, out);
        }
        self.counters.disconnects += 1;
        if self.config.interest.contains(Interest::CLIENTS) {
            let client_id = session.and_then(|key| self.sessions.get(key)).map(|s| s.client_id.to_string());
            out.notes.push(Note::Disconnected {
                conn: id,
                client_id: client_id.unwrap_or_default(),
                reason: farewell.reason,
                detail: farewell.detail.clone(),
            });
        }
        if let Some(key) = session {
            if farewell.reason != ReasonCode::SessionTakenOver || !planted!("count-drifts") {
                self.online -= 1;
            }
            self.detach(key, farewell.cancels_will, out);
        }
    }

    fn say_goodbye(&mut self, id: ConnId, farewell: &Farewell, out: &mut Outbox) {
        let Some(conn) = self.conn(id) else { return };
        let reason_string = conn.problem_information.then_some(farewell.detail.as_str());
        match conn.phase {
            // The CONNACK that accepts has not left, so another one may say why it never will.
            Phase::Online { .. } if !conn.is_greeted() => self.refuse(id, conn.version, farewell, out),
            Phase::Online { .. } => {
                // DISCONNECT from a server exists in MQTT 5 only.
                if conn.version != Version::V5 {
                    return;
                }
                let reason = match farewell.reason {
                    ReasonCode::Success => ReasonCode::Success,
                    reason if reason.is_error() && reason.allowed_in(PacketType::Disconnect) => reason,
                    _ => ReasonCode::UnspecifiedError,
                };
                let properties = DisconnectProperties { reason_string, ..DisconnectProperties::default() };
                let packet = Packet::Disconnect(Disconnect { reason, properties });
                let bare =
                    Packet::Disconnect(Disconnect { reason, properties: DisconnectProperties::default() });
                self.send_largest(id, &packet, &bare, out);
            }
            Phase::Opening { .. } | Phase::Authenticating(_) => {
                let version = match (&conn.phase, farewell.version) {
                    (Phase::Authenticating(_), _) => conn.version,
                    (_, Some(version)) => version,
                    // Not even the version of the CONNECT was readable.
                    (_, None) => return,
                };
                self.counters.connects_refused += 1;
                self.refuse(id, version, farewell, out);
            }
        }
    }

    fn refuse(&mut self, id: ConnId, version: Version, farewell: &Farewell, out: &mut Outbox) {
        // 3.x has codes for five refusals only; everything else is a bare close.
        if version != Version::V5 && !has_v3_code(farewell.reason) {
            return;
        }
        if let Some(conn) = self.conn_mut(id) {
            conn.version = version;
        }
        let reason = match farewell.reason {
            ReasonCode::ServerShuttingDown => ReasonCode::ServerUnavailable,
            reason if reason.is_error() && reason.allowed_in(PacketType::ConnAck) => reason,
            _ => ReasonCode::UnspecifiedError,
        };
        let properties = ConnAckProperties {
            reason_string: Some(farewell.detail.as_str()),
            ..ConnAckProperties::default()
        };
        let packet = Packet::ConnAck(ConnAck { session_present: false, reason, properties });
        let bare = Packet::ConnAck(ConnAck {
            session_present: false,
            reason,
            properties: ConnAckProperties::default(),
        });
        self.send_largest(id, &packet, &bare, out);
    }

    /// Gives memory back after a storm of connections; slots above the last live one are not needed.
    fn shrink_connections(&mut self) {
        while matches!(self.connections.last(), Some(None)) {
            self.connections.pop();
        }
        if self.connections.capacity() > 64 && self.connections.len() < self.connections.capacity() / 4 {
            self.connections.shrink_to(64.max(self.connections.len() * 2));
        }
    }
}

/// Does CONNACK of MQTT 3.1 and 3.1.1 have a code for this?
const fn has_v3_code(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::UnsupportedProtocolVersion
            | ReasonCode::ClientIdNotValid
            | ReasonCode::ServerUnavailable
            | ReasonCode::ServerBusy
            | ReasonCode::ServerShuttingDown
            | ReasonCode::QuotaExceeded
            | ReasonCode::BadUserNameOrPassword
            | ReasonCode::NotAuthorized
            | ReasonCode::Banned
            | ReasonCode::BadAuthenticationMethod
    )
}

impl Connection {
    /// Bytes that are kept for this connection, for the view.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.input.capacity()
    }

    /// The same, with a CONNECT that waits for its answer.
    pub(crate) fn reserved(&self) -> usize {
        let applicant = match &self.phase {
            Phase::Authenticating(applicant) => applicant.packet.capacity(),
            _ => 0,
        };
        self.input.capacity() + applicant
    }
}
