//! YAML, JSON and TOML, with errors that name line and key in the same words for all three.

use super::{LoadError, hint};
use serde::Deserialize;
use serde_path_to_error::{Error, Path};

pub(crate) fn yaml<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, LoadError> {
    let mut key = String::new();
    let read = serde_saphyr::with_deserializer_from_str(text, |yaml| {
        serde_path_to_error::deserialize(yaml).map_err(|error| {
            key = name(error.path());
            error.into_inner()
        })
    });
    read.map_err(|error| {
        let line = error.location().and_then(|place| usize::try_from(place.line()).ok());
        explain(&error.without_snippet().to_string(), key, line.filter(|&line| line > 0))
    })
}

pub(crate) fn json<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, LoadError> {
    let wrong = |error: &serde_json::Error, key| explain(&error.to_string(), key, Some(error.line()));
    let mut json = serde_json::Deserializer::from_str(text);
    let read = serde_path_to_error::deserialize(&mut json);
    let value = read.map_err(|error| wrong(error.inner(), name(error.path())))?;
    json.end().map_err(|error| wrong(&error, String::new()))?;
    Ok(value)
}

pub(crate) fn toml<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, LoadError> {
    let wrong = |error: &toml::de::Error, key| {
        let before = error.span().and_then(|span| text.get(..span.start));
        explain(error.message(), key, before.map(|before| 1 + before.matches('\n').count()))
    };
    let toml = toml::Deserializer::parse(text).map_err(|error| wrong(&error, String::new()))?;
    serde_path_to_error::deserialize(toml).map_err(|error: Error<_>| wrong(error.inner(), name(error.path())))
}

/// The key, as `users.bob.acl`.
fn name(path: &Path) -> String {
    let name = path.to_string();
    // Beyond that, the parser itself gave up.
    name.trim_end_matches(['?', '.']).to_owned()
}

fn explain(message: &str, key: String, line: Option<usize>) -> LoadError {
    // The parsers say the place too.
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message).trim();
    // And how to program them.
    let advice = [", set DuplicateKeyPolicy", "; use from_multiple", "; use Option"];
    let message =
        advice.iter().find_map(|advice| message.split_once(advice)).map_or(message, |(message, _)| message);
    let problem = match message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
        Some((unknown, known)) => {
            let is_key = |word: &&str| !["", "expected", "one", "of", "or"].contains(word);
            let known = known.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(is_key);
            format!("unknown key `{unknown}`{}", hint(unknown, known))
        }
        None => without_value(message),
    };
    LoadError::new(problem).at_key(key).at_line(line)
}

/// What has the wrong type may be a password in the wrong place, and stays out of logs.
fn without_value(message: &str) -> String {
    let parts = message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "));
    match parts {
        Some((found, expected)) => {
            let kind = found.split(['`', '"']).next().unwrap_or_default().trim_end();
            format!("invalid type: {kind}, expected {expected}")
        }
        None => message.to_owned(),
    }
}
