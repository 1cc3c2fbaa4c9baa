//! `metronome passwd`: makes lines of password files, and checks passwords against files.

use clap::Subcommand;
use metronome_hooks::passwords::{argon2id, pbkdf2, scram_sha_256};
use metronome_hooks::{ClientFacts, Source, Verdict};
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// What is recommended today; `mosquitto_passwd` does 101.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(210_000).unwrap();

/// What RFC 7677 recommends; clients have to do them too.
const SCRAM_ITERATIONS: NonZeroU32 = NonZeroU32::new(15_000).unwrap();

/// What to do with a password, which is the first line of standard input.
#[derive(Debug, Subcommand)]
pub(crate) enum Passwd {
    /// Prints a line for a password file
    Create {
        /// The user's name
        user: String,
        /// Make a hash that mosquitto reads too, in place of Argon2id
        #[arg(long)]
        pbkdf2: bool,
        /// Make an entry with which clients can also authenticate by SCRAM-SHA-256
        #[arg(long, conflicts_with = "pbkdf2")]
        scram: bool,
    },
    /// Says whether a file lets a user in with the password: exit code 0 if it does, 1 if not
    Check {
        /// A password file, or a ledger whose name ends in .yaml, .yml, .json or .toml
        file: PathBuf,
        /// The user's name
        user: String,
    },
}

/// Why it cannot be done, or that the password is wrong.
pub(crate) enum Problem {
    Wrong,
    Usage(String),
    System(String),
}

impl Passwd {
    /// What to print.
    pub(crate) fn run(&self) -> Result<String, Problem> {
        match self {
            Self::Create { user, pbkdf2, scram } => create(user, *pbkdf2, *scram),
            Self::Check { file, user } => check(file, user),
        }
    }
}

fn create(user: &str, for_mosquitto: bool, for_scram: bool) -> Result<String, Problem> {
    if user.is_empty() || user.contains(':') || user.starts_with('#') || user.contains(char::is_control) {
        return Err(Problem::Usage(format!("{user:?} cannot be a name in a password file")));
    }
    let password = password()?;
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)
        .map_err(|error| Problem::System(format!("no random salt to be had: {error}")))?;
    let hash = if for_mosquitto {
        salt.first_chunk().map(|salt| pbkdf2(&password, salt, ITERATIONS))
    } else if for_scram {
        Some(scram_sha_256(&password, &salt, SCRAM_ITERATIONS))
    } else {
        argon2id(&password, &salt)
    };
    let hash = hash.ok_or_else(|| Problem::Usage("the password is too long".to_owned()))?;
    Ok(format!("{user}:{hash}"))
}

fn check(file: &Path, user: &str) -> Result<String, Problem> {
    let is_ledger =
        matches!(file.extension().and_then(|ending| ending.to_str()), Some("yaml" | "yml" | "json" | "toml"));
    let source = if is_ledger { Source::Ledger(file.into()) } else { Source::PasswordFile(file.into()) };
    let rules = source.load().map_err(|error| Problem::Usage(error.to_string()))?;
    let client = ClientFacts { username: Some(user), ..ClientFacts::default() };
    match rules.authenticate(&client, Some(&password()?)) {
        Verdict::Allow => Ok(format!("{} lets {user} in", file.display())),
        Verdict::Deny | Verdict::NotMine => Err(Problem::Wrong),
    }
}

/// The first line of standard input, which is not shown where it is typed.
fn password() -> Result<Vec<u8>, Problem> {
    let mut line = String::new();
    let typed = io::stdin().is_terminal();
    if typed {
        // On standard error, so that the line for the file stands alone.
        let _unseen = write!(io::stderr(), "password: ");
    }
    let hidden = typed.then(echo::hide);
    let read = io::stdin().read_line(&mut line);
    drop(hidden);
    if typed {
        let _unseen = writeln!(io::stderr());
    }
    read.map_err(|error| Problem::System(format!("cannot read the password: {error}")))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Problem::Usage("no password on standard input".to_owned()));
    }
    Ok(password.as_bytes().to_vec())
}

#[cfg(unix)]
mod echo {
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
    use std::io;

    /// Shows again what is typed when it goes.
    pub(super) struct Hidden(Option<Termios>);

    /// Has the terminal show nothing of what is typed.
    pub(super) fn hide() -> Hidden {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            // A terminal that cannot be silenced shows it.
            let _shown = tcsetattr(io::stdin(), OptionalActions::Flush, &silent);
        }
        Hidden(before)
    }

    impl Drop for Hidden {
        fn drop(&mut self) {
            if let Some(before) = &self.0 {
                let _as_it_is = tcsetattr(io::stdin(), OptionalActions::Flush, before);
            }
        }
    }
}

#[cfg(not(unix))]
mod echo {
    pub(super) fn hide() {}
}
