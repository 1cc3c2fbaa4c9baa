//! The auth ledger: what its rules decide, and which files are none.

use metronome_hooks::ledger::{Ledger, Rights};
use metronome_hooks::{Access, ClientFacts, Pattern, Rules, Source, Verdict};
use mqtt_proto::{TopicFilter, TopicName};
use std::path::PathBuf;

fn rules(yaml: &str) -> Rules {
    Ledger::from_yaml(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}")).into()
}

/// A client with this identifier, user name and address; empty ones are not there.
fn client<'a>(client_id: &'a str, username: &'a str, peer: &str) -> ClientFacts<'a> {
    ClientFacts {
        client_id,
        username: Some(username).filter(|name| !name.is_empty()),
        peer: peer.parse().ok(),
    }
}

fn user(username: &str) -> ClientFacts<'_> {
    client("c", username, "")
}

fn reads(rules: &Rules, username: &str, topic: &str) -> bool {
    rules.may(&user(username), Access::Read, TopicName::parse(topic).unwrap())
}

fn publishes(rules: &Rules, username: &str, topic: &str) -> bool {
    rules.may(&user(username), Access::Publish, TopicName::parse(topic).unwrap())
}

fn subscribes(rules: &Rules, username: &str, filter: &str) -> bool {
    rules.may_subscribe(&user(username), TopicFilter::parse(filter).unwrap())
}

#[test]
fn an_empty_ledger_refuses_everything() {
    for rules in [Rules::default(), rules("{}"), rules("users: {}\nauth: []\n"), rules("users:\nauth:\n")] {
        assert_eq!(rules.authenticate(&user("bob"), Some(b"")), Verdict::NotMine);
        assert!(
            !reads(&rules, "bob", "a") && !publishes(&rules, "bob", "a") && !subscribes(&rules, "bob", "a")
        );
        assert_eq!(rules.warnings(), ["there are no users and no rules: everything is refused"]);
    }
}

#[test]
fn a_user_is_let_in_by_the_password_alone() {
    let rules = rules(
        "users: {bob: {password: right}, eve: {password: right, disallow: true}, gone: {disallow: true}, guest: {}}\n\
         auth: [{allow: true}]\n",
    );
    for (username, password, wanted) in [
        ("bob", Some("right"), Verdict::Allow),
        // The rule that lets everybody in is not for who has the wrong password.
        ("bob", Some("wrong"), Verdict::Deny),
        ("bob", Some(""), Verdict::Deny),
        ("bob", None, Verdict::Deny),
        ("eve", Some("right"), Verdict::Deny),
        ("gone", None, Verdict::Deny),
        ("guest", None, Verdict::Allow),
        ("nobody", Some("wrong"), Verdict::Allow),
        ("", None, Verdict::Allow),
    ] {
        let verdict = rules.authenticate(&user(username), password.map(str::as_bytes));
        assert_eq!(verdict, wanted, "{username} {password:?}");
    }
}

#[test]
fn the_first_authentication_rule_that_fits_decides() {
    let rules = rules(
        "auth:\n\
         - {username: eve}\n\
         - {client: sensor-*, remote: \"10.0.0.*\", allow: true}\n\
         - {username: bob, password: right, allow: true}\n\
         - {username: bob, allow: false}\n\
         - {username: \"*\", client: \"*\", remote: \"127.0.0.1:*\", password: \"*\", allow: true}\n",
    );
    for (client_id, username, peer, password, wanted) in [
        ("sensor-1", "eve", "10.0.0.1:1", None, Verdict::Deny),
        ("sensor-1", "", "10.0.0.1:1", None, Verdict::Allow),
        ("sensor-", "", "10.0.0.1:1", None, Verdict::NotMine),
        ("sensor-1", "", "10.0.1.1:1", None, Verdict::NotMine),
        ("sensor-1", "", "", None, Verdict::NotMine),
        ("c", "bob", "", Some("right"), Verdict::Allow),
        ("c", "bob", "127.0.0.1:1", Some("wrong"), Verdict::Deny),
        ("c", "bob", "127.0.0.1:1", None, Verdict::Deny),
        ("c", "ann", "127.0.0.1:1", None, Verdict::Allow),
        ("c", "ann", "[::ffff:127.0.0.1]:1", Some("any"), Verdict::Allow),
        ("c", "ann", "127.0.0.2:1", None, Verdict::NotMine),
    ] {
        let verdict = rules.authenticate(&client(client_id, username, peer), password.map(str::as_bytes));
        assert_eq!(verdict, wanted, "{client_id} {username} {peer} {password:?}");
    }
}

