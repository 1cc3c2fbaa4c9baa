//! Laws that hold for every sequence of inputs.

use broker_engine::{
    Answer, CallId, CloseCause, Config, ConnId, ConnIds, Durability, Engine, HashKey, Input, Interest,
    ListenerId, MemoryStore, Outbox, Question, Seed, Time, Wire,
};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{
    Ack, AckProperties, Connect, ConnectProperties, Packet, PacketId, Publish, PublishProperties, QoS,
    ReasonCode, Subscribe, SubscribeFilters, SubscribeOptions, TopicName, UserProperties, Version,
};
use proptest::prelude::*;

const CLIENTS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Connect(usize, bool, Version),
    Cut(usize),
    Subscribe(usize, &'static str, QoS, bool),
    /// To every filter that matches `a/a/a`, so that its match takes more than one call.
    SubscribeToAll(usize, QoS),
    Publish(usize, &'static str, QoS, u16, bool, Option<u32>),
    Ack(usize, u8, u16),
    Backlog(usize, u32),
    Bytes(usize, Vec<u8>),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..CLIENTS;
    let qos = || prop::sample::select(vec![AtMostOnce, AtLeastOnce, ExactlyOnce]);
    let filter = prop::sample::select(vec!["a", "a/b", "+/b", "#", "$share/g/a/+", "$share/h/#"]);
    let topic = prop::sample::select(vec!["a", "a/b", "c/b", "a/a/a"]);
    let version = prop::sample::select(vec![Version::V311, Version::V5]);
    prop_oneof![
        3 => (who.clone(), any::<bool>(), version).prop_map(|(who, clean, v)| Step::Connect(who, clean, v)),
        1 => who.clone().prop_map(Step::Cut),
        2 => (who.clone(), filter, qos(), any::<bool>()).prop_map(|(w, f, q, l)| Step::Subscribe(w, f, q, l)),
        1 => (who.clone(), qos()).prop_map(|(w, q)| Step::SubscribeToAll(w, q)),
        6 => (who.clone(), topic, qos(), 1..5_u16, any::<bool>(), prop::option::of(1..5_u32))
            .prop_map(|(w, t, q, id, r, e)| Step::Publish(w, t, q, id, r, e)),
        4 => (who.clone(), 0..4_u8, 1..6_u16).prop_map(|(w, kind, id)| Step::Ack(w, kind, id)),
        1 => (who.clone(), prop::sample::select(vec![0, 70_000, 300_000])).prop_map(|(w, n)| Step::Backlog(w, n)),
        1 => (who, prop::collection::vec(any::<u8>(), 1..12)).prop_map(|(w, bytes)| Step::Bytes(w, bytes)),
        2 => (0..4_000_000_u64).prop_map(Step::Wait),
    ]
}

/// Tiny limits, because bounds find bugs.
fn config() -> Config {
    Config {
        max_inflight: 2,
        max_queued_messages: 3,
        receive_maximum: 3,
        work_per_call: 3,
        max_session_expiry: 6,
        match_cache_entries: 2,
        durability: Durability::Durable,
        queue_window_messages: 1,
        max_publish_rate: 4,
        max_publish_byte_rate: 100,
        ..Config::default()
    }
}

/// The same, and nobody publishes faster than he may. What has waited for its pace is heard out in one call when its
/// connection ends; how much of that its client is ahead of acknowledgements, and who is still there when it is delivered,
/// depends on when what was before it is done.
fn unhurried() -> Config {
    Config { max_publish_rate: 0, max_publish_byte_rate: 0, ..config() }
}

/// Whether hooks are asked about PUBLISH packets, and when they answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nobody,
    AtOnce,
    /// When time passes.
    Later,
}

fn asked() -> impl Strategy<Value = Asked> {
    prop::sample::select(vec![Asked::Nobody, Asked::AtOnce, Asked::Later])
}

struct Run {
    engine: Engine,
    store: MemoryStore,
    ids: ConnIds,
    conns: [Option<(ConnId, Version)>; CLIENTS],
    asked: Asked,
    open: Vec<CallId>,
    now: u64,
    chunk: usize,
    /// After how many calls the engine is replaced by its own restored snapshot, again and again; 0 is never.
    restored_every: usize,
    calls: usize,
    /// Everything that left, by connection, in order.
    output: Vec<(ConnId, Vec<u8>)>,
}

impl Run {
    fn new(hash_key: HashKey, chunk: usize) -> Self {
        Self::with(config(), hash_key, chunk)
    }

