//! `password_file` and `acl_file` as mosquitto has them.

use metronome_hooks::mosquitto::{acl_file, password_file};
use metronome_hooks::{Access, ClientFacts, Rules, Verdict};
use mqtt_proto::{TopicFilter, TopicName};

const PASSWORDS: &str = "\
# written by mosquitto_passwd, version 2.0
bob:$7$101$v7AM+x/7txQGV9Tu$pnEKOcGoFL2Ua2McogLpyJ5W9PZn/YLk3nSImZAdoODrRRCDw9hSPzGIyyMS0ZX0adRf1r5kL0pwbUMPa1mWMg==
old:$6$0Z+Rt2mS1SemlTy7$WGSl0W7iFvZdgz26eWudjgSesAc8prx4fxocHSqlQNen92g/7Qcwaw+6rmmEruGtekwv5mF/5c2fJwtxsuV4ag==\r

sp ace:$7$101$1u56RFrIkLkv5x+Z$4EwDHqrO1jnHRASuKIPSIXSdTNTTg6MfRDYoWg7UXoioUbTSCO6fv7afsQOM1w810rKienoUw95vWBHsFHkW7w==
";

const ACL: &str = "\
# clients without user name
topic read public/#

user bob
topic bob/#
topic read shared/+/status
topic write log
topic deny bob/secret
user spa ce
topic read white space/#
user bob
topic read later

pattern read devices/%c/in
pattern write devices/%c/out
pattern readwrite users/%u/#
pattern deny users/%u/locked/#
pattern read $SYS/broker/uptime
";

fn client<'a>(client_id: &'a str, username: &'a str) -> ClientFacts<'a> {
    ClientFacts { client_id, username: Some(username).filter(|name| !name.is_empty()), peer: None }
}

fn may(rules: &Rules, (client_id, username): (&str, &str), access: Access, topic: &str) -> bool {
    rules.may(&client(client_id, username), access, TopicName::parse(topic).unwrap())
}

#[test]
fn a_password_file_lets_in_its_users() {
    let rules = password_file(PASSWORDS).unwrap();
    for (username, password, wanted) in [
        ("bob", "correct horse", Verdict::Allow),
        ("old", "correct horse", Verdict::Allow),
        ("sp ace", "correct horse", Verdict::Allow),
        ("bob", "wrong", Verdict::Deny),
        ("bob", "", Verdict::Deny),
        ("eve", "correct horse", Verdict::NotMine),
        ("", "correct horse", Verdict::NotMine),
        ("# written by mosquitto_passwd, version 2.0", "", Verdict::NotMine),
    ] {
        let verdict = rules.authenticate(&client("", username), Some(password.as_bytes()));
        assert_eq!(verdict, wanted, "{username} {password}");
    }
    assert_eq!(rules.authenticate(&client("", "bob"), None), Verdict::Deny);
    // Topics are not what it is about.
    assert!(may(&rules, ("", "bob"), Access::Publish, "any/topic"));
}

#[test]
fn an_empty_password_file_lets_in_nobody() {
    for text in ["", "\n\n", "# nobody\n"] {
        let rules = password_file(text).unwrap();
        assert_eq!(rules.authenticate(&client("", "bob"), Some(b"")), Verdict::NotMine);
        assert!(!may(&rules, ("", "bob"), Access::Read, "a"));
        assert_eq!(rules.warnings().len(), 1);
    }
}

#[test]
fn an_acl_file_grants_what_its_lines_grant() {
    use Access::{Publish, Read};
    let rules = acl_file(ACL).unwrap();
    let (anonymous, bob, space, eve) = (("d1", ""), ("d1", "bob"), ("d1", "spa ce"), ("d2", "eve"));
    for (who, access, topic, wanted) in [
        (anonymous, Read, "public/a", true),
        (anonymous, Read, "public", true),
        (anonymous, Publish, "public/a", false),
        // Those lines are about nobody else.
        (bob, Read, "public/a", false),
        (bob, Read, "bob/a", true),
        (bob, Publish, "bob/a", true),
        // Denials hold wherever they stand.
        (bob, Read, "bob/secret", false),
        (bob, Publish, "bob/secret", false),
        (bob, Read, "shared/1/status", true),
        (bob, Publish, "shared/1/status", false),
        (bob, Read, "log", false),
        (bob, Publish, "log", true),
        (bob, Read, "later", true),
        (bob, Read, "nobody/granted/this", false),
        (space, Read, "white space/a", true),
        (eve, Read, "bob/a", false),
        // Patterns are about everybody.
        (bob, Read, "devices/d1/in", true),
        (bob, Publish, "devices/d1/in", false),
        (bob, Publish, "devices/d1/out", true),
        (bob, Read, "devices/d2/in", false),
        (eve, Read, "devices/d2/in", true),
        (eve, Publish, "users/eve/a", true),
        (eve, Publish, "users/eve/locked/a", false),
        (eve, Publish, "users/bob/a", false),
        (anonymous, Publish, "users//a", false),
        (eve, Read, "$SYS/broker/uptime", true),
        (eve, Read, "$SYS/broker/time", false),
    ] {
        assert_eq!(may(&rules, who, access, topic), wanted, "{who:?} {access:?} {topic}");
    }
    assert_eq!(rules.authenticate(&client("d1", "bob"), None), Verdict::NotMine);
}

