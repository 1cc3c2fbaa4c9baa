//! Snapshots: bytes that are none, and going on from one.

use crate::host::Host;
use crate::steps::{self, Clients, Player};
use broker_engine::{Config, Engine, HashKey};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::sync::LazyLock;

/// A snapshot's first bytes: those of its format and a checksum.
const HEAD: usize = 16;

/// A snapshot with a little of everything.
static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut host = Host::new(Config::default());
    host.open(0);
    host.feed(0, b"\x10\x1c\0\x04MQTT\x05\x06\0\x3c\x05\x11\0\0\0\x3c\0\x01c\0\0\x01w\0\x03bye");
    host.feed(0, b"\x82\x09\0\x01\0\0\x03a/+\x02\x35\x0a\0\x03a/b\0\x02\0hi\x31\x05\0\x01r\0!");
    let view = host.engine.view();
    assert_eq!((view.sessions(), view.subscriptions(), view.retained(), view.inflight()), (1, 1, 2, 1));
    host.engine.snapshot()
});

/// A snapshot that is taken back.
pub(crate) fn sound() -> &'static [u8] {
    &SOUND
}

/// Foreign bytes, a sound snapshot with a few bytes changed or cut off, and foreign bytes under a checksum that fits.
/// All but the last are refused; none does harm.
pub fn snapshot_bytes(bytes: &[u8]) {
    let key = HashKey([3, 4]);
    assert!(Engine::restore(&SOUND, key).is_ok());
    let restored = Engine::restore(bytes, key).ok().map(|engine| engine.snapshot());
    assert!(restored.is_none_or(|again| again == bytes), "a snapshot that is not the engine's own");

    let mut damaged = SOUND.clone();
    let mut rest = bytes;
    while let [high, low, change, tail @ ..] = rest {
        rest = tail;
        let at = usize::from(u16::from_be_bytes([*high, *low])) % damaged.len();
        damaged[at] ^= change;
    }
    if let [cut] = rest {
        damaged.truncate(damaged.len().saturating_sub(usize::from(*cut)));
    }
    assert_eq!(Engine::restore(&damaged, key).is_ok(), damaged == *SOUND, "damage that is not seen");

    for body in [bytes, damaged.get(HEAD..).unwrap_or_default()] {
        let mut hasher = SipHasher13::new_with_keys(0, 0);
        hasher.write(body);
        let forged = [&SOUND[..HEAD / 2], &hasher.finish().to_le_bytes(), body].concat();
        // Whether it is taken or not: what it says need not be sound, so nothing more is asked of it.
        drop(Engine::restore(&forged, key));
    }
}

/// An engine that is replaced by its restored snapshot again and again, beside one that is not.
pub fn snapshot_steps(bytes: &[u8]) {
    let Some((setup, steps)) = steps::draw(bytes) else { return };
    let mut hosts = [0, u32::from(setup.number % 7) + 1].map(|restored_every| {
        let mut host = Host::new(setup.config());
        host.restored_every = restored_every;
        host
    });
    for host in &mut hosts {
        let mut clients = Clients::new();
        for step in &steps {
            clients.play(step, host);
        }
    }
    let [straight, restored] = &mut hosts;
    assert!(straight.engine.snapshot() == restored.engine.snapshot(), "another state behind a snapshot");
    straight.end();
    restored.end();
    assert!(straight.outputs().eq(restored.outputs()), "other answers behind a snapshot");
}
