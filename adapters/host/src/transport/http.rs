//! As much of HTTP/1.1 as a handshake and a few pages need: one request without a body, one answer, and the end.

use crate::transport::Refused;
use std::fmt::Write as _;

/// The longest head of a request, bytes.
const MOST_HEAD: usize = 8 << 10;

/// Most header fields of a request.
const MOST_FIELDS: usize = 64;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Content-Type of the body.
    pub content_type: &'static str,
    /// What it says.
    pub body: String,
    /// Further header fields.
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl Response {
    /// An answer of plain text.
    pub fn text(status: u16, body: &str) -> Self {
        let (content_type, fields) = ("text/plain; charset=utf-8", Vec::new());
        Self { status, content_type, body: body.to_owned(), fields }
    }

    /// One that says what its status means.
    pub(super) fn refusal(status: u16) -> Self {
        Self::text(status, &format!("{}\n", reason(status)))
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// As it is sent. The connection ends behind it, unless it becomes another kind of conversation.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.fields {
            // Writing into a string cannot fail.
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if self.status != 101 {
            let (kind, len) = (self.content_type, self.body.len());
            let _ = write!(
                text,
                "Content-Type: {kind}\r\nContent-Length: {len}\r\nCache-Control: no-store\r\nConnection: close\r\n"
            );
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        text.into_bytes()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    }
}

/// The head of a request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// The path, without what follows a question mark.
    pub(super) path: &'a str,
    /// HTTP/1.1, not 1.0.
    pub(super) is_1_1: bool,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Request<'a> {
    /// The only field of this name; `None` when there is none, or several.
    pub(super) fn field(&self, name: &str) -> Option<&'a str> {
        let mut found = self.all(name);
        found.next().filter(|_| found.next().is_none())
    }

    /// Is there such a field?
    pub(super) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The elements of a list, which may be spread over several fields of one name.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.all(name).flat_map(|value| value.split(',')).map(str::trim)
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// Finds the end of heads, and looks at no byte twice however they come.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Bytes in which no end was found.
    looked_at: usize,
}

impl Head {
    /// The length of the head that `bytes` begin with, once it is whole.
    ///
    /// # Errors
    /// It is too long.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Response> {
        let from = self.looked_at.saturating_sub(3);
        let end = bytes[from..].windows(4).position(|window| window == b"\r\n\r\n");
        self.looked_at = bytes.len();
        match end.map(|at| from + at + 4) {
            Some(len) if len <= MOST_HEAD => Ok(Some(len)),
            None if bytes.len() <= MOST_HEAD => Ok(None),
            _ => Err(Response::refusal(431)),
        }
    }
}

/// Reads a whole head.
///
/// # Errors
/// The answer to what is no request, or one with a body: where a second one would begin is then a matter of opinion,
/// and smuggling lives on that.
pub(super) fn parse(head: &[u8]) -> Result<Request<'_>, Response> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Response::refusal(431)),
        _ => return Err(Response::refusal(400)),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(Response::refusal(400));
    };
    let fields: Result<Vec<_>, _> = request
        .headers
        .iter()
        .map(|field| std::str::from_utf8(field.value).map(|value| (field.name, value)))
        .collect();
    let fields = fields.map_err(|_| Response::refusal(400))?;
    let path = target.split('?').next().unwrap_or_default();
    let request = Request { method, path, is_1_1: request.version == Some(1), fields };
    let has_body = request.has("transfer-encoding") || request.list("content-length").any(|len| len != "0");
    if has_body || (request.is_1_1 && request.field("host").is_none()) {
        return Err(Response::refusal(400));
    }
    if request.method != "GET" {
        return Err(Response::refusal(405).with("Allow", "GET"));
    }
    Ok(request)
}

/// Why somebody was refused who was told so in HTTP.
pub(super) fn refused(response: &Response) -> Refused {
    Refused::new(format!("HTTP {}: {}", response.status, response.body.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::{Head, parse};

    #[test]
    fn the_end_of_a_head_is_found_in_any_split() {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for step in 1..head.len() {
            let mut finder = Head::default();
            for len in (0..head.len()).step_by(step) {
                assert_eq!(finder.end(&head[..len]).unwrap(), None);
            }
            assert_eq!(finder.end(&[&head[..], b"more"].concat()).unwrap(), Some(head.len()));
        }
        assert_eq!(Head::default().end(&[b'x'; 8193]).unwrap_err().status, 431);
        let late = [&[b'x'; 8190][..], b"\r\n\r\n"].concat();
        assert_eq!(Head::default().end(&late).unwrap_err().status, 431);
    }

    #[test]
    fn requests_that_leave_doubts_are_refused() {
        for (head, status) in [
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: x\r\nName : y\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
            ("\x16\x03\x01\r\n\r\n", 400),
            ("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ] {
            assert_eq!(parse(head.as_bytes()).unwrap_err().status, status, "{head:?}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(64));
        assert_eq!(parse(many.as_bytes()).unwrap_err().status, 431);
    }

    #[test]
    fn fields_have_no_case_and_lists_may_be_spread() {
        let head =
            b"GET /a?b=c HTTP/1.1\r\nhOST: x\r\nConnection: keep-alive, Upgrade\r\nconnection: z\r\n\r\n";
        let request = parse(head).unwrap();
        assert_eq!((request.path, request.field("Host")), ("/a", Some("x")));
        assert_eq!(request.field("connection"), None);
        assert_eq!(request.list("connection").collect::<Vec<_>>(), ["keep-alive", "Upgrade", "z"]);
    }
}
