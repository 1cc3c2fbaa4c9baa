//! Listeners as the configuration asks for them, checked before any is opened.

use crate::config::listeners::{ClientCertificates, ListenerConfig, TcpConfig, TlsConfig, Transport};
use crate::config::{AccessControlConfig, BrokerConfig, ConfigError, DEFAULT_ADDRESS};
use crate::network::Network;
use crate::transport::{Certificates, Service, Stages, WebSocketPolicy};
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

/// How many of the largest packets a WebSocket message may join. No memory is held for it, so the bound is generous.
const PACKETS_PER_MESSAGE: u64 = 16;

/// The path of WebSocket URLs unless told otherwise.
const DEFAULT_PATH: &str = "/mqtt";

/// File mode of Unix sockets unless told otherwise: owner and group.
const DEFAULT_MODE: u32 = 0o660;

/// The address of [`Place::Program`].
const PROGRAM: &str = "program";

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A TCP port.
    Port(SocketAddr),
    /// A Unix socket.
    File {
        /// Its path.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Nowhere: the embedding program brings connections.
    Program,
}

impl Place {
    /// Is it the same, whatever the mode of a file?
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { path: one, .. }, Self::File { path: other, .. }) => one == other,
            _ => self == other,
        }
    }
}

impl ListenerConfig {
    /// Where it is to be.
    ///
    /// # Errors
    /// What it says is no such place.
    pub fn place(&self) -> Result<Place, ConfigError> {
        let (transport, bare, _) = split_address(self)?;
        match transport {
            Transport::Unix => socket_file(&self.address, bare, self.mode),
            _ if bare == PROGRAM => Ok(Place::Program),
            _ => Ok(Place::Port(parse_address(&self.address, bare)?)),
        }
    }

    /// The same at another place: its type and its path are what they were. MQTT over TCP and over a Unix socket are one.
    #[must_use]
    pub fn moved_to(self, place: &Place) -> Self {
        let Ok((transport, _, path)) = split_address(&self) else { return self };
        let path = path.map(ToOwned::to_owned);
        let transport = match (place, transport) {
            (Place::File { .. }, Transport::Tcp) => Transport::Unix,
            (Place::Port(_), Transport::Unix) => Transport::Tcp,
            _ => transport,
        };
        let (transport, address) = (Some(transport), place.to_string());
        Self { address, transport, path: self.path.or(path), ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(address) => address.fmt(f),
            Self::File { path, .. } => path.display().fmt(f),
            Self::Program => f.write_str(PROGRAM),
        }
    }
}

/// One listener, ready to be opened.
#[derive(Clone, Debug)]
pub struct Listener {
    /// As configured, or empty.
    pub name: String,
    /// Where.
    pub place: Place,
    /// What is spoken.
    pub transport: Transport,
    /// What comes before MQTT.
    pub stages: Arc<Stages>,
    /// Path of the URL of a WebSocket, or nothing.
    pub path: String,
    /// Who may connect, where not everybody: proxies.
    pub proxies: Vec<Network>,
    /// Options of its connections' sockets.
    pub tcp: TcpConfig,
    /// As configured.
    pub max_strangers_per_address: u32,
    /// As configured.
    pub max_connections_per_second: u32,
}

impl Listener {
    /// Where clients find it, with the port that was picked.
    pub fn url(&self, address: Option<SocketAddr>) -> String {
        let scheme = self.transport.scheme();
        match (&self.place, address) {
            (Place::File { path, .. }, _) => format!("{scheme}://{}", path.display()),
            (Place::Program, _) => format!("{scheme}://{PROGRAM}{}", self.path),
            (Place::Port(asked), picked) => {
                let address = picked.unwrap_or(*asked);
                format!("{scheme}://{address}{}", self.path)
            }
        }
    }

    /// May this peer connect at all?
    pub fn admits(&self, peer: Option<IpAddr>) -> bool {
        self.proxies.is_empty()
            || peer.is_some_and(|peer| self.proxies.iter().any(|network| network.contains(peer)))
    }
}

