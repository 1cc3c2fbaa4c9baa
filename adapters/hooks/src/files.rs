//! Rules that are read again when their files change.

use crate::accounts::Digest;
use crate::in_force::RulesInForce;
use crate::rules::Rules;
use crate::source::{LoadError, Source};
use metronome_host::config::{AccessControlConfig, AccountsHash};
use std::fs;
use std::time::SystemTime;

/// What tells one state of a file from another without reading it; `None` where there is no file.
type Stamp = Option<(Option<SystemTime>, u64)>;

/// Files of rules, and the rules that were read from them.
#[derive(Debug)]
pub struct RuleFiles {
    sources: Vec<Source>,
    rules: RulesInForce,
    /// The files when they were read.
    read: Vec<Stamp>,
    /// And when they were looked at last.
    seen: Vec<Stamp>,
}

impl RuleFiles {
    /// Reads them.
    ///
    /// # Errors
    /// One of them cannot be read or used.
    pub fn load(sources: Vec<Source>) -> Result<Self, LoadError> {
        // Looked at first: what changes while it is read is read again.
        let stamps = stamps(&sources);
        let rules = RulesInForce::new(Rules::load(&sources)?);
        Ok(Self { sources, rules, read: stamps.clone(), seen: stamps })
    }

    /// The rules, which follow [`RuleFiles::reload`].
    pub fn rules(&self) -> RulesInForce {
        self.rules.clone()
    }

    /// Looks whether the files are others than those that were read, and as they were at the last look: half of a file
    /// that somebody is writing can be a good file with fewer rules.
    pub fn have_changed(&mut self) -> bool {
        let now = stamps(&self.sources);
        let settled = now == self.seen && now != self.read;
        self.seen = now;
        settled
    }

    /// Reads the files again; says whether the rules are others now.
    ///
    /// # Errors
    /// One of them cannot be read or used. The rules stay what they were.
    pub fn reload(&mut self) -> Result<bool, LoadError> {
        self.read = stamps(&self.sources);
        let rules = Rules::load(&self.sources)?;
        let differ = rules.generation() != self.rules.get().generation();
        self.rules.replace(rules);
        Ok(differ)
    }
}

fn stamps(sources: &[Source]) -> Vec<Stamp> {
    let stamp = |source: &Source| {
        let file = fs::metadata(source.path()).ok()?;
        Some((file.modified().ok(), file.len()))
    };
    sources.iter().map(stamp).collect()
}

/// The files that a configuration names, in the order in which they are asked.
pub fn sources(config: &AccessControlConfig) -> Vec<Source> {
    let digest = match config.accounts_hash {
        AccountsHash::Plain => Digest::Plain,
        AccountsHash::Md5 => Digest::Md5,
        AccountsHash::Sha256 => Digest::Sha256,
        AccountsHash::Bcrypt => Digest::Bcrypt,
    };
    let ledgers = config.ledgers.iter().cloned().map(Source::Ledger);
    let password_file = config.password_file.iter().cloned().map(Source::PasswordFile);
    let acl_file = config.acl_file.iter().cloned().map(Source::AclFile);
    let accounts = config.accounts.iter().cloned().map(|file| Source::Accounts(file, digest));
    ledgers.chain(password_file).chain(acl_file).chain(accounts).collect()
}
