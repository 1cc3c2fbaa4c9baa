//! Packets from the broker as text, in the language of [`crate::wire`].
//!
//! ```text
//! CONNACK 00 present receive-maximum=1024
//! PUBLISH a/b "hello you" q1 #5 dup retain topic-alias=1
//! PUBACK #5            reason 0 is left out
//! SUBACK #1 01 87
//! DISCONNECT 82
//! ```

use crate::Version;
use crate::wire::{BOM, Kind, PROPERTIES};
use std::fmt::Write;

/// The first whole packet in `bytes` as (length, text); `None` if there is none yet.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode(bytes: &[u8], version: Version) -> Result<Option<(usize, String)>, String> {
    let mut reader = Reader(bytes);
    let Some(first) = reader.byte() else { return Ok(None) };
    let len = match reader.variable() {
        Ok(Some(len)) => len,
        Ok(None) => return Ok(None),
        Err(error) => return Err(error),
    };
    let head = bytes.len() - reader.0.len();
    let Some(body) = reader.0.get(..len) else { return Ok(None) };
    let mut body = Reader(body);
    let text = packet(first, &mut body, version)
        .ok_or_else(|| format!("cut short, or with what may not be there: {:02x?}", &bytes[..head + len]))?;
    if !body.0.is_empty() {
        return Err(format!("{text}, and then {:02x?}", body.0));
    }
    Ok(Some((head + len, text)))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number(&mut self, bytes: usize) -> Option<u32> {
        Some(self.bytes(bytes)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn variable(&mut self) -> Result<Option<usize>, String> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let Some(byte) = self.byte() else { return Ok(None) };
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 {
                    Err("a length that is not minimal".into())
                } else {
                    Ok(Some(value))
                };
            }
        }
        Err("a length of more than four bytes".into())
    }

    fn text(&mut self) -> Option<String> {
        let len = self.number(2)?;
        Some(shown(self.bytes(len as usize)?))
    }

    /// A block of properties, each with a space in front.
    fn properties(&mut self) -> Option<String> {
        let len = self.variable().ok()??;
        let mut block = Reader(self.bytes(len)?);
        let mut text = String::new();
        while let Some(id) = block.byte() {
            let (_, name, kind) = PROPERTIES.iter().find(|(known, ..)| *known == id)?;
            let value = match kind {
                Kind::Byte => block.byte()?.to_string(),
                Kind::Two => block.number(2)?.to_string(),
                Kind::Four => block.number(4)?.to_string(),
                Kind::Variable => block.variable().ok()??.to_string(),
                Kind::Text | Kind::Binary => block.text()?,
                Kind::Pair => format!("{}:{}", block.text()?, block.text()?),
            };
            write!(text, " {name}={value}").ok()?;
        }
        Some(text)
    }

    fn reason(&mut self) -> Option<String> {
        Some(format!("{:02x}", self.byte()?))
    }

    fn reasons(&mut self) -> String {
        std::mem::take(&mut self.0).iter().fold(String::new(), |text, code| text + &format!(" {code:02x}"))
    }
}

/// Bytes for a person: text where it is text, otherwise hex.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_empty() || text.contains(' ') => format!("\"{text}\""),
        Ok(text) if text.len() > 100 => format!("({} bytes)", text.len()),
        Ok(text) => text.replace('\u{feff}', BOM),
        Err(_) => bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

/// Reason codes of PUBACK and PUBREC.
const RECEIVED: &[&str] = &["00", "10", "80", "83", "87", "90", "91", "97", "99"];

/// Reason codes of PUBREL and PUBCOMP.
const RELEASED: &[&str] = &["00", "92"];

