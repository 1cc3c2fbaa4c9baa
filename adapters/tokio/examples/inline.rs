//! The program itself as a client of the broker inside it: `cargo run -p metronome-tokio --example inline`.

use metronome_tokio::host::engine::ApplicationMessage;
use metronome_tokio::host::engine::mqtt_proto::{
    Packet, Publish, PublishProperties, QoS, ReasonCode, SubscribeOptions, TopicName,
};
use metronome_tokio::{AllowAll, Broker};
use std::sync::mpsc::channel;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Broker::builder().listen("127.0.0.1:0").hook(AllowAll).start()?;

    // Two clients inside, each with its handler of messages.
    let (tell, told) = channel();
    let mut reader = broker.inline_client("reader", move |message| {
        // Whoever reads it may have ended.
        let _ended = tell.send(String::from_utf8_lossy(message.payload).into_owned());
    })?;
    reader.subscribe(
        "greetings/#",
        SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() },
    )?;
    let writer = broker.inline_client("", |_| ())?;
    let greeting = Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: Some(TopicName::parse("greetings/world")?),
        packet_id: None,
        properties: PublishProperties::default(),
        payload: b"hello",
    });
    writer.send(&greeting)?;
    println!("read: {}", told.recv()?);

    // A packet as if somebody else had sent it.
    broker.inject("reader", &greeting)?;
    println!("injected: {}", told.recv()?);

    // What is retained, without a subscription, and cleared by an empty message.
    let last = ApplicationMessage {
        topic: "greetings/last".to_owned(),
        payload: "hello".into(),
        retain: true,
        ..ApplicationMessage::default()
    };
    broker.publish(last)?;
    for message in broker.retained("greetings/#", 100)? {
        println!("retained: {} {}", message.topic, String::from_utf8_lossy(&message.payload));
        broker.publish(ApplicationMessage { payload: "".into(), ..message })?;
    }

    let clients = broker
        .look(|view| view.each_session().map(|session| session.client_id().to_owned()).collect::<Vec<_>>());
    println!("clients: {}", clients.ok_or("the broker stopped")?.len());
    broker.disconnect("reader", ReasonCode::AdministrativeAction, true);
    broker.shutdown(Duration::from_secs(1));
    Ok(())
}
