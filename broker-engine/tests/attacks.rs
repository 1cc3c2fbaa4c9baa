//! Malformed and state-breaking input that takes more than one packet, or many. Answers to single packets are in
//! `mistakes.rs`, attacks on memory and time in `exhaustion.rs`.
//!
//! | class | shown by |
//! |---|---|
//! | A-01, A-03 to, A-14 | `mistakes.rs` |
//! | A-12 | `mistakes.rs`, and here for topic names |
//! | A-02, A-07, A-08, A-13, A-15, A-16 | here |

mod common;
mod counting;

use broker_engine::{
    Answer, CloseCause, Command, Config, ConnId, ConnIds, DropReason, Engine, HashKey, Input, ListenerId,
    Outbox, Seed, Time,
};
use common::{World, clean, encoded, lasting, message};
use counting::live;
use mqtt_proto::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use mqtt_proto::{
    Connect, Limits, Packet, ReasonCode, TopicName, UserProperties, Version, Will, WillProperties,
};

fn world() -> World {
    World::new(Config::default())
}

fn will(topic: &str, delay: u32) -> Will<'_> {
    Will {
        topic: TopicName::parse(topic).unwrap(),
        payload: b"gone",
        qos: AtMostOnce,
        retain: false,
        properties: WillProperties { will_delay_interval: Some(delay), ..WillProperties::default() },
    }
}

/// An engine and one client at a time, without anything that costs time.
struct Storm {
    engine: Engine,
    ids: ConnIds,
    out: Outbox,
}

impl Storm {
    fn new() -> Self {
        let engine = Engine::new(Config::default(), Seed(1), HashKey([1, 2]));
        Self { engine, ids: ConnIds::new(), out: Outbox::new() }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.engine.handle(Time::from_secs(1), input, &mut self.out);
        for call in std::mem::take(&mut self.out.calls) {
            let allow = Input::Reply { call: call.id, answer: Answer::Allow };
            self.engine.handle(Time::from_secs(1), allow, &mut self.out);
        }
    }

    fn open(&mut self) -> ConnId {
        let conn = self.ids.allocate();
        self.handle(Input::Opened { conn, listener: ListenerId(0), peer: None });
        conn
    }

    /// A new connection sends this and is cut; says how many whole packets came back.
    fn once(&mut self, data: &[u8], version: Version) -> usize {
        let conn = self.open();
        self.handle(Input::Received { conn, data });
        let bytes = self.out.bytes_for(conn);
        let (mut rest, mut packets) = (&bytes[..], 0);
        while !rest.is_empty() {
            let (_, len) = Packet::parse(rest, version, &Limits::NONE).expect("valid").expect("whole");
            rest = &rest[len..];
            packets += 1;
        }
        if !self.out.closes(conn) {
            self.handle(Input::Closed { conn, cause: CloseCause::Fault });
        }
        self.ids.release(conn);
        self.out.clear();
        packets
    }
}

/// First bytes that are not refused by themselves.
const FIRST: [u8; 25] = [
    0x10, 0x20, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3a, 0x3b, 0x3c, 0x3d, 0x40, 0x50, 0x62, 0x70, 0x82,
    0x90, 0xa2, 0xb0, 0xc0, 0xd0, 0xe0, 0xf0, 0x6a,
];

/// Bytes that mean something somewhere: lengths, identifiers, flags, reason codes, ends of ranges.
const TELLING: [u8; 14] = [0, 1, 2, 3, 4, 0x0b, 0x11, 0x1f, 0x23, 0x26, b'#', 0x7f, 0x80, 0xff];

/// Every packet of two bytes, every body of one byte, and bodies of two and three telling bytes.
fn short_packets(mut each: impl FnMut(&[u8])) {
    for first in 0..=255 {
        (0..=255).for_each(|second| each(&[first, second]));
    }
    for first in FIRST {
        (0..=255).for_each(|a| each(&[first, 1, a]));
        for (a, b) in TELLING.iter().flat_map(|a| TELLING.map(|b| (*a, b))) {
            each(&[first, 2, a, b]);
            for c in TELLING {
                each(&[first, 3, a, b, c]);
            }
        }
    }
}

