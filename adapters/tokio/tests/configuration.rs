//! The `metronome` binary's configuration: file, environment, flags, and the commands about them.

mod common;

use common::Client;
use common::process::{metronome, start};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Output;

fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Exit code, standard output and standard error.
fn said(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        metronome().args(arguments).envs(variables.iter().copied()).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn flags_are_stronger_than_the_environment_and_that_than_the_file() {
    let listener = "[[listeners]]\naddress = \"127.0.0.1:0\"\n";
    let text = format!("{listener}{listener}[limits]\nreceive_maximum = 7\n");
    let file = file("precedence.toml", &text);
    let three = "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0";
    for (variables, flags, listeners, receive_maximum) in [
        (&[][..], &[][..], 2, 7),
        (&[("METRONOME_LISTEN", three), ("METRONOME_LIMITS_RECEIVE_MAXIMUM", "9")], &[], 3, 9),
        (&[("METRONOME_LISTEN", three)], &["--listen", "127.0.0.1:0"], 1, 7),
    ] {
        let mut command = metronome();
        command.arg("--config").arg(&file).args(flags).envs(variables.iter().copied());
        let broker = start(command);
        assert_eq!(broker.greeting.matches("listening on").count(), listeners, "{variables:?} {flags:?}");
        let mut client = Client::open(broker.address, 5);
        client.send(b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01c");
        let connack = client.packet();
        assert!(connack.windows(3).any(|bytes| bytes == [0x21, 0, receive_maximum]), "{connack:02x?}");
    }
}

/// Also where it takes something away.
#[test]
fn nobody_is_let_in_by_a_file_against_the_environment_or_a_flag() {
    let file = file("open.toml", "allow_anonymous = true\n[[listeners]]\naddress = \"0.0.0.0:0\"\n");
    let config = ["--config", file.to_str().unwrap()];
    let (closed, open) = ([("METRONOME_ALLOW_ANONYMOUS", "false")], [("METRONOME_ALLOW_ANONYMOUS", "true")]);
    for (flags, variables) in
        [(&config[..], closed), (&[config[0], config[1], "--allow-anonymous=false"], open)]
    {
        let (code, _, error) = said(flags, &variables);
        assert_eq!(code, Some(2));
        assert!(error.contains("0.0.0.0") && error.contains("--allow-anonymous"), "{error}");
    }
    let mut command = metronome();
    command.args(config).arg("--allow-anonymous").envs(closed);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.starts_with("listening on mqtt://0.0.0.0:"), "{line}");
}

#[test]
fn a_variable_that_stands_for_nothing_is_one_line() {
    for (name, wanted) in [
        ("METRONOME_LISTN", "did you mean METRONOME_LISTEN?"),
        ("METRONOME_LIMITS_RECEIVE_MAX", "did you mean `receive_maximum`?"),
    ] {
        let (code, _, error) = said(&["--listen", "127.0.0.1:0"], &[(name, "1")]);
        assert_eq!(code, Some(2));
        assert!(error.contains(name) && error.contains(wanted) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn a_file_can_be_checked_without_serving() {
    let good = file("good.toml", "[limits]\nreceive_maximum = 7\n");
    let good = good.to_str().unwrap();
    let (code, answer, _) = said(&["check-config", good], &[("METRONOME_LISTEN", "127.0.0.1:0")]);
    assert_eq!((code, answer.trim()), (Some(0), &*format!("{good} can be used")));

    let bad = file("bad.toml", "[limits]\nreceive_maximun = 7\n");
    let (code, answer, error) = said(&["check-config", bad.to_str().unwrap()], &[]);
    assert_eq!((code, &*answer), (Some(2), ""));
    for part in ["bad.toml: line 2", "unknown key `receive_maximun`", "did you mean `receive_maximum`?"] {
        assert!(error.contains(part) && error.lines().count() == 1, "{error}");
    }
    let (code, _, error) = said(&["check-config"], &[]);
    assert!(code == Some(2) && error.contains("were not provided: <FILE>; --help"), "{error}");

    let (code, _, error) = said(&["check-config", good], &[("METRONOME_LIMITS_RECEIVE_MAXIMUM", "0")]);
    assert_eq!(code, Some(2), "{error}");
}

#[test]
fn what_cannot_be_used_is_named_with_its_key_or_line() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = port.local_addr().unwrap().to_string();
    let listener = |address: &str| format!("[[listeners]]\naddress = \"{address}\"\n");
    let first = listener("127.0.0.1:0");
    let own = "[listeners.access_control]\nacl_file = \"no-such-file\"\n";
    let tls = "[listeners.tls]\ncertificate = \"no-such-file\"\nkey = \"k\"\n";
    for (text, wanted) in [
        (listener("127.0.0.1:99999"), "unusable.toml: line 2: 127.0.0.1:99999: not an address"),
        (format!("{first}\n{}", listener("::1:1")), "unusable.toml: line 5: ::1:1: not an address"),
        (first.clone() + &listener("ws://"), "unusable.toml: line 4: ws://: not an address"),
        (listener("127.0.0.1:7").repeat(2), "unusable.toml: 127.0.0.1:7 is given twice"),
        (listener("tls://[::1]:0") + tls, "line 2: listeners.tls.certificate: cannot read no-such-file: "),
        (
            "[access_control]\npassword_file = \"no-such-file\"\n".to_owned(),
            "metronome: access_control.password_file: no-such-file: cannot be read: ",
        ),
        (
            "[access_control]\nledgers = [\"no-such-file\"]\n".to_owned(),
            "metronome: access_control.ledgers: no-such-file: cannot be read: ",
        ),
        (
            first.clone() + &first + own,
            "metronome: listeners[1].access_control.acl_file: no-such-file: cannot be read: ",
        ),
        ("[jwt]\nkey = \"no-such-file\"\n".to_owned(), "metronome: jwt.key: no-such-file: cannot be read: "),
    ] {
        let path = file("unusable.toml", &text);
        let path = path.to_str().unwrap();
        for arguments in [["--config", path], ["check-config", path]] {
            let (code, _, error) = said(&arguments, &[]);
            assert!(error.contains(wanted) && error.lines().count() == 1, "{text}{error}");
            assert_eq!(code, Some(2));
        }
    }
    // Only the start can tell.
    let path = file("taken.toml", &(first + &listener(&taken)));
    let (code, _, error) = said(&["--config", path.to_str().unwrap()], &[]);
    let wanted = format!("taken.toml: line 4: cannot listen on {taken}: the port is in use");
    assert!(code == Some(1) && error.contains(&wanted), "{error}");
    // Flags are in no line of a file.
    let (_, _, error) = said(&["--config", path.to_str().unwrap(), "--listen", "nowhere"], &[]);
    assert!(error.starts_with("metronome: nowhere: not an address"), "{error}");
}

#[test]
fn a_profile_changes_defaults_and_files_are_stronger() {
    let file = file("profile.toml", "[limits]\nmax_keep_alive = 299\n");
    for (flags, keep_alive) in [(&[][..], 300), (&["--config", file.to_str().unwrap()], 299_u16)] {
        let mut command = metronome();
        command.args(["--listen", "127.0.0.1:0", "--profile", "gmqtt"]).args(flags);
        let broker = start(command);
        let mut client = Client::open(broker.address, 5);
        client.send(b"\x10\x0e\x00\x04MQTT\x05\x02\xff\xff\x00\x00\x01c");
        let connack = client.packet();
        let has = |property: &[u8]| connack.windows(3).any(|bytes| bytes == property);
        let [high, low] = keep_alive.to_be_bytes();
        assert!(has(&[0x21, 0, 100]) && has(&[0x13, high, low]), "{connack:02x?}");
    }
    let (code, _, error) = said(&["--profile", "other"], &[]);
    assert!(code == Some(2) && error.contains("there are mochi and gmqtt"), "{error}");
}

#[test]
fn files_of_other_brokers_can_be_used_and_what_is_not_honoured_is_named() {
    let mochi = "
listeners: [{type: tcp, id: t1, address: '127.0.0.1:0'}, {type: pigeon, id: w1, address: ':1882'}]
hooks: {auth: {ledger: {users: {bob: {password: secret}}, auth: [{client: c, allow: true}]}}}
options: {capabilities: {receive_maximum: 9}}
";
    let path = file("mochi.yaml", mochi);
    let (code, said, _) = said(&["check-config", path.to_str().unwrap()], &[]);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("not honoured: listeners[1]: a listener of the type pigeon\n"), "{said}");
    let mut command = metronome();
    command.arg("--config").arg(path);
    let mut broker = start(command);
    for (name, code) in [(b'c', 0), (b'd', 0x87)] {
        let mut client = Client::open(broker.address, 5);
        client.send(&[&b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01"[..], &[name]].concat());
        let connack = client.packet();
        assert_eq!(connack[3], code);
        assert_eq!(connack.windows(3).any(|bytes| bytes == [0x21, 0, 9]), code == 0, "{connack:02x?}");
    }
    broker.child.kill().unwrap();
    let (_, log) = broker.ended();
    assert!(log.contains("not honoured") && log.contains("type pigeon"), "{log}");
}

#[cfg(unix)]
#[test]
fn a_hangup_names_what_has_changed_and_needs_a_restart() {
    let text = "[[listeners]]\naddress = \"127.0.0.1:0\"\n[limits]\nreceive_maximum = 7\n";
    let path = file("hangup.toml", text);
    let mut command = metronome();
    command.arg("--config").arg(&path);
    let mut broker = start(command);
    let mut log = BufReader::new(broker.child.stderr.take().unwrap()).lines().map(Result::unwrap);
    // What it says, but for what it always says.
    let mut hang_up = |text: &str| {
        file("hangup.toml", text);
        broker.signal("HUP");
        let said: Vec<String> = log.by_ref().take_while(|line| !line.contains("certificates were")).collect();
        said.into_iter().filter(|line| !line.contains("are read again")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(hang_up(text), "");
    let other = text.replace('7', "9").replace(":0", ":1");
    for _ in 0..2 {
        let said = hang_up(&other);
        let keys = "keys=\"limits.receive_maximum, listeners[0].address\"";
        assert!(
            said.contains("need a restart") && said.contains(keys) && said.lines().count() == 1,
            "{said}"
        );
    }
    let said = hang_up(&text.replace("receive_maximum", "recieve_maximum"));
    assert!(said.contains("hangup.toml: line 4: unknown key `recieve_maximum`"), "{said}");
    assert_eq!(hang_up(text), "");
}

#[test]
fn the_default_file_can_be_used() {
    let (code, text, _) = said(&["default-config"], &[]);
    assert_eq!(code, Some(0));
    assert!(text.starts_with("# Metronome's configuration"), "{text}");
    let default = file("default.toml", &text);
    assert_eq!(said(&["check-config", default.to_str().unwrap()], &[]).0, Some(0));
}
