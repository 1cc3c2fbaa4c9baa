//! A world in which something is wrong on purpose, as if the engine did it: shows that the checkers see it.

use broker_engine::{Admission, Answer, Command, Config, Input, Note, StoreOp, StoreSeq};
use std::collections::BTreeMap;

/// From a packet of the engine and its number to what is sent instead, if anything else is.
pub type PacketChange = fn(u64, &[u8]) -> Option<Vec<Vec<u8>>>;

/// From bytes that came to those that the engine gets, if they are others.
pub type BytesChange = fn(&[u8]) -> Option<&'static [u8]>;

/// Operations that the engine hands over become others.
pub type StoresChange = fn(&mut Vec<(StoreSeq, StoreOp)>);

/// Records of a store, by key, become others.
pub type TableChange = fn(&mut BTreeMap<Vec<u8>, Vec<u8>>);

/// What is wrong. Nothing by default.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // Independent mistakes.
pub struct Mutation {
    /// A packet of the engine, counted from 1, is lost, repeated or changed.
    pub packet: Option<PacketChange>,
    /// What the engine tells of itself is changed.
    pub notes: Option<fn(&mut Vec<Note>)>,
    /// The checkers believe in another configuration.
    pub config: Option<fn(&mut Config)>,
    /// The engine gets something else than what came.
    pub bytes: Option<BytesChange>,
    /// The engine is told that the store has kept everything so far, whenever it has kept something.
    pub kept: bool,
    /// Whatever is answered, the engine hears a yes.
    pub agreeable: bool,
    /// Whatever a client may, the engine hears that it may everything.
    pub permissive: bool,
    /// The host does not hear that a client is to be read again.
    pub deaf: bool,
    /// A snapshot is damaged before it is read back.
    pub snapshot: Option<fn(&mut [u8])>,
    /// The engine hands other operations over.
    pub stores: Option<StoresChange>,
    /// Records change without a word before a process begins with them.
    pub table: Option<TableChange>,
    /// A process begins by a clock that is so much ahead, microseconds.
    pub clock: u64,
    /// The store keeps nothing, ever.
    pub stuck: bool,
}

impl Mutation {
    pub(super) fn believed(&self, config: &Config) -> Config {
        let mut believed = config.clone();
        if let Some(change) = self.config {
            change(&mut believed);
        }
        believed
    }

    /// What the engine is told instead of what the checkers know.
    pub(super) fn input<'i>(&self, input: Input<'i>) -> Input<'i> {
        match input {
            Input::Stored { .. } if self.kept => Input::Stored { upto: StoreSeq(u64::MAX) },
            Input::Reply { call, .. } if self.agreeable => Input::Reply { call, answer: Answer::Allow },
            Input::Reply { call, answer: Answer::Admit(admission) } if self.permissive => {
                let answer = Answer::Admit(Box::new(Admission { permissions: None, ..*admission }));
                Input::Reply { call, answer }
            }
            Input::Command(Command::SetPermissions { client_id, .. }) if self.permissive => {
                Input::Command(Command::SetPermissions { client_id, permissions: None })
            }
            Input::Received { conn, data } => {
                let instead = self.bytes.and_then(|change| change(data));
                Input::Received { conn, data: instead.unwrap_or(data) }
            }
            input => input,
        }
    }
}

/// The canary: now and then a PUBLISH is lost, without a word. Who does not see that sees nothing.
pub fn canary(number: u64, packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    let is_publish = packet.first().is_some_and(|first| first >> 4 == 3);
    (is_publish && number.is_multiple_of(100)).then(Vec::new)
}
