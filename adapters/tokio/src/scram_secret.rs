//! The secret by which SCRAM makes up salts for unknown users. It outlives the process, as the salts of users do: who compares
//! answers across a restart could tell them otherwise. It cannot come from their entries, which are made of passwords, as
//! each made-up salt would be a chance to try them.

use metronome_tokio::host::storage::{StorageConfig, StorePlace};
use metronome_tokio::host::stores::private_files::{make_directory, open_private};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Where it is kept unless the configuration says otherwise.
pub(crate) fn place(storage: &StorageConfig) -> Option<PathBuf> {
    match storage.place()? {
        StorePlace::Directory(directory) => Some(directory.join("scram.secret")),
        StorePlace::Redis(..) => None,
    }
}

/// Reads it, or makes it where there is none.
///
/// # Errors
/// The file can neither be read nor made, or is no such file.
pub(crate) fn read(file: &Path) -> io::Result<[u8; 32]> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("the secret of SCRAM, {}: {error}", file.display()))
    };
    match std::fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => make(file).map_err(named),
        Err(error) => Err(named(error)),
        // It was about to be written.
        Ok(bytes) if bytes.is_empty() => make(file).map_err(named),
        Ok(bytes) => bytes.try_into().map_err(|_| named(io::Error::other("has to have 32 bytes"))),
    }
}

fn make(file: &Path) -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    if let Some(directory) = file.parent() {
        make_directory(directory)?;
    }
    let mut kept = open_private(file, true)?;
    kept.write_all(&secret)?;
    kept.sync_all()?;
    Ok(secret)
}
