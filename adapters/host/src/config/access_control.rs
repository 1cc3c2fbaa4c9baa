//! Which files say who may connect, and who may publish and read what.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Files of users and rules. Those named first come first, in the order of these fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessControlConfig {
    /// Auth ledgers: YAML, JSON or TOML.
    pub ledgers: Vec<PathBuf>,
    /// mosquitto's `password_file`.
    pub password_file: Option<PathBuf>,
    /// mosquitto's `acl_file`.
    pub acl_file: Option<PathBuf>,
    /// gmqtt's accounts.
    pub accounts: Option<PathBuf>,
    /// How these store passwords. Default MD5, as there.
    pub accounts_hash: AccountsHash,
}

impl AccessControlConfig {
    /// Is any file named? If not, there is no access control.
    pub fn is_configured(&self) -> bool {
        let Self { ledgers, password_file, acl_file, accounts, accounts_hash: _ } = self;
        !ledgers.is_empty() || [password_file, acl_file, accounts].iter().any(|file| file.is_some())
    }
}

/// How passwords of gmqtt's accounts are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountsHash {
    /// Not at all.
    Plain,
    /// MD5.
    #[default]
    Md5,
    /// SHA-256.
    Sha256,
    /// bcrypt, or any other kind of hash that says itself what it is.
    Bcrypt,
}
