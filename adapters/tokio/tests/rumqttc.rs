//! A client that others wrote, against the binary, in 3.1.1 and 5.0.

mod common;

use common::process::{Running, start_on_free_port};
use rumqttc::v5;
use rumqttc::v5::mqttbytes::v5::{
    Filter as Filter5, LastWill as Will5, Packet as Packet5, PublishProperties,
};
use rumqttc::{AsyncClient, Client, Connection, Event, LastWill, MqttOptions, Packet, QoS};
use std::time::Duration;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const PATIENCE: Duration = Duration::from_secs(10);

fn options(broker: &Running, name: &str) -> MqttOptions {
    let mut options = MqttOptions::new(name, "127.0.0.1", broker.address.port());
    options.set_max_packet_size(2 << 20, 2 << 20);
    options
}

fn connect(broker: &Running, name: &str, clean: bool) -> (Client, Connection) {
    let mut options = options(broker, name);
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

fn subscribe(client: &Client, connection: &mut Connection, filter: &str, qos: QoS) {
    client.subscribe(filter, qos).unwrap();
    until(connection, |packet| matches!(packet, Packet::SubAck(_)).then_some(()));
}

type Client5 = (v5::Client, v5::Connection);

fn connect5(broker: &Running, name: &str, set: impl FnOnce(&mut v5::MqttOptions)) -> Client5 {
    let mut options = v5::MqttOptions::new(name, "127.0.0.1", broker.address.port());
    set(&mut options);
    let (client, mut connection) = v5::Client::new(options, 100);
    until5(&mut connection, |packet| matches!(packet, Packet5::ConnAck(_)).then_some(()));
    (client, connection)
}

fn until5<T>(connection: &mut v5::Connection, mut wanted: impl FnMut(Packet5) -> Option<T>) -> T {
    loop {
        match connection.recv_timeout(PATIENCE).expect("an event in time").expect("the connection holds") {
            v5::Event::Incoming(packet) => {
                if let Some(found) = wanted(packet) {
                    return found;
                }
            }
            v5::Event::Outgoing(_) => {}
        }
    }
}

fn message5(packet: Packet5) -> Option<rumqttc::v5::mqttbytes::v5::Publish> {
    if let Packet5::Publish(publish) = packet { Some(publish) } else { None }
}

fn subscribe5((client, connection): &mut Client5, filter: &str) {
    client.subscribe(filter, v5::mqttbytes::QoS::AtLeastOnce).unwrap();
    until5(connection, |packet| matches!(packet, Packet5::SubAck(_)).then_some(()));
}

#[test]
fn every_qos_and_retained_in_3_1_1() {
    let broker = start_on_free_port(&[]);
    let (client, mut connection) = connect(&broker, "c", true);
    for (number, to) in QOS.into_iter().enumerate() {
        let topic = format!("t/{number}");
        subscribe(&client, &mut connection, &topic, to);
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
}

#[test]
fn a_session_is_resumed_with_its_queue() {
    let broker = start_on_free_port(&[]);
    let (client, mut connection) = connect(&broker, "lasting", false);
    subscribe(&client, &mut connection, "t", QoS::ExactlyOnce);
    drop((client, connection));
    let (publisher, mut publishing) = connect(&broker, "p", true);
    for number in 0..20 {
        publisher.publish("t", QoS::ExactlyOnce, false, number.to_string()).unwrap();
        until(&mut publishing, |packet| matches!(packet, Packet::PubComp(_)).then_some(()));
    }
    let (_client, mut connection) = connect(&broker, "lasting", false);
    let present = until(&mut connection, |packet| match packet {
        Packet::ConnAck(answer) => Some(answer.session_present),
        _ => None,
    });
    assert!(present);
    for number in 0..20 {
        assert_eq!(until(&mut connection, message).0, number.to_string());
    }
}

#[test]
fn a_will_when_the_connection_is_lost() {
    let broker = start_on_free_port(&[]);
    let (watcher, mut watching) = connect(&broker, "w", true);
    subscribe(&watcher, &mut watching, "gone/+", QoS::AtLeastOnce);
    for polite in [true, false] {
        let mut options = options(&broker, "mortal");
        options.set_last_will(LastWill::new(format!("gone/{polite}"), "bye", QoS::AtLeastOnce, false));
        let (client, mut connection) = Client::new(options, 10);
        until(&mut connection, |packet| matches!(packet, Packet::ConnAck(_)).then_some(()));
        if polite {
            client.disconnect().unwrap();
            while connection.recv_timeout(PATIENCE).expect("the end in time").is_ok() {}
        }
    }
    let topic = until(&mut watching, |packet| match packet {
        Packet::Publish(publish) => Some(publish.topic),
        _ => None,
    });
    assert_eq!(topic, "gone/false", "a client that says goodbye leaves no will");
}

#[test]
fn a_payload_of_one_mebibyte() {
    let broker = start_on_free_port(&[]);
    let (client, mut connection) = connect(&broker, "c", true);
    subscribe(&client, &mut connection, "t", QoS::ExactlyOnce);
    let payload: String = ('a'..='z').cycle().take(1 << 20).collect();
    client.publish("t", QoS::ExactlyOnce, false, payload.clone()).unwrap();
    assert!(until(&mut connection, message).0 == payload);
}

#[test]
fn every_qos_and_retained_in_5_0() {
    use v5::mqttbytes::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
    let broker = start_on_free_port(&[]);
    let (client, mut connection) = connect5(&broker, "c", |_| ());
    for to in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        let topic = format!("t/{to:?}");
        client.subscribe(&topic, to).unwrap();
        until5(&mut connection, |packet| matches!(packet, Packet5::SubAck(_)).then_some(()));
        for from in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
            client.publish(&topic, from, false, format!("{from:?}")).unwrap();
            let got = until5(&mut connection, message5);
            let lower = if (from as u8) < (to as u8) { from } else { to };
            assert_eq!(
                (&got.payload[..], got.qos, got.retain),
                (format!("{from:?}").as_bytes(), lower, false)
            );
        }
    }
    client.publish("kept", AtLeastOnce, true, "x").unwrap();
    until5(&mut connection, |packet| matches!(packet, Packet5::PubAck(_)).then_some(()));
    client.subscribe("kept", AtLeastOnce).unwrap();
    let got = until5(&mut connection, message5);
    assert_eq!((&got.payload[..], got.retain), (&b"x"[..], true));
}

