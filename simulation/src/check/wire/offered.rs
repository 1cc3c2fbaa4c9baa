//! What the broker offers, as CONNACK has to say it, and what it does not take from a client that asks for more.

use super::{Greeting, Wrong};
use crate::oracle::topics::{is_shared, is_valid, is_wild, plain};
use broker_engine::Config;
use mqtt_proto::{ConnAck, Connect, Packet, Publish, ReasonCode, Subscribe, UserProperties, Version};

/// What a broker says to somebody who asked for what is not offered, or did not keep to the protocol. 0x97 has other
/// causes too.
const ACCUSATIONS: [ReasonCode; 10] = [
    ReasonCode::MalformedPacket,
    ReasonCode::ProtocolError,
    ReasonCode::TopicAliasInvalid,
    ReasonCode::ClientIdNotValid,
    ReasonCode::PacketTooLarge,
    ReasonCode::RetainNotSupported,
    ReasonCode::QoSNotSupported,
    ReasonCode::SharedSubscriptionsNotSupported,
    ReasonCode::SubscriptionIdsNotSupported,
    ReasonCode::WildcardSubscriptionsNotSupported,
];

pub(super) fn is_accusation(reason: ReasonCode) -> bool {
    ACCUSATIONS.contains(&reason)
}

/// CONNACK of MQTT 5 tells every limit that it has a property for, where that is not the property's default.
pub(super) fn announced(config: &Config, greeting: &Greeting, connack: &ConnAck<'_>) -> Result<(), Wrong> {
    let p = &connack.properties;
    let is_offered = |said: Option<bool>| u64::from(said != Some(false));
    let keep_alive = match (greeting.keep_alive, config.max_keep_alive) {
        (asked, 0) => asked,
        (0, longest) => longest,
        (asked, longest) => asked.min(longest),
    };
    let expiry = greeting.expiry.min(config.max_session_expiry);
    let limits: [(&str, u64, u64); 10] = [
        ("Receive Maximum", p.receive_maximum.unwrap_or(u16::MAX).into(), config.receive_maximum.into()),
        ("Maximum QoS", p.maximum_qos.map_or(2, |qos| qos as u64), config.maximum_qos as u64),
        ("Retain Available", is_offered(p.retain_available), config.retain_available.into()),
        (
            "Maximum Packet Size",
            p.maximum_packet_size.unwrap_or(u32::MAX).into(),
            config.max_packet_size.into(),
        ),
        ("Topic Alias Maximum", p.topic_alias_maximum.unwrap_or(0).into(), config.topic_alias_maximum.into()),
        (
            "Wildcard Subscription Available",
            is_offered(p.wildcard_subscription_available),
            config.wildcard_subscriptions.into(),
        ),
        (
            "Subscription Identifiers Available",
            is_offered(p.subscription_ids_available),
            config.subscription_ids.into(),
        ),
        (
            "Shared Subscription Available",
            is_offered(p.shared_subscription_available),
            config.shared_subscriptions.into(),
        ),
        ("Server Keep Alive", p.server_keep_alive.unwrap_or(greeting.keep_alive).into(), keep_alive.into()),
        (
            "Session Expiry Interval",
            p.session_expiry_interval.unwrap_or(greeting.expiry).into(),
            expiry.into(),
        ),
    ];
    match limits.into_iter().find(|(_, said, limit)| said != limit) {
        Some((name, said, limit)) => {
            Err(("INV-63", format!("CONNACK says {said} for {name}, which is {limit}")))
        }
        None => Ok(()),
    }
}

/// What a packet that ends its connection is answered with: one of these, or nothing where there are none.
pub(super) fn breaches(
    config: &Config,
    version: Version,
    packet: &Packet<'_>,
    len: usize,
) -> Vec<ReasonCode> {
    let mut breaches = match packet {
        Packet::Connect(connect) => of_connect(config, connect),
        Packet::Publish(publish) => of_publish(config, publish),
        Packet::Subscribe(subscribe) => of_subscribe(config, version, subscribe),
        Packet::Unsubscribe(unsubscribe) => {
            let many = unsubscribe.filters.iter().count() > usize::from(config.max_filters_per_packet);
            chosen([(many, ReasonCode::QuotaExceeded)])
        }
        _ => Vec::new(),
    };
    let most = match packet {
        Packet::Connect(_) => config.max_packet_size_before_connect,
        _ => config.max_packet_size,
    };
    breaches.extend(chosen([(len > most as usize, ReasonCode::PacketTooLarge)]));
    breaches
}

