//! The `metronome` binary as a child process that ends with its handle.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// `TESTED_BROKER` names another build, such as the release binary.
pub(crate) fn binary() -> OsString {
    std::env::var_os("TESTED_BROKER").unwrap_or_else(|| env!("CARGO_BIN_EXE_metronome").into())
}

pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) greeting: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

pub(crate) fn metronome() -> Command {
    let mut command = Command::new(binary());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Most tests are about something else, and run side by side.
    command.env("METRONOME_DURABILITY", "memory");
    command
}

pub(crate) fn start(mut command: Command) -> Running {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    let address = first.trim_end().strip_prefix("listening on mqtt://").expect(&first).parse().unwrap();
    let mut greeting = first;
    while !greeting.contains("mosquitto_pub") {
        assert!(lines.read_line(&mut greeting).unwrap() > 0, "{greeting}");
    }
    Running { child, address, greeting }
}

pub(crate) fn start_on_free_port(flags: &[&str]) -> Running {
    let mut command = metronome();
    command.args(["--listen", "127.0.0.1:0"]).args(flags);
    start(command)
}

impl Running {
    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("sh").args(["-c", &format!("kill -s {name} {}", self.child.id())]).status().unwrap();
        assert!(status.success());
    }

    /// Exit code and standard error.
    pub(crate) fn ended(&mut self) -> (Option<i32>, String) {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < Duration::from_secs(15), "still running");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status.code(), log)
    }
}

/// Exit code and standard error of a binary that does not get as far as listening.
pub(crate) fn run(flags: &[&str]) -> (Option<i32>, String) {
    let mut child = metronome().args(flags).spawn().unwrap();
    let mut greeting = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut greeting).unwrap();
    if !greeting.is_empty() {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("{flags:?} are no reason to stop: {greeting}");
    }
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}
