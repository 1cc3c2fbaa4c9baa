//! The whole engine as bytes, and back. Going on from a snapshot equals never having stopped, but for a shutdown: who goes
//! on from what a broker left behind wants to serve its clients again.

use crate::collections::{HashKey, KeyedIndex, Rng, SlotKey, Slots, TimerQueue};
use crate::config::Config;
use crate::connections::{Connection, Hearing, Phase, Undecided};
use crate::counters::Counters;
use crate::delivery::{Fanouts, MessageStore, Retained, Scratch, Work};
use crate::engine::Engine;
use crate::hooks::Interest;
use crate::sessions::{Session, Subscriber};
use crate::storage::{Gates, StorePressure};
use crate::time::Time;
use crate::timers::TimerKey;
use crate::topics::{RetainedStore, SubscriptionIndex};
use alloc::{collections::BTreeMap, collections::VecDeque, vec::Vec};
use core::fmt;
use mqtt_proto::{Mask, Version};
use serde::{Deserialize, Serialize};

/// First bytes of every snapshot; the last one is the format's version.
const MAGIC: [u8; 8] = *b"METRSNP\x10";

/// Key of the checksum. It finds damage, and need not keep anybody out.
const CHECKSUM: HashKey = HashKey([0, 0]);

/// Why bytes are not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreError {
    /// Not the beginning of a snapshot, or one of another format version.
    Foreign,
    /// Cut off or damaged.
    Damaged,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "not a snapshot of this format version",
            Self::Damaged => "the snapshot is cut off or damaged",
        })
    }
}

impl core::error::Error for RestoreError {}

/// The engine's fields, by reference or by value, in the order they are written.
macro_rules! state {
    ($($field:ident: $type:ty,)*) => {
        #[derive(Serialize)]
        struct Saved<'a> { config: &'a Config, interest: Interest, $($field: &'a $type,)* }

        #[derive(Deserialize)]
        struct Loaded { config: Config, interest: Interest, $($field: $type,)* }

        impl<'a> Saved<'a> {
            fn of(engine: &'a Engine) -> Self {
                Self { config: &engine.config, interest: engine.config.interest, $($field: &engine.$field,)* }
            }
        }

        impl Loaded {
            fn into_engine(self, hash_key: HashKey) -> Engine {
                Engine {
                    clients: KeyedIndex::new(hash_key),
                    scratch: Scratch::default(),
                    config: Config { interest: self.interest, ..self.config },
                    budget: 0,
                    called_at: self.now,
                    shutting_down: false,
                    last_words: false,
                    $($field: self.$field,)*
                }
            }
        }
    };
}

state! {
    now: Time,
    call: u64,
    rng: Rng,
    connections: Vec<Option<Connection>>,
    online: u32,
    sessions: Slots<Session>,
    index: SubscriptionIndex<Subscriber>,
    subscriptions: u32,
    messages: MessageStore,
    connection_bytes: u64,
    session_bytes: u64,
    retained: RetainedStore<Retained>,
    retained_bytes: u64,
    retained_names: u64,
    timers: TimerQueue<TimerKey>,
    work: VecDeque<Work>,
    fanouts: Fanouts,
    questions: u64,
    undecided: Undecided,
    gates: Gates,
    store_pressure: StorePressure,
    hearing: Hearing,
    counters: Counters,
}

impl Engine {
    /// Everything the engine knows, as bytes that depend on its state alone.
    pub fn snapshot(&self) -> Vec<u8> {
        // Writing plain data into a vector has no way to fail.
        let body = postcard::to_extend(&Saved::of(self), Vec::new()).unwrap_or_default();
        [&MAGIC[..], &CHECKSUM.hash(&body).to_le_bytes(), &body].concat()
    }

    /// The engine that wrote these bytes, with a hash key of its own. After [`crate::Command::Shutdown`] it is open again.
    ///
    /// # Errors
    /// The bytes are no snapshot, of another version, or damaged.
    pub fn restore(snapshot: &[u8], hash_key: HashKey) -> Result<Self, RestoreError> {
        let rest = snapshot.strip_prefix(&MAGIC).ok_or(RestoreError::Foreign)?;
        let (checksum, body) = rest.split_first_chunk().ok_or(RestoreError::Damaged)?;
        // Plain data cannot tell on its own: most flipped bits make another state that decodes as well.
        if CHECKSUM.hash(body) != u64::from_le_bytes(*checksum) {
            return Err(RestoreError::Damaged);
        }
        let loaded: Loaded = postcard::from_bytes(body).map_err(|_| RestoreError::Damaged)?;
        let mut engine = loaded.into_engine(hash_key);
        engine.index.rebuild(hash_key);
        let ids: Vec<(SlotKey, &str)> = engine.sessions.iter().map(|(key, s)| (key, &*s.client_id)).collect();
        for (key, client_id) in ids {
            engine.clients.insert(client_id, key);
        }
        Ok(engine)
    }

    /// Overwrites what other people may not read, with as many bytes of [`mqtt_proto::FILLER`]: passwords and
    /// authentication data of packets that wait, and, if asked for, the payloads of all messages and wills.
    ///
    /// For a copy of a running broker, made with [`Engine::restore`], whose snapshot goes into a recording. A copy whose
    /// later inputs are masked in the same way does what the original does.
    pub fn mask(&mut self, payloads: bool) {
        let mut versions = BTreeMap::new();
        for conn in self.connections.iter_mut().flatten() {
            // What waits begins with a whole packet.
            let mut waiting = Mask::between_packets(conn.version, payloads);
            waiting.apply(&mut conn.input);
            if let Phase::Authenticating(applicant) = &mut conn.phase {
                Mask::new(payloads).apply(&mut applicant.packet);
            }
            versions.insert(conn.id, conn.version);
        }
        self.gates.mask(|conn| {
            Mask::between_packets(versions.get(&conn).copied().unwrap_or(Version::V5), payloads)
        });
        if payloads {
            self.messages.mask_payloads();
            self.undecided.mask_payloads();
            for session in self.sessions.values_mut() {
                session.will.iter_mut().for_each(|will| will.mask_payload());
            }
        }
    }

    /// References to messages from everywhere but the message store itself.
    pub(crate) fn referenced_messages(&self) -> u64 {
        let sessions = self.sessions.iter().map(|(_, session)| {
            let sent = session.inflight.iter().filter(|sent| sent.holds_message()).count();
            (session.queue.in_memory() + sent) as u64
        });
        sessions.sum::<u64>() + self.retained.len() as u64 + self.fanouts.len() as u64
    }
}
