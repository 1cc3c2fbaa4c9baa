//! When somebody sends what no client would.

use super::{SECOND, Small, bytes, doors};
use crate::random::Stream;
use crate::scenario::{Hostile, Hostility, Operation, Through, What};
use broker_engine::Config;

/// A kind of hostile bytes.
type Maker = fn(&mut Stream, bool) -> Vec<u8>;

const MAKERS: [(Hostility, Maker); 8] = [
    (Hostility::Damaged, bytes::damaged),
    (Hostility::Length, bytes::length),
    (Hostility::Property, bytes::property),
    (Hostility::Text, bytes::text),
    (Hostility::Reserved, bytes::reserved),
    (Hostility::Spliced, bytes::spliced),
    (Hostility::Known, bytes::known),
    (Hostility::Foreign, bytes::foreign),
];

/// Who comes where MQTT is not the first thing.
type Visitor = fn(&mut Stream) -> Hostile;

const VISITORS: [(&str, Visitor); 3] =
    [("M09", doors::framing), ("M11", doors::foreign), ("N13", doors::header)];

/// Time in which a connection is surely accepted, mostly.
pub(super) const GREETING: u64 = 2 * SECOND;

impl Small {
    pub(super) fn hostile(&self, clients: usize, end: u64, limits: &Config) -> Vec<Operation> {
        let mut list = Vec::new();
        let mut add = |stream: &mut Stream, hostile| {
            let client = usize::try_from(stream.below(clients as u64)).unwrap_or(0);
            list.push(Operation { at: stream.below(end), client, what: What::Hostile(hostile) });
        };
        // Worlds without hostile bytes are those in which everything else is looked at most closely.
        if (self.stream)("hostile").chance(400) {
            for (class, make) in MAKERS {
                let Some(mut stream) = self.class(class.class()) else { continue };
                for _ in 0..stream.by_magnitude(1, 12) {
                    let hostile = attack(&mut stream, class, make);
                    add(&mut stream, hostile);
                }
            }
            for (class, make) in VISITORS {
                let Some(mut stream) = self.class(class) else { continue };
                for _ in 0..stream.by_magnitude(1, 12) {
                    let hostile = make(&mut stream);
                    add(&mut stream, hostile);
                }
            }
            if let Some(mut stream) = self.class("M05") {
                for kind in 0..16 {
                    for state in 0..4 {
                        let hostile = out_of_place(&mut stream, kind, state);
                        add(&mut stream, hostile);
                    }
                }
            }
        }
        if let Some(mut stream) = self.class("C10") {
            let timeout = u64::try_from(limits.connect_timeout.as_micros()).unwrap_or(SECOND);
            for _ in 0..stream.by_magnitude(1, 8) {
                let connect = bytes::connect(stream.chance(500));
                let pause = *stream.pick(&[timeout - 1, timeout / 2, timeout / 40]);
                let chunks: Vec<Vec<u8>> = connect.into_iter().map(|byte| vec![byte]).collect();
                let chunks = if stream.chance(300) { Vec::new() } else { chunks };
                let (class, through) = (Hostility::Slow, Through::Nothing);
                add(&mut stream, Hostile { class, own: false, chunks, pause, through });
            }
        }
        list
    }
}

fn attack(stream: &mut Stream, class: Hostility, make: Maker) -> Hostile {
    let new = stream.chance(700);
    let own = stream.chance(200);
    let first = !own && stream.chance(300);
    let bytes = make(stream, new);
    let chunks = if own || first { vec![bytes] } else { vec![bytes::connect(new), bytes] };
    Hostile { class, own, chunks, pause: GREETING, through: Through::Nothing }
}

/// A packet before CONNECT, behind a CONNECT that is not answered yet, to one that was, and behind DISCONNECT.
fn out_of_place(stream: &mut Stream, kind: u8, state: u8) -> Hostile {
    let new = stream.chance(700);
    let packet = bytes::packet_of(kind, new);
    let chunks = match state {
        0 => vec![packet],
        1 => vec![[bytes::connect(new), packet].concat()],
        2 => vec![bytes::connect(new), packet],
        _ => vec![bytes::connect(new), [bytes::packet_of(14, new), packet].concat()],
    };
    let (class, through) = (Hostility::Illegal, Through::Nothing);
    Hostile { class, own: false, chunks, pause: GREETING, through }
}
