//! What is in front of MQTT on some connections: a PROXY header, an HTTP request, WebSocket frames, all through one port. The
//! broker's end is that of `adapters/host`; the client's is played, or the bytes are somebody's who does not keep to any of
//! it. What goes in comes out at once, so nothing of this may be seen in what clients read.

use crate::random::Stream;
use crate::scenario::Through;
use broker_engine::{CloseCause, ConnId, Time};
use metronome_host::Driver;
use metronome_host::transport::{Entered, Entrance, Layers, Service, Stages, Step, WebSocketPolicy, flush};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A good request, and the answer to its key.
const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
const ACCEPTED: &[u8] = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// The longest message in frames, bytes, of who may be hostile.
const MOST: u64 = 1 << 20;

/// What a client reads that cannot read what was sent.
const UNREADABLE: &[u8] = b"no frame";

const BINARY: u8 = 2;
const PING: u8 = 9;
const FINAL: u8 = 0x80;

/// Of one connection.
#[derive(Debug)]
pub(super) struct Door {
    inside: Inside,
    is_proxied: bool,
    /// The client that keeps to it, if it is one.
    visitor: Option<Visitor>,
}

/// The broker's end.
#[derive(Debug)]
enum Inside {
    Waiting(Box<Entrance>),
    In(Option<Box<Layers>>),
    Over,
}

/// The client's end.
#[derive(Debug)]
struct Visitor {
    choices: Stream,
    /// What comes before everything else.
    greeting: Vec<u8>,
    /// Who it is behind its proxy, if it has one.
    address: Option<SocketAddr>,
    is_framed: bool,
    /// Payload that is still to come of the frame that has begun, and the bytes that it is masked with, the next one first.
    left: usize,
    mask: [u8; 4],
    /// The last frame was not the last of its message.
    goes_on: bool,
    /// The answer to its request came.
    is_answered: bool,
    /// What came, and is no whole frame yet.
    inbox: Vec<u8>,
}

impl Door {
    /// For somebody who sends whatever it likes.
    pub(super) fn of_stranger(through: Through) -> Option<Self> {
        let is_proxied = match through {
            Through::Nothing => return None,
            Through::OnePort => false,
            Through::Proxy => true,
        };
        Some(Self { inside: inside(is_proxied, MOST), is_proxied, visitor: None })
    }

    /// For a client: with or without frames, behind a proxy or not.
    pub(super) fn of_client(mut choices: Stream, address: SocketAddr) -> Self {
        let (is_proxied, is_framed) = (choices.chance(500), choices.chance(700));
        let mut greeting = if is_proxied { proxy_header(address, choices.chance(500)) } else { Vec::new() };
        if is_framed {
            greeting.extend(REQUEST);
        }
        let visitor = Visitor {
            choices,
            greeting,
            address: is_proxied.then_some(address),
            is_framed,
            left: 0,
            mask: [0; 4],
            goes_on: false,
            is_answered: false,
            inbox: Vec::new(),
        };
        Self { inside: inside(is_proxied, u64::MAX), is_proxied, visitor: Some(visitor) }
    }

    /// What is worth seeing of somebody who has come in.
    pub(super) fn mark(&self) -> Option<&'static str> {
        match (&self.inside, self.is_proxied) {
            (Inside::In(Some(_)), _) => Some("MQTT in WebSocket frames"),
            (Inside::In(None), true) => Some("a PROXY header in front of MQTT"),
            _ => None,
        }
    }

    /// Does what is sent to its client go out in frames?
    pub(super) fn has_layers(&self) -> bool {
        matches!(self.inside, Inside::In(Some(_))) && self.visitor.is_some()
    }

    /// Bytes of the client arrive: those of MQTT in them.
    pub(super) fn enters(&mut self, bytes: &[u8]) -> Result<Vec<u8>, CloseCause> {
        let Self { inside, visitor, .. } = self;
        let mut mqtt = Vec::new();
        let Some(visitor) = visitor else {
            inside.receive(&mut bytes.to_vec(), None, &mut mqtt)?;
            inside.say();
            return Ok(mqtt);
        };
        let mut framed = visitor.frame(bytes);
        let mut rest = &mut framed[..];
        while !rest.is_empty() {
            let count = usize::try_from(visitor.choices.by_magnitude(1, 2000)).unwrap_or(1).min(rest.len());
            let (piece, others) = rest.split_at_mut(count);
            inside.receive(piece, visitor.address, &mut mqtt)?;
            visitor.inbox.extend(inside.say());
            rest = others;
        }
        Ok(mqtt)
    }

    /// What the driver has for a client that gets it in frames, as the client reads it.
    pub(super) fn leaves(&mut self, driver: &mut Driver, now: Time, conn: ConnId) -> Vec<u8> {
        let (Inside::In(Some(layers)), Some(visitor)) = (&mut self.inside, &mut self.visitor) else {
            return Vec::new();
        };
        flush(driver, now, conn, layers, |bytes| {
            visitor.inbox.extend_from_slice(bytes);
            Ok(bytes.len())
        });
        visitor.read()
    }
}

