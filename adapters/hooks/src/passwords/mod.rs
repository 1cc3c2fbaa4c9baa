//! How passwords are stored and checked.
//!
//! * [`StoredPassword`] — one entry of a file: read, checked against, and how good it is
//! * [`argon2id`], [`pbkdf2()`], [`scram_sha_256`] — new entries
//! * `mosquitto` — the two formats of `mosquitto_passwd`
//! * `scram` — keys for SCRAM-SHA-256
//!
//! | entry | what it is |
//! |---|---|
//! | `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH` | Argon2id, the best of these |
//! | `$7$ITERATIONS$SALT$HASH` | PBKDF2 with HMAC-SHA-512, as `mosquitto_passwd` writes it |
//! | `SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER` | PBKDF2 with HMAC-SHA-256, as PostgreSQL writes it; also for [`Scram`](crate::Scram) |
//! | `$2a$`, `$2b$`, `$2y$` | bcrypt; a password of more than 72 bytes never fits |
//! | `$6$SALT$HASH` | SHA-512 of password and salt, as an older `mosquitto_passwd` writes it; weak |
//! | 64 or 32 hexadecimal digits | SHA-256 or MD5, only in [`accounts`](crate::accounts); weak |
//! | anything else | the password itself; weak |
//!
//! What begins like a hash and is none that is known here is an error, and never taken for a password. So is one that
//! would take longer than about ten seconds or more than a gibibyte to be checked.

mod mosquitto;
mod scram;

pub use mosquitto::pbkdf2;
pub use scram::scram_sha_256;
pub(crate) use scram::{Keys as ScramKeys, hmac};

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use bcrypt::HashParts;
use md5::Md5;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;

/// Most that a hash may ask for: about ten seconds of work, in the units of [`StoredPassword::cost`].
const MAX_COST: u64 = 10_000_000;

/// Most memory that Argon2 may ask for, KiB.
const MAX_MEMORY: u32 = 1 << 20;

/// Iterations of PBKDF2 below which an operator should know.
const MIN_ITERATIONS: u32 = 10_000;

/// The same for SCRAM, whose clients have to do them too: what RFC 7677 asks for.
const MIN_SCRAM_ITERATIONS: u32 = 4096;

/// Below that, bcrypt is not defined.
const MIN_BCRYPT_COST: u32 = 4;

/// The bytes of a password that bcrypt looks at.
const BCRYPT_LENGTH: usize = 72;

/// A password as a file has it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StoredPassword {
    text: String,
    scheme: Scheme,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Scheme {
    Argon2id { memory: u32, passes: u32 },
    Bcrypt { cost: u32 },
    Mosquitto(mosquitto::Hash),
    Scram(ScramKeys),
    Sha256([u8; 32]),
    Md5([u8; 16]),
    Plain,
}

