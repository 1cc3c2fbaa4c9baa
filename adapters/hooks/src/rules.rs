//! The one surface over all sources of rules.

use crate::criteria::{ClientFacts, Criteria};
use crate::passwords::{ScramKeys, StoredPassword};
use crate::permissions::{Access, Says};
use crate::source::{LoadError, Source};
use crate::topics::Pattern;
use broker_engine::{Permission, Permissions};
use mqtt_proto::{TopicFilter, TopicName};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::hint::black_box;
use std::sync::LazyLock;

/// What rules say about a client that wants to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is let in.
    Allow,
    /// It is not, whatever others say.
    Deny,
    /// Nothing: somebody else may know the client. If nobody does, it is not let in.
    NotMine,
}

/// Users and rules, ready to decide. Without any, everything is refused.
#[derive(Clone, Debug)]
pub struct Rules {
    parts: Parts,
    /// What passwords are checked against where there is no user of that name: an entry of each cost that there is.
    decoys: Vec<StoredPassword>,
    /// What unknown users of SCRAM are shown: each number of iterations with each length of salt that there is.
    scram_shapes: BTreeSet<(u32, usize)>,
    generation: u64,
}

/// What sources are made into.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Parts {
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) auth: Vec<AuthRule>,
    pub(crate) access: Vec<AccessRule>,
    /// What is allowed where no rule says anything.
    pub(crate) otherwise: bool,
}

/// A user; without password, the rules decide whether it is let in.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct User {
    pub(crate) password: Option<StoredPassword>,
    pub(crate) disallow: bool,
}

/// Who is let in.
#[derive(Clone, Debug, Hash)]
pub(crate) struct AuthRule {
    pub(crate) criteria: Criteria,
    pub(crate) password: Option<StoredPassword>,
    pub(crate) allow: bool,
}

/// Who may do what; filters in the order in which they are tried.
#[derive(Clone, Debug, Hash)]
pub(crate) struct AccessRule {
    pub(crate) criteria: Criteria,
    pub(crate) topics: Vec<(Filter, Says)>,
}

/// What `%c` and `%u` are in a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Placeholders {
    /// Text as any other.
    Text,
    /// A client's names.
    Names,
    /// The same, and a client with a wildcard in either name is granted nothing, as in mosquitto.
    NamesWithoutWildcards,
}

impl Placeholders {
    fn grants_nothing(self, client: &ClientFacts<'_>) -> bool {
        let names = [Some(client.client_id), client.username];
        self == Self::NamesWithoutWildcards
            && names.into_iter().flatten().any(|name| name.contains(['+', '#']))
    }
}

/// The filter of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Filter {
    pub(crate) pattern: Pattern,
    pub(crate) placeholders: Placeholders,
    /// A wildcard at the front reaches topics that begin with `$`.
    pub(crate) dollar: bool,
}

impl Filter {
    /// What the filter is for this client, and what is left of what the rule says.
    pub(crate) fn fill(&self, says: Says, client: &ClientFacts<'_>) -> Permission {
        let (filter, reaches_dollar, says) = match self.pattern.fill(client) {
            _ if self.placeholders == Placeholders::Text => (self.pattern.to_string(), self.dollar, says),
            Ok(filter) if self.placeholders.grants_nothing(client) => (filter, self.dollar, says.denials()),
            Ok(filter) => (filter, self.dollar, says),
            // It might have been filled with a name that begins with `$`.
            Err(branch) => (branch, true, says.denials()),
        };
        Permission { filter, reaches_dollar, read: says.read, publish: says.publish }
    }
}

impl Rules {
    pub(crate) fn new(parts: Parts) -> Self {
        let stored = || parts.users.values().filter_map(|user| user.password.as_ref());
        let by_cost: BTreeMap<u64, &StoredPassword> = stored().map(|entry| (entry.cost(), entry)).collect();
        let decoys = by_cost.into_values().cloned().collect();
        let scram = stored().filter_map(StoredPassword::scram_keys);
        let scram_shapes = scram.map(|keys| (keys.iterations, keys.salt.len())).collect();
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        Self { parts, decoys, scram_shapes, generation: hasher.finish() }
    }

    /// Reads all sources and puts them together, see [`Rules::and`].
    ///
    /// # Errors
    /// One of them cannot be read or used.
    pub fn load(sources: &[Source]) -> Result<Self, LoadError> {
        let mut all = sources.iter().map(Source::load);
        let first = all.next().unwrap_or_else(|| Ok(Self::default()))?;
        all.try_fold(first, |rules, next| Ok(rules.and(next?)))
    }

