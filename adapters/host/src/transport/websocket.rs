//! Frames of RFC 6455, as far as a server of MQTT needs them.
//!
//! To MQTT a WebSocket is a stream of bytes [MQTT-6.0.0-2], so payloads are unmasked where they are and handed on as
//! they come: nothing waits for the end of a frame, and a frame of any length costs no memory.

use broker_engine::mqtt_proto::planted;
use std::mem;

/// The longest header that a client sends.
const MOST_HEADER: usize = 14;

/// The longest payload of a control frame (5.5).
const MOST_CONTROL: usize = 125;

/// The longest header of what we send.
pub(super) const OUR_HEADER: usize = 10;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// First byte of a frame that is a whole message.
const FINAL: u8 = 0x80;

/// Status codes of Close frames (7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Status {
    Normal = 1000,
    ProtocolError = 1002,
    /// Text, where MQTT is binary [MQTT-6.0.0-1].
    UnsupportedData = 1003,
    TooBig = 1009,
}

/// How a conversation ends that the client ended, or made impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has sent a Close frame.
    Closed,
    /// It does not keep to the rules.
    Broken(Status),
}

/// A frame whose payload comes.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: u8,
    mask: [u8; 4],
    /// Bytes of the payload that were taken.
    taken: u64,
    len: u64,
}

/// The state of reading one connection.
#[derive(Debug)]
pub(super) struct WebSocket {
    /// The longest message, bytes.
    most: u64,
    header: [u8; MOST_HEADER],
    header_len: usize,
    frame: Option<Frame>,
    /// Bytes of the message whose last frame has not come, as far as they are announced.
    message: Option<u64>,
    /// Payload of the control frame that comes.
    control: Vec<u8>,
}

impl WebSocket {
    /// Messages of more than `most` bytes are refused with 1009.
    pub(super) fn new(most: u64) -> Self {
        Self {
            most,
            header: [0; MOST_HEADER],
            header_len: 0,
            frame: None,
            message: None,
            control: Vec::new(),
        }
    }

    /// Takes bytes in any split. Hands on what is MQTT, and writes frames in answer to `said`: of several pings only
    /// the last is answered (5.5.3), and when the conversation ends, a Close frame says why.
    pub(super) fn receive(
        &mut self,
        mut bytes: &mut [u8],
        said: &mut Vec<u8>,
        mut deliver: impl FnMut(&[u8]),
    ) -> Result<(), End> {
        while !bytes.is_empty() {
            let taken = match self.frame {
                None => self.take_header(bytes)?,
                Some(frame) => {
                    let left = usize::try_from(frame.len - frame.taken).unwrap_or(usize::MAX);
                    let count = left.min(bytes.len());
                    let payload = &mut bytes[..count];
                    let taken = if planted!("mask-begins-anew") { 0 } else { frame.taken };
                    unmask(payload, frame.mask, taken);
                    if is_control(frame.opcode) {
                        self.control.extend_from_slice(payload);
                    } else {
                        deliver(payload);
                    }
                    self.frame = Some(Frame { taken: frame.taken + count as u64, ..frame });
                    count
                }
            };
            bytes = &mut bytes[taken..];
            if let Some(frame) = self.frame.take_if(|frame| frame.taken == frame.len) {
                self.finish(frame.opcode, said)?;
            }
        }
        Ok(())
    }

