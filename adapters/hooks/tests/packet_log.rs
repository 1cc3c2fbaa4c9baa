//! What chosen clients and the broker say to each other, in words.

use metronome_hooks::PacketLog;
use metronome_host::config::PacketLogConfig;
use metronome_host::engine::{Config, ConnId, Engine, HashKey, ListenerId, Seed, Time};
use metronome_host::{AllowAll, Direction, Driver, Hook, HookChain};
use mqtt_proto::{Connect, ConnectProperties, Publish, PublishProperties, TopicName};
use mqtt_proto::{Packet, QoS, Version};
use std::sync::{Arc, Mutex};

const NOW: Time = Time::from_secs(1);

struct World {
    driver: Driver,
    lines: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new(config: PacketLogConfig) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let write = Arc::clone(&lines);
        let log = PacketLog::new(config, move |client_id, direction, packet| {
            let arrow = if direction == Direction::Read { ">" } else { "<" };
            write.lock().unwrap().push(format!("{client_id} {arrow} {packet}"));
        })
        .unwrap();
        let config = Config { interest: log.interest(), ..Config::default() };
        let hooks = HookChain::from(log).and(AllowAll);
        Self { driver: Driver::new(Engine::new(config, Seed(1), HashKey([1, 2])), hooks), lines }
    }

    fn open(&mut self, client_id: &str) -> ConnId {
        let conn = self.driver.open(NOW, ListenerId(0), None);
        self.send(conn, &Packet::Connect(connect(client_id)));
        conn
    }

    fn send(&mut self, conn: ConnId, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes).unwrap();
        self.driver.received(NOW, conn, &bytes);
    }

    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

fn connect(client_id: &str) -> Connect<'_> {
    Connect {
        version: Version::V5,
        client_id,
        clean_start: true,
        keep_alive: 60,
        username: Some("u\n"),
        password: Some(b"secret"),
        will: None,
        properties: ConnectProperties::default(),
    }
}

fn publish(topic: Option<&str>, alias: Option<u16>) -> Publish<'_> {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: topic.map(|topic| TopicName::parse(topic).unwrap()),
        packet_id: None,
        properties: PublishProperties { topic_alias: alias, ..PublishProperties::default() },
        payload: b"21 C",
    }
}

fn of_clients(names: &[&str]) -> PacketLogConfig {
    let clients = names.iter().map(|&name| name.to_owned()).collect();
    PacketLogConfig { clients, ..PacketLogConfig::default() }
}

#[test]
fn a_chosen_client_is_written_down_and_nobody_else() {
    let mut world = World::new(of_clients(&["a"]));
    let (_, b) = (world.open("a"), world.open("b"));
    let lines = world.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], r#"a > CONNECT level=5 "a" clean keep-alive=60 user="u\n" password=6 bytes"#);
    assert!(lines[1].starts_with("a < CONNACK receive-maximum=1024"), "{}", lines[1]);
    world.send(b, &Packet::Publish(publish(Some("t"), None)));
    assert_eq!(world.lines(), Vec::<String>::new());
}

#[test]
fn topics_are_followed_through_clients_and_aliases() {
    let mut world =
        World::new(PacketLogConfig { topics: vec!["plant/#".into()], ..PacketLogConfig::default() });
    let (a, b) = (world.open("a"), world.open("b"));
    world.driver.received(NOW, b, b"\x82\x07\0\x01\0\0\x01#\0");
    for (topic, alias) in
        [(Some("plant/1"), Some(3)), (None, Some(3)), (Some("other"), Some(3)), (None, Some(3))]
    {
        world.send(a, &Packet::Publish(publish(topic, alias)));
    }
    let wanted = [
        r#"a > PUBLISH q0 "plant/1" alias=3 4 bytes"#,
        r#"b < PUBLISH q0 "plant/1" 4 bytes"#,
        r#"a > PUBLISH q0 "plant/1" alias=3 4 bytes"#,
        r#"b < PUBLISH q0 "plant/1" 4 bytes"#,
    ];
    assert_eq!(world.lines(), wanted);
}