impl BrokerConfig {
    /// The listeners, with all files read and checked: beyond loopback only with authentication, or where anonymous
    /// access is asked for in so many words. Those with access control of their own are `authenticated` by that alone.
    ///
    /// # Errors
    /// An address that is none, a type that is not known or does not fit the rest, a file that cannot be used, two
    /// listeners in one place, or anonymous access for strangers.
    pub fn checked_listeners(&self, authenticated: bool) -> Result<Vec<Listener>, ConfigError> {
        let default = [ListenerConfig::at(DEFAULT_ADDRESS)];
        let asked = if self.listeners.is_empty() { &default[..] } else { &self.listeners };
        let mut listeners: Vec<Listener> = Vec::new();
        for config in asked {
            let listener = self.listener(config)?;
            let authenticated =
                config.access_control.as_ref().map_or(authenticated, AccessControlConfig::decides);
            if let Place::Port(address) = listener.place
                && listener.transport.is_for_clients()
                && !address.ip().is_loopback()
                && !authenticated
                && !self.allow_anonymous
            {
                return Err(ConfigError(format!(
                    "{address} can be reached from other machines, and no authentication is configured: anybody \
                     could connect. Use --allow-anonymous if that is wanted, or listen on 127.0.0.1"
                )));
            }
            if let Some(other) = listeners.iter().find(|other| collide(&other.place, &listener.place)) {
                return Err(ConfigError(if other.place == listener.place {
                    format!("{} is given twice", listener.place)
                } else {
                    format!("{} and {} are the same port", other.place, listener.place)
                }));
            }
            if !listener.name.is_empty() && listeners.iter().any(|other| other.name == listener.name) {
                return Err(ConfigError(format!("two listeners are called {}", listener.name)));
            }
            listeners.push(listener);
        }
        Ok(listeners)
    }

    fn listener(&self, config: &ListenerConfig) -> Result<Listener, ConfigError> {
        let text = &config.address;
        let (transport, _, url_path) = split_address(config)?;
        let wrong = |what: &str| Err(ConfigError(format!("{text}: {what}")));
        let path = match (&config.path, url_path) {
            (Some(_), Some(_)) => return wrong("the path is given twice"),
            (Some(path), None) => Some(path.clone()),
            (None, path) => path.map(str::to_owned),
        };
        if !transport.has_websocket() && (path.is_some() || !config.origins.is_empty()) {
            return wrong("`path` and `origins` are for WebSockets: type ws or wss");
        }
        let path = path.unwrap_or_else(|| DEFAULT_PATH.to_owned());
        if !path.starts_with('/') {
            return wrong("the path of a WebSocket begins with /");
        }
        if config.mode.is_some() && transport != Transport::Unix {
            return wrong("`mode` is for Unix sockets");
        }
        if config.metrics.is_some() && transport.is_for_clients() {
            return wrong("`metrics` is for pages: type http or https");
        }
        if config.access_control.is_some() && !transport.is_for_clients() {
            return wrong("has a section `access_control`, and no clients come in there");
        }
        if config.mode.is_some_and(|mode| mode > 0o777) {
            return wrong("`mode` is at most 0o777");
        }
        if transport == Transport::Unix && !config.proxies.is_empty() {
            return wrong("`proxies` are addresses, and a Unix socket has none");
        }
        if transport == Transport::Unix && config.tcp != TcpConfig::default() {
            return wrong("has a section `tcp`, which is not for Unix sockets");
        }
        if config.tls.is_some() && !transport.may_have_tls() {
            return wrong("has a section `tls`, but its type speaks none: use tls, wss or https");
        }
        if config.tls.is_none() && transport.needs_tls() {
            return wrong("TLS needs a section `tls` with `certificate` and `key`");
        }
        if let Some(problem) = config.tls.as_ref().and_then(|tls| ineffective(tls, transport)) {
            return wrong(problem);
        }
        let place = config.place()?;
        let mut networks = Vec::new();
        for proxy in &config.proxies {
            networks.push(proxy.parse().map_err(|error| ConfigError(format!("proxies: {error}")))?);
        }
        let protocols: &[&[u8]] = match transport {
            Transport::Any => &[b"mqtt", b"http/1.1"],
            Transport::Wss | Transport::Https => &[b"http/1.1"],
            _ => &[b"mqtt"],
        };
        let tls = config.tls.clone().map(|files| Certificates::load(files, protocols)).transpose()?;
        let policy = WebSocketPolicy {
            path: path.clone(),
            origins: config.origins.clone(),
            max_message: u64::from(self.limits.max_packet_size) * PACKETS_PER_MESSAGE,
        };
        let stages = Stages {
            is_proxied: !networks.is_empty(),
            tls: tls.map(Arc::new),
            service: match transport {
                Transport::Ws | Transport::Wss => Service::WebSocket(policy),
                Transport::Any => Service::Any(policy),
                Transport::Http | Transport::Https => Service::Pages(config.metrics.unwrap_or_default()),
                _ => Service::Mqtt,
            },
        };
        Ok(Listener {
            name: config.name.clone(),
            place,
            transport,
            stages: Arc::new(stages),
            path: if matches!(transport, Transport::Ws | Transport::Wss) { path } else { String::new() },
            proxies: networks,
            tcp: config.tcp,
            max_strangers_per_address: config.max_strangers_per_address,
            max_connections_per_second: config.max_connections_per_second,
        })
    }
}

