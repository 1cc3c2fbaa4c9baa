//! Files that rules are read from, and what is wrong with one that cannot be.

mod place;
pub(crate) mod syntax;

use crate::accounts::{self, Digest};
use crate::ledger::Ledger;
use crate::mosquitto;
use crate::rules::Rules;
pub(crate) use place::line_of;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of users or rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The auth ledger: YAML, JSON or TOML by the file's ending; without one of those, JSON if it begins with `{`, and
    /// YAML if not. Of a whole configuration file of Mochi it is what is there as `hooks.auth.ledger`.
    Ledger(PathBuf),
    /// Accounts of gmqtt, and how their passwords are stored.
    Accounts(PathBuf, Digest),
    /// `password_file` of mosquitto.
    PasswordFile(PathBuf),
    /// `acl_file` of mosquitto.
    AclFile(PathBuf),
}

impl Source {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Ledger(path) | Self::Accounts(path, _) | Self::PasswordFile(path) | Self::AclFile(path) => {
                path
            }
        }
    }

    /// The key of the configuration that names it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Ledger(_) => "ledgers",
            Self::Accounts(..) => "accounts",
            Self::PasswordFile(_) => "password_file",
            Self::AclFile(_) => "acl_file",
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// The file cannot be read, or says something that is not known or cannot be. Whoever has rules already keeps
    /// them then.
    pub fn load(&self) -> Result<Rules, LoadError> {
        let bytes = fs::read(self.path()).map_err(|error| LoadError::new(format!("cannot be read: {error}")));
        bytes.and_then(|bytes| self.read(&bytes)).map_err(|error| error.in_file(self.path()))
    }

    /// Reads these bytes as if they were what is in the file.
    ///
    /// # Errors
    /// As [`Source::load`], without the name of the file.
    pub fn read(&self, bytes: &[u8]) -> Result<Rules, LoadError> {
        let text = str::from_utf8(bytes).map_err(|error| {
            let before = bytes.iter().take(error.valid_up_to());
            LoadError::new("is not UTF-8").at_line(1 + before.filter(|&&byte| byte == b'\n').count())
        })?;
        // Some editors mark a file as UTF-8 at its front.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match self {
            Self::Ledger(path) => {
                if let Some(ledger) = Ledger::of_mochi(text)? {
                    return Ok(Rules::from(ledger));
                }
                let ledger = match path.extension().and_then(|ending| ending.to_str()) {
                    Some("toml") => Ledger::from_toml(text),
                    Some("yaml" | "yml") => Ledger::from_yaml(text),
                    Some("json") => Ledger::from_json(text),
                    _ if text.starts_with('{') => Ledger::from_json(text),
                    _ => Ledger::from_yaml(text),
                };
                ledger.map(Rules::from)
            }
            Self::Accounts(_, digest) => accounts::read(text, *digest),
            Self::PasswordFile(_) => mosquitto::password_file(text),
            Self::AclFile(_) => mosquitto::acl_file(text),
        }
    }
}

/// Why a file cannot be used, in one line: `FILE: line LINE: KEY: PROBLEM`, as far as each is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    file: Option<PathBuf>,
    line: Option<usize>,
    key: String,
    problem: String,
}

impl LoadError {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self { file: None, line: None, key: String::new(), problem: problem.into() }
    }

    pub(crate) fn at_line(self, line: impl Into<Option<usize>>) -> Self {
        Self { line: line.into(), ..self }
    }

    pub(crate) fn at_key(self, key: impl Into<String>) -> Self {
        Self { key: key.into(), ..self }
    }

    pub(crate) fn in_file(self, file: &Path) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }

    /// The file.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The key, or nothing.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The line, counted from one, where the problem is in one.
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.file.as_ref().map(|file| file.display().to_string()));
        parts.extend(self.line.map(|line| format!("line {line}")));
        parts.extend(Some(self.key.clone()).filter(|key| !key.is_empty()));
        parts.push(self.problem.clone());
        // What is in the file must not begin a line of its own in a log.
        f.write_str(&parts.join(": ").replace(char::is_control, " "))
    }
}

impl std::error::Error for LoadError {}

/// `; did you mean ...?` for the nearest of these words, if any is near.
pub(crate) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = known.into_iter().map(|known| (strsim::damerau_levenshtein(word, known), known)).min();
    match near {
        Some((changes, known)) if changes <= known.len().max(word.len()) / 3 => {
            format!("; did you mean `{known}`?")
        }
        _ => String::new(),
    }
}
