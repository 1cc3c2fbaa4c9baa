//! Access control of the binary: the files that the configuration names, and reading them again.

use metronome_hooks::{LoadError, RuleFiles, sources};
use metronome_tokio::host::config::AccessControlConfig;
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Reads the files that are named; `None` where there are none.
pub(crate) fn files(config: &AccessControlConfig) -> Result<Option<RuleFiles>, LoadError> {
    config.is_configured().then(|| RuleFiles::load(sources(config))).transpose()
}

/// What asks for files to be read again, heard from the moment this exists.
pub(crate) struct Hangup {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Hangup {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if self.signal.recv().await.is_some() {
            return;
        }
        pending::<()>().await;
    }
}

/// Reads the files again when they have changed, and on SIGHUP.
pub(crate) async fn keep_current(files: Option<RuleFiles>, mut hangup: Hangup) -> Infallible {
    let Some(mut files) = files else {
        loop {
            hangup.next().await;
            tracing::info!(
                "SIGHUP: there are no files of users and rules; the rest of the configuration needs a restart"
            );
        }
    };
    warn(&files);
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            () = hangup.next() => true,
            _ = looks.tick() => false,
        };
        if !asked && !files.have_changed() {
            continue;
        }
        match files.reload() {
            Ok(true) => {
                tracing::info!("users and rules were read again, and others hold from now on");
                warn(&files);
            }
            Ok(false) => tracing::info!("users and rules were read again, and are the same"),
            Err(error) => tracing::error!(%error, "users and rules stay as they were: a file cannot be used"),
        }
        if asked {
            tracing::info!("SIGHUP: the rest of the configuration needs a restart");
        }
    }
}

fn warn(files: &RuleFiles) {
    for warning in files.rules().get().warnings() {
        tracing::warn!("users and rules: {warning}");
    }
}
