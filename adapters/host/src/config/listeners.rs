//! What a configuration says of listeners.

use super::AccessControlConfig;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use toml::Spanned;

/// One listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// `ADDRESS:PORT`; port 0 picks a free one, and a name stands for one of its addresses, IPv4 first. Of a Unix socket
    /// the path of its file. The type may stand in front, as in `tls://0.0.0.0:8883`, `ws://localhost:8080/mqtt` or
    /// `unix:///run/metronome.sock`. `program`, as in `ws://program/mqtt`, is no place: only the program that the broker is
    /// embedded in brings connections.
    pub address: String,
    /// What is spoken; left out, what stands in front of the address, or plain TCP.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Its name for hooks and figures.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Path of the URL of a WebSocket; left out, `/mqtt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Origins of pages that may open a WebSocket, as in `https://app.example`; `*` for all. Left out, clients that are no
    /// browser, and pages from the broker's own host: over TLS, or where that is an address or `localhost`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// Proxies that begin every connection with a PROXY header, as addresses or networks such as `10.0.0.0/8`; with any
    /// given, nobody else may connect. Left out, there is no such header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxies: Vec<String>,
    /// Most connections of one address whose client is not let in yet; further ones are closed. Default 0, no limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_strangers_per_address: u32,
    /// Most connections that are accepted in a second; further ones wait. Default 0, no limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_connections_per_second: u32,
    /// File mode of a Unix socket; left out, 0o660.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Under which names pages have metrics; left out, our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricNames>,
    /// Who may connect here, and publish and read what, in the place of what is said for all listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_control: Option<AccessControlConfig>,
    /// Options of its connections' sockets.
    #[serde(default, skip_serializing_if = "TcpConfig::is_default")]
    pub tcp: TcpConfig,
    /// Certificates, where TLS is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde hands it over.
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl ListenerConfig {
    /// One of which only the address is said, with its type in front or plain TCP.
    pub fn at(address: impl Into<String>) -> Self {
        Self { address: address.into(), ..Self::default() }
    }
}

/// The lines of a TOML file on which the addresses of its listeners stand, in their order; none where the text is no such file.
pub fn address_lines(text: &str) -> Vec<usize> {
    #[derive(Default, Deserialize)]
    struct Listeners {
        #[serde(default)]
        listeners: Vec<Listener>,
    }
    #[derive(Deserialize)]
    struct Listener {
        address: Spanned<String>,
    }
    let Listeners { listeners } = toml::from_str(text).unwrap_or_default();
    let before = |listener: &Listener| text.get(..listener.address.span().start).unwrap_or_default();
    listeners.iter().map(|listener| before(listener).matches('\n').count() + 1).collect()
}

/// Options of TCP sockets. What is 0, as everything is by default, is left to the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TcpConfig {
    /// Silence after which the system asks whether the other side is still there, seconds.
    pub keepalive_idle_s: u32,
    /// Time between two such questions, seconds.
    pub keepalive_interval_s: u32,
    /// Questions without an answer after which the connection is broken.
    pub keepalive_probes: u32,
    /// Time in which what was sent has to be acknowledged, else the connection is broken, milliseconds. Linux and Android
    /// have it.
    pub user_timeout_ms: u32,
}

impl TcpConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Names of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricNames {
    /// Ours.
    #[default]
    Metronome,
    /// Those of gmqtt's plugin, for dashboards that were made for it.
    Gmqtt,
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Transport {
    /// MQTT over TCP.
    #[default]
    Tcp,
    /// MQTT over TLS.
    Tls,
    /// MQTT over WebSocket.
    Ws,
    /// MQTT over WebSocket over TLS.
    Wss,
    /// MQTT over a Unix socket.
    Unix,
    /// Any of the first four on one port: the first bytes of a connection tell. TLS where certificates are given.
    Any,
    /// Pages for people and machines that watch the broker.
    Http,
    /// The same over TLS.
    Https,
}

impl Transport {
    /// What stands in front of an address, and other words for the same.
    pub(crate) fn of_scheme(scheme: &str) -> Option<Self> {
        Some(match scheme {
            "mqtt" | "tcp" => Self::Tcp,
            "mqtts" | "tls" => Self::Tls,
            "ws" => Self::Ws,
            "wss" => Self::Wss,
            "unix" => Self::Unix,
            "any" => Self::Any,
            "http" => Self::Http,
            "https" => Self::Https,
            _ => return None,
        })
    }

    /// As a configuration names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
            Self::Any => "any",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// What stands in front of the address in what a person reads.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::Tls => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
            Self::Any => "any",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(crate) fn needs_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss | Self::Https)
    }

    pub(crate) fn may_have_tls(self) -> bool {
        self.needs_tls() || self == Self::Any
    }

    pub(crate) fn has_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss | Self::Any)
    }

    /// Do MQTT clients come in here?
    pub(crate) fn is_for_clients(self) -> bool {
        !matches!(self, Self::Http | Self::Https)
    }
}

/// Files of TLS, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The broker's certificate, and behind it those up to the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Further certificates, for clients that ask for another name (SNI).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NamedCertificate>,
    /// Certificates of those who may vouch for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Are clients asked for a certificate?
    #[serde(default)]
    pub client_certificates: ClientCertificates,
    /// Lists of client certificates that were revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crl: Vec<PathBuf>,
    /// The common name of the client's certificate is its user name, whatever its CONNECT says. Default false.
    #[serde(default)]
    pub username_from_certificate: bool,
    /// The oldest version that is spoken.
    #[serde(default)]
    pub minimum_version: TlsVersion,
}

impl TlsConfig {
    /// All files that it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let names = self.names.iter().flat_map(|name| [&name.certificate, &name.key]);
        [&self.certificate, &self.key].into_iter().chain(names).chain(&self.ca).chain(&self.crl)
    }
}

/// A certificate for one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedCertificate {
    /// The name that clients ask for.
    pub name: String,
    /// The certificate that they get, and behind it those up to the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Are clients asked for a certificate?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// No.
    #[default]
    None,
    /// Yes, and who has none comes in as well.
    Optional,
    /// Nobody comes in without.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// 1.2
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// 1.3
    #[serde(rename = "1.3")]
    Tls13,
}
