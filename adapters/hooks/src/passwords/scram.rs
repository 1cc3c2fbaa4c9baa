//! What SCRAM-SHA-256 needs to know of a password, in the form that PostgreSQL writes too:
//! `SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER`.

use base64ct::{Base64, Encoding};
use pbkdf2::hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::num::NonZeroU32;
use subtle::ConstantTimeEq;

/// What an entry begins with.
pub(super) const PREFIX: &str = "SCRAM-SHA-256$";

/// Keys from which the password cannot be had, with which a client can show that it knows it, and the broker that it has
/// them (RFC 5802).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Keys {
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    /// H(ClientKey).
    stored: [u8; 32],
    server: [u8; 32],
}

impl Keys {
    pub(crate) fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted: [u8; 32] = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, iterations);
        let client = hmac(&salted, b"Client Key");
        let server = hmac(&salted, b"Server Key");
        Self { iterations, salt: salt.to_vec(), stored: Sha256::digest(client).into(), server }
    }

    /// The same keys under another number of iterations, so good for nothing.
    pub(crate) fn with_iterations(self, iterations: u32) -> Self {
        Self { iterations, ..self }
    }

    /// Reads what stands behind [`PREFIX`].
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (costs, keys) = text.split_once('$')?;
        let (iterations, salt) = costs.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let key = |text| -> Option<[u8; 32]> { Base64::decode_vec(text).ok()?.try_into().ok() };
        Some(Self {
            iterations: iterations.parse().ok().filter(|&count| count > 0)?,
            salt: Base64::decode_vec(salt).ok().filter(|salt| !salt.is_empty())?,
            stored: key(stored)?,
            server: key(server)?,
        })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        Self::derive(password, &self.salt, self.iterations).stored.ct_eq(&self.stored).into()
    }

    /// Does this proof show that the client knows the password? It is about all that was said before.
    pub(crate) fn is_proven(&self, said: &[u8], proof: &[u8; 32]) -> bool {
        let signature = hmac(&self.stored, said);
        let client: Vec<u8> =
            proof.iter().zip(signature).map(|(proof, signature)| proof ^ signature).collect();
        Sha256::digest(client).ct_eq(&self.stored).into()
    }

    /// Shows that the broker has the keys.
    pub(crate) fn signature(&self, said: &[u8]) -> [u8; 32] {
        hmac(&self.server, said)
    }
}

/// HMAC with SHA-256.
pub(crate) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // A key may have any length.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|hmac| hmac.chain_update(message).finalize().into_bytes().into())
        .unwrap_or_default()
}

/// A new entry, with which clients can authenticate by SCRAM-SHA-256, and by the password itself. The salt must come from
/// a random source. Clients do the iterations too: 15,000 are what RFC 7677 recommends.
pub fn scram_sha_256(password: &[u8], salt: &[u8; 16], iterations: NonZeroU32) -> String {
    let keys = Keys::derive(password, salt, iterations.get());
    let [salt, stored, server] = [&salt[..], &keys.stored, &keys.server].map(Base64::encode_string);
    format!("{PREFIX}{iterations}:{salt}${stored}:{server}")
}
