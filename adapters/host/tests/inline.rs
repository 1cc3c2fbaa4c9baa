//! Clients inside the program, and packets put behind what others have sent.

use broker_engine::mqtt_proto::{Packet, Publish, QoS, Version};
use broker_engine::{
    ApplicationMessage, Command, Config, ConnId, Engine, HashKey, Interest, ListenerId, Seed, Time,
};
use metronome_host::{Driver, HookChain, InjectError};
use std::sync::{Arc, Mutex};

const NOW: Time = Time::from_secs(1);

const CONNECT: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01i";

/// Nobody but inline clients is let in.
fn driver(max_keep_alive: u16) -> Driver {
    let config = Config { interest: Interest::SUBSCRIBE, max_keep_alive, ..Config::default() };
    Driver::new(Engine::new(config, Seed(1), HashKey([1, 2])), HookChain::default())
}

/// What an inline client got: packets as text.
type Got = Arc<Mutex<Vec<String>>>;

fn open(driver: &mut Driver) -> (ConnId, Got) {
    let got = Got::default();
    let tell = Arc::clone(&got);
    let conn = driver.open_inline(
        NOW,
        ListenerId(9),
        Box::new(move |packet| {
            let said = match packet {
                Packet::Publish(Publish { topic, payload, qos, .. }) => {
                    assert_ne!(*payload, b"panic", "this is the test's panic");
                    format!("{} {} {qos:?}", topic.unwrap().as_str(), payload.escape_ascii())
                }
                other => format!("{:?}", other.packet_type()),
            };
            tell.lock().unwrap().push(said);
        }),
    );
    driver.send_inline(NOW, conn, CONNECT).unwrap();
    assert_eq!(took(&got), ["ConnAck"]);
    (conn, got)
}

fn took(got: &Got) -> Vec<String> {
    std::mem::take(&mut *got.lock().unwrap())
}

fn publish(driver: &mut Driver, payload: &'static [u8], qos: QoS) {
    driver.command(
        NOW,
        Command::Publish(ApplicationMessage {
            topic: "t/1".into(),
            payload: payload.into(),
            qos,
            retain: false,
            ..ApplicationMessage::default()
        }),
    );
}

#[test]
fn what_it_gets_is_handled_and_acknowledged_in_the_same_call() {
    let mut driver = driver(0);
    let (conn, got) = open(&mut driver);
    driver.send_inline(NOW, conn, b"\x82\x09\0\x01\0\0\x03t/#\x02").unwrap();
    assert_eq!(took(&got), ["SubAck"]);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        publish(&mut driver, b"x", qos);
        let mut wanted = vec![format!("t/1 x {qos:?}")];
        wanted.extend((qos == QoS::ExactlyOnce).then(|| "PubRel".to_owned()));
        assert_eq!(took(&got), wanted);
        assert_eq!((driver.view().inflight(), driver.next_dirty()), (0, None), "{qos:?}");
    }
    // One that panics gets the next message nevertheless.
    publish(&mut driver, b"panic", QoS::AtLeastOnce);
    publish(&mut driver, b"y", QoS::AtLeastOnce);
    assert_eq!(took(&got), ["t/1 y AtLeastOnce"]);
    assert_eq!(driver.view().verify(), Ok(()));

    driver.command(NOW, Command::Shutdown);
    assert_eq!(took(&got), ["Disconnect"]);
    assert_eq!(driver.send_inline(NOW, conn, &[0xc0, 0]), Err(InjectError::NotConnected));
    assert_eq!((driver.strangers(), driver.view().connections()), (0, 0));
    // Who comes too late is closed, and knows.
    let late = driver.open_inline(NOW, ListenerId(9), Box::new(|_| ()));
    assert_eq!(driver.send_inline(NOW, late, CONNECT), Err(InjectError::NotConnected));
}

#[test]
fn it_is_not_silent_where_the_broker_wants_to_hear_from_everybody() {
    let mut driver = driver(10);
    let (conn, got) = open(&mut driver);
    for _ in 0..20 {
        let at = driver.next_deadline().unwrap().at;
        driver.tick(at);
    }
    assert!(driver.next_deadline().unwrap().at > Time::from_secs(60));
    assert!(driver.view().connections() == 1 && took(&got).iter().all(|packet| packet == "PingResp"));
    driver.send_inline(NOW, conn, &[0xe0, 0]).unwrap();
    assert_eq!(driver.view().connections(), 0);
}

#[test]
fn a_packet_is_put_behind_what_a_client_has_sent() {
    let mut driver = driver(0);
    let (conn, got) = open(&mut driver);
    driver.send_inline(NOW, conn, b"\x82\x09\0\x01\0\0\x03t/#\x02").unwrap();
    took(&got);
    let inject = |driver: &mut Driver, client_id, version| {
        driver.inject(NOW, client_id, version, b"\x30\x0e\0\x03t/2\0injected")
    };
    assert_eq!(inject(&mut driver, "nobody", Version::V5), Err(InjectError::NotConnected));
    assert_eq!(inject(&mut driver, "i", Version::V311), Err(InjectError::NotConnected));
    assert_eq!(inject(&mut driver, "i", Version::V5), Ok(()));
    assert_eq!(took(&got), ["t/2 injected AtMostOnce"]);
    // Half of a packet is there already.
    driver.send_inline(NOW, conn, &[0xc0]).unwrap();
    assert_eq!(inject(&mut driver, "i", Version::V5), Err(InjectError::Busy));
    driver.send_inline(NOW, conn, &[0]).unwrap();
    assert_eq!(inject(&mut driver, "i", Version::V5), Ok(()));
    assert_eq!(took(&got), ["PingResp", "t/2 injected AtMostOnce"]);
}
