//! An MQTT 5 client on nothing but this crate and a socket: subscribes, publishes, prints what comes.
//!
//! `cargo run -p mqtt-proto --example client -- 127.0.0.1:1883`

use mqtt_proto::{
    Connect, ConnectProperties, Disconnect, DisconnectProperties, Limits, Packet, PacketId, Publish,
    PublishProperties, QoS, ReasonCode, SliceSink, Subscribe, SubscribeFilters, SubscribeOptions, TopicName,
    UserProperties, Version,
};
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;

fn send(stream: &mut TcpStream, packet: &Packet<'_>) -> Result<(), Box<dyn Error>> {
    let mut buffer = [0; 1024];
    let mut sink = SliceSink::new(&mut buffer);
    packet.encode(Version::V5, &mut sink)?;
    Ok(stream.write_all(sink.written())?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1883".into());
    let mut stream = TcpStream::connect(address)?;
    let connect = Connect {
        version: Version::V5,
        client_id: "",
        clean_start: true,
        keep_alive: 60,
        username: None,
        password: None,
        will: None,
        properties: ConnectProperties::default(),
    };
    send(&mut stream, &Packet::Connect(connect))?;
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err("the broker closed the connection".into());
        }
        received.extend_from_slice(&chunk[..count]);
        while let Some((packet, len)) = Packet::parse(&received, Version::V5, &Limits::default())? {
            match packet {
                Packet::ConnAck(answer) if answer.reason == ReasonCode::Success => {
                    let filters = [("hello/#", SubscribeOptions::default())];
                    let subscribe = Subscribe {
                        packet_id: PacketId::FIRST,
                        subscription_id: None,
                        user_properties: UserProperties::default(),
                        filters: SubscribeFilters::List(&filters),
                    };
                    send(&mut stream, &Packet::Subscribe(subscribe))?;
                }
                Packet::SubAck(_) => {
                    let publish = Publish {
                        dup: false,
                        qos: QoS::AtMostOnce,
                        retain: false,
                        topic: Some(TopicName::parse("hello/world")?),
                        packet_id: None,
                        properties: PublishProperties::default(),
                        payload: b"tick",
                    };
                    send(&mut stream, &Packet::Publish(publish))?;
                }
                Packet::Publish(message) => {
                    println!("{:?}: {}", message.topic, String::from_utf8_lossy(message.payload));
                    let properties = DisconnectProperties::default();
                    let goodbye = Disconnect { reason: ReasonCode::Success, properties };
                    return send(&mut stream, &Packet::Disconnect(goodbye));
                }
                other => return Err(format!("unexpected: {other:?}").into()),
            }
            received.drain(..len);
        }
    }
}
