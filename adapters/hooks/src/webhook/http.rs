//! One POST over TCP, in HTTP/1.0: the end of the connection is the end of the answer.

use super::names::Name;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest answer, with its headers, bytes.
const LONGEST: usize = 64 << 10;

/// `http://HOST[:PORT][/PATH]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// With the port.
    host: String,
    path: String,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").ok_or_else(|| {
            format!("{text}: only http:// is supported; a proxy on this machine can speak https")
        })?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
        let path = if path.is_empty() { "/" } else { path };
        if host.is_empty() || host.contains('@') || !plain(host) || !plain(path) {
            return Err(format!("{text}: not an address such as http://127.0.0.1:8080/mqtt"));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let host = if has_port { host.to_owned() } else { format!("{host}:80") };
        Ok(Self { host, path: path.to_owned() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host, self.path)
    }
}

impl Url {
    /// What its host is called, with the port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }
}

/// The first address that answers; each gets its share of the time.
fn connect(addresses: &[SocketAddr], until: Instant) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("no such host");
    for (tried, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        if share.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The body of the answer with status 200.
pub(super) fn post(url: &Url, name: &Name, body: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let until = Instant::now() + timeout;
    let left = || {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let mut stream = connect(&name.addresses(left()?)?, until)?;
    let head = format!(
        "POST {} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        url.path,
        url.host,
        body.len()
    );
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut chunk)? {
            0 => return body_of(&answer).map(<[u8]>::to_vec),
            count => answer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
        if answer.len() > LONGEST {
            return Err(io::Error::other("the answer is too long"));
        }
    }
}

fn body_of(answer: &[u8]) -> io::Result<&[u8]> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let (head, body) = end
        .and_then(|end| Some((answer.get(..end)?, answer.get(end + 4..)?)))
        .ok_or_else(|| io::Error::other("the answer is not HTTP, or not whole"))?;
    let head = String::from_utf8_lossy(head).to_lowercase();
    let mut lines = head.split("\r\n");
    let status =
        lines.next().and_then(|line| line.strip_prefix("http/1.")).and_then(|rest| rest.split(' ').nth(1));
    if status != Some("200") {
        return Err(io::Error::other(format!("status {}", status.unwrap_or("none"))));
    }
    let length = lines.find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(Some(body.len()), |length| length.trim().parse().ok());
    // What is cut off could be another answer.
    length.and_then(|length| body.get(..length)).ok_or_else(|| io::Error::other("the answer is not whole"))
}

#[cfg(test)]
mod tests {
    use super::{Url, body_of, connect};
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    #[test]
    fn each_address_is_tried() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = open.local_addr().unwrap();
        // Nobody listens there any more.
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        assert_eq!(connect(&[closed, address], until).unwrap().peer_addr().unwrap(), address);
        assert!(connect(&[closed], until).is_err() && connect(&[], until).is_err());
    }

    #[test]
    fn addresses_have_a_host_and_may_have_more() {
        for (text, wanted) in [
            ("http://h", "http://h:80/"),
            ("http://h:8080", "http://h:8080/"),
            ("http://[::1]:8080/a/b?c", "http://[::1]:8080/a/b?c"),
            ("http://[::1]/", "http://[::1]:80/"),
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), wanted);
        }
        for text in ["https://h", "h", "http://", "http:///a", "http://u:p@h", "http://h/a b", "http://h\r\n"]
        {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_whole_answers_count() {
        for (answer, wanted) in [
            ("HTTP/1.1 200 OK\r\n\r\n{}", Some("{}")),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}more", Some("{}")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", None),
            ("HTTP/1.1 403 Forbidden\r\n\r\n{}", None),
            ("HTTP/1.1 200 OK\r\n", None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(body_of(answer.as_bytes()).ok(), wanted.map(str::as_bytes), "{answer}");
        }
    }
}
