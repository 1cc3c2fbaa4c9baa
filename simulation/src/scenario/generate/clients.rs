//! Who takes part, with which habits.

use super::{SECOND, Small};
use crate::random::Stream;
use crate::scenario::{Acks, Client, Drift, Will};

impl Small {
    pub(super) fn clients(&mut self) -> Vec<Client> {
        let mut count = self.clients.between(2, 8);
        // Sometimes two share an identifier and take each other's session over; where they are at odds, all of them.
        let shared_names = self.clients.chance(300);
        let at_odds = self
            .class("C08")
            .map_or(0, |mut stream| if stream.chance(400) { stream.between(2, 8) } else { 0 });
        count = count.max(at_odds);
        let mut clients: Vec<Client> = (0..count)
            .map(|number| {
                let name = if shared_names { number / 2 } else { number };
                let name = if number < at_odds { 0 } else { name };
                self.client(format!("c{name}"), shared_names)
            })
            .collect();
        self.slow_readers(&mut clients);
        self.acknowledging(&mut clients);
        self.limits_of(&mut clients);
        self.wills_everywhere(&mut clients);
        self.clocks(&mut clients);
        self.incurable(&mut clients);
        self.heedless(&mut clients);
        if let Some(mut stream) = self.class("C12") {
            mixed(&mut clients, &mut stream);
        }
        clients
    }

    fn client(&mut self, id: String, shared: bool) -> Client {
        let version = *self.clients.pick(&self.versions);
        let stream = &mut self.clients;
        let will = stream.chance(300).then(|| Will {
            topic: (*stream.pick(&self.topics)).to_owned(),
            qos: u8::try_from(stream.between(0, self.highest_qos)).unwrap_or(0),
            retain: stream.chance(200),
            delay: if stream.chance(500) {
                u32::try_from(stream.by_magnitude(1, 60)).unwrap_or(1)
            } else {
                0
            },
            expiry: None,
            properties: None,
        });
        Client {
            id,
            // Two who share an identifier may be of two minds.
            username: shared.then(|| (*stream.pick(&["u", "u", "v"])).to_owned()),
            version,
            clean: stream.chance(250),
            expiry: *stream.pick(&[0, 1, 10, 100, 1000, u32::MAX]),
            keep_alive: *stream.pick(&[0, 0, 1, 5, 60, 43_700]),
            receive_maximum: stream
                .chance(400)
                .then(|| u16::try_from(stream.by_magnitude(1, 30)).unwrap_or(1)),
            maximum_packet_size: stream
                .chance(150)
                .then(|| u32::try_from(stream.by_magnitude(40, 400)).unwrap_or(40)),
            topic_alias_maximum: *stream.pick(&[0, 0, 1, 3, 100]),
            will,
            acks: Acks::Prompt,
            reconnect: stream.chance(700).then(|| stream.by_magnitude(100_000, 30 * SECOND)),
            reads: None,
            holds_release: false,
            uses_aliases: stream.chance(300),
            last_packet_id: if stream.chance(150) { 65_533 } else { 0 },
            drift: Drift::default(),
            incurable: false,
            steps: None,
            heedless: false,
            permissions: None,
        }
    }

    fn slow_readers(&self, clients: &mut [Client]) {
        let Some(mut stream) = self.class("C01") else { return };
        for client in clients {
            client.reads = stream.chance(300).then(|| *stream.pick(&[0, 1, 10, 1000]));
        }
    }

    fn acknowledging(&self, clients: &mut [Client]) {
        if let Some(mut stream) = self.class("C02") {
            for client in &mut *clients {
                client.acks = match stream.below(12) {
                    0 => Acks::Never,
                    1 | 2 => Acks::Refuse,
                    3 | 4 => Acks::After(stream.by_magnitude(1000, 20 * SECOND)),
                    5 | 6 => Acks::Reverse(stream.by_magnitude(100_000, 5 * SECOND)),
                    7 | 8 => Acks::Twice,
                    9 => Acks::Stray,
                    _ => Acks::Prompt,
                };
            }
        }
        let Some(mut stream) = self.class("C03") else { return };
        for client in clients {
            if stream.chance(200) {
                client.acks = Acks::HalfWay;
            }
            client.holds_release = stream.chance(200);
        }
    }

    fn limits_of(&self, clients: &mut [Client]) {
        let Some(mut stream) = self.class("C05") else { return };
        for client in clients {
            if stream.chance(300) {
                client.receive_maximum = Some(*stream.pick(&[1, 2, u16::MAX]));
            }
            if stream.chance(250) {
                let least = *stream.pick(&[1, 32, 32]);
                client.maximum_packet_size =
                    Some(u32::try_from(stream.by_magnitude(least, 200)).unwrap_or(1));
            }
            if stream.chance(300) {
                client.topic_alias_maximum = *stream.pick(&[0, 1, u16::MAX]);
            }
        }
    }

    /// Everybody has a will, mostly to one topic; `events` has them subscribe to it.
    fn wills_everywhere(&self, clients: &mut [Client]) {
        let Some(mut stream) = self.class("C11") else { return };
        for client in clients {
            client.will = Some(Will {
                topic: self.topics[0].to_owned(),
                qos: u8::try_from(stream.between(0, self.highest_qos)).unwrap_or(0),
                retain: stream.chance(200),
                delay: *stream.pick(&[0, 0, 1, 5, 30]),
                expiry: None,
                properties: None,
            });
        }
    }

    fn clocks(&self, clients: &mut [Client]) {
        let Some(mut stream) = self.class("T02") else { return };
        for client in clients {
            let size = i32::try_from(stream.by_magnitude(1, 100)).unwrap_or(1);
            let per_mille = if stream.chance(500) { size } else { -size };
            client.drift = Drift { per_mille, turns: *stream.pick(&[0, 0, 5 * SECOND, 60 * SECOND]) };
        }
    }

    /// Some stay as they are when the world heals. The first one has to get well, to leave nothing behind.
    fn incurable(&self, clients: &mut [Client]) {
        let Some(mut stream) = self.seldom("incurable", 300) else { return };
        for client in clients.iter_mut().skip(1) {
            client.incurable = stream.chance(300);
        }
    }

    /// Some do not care what the broker offers. The first one has to get in under its identifier, to leave nothing behind.
    fn heedless(&self, clients: &mut [Client]) {
        let mut stream = (self.stream)("heedless");
        if !stream.chance(600) {
            return;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            client.heedless = stream.chance(500);
            if number > 0 && client.heedless && stream.chance(150) {
                client.id = format!("{}, who has an identifier that is long", client.id);
            }
        }
    }
}

fn mixed(clients: &mut [Client], stream: &mut Stream) {
    for (number, client) in clients.iter_mut().enumerate() {
        client.version = *stream.pick(&[3, 4, 5]);
        // Longer than the 23 bytes that 3.1 takes. The first client has to get in, to leave nothing behind.
        if number > 0 && client.version == 3 && stream.chance(200) {
            client.id = format!("{}, whose identifier is rather long", client.id);
        }
    }
}

/// How many of a thousand, small shares as often as large ones.
pub(super) fn share(stream: &mut Stream, most: u64) -> u32 {
    u32::try_from(stream.by_magnitude(1, most)).unwrap_or(1)
}
