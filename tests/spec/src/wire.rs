//! Packets as text to bytes: a codec of its own, so that the tests share nothing with what they test. It writes
//! what it is told, also what the standard forbids.
//!
//! ```text
//! CONNECT a clean keep=10 session-expiry-interval=5 will=t will-payload=bye will-qos=1 will.will-delay-interval=2
//!                                   3.x leaves the properties of CONNECT out
//! PUBLISH a/b "hello you" q1 #5 dup retain user-property=key:value
//! PUBACK #5 10
//! SUBSCRIBE #1 subscription-identifier=7 a/+ q1 nl rap rh=2 , b
//! UNSUBSCRIBE #2 a/+ b
//! PINGREQ
//! DISCONNECT 04 session-expiry-interval=0
//! AUTH 19 authentication-method=m
//! raw 30 [ s:a/# 00 "payload" ]     bytes; `[ ]` puts the length of what is inside in front of it
//! ```
//! `\u{feff}` in a word is that character, which is invisible otherwise.

use crate::Version;

/// How a property's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Byte,
    Two,
    Four,
    Variable,
    Text,
    Binary,
    Pair,
}

/// Every property: identifier, name as in the standard, kind.
pub(crate) const PROPERTIES: &[(u8, &str, Kind)] = &[
    (0x01, "payload-format-indicator", Kind::Byte),
    (0x02, "message-expiry-interval", Kind::Four),
    (0x03, "content-type", Kind::Text),
    (0x08, "response-topic", Kind::Text),
    (0x09, "correlation-data", Kind::Binary),
    (0x0b, "subscription-identifier", Kind::Variable),
    (0x11, "session-expiry-interval", Kind::Four),
    (0x12, "assigned-client-identifier", Kind::Text),
    (0x13, "server-keep-alive", Kind::Two),
    (0x15, "authentication-method", Kind::Text),
    (0x16, "authentication-data", Kind::Binary),
    (0x17, "request-problem-information", Kind::Byte),
    (0x18, "will-delay-interval", Kind::Four),
    (0x19, "request-response-information", Kind::Byte),
    (0x1a, "response-information", Kind::Text),
    (0x1c, "server-reference", Kind::Text),
    (0x1f, "reason-string", Kind::Text),
    (0x21, "receive-maximum", Kind::Two),
    (0x22, "topic-alias-maximum", Kind::Two),
    (0x23, "topic-alias", Kind::Two),
    (0x24, "maximum-qos", Kind::Byte),
    (0x25, "retain-available", Kind::Byte),
    (0x26, "user-property", Kind::Pair),
    (0x27, "maximum-packet-size", Kind::Four),
    (0x28, "wildcard-subscription-available", Kind::Byte),
    (0x29, "subscription-identifier-available", Kind::Byte),
    (0x2a, "shared-subscription-available", Kind::Byte),
];

/// How the byte order mark, which nobody sees, is written in a line.
pub(crate) const BOM: &str = "\\u{feff}";

/// A line in words; a word in double quotes may hold spaces, and is marked so that it is never a number.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_with(String::new);
            }
            ' ' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_with(String::new).push(letter),
        }
    }
    words.extend(word);
    words.into_iter().map(|word| word.replace(BOM, "\u{feff}")).collect()
}

/// What follows a packet's name, sorted by how it is written.
struct Fields {
    plain: Vec<String>,
    set: Vec<(String, String)>,
}

impl Fields {
    fn new(words: &[String]) -> Self {
        let mut fields = Self { plain: Vec::new(), set: Vec::new() };
        for word in words {
            match word.split_once('=') {
                Some((name, value)) if is_name(name) => fields.set.push((name.into(), value.into())),
                _ => fields.plain.push(word.clone()),
            }
        }
        fields
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.set.iter().position(|(known, _)| known == name)?;
        Some(self.set.remove(at).1)
    }

    fn number(&mut self, name: &str) -> Option<u32> {
        self.take(name).map(|value| number(&value))
    }

    fn flag(&mut self, name: &str) -> bool {
        let before = self.plain.len();
        self.plain.retain(|word| word != name);
        self.plain.len() < before
    }