#[test]
fn passwords_may_be_hashes() {
    let hash = "$2b$04$05HdjQZYS.9CNGMniIAggensIerm7bFXgCv8Ncr9OTWPKj2PZkjQm";
    let rules = rules(&format!(
        "users: {{bob: {{password: {hash}}}}}\nauth: [{{username: ann, password: {hash}, allow: true}}]\n"
    ));
    for name in ["bob", "ann"] {
        assert_eq!(rules.authenticate(&user(name), Some(b"correct horse")), Verdict::Allow);
        assert_ne!(rules.authenticate(&user(name), Some(hash.as_bytes())), Verdict::Allow);
    }
    assert!(!rules.warnings().iter().any(|warning| warning.contains("passwords")));
    assert_eq!(
        self::rules("users: {bob: {password: x}, ann: {password: y}}").warnings(),
        [
            "there are no access rules: whoever is let in may publish and read everything",
            "passwords, 2 of them: stored as they are, not as hashes; who reads the file has them"
        ]
    );
}

#[test]
fn the_most_specific_filter_of_a_user_decides() {
    let rules = rules(
        "users:\n  bob:\n    acl: {\"#\": 0, a/#: 1, a/b: 2, +/c: 3, a/+/x: 0}\n\
         acl: [{filters: {\"#\": 3}}]\n",
    );
    for (topic, read, publish) in [
        ("a", true, false),
        ("a/z", true, false),
        ("a/b", false, true),
        // `a/#` is more specific than `+/c` at the first level.
        ("a/c", true, false),
        ("z/c", true, true),
        ("a/q/x", false, false),
        ("z", false, false),
        ("$SYS/uptime", false, false),
    ] {
        assert_eq!(
            (reads(&rules, "bob", topic), publishes(&rules, "bob", topic)),
            (read, publish),
            "{topic}"
        );
        assert!(reads(&rules, "ann", topic), "{topic}");
    }
}

#[test]
fn what_a_user_has_no_filter_for_is_up_to_the_rules() {
    let rules = rules("users: {bob: {acl: {mine/#: 3}}}\nacl: [{filters: {mine/#: 0, other/#: 1}}]\n");
    assert!(publishes(&rules, "bob", "mine/a"));
    assert!(reads(&rules, "bob", "other/a") && !publishes(&rules, "bob", "other/a"));
    assert!(!reads(&rules, "ann", "mine/a"));
    // The name of a user is no pattern.
    let rules = self::rules("users: {\"*\": {acl: {a: 0}}, b*: {acl: {a: 0}}}\n");
    assert!(reads(&rules, "bob", "a") && !reads(&rules, "b*", "a"));
}

#[test]
fn access_rules_are_tried_in_their_order() {
    let rules = rules(
        "acl:\n\
         - {username: root}\n\
         - {username: bob, filters: {bob/#: 3, updates/#: 2}}\n\
         - {filters: {\"#\": 1, updates/#: 0}}\n",
    );
    for (username, topic, read, publish) in [
        ("root", "updates/a", true, true),
        ("root", "$any/a", true, true),
        ("bob", "bob/a", true, true),
        ("bob", "updates/a", false, true),
        ("bob", "other", true, false),
        ("ann", "bob/a", true, false),
        ("ann", "updates/a", false, false),
        ("", "updates", false, false),
    ] {
        assert_eq!(
            (reads(&rules, username, topic), publishes(&rules, username, topic)),
            (read, publish),
            "{topic}"
        );
    }
}

