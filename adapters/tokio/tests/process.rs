//! The `metronome` binary as a process: flags, exit codes, signals.

mod common;

use common::Client;
use common::process::{metronome, run, start, start_on_free_port};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A file of its own for each call.
fn file(text: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn it_says_where_it_listens_what_it_keeps_and_what_to_type() {
    let broker = start_on_free_port(&[]);
    for part in ["in memory", "open-file limit", "memory budget", "mosquitto_sub"] {
        assert!(broker.greeting.contains(part), "{}", broker.greeting);
    }
    assert!(broker.greeting.contains(&format!("-p {}", broker.address.port())));
    Client::connect(broker.address, 5, "c");
}

#[test]
fn an_address_may_name_its_transport_or_its_host() {
    let mut command = metronome();
    command.args([
        "--listen",
        "tcp://127.0.0.1:0",
        "--listen",
        "mqtt://127.0.0.1:0",
        "--listen",
        "localhost:0",
    ]);
    let broker = start(command);
    assert_eq!(broker.greeting.matches("listening on mqtt://127.0.0.1:").count(), 3);
}

#[cfg(unix)]
#[test]
fn sigterm_and_sigint_say_goodbye_and_end_well() {
    for (signal, form, escaped) in [("TERM", "text", r#""c\nx""#), ("INT", "json", r#""client":"c\nx""#)] {
        let mut broker = start_on_free_port(&["--log", form]);
        let mut client = Client::connect(broker.address, 5, "c\nx");
        broker.signal(signal);
        let disconnect = client.packet();
        assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x8b));
        assert_eq!(client.try_packet(), None);
        drop(client);
        let (code, log) = broker.ended();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("client connected") && log.contains("client disconnected"), "{log}");
        assert!(log.contains(escaped) && !log.contains("c\nx"), "client text is escaped: {log}");
        assert_eq!(
            log.lines().all(|line| line.starts_with('{') && line.ends_with('}')),
            form == "json",
            "{log}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_second_signal_does_not_wait_for_clients() {
    let config = file("[linger]\ntime_ms = 60000\n");
    let mut broker = start_on_free_port(&["--config", config.to_str().unwrap()]);
    let mut stubborn = Client::connect(broker.address, 5, "stubborn");
    let began = Instant::now();
    broker.signal("TERM");
    assert_eq!(stubborn.packet()[0], 0xe0);
    broker.signal("TERM");
    let (code, log) = broker.ended();
    assert_eq!(code, Some(130), "{log}");
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let broker = start_on_free_port(&[]);
    let (code, errors) = run(&["--listen", &broker.address.to_string()]);
    let wanted =
        format!("metronome: cannot listen on {}: the port is in use by another program\n", broker.address);
    assert_eq!((code, errors), (Some(1), wanted));
}

#[test]
fn bad_flags_are_refused_with_two() {
    for (flags, part) in [
        (&["--lisen", "x"][..], "--listen"),
        (&["--listen"], "--listen"),
        (&["x"], "'x'"),
        (&["--listen", "nowhere"], "ADDRESS:PORT"),
        (&["--listen", "tls://127.0.0.1:8883"], "needs a section `tls`"),
        (&["--listen", "wss://127.0.0.1:8080"], "needs a section `tls`"),
        (&["--listen", "wss://127.0.0.1:8080", "--tls-certificate", "x"], "--tls-key"),
        (&["--listen", "https://[::1]:0", "--tls-certificate", "x", "--tls-key", "y"], "cannot read x"),
        (&["--listen", "quic://127.0.0.1:14567"], "unknown type quic"),
        (&["--listen", "127.0.0.1:7", "--listen", "ws://127.0.0.1:7"], "is given twice"),
        (&["--listen", "unix:///"], "is a directory"),
        (&["--log", "xml"], "json"),
        (&["--listen", "127.0.0.1:0", "--listen", "0.0.0.0:0"], "--allow-anonymous"),
        (&["--listen", "[::]:0"], "--allow-anonymous"),
    ] {
        let (code, errors) = run(flags);
        assert_eq!((code, errors.lines().count()), (Some(2), 1), "{flags:?}: {errors}");
        assert!(errors.contains(part), "{flags:?}: {errors}");
    }
}

#[test]
fn anonymous_access_from_everywhere_is_possible_when_asked_for() {
    let mut command = metronome();
    command.args(["--listen", "0.0.0.0:0", "--allow-anonymous"]);
    let broker = start(command);
    assert!(broker.greeting.contains("mosquitto_sub -h localhost"), "{}", broker.greeting);
    Client::connect(([127, 0, 0, 1], broker.address.port()).into(), 4, "c");
}

#[test]
fn a_bad_configuration_names_file_line_and_key() {
    for (text, wanted) in [
        (
            "[limits]\nrecieve_maximum = 3\n",
            "line 2: unknown key `recieve_maximum`; did you mean `receive_maximum`?",
        ),
        ("[limits]\nmax_sessions = 0\n", "line 2: limits.max_sessions must not be 0"),
    ] {
        let path = file(text);
        let (code, errors) = run(&["--config", path.to_str().unwrap()]);
        assert_eq!((code, errors), (Some(2), format!("metronome: {}: {wanted}\n", path.display())));
    }
    // Refused after the maximum was taken from the machine.
    let path = file(&format!("[limits]\nmemory_high = {}\n", i64::MAX));
    let (code, errors) = run(&["--config", path.to_str().unwrap()]);
    assert_eq!((code, errors.lines().count()), (Some(2), 1), "{errors}");
    assert!(errors.contains("limits.memory_high (") && errors.contains("limits.memory_max ("), "{errors}");
    let (code, errors) = run(&["--config", "/does/not/exist.toml"]);
    assert_eq!((code, errors.lines().count()), (Some(2), 1), "{errors}");
}

#[test]
fn a_configuration_sets_listeners_and_limits() {
    let listener = "[[listeners]]\naddress = \"127.0.0.1:0\"\n";
    let path = file(&format!("{listener}{listener}[limits]\nconnect_timeout_ms = 100\n"));
    let mut command = metronome();
    command.args(["--config", path.to_str().unwrap()]);
    let broker = start(command);
    let ports =
        broker.greeting.lines().filter_map(|line| line.strip_prefix("listening on mqtt://127.0.0.1:"));
    for port in ports.clone() {
        let address = ([127, 0, 0, 1], port.parse().unwrap()).into();
        let began = Instant::now();
        assert_eq!(Client::open(address, 4).try_packet(), None);
        assert!(began.elapsed() < Duration::from_secs(5), "the file's limit, not the usual one");
    }
    assert_eq!(ports.count(), 2, "{}", broker.greeting);
}

#[test]
fn help_and_version_end_well() {
    for (flag, part) in
        [("--help", "Examples:"), ("--version", concat!("metronome ", env!("CARGO_PKG_VERSION"), "\n"))]
    {
        let output = metronome().arg(flag).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains(part));
    }
}

