//! Bytes that no client would send, made of packets that are valid. No payload begins with digits: those are the
//! simulator's own messages.

use crate::random::Stream;

/// Client identifier of somebody who is no client of the scenario.
const NAME: &[u8] = b"stranger";

fn field(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&len[..], &bytes[..bytes.len().min(usize::from(u16::MAX))]].concat()
}

/// A Variable Byte Integer.
fn var_int(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number % 128).unwrap_or(0);
        number /= 128;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], &var_int(body.len())[..], body].concat()
}

/// With properties where the version has them.
fn properties(new: bool, properties: &[u8]) -> Vec<u8> {
    if new { [&var_int(properties.len())[..], properties].concat() } else { Vec::new() }
}

fn connect_with(new: bool, listed: &[u8], name: &[u8], rest: &[u8], flags: u8) -> Vec<u8> {
    let head: &[u8] = if new { b"\0\x04MQTT\x05" } else { b"\0\x04MQTT\x04" };
    packet(0x10, &[head, &[flags, 0, 60], &properties(new, listed), &field(name), rest].concat())
}

/// CONNECT with Clean Start, MQTT 5 or 3.1.1.
pub(super) fn connect(new: bool) -> Vec<u8> {
    connect_with(new, &[], NAME, &[], 2)
}

fn publish(new: bool, first: u8, topic: &[u8], listed: &[u8]) -> Vec<u8> {
    let id: &[u8] = if first & 6 == 0 { &[] } else { &[0, 9] };
    packet(first, &[&field(topic), id, &properties(new, listed), b"from a stranger"].concat())
}

fn subscribe(new: bool, filter: &[u8], options: u8, listed: &[u8]) -> Vec<u8> {
    packet(0x82, &[&[0, 7], &properties(new, listed)[..], &field(filter), &[options]].concat())
}

/// A packet of a type, 0 to 15, as valid as that type can be.
pub(super) fn packet_of(kind: u8, new: bool) -> Vec<u8> {
    match kind {
        1 => connect(new),
        2 => packet(0x20, &[&[0, 0], &properties(new, &[])[..]].concat()),
        3 => publish(new, 0x32, b"a", &[]),
        4 | 5 | 7 => packet(kind << 4, &[0, 5]),
        6 => packet(0x62, &[0, 5]),
        8 => subscribe(new, b"a", 1, &[]),
        9 => packet(0x90, &[&[0, 7], &properties(new, &[])[..], &[0]].concat()),
        10 => packet(0xA2, &[&[0, 8], &properties(new, &[])[..], &field(b"a")].concat()),
        11 => packet(0xB0, &[&[0, 8], &properties(new, &[])[..], &[0][..usize::from(new)]].concat()),
        15 => packet(0xF0, &[0x18, 0]),
        _ => packet(kind << 4, &[]),
    }
}

/// One of those that a client sends.
fn client_packet(stream: &mut Stream, new: bool) -> Vec<u8> {
    let kind = *stream.pick(&[1, 3, 3, 4, 6, 8, 8, 10, 12, 14]);
    packet_of(kind, new)
}

fn place(stream: &mut Stream, len: usize) -> usize {
    usize::try_from(stream.below(len as u64)).unwrap_or(0)
}

fn any_byte(stream: &mut Stream) -> u8 {
    u8::try_from(stream.below(256)).unwrap_or(0)
}

