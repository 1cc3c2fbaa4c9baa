//! The program that a broker is embedded in as a client, and what it can do to others.

mod common;

use common::Client;
use metronome_tokio::host::InjectError;
use metronome_tokio::host::engine::mqtt_proto::{
    Packet, Publish, PublishProperties, QoS, ReasonCode, SubscribeOptions, TopicName,
};
use metronome_tokio::host::engine::{ApplicationMessage, Command, Config};
use metronome_tokio::{AllowAll, Broker, BrokerConfig, BrokerHandle, InlineError};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

fn start() -> (BrokerHandle, SocketAddr) {
    let broker = Broker::builder().listen("127.0.0.1:0").hook(AllowAll).start().unwrap();
    let address = broker.local_addrs()[0];
    (broker, address)
}

/// A handler of messages, and what it was given.
fn handler() -> (impl FnMut(&Publish<'_>) + Send + 'static, Receiver<String>) {
    let (tell, told) = channel();
    let handle = move |message: &Publish<'_>| {
        let text = String::from_utf8_lossy(message.payload);
        tell.send(format!("{} {text}", message.topic.unwrap().as_str())).unwrap();
    };
    (handle, told)
}

fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Packet<'a> {
    Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: TopicName::parse(topic).ok(),
        packet_id: None,
        properties: PublishProperties::default(),
        payload,
    })
}

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn it_subscribes_with_a_handler_and_publishes() {
    let (broker, address) = start();
    let mut outside = Client::connect(address, 5, "outside");
    outside.subscribe("from/inside", 1);
    let (handle, told) = handler();
    let mut inside = broker.inline_client("inside", handle).unwrap();
    let options = SubscribeOptions { qos: QoS::ExactlyOnce, ..SubscribeOptions::default() };
    assert_eq!(inside.subscribe("from/outside/#", options), Ok(ReasonCode::GrantedQoS2));

    for qos in [0, 1] {
        outside.publish("from/outside/1", qos, b"x");
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "from/outside/1 x");
    }
    assert_eq!(outside.packet()[0], 0x40);
    inside.send(&message("from/inside", b"y")).unwrap();
    assert_eq!(outside.message(), b"y");

    assert_eq!(inside.unsubscribe("from/outside/#"), Ok(ReasonCode::Success));
    outside.publish("from/outside/1", 1, b"z");
    assert_eq!(outside.packet()[0], 0x40);
    assert!(told.try_recv().is_err());
    drop(inside);
    assert_eq!(broker.stats().unwrap().sessions, 1);
}

#[test]
fn what_the_broker_refuses_is_an_error() {
    let config = Config { max_connections: 1, wildcard_subscriptions: false, ..Config::default() };
    let config = BrokerConfig { limits: config, ..BrokerConfig::default() };
    let broker = Broker::builder().config(config).listen("127.0.0.1:0").hook(AllowAll).start().unwrap();
    let mut first = broker.inline_client("", |_| ()).unwrap();
    assert!(first.client_id().starts_with("metronome-"));
    let refused = |reason| Some(InlineError::Refused(reason));
    assert_eq!(broker.inline_client("", |_| ()).err(), refused(ReasonCode::QuotaExceeded));
    assert_eq!(
        first.subscribe("", SubscribeOptions::default()).err(),
        refused(ReasonCode::TopicFilterInvalid)
    );
    let wildcards = ReasonCode::WildcardSubscriptionsNotSupported;
    assert_eq!(first.subscribe("#", SubscribeOptions::default()).err(), refused(wildcards));
    assert!(first.send(&Packet::PingReq).is_err(), "that has disconnected it");
    broker.shutdown(Duration::from_secs(1));
    assert_eq!(broker.inline_client("", |_| ()).err(), Some(InlineError::Stopped));
}