#[test]
fn nobody_has_to_read_greeting_or_log() {
    let mut broker = start_on_free_port(&["--log-level", "trace"]);
    drop(broker.child.stderr.take());
    for _ in 0..3 {
        Client::connect(broker.address, 4, "c");
    }
    let mut command = metronome();
    command.args(["--listen", "127.0.0.1:0"]);
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it goes on");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A pipe takes 64 KiB, and then whoever writes to it waits for its reader.
#[cfg(unix)]
#[test]
fn a_log_that_nobody_reads_any_more_stops_nobody() {
    let mut broker = start_on_free_port(&[]);
    let name = "n".repeat(200);
    for _ in 0..400 {
        Client::connect(broker.address, 4, &name);
    }
    let stopping = Instant::now();
    broker.signal("TERM");
    while broker.child.try_wait().unwrap().is_none() {
        assert!(stopping.elapsed() < Duration::from_secs(8), "it waits for its log");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut log = String::new();
    broker.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.len() >= 60_000, "the pipe was full: {}", log.len());
}

#[cfg(unix)]
#[test]
fn as_many_clients_as_files_allow_and_no_more() {
    let mut command = Command::new("sh");
    let script = format!(
        "ulimit -n 84; exec {} --listen 127.0.0.1:0 --durability memory",
        env!("CARGO_BIN_EXE_metronome")
    );
    command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut broker = start(command);
    assert!(broker.greeting.contains("open-file limit 84"), "{}", broker.greeting);
    let mut clients: Vec<Client> =
        (0..20).map(|n| Client::connect(broker.address, 4, &format!("c{n}"))).collect();
    // Refused at once instead of left hanging.
    for _ in 0..3 {
        assert_eq!(Client::open(broker.address, 4).try_packet(), None);
    }
    for client in &mut clients {
        client.send(&[0xc0, 0]);
        assert_eq!(client.packet(), [0xd0, 0]);
    }
    clients.truncate(10);
    std::thread::sleep(Duration::from_millis(100));
    Client::connect(broker.address, 4, "later");
    drop(clients);
    broker.signal("TERM");
    let (code, log) = broker.ended();
    assert_eq!(code, Some(0));
    assert_eq!(log.matches("new ones are refused").count(), 1, "once for a burst: {log}");
}

#[cfg(unix)]
#[test]
fn strangers_take_at_most_half() {
    let mut command = Command::new("sh");
    let script = format!(
        "ulimit -n 84; exec {} --listen 127.0.0.1:0 --durability memory",
        env!("CARGO_BIN_EXE_metronome")
    );
    command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let broker = start(command);
    let mut strangers: Vec<Client> = (0..15).map(|_| Client::open(broker.address, 4)).collect();
    let mut client = Client::open(broker.address, 4);
    client.send(&common::connect(4, "c"));
    client.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(client.stream.peek(&mut [0]).is_err(), "waits, and is not closed");
    strangers.truncate(4);
    client.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(client.packet(), [0x20, 2, 0, 0]);
}

/// Bugs that are planted to measure the simulator mark every binary that they are in.
#[test]
fn it_has_no_planted_bugs() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_metronome")).unwrap();
    let mark = b"this build has planted bugs";
    assert!(!binary.windows(mark.len()).any(|bytes| bytes == mark));
}
