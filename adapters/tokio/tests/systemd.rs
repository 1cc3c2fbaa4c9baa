//! The `metronome` binary as systemd starts it: with sockets that listen already, and with somebody who wants to hear.
#![cfg(target_os = "linux")]

mod common;

use common::Client;
use common::process::{binary, metronome, start};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A path of its own for each test, short enough for a socket.
fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("metronome-{}-{name}", std::process::id()));
    // From a test that was ended.
    let _none = std::fs::remove_file(&path);
    path
}

/// A shell gives the broker its first file as the third, and takes its place, so that the number of the process is known.
fn with_socket(socket: OwnedFd, name: &str, flags: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = r#"exec 3<&0 </dev/null; export LISTEN_PID=$$; exec "$0" "$@""#;
    command.args(["-c", script]).arg(binary()).args(flags);
    command.stdin(Stdio::from(socket)).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name).env("METRONOME_DURABILITY", "memory");
    command
}

#[test]
fn a_socket_is_the_listener_at_its_address_or_the_only_one() {
    for is_configured in [true, false] {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listen = address.to_string();
        let flags: &[&str] = if is_configured { &["--listen", &listen] } else { &[] };
        let mut broker = start(with_socket(socket.into(), "metronome.socket", flags));
        assert_eq!(broker.address, address);
        assert_eq!(broker.greeting.matches("listening on ").count(), 1, "{}", broker.greeting);
        drop(Client::connect(address, 5, "c"));
        broker.signal("TERM");
        let (code, log) = broker.ended();
        assert_eq!(code, Some(0), "{log}");
    }
}

#[test]
fn a_socket_that_no_listener_is_for_is_named() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let output = with_socket(socket.into(), "mqtt", &["--listen", "127.0.0.1:1"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let wanted = format!("metronome: systemd: no listener is called \"mqtt\" or is at {address}");
    assert!(said.starts_with(&wanted) && said.lines().count() == 1, "{said}");
}

#[test]
fn the_file_of_a_unix_socket_stays() {
    let path = path("handed.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let url = format!("unix://{}", path.display());
    // The first is for the helper that reads what the broker says.
    let flags = ["--listen", "127.0.0.1:0", "--listen", &url];
    let mut broker = start(with_socket(socket.into(), "", &flags));
    assert!(broker.greeting.contains(&format!("listening on {url}\n")), "{}", broker.greeting);
    UnixStream::connect(&path).unwrap();
    broker.signal("TERM");
    assert_eq!(broker.ended().0, Some(0));
    assert!(path.exists());
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn it_says_when_it_is_ready_reloads_lives_and_stops() {
    let path = path("notify.sock");
    let heard = UnixDatagram::bind(&path).unwrap();
    heard.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = metronome();
    command.args(["--listen", "127.0.0.1:0"]).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let mut broker = start(command);
    // Signs of life come all the time.
    let mut signs = 0;
    let mut next = |broker_is: &str| loop {
        let mut buffer = [0; 200];
        let len = heard.recv(&mut buffer).expect(broker_is);
        match std::str::from_utf8(&buffer[..len]).unwrap() {
            "WATCHDOG=1" => signs += 1,
            other => return other.to_owned(),
        }
    };
    assert_eq!(next("ready"), "READY=1");
    broker.signal("HUP");
    let reloading = next("reloading");
    let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
    assert!(micros.parse::<u64>().unwrap() > 0);
    assert_eq!(next("ready again"), "READY=1");
    std::thread::sleep(Duration::from_millis(300));
    broker.signal("TERM");
    assert_eq!(next("stopping"), "STOPPING=1");
    assert!(signs > 0);
    assert_eq!(broker.ended().0, Some(0));
    std::fs::remove_file(&path).unwrap();
}
