//! Where in the configuration file a listener stands that cannot be used.

use metronome_tokio::host::config::ListenerConfig;
use metronome_tokio::host::config::listeners::address_lines;
use metronome_tokio::{BrokerConfig, ConfigError, StartError};
use std::fs;
use std::path::Path;

/// What [`BrokerConfig::checked_listeners`] says, with the file that they come from and the line of the one that is meant.
pub(crate) fn unusable(
    file: &Path,
    config: &BrokerConfig,
    authenticated: bool,
    error: &ConfigError,
) -> String {
    let is_meant = |listener: &ListenerConfig| {
        let alone = BrokerConfig { listeners: vec![listener.clone()], ..config.clone() };
        alone.checked_listeners(authenticated).is_err_and(|own| own == *error)
    };
    format!("{}: {error}", place(file, config, is_meant))
}

/// Why the broker did not start, where that is a listener with file and line.
pub(crate) fn not_started(file: &Path, config: &BrokerConfig, error: &StartError) -> String {
    match error {
        StartError::Listen { place: wanted, .. } => {
            let is_meant = |listener: &ListenerConfig| listener.place().is_ok_and(|own| own == *wanted);
            format!("{}: {error}", place(file, config, is_meant))
        }
        error => error.to_string(),
    }
}

/// The file, and the line of the first listener that is meant; of none, where only two together cannot be.
fn place(file: &Path, config: &BrokerConfig, is_meant: impl Fn(&ListenerConfig) -> bool) -> String {
    let number = config.listeners.iter().position(is_meant);
    let lines = fs::read_to_string(file).map(|text| address_lines(&text)).unwrap_or_default();
    match number.and_then(|number| lines.get(number)) {
        Some(line) => format!("{}: line {line}", file.display()),
        None => file.display().to_string(),
    }
}
