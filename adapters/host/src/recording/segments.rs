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

/// Makes the next segment, for nobody else to read, and removes the oldest so that `keep` are left.
pub(super) fn next(base: &Path, keep: usize) -> io::Result<(u64, File)> {
    let old = existing(base)?;
    let number = old.last().map_or(1, |(last, _)| last + 1);
    for (_, path) in &old[..old.len().saturating_sub(keep.saturating_sub(1))] {
        fs::remove_file(path)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut path = base.as_os_str().to_owned();
    path.push(format!(".{number}"));
    Ok((number, options.open(path)?))
}
