//! The broker behind real sockets as a transport: the binary that `TESTED_BROKER` names, or the library that it is
//! made of, where the binary cannot be told what a case asks for.

use crate::authentication::Authentication;
use crate::run::{Patience, Transport};
use crate::trace::Case;
use metronome_tokio::{Broker, BrokerConfig, BrokerHandle};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long something that must come may take.
const LONG: Duration = Duration::from_secs(5);

/// How long to look out for what should not come.
const SHORT: Duration = Duration::from_millis(80);

/// A broker of its own, and its address.
#[derive(Debug)]
pub struct SocketTransport {
    broker: Running,
    address: SocketAddr,
}

#[derive(Debug)]
enum Running {
    Process(Process),
    Library(Box<BrokerHandle>),
}

/// The binary, and the file with its limits.
#[derive(Debug)]
struct Process {
    child: Child,
    config: PathBuf,
}

impl SocketTransport {
    /// Starts the broker that a case asks for.
    ///
    /// # Panics
    /// There is no binary, or it does not start.
    pub fn of(case: &Case) -> Self {
        // What the broker tells of itself would count for the smallest limits.
        let quiet = "[sys_topics]\ninterval_ms = 0\n";
        let config = format!("{quiet}[limits]\n{}\n", case.limits.join("\n"));
        match case.authentication {
            Authentication::AllowAll => Self::process(&config),
            Authentication::InSteps => Self::library(&config, case.authentication),
        }
    }

    fn library(config: &str, authentication: Authentication) -> Self {
        let config = BrokerConfig::from_toml(config).expect("limits of the broker");
        let builder = Broker::builder().config(config).listen("127.0.0.1:0").hook(authentication);
        let broker = builder.start().expect("the broker starts");
        Self { address: broker.local_addrs()[0], broker: Running::Library(Box::new(broker)) }
    }

    fn process(text: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let binary = std::env::var_os("TESTED_BROKER").expect("TESTED_BROKER names the broker to test");
        let config =
            std::env::temp_dir().join(format!("metronome-spec-{}-{number}.toml", std::process::id()));
        fs::write(&config, text).expect("a file for its limits");
        let mut child = Command::new(binary)
            .args(["--listen", "127.0.0.1:0", "--durability", "memory", "--log-level", "error", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let mut first = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut first).expect("its first line");
        let address =
            first.trim_end().strip_prefix("listening on mqtt://").and_then(|text| text.parse().ok());
        let process = Process { child, config };
        Self { broker: Running::Process(process), address: address.expect("its address") }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which `finish` has told.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        let _removed = fs::remove_file(&self.config);
    }
}

impl Transport for SocketTransport {
    type Conn = TcpStream;

    fn open(&mut self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        stream
    }

    fn send(&mut self, conn: &mut TcpStream, bytes: &[u8]) {
        // The broker may have closed, which shows when its answer is read.
        let _closed = conn.write_all(bytes);
        // Clients that are not in step would make the order of what the broker sees a matter of chance.
        std::thread::sleep(Duration::from_millis(2));
    }

    fn receive(&mut self, conn: &mut TcpStream, into: &mut Vec<u8>, patience: Patience) -> bool {
        let wait = if patience == Patience::Long { LONG } else { SHORT };
        conn.set_read_timeout(Some(wait)).expect("a time limit");
        let mut chunk = [0; 16 << 10];
        match conn.read(&mut chunk) {
            Ok(count) => {
                into.extend(&chunk[..count]);
                count == 0
            }
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    fn cut(&mut self, conn: TcpStream) {
        drop(conn);
        std::thread::sleep(Duration::from_millis(20));
    }

    fn wait(&mut self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }

    fn finish(&mut self) -> Result<(), String> {
        match &mut self.broker {
            Running::Process(process) => match process.child.try_wait() {
                Ok(None) => Ok(()),
                ended => Err(format!("the broker ended: {ended:?}")),
            },
            Running::Library(broker) if broker.stats().is_some() => Ok(()),
            Running::Library(_) => Err("the broker's thread ended".into()),
        }
    }
}
