//! What the engine sends on a connection: whether it may, now and in this order.

use super::{Greeting, Request, UNNUMBERED, Wire, Wrong, number_in, offered};
use crate::check::ledger::{Outgoing, Route};
use crate::check::promises::Fact;
use crate::check::{Books, Counts, Marks};
use crate::oracle::Given;
use crate::scenario::Properties;
use broker_engine::{Config, Interest};
use mqtt_proto::{Ack, ConnAck, Packet, Publish, QoS, ReasonCode, SubAck, UnsubAck, Version};

/// AUTH, and CONNACK that lets in, name the method of CONNECT [MQTT-4.12.0-5].
fn within_exchange(greeting: &Greeting, method: Option<&str>) -> Result<(), Wrong> {
    if greeting.method.as_deref() == method {
        return Ok(());
    }
    Err(("INV-51", format!("authentication by {method:?}, and CONNECT asked for {:?}", greeting.method)))
}

impl Wire {
    /// A packet of the engine.
    pub(super) fn give(
        &mut self,
        now: u64,
        link: usize,
        packet: &Packet<'_>,
        books: &mut Books<'_>,
        config: &Config,
    ) -> Result<(), Wrong> {
        let was_asked_about = match packet {
            Packet::ConnAck(_) | Packet::Auth(_) => true,
            // Where nobody is asked about SUBSCRIBE, these say nothing of a question about AUTH.
            Packet::SubAck(_) => config.interest.contains(Interest::SUBSCRIBE),
            Packet::UnsubAck(_) => config.interest.contains(Interest::UNSUBSCRIBE),
            _ => false,
        };
        if was_asked_about {
            self.hook_heard(now, books.ledger);
        }
        let Books { ledger, counts, marks, .. } = &mut *books;
        let Some(greeting) = &self.greeting else { return Ok(()) };
        let client_id = greeting.client_id.clone();
        match packet {
            Packet::Publish(_) | Packet::PubRel(_) => {}
            _ => self.waiting_since = now,
        }
        match packet {
            Packet::ConnAck(connack) if connack.reason.is_error() => {
                self.ended = true;
                marks.hit("a connection is refused");
            }
            Packet::Auth(auth) => {
                (self.is_asked, self.authenticates) =
                    (auth.reason == ReasonCode::ContinueAuthentication, false);
                if !self.is_asked {
                    counts.look("INV-42");
                    marks.hit("a client that authenticates again");
                }
                if !self.is_asked && !self.is_allowed {
                    return Err(("INV-42", format!("{client_id} has authenticated again, without a yes")));
                }
                return within_exchange(greeting, auth.properties.authentication_method);
            }
            Packet::ConnAck(connack) => {
                if self.version == Version::V5 {
                    counts.look("INV-63");
                    offered::announced(config, greeting, connack)?;
                }
                return self.welcomed(now, link, connack, books);
            }
            Packet::Publish(publish) => {
                return self.message(now, link, publish, books, config.max_inflight);
            }
            Packet::PubAck(ack) => self.answered(now, link, (0, ack), books)?,
            Packet::PubRec(ack) => self.answered(now, link, (1, ack), books)?,
            Packet::PubRel(_) if ledger.is_replaced(&client_id, link) || ledger.is_over(&client_id) => {}
            Packet::PubRel(ack) => {
                counts.look("INV-12");
                let known = ledger.released(&client_id, ack.packet_id.get(), link, marks);
                // A PUBREC for an unknown message is answered too.
                if !known && ack.reason == ReasonCode::Success && self.version == Version::V5 {
                    return Err(("INV-12", format!("PUBREL #{} of nothing", ack.packet_id.get())));
                }
                self.promises(&Fact::Released(client_id, ack.packet_id.get()), books)?;
            }
            Packet::PubComp(ack) => {
                counts.look("INV-13");
                let next = self.releases.pop_front();
                if next != Some(ack.packet_id.get()) {
                    return Err(("INV-13", format!("PUBCOMP #{}, {next:?} is next", ack.packet_id.get())));
                }
                self.promises(&Fact::Completed(client_id, ack.packet_id.get()), books)?;
            }
            Packet::SubAck(ack) => return self.subscribed((&client_id, link), ack, books),
            Packet::UnsubAck(ack) => {
                let is_asked = config.interest.contains(Interest::UNSUBSCRIBE);
                return self.unsubscribed(&client_id, ack, is_asked, books);
            }
            Packet::PingResp => {
                self.pings =
                    self.pings.checked_sub(1).ok_or(("INV-07", "PINGRESP for nothing".to_owned()))?;
            }
            Packet::Disconnect(disconnect) => {
                (self.ended, self.told) = (true, Some(disconnect.reason));
                if disconnect.reason == ReasonCode::SessionTakenOver {
                    marks.hit("a session taken over");
                }
                if disconnect.reason == ReasonCode::NotAuthorized && self.authenticates {
                    marks.hit("a client that is refused when it authenticates again");
                }
                if disconnect.reason == ReasonCode::KeepAliveTimeout {
                    marks.hit("a keep-alive that ran out");
                    counts.look("INV-27");
                    let last = if self.last_packet < now { self.last_packet } else { self.packet_before };
                    let silent = now - last;
                    let allowed = u64::from(greeting.keep_alive) * 1_500_000;
                    if silent < allowed {
                        return Err((
                            "INV-27",
                            format!("closed after {silent} us of silence, {allowed} are allowed"),
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A packet leaves that promises this. What somebody who does not keep to the protocol has asked for is not known.
    fn promises(&self, fact: &Fact, books: &mut Books<'_>) -> Result<(), Wrong> {
        if self.hostile { Ok(()) } else { books.promises.kept(fact, books.counts) }
    }

    /// CONNACK lets it in.
    fn welcomed(
        &mut self,
        now: u64,
        link: usize,
        connack: &ConnAck<'_>,
        books: &mut Books<'_>,
    ) -> Result<(), Wrong> {
        let Some(greeting) = &self.greeting else { return Ok(()) };
        within_exchange(greeting, connack.properties.authentication_method)?;
        books.counts.look("INV-22");
        let wanted = self.goes_on.unwrap_or_else(|| greeting.let_in(link, books.ledger));
        if self.version != Version::V31 && connack.session_present != wanted {
            let there = if wanted { "was" } else { "was not" };
            let detail = format!("Session Present is {}, there {there} one", connack.session_present);
            return Err(("INV-22", detail));
        }
        if wanted {
            books.marks.hit("a session goes on");
        }
        self.promises(&Fact::Session(greeting.client_id.clone()), books)?;
        (self.online, self.last_flow) = (true, now);
        if let (Some(keep_alive), Some(greeting)) = (connack.properties.server_keep_alive, &mut self.greeting)
        {
            greeting.keep_alive = keep_alive;
        }
        Ok(())
    }

    fn subscribed(
        &mut self,
        (client_id, link): (&str, usize),
        ack: &SubAck<'_>,
        books: &mut Books<'_>,
    ) -> Result<(), Wrong> {
        let (id, request) = (ack.packet_id.get(), self.requests.pop_front());
        let filters = match request {
            Some(Request::Subscribe(asked, filters))
                if asked == id && filters.len() == ack.reasons.iter().count() =>
            {
                filters
            }
            other => return Err(("INV-32", format!("SUBACK #{id} for {other:?}"))),
        };
        books.counts.look("INV-32");
        // Another connection of the client may have other permissions, and a session of its own.
        let is_current = books.ledger.link_of(client_id) == Some(link);
        let is_judged = self.came_before == 0 && !self.hostile && is_current;
        let is_over = books.ledger.is_replaced(client_id, link);
        self.came_before = self.came_before.saturating_sub(1);
        for ((filter, options), code) in filters.iter().zip(ack.reasons.iter()) {
            if !code.is_error() && code as u8 > options.qos as u8 {
                let asked = options.qos as u8;
                return Err(("INV-32", format!("{filter} gets {code:?}, asked for {asked}")));
            }
            if let Some(may) = books.ledger.may_subscribe(client_id, filter).filter(|_| is_judged) {
                books.counts.look("INV-43");
                if !may && !code.is_error() {
                    let detail = format!("{filter} is granted, and reaches beyond what {client_id} may read");
                    return Err(("INV-43", detail));
                }
                if !may {
                    books.marks.hit("a filter refused that reaches too far");
                }
            }
            // What came behind it may be in force already.
            if !self.is_overruled(filter) {
                self.promises(&Fact::Subscription(client_id.to_owned(), filter.clone()), books)?;
                if !is_over {
                    books.ledger.subscribed(client_id, filter, *options, code);
                }
            }
        }
        Ok(())
    }

    fn unsubscribed(
        &mut self,
        client_id: &str,
        ack: &UnsubAck<'_>,
        is_asked: bool,
        books: &mut Books<'_>,
    ) -> Result<(), Wrong> {
        self.came_before = self.came_before.saturating_sub(1);
        let id = ack.packet_id.get();
        let filters = match self.requests.pop_front() {
            Some(Request::Unsubscribe(asked, filters)) if asked == id => filters,
            other => return Err(("INV-32", format!("UNSUBACK #{id} for {other:?}"))),
        };
        // Of what comes behind a question when its connection is over nobody is asked; and where the host calls late, a
        // question is asked and times out in one call, which is seen in this order.
        let allowed = self.unsubscribes.pop_front();
        if allowed.is_none() && is_asked {
            self.answered_first += 1;
        }
        let allowed = allowed.map_or_else(|| vec![!is_asked; filters.len()], |(_, allowed)| allowed);
        // UNSUBACK of 3.x has no codes.
        for ((filter, code), may) in filters.iter().zip(ack.reasons.iter()).zip(&allowed) {
            books.counts.look("INV-42");
            let is_refused = code.is_error() && code != ReasonCode::TopicFilterInvalid;
            if *may == is_refused {
                let detail = format!("{client_id} hears {code:?} for {filter}, and may end it: {may}");
                return Err(("INV-42", detail));
            }
            if !may {
                books.marks.hit("an end of a subscription refused");
            }
        }
        for (filter, may) in filters.into_iter().zip(allowed) {
            if self.is_overruled(&filter) {
                continue;
            }
            if !may {
                books.ledger.stays_subscribed(client_id, &filter);
            }
            self.promises(&Fact::Subscription(client_id.to_owned(), filter), books)?;
        }
        Ok(())
    }

    fn answered(
        &mut self,
        now: u64,
        link: usize,
        (kind, ack): (usize, &Ack<'_>),
        books: &mut Books<'_>,
    ) -> Result<(), Wrong> {
        let Books { ledger, counts, oracle, promises, .. } = books;
        let id = ack.packet_id.get();
        counts.look("INV-07");
        if self.unanswered[kind].is_empty() {
            return Err(("INV-07", format!("#{id} is acknowledged, and was not published")));
        }
        counts.look("INV-13");
        let next = self.unanswered[kind].pop_front();
        if next != Some(id) {
            return Err(("INV-13", format!("#{id} is acknowledged, {next:?} is next")));
        }
        if !ack.reason.is_error() {
            let number = self.numbers.remove(&id);
            let received = self.greeting.as_ref().filter(|_| kind == 1);
            let received = received.map(|greeting| Fact::Received(greeting.client_id.clone(), id));
            // What was acknowledged before may wait for others meanwhile.
            let message = number.filter(|number| !ledger.is_accepted(*number)).map(Fact::Message);
            for fact in received.into_iter().chain(message).filter(|_| !self.hostile) {
                promises.kept(&fact, counts)?;
            }
            if let Some(number) = number {
                ledger.accepted(now, number, self.version);
            }
        }
        if let Some(oracle) = oracle {
            oracle.answered(link, kind, id, ack.reason, counts)?;
        }
        Ok(())
    }

    fn message(
        &mut self,
        now: u64,
        link: usize,
        publish: &Publish<'_>,
        books: &mut Books<'_>,
        max_inflight: u16,
    ) -> Result<(), Wrong> {
        let Books { ledger, counts, marks, oracle, promises, .. } = books;
        let Some(greeting) = &self.greeting else { return Ok(()) };
        let topic = self.topic(publish, greeting.topic_alias_maximum, counts, marks)?;
        if let (Some(alias), Some(name)) = (publish.properties.topic_alias, publish.topic) {
            self.aliases.insert(alias, name.as_str().to_owned());
        }
        if let Some(may) = ledger.may_read(&greeting.client_id, link, &topic) {
            counts.look("INV-41");
            if !may {
                return Err((
                    "INV-41",
                    format!("a message to {topic} leaves, which {} may not read", greeting.client_id),
                ));
            }
        }
        counts.look("INV-04");
        // An empty one is about a retained message, and has no number.
        let number = match number_in(publish.payload) {
            None if publish.payload.is_empty() || ledger.is_strange(publish.payload) => UNNUMBERED,
            None => return Err(("INV-04", "a message of nobody".to_owned())),
            Some(number) => number,
        };
        let is_new = self.version == Version::V5;
        if is_new && number != UNNUMBERED {
            let says = Properties::of_publish(&publish.properties);
            if !ledger.said(number, &says) {
                return Err(("INV-04", format!("message {number} did not say {says:?}")));
            }
        }
        let route = Route {
            now,
            number,
            client_id: &greeting.client_id,
            topic: &topic,
            qos: publish.qos,
            retain: publish.retain,
            payload: publish.payload,
            expiry: publish.properties.message_expiry_interval,
            begun: publish.dup,
        };
        if let Some(oracle) = oracle.as_mut().filter(|_| !publish.dup) {
            let given = Given {
                client_id: &greeting.client_id,
                topic: &topic,
                payload: publish.payload,
                qos: publish.qos,
                retain: publish.retain,
                expiry: publish.properties.message_expiry_interval,
                is_new,
                ids: Some(publish.properties.subscription_ids.iter().collect()),
            };
            oracle.given(now, given, counts)?;
        }
        let Some(id) = publish.packet_id.map(mqtt_proto::PacketId::get) else {
            return if number == UNNUMBERED { Ok(()) } else { ledger.sent(&route, counts, marks) };
        };
        // It may be for a session that another one has replaced in this very call.
        if ledger.is_replaced(&greeting.client_id, link) {
            return Ok(());
        }
        if publish.qos == QoS::ExactlyOnce && !self.hostile {
            promises.kept(&Fact::Begun(greeting.client_id.clone(), id), counts)?;
        }
        let outgoing = Outgoing { number, qos: publish.qos, link, released: false, order: 0 };
        if publish.dup && !ledger.never_left(&greeting.client_id, id, number, publish.qos) {
            marks.hit("a packet sent again");
            counts.look("INV-12");
            ledger.sent_again(&greeting.client_id, id, outgoing).map_err(|detail| ("INV-12", detail))?;
        } else {
            counts.look("INV-14");
            ledger
                .in_flight(&greeting.client_id, id, outgoing, publish.dup)
                .map_err(|detail| ("INV-14", detail))?;
            if number != UNNUMBERED {
                ledger.sent(&route, counts, marks)?;
            }
        }
        counts.look("INV-15");
        let (open, most) =
            (ledger.open_on(&greeting.client_id, link), greeting.receive_maximum.min(max_inflight));
        if open > usize::from(most) {
            return Err(("INV-15", format!("{open} in flight, {most} are taken")));
        }
        Ok(())
    }

    fn topic(
        &self,
        publish: &Publish<'_>,
        most: u16,
        counts: &mut Counts,
        marks: &mut Marks,
    ) -> Result<String, Wrong> {
        if let Some(alias) = publish.properties.topic_alias {
            counts.look("INV-18");
            marks.hit("a topic alias used");
            if alias == 0 || alias > most {
                return Err(("INV-18", format!("alias {alias}, {most} are taken")));
            }
        }
        match (publish.topic, publish.properties.topic_alias) {
            (Some(topic), _) => Ok(topic.as_str().to_owned()),
            (None, alias) => alias
                .and_then(|alias| self.aliases.get(&alias).cloned())
                .ok_or_else(|| ("INV-18", format!("alias {alias:?} is not defined"))),
        }
    }
}
