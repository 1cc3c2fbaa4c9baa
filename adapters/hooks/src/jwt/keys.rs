//! Keys that tokens are checked with, and the files that they are in.
//!
//! A key is good for the algorithms of its kind and for no others, whatever a token says: a public key, which anybody may
//! know, is never the secret of an HMAC.

use super::token::Token;
use crate::source::LoadError;
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use metronome_host::WatchedFiles;
use metronome_host::config::JwtAlgorithm;
use ring::hmac;
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde_json::Value;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::{self, Decode, Reader, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// Least bytes of a secret: as many as the shortest hash has (RFC 7518, section 3.2).
const LEAST_SECRET: usize = 32;

/// Least and most bytes of the modulus of an RSA key.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A file of keys, and the keys that were read from it last. It has public keys in PEM, a JWK Set (RFC 7517), or else a
/// secret, without the end of its line.
#[derive(Debug)]
pub struct JwtKeys {
    path: PathBuf,
    files: WatchedFiles,
    in_force: InForce,
}

/// The keys that hold now, for who checks tokens.
#[derive(Clone, Debug)]
pub(super) struct InForce(Arc<Mutex<Arc<Keys>>>);

impl InForce {
    pub(super) fn get(&self) -> Arc<Keys> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl JwtKeys {
    /// Reads it.
    ///
    /// # Errors
    /// It cannot be read, or has no key that can be used.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let files = WatchedFiles::new(vec![path.to_owned()]);
        let in_force = InForce(Arc::new(Mutex::new(Arc::new(Keys::load(path)?))));
        Ok(Self { path: path.to_owned(), files, in_force })
    }

    /// [`WatchedFiles::have_changed`].
    pub fn have_changed(&mut self) -> bool {
        self.files.have_changed()
    }

    /// Reads it again: tokens that come are checked with what it has now. Whoever is connected stays, until its token
    /// expires.
    ///
    /// # Errors
    /// As [`JwtKeys::load`]; the keys stay what they were.
    pub fn reload(&mut self) -> Result<(), LoadError> {
        self.files.begin();
        let keys = Arc::new(Keys::load(&self.path)?);
        *self.in_force.0.lock().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    pub(super) fn in_force(&self) -> InForce {
        self.in_force.clone()
    }
}

/// All keys of a file; at least one.
#[derive(Debug)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// What it is good for, where the file says so; else whatever its kind is good for.
    algorithm: Option<JwtAlgorithm>,
    material: Material,
}

enum Material {
    Secret(Vec<u8>),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// A point that is not compressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret",
            Self::Rsa(_) => "Rsa",
            Self::P256(_) => "P256",
            Self::P384(_) => "P384",
            Self::Ed25519(_) => "Ed25519",
        })
    }
}

impl Keys {
    fn load(path: &Path) -> Result<Self, LoadError> {
        let bytes = fs::read(path).map_err(|error| LoadError::new(format!("cannot be read: {error}")));
        bytes.and_then(|bytes| Self::read(&bytes)).map_err(|error| error.in_file(path))
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, LoadError> {
        let keys = match str::from_utf8(bytes).map(str::trim) {
            Ok(text) if text.starts_with('{') => jwk_set(text)?,
            Ok(text) if text.contains("-----BEGIN ") => pem(text)?,
            _ => {
                let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
                let secret = line.strip_suffix(b"\r").unwrap_or(line);
                vec![Key { id: None, algorithm: None, material: secret_of(secret.to_vec())? }]
            }
        };
        if keys.is_empty() {
            return Err(LoadError::new("has no key that tokens could be checked with"));
        }
        Ok(Self(keys))
    }

    /// Was this token signed with one of these? Where it names a key that has a name, only that one counts.
    pub(super) fn verify(&self, token: &Token) -> bool {
        let Some(algorithm) = token.algorithm else { return false };
        let named = |key: &&Key| token.key_id.is_none() || key.id.is_none() || key.id == token.key_id;
        let suits = |key: &&Key| key.algorithm.is_none_or(|only| only == algorithm);
        let mut keys = self.0.iter().filter(named).filter(suits);
        keys.any(|key| key.material.verify(algorithm, token.signed.as_bytes(), &token.signature))
    }
}

impl Material {
    fn verify(&self, algorithm: JwtAlgorithm, signed: &[u8], signature: &[u8]) -> bool {
        let point = |kind: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(kind, key).verify(signed, signature).is_ok()
        };
        match self {
            Self::Secret(secret) => {
                // Longer hashes need longer secrets.
                let kind =
                    hmac_of(algorithm).filter(|kind| secret.len() >= kind.digest_algorithm().output_len());
                kind.is_some_and(|kind| {
                    hmac::verify(&hmac::Key::new(kind, secret), signed, signature).is_ok()
                })
            }
            Self::Rsa(key) => {
                rsa_of(algorithm).is_some_and(|kind| key.verify(kind, signed, signature).is_ok())
            }
            Self::P256(key) => {
                algorithm == JwtAlgorithm::Es256 && point(&signature::ECDSA_P256_SHA256_FIXED, key)
            }
            Self::P384(key) => {
                algorithm == JwtAlgorithm::Es384 && point(&signature::ECDSA_P384_SHA384_FIXED, key)
            }
            Self::Ed25519(key) => algorithm == JwtAlgorithm::EdDsa && point(&signature::ED25519, key),
        }
    }
}

