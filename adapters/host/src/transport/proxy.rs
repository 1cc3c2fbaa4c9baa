//! The PROXY protocol, versions 1 and 2: a proxy in front tells whose connection it passes on.

use crate::transport::Refused;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How a header of version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, with its end of line.
const MOST_TEXT: usize = 107;

/// Bytes of version 2 in front of the addresses.
const FIXED: usize = 16;

/// The longest that version 2 may announce behind that: addresses, and facts that are read over.
const MOST_ADDRESSES: usize = 4096;

/// A header that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Its length, bytes.
    pub(super) len: usize,
    /// Who the client is; `None` where the proxy speaks for itself, or does not know.
    pub(super) client: Option<SocketAddr>,
}

/// Reads the header that a connection begins with; `None` when more has to come.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Refused> {
    let is_start_of = |whole: &[u8]| whole.starts_with(&bytes[..bytes.len().min(whole.len())]);
    if is_start_of(SIGNATURE) {
        binary(bytes)
    } else if is_start_of(b"PROXY ") {
        text(bytes)
    } else {
        Err(Refused::new("no PROXY header"))
    }
}

fn text(bytes: &[u8]) -> Result<Option<Header>, Refused> {
    let wrong = || Refused::new("a PROXY header that cannot be read");
    let within = &bytes[..bytes.len().min(MOST_TEXT)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if within.len() < MOST_TEXT { Ok(None) } else { Err(wrong()) };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| wrong())?;
    let words: Vec<&str> = line.split(' ').collect();
    let client = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, target, source_port, target_port] => {
            let address = |text: &str| {
                let ip: IpAddr = text.parse().ok()?;
                (ip.is_ipv4() == (family == "TCP4")).then_some(ip)
            };
            let port = |text: &str| text.parse::<u16>().ok();
            address(target).and(port(target_port)).ok_or_else(wrong)?;
            let (ip, port) = address(source).zip(port(source_port)).ok_or_else(wrong)?;
            Some(SocketAddr::new(ip, port))
        }
        _ => return Err(wrong()),
    };
    Ok(Some(Header { len: end + 2, client }))
}

fn binary(bytes: &[u8]) -> Result<Option<Header>, Refused> {
    let wrong = || Refused::new("a PROXY header that cannot be read");
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Ok(None) };
    let [.., version_and_command, family, high, low] = *fixed;
    let announced = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 || announced > MOST_ADDRESSES {
        return Err(wrong());
    }
    let len = FIXED + announced;
    let Some(addresses) = bytes.get(FIXED..len) else { return Ok(None) };
    let client = match (version_and_command & 0x0f, family) {
        (1, 0x11) => {
            let [a, b, c, d, _, _, _, _, high, low, _, _, ..] = *addresses else { return Err(wrong()) };
            Some((Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
        }
        (1, 0x21) => {
            let ip = addresses.first_chunk::<16>().ok_or_else(wrong)?;
            let [high, low, ..] = *addresses.get(32..36).ok_or_else(wrong)? else { return Err(wrong()) };
            Some((Ipv6Addr::from(*ip).into(), u16::from_be_bytes([high, low])))
        }
        // The proxy itself, which asks whether we are well; Unix sockets; what is not known.
        (0 | 1, _) => None,
        _ => return Err(wrong()),
    };
    Ok(Some(Header { len, client: client.map(|(ip, port)| SocketAddr::new(ip, port)) }))
}

#[cfg(test)]
mod tests {
    use super::{Header, SIGNATURE, parse};

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let len = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family][..], &len, addresses].concat()
    }

    #[test]
    fn headers_of_both_versions_name_the_client_in_any_split() {
        let four = [[192, 0, 2, 7].as_slice(), &[127, 0, 0, 1], &[0x30, 0x39], &[7, 91]].concat();
        let six =
            [[0x20, 1, 0xd, 0xb8].as_slice(), &[0; 11], &[1], &[0; 16], &[0x30, 0x39], &[7, 91]].concat();
        let facts = [&four[..], b"\x03\x00\x01x"].concat();
        for (bytes, wanted) in [
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 1883\r\n".to_vec(), Some("192.0.2.7:12345")),
            (b"PROXY TCP6 2001:db8::1 ::1 12345 1883\r\n".to_vec(), Some("[2001:db8::1]:12345")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ff::1 ff::2 1 2\r\n".to_vec(), None),
            (version_2(0x21, 0x11, &four), Some("192.0.2.7:12345")),
            (version_2(0x21, 0x11, &facts), Some("192.0.2.7:12345")),
            (version_2(0x21, 0x21, &six), Some("[2001:db8::1]:12345")),
            (version_2(0x20, 0, &[]), None),
            (version_2(0x21, 0x31, &[0; 216]), None),
        ] {
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]).unwrap(), None, "{cut} bytes of {bytes:02x?}");
            }
            let client = wanted.map(|text| text.parse().unwrap());
            let header = Header { len: bytes.len(), client };
            assert_eq!(parse(&bytes).unwrap(), Some(header));
            assert_eq!(parse(&[&bytes[..], b"\x10\x0c"].concat()).unwrap(), Some(header));
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bytes in [
            b"\x10".to_vec(),
            b"PROXX".to_vec(),
            b"PROXY TCP4 192.0.2.7 127.0.0.1 70000 1883\r\n".to_vec(),
            b"PROXY TCP4 ::1 127.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 127.0.0.1 127.0.0.1 1\r\n".to_vec(),
            b"PROXY UDP4 127.0.0.1 127.0.0.1 1 2\r\n".to_vec(),
            [&b"PROXY "[..], &[b'x'; 101]].concat(),
            version_2(0x11, 0x11, &[0; 12]),
            version_2(0x22, 0x11, &[0; 12]),
            version_2(0x21, 0x11, &[0; 11]),
            version_2(0x21, 0x21, &[0; 35]),
            version_2(0x21, 0x11, &[0; 4097]),
        ] {
            assert!(parse(&bytes).is_err(), "{bytes:02x?}");
        }
    }
}
