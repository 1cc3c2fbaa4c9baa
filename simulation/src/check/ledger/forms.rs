//! What messages say beside topic and payload: it reaches receivers of MQTT 5 as it came, in the same order.

use super::Ledger;
use crate::scenario::Properties;
use mqtt_proto::{PayloadFormat, PublishProperties, TopicName, WillProperties};

impl Properties {
    pub(in crate::check) fn of_publish(publish: &PublishProperties<'_>) -> Self {
        Self {
            is_text: publish.payload_format.map(|format| format == PayloadFormat::Utf8),
            content_type: publish.content_type.map(str::to_owned),
            response_topic: publish.response_topic.map(TopicName::as_str).map(str::to_owned),
            correlation_data: publish.correlation_data.map(<[u8]>::to_vec),
            user: publish.user_properties.iter().map(owned).collect(),
        }
    }

    pub(in crate::check) fn of_will(will: &WillProperties<'_>) -> Self {
        Self {
            is_text: will.payload_format.map(|format| format == PayloadFormat::Utf8),
            content_type: will.content_type.map(str::to_owned),
            response_topic: will.response_topic.map(TopicName::as_str).map(str::to_owned),
            correlation_data: will.correlation_data.map(<[u8]>::to_vec),
            user: will.user_properties.iter().map(owned).collect(),
        }
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

impl Ledger {
    /// A message came that says this. It may come again from a client of another version, and say nothing then.
    pub(in crate::check) fn says(&mut self, number: u32, properties: Properties, came_before: bool) {
        let is_plain = properties == Properties::default();
        if is_plain && !self.forms.contains_key(&number) {
            return;
        }
        let plain = || if came_before { vec![Properties::default()] } else { Vec::new() };
        self.forms.entry(number).or_insert_with(plain).push(properties);
    }

    /// Did a message that goes out come like this?
    pub(in crate::check) fn said(&self, number: u32, properties: &Properties) -> bool {
        match self.forms.get(&number) {
            None => *properties == Properties::default(),
            Some(forms) => forms.contains(properties),
        }
    }

    /// Has this message come already?
    pub(in crate::check) fn has_come(&self, number: u32) -> bool {
        self.messages.get(number as usize).is_some_and(|sent| sent.arrivals > 0)
    }
}
