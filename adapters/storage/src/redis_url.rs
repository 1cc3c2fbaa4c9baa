//! Where a Redis server is: `rediss://user:password@host:6379/2`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The port that Redis has unless told otherwise.
const PORT: u16 = 6379;

/// A server, a database of it, and how to come in. It is shown without its password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RedisUrl {
    /// As it was given.
    text: String,
    /// Over TLS.
    pub tls: bool,
    /// User of the server's access control list; none is its default user.
    pub user: Option<String>,
    /// Of that user.
    pub password: Option<String>,
    /// Name or address, the latter without brackets.
    pub host: String,
    /// 6379 unless told otherwise.
    pub port: u16,
    /// 0 unless told otherwise.
    pub database: u32,
}

impl FromStr for RedisUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (tls, rest) = match (text.strip_prefix("redis://"), text.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err("the URL of a Redis server begins with redis:// or rediss://"),
        };
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match user.split_once(':') {
            Some((user, password)) => (user, Some(decoded(password)?)),
            None => (user, None),
        };
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or_default())),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() {
            return Err("the URL of a Redis server names no host");
        }
        let port = port.map_or(Ok(PORT), str::parse).map_err(|_| "the port of a Redis server is a number")?;
        let database = if database.is_empty() { Ok(0) } else { database.parse() };
        Ok(Self {
            text: text.to_owned(),
            tls,
            user: Some(decoded(user)?).filter(|user| !user.is_empty()),
            password,
            host: host.to_owned(),
            port,
            database: database.map_err(|_| "what stands behind the host is a database's number")?,
        })
    }
}

/// What stands for itself, or as `%` and two digits.
fn decoded(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit(), digit());
            let code = high.zip(low).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
            code.ok_or("behind % stand two hexadecimal digits")?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).map_err(|_| "user and password are UTF-8")
}

impl TryFrom<String> for RedisUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RedisUrl> for String {
    fn from(url: RedisUrl) -> Self {
        url.text
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "rediss://" } else { "redis://" })?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        let Self { host, port, database, .. } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}/{database}")
        } else {
            write!(f, "{host}:{port}/{database}")
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::RedisUrl;

    #[test]
    fn it_says_who_comes_in_where_and_shows_no_password() {
        for (text, shown, user, password) in [
            ("redis://h", "redis://h:6379/0", None, None),
            ("redis://h:1/", "redis://h:1/0", None, None),
            ("rediss://[::1]:7/3", "rediss://[::1]:7/3", None, None),
            ("redis://[::1]", "redis://[::1]:6379/0", None, None),
            ("redis://:secret@h/2", "redis://h:6379/2", None, Some("secret")),
            ("redis://u@h", "redis://u@h:6379/0", Some("u"), None),
            ("redis://u%40x:a%3A/@h", "", None, None),
            ("redis://u%40x:a%3a%2F@h", "redis://u@x@h:6379/0", Some("u@x"), Some("a:/")),
            ("redis://u:@p@h", "redis://u@h:6379/0", Some("u"), Some("@p")),
        ] {
            let Ok(url) = text.parse::<RedisUrl>() else {
                assert_eq!(shown, "", "{text}");
                continue;
            };
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
            assert_eq!((url.user.as_deref(), url.password.as_deref()), (user, password), "{text}");
            assert_eq!(String::from(url), text);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "h",
            "http://h",
            "redis://",
            "redis://u@",
            "redis://:1",
            "redis://h:x",
            "redis://h:65536",
            "redis://[::1]x",
            "redis://h/x",
            "redis://h/-1",
            "redis://%4@h",
            "redis://%ff@h",
        ] {
            assert!(text.parse::<RedisUrl>().is_err(), "{text}");
        }
    }
}
