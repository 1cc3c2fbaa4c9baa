//! What holds for all rules, clients and topics, and for any bytes in a file.

use metronome_hooks::accounts::Digest;
use metronome_hooks::ledger::{AclRule, AuthRule, Ledger, Rights, User};
use metronome_hooks::mosquitto::acl_file;
use metronome_hooks::passwords::StoredPassword;
use metronome_hooks::{Access, ClientFacts, Pattern, Rules, Source, Text};
use mqtt_proto::{TopicFilter, TopicName};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

/// Levels of filters, in which clients find their names, their like and wildcards.
const LEVELS: [&str; 9] = ["a", "b", "", "$d", "+", "+", "%c", "%u", "x-%c"];
/// Names of clients, harmless and hostile.
const NAMES: [&str; 9] = ["a", "b", "ab", "+", "#", "a/b", "$d", "", "%u"];
/// Levels of topics.
const TOPIC_LEVELS: [&str; 8] = ["a", "b", "ab", "", "$d", "x-a", "%u", "z"];
const CRITERIA: [&str; 5] = ["*", "*", "a", "a*", "b"];
const REMOTES: [&str; 4] = ["*", "*", "127.0.0.1:*", "[::1]:7"];
const RIGHTS: [Rights; 4] = [Rights::Deny, Rights::Read, Rights::Write, Rights::ReadWrite];
const PASSWORDS: [&str; 4] =
    ["plain: \"quoted\" #", "1234", "null", "$2b$04$05HdjQZYS.9CNGMniIAggensIerm7bFXgCv8Ncr9OTWPKj2PZkjQm"];

fn one_of<T: Copy + std::fmt::Debug, const N: usize>(all: [T; N]) -> impl Strategy<Value = T> + Clone {
    (0..N).prop_map(move |at| all[at])
}

fn filter_text() -> impl Strategy<Value = String> + Clone {
    (vec(one_of(LEVELS), 1..4), any::<bool>())
        .prop_map(|(levels, rest)| levels.join("/") + if rest { "/#" } else { "" })
        .prop_map(|text| if text == "+/#" { "#".to_owned() } else { text })
        .prop_filter("no filter", |text| Pattern::parse(text).is_ok())
}

fn topic() -> impl Strategy<Value = String> {
    vec(one_of(TOPIC_LEVELS), 1..4)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("no topic", |text| !text.is_empty())
}

fn filters() -> impl Strategy<Value = std::collections::BTreeMap<Pattern, Rights>> {
    let pattern = filter_text().prop_map(|text| Pattern::parse(&text).unwrap());
    btree_map(pattern, one_of(RIGHTS), 0..5)
}

fn text() -> impl Strategy<Value = Text> {
    one_of(CRITERIA).prop_map(|text| Text::parse(text).unwrap())
}

fn remote() -> impl Strategy<Value = Text> {
    one_of(REMOTES).prop_map(|text| Text::parse_remote(text).unwrap())
}

fn password() -> impl Strategy<Value = Option<StoredPassword>> {
    option::of(one_of(PASSWORDS).prop_map(|text| StoredPassword::parse(text).unwrap()))
}

fn ledger() -> impl Strategy<Value = Ledger> {
    let user = (password(), filters(), any::<bool>()).prop_map(|(password, acl, disallow)| User {
        username: None,
        password,
        acl,
        disallow,
    });
    let auth = (text(), text(), remote(), password(), any::<bool>()).prop_map(
        |(client, username, remote, password, allow)| AuthRule { client, username, remote, password, allow },
    );
    let acl = (text(), text(), remote(), filters()).prop_map(|(client, username, remote, filters)| AclRule {
        client,
        username,
        remote,
        filters,
    });
    (btree_map("[a-b]{1,2}|[0-9]|~|a: b", user, 0..3), vec(auth, 0..3), vec(acl, 0..4))
        .prop_map(|(users, auth, acl)| Ledger { users, auth, acl })
}