/// What a section `tls` asks for and would not get.
fn ineffective(tls: &TlsConfig, transport: Transport) -> Option<&'static str> {
    let asks = tls.client_certificates != ClientCertificates::None;
    let requires = tls.client_certificates == ClientCertificates::Required;
    if tls.username_from_certificate && !requires {
        return Some("`username_from_certificate` needs `client_certificates = \"required\"`");
    }
    if requires && transport == Transport::Any {
        return Some(
            "`client_certificates` cannot be required where clients may come without TLS: use tls or wss",
        );
    }
    if !asks && (tls.ca.is_some() || !tls.crl.is_empty()) {
        return Some("`ca` and `crl` are about client certificates, and `client_certificates` asks for none");
    }
    None
}

/// Type, address without it, and path of the URL where one is said.
fn split_address(config: &ListenerConfig) -> Result<(Transport, &str, Option<&str>), ConfigError> {
    let text = &*config.address;
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok((config.transport.unwrap_or_default(), text, None));
    };
    let Some(transport) = Transport::of_scheme(scheme) else {
        return Err(ConfigError(format!(
            "{text}: unknown type {scheme}; it is one of tcp, tls, ws, wss, unix, any, http and https"
        )));
    };
    if config.transport.is_some_and(|said| said != transport) {
        return Err(ConfigError(format!("{text}: its type says something else")));
    }
    match rest.find('/') {
        Some(at) if transport.has_websocket() => Ok((transport, &rest[..at], Some(&rest[at..]))),
        _ => Ok((transport, rest, None)),
    }
}

fn socket_file(text: &str, path: &str, mode: Option<u32>) -> Result<Place, ConfigError> {
    if cfg!(not(unix)) {
        return Err(ConfigError(format!("{text}: there are no Unix sockets on this system")));
    }
    if path.is_empty() {
        return Err(ConfigError(format!("{text}: a Unix socket needs the path of its file")));
    }
    let path = PathBuf::from(path);
    if path.is_dir() {
        return Err(ConfigError(format!("{text}: is a directory")));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) {
        return Err(ConfigError(format!("{text}: there is no such directory")));
    }
    Ok(Place::File { path, mode: mode.unwrap_or(DEFAULT_MODE) })
}

fn parse_address(text: &str, plain: &str) -> Result<SocketAddr, ConfigError> {
    if let Ok(address) = plain.parse() {
        return Ok(address);
    }
    let has_port = plain
        .rsplit_once(':')
        .is_some_and(|(name, port)| !name.is_empty() && !name.contains(':') && port.parse::<u16>().is_ok());
    if !has_port {
        return Err(ConfigError(format!(
            "{text}: not an address to listen on; use ADDRESS:PORT, such as 127.0.0.1:1883 or [::1]:1883"
        )));
    }
    let found = plain.to_socket_addrs().map_err(|error| ConfigError(format!("{text}: {error}")))?;
    let first = found.min_by_key(SocketAddr::is_ipv6);
    first.ok_or_else(|| ConfigError(format!("{text}: the name has no address")))
}

