//! The configuration: a file, and what the environment says on top.

mod access_control;
mod changes;
mod environment;
mod explain;
mod jwt;
pub mod listeners;
mod packet_log;
mod profile;

pub use access_control::{AccessControlConfig, AccountsHash};
pub use jwt::{JwtAlgorithm, JwtConfig, JwtPlace};
pub use packet_log::PacketLogConfig;
pub use profile::Profile;

use crate::memory;
use crate::storage::{StorageConfig, StorageEngine};
use crate::sys_topics::SysTopicsConfig;
use broker_engine::{Config, Durability};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::time::Duration;

pub use listeners::ListenerConfig;

/// Everything that a configuration file can say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerConfig {
    /// Where to listen; empty is loopback, port 1883.
    pub listeners: Vec<ListenerConfig>,
    /// Accept clients without authentication also from beyond this machine. With access control: let in clients without
    /// user name that no rule is about.
    pub allow_anonymous: bool,
    /// Who may connect, and who may publish and read what.
    pub access_control: AccessControlConfig,
    /// Tokens that let clients in.
    pub jwt: JwtConfig,
    /// Whose packets are written to the log.
    pub packet_log: PacketLogConfig,
    /// How connections are closed.
    pub linger: Linger,
    /// What the broker tells of itself.
    pub sys_topics: SysTopicsConfig,
    /// What outlives the process.
    pub storage: StorageConfig,
    /// The engine's limits and choices.
    pub limits: Config,
}

/// How a connection that the broker closes is let go. A socket that is closed with unread input discards what
/// was sent last, which is the packet that tells the client why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Linger {
    /// Time for the client to take what is unsent, and as much again to take the end of the stream,
    /// milliseconds. Default 1,000.
    pub time_ms: u32,
    /// Bytes that are read and thrown away meanwhile. Default 64 KiB.
    pub bytes: u32,
}

impl Linger {
    /// Time for each of the two steps.
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.time_ms.into())
    }
}

impl Default for Linger {
    fn default() -> Self {
        Self { time_ms: 1000, bytes: 64 << 10 }
    }
}

/// Why a configuration cannot be used: one sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub(crate) String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// The smallest CONNECT of MQTT 5, bytes.
const LEAST_PACKET_SIZE: u32 = 15;

/// The address that is listened on unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:1883";

