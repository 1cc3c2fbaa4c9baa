//! What a client may, topic by topic. The engine compares filters with rules; here every topic is looked at that a filter
//! matches in a world of few names.

use super::topics::{matches, plain};
use broker_engine::{Permission, Permissions};
use std::collections::BTreeSet;

/// Names that no rule and no filter has.
const ANOTHER: [&str; 2] = ["another", "$another"];

/// Topics of a filter from which on they are too many.
const MANY: usize = 5000;

/// May a client get messages of this topic? Without permissions everybody may.
pub(crate) fn may_read(permissions: Option<&Permissions>, topic: &str) -> bool {
    says(permissions, topic, |rule| rule.read)
}

/// May a client publish to this topic?
pub(crate) fn may_publish(permissions: Option<&Permissions>, topic: &str) -> bool {
    says(permissions, topic, |rule| rule.publish)
}

fn says(permissions: Option<&Permissions>, topic: &str, what: fn(&Permission) -> Option<bool>) -> bool {
    let Some(permissions) = permissions else { return true };
    let mut about = permissions.rules.iter().filter(|rule| is_about(rule, topic));
    about.find_map(what).unwrap_or(permissions.otherwise)
}

fn is_about(rule: &Permission, topic: &str) -> bool {
    let begins_wild = rule.filter.starts_with(['+', '#']);
    // A wildcard does not look at its level, so one without `$` is as good.
    let topic = if rule.reaches_dollar && begins_wild { topic.trim_start_matches('$') } else { topic };
    matches(&rule.filter, topic)
}

/// May a client subscribe to this filter? A rule that allows a part of it decides about that part alone. `None` if the
/// topics that it matches are too many to look at.
pub(crate) fn may_subscribe(permissions: &Permissions, filter: &str) -> Option<bool> {
    let topics = topics_of(plain(filter), permissions)?;
    let mut parts: Vec<BTreeSet<&String>> = Vec::new();
    for rule in &permissions.rules {
        let about: BTreeSet<&String> = topics.iter().filter(|topic| is_about(rule, topic)).collect();
        match rule.read {
            Some(_) if about.is_empty() => {}
            Some(true) if about.len() == topics.len() => return Some(true),
            Some(true) => parts.push(about),
            // What an earlier rule allows is out of its reach.
            Some(false) if !parts.iter().any(|part| about.is_subset(part)) => return Some(false),
            Some(false) | None => {}
        }
    }
    Some(permissions.otherwise)
}

/// Topics that a filter matches, of the names that it and the rules have, and others, one level deeper than they are.
fn topics_of(filter: &str, permissions: &Permissions) -> Option<BTreeSet<String>> {
    let filters = || permissions.rules.iter().map(|rule| &*rule.filter).chain([filter]);
    let names: BTreeSet<&str> = filters()
        .flat_map(|filter| filter.split('/'))
        .filter(|name| !["+", "#"].contains(name))
        .chain(ANOTHER)
        .collect();
    let depth = filters().map(|filter| filter.split('/').count()).max().unwrap_or_default() + 1;
    let mut topics: Vec<Vec<&str>> = vec![Vec::new()];
    for level in filter.split('/') {
        topics = match level {
            "+" => topics.iter().flat_map(|topic| names.iter().map(|name| deeper(topic, name))).collect(),
            "#" => {
                let mut last = topics.clone();
                for _ in topics.first().map_or(0, Vec::len)..depth {
                    last =
                        last.iter().flat_map(|topic| names.iter().map(|name| deeper(topic, name))).collect();
                    topics.extend_from_slice(&last);
                    if topics.len() > MANY {
                        return None;
                    }
                }
                topics
            }
            name => topics.iter().map(|topic| deeper(topic, name)).collect(),
        };
        if topics.len() > MANY {
            return None;
        }
    }
    let topics = topics.into_iter().map(|levels| levels.join("/")).filter(|topic| !topic.is_empty());
    Some(topics.filter(|topic| matches(filter, topic)).collect())
}

fn deeper<'t>(topic: &[&'t str], name: &'t str) -> Vec<&'t str> {
    [topic, &[name]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules in words: `+r a/b` allows reading, `-w a/#` denies publishing.
    fn permissions(rules: &[&str], otherwise: bool) -> Permissions {
        let rule = |text: &&str| {
            let (what, filter) = text.split_once(' ').expect("a rule and a filter");
            let says = |right| what.contains(right).then(|| what.starts_with('+'));
            let (read, publish) = (says('r'), says('w'));
            Permission { filter: filter.to_owned(), reaches_dollar: what.contains('$'), read, publish }
        };
        Permissions { rules: rules.iter().map(rule).collect(), otherwise }
    }

    #[test]
    fn the_first_rule_that_says_something_decides() {
        let rules = permissions(&["-r a/b", "+rw a/#", "+r$ +"], false);
        for (topic, read, publish) in [
            ("a/b", false, true),
            ("a", true, true),
            ("b", true, false),
            ("b/b", false, false),
            ("$b", true, false),
        ] {
            let may = (may_read(Some(&rules), topic), may_publish(Some(&rules), topic));
            assert_eq!(may, (read, publish), "{topic}");
            assert!(may_read(None, topic) && may_publish(None, topic));
        }
    }

    #[test]
    fn a_filter_is_allowed_with_all_of_its_topics() {
        let cases: [(&[&str], bool, &str, bool); 9] = [
            (&["+r a/#"], false, "a/+", true),
            (&["+r a/#"], false, "$share/g/a/+", true),
            (&["+r a/+"], false, "a/#", false),
            (&["-r a/b", "+r a/#"], false, "a/+", false),
            (&["+r a/b", "-r a/b", "+r #"], false, "#", true),
            (&["-r $x/#"], true, "#", true),
            (&["-r$ +/#"], true, "$x/a", false),
            // Only together they allow it.
            (&["+r a", "+r a/+/#"], false, "a/#", false),
            (&["-w a"], true, "a", true),
        ];
        for (rules, otherwise, filter, may) in cases {
            assert_eq!(
                may_subscribe(&permissions(rules, otherwise), filter),
                Some(may),
                "{rules:?} {filter}"
            );
        }
    }
}
