//! The protocol, RESP2: a request is an array of byte strings, and has one reply.

use std::io::{self, BufRead, ErrorKind, Read, Write};

/// Longest line of a reply, bytes: the longest are errors.
const MAX_LINE: u64 = 64 << 10;

/// Arrays within arrays: that of EXEC holds the replies to its commands.
const MAX_DEPTH: u8 = 4;

/// Requests that are sent together, and answered in their order.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    bytes: Vec<u8>,
    requests: usize,
}

impl Pipeline {
    /// Adds a request; says at which place its reply will be.
    pub(super) fn push(&mut self, words: &[&[u8]]) -> usize {
        // Writing into a vector cannot fail, here and below.
        let _ = write!(self.bytes, "*{}\r\n", words.len());
        for word in words {
            let _ = write!(self.bytes, "${}\r\n", word.len());
            self.bytes.extend_from_slice(word);
            self.bytes.extend_from_slice(b"\r\n");
        }
        self.requests += 1;
        self.requests - 1
    }

    /// What goes over the wire.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Replies that will come.
    pub(super) fn requests(&self) -> usize {
        self.requests
    }
}

/// What the server says to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Status(String),
    Error(String),
    Integer(i64),
    Bytes(Vec<u8>),
    /// A value or an array that there is not.
    Nil,
    Array(Vec<Reply>),
}

impl Reply {
    /// The first error in it.
    pub(super) fn error(&self) -> Option<&str> {
        match self {
            Self::Error(error) => Some(error),
            Self::Array(items) => items.iter().find_map(Self::error),
            _ => None,
        }
    }

    /// Byte strings of an array. What is not there is empty.
    pub(super) fn into_list(self) -> Vec<Vec<u8>> {
        let Self::Array(items) = self else { return Vec::new() };
        let bytes = |item| if let Self::Bytes(bytes) = item { bytes } else { Vec::new() };
        items.into_iter().map(bytes).collect()
    }

    /// The text of a status or a byte string.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Status(text) => Some(text),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

/// Reads one reply.
pub(super) fn read_reply(input: &mut impl BufRead) -> io::Result<Reply> {
    read(input, MAX_DEPTH)
}

fn read(input: &mut impl BufRead, depth: u8) -> io::Result<Reply> {
    let line = read_line(input)?;
    let (kind, text) = line.split_first().ok_or_else(malformed)?;
    let text = String::from_utf8_lossy(text);
    Ok(match kind {
        b'+' => Reply::Status(text.into_owned()),
        b'-' => Reply::Error(text.into_owned()),
        b':' => Reply::Integer(text.parse().map_err(|_| malformed())?),
        b'$' => match length(&text)? {
            Some(len) => Reply::Bytes(read_bytes(input, len)?),
            None => Reply::Nil,
        },
        b'*' => match length(&text)? {
            Some(len) if depth > 0 => {
                Reply::Array((0..len).map(|_| read(input, depth - 1)).collect::<io::Result<_>>()?)
            }
            Some(_) => return Err(malformed()),
            None => Reply::Nil,
        },
        _ => return Err(malformed()),
    })
}

/// A line without its end.
fn read_line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.ends_with(b"\r\n") {
        line.truncate(line.len() - 2);
        return Ok(line);
    }
    let is_cut = !line.ends_with(b"\n") && (line.len() as u64) < MAX_LINE;
    Err(if is_cut { ErrorKind::UnexpectedEof.into() } else { malformed() })
}

/// `None` is said as -1.
fn length(text: &str) -> io::Result<Option<u64>> {
    if text == "-1" { Ok(None) } else { text.parse().map(Some).map_err(|_| malformed()) }
}

/// So many bytes and the end of a line. Memory is taken as they come: a length is only a claim.
fn read_bytes(input: &mut impl BufRead, len: u64) -> io::Result<Vec<u8>> {
    let (mut bytes, mut end) = (Vec::new(), [0; 2]);
    if (input.take(len).read_to_end(&mut bytes)? as u64) < len {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    input.read_exact(&mut end)?;
    if &end == b"\r\n" { Ok(bytes) } else { Err(malformed()) }
}

fn malformed() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "it does not answer as Redis does")
}

#[cfg(test)]
mod tests {
    use super::{Pipeline, Reply, read_reply};
    use std::io::ErrorKind;

    #[test]
    fn requests_are_arrays_of_byte_strings() {
        let mut pipeline = Pipeline::default();
        assert_eq!(pipeline.push(&[b"GET", b"a\r\nb"]), 0);
        assert_eq!(pipeline.push(&[b"EXEC"]), 1);
        assert_eq!(pipeline.bytes(), b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n*1\r\n$4\r\nEXEC\r\n");
        assert_eq!(pipeline.requests(), 2);
    }

    fn examples() -> Vec<(&'static [u8], Reply)> {
        vec![
            (b"+OK\r\n", Reply::Status("OK".into())),
            (b"-ERR no\r\n", Reply::Error("ERR no".into())),
            (b":-2\r\n", Reply::Integer(-2)),
            (b"$0\r\n\r\n", Reply::Bytes(Vec::new())),
            (b"$3\r\n\r\n\0\r\n", Reply::Bytes(b"\r\n\0".to_vec())),
            (b"$-1\r\n", Reply::Nil),
            (b"*-1\r\n", Reply::Nil),
            (b"*0\r\n", Reply::Array(Vec::new())),
            (
                b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n-E\r\n",
                Reply::Array(vec![
                    Reply::Integer(1),
                    Reply::Array(vec![Reply::Bytes(b"a".to_vec()), Reply::Error("E".into())]),
                ]),
            ),
        ]
    }

    #[test]
    fn replies_are_read_and_no_part_of_one_is() {
        for (bytes, wanted) in examples() {
            assert_eq!(read_reply(&mut &*bytes).unwrap(), wanted);
            for cut in 0..bytes.len() {
                let error = read_reply(&mut &bytes[..cut]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{wanted:?} cut to {cut}");
            }
        }
    }

    #[test]
    fn errors_are_found_inside() {
        let errors = examples().into_iter().filter_map(|(_, reply)| reply.error().map(str::to_owned));
        assert_eq!(errors.collect::<Vec<_>>(), ["ERR no", "E"]);
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let deep = b"*1\r\n".repeat(100_000);
        let long = [b"+", &*vec![b'a'; 1 << 20]].concat();
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\r\n",
            b"+OK\n",
            b":x\r\n",
            b"$-2\r\n",
            b"$1\r\nabc\r\n",
            &deep,
            &long,
        ] {
            assert_eq!(read_reply(&mut &*bytes).unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }
}
