//! What cannot happen: a scenario that was edited is refused where no client could do what it says, or no time passes.

use super::{Client, Filter, Message, Network, Outside, Properties, Scenario, What, Will};
use broker_engine::Permissions;
use mqtt_proto::TopicName;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Longest text of a packet, bytes.
const TEXT: usize = u16::MAX as usize;

/// Largest payload, bytes: half of what fits into a packet.
const PAYLOAD: u32 = 128 << 20;

/// Latest time, so that what follows from it still has one: more than a hundred thousand years.
const LATEST: u64 = u64::MAX / 4;

/// A name, a value, and what is allowed.
type Judgement = Result<(), String>;

fn refuse(field: &str, value: impl Display, allowed: impl Display) -> Judgement {
    Err(format!("{field} is {value}; allowed is {allowed}"))
}

fn within<T: PartialOrd + Display>(field: &str, value: T, allowed: RangeInclusive<T>) -> Judgement {
    if allowed.contains(&value) {
        return Ok(());
    }
    refuse(field, value, format_args!("{} to {}", allowed.start(), allowed.end()))
}

fn text(field: &str, text: &str) -> Judgement {
    if text.contains('\0') {
        return refuse(field, format_args!("{text:?}"), "text without a null character");
    }
    within(&format!("the length of {field}"), text.len(), 0..=TEXT)
}

fn topic(field: &str, name: &str) -> Judgement {
    text(field, name)?;
    if TopicName::parse(name).is_err() {
        return refuse(field, format_args!("{name:?}"), "a topic name: not empty, and without wildcards");
    }
    Ok(())
}

impl Scenario {
    /// Says what cannot be: the field, its value, and what is allowed.
    pub(super) fn judge(&self) -> Judgement {
        if self.clients.is_empty() {
            return refuse("the number of clients", 0, "1 or more");
        }
        within("epoch", self.epoch, 0..=3 * LATEST)?;
        within("heal_at", self.heal_at, 0..=LATEST)?;
        self.network.judge()?;
        self.outside.judge()?;
        for (number, client) in self.clients.iter().enumerate() {
            client.judge().map_err(|what| format!("client {number}: {what}"))?;
        }
        let (mut before, clients) = (0, self.clients.len());
        for (number, operation) in self.operations.iter().enumerate() {
            let judge = || {
                within("at", operation.at, before..=LATEST)?;
                if operation.client >= clients {
                    return refuse("client", operation.client, format_args!("0 to {}", clients - 1));
                }
                operation.what.judge()
            };
            judge().map_err(|what| format!("operation {number}: {what}"))?;
            before = operation.at;
        }
        Ok(())
    }
}

impl Network {
    fn judge(&self) -> Judgement {
        for (field, share) in [
            ("split", self.split),
            ("clog", self.clog),
            ("cut", self.cut),
            ("half_open", self.half_open),
            ("bytewise", self.bytewise),
            ("tail", self.tail),
            ("abrupt", self.abrupt),
            ("roaming", self.roaming),
        ] {
            within(field, share, 0..=1000)?;
        }
        within("delay_min", self.delay_min, 0..=LATEST)?;
        within("delay_max", self.delay_max, 0..=LATEST)?;
        within("clog_max", self.clog_max, 0..=LATEST)
    }
}

impl Outside {
    fn judge(&self) -> Judgement {
        for (field, share) in [
            ("no_answer", self.no_answer),
            ("deny", self.deny),
            ("change", self.change),
            ("answer_again", self.answer_again),
            ("stray_answer", self.stray_answer),
            ("interrupt", self.interrupt),
            ("store_fail", self.store_fail),
            ("tick_twice", self.tick_twice),
            ("tick_lost", self.tick_lost),
            ("restore", self.restore),
            ("damage", self.damage),
            ("other_limits", self.other_limits),
        ] {
            within(field, share, 0..=1000)?;
        }
        // Or it would never come to an end.
        within("crash_again", self.crash_again, 0..=900)?;
        for (field, share) in [
            ("crash", self.crash),
            ("shutdown", self.shutdown),
            ("store_full", self.store_full),
            ("blocked", self.blocked),
        ] {
            within(field, share, 0..=100_000)?;
        }
        for (field, time) in [
            ("answer_max", self.answer_max),
            ("store_max", self.store_max),
            ("late_max", self.late_max),
            ("snapshot_every", self.snapshot_every),
            ("store_full_max", self.store_full_max),
            ("blocked_max", self.blocked_max),
        ] {
            within(field, time, 0..=LATEST)?;
        }
        self.deeds.iter().try_for_each(What::judge)
    }
}

impl Client {
    fn judge(&self) -> Judgement {
        within("version", self.version, 3..=5)?;
        text("id", &self.id)?;
        let may_be_nameless = self.version == 5 || self.version == 4 && self.clean;
        if self.id.is_empty() && !may_be_nameless {
            return refuse("id", "empty", "an identifier, or Clean Start in MQTT 3.1.1 or 5");
        }
        text("username", self.username.as_deref().unwrap_or_default())?;
        within("receive_maximum", self.receive_maximum.unwrap_or(1), 1..=u16::MAX)?;
        within("maximum_packet_size", self.maximum_packet_size.unwrap_or(1), 1..=u32::MAX)?;
        within("reconnect", self.reconnect.unwrap_or_default(), 0..=LATEST)?;
        within("drift per mille", self.drift.per_mille, -999..=1000)?;
        rules(self.permissions.as_ref())?;
        self.will.as_ref().map_or(Ok(()), Will::judge)
    }
}