fn hmac_of(algorithm: JwtAlgorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        JwtAlgorithm::Hs256 => Some(hmac::HMAC_SHA256),
        JwtAlgorithm::Hs384 => Some(hmac::HMAC_SHA384),
        JwtAlgorithm::Hs512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa_of(algorithm: JwtAlgorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        JwtAlgorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        JwtAlgorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        JwtAlgorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        JwtAlgorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        JwtAlgorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        JwtAlgorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn secret_of(secret: Vec<u8>) -> Result<Material, LoadError> {
    match secret.len() {
        ..LEAST_SECRET => {
            let problem = format!("a secret of {} bytes; {LEAST_SECRET} is the least", secret.len());
            Err(LoadError::new(problem))
        }
        _ => Ok(Material::Secret(secret)),
    }
}

fn rsa(modulus: Vec<u8>, exponent: Vec<u8>) -> Result<Material, LoadError> {
    let fits = RSA_BYTES.contains(&modulus.len()) && modulus.first() != Some(&0);
    let key = RsaPublicKeyComponents { n: modulus, e: exponent };
    fits.then_some(Material::Rsa(key))
        .ok_or_else(|| LoadError::new("an RSA key has to have 2048 to 8192 bits"))
}

/// A point on a curve, each of whose coordinates has so many bytes.
fn on_curve(kind: fn(Vec<u8>) -> Material, bytes: usize, point: Vec<u8>) -> Result<Material, LoadError> {
    let is_point = point.len() == 1 + 2 * bytes && point.first() == Some(&4);
    is_point
        .then(|| kind(point))
        .ok_or_else(|| LoadError::new("not a point on its curve that is written out"))
}

fn ed25519(key: Vec<u8>) -> Result<Material, LoadError> {
    let fits = key.len() == signature::ED25519_PUBLIC_KEY_LEN;
    fits.then_some(Material::Ed25519(key)).ok_or_else(|| LoadError::new("not a key of Ed25519"))
}

/// The public keys of a text.
fn pem(text: &str) -> Result<Vec<Key>, LoadError> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let parts = begun.split_once("-----").and_then(|(label, body)| {
            let (body, rest) = body.split_once(&format!("-----END {label}-----"))?;
            Some((label, body, rest))
        });
        let Some((label, body, behind)) = parts else {
            return Err(LoadError::new("PEM without an end"));
        };
        rest = behind;
        if label != "PUBLIC KEY" {
            return Err(LoadError::new(format!("has a {label}; what is needed is a PUBLIC KEY")));
        }
        let body: String = body.split_whitespace().collect();
        let der = Base64::decode_vec(&body).map_err(|_| LoadError::new("PEM that is not Base64"))?;
        keys.push(Key { id: None, algorithm: None, material: public_key(&der)? });
    }
    Ok(keys)
}