impl BrokerConfig {
    /// Reads a TOML file. Unknown keys are refused.
    ///
    /// # Errors
    /// The file cannot be read, or says something that is not known; names file, line and key.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        Self::default().with_file(path)
    }

    /// The same, but for what this TOML file says. Unknown keys are refused.
    ///
    /// # Errors
    /// As [`BrokerConfig::from_file`].
    pub fn with_file(&self, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("cannot read {}: {error}", path.display())))?;
        self.with_toml(&text).map_err(|error| ConfigError(format!("{}: {error}", path.display())))
    }

    /// Reads TOML text. Unknown keys are refused.
    ///
    /// # Errors
    /// The text says something that is not known or cannot be; names line and key.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let config: Self =
            toml::from_str(text).map_err(|error| ConfigError(explain::explain(text, &error)))?;
        config.check().map_err(|error| match explain::line_of(text, &error.0) {
            Some(number) => ConfigError(format!("line {number}: {error}")),
            None => error,
        })?;
        Ok(config)
    }

    /// The same, but for what this TOML text says.
    ///
    /// # Errors
    /// As [`BrokerConfig::from_toml`].
    pub fn with_toml(&self, text: &str) -> Result<Self, ConfigError> {
        profile::overlay(self, text)
    }

    /// A file with every option, its unit, its default and what it does; as configuration it changes nothing.
    pub const fn default_toml() -> &'static str {
        include_str!("config/default.toml")
    }

    /// Sets what variables of the environment say, such as `METRONOME_LIMITS_RECEIVE_MAXIMUM`. All whose names begin
    /// with `METRONOME_` have to stand for a key of a section, or be one of `flags`, of which somebody else takes care.
    ///
    /// # Errors
    /// A variable stands for nothing, or its value does not fit; names it. Also as [`BrokerConfig::check`].
    pub fn with_environment(
        self,
        variables: impl Iterator<Item = (String, String)>,
        flags: &[&str],
    ) -> Result<Self, ConfigError> {
        let config = environment::set(self, variables, flags)?;
        config.check()?;
        Ok(config)
    }

    /// Refuses limits that contradict each other or let nobody do anything.
    ///
    /// # Errors
    /// Names the first such limit.
    pub fn check(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let zero = [
            ("connect_timeout_ms", limits.connect_timeout.is_zero()),
            ("hook_timeout_ms", limits.hook_timeout.is_zero()),
            ("authenticate_timeout_ms", limits.authenticate_timeout == Some(Duration::ZERO)),
            ("subscribe_timeout_ms", limits.subscribe_timeout == Some(Duration::ZERO)),
            ("publish_timeout_ms", limits.publish_timeout == Some(Duration::ZERO)),
            ("max_publish_questions", limits.max_publish_questions == 0),
            ("max_connections", limits.max_connections == 0),
            ("max_sessions", limits.max_sessions == 0),
            ("max_subscriptions", limits.max_subscriptions == 0),
            ("max_subscriptions_per_session", limits.max_subscriptions_per_session == 0),
            ("max_filter_levels_per_session", limits.max_filter_levels_per_session == 0),
            ("max_filters_per_packet", limits.max_filters_per_packet == 0),
            ("stall_timeout_ms", limits.stall_timeout.is_zero()),
            ("receive_maximum", limits.receive_maximum == 0),
            ("max_inflight", limits.max_inflight == 0),
            ("max_topic_length", limits.max_topic_length == 0),
            ("max_topic_levels", limits.max_topic_levels == 0),
            ("egress_high", limits.egress_high == 0),
            ("work_per_call", limits.work_per_call == 0),
            ("memory_high", limits.memory_high == Some(0)),
            ("memory_max", limits.memory_max == Some(0)),
        ];
        if let Some((key, _)) = zero.iter().find(|(_, is_zero)| *is_zero) {
            return Err(ConfigError(format!("limits.{key} must not be 0")));
        }
        let packet_sizes = [
            ("max_packet_size_before_connect", limits.max_packet_size_before_connect),
            ("max_packet_size", limits.max_packet_size),
        ];
        if let Some((key, size)) = packet_sizes.iter().find(|(_, size)| *size < LEAST_PACKET_SIZE) {
            return Err(ConfigError(format!(
                "limits.{key} ({size}) must be at least {LEAST_PACKET_SIZE}: no client could connect"
            )));
        }
        if limits.max_client_id_length == 0 && !limits.allow_empty_client_id {
            return Err(ConfigError(
                "limits.max_client_id_length must not be 0 where limits.allow_empty_client_id is false"
                    .to_owned(),
            ));
        }
        if limits.egress_low >= limits.egress_high {
            return Err(ConfigError(format!(
                "limits.egress_low ({}) must be below limits.egress_high ({}): between them a slow client gets \
                 nothing",
                limits.egress_low, limits.egress_high
            )));
        }
        check_budget(limits, "")?;
        if limits.durability != Durability::Memory {
            return Err(ConfigError(
                "limits.durability follows storage.durability: set that instead".to_owned(),
            ));
        }
        Ok(())
    }

    /// Sets what is not set and depends on the machine, and refuses what contradicts it.
    ///
    /// # Errors
    /// As [`BrokerConfig::check`], and a limit that contradicts one that was set here.
    pub fn complete(mut self) -> Result<Self, ConfigError> {
        self.check()?;
        let ours = if self.limits.memory_max.is_none() { ", 80 % of the memory there is" } else { "" };
        memory::set_budget(&mut self.limits);
        check_budget(&self.limits, ours)?;
        if self.storage.engine == StorageEngine::Redis && self.storage.redis_url.is_none() {
            return Err(ConfigError(
                "storage.engine \"redis\" needs storage.redis_url, which says where the server is".to_owned(),
            ));
        }
        self.limits.durability = self.storage.level();
        Ok(self)
    }
}