#[test]
fn properties_travel_in_5_0() {
    let broker = start_on_free_port(&[]);
    let mut client = connect5(&broker, "c", |_| ());
    subscribe5(&mut client, "t");
    let properties = PublishProperties {
        content_type: Some("text/plain".into()),
        response_topic: Some("answers".into()),
        correlation_data: Some("7".into()),
        user_properties: vec![("b".into(), "2".into()), ("a".into(), "1".into())],
        ..Default::default()
    };
    let qos = v5::mqttbytes::QoS::AtLeastOnce;
    client.0.publish_with_properties("t", qos, false, "x", properties.clone()).unwrap();
    assert_eq!(until5(&mut client.1, message5).properties, Some(properties));
}

#[test]
fn a_session_and_a_will_in_5_0() {
    let broker = start_on_free_port(&[]);
    let lasting = |options: &mut v5::MqttOptions| {
        options.set_clean_start(false);
        let properties = v5::mqttbytes::v5::ConnectProperties {
            session_expiry_interval: Some(60),
            ..v5::mqttbytes::v5::ConnectProperties::new()
        };
        options.set_connect_properties(properties);
    };
    let mut client = connect5(&broker, "lasting", lasting);
    subscribe5(&mut client, "gone");
    drop(client);
    let qos = v5::mqttbytes::QoS::AtLeastOnce;
    let mortal = connect5(&broker, "mortal", |options| {
        options.set_last_will(Will5::new("gone", "bye", qos, false, None));
    });
    drop(mortal);
    let mut client = connect5(&broker, "lasting", lasting);
    assert_eq!(until5(&mut client.1, message5).payload, "bye");
}

#[test]
fn a_shared_subscription_in_5_0() {
    let broker = start_on_free_port(&[]);
    let mut members: Vec<Client5> = ["a", "b"].iter().map(|name| connect5(&broker, name, |_| ())).collect();
    for (client, connection) in &mut members {
        client.subscribe_many([Filter5::new("$share/g/t", v5::mqttbytes::QoS::ExactlyOnce)]).unwrap();
        until5(connection, |packet| matches!(packet, Packet5::SubAck(_)).then_some(()));
    }
    let (publisher, mut publishing) = connect5(&broker, "p", |_| ());
    for number in 0..10 {
        publisher.publish("t", v5::mqttbytes::QoS::ExactlyOnce, false, number.to_string()).unwrap();
        until5(&mut publishing, |packet| matches!(packet, Packet5::PubComp(_)).then_some(()));
    }
    let mut got: Vec<u32> = Vec::new();
    for (_, connection) in &mut members {
        for _ in 0..5 {
            let payload = until5(connection, message5).payload;
            got.push(std::str::from_utf8(&payload).unwrap().parse().unwrap());
        }
    }
    got.sort_unstable();
    assert_eq!(got, (0..10).collect::<Vec<_>>(), "each once, and half of them to each member");
}

#[test]
fn a_thousand_clients_at_once() {
    const CLIENTS: usize = 1000;
    let broker = start_on_free_port(&["--log-level", "warn"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = tokio::task::LocalSet::new();
    let all = tasks.run_until(async {
        let ready = std::rc::Rc::new(tokio::sync::Barrier::new(CLIENTS + 1));
        let mut receiving = Vec::new();
        for number in 0..CLIENTS {
            let (client, mut events) = AsyncClient::new(options(&broker, &format!("c{number}")), 10);
            client.subscribe("all", QoS::AtLeastOnce).await.unwrap();
            let ready = ready.clone();
            receiving.push(tokio::task::spawn_local(async move {
                loop {
                    match events.poll().await.expect("the connection holds") {
                        Event::Incoming(Packet::SubAck(_)) => {
                            ready.wait().await;
                        }
                        Event::Incoming(Packet::Publish(publish)) => return publish.payload,
                        _ => {}
                    }
                }
            }));
        }
        ready.wait().await;
        let (publisher, mut publishing) = AsyncClient::new(options(&broker, "p"), 10);
        publisher.publish("all", QoS::AtLeastOnce, false, "x").await.unwrap();
        while !matches!(publishing.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
        for received in receiving {
            assert_eq!(received.await.unwrap(), "x");
        }
    });
    runtime.block_on(async { tokio::time::timeout(6 * PATIENCE, all).await.expect("all of them in time") });
}
