//! CONNECT, the authentication question, CONNACK.

use super::receive::After;
use super::{About, Applicant, Exchange, Farewell, Parked, Phase};
use crate::application_message::ApplicationMessage;
use crate::engine::Engine;
use crate::hooks::{Admission, Answer, Authenticate, Interest, KeptWill, Note, Question};
use crate::ids::ConnId;
use crate::outbox::Outbox;
use crate::permissions::Permissions;
use crate::sessions::{FOR_EVER, Will};
use alloc::{boxed::Box, format, string::String, string::ToString};
use core::net::SocketAddr;
use mqtt_proto::{ConnAck, ConnAckProperties, Connect, Packet, QoS, ReasonCode, Version, planted};

/// Longest client identifier of MQTT 3.1, characters.
const V31_CLIENT_ID: usize = 23;

impl Engine {
    /// The first packet of a connection.
    pub(crate) fn connect_packet(&mut self, id: ConnId, packet: &[u8], out: &mut Outbox) -> After {
        let connect = match decode(packet, &self.config.limits_before_connect()) {
            Ok(connect) => connect,
            Err(error) => {
                self.malformed(id, error, out);
                return After::Closed;
            }
        };
        let Some(conn) = self.conn_mut(id) else { return After::Closed };
        // Known first, because a refusal keeps to it too [MQTT-3.2.2-19].
        conn.max_packet_size = connect.properties.maximum_packet_size.unwrap_or(u32::MAX);
        if let Err((reason, detail)) = self.judge_connect(&connect) {
            self.close(id, Farewell::refuse(connect.version, reason, detail), out);
            return After::Closed;
        }
        let Some(conn) = self.conn_mut(id) else { return After::Closed };
        let peer = match conn.phase {
            Phase::Opening { peer } => peer,
            _ => None,
        };
        let listener = conn.listener;
        conn.version = connect.version;
        conn.problem_information = connect.properties.request_problem_information != Some(false);
        conn.exchange = connect
            .properties
            .authentication_method
            .map(|method| Box::new(Exchange { method: method.into(), asked: false }));
        conn.phase = Phase::Authenticating(Box::new(Applicant { packet: packet.to_vec(), peer }));
        let question = Question::Authenticate(Box::new(Authenticate {
            version: connect.version,
            client_id: connect.client_id.to_string(),
            username: connect.username.map(ToString::to_string),
            password: connect.password.map(<[u8]>::to_vec),
            method: connect.properties.authentication_method.map(ToString::to_string),
            data: connect.properties.authentication_data.map(<[u8]>::to_vec),
            clean_start: connect.clean_start,
            will: connect.will.as_ref().map(|will| Box::new(ApplicationMessage::of_will(will))),
            listener,
            peer,
        }));
        self.ask(id, About::Connect, question, out);
        After::Parked
    }

    /// Whether a CONNECT may be considered at all. Nothing is changed by a refusal.
    fn judge_connect(&self, connect: &Connect<'_>) -> Result<(), (ReasonCode, &'static str)> {
        let config = &self.config;
        if connect.version < config.minimum_protocol_version {
            return Err((
                ReasonCode::UnsupportedProtocolVersion,
                "an older protocol version than this broker accepts",
            ));
        }
        let length = connect.client_id.chars().count();
        if connect.version == Version::V31 && !(1..=V31_CLIENT_ID).contains(&length) {
            return Err((
                ReasonCode::ClientIdNotValid,
                "MQTT 3.1 wants a client identifier of 1 to 23 characters",
            ));
        }
        if connect.client_id.is_empty() {
            if connect.version == Version::V311 && !connect.clean_start {
                return Err((
                    ReasonCode::ClientIdNotValid,
                    "an empty client identifier needs Clean Session 1",
                ));
            }
            if !config.allow_empty_client_id {
                return Err((ReasonCode::ClientIdNotValid, "this broker does not assign client identifiers"));
            }
        }
        if let Some(will) = &connect.will {
            let topic = will.topic.as_str();
            if topic.starts_with("$SYS/") || topic == "$SYS" {
                return Err((ReasonCode::NotAuthorized, "a will must not go to $SYS"));
            }
            if topic.starts_with("$share/") {
                return Err((ReasonCode::TopicNameInvalid, "a will topic must not be a shared filter"));
            }
            if !self.topic_fits(topic) {
                return Err((
                    ReasonCode::TopicNameInvalid,
                    "the will topic is longer or deeper than allowed",
                ));
            }
            if will.qos > config.maximum_qos {
                return Err((ReasonCode::QoSNotSupported, "the will's QoS is above Maximum QoS"));
            }
            if will.retain && !config.retain_available {
                return Err((
                    ReasonCode::RetainNotSupported,
                    "the will is retained, which this broker does not offer",
                ));
            }
        }
        self.judge_room(connect)
    }