#[test]
fn what_no_rule_is_about_is_allowed() {
    let open = rules("users: {bob: {password: x}}\n");
    assert!(reads(&open, "bob", "a") && publishes(&open, "bob", "a") && subscribes(&open, "bob", "#"));
    let rules = rules("acl: [{username: bob, filters: {a/#: 0}}]\n");
    assert!(reads(&rules, "bob", "b") && reads(&rules, "ann", "a") && !reads(&rules, "bob", "a/b"));
}

#[test]
fn access_values_are_numbers_or_words() {
    for (value, read, publish) in [
        ("0", false, false),
        ("deny", false, false),
        ("1", true, false),
        ("read", true, false),
        ("2", false, true),
        ("write", false, true),
        ("3", true, true),
        ("readwrite", true, true),
    ] {
        let rules = rules(&format!("acl: [{{filters: {{a: {value}}}}}]"));
        assert_eq!((reads(&rules, "", "a"), publishes(&rules, "", "a")), (read, publish), "{value}");
    }
}

#[test]
fn filters_match_as_in_the_standard() {
    let only =
        |filter: &str| rules(&format!("acl: [{{filters: {{\"{filter}\": 1}}}}, {{filters: {{\"#\": 0}}}}]"));
    for (filter, topic, wanted) in [
        ("a", "a", true),
        ("a", "a/b", false),
        ("a/b", "a", false),
        ("a/#", "a", true),
        ("a/#", "a/b/c", true),
        ("a/+", "a/b", true),
        ("a/+", "a", false),
        ("a/+", "a/b/c", false),
        ("+", "a", true),
        ("+/b", "/b", true),
        ("#", "$SYS/a", true),
        ("+/a", "$SYS/a", true),
        ("$SYS/#", "$SYS/a", true),
    ] {
        assert_eq!(reads(&only(filter), "", topic), wanted, "{filter} {topic}");
    }
}

/// Against one rule the answer is exact; what several allow only together is refused.
#[test]
fn a_subscription_is_allowed_only_if_all_its_topics_are() {
    let narrow = rules("acl: [{filters: {a/+: 1, b/#: 1, c: 2, \"#\": 0}}]");
    for (filter, wanted) in [
        ("a/x", true),
        ("a/+", true),
        ("a/#", false),
        ("a", false),
        ("b/#", true),
        ("b", true),
        ("b/+/x", true),
        ("b/+/#", true),
        ("c", false),
        ("+/x", false),
        ("+", false),
        ("#", false),
        ("$SYS/#", false),
        ("$share/g/b/#", true),
        ("$share/g/#", false),
        ("$share/b/a/x", true),
    ] {
        assert_eq!(subscribes(&narrow, "", filter), wanted, "{filter}");
    }
    // What a narrower rule denies is not open to a wider filter.
    let holes = rules("acl: [{filters: {secret/x: 0, log/#: 2}}]");
    for (filter, wanted) in [
        ("secret/#", false),
        ("secret/y", true),
        ("+/x", false),
        ("#", false),
        ("log/#", false),
        ("a/#", true),
    ] {
        assert_eq!(subscribes(&holes, "", filter), wanted, "{filter}");
    }
    // A denial behind a rule that allows the same is not in force.
    let layered = rules("acl: [{username: bob, filters: {bob/#: 3}}, {filters: {\"#\": 1, bob/#: 0}}]");
    assert!(subscribes(&layered, "bob", "#") && subscribes(&layered, "bob", "+/a"));
    assert!(!subscribes(&layered, "ann", "#") && subscribes(&layered, "ann", "ann/#"));
    let together = rules("acl: [{filters: {a: 1}}, {filters: {a/+/#: 1}}, {filters: {\"#\": 0}}]");
    assert!(!subscribes(&together, "", "a/#"));
}

