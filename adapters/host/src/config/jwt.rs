//! Which tokens let a client in.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// JSON Web Tokens (RFC 7519) that let clients in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwtConfig {
    /// File of the keys that tokens are checked with; without one, no token lets anybody in.
    pub key: Option<PathBuf>,
    /// Algorithms that are accepted; empty is each that a key is for.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Where CONNECT has the token. Default password.
    pub from: JwtPlace,
    /// Authentication method under which it comes as authentication data too, also to authenticate again.
    pub method: Option<String>,
    /// What `iss` has to be.
    pub issuer: Option<String>,
    /// What `aud` has to name.
    pub audience: Option<String>,
    /// Whether a token has to have `exp`. Default yes.
    pub require_expiry: bool,
    /// How far the clock of who made the token may be off, seconds. Default 30.
    pub leeway: u32,
    /// Disconnect a client when its token expires. Default yes.
    pub disconnect_expired: bool,
    /// Claim that is the user name. Default `sub`.
    pub username_claim: String,
    /// Claim that has to be the client identifier.
    pub client_id_claim: Option<String>,
    /// Claim with the topic filters that the client may publish to. Default `publish`.
    pub publish_claim: String,
    /// Claim with the topic filters that it may subscribe to. Default `subscribe`.
    pub subscribe_claim: String,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            key: None,
            algorithms: Vec::new(),
            from: JwtPlace::default(),
            method: None,
            issuer: None,
            audience: None,
            require_expiry: true,
            leeway: 30,
            disconnect_expired: true,
            username_claim: "sub".to_owned(),
            client_id_claim: None,
            publish_claim: "publish".to_owned(),
            subscribe_claim: "subscribe".to_owned(),
        }
    }
}

/// Where CONNECT has the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JwtPlace {
    /// As password.
    #[default]
    Password,
    /// As user name.
    Username,
}

/// How a token is signed (RFC 7518, section 3.1, and RFC 8037). `none` is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA, PKCS #1 v1.5, with SHA-256.
    Rs256,
    /// RSA, PKCS #1 v1.5, with SHA-384.
    Rs384,
    /// RSA, PKCS #1 v1.5, with SHA-512.
    Rs512,
    /// RSA, PSS, with SHA-256.
    Ps256,
    /// RSA, PSS, with SHA-384.
    Ps384,
    /// RSA, PSS, with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}