fn inside(is_proxied: bool, max_message: u64) -> Inside {
    let policy = WebSocketPolicy { path: "/mqtt".to_owned(), origins: Vec::new(), max_message };
    let stages = Stages { is_proxied, tls: None, service: Service::Any(policy) };
    Inside::Waiting(Box::new(Entrance::new(&Arc::new(stages), None)))
}

impl Inside {
    /// `address`: whom a proxy must have told of.
    fn receive(
        &mut self,
        bytes: &mut [u8],
        address: Option<SocketAddr>,
        mqtt: &mut Vec<u8>,
    ) -> Result<(), CloseCause> {
        match self {
            Self::Waiting(entrance) => match entrance.receive(bytes) {
                Ok(Step::More) => Ok(()),
                Ok(Step::In) => {
                    let Self::Waiting(entrance) = std::mem::replace(self, Self::Over) else { return Ok(()) };
                    let Entered { layers, peer, early, .. } = entrance.enter();
                    if address.is_some() && peer != address {
                        return Err(CloseCause::Fault);
                    }
                    mqtt.extend(early);
                    *self = Self::In(layers.map(Box::new));
                    Ok(())
                }
                Ok(Step::Page(_)) | Err(_) => {
                    *self = Self::Over;
                    Err(CloseCause::Fault)
                }
            },
            Self::In(Some(layers)) => layers.receive(bytes, |bytes| mqtt.extend_from_slice(bytes)),
            Self::In(None) => {
                mqtt.extend_from_slice(bytes);
                Ok(())
            }
            Self::Over => Err(CloseCause::Fault),
        }
    }

    /// What it says by itself.
    fn say(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        let write = |bytes: &[u8]| {
            said.extend_from_slice(bytes);
            Ok(bytes.len())
        };
        let written = match self {
            Self::Waiting(entrance) => entrance.write_outgoing(write),
            Self::In(Some(layers)) => layers.write_outgoing(write),
            Self::In(None) | Self::Over => Ok(()),
        };
        debug_assert!(written.is_ok(), "a vector takes everything");
        said
    }
}

