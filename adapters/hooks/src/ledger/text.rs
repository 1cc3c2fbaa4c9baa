//! The ledger as YAML, JSON and TOML, read and written.

use super::Ledger;
use crate::source::{LoadError, syntax};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Why a text that can be read is none to take rules from.
const EMPTY: &str = "is empty; a ledger that is to let in nobody says `users: {}`";

impl Ledger {
    /// Reads YAML.
    ///
    /// # Errors
    /// The text says something that is not known or cannot be; names line and key.
    pub fn from_yaml(text: &str) -> Result<Self, LoadError> {
        syntax::yaml::<Option<Self>>(text)?.ok_or_else(|| LoadError::new(EMPTY))
    }

    /// The ledger in a configuration file of Mochi, in YAML or JSON; `None` if it is no such file.
    pub(crate) fn of_mochi(text: &str) -> Result<Option<Self>, LoadError> {
        let is_json = text.starts_with('{');
        // What else there may be wrong is said by who reads it as a ledger.
        let probed: Result<Probe, _> = if is_json { syntax::json(text) } else { syntax::yaml(text) };
        if !probed.is_ok_and(|file| file.hooks.is_some()) {
            return Ok(None);
        }
        let file: Mochi = if is_json { syntax::json(text)? } else { syntax::yaml(text)? };
        Ok(Some(file.hooks.auth.ledger))
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// As [`Ledger::from_yaml`].
    pub fn from_json(text: &str) -> Result<Self, LoadError> {
        syntax::json(text)
    }

    /// Reads TOML.
    ///
    /// # Errors
    /// As [`Ledger::from_yaml`].
    pub fn from_toml(text: &str) -> Result<Self, LoadError> {
        if text.trim().is_empty() {
            return Err(LoadError::new(EMPTY));
        }
        syntax::toml(text)
    }

    /// Writes YAML.
    ///
    /// # Errors
    /// None for a ledger that was read.
    pub fn to_yaml(&self) -> Result<String, LoadError> {
        // A hash stays in its line.
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        serde_saphyr::to_string_with_options(self, options).map_err(|error| LoadError::new(error.to_string()))
    }

    /// Writes JSON.
    ///
    /// # Errors
    /// As [`Ledger::to_yaml`].
    pub fn to_json(&self) -> Result<String, LoadError> {
        serde_json::to_string_pretty(self).map_err(|error| LoadError::new(error.to_string()))
    }

    /// Writes TOML.
    ///
    /// # Errors
    /// As [`Ledger::to_yaml`].
    pub fn to_toml(&self) -> Result<String, LoadError> {
        toml::to_string(self).map_err(|error| LoadError::new(error.to_string()))
    }
}

/// Tells a configuration file of Mochi from a ledger.
#[derive(Deserialize)]
struct Probe {
    hooks: Option<IgnoredAny>,
}

/// The part of it that is read here.
#[derive(Deserialize)]
struct Mochi {
    hooks: Hooks,
}

#[derive(Deserialize)]
struct Hooks {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    ledger: Ledger,
}