#[test]
fn names_cannot_widen_a_pattern() {
    let rules = acl_file("pattern users/%u/#\npattern deny users/%u/locked\npattern %c\n").unwrap();
    for username in ["+", "#", "a/b", "+/x", "", "a\0"] {
        for topic in ["users/a/x", "users/a", "users/a/b/x", "users/a/b", "users//x", "a"] {
            assert!(!may(&rules, ("d1", username), Access::Publish, topic), "{username:?} {topic}");
        }
    }
    assert!(may(&rules, ("d1", "a"), Access::Publish, "users/a/x"));
    // To a topic of one's own that begins with `$` nobody comes by a name.
    assert!(!may(&rules, ("$SYS", "a"), Access::Read, "$SYS"));
    assert!(may(&rules, ("SYS", "a"), Access::Read, "SYS"));
    // One name with a wildcard takes away what there is for the other, too, but not what `topic` lines grant.
    let patterns =
        acl_file("user bob\ntopic read own\npattern users/%u\npattern all\npattern deny own\n").unwrap();
    for (client_id, wanted) in [("d1", true), ("d/1", true), ("d+", false), ("#", false)] {
        for topic in ["users/bob", "all"] {
            assert_eq!(
                may(&patterns, (client_id, "bob"), Access::Read, topic),
                wanted,
                "{client_id} {topic}"
            );
        }
        assert!(may(&patterns, (client_id, "bob"), Access::Read, "own"));
        assert!(!may(&patterns, (client_id, "eve"), Access::Read, "own"));
    }
    // And what is denied to a name there stays denied.
    let deny = acl_file("pattern deny %u/x\npattern read $SYS/#\n").unwrap();
    assert!(
        !may(&deny, ("", "$SYS"), Access::Read, "$SYS/x") && may(&deny, ("", "a"), Access::Read, "$SYS/x")
    );
    // In `topic` lines it is text.
    let rules = acl_file("user bob\ntopic users/%u\n").unwrap();
    assert!(may(&rules, ("", "bob"), Access::Read, "users/%u"));
    assert!(!may(&rules, ("", "bob"), Access::Read, "users/bob"));
}

/// A wildcard at the front does not reach topics that begin with `$`, neither here nor in a subscription.
#[test]
fn wildcards_do_not_reach_the_topics_of_the_broker() {
    let rules = acl_file("topic read #\n").unwrap();
    assert!(!may(&rules, ("", ""), Access::Read, "$SYS/broker/uptime"));
    for (filter, wanted) in [("#", true), ("+/a", true), ("$SYS/#", false), ("$share/g/#", true)] {
        let filter = TopicFilter::parse(filter).unwrap();
        assert_eq!(rules.may_subscribe(&ClientFacts::default(), filter), wanted, "{filter:?}");
    }
}

#[test]
fn an_empty_acl_file_refuses_everything() {
    for text in ["", "# nothing\n", "user bob\n"] {
        let rules = acl_file(text).unwrap();
        assert!(!may(&rules, ("", "bob"), Access::Read, "a"));
        assert!(!rules.may_subscribe(&client("", "bob"), TopicFilter::parse("a").unwrap()));
        assert_eq!(rules.warnings().len(), 1);
        // Also with users whom another file lets in.
        let both = password_file(PASSWORDS).unwrap().and(rules);
        assert!(!may(&both, ("", "bob"), Access::Read, "a"));
    }
}

#[test]
fn mistakes_are_named_by_their_line() {
    for (text, wanted) in [
        ("\nbob\n", "line 2: is not NAME:HASH"),
        (":$7$1$a$b\n", "line 1: has no user name"),
        ("bob:secret\n", "line 1: bob: is no hash: mosquitto_passwd -U FILE makes hashes of passwords"),
        ("bob:\n", "line 1: bob: is empty"),
        ("bob:$7$101$v7AM+x\n", "line 1: bob: is a damaged hash of mosquitto_passwd"),
        ("bob:$5$abc$def\n", "line 1: bob: is a hash of a kind that is not known"),
    ] {
        assert_eq!(password_file(text).unwrap_err().to_string(), wanted);
    }
    let twice = PASSWORDS.replace("old:", "bob:");
    assert_eq!(password_file(&twice).unwrap_err().to_string(), "line 3: bob: is there twice");
    for (text, wanted) in [
        ("topics a\n", "line 1: `topics` is not user, topic or pattern; did you mean `topic`?"),
        ("user\n", "line 1: user: says nothing"),
        ("topic\n", "line 1: topic: says nothing"),
        (
            "topic wirte a\n",
            "line 1: topic: `wirte` is not read, write, readwrite or deny; did you mean `write`?",
        ),
        ("\ntopic a b\n", "line 2: topic: `a` is not read, write, readwrite or deny"),
        (
            "topic read a#\n",
            "line 1: topic: `a#`: a wildcard must stand alone in its level, and # at the end",
        ),
        (
            "topic read a\ntopic read #/x\n",
            "line 2: topic: `#/x`: a wildcard must stand alone in its level, and # at the end",
        ),
        (
            "pattern $share/g/a\n",
            "line 1: pattern: `$share/g/a`: a shared subscription is $share/NAME/FILTER, without wildcard in NAME",
        ),
    ] {
        assert_eq!(acl_file(text).unwrap_err().to_string(), wanted);
    }
}