    /// `#5`
    fn id(&mut self) -> Option<u16> {
        let at = self
            .plain
            .iter()
            .position(|word| word.starts_with('#') && word.len() > 1 && is_digits(&word[1..]))?;
        self.plain.remove(at)[1..].parse().ok()
    }

    /// `q1`
    fn qos(&mut self) -> u8 {
        let is_qos = |word: &String| matches!(word.as_str(), "q0" | "q1" | "q2" | "q3");
        let at = self.plain.iter().position(is_qos);
        at.map_or(0, |at| self.plain.remove(at).as_bytes()[1] - b'0')
    }

    fn next(&mut self) -> Option<String> {
        (!self.plain.is_empty()).then(|| self.plain.remove(0))
    }

    /// Properties in the order written, those with `prefix` only; the block with its length.
    fn properties(&mut self, prefix: &str) -> Vec<u8> {
        let mut block = Vec::new();
        self.set.retain(|(name, value)| {
            let name = name.strip_prefix(prefix).filter(|name| prefix.is_empty() || !name.is_empty());
            let known = name.and_then(|name| PROPERTIES.iter().find(|(_, known, _)| *known == name));
            if let Some((id, _, kind)) = known {
                block.push(*id);
                put(&mut block, *kind, value);
            }
            known.is_none()
        });
        with_length(&block)
    }

    /// Everything must have been understood.
    fn done(self, line: &str) {
        assert!(
            self.plain.is_empty() && self.set.is_empty(),
            "{line:?}: what is {:?} {:?}?",
            self.plain,
            self.set
        );
    }
}

fn is_name(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-' || byte == b'.')
}

