//! A broker in a process of its own, and what the system says of that process.

use metronome_host::{AllowAll, BrokerConfig};
use metronome_tasks::Builder;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Names the runtime on which this process is to be a broker.
const SERVE: &str = "ATTACKED_RUNTIME";

/// Names its configuration.
const CONFIG: &str = "ATTACKED_CONFIG";

/// Time for whatever has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Runtime {
    Tokio,
    Smol,
    AsyncStd,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tokio => "tokio",
            Self::Smol => "smol",
            Self::AsyncStd => "async-std",
        })
    }
}

pub(crate) fn is_asked_to_serve() -> bool {
    std::env::var_os(SERVE).is_some()
}

/// A broker until its standard input ends.
pub(crate) fn serve() -> ExitCode {
    match std::env::var(SERVE).as_deref() {
        Ok("tokio") => serve_on(metronome_tokio::Broker::builder()),
        Ok("smol") => serve_on(metronome_smol::Broker::builder()),
        _ => serve_on(metronome_async_std::Broker::builder()),
    }
}

fn serve_on<R: metronome_tasks::Runtime>(builder: Builder<R>) -> ExitCode {
    let config = BrokerConfig::from_file(&PathBuf::from(std::env::var_os(CONFIG).unwrap_or_default()));
    let started = config
        .map_err(|error| error.to_string())
        .and_then(|config| builder.config(config).hook(AllowAll).start().map_err(|error| error.to_string()));
    match started {
        Ok(broker) => {
            for listener in broker.listeners() {
                println!("listening on {}", listener.url);
            }
            println!("try:");
            let _end = std::io::stdin().read(&mut [0]);
            broker.shutdown(Duration::from_secs(5));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

pub(crate) struct Broker {
    child: Child,
    /// `mqtt`, `wss` and so on, in the order of configuration.
    places: Vec<(String, SocketAddr)>,
    folder: PathBuf,
}

impl Broker {
    /// A broker with this configuration, or what it says instead of starting.
    pub(crate) fn try_start(runtime: Runtime, folder: &Path, config: &str) -> Result<Self, String> {
        let folder = folder.join(runtime.to_string());
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("metronome.toml");
        fs::write(&file, config).unwrap();
        let binary = std::env::var_os("TESTED_BROKER").filter(|_| runtime == Runtime::Tokio);
        let mut command = if let Some(binary) = binary {
            let mut command = Command::new(binary);
            command.args(["--durability", "memory", "--log-level", "error", "--config"]).arg(file);
            command.arg("--data").arg(folder.join("data")).stdin(Stdio::null());
            command
        } else {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.env(SERVE, runtime.to_string()).env(CONFIG, file).stdin(Stdio::piped());
            command
        };
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut places, mut lines) = (Vec::new(), BufReader::new(child.stdout.take().unwrap()).lines());
        loop {
            let Some(Ok(line)) = lines.next() else {
                let mut said = String::new();
                child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                assert!(!child.wait().unwrap().success(), "it ended without a word");
                return Err(said);
            };
            let Some(url) = line.strip_prefix("listening on ") else { break };
            let (scheme, rest) = url.split_once("://").unwrap();
            let address = rest.split('/').next().unwrap().parse().unwrap();
            places.push((scheme.to_owned(), address));
        }
        // Nobody reads what it says from now on.
        std::thread::spawn(move || lines.count());
        Ok(Self { child, places, folder })
    }

    /// Where it listens for `mqtt`, `wss` and so on.
    pub(crate) fn address(&self, scheme: &str) -> SocketAddr {
        self.nth(scheme, 0)
    }

    /// The same, where several do.
    pub(crate) fn nth(&self, scheme: &str, number: usize) -> SocketAddr {
        let mut found = self.places.iter().filter(|place| place.0 == scheme);
        found.nth(number).unwrap_or_else(|| panic!("no listener {number} for {scheme}")).1
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("the broker lives")
    }

    fn status(&self, key: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Resident memory, KiB.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that it was since [`Broker::forget_peak`], KiB.
    pub(crate) fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    pub(crate) fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    pub(crate) fn threads(&self) -> u64 {
        self.status("Threads:")
    }

    pub(crate) fn files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Time on a processor since `earlier`, to a hundredth of a second.
    pub(crate) fn processor_time_since(&self, earlier: Duration) -> Duration {
        self.processor_time().saturating_sub(earlier)
    }

    pub(crate) fn processor_time(&self) -> Duration {
        let stat = self.proc("stat");
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Lets it have only so many files.
    pub(crate) fn limit_files(&self, most: u64) {
        use rustix::process::{Resource, Rlimit, prlimit};
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).unwrap();
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(mut self) {
        match self.child.stdin.take() {
            Some(input) => drop(input),
            None => kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap(),
        }
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return assert!(status.success(), "the broker ended with {status}");
            }
            assert!(began.elapsed() < PATIENCE, "the broker does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        let _stays = fs::remove_dir_all(&self.folder);
    }
}
