//! Files that the configuration names, and reading them again: users and rules, certificates.

use metronome_hooks::{AccessControl, LoadError, RuleFiles, Scram, Webhook, sources};
use metronome_tokio::BrokerHandle;
use metronome_tokio::host::config::AccessControlConfig;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Reads the files that are named; `None` where there are none.
pub(crate) fn files(config: &AccessControlConfig) -> Result<Option<RuleFiles>, LoadError> {
    config.has_files().then(|| RuleFiles::load(sources(config))).transpose()
}

/// Who asks them: about clients with a password or without, and about those that name an authentication method.
pub(crate) fn hooks(files: &RuleFiles, allow_anonymous: bool) -> io::Result<(AccessControl, Scram)> {
    Ok((AccessControl::new(files.rules(), allow_anonymous)?, Scram::new(files.rules())?))
}

/// The web service that is named, if one is.
pub(crate) fn webhook(config: &AccessControlConfig) -> Result<Option<Webhook>, String> {
    let milliseconds = |count: u32| Duration::from_millis(count.into());
    let (timeout, lifetime) =
        (milliseconds(config.webhook_timeout_ms), milliseconds(config.webhook_lifetime_ms));
    let warn = |problem: &str| tracing::warn!(problem, "no answer about access: the answer is no");
    let webhook = config.webhook.as_deref().map(|url| Webhook::new(url, timeout, lifetime, warn));
    webhook.transpose().map_err(|error| format!("access_control.webhook: {error}"))
}

/// What asks for files to be read again, heard from the moment this exists.
pub(crate) struct Hangup {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Hangup {
    pub(crate) fn new() -> io::Result<Self> {
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

/// Reads files again when they have changed, and on SIGHUP: users and rules, and certificates.
pub(crate) async fn keep_current(
    broker: &BrokerHandle,
    mut rules: Option<RuleFiles>,
    mut hangup: Hangup,
) -> Infallible {
    let mut certificates = broker.certificate_files();
    if let Some(rules) = &rules {
        warn(rules);
    }
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            () = hangup.next() => true,
            _ = looks.tick() => false,
        };
        if asked {
            tracing::info!("SIGHUP: users, rules and certificates are read again; the rest needs a restart");
        }
        if let Some(rules) = &mut rules
            && (asked || rules.have_changed())
        {
            read_rules(rules);
        }
        if asked || certificates.have_changed() {
            certificates.begin();
            read_certificates(broker);
        }
    }
}

fn read_rules(files: &mut RuleFiles) {
    match files.reload() {
        Ok(true) => {
            tracing::info!("users and rules were read again, and others hold from now on");
            warn(files);
        }
        Ok(false) => tracing::info!("users and rules were read again, and are the same"),
        Err(error) => tracing::error!(%error, "users and rules stay as they were: a file cannot be used"),
    }
}

fn read_certificates(broker: &BrokerHandle) {
    match broker.reload_certificates() {
        Ok(()) => tracing::info!("certificates were read again, and hold for connections to come"),
        Err(error) => tracing::error!(%error, "certificates stay as they were: a file cannot be used"),
    }
}

fn warn(files: &RuleFiles) {
    for warning in files.rules().get().warnings() {
        tracing::warn!("users and rules: {warning}");
    }
}