///
#[test]
fn no_short_packet_does_harm_before_connect() {
    let mut storm = Storm::new();
    short_packets(|packet| assert_eq!(storm.once(packet, Version::V5), 0, "{packet:02x?}"));
    assert_eq!(storm.engine.view().verify(), Ok(()));
    assert_eq!(storm.engine.view().input_bytes(), 0);
}

///
#[test]
fn no_short_packet_does_harm_after_connect() {
    for version in [Version::V311, Version::V5] {
        let mut storm = Storm::new();
        let connect = encoded(&Packet::Connect(clean(version, "c")), version);
        let mut answered = 0;
        short_packets(|packet| {
            let packets = storm.once(&[&connect, packet].concat(), version);
            assert!((1..=2).contains(&packets), "CONNACK and at most one answer: {packet:02x?}");
            answered += packets - 1;
        });
        assert!(answered > 100, "PINGREQ, SUBSCRIBE and PUBREL are among them");
        assert_eq!(storm.engine.view().verify(), Ok(()));
        assert_eq!((storm.engine.view().sessions(), storm.engine.view().input_bytes()), (0, 0));
    }
}

/// A CONNECT with everything that one can have.
fn whole_connect() -> Vec<u8> {
    let pairs = [("name", "value"), ("name", "")];
    let mut connect = Connect {
        username: Some("user"),
        password: Some(b"password"),
        will: Some(will("will", 5)),
        ..lasting(Version::V5, "client")
    };
    connect.properties.user_properties = UserProperties::Pairs(&pairs);
    encoded(&Packet::Connect(connect), Version::V5)
}

/// cut off at every offset, as a stream and as a packet with a right Remaining Length.
#[test]
fn a_connect_that_ends_anywhere_leaves_nothing() {
    let whole = whole_connect();
    let mut world = world();
    for end in 0..whole.len() {
        let conn = world.open(Version::V5);
        world.bytes(conn, &whole[..end]);
        world.expect(conn, &[]);
        assert!(world.engine.view().input_bytes() <= 2 * whole.len(), "only what came is kept");
        world.cut(conn);
        if let Some(body) = end.checked_sub(2) {
            let conn = world.open(Version::V5);
            world.bytes(conn, &[&[0x10, u8::try_from(body).unwrap()], &whole[2..end]].concat());
            let said = world.take(conn);
            // Before its version is read nobody knows how to answer.
            let known = body > 6;
            let wanted: &[&str] = if known { &["CONNACK Malformed Packet", "closed"] } else { &["closed"] };
            assert_eq!(said, wanted, "{body} bytes of body");
        }
        assert_eq!(world.held(), [0; 6]);
    }
}

/// a hundred thousand of them, after which not a byte more is allocated than after the first few.
#[test]
fn a_connect_that_ends_anywhere_leaves_nothing_however_often() {
    let whole = whole_connect();
    let mut packets = Vec::new();
    for end in 2..whole.len() {
        let body = u8::try_from(end - 2).unwrap();
        packets.extend([whole[..end].to_vec(), [&[0x10, body], &whole[2..end]].concat()]);
    }
    let mut storm = Storm::new();
    let round =
        |storm: &mut Storm| packets.iter().map(|packet| storm.once(packet, Version::V5)).sum::<usize>();
    let answers = round(&mut storm);
    let before = live();
    for _ in 0..100_000_usize.div_ceil(packets.len()) {
        assert_eq!(round(&mut storm), answers);
    }
    assert_eq!(live(), before, "bytes in use");
    assert_eq!(storm.engine.view().verify(), Ok(()));
}

