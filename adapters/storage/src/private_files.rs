//! Files and directories for their owner only.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

/// A directory for its owner only, with all above it; it may be there already.
///
/// # Errors
/// What the system says.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// A file to be read and written, which for its owner only may be made.
///
/// # Errors
/// What the system says.
pub fn open_private(path: &Path, may_make: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(may_make).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
