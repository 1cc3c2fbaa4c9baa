//! Open files: how many there may be, and one in reserve.

use std::fs::File;
use std::io;

/// Files that stay free for everything but clients.
const RESERVED_FILES: u64 = 64;

/// Raises the open-file limit as far as it goes; says what it is now, and how many clients that allows.
pub fn raise_limit() -> (u64, usize) {
    let files = raise();
    (files, usize::try_from(files.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX).max(1))
}

#[cfg(unix)]
fn raise() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        limit = getrlimit(Resource::Nofile);
    }
    limit.current.unwrap_or(u64::MAX)
}

#[cfg(not(unix))]
fn raise() -> u64 {
    u64::MAX
}

/// Has the process, or the system, no file left?
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let code = error.raw_os_error();
        code == Some(Errno::MFILE.raw_os_error()) || code == Some(Errno::NFILE.raw_os_error())
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        false
    }
}

/// An open file that is given up for a moment when there is no other left.
#[derive(Debug)]
pub(crate) struct Reserve(Option<File>);

impl Reserve {
    pub(crate) fn new() -> Self {
        let mut reserve = Self(None);
        reserve.take_again();
        reserve
    }

    /// Frees it, if it is there.
    pub(crate) fn release(&mut self) -> bool {
        self.0.take().is_some()
    }

    pub(crate) fn take_again(&mut self) {
        self.0 = if cfg!(unix) { File::open("/dev/null").ok() } else { None };
    }
}