/// Lines of an `acl_file`.
fn acl() -> impl Strategy<Value = String> {
    let access = one_of(["", "read ", "write ", "readwrite ", "deny "]);
    let line = (one_of(["topic", "pattern", "pattern"]), access, filter_text())
        .prop_map(|(keyword, access, filter)| format!("{keyword} {access}{filter}\n"))
        .prop_filter("no filter", |line| {
            !line.trim_end().ends_with(' ') && line.split(' ').all(|word| word != "\n")
        });
    let user = one_of(["user a\n", "user ab\n", ""]);
    vec((user, line), 0..8)
        .prop_map(|lines| lines.into_iter().map(|(user, line)| [user, line.as_str()].concat()).collect())
}

#[derive(Clone, Debug)]
struct Client(&'static str, Option<&'static str>, &'static str);

impl Client {
    fn facts(&self) -> ClientFacts<'_> {
        ClientFacts { client_id: self.0, username: self.1, peer: self.2.parse().ok() }
    }
}

fn client() -> impl Strategy<Value = Client> {
    (one_of(NAMES), option::of(one_of(NAMES)), one_of(["", "127.0.0.1:7", "[::1]:7"]))
        .prop_map(|(client_id, username, peer)| Client(client_id, username, peer))
}

/// The value as YAML, with the keys of each map turned round by `turn`.
fn render(value: &Value, turn: usize) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), render(value, turn)))
                .collect();
            let length = entries.len().max(1);
            entries.rotate_left(turn % length);
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(list) => {
            format!("[{}]", list.iter().map(|value| render(value, turn)).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Level by level, with names in place of placeholders: what a pattern may grant at most.
fn grants_at_most(pattern: &str, topic: &str, client: &ClientFacts<'_>) -> bool {
    let mut levels = topic.split('/');
    for wanted in pattern.split('/') {
        if wanted == "#" {
            return true;
        }
        let Some(level) = levels.next() else { return false };
        let mut own = wanted.split("%c").map(|part| part.replace("%u", client.username.unwrap_or("\n")));
        let first = own.next().unwrap_or_default();
        let own = own.fold(first, |text, part| text + client.client_id + &part);
        if wanted != "+" && own != level {
            return false;
        }
    }
    levels.next().is_none()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// No message comes through a subscription that its topic alone would not get, and a filter that is a topic is
    /// allowed exactly where the topic is.
    #[test]
    fn a_subscription_that_is_allowed_matches_only_what_may_be_read(
        ledger in ledger(),
        acl in option::of(acl()),
        client in client(),
        filter in filter_text(),
        topics in vec(topic(), 1..30),
    ) {
        let mut rules = Rules::from(ledger);
        if let Some(acl) = acl {
            rules = rules.and(acl_file(&acl).unwrap());
        }
        let permissions = rules.permissions(&client.facts());
        let filter = TopicFilter::parse(&filter).unwrap();
        let allowed = permissions.may_subscribe(filter.filter());
        for topic in &topics {
            let name = TopicName::parse(topic).unwrap();
            let may = permissions.may_read(topic);
            prop_assert!(!allowed || !filter.matches(name) || may, "{filter:?} {topic}");
            prop_assert_eq!(permissions.may_subscribe(topic), may, "{}", topic);
            let shared = format!("$share/group/{topic}");
            let shared = TopicFilter::parse(&shared).unwrap();
            prop_assert_eq!(rules.may_subscribe(&client.facts(), shared), may, "{:?}", shared);
        }
    }

    /// Whatever a client calls itself, patterns give it topics with its own name only.
    #[test]
    fn placeholders_never_widen_a_pattern(
        patterns in vec(filter_text(), 1..5),
        client in client(),
        topics in vec(topic(), 1..30),
    ) {
        let text: String = patterns.iter().map(|pattern| ["pattern readwrite ", pattern, "\n"].concat()).collect();
        let rules = acl_file(&text).unwrap();
        let facts = client.facts();
        for topic in &topics {
            let may = rules.may(&facts, Access::Publish, TopicName::parse(topic).unwrap());
            let at_most = patterns.iter().any(|pattern| grants_at_most(pattern, topic, &facts));
            prop_assert!(!may || at_most, "{topic}");
        }
    }

    /// In a ledger, where what no rule is about is allowed, a filter that a hostile name cannot be put into takes
    /// away and never gives.
    #[test]
    fn a_hostile_name_gains_nothing(
        filters in filters(),
        rest in filters(),
        name in one_of(["+", "#", "a/b", "", "a+"]),
        topics in vec(topic(), 1..30),
    ) {
        let rule = |filters| AclRule { filters, ..AclRule::default() };
        let with = Ledger { acl: vec![rule(filters.clone()), rule(rest.clone())], ..Ledger::default() };
        let mut plain = filters;
        plain.retain(|pattern, _| !pattern.as_str().contains('%'));
        let without = Ledger { acl: vec![rule(plain), rule(rest)], ..Ledger::default() };
        let facts = ClientFacts { client_id: name, username: Some(name), peer: None };
        let (with, without) = (Rules::from(with), Rules::from(without));
        for topic in &topics {
            for access in [Access::Publish, Access::Read] {
                let name = TopicName::parse(topic).unwrap();
                prop_assert!(!with.may(&facts, access, name) || without.may(&facts, access, name), "{topic}");
            }
        }
    }

    #[test]
    fn a_ledger_that_was_written_and_read_decides_the_same(ledger in ledger()) {
        let generation = Rules::from(ledger.clone()).generation();
        for read in [
            Ledger::from_yaml(&ledger.to_yaml().unwrap()),
            Ledger::from_json(&ledger.to_json().unwrap()),
            Ledger::from_toml(&(ledger.to_toml().unwrap() + "# not empty")),
        ] {
            let read = read.unwrap();
            prop_assert_eq!(&read, &ledger);
            prop_assert_eq!(Rules::from(read).generation(), generation);
        }
    }

    #[test]
    fn the_order_of_keys_does_not_matter(ledger in ledger(), turn in 0_usize..6) {
        let value = serde_json::to_value(&ledger).unwrap();
        prop_assert_eq!(Ledger::from_yaml(&render(&value, turn)).unwrap(), ledger);
    }
}

const FILES: [&str; 4] = [
    include_str!("../examples/ledger.yaml"),
    include_str!("../examples/ledger.toml"),
    "user bob\ntopic read a/#\npattern write %c/+\n",
    "- username: bob\n  password: 3cb4e732631f47e6eb961f34554b7cde\n",
];

/// Reads the bytes as each kind of file. An error is a line; rules can be asked.
fn read_as_everything(bytes: &[u8]) {
    for source in [
        Source::Ledger("a.yaml".into()),
        Source::Ledger("a.json".into()),
        Source::Ledger("a.toml".into()),
        Source::Accounts("a".into(), Digest::Md5),
        Source::Accounts("a".into(), Digest::Bcrypt),
        Source::PasswordFile("a".into()),
        Source::AclFile("a".into()),
    ] {
        match source.read(bytes) {
            Ok(rules) => {
                let client = ClientFacts { client_id: "c", username: Some("bob"), peer: None };
                rules.may_subscribe(&client, TopicFilter::parse("a/#").unwrap());
                rules.may(&client, Access::Publish, TopicName::parse("a/b").unwrap());
            }
            Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error:?}"),
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_read(bytes in vec(any::<u8>(), 0..200)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn any_text_can_be_read(text in "[ -~\n\t:{}\\[\\]&*!|>'\"%@`#,?-]{0,200}") {
        read_as_everything(text.as_bytes());
    }

    /// Files with bytes changed, put in and taken out.
    #[test]
    fn files_that_were_damaged_can_be_read(
        file in one_of(FILES),
        damage in vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..6),
    ) {
        let mut bytes = file.as_bytes().to_vec();
        for (at, byte, kind) in damage {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        read_as_everything(&bytes);
    }
}
