//! What MQTT 5 lets clients say beside topics and payloads. It is added to what is there already, with choices of its own,
//! so that clients do the same with it as without.

use super::Small;
use crate::random::Stream;
use crate::scenario::{Client, Operation, Properties, What};

impl Small {
    /// Who has no identifier, who authenticates in steps, what wills say.
    pub(super) fn greetings(&self, clients: &mut [Client]) {
        let mut stream = (self.stream)("greetings");
        let (nameless, stepwise, telling) = (stream.chance(150), stream.chance(200), stream.chance(400));
        let ids: Vec<String> = clients.iter().map(|client| client.id.clone()).collect();
        for client in clients {
            let is_alone = ids.iter().filter(|id| **id == client.id).count() == 1;
            let may_be_nameless = client.version == 5 || client.version == 4 && client.clean;
            if nameless && is_alone && may_be_nameless && stream.chance(300) {
                client.id.clear();
            }
            if client.version < 5 {
                continue;
            }
            if stepwise && stream.chance(400) {
                client.steps = Some(u8::try_from(stream.below(4)).unwrap_or(0));
            }
            if let Some(will) = client.will.as_mut().filter(|_| telling) {
                will.expiry = stream.chance(300).then(|| u32::try_from(stream.below(100)).unwrap_or(1) + 1);
                will.properties = Some(Box::new(properties(&mut stream)));
            }
        }
    }

    /// Who authenticates in steps does so again while connected.
    pub(super) fn authenticating(&self, clients: &[Client], end: u64, operations: &mut Vec<Operation>) {
        let mut stream = (self.stream)("authenticating");
        for (number, client) in clients.iter().enumerate() {
            if client.steps.is_some() {
                let what = || What::Authenticate;
                let times = 8 + stream.below(24);
                operations.extend((0..times).map(|_| Operation {
                    at: stream.below(end),
                    client: number,
                    what: what(),
                }));
            }
        }
    }

    /// Subscription Identifiers, and what messages say.
    pub(super) fn told(&self, clients: &[Client], operations: &mut [Operation]) {
        let mut stream = (self.stream)("properties");
        let (identified, telling) = (stream.chance(500), stream.chance(500));
        for operation in operations.iter_mut().filter(|operation| clients[operation.client].version == 5) {
            match &mut operation.what {
                What::Subscribe(filters) if identified && stream.chance(600) => {
                    let id = *stream.pick(&[1, 2, 3, 127, 128, 268_435_455]);
                    operation.what = What::SubscribeAs(id, std::mem::take(filters));
                }
                What::Publish(message) | What::Flood(message) if telling && stream.chance(400) => {
                    message.properties = Some(Box::new(properties(&mut stream)));
                }
                _ => {}
            }
        }
    }
}

fn properties(stream: &mut Stream) -> Properties {
    let words = ["", "a", "text/plain", "\u{fe0f}\u{2603}"];
    let word = |stream: &mut Stream| (*stream.pick(&words)).to_owned();
    Properties {
        is_text: stream.chance(300).then(|| stream.chance(500)),
        content_type: stream.chance(300).then(|| word(stream)),
        response_topic: stream.chance(300).then(|| (*stream.pick(&["a", "answers/1", "$x/a"])).to_owned()),
        correlation_data: stream.chance(300).then(|| stream.bits().to_be_bytes()[..4].to_vec()),
        // The same name may come again, and the order counts.
        user: (0..stream.below(4)).map(|_| (word(stream), word(stream))).collect(),
    }
}
