//! The broker's own account of its memory against an allocator that counts, for every kind of thing that a client
//! can make it keep; and that all of it goes back.

mod common;
mod counting;

use broker_engine::{
    Answer, ApplicationMessage, CloseCause, Command, Config, ConnId, ConnIds, DropReason, Durability, Engine,
    HashKey, Input, Interest, ListenerId, MemoryStore, Outbox, Seed, StoreSeq, Time,
};
use common::{clean, encoded, id_of, lasting, message};
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{
    Ack, AckProperties, Connect, Packet, Publish, QoS, ReasonCode, Subscribe, SubscribeFilters,
    SubscribeOptions, TopicName, Unsubscribe, UnsubscribeFilters, UserProperties, Version, Will,
    WillProperties,
};
use std::time::Duration;

/// An engine whose host keeps nothing, so that all memory that stays is the engine's.
struct Bare {
    engine: Engine,
    now: Time,
    ids: ConnIds,
    open: Vec<ConnId>,
    /// Questions are never answered.
    silent_hooks: bool,
    /// The store says nothing.
    silent_store: bool,
}

impl Bare {
    fn new(config: Config) -> Self {
        Self {
            engine: Engine::new(config, Seed(7), HashKey([1, 2])),
            now: Time::from_secs(1),
            ids: ConnIds::new(),
            open: Vec::with_capacity(1 << 17),
            silent_hooks: false,
            silent_store: false,
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        let (mut out, mut store) = (Outbox::new(), MemoryStore::new());
        self.engine.handle(self.now, input, &mut out);
        while !out.is_empty() {
            let (calls, stores) = (std::mem::take(&mut out.calls), std::mem::take(&mut out.stores));
            out.clear();
            for call in calls {
                if !self.silent_hooks {
                    let input = Input::Reply { call: call.id, answer: Answer::Allow };
                    self.engine.handle(self.now, input, &mut out);
                }
            }
            for (seq, op) in stores {
                if let Some(deliveries) = store.apply(self.now, op) {
                    self.engine.handle(self.now, Input::Loaded { fetch: seq, deliveries }, &mut out);
                }
                if !self.silent_store {
                    self.engine.handle(self.now, Input::Stored { upto: seq }, &mut out);
                }
            }
        }
    }

    fn open(&mut self) -> ConnId {
        let conn = self.ids.allocate();
        self.open.push(conn);
        self.handle(Input::Opened { conn, listener: ListenerId(0), peer: None });
        conn
    }

    fn send(&mut self, conn: ConnId, packet: &Packet<'_>) {
        self.handle(Input::Received { conn, data: &encoded(packet, Version::V5) });
    }

    fn connect(&mut self, connect: &Connect<'_>) -> ConnId {
        let conn = self.open();
        self.send(conn, &Packet::Connect(connect.clone()));
        conn
    }

    fn client(&mut self, client_id: &str) -> ConnId {
        self.connect(&clean(Version::V5, client_id))
    }

    fn subscribe(&mut self, conn: ConnId, filter: &str, id: Option<u32>) {
        self.send(
            conn,
            &Packet::Subscribe(Subscribe {
                packet_id: id_of(9),
                subscription_id: id,
                user_properties: UserProperties::default(),
                filters: SubscribeFilters::List(&[(
                    filter,
                    SubscribeOptions { qos: ExactlyOnce, ..SubscribeOptions::default() },
                )]),
            }),
        );
    }

    fn publish(&mut self, conn: ConnId, topic: &str, size: usize, qos: QoS, id: usize) {
        let payload = "x".repeat(size);
        let id = u16::try_from(id % 60_000 + 1).unwrap();
        self.send(conn, &Packet::Publish(message(topic, &payload, qos, id)));
    }

    fn ack(&mut self, conn: ConnId, kind: impl Fn(Ack<'static>) -> Packet<'static>, id: u16) {
        let ack =
            Ack { packet_id: id_of(id), reason: ReasonCode::Success, properties: AckProperties::default() };
        self.send(conn, &kind(ack));
    }

    /// The client that came last goes.
    fn cut(&mut self) {
        if let Some(conn) = self.open.pop() {
            self.handle(Input::Closed { conn, cause: CloseCause::Fault });
            self.ids.release(conn);
        }
    }

    /// Everybody goes, sessions end, and there is no retained message any more.
    fn empty(&mut self) {
        self.silent_store = false;
        self.handle(Input::Stored { upto: StoreSeq(u64::MAX) });
        while !self.open.is_empty() {
            self.cut();
        }
        self.now = self.now.after(Duration::from_secs(8 * 24 * 3600));
        while self.engine.next_deadline().is_some_and(|deadline| deadline.at <= self.now) {
            self.handle(Input::Tick);
        }
        for length in [10, 1000] {
            for number in 0..self.engine.view().retained().min(COUNT) {
                self.publish_retained(&name(number, length), "");
            }
        }
        let view = self.engine.view();
        view.verify().unwrap();
        assert_eq!((view.sessions(), view.messages(), view.memory_used()), (0, 0, 0));
    }

    fn publish_retained(&mut self, topic: &str, payload: &str) {
        self.handle(Input::Command(Command::Publish(ApplicationMessage {
            topic: topic.into(),
            payload: payload.to_owned().into(),
            qos: AtMostOnce,
            retain: true,
            ..ApplicationMessage::default()
        })));
    }

    /// A session that lasts, with its client still there.
    fn lasting(&mut self, number: usize) -> ConnId {
        self.connect(&lasting(Version::V5, &name(number, 10)))
    }

    /// Somebody who subscribed to `t` and left.
    fn absent(&mut self, number: usize) {
        let conn = self.lasting(number);
        self.subscribe(conn, "t", None);
        self.cut();
    }
}

/// How many of each kind.
const COUNT: usize = 1000;

/// A text of its own for each number, as long as asked for.
fn name(number: usize, length: usize) -> String {
    format!("{number:x>length$}")
}

/// The same as many short levels.
fn deep(number: usize, levels: usize) -> String {
    format!("{number}{}/+", "/l".repeat(levels - 2))
}

/// A kind of thing that a client can make the broker keep: its name, and how many of it come about.
type Kind = (&'static str, fn(&mut Bare));

#[allow(clippy::too_many_lines)] // A table.
fn kinds() -> Vec<Kind> {
    vec![
        ("transports", |bare| each(|_| _ = bare.open())),
        ("incomplete packets", |bare| {
            each(|_| {
                let conn = bare.open();
                bare.handle(Input::Received { conn, data: &[&[0x10, 0xff, 0x1f][..], &[0; 2000]].concat() });
            });
        }),
        ("CONNECTs without an answer", |bare| {
            bare.silent_hooks = true;
            let password = [b'x'; 2000];
            let connect =
                Connect { username: Some("u"), password: Some(&password), ..clean(Version::V5, "c") };
            each(|_| _ = bare.connect(&connect));
        }),
        ("connected clients", |bare| each(|number| _ = bare.client(&name(number, 10)))),
        ("sessions", |bare| {
            each(|number| {
                bare.lasting(number);
                bare.cut();
            });
        }),
        ("client identifiers and user names", |bare| {
            each(|number| {
                let (client_id, username) = (name(number, 200), name(number, 2000));
                bare.connect(&Connect { username: Some(&username), ..lasting(Version::V5, &client_id) });
                bare.cut();
            });
        }),
        ("wills", |bare| {
            each(|number| {
                let will = Will {
                    topic: TopicName::parse("t").unwrap(),
                    payload: &[b'x'; 2000],
                    qos: AtMostOnce,
                    retain: false,
                    properties: WillProperties {
                        will_delay_interval: Some(500),
                        ..WillProperties::default()
                    },
                };
                bare.connect(&Connect { will: Some(will), ..lasting(Version::V5, &name(number, 10)) });
                bare.cut();
            });
        }),
        ("short filters", |bare| filters(bare, |number| name(number, 10))),
        ("long filters", |bare| filters(bare, |number| name(number, 2000))),
        ("short wildcard filters", |bare| filters(bare, |number| format!("{number}/+"))),
        ("long wildcard filters", |bare| filters(bare, |number| name(number, 2000) + "/+")),
        ("deep wildcard filters", |bare| filters(bare, |number| deep(number, 10))),
        ("one filter of many", |bare| {
            each(|number| {
                let conn = bare.lasting(number);
                bare.subscribe(conn, "t", None);
                bare.subscribe(conn, &name(1, 2000), None);
                bare.cut();
            });
        }),
        ("shared groups", |bare| filters(bare, |number| format!("$share/{number}/t"))),
        ("long names of shared groups", |bare| {
            filters(bare, |number| format!("$share/{}/t", name(number, 2000)));
        }),
        ("small messages", |bare| queued(bare, 10)),
        ("large messages", |bare| queued(bare, 2000)),
        ("one message for many", |bare| {
            each(|number| bare.absent(number));
            let publisher = bare.client("p");
            (0..COUNT / 10).for_each(|number| bare.publish(publisher, "t", 10, AtLeastOnce, number));
        }),
        ("Subscription Identifiers", |bare| {
            let conn = bare.lasting(1);
            for group in 0..100 {
                bare.subscribe(conn, &format!("{}+/#", "+/".repeat(group)), Some(1));
            }
            bare.cut();
            let publisher = bare.client("p");
            let topic = "l/".repeat(100) + "l";
            (0..COUNT / 4).for_each(|number| bare.publish(publisher, &topic, 1, AtLeastOnce, number));
        }),
        ("messages in flight", |bare| {
            let conn = bare.lasting(1);
            bare.subscribe(conn, "t", None);
            each(|number| bare.publish(conn, "t", 10, AtLeastOnce, number));
        }),
        ("half finished exchanges", |bare| {
            let conn = bare.lasting(1);
            bare.subscribe(conn, "t", None);
            for number in 0..COUNT {
                bare.publish(conn, "t", 10, ExactlyOnce, number);
                bare.ack(conn, Packet::PubRec, u16::try_from(number + 1).unwrap());
            }
        }),
        ("short retained messages", |bare| each(|number| bare.publish_retained(&name(number, 10), "x"))),
        ("long retained topics", |bare| each(|number| bare.publish_retained(&name(number, 1000), "x"))),
        ("retained messages that expire", |bare| {
            let conn = bare.client("p");
            each(|number| {
                let topic = name(number, 1000);
                let mut publish = Publish { retain: true, ..message(&topic, "x", AtMostOnce, 1) };
                publish.properties.message_expiry_interval = Some(1000);
                bare.send(conn, &Packet::Publish(publish));
            });
        }),
        ("topic aliases of clients", |bare| {
            for number in 0..COUNT / 10 {
                let conn = bare.client(&name(number, 10));
                for alias in 1..=16 {
                    let topic = name(number, 1000);
                    let mut publish = message(&topic, "x", AtMostOnce, 1);
                    publish.properties.topic_alias = Some(alias);
                    bare.send(conn, &Packet::Publish(publish));
                }
            }
        }),
        ("topic aliases towards clients", |bare| {
            for number in 0..COUNT / 10 {
                let mut connect = clean(Version::V5, "");
                connect.properties.topic_alias_maximum = Some(16);
                let conn = bare.connect(&connect);
                bare.subscribe(conn, &format!("{number}/+"), None);
                for alias in 1..=16 {
                    bare.publish(conn, &format!("{number}/{}", name(alias, 1000)), 1, AtMostOnce, 1);
                }
                bare.send(conn, &Packet::PingReq);
            }
        }),
        ("SUBSCRIBEs without an answer", |bare| {
            let conns: Vec<ConnId> = (0..COUNT).map(|number| bare.client(&name(number, 10))).collect();
            bare.silent_hooks = true;
            for conn in conns {
                bare.subscribe(conn, &name(1, 2000), None);
            }
        }),
        ("PUBLISHes without an answer", |bare| {
            let conns: Vec<ConnId> = (0..COUNT).map(|number| bare.client(&name(number, 10))).collect();
            bare.silent_hooks = true;
            for conn in conns {
                bare.publish(conn, "t", 1000, AtMostOnce, 0);
            }
        }),
        ("retained messages on their way", |bare| {
            bare.publish_retained(&name(0, 10), "x");
            let conn = bare.client("c");
            bare.handle(Input::Backlog { conn, unsent: 1 << 20 });
            each(|number| bare.subscribe(conn, &name(number, 1000), None));
            bare.handle(Input::Backlog { conn, unsent: 65 << 10 });
        }),
        ("frames that wait for the store", |bare| {
            let conn = bare.lasting(1);
            bare.subscribe(conn, "t", None);
            bare.silent_store = true;
            each(|number| bare.publish(conn, "t", 1000, ExactlyOnce, number));
        }),
    ]
}

fn each(mut make: impl FnMut(usize)) {
    (0..COUNT).for_each(&mut make);
}

/// One session with many filters.
fn filters(bare: &mut Bare, filter: impl Fn(usize) -> String) {
    let conn = bare.lasting(1);
    each(|number| bare.subscribe(conn, &filter(number), None));
    bare.cut();
}

/// Messages for somebody who is away.
fn queued(bare: &mut Bare, size: usize) {
    bare.absent(1);
    let publisher = bare.client("p");
    each(|number| bare.publish(publisher, "t", size, AtLeastOnce, number));
}

fn config(kind: &str) -> Config {
    let durable = kind == "frames that wait for the store";
    let durability = if durable { Durability::Durable } else { Durability::Memory };
    let interest = match kind {
        "SUBSCRIBEs without an answer" => Interest::SUBSCRIBE,
        "PUBLISHes without an answer" => Interest::PUBLISH,
        _ => Interest::NONE,
    };
    // Remembered matches are no client's.
    Config { match_cache_entries: 0, max_queued_bytes: 1 << 30, durability, interest, ..Config::default() }
}

/// Whatever it is that clients make it keep, the broker's account and the allocator's agree to a factor of two.
#[test]
fn everything_kept_is_accounted_for() {
    let mut wrong = Vec::new();
    for (kind, make) in kinds() {
        let mut bare = Bare::new(config(kind));
        let before = counting::live();
        make(&mut bare);
        let real = u64::try_from(counting::live() - before).unwrap();
        let used = bare.engine.view().memory_used();
        bare.engine.view().verify().unwrap();
        if used > 2 * real || real > 2 * used {
            wrong.push(format!("{kind}: {used} by account, {real} really"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// And when it has gone, it is neither in the account nor with the allocator.
#[test]
fn everything_kept_goes_back() {
    let mut wrong = Vec::new();
    for (kind, make) in kinds() {
        let before = counting::live();
        let mut bare = Bare::new(config(kind));
        let fresh = counting::live() - before;
        make(&mut bare);
        bare.empty();
        let left = counting::live() - before - fresh;
        // What is kept for the next packets: tables and buffers of their least size.
        if left > 80_000 {
            wrong.push(format!("{kind}: {left} bytes left"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The figures that `max_queued_messages` tells: a full queue of the smallest messages, which nobody else waits for.
#[test]
fn a_full_queue_of_the_smallest_messages() {
    let mut bare = Bare::new(Config::default());
    bare.absent(1);
    let publisher = bare.client("p");
    let (live, used) = (counting::live(), bare.engine.view().memory_used());
    let most = bare.engine.view().config().max_queued_messages;
    (0..=most).for_each(|number| bare.publish(publisher, "t", 1, AtLeastOnce, number as usize));
    let view = bare.engine.view();
    assert_eq!((view.queued(), view.counters().dropped_for(DropReason::QueueFull)), (most.into(), 1));
    let (real, used) = (u64::try_from(counting::live() - live).unwrap(), view.memory_used() - used);
    let mebibytes = |bytes: u64| (bytes + (1 << 19)) >> 20;
    assert_eq!((mebibytes(real), mebibytes(used)), (5, 6), "{real} really, {used} by account");
}

/// 100,000 clients with sessions, subscriptions and messages come and go.
#[test]
fn a_storm_leaves_nothing_behind() {
    let before = counting::live();
    let mut bare = Bare::new(config(""));
    let fresh = counting::live() - before;
    for number in 0..100_000 {
        let conn = bare.lasting(number);
        bare.subscribe(conn, &format!("{number}/+"), None);
        bare.publish(conn, &format!("{number}/t"), 100, AtLeastOnce, 1);
    }
    let most = counting::live() - before - fresh;
    assert!(most > 100_000_000, "{most}");
    assert_eq!((bare.engine.view().sessions(), bare.engine.view().messages()), (100_000, 100_000));
    bare.empty();
    let left = counting::live() - before - fresh;
    assert!(left < 100_000, "{left} of {most} bytes left");
}

/// Also when who caused it stays: buffers of large packets and lists of many subscriptions shrink with what they hold.
#[test]
fn what_was_large_shrinks_while_its_client_stays() {
    let mut bare = Bare::new(Config::default());
    let client = bare.client("c");
    let before = counting::live();
    let packet = encoded(&Packet::Publish(message("t", &"x".repeat(1 << 20), AtMostOnce, 0)), Version::V5);
    // What stays is the beginning of another packet.
    let stream = [&packet, &packet[..10]].concat();
    let own = counting::live() - before;
    for piece in stream.chunks(60_000) {
        bare.handle(Input::Received { conn: client, data: piece });
    }
    let left = counting::live() - before - own;
    assert!(left < 10_000, "{left} bytes are left of a large packet");
    bare.handle(Input::Received { conn: client, data: &packet[10..] });

    let before = counting::live();
    each(|number| bare.subscribe(client, &number.to_string(), None));
    let with = counting::live() - before;
    each(|number| {
        let (packet_id, user_properties) = (id_of(1), UserProperties::default());
        let filters = UnsubscribeFilters::List(&[&number.to_string()]);
        bare.send(client, &Packet::Unsubscribe(Unsubscribe { packet_id, user_properties, filters }));
    });
    let left = counting::live() - before;
    assert!(left < with / 20, "{left} of {with} bytes are left of subscriptions");
}
