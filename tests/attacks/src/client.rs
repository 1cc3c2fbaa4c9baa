//! A client that can do everything wrong, and what it hears.

use crate::broker::PATIENCE;
use crate::packets::{Hello, PINGREQ, subscribe};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub(crate) trait Socket: Read + Write + Send {
    /// Does its next read wait for ever, or only so long?
    fn wait_at_most(&mut self, time: Duration);
}

impl Socket for TcpStream {
    fn wait_at_most(&mut self, time: Duration) {
        self.set_read_timeout(Some(time)).unwrap();
    }
}

/// What comes next from the broker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A packet by its first byte, and what is behind its length.
    Packet(u8, Vec<u8>),
    Closed,
    /// Nothing, for as long as it was waited.
    Silence,
}

impl Heard {
    /// In the words of the standard.
    pub(crate) fn in_words(&self) -> String {
        let Self::Packet(first, body) = self else { return format!("{self:?}").to_lowercase() };
        let code = |at: usize| body.get(at).copied().unwrap_or_default();
        match first >> 4 {
            2 => format!("CONNACK {:#04x}", code(1)),
            3 => "PUBLISH".to_owned(),
            4 => format!("PUBACK {:#04x}", code(2)),
            5 => format!("PUBREC {:#04x}", code(2)),
            6 => format!("PUBREL {:#04x}", code(2)),
            7 => format!("PUBCOMP {:#04x}", code(2)),
            9 => format!("SUBACK {:#04x}", body.last().copied().unwrap_or_default()),
            13 => "PINGRESP".to_owned(),
            14 => format!("DISCONNECT {:#04x}", code(0)),
            _ => format!("{first:02x}"),
        }
    }
}

pub(crate) struct Client {
    pub(crate) socket: Box<dyn Socket>,
    input: Vec<u8>,
}

impl Client {
    /// Who has said nothing yet.
    pub(crate) fn over(socket: impl Socket + 'static) -> Self {
        Self { socket: Box::new(socket), input: Vec::new() }
    }

    /// Who was let in.
    pub(crate) fn accepted(socket: impl Socket + 'static, hello: &Hello<'_>) -> Self {
        let mut client = Self::over(socket);
        let answer = client.ask(&hello.bytes());
        assert_eq!(answer, "CONNACK 0x00", "{}", hello.name);
        client
    }

    /// Sends; the broker may have closed, which shows when its answer is read. Says whether it took everything.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).and_then(|()| self.socket.flush()).is_ok()
    }

    /// The answer, in the words of the standard.
    pub(crate) fn ask(&mut self, bytes: &[u8]) -> String {
        self.send(bytes);
        self.hear().in_words()
    }

    pub(crate) fn hear(&mut self) -> Heard {
        self.hear_for(PATIENCE)
    }

    pub(crate) fn hear_for(&mut self, time: Duration) -> Heard {
        let until = Instant::now() + time;
        loop {
            if let Some((first, head, len)) = whole(&self.input) {
                let body = self.input[head..head + len].to_vec();
                self.input.drain(..head + len);
                return Heard::Packet(first, body);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Heard::Silence;
            }
            self.socket.wait_at_most(left);
            let mut buffer = [0; 16 << 10];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Heard::Closed,
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return Heard::Closed,
            }
        }
    }

    /// Everything until the end of the stream, or silence; the last words are what counts.
    pub(crate) fn last_words(&mut self) -> String {
        let mut last = "nothing".to_owned();
        loop {
            match self.hear() {
                Heard::Closed => return last,
                Heard::Silence => return "left open".to_owned(),
                heard @ Heard::Packet(..) => last = heard.in_words(),
            }
        }
    }

    pub(crate) fn subscribe(&mut self, qos: u8, filters: &[&str]) {
        let answer = self.ask(&subscribe(1, qos, filters.iter().copied()));
        assert_eq!(answer, format!("SUBACK {qos:#04x}"), "{filters:?}");
    }

    /// Is it served?
    pub(crate) fn is_well(&mut self) -> bool {
        self.ask(PINGREQ) == "PINGRESP"
    }
}

/// First byte, length of what is before the body, and of the body, of a whole packet.
fn whole(input: &[u8]) -> Option<(u8, usize, usize)> {
    let (mut len, mut at) = (0, 1);
    loop {
        let byte = *input.get(at)?;
        len |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (input.len() >= at + len).then_some((input[0], at, len))
}
