//! The `metronome` binary: flags, log, signals around [`metronome_tokio::Broker`].

mod access;
mod give_back;
mod located;
mod log;
mod passwd;
mod scram_secret;
mod store_command;
mod store_progress;
mod systemd;

use access::{Access, Hangup};
use clap::{CommandFactory, Parser, Subcommand};
use metronome_hooks::layouts::{self, Foreign};
use metronome_tokio::host::config::listeners::{TlsConfig, Transport};
use metronome_tokio::host::config::{ListenerConfig, Profile};
use metronome_tokio::host::engine::Durability;
use metronome_tokio::host::recording::RecordOptions;
use metronome_tokio::host::storage::{StorageConfig, StorageEngine};
use metronome_tokio::{Broker, BrokerConfig, BrokerHandle, Builder, ConfigError, Failure, StartError};
use passwd::{Passwd, Problem};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
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
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  metronome\n  metronome --listen 127.0.0.1:0 --log json\n  \
    metronome --listen 0.0.0.0:1883 --allow-anonymous\n  metronome default-config > metronome.toml\n  \
    metronome --config metronome.toml\n\nEvery key of a section is a variable too, such as METRONOME_LIMITS_RECEIVE_MAXIMUM; \
    flags are stronger than variables, and those than the file."
)]
struct Flags {
    #[command(subcommand)]
    command: Option<Errand>,
    /// Where to listen, as ADDRESS:PORT or NAME:PORT; may be repeated. Port 0 picks a free one. In front of it may stand
    /// tls://, ws://, wss://, any://, http:// or https://, and unix:// in front of a path. [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR", env = "METRONOME_LISTEN", value_delimiter = ',')]
    listen: Vec<String>,
    /// The broker's certificate (PEM), for --listen with TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Configuration file; flags come on top. TOML, or YAML or JSON in the layout of Mochi or gmqtt.
    #[arg(long, value_name = "FILE", env = "METRONOME_CONFIG")]
    config: Option<PathBuf>,
    /// Defaults of another broker in the place of ours: mochi or gmqtt.
    #[arg(long, value_name = "NAME", env = "METRONOME_PROFILE", value_parser = profile)]
    profile: Option<Profile>,
    /// Directory of the store for sessions, queued and retained messages and wills. [default: metronome in the user's data
    /// directory]
    #[arg(long, value_name = "DIR", env = "METRONOME_DATA")]
    data: Option<PathBuf>,
    /// What an acknowledgement promises: memory, and nothing outlives the process; async, and what was kept a moment ago
    /// does; durable, and everything acknowledged does. [default: durable]
    #[arg(long, value_name = "LEVEL", env = "METRONOME_DURABILITY", value_parser = ["memory", "async", "durable"])]
    durability: Option<String>,
    /// Accept clients without authentication also from other machines. With access control: let in clients without user
    /// name that no rule is about.
    #[arg(long, value_name = "BOOL", env = "METRONOME_ALLOW_ANONYMOUS", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_anonymous: Option<bool>,
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
    #[arg(long, value_enum, default_value = "text", value_name = "FORM", env = "METRONOME_LOG")]
    log: log::Form,
    /// Least severity that is logged: error, warn, info, debug, trace or off, or a filter such as
    /// `info,metronome=debug`.
    #[arg(long, default_value = "info", value_name = "LEVEL", env = "METRONOME_LOG_LEVEL")]
    log_level: String,
}

impl Flags {
    /// What they say about the store is stronger than the configuration, and without both the user's data directory is
    /// taken.
    fn choose_storage(&self, storage: &mut StorageConfig) -> Result<(), &'static str> {
        storage.durability = match self.durability.as_deref() {
            Some("memory") => Durability::Memory,
            Some("async") => Durability::Async,
            Some("durable") => Durability::Durable,
            _ => storage.durability,
        };
        if self.data.is_some() {
            storage.path.clone_from(&self.data);
        }
        let is_in_directory =
            storage.engine != StorageEngine::Redis && storage.durability != Durability::Memory;
        if is_in_directory && storage.path.is_none() {
            storage.path = Some(data_directory().ok_or(NO_DIRECTORY)?);
        }
        Ok(())
    }

    /// What file, environment and these flags say, each stronger than the one before; and keys of other brokers' files that are
    /// not honoured.
    fn configuration(&self) -> Result<(BrokerConfig, Vec<String>), String> {
        let (mut config, ignored) = configuration(self.config.as_deref(), self.profile)?;
        if !self.listen.is_empty() {
            config.listeners = self.listeners();
        }
        self.choose_storage(&mut config.storage)?;
        config.allow_anonymous = self.allow_anonymous.unwrap_or(config.allow_anonymous);
        Ok((config, ignored))
    }

    /// Says which keys are others than at the start, if any are: a broker that runs takes up none of them.
    fn tell_changes(&self, at_start: &BrokerConfig) {
        let changed = self
            .configuration()
            .and_then(|(now, _)| at_start.changed_keys(&now).map_err(|error| error.to_string()));
        match changed {
            Ok(keys) if keys.is_empty() => {}
            Ok(keys) => tracing::warn!(keys = keys.join(", "), "changes of the configuration need a restart"),
            Err(error) => tracing::error!(%error, "the configuration cannot be used any more"),
        }
    }

    fn listeners(&self) -> Vec<ListenerConfig> {
        let tls = self.tls_certificate.clone().zip(self.tls_key.clone());
        let tls = tls.map(|(certificate, key)| TlsConfig { certificate, key, ..TlsConfig::default() });
        let listener = |address: &String| {
            let has_tls =
                ["tls:", "mqtts:", "wss:", "https:", "any:"].iter().any(|kind| address.starts_with(kind));
            ListenerConfig { tls: tls.clone().filter(|_| has_tls), ..ListenerConfig::at(address) }
        };
        self.listen.iter().map(listener).collect()
    }
}