/// Would only one of them get its place?
fn collide(one: &Place, other: &Place) -> bool {
    match (one, other) {
        (Place::Port(one), Place::Port(other)) => {
            let (a, b) = (one.ip(), other.ip());
            let overlap = a == b || (a.is_unspecified() || b.is_unspecified()) && a.is_ipv4() == b.is_ipv4();
            one.port() != 0 && one.port() == other.port() && overlap
        }
        (Place::File { path: one, .. }, Place::File { path: other, .. }) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Transport};
    use crate::BrokerConfig;

    fn parse(text: &str) -> BrokerConfig {
        BrokerConfig::from_toml(text).unwrap()
    }

    fn places(text: &str) -> Result<Vec<String>, String> {
        let listeners = parse(text).checked_listeners(false).map_err(|error| error.to_string())?;
        Ok(listeners.iter().map(|listener| listener.url(None)).collect())
    }

    fn at(address: &str) -> String {
        format!("[[listeners]]\naddress = \"{address}\"\n")
    }

    #[test]
    fn without_any_it_is_loopback() {
        assert_eq!(places("").unwrap(), ["mqtt://127.0.0.1:1883"]);
    }

    #[test]
    fn the_type_stands_in_front_or_by_itself() {
        for (text, wanted) in [
            (at("[::1]:0"), "mqtt://[::1]:0"),
            (at("mqtt://127.0.0.1:1"), "mqtt://127.0.0.1:1"),
            (at("ws://127.0.0.1:1"), "ws://127.0.0.1:1/mqtt"),
            (at("ws://127.0.0.1:1/"), "ws://127.0.0.1:1/"),
            (at("127.0.0.1:1") + "type = \"ws\"\npath = \"/a/b\"\n", "ws://127.0.0.1:1/a/b"),
            (at("any://127.0.0.1:1"), "any://127.0.0.1:1"),
            (at("http://0.0.0.0:1"), "http://0.0.0.0:1"),
            (at("program"), "mqtt://program"),
            (at("ws://program/a"), "ws://program/a"),
            #[cfg(unix)]
            (at("unix:///tmp/m.sock"), "unix:///tmp/m.sock"),
            #[cfg(unix)]
            (at("m.sock") + "type = \"unix\"\nmode = 0o600\n", "unix://m.sock"),
        ] {
            assert_eq!(places(&text).unwrap(), [wanted], "{text}");
        }
    }

    #[test]
    fn strangers_need_authentication_or_permission() {
        for address in ["0.0.0.0:1883", "ws://0.0.0.0:1883", "any://[::]:1883"] {
            let mut config = parse(&at(address));
            assert!(config.checked_listeners(false).unwrap_err().to_string().contains("--allow-anonymous"));
            assert!(config.checked_listeners(true).is_ok());
            config.allow_anonymous = true;
            assert!(config.checked_listeners(false).is_ok());
        }
    }

    #[test]
    fn access_control_of_a_listener_is_its_authentication() {
        let config = |own: &str| parse(&(at("0.0.0.0:1883") + "[listeners.access_control]\n" + own));
        assert!(config("acl_file = \"acl\"\n").checked_listeners(false).is_ok());
        assert!(config("webhook = \"http://127.0.0.1:1/\"\n").checked_listeners(false).is_ok());
        // Whatever there is for other listeners.
        assert!(config("").checked_listeners(true).is_err());
    }

    #[test]
    fn names_are_resolved() {
        let listeners = parse(&at("tcp://localhost:1884")).checked_listeners(false).unwrap();
        let [listener] = &listeners[..] else { panic!("{listeners:?}") };
        let Place::Port(address) = listener.place else { panic!("{listener:?}") };
        assert!(address.ip().is_loopback() && address.port() == 1884, "{address}");
        assert_eq!(listener.transport, Transport::Tcp);
    }

    #[test]
    fn what_cannot_be_is_named_before_anything_is_opened() {
        let tls = "[listeners.tls]\ncertificate = \"nowhere.pem\"\nkey = \"nowhere.key\"\n";
        for (text, wanted) in [
            (at("localhost"), "localhost: not an address to listen on; use ADDRESS:PORT"),
            (at(":1883"), ":1883: not an address to listen on; use ADDRESS:PORT"),
            (at("::1:1883"), "::1:1883: not an address to listen on; use ADDRESS:PORT"),
            (at("localhost:70000"), "localhost:70000: not an address to listen on"),
            (at("no such name:1"), "no such name:1: "),
            (at("ftp://x"), "ftp://x: unknown type ftp; it is one of tcp, tls, ws"),
            (at("tls://127.0.0.1:1"), "tls://127.0.0.1:1: TLS needs a section `tls`"),
            (at("127.0.0.1:1") + tls, "127.0.0.1:1: has a section `tls`, but its type speaks none"),
            (at("tls://127.0.0.1:1") + tls, "cannot read nowhere.pem: "),
            (at("tls://127.0.0.1:1") + tls + "ca = \"x\"\n", "`ca` and `crl` are about client certificates"),
            (
                at("tls://127.0.0.1:1")
                    + tls
                    + "client_certificates = \"optional\"\nusername_from_certificate = true\n",
                "`username_from_certificate` needs `client_certificates = \"required\"`",
            ),
            (
                at("any://127.0.0.1:1") + tls + "ca = \"x\"\nclient_certificates = \"required\"\n",
                "`client_certificates` cannot be required where clients may come without TLS",
            ),
            (at("ws://127.0.0.1:1") + "type = \"wss\"\n", "its type says something else"),
            (at("ws://127.0.0.1:1/a") + "path = \"/b\"\n", "the path is given twice"),
            (at("ws://127.0.0.1:1") + "path = \"b\"\n", "the path of a WebSocket begins with /"),
            (at("127.0.0.1:1") + "path = \"/b\"\n", "`path` and `origins` are for WebSockets"),
            (at("127.0.0.1:1") + "mode = 0o600\n", "`mode` is for Unix sockets"),
            (at("127.0.0.1:1") + "metrics = \"gmqtt\"\n", "`metrics` is for pages"),
            (at("127.0.0.1:1") + "proxies = [\"localhost\"]\n", "proxies: localhost"),
            (at("http://127.0.0.1:1") + "access_control = {}\n", "and no clients come in there"),
            #[cfg(unix)]
            (at("unix://"), "unix://: a Unix socket needs the path of its file"),
            #[cfg(unix)]
            (at("unix:///tmp"), "unix:///tmp: is a directory"),
            #[cfg(unix)]
            (at("unix:///no/such/m.sock"), "unix:///no/such/m.sock: there is no such directory"),
            #[cfg(unix)]
            (at("unix://m.sock") + "mode = 0o7777\n", "`mode` is at most 0o777"),
            #[cfg(unix)]
            (at("unix://m.sock") + "proxies = [\"::1\"]\n", "a Unix socket has none"),
            #[cfg(unix)]
            (at("unix://m.sock") + "tcp = { keepalive_probes = 3 }\n", "which is not for Unix sockets"),
            (at("127.0.0.1:1") + &at("127.0.0.1:1"), "127.0.0.1:1 is given twice"),
            (at("127.0.0.1:1") + &at("ws://127.0.0.1:1"), "127.0.0.1:1 is given twice"),
            (at("http://0.0.0.0:1") + &at("127.0.0.1:1"), "0.0.0.0:1 and 127.0.0.1:1 are the same port"),
            (
                at("127.0.0.1:1") + "name = \"a\"\n" + &at("127.0.0.1:2") + "name = \"a\"\n",
                "two listeners are called a",
            ),
        ] {
            let error = places(&text).unwrap_err();
            assert!(error.contains(wanted) && error.lines().count() == 1, "{text}{error}");
        }
        assert_eq!(places(&(at("127.0.0.1:0") + &at("127.0.0.1:0"))).unwrap().len(), 2);
        assert_eq!(places(&(at("127.0.0.1:1") + &at("[::1]:1"))).unwrap().len(), 2);
        let error = BrokerConfig::from_toml(&(at("127.0.0.1:1") + "type = \"wsss\"\n")).unwrap_err();
        assert_eq!(error.to_string(), "line 3: type: unknown variant `wsss`; did you mean `wss`?");
    }
}
