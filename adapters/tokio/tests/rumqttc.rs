//! A client that others wrote, in both protocol versions: every QoS, retained messages, a resumed session.

use metronome_tokio::{AllowAll, Broker, BrokerHandle};
use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::v5::mqttbytes::v5::Packet as Packet5;
use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS};
use std::time::Duration;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const PATIENCE: Duration = Duration::from_secs(10);

fn broker() -> (BrokerHandle, u16) {
    let broker = Broker::builder().listen("127.0.0.1:0").authenticator(AllowAll).start().unwrap();
    let port = broker.local_addrs()[0].port();
    (broker, port)
}

fn connect(port: u16, name: &str, clean: bool) -> (Client, Connection) {
    let mut options = MqttOptions::new(name, "127.0.0.1", port);
    options.set_clean_session(clean);
    Client::new(options, 100)
}

/// Drives a connection until a packet fits.
fn until<T>(connection: &mut Connection, mut wanted: impl FnMut(Packet) -> Option<T>) -> T {
    loop {
        match connection.recv_timeout(PATIENCE).expect("an event in time").expect("the connection holds") {
            Event::Incoming(packet) => {
                if let Some(found) = wanted(packet) {
                    return found;
                }
            }
            Event::Outgoing(_) => {}
        }
    }
}

fn message(packet: Packet) -> Option<(String, QoS, bool)> {
    match packet {
        Packet::Publish(publish) => {
            Some((String::from_utf8_lossy(&publish.payload).into_owned(), publish.qos, publish.retain))
        }
        _ => None,
    }
}

#[test]
fn every_qos_and_retained_in_3_1_1() {
    let (broker, port) = broker();
    let (client, mut connection) = connect(port, "c", true);
    for (number, to) in QOS.into_iter().enumerate() {
        let topic = format!("t/{number}");
        client.subscribe(&topic, to).unwrap();
        until(&mut connection, |packet| matches!(packet, Packet::SubAck(_)).then_some(()));
        for from in QOS {
            client.publish(&topic, from, false, format!("{from:?}")).unwrap();
            let lower = if (from as u8) < (to as u8) { from } else { to };
            assert_eq!(until(&mut connection, message), (format!("{from:?}"), lower, false));
        }
    }
    client.publish("kept", QoS::AtLeastOnce, true, "x").unwrap();
    until(&mut connection, |packet| matches!(packet, Packet::PubAck(_)).then_some(()));
    client.subscribe("kept", QoS::AtLeastOnce).unwrap();
    assert_eq!(until(&mut connection, message), ("x".into(), QoS::AtLeastOnce, true));
    broker.shutdown(Duration::from_secs(1));
}

#[test]
fn a_session_is_resumed_with_its_queue() {
    let (broker, port) = broker();
    let (client, mut connection) = connect(port, "lasting", false);
    client.subscribe("t", QoS::ExactlyOnce).unwrap();
    until(&mut connection, |packet| matches!(packet, Packet::SubAck(_)).then_some(()));
    drop((client, connection));
    let (publisher, mut publishing) = connect(port, "p", true);
    for number in 0..20 {
        publisher.publish("t", QoS::ExactlyOnce, false, number.to_string()).unwrap();
        until(&mut publishing, |packet| matches!(packet, Packet::PubComp(_)).then_some(()));
    }
    let (_client, mut connection) = connect(port, "lasting", false);
    let present = until(&mut connection, |packet| match packet {
        Packet::ConnAck(answer) => Some(answer.session_present),
        _ => None,
    });
    assert!(present);
    for number in 0..20 {
        assert_eq!(until(&mut connection, message).0, number.to_string());
    }
    broker.shutdown(Duration::from_secs(1));
}

#[test]
fn properties_travel_in_5_0() {
    let (broker, port) = broker();
    let options = rumqttc::v5::MqttOptions::new("c", "127.0.0.1", port);
    let (client, mut connection) = rumqttc::v5::Client::new(options, 10);
    client.subscribe("t", QoS5::AtLeastOnce).unwrap();
    let properties = rumqttc::v5::mqttbytes::v5::PublishProperties {
        content_type: Some("text/plain".into()),
        user_properties: vec![("b".into(), "2".into()), ("a".into(), "1".into())],
        ..Default::default()
    };
    client.publish_with_properties("t", QoS5::AtLeastOnce, false, "x", properties.clone()).unwrap();
    loop {
        let event =
            connection.recv_timeout(PATIENCE).expect("an event in time").expect("the connection holds");
        if let rumqttc::v5::Event::Incoming(Packet5::Publish(publish)) = event {
            assert_eq!(publish.properties, Some(properties));
            break;
        }
    }
    broker.shutdown(Duration::from_secs(1));
}