impl Visitor {
    /// Bytes of MQTT as they are sent: in frames of any length, which need not end where these bytes do, with pings in
    /// between.
    fn frame(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.greeting);
        if !self.is_framed {
            out.extend_from_slice(bytes);
            return out;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            while self.left == 0 {
                if self.choices.chance(100) {
                    header(FINAL | PING, 3, [0; 4], &mut out);
                    out.extend(b"you");
                }
                self.begin(rest.len(), &mut out);
            }
            let (payload, others) = rest.split_at(self.left.min(rest.len()));
            for byte in payload {
                out.push(byte ^ self.mask[0]);
                self.mask.rotate_left(1);
            }
            self.left -= payload.len();
            rest = others;
        }
        out
    }

    /// A frame that so many bytes are there for begins.
    fn begin(&mut self, there: usize, out: &mut Vec<u8>) {
        self.left = match self.choices.below(8) {
            0 => 0,
            1 => 1,
            2 => there + usize::try_from(self.choices.by_magnitude(1, 100_000)).unwrap_or(1),
            3 | 4 => usize::try_from(self.choices.between(1, there as u64)).unwrap_or(1),
            _ => there,
        };
        let is_final = self.choices.chance(600);
        let opcode = if self.goes_on { 0 } else { BINARY };
        self.goes_on = !is_final;
        let [.., a, b, c, d] = self.choices.bits().to_be_bytes();
        self.mask = [a, b, c, d];
        header(if is_final { FINAL | opcode } else { opcode }, self.left, self.mask, out);
    }

    /// The MQTT in what has come.
    fn read(&mut self) -> Vec<u8> {
        let mut mqtt = Vec::new();
        while let Some((opcode, head, len)) = self.whole() {
            let payload = self.inbox.drain(..head + len).skip(head);
            match opcode {
                BINARY => mqtt.extend(payload),
                // Its own ping comes back, or a goodbye comes.
                10 | 8 => drop(payload),
                _ => {
                    drop(payload);
                    mqtt.extend(UNREADABLE);
                }
            }
        }
        mqtt
    }

    /// Opcode, length of the header, and of the payload, of the frame that came first.
    fn whole(&mut self) -> Option<(u8, usize, usize)> {
        if !self.is_answered {
            let end = self.inbox.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
            let answer: Vec<u8> = self.inbox.drain(..end).collect();
            let is_good = answer.starts_with(b"HTTP/1.1 101 ")
                && answer.windows(ACCEPTED.len()).any(|window| window == ACCEPTED);
            self.is_answered = true;
            if !is_good {
                return Some((0, 0, 0));
            }
        }
        let [first, second, rest @ ..] = &self.inbox[..] else { return None };
        let (head, len) = match second {
            126 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
            127 => (10, usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).unwrap_or(usize::MAX)),
            // A server masks nothing.
            128.. => return Some((0, 0, self.inbox.len())),
            len => (2, usize::from(*len)),
        };
        (self.inbox.len() - head >= len).then_some((first ^ FINAL, head, len))
    }
}

/// The header of a client's frame.
fn header(first: u8, len: usize, mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(first);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ 0..=125), _) => out.push(0x80 | len),
        (_, Ok(len)) => {
            out.push(0xFE);
            out.extend(len.to_be_bytes());
        }
        _ => {
            out.push(0xFF);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(mask);
}

/// A PROXY header, of version 1 or 2.
fn proxy_header(client: SocketAddr, is_text: bool) -> Vec<u8> {
    let port = client.port();
    match client.ip() {
        IpAddr::V4(ip) if !is_text => {
            let addresses = [&ip.octets()[..], &[192, 0, 2, 1], &port.to_be_bytes(), &[7, 91]].concat();
            [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C"[..], &addresses].concat()
        }
        ip => {
            let mut text = "PROXY UNKNOWN\r\n".to_owned();
            if ip.is_ipv4() {
                text.clear();
                let _ = write!(text, "PROXY TCP4 {ip} 192.0.2.1 {port} 1883\r\n");
            }
            text.into_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_goes_in_comes_out() {
        let address = SocketAddr::from(([10, 0, 0, 1], 1024));
        // As CONNECT begins.
        let sent: Vec<u8> = (0x10..=u8::MAX).cycle().take(50_000).collect();
        let mut ways = BTreeSet::new();
        for seed in 0..40 {
            let mut door = Door::of_client(Stream::new(seed, "door"), address);
            let mut got = Vec::new();
            for piece in sent.chunks(7 + 300 * usize::try_from(seed).unwrap()) {
                got.extend(door.enters(piece).unwrap());
            }
            assert!(got == sent, "seed {seed}");
            ways.insert((door.is_proxied, door.mark()));
        }
        assert_eq!(ways.len(), 4, "{ways:?}");
    }

    #[test]
    fn who_does_not_keep_to_it_does_not_get_in() {
        let page = &b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n"[..];
        for (through, bytes) in [(Through::Proxy, &b"\x10\x0c\0\x04MQTT"[..]), (Through::OnePort, page)] {
            let mut door = Door::of_stranger(through).unwrap();
            assert_eq!(door.enters(bytes), Err(CloseCause::Fault));
            assert_eq!(door.enters(b"\x10"), Err(CloseCause::Fault), "nor later");
        }
        assert!(Door::of_stranger(Through::Nothing).is_none());
    }
}
