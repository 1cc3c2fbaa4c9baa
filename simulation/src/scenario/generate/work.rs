//! What clients do: connect, subscribe, publish, leave.

use super::{SECOND, Small};
use crate::scenario::{Client, Filter, Message, Operation, What};

/// Kinds of operations.
#[derive(Clone, Copy)]
enum Kind {
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    Flood,
    Repeat,
    Ping,
    Disconnect,
    Cut,
    StopReading,
    Read,
    Bytes,
    Kick,
}

/// How often each is done, beside the others.
const KINDS: [(Kind, u64); 13] = [
    (Kind::Connect, 3),
    (Kind::Subscribe, 30),
    (Kind::Unsubscribe, 8),
    (Kind::Publish, 100),
    (Kind::Flood, 3),
    (Kind::Repeat, 5),
    (Kind::Ping, 3),
    (Kind::Disconnect, 6),
    (Kind::Cut, 6),
    (Kind::StopReading, 3),
    (Kind::Read, 3),
    (Kind::Bytes, 1),
    (Kind::Kick, 2),
];

impl Small {
    pub(super) fn operations(&mut self, clients: &[Client], heal_at: u64) -> Vec<Operation> {
        let count = self.work.by_magnitude(30, 700);
        // Some kinds are left out this time, others are frequent.
        let weights: Vec<u64> = KINDS
            .iter()
            .map(|(_, weight)| if self.work.chance(700) { weight * self.work.between(1, 4) } else { 0 })
            .collect();
        let mut operations: Vec<Operation> = (0..clients.len())
            .map(|client| Operation { at: self.work.below(heal_at / 4), client, what: What::Connect })
            .collect();
        for _ in 0..count {
            if self.work.is_spent() {
                break;
            }
            let client = usize::try_from(self.work.below(clients.len() as u64)).unwrap_or(0);
            let at = self.work.below(heal_at);
            let kind = self.kind(&weights);
            let what = self.what(kind, clients[client].version);
            operations.push(Operation { at, client, what });
            // A burst now and then.
            if self.work.chance(30) {
                for _ in 0..self.work.between(2, 30) {
                    let what = self.what(Kind::Publish, clients[client].version);
                    operations.push(Operation { at, client, what });
                }
            }
        }
        operations
    }

    /// A few clients share a subscription and have many messages to take turns with, which hardly anybody gets in another
    /// way: whose turn it was could not be told then.
    pub(super) fn group(&self, clients: usize, end: u64, operations: &mut Vec<Operation>) {
        let mut stream = (self.stream)("group");
        if !stream.chance(300) {
            return;
        }
        let at = stream.between(end / 4, end / 2);
        let filter = Filter {
            filter: "$share/g/turns".to_owned(),
            qos: u8::try_from(stream.between(0, self.highest_qos)).unwrap_or(0),
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        };
        let members = clients.min(3);
        for client in 0..members {
            // A member that is away would keep the others from being looked at.
            operations.push(Operation { at, client, what: What::Connect });
            let subscribe = What::Subscribe(vec![filter.clone()]);
            operations.push(Operation { at: at + SECOND, client, what: subscribe });
        }
        let client = usize::try_from(stream.below(members as u64)).unwrap_or(0);
        for number in 1..=stream.between(4, 30) {
            let message = Message {
                topic: "turns".to_owned(),
                qos: filter.qos,
                retain: false,
                size: 8,
                expiry: None,
                properties: None,
            };
            let at = at + 2 * SECOND + number * SECOND / 10;
            operations.push(Operation { at, client, what: What::Publish(message) });
        }
    }

    fn kind(&mut self, weights: &[u64]) -> Kind {
        let mut rest = self.work.below(weights.iter().sum());
        for ((kind, _), weight) in KINDS.iter().zip(weights) {
            if rest < *weight {
                return *kind;
            }
            rest -= weight;
        }
        Kind::Publish
    }

    fn what(&mut self, kind: Kind, version: u8) -> What {
        let new = version == 5;
        let stream = &mut self.work;
        match kind {
            Kind::Connect => What::Connect,
            Kind::Subscribe => {
                let count = *stream.pick(&[1, 1, 1, 2, 3]);
                What::Subscribe((0..count).map(|_| self.filter(new)).collect())
            }
            Kind::Unsubscribe => What::Unsubscribe((*stream.pick(&self.filters)).to_owned()),
            Kind::Publish => What::Publish(self.message(new)),
            // With a large window it would be nothing but a large burst.
            Kind::Flood if self.window > 20 => What::Ping,
            Kind::Flood => What::Flood(self.message(new)),
            Kind::Repeat => What::Repeat,
            Kind::Ping => What::Ping,
            Kind::Disconnect => What::Disconnect { with_will: new && stream.chance(300), expiry: None },
            Kind::Cut => What::Cut,
            Kind::StopReading => What::StopReading,
            Kind::Read => What::Read,
            Kind::Bytes => {
                let first = u8::try_from(stream.below(256)).unwrap_or(0);
                let count = stream.below(6);
                let rest = (0..count).map(|_| u8::try_from(stream.below(256)).unwrap_or(0));
                What::Bytes([first, u8::try_from(count).unwrap_or(0)].into_iter().chain(rest).collect())
            }
            Kind::Kick => What::Kick { end_session: stream.chance(300) },
        }
    }

    pub(super) fn filter(&mut self, new: bool) -> Filter {
        let stream = &mut self.work;
        let filter = (*stream.pick(&self.filters)).to_owned();
        Filter {
            qos: u8::try_from(stream.between(0, self.highest_qos)).unwrap_or(0),
            no_local: new && !filter.starts_with("$share") && stream.chance(200),
            retain_as_published: new && stream.chance(300),
            retain_handling: if new { *stream.pick(&[0, 0, 1, 2]) } else { 0 },
            filter,
        }
    }

    pub(super) fn message(&mut self, new: bool) -> Message {
        let stream = &mut self.work;
        let retain = stream.chance(150);
        Message {
            topic: (*stream.pick(&self.topics)).to_owned(),
            qos: u8::try_from(stream.between(0, self.highest_qos)).unwrap_or(0),
            retain,
            size: if retain && stream.chance(200) {
                0
            } else {
                u32::try_from(stream.by_magnitude(8, 500)).unwrap_or(8)
            },
            expiry: (new && stream.chance(300))
                .then(|| u32::try_from(stream.by_magnitude(1, 100)).unwrap_or(1)),
            properties: None,
        }
    }
}
