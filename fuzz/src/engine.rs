//! The engine, whatever clients send and whatever its host does.

use crate::host::Host;
use crate::steps::{self, CLIENTS, Clients, Player};
use broker_engine::{CloseCause, Config};

/// Raw bytes in chunks by several connections, opened when they first send; then the same bytes one by one, to the same
/// answers.
pub fn engine_bytes(bytes: &[u8]) {
    let whole = play_bytes(bytes, usize::MAX);
    let split = play_bytes(bytes, 1);
    assert!(whole.outputs().eq(split.outputs()), "other answers for bytes that come one by one");
}

/// A byte says who (two bits) and what (four), and most often the next one how many of those behind it arrive.
fn play_bytes(bytes: &[u8], chunk: usize) -> Host {
    // With sliced work the order of SUBACK and retained messages depends on how much is left of a call.
    let mut host = Host::new(Config { work_per_call: u32::MAX, max_session_expiry: 6, ..Config::default() });
    host.chunk = chunk;
    let mut rest = bytes;
    while let Some(head) = rest.split_off_first() {
        let who = usize::from(*head) % CLIENTS;
        let mut next = || u64::from(rest.split_off_first().copied().unwrap_or(0));
        match head >> 2 & 15 {
            0 => host.open(who),
            1 => host.cut(who, CloseCause::Fault),
            2 => host.cut(who, CloseCause::PeerClosed),
            3 => host.wait(next() * 1000),
            4 => host.wait(next() * 1_000_000),
            5 => host.backlog(who, [0, 100, 70_000, 300_000, 3_000_000][usize::from(*head >> 6)]),
            _ => {
                if host.conn(who).is_none() {
                    host.open(who);
                }
                let len = usize::try_from(next()).unwrap_or(0).min(rest.len());
                host.feed(who, rest.split_off(..len).unwrap_or_default());
            }
        }
    }
    host.end();
    host
}

/// Packets, acknowledgements, time and faults.
pub fn engine_steps(bytes: &[u8]) {
    let Some((setup, steps)) = steps::draw(bytes) else { return };
    let (mut host, mut clients) = (Host::new(setup.config()), Clients::new());
    for step in &steps {
        clients.play(step, &mut host);
    }
    host.end();
}
