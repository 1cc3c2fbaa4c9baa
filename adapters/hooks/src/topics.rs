//! Sets of topics: whether one covers another, what two have in common, and placeholders for a client's own names.

use crate::criteria::ClientFacts;
use mqtt_proto::{TopicError, TopicFilter};
use std::cmp::Ordering;
use std::fmt;

/// All topics that a filter of a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicSet {
    filter: String,
    /// A wildcard at the front reaches topics that begin with `$`.
    dollar: bool,
}

impl TopicSet {
    pub(crate) fn new(filter: String, dollar: bool) -> Self {
        Self { filter, dollar }
    }

    /// Is every topic in it that `filter` matches as a subscription? A topic name is a filter that matches itself.
    pub(crate) fn covers(&self, filter: &str) -> bool {
        if self.is_apart(filter) {
            return false;
        }
        // Every topic has a first level.
        let filter = if filter == "#" { "+/#" } else { filter };
        let mut wanted = filter.split('/');
        for level in self.filter.split('/') {
            // `a/#` has `a` too.
            if level == "#" {
                return true;
            }
            match wanted.next() {
                Some(want) if level == want || (level == "+" && want != "#") => {}
                _ => return false,
            }
        }
        wanted.next().is_none()
    }

    /// The topics in it that `filter` matches as a subscription, as a filter of subscriptions; `None` if there are none.
    pub(crate) fn common(&self, filter: &str) -> Option<String> {
        if self.is_apart(filter) {
            return None;
        }
        let (mut ours, mut theirs) = (self.filter.split('/'), filter.split('/'));
        let mut common = Vec::new();
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => break,
                (Some("#"), other) => {
                    common.extend(other.into_iter().chain(theirs));
                    break;
                }
                (other, Some("#")) => {
                    common.extend(other.into_iter().chain(ours));
                    break;
                }
                (Some("+"), Some(level)) | (Some(level), Some("+")) => common.push(level),
                (Some(level), Some(same)) if level == same => common.push(level),
                _ => return None,
            }
        }
        Some(common.join("/"))
    }

    /// Does a wildcard at the front keep the two apart, as the other begins with `$` [MQTT-4.7.2-1]? In
    /// subscriptions it always does.
    fn is_apart(&self, filter: &str) -> bool {
        let begins_wild = |filter: &str| filter.starts_with(['+', '#']);
        (!self.dollar && begins_wild(&self.filter) && filter.starts_with('$'))
            || (begins_wild(filter) && self.filter.starts_with('$'))
    }
}

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
        Ok(filled.join("/"))
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
    use super::{Pattern, TopicSet};
    use crate::criteria::ClientFacts;
    use mqtt_proto::{TopicFilter, TopicName};

    /// All texts of up to `most` levels out of these.
    fn texts(levels: &[&str], most: usize) -> Vec<String> {
        let mut all: Vec<String> = levels.iter().map(|&level| level.to_owned()).collect();
        let mut last = all.clone();
        for _ in 1..most {
            last = last
                .iter()
                .flat_map(|text| levels.iter().map(move |level| format!("{text}/{level}")))
                .collect();
            all.extend_from_slice(&last);
        }
        all
    }

    /// Against every topic there is, in a small world: one level and one letter more than filters can name.
    #[test]
    fn sets_are_what_they_are_by_their_topics() {
        let names = texts(&["a", "b", "$d", ""], 4);
        let names: Vec<TopicName<'_>> = names.iter().filter_map(|name| TopicName::parse(name).ok()).collect();
        let filters = texts(&["a", "$d", "+", "#"], 3);
        let filters: Vec<TopicFilter<'_>> =
            filters.iter().filter_map(|text| TopicFilter::parse(text).ok()).collect();
        for rule in &filters {
            for dollar in [false, true] {
                let set = TopicSet::new(rule.as_str().to_owned(), dollar);
                let has = |name: &TopicName<'_>| {
                    let reached =
                        dollar && name.as_str().starts_with('$') && rule.as_str().starts_with(['+', '#']);
                    let (below, rest) = (name.as_str().trim_start_matches('$'), rule.as_str());
                    // A wildcard does not look at the level, so one without `$` matches in the same way.
                    if reached { mqtt_proto::matches(rest, below) } else { rule.matches(*name) }
                };
                for name in &names {
                    assert_eq!(set.covers(name.as_str()), has(name), "{rule:?} {dollar} {name:?}");
                }
                for wanted in &filters {
                    let matched = || names.iter().filter(|name| wanted.matches(**name));
                    let covered = matched().all(has);
                    assert_eq!(set.covers(wanted.as_str()), covered, "{rule:?} {dollar} {wanted:?}");
                    let common = set.common(wanted.as_str());
                    let common = common.as_deref().map(|text| TopicFilter::parse(text).unwrap());
                    for name in &names {
                        let both = wanted.matches(*name) && has(name);
                        let said = common.is_some_and(|common| common.matches(*name));
                        assert_eq!(said, both, "{rule:?} {dollar} {wanted:?} {name:?}");
                    }
                }
            }
        }
    }

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
