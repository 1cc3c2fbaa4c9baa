//! Files of users and access rules. The first byte says which kind of file the others are.

use metronome_hooks::accounts::Digest;
use metronome_hooks::ledger::Ledger;
use metronome_hooks::{ClientFacts, LoadError, Source};
use mqtt_proto::{TopicFilter, TopicName};

const TOPICS: &[&str] = &["a", "a/b", "a/b/c", "b/a", "/", "/a", "$SYS/a", "bob", "bob/a", "c/a", "a/bob"];
const FILTERS: &[&str] = &["#", "+", "a/#", "a/+", "+/a", "+/#", "a/b/#", "bob/#", "c/+", "$SYS/#", "/+"];

/// A file that is refused is so in one line. One that is read grants no subscription to what may not be read, and a
/// ledger says the same once written.
pub fn rules(bytes: &[u8]) {
    let Some((kind, file)) = bytes.split_first() else { return };
    let source = match kind {
        b'j' => Source::Ledger("ledger.json".into()),
        b't' => Source::Ledger("ledger.toml".into()),
        b'p' => Source::PasswordFile("passwords".into()),
        b'a' => Source::AclFile("acl".into()),
        b'm' => Source::Accounts("accounts".into(), Digest::Md5),
        b'h' => Source::Accounts("accounts".into(), Digest::Bcrypt),
        _ => Source::Ledger("ledger.yaml".into()),
    };
    let rules = match source.read(file) {
        Err(error) => {
            let error = error.to_string();
            assert!(error.lines().count() == 1, "not one line: {error:?}");
            return;
        }
        Ok(rules) => rules,
    };
    for (client_id, username) in [("c", Some("bob")), ("a", None), ("+", Some("a/b")), ("$SYS", Some("$SYS"))]
    {
        let client = ClientFacts { client_id, username, peer: "127.0.0.1:7".parse().ok() };
        let permissions = rules.permissions(&client);
        for filter in FILTERS.iter().chain(TOPICS).filter_map(|text| TopicFilter::parse(text).ok()) {
            let granted = permissions.may_subscribe(filter.filter());
            for topic in TOPICS.iter().filter_map(|text| TopicName::parse(text).ok()) {
                let may = permissions.may_read(topic.as_str()) || !filter.matches(topic);
                assert!(may || !granted, "{client:?} may subscribe to {filter:?} and not read {topic:?}");
            }
        }
    }
    if let Some(ledger) = str::from_utf8(file).ok().and_then(|text| read(*kind, text).ok()) {
        let written = ledger.to_yaml().expect("what was read can be written");
        assert_eq!(Ledger::from_yaml(&written).as_ref(), Ok(&ledger), "{written}");
    }
}

fn read(kind: u8, text: &str) -> Result<Ledger, LoadError> {
    match kind {
        b'j' => Ledger::from_json(text),
        b't' => Ledger::from_toml(text),
        _ => Ledger::from_yaml(text),
    }
}
