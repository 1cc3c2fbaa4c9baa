//! What the simulator runs on, and from which sources.

use std::process::Command;
use std::{fs, thread};

/// The commit of these sources, and whether they were changed since.
pub(crate) fn commit() -> String {
    let git = Command::new("git")
        .args([
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            "describe",
            "--always",
            "--dirty",
            "--exclude=*",
            "--abbrev=12",
        ])
        .output();
    let said = git.ok().filter(|git| git.status.success()).map(|git| git.stdout);
    said.map_or_else(|| "unknown".into(), |said| String::from_utf8_lossy(&said).trim().to_owned())
}

/// The model of its processor.
pub(crate) fn processor() -> String {
    field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into())
}

/// Threads that run at once.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Most memory that this process has had, in bytes.
pub(crate) fn peak_memory() -> Option<u64> {
    let said = field("/proc/self/status", "VmHWM")?;
    said.strip_suffix(" kB")?.parse().ok().map(|kib: u64| kib << 10)
}

/// What the kernel says of something.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}
