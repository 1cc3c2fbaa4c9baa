//! The `metronome` binary with files of users and rules, and `metronome passwd`.

mod common;

use common::process::{Running, metronome, run, start};
use common::{Client, connect, packet, string};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A folder of its own for each test.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Answers of `metronome passwd`: exit code, standard output and standard error.
fn passwd(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = metronome().arg("passwd").args(arguments).stdin(Stdio::piped()).spawn().unwrap();
    // One that refuses its flags does not read.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A broker with this configuration, and the lines of its log.
fn broker(folder: &Path, config: &str) -> (Running, Receiver<String>) {
    let file = folder.join("metronome.toml");
    fs::write(&file, format!("{config}\n[[listeners]]\naddress = \"127.0.0.1:0\"\n")).unwrap();
    let mut command = metronome();
    command.arg("--config").arg(file);
    let mut broker = start(command);
    let log = BufReader::new(broker.child.stderr.take().unwrap());
    let (said, lines) = channel();
    std::thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| said.send(line)));
    (broker, lines)
}

/// Waits for a line of the log.
fn logged(lines: &Receiver<String>, wanted: &str) -> String {
    loop {
        let line = lines.recv_timeout(Duration::from_secs(20)).expect(wanted);
        if line.contains(wanted) {
            return line;
        }
    }
}

/// Return code of a 3.1.1 client.
fn connack(address: SocketAddr, user: Option<(&str, &str)>) -> (Client, u8) {
    let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let mut client = Client::open(address, 4);
    client.send(&match user {
        None => connect(4, "c"),
        Some((name, password)) => {
            packet(0x10, &[b"\0\x04MQTT\x04\xc2\0\x3c\0\x01c", &text(name)[..], &text(password)].concat())
        }
    });
    let code = client.packet()[3];
    (client, code)
}

