//! What clients may publish and read, and when that changes.

use super::{SECOND, Small};
use crate::oracle::topics::plain;
use crate::random::Stream;
use crate::scenario::{Client, Operation, What};
use broker_engine::{Config, Permission, Permissions};

/// From what is done until rights change, microseconds: at once, while it is on its way, while it waits for an answer.
const BEHIND: [u64; 5] = [0, 1, 5000, 50_000, SECOND];

impl Small {
    /// Some clients may not do everything, and what they may changes: at any time, and around what somebody does.
    pub(super) fn permissions(
        &self,
        clients: &mut [Client],
        operations: &mut Vec<Operation>,
        end: u64,
        limits: &mut Config,
    ) {
        let Some(mut stream) = self.class("H04") else { return };
        limits.check_subscriptions = stream.chance(500);
        for client in clients.iter_mut() {
            // Those without an identifier of their own are one to who admits them.
            let is_known = !client.id.is_empty();
            client.permissions = (is_known && stream.chance(500)).then(|| self.rules(&mut stream));
        }
        let left: Vec<_> =
            operations.iter().filter(|operation| is_leaving(&operation.what)).cloned().collect();
        for Operation { at, client, .. } in left {
            if clients[client].permissions.is_some() && stream.chance(400) {
                // Messages wait for it that it may not read any more when it is admitted again.
                operations.push(Operation { at: at + 1, client, what: What::SetPermissions(None) });
            }
        }
        let done = operations.len() as u64;
        for _ in 0..stream.by_magnitude(4, 60) {
            let (mut at, mut client) = (stream.below(end), stream.below(clients.len() as u64));
            if stream.chance(700) && done > 0 {
                let about = &operations[usize::try_from(stream.below(done)).unwrap_or(0)];
                at = (about.at + *stream.pick(&BEHIND)).min(end);
                if stream.chance(500) {
                    client = about.client as u64;
                }
            }
            let client = usize::try_from(client).unwrap_or(0);
            let mut add = |what| operations.push(Operation { at, client, what });
            match stream.below(10) {
                0..3 => add(What::SetPermissions(None)),
                // Banned: its will and what waits for it stay.
                3 | 4 => {
                    add(What::SetPermissions(Some(Permissions::default())));
                    if stream.chance(500) {
                        add(What::Kick { end_session: stream.chance(500) });
                    }
                }
                _ => add(What::SetPermissions(Some(self.rules(&mut stream)))),
            }
        }
    }

    /// A few rules about what is published and subscribed to here.
    pub(super) fn rules(&self, stream: &mut Stream) -> Permissions {
        let rule = |stream: &mut Stream| {
            let texts = if stream.chance(500) { &self.topics } else { &self.filters };
            let filter = *stream.pick(texts);
            let says = [Some(true), Some(true), Some(false), Some(false), None];
            Permission {
                filter: plain(filter).to_owned(),
                reaches_dollar: stream.chance(200),
                read: *stream.pick(&says),
                publish: *stream.pick(&says),
            }
        };
        let rules = (0..stream.between(0, 3)).map(|_| rule(stream)).collect();
        Permissions { rules, otherwise: stream.chance(700) }
    }
}

fn is_leaving(what: &What) -> bool {
    matches!(what, What::Disconnect { .. } | What::Cut | What::EndMidPacket)
}
