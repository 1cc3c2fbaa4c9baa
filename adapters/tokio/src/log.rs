//! The log, and what of the clients goes into it. Text that clients chose is escaped.

use clap::ValueEnum;
use metronome_tokio::AllowAll;
use metronome_tokio::Authenticator;
use metronome_tokio::host::engine::{Answer, Note, Question};
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
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = match form {
        Form::Text => log.with_ansi(false).try_init(),
        Form::Json => log.json().try_init(),
    };
    started.map_err(|error| error.to_string())
}

/// Lets everybody in and logs who comes and goes.
#[derive(Debug, Default)]
pub(crate) struct LogClients(AllowAll);

impl Authenticator for LogClients {
    fn answer(&mut self, question: &Question) -> Answer {
        self.0.answer(question)
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::Connected { conn, client_id, version, session_present } => {
                tracing::info!(conn = conn.slot(), client = ?client_id, ?version, session_present, "client connected");
            }
            Note::Disconnected { conn, client_id, reason, detail } => {
                let (conn, reason) = (conn.slot(), reason.name());
                tracing::info!(conn, client = ?client_id, reason, detail = ?detail, "client disconnected");
            }
            Note::SessionEnded { client_id } => tracing::debug!(client = ?client_id, "session ended"),
            _ => {}
        }
    }
}
