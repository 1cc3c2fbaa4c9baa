//! Configuration files of Mochi and gmqtt, read as ours.
//!
//! * [`read`] — tells whose layout it is, and makes a configuration of it
//! * `mochi`, `gmqtt` — what each of their keys becomes
//!
//! Every key either becomes one of ours or is named as one that is not honoured. Keys that are left out keep our defaults,
//! also where theirs would be others, unless a [`Profile`](metronome_host::config::Profile) is asked for.

mod gmqtt;
mod mochi;
#[cfg(test)]
mod tests;

use crate::source::{LoadError, syntax};
use metronome_host::BrokerConfig;
use metronome_host::config::ListenerConfig;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// A configuration that was read from somebody else's file.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreign {
    /// Ours.
    pub config: BrokerConfig,
    /// Keys that are not honoured, with the reason where there is one.
    pub ignored: Vec<String>,
}

/// Reads a configuration file in YAML or JSON, in the layout of Mochi or of gmqtt. What it does not say is as in `base`.
///
/// # Errors
/// The file cannot be read, is in neither layout, or says what cannot be; names the key.
pub fn read(path: &Path, base: BrokerConfig) -> Result<Foreign, LoadError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| LoadError::new(format!("cannot be read: {error}")));
    text.and_then(|text| translate(path, &text, base)).map_err(|error| error.in_file(path))
}

fn translate(path: &Path, text: &str, base: BrokerConfig) -> Result<Foreign, LoadError> {
    let file: Value = if text.starts_with('{') { syntax::json(text)? } else { syntax::yaml(text)? };
    let has = |keys: &[&str]| keys.iter().any(|key| file.get(key).is_some());
    let translated =
        match (has(&["hooks", "options", "logging"]), has(&["mqtt", "plugins", "plugin_order", "log"])) {
            (true, false) => mochi::translate(path, file, base),
            (false, true) => gmqtt::translate(path, file, base),
            _ => return Err(LoadError::new("is in the layout of neither Mochi nor gmqtt; our own is TOML")),
        }?;
    translated.config.check().map_err(|error| LoadError::new(error.to_string()))?;
    Ok(translated)
}

/// The largest packet that MQTT can carry: no limit.
const LARGEST_PACKET: u64 = 268_435_455;

/// What becomes of a value.
#[derive(Clone, Copy)]
enum Becomes {
    /// The same.
    Same,
    /// The same, up to what fits our key.
    AtMost(u64),
    /// 1 and 0.
    Flag,
    /// Seconds in milliseconds.
    Milliseconds,
    /// A time such as `2h30m` in seconds.
    Seconds,
    /// One of these words, another of ours.
    Word(&'static [(&'static str, &'static str)]),
}

/// Their key, the section and key of ours, and what becomes of the value.
type Rule = (&'static str, &'static str, &'static str, Becomes);

/// The leaves of a file by their path, as far as nobody has taken them.
struct Keys(BTreeMap<String, Value>);

impl Keys {
    fn of(file: Value) -> Self {
        let mut keys = Self(BTreeMap::new());
        keys.add(String::new(), file);
        keys
    }

    fn add(&mut self, path: String, value: Value) {
        let map = match value {
            Value::Object(map) if !map.is_empty() => map,
            // A key without a value says nothing.
            Value::Null => return,
            leaf => {
                self.0.insert(path, leaf);
                return;
            }
        };
        for (key, value) in map {
            self.add(if path.is_empty() { key } else { format!("{path}.{key}") }, value);
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    fn take_flag(&mut self, key: &str) -> Result<bool, LoadError> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Bool(is)) => Ok(is),
            Some(_) => Err(wrong(key, "is neither true nor false")),
        }
    }

    fn take_text(&mut self, key: &str) -> Result<Option<String>, LoadError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(key, "is no text")),
        }
    }

    /// Takes what is below a key, whatever it is.
    fn take_below(&mut self, key: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|path, _| {
            !path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        self.0.len() < before
    }

    /// What these rules make of a configuration.
    fn follow(&mut self, mut config: BrokerConfig, rules: &[Rule]) -> Result<BrokerConfig, LoadError> {
        for (theirs, section, ours, becomes) in rules {
            let Some(value) = self.take(theirs) else { continue };
            let value = becomes.apply(&value).ok_or_else(|| wrong(theirs, &format!("cannot be {value}")))?;
            let toml = format!("[{section}]\n{ours} = {value}\n");
            config = config.with_toml(&toml).map_err(|error| wrong(theirs, &error.to_string()))?;
        }
        Ok(config)
    }

    /// What is left and says something.
    fn ignored(self) -> impl Iterator<Item = String> {
        let empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
        self.0.into_iter().filter(move |(_, value)| !empty(value)).map(|(key, _)| key)
    }
}

fn wrong(key: &str, problem: &str) -> LoadError {
    LoadError::new(problem).at_key(key)
}

impl Becomes {
    /// As TOML.
    fn apply(self, value: &Value) -> Option<String> {
        match (self, value) {
            (Self::Same, Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            (Self::AtMost(most), Value::Number(number)) => Some(number.as_u64()?.min(most).to_string()),
            (Self::Flag, Value::Number(number)) => match number.as_u64()? {
                0 => Some("false".to_owned()),
                1 => Some("true".to_owned()),
                _ => None,
            },
            (Self::Milliseconds, Value::Number(number)) => {
                Some(number.as_u64()?.checked_mul(1000)?.to_string())
            }
            (Self::Seconds, Value::String(text)) => Some(seconds(text)?.to_string()),
            (Self::Word(words), Value::String(text)) => {
                words.iter().find(|(theirs, _)| theirs == text).map(|(_, ours)| format!("{ours:?}"))
            }
            _ => None,
        }
    }
}

/// A time as Go writes it, in whole hours, minutes and seconds.
fn seconds(text: &str) -> Option<u32> {
    let mut total: u32 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let unit = behind.chars().next()?;
        let factor = match unit {
            'h' => 3600,
            'm' if !behind.starts_with("ms") => 60,
            's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u32>().ok()?.checked_mul(factor)?)?;
        rest = behind.get(1..)?;
    }
    (!text.is_empty()).then_some(total)
}

/// An address as Go has it: without a host it is every one of this machine.
fn listener(address: &str) -> ListenerConfig {
    let address = address.strip_prefix("tcp://").unwrap_or(address);
    let host = if address.starts_with(':') { "0.0.0.0" } else { "" };
    ListenerConfig::at(format!("{host}{address}"))
}
