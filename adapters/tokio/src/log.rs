//! Where the binary's log goes, and in which form.

use clap::ValueEnum;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Form {
    /// A line for a person.
    Text,
    /// A JSON object for a machine.
    Json,
}

/// Lines that may wait for whoever reads the log; further ones are lost.
const WAITING_LINES: usize = 16_384;

/// Starts logging to standard error. A thread of its own writes, so that a reader who stopped reading stops
/// nobody else; what waits is written when the guard is dropped.
pub(crate) fn start(form: Form, level: &str) -> Result<WorkerGuard, String> {
    let filter = filter(level).ok_or_else(|| {
        format!("--log-level {level:?}: use error, warn, info, debug, trace or off, or a filter such as info,metronome=debug")
    })?;
    let writer = NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES).lossy(true);
    let (writer, guard) = writer.finish(std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // When nobody reads the log any more, the broker goes on; complaining about it there would be a panic.
    let log = log.with_target(false).log_internal_errors(false);
    let started = match form {
        Form::Text => log.with_ansi(false).try_init(),
        Form::Json => log.json().try_init(),
    };
    started.map(|()| guard).map_err(|error| error.to_string())
}

/// A level, or filters `TARGET=LEVEL`, with commas between them. The library would take any word for the name of
/// a target, and a misspelt level would silence everything.
fn filter(text: &str) -> Option<EnvFilter> {
    let is_level = |word: &str| {
        ["error", "warn", "info", "debug", "trace", "off"]
            .iter()
            .any(|level| word.eq_ignore_ascii_case(level))
    };
    let is_target = |word: &str| {
        !word.is_empty() && word.chars().all(|letter| letter.is_ascii_alphanumeric() || "_:".contains(letter))
    };
    let is_directive = |part: &str| match part.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(part),
    };
    if text.split(',').all(is_directive) { EnvFilter::try_new(text).ok() } else { None }
}
