//! User names and passwords in the layout of gmqtt's accounts: a list in YAML.
//!
//! ```yaml
//! - username: bob
//!   password: 4104d36f8da2c254349f85836793ebe029e0c957063a34c91c2e9203187b5631
//! ```
//!
//! How passwords are stored is said outside the file, once for all of them. As there, a name that is empty or comes
//! twice makes the file unusable.

use crate::passwords::StoredPassword;
use crate::rules::{Parts, Rules, User};
use crate::source::{LoadError, syntax};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use std::collections::BTreeMap;

/// How the passwords of a file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// As they are.
    Plain,
    /// MD5 in hexadecimal digits; gmqtt's default, and no protection.
    Md5,
    /// SHA-256 in hexadecimal digits.
    Sha256,
    /// bcrypt, or any other [kind of hash](crate::passwords) that says itself what it is.
    Bcrypt,
}

impl Digest {
    fn parse(self, text: &str) -> Result<StoredPassword, &'static str> {
        match self {
            _ if text.is_empty() => Err("is empty"),
            Self::Plain => Ok(StoredPassword::plain(text)),
            Self::Md5 => StoredPassword::md5(text).ok_or("is not the 32 hexadecimal digits of an MD5 sum"),
            Self::Sha256 => {
                StoredPassword::sha256(text).ok_or("is not the 64 hexadecimal digits of a SHA-256 sum")
            }
            Self::Bcrypt => match StoredPassword::parse(text)? {
                stored if stored.is_plain() => Err("is no hash"),
                stored => Ok(stored),
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    username: Spanned<Option<String>>,
    password: Spanned<Option<String>>,
}

/// Reads accounts. Whoever has one and the right password is let in; there are no rules about topics.
///
/// # Errors
/// The text is no such list, or an account cannot be; names line and key.
pub fn read(text: &str, digest: Digest) -> Result<Rules, LoadError> {
    let accounts: Vec<Account> = syntax::yaml(text)?;
    let mut users = BTreeMap::new();
    for (number, Account { username, password }) in accounts.into_iter().enumerate() {
        let wrong = |key: &str, place: Location, problem: &str| {
            let line = usize::try_from(place.line()).ok();
            LoadError::new(problem).at_key(format!("[{number}].{key}")).at_line(line)
        };
        let stored = digest.parse(&password.value.unwrap_or_default());
        let stored = stored.map_err(|problem| wrong("password", password.referenced, problem))?;
        let name = username.value.unwrap_or_default();
        if name.is_empty() {
            return Err(wrong("username", username.referenced, "is empty"));
        }
        let user = User { password: Some(stored), disallow: false };
        if users.insert(name.clone(), user).is_some() {
            return Err(wrong("username", username.referenced, &format!("`{name}` is there twice")));
        }
    }
    Ok(Rules::new(Parts { otherwise: !users.is_empty(), users, ..Parts::default() }))
}
