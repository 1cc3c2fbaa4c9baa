//! Which topics a rule is about: whether all of a filter's are among them, and which of them it has in common.

use super::Permission;
use alloc::{string::String, vec::Vec};

impl Permission {
    /// Is every topic in it that `filter` matches as a subscription? A topic name is a filter that matches itself.
    pub(super) fn covers(&self, filter: &str) -> bool {
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
    pub(super) fn common(&self, filter: &str) -> Option<String> {
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
        (!self.reaches_dollar && begins_wild(&self.filter) && filter.starts_with('$'))
            || (begins_wild(filter) && self.filter.starts_with('$'))
    }
}

#[cfg(test)]
mod tests {
    use super::Permission;
    use alloc::{borrow::ToOwned, format, string::String, vec::Vec};
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
    fn rules_are_about_what_they_are_about_by_their_topics() {
        let names = texts(&["a", "b", "$d", ""], 4);
        let names: Vec<TopicName<'_>> = names.iter().filter_map(|name| TopicName::parse(name).ok()).collect();
        let filters = texts(&["a", "$d", "+", "#"], 3);
        let filters: Vec<TopicFilter<'_>> =
            filters.iter().filter_map(|text| TopicFilter::parse(text).ok()).collect();
        for rule in &filters {
            for dollar in [false, true] {
                let set = Permission {
                    filter: rule.as_str().to_owned(),
                    reaches_dollar: dollar,
                    ..Permission::default()
                };
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
}
