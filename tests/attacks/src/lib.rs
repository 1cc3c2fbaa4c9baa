//! What clients and networks do to a broker that stands alone in a process: attacks that exhaust, attacks below MQTT, and
//! networks that fail, each on tokio, smol and async-std. The short form is an ordinary test; `tests/attacks/run` does it in
//! full, with the release binary for tokio.
//!
//! * `exhaustion`, `transports`, `ceilings`, `faults` — the tables: what is done, and what is to become of it
//! * `judge` — one row against one broker: answers, memory, and what is left afterwards
//! * `broker` — a broker in a process of its own, and what the system says of it
//! * `client`, `packets` — who attacks, with packets made by hand
//! * `chaos` — a proxy that fails as networks do
//! * `traffic` — clients that go on where they were, and what may not be lost
//! * `report` — the tables with their figures, for docs/attacks.md

mod broker;
mod ceilings;
mod chaos;
mod client;
mod exhaustion;
mod faults;
mod judge;
mod packets;
mod report;
mod traffic;
mod transports;

#[allow(dead_code)] // Also for the tests of the host.
#[path = "../../../adapters/host/tests/common/authority.rs"]
mod authority;
#[allow(dead_code)]
#[path = "../../../adapters/host/tests/common/client.rs"]
mod layers;

use broker::Runtime;
use clap::{Parser, ValueEnum};
use libtest_mimic::{Arguments, Trial};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

/// Rows of the short form that run side by side.
const AT_ONCE: usize = 4;

#[derive(Parser)]
struct Cli {
    /// Where the brokers run.
    #[arg(long, default_value = "all")]
    runtime: On,
    /// As large as ceilings are meant, one after the other.
    #[arg(long)]
    full: bool,
    /// Write the tables to this file.
    #[arg(long)]
    report: Option<PathBuf>,
    #[command(flatten)]
    arguments: Arguments,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    All,
    Tokio,
    Smol,
    AsyncStd,
}

/// Runs the tables; also what a broker's process runs.
///
/// # Panics
/// The report cannot be written.
pub fn main() -> ExitCode {
    if broker::is_asked_to_serve() {
        return broker::serve();
    }
    let Cli { runtime, full, report, mut arguments } = Cli::parse();
    arguments.test_threads = arguments.test_threads.or(Some(if full { 1 } else { AT_ONCE }));
    let runtimes = match runtime {
        On::All => vec![Runtime::Tokio, Runtime::Smol, Runtime::AsyncStd],
        On::Tokio => vec![Runtime::Tokio],
        On::Smol => vec![Runtime::Smol],
        On::AsyncStd => vec![Runtime::AsyncStd],
    };
    let figures = Arc::new(Mutex::new(report::Figures::new()));
    let attacks = judge::attacks().into_iter().filter(|attack| full || !attack.only_full);
    let mut trials: Vec<Trial> = Vec::new();
    for attack in attacks {
        for runtime in runtimes.clone() {
            let figures = Arc::clone(&figures);
            trials.push(Trial::test(format!("{runtime}: {} {}", attack.class, attack.done), move || {
                let found = judge::attack(attack, runtime, full);
                figures.lock().unwrap().insert((attack.class, attack.done, runtime), found);
                Ok(())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(path) = report {
        std::fs::write(path, report::tables(&figures.lock().unwrap())).unwrap();
    }
    conclusion.exit_code()
}