    /// These, and behind them others: a user is who these say it is, or, where these know no password of it, who the others
    /// say; rules of these are tried first, and what no rule is about is allowed only if both allow it.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (name, user) in other.parts.users {
            match self.parts.users.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(user);
                }
                // One of whom these only say what it may is let in by the others.
                Entry::Occupied(mut known) if known.get().password.is_none() => {
                    let known = known.get_mut();
                    (known.password, known.disallow) = (user.password, known.disallow || user.disallow);
                }
                Entry::Occupied(_) => {}
            }
        }
        self.parts.auth.extend(other.parts.auth);
        self.parts.access.extend(other.parts.access);
        self.parts.otherwise &= other.parts.otherwise;
        Self::new(self.parts)
    }

    /// Is this client who it says, and let in? Takes as long as its password takes to be checked, tens of milliseconds
    /// with the usual hashes. A user name that is not known takes as long as that of some user, always the same one, so the
    /// time tells nothing about who is one.
    ///
    /// A user who has a password or is disallowed is decided about by that alone; for everybody else the first rule
    /// that matches decides.
    pub fn authenticate(&self, client: &ClientFacts<'_>, password: Option<&[u8]>) -> Verdict {
        let user = client.username.and_then(|name| self.parts.users.get(name));
        let stored = user.and_then(|user| user.password.as_ref());
        let against = stored.or_else(|| choose(&self.decoys, client.username?));
        let fits = black_box(against.zip(password).is_some_and(|(stored, given)| stored.verify(given)));
        match (user, stored) {
            (Some(user), _) if user.disallow => return Verdict::Deny,
            (_, Some(_)) if fits => return Verdict::Allow,
            (_, Some(_)) => return Verdict::Deny,
            _ => {}
        }
        let remote = client.remote();
        let matches = |rule: &&AuthRule| {
            rule.criteria.match_client(client, &remote)
                && rule
                    .password
                    .as_ref()
                    .is_none_or(|stored| password.is_some_and(|given| stored.verify(given)))
        };
        match self.parts.auth.iter().find(matches) {
            Some(rule) if rule.allow => Verdict::Allow,
            Some(_) => Verdict::Deny,
            None => Verdict::NotMine,
        }
    }

    /// Iterations and length of the salt of some user for SCRAM, the same one for the same bytes; `None` if there is none at
    /// all.
    pub(crate) fn scram_shape(&self, [first, ..]: [u8; 32]) -> Option<(u32, usize)> {
        let place = usize::from(first).checked_rem(self.scram_shapes.len())?;
        self.scram_shapes.iter().nth(place).copied()
    }

    /// What SCRAM needs to know of a user who is let in by that.
    pub(crate) fn scram_keys(&self, username: &str) -> Option<&ScramKeys> {
        let user = self.parts.users.get(username).filter(|user| !user.disallow)?;
        user.password.as_ref()?.scram_keys()
    }

    /// A number for everything that this client could be let in by. While it is the same, so is the answer to the same
    /// password.
    pub fn standing(&self, client: &ClientFacts<'_>) -> u64 {
        let remote = client.remote();
        let rules = self.parts.auth.iter().filter(|rule| rule.criteria.match_client(client, &remote));
        let mut hasher = DefaultHasher::new();
        client.username.and_then(|name| self.parts.users.get(name)).hash(&mut hasher);
        rules.for_each(|rule| rule.hash(&mut hasher));
        hasher.finish()
    }

    /// What this client may, for the answer that admits it. Good for as long as [`Rules::generation`] stays what it was,
    /// and the client who it was.
    pub fn permissions(&self, client: &ClientFacts<'_>) -> Permissions {
        let remote = client.remote();
        let about = self.parts.access.iter().filter(|rule| rule.criteria.match_client(client, &remote));
        let topics = about.flat_map(|rule| &rule.topics).map(|(filter, says)| filter.fill(*says, client));
        Permissions { rules: topics.collect(), otherwise: self.parts.otherwise }
    }

    /// May this client publish to this topic, or read what is published there?
    pub fn may(&self, client: &ClientFacts<'_>, access: Access, topic: TopicName<'_>) -> bool {
        let permissions = self.permissions(client);
        match access {
            Access::Publish => permissions.may_publish(topic.as_str()),
            Access::Read => permissions.may_read(topic.as_str()),
        }
    }

    /// [`Permissions::may_subscribe`] of this client.
    pub fn may_subscribe(&self, client: &ClientFacts<'_>, filter: TopicFilter<'_>) -> bool {
        self.permissions(client).may_subscribe(filter.filter())
    }

    /// A number that is another for other rules. What was decided is decided again in the same way as long as it is
    /// the same, also after a reload. It is good for one run of a program.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What an operator should know of these rules, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let parts = &self.parts;
        let mut warnings = Vec::new();
        let no_topics = parts.access.iter().all(|rule| rule.topics.is_empty());
        if parts.users.is_empty() && parts.auth.is_empty() && no_topics {
            warnings.push("there are no users and no rules: everything is refused".to_owned());
        } else if parts.otherwise && no_topics {
            warnings.push(
                "there are no access rules: whoever is let in may publish and read everything".to_owned(),
            );
        }
        let of_users = parts.users.values().filter_map(|user| user.password.as_ref());
        let of_rules = parts.auth.iter().filter_map(|rule| rule.password.as_ref());
        let mut weak: BTreeMap<&str, usize> = BTreeMap::new();
        for weakness in of_users.chain(of_rules).filter_map(StoredPassword::weakness) {
            *weak.entry(weakness).or_default() += 1;
        }
        warnings
            .extend(weak.iter().map(|(weakness, count)| format!("passwords, {count} of them: {weakness}")));
        warnings
    }
}

/// One of several, always the same for the same name, as nobody can foresee.
fn choose<'a, T>(several: &'a [T], name: &str) -> Option<&'a T> {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let number = SECRET.hash_one(name).checked_rem(several.len() as u64)?;
    several.get(usize::try_from(number).ok()?)
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(Parts::default())
    }
}