#[test]
fn entries_are_made_and_checked() {
    let users = folder("entries").join("users");
    let mut lines = String::new();
    for (user, flags, kind) in [
        ("bob", &[][..], "$argon2id$"),
        ("ann", &["--pbkdf2"], "$7$"),
        ("joe", &["--scram"], "SCRAM-SHA-256$"),
    ] {
        let (code, line, error) = passwd(&[&["create", user], flags].concat(), "secret\n");
        assert_eq!((code, &*error), (Some(0), ""));
        assert!(line.starts_with(&format!("{user}:{kind}")), "{line}");
        lines += &line;
    }
    fs::write(&users, lines).unwrap();
    let users = users.to_str().unwrap();
    for (user, password, fits) in [
        ("bob", "secret", true),
        ("ann", "secret\r\n", true),
        ("joe", "secret", true),
        ("joe", "guess", false),
        ("bob", "guess", false),
        ("bob", "secret ", false),
        ("eve", "secret", false),
    ] {
        let (code, said, error) = passwd(&["check", users, user], password);
        assert_eq!(code, Some(i32::from(!fits)), "{user} {password:?}: {said}{error}");
        assert_eq!(said.is_empty(), !fits);
    }
    for (arguments, input, wanted) in [
        (&["create", "bob:"][..], "secret", "cannot be a name"),
        (&["create", ""], "secret", "cannot be a name"),
        (&["create", "#bob"], "secret", "cannot be a name"),
        (&["create", "bob"], "\n", "no password"),
        (&["check", "no-such-file", "bob"], "secret", "no-such-file: cannot be read"),
    ] {
        let (code, said, error) = passwd(arguments, input);
        assert_eq!((code, &*said), (Some(2), ""), "{arguments:?}");
        assert!(error.contains(wanted) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn a_listener_may_have_users_of_its_own() {
    let folder = folder("own-users");
    let entry = |user: &str| passwd(&["create", user], "secret").1;
    let (own, others) = (folder.join("own"), folder.join("others"));
    fs::write(&own, entry("bob")).unwrap();
    fs::write(&others, entry("ann")).unwrap();
    // The third one is the helper's.
    let listeners = format!(
        "[access_control]\npassword_file = {others:?}\n\
         [[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.access_control]\npassword_file = {own:?}\n\
         [[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.access_control]\n"
    );
    let (broker, log) = broker(&folder, &listeners);
    let urls = broker.greeting.lines().filter_map(|line| line.strip_prefix("listening on mqtt://"));
    let addresses: Vec<SocketAddr> = urls.map(|address| address.parse().unwrap()).collect();
    let codes = |user| addresses.iter().map(|address| connack(*address, user).1).collect::<Vec<_>>();
    assert_eq!(codes(Some(("bob", "secret"))), [0, 0, 5]);
    assert_eq!(codes(Some(("ann", "secret"))), [5, 0, 0]);
    assert_eq!(codes(None), [5, 0, 5]);
    fs::write(&own, entry("ann")).unwrap();
    logged(&log, "others hold from now on");
    assert_eq!(codes(Some(("bob", "secret"))), [5, 0, 5]);
    assert_eq!(codes(Some(("ann", "secret"))), [0, 0, 0]);
}

#[test]
fn the_files_of_mosquitto_decide() {
    let folder = folder("mosquitto");
    let (users, acl) = (folder.join("users"), folder.join("acl"));
    fs::write(&users, passwd(&["create", "bob"], "secret").1).unwrap();
    fs::write(&acl, "topic read public/#\nuser bob\ntopic bob/#\n").unwrap();
    let files = format!("[access_control]\npassword_file = {users:?}\nacl_file = {acl:?}\n");

    let (strict, _log) = broker(&folder, &files);
    assert_eq!(connack(strict.address, None).1, 5);
    assert_eq!(connack(strict.address, Some(("bob", "guess"))).1, 5);
    let (mut bob, code) = connack(strict.address, Some(("bob", "secret")));
    assert_eq!(code, 0);
    bob.subscribe("bob/#", 1);
    bob.send(&packet(0x82, b"\0\x02\0\x08public/#\x01"));
    assert_eq!(bob.packet(), packet(0x90, &[0, 2, 0x80]));
    drop(strict);

    let (open, _log) = broker(&folder, &format!("allow_anonymous = true\n{files}"));
    let (mut anybody, code) = connack(open.address, None);
    assert_eq!(code, 0);
    anybody.subscribe("public/#", 1);
    assert_eq!(connack(open.address, Some(("eve", "secret"))).1, 5, "a user has to be in the file");
}

#[test]
fn files_are_read_again_and_a_bad_one_changes_nothing() {
    let folder = folder("again");
    let ledger = folder.join("ledger.yaml");
    fs::write(&ledger, "users: {bob: {password: secret}}\n").unwrap();
    let (broker, log) = broker(&folder, &format!("[access_control]\nledgers = [{ledger:?}]\n"));
    logged(&log, "passwords, 1 of them: stored as they are");
    assert_eq!(connack(broker.address, Some(("ann", "secret"))).1, 5);

    fs::write(&ledger, "users: {ann: {password: secret}}\n").unwrap();
    logged(&log, "others hold from now on");
    assert_eq!(connack(broker.address, Some(("ann", "secret"))).1, 0);
    assert_eq!(connack(broker.address, Some(("bob", "secret"))).1, 5);

    fs::write(&ledger, "users:\n  ann: {pasword: secret}\n").unwrap();
    let line = logged(&log, "stay as they were");
    assert!(line.contains("ledger.yaml: line 2: users.ann.pasword: unknown key `pasword`"), "{line}");
    assert_eq!(connack(broker.address, Some(("ann", "secret"))).1, 0);

    fs::write(&ledger, "users: {ann: {password: secret}}\n").unwrap();
    logged(&log, "are the same");
    #[cfg(unix)]
    {
        broker.signal("HUP");
        logged(&log, "SIGHUP: ");
        logged(&log, "are the same");
        assert_eq!(connack(broker.address, Some(("ann", "secret"))).1, 0);
    }
}

#[test]
fn new_rules_hold_for_clients_that_are_connected() {
    let folder = folder("revoked");
    let ledger = folder.join("ledger.yaml");
    fs::write(&ledger, "users: {bob: {password: secret, acl: {a: read, b: read, '#': deny}}}\n").unwrap();
    let (broker, log) = broker(&folder, &format!("[access_control]\nledgers = [{ledger:?}]\n"));
    let (mut bob, _) = connack(broker.address, Some(("bob", "secret")));
    bob.subscribe("a", 0);
    bob.subscribe("b", 0);
    fs::write(&ledger, "users: {bob: {password: secret, acl: {b: readwrite, a: write, '#': deny}}}\n")
        .unwrap();
    logged(&log, "others hold from now on");
    bob.publish("a", 0, b"revoked");
    bob.publish("b", 0, b"kept");
    assert_eq!(bob.message(), b"kept");
}

#[test]
fn a_web_service_is_asked_about_those_whom_no_file_knows() {
    let folder = folder("webhook");
    let users = folder.join("users");
    fs::write(&users, passwd(&["create", "bob"], "secret").1).unwrap();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mqtt", service.local_addr().unwrap());
    let config = format!("[access_control]\npassword_file = {users:?}\nwebhook = \"{url}\"\n");
    let (broker, log) = broker(&folder, &config);
    assert_eq!(connack(broker.address, Some(("bob", "guess"))).1, 5, "the file knows bob");
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = service.accept().unwrap();
        let mut request = [0; 4096];
        let count = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{\"result\": \"allow\"}").unwrap();
        String::from_utf8_lossy(&request[..count]).into_owned()
    });
    assert_eq!(connack(broker.address, Some(("ann", "secret"))).1, 0);
    assert!(asked.join().unwrap().contains(r#""username":"ann","password":"secret""#));
    // The service is gone; what it said holds for a while.
    assert_eq!(connack(broker.address, Some(("ann", "other"))).1, 3);
    assert!(logged(&log, "no answer about access").contains(&url));
}

#[test]
fn a_file_that_cannot_be_used_is_a_reason_not_to_start() {
    let folder = folder("unusable");
    let (acl, config) = (folder.join("acl"), folder.join("metronome.toml"));
    fs::write(&acl, "user bob\ntopik bob/#\n").unwrap();
    fs::write(&config, format!("[access_control]\nacl_file = {acl:?}\n")).unwrap();
    let config = config.to_str().unwrap();
    let wanted = format!(
        "metronome: access_control.acl_file: {}: line 2: `topik` is not user, topic or pattern; did you mean `topic`?\n",
        acl.display()
    );
    assert_eq!(run(&["--config", config]), (Some(2), wanted.clone()));
    let checked = metronome().args(["check-config", config]).output().unwrap();
    assert_eq!((checked.status.code(), String::from_utf8(checked.stderr).unwrap()), (Some(2), wanted));
}

/// What a broker shows somebody of an unknown name who begins with SCRAM: salt and iterations.
fn shown_to_nobody(address: SocketAddr) -> String {
    let data = [&[0x15][..], &string("SCRAM-SHA-256"), &[0x16], &string("n,,n=nobody,r=x")].concat();
    let properties = [&[u8::try_from(data.len()).unwrap()], &data[..]].concat();
    let mut client = Client::open(address, 5);
    client.send(&packet(0x10, &[b"\0\x04MQTT\x05\x02\0\x3c", &properties[..], &string("c")].concat()));
    let challenge = String::from_utf8_lossy(&client.packet()).into_owned();
    challenge.split_once(",s=").expect(&challenge).1.to_owned()
}

/// Salts of users outlive the process, so those of nobody have to.
#[test]
fn scram_tells_nobody_across_a_restart_who_is_a_user() {
    let folder = folder("scram");
    let _absent = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let users = folder.join("users");
    let entries = ["bob", "ann"].map(|user| passwd(&["create", user, "--scram"], "secret").1);
    fs::write(&users, entries.concat().replacen(":15000:", ":4096:", 1)).unwrap();
    let (config, secret, data) = (folder.join("config.toml"), folder.join("secret"), folder.join("data"));
    let shown = |keys: &str, durability: &str| {
        fs::write(&config, format!("[access_control]\npassword_file = {users:?}\n{keys}")).unwrap();
        let mut command = metronome();
        command.env("METRONOME_DURABILITY", durability).arg("--config").arg(&config);
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(&data);
        shown_to_nobody(start(command).address)
    };
    let named = format!("scram_secret = {secret:?}\n");
    for (keys, durability, file) in
        [(&*named, "memory", &secret), ("", "durable", &data.join("scram.secret"))]
    {
        let first = shown(keys, durability);
        assert_eq!(shown(keys, durability), first, "{durability}");
        assert_eq!(fs::read(file).unwrap().len(), 32);
        // About to be written when the machine failed.
        fs::write(file, "").unwrap();
        assert_ne!(shown(keys, durability), first, "it depends on the secret");
    }
    fs::write(&secret, "short").unwrap();
    fs::write(&config, format!("[access_control]\npassword_file = {users:?}\n{named}")).unwrap();
    let (code, error) = run(&["--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(error.contains(&format!("{}: has to have 32 bytes", secret.display())), "{error}");
}

/// Of HS256, for bob, made with the secret below.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.Fa4IM18uDgAh5z3nHpOjLhTGmnhh-pQ5-ukL-yvZXsk";

#[test]
fn a_token_lets_in_as_long_as_its_key_is_there() {
    let folder = folder("token");
    let key = folder.join("key");
    fs::write(&key, "a secret that is long enough for it\n").unwrap();
    let config = format!("[jwt]\nkey = {key:?}\nrequire_expiry = false\n");
    let (broker, log) = broker(&folder, &config);
    assert_eq!(connack(broker.address, Some(("bob", TOKEN))).1, 0);
    for user in [None, Some(("eve", TOKEN)), Some(("bob", "secret"))] {
        assert_eq!(connack(broker.address, user).1, 5);
    }
    fs::write(&key, "short").unwrap();
    let line = logged(&log, "keys of tokens stay as they were");
    assert!(line.contains("a secret of 5 bytes"), "{line}");
    assert_eq!(connack(broker.address, Some(("bob", TOKEN))).1, 0);
    fs::write(&key, "another secret that is long enough for it").unwrap();
    logged(&log, "keys of tokens were read again");
    assert_eq!(connack(broker.address, Some(("bob", TOKEN))).1, 5);
}

#[test]
fn packets_of_a_chosen_client_are_in_the_log() {
    let (broker, log) = broker(&folder("packets"), "[packet_log]\nclients = [\"c\"]\n");
    assert_eq!(connack(broker.address, Some(("bob", "secret"))).1, 0);
    let line = logged(&log, "CONNECT level=4");
    assert!(line.contains("password=6 bytes") && !line.contains("secret"), "{line}");
    logged(&log, "CONNACK");
}

#[test]
fn an_address_that_is_none_is_a_reason_not_to_start() {
    let config = folder("no-service").join("metronome.toml");
    fs::write(&config, "[access_control]\nwebhook = \"https://example.org\"\n").unwrap();
    let config = config.to_str().unwrap();
    for arguments in [["--config", config], ["check-config", config]] {
        let output = metronome().args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            error.starts_with("metronome: access_control.webhook: https://example.org: only http"),
            "{error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_hangup_without_files_ends_nothing() {
    let (broker, log) = broker(&folder("none"), "");
    broker.signal("HUP");
    logged(&log, "SIGHUP: ");
    assert_eq!(connack(broker.address, None).1, 0);
}

#[test]
fn with_files_strangers_need_no_permission() {
    let folder = folder("strangers");
    let (users, file) = (folder.join("users"), folder.join("metronome.toml"));
    fs::write(&users, "").unwrap();
    fs::write(
        &file,
        format!("[[listeners]]\naddress = \"0.0.0.0:0\"\n[access_control]\npassword_file = {users:?}\n"),
    )
    .unwrap();
    let mut command = metronome();
    command.arg("--config").arg(file);
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("listening on mqtt://0.0.0.0:"), "{first}");
    let port: u16 = first.trim_end().rsplit_once(':').unwrap().1.parse().unwrap();
    assert_eq!(connack(([127, 0, 0, 1], port).into(), Some(("bob", "secret"))).1, 5);
    child.kill().unwrap();
    child.wait().unwrap();
}