    /// Is there room for one more connected client? One that is connected may take its own place.
    fn judge_room(&self, connect: &Connect<'_>) -> Result<(), (ReasonCode, &'static str)> {
        let session = self.session_of(connect.client_id).and_then(|key| self.sessions.get(key));
        if self.online >= self.config.max_connections && session.is_none_or(|session| session.conn.is_none())
        {
            return Err((ReasonCode::QuotaExceeded, "the maximum of connected clients is reached"));
        }
        if self.fanouts.unowned() >= self.config.max_unowned_fanouts {
            // Who publishes and leaves, again and again, would line up more than anybody's patience bounds.
            return Err((ReasonCode::ServerBusy, "too many messages of clients that left are on their way"));
        }
        let will = connect.will.as_ref().map_or(0, Will::would_keep);
        if (session.is_none() || will > 0) && !self.has_memory_for(will) {
            return Err((ReasonCode::QuotaExceeded, "the memory budget is used up"));
        }
        let would_keep = self.session_expiry(connect) > 0 || connect.will.is_some();
        if session.is_none() && would_keep && !self.has_store() {
            return Err((ReasonCode::QuotaExceeded, "the store is full"));
        }
        Ok(())
    }

    /// The answer to an authentication question.
    pub(crate) fn authenticated(&mut self, id: ConnId, answer: Answer, out: &mut Outbox) {
        let Some(conn) = self.conn_mut(id) else { return };
        let version = conn.version;
        let with_method = conn.exchange.is_some();
        match answer {
            Answer::Allow if with_method => {
                self.close(
                    id,
                    Farewell::refuse(
                        version,
                        ReasonCode::BadAuthenticationMethod,
                        "authentication method unknown",
                    ),
                    out,
                );
            }
            Answer::Allow => self.accept(id, Admission::default(), out),
            Answer::AllowWith(data) => self.accept(id, Admission { data, ..Admission::default() }, out),
            Answer::Admit(admission) => self.accept(id, *admission, out),
            Answer::Continue(data) if with_method => {
                self.send_auth(id, ReasonCode::ContinueAuthentication, &data, out);
                self.arm_connection(id);
                self.resume_input(id, out);
            }
            Answer::Deny(reason) => {
                let reason = if reason.is_error() { reason } else { ReasonCode::NotAuthorized };
                self.close(id, Farewell::refuse(version, reason, "refused by authentication"), out);
            }
            Answer::Continue(_) | Answer::Filters(_) | Answer::Discard | Answer::Replace(_) => {
                self.counters.host_misuse += 1;
                self.close(
                    id,
                    Farewell::refuse(version, ReasonCode::NotAuthorized, "refused by authentication"),
                    out,
                );
            }
        }
    }