#[test]
fn secrets_payloads_and_pings_are_shown_when_asked_for() {
    let config = PacketLogConfig { pings: true, payloads: true, secrets: true, ..of_clients(&["*"]) };
    let mut world = World::new(config);
    let a = world.open("a");
    let first = world.lines().remove(0);
    assert!(first.ends_with(r#"password=6 bytes "secret""#), "{first}");
    world.send(a, &Packet::PingReq);
    world.send(a, &Packet::Publish(publish(Some("t"), None)));
    let wanted = ["a > PINGREQ", "a < PINGRESP", r#"a > PUBLISH q0 "t" 4 bytes "21 C""#];
    assert_eq!(world.lines(), wanted);
    let mut hidden = World::new(of_clients(&["*"]));
    let conn = hidden.driver.open(NOW, ListenerId(0), None);
    let properties = ConnectProperties {
        authentication_method: Some("M"),
        authentication_data: Some(b"proof"),
        ..ConnectProperties::default()
    };
    hidden.send(conn, &Packet::Connect(Connect { properties, ..connect("a") }));
    hidden.send(conn, &Packet::PingReq);
    let all = hidden.lines().join("\n");
    assert!(all.contains(r#"method="M" data=5 bytes"#) && !all.contains("proof"), "{all}");
    assert!(!all.contains("secret") && !all.contains("PING"), "{all}");
}

/// `jwt.from = "username"`.
#[test]
fn a_token_in_the_place_of_a_user_name_is_a_secret() {
    // {"alg":"HS256"} and {}
    let token = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl";
    for (secrets, wanted) in [(false, "user=37 bytes password"), (true, r#"user=37 bytes "eyJ"#)] {
        let mut world = World::new(PacketLogConfig { secrets, ..of_clients(&["*"]) });
        let conn = world.driver.open(NOW, ListenerId(0), None);
        world.send(conn, &Packet::Connect(Connect { username: Some(token), ..connect("a") }));
        let line = world.lines().remove(0);
        assert!(line.contains(wanted) && line.contains(token) == secrets, "{line}");
    }
}

#[test]
fn each_packet_of_a_conversation_has_a_line() {
    let mut world = World::new(of_clients(&["a"]));
    let a = world.open("a");
    let _opening = world.lines();
    world.driver.received(NOW, a, b"\x82\x08\0\x01\0\0\x02t/\x02");
    world.driver.received(NOW, a, b"\x34\x08\0\x02t/\0\x07\0x");
    world.driver.received(NOW, a, b"\x62\x02\0\x07");
    world.driver.received(NOW, a, b"\x50\x02\0\x01");
    world.driver.received(NOW, a, b"\x70\x02\0\x01");
    world.driver.received(NOW, a, b"\xa2\x07\0\x02\0\0\x02t/");
    world.driver.received(NOW, a, b"\xe0\x01\x04");
    let wanted = [
        r#"a > SUBSCRIBE #1 "t/" q2"#,
        "a < SUBACK #1 0x02",
        r#"a > PUBLISH q2 #7 "t/" 1 bytes"#,
        r#"a < PUBLISH q2 #1 "t/" 1 bytes"#,
        "a < PUBREC #7",
        "a > PUBREL #7",
        "a < PUBCOMP #7",
        "a > PUBREC #1",
        "a < PUBREL #1",
        "a > PUBCOMP #1",
        r#"a > UNSUBSCRIBE #2 "t/""#,
        "a < UNSUBACK #2 0x00",
        "a > DISCONNECT 0x04 (Disconnect with Will Message)",
    ];
    assert_eq!(world.lines(), wanted);
}

#[test]
fn a_topic_filter_that_is_none_is_refused() {
    let config = PacketLogConfig { topics: vec!["a/#/b".into()], ..PacketLogConfig::default() };
    assert_eq!(PacketLog::new(config, |_, _, _| ()).unwrap_err().0, "a/#/b");
}
