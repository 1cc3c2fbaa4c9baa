//! The configuration file: listeners and limits.

use broker_engine::{Config, Durability};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Everything that a configuration file can say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerConfig {
    /// Where to listen; empty is loopback, port 1883.
    pub listeners: Vec<ListenerConfig>,
    /// Accept clients without authentication also from beyond this machine.
    pub allow_anonymous: bool,
    /// How connections are closed.
    pub linger: Linger,
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

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// `ADDRESS:PORT`, optionally with `mqtt://` or `tcp://` in front; port 0 picks a free one.
    pub address: String,
}

/// Why a configuration cannot be used: one sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// The address that is listened on unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:1883";

impl BrokerConfig {
    /// Reads a TOML file. Unknown keys are refused.
    ///
    /// # Errors
    /// The file cannot be read, or says something that is not known; names file, line and key.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("cannot read {}: {error}", path.display())))?;
        Self::from_toml(&text).map_err(|error| ConfigError(format!("{}: {error}", path.display())))
    }

    /// Reads TOML text. Unknown keys are refused.
    ///
    /// # Errors
    /// The text says something that is not known or cannot be; names line and key.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let config: Self =
            toml::from_str(text).map_err(|error| ConfigError(error.to_string().trim_end().to_owned()))?;
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
            ("receive_maximum", limits.receive_maximum == 0),
            ("max_inflight", limits.max_inflight == 0),
            ("max_topic_length", limits.max_topic_length == 0),
            ("max_topic_levels", limits.max_topic_levels == 0),
            ("max_packet_size", limits.max_packet_size == 0),
            ("max_packet_size_before_connect", limits.max_packet_size_before_connect == 0),
            ("egress_high", limits.egress_high == 0),
        ];
        if let Some((key, _)) = zero.iter().find(|(_, is_zero)| *is_zero) {
            return Err(ConfigError(format!("limits.{key} must not be 0")));
        }
        if limits.egress_low >= limits.egress_high {
            return Err(ConfigError(format!(
                "limits.egress_low ({}) must be below limits.egress_high ({}): between them a slow client gets \
                 nothing",
                limits.egress_low, limits.egress_high
            )));
        }
        if let (Some(high), Some(max)) = (limits.memory_high, limits.memory_max)
            && high >= max
        {
            return Err(ConfigError(format!(
                "limits.memory_high ({high}) must be below limits.memory_max ({max}): publishers are slowed down \
                 first, and refused later"
            )));
        }
        if limits.durability != Durability::Memory {
            return Err(ConfigError(
                "limits.durability can only be \"memory\": there is no durable store yet".to_owned(),
            ));
        }
        Ok(())
    }

    /// The addresses to listen on, checked: beyond loopback only with authentication, or where anonymous access
    /// is asked for in so many words.
    ///
    /// # Errors
    /// An address that is none, a transport that is not known, or anonymous access for strangers.
    pub fn addresses(&self, authenticated: bool) -> Result<Vec<SocketAddr>, ConfigError> {
        let default = [ListenerConfig { address: DEFAULT_ADDRESS.to_owned() }];
        let listeners = if self.listeners.is_empty() { &default[..] } else { &self.listeners };
        let mut addresses = Vec::new();
        for listener in listeners {
            let address = parse_address(&listener.address)?;
            if !address.ip().is_loopback() && !authenticated && !self.allow_anonymous {
                return Err(ConfigError(format!(
                    "{address} can be reached from other machines, and no authentication is configured: anybody \
                     could connect. Use --allow-anonymous if that is wanted, or listen on 127.0.0.1"
                )));
            }
            if address.port() != 0 && addresses.contains(&address) {
                return Err(ConfigError(format!("{address} is given twice")));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, ConfigError> {
    let plain = text.strip_prefix("mqtt://").or_else(|| text.strip_prefix("tcp://")).unwrap_or(text);
    if let Some((scheme, _)) = plain.split_once("://") {
        return Err(ConfigError(match scheme {
            "tls" | "mqtts" | "ws" | "wss" | "unix" => {
                format!("{text}: the transport {scheme} is not supported by this version; only TCP is")
            }
            _ => format!("{text}: unknown transport {scheme}; only TCP is supported, as 127.0.0.1:1883"),
        }));
    }
    plain.parse().map_err(|_| {
        ConfigError(format!(
            "{text}: not an address to listen on; use ADDRESS:PORT, such as 127.0.0.1:1883 or [::1]:1883"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::BrokerConfig;

    fn parse(text: &str) -> Result<BrokerConfig, String> {
        BrokerConfig::from_toml(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_sets_limits_and_listeners() {
        let config = parse(
            "[[listeners]]\naddress = \"[::1]:0\"\n[limits]\nreceive_maximum = 7\nconnect_timeout_ms = 250\n",
        );
        let config = config.unwrap();
        assert_eq!(config.limits.receive_maximum, 7);
        assert_eq!(config.limits.connect_timeout.as_millis(), 250);
        assert_eq!(config.addresses(false).unwrap()[0].to_string(), "[::1]:0");
    }

    #[test]
    fn an_unknown_key_is_refused_by_name_and_line() {
        let error = parse("[limits]\nrecieve_maximum = 7\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains("recieve_maximum"), "{error}");
    }

    #[test]
    fn limits_that_contradict_are_refused() {
        let error = parse("[limits]\negress_low = 9\negress_high = 9\n").unwrap_err();
        assert!(error.contains("egress_low (9)"), "{error}");
        let error = parse("[limits]\nreceive_maximum = 0\n").unwrap_err();
        assert_eq!(error, "limits.receive_maximum must not be 0");
        assert_eq!(parse("[linger]\ntime_ms = 5\n").unwrap().linger.bytes, 64 << 10);
        assert!(parse("[linger]\nbytes = -1\n").is_err());
        let error = parse("[limits]\nmemory_high = 9\nmemory_max = 9\n").unwrap_err();
        assert!(error.contains("memory_high (9)"), "{error}");
        let error = parse("[limits]\ndurability = \"durable\"\n").unwrap_err();
        assert!(error.contains("limits.durability"), "{error}");
    }

    #[test]
    fn what_is_written_can_be_read() {
        let text = toml::to_string(&BrokerConfig::default()).unwrap();
        assert_eq!(parse(&text).unwrap(), BrokerConfig::default(), "{text}");
    }

    #[test]
    fn strangers_need_authentication_or_permission() {
        let mut config = parse("[[listeners]]\naddress = \"0.0.0.0:1883\"\n").unwrap();
        assert!(config.addresses(false).unwrap_err().to_string().contains("--allow-anonymous"));
        assert!(config.addresses(true).is_ok());
        config.allow_anonymous = true;
        assert!(config.addresses(false).is_ok());
    }

    #[test]
    fn bad_addresses_are_named() {
        for (address, wanted) in
            [("localhost", "ADDRESS:PORT"), ("wss://h:1/p", "not supported"), ("ftp://x", "unknown")]
        {
            let config = parse(&format!("[[listeners]]\naddress = \"{address}\"\n")).unwrap();
            let error = config.addresses(false).unwrap_err().to_string();
            assert!(error.contains(address) && error.contains(wanted), "{error}");
        }
    }
}