fn of_connect(config: &Config, connect: &Connect<'_>) -> Vec<ReasonCode> {
    let is_long = connect.client_id.len() > usize::from(config.max_client_id_length);
    let mut breaches = chosen([
        (is_long, ReasonCode::ClientIdNotValid),
        (has_too_many(config, &connect.properties.user_properties), ReasonCode::QuotaExceeded),
    ]);
    if let Some(will) = &connect.will {
        breaches.extend(chosen([
            (has_too_many(config, &will.properties.user_properties), ReasonCode::QuotaExceeded),
            (!fits(config, will.topic.as_str()), ReasonCode::TopicNameInvalid),
            (will.qos > config.maximum_qos, ReasonCode::QoSNotSupported),
            (will.retain && !config.retain_available, ReasonCode::RetainNotSupported),
        ]));
    }
    breaches
}

fn of_publish(config: &Config, publish: &Publish<'_>) -> Vec<ReasonCode> {
    chosen([
        (publish.qos > config.maximum_qos, ReasonCode::QoSNotSupported),
        (publish.retain && !config.retain_available, ReasonCode::RetainNotSupported),
        (has_too_many(config, &publish.properties.user_properties), ReasonCode::QuotaExceeded),
    ])
}

/// A client of 3.x could not be told what is not offered, so it hears that in SUBACK.
fn of_subscribe(config: &Config, version: Version, subscribe: &Subscribe<'_>) -> Vec<ReasonCode> {
    let filters = || {
        let filters = subscribe.filters.iter().map(|(filter, _)| filter);
        filters.filter(|filter| version == Version::V5 && is_valid(filter) && fits(config, filter))
    };
    let shared = !config.shared_subscriptions && filters().any(is_shared);
    let wild = !config.wildcard_subscriptions && filters().any(|filter| is_wild(plain(filter)));
    chosen([
        (
            subscribe.subscription_id.is_some() && !config.subscription_ids,
            ReasonCode::SubscriptionIdsNotSupported,
        ),
        (
            subscribe.filters.iter().count() > usize::from(config.max_filters_per_packet),
            ReasonCode::QuotaExceeded,
        ),
        (shared, ReasonCode::SharedSubscriptionsNotSupported),
        (wild, ReasonCode::WildcardSubscriptionsNotSupported),
    ])
}

/// Does the broker take such a message?
pub(in crate::check) fn is_taken(config: &Config, topic: &str, qos: u8, retain: bool) -> bool {
    let is_name = !topic.is_empty() && !is_wild(topic) && !is_shared(topic);
    let is_brokers_own = topic == "$SYS" || topic.starts_with("$SYS/");
    is_name
        && !is_brokers_own
        && fits(config, topic)
        && qos <= config.maximum_qos as u8
        && (!retain || config.retain_available)
}

/// Is a topic name or filter as short and as flat as it has to be?
fn fits(config: &Config, topic: &str) -> bool {
    topic.len() <= usize::from(config.max_topic_length)
        && plain(topic).split('/').count() <= usize::from(config.max_topic_levels)
}

fn has_too_many(config: &Config, user: &UserProperties<'_>) -> bool {
    // Each has an identifier and two lengths.
    let bytes: usize = user.iter().map(|(name, value)| 5 + name.len() + value.len()).sum();
    user.iter().count() > usize::from(config.max_user_properties)
        || bytes > config.max_user_property_bytes as usize
}

fn chosen<const N: usize>(breaches: [(bool, ReasonCode); N]) -> Vec<ReasonCode> {
    breaches.into_iter().filter(|(is_so, _)| *is_so).map(|(_, reason)| reason).collect()
}