    /// Takes bytes of a header, and says how many.
    fn take_header(&mut self, bytes: &[u8]) -> Result<usize, End> {
        for (count, byte) in (1..).zip(bytes) {
            self.header[self.header_len] = *byte;
            self.header_len += 1;
            if self.header_len < 2 {
                continue;
            }
            let len_bytes = match self.header[1] & 0x7f {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            if self.header_len == 2 {
                self.check_start(len_bytes)?;
            }
            if self.header_len == 2 + len_bytes + 4 {
                self.begin(len_bytes)?;
                return Ok(count);
            }
        }
        Ok(bytes.len())
    }

    /// Refuses by the first two bytes what cannot be, whatever follows.
    fn check_start(&self, len_bytes: usize) -> Result<(), End> {
        let [first, second, ..] = self.header;
        let (opcode, is_final, is_masked) = (first & 0x0f, first & FINAL != 0, second & 0x80 != 0);
        let is_possible = match opcode {
            CONTINUATION => self.message.is_some(),
            TEXT | BINARY => self.message.is_none(),
            CLOSE | PING | PONG => is_final && len_bytes == 0,
            _ => false,
        };
        // No extension was agreed on, so the three bits for them are not set.
        if !is_possible || !is_masked || first & 0x70 != 0 {
            return Err(End::Broken(Status::ProtocolError));
        }
        if opcode == TEXT {
            return Err(End::Broken(Status::UnsupportedData));
        }
        Ok(())
    }

    /// The header is whole.
    fn begin(&mut self, len_bytes: usize) -> Result<(), End> {
        let [first, second, rest @ ..] = self.header;
        let (long, after) = rest.split_at(len_bytes);
        let least = [0, 0, 126, 0, 0, 0, 0, 0, 1 << 16][len_bytes];
        let len = match len_bytes {
            0 => u64::from(second & 0x7f),
            _ => long.iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
        };
        // As short as it can be (5.2), and within 63 bits.
        if len < least || len >= 1 << 63 {
            return Err(End::Broken(Status::ProtocolError));
        }
        let opcode = first & 0x0f;
        if !is_control(opcode) {
            let message = self.message.unwrap_or(0).saturating_add(len);
            if message > self.most {
                return Err(End::Broken(Status::TooBig));
            }
            self.message = (first & FINAL == 0).then_some(message);
        }
        let mut mask = [0; 4];
        mask.copy_from_slice(&after[..4]);
        self.header_len = 0;
        self.frame = Some(Frame { opcode, mask, taken: 0, len });
        Ok(())
    }

    /// The payload is whole.
    fn finish(&mut self, opcode: u8, said: &mut Vec<u8>) -> Result<(), End> {
        let payload = if is_control(opcode) { mem::take(&mut self.control) } else { Vec::new() };
        match opcode {
            PING => {
                said.clear();
                control(PONG, &payload, said);
                Ok(())
            }
            CLOSE if payload.is_empty() => {
                control(CLOSE, &[], said);
                Err(End::Closed)
            }
            CLOSE => match payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code)) {
                Some(code) if may_be_sent(code) && std::str::from_utf8(&payload[2..]).is_ok() => {
                    control(CLOSE, &payload[..2], said);
                    Err(End::Closed)
                }
                _ => Err(End::Broken(Status::ProtocolError)),
            },
            _ => Ok(()),
        }
    }
}

fn is_control(opcode: u8) -> bool {
    opcode & 8 != 0
}

/// Is it a status code that may stand in a frame (7.4)?
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// `taken` bytes of the payload came before.
fn unmask(payload: &mut [u8], mut mask: [u8; 4], taken: u64) {
    mask.rotate_left(usize::try_from(taken % 4).unwrap_or_default());
    let mut words = payload.chunks_exact_mut(4);
    for word in &mut words {
        for (byte, key) in word.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// The header of a binary frame that is a whole message.
pub(super) fn header(len: usize, out: &mut Vec<u8>) {
    out.push(FINAL | BINARY);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ 0..=125), _) => out.push(len),
        (_, Ok(len)) => {
            out.push(126);
            out.extend(len.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend((len as u64).to_be_bytes());
        }
    }
}

/// A Close frame with a status.
pub(super) fn close(status: Status, out: &mut Vec<u8>) {
    control(CLOSE, &(status as u16).to_be_bytes(), out);
}

