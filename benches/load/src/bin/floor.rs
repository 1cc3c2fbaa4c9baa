//! `floor`: not a broker, but the least that a single-threaded relay of MQTT can do. No sessions, no checks, no queues, no
//! limits, QoS 0 and 1, topic filters that are names or end in `/+`. What a broker takes beyond this is what it does for
//! its users, or waste.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};

const LISTENER: Token = Token(usize::MAX);

struct Conn {
    stream: TcpStream,
    v5: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    dirty: bool,
    last_id: u16,
}

#[derive(Default)]
struct Relay {
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    /// By name, or by what stands before `+`.
    names: HashMap<Vec<u8>, Vec<(usize, u8)>>,
    prefixes: HashMap<Vec<u8>, Vec<(usize, u8)>>,
    dirty: Vec<usize>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "1883".into());
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(format!("127.0.0.1:{port}").parse()?)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("listening on mqtt://{}", listener.local_addr()?);
    let mut events = Events::with_capacity(1024);
    let mut relay = Relay::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let place = relay.free.pop().unwrap_or(relay.conns.len());
                    poll.registry().register(
                        &mut stream,
                        Token(place),
                        Interest::READABLE | Interest::WRITABLE,
                    )?;
                    relay.place(place, stream);
                }
                continue;
            }
            let place = event.token().0;
            if event.is_readable() && !relay.read(place, &mut buffer) {
                relay.remove(place);
                continue;
            }
            if event.is_writable() {
                relay.flush(place);
            }
        }
        while let Some(place) = relay.dirty.pop() {
            relay.flush(place);
        }
    }
}

impl Relay {
    fn place(&mut self, place: usize, stream: TcpStream) {
        let conn = Conn {
            stream,
            v5: false,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            dirty: false,
            last_id: 0,
        };
        if place == self.conns.len() {
            self.conns.push(Some(conn));
        } else {
            self.conns[place] = Some(conn);
        }
    }

    fn remove(&mut self, place: usize) {
        self.conns[place] = None;
        self.free.push(place);
        for subscribers in self.names.values_mut().chain(self.prefixes.values_mut()) {
            subscribers.retain(|(other, _)| *other != place);
        }
    }

    /// Reads what is there; says whether the connection goes on.
    fn read(&mut self, place: usize, buffer: &mut [u8]) -> bool {
        loop {
            let Some(conn) = &mut self.conns[place] else { return true };
            let count = match conn.stream.read(buffer) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            };
            let mut input = std::mem::take(&mut conn.input);
            let begun = !input.is_empty();
            if begun {
                input.extend_from_slice(&buffer[..count]);
            }
            let bytes = if begun { &input[..] } else { &buffer[..count] };
            let mut used = 0;
            while let Some((head, len)) = frame(&bytes[used..]) {
                if !self.packet(place, &bytes[used..used + len], head) {
                    return false;
                }
                used += len;
            }
            let rest = bytes[used..].to_vec();
            if let Some(conn) = &mut self.conns[place] {
                conn.input = rest;
            }
            if count < buffer.len() {
                return true;
            }
        }
    }

    /// One whole packet, of which the fixed header has `head` bytes.
    fn packet(&mut self, place: usize, packet: &[u8], head: usize) -> bool {
        let body = &packet[head..];
        match packet[0] >> 4 {
            1 => {
                let Some(conn) = &mut self.conns[place] else { return true };
                conn.v5 = body.get(6) == Some(&5);
                let answer: &[u8] = if conn.v5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
                self.send(place, &[answer]);
            }
            3 => return self.publish(place, packet[0], body),
            8 => return self.subscribe(place, body),
            12 => self.send(place, &[&[0xd0, 0]]),
            14 => return false,
            _ => {}
        }
        true
    }

    fn subscribe(&mut self, place: usize, body: &[u8]) -> bool {
        let v5 = self.conns[place].as_ref().is_some_and(|conn| conn.v5);
        // No properties, one filter: this is no broker.
        let start = 2 + usize::from(v5);
        let Some(filter) = text(&body[start..]) else { return false };
        let Some(qos) = body.get(start + 2 + filter.len()).map(|options| options & 1) else { return false };
        let subscribers = match filter.strip_suffix(b"+") {
            Some(prefix) => self.prefixes.entry(prefix.to_vec()),
            None => self.names.entry(filter.to_vec()),
        };
        subscribers.or_default().push((place, qos));
        let properties: &[u8] = if v5 { &[0] } else { &[] };
        self.send(place, &[&[0x90, 3 + u8::from(v5)], &body[..2], properties, &[qos]]);
        true
    }

    fn publish(&mut self, place: usize, first: u8, body: &[u8]) -> bool {
        let Some(topic) = text(body) else { return false };
        let from_v5 = self.conns[place].as_ref().is_some_and(|conn| conn.v5);
        let qos = first >> 1 & 1;
        let id_at = 2 + topic.len();
        let payload = &body[id_at + 2 * usize::from(qos) + usize::from(from_v5)..];
        if qos == 1 {
            self.send(place, &[&[0x40, 2], &body[id_at..id_at + 2]]);
        }
        let prefix = topic.iter().rposition(|byte| *byte == b'/').map_or(&topic[..0], |at| &topic[..=at]);
        for subscribers in [self.names.get(topic), self.prefixes.get(prefix)].into_iter().flatten() {
            for &(to, granted) in subscribers {
                let Some(conn) = &mut self.conns[to] else { continue };
                let qos = qos.min(granted);
                let len = 2 + topic.len() + 2 * usize::from(qos) + usize::from(conn.v5) + payload.len();
                conn.output.push(0x30 | qos << 1);
                put_length(&mut conn.output, len);
                conn.output.extend_from_slice(&body[..id_at]);
                if qos == 1 {
                    conn.last_id = conn.last_id % u16::MAX + 1;
                    conn.output.extend_from_slice(&conn.last_id.to_be_bytes());
                }
                if conn.v5 {
                    conn.output.push(0);
                }
                conn.output.extend_from_slice(payload);
                if !std::mem::replace(&mut conn.dirty, true) {
                    self.dirty.push(to);
                }
            }
        }
        true
    }

    fn send(&mut self, place: usize, parts: &[&[u8]]) {
        let Some(conn) = &mut self.conns[place] else { return };
        for part in parts {
            conn.output.extend_from_slice(part);
        }
        if !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push(place);
        }
    }

    fn flush(&mut self, place: usize) {
        let Some(conn) = &mut self.conns[place] else { return };
        conn.dirty = false;
        while conn.sent < conn.output.len() {
            match conn.stream.write(&conn.output[conn.sent..]) {
                Ok(count) => conn.sent += count,
                // The next event tells, of the socket or of its end.
                Err(_) => return,
            }
        }
        conn.output.clear();
        conn.sent = 0;
    }
}

/// Bytes of the fixed header and of the whole packet, once it is there.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut len = 0;
    for at in 1..5 {
        let byte = usize::from(*bytes.get(at)?);
        len |= (byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            let end = at + 1 + len;
            return (bytes.len() >= end).then_some((at + 1, end));
        }
    }
    None
}

/// A text behind its length.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    let len = u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
    bytes.get(2..2 + usize::from(len))
}

fn low(len: usize) -> u8 {
    u8::try_from(len & 0x7f).unwrap_or_default()
}

fn put_length(output: &mut Vec<u8>, mut len: usize) {
    while len > 0x7f {
        output.push(low(len) | 0x80);
        len >>= 7;
    }
    output.push(low(len));
}
