//! The binary behind real sockets as a transport. `METRONOME_BINARY` names it.

use crate::run::{Patience, Transport};
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

/// A broker process of its own, and its address.
#[derive(Debug)]
pub struct SocketTransport {
    broker: Child,
    address: SocketAddr,
    config: PathBuf,
}

impl SocketTransport {
    /// Starts a broker with these limits, as lines of TOML.
    ///
    /// # Panics
    /// There is no binary, or it does not start.
    pub fn new(limits: &[String]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let binary = std::env::var_os("METRONOME_BINARY").expect("METRONOME_BINARY names the broker to test");
        let config =
            std::env::temp_dir().join(format!("metronome-spec-{}-{number}.toml", std::process::id()));
        fs::write(&config, format!("[limits]\n{}\n", limits.join("\n"))).expect("a file for its limits");
        let mut broker = Command::new(binary)
            .args(["--listen", "127.0.0.1:0", "--log-level", "error", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let mut first = String::new();
        let output = broker.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut first).expect("its first line");
        let address =
            first.trim_end().strip_prefix("listening on mqtt://").and_then(|text| text.parse().ok());
        Self { broker, address: address.expect("its address"), config }
    }
}

impl Drop for SocketTransport {
    fn drop(&mut self) {
        // It may have ended already, which `finish` has told.
        let _ended = self.broker.kill();
        let _reaped = self.broker.wait();
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
        match self.broker.try_wait() {
            Ok(None) => Ok(()),
            ended => Err(format!("the broker ended: {ended:?}")),
        }
    }
}
