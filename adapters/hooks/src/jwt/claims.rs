//! What a token has to say for its holder to be let in, and what that one may.

use crate::in_force::facts;
use crate::permissions::Says;
use crate::rules::{Filter, Placeholders};
use crate::topics::Pattern;
use metronome_host::Client;
use metronome_host::config::JwtConfig;
use metronome_host::engine::Permissions;
use serde_json::{Map, Value};
use std::time::Duration;

/// What follows from the claims, if the signature is good too.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) username: String,
    /// What its holder may; `None` where the token says nothing of it.
    pub(super) permissions: Option<Permissions>,
    /// When it is over, since 1970.
    pub(super) ends: Option<Duration>,
}

/// Looks at everything that is said in clear. `named` is the user name that CONNECT has beside the token.
pub(super) fn judge(
    config: &JwtConfig,
    claims: &Map<String, Value>,
    now: Duration,
    client: &Client,
    named: Option<&str>,
) -> Result<Granted, String> {
    let leeway = Duration::from_secs(config.leeway.into());
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let ends = date(claims, "exp")?.map(|at| at.saturating_add(leeway));
    if ends.is_none() && config.require_expiry {
        return Err("it has no `exp`".into());
    }
    if ends.is_some_and(|ends| ends <= now) {
        return Err("it has expired".into());
    }
    if date(claims, "nbf")?.is_some_and(|begins| begins > now.saturating_add(leeway)) {
        return Err("its time has not come".into());
    }
    if config.issuer.is_some() && text("iss") != config.issuer.as_deref() {
        return Err("its `iss` is another".into());
    }
    if config.audience.as_deref().is_some_and(|wanted| !is_for(claims.get("aud"), wanted)) {
        return Err("its `aud` names somebody else".into());
    }
    let username = text(&config.username_claim).filter(|name| !name.is_empty());
    let username = username.ok_or_else(|| format!("it has no `{}`", config.username_claim))?;
    if named.is_some_and(|named| named != username) {
        return Err(format!("its `{}` is not the user name", config.username_claim));
    }
    if let Some(claim) = &config.client_id_claim
        && text(claim) != Some(&client.client_id)
    {
        return Err(format!("its `{claim}` is not the client identifier"));
    }
    let mut client = client.clone();
    client.username = Some(username.to_owned());
    Ok(Granted { username: username.to_owned(), permissions: permissions(config, claims, &client)?, ends })
}

/// Seconds since 1970, with or without a fraction.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<Duration>, String> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let fraction = || value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let at = value.as_u64().map(Duration::from_secs).or_else(fraction);
    at.map(Some).ok_or_else(|| format!("its `{name}` is no time"))
}

/// Is `wanted` the audience, or one of several?
fn is_for(audience: Option<&Value>, wanted: &str) -> bool {
    match audience {
        Some(Value::Array(several)) => several.iter().any(|one| one == wanted),
        Some(one) => one == wanted,
        None => false,
    }
}

/// With one of the two lists of topic filters, or both, these are all that the holder may.
fn permissions(
    config: &JwtConfig,
    claims: &Map<String, Value>,
    client: &Client,
) -> Result<Option<Permissions>, String> {
    let (publish, subscribe) = (&config.publish_claim, &config.subscribe_claim);
    if !claims.contains_key(publish) && !claims.contains_key(subscribe) {
        return Ok(None);
    }
    let mut rules = Vec::new();
    for (claim, says) in [
        (publish, Says { publish: Some(true), read: None }),
        (subscribe, Says { publish: None, read: Some(true) }),
    ] {
        for pattern in filters(claims, claim)? {
            let filter = Filter { pattern, placeholders: Placeholders::Names, dollar: false };
            rules.push(filter.fill(says, &facts(client)));
        }
    }
    Ok(Some(Permissions { rules, otherwise: false }))
}

fn filters(claims: &Map<String, Value>, claim: &str) -> Result<Vec<Pattern>, String> {
    let filter = |value: &Value| Pattern::parse(value.as_str()?).ok();
    let list = match claims.get(claim) {
        None => Some(Vec::new()),
        Some(value) => value.as_array().and_then(|list| list.iter().map(filter).collect()),
    };
    list.ok_or_else(|| format!("its `{claim}` is no list of topic filters"))
}