    /// Everything is decided but the session: takes over, resumes or begins it, and says CONNACK.
    fn accept(&mut self, id: ConnId, admission: Admission, out: &mut Outbox) {
        let Some(conn) = self.conn_mut(id) else { return };
        let Phase::Authenticating(applicant) =
            core::mem::replace(&mut conn.phase, Phase::Opening { peer: None })
        else {
            return;
        };
        self.count_connection(id);
        let Ok(connect) = decode(&applicant.packet, &self.config.limits_before_connect()) else { return };
        let Admission { permissions, username, data, will } = admission;
        let username = username.as_deref().or(connect.username);
        if let Err((reason, detail)) = self.admit(&connect, username) {
            if planted!("refused-takes-over")
                && let Some(old) =
                    self.session_of(connect.client_id).and_then(|key| self.sessions.get(key)?.conn)
            {
                self.close(old, Farewell::rude("taken over"), out);
            }
            self.close(id, Farewell::refuse(connect.version, reason, detail), out);
            return;
        }
        let will = match self.judge_admission(&connect, permissions.as_ref(), will) {
            Ok(will) => will,
            Err((reason, detail)) => {
                self.close(id, Farewell::refuse(connect.version, reason, detail), out);
                return;
            }
        };
        let assigned = connect.client_id.is_empty().then(|| self.assign_client_id(applicant.peer));
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);
        let expiry = self.session_expiry(&connect);
        let response_information = self.config.response_information.clone();
        let mut connack =
            self.connack(&connect, assigned.as_deref(), expiry, &data, response_information.as_deref());
        // It tells the broker's limits, so nobody can go on without it.
        if !self.takes(id, &Packet::ConnAck(connack.clone())) {
            let detail = "CONNACK is larger than the client's Maximum Packet Size";
            self.close(id, Farewell::refuse(connect.version, ReasonCode::PacketTooLarge, detail), out);
            return;
        }
        // Nothing refuses it any more, so this is the end of the connection that its session has now.
        if let Some(older) = self.session_of(client_id).and_then(|key| self.sessions.get(key)?.conn) {
            self.hear_out(older, out);
        }
        self.gates.begin_packet();
        let (key, present) = self.begin_session(client_id, username, &connect, expiry, out);
        self.settle(id, key, &connect, will, (expiry, present));
        self.set_permissions(key, permissions);
        self.online += 1;
        self.counters.connects += 1;
        // MQTT 3.1 has no Session Present bit.
        connack.session_present = present && connect.version != Version::V31;
        self.send_gated(id, &Packet::ConnAck(connack), out);
        if self.gates.is_waiting(id)
            && let Some(conn) = self.conn_mut(id)
        {
            conn.parked = Some(Box::new(Parked::Greeting));
        }
        if self.config.interest.contains(Interest::CLIENTS) {
            out.notes.push(Note::Connected {
                conn: id,
                client_id: client_id.to_string(),
                version: connect.version,
                session_present: present,
            });
        }
        self.arm_connection(id);
        self.drain(id, out);
        self.resume_input(id, out);
    }

    /// Limits that only an accepted client can meet.
    fn admit(&self, connect: &Connect<'_>, username: Option<&str>) -> Result<(), (ReasonCode, &'static str)> {
        // Judged again: others were accepted while this one's answer was awaited.
        self.judge_room(connect)?;
        let stored = self.session_of(connect.client_id).filter(|_| !connect.client_id.is_empty());
        match stored.and_then(|key| self.sessions.get(key)) {
            Some(session)
                if self.config.bind_session_to_user
                    && !planted!("any-user-resumes")
                    && session.username.as_deref() != username =>
            {
                Err((ReasonCode::NotAuthorized, "the session belongs to another user"))
            }
            None if self.sessions.len() >= self.config.max_sessions as usize => {
                Err((ReasonCode::QuotaExceeded, "the maximum of sessions is reached"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the engine can take a client as it is let in, and its will then.
    fn judge_admission(
        &mut self,
        connect: &Connect<'_>,
        permissions: Option<&Permissions>,
        will: KeptWill,
    ) -> Result<Option<Box<Will>>, (ReasonCode, &'static str)> {
        let not_allowed = (ReasonCode::NotAuthorized, "the will's topic is not allowed to this client");
        let will = match (&connect.will, will) {
            (None, _) | (_, KeptWill::Nothing) => None,
            (Some(will), KeptWill::AsSent) => Some(Box::new(Will::new(will))),
            (Some(will), KeptWill::Instead(message)) => {
                let delay = will.properties.will_delay_interval;
                let is_good = self.judge_topic(&message.topic).is_ok()
                    && message.qos <= self.config.maximum_qos
                    && (!message.retain || self.config.retain_available);
                let will = Will::of_message(*message, delay).filter(|_| is_good);
                if will.is_none() {
                    self.counters.host_misuse += 1;
                    return Err(not_allowed);
                }
                will.map(Box::new)
            }
        };
        if permissions.is_some_and(|permissions| !permissions.are_valid()) {
            self.counters.host_misuse += 1;
            return Err((ReasonCode::NotAuthorized, "refused by authentication"));
        }
        let may_publish = |will: &Will| permissions.is_none_or(|known| known.may_publish(will.topic()));
        if !will.as_deref().is_none_or(may_publish) {
            return Err(not_allowed);
        }
        let kept = permissions.map_or(0, Permissions::kept) + will.as_ref().map_or(0, |will| will.kept());
        if kept > 0 && !self.has_memory_for(kept) {
            return Err((ReasonCode::QuotaExceeded, "the memory budget is used up"));
        }
        Ok(will)
    }

    /// Session Expiry Interval in force: asked for, but not above the cap.
    fn session_expiry(&self, connect: &Connect<'_>) -> u32 {
        match connect.version {
            Version::V5 => {
                connect.properties.session_expiry_interval.unwrap_or(0).min(self.config.max_session_expiry)
            }
            _ if connect.clean_start => 0,
            _ => self.config.max_session_expiry,
        }
    }

    /// Keep Alive in force, seconds: asked for, but not above the cap.
    fn keep_alive(&self, connect: &Connect<'_>) -> u16 {
        match (connect.keep_alive, self.config.max_keep_alive) {
            (asked, 0) => asked,
            (0, cap) => cap,
            (asked, cap) => asked.min(cap),
        }
    }

    /// Writes what CONNECT said into connection and session, which may have been `present` before.
    fn settle(
        &mut self,
        id: ConnId,
        key: crate::collections::SlotKey,
        connect: &Connect<'_>,
        will: Option<Box<Will>>,
        (expiry, present): (u32, bool),
    ) {
        // A 3.x client cannot be told another keep-alive than its own, so it is held to that.
        let keep_alive = match connect.version {
            Version::V5 => self.keep_alive(connect),
            _ => connect.keep_alive,
        };
        let max_inflight = self.config.max_inflight.max(1);
        let outbound_aliases = self.config.max_outbound_topic_aliases;
        let now = self.now;
        let properties = &connect.properties;
        if let Some(conn) = self.conn_mut(id) {
            conn.phase = Phase::Online { session: key };
            conn.last_seen = now;
            // One and a half times the interval, in microseconds [MQTT-3.1.2-22].
            conn.patience = u64::from(keep_alive) * 1_500_000;
            if planted!("keep-alive-wraps") {
                conn.patience = u64::from(keep_alive.wrapping_add(keep_alive / 2)) * 1_000_000;
            }
            if planted!("quota-kept") {
                conn.outstanding = u16::from(keep_alive > 0);
            }
            conn.send_maximum = properties.receive_maximum.unwrap_or(u16::MAX).min(max_inflight);
            conn.aliases.limit_outbound(properties.topic_alias_maximum.unwrap_or(0).min(outbound_aliases));
            conn.expiry_was_zero = properties.session_expiry_interval.unwrap_or(0) == 0;
        }
        let (mut is_stored, mut will_changed) = (false, will.is_some());
        if let Some(session) = self.sessions.get_mut(key) {
            session.conn = Some(id);
            session.expiry = expiry;
            session.ends_at = None;
            will_changed |= session.will.is_some();
            session.will = will;
            is_stored = session.is_stored();
            if planted!("qos2-forgotten") {
                session.received.clear();
            }
            for received in &mut session.received {
                received.is_earlier = true;
            }
            session.will_at = None;
        }
        self.count_session(key);
        self.count_connection(id);
        if present || is_stored {
            self.store_session(key);
        } else if let Some(session) = self.sessions.get(key) {
            // Of a new one that ends with its connection, the store need not know. That an earlier one of this client has
            // ended may be on its way there, and CONNACK promises it.
            self.gates.stand_behind_end(&session.client_id);
        }
        if will_changed {
            self.store_will(key);
        }
    }

    /// CONNACK for an accepted client, without Session Present.
    fn connack<'a>(
        &self,
        connect: &Connect<'a>,
        assigned: Option<&'a str>,
        expiry: u32,
        auth_data: &'a [u8],
        response_information: Option<&'a str>,
    ) -> ConnAck<'a> {
        let config = &self.config;
        let keep_alive = self.keep_alive(connect);
        let asked_expiry = connect.properties.session_expiry_interval.unwrap_or(0);
        let wants_response = connect.properties.request_response_information == Some(true);
        // Data goes with a method [MQTT-4.12.0-6].
        let authentication_method = connect.properties.authentication_method;
        let auth_data = Some(auth_data).filter(|data| authentication_method.is_some() && !data.is_empty());
        let properties = ConnAckProperties {
            session_expiry_interval: (expiry != asked_expiry).then_some(expiry),
            receive_maximum: (config.receive_maximum != u16::MAX).then_some(config.receive_maximum),
            maximum_qos: (config.maximum_qos < QoS::ExactlyOnce).then_some(config.maximum_qos),
            retain_available: (!config.retain_available).then_some(false),
            maximum_packet_size: Some(config.max_packet_size),
            assigned_client_id: assigned,
            topic_alias_maximum: (config.topic_alias_maximum > 0).then_some(config.topic_alias_maximum),
            wildcard_subscription_available: (!config.wildcard_subscriptions).then_some(false),
            subscription_ids_available: (!config.subscription_ids).then_some(false),
            shared_subscription_available: (!config.shared_subscriptions).then_some(false),
            server_keep_alive: (keep_alive != connect.keep_alive).then_some(keep_alive),
            response_information: response_information.filter(|_| wants_response),
            authentication_method,
            authentication_data: auth_data,
            ..ConnAckProperties::default()
        };
        ConnAck { session_present: false, reason: ReasonCode::Success, properties }
    }

    /// An identifier that no session has: unpredictable, so that nobody can lie in wait for it.
    fn assign_client_id(&mut self, _peer: Option<SocketAddr>) -> String {
        loop {
            let candidate = format!("metronome-{:016x}", self.rng.next_u64());
            if self.session_of(&candidate).is_none() {
                return candidate;
            }
        }
    }

    /// Opens a question about a connection and parks it. Its time counts from the call with which it leaves.
    pub(crate) fn ask(&mut self, id: ConnId, about: About, question: Question, out: &mut Outbox) {
        self.questions += 1;
        let call = crate::ids::CallId { conn: id, number: self.questions };
        let deadline = self.called_at.after(self.config.time_limit(&question));
        if let Some(conn) = self.conn_mut(id) {
            let size = about.kept();
            conn.parked = Some(Box::new(Parked::Question { call, deadline, about, size }));
        }
        self.count_connection(id);
        out.calls.push(crate::hooks::Call { id: call, conn: id, question });
        self.arm_connection(id);
    }

    /// A hook answered.
    pub(crate) fn replied(&mut self, call: crate::ids::CallId, answer: Answer, out: &mut Outbox) {
        let Err(answer) = self.publish_answered(call, answer, out) else { return };
        let id = call.conn;
        let open = match self.conn(id).and_then(|conn| conn.parked.as_deref()) {
            Some(Parked::Question { call: asked, deadline, .. })
                if *asked == call || planted!("any-answer-counts") =>
            {
                Some(*deadline)
            }
            _ => None,
        };
        match open {
            Some(deadline) if deadline > self.now => self.settle_question(id, answer, out),
            // Its timer waits its turn.
            Some(_) => {
                self.counters.late_replies += 1;
                self.question_timed_out(id, out);
            }
            None => self.counters.late_replies += 1,
        }
    }

    /// Nobody answered in time: the answer is no.
    pub(crate) fn question_timed_out(&mut self, id: ConnId, out: &mut Outbox) {
        self.counters.hook_timeouts += 1;
        self.settle_question(id, Answer::Deny(ReasonCode::NotAuthorized), out);
    }

    /// A question is no longer open; the packets behind it go on.
    pub(super) fn settle_question(&mut self, id: ConnId, answer: Answer, out: &mut Outbox) {
        let Some(parked) = self.conn_mut(id).and_then(|conn| conn.parked.take()) else { return };
        let Parked::Question { about, .. } = *parked else { return };
        self.count_connection(id);
        match about {
            About::Connect => self.authenticated(id, answer, out),
            About::Reauthentication => self.reauthenticated(id, answer, out),
            About::Subscribe(request) => {
                self.gates.begin_packet();
                self.subscribe_answered(id, request, &answer, out);
                self.resume_input(id, out);
            }
            About::Unsubscribe(request) => {
                self.gates.begin_packet();
                self.unsubscribe_answered(id, &request, &answer, out);
                self.resume_input(id, out);
            }
        }
    }

    /// Is a topic within the limits of length and depth?
    pub(crate) fn topic_fits(&self, topic: &str) -> bool {
        topic.len() <= usize::from(self.config.max_topic_length)
            && topic.bytes().filter(|byte| *byte == b'/').count() < usize::from(self.config.max_topic_levels)
    }

    /// Session expiry in seconds as a deadline, `None` for ever.
    pub(crate) fn expiry_deadline(&self, expiry: u32) -> Option<crate::time::Time> {
        if planted!("for-ever-ends") {
            return Some(self.now.after_secs(expiry.wrapping_add(1)));
        }
        (expiry != FOR_EVER).then(|| self.now.after_secs(expiry))
    }
}

/// A whole CONNECT packet, decoded.
fn decode<'a>(packet: &'a [u8], limits: &mqtt_proto::Limits) -> Result<Connect<'a>, mqtt_proto::DecodeError> {
    match Packet::parse(packet, Version::V5, limits)? {
        Some((Packet::Connect(connect), _)) => Ok(connect),
        // The caller has seen the packet type and the whole length; an empty stand-in is never accepted.
        _ => Err(mqtt_proto::DecodeError::not_connect()),
    }
}

impl Applicant {
    /// The identifier in the CONNECT that waits.
    pub(crate) fn client_id(&self) -> Option<String> {
        decode(&self.packet, &mqtt_proto::Limits::NONE).ok().map(|connect| connect.client_id.to_string())
    }
}