impl StoredPassword {
    /// Reads an entry.
    ///
    /// # Errors
    /// It is empty, a hash of an unknown kind, a damaged one, or one that is too costly; says which.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let scheme = match text.strip_prefix('$').and_then(|rest| rest.split_once('$')) {
            _ if text.is_empty() => return Err("is empty"),
            _ if text.starts_with(scram::PREFIX) => {
                let keys = text.strip_prefix(scram::PREFIX).and_then(ScramKeys::parse);
                Scheme::Scram(keys.ok_or("is a damaged entry for SCRAM-SHA-256")?)
            }
            Some(("argon2id", _)) => parse_argon2id(text).ok_or("is a damaged Argon2id hash")?,
            Some(("2a" | "2b" | "2y", _)) => {
                let cost = HashParts::from_str(text).map_or(0, |parts| parts.get_cost());
                if cost < MIN_BCRYPT_COST {
                    return Err("is a damaged bcrypt hash");
                }
                Scheme::Bcrypt { cost }
            }
            Some(("6" | "7", _)) => Scheme::Mosquitto(
                mosquitto::Hash::parse(text).ok_or("is a damaged hash of mosquitto_passwd")?,
            ),
            Some((kind, _))
                if (1..20).contains(&kind.len())
                    && kind.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') =>
            {
                return Err("is a hash of a kind that is not known");
            }
            _ => Scheme::Plain,
        };
        let stored = Self { text: text.to_owned(), scheme };
        let memory = if let Scheme::Argon2id { memory, .. } = stored.scheme { memory } else { 0 };
        if stored.cost() > MAX_COST || memory > MAX_MEMORY {
            return Err("is a hash that takes too long to be checked");
        }
        Ok(stored)
    }

    /// A password itself, whatever it looks like.
    pub(crate) fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), scheme: Scheme::Plain }
    }

    /// A SHA-256 sum in hexadecimal digits.
    pub(crate) fn sha256(text: &str) -> Option<Self> {
        Some(Self { text: text.to_owned(), scheme: Scheme::Sha256(from_hex(text)?) })
    }

    /// An MD5 sum in hexadecimal digits.
    pub(crate) fn md5(text: &str) -> Option<Self> {
        Some(Self { text: text.to_owned(), scheme: Scheme::Md5(from_hex(text)?) })
    }

    /// Is this the password? Takes as long for a wrong one as for the right one.
    pub fn verify(&self, password: &[u8]) -> bool {
        match &self.scheme {
            Scheme::Argon2id { .. } => PasswordHash::new(&self.text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            Scheme::Bcrypt { .. } => {
                let same = bcrypt::verify(password, &self.text).unwrap_or(false);
                same && password.len() <= BCRYPT_LENGTH
            }
            Scheme::Mosquitto(hash) => hash.verify(password),
            Scheme::Scram(keys) => keys.verify(password),
            Scheme::Sha256(hash) => Sha256::digest(password).ct_eq(hash).into(),
            Scheme::Md5(hash) => Md5::digest(password).ct_eq(hash).into(),
            // Sums have the same length whatever they are of.
            Scheme::Plain => Sha256::digest(password).ct_eq(&Sha256::digest(&self.text)).into(),
        }
    }

    /// What SCRAM needs, if it is an entry for that.
    pub(crate) fn scram_keys(&self) -> Option<&ScramKeys> {
        if let Scheme::Scram(keys) = &self.scheme { Some(keys) } else { None }
    }

    /// The entry as it is in the file.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.scheme == Scheme::Plain
    }

    /// How long a check takes, very roughly in microseconds.
    pub(crate) fn cost(&self) -> u64 {
        match &self.scheme {
            Scheme::Argon2id { memory, passes } => u64::from(*memory) * u64::from(*passes),
            Scheme::Bcrypt { cost } => 50 << cost.min(&40),
            Scheme::Mosquitto(hash) => hash.iterations().into(),
            Scheme::Scram(keys) => keys.iterations.into(),
            Scheme::Sha256(_) | Scheme::Md5(_) | Scheme::Plain => 1,
        }
    }

    /// Why this is a bad way to store a password.
    pub(crate) fn weakness(&self) -> Option<&'static str> {
        match &self.scheme {
            Scheme::Argon2id { .. } | Scheme::Bcrypt { .. } => None,
            Scheme::Scram(keys) if keys.iterations >= MIN_SCRAM_ITERATIONS => None,
            Scheme::Scram(_) => Some("entries for SCRAM with few iterations are guessed quickly"),
            Scheme::Mosquitto(hash) if hash.iterations() >= MIN_ITERATIONS => None,
            Scheme::Mosquitto(_) => {
                Some("hashes of mosquitto_passwd with few iterations are guessed quickly")
            }
            Scheme::Sha256(_) => Some("SHA-256 without salt is guessed quickly"),
            Scheme::Md5(_) => Some("MD5 is guessed at once"),
            Scheme::Plain => Some("stored as they are, not as hashes; who reads the file has them"),
        }
    }
}

/// Keeps it out of logs.
impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredPassword(..)")
    }
}

fn parse_argon2id(text: &str) -> Option<Scheme> {
    let hash = PasswordHash::new(text).ok()?;
    let params = Params::try_from(&hash).ok()?;
    // Without either nothing could ever be checked.
    (hash.salt.is_some() && hash.hash.is_some()).then_some(())?;
    Some(Scheme::Argon2id { memory: params.m_cost(), passes: params.t_cost() })
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: char| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = text.chars().map(digit).collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |high, low| high << 4 | low)).collect();
    bytes.try_into().ok().filter(|_| digits.len() == 2 * N)
}

/// A new entry with Argon2id: 19 MiB and two passes. The salt must come from a random source. `None` only for a password
/// of gigabytes.
pub fn argon2id(password: &[u8], salt: &[u8; 16]) -> Option<String> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
    Some(argon2.hash_password_with_salt(password, salt).ok()?.to_string())
}