///
#[test]
fn subscribing_and_leaving_in_every_way_leaves_nothing() {
    let mut world = world();
    for round in 0..200 {
        let client = world.client(Version::V5, "c");
        for filter in ["a/+/#", "$share/g/a/+", "a/b"] {
            world.subscribe(client, filter, ExactlyOnce);
        }
        world.unsubscribe(client, "a/+/#");
        match round % 3 {
            0 => world.bytes(client, b"\x82\x06\0\x01\0\0\x01a"),
            1 => world.disconnect(client, ReasonCode::Success),
            _ => world.cut(client),
        }
        assert_eq!((world.held(), world.engine.view().filters()), ([0; 6], (0, 0)));
    }
}

/// what only looks like a topic of the broker's own is an ordinary topic.
#[test]
fn topics_that_begin_with_a_dollar_sign_are_ordinary_but_for_two() {
    let mut world = world();
    let client = world.client(Version::V5, "c");
    for filter in ["#", "+/x", "$", "$share", "$SYSTEM/#", "$sys/x", "$queue/x"] {
        world.subscribe(client, filter, AtMostOnce);
    }
    for topic in ["$", "$share", "$SYSTEM/x", "$sys/x", "$queue/x", "$SYS", "$SYS/x", "$share/x"] {
        world.publish(client, topic, "m", AtMostOnce, 0);
    }
    world.expect(
        client,
        &[
            "PUBLISH q0 $ m",
            "PUBLISH q0 $share m",
            "PUBLISH q0 $SYSTEM/x m",
            "PUBLISH q0 $sys/x m",
            "PUBLISH q0 $queue/x m",
        ],
    );
}

///
#[test]
fn a_disconnect_that_is_none_does_not_cancel_the_will() {
    let cases: &[(Version, &[u8], &[&str])] = &[
        (Version::V5, b"\xe0\x00", &[]),
        (Version::V5, b"\xe0\x01\x00", &[]),
        (Version::V5, b"\xe0\x01\x04", &["PUBLISH q0 will gone"]),
        (Version::V5, b"\xe1\x00", &["PUBLISH q0 will gone"]),
        (Version::V5, b"\xe0\x01\x01", &["PUBLISH q0 will gone"]),
        (Version::V5, b"\xe0\x03\x00\x00\x00", &["PUBLISH q0 will gone"]),
        (Version::V5, b"\xe0\x07\x00\x05\x11\x00\x00\x00\x01", &["PUBLISH q0 will gone"]),
        (Version::V5, b"\xe0\x05\x00\x03\x21\x00\x01", &["PUBLISH q0 will gone"]),
        (Version::V311, b"\xe0\x00", &[]),
        (Version::V311, b"\xe0\x01\x00", &["PUBLISH q0 will gone"]),
    ];
    for (version, bytes, wanted) in cases {
        let mut world = world();
        let watcher = world.client(Version::V311, "w");
        world.subscribe(watcher, "will", AtMostOnce);
        let client = world.connect_with(&Connect { will: Some(will("will", 0)), ..clean(*version, "c") });
        world.bytes(client, bytes);
        assert!(world.is_closed(client));
        assert_eq!(&world.take(watcher), wanted, "{bytes:02x?} in {version:?}");
    }
}