#[test]
fn names_cannot_widen_a_rule() {
    let rules = rules("acl: [{filters: {dev/%c/%u: 3, dev/%c: 1}}, {filters: {\"#\": 0}}]");
    let may = |client_id, username, access, topic| {
        rules.may(&client(client_id, username, ""), access, TopicName::parse(topic).unwrap())
    };
    assert!(may("d1", "bob", Access::Publish, "dev/d1/bob"));
    assert!(!may("d1", "bob", Access::Publish, "dev/d1/ann"));
    assert!(!may("d1", "bob", Access::Publish, "dev/d2/bob"));
    assert!(may("d1", "bob", Access::Read, "dev/d1"));
    for client_id in ["+", "#", "d1/bob", "", "\0", "a+"] {
        for topic in ["dev/d1/bob", "dev/d1", "dev/+/bob".trim_end_matches("/+/bob"), "dev/d1/bob/bob"] {
            assert!(!may(client_id, "bob", Access::Read, topic), "{client_id:?} {topic}");
        }
    }
    // What a rule denies stays denied for who cannot be named in it.
    let rules = self::rules("acl: [{filters: {logs/%u/raw: 0}}]");
    assert!(!reads(&rules, "bob", "logs/bob/raw") && reads(&rules, "bob", "logs/ann/raw"));
    assert!(!reads(&rules, "b/o", "logs/b/o/raw") && !reads(&rules, "", "logs/bob/raw"));
    let rules = self::rules("acl: [{filters: {\"%u/#\": 1}}, {filters: {\"#\": 0}}]");
    assert!(!reads(&rules, "$SYS", "$SYS/broker/uptime") && reads(&rules, "SYS", "SYS/broker/uptime"));
}

/// As configurations of Mochi have it, in JSON and in YAML.
#[test]
fn files_of_other_brokers_are_read() {
    let json = r#"{"users":{"bob":{"username":"bob","password":"right","acl":{"bob/#":3,"a\ud83d\ude00":1}}},
        "auth":[{"username":"ann","password":"right","allow":true},{"remote":"127.0.0.1:*","allow":true}],
        "acl":[{"remote":"127.0.0.1:*"},{"username":"ann","filters":{"ann/#":3,"updates/#":2}},{"filters":{"\u0023":0}}]}"#;
    let yaml = "\
users:
  bob:
    username: bob
    password: right
    acl:
      bob/#: 3
      a😀: 1
auth:
  - username: ann
    password: right
    allow: true
  - remote: 127.0.0.1:*
    allow: true
acl:
  # 127.0.0.1 may do everything
  - remote: 127.0.0.1:*
  - username: ann
    filters:
      ann/#: 3
      updates/#: 2
  - filters:
      '#': 0
";
    let read = Ledger::from_json(json).unwrap();
    assert_eq!(read, Ledger::from_yaml(yaml).unwrap());
    assert_eq!(read.users["bob"].acl[&Pattern::parse("bob/#").unwrap()], Rights::ReadWrite);
    for name in ["ledger", "ledger.json", "ledger.txt"] {
        let rules = Source::Ledger(name.into()).read(json.as_bytes());
        assert_eq!(rules.unwrap().generation(), Rules::from(read.clone()).generation(), "{name}");
    }
    // A number is as good a password as any.
    let rules = rules("users: {bob: {password: 0042}}");
    assert_eq!(rules.authenticate(&user("bob"), Some(b"0042")), Verdict::Allow);
}

#[test]
fn a_ledger_is_written_as_it_is_read() {
    let yaml = std::fs::read_to_string(example("ledger.yaml")).unwrap();
    let ledger = Ledger::from_yaml(&yaml).unwrap();
    assert_eq!(Ledger::from_yaml(&ledger.to_yaml().unwrap()).unwrap(), ledger);
    assert_eq!(Ledger::from_json(&ledger.to_json().unwrap()).unwrap(), ledger);
    assert_eq!(Ledger::from_toml(&ledger.to_toml().unwrap()).unwrap(), ledger);
    // Access is written in numbers, which Mochi reads.
    assert!(ledger.to_yaml().unwrap().contains("\"bob/#\": 3\n"), "{}", ledger.to_yaml().unwrap());
}

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

