//! A Redis server of the test's own, from `redis-server` on the path: on a free port of this machine, with its files in a
//! directory that is gone with it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Time for the server to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Each batch is on the disk before it is answered.
pub(crate) const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

pub(crate) struct RedisServer {
    child: Child,
    pub(crate) port: u16,
    directory: PathBuf,
    flags: Vec<String>,
}

impl RedisServer {
    /// Starts a server with these flags in a directory that is made for it.
    pub(crate) fn start(directory: &Path, flags: &[&str]) -> Self {
        Self::start_on(directory, flags, "--port")
    }

    /// The same, where the port is for TLS.
    pub(crate) fn start_with_tls(directory: &Path, flags: &[&str]) -> Self {
        Self::start_on(directory, &[&["--port", "0"], flags].concat(), "--tls-port")
    }

    fn start_on(directory: &Path, flags: &[&str], port_flag: &str) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let number = port.to_string();
        let own = ["--bind", "127.0.0.1", "--save", "", "--daemonize", "no", port_flag, &number];
        let flags: Vec<String> = own.iter().chain(flags).map(|flag| (*flag).to_owned()).collect();
        let child = spawn(directory, &flags);
        let mut server = Self { child, port, directory: directory.to_owned(), flags };
        server.wait();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// As a power switch would, but that the system still has what was written.
    pub(crate) fn kill(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        self.child.wait().unwrap();
    }

    /// On the same port and files, after it was killed.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.directory, &self.flags);
        self.wait();
    }

    fn wait(&mut self) {
        let began = Instant::now();
        while !self.is_ready() {
            assert!(began.elapsed() < PATIENCE, "Redis does not answer");
            if self.child.try_wait().unwrap().is_some() {
                // Somebody else has its port for a moment.
                self.child = spawn(&self.directory, &self.flags);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_ready(&self) -> bool {
        if self.flags.iter().any(|flag| flag == "--tls-port") {
            return TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        }
        let said = self.try_say("PING").unwrap_or_default();
        said == "+PONG" || said.starts_with("-NOAUTH")
    }

    /// The first line of what it says to a command.
    pub(crate) fn say(&self, command: &str) -> String {
        self.try_say(command).unwrap()
    }

    fn try_say(&self, command: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

fn spawn(directory: &Path, flags: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(flags).arg("--dir").arg(directory).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("redis-server, which tests/run installs")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _left = std::fs::remove_dir_all(&self.directory);
    }
}
