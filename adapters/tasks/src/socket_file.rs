//! The file of a Unix socket: who may connect, what an earlier broker left, and taking it away.
#![cfg(unix)]

use crate::listener::BACKLOG;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Attempts to be the only broker that starts in a folder, and the time between two of them: others need less than that.
const ATTEMPTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A socket's file, which goes with the listener.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    /// Device and number, so that nobody else's file of that name is taken away.
    file: (u64, u64),
}

impl Drop for Claim {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // What cannot be removed is stale for the next broker.
            let _stale = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Listens at a path. A socket at which nobody listens any more gives way, everything else that is there does not.
///
/// # Errors
/// Something else is there, somebody listens there already, or what the system says.
pub fn listen(path: &Path, mode: u32) -> io::Result<(UnixListener, Claim)> {
    // A file at which nobody listens yet looks as one at which nobody does any more: another broker that starts meanwhile would
    // take it away, or this one its file.
    let _alone = alone(path);
    clear(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let claim = Claim { path: path.to_owned(), file: identity(path)? };
    // Before anybody can connect.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), claim))
}

/// While it is kept, no other broker is between [`clear`] and listening in this folder. Nothing is left behind by that, as
/// the folder itself is locked. One that cannot be locked is no reason not to start: it may not be readable, or on a file
/// system without locks, and anybody who can read it may have locked it.
fn alone(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder).ok()?;
    for _ in 0..ATTEMPTS {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(fs::TryLockError::Error(_)) => return None,
        }
    }
    None
}

fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        Ok(_) => {}
    }
    let knock = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Who has a full backlog is there, too.
    knock.set_nonblocking(true)?;
    match knock.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::listen;
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    /// A path of its own for each test, short enough for a socket.
    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("metronome-{}-{name}", std::process::id()))
    }

    #[test]
    fn the_file_has_its_mode_and_goes_with_the_listener() {
        let path = path("mode");
        for mode in [0o600, 0o666] {
            let listening = listen(&path, mode).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            drop(listening);
            assert!(!path.exists());
        }
    }

    #[test]
    fn only_a_stale_socket_gives_way() {
        let path = path("stale");
        let (listener, claim) = listen(&path, 0o600).unwrap();
        assert_eq!(listen(&path, 0o600).unwrap_err().kind(), ErrorKind::AddrInUse);
        // As after a crash: the file stays, and nobody listens.
        std::mem::forget(claim);
        drop(listener);
        assert!(path.exists());
        drop(listen(&path, 0o600).unwrap());
        fs::write(&path, "precious").unwrap();
        assert_eq!(listen(&path, 0o600).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
    }

    /// Each of them finds what a crash has left, or what another has made and not yet listened at.
    #[test]
    fn of_many_that_start_at_once_one_listens() {
        let path = path("race");
        for round in 0..100 {
            std::mem::forget(listen(&path, 0o600).map(|(_, claim)| claim).unwrap());
            let ready = std::sync::Barrier::new(4);
            let started: Vec<_> = std::thread::scope(|scope| {
                let start = || {
                    ready.wait();
                    listen(&path, 0o600)
                };
                let starting = [(); 4].map(|()| scope.spawn(start));
                starting.into_iter().map(|broker| broker.join().unwrap()).collect()
            });
            let refused: Vec<_> = started.iter().filter_map(|started| started.as_ref().err()).collect();
            assert!(refused.iter().all(|error| error.kind() == ErrorKind::AddrInUse), "{refused:?}");
            assert_eq!(refused.len(), 3, "round {round}");
            assert!(std::os::unix::net::UnixStream::connect(&path).is_ok(), "who listens can be found");
        }
        assert!(!path.exists());
    }

    #[test]
    fn a_file_of_somebody_else_stays() {
        let path = path("other");
        let first = listen(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        let second = listen(&path, 0o600).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }
}