#[test]
fn sessions_are_looked_at_and_ended() {
    let (broker, address) = start();
    let mut client = Client::connect(address, 5, "c");
    client.subscribe("a/#", 1);
    let filters = broker.look(|view| {
        view.session("c").map(|session| session.filters().map(ToOwned::to_owned).collect::<Vec<_>>())
    });
    assert_eq!(filters, Some(Some(vec!["a/#".to_owned()])));
    assert_eq!(broker.look(|_| -> u32 { panic!("this is the test's panic") }), None);

    let (client_id, filter) = ("c".to_owned(), "a/#".to_owned());
    broker.command(Command::Unsubscribe { client_id, filter });
    assert_eq!(broker.look(|view| view.subscriptions()), Some(0));

    broker.disconnect("nobody", ReasonCode::AdministrativeAction, true);
    broker.disconnect("c", ReasonCode::AdministrativeAction, true);
    let disconnect = client.packet();
    assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x98));
    assert_eq!(broker.look(|view| view.sessions()), Some(0));
}

#[test]
fn retained_messages_are_read_and_cleared() {
    let limits = Config { work_per_call: 3, ..Config::default() };
    let config = BrokerConfig { limits, ..BrokerConfig::default() };
    let broker = Broker::builder().config(config).listen("127.0.0.1:0").hook(AllowAll).start().unwrap();
    let publish = |topic: &str, payload: &'static [u8]| {
        let (topic, payload) = (topic.to_owned(), payload.into());
        let message = ApplicationMessage { topic, payload, retain: true, ..ApplicationMessage::default() };
        broker.publish(message).unwrap();
    };
    let topics = |filter, most| {
        let messages = broker.retained(filter, most).unwrap();
        messages.into_iter().map(|message| message.topic).collect::<Vec<_>>()
    };
    let all: Vec<String> = (10..30).map(|number| format!("t/{number}")).collect();
    for topic in &all {
        publish(topic, b"x");
    }
    assert_eq!(topics("t/+", 100), all);
    assert_eq!(topics("t/+", 7), all[..7]);
    assert_eq!(broker.retained("t/29", 1).unwrap()[0].payload, "x");

    for topic in &all[1..] {
        publish(topic, b"");
    }
    assert_eq!(topics("#", 100), ["t/10"]);
    let invalid = InlineError::Refused(ReasonCode::TopicFilterInvalid);
    assert_eq!(broker.retained("t/#/x", 1), Err(invalid));
    broker.shutdown(Duration::from_secs(1));
    assert_eq!(broker.retained("#", 1), Err(InlineError::Stopped));
}

#[test]
fn below_sys_the_program_publishes_and_no_client_not_even_its_own() {
    let (broker, address) = start();
    let mut outside = Client::connect(address, 5, "outside");
    outside.subscribe("$SYS/x", 0);
    outside.publish("$SYS/x", 1, b"from outside");
    let puback = outside.packet();
    assert_eq!((puback[0], puback[4]), (0x40, 0x87), "{puback:02x?}");
    let inside = broker.inline_client("inside", |_| ()).unwrap();
    inside.send(&message("$SYS/x", b"from a client inside")).unwrap();
    let (topic, payload) = ("$SYS/x".to_owned(), "from the program".into());
    broker.publish(ApplicationMessage { topic, payload, ..ApplicationMessage::default() }).unwrap();
    assert_eq!(outside.message(), b"from the program");
}

#[test]
fn a_packet_is_injected_as_a_client_sends_it() {
    let (broker, address) = start();
    for version in [4, 5] {
        let mut client = Client::connect(address, version, "c");
        client.subscribe("t", 0);
        broker.inject("c", &message("t", b"x")).unwrap();
        assert_eq!(client.message(), b"x");
        broker.inject("c", &Packet::PingReq).unwrap();
        assert_eq!(client.packet(), [0xd0, 0], "the answer goes to the client");
    }
    let error = broker.inject("nobody", &Packet::PingReq).unwrap_err();
    assert_eq!(error, InlineError::Inject(InjectError::NotConnected));
}
