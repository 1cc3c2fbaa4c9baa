//! Defaults of other brokers, for who depends on them.

use super::{BrokerConfig, ConfigError};
use broker_engine::{Config, QueueFull, SharedStrategy};
use serde::Deserialize;
use std::time::Duration;
use toml::{Table, Value};

/// The largest packet that MQTT can carry: no limit.
const LARGEST_PACKET: u32 = 268_435_455;

/// A broker whose defaults are taken in the place of ours, where ours are stricter or otherwise different. What is a bug there
/// is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Mochi.
    Mochi,
    /// gmqtt.
    Gmqtt,
}

impl Profile {
    /// By its name, `mochi` or `gmqtt`.
    pub fn named(name: &str) -> Option<Self> {
        [(Self::Mochi, "mochi"), (Self::Gmqtt, "gmqtt")]
            .into_iter()
            .find_map(|(profile, known)| (name == known).then_some(profile))
    }

    /// A configuration with its defaults.
    pub fn config(self) -> BrokerConfig {
        let ours = BrokerConfig::default();
        let limits = ours.limits.clone();
        match self {
            Self::Mochi => {
                let mut config = BrokerConfig {
                    limits: Config {
                        max_packet_size: LARGEST_PACKET,
                        max_message_expiry: 86_400,
                        max_session_expiry: u32::MAX,
                        max_queued_messages: 8192,
                        max_inflight: 8192,
                        topic_alias_maximum: u16::MAX,
                        queue_full: QueueFull::DropNew,
                        shared_strategy: SharedStrategy::Random,
                        report_no_subscribers: false,
                        ..limits
                    },
                    ..ours
                };
                config.sys_topics.interval_ms = 1000;
                config
            }
            Self::Gmqtt => BrokerConfig {
                limits: Config {
                    connect_timeout: Duration::from_secs(5),
                    max_packet_size: LARGEST_PACKET,
                    max_message_expiry: 7200,
                    max_session_expiry: 7200,
                    max_keep_alive: 300,
                    receive_maximum: 100,
                    max_queued_messages: 1000,
                    max_inflight: 100,
                    topic_alias_maximum: 10,
                    queue_qos0_offline: true,
                    shared_strategy: SharedStrategy::Random,
                    ..limits
                },
                ..ours
            },
        }
    }
}

/// `base`, but for what is in this text.
pub(super) fn overlay(base: &BrokerConfig, text: &str) -> Result<BrokerConfig, ConfigError> {
    // Errors are told of as without a base, with their line.
    BrokerConfig::from_toml(text)?;
    let wrong = |error: &dyn std::fmt::Display| ConfigError(error.to_string());
    let said: Table = toml::from_str(text).map_err(|error| wrong(&error.message()))?;
    let mut all = Table::try_from(base).map_err(|error| wrong(&error))?;
    for (key, value) in said {
        match (all.get_mut(&key), value) {
            (Some(Value::Table(section)), Value::Table(keys)) => section.extend(keys),
            (_, value) => {
                all.insert(key, value);
            }
        }
    }
    let config = BrokerConfig::deserialize(all).map_err(|error| wrong(&error.message()))?;
    config.check()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::{BrokerConfig, Profile};

    #[test]
    fn a_profile_has_the_defaults_of_its_broker_and_the_file_is_stronger() {
        let mochi = Profile::named("mochi").unwrap().config();
        let limits = &mochi.limits;
        assert_eq!(
            (limits.max_inflight, limits.max_message_expiry, limits.max_session_expiry),
            (8192, 86_400, u32::MAX)
        );
        assert!(!limits.report_no_subscribers);
        let gmqtt = Profile::named("gmqtt").unwrap().config();
        let limits = &gmqtt.limits;
        assert_eq!((limits.max_inflight, limits.receive_maximum, limits.max_keep_alive), (100, 100, 300));
        for profile in [&mochi, &gmqtt] {
            assert_eq!(profile.check(), Ok(()));
            assert_eq!(profile.with_toml("").as_ref(), Ok(profile));
        }
        let text = "allow_anonymous = true\n[limits]\nmax_inflight = 7\n";
        let changed = gmqtt.with_toml(text).unwrap();
        let mut wanted = gmqtt.clone();
        (wanted.allow_anonymous, wanted.limits.max_inflight) = (true, 7);
        assert_eq!(changed, wanted);
        assert_eq!(BrokerConfig::default().with_toml(text), BrokerConfig::from_toml(text));
        let error = gmqtt.with_toml("[limits]\nmax_inflite = 7\n").unwrap_err().to_string();
        assert!(error.starts_with("line 2: unknown key `max_inflite`"), "{error}");
        // What only both together contradict.
        assert!(mochi.with_toml("[limits]\negress_high = 1\n").is_err());
        assert_eq!(Profile::named("Mochi"), None);
    }
}
