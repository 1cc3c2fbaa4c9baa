//! Variables of the environment, which are stronger than the file: `METRONOME_LIMITS_RECEIVE_MAXIMUM=20`.

use super::{BrokerConfig, ConfigError, explain};
use serde::Deserialize;
use toml::{Table, Value};

/// What the name of every variable begins with.
const PREFIX: &str = "METRONOME_";

/// Sections of the file whose keys are variables.
const SECTIONS: [&str; 7] =
    ["limits", "linger", "sys_topics", "access_control", "jwt", "packet_log", "storage"];

/// The section and key that a variable stands for.
fn place(name: &str) -> Option<(&'static str, String)> {
    let rest = name.strip_prefix(PREFIX)?.to_lowercase();
    SECTIONS.into_iter().find_map(|section| {
        let key = rest.strip_prefix(section)?.strip_prefix('_')?;
        Some((section, key.to_owned()))
    })
}

/// The variable that was probably meant by one whose section is none.
fn nearest_section(name: &str) -> Option<String> {
    let rest = name.strip_prefix(PREFIX)?;
    rest.match_indices('_').find_map(|(end, _)| {
        let (section, key) = rest.split_at(end);
        let near = explain::nearest(&section.to_lowercase(), SECTIONS.into_iter())?;
        Some(format!("{PREFIX}{}{key}", near.to_uppercase()))
    })
}

/// Is it what Kubernetes sets in every container beside a service that is called `metronome`?
fn is_of_a_service(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or_default();
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}

/// Sets what `variables` say. Of those that begin with `METRONOME_` each has to be a key of a section, or `flags` knows it.
pub(super) fn set(
    mut config: BrokerConfig,
    variables: impl Iterator<Item = (String, String)>,
    flags: &[&str],
) -> Result<BrokerConfig, ConfigError> {
    for (name, text) in variables.filter(|(name, _)| name.starts_with(PREFIX)) {
        match place(&name) {
            Some((section, key)) => {
                // A word need not stand in quotes, and a number may be meant as a word.
                let bare = toml::from_str(&format!("bare = {text}")).ok();
                let bare = bare.and_then(|mut table: Table| table.remove("bare"));
                let word = Value::String(text);
                let read = |value| with(&config, section, &key, value);
                config = match bare.map_or_else(|| read(word.clone()), &read) {
                    Err(problem) => read(word).map_err(|_| ConfigError(format!("{name}: {problem}")))?,
                    Ok(changed) => changed,
                };
            }
            None if flags.contains(&&*name) || is_of_a_service(&name) => {}
            None => {
                let flag = || explain::nearest(&name, flags.iter().copied()).map(ToOwned::to_owned);
                let near = nearest_section(&name).or_else(flag);
                let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                return Err(ConfigError(format!("{name}: this variable stands for nothing{hint}")));
            }
        }
    }
    Ok(config)
}

/// The same configuration but for one key.
fn with(config: &BrokerConfig, section: &str, key: &str, value: Value) -> Result<BrokerConfig, String> {
    let mut all = Table::try_from(config).map_err(|error| error.to_string())?;
    if let Some(Value::Table(section)) = all.get_mut(section) {
        section.insert(key.to_owned(), value);
    }
    BrokerConfig::deserialize(all).map_err(|error| explain::in_words(error.message()))
}

#[cfg(test)]
mod tests {
    use super::{BrokerConfig, set};

    fn from(variables: &[(&str, &str)]) -> Result<BrokerConfig, String> {
        let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        set(BrokerConfig::default(), variables, &["METRONOME_LISTEN"]).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_set_keys_of_sections() {
        let config = from(&[
            ("METRONOME_LIMITS_RECEIVE_MAXIMUM", "7"),
            ("METRONOME_LIMITS_CONNECT_TIMEOUT_MS", "250"),
            ("METRONOME_LIMITS_SHARED_STRATEGY", "sticky"),
            ("METRONOME_LIMITS_MEMORY_HIGH", "1000000"),
            ("METRONOME_LIMITS_RESPONSE_INFORMATION", "7"),
            ("METRONOME_LIMITS_RETAIN_AVAILABLE", "false"),
            ("METRONOME_SYS_TOPICS_INTERVAL_MS", "0"),
            ("METRONOME_ACCESS_CONTROL_PASSWORD_FILE", "/etc/users"),
            ("METRONOME_STORAGE_PATH", "/var/lib/metronome"),
            ("METRONOME_STORAGE_DURABILITY", "async"),
            ("METRONOME_STORAGE_REDIS_URL", "redis://:secret@h"),
            ("METRONOME_LISTEN", "of the flags"),
            ("PATH", "of somebody else"),
            ("METRONOME_SERVICE_HOST", "10.0.0.1"),
            ("METRONOME_PORT", "tcp://10.0.0.1:1883"),
            ("METRONOME_PORT_1883_TCP", "tcp://10.0.0.1:1883"),
        ])
        .unwrap();
        let limits = &config.limits;
        assert_eq!((limits.receive_maximum, limits.connect_timeout.as_millis()), (7, 250));
        assert_eq!((limits.memory_high, limits.retain_available), (Some(1_000_000), false));
        assert_eq!(limits.shared_strategy, broker_engine::SharedStrategy::Sticky);
        assert_eq!(limits.response_information.as_deref(), Some("7"));
        assert_eq!(config.sys_topics.interval_ms, 0);
        assert_eq!(config.access_control.password_file.as_deref(), Some("/etc/users".as_ref()));
        assert_eq!(config.storage.path.as_deref(), Some(std::path::Path::new("/var/lib/metronome")));
        assert_eq!(config.storage.level(), broker_engine::Durability::Async);
        assert_eq!(config.storage.redis_url.unwrap().password.as_deref(), Some("secret"));
    }

    #[test]
    fn what_stands_for_nothing_is_refused() {
        for (name, text, wanted) in [
            (
                "METRONOME_LISTN",
                "x",
                "METRONOME_LISTN: this variable stands for nothing; did you mean METRONOME_LISTEN?",
            ),
            (
                "METRONOME_LIMTS_RECEIVE_MAXIMUM",
                "7",
                "stands for nothing; did you mean METRONOME_LIMITS_RECEIVE_MAXIMUM?",
            ),
            ("METRONOME_ACCESSCONTROL_ACL_FILE", "f", "did you mean METRONOME_ACCESS_CONTROL_ACL_FILE?"),
            ("METRONOME_SYS_TOPIC_INTERVAL_MS", "0", "did you mean METRONOME_SYS_TOPICS_INTERVAL_MS?"),
            (
                "METRONOME_LIMITS_RECEIVE_MAX",
                "7",
                "unknown key `receive_max`; did you mean `receive_maximum`?",
            ),
            ("METRONOME_LIMITS_RECEIVE_MAXIMUM", "70000", "METRONOME_LIMITS_RECEIVE_MAXIMUM: invalid value"),
            ("METRONOME_LIMITS_RETAIN_AVAILABLE", "maybe", "METRONOME_LIMITS_RETAIN_AVAILABLE: invalid type"),
            ("METRONOME_LINGER_TIME_M", "1", "did you mean `time_ms`?"),
            ("METRONOME_STORAGE_REDIS_URL", "localhost", "begins with redis:// or rediss://"),
        ] {
            let error = from(&[(name, text)]).unwrap_err();
            assert!(error.contains(wanted) && error.lines().count() == 1, "{error}");
        }
        let error = from(&[("METRONOME_COLOUR_OF_CONNACK", "7")]).unwrap_err();
        assert_eq!(error, "METRONOME_COLOUR_OF_CONNACK: this variable stands for nothing");
    }
}