fn is_digits(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

fn number(text: &str) -> u32 {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

fn put(block: &mut Vec<u8>, kind: Kind, value: &str) {
    match kind {
        Kind::Byte => block.push(u8::try_from(number(value)).unwrap()),
        Kind::Two => block.extend(u16::try_from(number(value)).unwrap().to_be_bytes()),
        Kind::Four => block.extend(number(value).to_be_bytes()),
        Kind::Variable => block.extend(variable(number(value) as usize)),
        Kind::Text | Kind::Binary => block.extend(text(value)),
        Kind::Pair => {
            let (key, value) = value.split_once(':').expect("key:value");
            block.extend(text(key));
            block.extend(text(value));
        }
    }
}

/// Two bytes of length, then the text.
fn text(value: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(value.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(value.as_bytes());
    bytes
}

/// A Variable Byte Integer.
fn variable(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value % 128).unwrap();
        value /= 128;
        bytes.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return bytes;
        }
    }
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    [variable(bytes.len()), bytes.to_vec()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [vec![first], with_length(body)].concat()
}

/// The bytes that a client of `version` sends.
///
/// # Panics
/// The line is none that this language knows.
pub fn encode(line: &str, version: Version) -> Vec<u8> {
    let words = words(line);
    let (name, rest) = words.split_first().expect("a packet");
    if name == "raw" {
        return raw(rest);
    }
    let v5 = version == Version::V5;
    let mut fields = Fields::new(rest);
    let bytes = match name.as_str() {
        "CONNECT" => connect(&mut fields, version),
        "PUBLISH" => publish(&mut fields, v5),
        "PUBACK" => ack(0x40, &mut fields, v5),
        "PUBREC" => ack(0x50, &mut fields, v5),
        "PUBREL" => ack(0x62, &mut fields, v5),
        "PUBCOMP" => ack(0x70, &mut fields, v5),
        "SUBSCRIBE" => subscribe(&mut fields, v5),
        "UNSUBSCRIBE" => unsubscribe(&mut fields, v5),
        "PINGREQ" => packet(0xc0, &[]),
        "DISCONNECT" => farewell(0xe0, &mut fields, v5),
        "AUTH" => farewell(0xf0, &mut fields, v5),
        _ => panic!("{line:?}: no packet of that name"),
    };
    fields.done(line);
    bytes
}

fn connect(fields: &mut Fields, version: Version) -> Vec<u8> {
    let (name, level) = match version {
        Version::V31 => ("MQIsdp", 3),
        Version::V311 => ("MQTT", 4),
        Version::V5 => ("MQTT", 5),
    };
    let name = fields.take("name").unwrap_or_else(|| name.into());
    let level = fields.number("level").unwrap_or(level);
    let keep = u16::try_from(fields.number("keep").unwrap_or(0)).unwrap();
    let (username, password, will) = (fields.take("username"), fields.take("password"), fields.take("will"));
    let will_qos = fields.number("will-qos").unwrap_or(0);
    let bit = |on: bool, bit: u32| u32::from(on) << bit;
    let flags = bit(fields.flag("clean"), 1)
        | bit(will.is_some(), 2)
        | will_qos << 3
        | bit(fields.flag("will-retain"), 5)
        | bit(password.is_some(), 6)
        | bit(username.is_some(), 7);
    let flags = fields.number("flags").unwrap_or(flags);
    let mut body = text(&name);
    body.extend([u8::try_from(level).unwrap(), u8::try_from(flags).unwrap()]);
    body.extend(keep.to_be_bytes());
    let will_payload = fields.take("will-payload").unwrap_or_default();
    let will_properties = fields.properties("will.");
    // What 3.x cannot say is left out, so that one line can open a lasting session in every version.
    let properties = fields.properties("");
    if version == Version::V5 {
        body.extend(properties);
    }
    body.extend(text(&fields.next().expect("a client identifier, perhaps \"\"")));
    if let Some(topic) = will {
        if version == Version::V5 {
            body.extend(will_properties);
        }
        body.extend(text(&topic));
        body.extend(text(&will_payload));
    }
    for part in [username, password].into_iter().flatten() {
        body.extend(text(&part));
    }
    packet(0x10, &body)
}

fn publish(fields: &mut Fields, v5: bool) -> Vec<u8> {
    let qos = fields.qos();
    let first = 0x30 | u8::from(fields.flag("dup")) << 3 | qos << 1 | u8::from(fields.flag("retain"));
    let id = fields.id();
    let topic = fields.next().expect("a topic name, perhaps \"\"");
    let payload = fields.next().unwrap_or_default();
    let mut body = text(&topic);
    body.extend(id.into_iter().flat_map(u16::to_be_bytes));
    if v5 {
        body.extend(fields.properties(""));
    }
    body.extend(payload.as_bytes());
    packet(first, &body)
}

/// The reason is left out with everything behind it, as MQTT 5 allows, unless it is written.
fn ack(first: u8, fields: &mut Fields, v5: bool) -> Vec<u8> {
    let mut body = fields.id().expect("a packet identifier").to_be_bytes().to_vec();
    body.extend(reason(fields, v5));
    packet(first, &body)
}

fn farewell(first: u8, fields: &mut Fields, v5: bool) -> Vec<u8> {
    packet(first, &reason(fields, v5))
}

fn reason(fields: &mut Fields, v5: bool) -> Vec<u8> {
    let reason = fields.next().map(|code| u8::from_str_radix(&code, 16).expect("a reason code in hex"));
    let properties = if v5 { fields.properties("") } else { vec![0] };
    match (reason, &properties[..]) {
        (None, [0]) => Vec::new(),
        (Some(reason), [0]) => vec![reason],
        (reason, properties) => [&[reason.unwrap_or(0)], properties].concat(),
    }
}

fn subscribe(fields: &mut Fields, v5: bool) -> Vec<u8> {
    let mut body = fields.id().expect("a packet identifier").to_be_bytes().to_vec();
    let set = std::mem::take(&mut fields.set);
    let (filter_fields, properties): (Vec<_>, Vec<_>) =
        set.into_iter().partition(|(name, _)| name == "rh" || name == "options");
    fields.set = properties;
    if v5 {
        body.extend(fields.properties(""));
    }
    assert!(filter_fields.len() <= 1, "rh= and options= in a SUBSCRIBE of one filter only");
    let plain = std::mem::take(&mut fields.plain);
    for words in plain.split(|word| word == ",").filter(|words| !words.is_empty()) {
        let mut one = Fields { plain: words.to_vec(), set: filter_fields.clone() };
        let mut options = u32::from(one.qos());
        options |= u32::from(one.flag("nl")) << 2 | u32::from(one.flag("rap")) << 3;
        options |= one.number("rh").unwrap_or(0) << 4;
        options = one.number("options").unwrap_or(options);
        body.extend(text(&one.next().expect("a topic filter")));
        body.push(u8::try_from(options).unwrap());
        one.done("SUBSCRIBE");
    }
    packet(0x82, &body)
}

fn unsubscribe(fields: &mut Fields, v5: bool) -> Vec<u8> {
    let mut body = fields.id().expect("a packet identifier").to_be_bytes().to_vec();
    if v5 {
        body.extend(fields.properties(""));
    }
    while let Some(filter) = fields.next() {
        body.extend(text(&filter));
    }
    packet(0xa2, &body)
}

/// Bytes in hex; `s:text` with two bytes of length; `t:text` without; `x5:20` five bytes of 20; `[ ... ]` with its
/// length in front.
fn raw(words: &[String]) -> Vec<u8> {
    let mut open: Vec<Vec<u8>> = vec![Vec::new()];
    for word in words {
        let bytes = match word.as_str() {
            "[" => {
                open.push(Vec::new());
                continue;
            }
            "]" => with_length(&open.pop().expect("an open bracket")),
            word => match word.split_once(':') {
                Some(("s", value)) => text(value),
                Some(("t", value)) => value.as_bytes().to_vec(),
                Some((times, byte)) if times.starts_with('x') => {
                    let byte = u8::from_str_radix(byte, 16).expect("a byte in hex");
                    vec![byte; times[1..].parse().expect("how many")]
                }
                _ => hex(word),
            },
        };
        open.last_mut().expect("no bracket closed too many").extend(bytes);
    }
    assert_eq!(open.len(), 1, "a bracket is left open");
    open.remove(0)
}

fn hex(word: &str) -> Vec<u8> {
    assert!(word.len().is_multiple_of(2), "{word:?}: two digits make a byte");
    (0..word.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&word[at..at + 2], 16).unwrap_or_else(|_| panic!("{word:?} is not hex")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Version, encode};

    #[test]
    fn packets_are_written_as_told() {
        let cases: &[(&str, Version, &[u8])] = &[
            ("CONNECT a clean", Version::V311, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a"),
            ("CONNECT a session-expiry-interval=9", Version::V311, b"\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01a"),
            ("CONNECT \"\" keep=10", Version::V31, b"\x10\x0e\0\x06MQIsdp\x03\0\0\x0a\0\0"),
            (
                "CONNECT a receive-maximum=2 will=t will-payload=p will-qos=1 will.will-delay-interval=3 username=u",
                Version::V5,
                b"\x10\x20\0\x04MQTT\x05\x8c\0\0\x03\x21\0\x02\0\x01a\x05\x18\0\0\0\x03\0\x01t\0\x01p\0\x01u",
            ),
            ("PUBLISH t \"x y\" q1 #5 retain", Version::V311, b"\x33\x08\0\x01t\0\x05x y"),
            ("PUBLISH t topic-alias=1", Version::V5, b"\x30\x07\0\x01t\x03\x23\0\x01"),
            ("PUBACK #5", Version::V5, b"\x40\x02\0\x05"),
            ("PUBREC #5 92 reason-string=no", Version::V5, b"\x50\x09\0\x05\x92\x05\x1f\0\x02no"),
            ("SUBSCRIBE #1 a q1 nl , b q2", Version::V5, b"\x82\x0b\0\x01\0\0\x01a\x05\0\x01b\x02"),
            ("SUBSCRIBE #1 a rh=2", Version::V5, b"\x82\x07\0\x01\0\0\x01a\x20"),
            ("UNSUBSCRIBE #1 a b", Version::V311, b"\xa2\x08\0\x01\0\x01a\0\x01b"),
            ("PUBLISH \\u{feff}t", Version::V311, b"\x30\x06\0\x04\xef\xbb\xbft"),
            ("DISCONNECT", Version::V5, b"\xe0\x00"),
            ("DISCONNECT 04", Version::V5, b"\xe0\x01\x04"),
            ("AUTH 19 authentication-method=m", Version::V5, b"\xf0\x06\x19\x04\x15\0\x01m"),
            ("raw 30 [ s:a/# 00 [ 01 ] t:p x2:ff ]", Version::V5, b"\x30\x0b\0\x03a/#\0\x01\x01p\xff\xff"),
        ];
        for (line, version, wanted) in cases {
            assert_eq!(encode(line, *version), *wanted, "{line}");
        }
    }
}
