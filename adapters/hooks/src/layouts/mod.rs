//! Configuration files of Mochi and gmqtt, read as ours.
//!
//! * [`read`] — tells whose layout it is, and makes a configuration of it
//! * `mochi`, `gmqtt` — what each of their keys becomes
//! * `keys` — the keys of a file, as far as nobody has taken them
//!
//! Every key either becomes one of ours or is named as one that is not honoured. Keys that are left out keep our defaults,
//! also where theirs would be others, unless a [`Profile`](metronome_host::config::Profile) is asked for.

mod gmqtt;
mod keys;
mod mochi;
#[cfg(test)]
mod tests;

use crate::source::{LoadError, line_of, syntax};
use keys::Keys;
use metronome_host::BrokerConfig;
use metronome_host::config::ListenerConfig;
use serde_json::Value;
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
    let is_json = text.starts_with('{');
    let file: Value = if is_json { syntax::json(text)? } else { syntax::yaml(text)? };
    let has = |keys: &[&str]| keys.iter().any(|key| file.get(key).is_some());
    let is_of_mochi = has(&["hooks", "options", "logging"]);
    let is_of_gmqtt = has(&["mqtt", "plugins", "plugin_order", "log"]);
    // Mochi's listeners have a type.
    let listener_has_type = file.pointer("/listeners/0").map(|listener| listener.get("type").is_some());
    let translated = match (is_of_mochi, is_of_gmqtt, listener_has_type) {
        (true, false, _) | (false, false, Some(true)) => mochi::translate(path, Keys::of(file), base),
        (false, true, _) | (false, false, Some(false)) => gmqtt::translate(path, Keys::of(file), base),
        _ => return Err(LoadError::new("is in the layout of neither Mochi nor gmqtt; our own is TOML")),
    };
    let translated = translated.map_err(|error| {
        let line = line_of(text, error.key(), is_json);
        error.at_line(line)
    })?;
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