/// Why there is no [`data_directory`], and what to do.
const NO_DIRECTORY: &str = "there is no home directory to keep data in: name a directory with --data, or keep nothing with \
                            --durability memory";

/// Where programs of this user keep their data.
fn data_directory() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = if cfg!(windows) {
        variable("LOCALAPPDATA")?
    } else {
        variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")))?
    };
    Some(folder.join("metronome"))
}

/// What can be done instead of serving.
#[derive(Debug, Subcommand)]
enum Errand {
    /// Says whether a configuration file can be used, together with the environment
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    /// Prints a configuration file with every option, its unit, its default and what it does
    DefaultConfig,
    /// Makes and checks entries of password files; the password is read from standard input
    #[command(subcommand)]
    Passwd(Passwd),
    /// Looks into a store, or takes it elsewhere, while no broker uses it
    Store(store_command::StoreCommand),
}

impl Errand {
    fn run(&self) -> ExitCode {
        let said = match self {
            Self::DefaultConfig => BrokerConfig::default_toml().trim_end().to_owned(),
            Self::CheckConfig { file } => match check(file) {
                Ok(said) => said,
                Err(error) => return fail(USAGE, &error),
            },
            Self::Passwd(passwd) => match passwd.run() {
                Ok(said) => said,
                Err(Problem::Wrong) => return fail(1, "the password is wrong, or there is no such user"),
                Err(Problem::Usage(error)) => return fail(USAGE, &error),
                Err(Problem::System(error)) => return fail(1, &error),
            },
            Self::Store(command) => match command.run() {
                Ok(said) => said,
                Err(error) => return fail(1, &error),
            },
        };
        if said.is_empty() {
            return ExitCode::SUCCESS;
        }
        match writeln!(std::io::stdout(), "{said}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(1, &format!("cannot write: {error}")),
        }
    }
}

/// The profile of this name.
fn profile(name: &str) -> Result<Profile, String> {
    Profile::named(name).ok_or_else(|| format!("{name} is no profile; there are mochi and gmqtt"))
}

/// Whether a configuration file can be used, and the files that it names.
fn check(file: &Path) -> Result<String, String> {
    let profile = std::env::var("METRONOME_PROFILE").ok().map(|name| profile(&name)).transpose()?;
    let (config, ignored) = configuration(Some(file), profile)?;
    let named = |error: ConfigError| format!("{}: {error}", file.display());
    let config = config.complete().map_err(named)?;
    // Who may come in from elsewhere depends on flags as well.
    config.checked_listeners(true).map_err(|error| located::unusable(file, &config, true, &error))?;
    Access::load(&config)?;
    let ignored = ignored.into_iter().map(|key| format!("not honoured: {key}\n"));
    Ok(format!("{}{} can be used", ignored.collect::<String>(), file.display()))
}

/// What the file says, and the environment on top of it; and keys of other brokers' files that are not honoured. Those are
/// YAML or JSON, and ours is TOML.
fn configuration(
    file: Option<&Path>,
    profile: Option<Profile>,
) -> Result<(BrokerConfig, Vec<String>), String> {
    let base = profile.map(Profile::config).unwrap_or_default();
    let ending = file.and_then(|file| file.extension()?.to_str());
    let (config, ignored) = match (file, ending) {
        (None, _) => (base, Vec::new()),
        (Some(file), Some("yaml" | "yml" | "json")) => {
            let Foreign { config, ignored } = layouts::read(file, base).map_err(|error| error.to_string())?;
            (config, ignored)
        }
        (Some(file), _) => (base.with_file(file).map_err(|error| error.to_string())?, Vec::new()),
    };
    let words = |name: OsString, text: OsString| Some((name.into_string().ok()?, text.into_string().ok()?));
    let variables = std::env::vars_os().filter_map(|(name, text)| words(name, text));
    let flags = Flags::command();
    let flags: Vec<&str> = flags.get_arguments().filter_map(|flag| flag.get_env()?.to_str()).collect();
    let config = config.with_environment(variables, &flags).map_err(|error| error.to_string())?;
    Ok((config, ignored))
}

fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) if error.use_stderr() => return fail(USAGE, &in_one_line(&error)),
        // Help and version.
        Err(error) => error.exit(),
    };
    if let Some(errand) = &flags.command {
        return errand.run();
    }
    // Dropped last: what was logged until then is written.
    let _log = match log::start(flags.log, &flags.log_level) {
        Ok(log) => log,
        Err(error) => return fail(USAGE, &error),
    };
    let (mut config, ignored) = match flags.configuration() {
        Ok(read) => read,
        Err(error) => return fail(USAGE, &error),
    };
    for key in ignored {
        tracing::warn!(key, "a key of the configuration file is not honoured");
    }
    let at_start = config.clone();
    let sockets = systemd::sockets().map_err(|error| format!("systemd: {error}"));
    let sockets = match sockets.and_then(|sockets| systemd::assign(&mut config.listeners, sockets)) {
        Ok(sockets) => sockets,
        Err(error) => return fail(USAGE, &error),
    };
    let mut access = match Access::load(&config) {
        Ok(access) => access,
        Err(error) => return fail(USAGE, &error),
    };
    // Unless they are the flags' or systemd's.
    let is_of_file = flags.listen.is_empty() && config.listeners == at_start.listeners;
    let file = flags.config.as_deref().filter(|_| is_of_file && !config.listeners.is_empty());
    let authenticated = access.is_controlled();
    if let Err(error) = config.checked_listeners(authenticated) {
        let named = file.map(|file| located::unusable(file, &config, authenticated, &error));
        return fail(USAGE, &named.unwrap_or_else(|| error.to_string()));
    }
    let builder = sockets.into_iter().fold(Broker::builder().config(config.clone()), Builder::socket);
    let mut builder = match access.add_to(builder, &config) {
        Ok(builder) => builder,
        Err(error) => return fail(1, &format!("cannot start: {error}")),
    };
    if let Some(file) = &flags.record {
        let segments = 4;
        builder = builder.record(RecordOptions {
            segment_bytes: (flags.record_size << 20) / segments as u64,
            segments,
            mask_payloads: flags.record_no_payloads,
            commit: env!("COMMIT_OF_METRONOME").into(),
            ..RecordOptions::new(file)
        });
    }
    let broker = match builder.start() {
        Ok(broker) => broker,
        Err(error @ StartError::Config(_)) => return fail(USAGE, &error.to_string()),
        Err(error) => {
            let named = file.map(|file| located::not_started(file, &config, &error));
            return fail(1, &named.unwrap_or_else(|| error.to_string()));
        }
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => serve(&runtime, &broker, &flags, &at_start, access),
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
    format!("{}; --help lists the flags", told.join("; ").replace(":; ", ": "))
}

fn fail(code: u8, message: &str) -> ExitCode {
    // With standard error closed, the exit code has to do.
    let _unread = writeln!(std::io::stderr(), "metronome: {message}");
    ExitCode::from(code)
}

/// Says where it listens, what it keeps, and what to type next.
fn greet(broker: &BrokerHandle, flags: &Flags, storage: &StorageConfig) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for listener in broker.listeners() {
        writeln!(out, "listening on {}", listener.url)?;
    }
    match (storage.place(), broker.found()) {
        (Some(place), Some(found)) => {
            let level =
                if storage.durability == Durability::Async { "a moment later" } else { "when acknowledged" };
            writeln!(out, "keeping sessions, queued and retained messages in {place}, {level}")?;
            writeln!(out, "found there: {found}")?;
        }
        _ => writeln!(
            out,
            "keeping sessions, queued and retained messages in memory: they end with this process"
        )?,
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
    let plain = |transport| matches!(transport, Transport::Tcp | Transport::Any);
    let first = broker.listeners().iter().find(|listener| plain(listener.transport));
    if let Some(address) = first.and_then(|listener| listener.address) {
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

fn serve(
    runtime: &Runtime,
    broker: &BrokerHandle,
    flags: &Flags,
    at_start: &BrokerConfig,
    access: Access,
) -> ExitCode {
    let heard = runtime.block_on(async { Signals::new().and_then(|signals| Ok((signals, Hangup::new()?))) });
    let Ok((mut signals, hangup)) = heard else {
        return fail(1, "cannot start: no signal handlers to be had");
    };
    // Nobody has to read it: a closed standard output is no reason to stop.
    let _unread = greet(broker, flags, &at_start.storage);
    systemd::notify("READY=1");
    let tell_changes = || flags.tell_changes(at_start);
    let asked_to_stop = runtime.block_on(async {
        tokio::select! {
            () = signals.next() => true,
            () = broker.stopped() => false,
            () = give_back::run(broker) => false,
            never = access.keep_current(broker, hangup, tell_changes) => match never {},
            never = systemd::keep_watch(broker) => match never {},
        }
    });
    if !asked_to_stop {
        return fail(1, &broker.failure().unwrap_or(&Failure::Panic).to_string());
    }
    tracing::info!("stopping; a second signal forces it");
    systemd::notify("STOPPING=1");
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
        if let Some(failure) = broker.failure() {
            return fail(1, &failure.to_string());
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
