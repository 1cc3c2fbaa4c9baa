//! SUBSCRIBE and UNSUBSCRIBE.

use super::{Subscriber, Subscription};
use crate::collections::{SlotKey, make_room};
use crate::connections::{About, After, Connection, SubscribeRequest, UnsubscribeRequest};
use crate::engine::Engine;
use crate::hooks::{Answer, Interest, Note, Question};
use crate::ids::ConnId;
use crate::memory::MemoryPressure;
use crate::outbox::Outbox;
use crate::storage::StoreOp;
use crate::topics::EntryRef;
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use mqtt_proto::{
    AckProperties, Packet, PacketId, PacketType, QoS, ReasonCode, ReasonCodes, RetainHandling, SubAck,
    Subscribe, SubscribeOptions, TopicFilter, UnsubAck, Unsubscribe, planted,
};

impl Engine {
    pub(crate) fn subscribe_packet(&mut self, id: ConnId, packet: &Subscribe<'_>, out: &mut Outbox) -> After {
        if packet.subscription_id.is_some() && !self.config.subscription_ids {
            let detail = "Subscription Identifiers are not offered";
            return self.refuse_packet(id, ReasonCode::SubscriptionIdsNotSupported, detail, out);
        }
        let mut filters = Vec::with_capacity(packet.filters.len());
        for (filter, options) in packet.filters.iter() {
            let judged = self.judge_filter(filter);
            if options.no_local
                && judged.is_ok()
                && TopicFilter::parse(filter).is_ok_and(|f| f.share().is_some())
            {
                return self.breach(id, "No Local on a shared subscription", out);
            }
            // CONNACK said that these are not offered; a client of 3.x could not be told.
            if let Err(
                reason @ (ReasonCode::WildcardSubscriptionsNotSupported
                | ReasonCode::SharedSubscriptionsNotSupported),
            ) = judged
                && self.conn(id).is_some_and(|conn| conn.version.is_v5())
            {
                return self.refuse_packet(id, reason, "a kind of subscription that is not offered", out);
            }
            let judged = judged.and_then(|()| self.allow_filter(id, filter));
            let reason = judged.err().unwrap_or(granted(options.qos.min(self.config.maximum_qos)));
            filters.push((filter.to_string(), options, reason));
        }
        let request = SubscribeRequest {
            packet_id: packet.packet_id,
            id: packet.subscription_id.unwrap_or(0),
            filters,
        };
        if !self.config.interest.contains(Interest::SUBSCRIBE) {
            self.subscribe(id, &request, out);
            return After::Continue;
        }
        let asked = request.filters.iter().filter(|(_, _, reason)| !reason.is_error());
        let question = Question::Subscribe {
            client_id: self.client_id_of(id),
            filters: asked.map(|(filter, options, _)| (filter.clone(), *options)).collect(),
        };
        self.ask(id, About::Subscribe(request), question, out);
        After::Parked
    }