/// M01: a bit, a byte, something left out, added, repeated, cut off.
pub(super) fn damaged(stream: &mut Stream, new: bool) -> Vec<u8> {
    let mut bytes = client_packet(stream, new);
    for _ in 0..stream.by_magnitude(1, 4) {
        if bytes.is_empty() {
            break;
        }
        let at = place(stream, bytes.len());
        match stream.below(6) {
            0 => bytes[at] ^= 1 << stream.below(8),
            1 => bytes[at] = any_byte(stream),
            2 => bytes.insert(at, any_byte(stream)),
            3 => drop(bytes.remove(at)),
            4 => bytes.extend_from_within(at..),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// M02: Remaining Length, or the length of a field, is not that of what follows.
pub(super) fn length(stream: &mut Stream, new: bool) -> Vec<u8> {
    let mut bytes = client_packet(stream, new);
    let (first, body) = (bytes[0], bytes[2..].to_vec());
    let len = body.len();
    let lie = match stream.below(9) {
        0 => var_int(len + 1),
        1 => var_int(len.saturating_sub(1)),
        2 => var_int(2 * len),
        3 => vec![0xFF, 0xFF, 0xFF, 0x7F],
        4 => vec![0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        // As much as may come before CONNACK.
        5 => var_int(16_000),
        6 => vec![u8::try_from(len).unwrap_or(0) | 0x80, 0],
        // A byte in the body that is a length more often than not.
        _ => {
            let at = 2 + place(stream, len.max(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = *stream.pick(&[0, byte.wrapping_add(1), byte.wrapping_sub(1), 0x7F, 0x80, 0xFF]);
            }
            return bytes;
        }
    };
    [&[first], &lie[..], &body].concat()
}

/// M03: properties that are unknown, repeated, at the wrong place, out of range, too many.
pub(super) fn property(stream: &mut Stream, _: bool) -> Vec<u8> {
    const LISTS: [&[u8]; 14] = [
        // Unknown; of another packet; two times.
        &[0x7F, 0],
        &[0x12, 0, 1, b'x'],
        &[0x24, 1],
        &[0x11, 0, 0, 0, 9, 0x11, 0, 0, 0, 9],
        &[0x02, 0, 0, 0, 9, 0x02, 0, 0, 0, 9],
        // Receive Maximum and Maximum Packet Size of 0; a boolean of 2; data without method.
        &[0x21, 0, 0],
        &[0x27, 0, 0, 0, 0],
        &[0x17, 2],
        &[0x16, 0, 1, 0],
        // Subscription Identifier 0, and two; Topic Alias 0, and too high; an empty key, which is allowed.
        &[0x0B, 0],
        &[0x0B, 1, 0x0B, 2],
        &[0x23, 0, 0],
        &[0x23, 0xFF, 0xFF],
        &[0x26, 0, 0, 0, 0],
    ];
    let many =
        [0x26, 0, 1, b'k', 0, 1, b'v'].repeat(usize::try_from(stream.by_magnitude(60, 2000)).unwrap_or(60));
    let listed = if stream.chance(100) { &many[..] } else { *stream.pick(&LISTS) };
    match stream.below(4) {
        0 => connect_with(true, listed, NAME, &[], 2),
        1 => subscribe(true, b"a", 1, listed),
        2 => packet(0xE0, &[&[0], &properties(true, listed)[..]].concat()),
        _ => publish(true, 0x32, b"a", listed),
    }
}

/// M04: text that is no UTF-8, or that MQTT does not take, wherever there is text.
pub(super) fn text(stream: &mut Stream, new: bool) -> Vec<u8> {
    const TEXTS: [&[u8]; 9] = [
        b"a\0b",
        b"\xED\xA0\x80",
        b"\xC0\x80",
        b"\xFF",
        b"\xEF\xBF\xBF",
        b"\xEF\xBB\xBFa",
        b"\xE2\x82",
        b"\x7Fa",
        b"",
    ];
    let long = vec![b'a'; usize::from(u16::MAX)];
    let bad = if stream.chance(50) { &long[..] } else { *stream.pick(&TEXTS) };
    let user_property = [&[0x26], &field(b"k")[..], &field(bad)].concat();
    match stream.below(5) {
        0 => connect_with(new, &[], if bad.is_empty() { b"\xFF" } else { bad }, &[], 2),
        1 => connect_with(new, &[], NAME, &field(bad), 0x82),
        2 => subscribe(new, bad, 1, &[]),
        3 => publish(true, 0x30, b"a", &user_property),
        _ => publish(new, 0x32, bad, &[]),
    }
}

/// M06: every reserved bit that there is.
pub(super) fn reserved(stream: &mut Stream, new: bool) -> Vec<u8> {
    let flags = u8::try_from(stream.below(16)).unwrap_or(0);
    match stream.below(4) {
        0 => connect_with(new, &[], NAME, &[], *stream.pick(&[3, 0x1A, 0x22, 0x0A, 0x42])),
        1 => subscribe(new, b"a", *stream.pick(&[3, 0x30, 0x40, 0x80, 0xFF]), &[]),
        _ => {
            let kind = u8::try_from(stream.below(16)).unwrap_or(0);
            let mut bytes = packet_of(kind, new);
            bytes[0] = kind << 4 | flags;
            bytes
        }
    }
}

/// M07: two sessions in one stream, packet by packet or byte by byte.
pub(super) fn spliced(stream: &mut Stream, new: bool) -> Vec<u8> {
    let session = |stream: &mut Stream| -> Vec<Vec<u8>> {
        let count = stream.between(1, 5);
        [connect(new)].into_iter().chain((0..count).map(|_| client_packet(stream, new))).collect()
    };
    let (one, other) = (session(stream), session(stream));
    if stream.chance(300) {
        let (one, other) = (one.concat(), other.concat());
        let at = place(stream, one.len());
        return [&one[..at], &other[..], &one[at..]].concat();
    }
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut bytes = Vec::new();
    loop {
        let next = if stream.chance(500) {
            one.next().or_else(|| other.next())
        } else {
            other.next().or_else(|| one.next())
        };
        let Some(next) = next else { break };
        bytes.extend(next);
    }
    bytes
}

/// M08: what brokers have stumbled over before.
pub(super) fn known(stream: &mut Stream, new: bool) -> Vec<u8> {
    const PACKETS: [&[u8]; 16] = [
        // 256 MB announced; a length of five bytes that hides a second packet.
        b"\x30\xFF\xFF\xFF\x7F",
        b"\x32\xFF\xFF\xFF\xFF\x01\x00\x01a\xC0\x00",
        // SUBSCRIBE without options, without filter, with identifier 0.
        b"\x82\x06\x00\x01\x00\x00\x01a",
        b"\x82\x03\x00\x01\x00",
        b"\x82\x07\x00\x00\x00\x00\x01a\x00",
        // PUBLISH: no topic, QoS 3, no identifier, a topic that overruns, with wildcards.
        b"\x30\x03\x00\x00\x00",
        b"\x36\x05\x00\x01a\x00\x01",
        b"\x32\x03\x00\x01a",
        b"\x30\x04\x00\x7Fa\x00",
        b"\x30\x06\x00\x03a/#\x00",
        // What only a server sends.
        b"\x20\x03\x00\x00\x00",
        b"\xD0\x00",
        // PUBREL with identifier 0, DISCONNECT that raises an expiry of 0, AUTH without method.
        b"\x62\x02\x00\x00",
        b"\xE0\x07\x00\x05\x11\x00\x00\x00\x09",
        b"\xF0\x00",
        b"\xE0\x03\x7F\x00\x00",
    ];
    const FILTERS: [&[u8]; 10] = [
        b"a+b",
        b"a#",
        b"a/#/b",
        b"$share",
        b"$share/",
        b"$share/g",
        b"$share//t",
        b"$share/g/",
        b"$share/+/t",
        b"$",
    ];
    match stream.below(8) {
        0 => subscribe(new, stream.pick::<&[u8]>(&FILTERS), 1, &[]),
        // More levels than there may be, in a filter and in a name.
        1 => subscribe(new, &[b'/'; 4000], 1, &[]),
        2 => publish(new, 0x32, &[b'/'; 4000], &[]),
        // The same QoS 2 message a hundred times.
        3 => publish(new, 0x34, b"a", &[]).repeat(100),
        4 => publish(new, 0x32, b"$SYS/a", &[]),
        // A will to where none may go.
        5 => {
            let topic = stream.pick::<&[u8]>(&[b"a/#", b"", b"$SYS/a", b"$share/g/a"]);
            let will = [&properties(new, &[])[..], &field(topic), &field(b"gone")].concat();
            connect_with(new, &[], NAME, &will, 6)
        }
        _ => stream.pick(&PACKETS).to_vec(),
    }
}

/// M11: what other protocols begin with.
pub(super) fn foreign(stream: &mut Stream, _: bool) -> Vec<u8> {
    const GREETINGS: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
        b"SSH-2.0-client\r\n",
        b"\x16\x03\x01\x00\x2F\x01\x00\x00\x2B\x03\x03",
        b"CONNECT\n\n\0",
    ];
    stream.pick(&GREETINGS).to_vec()
}
