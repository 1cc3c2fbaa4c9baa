//! Files that the configuration names, and reading them again: users and rules, certificates.

use crate::systemd;
use metronome_hooks::{AccessControl, RuleFiles, Scram, Webhook, sources};
use metronome_tokio::host::config::AccessControlConfig;
use metronome_tokio::host::engine::ListenerId;
use metronome_tokio::{AllowAll, BrokerConfig, BrokerHandle, Builder};
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Who decides about the clients of some listeners.
pub(crate) struct Control {
    listeners: Vec<ListenerId>,
    files: Option<RuleFiles>,
    webhook: Option<Webhook>,
}

impl Control {
    fn new(config: &AccessControlConfig, listeners: Vec<ListenerId>) -> Result<Self, String> {
        let files = config.has_files().then(|| RuleFiles::load(sources(config))).transpose();
        let files = files.map_err(|error| error.to_string())?;
        Ok(Self { listeners, files, webhook: webhook(config)? })
    }

    /// Takes its place among the hooks; gives back the files, to be looked at for changes. Files are asked about clients with
    /// a password or without, and about those that name an authentication method.
    pub(crate) fn join(
        self,
        mut builder: Builder,
        allow_anonymous: bool,
    ) -> io::Result<(Builder, Option<RuleFiles>)> {
        let Self { listeners, files, webhook } = self;
        if files.is_none() && webhook.is_none() {
            // Everybody may come in: from this machine, or because the operator said so, which was checked before.
            return Ok((builder.hook_for(listeners, AllowAll), None));
        }
        if let Some(files) = &files {
            let control = AccessControl::new(files.rules(), allow_anonymous)?;
            builder = builder.hook_for(listeners.clone(), control);
            builder = builder.hook_for(listeners.clone(), Scram::new(files.rules())?);
        }
        if let Some(webhook) = webhook {
            builder = builder.hook_for(listeners, webhook);
        }
        Ok((builder, files))
    }
}

/// Reads all files that are named: those of listeners that have access control of their own, and those for all others.
pub(crate) fn controls(config: &BrokerConfig) -> Result<Vec<Control>, String> {
    // With no listener at all there is the default one.
    let owners = config.listeners.iter().map(|listener| listener.access_control.as_ref());
    let owners: Vec<_> = if config.listeners.is_empty() { vec![None] } else { owners.collect() };
    let numbered = || (0..).map(ListenerId).zip(&owners);
    let others = numbered().filter_map(|(id, own)| own.is_none().then_some(id)).collect();
    let mut controls = vec![Control::new(&config.access_control, others)?];
    for (id, own) in numbered() {
        if let Some(own) = own {
            controls.push(Control::new(own, vec![id])?);
        }
    }
    Ok(controls)
}

/// The web service that is named, if one is.
fn webhook(config: &AccessControlConfig) -> Result<Option<Webhook>, String> {
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
    mut rules: Vec<RuleFiles>,
    mut hangup: Hangup,
) -> Infallible {
    let mut certificates = broker.certificate_files();
    rules.iter().for_each(warn);
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            () = hangup.next() => true,
            _ = looks.tick() => false,
        };
        if asked {
            tracing::info!("SIGHUP: users, rules and certificates are read again; the rest needs a restart");
            systemd::notify_reloading();
        }
        for rules in &mut rules {
            if asked || rules.have_changed() {
                read_rules(rules);
            }
        }
        if asked || certificates.have_changed() {
            certificates.begin();
            read_certificates(broker);
        }
        if asked {
            systemd::notify("READY=1");
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