    fn asking(asked: Asked, hash_key: HashKey, chunk: usize) -> Self {
        let interest = if asked == Asked::Nobody { Interest::NONE } else { Interest::PUBLISH };
        Self { asked, ..Self::with(Config { interest, ..config() }, hash_key, chunk) }
    }

    fn with(config: Config, hash_key: HashKey, chunk: usize) -> Self {
        Self {
            engine: Engine::new(config, Seed(3), hash_key),
            store: MemoryStore::new(),
            ids: ConnIds::new(),
            conns: [None; CLIENTS],
            asked: Asked::AtOnce,
            open: Vec::new(),
            now: 0,
            chunk,
            restored_every: 0,
            calls: 0,
            output: Vec::new(),
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.calls += 1;
        if self.restored_every > 0 && self.calls.is_multiple_of(self.restored_every) {
            let snapshot = self.engine.snapshot();
            self.engine = Engine::restore(&snapshot, HashKey([8, self.calls as u64])).unwrap();
            assert!(self.engine.snapshot() == snapshot, "a restored engine has another state");
        }
        let mut out = Outbox::new();
        self.engine.handle(Time::from_micros(self.now), input, &mut out);
        while !out.is_empty() {
            for (conn, _) in self.conns.iter().flatten() {
                let bytes = out.bytes_for(*conn);
                match self.output.last_mut() {
                    Some((last, known)) if last == conn => known.extend(bytes),
                    _ if bytes.is_empty() => {}
                    _ => self.output.push((*conn, bytes)),
                }
            }
            for wire in &out.wire {
                if let Wire::Close { conn } = wire {
                    self.output.push((*conn, b"closed".to_vec()));
                    self.conns
                        .iter_mut()
                        .filter(|c| c.is_some_and(|(id, _)| id == *conn))
                        .for_each(|c| *c = None);
                    self.ids.release(*conn);
                }
            }
            let (calls, stores) = (std::mem::take(&mut out.calls), std::mem::take(&mut out.stores));
            out.clear();
            let now = Time::from_micros(self.now);
            for call in calls {
                if self.asked == Asked::Later && matches!(call.question, Question::Publish { .. }) {
                    self.open.push(call.id);
                } else {
                    self.engine.handle(now, Input::Reply { call: call.id, answer: Answer::Allow }, &mut out);
                }
            }
            for (seq, op) in stores {
                if let Some(deliveries) = self.store.apply(now, op) {
                    self.engine.handle(now, Input::Loaded { fetch: seq, deliveries }, &mut out);
                }
                self.engine.handle(now, Input::Stored { upto: seq }, &mut out);
            }
        }
        self.engine.view().verify().expect("accounts add up");
    }

    fn settle(&mut self) {
        let mut calls = 0;
        while self.engine.next_deadline().is_some_and(|deadline| deadline.at.as_micros() <= self.now) {
            self.handle(Input::Tick);
            calls += 1;
            assert!(calls < 10_000, "livelock: work that never ends");
        }
    }

    fn feed(&mut self, conn: ConnId, bytes: &[u8]) {
        for data in bytes.chunks(self.chunk) {
            self.handle(Input::Received { conn, data });
        }
    }

    fn send(&mut self, who: usize, packet: &Packet<'_>) {
        let Some((conn, version)) = self.conns[who] else { return };
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).unwrap();
        self.feed(conn, &bytes);
    }

