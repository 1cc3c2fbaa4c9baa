//! `acl_file`: lines `user NAME`, `topic [ACCESS] FILTER` and `pattern [ACCESS] FILTER`.

use super::lines;
use crate::criteria::Criteria;
use crate::permissions::Says;
use crate::rules::{AccessRule, Filter, Parts, Placeholders, Rules};
use crate::source::{LoadError, hint};
use crate::topics::Pattern;
use std::collections::BTreeMap;

const KEYWORDS: [&str; 3] = ["user", "topic", "pattern"];
const ACCESS: [&str; 4] = ["read", "write", "readwrite", "deny"];

/// What lines of one kind say. What is denied is looked at first, wherever it stands.
#[derive(Default)]
struct Section {
    denied: Vec<(Filter, Says)>,
    granted: Vec<(Filter, Says)>,
}

impl Section {
    fn add(&mut self, filter: Filter, says: Says) {
        let list = if says == Says::DENY { &mut self.denied } else { &mut self.granted };
        list.push((filter, says));
    }

    fn into_rule(self, criteria: Criteria) -> AccessRule {
        AccessRule { criteria, topics: self.denied.into_iter().chain(self.granted).collect() }
    }
}

/// Reads the text of an `acl_file`. `topic` lines are about the user named last, those before the first about clients
/// without user name, and `pattern` lines about everybody, with `%c` for the client identifier and `%u` for the user name.
/// Lines of the user come before patterns, denials before grants, and what no line grants is refused: with an empty file,
/// everything.
///
/// # Errors
/// A line is none of these; names the line.
pub fn acl_file(text: &str) -> Result<Rules, LoadError> {
    let mut user = String::new();
    let (mut users, mut patterns) = (BTreeMap::<String, Section>::new(), Section::default());
    for (number, line) in lines(text) {
        let wrong = |problem: String| LoadError::new(problem).at_line(number);
        let (keyword, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        let rest = rest.trim_start();
        if !KEYWORDS.contains(&keyword) {
            let hint = hint(keyword, KEYWORDS);
            return Err(wrong(format!("`{keyword}` is not user, topic or pattern{hint}")));
        }
        if rest.is_empty() {
            return Err(wrong("says nothing".to_owned()).at_key(keyword));
        }
        if keyword == "user" {
            rest.clone_into(&mut user);
            continue;
        }
        let (section, placeholders) = match keyword {
            "pattern" => (&mut patterns, Placeholders::NamesWithoutWildcards),
            _ => (users.entry(user.clone()).or_default(), Placeholders::Text),
        };
        let (filter, says) = entry(rest, placeholders).map_err(|problem| wrong(problem).at_key(keyword))?;
        section.add(filter, says);
    }
    let of_users = users.into_iter().map(|(name, section)| section.into_rule(Criteria::user(&name)));
    let access = of_users.chain([patterns.into_rule(Criteria::default())]).collect();
    Ok(Rules::new(Parts { access, ..Parts::default() }))
}

/// `[ACCESS] FILTER`. A filter with spaces needs its access, or its first word would be taken for one.
fn entry(text: &str, placeholders: Placeholders) -> Result<(Filter, Says), String> {
    let (access, filter) = text.split_once(char::is_whitespace).unwrap_or(("readwrite", text));
    let says = match access {
        "read" => Says { read: Some(true), publish: None },
        "write" => Says { read: None, publish: Some(true) },
        "readwrite" => Says::ALLOW,
        "deny" => Says::DENY,
        _ => return Err(format!("`{access}` is not read, write, readwrite or deny{}", hint(access, ACCESS))),
    };
    let filter = filter.trim_start();
    let pattern = Pattern::parse(filter).map_err(|error| format!("`{filter}`: {error}"))?;
    Ok((Filter { pattern, placeholders, dollar: false }, says))
}
