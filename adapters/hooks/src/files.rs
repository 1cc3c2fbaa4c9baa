//! Rules that are read again when their files change.

use crate::accounts::Digest;
use crate::in_force::RulesInForce;
use crate::rules::Rules;
use crate::source::{LoadError, Source};
use metronome_host::WatchedFiles;
use metronome_host::config::{AccessControlConfig, AccountsHash};

/// Files of rules, and the rules that were read from them.
#[derive(Debug)]
pub struct RuleFiles {
    sources: Vec<Source>,
    rules: RulesInForce,
    files: WatchedFiles,
}

impl RuleFiles {
    /// Reads them.
    ///
    /// # Errors
    /// One of them cannot be read or used.
    pub fn load(sources: Vec<Source>) -> Result<Self, LoadError> {
        let files = WatchedFiles::new(sources.iter().map(|source| source.path().to_owned()).collect());
        let rules = RulesInForce::new(Rules::load(&sources)?);
        Ok(Self { sources, rules, files })
    }

    /// The rules, which follow [`RuleFiles::reload`].
    pub fn rules(&self) -> RulesInForce {
        self.rules.clone()
    }

    /// [`WatchedFiles::have_changed`].
    pub fn have_changed(&mut self) -> bool {
        self.files.have_changed()
    }

    /// Reads the files again; says whether the rules are others now.
    ///
    /// # Errors
    /// One of them cannot be read or used. The rules stay what they were.
    pub fn reload(&mut self) -> Result<bool, LoadError> {
        self.files.begin();
        let rules = Rules::load(&self.sources)?;
        let differ = rules.generation() != self.rules.get().generation();
        self.rules.replace(rules);
        Ok(differ)
    }
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
