//! The files that mosquitto's configuration calls `password_file` and `acl_file`.
//!
//! What is different here, always towards refusing:
//!
//! | | mosquitto | here |
//! |---|---|---|
//! | SUBSCRIBE | granted, and messages are held back one by one | granted only if every topic may be read; messages are judged as well |
//! | `pattern` with a name that has `/` | granted | not granted |
//! | `pattern deny` with a name that has `/`, `+` or `#` | is about that name, or about nothing | is about all names |
//! | `pattern` whose name leads to topics that begin with `$` | granted | not granted |
//! | entries of a `password_file` that are no hashes | skipped | an error |

mod acl_file;
mod password_file;

pub use acl_file::acl_file;
pub use password_file::password_file;

/// The lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(text.lines());
    lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
}
