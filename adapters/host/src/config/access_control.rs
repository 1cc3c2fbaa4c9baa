//! Which files say who may connect, and who may publish and read what.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Files of users and rules, and a web service that is asked behind them. Those named first come first, in the order of
/// these fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Where the secret is kept by which SCRAM makes up the salts of unknown users. By default in the store's directory.
    pub scram_secret: Option<PathBuf>,
    /// A web service.
    pub webhook: Option<String>,
    /// How long it may take to answer, milliseconds. Default 2,000.
    pub webhook_timeout_ms: u32,
    /// How long its answers hold, milliseconds. Default 10,000.
    pub webhook_lifetime_ms: u32,
}

impl AccessControlConfig {
    /// Is there anybody to be asked?
    pub fn decides(&self) -> bool {
        self.has_files() || self.webhook.is_some()
    }

    /// Is any file named?
    pub fn has_files(&self) -> bool {
        let Self { ledgers, password_file, acl_file, accounts, .. } = self;
        !ledgers.is_empty() || [password_file, acl_file, accounts].iter().any(|file| file.is_some())
    }
}

impl Default for AccessControlConfig {
    fn default() -> Self {
        Self {
            ledgers: Vec::new(),
            password_file: None,
            acl_file: None,
            accounts: None,
            accounts_hash: AccountsHash::default(),
            scram_secret: None,
            webhook: None,
            webhook_timeout_ms: 2000,
            webhook_lifetime_ms: 10_000,
        }
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
