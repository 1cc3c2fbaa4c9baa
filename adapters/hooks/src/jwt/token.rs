//! A token in its compact form (RFC 7515, section 7.1): header, claims and signature, with full stops between.

use base64ct::{Base64UrlUnpadded, Encoding};
use metronome_host::config::JwtAlgorithm;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What a token says of itself and of its holder, before anybody has looked at its signature.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) algorithm: Option<JwtAlgorithm>,
    /// Which key it was signed with.
    pub(super) key_id: Option<String>,
    pub(super) claims: Map<String, Value>,
    /// What was signed.
    pub(super) signed: String,
    pub(super) signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: Value,
    kid: Option<String>,
    /// Extensions that must be understood.
    crit: Option<Value>,
}

impl Token {
    /// `None` if it is something else, such as a password.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part| Base64UrlUnpadded::decode_vec(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        let claims = serde_json::from_slice(&decode(claims)?).ok()?;
        // No extension is understood here, so one that must be makes it a token that cannot be checked.
        let known = header.crit.is_none().then_some(header.alg);
        Some(Self {
            algorithm: known.and_then(|name| serde_json::from_value(name).ok()),
            key_id: header.kid,
            claims,
            signed: signed.to_owned(),
            signature: decode(signature)?,
        })
    }
}
