//! Packets and their bytes, as the standard has them: every type in every version, in both directions.

use mqtt_proto::Version::{V5, V31, V311};
use mqtt_proto::{
    Ack, AckProperties, Auth, AuthProperties, ConnAck, ConnAckProperties, Connect, ConnectProperties,
    Disconnect, DisconnectProperties, Packet, PacketId, PayloadFormat, Publish, PublishProperties, QoS,
    ReasonCode, ReasonCodes, RetainHandling, SubAck, Subscribe, SubscribeFilters, SubscribeOptions,
    SubscriptionIds, TopicName, UnsubAck, Unsubscribe, UnsubscribeFilters, UserProperties, Version, Will,
    WillProperties,
};

pub(crate) const ALL: &[Version] = &[V31, V311, V5];
const V3: &[Version] = &[V31, V311];
const ID: PacketId = PacketId::new(7).unwrap();
const USER: UserProperties<'static> = UserProperties::Pairs(&[("k", "v")]);

type Golden = (&'static [Version], &'static [u8], Packet<'static>);

fn name(text: &'static str) -> TopicName<'static> {
    TopicName::parse(text).unwrap()
}

fn connect(version: Version, client_id: &'static str) -> Connect<'static> {
    Connect {
        version,
        client_id,
        clean_start: true,
        keep_alive: 60,
        username: None,
        password: None,
        will: None,
        properties: ConnectProperties::default(),
    }
}

fn full_connect(version: Version, qos: QoS, retain: bool) -> Connect<'static> {
    Connect {
        clean_start: false,
        username: Some("u"),
        password: Some(b"p"),
        will: Some(Will {
            topic: name("w"),
            payload: b"hi",
            qos,
            retain,
            properties: WillProperties::default(),
        }),
        ..connect(version, "c")
    }
}

fn connack(session_present: bool, reason: ReasonCode) -> ConnAck<'static> {
    ConnAck { session_present, reason, properties: ConnAckProperties::default() }
}

fn publish(qos: QoS, topic: Option<&'static str>, payload: &'static [u8]) -> Publish<'static> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: topic.map(name),
        packet_id: (qos > QoS::AtMostOnce).then_some(ID),
        properties: PublishProperties::default(),
        payload,
    }
}

fn ack(reason: ReasonCode) -> Ack<'static> {
    Ack { packet_id: ID, reason, properties: AckProperties::default() }
}

const ACK_PROPERTIES: AckProperties<'static> =
    AckProperties { reason_string: Some("r"), user_properties: USER };

fn full_ack(reason: ReasonCode) -> Ack<'static> {
    Ack { properties: ACK_PROPERTIES, ..ack(reason) }
}

const TWO_FILTERS: &[(&str, SubscribeOptions)] = &[
    (
        "a",
        SubscribeOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        },
    ),
    ("b", SubscribeOptions { retain_handling: RetainHandling::SendIfNew, ..only(QoS::AtLeastOnce) }),
];

const fn only(qos: QoS) -> SubscribeOptions {
    SubscribeOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAlways,
    }
}

