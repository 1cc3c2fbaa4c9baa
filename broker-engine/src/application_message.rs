//! A message as hooks and the embedding program see it: owned, and with every property that travels with it.

use alloc::{string::String, string::ToString, vec::Vec};
use bytes::Bytes;
use mqtt_proto::{PayloadFormat, Publish, PublishProperties, QoS, TopicName, UserProperties, Will};
use serde::{Deserialize, Serialize};

/// An application message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationMessage {
    /// Topic name, no wildcards.
    pub topic: String,
    /// Any bytes.
    pub payload: Bytes,
    /// Highest quality of service of the deliveries.
    pub qos: QoS,
    /// Store as the topic's retained message (an empty payload removes it).
    pub retain: bool,
    /// Payload Format Indicator.
    pub payload_format: Option<PayloadFormat>,
    /// Message Expiry Interval, seconds from when the broker got it.
    pub message_expiry_interval: Option<u32>,
    /// Content Type.
    pub content_type: Option<String>,
    /// Response Topic: a topic name, no wildcards.
    pub response_topic: Option<String>,
    /// Correlation Data, at most 65,535 bytes.
    pub correlation_data: Option<Vec<u8>>,
    /// User properties, in order. Name and value are at most 65,535 bytes each, without null characters.
    pub user_properties: Vec<(String, String)>,
}

impl ApplicationMessage {
    /// What a client published, under the name that its topic alias may stand for.
    pub(crate) fn of(topic: &str, publish: &Publish<'_>) -> Self {
        let properties = &publish.properties;
        let pairs = properties.user_properties.iter();
        Self {
            topic: topic.to_string(),
            payload: Bytes::copy_from_slice(publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            payload_format: properties.payload_format,
            message_expiry_interval: properties.message_expiry_interval,
            content_type: properties.content_type.map(ToString::to_string),
            response_topic: properties.response_topic.map(|topic| topic.as_str().to_string()),
            correlation_data: properties.correlation_data.map(<[u8]>::to_vec),
            user_properties: pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        }
    }

    /// What a client wants to be published when it is gone.
    pub(crate) fn of_will(will: &Will<'_>) -> Self {
        let properties = &will.properties;
        let publish = Publish {
            dup: false,
            qos: will.qos,
            retain: will.retain,
            topic: Some(will.topic),
            packet_id: None,
            properties: PublishProperties {
                payload_format: properties.payload_format,
                message_expiry_interval: properties.message_expiry_interval,
                content_type: properties.content_type,
                response_topic: properties.response_topic,
                correlation_data: properties.correlation_data,
                user_properties: properties.user_properties,
                ..PublishProperties::default()
            },
            payload: will.payload,
        };
        Self::of(will.topic.as_str(), &publish)
    }

    /// The properties that travel on, encoded; `None` if the message is none that MQTT can carry.
    pub(crate) fn forwarded(&self) -> Option<Vec<u8>> {
        TopicName::parse(&self.topic).ok()?;
        let response_topic = self.response_topic.as_deref().map(TopicName::parse).transpose().ok()?;
        let texts =
            self.user_properties.iter().flat_map(|(name, value)| [name, value]).chain(&self.content_type);
        if texts.into_iter().any(|text| text.contains('\0')) {
            return None;
        }
        let pairs: Vec<_> = self.user_properties.iter().map(|(name, value)| (&**name, &**value)).collect();
        let properties = PublishProperties {
            payload_format: self.payload_format,
            response_topic,
            correlation_data: self.correlation_data.as_deref(),
            content_type: self.content_type.as_deref(),
            user_properties: UserProperties::Pairs(&pairs),
            ..PublishProperties::default()
        };
        let mut encoded = Vec::new();
        properties.encode_list(&mut encoded).ok()?;
        Some(encoded)
    }
}