fn control(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    // No frame in answer is longer than the one it answers.
    debug_assert!(payload.len() <= MOST_CONTROL);
    out.extend([FINAL | opcode, u8::try_from(payload.len()).unwrap_or_default()]);
    out.extend(payload);
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // Lengths that are looked at just before.
mod tests {
    use super::{End, Status, WebSocket};

    /// A frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..126 => bytes.push(0x80 | len as u8),
            len @ 126..0x1_0000 => {
                bytes.push(0xfe);
                bytes.extend((len as u16).to_be_bytes());
            }
            len => {
                bytes.push(0xff);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    /// What was handed on, what was said, and how it ended, with the bytes in steps of one size.
    fn receive(bytes: &[u8], step: usize) -> (Vec<u8>, Vec<u8>, Result<(), End>) {
        let mut socket = WebSocket::new(1 << 20);
        let (mut got, mut said) = (Vec::new(), Vec::new());
        for part in bytes.to_vec().chunks_mut(step) {
            if let Err(end) = socket.receive(part, &mut said, |bytes| got.extend_from_slice(bytes)) {
                return (got, said, Err(end));
            }
        }
        (got, said, Ok(()))
    }

    /// [MQTT-6.0.0-2], [3.1.1: MQTT-6.0.0-2]
    #[test]
    fn frames_are_a_stream_of_bytes_in_any_split() {
        let long: Vec<u8> = (0..70_000u32).map(|number| number as u8).collect();
        let bytes = [
            frame(0x82, b"whole"),
            frame(0x02, b"in "),
            frame(0x89, b"ping"),
            frame(0x00, b"three "),
            frame(0x8a, b"unasked"),
            frame(0x80, b"parts"),
            frame(0x82, b""),
            frame(0x82, &[7; 126]),
            frame(0x82, &long),
        ]
        .concat();
        let wanted = [&b"wholein three parts"[..], &[7; 126], &long].concat();
        for step in [1, 2, 3, 5, 7, 64, 1000, bytes.len()] {
            let (got, said, end) = receive(&bytes, step);
            assert!(got == wanted, "in steps of {step}");
            assert_eq!((said, end), (b"\x8a\x04ping".to_vec(), Ok(())), "in steps of {step}");
        }
    }

    #[test]
    fn of_many_pings_the_last_is_answered() {
        let (_, said, end) = receive(&frame(0x89, b"a").repeat(1000), usize::MAX);
        assert_eq!((said, end), (b"\x8a\x01a".to_vec(), Ok(())));
    }

    #[test]
    fn who_closes_hears_the_same_status() {
        for (payload, answer) in [
            (&b""[..], &b"\x88\x00"[..]),
            (b"\x03\xe8", b"\x88\x02\x03\xe8"),
            (b"\x03\xe9going", b"\x88\x02\x03\xe9"),
        ] {
            let bytes = [frame(0x82, b"last"), frame(0x88, payload), frame(0x82, b"late")].concat();
            for step in [1, bytes.len()] {
                let (got, said, end) = receive(&bytes, step);
                assert_eq!((&got[..], &said[..], end), (&b"last"[..], answer, Err(End::Closed)));
            }
        }
    }

    /// [MQTT-6.0.0-1], [3.1.1: MQTT-6.0.0-1]
    #[test]
    fn hostile_framing_ends_the_conversation() {
        let unmasked = vec![0x82, 1, b'x'];
        let half = vec![0; 1 << 19];
        let huge = |first: u8, len: u64| [&[first, 0xff][..], &len.to_be_bytes(), &[0; 4]].concat();
        for (bytes, wanted) in [
            (frame(0x81, b"text"), Status::UnsupportedData),
            (unmasked, Status::ProtocolError),
            (frame(0xc2, b"a reserved bit"), Status::ProtocolError),
            (frame(0x83, b"a reserved opcode"), Status::ProtocolError),
            (frame(0x8b, b""), Status::ProtocolError),
            (frame(0x80, b"continues nothing"), Status::ProtocolError),
            ([frame(0x02, b"a"), frame(0x82, b"b")].concat(), Status::ProtocolError),
            (frame(0x09, b"a ping in parts"), Status::ProtocolError),
            (frame(0x89, &[0; 126]), Status::ProtocolError),
            (frame(0x88, b"x"), Status::ProtocolError),
            (frame(0x88, b"\x03\xee"), Status::ProtocolError),
            (frame(0x88, b"\x03\xe8\xff"), Status::ProtocolError),
            // Longer than it need be, or than can be.
            (vec![0x82, 0xfe, 0, 125, 0, 0, 0, 0], Status::ProtocolError),
            (huge(0x82, 0xffff), Status::ProtocolError),
            (huge(0x82, 1 << 63), Status::ProtocolError),
            (huge(0x82, (1 << 63) - 1), Status::TooBig),
            (huge(0x82, (1 << 20) + 1), Status::TooBig),
            ([frame(0x02, &half), frame(0, &half), frame(0x80, b"x")].concat(), Status::TooBig),
        ] {
            for step in [1, 3, bytes.len()] {
                assert_eq!(receive(&bytes, step).2, Err(End::Broken(wanted)), "{:02x?}", &bytes[..2]);
            }
        }
    }

    #[test]
    fn headers_are_as_short_as_they_can_be() {
        for (len, wanted) in [
            (125, &[0x82, 125][..]),
            (126, &[0x82, 126, 0, 126]),
            (0xffff, &[0x82, 126, 0xff, 0xff]),
            (0x1_0000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut bytes = Vec::new();
            super::header(len, &mut bytes);
            assert_eq!(bytes, wanted);
        }
    }
}
