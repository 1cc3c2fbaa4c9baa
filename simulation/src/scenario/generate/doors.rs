//! What comes to a port where MQTT is not the first thing: WebSocket as no client speaks it, PROXY headers that are none,
//! other protocols. Each begins as it should more often than not, so that it gets further.

use super::bytes;
use crate::random::Stream;
use crate::scenario::{Hostile, Hostility, Through};

/// Fields of a good request, in their order.
const FIELDS: [&str; 6] = [
    "Host: broker",
    "Upgrade: websocket",
    "Connection: keep-alive, Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol: mqtt",
];

fn request(line: &str, fields: &[&str]) -> Vec<u8> {
    format!("{line}\r\n{}\r\n\r\n", fields.join("\r\n")).into_bytes()
}

/// A frame as a client sends it, masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let (short, long) = match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ 0..=125), _) => (len, Vec::new()),
        (_, Ok(len)) => (126, len.to_be_bytes().to_vec()),
        _ => (127, (payload.len() as u64).to_be_bytes().to_vec()),
    };
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key);
    [first, 0x80 | short].into_iter().chain(long).chain(MASK).chain(masked).collect()
}

/// M09: a request that is not a good one, or frames that are not.
pub(super) fn framing(stream: &mut Stream) -> Hostile {
    let new = stream.chance(700);
    let connect = frame(0x82, &bytes::connect(new));
    let good = request("GET /mqtt HTTP/1.1", &FIELDS);
    let chunks = match stream.below(8) {
        0 => vec![bad_request(stream), connect],
        // It ends in the middle.
        1 => vec![good[..place(stream, good.len())].to_vec()],
        _ => vec![[good, connect].concat(), bad_frames(stream, new)],
    };
    hostile(Hostility::Framing, Through::OnePort, chunks)
}

fn bad_request(stream: &mut Stream) -> Vec<u8> {
    let without = place(stream, FIELDS.len());
    let rest: Vec<&str> =
        FIELDS.iter().enumerate().filter(|(at, _)| *at != without).map(|(_, field)| *field).collect();
    let more = |field: &'static str| [&FIELDS[..], &[field]].concat();
    match stream.below(8) {
        0 => request("GET /other HTTP/1.1", &FIELDS),
        1 => request("GET /mqtt HTTP/1.0", &FIELDS),
        2 => request("GET /mqtt HTTP/1.1", &more("Host: another")),
        3 => request("GET /mqtt HTTP/1.1", &more("Content-Length: 5")),
        4 => request("GET /mqtt HTTP/1.1", &more("Origin: https://elsewhere.example")),
        // A head that never ends.
        5 => [&b"GET /mqtt HTTP/1.1\r\nHost: "[..], &[b'x'; 9000]].concat(),
        _ => request("GET /mqtt HTTP/1.1", &rest),
    }
}

fn bad_frames(stream: &mut Stream, new: bool) -> Vec<u8> {
    let ping = bytes::packet_of(12, new);
    // Of more bytes than there are.
    let long = |first: u8, len: u64| [&[first, 0xFF][..], &len.to_be_bytes(), &[0; 4]].concat();
    match stream.below(16) {
        // Not masked, not framed, text.
        0 => [&[0x82, 2], &ping[..]].concat(),
        1 => ping,
        2 => frame(0x81, &ping),
        // Bits and opcodes that nobody has agreed on.
        3 => frame(0xC2, &ping),
        4 => frame(0x83, &ping),
        // What goes on has not begun, what begins has not ended.
        5 => frame(0x80, &ping),
        6 => [frame(0x02, &ping[..1]), frame(0x82, &ping)].concat(),
        // Pings that are too long, in parts, or very many.
        7 => frame(0x89, &[0; 126]),
        8 => frame(0x09, b"x"),
        9 => frame(0x89, b"x").repeat(1000),
        // Lengths that are not as short as can be, that cannot be, that are too much.
        10 => vec![0x82, 0xFE, 0, 2, 0, 0, 0, 0, ping[0], ping[1]],
        11 => long(0x82, u64::MAX),
        12 => long(0x82, 1 << 40),
        // A goodbye without a reason that may be said, and more behind one.
        13 => frame(0x88, b"\x03\xEE"),
        14 => [frame(0x88, b"\x03\xE8"), frame(0x82, &ping)].concat(),
        // Good frames, for MQTT that is not.
        _ => frame(0x82, &bytes::damaged(stream, new)),
    }
}

/// N13: a PROXY header that is wrong, ends too early or never, or comes twice.
pub(super) fn header(stream: &mut Stream) -> Hostile {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    const TEXT: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 1883\r\n";
    let connect = bytes::connect(stream.chance(700));
    let binary = |rest: &[u8]| [SIGNATURE, rest].concat();
    let header = match stream.below(12) {
        0 => Vec::new(),
        1 => b"PROXY TCP4 192.0.2.7 127.0.0.1 70000 1883\r\n".to_vec(),
        2 => b"PROXY TCP4 2001:db8::1 127.0.0.1 1 2\r\n".to_vec(),
        3 => [&b"PROXY "[..], &[b'x'; 200]].concat(),
        4 => binary(b"\x11\x11\0\x0C"),
        5 => binary(b"\x21\x11\xFF\xFF"),
        6 => binary(b"\x21\x11\0\x04\x01\x02\x03\x04"),
        7 => TEXT[..place(stream, TEXT.len())].to_vec(),
        8 => TEXT.repeat(2),
        9 => b"PROXY UNKNOWN\r\n".to_vec(),
        10 => binary(b"\x20\0\0\0"),
        _ => TEXT.to_vec(),
    };
    hostile(Hostility::Header, Through::Proxy, vec![[header, connect].concat()])
}

/// M11: another protocol, at a port for all.
pub(super) fn foreign(stream: &mut Stream) -> Hostile {
    let greeting = bytes::foreign(stream, true);
    hostile(Hostility::Foreign, Through::OnePort, vec![greeting])
}

fn hostile(class: Hostility, through: Through, chunks: Vec<Vec<u8>>) -> Hostile {
    Hostile { class, own: false, chunks, pause: super::hostile::GREETING, through }
}

fn place(stream: &mut Stream, len: usize) -> usize {
    usize::try_from(stream.below(len as u64)).unwrap_or(0)
}
