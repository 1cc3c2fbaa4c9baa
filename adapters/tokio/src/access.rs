//! Hooks that the configuration asks for, and reading the files again that it names, certificates too.

use crate::{scram_secret, systemd};
use metronome_hooks::{AccessControl, Jwt, JwtKeys, PacketLog, RuleFiles, Scram, Source, Webhook, sources};
use metronome_tokio::host::Direction;
use metronome_tokio::host::config::{AccessControlConfig, PacketLogConfig};
use metronome_tokio::host::engine::ListenerId;
use metronome_tokio::{AllowAll, BrokerConfig, BrokerHandle, Builder, Client};
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Who decides about the clients of some listeners.
struct Control {
    listeners: Vec<ListenerId>,
    rules: Option<RuleFiles>,
    /// [`AccessControlConfig::scram_secret`].
    scram_secret: Option<PathBuf>,
    keys: Option<JwtKeys>,
    webhook: Option<Webhook>,
}

impl Control {
    /// `section` is where the configuration has this.
    fn new(config: &AccessControlConfig, section: &str, listeners: Vec<ListenerId>) -> Result<Self, String> {
        let rules = config.has_files().then(|| RuleFiles::load(sources(config))).transpose();
        let rules = rules.map_err(|error| {
            let sources = sources(config);
            let source = sources.iter().find(|source| error.file() == Some(source.path()));
            format!("{section}.{}: {error}", source.map_or("ledgers", Source::key))
        })?;
        let scram_secret = config.scram_secret.clone();
        Ok(Self { listeners, rules, scram_secret, keys: None, webhook: webhook(config)? })
    }

    fn decides(&self) -> bool {
        self.rules.is_some() || self.keys.is_some() || self.webhook.is_some()
    }

    /// Takes its place among the hooks. Files are asked about clients with a password or without, and about those that name
    /// an authentication method.
    fn join(&mut self, mut builder: Builder, config: &BrokerConfig) -> io::Result<Builder> {
        let listeners = || self.listeners.clone();
        if !self.decides() {
            // Everybody may come in: from this machine, or because the operator said so, which was checked before.
            return Ok(builder.hook_for(listeners(), AllowAll));
        }
        if let Some(keys) = &self.keys {
            let log = |client: &Client, problem: &str| {
                tracing::debug!(client_id = client.client_id, problem, "a token is refused");
            };
            let rules = self.rules.as_ref().map(RuleFiles::rules);
            // Ahead of the files, to which the token of a user whom they know is a wrong password.
            builder = builder.hook_for(listeners(), Jwt::new(config.jwt.clone(), keys, rules, log)?);
        }
        if let Some(rules) = &self.rules {
            let mut scram = Scram::new(rules.rules())?;
            if let Some(file) = self.scram_secret.take().or_else(|| scram_secret::place(&config.storage)) {
                scram = scram.with_secret(scram_secret::read(&file)?);
            }
            builder = builder
                .hook_for(listeners(), AccessControl::new(rules.rules(), config.allow_anonymous)?)
                .hook_for(listeners(), scram);
        }
        if let Some(webhook) = self.webhook.take() {
            builder = builder.hook_for(listeners(), webhook);
        }
        Ok(builder)
    }
}

/// Who decides about clients and who listens to them, as the configuration names it.
pub(crate) struct Access {
    /// The first is for listeners that name nobody themselves.
    controls: Vec<Control>,
    packet_log: Option<PacketLog>,
}

impl Access {
    /// Reads all files that are named.
    pub(crate) fn load(config: &BrokerConfig) -> Result<Self, String> {
        // With no listener at all there is the default one.
        let owners = config.listeners.iter().map(|listener| listener.access_control.as_ref());
        let owners: Vec<_> = if config.listeners.is_empty() { vec![None] } else { owners.collect() };
        let numbered = || (0..).map(ListenerId).zip(&owners);
        let others = numbered().filter_map(|(id, own)| own.is_none().then_some(id)).collect();
        let mut first = Control::new(&config.access_control, "access_control", others)?;
        let keys = config.jwt.key.as_deref().map(JwtKeys::load).transpose();
        first.keys = keys.map_err(|error| format!("jwt.key: {error}"))?;
        let mut controls = vec![first];
        for (id, own) in numbered() {
            if let Some(own) = own {
                let section = format!("listeners[{}].access_control", id.0);
                controls.push(Control::new(own, &section, vec![id])?);
            }
        }
        Ok(Self { controls, packet_log: packet_log(&config.packet_log)? })
    }

    /// Does anything decide about clients of listeners that name nobody?
    pub(crate) fn is_controlled(&self) -> bool {
        self.controls.first().is_some_and(Control::decides)
    }

    /// Adds the hooks.
    pub(crate) fn add_to(&mut self, mut builder: Builder, config: &BrokerConfig) -> io::Result<Builder> {
        if let Some(log) = self.packet_log.take() {
            builder = builder.hook(log);
        }
        self.controls.iter_mut().try_fold(builder, |builder, control| control.join(builder, config))
    }

    /// Reads files again when they have changed, and on SIGHUP: users and rules, keys of tokens, and certificates. What
    /// else may have changed by then is for `tell_changes`.
    pub(crate) async fn keep_current(
        mut self,
        broker: &BrokerHandle,
        mut hangup: Hangup,
        tell_changes: impl Fn(),
    ) -> Infallible {
        let mut certificates = broker.certificate_files();
        self.controls.iter().filter_map(|control| control.rules.as_ref()).for_each(warn);
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                () = hangup.next() => true,
                _ = looks.tick() => false,
            };
            if asked {
                tracing::info!("SIGHUP: users, rules, keys and certificates are read again");
                systemd::notify_reloading();
                tell_changes();
            }
            for Control { rules, keys, .. } in &mut self.controls {
                if let Some(rules) = rules
                    && (asked || rules.have_changed())
                {
                    read_rules(rules);
                }
                if let Some(keys) = keys
                    && (asked || keys.have_changed())
                {
                    read_keys(keys);
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
}

/// What writes packets to the log, if any are chosen.
fn packet_log(config: &PacketLogConfig) -> Result<Option<PacketLog>, String> {
    let write = |client_id: &str, direction: Direction, packet: &str| match direction {
        Direction::Read => tracing::info!(client_id, packet, "read"),
        Direction::Sent => tracing::info!(client_id, packet, "sent"),
    };
    let log = config.is_on().then(|| PacketLog::new(config.clone(), write)).transpose();
    log.map_err(|(filter, error)| format!("packet_log.topics: {filter:?}: {error}"))
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

fn read_keys(keys: &mut JwtKeys) {
    match keys.reload() {
        Ok(()) => tracing::info!("keys of tokens were read again, and hold for clients to come"),
        Err(error) => tracing::error!(%error, "keys of tokens stay as they were: the file cannot be used"),
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