/// A SubjectPublicKeyInfo (RFC 5280, section 4.1).
fn public_key(der: &[u8]) -> Result<Material, LoadError> {
    let malformed = |_: der::Error| LoadError::new("a PUBLIC KEY that cannot be read");
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(malformed)?;
    let key = info.subject_public_key.raw_bytes();
    match (info.algorithm.oid, info.algorithm.parameters_oid().ok()) {
        (RSA, _) => {
            let numbers = SliceReader::new(key).and_then(|mut reader| {
                reader.sequence(|inner| {
                    let (modulus, exponent) = (UintRef::decode(inner)?, UintRef::decode(inner)?);
                    Ok((modulus.as_bytes().to_vec(), exponent.as_bytes().to_vec()))
                })
            });
            let (modulus, exponent) = numbers.map_err(malformed)?;
            rsa(modulus, exponent)
        }
        (ELLIPTIC, Some(P256)) => on_curve(Material::P256, 32, key.to_vec()),
        (ELLIPTIC, Some(P384)) => on_curve(Material::P384, 48, key.to_vec()),
        (ED25519, _) => ed25519(key.to_vec()),
        _ => Err(LoadError::new("a PUBLIC KEY that is neither RSA, P-256, P-384 nor Ed25519")),
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

/// A JSON Web Key, as far as it is of interest.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<Value>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    crv: String,
    /// What it is made of, in Base64url.
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
    #[serde(default)]
    k: String,
}

/// The keys of a JWK Set. Those of a kind that is not known, and those that are not for signatures, are left out (RFC 7517,
/// section 5).
fn jwk_set(text: &str) -> Result<Vec<Key>, LoadError> {
    let set: JwkSet = serde_json::from_str(text)
        .map_err(|error| LoadError::new(format!("not a JWK Set: {error}")).at_line(Some(error.line())))?;
    let mut keys = Vec::new();
    for (at, jwk) in set.keys.into_iter().enumerate() {
        if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            continue;
        }
        let algorithm = match &jwk.alg {
            None => None,
            Some(name) => match JwtAlgorithm::deserialize(name) {
                Ok(algorithm) => Some(algorithm),
                Err(_) => continue,
            },
        };
        if let Some(material) = jwk.material().map_err(|error| error.at_key(format!("keys[{at}]")))? {
            keys.push(Key { id: jwk.kid, algorithm, material });
        }
    }
    Ok(keys)
}

impl Jwk {
    fn material(&self) -> Result<Option<Material>, LoadError> {
        let decode = |text: &str| {
            Base64UrlUnpadded::decode_vec(text).map_err(|_| LoadError::new("not Base64url without padding"))
        };
        let point = || Ok::<_, LoadError>([vec![4], decode(&self.x)?, decode(&self.y)?].concat());
        match (&*self.kty, &*self.crv) {
            ("oct", _) => secret_of(decode(&self.k)?),
            ("RSA", _) => rsa(decode(&self.n)?, decode(&self.e)?),
            ("EC", "P-256") => on_curve(Material::P256, 32, point()?),
            ("EC", "P-384") => on_curve(Material::P384, 48, point()?),
            ("OKP", "Ed25519") => ed25519(decode(&self.x)?),
            _ => return Ok(None),
        }
        .map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::{Keys, Token};
    use proptest::prelude::*;

    /// RFC 7515, appendices A.1 and A.3: the same claims, signed by somebody else's program.
    #[test]
    fn the_examples_of_the_standard_are_good() {
        let claims =
            "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        for (header, signature, key) in [
            (
                "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
                "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
                r#"{"keys": [{"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}"#,
            ),
            (
                "eyJhbGciOiJFUzI1NiJ9",
                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
                r#"{"keys": [{"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
            ),
        ] {
            let keys = Keys::read(key.as_bytes()).unwrap();
            let token = |signature: &str| Token::parse(&format!("{header}.{claims}.{signature}")).unwrap();
            assert_eq!(token(signature).claims["iss"], "joe");
            assert!(keys.verify(&token(signature)), "{header}");
            assert!(!keys.verify(&token(&signature.replace('F', "G"))), "{header}");
        }
    }

    proptest! {
        /// Whatever stands in a file or comes from a client is read or refused.
        #[test]
        fn nothing_that_is_read_does_harm(bytes in any::<Vec<u8>>(), parts in "[A-Za-z0-9_.-]{0,60}", json in ".{0,40}") {
            for bytes in [&bytes[..], format!("{{{json}").as_bytes(), format!("-----BEGIN {json}").as_bytes()] {
                let _read = Keys::read(bytes);
            }
            prop_assert!(Token::parse(&parts).is_none(), "no such text is JSON");
        }
    }
}