/// The packets before the first message and after the last.
#[allow(clippy::too_many_lines)] // A list of packets.
fn session_packets() -> Vec<Golden> {
    vec![
        (
            &[V31],
            b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01c", //
            Packet::Connect(connect(V31, "c")),
        ),
        (
            &[V31],
            b"\x10\x1c\0\x06MQIsdp\x03\xcc\0\x3c\0\x01c\0\x01w\0\x02hi\0\x01u\0\x01p",
            Packet::Connect(full_connect(V31, QoS::AtLeastOnce, false)),
        ),
        (&[V311], b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c", Packet::Connect(connect(V311, "c"))),
        (
            &[V311],
            b"\x10\x1a\0\x04MQTT\x04\xec\0\x3c\0\x01c\0\x01w\0\x02hi\0\x01u\0\x01p",
            Packet::Connect(full_connect(V311, QoS::AtLeastOnce, true)),
        ),
        (&[V5], b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0", Packet::Connect(connect(V5, ""))),
        (
            &[V5],
            b"\x10\x10\0\x04MQTT\x05\x42\0\x3c\0\0\0\0\x01p",
            Packet::Connect(Connect { password: Some(b"p"), ..connect(V5, "") }),
        ),
        (
            &[V5],
            b"\x10\x5e\0\x04MQTT\x05\xf4\0\x3c\x23\
              \x11\0\0\0\x0a\x21\0\x05\x27\0\0\x01\0\x22\0\x03\x19\x01\x17\0\x15\0\x01m\x16\0\x01d\x26\0\x01k\0\x01v\
              \0\x01c\x1f\
              \x18\0\0\0\x01\x01\x01\x02\0\0\0\x02\x03\0\x01t\x08\0\x01r\x09\0\x01z\x26\0\x01k\0\x01v\
              \0\x01w\0\x02hi\0\x01u\0\x01p",
            Packet::Connect(Connect {
                properties: ConnectProperties {
                    session_expiry_interval: Some(10),
                    receive_maximum: Some(5),
                    maximum_packet_size: Some(256),
                    topic_alias_maximum: Some(3),
                    request_response_information: Some(true),
                    request_problem_information: Some(false),
                    authentication_method: Some("m"),
                    authentication_data: Some(b"d"),
                    user_properties: USER,
                },
                will: Some(Will {
                    topic: name("w"),
                    payload: b"hi",
                    qos: QoS::ExactlyOnce,
                    retain: true,
                    properties: WillProperties {
                        will_delay_interval: Some(1),
                        payload_format: Some(PayloadFormat::Utf8),
                        message_expiry_interval: Some(2),
                        content_type: Some("t"),
                        response_topic: Some(name("r")),
                        correlation_data: Some(b"z"),
                        user_properties: USER,
                        encoded: &[],
                    },
                }),
                ..full_connect(V5, QoS::ExactlyOnce, true)
            }),
        ),
        (V3, b"\x20\x02\x01\0", Packet::ConnAck(connack(true, ReasonCode::Success))),
        (V3, b"\x20\x02\0\x01", Packet::ConnAck(connack(false, ReasonCode::UnsupportedProtocolVersion))),
        (V3, b"\x20\x02\0\x02", Packet::ConnAck(connack(false, ReasonCode::ClientIdNotValid))),
        (V3, b"\x20\x02\0\x03", Packet::ConnAck(connack(false, ReasonCode::ServerUnavailable))),
        (V3, b"\x20\x02\0\x04", Packet::ConnAck(connack(false, ReasonCode::BadUserNameOrPassword))),
        (V3, b"\x20\x02\0\x05", Packet::ConnAck(connack(false, ReasonCode::NotAuthorized))),
        (&[V5], b"\x20\x03\x01\0\0", Packet::ConnAck(connack(true, ReasonCode::Success))),
        (&[V5], b"\x20\x03\0\x86\0", Packet::ConnAck(connack(false, ReasonCode::BadUserNameOrPassword))),
        (
            &[V5],
            b"\x20\x3f\0\0\x3c\
              \x11\0\0\0\x0a\x21\0\x05\x24\x01\x25\0\x27\0\0\x01\0\x12\0\x01a\x22\0\x03\x1f\0\x01r\x26\0\x01k\0\x01v\
              \x28\0\x29\x01\x2a\0\x13\0\x3c\x1a\0\x01i\x1c\0\x01s\x15\0\x01m\x16\0\x01d",
            Packet::ConnAck(ConnAck {
                properties: ConnAckProperties {
                    session_expiry_interval: Some(10),
                    receive_maximum: Some(5),
                    maximum_qos: Some(QoS::AtLeastOnce),
                    retain_available: Some(false),
                    maximum_packet_size: Some(256),
                    assigned_client_id: Some("a"),
                    topic_alias_maximum: Some(3),
                    reason_string: Some("r"),
                    user_properties: USER,
                    wildcard_subscription_available: Some(false),
                    subscription_ids_available: Some(true),
                    shared_subscription_available: Some(false),
                    server_keep_alive: Some(60),
                    response_information: Some("i"),
                    server_reference: Some("s"),
                    authentication_method: Some("m"),
                    authentication_data: Some(b"d"),
                },
                ..connack(false, ReasonCode::Success)
            }),
        ),
        (ALL, b"\xc0\0", Packet::PingReq),
        (ALL, b"\xd0\0", Packet::PingResp),
        (
            ALL,
            b"\xe0\0",
            Packet::Disconnect(Disconnect {
                reason: ReasonCode::Success,
                properties: DisconnectProperties::default(),
            }),
        ),
        (
            &[V5],
            b"\xe0\x01\x04",
            Packet::Disconnect(Disconnect {
                reason: ReasonCode::DisconnectWithWill,
                properties: DisconnectProperties::default(),
            }),
        ),
        (
            &[V5],
            b"\xe0\x16\x8e\x14\x11\0\0\0\x0a\x1f\0\x01r\x26\0\x01k\0\x01v\x1c\0\x01s",
            Packet::Disconnect(Disconnect {
                reason: ReasonCode::SessionTakenOver,
                properties: DisconnectProperties {
                    session_expiry_interval: Some(10),
                    reason_string: Some("r"),
                    user_properties: USER,
                    server_reference: Some("s"),
                },
            }),
        ),
        (
            &[V5],
            b"\xf0\0",
            Packet::Auth(Auth { reason: ReasonCode::Success, properties: AuthProperties::default() }),
        ),
        (
            &[V5],
            b"\xf0\x15\x18\x13\x15\0\x01m\x16\0\x01d\x1f\0\x01r\x26\0\x01k\0\x01v",
            Packet::Auth(Auth {
                reason: ReasonCode::ContinueAuthentication,
                properties: AuthProperties {
                    authentication_method: Some("m"),
                    authentication_data: Some(b"d"),
                    reason_string: Some("r"),
                    user_properties: USER,
                },
            }),
        ),
    ]
}

/// Messages and their acknowledgements.
fn message_packets() -> Vec<Golden> {
    vec![
        (
            V3,
            b"\x31\x05\0\x01thi",
            Packet::Publish(Publish { retain: true, ..publish(QoS::AtMostOnce, Some("t"), b"hi") }),
        ),
        (V3, b"\x32\x05\0\x01t\0\x07", Packet::Publish(publish(QoS::AtLeastOnce, Some("t"), b""))),
        (
            V3,
            b"\x3c\x08\0\x02\xc3\xa9\0\x07hi",
            Packet::Publish(Publish { dup: true, ..publish(QoS::ExactlyOnce, Some("é"), b"hi") }),
        ),
        (&[V5], b"\x30\x04\0\x01t\0", Packet::Publish(publish(QoS::AtMostOnce, Some("t"), b""))),
        (
            &[V5],
            b"\x34\x0a\0\0\0\x07\x03\x23\0\x01hi",
            Packet::Publish(Publish {
                properties: PublishProperties { topic_alias: Some(1), ..PublishProperties::default() },
                ..publish(QoS::ExactlyOnce, None, b"hi")
            }),
        ),
        (
            &[V5],
            b"\x3b\x33\0\x01t\0\x07\x2b\
              \x01\0\x02\0\0\0\x05\x23\0\x01\x08\0\x01r\x09\0\x01z\x03\0\x01t\
              \x0b\x05\x0b\xff\xff\xff\x7f\x26\0\x01k\0\x01v\x26\0\x01k\0\x01whi",
            Packet::Publish(Publish {
                dup: true,
                retain: true,
                properties: PublishProperties {
                    payload_format: Some(PayloadFormat::Bytes),
                    message_expiry_interval: Some(5),
                    topic_alias: Some(1),
                    response_topic: Some(name("r")),
                    correlation_data: Some(b"z"),
                    content_type: Some("t"),
                    user_properties: UserProperties::Pairs(&[("k", "v"), ("k", "w")]),
                    subscription_ids: SubscriptionIds::List(&[5, 268_435_455]),
                    encoded: &[],
                },
                ..publish(QoS::AtLeastOnce, Some("t"), b"hi")
            }),
        ),
        (ALL, b"\x40\x02\0\x07", Packet::PubAck(ack(ReasonCode::Success))),
        (ALL, b"\x50\x02\0\x07", Packet::PubRec(ack(ReasonCode::Success))),
        (ALL, b"\x62\x02\0\x07", Packet::PubRel(ack(ReasonCode::Success))),
        (ALL, b"\x70\x02\0\x07", Packet::PubComp(ack(ReasonCode::Success))),
        (&[V5], b"\x40\x03\0\x07\x10", Packet::PubAck(ack(ReasonCode::NoMatchingSubscribers))),
        (&[V5], b"\x50\x03\0\x07\x91", Packet::PubRec(ack(ReasonCode::PacketIdInUse))),
        (&[V5], b"\x62\x03\0\x07\x92", Packet::PubRel(ack(ReasonCode::PacketIdNotFound))),
        (&[V5], b"\x70\x03\0\x07\x92", Packet::PubComp(ack(ReasonCode::PacketIdNotFound))),
        (
            &[V5],
            b"\x40\x0f\0\x07\0\x0b\x1f\0\x01r\x26\0\x01k\0\x01v",
            Packet::PubAck(full_ack(ReasonCode::Success)),
        ),
        (
            &[V5],
            b"\x50\x0f\0\x07\x87\x0b\x1f\0\x01r\x26\0\x01k\0\x01v",
            Packet::PubRec(full_ack(ReasonCode::NotAuthorized)),
        ),
        (
            &[V5],
            b"\x62\x0f\0\x07\x92\x0b\x1f\0\x01r\x26\0\x01k\0\x01v",
            Packet::PubRel(full_ack(ReasonCode::PacketIdNotFound)),
        ),
        (
            &[V5],
            b"\x70\x0f\0\x07\0\x0b\x1f\0\x01r\x26\0\x01k\0\x01v",
            Packet::PubComp(full_ack(ReasonCode::Success)),
        ),
    ]
}

/// Subscriptions and their acknowledgements.
fn subscription_packets() -> Vec<Golden> {
    vec![
        (
            V3,
            b"\x82\x0a\0\x07\0\x01a\x01\0\x01#\x02",
            Packet::Subscribe(Subscribe {
                packet_id: ID,
                subscription_id: None,
                user_properties: UserProperties::default(),
                filters: SubscribeFilters::List(
                    const { &[("a", only(QoS::AtLeastOnce)), ("#", only(QoS::ExactlyOnce))] },
                ),
            }),
        ),
        (
            &[V5],
            b"\x82\x14\0\x07\x09\x0b\x05\x26\0\x01k\0\x01v\0\x01a\x2e\0\x01b\x11",
            Packet::Subscribe(Subscribe {
                packet_id: ID,
                subscription_id: Some(5),
                user_properties: USER,
                filters: SubscribeFilters::List(TWO_FILTERS),
            }),
        ),
        (
            V3,
            b"\x90\x06\0\x07\0\x01\x02\x80",
            Packet::SubAck(SubAck {
                packet_id: ID,
                properties: AckProperties::default(),
                reasons: ReasonCodes::List(&[
                    ReasonCode::Success,
                    ReasonCode::GrantedQoS1,
                    ReasonCode::GrantedQoS2,
                    ReasonCode::UnspecifiedError,
                ]),
            }),
        ),
        (
            &[V5],
            b"\x90\x10\0\x07\x0b\x1f\0\x01r\x26\0\x01k\0\x01v\x01\x87",
            Packet::SubAck(SubAck {
                packet_id: ID,
                properties: ACK_PROPERTIES,
                reasons: ReasonCodes::List(&[ReasonCode::GrantedQoS1, ReasonCode::NotAuthorized]),
            }),
        ),
        (
            V3,
            b"\xa2\x08\0\x07\0\x01a\0\x01b",
            Packet::Unsubscribe(Unsubscribe {
                packet_id: ID,
                user_properties: UserProperties::default(),
                filters: UnsubscribeFilters::List(&["a", "b"]),
            }),
        ),
        (
            &[V5],
            b"\xa2\x0d\0\x07\x07\x26\0\x01k\0\x01v\0\x01a",
            Packet::Unsubscribe(Unsubscribe {
                packet_id: ID,
                user_properties: USER,
                filters: UnsubscribeFilters::List(&["a"]),
            }),
        ),
        (
            V3,
            b"\xb0\x02\0\x07",
            Packet::UnsubAck(UnsubAck {
                packet_id: ID,
                properties: AckProperties::default(),
                reasons: ReasonCodes::List(&[]),
            }),
        ),
        (
            &[V5],
            b"\xb0\x10\0\x07\x0b\x1f\0\x01r\x26\0\x01k\0\x01v\0\x11",
            Packet::UnsubAck(UnsubAck {
                packet_id: ID,
                properties: ACK_PROPERTIES,
                reasons: ReasonCodes::List(&[ReasonCode::Success, ReasonCode::NoSubscriptionExisted]),
            }),
        ),
    ]
}

/// Every packet in every version that it stands for: version, bytes, packet.
pub(crate) fn golden() -> Vec<(Version, &'static [u8], Packet<'static>)> {
    let tables = [session_packets(), message_packets(), subscription_packets()];
    let rows = tables.into_iter().flatten();
    rows.flat_map(|(versions, bytes, packet)| versions.iter().map(move |v| (*v, bytes, packet.clone())))
        .collect()
}

/// Other spellings: version, bytes as they may arrive, bytes as they are written.
pub(crate) const SPELLINGS: &[(Version, &[u8], &[u8])] = &[
    // DUP, which MQTT 3.1 has on these.
    (V31, b"\x6a\x02\0\x07", b"\x62\x02\0\x07"),
    (V31, b"\x8a\x06\0\x07\0\x01a\x01", b"\x82\x06\0\x07\0\x01a\x01"),
    (V31, b"\xaa\x05\0\x07\0\x01a", b"\xa2\x05\0\x07\0\x01a"),
    // User name and password that are announced, but not there.
    (V31, b"\x10\x0f\0\x06MQIsdp\x03\xc2\0\x3c\0\x01c", b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01c"),
    // What may be left out.
    (V5, b"\x40\x03\0\x07\0", b"\x40\x02\0\x07"),
    (V5, b"\x40\x04\0\x07\0\0", b"\x40\x02\0\x07"),
    (V5, b"\x62\x04\0\x07\x92\0", b"\x62\x03\0\x07\x92"),
    (V5, b"\xe0\x01\0", b"\xe0\0"),
    (V5, b"\xe0\x02\0\0", b"\xe0\0"),
    (V5, b"\xf0\x02\0\0", b"\xf0\0"),
    // Properties in another order.
    (
        V5,
        b"\x40\x0f\0\x07\0\x0b\x26\0\x01k\0\x01v\x1f\0\x01r",
        b"\x40\x0f\0\x07\0\x0b\x1f\0\x01r\x26\0\x01k\0\x01v",
    ),
    (
        V5,
        b"\x30\x0c\0\x01t\x08\x23\0\x01\x02\0\0\0\x05", //
        b"\x30\x0c\0\x01t\x08\x02\0\0\0\x05\x23\0\x01",
    ),
];
