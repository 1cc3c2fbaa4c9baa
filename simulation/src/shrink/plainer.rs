//! Plain clients, plain messages.

use super::Shrinker;
use crate::scenario::{Acks, Client, Message, What};

impl Shrinker {
    pub(super) fn plainer(&mut self) {
        let habits: [fn(&mut Client); 18] = [
            |client| client.will = None,
            |client| client.reconnect = None,
            |client| client.acks = Acks::Prompt,
            |client| client.keep_alive = 0,
            |client| client.receive_maximum = None,
            |client| client.maximum_packet_size = None,
            |client| client.topic_alias_maximum = 0,
            |client| client.username = None,
            |client| client.clean = true,
            |client| client.incurable = false,
            |client| client.heedless = false,
            |client| client.steps = None,
            |client| client.permissions = None,
            |client| client.will.iter_mut().for_each(|will| (will.expiry, will.properties) = (None, None)),
            |client| client.expiry = 0,
            |client| client.version = 5,
            |client| client.reconnect = client.reconnect.map(rounded),
            |client| {
                if let Acks::After(pause) = client.acks {
                    client.acks = Acks::After(rounded(pause));
                }
            },
        ];
        for client in 0..self.best.clients.len() {
            for habit in habits {
                self.try_change(|scenario| habit(&mut scenario.clients[client]));
            }
        }
        let messages: [fn(&mut Message); 5] = [
            |message| message.size = message.size.min(8),
            |message| message.expiry = None,
            |message| message.properties = None,
            |message| message.retain = false,
            |message| message.qos = 0,
        ];
        for number in 0..self.best.operations.len() {
            if matches!(
                self.best.operations[number].what,
                What::Publish(_) | What::Flood(_) | What::Announce(_)
            ) {
                for plain in messages {
                    self.try_message(number, plain);
                }
            }
            self.try_change(|scenario| {
                let what = &mut scenario.operations[number].what;
                if let What::SubscribeAs(_, filters) = what {
                    *what = What::Subscribe(std::mem::take(filters));
                }
            });
        }
    }

    fn try_message(&mut self, number: usize, plain: fn(&mut Message)) {
        self.try_change(|scenario| {
            if let What::Publish(message) | What::Flood(message) | What::Announce(message) =
                &mut scenario.operations[number].what
            {
                plain(message);
            }
        });
    }
}

/// Up to whole seconds.
fn rounded(pause: u64) -> u64 {
    pause.div_ceil(1_000_000).saturating_mul(1_000_000)
}
