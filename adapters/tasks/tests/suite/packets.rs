//! Packets made by hand, so that the tests share no code with what they test.

pub(crate) fn string(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    loop {
        let low = u8::try_from(rest % 128).unwrap();
        rest /= 128;
        bytes.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

pub(crate) fn connect(version: u8, name: &str) -> Vec<u8> {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    packet(0x10, &[&string("MQTT")[..], &[version, 2, 0, 60], properties, &string(name)].concat())
}

/// Packet identifier 7 above QoS 0.
pub(crate) fn publish(version: u8, topic: &str, qos: u8, payload: &[u8]) -> Vec<u8> {
    let id: &[u8] = if qos > 0 { &[0, 7] } else { &[] };
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    packet(0x30 | qos << 1, &[&string(topic)[..], id, properties, payload].concat())
}
