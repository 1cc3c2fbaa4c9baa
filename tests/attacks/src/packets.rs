//! Packets made by hand, so that attackers share no code with what they attack.

/// A string with its length, cut where the length ends.
pub(crate) fn string(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&len.to_be_bytes()[..], &text.as_bytes()[..len.into()]].concat()
}

/// A Variable Byte Integer.
pub(crate) fn variable(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number % 128).unwrap();
        number /= 128;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &variable(body.len()), body].concat()
}

/// CONNECT.
#[derive(Clone, Copy)]
pub(crate) struct Hello<'a> {
    pub(crate) version: u8,
    pub(crate) name: &'a str,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) properties: &'a [u8],
    /// Topic of a will.
    pub(crate) will: Option<&'a str>,
}

/// Session Expiry Interval: for ever.
pub(crate) const FOR_EVER: &[u8] = &[0x11, 0xff, 0xff, 0xff, 0xff];

impl<'a> Hello<'a> {
    pub(crate) const fn new(name: &'a str) -> Self {
        Self { version: 5, name, clean: true, keep_alive: 0, properties: &[], will: None }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let flags = u8::from(self.clean) << 1 | u8::from(self.will.is_some()) << 2;
        let mut body = string("MQTT");
        body.extend([self.version, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == 5 {
            body.extend(variable(self.properties.len()));
            body.extend(self.properties);
        }
        body.extend(string(self.name));
        if let Some(topic) = self.will {
            body.extend((self.version == 5).then_some(0));
            body.extend([string(topic), string("gone")].concat());
        }
        packet(0x10, &body)
    }
}

/// PUBLISH of MQTT 5.
pub(crate) fn publish(topic: &str, qos: u8, id: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    let id = if qos > 0 { &id[..] } else { &[] };
    packet(0x30 | qos << 1, &[&string(topic), id, &variable(properties.len()), properties, payload].concat())
}

/// SUBSCRIBE of MQTT 5, of each topic filter at this QoS.
pub(crate) fn subscribe<'a>(id: u16, qos: u8, filters: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    subscribe_with(id, qos, &[], filters)
}

pub(crate) fn subscribe_with<'a>(
    id: u16,
    qos: u8,
    properties: &[u8],
    filters: impl IntoIterator<Item = &'a str>,
) -> Vec<u8> {
    let mut body = [&id.to_be_bytes()[..], &variable(properties.len()), properties].concat();
    for filter in filters {
        body.extend(string(filter));
        body.push(qos);
    }
    packet(0x82, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP, by its first byte.
pub(crate) fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

pub(crate) const PINGREQ: &[u8] = &[0xc0, 0];
