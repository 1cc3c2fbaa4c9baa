//! Files of bounded size, numbered on, of which the oldest go.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The segments of the recording `base` that are there, with their numbers, oldest first.
pub(super) fn existing(base: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let folder = match base.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = base.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|file| file.to_str()?.strip_prefix(&name)?.strip_prefix('.')?.parse().ok());
        found.extend(number.map(|number: u64| (number, path)));
    }
    found.sort_unstable();
    Ok(found)
}

/// The number of the next segment.
pub(super) fn next_number(base: &Path) -> io::Result<u64> {
    Ok(existing(base)?.last().map_or(1, |(last, _)| last + 1))
}

/// Makes a segment, for nobody else to read. Before, the oldest go, so that fewer than `keep` are left, and no more than
/// `room` bytes of them.
pub(super) fn make(base: &Path, number: u64, keep: usize, room: u64) -> io::Result<File> {
    let mut old = Vec::new();
    for (_, path) in existing(base)? {
        old.push((fs::metadata(&path)?.len(), path));
    }
    let mut bytes: u64 = old.iter().map(|(len, _)| len).sum();
    let mut left = old.len();
    for (len, path) in old {
        if left < keep && bytes <= room {
            break;
        }
        fs::remove_file(path)?;
        (left, bytes) = (left - 1, bytes - len);
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut path = base.as_os_str().to_owned();
    path.push(format!(".{number}"));
    options.open(path)
}
