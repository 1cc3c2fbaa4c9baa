//! The auth ledger: users and rules in one file, in the layout that Mochi has for it.
//!
//! ```yaml
//! users:                  # by name
//!   bob:
//!     password: $7$...    # a hash of any kind that `passwords` has, or the password itself
//!     disallow: false     # true: never let in
//!     acl: {"bob/#": 3}   # asked before all rules
//! auth:                   # the first rule whose criteria all fit decides; if none fits, nobody is let in
//!   - client: "*"         # client identifier, user name and address are TEXT, TEXT* or *
//!     username: guest*
//!     remote: "127.0.0.1:*"
//!     password: secret
//!     allow: true         # false where it is left out
//! acl:                    # rules whose criteria all fit, in order
//!   - username: guest*
//!     filters:            # left out: everything is allowed; else the most specific filter that fits decides
//!       "#": read         # deny, read, write, readwrite, or 0, 1, 2, 3
//!       "guests/%u/#": 3  # %c is the client identifier, %u the user name
//! ```
//!
//! The same as JSON and as TOML. Everything may be left out. What no `acl` is about is allowed, to whoever was let in;
//! in a ledger without users and rules nothing is.
//!
//! # What is different from Mochi
//!
//! | | Mochi | here |
//! |---|---|---|
//! | several filters of a user fit | one of them by chance | the most specific, see [`Pattern`] |
//! | several filters of a rule fit | allowed if one of them allows it | the most specific decides |
//! | filter `a` and topic `a/b` | fits | does not |
//! | filter `a/#` and topic `a` | does not fit | fits, as in the standard |
//! | SUBSCRIBE | the filter is compared as if it were a topic | granted only if every topic that it matches may be read |
//! | `$share/NAME/FILTER` | compared as text | judged by its filter |
//! | wrong password for a user who has one | the rules are asked | not let in |
//! | `disallow` for a user without password | the rules are asked | not let in |
//! | password of a user or rule | text | text or hash; `TEXT*` is refused in rules, where it fitted what begins so |
//! | `TEXT*TEXT` | as `TEXT*` | an error |
//! | `remote` without port | never fits | an error |
//! | unknown or repeated key | ignored; in JSON the last one counts | an error |
//! | criterion, password, `acl` or `filters` without content | anybody, or everything | an error: a rule that was emptied by mistake must not open the door |
//! | `%c`, `%u` | text | the client's own names, unless they have `+`, `#`, `/` or would lead to topics with `$`: then the rule grants nothing, and denies the branch |
//!
//! As there, a filter that begins with a wildcard is also about topics that begin with `$`.

mod fields;
mod text;

use crate::criteria::{Criteria, Text};
use crate::passwords::StoredPassword;
use crate::permissions::Says;
use crate::rules::{self, Parts, Placeholders, Rules};
use crate::topics::Pattern;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Users and rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// By name.
    #[serde(deserialize_with = "fields::users", skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, User>,
    /// Who else is let in: the first rule that fits decides.
    #[serde(deserialize_with = "fields::list_or_none", skip_serializing_if = "Vec::is_empty")]
    pub auth: Vec<AuthRule>,
    /// Who may do what, in order.
    #[serde(deserialize_with = "fields::some_list", skip_serializing_if = "Vec::is_empty")]
    pub acl: Vec<AclRule>,
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// The name once more, where somebody wrote it; it must be the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Without it, the rules decide whether the user is let in.
    #[serde(deserialize_with = "fields::password", skip_serializing_if = "Option::is_none")]
    pub password: Option<StoredPassword>,
    /// What the user may, before all rules are asked.
    #[serde(deserialize_with = "fields::filters", skip_serializing_if = "BTreeMap::is_empty")]
    pub acl: BTreeMap<Pattern, Rights>,
    /// Is never let in.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disallow: bool,
}

/// Whether those whom it is about are let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthRule {
    /// Client identifier.
    #[serde(deserialize_with = "fields::criterion", skip_serializing_if = "Text::is_any")]
    pub client: Text,
    /// User name; one that was not sent is empty.
    #[serde(deserialize_with = "fields::criterion", skip_serializing_if = "Text::is_any")]
    pub username: Text,
    /// `ADDRESS:PORT`, see [`Text::parse_remote`].
    #[serde(deserialize_with = "fields::remote", skip_serializing_if = "Text::is_any")]
    pub remote: Text,
    /// Without it, any and none will do.
    #[serde(deserialize_with = "fields::rule_password", skip_serializing_if = "Option::is_none")]
    pub password: Option<StoredPassword>,
    /// Let in, or not.
    pub allow: bool,
}

/// What those whom it is about may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AclRule {
    /// Client identifier.
    #[serde(deserialize_with = "fields::criterion", skip_serializing_if = "Text::is_any")]
    pub client: Text,
    /// User name; one that was not sent is empty.
    #[serde(deserialize_with = "fields::criterion", skip_serializing_if = "Text::is_any")]
    pub username: Text,
    /// `ADDRESS:PORT`, see [`Text::parse_remote`].
    #[serde(deserialize_with = "fields::remote", skip_serializing_if = "Text::is_any")]
    pub remote: Text,
    /// By topic filter; without any, everything is allowed.
    #[serde(deserialize_with = "fields::filters", skip_serializing_if = "BTreeMap::is_empty")]
    pub filters: BTreeMap<Pattern, Rights>,
}

/// What a rule gives for a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Nothing: 0.
    Deny,
    /// Reading alone: 1.
    Read,
    /// Publishing alone: 2.
    Write,
    /// Both: 3.
    ReadWrite,
}

impl From<Rights> for Says {
    fn from(rights: Rights) -> Self {
        Self {
            read: Some(matches!(rights, Rights::Read | Rights::ReadWrite)),
            publish: Some(matches!(rights, Rights::Write | Rights::ReadWrite)),
        }
    }
}

impl From<Ledger> for Rules {
    fn from(ledger: Ledger) -> Self {
        let otherwise = ledger != Ledger::default();
        let (mut users, mut access) = (BTreeMap::new(), Vec::new());
        for (name, user) in ledger.users {
            if !user.acl.is_empty() {
                access.push(access_rule(Criteria::user(&name), user.acl));
            }
            users.insert(name, rules::User { password: user.password, disallow: user.disallow });
        }
        access.extend(ledger.acl.into_iter().map(|rule| {
            let AclRule { client, username, remote, filters } = rule;
            access_rule(Criteria { client, username, remote }, filters)
        }));
        let auth = ledger.auth.into_iter().map(|rule| {
            let AuthRule { client, username, remote, password, allow } = rule;
            rules::AuthRule { criteria: Criteria { client, username, remote }, password, allow }
        });
        Rules::new(Parts { users, auth: auth.collect(), access, otherwise })
    }
}

fn access_rule(criteria: Criteria, filters: BTreeMap<Pattern, Rights>) -> rules::AccessRule {
    let filter = |pattern, placeholders| rules::Filter { pattern, placeholders, dollar: true };
    let mut topics: Vec<_> = filters
        .into_iter()
        .map(|(pattern, rights)| (filter(pattern, Placeholders::Names), rights.into()))
        .collect();
    if topics.is_empty() {
        topics.push((filter(Pattern::everything(), Placeholders::Text), Says::ALLOW));
    }
    rules::AccessRule { criteria, topics }
}
