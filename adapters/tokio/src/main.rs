//! The `metronome` binary: flags, log, signals around [`metronome_tokio::Broker`].

mod log;

use clap::Parser;
use metronome_tokio::host::config::ListenerConfig;
use metronome_tokio::host::recording::RecordOptions;
use metronome_tokio::{AllowAll, Broker, BrokerConfig, BrokerHandle, StartError};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Time for clients to go when the broker is told to stop.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Exit code for flags and configuration that cannot be used.
const USAGE: u8 = 2;

/// Metronome: an MQTT broker (5.0, 3.1.1, 3.1).
///
/// Without flags it listens on 127.0.0.1:1883 and accepts every client of this machine.
#[derive(Debug, Parser)]
#[command(
    name = "metronome",
    version,
    after_help = "Examples:\n  metronome\n  metronome --listen 127.0.0.1:0 --log json\n  \
    metronome --listen 0.0.0.0:1883 --allow-anonymous\n  metronome --config metronome.toml"
)]
struct Flags {
    /// Where to listen, as ADDRESS:PORT or NAME:PORT; may be repeated. Port 0 picks a free one. [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Configuration file (TOML) with listeners and limits; flags come on top.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory for what outlives the process. Nothing does yet: sessions and messages are kept in memory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Accept clients without authentication also from other machines.
    #[arg(long)]
    allow_anonymous: bool,
    /// Record every input into FILE.1, FILE.2 and so on, to be played again: see docs/recording.md. Passwords are not
    /// written.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Disk that the recording may take, MiB; the oldest quarter goes when it is full.
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(4..), requires = "record")]
    record_size: u64,
    /// Overwrite the payloads of messages in the recording, too.
    #[arg(long, requires = "record")]
    record_no_payloads: bool,
    /// Form of the log, on standard error.
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    log: log::Form,
    /// Least severity that is logged: error, warn, info, debug, trace or off, or a filter such as
    /// `info,metronome=debug`.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: String,
}

fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) if error.use_stderr() => return fail(USAGE, &in_one_line(&error)),
        // Help and version.
        Err(error) => error.exit(),
    };
    // Dropped last: what was logged until then is written.
    let _log = match log::start(flags.log, &flags.log_level) {
        Ok(log) => log,
        Err(error) => return fail(USAGE, &error),
    };
    let mut config = match flags.config.as_deref().map(BrokerConfig::from_file).transpose() {
        Ok(config) => config.unwrap_or_default(),
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    if !flags.listen.is_empty() {
        config.listeners = flags.listen.iter().map(|text| ListenerConfig { address: text.clone() }).collect();
    }
    config.allow_anonymous |= flags.allow_anonymous;
    if let Err(error) = config.addresses(false) {
        return fail(USAGE, &error.to_string());
    }
    // Everybody may come in: from this machine, or because the operator said so, which was checked above.
    config.allow_anonymous = true;
    let mut builder = Broker::builder().config(config).authenticator(AllowAll);
    if let Some(file) = &flags.record {
        let segments = 4;
        builder = builder.record(RecordOptions {
            segment_bytes: (flags.record_size << 20) / segments as u64,
            segments,
            mask_payloads: flags.record_no_payloads,
            commit: env!("METRONOME_COMMIT").into(),
            ..RecordOptions::new(file)
        });
    }
    let broker = match builder.start() {
        Ok(broker) => broker,
        Err(error @ StartError::Config(_)) => return fail(USAGE, &error.to_string()),
        Err(error) => return fail(1, &error.to_string()),
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => serve(&runtime, &broker, &flags),
        Err(error) => fail(1, &format!("cannot start: {error}")),
    }
}

/// What is wrong with the flags, and what was probably meant; how they are used is in the help.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<&str> = lines.take_while(|line| !line.starts_with("Usage:")).collect();
    let told = told.into_iter().filter(|line| !line.starts_with("For more information"));
    let told: Vec<&str> = told.map(|line| line.trim_start_matches("error: ")).collect();
    format!("{}; --help lists the flags", told.join("; "))
}

fn fail(code: u8, message: &str) -> ExitCode {
    // With standard error closed, the exit code has to do.
    let _unread = writeln!(std::io::stderr(), "metronome: {message}");
    ExitCode::from(code)
}

/// Says where it listens, what it keeps, and what to type next.
fn greet(broker: &BrokerHandle, flags: &Flags) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for address in broker.local_addrs() {
        writeln!(out, "listening on mqtt://{address}")?;
    }
    writeln!(out, "keeping sessions, queued and retained messages in memory: they end with this process")?;
    if flags.data.is_some() {
        writeln!(out, "note: --data is accepted, but nothing is written there by this version")?;
    }
    if let Some(file) = &flags.record {
        writeln!(out, "recording to {}.1 and so on, without passwords", file.display())?;
    }
    writeln!(out, "open-file limit {}", broker.open_file_limit())?;
    if let (Some(high), Some(max)) = (broker.limits().memory_high, broker.limits().memory_max) {
        let mebibytes = |bytes| bytes >> 20;
        let (high, max) = (mebibytes(high), mebibytes(max));
        writeln!(out, "memory budget {max} MiB, publishers are slowed down from {high} MiB on")?;
    }
    if let Some(address) = broker.local_addrs().first() {
        let port = address.port();
        let host = match address.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            ip => ip.to_string(),
        };
        writeln!(out, "try:  mosquitto_sub -h {host} -p {port} -t 'hello/#' -v")?;
        writeln!(out, "      mosquitto_pub -h {host} -p {port} -t hello/world -m tick")?;
    }
    out.flush()
}

fn serve(runtime: &Runtime, broker: &BrokerHandle, flags: &Flags) -> ExitCode {
    let Ok(mut signals) = runtime.block_on(async { Signals::new() }) else {
        return fail(1, "cannot start: no signal handlers to be had");
    };
    // Nobody has to read it: a closed standard output is no reason to stop.
    let _unread = greet(broker, flags);
    let asked_to_stop = runtime.block_on(async {
        tokio::select! {
            () = signals.next() => true,
            () = broker.stopped() => false,
        }
    });
    if !asked_to_stop {
        return fail(1, "the broker's thread ended; this is a bug");
    }
    tracing::info!("stopping; a second signal forces it");
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| broker.shutdown(SHUTDOWN));
        runtime.block_on(async {
            tokio::select! {
                () = signals.next() => std::process::exit(130),
                () = broker.stopped() => {}
            }
        });
        if stopping.join().is_err() {
            return fail(1, "stopping failed; this is a bug");
        }
        tracing::info!("stopped");
        ExitCode::SUCCESS
    })
}

/// What asks the process to stop, heard from the moment this exists.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            interrupt: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?,
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}
