//! Hooks that see packets.

use super::{NOW, connect, driver};
use broker_engine::mqtt_proto::{Packet, PacketId, PacketType};
use broker_engine::{Authenticate, ConnId, Interest, ListenerId};
use metronome_host::{Client, Decision, Direction, Hook, HookChain, PacketTypes};
use std::sync::{Arc, Mutex};

/// Writes down the packets that it sees, of these types.
struct Sees(PacketTypes, Arc<Mutex<Vec<String>>>);

impl Hook for Sees {
    fn interest(&self) -> Interest {
        Interest::NONE
    }

    fn packets(&self) -> PacketTypes {
        self.0
    }

    fn authenticate(&mut self, _: &Client, _: &Authenticate) -> Decision {
        Decision::allow()
    }

    fn packet(&mut self, _: ConnId, direction: Direction, packet: &Packet<'_>) {
        let id = match packet {
            Packet::Publish(publish) => publish.packet_id.map(PacketId::get),
            _ => None,
        };
        let line = format!("{direction:?} {} {}", packet.packet_type().name(), id.unwrap_or(0));
        self.1.lock().unwrap().push(line);
        assert!(!matches!(packet, Packet::PingReq), "as a bug would");
    }
}

#[test]
fn a_hook_sees_the_packets_that_it_wants_however_they_are_split() {
    let seen = Arc::default();
    let two = PacketTypes::of(PacketType::Publish) | PacketTypes::of(PacketType::PingReq);
    let some = Arc::default();
    let hooks = HookChain::from(Sees(PacketTypes::ALL, Arc::clone(&seen)))
        .and(Sees(two, Arc::clone(&some)))
        .on_panic(|_| ());
    let mut driver = driver(hooks);
    let conn = connect(&mut driver, "bob", None);
    // Every one of two subscribers gets a packet identifier of its own.
    let other = driver.open(NOW, ListenerId(3), None);
    driver.received(NOW, other, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01o");
    for (id, conn) in [(1, conn), (2, other)] {
        let properties: &[u8] = if id == 1 { &[0] } else { &[] };
        let body = [&[0, 9][..], properties, b"\0\x01a\x01"].concat();
        driver.received(NOW, conn, &[&[0x82, u8::try_from(body.len()).unwrap()], &body[..]].concat());
    }
    driver.received(NOW, other, b"\x32\x06\0\x01a\0\x07x");
    for byte in b"\x32\x07\0\x01a\0\x08\0y\xc0\0" {
        driver.received(NOW, conn, &[*byte]);
    }
    let publishes = [
        "Read PUBLISH 7",
        "Sent PUBLISH 1",
        "Sent PUBLISH 1",
        "Read PUBLISH 8",
        "Sent PUBLISH 2",
        "Sent PUBLISH 2",
        "Read PINGREQ 0",
    ];
    assert_eq!(*some.lock().unwrap(), publishes);
    let all = seen.lock().unwrap();
    assert_eq!(all[..4], ["Read CONNECT 0", "Sent CONNACK 0", "Read CONNECT 0", "Sent CONNACK 0"]);
    assert_eq!(all[4..8], ["Read SUBSCRIBE 0", "Sent SUBACK 0", "Read SUBSCRIBE 0", "Sent SUBACK 0"]);
    // A panic is contained, and the packet is handled all the same.
    assert_eq!(all[all.len() - 2..], ["Read PINGREQ 0", "Sent PINGRESP 0"]);
}

#[test]
fn what_cannot_be_decoded_is_not_seen() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut driver = driver(Sees(PacketTypes::ALL, Arc::clone(&seen)));
    let conn = connect(&mut driver, "bob", None);
    driver.received(NOW, conn, b"\x36\x03\0\x01a\xc0\0");
    assert_eq!(*seen.lock().unwrap(), ["Read CONNECT 0", "Sent CONNACK 0", "Sent DISCONNECT 0"]);
}
