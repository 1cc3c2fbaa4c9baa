//! Runs a case over a transport, and says where it went wrong.

use crate::Version;
use crate::render::decode;
use crate::trace::{Action, Case};
use crate::wire::{encode, words};
use std::collections::BTreeMap;

/// How clients reach the broker under test.
pub trait Transport {
    /// A handle on one connection.
    type Conn;

    /// A new connection.
    fn open(&mut self) -> Self::Conn;
    /// Bytes from the client. The broker may have closed meanwhile.
    fn send(&mut self, conn: &mut Self::Conn, bytes: &[u8]);
    /// Appends what has come for the client; waits for more as long as `patience` says. True once the broker has
    /// ended the connection and everything is read.
    fn receive(&mut self, conn: &mut Self::Conn, into: &mut Vec<u8>, patience: Patience) -> bool;
    /// The transport breaks.
    fn cut(&mut self, conn: Self::Conn);
    /// Time passes.
    fn wait(&mut self, millis: u64);
    /// What else must hold at the end.
    ///
    /// # Errors
    /// What does not.
    fn finish(&mut self) -> Result<(), String>;
}

/// How long to wait for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Something must come.
    Long,
    /// Probably nothing comes.
    Short,
}

struct Client<C> {
    conn: C,
    inbox: Vec<u8>,
    closed: bool,
    /// Largest packet that it takes, as its CONNECT said.
    takes: usize,
}

impl<C> Client<C> {
    /// The next packet, in words.
    fn packet<T: Transport<Conn = C>>(
        &mut self,
        transport: &mut T,
        version: Version,
        patience: Patience,
    ) -> Result<Option<String>, String> {
        loop {
            if let Some((len, text)) = decode(&self.inbox, version)? {
                self.inbox.drain(..len);
                if len > self.takes {
                    return Err(format!("{text} has {len} bytes, above Maximum Packet Size {}", self.takes));
                }
                return Ok(Some(text));
            }
            if self.closed {
                return if self.inbox.is_empty() { Ok(None) } else { Err("closed within a packet".into()) };
            }
            let before = self.inbox.len();
            self.closed = transport.receive(&mut self.conn, &mut self.inbox, patience);
            if self.inbox.len() == before && !self.closed {
                return Ok(None);
            }
        }
    }
}

/// Runs a case in one version.
///
/// # Errors
/// The first line that did not go as written, and what happened instead.
pub fn run<T: Transport>(case: &Case, version: Version, transport: &mut T) -> Result<(), String> {
    let mut clients: BTreeMap<&str, Client<T::Conn>> = BTreeMap::new();
    for step in case.steps.iter().filter(|step| step.versions.contains(&version)) {
        let wrong = |got: String| format!("{}, line {}, in {version}: {got}", case.name, step.line);
        let client = |clients: &mut BTreeMap<&str, Client<T::Conn>>, who: &str| -> Result<(), String> {
            if clients.contains_key(who) { Ok(()) } else { Err(wrong(format!("{who} is not connected"))) }
        };
        match &step.action {
            Action::Wait(millis) => transport.wait(*millis),
            Action::Send(who, packet) => {
                let opens = clients.get(who.as_str()).is_none_or(|client| client.closed);
                if opens {
                    let conn = transport.open();
                    let takes = takes(packet, version);
                    clients.insert(who, Client { conn, inbox: Vec::new(), closed: false, takes });
                }
                let Some(client) = clients.get_mut(who.as_str()) else { continue };
                let bytes: Vec<u8> = packet.split(" ; ").flat_map(|packet| encode(packet, version)).collect();
                transport.send(&mut client.conn, &bytes);
            }
            Action::Cut(who) => {
                let Some(client) = clients.remove(who.as_str()) else {
                    return Err(wrong(format!("{who} is not connected")));
                };
                transport.cut(client.conn);
            }
            Action::Expect(who, wanted) => {
                client(&mut clients, who)?;
                let Some(client) = clients.get_mut(who.as_str()) else { continue };
                let got = client.packet(transport, version, Patience::Long).map_err(&wrong)?;
                let shown = got.clone().unwrap_or_else(|| silence(client.closed));
                if !got.is_some_and(|got| fits(wanted, &got)) {
                    return Err(wrong(format!("wanted {wanted:?}, got {shown:?}")));
                }
            }
            Action::Closed(who) => {
                client(&mut clients, who)?;
                let Some(client) = clients.get_mut(who.as_str()) else { continue };
                let got = client.packet(transport, version, Patience::Long).map_err(&wrong)?;
                if got.is_some() || !client.closed {
                    let shown = got.unwrap_or_else(|| silence(false));
                    return Err(wrong(format!("wanted the end of the connection, got {shown:?}")));
                }
            }
            Action::Nothing(who) => {
                client(&mut clients, who)?;
                let Some(client) = clients.get_mut(who.as_str()) else { continue };
                let got = client.packet(transport, version, Patience::Short).map_err(&wrong)?;
                if got.is_some() || client.closed {
                    let shown = got.unwrap_or_else(|| silence(true));
                    return Err(wrong(format!("wanted nothing, got {shown:?}")));
                }
            }
        }
    }
    for (who, client) in &mut clients {
        // What was not mentioned must not be there.
        let was_closed = client.closed;
        let got = client.packet(transport, version, Patience::Short)?;
        if got.is_some() || client.closed != was_closed {
            let shown = got.unwrap_or_else(|| silence(true));
            return Err(format!("{}, at its end, in {version}: {who} also got {shown:?}", case.name));
        }
    }
    transport.finish().map_err(|error| format!("{}, at its end, in {version}: {error}", case.name))
}

