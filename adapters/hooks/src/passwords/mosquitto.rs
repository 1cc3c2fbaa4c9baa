//! The hashes of `mosquitto_passwd`: `$7$`, PBKDF2 with HMAC-SHA-512, and the older `$6$`, salted SHA-512.

use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha512};
use std::num::NonZeroU32;
use subtle::ConstantTimeEq;

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Hash {
    /// `None` is the older kind.
    iterations: Option<u32>,
    salt: Vec<u8>,
    sum: [u8; 64],
}

impl Hash {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (iterations, rest) = if let Some(rest) = text.strip_prefix("$7$") {
            let (iterations, rest) = rest.split_once('$')?;
            (Some(iterations.parse().ok().filter(|&count| count > 0)?), rest)
        } else {
            (None, text.strip_prefix("$6$")?)
        };
        let (salt, hash) = rest.split_once('$')?;
        let salt = Base64::decode_vec(salt).ok().filter(|salt| !salt.is_empty())?;
        Some(Self { iterations, salt, sum: Base64::decode_vec(hash).ok()?.try_into().ok()? })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let computed: [u8; 64] = match self.iterations {
            Some(iterations) => pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password, &self.salt, iterations),
            None => Sha512::new().chain_update(password).chain_update(&self.salt).finalize().into(),
        };
        computed.ct_eq(&self.sum).into()
    }

    pub(super) fn iterations(&self) -> u32 {
        self.iterations.unwrap_or(1)
    }
}

/// A new entry that mosquitto reads too. The salt must come from a random source; `mosquitto_passwd` does 101
/// iterations, and 210,000 are what is recommended today.
pub fn pbkdf2(password: &[u8], salt: &[u8; 12], iterations: NonZeroU32) -> String {
    let hash = pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password, salt, iterations.get());
    format!("$7${iterations}${}${}", Base64::encode_string(salt), Base64::encode_string(&hash))
}
