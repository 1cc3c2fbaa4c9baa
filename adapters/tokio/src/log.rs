//! Where the binary's log goes, and in which form.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Form {
    /// A line for a person.
    Text,
    /// A JSON object for a machine.
    Json,
}

/// Starts logging to standard error.
pub(crate) fn start(form: Form, level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(level)
        .map_err(|error| format!("--log-level {level:?}: {error}; use error, warn, info, debug or trace"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // When nobody reads the log any more, the broker goes on; complaining about it there would be a panic.
    let log = log.with_target(false).log_internal_errors(false);
    let started = match form {
        Form::Text => log.with_ansi(false).try_init(),
        Form::Json => log.json().try_init(),
    };
    started.map_err(|error| error.to_string())
}
