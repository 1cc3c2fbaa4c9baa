//! What operators, and programs that have the broker within, do for clients: by themselves, or while they answer.

use super::Small;
use crate::random::Stream;
use crate::scenario::{Client, Filter, Message, Operation, What};

impl Small {
    pub(super) fn operator(&self, clients: &[Client], end: u64, operations: &mut Vec<Operation>) {
        let Some(mut stream) = self.seldom("operator", 300) else { return };
        for _ in 0..stream.by_magnitude(1, 40) {
            let client = usize::try_from(stream.below(clients.len() as u64)).unwrap_or(0);
            let (at, what) = (stream.below(end), self.deed(&mut stream));
            operations.push(Operation { at, client, what });
        }
    }

    /// Something that is done for a client, whatever that one does.
    pub(super) fn deed(&self, stream: &mut Stream) -> What {
        match stream.below(4) {
            0 => What::UnsubscribeFor((*stream.pick(&self.filters)).to_owned()),
            1 => What::SubscribeFor(Filter {
                filter: (*stream.pick(&self.filters)).to_owned(),
                qos: u8::try_from(stream.between(0, self.highest_qos)).unwrap_or(0),
                no_local: false,
                retain_as_published: stream.chance(300),
                retain_handling: *stream.pick(&[0, 0, 1, 2]),
            }),
            _ => What::Announce(Message {
                topic: (*stream.pick(&self.topics)).to_owned(),
                qos: u8::try_from(stream.between(0, self.highest_qos)).unwrap_or(0),
                retain: stream.chance(200),
                size: 8,
                expiry: stream.chance(200).then(|| u32::try_from(stream.by_magnitude(1, 100)).unwrap_or(1)),
                properties: None,
            }),
        }
    }
}