/// `origin` says where the maximum comes from, unless the operator gave it.
fn check_budget(limits: &Config, origin: &str) -> Result<(), ConfigError> {
    match (limits.memory_high, limits.memory_max) {
        (Some(high), Some(max)) if high >= max => Err(ConfigError(format!(
            "limits.memory_high ({high}) must be below limits.memory_max ({max}{origin}): publishers are slowed \
             down first, and refused later"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::listeners::{ClientCertificates, MetricNames, TcpConfig, TlsConfig, TlsVersion, Transport};
    use super::{AccountsHash, BrokerConfig, Config, Duration, JwtPlace, ListenerConfig};

    fn parse(text: &str) -> Result<BrokerConfig, String> {
        BrokerConfig::from_toml(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_sets_limits_and_listeners() {
        let config = parse(
            "[[listeners]]\naddress = \"[::1]:0\"\n[limits]\nreceive_maximum = 7\nconnect_timeout_ms = 250\n",
        );
        let config = config.unwrap();
        // What the file leaves out is as it comes.
        let connect_timeout = Duration::from_millis(250);
        assert_eq!(config.limits, Config { receive_maximum: 7, connect_timeout, ..Config::default() });
        assert_eq!(config.listeners, [ListenerConfig::at("[::1]:0")]);
    }

    #[test]
    fn limits_that_contradict_are_refused() {
        for (limits, wanted) in [
            ("egress_low = 9\negress_high = 9", "egress_low (9) must be below limits.egress_high (9)"),
            ("memory_high = 9\nmemory_max = 9", "memory_high (9) must be below limits.memory_max (9)"),
            ("durability = \"durable\"", "limits.durability"),
            ("max_client_id_length = 0\nallow_empty_client_id = false", "limits.allow_empty_client_id"),
        ] {
            let error = parse(&format!("[limits]\n{limits}\n")).unwrap_err();
            assert!(error.contains(wanted) && error.lines().count() == 1, "{limits}: {error}");
        }
    }

    #[test]
    fn limits_with_which_nobody_could_do_anything_are_refused() {
        for key in [
            "connect_timeout_ms",
            "hook_timeout_ms",
            "authenticate_timeout_ms",
            "subscribe_timeout_ms",
            "publish_timeout_ms",
            "max_publish_questions",
            "max_connections",
            "max_sessions",
            "max_subscriptions",
            "max_subscriptions_per_session",
            "max_filter_levels_per_session",
            "max_filters_per_packet",
            "receive_maximum",
            "max_inflight",
            "max_topic_length",
            "max_topic_levels",
            "egress_high",
            "work_per_call",
            "memory_high",
            "memory_max",
        ] {
            let error = parse(&format!("[limits]\n{key} = 0\n")).unwrap_err();
            assert_eq!(error, format!("line 2: limits.{key} must not be 0"));
        }
        for key in ["max_packet_size", "max_packet_size_before_connect"] {
            let error = parse(&format!("[limits]\n{key} = 14\n")).unwrap_err();
            let wanted = "must be at least 15: no client could connect";
            assert_eq!(error, format!("line 2: limits.{key} (14) {wanted}"));
        }
        assert_eq!(parse("[linger]\ntime_ms = 5\n").unwrap().linger.bytes, 64 << 10);
        assert!(parse("[linger]\nbytes = -1\n").is_err());
    }

    #[test]
    fn what_the_machine_sets_must_fit_what_the_operator_set() {
        let given = parse(&format!("[limits]\nmemory_high = {}\n", i64::MAX)).unwrap();
        if crate::memory::available().is_some() {
            let error = given.complete().unwrap_err().to_string();
            assert!(error.contains("limits.memory_high (9223372036854775807)"), "{error}");
            assert!(
                error.contains("limits.memory_max (") && error.contains(", 80 % of the memory"),
                "{error}"
            );
        }
        let complete = BrokerConfig::default().complete().unwrap();
        assert_eq!(complete.limits.memory_max.is_some(), crate::memory::available().is_some());
    }

    #[test]
    fn the_default_file_has_every_option_with_its_default() {
        let text = BrokerConfig::default_toml();
        assert_eq!(parse(text).unwrap(), BrokerConfig::default());
        // Without what stands in front of what is left out: the examples of options that are off come with it.
        let is_option = |line: &str| line.starts_with('[') || line.contains(" = ") && !line.contains(": ");
        let bare: Vec<&str> = text
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|bare| is_option(bare)).unwrap_or(line))
            .collect();
        let mut config = parse(&bare.join("\n")).unwrap();
        // One listener with everything that can be said of one.
        let listener = config.listeners.pop().unwrap();
        let ListenerConfig {
            address,
            transport,
            name,
            path,
            origins,
            proxies,
            max_strangers_per_address,
            max_connections_per_second,
            mode,
            metrics,
            access_control,
            tcp,
            tls,
        } = listener;
        let TcpConfig { keepalive_idle_s, keepalive_interval_s, keepalive_probes, user_timeout_ms } = tcp;
        let is_set = |option| option > 0;
        assert!(
            [keepalive_idle_s, keepalive_interval_s, keepalive_probes, user_timeout_ms]
                .into_iter()
                .all(is_set)
        );
        assert_eq!((&*address, transport, mode), (super::DEFAULT_ADDRESS, Some(Transport::Tcp), Some(0o660)));
        assert!(!name.is_empty() && path.is_some());
        assert_eq!(metrics, Some(MetricNames::default()));
        assert!(access_control.unwrap().password_file.is_some());
        assert!(max_strangers_per_address > 0 && max_connections_per_second > 0);
        assert!(!origins.is_empty() && !proxies.is_empty());
        let TlsConfig {
            certificate: _,
            key: _,
            names,
            ca,
            client_certificates,
            crl,
            username_from_certificate,
            minimum_version,
        } = tls.unwrap();
        assert!(names.len() == 1 && ca.is_some() && !crl.is_empty() && username_from_certificate);
        assert_eq!(client_certificates, ClientCertificates::Required);
        assert_eq!(minimum_version, TlsVersion::default());
        for (option, example) in
            [(&mut config.limits.memory_high, "1000000000"), (&mut config.limits.memory_max, "2000000000")]
        {
            assert_eq!(option.take().map(|bytes| bytes.to_string()).as_deref(), Some(example));
        }
        assert!(config.limits.response_information.take().is_some());
        let limits = &mut config.limits;
        for own in
            [&mut limits.authenticate_timeout, &mut limits.subscribe_timeout, &mut limits.publish_timeout]
        {
            assert!(own.take().is_some());
        }
        let files = std::mem::take(&mut config.access_control);
        assert!(files.ledgers.len() == 1 && files.accounts_hash == AccountsHash::default());
        assert!(files.password_file.is_some() && files.acl_file.is_some() && files.accounts.is_some());
        let storage = &mut config.storage;
        assert!(storage.path.take().is_some() && storage.redis_url.take().is_some());
        assert_eq!(storage.max_bytes.take(), Some(10 << 30));
        assert!(storage.redis_password_file.take().is_some() && storage.redis_ca.take().is_some());
        assert!(files.webhook.is_some());
        let packet_log = std::mem::take(&mut config.packet_log);
        assert!(packet_log.clients.len() == 1 && packet_log.topics.len() == 1);
        let jwt = std::mem::take(&mut config.jwt);
        let all = [jwt.method, jwt.issuer, jwt.audience, jwt.client_id_claim].iter().all(Option::is_some);
        assert!(all && jwt.key.is_some() && jwt.algorithms.len() == 2 && jwt.from == JwtPlace::Password);
        assert_eq!(config, BrokerConfig::default());
        let all = toml::Table::try_from(BrokerConfig::default()).unwrap();
        let keys = all.iter().flat_map(|(key, value)| match value {
            toml::Value::Table(section) => section.keys().cloned().collect(),
            _ => vec![key.clone()],
        });
        for key in keys.filter(|key| key != "listeners") {
            let at = bare.iter().position(|line| line.starts_with(&format!("{key} = ")));
            let at = at.unwrap_or_else(|| panic!("{key} is not in the file"));
            assert!(bare[at - 1].starts_with("# "), "{key} is not explained");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let text = toml::to_string(&BrokerConfig::default()).unwrap();
        assert_eq!(parse(&text).unwrap(), BrokerConfig::default(), "{text}");
    }
}
