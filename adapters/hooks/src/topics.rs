//! Topic filters of rules: their order, and placeholders for a client's own names.

use crate::criteria::ClientFacts;
use mqtt_proto::{TopicError, TopicFilter};
use std::cmp::Ordering;
use std::fmt;

/// The topic filter of a rule, in which `%c` and `%u` stand for a client's identifier and user name.
///
/// Its order is the order in which the filters of one rule are tried: the most specific first. Level by level, a text
/// comes before one with a placeholder, that before `+`, and `#` comes last. Of two filters that match the same topic,
/// the earlier one is thus always the narrower at the first level where they differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// Checks a text.
    ///
    /// # Errors
    /// It is no topic filter, or one of a shared subscription.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        match TopicFilter::parse(text)?.share() {
            Some(_) => Err(TopicError::ShareName),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// Every topic.
    pub(crate) fn everything() -> Self {
        Self("#".to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Puts a client's names in place of the placeholders. A name that could widen the rule, or is missing, gives an
    /// error: the filter for the whole branch below the level in which it should have stood.
    pub(crate) fn fill(&self, client: &ClientFacts<'_>) -> Result<String, String> {
        let mut filled: Vec<String> = Vec::new();
        for level in self.0.split('/') {
            match fill_level(level, client) {
                // A name at the front must not lead to topics that the broker keeps for itself.
                Some(text) if !filled.is_empty() || !text.starts_with('$') || level.starts_with('$') => {
                    filled.push(text);
                }
                _ => {
                    filled.push("#".to_owned());
                    return Err(filled.join("/"));
                }
            }
        }
        let filled = filled.join("/");
        // Nothing has so long a topic, and the engine takes no such filter.
        if filled.len() > usize::from(u16::MAX) { Err("#".to_owned()) } else { Ok(filled) }
    }
}

fn fill_level(level: &str, client: &ClientFacts<'_>) -> Option<String> {
    let mut parts = level.split('%');
    let mut filled = parts.next()?.to_owned();
    for part in parts {
        let (name, rest) = if let Some(rest) = part.strip_prefix('c') {
            (client.client_id, rest)
        } else if let Some(rest) = part.strip_prefix('u') {
            (client.username?, rest)
        } else {
            filled.push('%');
            filled.push_str(part);
            continue;
        };
        if name.is_empty() || name.contains(['+', '#', '/', '\0']) {
            return None;
        }
        filled.push_str(name);
        filled.push_str(rest);
    }
    Some(filled)
}

/// How late the filters with this level are tried.
fn rank(level: &str) -> u8 {
    match level {
        "#" => 3,
        "+" => 2,
        _ if level.contains("%c") || level.contains("%u") => 1,
        _ => 0,
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |level| (rank(level), level);
        self.0.split('/').map(key).cmp(other.0.split('/').map(key))
    }
}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;
    use crate::criteria::ClientFacts;

    #[test]
    fn placeholders_never_widen() {
        let fill = |pattern: &str, client_id: &str, username: Option<&str>| {
            let client = ClientFacts { client_id, username, peer: None };
            Pattern::parse(pattern).unwrap().fill(&client)
        };
        for (pattern, client_id, username, wanted) in [
            ("a/%c/b", "me", None, Ok("a/me/b")),
            ("a/%u/b", "", Some("you"), Ok("a/you/b")),
            ("x-%c-%u/#", "me", Some("you"), Ok("x-me-you/#")),
            // What stands in a name is no placeholder.
            ("a/%c", "%u", Some("you"), Ok("a/%u")),
            ("a/%d/100%", "me", None, Ok("a/%d/100%")),
            ("a/%c/b", "+", None, Err("a/#")),
            ("a/%c/b", "x+y", None, Err("a/#")),
            ("a/b/%c", "#", None, Err("a/b/#")),
            ("a/b/%c", "x/y", None, Err("a/b/#")),
            ("a/b/%c", "", None, Err("a/b/#")),
            ("a/b/%c", "\0", None, Err("a/b/#")),
            ("a/%u/b", "me", None, Err("a/#")),
            ("%u/#", "me", Some("$SYS"), Err("#")),
            ("$%u/#", "me", Some("SYS"), Ok("$SYS/#")),
            ("a/%u", "me", Some("$SYS"), Ok("a/$SYS")),
        ] {
            let wanted = wanted.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(fill(pattern, client_id, username), wanted, "{pattern} {client_id} {username:?}");
        }
    }

    #[test]
    fn the_most_specific_filter_is_first() {
        let order =
            ["a", "a/a", "a/b/#", "a/%c", "a/+/a", "a/+/#", "a/#", "b/+", "%c/#", "%u/#", "+/a", "+/#", "#"];
        assert!(order.map(|text| Pattern::parse(text).unwrap()).is_sorted());
        for text in ["", "a/#/b", "a+", "$share/g/a", "a\0"] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
    }
}