/// The Maximum Packet Size in a client's first packets; 3.x has none, and 0 is none either.
fn takes(packets: &str, version: Version) -> usize {
    if version != Version::V5 {
        return usize::MAX;
    }
    let size = packets.split_whitespace().find_map(|word| word.strip_prefix("maximum-packet-size="));
    size.and_then(|size| size.parse().ok()).filter(|size| *size > 0).unwrap_or(usize::MAX)
}

fn silence(closed: bool) -> String {
    if closed { "(closed)" } else { "(nothing)" }.into()
}

/// Does a packet say what is wanted? Words for people are not compared.
fn fits(wanted: &str, got: &str) -> bool {
    let all = words(got);
    let wanted = words(wanted);
    let is_absent = |name: &str| !all.iter().any(|word| word.split('=').next() == Some(name));
    let is_there = |wanted: &str, word: &str| match wanted.strip_suffix('*') {
        Some(name) if name.ends_with('=') => word.starts_with(name),
        _ => word == wanted,
    };
    let mut got = all.iter().filter(|word| !word.starts_with("reason-string="));
    match wanted.split_last() {
        Some((last, wanted)) if last == "..." => {
            wanted.first() == all.first()
                && wanted.iter().all(|wanted| match wanted.strip_prefix('!') {
                    Some(name) => is_absent(name),
                    None => all.iter().any(|word| is_there(wanted, word)),
                })
        }
        _ => {
            wanted.iter().all(|wanted| got.next().is_some_and(|word| is_there(wanted, word)))
                && got.next().is_none()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Version, fits, takes};

    #[test]
    fn a_client_says_what_it_takes() {
        let line = "CONNECT a maximum-packet-size=20 ; PINGREQ";
        assert_eq!((takes(line, Version::V5), takes(line, Version::V311)), (20, usize::MAX));
        for none in ["CONNECT a", "CONNECT a maximum-packet-size=0"] {
            assert_eq!(takes(none, Version::V5), usize::MAX);
        }
    }

    #[test]
    fn words_are_compared() {
        for (wanted, got, fit) in [
            ("PUBACK #1", "PUBACK #1", true),
            ("PUBACK #1", "PUBACK #1 10", false),
            ("CONNACK 00 ...", "CONNACK 00 present receive-maximum=2", true),
            ("CONNACK 00 receive-maximum=3 ...", "CONNACK 00 receive-maximum=2", false),
            ("CONNACK 00 receive-maximum=* ...", "CONNACK 00 receive-maximum=2", true),
            ("CONNACK 00 receive-maximum=* ...", "CONNACK 00 maximum-qos=1", false),
            ("CONNACK 00 receive-maximum=*", "CONNACK 00 receive-maximum=2", true),
            ("CONNACK 00 !present ...", "CONNACK 00 receive-maximum=2", true),
            ("CONNACK 00 !present ...", "CONNACK 00 present receive-maximum=2", false),
            ("PUBACK #1 87 !reason-string ...", "PUBACK #1 87 reason-string=\"so there\"", false),
            ("DISCONNECT 82", "DISCONNECT 82 reason-string=\"so there\"", true),
            ("PUBLISH t \"\" q0", "PUBLISH t \"\" q0", true),
        ] {
            assert_eq!(fits(wanted, got), fit, "{wanted} {got}");
        }
    }
}
