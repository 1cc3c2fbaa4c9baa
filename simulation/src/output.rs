//! What commands say. Who has read enough, such as `head`, closes the pipe: then a command ends without a word, and with
//! the status that a shell shows for a program that such a pipe ends.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stdout};
use std::process::exit;

/// 128 and the number of SIGPIPE.
const BROKEN_PIPE: i32 = 141;

/// A line of the result.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::put(format_args!("{}\n", format_args!($($text)*))) };
}

/// A line beside the result, which need not reach anybody.
macro_rules! remark {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

pub(crate) use {remark, say};

/// Writes a part of the result.
pub(crate) fn put(text: Arguments<'_>) {
    let mut out = stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) {
        if error.kind() == ErrorKind::BrokenPipe {
            exit(BROKEN_PIPE);
        }
        remark!("simulation: {error}");
        exit(2);
    }
}
