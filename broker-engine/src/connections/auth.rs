//! AUTH: the steps of an enhanced authentication, and authenticating again while connected.

use super::receive::After;
use super::{About, Connection, Farewell, Phase};
use crate::engine::Engine;
use crate::hooks::{Answer, Question};
use crate::ids::ConnId;
use crate::outbox::Outbox;
use crate::permissions::Permissions;
use alloc::string::{String, ToString};
use mqtt_proto::{Auth, AuthProperties, Packet, PacketType, ReasonCode, planted};

impl Engine {
    pub(crate) fn auth_packet(&mut self, id: ConnId, auth: &Auth<'_>, out: &mut Outbox) -> After {
        let Some(conn) = self.conn(id) else { return After::Closed };
        // Authentication without a method in CONNECT cannot be taken up later [MQTT-4.12.0-6, 4.12.1-1].
        let Some(exchange) = conn.exchange.as_deref() else {
            return self.auth_error(id, "AUTH, but CONNECT named no authentication method", out);
        };
        if auth.properties.authentication_method != Some(&*exchange.method) {
            return self.auth_error(id, "AUTH with another authentication method than CONNECT", out);
        }
        let online = conn.session().is_some();
        // An AUTH that asks for more is answered with 0x18 [MQTT-4.12.0-3], and nothing else is.
        let expected = match auth.reason {
            ReasonCode::ContinueAuthentication => exchange.asked,
            ReasonCode::ReAuthenticate => online && !exchange.asked,
            _ => false,
        };
        if !expected {
            return self.auth_error(id, "AUTH with a reason code that does not fit", out);
        }
        let method = exchange.method.to_string();
        if let Some(exchange) = self.conn_mut(id).and_then(|conn| conn.exchange.as_deref_mut()) {
            exchange.asked = false;
        }
        let question = Question::AuthenticateStep {
            client_id: self.client_id_of(id),
            method,
            data: auth.properties.authentication_data.map(<[u8]>::to_vec),
            again: online,
        };
        let about = if online { About::Reauthentication } else { About::Connect };
        self.ask(id, about, question, out);
        After::Parked
    }

    fn auth_error(&mut self, id: ConnId, detail: &str, out: &mut Outbox) -> After {
        self.counters.protocol_errors += 1;
        self.close(id, Farewell::tell(ReasonCode::ProtocolError, detail), out);
        After::Closed
    }

    /// The answer to a re-authentication; until it succeeds the old identity stays in force.
    pub(crate) fn reauthenticated(&mut self, id: ConnId, answer: Answer, out: &mut Outbox) {
        match answer {
            Answer::Admit(admission)
                if !admission.permissions.as_ref().is_none_or(Permissions::are_valid) =>
            {
                self.counters.host_misuse += 1;
                self.close(id, Farewell::tell(ReasonCode::NotAuthorized, "re-authentication failed"), out);
                return;
            }
            Answer::Admit(admission) => {
                if let Some(key) = self.conn(id).and_then(Connection::session) {
                    self.set_permissions(key, admission.permissions);
                }
                self.send_auth(id, ReasonCode::Success, &admission.data, out);
            }
            Answer::Allow => self.send_auth(id, ReasonCode::Success, &[], out),
            Answer::AllowWith(data) => self.send_auth(id, ReasonCode::Success, &data, out),
            Answer::Continue(data) => self.send_auth(id, ReasonCode::ContinueAuthentication, &data, out),
            Answer::Deny(_) if planted!("again-without-a-yes") => {
                self.send_auth(id, ReasonCode::Success, &[], out);
            }
            Answer::Deny(reason) => {
                // Some reasons are of CONNACK only.
                let fits = reason.is_error() && reason.allowed_in(PacketType::Disconnect);
                let reason = if fits { reason } else { ReasonCode::NotAuthorized };
                self.close(id, Farewell::tell(reason, "re-authentication failed"), out);
                return;
            }
            Answer::Filters(_) | Answer::Discard | Answer::Replace(_) => {
                self.counters.host_misuse += 1;
                self.close(id, Farewell::tell(ReasonCode::NotAuthorized, "re-authentication failed"), out);
                return;
            }
        }
        self.resume_input(id, out);
    }

    /// A client whose Maximum Packet Size is below the AUTH cannot go on.
    pub(crate) fn send_auth(&mut self, id: ConnId, reason: ReasonCode, data: &[u8], out: &mut Outbox) {
        let Some(conn) = self.conn_mut(id).filter(|conn| !conn.is_gone()) else { return };
        let version = conn.version;
        let Some(exchange) = conn.exchange.as_deref_mut() else { return };
        exchange.asked = reason == ReasonCode::ContinueAuthentication;
        let method = exchange.method.clone();
        let properties = AuthProperties {
            authentication_method: Some(&method),
            authentication_data: (!data.is_empty()).then_some(data),
            ..AuthProperties::default()
        };
        let packet = Packet::Auth(Auth { reason, properties });
        if self.takes(id, &packet) {
            return self.send(id, &packet, out);
        }
        let detail = "AUTH is larger than the client's Maximum Packet Size";
        let farewell = match self.conn(id).and_then(super::Connection::session) {
            Some(_) => Farewell::tell(ReasonCode::PacketTooLarge, detail),
            None => Farewell::refuse(version, ReasonCode::PacketTooLarge, detail),
        };
        self.close(id, farewell, out);
    }

    /// Client identifier of an accepted client or an applicant.
    pub(crate) fn client_id_of(&self, id: ConnId) -> String {
        let Some(conn) = self.conn(id) else { return String::new() };
        match &conn.phase {
            Phase::Online { session } => self.sessions.get(*session).map(|s| s.client_id.to_string()),
            Phase::Authenticating(applicant) => applicant.client_id(),
            Phase::Opening { .. } => None,
        }
        .unwrap_or_default()
    }
}