impl Will {
    fn judge(&self) -> Judgement {
        topic("the will's topic", &self.topic)?;
        within("the will's qos", self.qos, 0..=2)?;
        self.properties.as_ref().map_or(Ok(()), |properties| properties.judge())
    }
}

impl What {
    fn judge(&self) -> Judgement {
        match self {
            Self::Subscribe(filters) => all(filters),
            Self::SubscribeAs(identifier, filters) => {
                within("the Subscription Identifier", *identifier, 1..=268_435_455)?;
                all(filters)
            }
            Self::SubscribeFor(filter) => all(std::slice::from_ref(filter)),
            Self::Unsubscribe(filter) | Self::UnsubscribeFor(filter) => text("filter", filter),
            Self::Publish(message) | Self::Flood(message) | Self::Announce(message) => message.judge(),
            Self::SetPermissions(permissions) => rules(permissions.as_ref()),
            Self::Pause(pause) => within("the pause", *pause, 0..=LATEST),
            Self::Hostile(hostile) => within("the hostile pause", hostile.pause, 0..=LATEST),
            _ => Ok(()),
        }
    }
}

fn rules(permissions: Option<&Permissions>) -> Judgement {
    let mut rules = permissions.into_iter().flat_map(|permissions| &permissions.rules);
    rules.try_for_each(|rule| text("a rule's filter", &rule.filter))
}

fn all(filters: &[Filter]) -> Judgement {
    if filters.is_empty() {
        return refuse("the number of filters", 0, "1 or more");
    }
    filters.iter().try_for_each(|filter| {
        text("filter", &filter.filter)?;
        within("qos", filter.qos, 0..=2)?;
        within("retain_handling", filter.retain_handling, 0..=2)?;
        if filter.no_local && filter.filter.starts_with("$share/") {
            return refuse("no_local of a shared subscription", true, false);
        }
        Ok(())
    })
}

impl Message {
    fn judge(&self) -> Judgement {
        topic("topic", &self.topic)?;
        within("qos", self.qos, 0..=2)?;
        // A payload begins with the message's number.
        if self.size > 0 {
            within("size", self.size, 8..=PAYLOAD)?;
        }
        self.properties.as_ref().map_or(Ok(()), |properties| properties.judge())
    }
}

impl Properties {
    fn judge(&self) -> Judgement {
        text("content_type", self.content_type.as_deref().unwrap_or_default())?;
        within(
            "the length of correlation_data",
            self.correlation_data.as_ref().map_or(0, Vec::len),
            0..=TEXT,
        )?;
        for (name, value) in &self.user {
            text("a user property's name", name)?;
            text("a user property's value", value)?;
        }
        self.response_topic.as_deref().map_or(Ok(()), |name| topic("response_topic", name))
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::{Profile, Scenario, What, generate};

    /// A change, and what is said of it.
    type Case = (fn(&mut Scenario), &'static str);

    fn publish(scenario: &mut Scenario) -> &mut crate::scenario::Message {
        let messages = scenario.operations.iter_mut().find_map(|operation| match &mut operation.what {
            What::Publish(message) => Some(message),
            _ => None,
        });
        messages.expect("a PUBLISH")
    }

    #[test]
    fn what_cannot_happen_is_refused() {
        let cases: [Case; 14] = [
            (|scenario| scenario.clients.clear(), "the number of clients is 0; allowed is 1 or more"),
            (|scenario| scenario.epoch = u64::MAX, "epoch is 18446744073709551615; allowed is 0 to "),
            (|scenario| scenario.network.cut = 1001, "cut is 1001; allowed is 0 to 1000"),
            (|scenario| scenario.clients[0].version = 9, "client 0: version is 9; allowed is 3 to 5"),
            (|scenario| scenario.clients[0].receive_maximum = Some(0), "client 0: receive_maximum is 0"),
            (
                |scenario| {
                    let client = &mut scenario.clients[0];
                    (client.id, client.version) = (String::new(), 3);
                },
                "client 0: id is empty; allowed is an identifier",
            ),
            (|scenario| publish(scenario).topic = "a/+".into(), "topic is \"a/+\"; allowed is a topic name"),
            (|scenario| publish(scenario).topic = String::new(), "topic is \"\"; allowed is a topic name"),
            (|scenario| publish(scenario).qos = 9, "qos is 9; allowed is 0 to 2"),
            (|scenario| publish(scenario).size = 7, "size is 7; allowed is 8 to "),
            (|scenario| scenario.operations.reverse(), "operation 1: at is "),
            (|scenario| scenario.operations[0].client = 99, "operation 0: client is 99; allowed is 0 to 7"),
            (|scenario| scenario.heal_at = u64::MAX, "heal_at is 18446744073709551615"),
            (
                |scenario| scenario.operations[0].what = What::Subscribe(Vec::new()),
                "operation 0: the number of filters is 0; allowed is 1 or more",
            ),
        ];
        let good = generate(1, Profile::Dense { clients: 8 });
        assert_eq!(Scenario::from_json(&good.to_json()).map(|read| read.to_json()), Ok(good.to_json()));
        for (change, said) in cases {
            let mut scenario = good.clone();
            change(&mut scenario);
            let error = Scenario::from_json(&scenario.to_json()).expect_err(said);
            assert!(error.contains(said), "{error}, and not {said}");
        }
    }

    #[test]
    fn what_bytes_and_seeds_make_can_happen() {
        for seed in 0..300 {
            assert_eq!(generate(seed, Profile::Small).judge(), Ok(()), "seed {seed}");
        }
    }
}