#[test]
fn the_examples_decide_what_they_say() {
    let load = |name| Source::Ledger(example(name)).load().unwrap();
    let rules = load("ledger.yaml");
    assert_eq!(rules.generation(), load("ledger.toml").generation());
    assert!(rules.warnings().is_empty());
    for (username, peer, password, wanted) in [
        ("bob", "10.0.0.1:1", Some("correct horse"), Verdict::Allow),
        ("sensors", "10.0.0.1:1", Some("correct horse"), Verdict::Allow),
        ("bob", "127.0.0.1:1", Some("wrong"), Verdict::Deny),
        ("eve", "127.0.0.1:1", None, Verdict::Deny),
        ("ann", "127.0.0.1:1", None, Verdict::Allow),
        ("ann", "10.0.0.1:1", None, Verdict::NotMine),
    ] {
        let verdict = rules.authenticate(&client("c", username, peer), password.map(str::as_bytes));
        assert_eq!(verdict, wanted, "{username} {peer}");
    }
    assert!(publishes(&rules, "bob", "bob/now") && !publishes(&rules, "bob", "bob/history/1"));
    assert!(subscribes(&rules, "bob", "bob/#") && !subscribes(&rules, "bob", "#"));
    assert!(publishes(&rules, "sensors", "sensors/c/t") && !publishes(&rules, "sensors", "sensors/d/t"));
    assert!(reads(&rules, "sensors", "sensors/c/set") && !publishes(&rules, "sensors", "sensors/c/set"));
    assert!(subscribes(&rules, "ann", "public/#") && !publishes(&rules, "ann", "public/a"));
}