    /// Whether anybody may have this topic filter.
    fn judge_filter(&self, filter: &str) -> Result<(), ReasonCode> {
        let parsed = TopicFilter::parse(filter).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        // The name of a group has a length, and is no level.
        if filter.len() > usize::from(self.config.max_topic_length) || !self.topic_fits(parsed.filter()) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        if parsed.share().is_some() && !self.config.shared_subscriptions {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        if parsed.has_wildcard() && !self.config.wildcard_subscriptions {
            return Err(ReasonCode::WildcardSubscriptionsNotSupported);
        }
        Ok(())
    }

    /// Whether this client may have this topic filter: one that reaches beyond what it may read is refused, unless that is
    /// left to each message.
    fn allow_filter(&self, id: ConnId, filter: &str) -> Result<(), ReasonCode> {
        let restricted = self.conn(id).filter(|conn| conn.restricted && self.config.check_subscriptions);
        let session = restricted.and_then(Connection::session).and_then(|key| self.sessions.get(key));
        let Some(permissions) = session.and_then(|session| session.permissions.as_deref()) else {
            return Ok(());
        };
        let filter = TopicFilter::parse(filter).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        let is_like_a_topic = planted!("filter-as-topic") && permissions.may_read(filter.filter());
        if is_like_a_topic || permissions.may_subscribe(filter.filter()) {
            return Ok(());
        }
        Err(self.refusal(ReasonCode::NotAuthorized))
    }

    /// A hook's verdicts on a SUBSCRIBE.
    pub(crate) fn subscribe_answered(
        &mut self,
        id: ConnId,
        mut request: SubscribeRequest,
        answer: &Answer,
        out: &mut Outbox,
    ) {
        let mut verdicts: &[ReasonCode] = match answer {
            Answer::Filters(verdicts) => verdicts,
            _ => &[],
        };
        for (_, _, reason) in request.filters.iter_mut().filter(|(_, _, reason)| !reason.is_error()) {
            let verdict = match (answer, verdicts.split_first()) {
                (Answer::Allow, _) => ReasonCode::Success,
                (Answer::Deny(why), _) if why.is_error() => *why,
                (Answer::Filters(_), Some((first, rest))) => {
                    verdicts = rest;
                    *first
                }
                _ => ReasonCode::NotAuthorized,
            };
            match verdict {
                ReasonCode::NotAuthorized if self.config.obscure_not_authorized => {
                    *reason = ReasonCode::UnspecifiedError;
                }
                verdict if verdict.is_error() && verdict.allowed_in(PacketType::SubAck) => *reason = verdict,
                verdict if verdict.is_error() => *reason = ReasonCode::UnspecifiedError,
                ReasonCode::GrantedQoS1 => *reason = granted(granted_qos(*reason).min(QoS::AtLeastOnce)),
                _ => {}
            }
        }
        self.subscribe(id, &request, out);
    }

    fn subscribe(&mut self, id: ConnId, request: &SubscribeRequest, out: &mut Outbox) {
        let Some(key) = self.conn(id).and_then(Connection::session) else { return };
        let mut reasons = Vec::with_capacity(request.filters.len());
        let mut scans: BTreeMap<&str, u32> = BTreeMap::new();
        for (filter, options, reason) in &request.filters {
            let mut reason = *reason;
            if !reason.is_error() {
                let qos = granted_qos(reason);
                let options = SubscribeOptions { qos, ..*options };
                match self.put_subscription(key, filter, options, request.id) {
                    Ok(existed) => {
                        self.tell_subscribed(key, filter, options, existed, out);
                        if wants_retained(filter, options, existed) {
                            *scans.entry(filter).or_default() += 1;
                        }
                    }
                    Err(full) => reason = full,
                }
            }
            self.counters.filters_refused += u64::from(reason.is_error());
            reasons.push(reason);
        }
        let packet = Packet::SubAck(SubAck {
            packet_id: request.packet_id,
            properties: AckProperties::default(),
            reasons: ReasonCodes::List(&reasons),
        });
        self.send_gated(id, &packet, out);
        if let Some(conn) = self.conn_mut(id) {
            for (filter, times) in scans {
                conn.scans.begin(filter, times);
            }
        }
        self.count_connection(id);
        self.scan_on(id, out);
    }

    /// Subscribes for a session of which the client does not know.
    pub(crate) fn subscribe_for(
        &mut self,
        key: SlotKey,
        filter: &str,
        options: SubscribeOptions,
        id: u32,
        out: &mut Outbox,
    ) {
        let is_shared = TopicFilter::parse(filter).is_ok_and(|filter| filter.share().is_some());
        let fits = self.judge_filter(filter).is_ok()
            && !(options.no_local && is_shared)
            && (id == 0 || (self.config.subscription_ids && id <= MAX_SUBSCRIPTION_ID));
        let options = SubscribeOptions { qos: options.qos.min(self.config.maximum_qos), ..options };
        let Some(Ok(existed)) = fits.then(|| self.put_subscription(key, filter, options, id)) else {
            self.counters.filters_refused += 1;
            return;
        };
        self.tell_subscribed(key, filter, options, existed, out);
        let conn = self.sessions.get(key).and_then(|session| session.conn);
        if let Some(conn) = conn.filter(|_| wants_retained(filter, options, existed)) {
            if let Some(conn) = self.conn_mut(conn) {
                conn.scans.begin(filter, 1);
            }
            self.count_connection(conn);
            self.scan_on(conn, out);
        }
    }

    fn tell_subscribed(
        &self,
        key: SlotKey,
        filter: &str,
        options: SubscribeOptions,
        existed: bool,
        out: &mut Outbox,
    ) {
        if let Some(session) = self.sessions.get(key)
            && self.config.interest.contains(Interest::SUBSCRIPTIONS)
        {
            let (client_id, filter) = (session.client_id.to_string(), filter.to_string());
            out.notes.push(Note::Subscribed { client_id, filter, options, existed });
        }
    }

    /// A session's subscription with this filter.
    pub(crate) fn subscriber(&mut self, key: SlotKey, full: &str) -> Option<Subscriber> {
        let session = self.sessions.get(key)?;
        let at = session.subscriptions.binary_search_by(|known| (*known.filter).cmp(full)).ok()?;
        let entry = session.subscriptions.get(at)?.at;
        self.index.entry_mut(entry).copied()
    }

    /// Makes or replaces a subscription in place, so that no message falls between [MQTT-3.8.4-3]; says whether
    /// it existed.
    fn put_subscription(
        &mut self,
        key: SlotKey,
        full: &str,
        options: SubscribeOptions,
        id: u32,
    ) -> Result<bool, ReasonCode> {
        let subscriber = Subscriber { session: key, options, id };
        let Some(session) = self.sessions.get(key) else { return Err(ReasonCode::UnspecifiedError) };
        let place = session.subscriptions.binary_search_by(|known| (*known.filter).cmp(full));
        let existed = match place {
            Ok(at) => {
                let entry = session.subscriptions.get(at).map(|known| known.at);
                if let Some(entry) = entry.and_then(|entry| self.index.entry_mut(entry))
                    && !planted!("options-not-replaced")
                {
                    *entry = subscriber;
                }
                true
            }
            Err(at) => {
                let levels = levels(full);
                if session.subscriptions.len() >= self.config.max_subscriptions_per_session as usize
                    || session.filter_levels + levels > self.config.max_filter_levels_per_session
                    || self.subscriptions >= self.config.max_subscriptions
                    || self.memory_pressure() == MemoryPressure::Max
                    || (session.is_stored() && !self.has_store())
                {
                    return Err(ReasonCode::QuotaExceeded);
                }
                let parsed = TopicFilter::parse(full).map_err(|_| ReasonCode::TopicFilterInvalid)?;
                self.add_subscription(full, parsed, at, subscriber);
                false
            }
        };
        self.store_for(key, |client_id| StoreOp::PutSubscription {
            client_id,
            filter: full.to_string(),
            options,
            id: (id > 0).then_some(id),
        });
        Ok(existed)
    }

    /// Adds a subscription, at its place among those of its session.
    pub(crate) fn add_subscription(
        &mut self,
        full: &str,
        parsed: TopicFilter<'_>,
        at: usize,
        subscriber: Subscriber,
    ) {
        let entry = self.index.subscribe(parsed.filter(), parsed.share(), subscriber);
        self.subscriptions += 1;
        if let Some(session) = self.sessions.get_mut(subscriber.session) {
            session.filter_levels += levels(full);
            session.filter_bytes += full.len() as u64;
            make_room(&mut session.subscriptions);
            session.subscriptions.insert(at, Subscription { filter: full.into(), at: entry });
        }
        self.count_session(subscriber.session);
    }

    pub(crate) fn unsubscribe_packet(
        &mut self,
        id: ConnId,
        packet: &Unsubscribe<'_>,
        out: &mut Outbox,
    ) -> After {
        if !self.config.interest.contains(Interest::UNSUBSCRIBE) {
            let filters = packet.filters.iter().map(|filter| (filter, ReasonCode::Success));
            self.unsubscribe_each(id, packet.packet_id, filters, out);
            return if self.conn(id).is_some() { After::Continue } else { After::Closed };
        }
        let filters: Vec<String> = packet.filters.iter().map(ToString::to_string).collect();
        let request = UnsubscribeRequest { packet_id: packet.packet_id, filters: filters.clone() };
        let question = Question::Unsubscribe { client_id: self.client_id_of(id), filters };
        self.ask(id, About::Unsubscribe(request), question, out);
        After::Parked
    }

    /// A hook's verdicts on an UNSUBSCRIBE.
    pub(crate) fn unsubscribe_answered(
        &mut self,
        id: ConnId,
        request: &UnsubscribeRequest,
        answer: &Answer,
        out: &mut Outbox,
    ) {
        let verdict = |at: usize| match answer {
            Answer::Allow => ReasonCode::Success,
            Answer::Deny(why) => *why,
            Answer::Filters(verdicts) => verdicts.get(at).copied().unwrap_or(ReasonCode::NotAuthorized),
            _ => ReasonCode::NotAuthorized,
        };
        let refusal = |why: ReasonCode| match why {
            ReasonCode::Success => why,
            _ if why.is_error() && why.allowed_in(PacketType::UnsubAck) => why,
            _ => ReasonCode::NotAuthorized,
        };
        let filters = request.filters.iter().enumerate();
        let filters = filters.map(|(at, filter)| (filter.as_str(), refusal(verdict(at))));
        self.unsubscribe_each(id, request.packet_id, filters, out);
    }

    /// Ends those subscriptions with which `Success` stands, and answers.
    fn unsubscribe_each<'a>(
        &mut self,
        id: ConnId,
        packet_id: PacketId,
        filters: impl Iterator<Item = (&'a str, ReasonCode)>,
        out: &mut Outbox,
    ) {
        let Some(key) = self.conn(id).and_then(Connection::session) else { return };
        let mut reasons = Vec::with_capacity(filters.size_hint().0);
        for (filter, verdict) in filters {
            let is_granted = verdict == ReasonCode::Success;
            reasons.push(if is_granted { self.unsubscribe(key, filter, out) } else { verdict });
        }
        let packet = Packet::UnsubAck(UnsubAck {
            packet_id,
            properties: AckProperties::default(),
            reasons: ReasonCodes::List(&reasons),
        });
        self.send_gated(id, &packet, out);
    }

    pub(crate) fn unsubscribe(&mut self, key: SlotKey, full: &str, out: &mut Outbox) -> ReasonCode {
        if TopicFilter::parse(full).is_err() {
            return ReasonCode::TopicFilterInvalid;
        }
        let Some(session) = self.sessions.get_mut(key) else { return ReasonCode::UnspecifiedError };
        let Ok(at) = session.subscriptions.binary_search_by(|known| (*known.filter).cmp(full)) else {
            return ReasonCode::NoSubscriptionExisted;
        };
        let entry = session.subscriptions.remove(at).at;
        if self.config.interest.contains(Interest::SUBSCRIPTIONS) {
            let (client_id, filter) = (session.client_id.to_string(), full.to_string());
            out.notes.push(Note::Unsubscribed { client_id, filter });
        }
        session.filter_levels -= levels(full);
        session.filter_bytes -= full.len() as u64;
        // Memory of once many subscriptions goes back.
        if session.subscriptions.capacity() > 64
            && session.subscriptions.len() < session.subscriptions.capacity() / 4
        {
            session.subscriptions.shrink_to(session.subscriptions.len() * 2);
        }
        // Nothing further is begun for it [MQTT-3.10.4-2].
        if let Some(conn) = session.conn.and_then(|conn| self.conn_mut(conn)) {
            conn.scans.remove(full);
            let conn = conn.id;
            self.count_connection(conn);
        }
        self.count_session(key);
        self.remove_entry(entry, full);
        if !planted!("unsubscribed-comes-back") {
            let filter = full.to_string();
            self.store_for(key, |client_id| StoreOp::RemoveSubscription { client_id, filter });
        }
        ReasonCode::Success
    }

    /// Takes an entry out of the index. The one that moved into its place belongs to the same filter, so its
    /// session finds it under the same text.
    pub(crate) fn remove_entry(&mut self, entry: EntryRef, full: &str) {
        let Some(removed) = self.index.unsubscribe(entry) else { return };
        self.subscriptions -= 1;
        let Some((moved, now_at)) = removed.moved else { return };
        if let Some(session) = self.sessions.get_mut(moved.session)
            && let Ok(at) = session.subscriptions.binary_search_by(|known| (*known.filter).cmp(full))
            && let Some(known) = session.subscriptions.get_mut(at)
        {
            known.at = now_at;
        }
    }
}

/// Largest Subscription Identifier.
const MAX_SUBSCRIPTION_ID: u32 = 268_435_455;

/// Levels of a topic filter, its `$share` part included.
fn levels(full: &str) -> u32 {
    full.bytes().fold(1, |levels, byte| levels + u32::from(byte == b'/'))
}

/// The code that grants a QoS.
const fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
        QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
    }
}

/// The QoS that a code grants.
const fn granted_qos(reason: ReasonCode) -> QoS {
    match reason {
        ReasonCode::GrantedQoS2 => QoS::ExactlyOnce,
        ReasonCode::GrantedQoS1 => QoS::AtLeastOnce,
        _ => QoS::AtMostOnce,
    }
}

/// Does a subscription get retained messages? Retain Handling says so; never for a shared one.
fn wants_retained(full: &str, options: SubscribeOptions, existed: bool) -> bool {
    let wanted = match options.retain_handling {
        RetainHandling::SendAlways => true,
        RetainHandling::SendIfNew => !existed || planted!("retain-handling-ignored"),
        RetainHandling::DoNotSend => false,
    };
    wanted && TopicFilter::parse(full).is_ok_and(|filter| filter.share().is_none())
}
