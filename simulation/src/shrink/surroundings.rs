//! Fewer faults, plain limits: each by itself, whichever there are.

use super::Shrinker;
use broker_engine::Config;
use serde_json::Value;

/// What is plain for a field and not 0, absent, empty or false.
const PLAIN: [(&str, u64); 4] =
    [("delay_min", 1000), ("delay_max", 1000), ("piece", 1460), ("socket_buffer", 1 << 20)];

impl Shrinker {
    pub(super) fn surroundings(&mut self) {
        self.try_change(|scenario| scenario.limits = Config::default());
        let limits = serde_json::to_value(Config::default()).unwrap_or_default();
        let scenario = serde_json::to_value(&self.best).unwrap_or_default();
        for (part, fields) in scenario.as_object().into_iter().flatten() {
            for (name, value) in fields.as_object().into_iter().flatten() {
                let plain = if part == "limits" { limits[name].clone() } else { plain(name, value) };
                if plain == *value || self.try_value(part, name, plain) || part != "limits" {
                    continue;
                }
                // A limit that is needed is met sooner if it is small.
                let number = value.as_u64().unwrap_or_default();
                let _ = [1, number / 2].into_iter().any(|less| {
                    let is_less = 0 < less && less < number;
                    is_less && self.try_value(part, name, less.into())
                });
            }
        }
    }

    /// Takes another value for a field, if it is one.
    fn try_value(&mut self, part: &str, name: &str, value: Value) -> bool {
        let mut candidate = serde_json::to_value(&self.best).unwrap_or_default();
        candidate[part][name] = value;
        serde_json::from_value(candidate).is_ok_and(|candidate| self.try_one(candidate))
    }
}

/// The value of a fault that does not happen.
fn plain(name: &str, value: &Value) -> Value {
    let known = PLAIN.iter().find(|(known, _)| *known == name).map(|(_, plain)| Value::from(*plain));
    known.unwrap_or_else(|| match value {
        Value::Number(_) => 0.into(),
        Value::Bool(_) => false.into(),
        Value::Array(_) => Vec::<Value>::new().into(),
        Value::Object(_) | Value::Null | Value::String(_) => Value::Null,
    })
}