    fn subscribe(&mut self, who: usize, filters: &[(&str, SubscribeOptions)]) {
        self.send(
            who,
            &Packet::Subscribe(Subscribe {
                packet_id: PacketId::FIRST,
                subscription_id: None,
                user_properties: UserProperties::default(),
                filters: SubscribeFilters::List(filters),
            }),
        );
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Connect(who, clean_start, version) => {
                if let Some((conn, _)) = self.conns[*who].take() {
                    self.handle(Input::Closed { conn, cause: CloseCause::Fault });
                    self.ids.release(conn);
                }
                let conn = self.ids.allocate();
                self.conns[*who] = Some((conn, *version));
                self.handle(Input::Opened { conn, listener: ListenerId(0), peer: None });
                // Two of the clients fight for one identifier.
                let client_id = ["a", "b", "c", "c"][*who];
                let expiry = version.is_v5().then_some(5);
                let properties = ConnectProperties { session_expiry_interval: expiry, ..Default::default() };
                self.send(
                    *who,
                    &Packet::Connect(Connect {
                        version: *version,
                        client_id,
                        clean_start: *clean_start,
                        keep_alive: 3,
                        username: None,
                        password: None,
                        will: None,
                        properties,
                    }),
                );
            }
            Step::Cut(who) => {
                if let Some((conn, _)) = self.conns[*who].take() {
                    self.handle(Input::Closed { conn, cause: CloseCause::PeerClosed });
                    self.ids.release(conn);
                }
            }
            Step::Subscribe(who, filter, qos, no_local) => {
                let no_local = *no_local && !filter.starts_with("$share");
                let options = SubscribeOptions { qos: *qos, no_local, ..Default::default() };
                self.subscribe(*who, &[(filter, options)]);
            }
            Step::SubscribeToAll(who, qos) => {
                let options = SubscribeOptions { qos: *qos, ..Default::default() };
                let all = ["a/a/a", "a/a/+", "a/+/a", "a/+/+", "+/a/a", "+/a/+", "+/+/a", "+/+/+"];
                self.subscribe(*who, &all.map(|filter| (filter, options)));
            }
            Step::Publish(who, topic, qos, id, retain, expiry) => self.send(
                *who,
                &Packet::Publish(Publish {
                    dup: false,
                    qos: *qos,
                    retain: *retain,
                    topic: TopicName::parse(topic).ok(),
                    packet_id: (*qos != AtMostOnce).then(|| PacketId::new(*id).unwrap()),
                    properties: PublishProperties { message_expiry_interval: *expiry, ..Default::default() },
                    payload: b"payload",
                }),
            ),
            Step::Ack(who, kind, id) => {
                let packet_id = PacketId::new(*id).unwrap();
                let ack =
                    Ack { packet_id, reason: ReasonCode::Success, properties: AckProperties::default() };
                let kinds = [Packet::PubAck, Packet::PubRec, Packet::PubRel, Packet::PubComp];
                self.send(*who, &kinds[usize::from(*kind)](ack));
            }
            Step::Backlog(who, unsent) => {
                if let Some((conn, _)) = self.conns[*who] {
                    self.handle(Input::Backlog { conn, unsent: *unsent });
                }
            }
            Step::Bytes(who, bytes) => {
                if let Some((conn, _)) = self.conns[*who] {
                    self.feed(conn, bytes);
                }
            }
            Step::Wait(micros) => {
                self.now += micros;
                self.handle(Input::Tick);
                // The last one first, so that others wait for it.
                for call in std::mem::take(&mut self.open).into_iter().rev() {
                    self.handle(Input::Reply { call, answer: Answer::Allow });
                }
            }
        }
        self.settle();
    }
}

