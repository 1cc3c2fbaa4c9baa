//! Which clients a rule is about.

use std::fmt;
use std::net::SocketAddr;

/// What is known of a client.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientFacts<'a> {
    /// Client identifier; empty while the broker has not assigned one.
    pub client_id: &'a str,
    /// User name, where sent.
    pub username: Option<&'a str>,
    /// From where it is connected, where that is an address.
    pub peer: Option<SocketAddr>,
}

impl ClientFacts<'_> {
    /// Its address as rules write it: an IPv4 address that comes in an IPv6 one is an IPv4 address.
    pub(crate) fn remote(&self) -> String {
        self.peer.map_or_else(String::new, |peer| {
            SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string()
        })
    }
}

/// What a rule says of a text: `*` is any, also none; `TEXT*` one that begins so and goes on; anything else itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text {
    start: String,
    /// More may follow, and does unless the start is empty.
    open: bool,
}

impl Text {
    const fn exact(text: String) -> Self {
        Self { start: text, open: false }
    }

    /// Reads a criterion.
    ///
    /// # Errors
    /// It is empty, or has `*` anywhere but at its end.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (start, open) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
        if text.is_empty() {
            Err("is empty: leave the key out, or write \"*\", if it does not matter")
        } else if start.contains('*') {
            Err("has * before its end, where it would match nothing")
        } else {
            Ok(Self { start: start.to_owned(), open })
        }
    }

    /// Reads a criterion for `ADDRESS:PORT`.
    ///
    /// # Errors
    /// As [`Text::parse`], and what no address is like.
    pub fn parse_remote(text: &str) -> Result<Self, &'static str> {
        let Self { start, open } = Self::parse(&text.to_ascii_lowercase())?;
        if open && start.contains(|c: char| !c.is_ascii_hexdigit() && !"[].:%".contains(c)) {
            return Err("begins like no address; names of hosts are not looked up");
        }
        match start.parse() {
            Ok(peer) if !open => {
                Ok(Self::exact(ClientFacts { peer: Some(peer), ..ClientFacts::default() }.remote()))
            }
            Err(_) if !open => {
                Err("is no address with its port: write 127.0.0.1:1883, or 127.0.0.1:* for any port")
            }
            _ => Ok(Self { start, open }),
        }
    }

    /// Is `value` such a text?
    pub fn matches(&self, value: &str) -> bool {
        let goes_on = self.is_any() || value.len() > self.start.len();
        if self.open { goes_on && value.starts_with(&self.start) } else { value == self.start }
    }

    /// Does it match everything?
    pub fn is_any(&self) -> bool {
        self.open && self.start.is_empty()
    }
}

impl Default for Text {
    fn default() -> Self {
        Self { start: String::new(), open: true }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.start, if self.open { "*" } else { "" })
    }
}

/// The clients that a rule is about: all three must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Criteria {
    pub(crate) client: Text,
    /// A client without user name counts as one whose name is empty.
    pub(crate) username: Text,
    pub(crate) remote: Text,
}

impl Criteria {
    /// The user of this name; an empty one is who has none.
    pub(crate) fn user(name: &str) -> Self {
        Self { username: Text::exact(name.to_owned()), ..Self::default() }
    }

    /// `remote` is [`ClientFacts::remote`] of the client, written once for all rules.
    pub(crate) fn match_client(&self, client: &ClientFacts<'_>, remote: &str) -> bool {
        self.client.matches(client.client_id)
            && self.username.matches(client.username.unwrap_or_default())
            && self.remote.matches(remote)
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientFacts, Text};

    #[test]
    fn texts_match_as_the_ledger_has_them() {
        for (text, value, wanted) in [
            ("*", "", true),
            ("*", "anything", true),
            ("bob", "bob", true),
            ("bob", "bobby", false),
            ("bob*", "bobby", true),
            ("bob*", "bob", false),
            ("bob*", "bob*", true),
            ("127.0.0.1:*", "127.0.0.1:50000", true),
            ("127.0.0.1:*", "127.0.0.10:50000", false),
        ] {
            assert_eq!(Text::parse(text).unwrap().matches(value), wanted, "{text} {value}");
        }
        for text in ["", "*bob", "b*b", "b**"] {
            assert!(Text::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_is_written_in_one_way() {
        for (peer, remote) in
            [("127.0.0.1:1", "127.0.0.1:1"), ("[::ffff:127.0.0.1]:1", "127.0.0.1:1"), ("[::1]:1", "[::1]:1")]
        {
            let client = ClientFacts { peer: peer.parse().ok(), ..ClientFacts::default() };
            assert_eq!(client.remote(), remote);
            assert!(Text::parse_remote(peer).unwrap().matches(remote));
        }
        assert!(Text::parse_remote("[FE80::*").unwrap().matches("[fe80::1]:1"));
        for text in ["127.0.0.1", "localhost:*", "", "*:1883", "127.0.0.1:65536"] {
            assert!(Text::parse_remote(text).is_err(), "{text}");
        }
        assert!(!Text::parse_remote("1*").unwrap().matches(&ClientFacts::default().remote()));
    }
}