#[test]
fn mistakes_are_named_by_file_line_and_key() {
    for (name, text, wanted) in [
        ("a.yaml", "user: {}\n", "line 1: user: unknown key `user`; did you mean `users`?"),
        (
            "a.yaml",
            "users:\n  bob:\n    pasword: x\n",
            "line 3: users.bob.pasword: unknown key `pasword`; did you mean `password`?",
        ),
        (
            "a.json",
            "{\"acl\": [\n{\"filter\": {}}]}",
            "line 2: acl[0].filter: unknown key `filter`; did you mean `filters`?",
        ),
        (
            "a.toml",
            "[[acl]]\n\nfilter = {}\n",
            "line 3: acl[0].filter: unknown key `filter`; did you mean `filters`?",
        ),
        ("a.yaml", "users:\n  bob: {}\n  bob: {}\n", "line 3: users: duplicate mapping key: bob"),
        ("a.json", "{\"users\": {\"bob\": {},\n\"bob\": {}}}", "line 2: users: `bob` is there twice"),
        ("a.toml", "[users.bob]\n[users.bob]\n", "line 2: duplicate key"),
        (
            "a.yaml",
            "users:\n  bob:\n    username: ann\n",
            "line 2: users: the user `bob` has the username `ann`",
        ),
        ("a.yaml", "users: {\"\": {}}\n", "line 1: users: a user has no name"),
        ("a.yaml", "acl:\n- client: a\n  filters:\n", "line 3: acl[0].filters: has no filters"),
        ("a.json", "{\"acl\": [{\"filters\":\n{}}]}", "line 2: acl[0].filters: has no filters"),
        (
            "a.yaml",
            "acl:\n- filters:\n    '#/x': read\n",
            "line 3: acl[0].filters.#/x: `#/x`: a wildcard must stand alone",
        ),
        ("a.yaml", "acl:\n", "line 1: acl: has no rules"),
        ("a.yaml", "acl: []\n", "line 1: acl: has no rules"),
        ("a.toml", "acl = []\n", "line 1: acl: has no rules"),
        ("a.yaml", "users:\n  bob:\n    acl: {}\n", "line 3: users.bob.acl: has no filters"),
        ("a.yaml", "users:\n  bob:\n    password:\n", "line 3: users.bob.password: is empty"),
        ("a.yaml", "auth:\n- password: ''\n  allow: true\n", "line 2: auth[0].password: is empty"),
        ("a.yaml", "auth:\n- username:\n  allow: true\n", "line 2: auth[0].username: is empty"),
        ("a.yaml", "auth:\n- client: ''\n", "line 2: auth[0].client: is empty"),
        ("a.yaml", "auth:\n- client: a*b\n", "line 2: auth[0].client: has * before its end"),
        ("a.yaml", "auth:\n- password: a*\n", "line 2: auth[0].password: ends with *"),
        ("a.yaml", "auth:\n- remote: 127.0.0.1\n", "line 2: auth[0].remote: is no address with its port"),
        ("a.yaml", "auth:\n- remote: localhost:*\n", "line 2: auth[0].remote: begins like no address"),
        ("a.yaml", "auth:\n- allow: maybe\n", "line 2: auth[0].allow: "),
        ("a.yaml", "users: {bob: {password: $1$ab$cd}}\n", "line 1: users.bob.password: is a hash of a kind"),
        ("a.yaml", "acl:\n- filters:\n    a: 1\n    b: 4\n", "line 4: acl[0].filters.b: "),
        ("a.toml", "[[acl]]\nfilters = { a = \"reed\" }\n", "line 2: acl[0].filters.a: "),
        ("a.json", "{\"acl\": [{\"filters\": {\"a\":\n -1}}]}", "line 2: acl[0].filters.a: "),
        (
            "a.yaml",
            "acl:\n- filters:\n    a#: 1\n",
            "line 3: acl[0].filters.a#: `a#`: a wildcard must stand alone",
        ),
        ("a.yaml", "acl:\n- filters:\n    $share/g/a: 1\n", "line 3: acl[0].filters.$share/g/a: "),
        ("a.yaml", "users: {~: {}}\n", "line 1: users: cannot deserialize null into string"),
        // What is in the wrong place may be a secret.
        (
            "a.json",
            "{\"users\": {\"bob\": \"secret\"}}",
            "line 1: users.bob: invalid type: string, expected ",
        ),
        ("a.toml", "[users]\nbob = 1234\n", "line 2: users.bob: invalid type: integer, expected "),
        ("a.yaml", "users: {bob: secret}\n", "line 1: users.bob: expected mapping start"),
        ("a.yaml", "users: 5\n", "line 1: users: "),
        ("a.yaml", "users: [\n", "line "),
        ("a.yaml", "users: {}\n---\nusers: {}\n", "line 3: multiple YAML documents detected"),
        ("a.json", "{\"users\": {}}\n{}", "line 2: trailing characters"),
        ("a.yaml", "", "is empty"),
        ("a.yaml", "# nothing\n", "is empty"),
        ("a.toml", "\n", "is empty"),
        ("a.json", "", "line 1: EOF"),
        ("a.yaml", "null", "is empty"),
    ] {
        let source = Source::Ledger(name.into());
        let error = source.read(text.as_bytes()).expect_err(text).to_string();
        assert!(error.starts_with(wanted) && error.lines().count() == 1, "{text:?}: {error}");
        assert!(
            !["secret", "1234", "use "].iter().any(|word| error.contains(word)) || error.contains("hash"),
            "{error}"
        );
    }
    let missing = example("none.yaml");
    let error = Source::Ledger(missing.clone()).load().unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: cannot be read: ", missing.display())), "{error}");
    let other = example("ledger.yaml");
    let error = Source::PasswordFile(other.clone()).load().unwrap_err();
    assert_eq!(error.to_string(), format!("{}: line 3: users: is empty", other.display()));
    assert_eq!(error.line(), Some(3));
    let error = Source::Ledger("a".into()).read(b"users:\n  \xff: {}\n").unwrap_err();
    assert_eq!(error.to_string(), "line 2: is not UTF-8");
    let marked = Source::Ledger("a".into()).read("\u{feff}{\"users\": {}}".as_bytes());
    assert!(marked.is_ok(), "{marked:?}");
}