/// what happens to a session with a will after 20 of its 60 seconds, and how often the will is sent.
#[test]
fn a_delayed_will_is_sent_at_most_once_whatever_happens_in_whatever_order() {
    let cases: &[(&[&str], usize)] = &[
        (&["cut"], 1),
        (&["kick"], 1),
        (&["kick for good"], 1),
        (&["say goodbye"], 0),
        (&["kick without will"], 0),
        (&["cut", "resume with will", "kick without will"], 0),
        (&["cut", "resume"], 0),
        (&["cut", "resume", "cut"], 0),
        (&["kick", "resume with will", "cut"], 1),
        (&["resume with will", "resume with will", "kick"], 1),
        (&["cut", "kick for good", "resume"], 1),
        (&["cut", "begin anew"], 1),
        (&["begin anew"], 1),
        (&["cut", "wait 19", "resume", "cut"], 0),
        (&["cut", "wait 20", "resume", "cut"], 1),
        (&["cut", "wait 60", "resume with will", "kick for good"], 2),
        (&["cut", "wait 60", "kick for good", "begin anew"], 1),
    ];
    for (steps, wanted) in cases {
        let mut world = world();
        let watcher = world.client(Version::V5, "w");
        world.subscribe(watcher, "will", AtMostOnce);
        let plain = || {
            let mut connect = lasting(Version::V5, "c");
            connect.properties.session_expiry_interval = Some(60);
            connect
        };
        let with_will = || Connect { will: Some(will("will", 20)), ..plain() };
        let kick = |world: &mut World, reason, end_session| {
            let client_id = "c".into();
            world.handle(Input::Command(Command::Disconnect { client_id, reason, end_session }));
        };
        let mut client = world.connect_with(&with_will());
        for step in *steps {
            match *step {
                "cut" => world.cut(client),
                "kick" => kick(&mut world, ReasonCode::AdministrativeAction, false),
                "kick for good" => kick(&mut world, ReasonCode::AdministrativeAction, true),
                "kick without will" => kick(&mut world, ReasonCode::Success, false),
                "say goodbye" => world.disconnect(client, ReasonCode::Success),
                "resume" => client = world.connect_with(&plain()),
                "resume with will" => client = world.connect_with(&with_will()),
                "begin anew" => client = world.connect_with(&Connect { clean_start: true, ..plain() }),
                wait => world.wait(wait.strip_prefix("wait ").unwrap().parse().unwrap()),
            }
        }
        world.wait(100);
        assert_eq!(world.take(watcher).len(), *wanted, "{steps:?}");
    }
}

///
#[test]
fn the_largest_intervals_do_not_wrap() {
    for start in [0, u64::MAX / 2] {
        let mut world = World::new(Config { max_session_expiry: u32::MAX, ..Config::default() });
        world.now = Time::from_micros(start);
        let mut longest = Connect { keep_alive: u16::MAX, ..lasting(Version::V5, "c") };
        longest.properties.session_expiry_interval = Some(u32::MAX - 1);
        longest.will = Some(will("will", u32::MAX));
        let client = world.connect_with(&longest);
        world.expect(client, &["CONNACK Success"]);
        world.subscribe(client, "t", AtLeastOnce);
        let mut publish = message("t", "m", AtLeastOnce, 1);
        publish.retain = true;
        publish.properties.message_expiry_interval = Some(u32::MAX);
        world.publish_with(client, &publish);
        world.expect(client, &["PUBLISH q1 #1 expires=4294967295 t m", "PUBACK #1"]);
        world.cut(client);
        let view = world.engine.view();
        assert_eq!((view.sessions(), view.retained(), view.counters().wills_sent), (1, 1, 0));
    }
}

/// one and a half times 65,535 s are more than 16 bits.
#[test]
fn the_longest_keep_alive_is_waited_for() {
    let mut world = world();
    let client = world.connect_with(&Connect { keep_alive: u16::MAX, ..clean(Version::V5, "c") });
    world.wait(98_302);
    world.expect(client, &["CONNACK Success"]);
    world.wait(1);
    world.expect(client, &["DISCONNECT Keep Alive timeout", "closed"]);
}

/// a message that may not grow older at all reaches who is there, and waits for nobody.
#[test]
fn a_message_expiry_of_0_is_not_for_ever() {
    let mut world = world();
    let (publisher, here) = (world.client(Version::V5, "p"), world.client(Version::V311, "here"));
    let away = world.persistent(Version::V5, "away");
    world.subscribe(here, "t", AtLeastOnce);
    world.subscribe(away, "t", AtLeastOnce);
    world.cut(away);
    let mut publish = message("t", "m", AtLeastOnce, 1);
    publish.retain = true;
    publish.properties.message_expiry_interval = Some(0);
    world.publish_with(publisher, &publish);
    world.expect(here, &["PUBLISH q1 #1 t m"]);
    world.wait(0);
    assert_eq!(world.engine.view().retained(), 0);
    let away = world.connect_with(&lasting(Version::V5, "away"));
    world.expect(away, &["CONNACK Success present"]);
    assert_eq!(world.dropped(DropReason::Expired), 1);
}