/// What each connection got, whatever was interleaved between connections.
fn by_connection(output: &[(ConnId, Vec<u8>)]) -> std::collections::BTreeMap<ConnId, Vec<u8>> {
    let mut all = std::collections::BTreeMap::new();
    for (conn, bytes) in output {
        all.entry(*conn).or_insert_with(Vec::new).extend_from_slice(bytes);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No output depends on the hash key, and equal inputs give equal states.
    #[test]
    fn outputs_do_not_depend_on_the_hash_key(
        steps in prop::collection::vec(step(), 1..80),
        asked in asked(),
        key: [u64; 2],
    ) {
        let mut one = Run::asking(asked, HashKey([0, 0]), 1000);
        let mut two = Run::asking(asked, HashKey(key), 1000);
        for step in &steps {
            one.step(step);
            two.step(step);
            prop_assert_eq!(&one.output, &two.output);
        }
        prop_assert_eq!(one.engine.snapshot(), two.engine.snapshot());
    }

    /// Restoring at any point, with whatever half done, and going on equals never having stopped.
    #[test]
    fn a_restored_engine_goes_on_as_if_nothing_happened(
        steps in prop::collection::vec(step(), 1..80),
        asked in asked(),
        every in 1..8_usize,
    ) {
        let mut one = Run::asking(asked, HashKey([0, 0]), 1000);
        let mut two = Run::asking(asked, HashKey([0, 0]), 1000);
        two.restored_every = every;
        for step in &steps {
            one.step(step);
            two.step(step);
            prop_assert_eq!(&one.output, &two.output);
        }
    }

    /// However much a call does, every connection gets the same. Two orders are left open: retained messages stand
    /// before or behind their SUBACK by how many fit into its call, and copies of one message with different QoS
    /// for one client leave together. So there are none of either, and no timers, which decide between clients, and no
    /// pages, by which a full queue lets go what has come from the store already.
    #[test]
    fn outputs_do_not_depend_on_how_work_is_sliced(steps in prop::collection::vec(step(), 1..60), slice in 1..8_u32) {
        let sliced = Config { work_per_call: slice, queue_window_messages: 10, ..unhurried() };
        let whole = Config { work_per_call: 10_000, ..sliced.clone() };
        let mut one = Run::with(sliced, HashKey([0, 0]), 1000);
        let mut two = Run::with(whole, HashKey([0, 0]), 1000);
        for step in &steps {
            let step = &match *step {
                Step::Publish(who, topic, qos, id, _, expiry) => Step::Publish(who, topic, qos, id, false, expiry),
                Step::Subscribe(who, filter, _, no_local) => Step::Subscribe(who, filter, ExactlyOnce, no_local),
                Step::SubscribeToAll(who, _) => Step::SubscribeToAll(who, ExactlyOnce),
                Step::Wait(_) => Step::Wait(1),
                _ => step.clone(),
            };
            one.step(step);
            two.step(step);
            prop_assert_eq!(by_connection(&one.output), by_connection(&two.output));
        }
    }

    /// However the bytes are split, every connection gets the same.
    #[test]
    fn outputs_do_not_depend_on_how_bytes_are_split(
        steps in prop::collection::vec(step(), 1..60),
        asked in asked(),
        chunk in 1..4_usize,
    ) {
        let mut one = Run::asking(asked, HashKey([0, 0]), 1000);
        let mut two = Run::asking(asked, HashKey([0, 0]), chunk);
        for step in &steps {
            one.step(step);
            two.step(step);
            prop_assert_eq!(by_connection(&one.output), by_connection(&two.output));
        }
    }

    /// A hook that says yes to every PUBLISH at once is not to be noticed.
    #[test]
    fn a_hook_that_agrees_changes_nothing(steps in prop::collection::vec(step(), 1..60)) {
        let asking = Config { interest: Interest::PUBLISH, ..unhurried() };
        let mut one = Run::with(unhurried(), HashKey([0, 0]), 1000);
        let mut two = Run::with(asking, HashKey([0, 0]), 1000);
        for step in &steps {
            one.step(step);
            two.step(step);
            prop_assert_eq!(by_connection(&one.output), by_connection(&two.output));
        }
    }

    /// Where the rest of a queue waits makes no difference to anybody.
    #[test]
    fn paged_queues_deliver_the_same(steps in prop::collection::vec(step(), 1..120), window in 1..4_u32) {
        // Acknowledgements do not wait, or they would come later than without a store.
        let durability = Durability::Async;
        let roomy = Config { max_queued_messages: 1000, queue_window_messages: window, durability, ..unhurried() };
        let memory = Config { durability: Durability::Memory, ..roomy.clone() };
        let mut paged = Run::with(roomy, HashKey([0, 0]), 1000);
        let mut whole = Run::with(memory, HashKey([0, 0]), 1000);
        // A session that ends hands on what it has by shared subscriptions, but not what only the store has.
        let shared = |step: &&Step| matches!(step, Step::Subscribe(_, filter, ..) if filter.starts_with("$share"));
        for step in steps.iter().filter(|step| !shared(step)) {
            paged.step(step);
            whole.step(step);
            prop_assert_eq!(by_connection(&paged.output), by_connection(&whole.output));
            prop_assert_eq!(paged.engine.view().counters().dropped, whole.engine.view().counters().dropped);
            for (one, two) in paged.engine.view().each_session().zip(whole.engine.view().each_session()) {
                prop_assert_eq!((one.queued(), one.queued_bytes()), (two.queued(), two.queued_bytes()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    /// Whatever bit of a snapshot flips, and wherever it is cut, it is refused.
    #[test]
    fn damaged_snapshots_do_no_harm(steps in prop::collection::vec(step(), 1..40)) {
        let mut run = Run::new(HashKey([0, 0]), 1000);
        for step in &steps {
            run.step(step);
        }
        let mut snapshot = run.engine.snapshot();
        for len in 0..snapshot.len() {
            prop_assert!(Engine::restore(&snapshot[..len], HashKey([0, 0])).is_err(), "cut at {len}");
        }
        for bit in 0..snapshot.len() * 8 {
            snapshot[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Engine::restore(&snapshot, HashKey([0, 0])).is_err(), "bit {bit}");
            snapshot[bit / 8] ^= 1 << (bit % 8);
        }
        prop_assert!(Engine::restore(&snapshot, HashKey([0, 0])).is_ok());
    }
}
