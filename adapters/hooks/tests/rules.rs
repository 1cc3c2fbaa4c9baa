//! Several sources together, what a host keeps, and what it may tell nobody.

use metronome_hooks::ledger::Ledger;
use metronome_hooks::mosquitto::{acl_file, password_file};
use metronome_hooks::passwords::pbkdf2;
use metronome_hooks::{Access, ClientFacts, Rules, Source, Verdict};
use mqtt_proto::TopicName;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

fn ledger(yaml: &str) -> Rules {
    Ledger::from_yaml(yaml).unwrap().into()
}

fn user(username: &str) -> ClientFacts<'_> {
    ClientFacts { client_id: "c", username: Some(username), peer: None }
}

fn entry(password: &str, iterations: u32) -> String {
    pbkdf2(password.as_bytes(), &[7; 12], NonZeroU32::new(iterations).unwrap())
}

#[test]
fn sources_are_stacked_in_their_order() {
    let first = ledger("users: {bob: {password: first}}\nacl: [{filters: {a/#: 1}}]\n");
    let second = password_file(&format!("bob:{}\nann:{}\n", entry("second", 9), entry("second", 9))).unwrap();
    let third = acl_file("topic a/b\npattern a/#\npattern read b\n").unwrap();
    let rules = first.and(second).and(third);
    for (username, password, wanted) in [
        ("bob", "first", Verdict::Allow),
        ("bob", "second", Verdict::Deny),
        ("ann", "second", Verdict::Allow),
        ("ann", "first", Verdict::Deny),
        ("eve", "first", Verdict::NotMine),
    ] {
        assert_eq!(
            rules.authenticate(&user(username), Some(password.as_bytes())),
            wanted,
            "{username} {password}"
        );
    }
    for (access, topic, wanted) in [
        (Access::Read, "a/b", true),
        // The ledger says no before the last one could say yes.
        (Access::Publish, "a/b", false),
        (Access::Read, "b", true),
        (Access::Publish, "b", false),
        // Of the two answers for what nobody is about, the stricter holds.
        (Access::Read, "c", false),
    ] {
        assert_eq!(
            rules.may(&user("bob"), access, TopicName::parse(topic).unwrap()),
            wanted,
            "{access:?} {topic}"
        );
    }
}

#[test]
fn no_source_at_all_refuses_everything() {
    let rules = Rules::load(&[]).unwrap();
    assert_eq!(rules.authenticate(&ClientFacts::default(), None), Verdict::NotMine);
    assert!(!rules.may(&ClientFacts::default(), Access::Read, TopicName::parse("a").unwrap()));
    let open = Rules::default().and(ledger("auth: [{allow: true}]"));
    assert!(!open.may(&ClientFacts::default(), Access::Read, TopicName::parse("a").unwrap()));
}

#[test]
fn a_generation_is_another_for_other_rules_only() {
    let rules = ledger("users: {bob: {password: x}}\nacl: [{filters: {a: 1, b: 2}}]\n");
    let same = ledger("acl:\n- filters:\n    b: write\n    a: read\nusers:\n  bob:\n    password: x\n");
    assert_eq!(rules.generation(), same.generation());
    for other in [
        "users: {bob: {password: y}}\nacl: [{filters: {a: 1, b: 2}}]\n",
        "users: {bob: {password: x}}\nacl: [{filters: {a: 1, b: 3}}]\n",
        "users: {bob: {password: x}}\nacl: [{filters: {a: 1}}, {filters: {b: 2}}]\n",
        "users: {bob: {password: x}}\n",
        "{}",
    ] {
        assert_ne!(rules.generation(), ledger(other).generation(), "{other}");
    }
}

#[test]
fn permissions_are_those_of_their_client() {
    let rules = ledger("acl: [{username: bob, filters: {\"%c/#\": 3}}, {filters: {\"#\": 0}}]");
    let bob = rules.permissions(&user("bob"));
    assert!(bob.may_read("c/a") && !bob.may_read("d/a"));
    assert!(!rules.permissions(&user("ann")).may_read("c/a"));
}

/// The shortest of three.
fn time(mut work: impl FnMut()) -> Duration {
    let once = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..3).map(once).min().unwrap()
}

fn attempt(rules: &Rules, username: &str) -> Duration {
    time(|| assert_ne!(rules.authenticate(&user(username), Some(b"y")), Verdict::Allow))
}

#[test]
fn an_unknown_user_is_refused_no_sooner_than_a_known_one() {
    let users = format!("bob: {{password: {}}}, gone: {{disallow: true}}", entry("x", 20_000));
    let rules = ledger(&format!("users: {{{users}}}"));
    let known = attempt(&rules, "bob");
    for username in ["eve", "gone"] {
        // Half, as the machine has other things to do.
        assert!(attempt(&rules, username) > known / 2, "{username}");
    }
}

/// Where hashes differ, unknown names look like some known one or other, and each always like the same.
#[test]
fn an_unknown_user_looks_like_some_user() {
    let users = format!("bob: {{password: {}}}, ann: {{password: {}}}", entry("x", 20_000), entry("x", 1));
    let rules = ledger(&format!("users: {{{users}}}"));
    let half = attempt(&rules, "bob") / 2;
    assert!(attempt(&rules, "ann") < half, "so a difference would be seen");
    let names: Vec<String> = (0..40).map(|number| format!("nobody{number}")).collect();
    let slow = names.iter().filter(|name| attempt(&rules, name) > half).count();
    assert!((1..40).contains(&slow), "{slow} of 40 take long");
}

/// A ledger that only says what users may does not hide their passwords in another file.
#[test]
fn a_user_without_password_is_let_in_by_the_next_source() {
    let access = ledger("users: {bob: {acl: {a: read}}, eve: {disallow: true}}");
    let users = ["bob", "eve"].map(|name| format!("{name}:{}\n", entry("secret", 9)));
    let rules = access.and(password_file(&users.concat()).unwrap());
    for (username, password, wanted) in
        [("bob", "secret", Verdict::Allow), ("bob", "wrong", Verdict::Deny), ("eve", "secret", Verdict::Deny)]
    {
        assert_eq!(rules.authenticate(&user(username), Some(password.as_bytes())), wanted, "{username}");
    }
    assert!(rules.may(&user("bob"), Access::Read, TopicName::parse("a").unwrap()));
}

#[test]
fn a_reload_takes_up_what_changed() {
    let folder = std::env::temp_dir().join(format!("metronome-hooks-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let source = Source::Ledger(folder.join("ledger.yaml"));
    let write = |text: &str| std::fs::write(source.path(), text).unwrap();
    write("users: {bob: {password: old}, eve: {password: old}}");
    let old = source.load().unwrap();
    write("users: {bob: {password: new}}");
    let new = source.load().unwrap();
    for (rules, username, password, wanted) in [
        (&old, "bob", "old", Verdict::Allow),
        (&new, "bob", "old", Verdict::Deny),
        (&new, "bob", "new", Verdict::Allow),
        // Users are taken up like everything else.
        (&old, "eve", "old", Verdict::Allow),
        (&new, "eve", "old", Verdict::NotMine),
    ] {
        assert_eq!(
            rules.authenticate(&user(username), Some(password.as_bytes())),
            wanted,
            "{username} {password}"
        );
    }
    assert_ne!(old.generation(), new.generation());
    for broken in ["", "users: {bob: {pasword: x}}", "users: ["] {
        write(broken);
        assert!(source.load().is_err(), "{broken}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
