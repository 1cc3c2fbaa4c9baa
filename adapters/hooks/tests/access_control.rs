//! Rules as a hook: what the broker is told about clients, and files that are read again.

use metronome_hooks::ledger::Ledger;
use metronome_hooks::{AccessControl, RuleFiles, Rules, RulesInForce, Source};
use metronome_host::engine::{
    Admission, Answer, Authenticate, CloseCause, Config, ConnId, Engine, HashKey, ListenerId, Permissions,
    Seed, Time,
};
use metronome_host::{Client, Decision, Driver, Hook, HookChain};
use std::path::PathBuf;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

const NOW: Time = Time::from_secs(1);

const LEDGER: &str = "
users:
  bob: {password: secret, acl: {bob/#: readwrite, bob/history/#: read, '#': deny}}
auth:
  - {remote: '192.0.2.7:*', username: guest, allow: true}
acl:
  - filters: {'#': deny, public/#: read}
";

fn rules(ledger: &str) -> Rules {
    Rules::from(Ledger::from_yaml(ledger).unwrap())
}

fn driver(rules: &RulesInForce, allow_anonymous: bool) -> Driver {
    let hooks = HookChain::from(AccessControl::new(rules.clone(), allow_anonymous).unwrap());
    let config = Config { interest: hooks.interest(), ..Config::default() };
    Driver::new(Engine::new(config, Seed(1), HashKey([1, 2])), hooks)
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

#[derive(Clone, Copy, Default)]
struct Connect {
    username: Option<&'static str>,
    password: Option<&'static str>,
    method: Option<&'static str>,
    will: Option<&'static str>,
    /// Session Expiry Interval, and Will Delay Interval of half of it.
    expiry: u8,
    /// The broker is to assign an identifier.
    nameless: bool,
}

impl Connect {
    /// The reason code that it is answered with.
    fn send(self, driver: &mut Driver) -> (ConnId, u8) {
        let Self { username, password, method, will, expiry, nameless } = self;
        let flag = |is: bool, bit: u8| if is { bit } else { 0 };
        let flags =
            2 | flag(username.is_some(), 0x80) | flag(password.is_some(), 0x40) | flag(will.is_some(), 4);
        let mut properties = method.map(|method| [&[0x15], &text(method)[..]].concat()).unwrap_or_default();
        properties.extend([0x11, 0, 0, 0, expiry]);
        let length = [u8::try_from(properties.len()).unwrap()];
        let will = will
            .map(|topic| [&[5, 0x18, 0, 0, 0, expiry / 2], &text(topic)[..], &text("lost")].concat())
            .unwrap_or_default();
        let credentials = [username, password].into_iter().flatten().flat_map(text).collect::<Vec<_>>();
        let head = [&b"\0\x04MQTT\x05"[..], &[flags, 0, 0], &length, &properties];
        let body = [&head.concat()[..], &text(if nameless { "" } else { "c" }), &will, &credentials].concat();
        let conn = driver.open(NOW, ListenerId(0), "192.0.2.7:4711".parse().ok());
        driver.received(NOW, conn, &[&[0x10, u8::try_from(body.len()).unwrap()], &body[..]].concat());
        (conn, wait(driver, conn)[3])
    }
}

/// What is sent to a client, which may wait for another thread.
fn wait(driver: &mut Driver, conn: ConnId) -> Vec<u8> {
    let began = Instant::now();
    loop {
        let mut bytes = Vec::new();
        driver.flush(NOW, conn, |slices| {
            bytes.extend(slices.iter().flat_map(|slice| slice.iter()));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        if !bytes.is_empty() {
            return bytes;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "no answer");
        if driver.poll_hooks(NOW, &Context::from_waker(Waker::noop())).is_pending() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn clients_are_let_in_by_the_rules() {
    let rules = RulesInForce::new(rules(LEDGER));
    let bob = Connect { username: Some("bob"), password: Some("secret"), ..Connect::default() };
    let guest = Connect { username: Some("guest"), ..Connect::default() };
    for (connect, code, code_if_anonymous_may) in [
        (bob, 0, 0),
        (Connect { password: Some("guess"), ..bob }, 0x87, 0x87),
        (Connect { password: None, ..bob }, 0x87, 0x87),
        (Connect { username: Some("eve"), ..bob }, 0x87, 0x87),
        (guest, 0, 0),
        (Connect { password: Some("any"), ..guest }, 0, 0),
        (Connect::default(), 0x87, 0),
        // Only a client that says who it is may be somebody.
        (Connect { username: None, ..bob }, 0x87, 0),
        (Connect { method: Some("m"), ..guest }, 0x8c, 0x8c),
        // A will is a message like any other.
        (Connect { will: Some("bob/gone"), ..bob }, 0, 0),
        (Connect { will: Some("bob/history/gone"), ..bob }, 0x87, 0x87),
        (Connect { will: Some("public/gone"), ..guest }, 0x87, 0x87),
    ] {
        assert_eq!(connect.send(&mut driver(&rules, false)).1, code);
        assert_eq!(connect.send(&mut driver(&rules, true)).1, code_if_anonymous_may);
    }
}

#[test]
fn topic_filters_are_granted_by_the_rules_that_hold_then() {
    let in_force = RulesInForce::new(rules(LEDGER));
    let mut driver = driver(&in_force, false);
    let bob = Connect { username: Some("bob"), password: Some("secret"), ..Connect::default() };
    let (conn, _) = bob.send(&mut driver);
    let subscribe = |driver: &mut Driver| {
        let filters = ["bob/#", "bob/history/1", "public/#", "#", "$share/g/bob/+"];
        let list: Vec<u8> = filters.iter().flat_map(|filter| [text(filter), vec![1]].concat()).collect();
        let body = [&[0, 1, 0][..], &list].concat();
        driver.received(NOW, conn, &[&[0x82, u8::try_from(body.len()).unwrap()], &body[..]].concat());
        wait(driver, conn)[5..].to_vec()
    };
    assert_eq!(subscribe(&mut driver), [1, 1, 0x87, 0x87, 1]);
    in_force.replace(rules("users: {bob: {password: secret, acl: {public/#: read, '#': deny}}}"));
    let poll = |driver: &mut Driver| driver.poll_hooks(NOW, &Context::from_waker(Waker::noop()));
    assert!(poll(&mut driver).is_ready(), "a client that is connected follows");
    assert_eq!(subscribe(&mut driver), [0x87, 0x87, 1, 0x87, 0x87]);
    // Another password, and another user: it would not have been let in.
    in_force.replace(rules("users: {bob: {password: other}}"));
    assert!(poll(&mut driver).is_ready());
    assert!(driver.is_closing(conn));
}

/// All of them, however many: one slice holds 256.
#[test]
fn every_client_follows_a_reload() {
    let in_force = RulesInForce::new(rules(LEDGER));
    let mut driver = driver(&in_force, false);
    let bob =
        Connect { nameless: true, username: Some("bob"), password: Some("secret"), ..Connect::default() };
    let conns: Vec<ConnId> = (0..600).map(|_| bob.send(&mut driver).0).collect();
    in_force.replace(rules("users: {bob: {password: other}}"));
    while driver.poll_hooks(NOW, &Context::from_waker(Waker::noop())).is_ready() {}
    assert_eq!(conns.iter().filter(|conn| !driver.is_closing(**conn)).count(), 0);
}

/// Whose connection is gone is still followed: its will may be due, and its session may be the next one's.
#[test]
fn a_will_that_waits_is_sent_by_the_rules_that_hold_then() {
    let bob = Connect {
        username: Some("bob"),
        password: Some("secret"),
        will: Some("bob/gone"),
        expiry: 60,
        ..Connect::default()
    };
    for (changed, is_sent) in [
        (LEDGER, true),
        ("users: {bob: {password: secret, acl: {bob/#: read, '#': deny}}}", false),
        ("users: {bob: {password: other, acl: {'#': readwrite}}}", false),
    ] {
        let in_force = RulesInForce::new(rules(LEDGER));
        let mut driver = driver(&in_force, false);
        let (conn, _) = bob.send(&mut driver);
        driver.closed(NOW, conn, CloseCause::Fault);
        in_force.replace(rules(changed));
        assert!(driver.poll_hooks(NOW, &Context::from_waker(Waker::noop())).is_ready());
        driver.tick(Time::from_secs(40));
        assert_eq!(driver.view().counters().wills_sent, u64::from(is_sent), "{changed}");
    }
}

/// Lets everybody in, who then may as much as it says.
struct Others(Option<Permissions>);

impl Hook for Others {
    fn authenticate(&mut self, _: &Client, _: &Authenticate) -> Decision {
        let admission = Admission { permissions: self.0.clone(), ..Admission::default() };
        Answer::Admit(Box::new(admission)).into()
    }
}

/// What a store has kept of a client is judged by the rules that hold when the broker starts, and follows them.
#[test]
fn sessions_from_a_store_are_judged_by_the_rules() {
    let in_force = RulesInForce::new(rules(LEDGER));
    let mut control = AccessControl::new(in_force.clone(), false).unwrap();
    let may = |client: Option<&str>, control: &mut AccessControl| {
        control.resumed("c", client).expect("rules").may_publish("bob/gone")
    };
    assert!(may(Some("bob"), &mut control));
    assert!(!may(Some("eve"), &mut control) && !may(None, &mut control));
    in_force.replace(rules("acl: [{filters: {'#': deny, public/#: read}}]"));
    assert!(!may(Some("bob"), &mut control), "bob was removed meanwhile");
}

/// Rules also hold for whom another hook lets in, unless that says itself what the client may.
#[test]
fn rules_hold_for_clients_of_hooks_that_say_nothing_of_permissions() {
    let everything = Permissions { otherwise: true, ..Permissions::default() };
    for (others, granted, later) in [(None, 0x87, 1), (Some(everything), 1, 1)] {
        for (username, password) in [(Some("eve"), Some("any")), (Some("eve"), None), (None, None)] {
            let is_silent = others.is_none();
            let in_force = RulesInForce::new(rules(LEDGER));
            let control = AccessControl::new(in_force.clone(), false).unwrap();
            let hooks = HookChain::from(control).and(Others(others.clone()));
            let config = Config { interest: hooks.interest(), ..Config::default() };
            let mut driver = Driver::new(Engine::new(config, Seed(1), HashKey([1, 2])), hooks);
            let (conn, code) = Connect { username, password, ..Connect::default() }.send(&mut driver);
            assert_eq!(code, 0);
            let subscribe = |driver: &mut Driver| {
                driver.received(NOW, conn, &[&[0x82, 9, 0, 1, 0][..], &text("a/#"), &[1]].concat());
                wait(driver, conn)[5]
            };
            assert_eq!(subscribe(&mut driver), granted, "{username:?}");
            in_force.replace(rules("acl: [{filters: {'a/#': readwrite}}]"));
            let polled = driver.poll_hooks(NOW, &Context::from_waker(Waker::noop()));
            assert_eq!(polled.is_ready(), is_silent, "only what the rules have said is said anew");
            assert_eq!(subscribe(&mut driver), later);
        }
    }
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn files_are_read_again_when_they_have_changed_and_settled() {
    let path = file("users", "");
    let mut files = RuleFiles::load(vec![Source::PasswordFile(path.clone())]).unwrap();
    let rules = files.rules();
    let before = rules.get().generation();
    assert!(!files.have_changed() && !files.have_changed());

    let hash = "$7$101$v7AM+x/7txQGV9Tu$pnEKOcGo";
    std::fs::write(&path, format!("# one line\nbob:{hash}\n")).unwrap();
    assert!(!files.have_changed(), "it may still be written");
    assert!(files.have_changed());
    let error = files.reload().unwrap_err().to_string();
    assert!(error.contains("users: line 2: bob: is a damaged hash"), "{error}");
    assert_eq!(rules.get().generation(), before, "the old rules stay");
    // Said once, not at every look.
    assert!(!files.have_changed() && !files.have_changed());

    std::fs::write(&path, "# nothing\n").unwrap();
    assert!(!files.have_changed() && files.have_changed());
    assert_eq!(files.reload(), Ok(false), "the same rules as at first");
    std::fs::remove_file(&path).unwrap();
    assert!(!files.have_changed() && files.have_changed());
    assert!(files.reload().is_err());
    assert_eq!(rules.get().generation(), before);
}
