//! Which keys of two configurations differ.

use super::{BrokerConfig, ConfigError};
use toml::{Table, Value};

impl BrokerConfig {
    /// The keys in which the other differs, as in `limits.max_inflight` and `listeners[0].address`; `listeners` where one more
    /// or less is there.
    ///
    /// # Errors
    /// One of them holds what no file can say.
    pub fn changed_keys(&self, other: &Self) -> Result<Vec<String>, ConfigError> {
        let table = |config| Table::try_from(config).map_err(|error| ConfigError(error.to_string()));
        let mut changed = Vec::new();
        compare("", &Value::Table(table(self)?), &Value::Table(table(other)?), &mut changed);
        Ok(changed)
    }
}

/// Adds the keys at and below `key` whose values differ.
fn compare(key: &str, one: &Value, other: &Value, changed: &mut Vec<String>) {
    match (one, other) {
        (Value::Table(one), Value::Table(other)) => {
            let added = other.keys().filter(|name| !one.contains_key(*name));
            for name in one.keys().chain(added) {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                match (one.get(name), other.get(name)) {
                    (Some(one), Some(other)) => compare(&key, one, other, changed),
                    _ => changed.push(key),
                }
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (number, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{key}[{number}]"), one, other, changed);
            }
        }
        _ if one == other => {}
        _ => changed.push(key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use crate::BrokerConfig;

    #[test]
    fn keys_that_differ_are_named() {
        let listener = "[[listeners]]\naddress = \"127.0.0.1:1\"\n";
        for (one, other, wanted) in [
            ("", "", &[][..]),
            ("[limits]\nmax_inflight = 100\n", "[limits]\nmax_inflight = 7\n", &["limits.max_inflight"]),
            ("", "[storage]\npath = \"/kept\"\n", &["storage.path"]),
            ("[jwt]\nkey = \"a\"\n", "allow_anonymous = true\n", &["allow_anonymous", "jwt.key"]),
            (listener, "[[listeners]]\naddress = \"127.0.0.1:2\"\n", &["listeners[0].address"]),
            ("", listener, &["listeners"]),
        ] {
            let [one, other] = [one, other].map(|text| BrokerConfig::from_toml(text).unwrap());
            let mut changed = one.changed_keys(&other).unwrap();
            changed.sort();
            assert_eq!(changed, wanted);
        }
    }
}