fn packet(first: u8, body: &mut Reader<'_>, version: Version) -> Option<String> {
    let v5 = version == Version::V5;
    let ack = |name: &str, codes: &[&str], body: &mut Reader<'_>| {
        let mut text = format!("{name} #{}", body.number(2)?);
        if v5 && !body.0.is_empty() {
            let reason = body.reason()?;
            if !codes.contains(&reason.as_str()) {
                return None;
            }
            if reason != "00" {
                text = text + " " + &reason;
            }
            if !body.0.is_empty() {
                text += &body.properties()?;
            }
        }
        Some(text)
    };
    Some(match first {
        0x20 => {
            let flags = body.byte()?;
            let present = ["", " present"].get(usize::from(flags))?;
            let reason = body.reason()?;
            format!("CONNACK {reason}{present}{}", if v5 { body.properties()? } else { String::new() })
        }
        0x30..=0x3f => {
            let qos = first >> 1 & 3;
            let mut text = format!("PUBLISH {}", body.text()?);
            let id = if qos > 0 { format!(" #{}", body.number(2)?) } else { String::new() };
            let properties = if v5 { body.properties()? } else { String::new() };
            text = format!("{text} {} q{qos}{id}", shown(std::mem::take(&mut body.0)));
            text += if first & 8 > 0 { " dup" } else { "" };
            text += if first & 1 > 0 { " retain" } else { "" };
            text + &properties
        }
        0x40 => ack("PUBACK", RECEIVED, body)?,
        0x50 => ack("PUBREC", RECEIVED, body)?,
        0x62 => ack("PUBREL", RELEASED, body)?,
        0x70 => ack("PUBCOMP", RELEASED, body)?,
        0x90 | 0xb0 => {
            let name = if first == 0x90 { "SUBACK" } else { "UNSUBACK" };
            let id = body.number(2)?;
            let properties = if v5 { body.properties()? } else { String::new() };
            format!("{name} #{id}{}{properties}", body.reasons())
        }
        0xd0 => "PINGRESP".into(),
        0xe0 | 0xf0 => {
            let name = if first == 0xe0 { "DISCONNECT" } else { "AUTH" };
            let reason = if body.0.is_empty() { "00".into() } else { body.reason()? };
            let properties = if body.0.is_empty() { String::new() } else { body.properties()? };
            format!("{name} {reason}{properties}")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Version, decode};

    #[test]
    fn packets_are_shown() {
        let cases: &[(&[u8], Version, &str)] = &[
            (b"\x20\x02\x01\x00", Version::V311, "CONNACK 00 present"),
            (b"\x20\x06\x00\x00\x03\x21\x00\x02", Version::V5, "CONNACK 00 receive-maximum=2"),
            (b"\x3b\x08\0\x01t\0\x05x y", Version::V311, "PUBLISH t \"x y\" q1 #5 dup retain"),
            (
                b"\x30\x08\0\x01t\x02\x0b\x07\xff\xfe",
                Version::V5,
                "PUBLISH t 0xfffe q0 subscription-identifier=7",
            ),
            (b"\x30\x06\0\x04\xef\xbb\xbft", Version::V311, "PUBLISH \\u{feff}t \"\" q0"),
            (b"\x40\x03\0\x05\x10", Version::V5, "PUBACK #5 10"),
            (b"\x90\x05\0\x01\x00\x01\x87", Version::V5, "SUBACK #1 01 87"),
            (b"\xe0\x01\x82", Version::V5, "DISCONNECT 82"),
        ];
        for (bytes, version, wanted) in cases {
            assert_eq!(decode(bytes, *version), Ok(Some((bytes.len(), (*wanted).into()))));
            assert_eq!(decode(&bytes[..bytes.len() - 1], *version), Ok(None));
        }
        for wrong in [b"\x00\x00".as_slice(), b"\x40\x03\0\x05\x00", b"\x40\x82\x00\x00\x05"] {
            assert!(decode(wrong, Version::V311).is_err(), "{wrong:02x?}");
        }
        for foreign_reason in
            [b"\x40\x03\0\x05\x92", b"\x50\x03\0\x05\x82", b"\x62\x03\0\x05\x87", b"\x70\x03\0\x05\x10"]
        {
            assert!(decode(foreign_reason, Version::V5).is_err(), "{foreign_reason:02x?}");
        }
    }
}
