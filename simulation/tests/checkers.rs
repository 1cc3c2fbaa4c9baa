//! Every checker fires: a world in which one thing is wrong on purpose breaks the statement that is about it.

use broker_engine::{DropReason, Note, SharedStrategy, StoreOp};
use metronome_storage::record::Kind;
use mqtt_proto::ReasonCode;
use simulation::check::INVARIANTS;
use simulation::scenario::{Profile, generate};
use simulation::world::{BytesChange, Mutation, Options, PacketChange, TableChange, canary, play};
use std::time::Duration;

/// Seeds in which a statement has to be broken first by its mutation.
const SEEDS: u64 = 400;

fn packets(change: PacketChange) -> Mutation {
    Mutation { packet: Some(change), ..Mutation::default() }
}

fn notes(change: fn(&mut Vec<Note>)) -> Mutation {
    Mutation { notes: Some(change), ..Mutation::default() }
}

fn config(change: fn(&mut broker_engine::Config)) -> Mutation {
    Mutation { config: Some(change), ..Mutation::default() }
}

/// The engine gets something else than what came.
fn bytes(change: BytesChange) -> Mutation {
    Mutation { bytes: Some(change), ..Mutation::default() }
}

/// Records of the store change without a word.
fn table(change: TableChange) -> Mutation {
    Mutation { table: Some(change), ..Mutation::default() }
}

/// The packet type.
fn kind(packet: &[u8]) -> u8 {
    packet[0] >> 4
}

fn qos(packet: &[u8]) -> u8 {
    if kind(packet) == 3 { packet[0] >> 1 & 3 } else { 0 }
}

fn changed(packet: &[u8], at: usize, change: impl Fn(u8) -> u8) -> Option<Vec<Vec<u8>>> {
    let mut packet = packet.to_vec();
    *packet.get_mut(at)? = change(packet[at]);
    Some(vec![packet])
}

/// With another packet identifier, for packets of less than 128 bytes.
fn under_another_id(packet: &[u8]) -> Option<Vec<u8>> {
    let at = 4 + usize::from(packet[3]);
    (packet[1] < 128 && packet[2] == 0).then(|| {
        let mut packet = packet.to_vec();
        packet[at] = 0x7F;
        packet
    })
}

fn reasons(notes: &mut [Note], with: DropReason) {
    for note in notes {
        if let Note::MessageDropped { reason, .. } = note {
            *reason = with;
        }
    }
}

/// More bytes than ever come of a CONNECT that is as long as it may be, and is not all there.
const ANNOUNCED: [u8; 12_000] = {
    let mut bytes = [0; 12_000];
    [bytes[0], bytes[1], bytes[2]] = [0x10, 0x80, 0x7D];
    bytes
};

fn mutations() -> Vec<(&'static str, Mutation)> {
    let twice: PacketChange = |_, p| (kind(p) == 3 && qos(p) == 0).then(|| vec![p.to_vec(), p.to_vec()]);
    let twice_above_0: PacketChange =
        |_, p| (qos(p) > 0).then(|| under_another_id(p).map(|other| vec![p.to_vec(), other]))?;
    let too_large: PacketChange = |_, p| {
        let small = kind(p) == 3 && p[1] < 100;
        small.then(|| {
            vec![[&[p[0], (p[1] + 100) | 0x80, 1 - u8::from(p[1] < 28)], &p[2..], &[b'x'; 100]].concat()]
        })
    };
    vec![
        (
            "INV-01",
            notes(|notes| {
                for note in notes {
                    if let Note::MessageDropped { topic, .. } = note {
                        "elsewhere".clone_into(topic);
                    }
                }
            }),
        ),
        ("INV-02", packets(twice)),
        ("INV-03", packets(twice)),
        ("INV-04", packets(|_, p| if kind(p) == 3 { changed(p, p.len() - 1, |b| b ^ 1) } else { None })),
        ("INV-05", packets(|_, p| if qos(p) == 1 { changed(p, 0, |b| b ^ 6) } else { None })),
        (
            "INV-06",
            packets(|_, p| if kind(p) == 3 && p[0] & 1 == 1 { changed(p, 0, |b| b ^ 1) } else { None }),
        ),
        ("INV-07", packets(|_, p| if kind(p) == 4 { changed(p, 0, |b| b ^ 0x10) } else { None })),
        ("INV-08", packets(twice_above_0)),
        ("INV-09", notes(|notes| reasons(notes, DropReason::PacketTooLarge))),
        ("INV-10", notes(|notes| reasons(notes, DropReason::Expired))),
        ("INV-11", packets(canary)),
        ("INV-12", packets(|_, p| if qos(p) > 0 { changed(p, 0, |b| b | 8) } else { None })),
        ("INV-13", packets(|_, p| if kind(p) == 4 { changed(p, 2, |b| b ^ 1) } else { None })),
        ("INV-14", packets(|_, p| if qos(p) > 0 { changed(p, 0, |b| b & !8) } else { None })),
        ("INV-15", config(|config| config.max_inflight = 1)),
        ("INV-16", config(|config| config.receive_maximum = 1)),
        ("INV-17", packets(too_large)),
        (
            "INV-18",
            packets(|_, p| {
                let known = qos(p) == 0 && kind(p) == 3 && p[1] < 128 && p[2..4] == [0, 0] && p[5] == 0x23;
                if known { changed(p, 6, |_| 0x7F) } else { None }
            }),
        ),
        ("INV-20", notes(|notes| notes.retain(|note| !matches!(note, Note::Connected { .. })))),
        (
            "INV-21",
            notes(|notes| {
                for note in notes {
                    if let Note::Connected { conn, client_id, session_present: true, .. } = note {
                        let (conn, client_id) = (*conn, client_id.clone());
                        let reason = ReasonCode::Banned;
                        *note = Note::Disconnected { conn, client_id, reason, detail: String::new() };
                    }
                }
            }),
        ),
        ("INV-22", packets(|_, p| if kind(p) == 2 { changed(p, 2, |b| b ^ 1) } else { None })),
        ("INV-23", notes(|notes| notes.retain(|note| !matches!(note, Note::SessionEnded { .. })))),
        ("INV-24", config(|config| config.bind_session_to_user = true)),
        ("INV-27", packets(|_, p| (kind(p) == 13).then(|| vec![vec![0xE0, 1, 0x8D]]))),
        ("INV-28", config(|config| config.connect_timeout = Duration::from_millis(1))),
        ("INV-30", config(|config| config.max_message_expiry = 1)),
        (
            "INV-31",
            packets(|_, p| if kind(p) == 3 && p[0] & 1 == 0 { changed(p, 0, |b| b | 1) } else { None }),
        ),
        ("INV-32", packets(|_, p| if kind(p) == 9 { changed(p, p.len() - 1, |_| 2) } else { None })),
        ("INV-33", packets(|_, p| (p[..2] == [0x40, 2]).then(|| vec![vec![0x40, 3, p[2], p[3], 0x10]]))),
        ("INV-34", packets(twice_above_0)),
        ("INV-35", config(|config| config.shared_strategy = SharedStrategy::RoundRobin)),
        ("INV-50", packets(|_, p| Some(vec![p[..p.len() - 1].to_vec()]))),
        ("INV-51", packets(|_, p| (kind(p) == 2).then(|| vec![p.to_vec(), p.to_vec()]))),
        (
            "INV-53",
            notes(|notes| {
                for note in notes {
                    if let Note::Disconnected { reason, .. } = note {
                        *reason = ReasonCode::ProtocolError;
                    }
                }
            }),
        ),
        (
            "INV-92",
            notes(|notes| {
                let (client_id, topic) = ("nobody".into(), "a".into());
                notes.push(Note::MessageDropped { client_id, topic, reason: DropReason::QueueFull });
            }),
        ),
        ("INV-93", packets(|_, p| (kind(p) == 13).then(Vec::new))),
        ("LIV-1", packets(|_, p| (kind(p) == 6).then(Vec::new))),
        ("LIV-2", packets(|_, p| (kind(p) == 9).then(Vec::new))),
        ("LIV-6", packets(|_, p| (kind(p) == 14 && p[2] == 0x8B).then(Vec::new))),
        ("LIV-7", config(|config| config.memory_high = Some(0))),
    ]
}

/// Limits that are not kept, or not as they are told.
fn limits() -> Vec<(&'static str, Mutation)> {
    vec![
        ("INV-63", config(|config| config.max_queued_messages = 0)),
        // Of what is offered, CONNACK says something else.
        ("INV-63", config(|config| config.retain_available ^= true)),
        // A packet that is too large is a malformed one.
        (
            "INV-63",
            packets(
                |_, p| if p[0] == 0xE0 && p.get(2) == Some(&0x95) { changed(p, 2, |_| 0x81) } else { None },
            ),
        ),
    ]
}

/// What is wrong inside the engine, as far as it shows.
fn within() -> Vec<(&'static str, Mutation)> {
    vec![
        // DISCONNECT with the will for one without.
        ("INV-26", bytes(|p| p.starts_with(b"\xE0\0").then_some(b"\xE0\x01\x04"))),
        ("INV-40", Mutation { permissive: true, ..Mutation::default() }),
        ("INV-41", Mutation { permissive: true, ..Mutation::default() }),
        ("INV-42", Mutation { agreeable: true, ..Mutation::default() }),
        ("INV-43", Mutation { permissive: true, ..Mutation::default() }),
        // A CONNECT with room for a long one behind it.
        ("INV-62", bytes(|p| (p[0] == 0x10).then_some(&ANNOUNCED))),
        // What is retained above QoS 0 is never removed, which QoS 0 does.
        ("INV-66", bytes(|p| (p[0] == 0x31).then_some(b""))),
        ("INV-73", Mutation { snapshot: Some(|snapshot| snapshot[20] ^= 1), ..Mutation::default() }),
        ("INV-80", Mutation { kept: true, ..Mutation::default() }),
        ("INV-90", notes(|notes| notes.retain(|note| !matches!(note, Note::MessageDropped { .. })))),
        ("LIV-4", Mutation { deaf: true, ..Mutation::default() }),
        ("LIV-5", config(|config| config.work_per_call = u32::MAX)),
    ]
}

/// What is wrong with a store.
fn kept() -> Vec<(&'static str, Mutation)> {
    vec![
        (
            "INV-25",
            Mutation {
                stores: Some(|stores| {
                    for (_, op) in stores {
                        if let StoreOp::PutSubscription { filter, .. } = op {
                            "elsewhere".clone_into(filter);
                        }
                    }
                }),
                ..Mutation::default()
            },
        ),
        ("INV-81", table(|records| records.retain(|key, _| Kind::of(key) != Some(Kind::Subscription)))),
        (
            "INV-82",
            table(|records| {
                let subscriptions = records.iter_mut().filter(|(key, _)| Kind::of(key) == Some(Kind::Queued));
                subscriptions.for_each(|(_, value)| value[6] ^= 1);
            }),
        ),
        // Once more each time.
        ("INV-83", table(|records| drop(records.pop_last()))),
        ("INV-84", Mutation { stuck: true, ..Mutation::default() }),
        ("INV-85", Mutation { clock: 3_600_000_000, ..Mutation::default() }),
    ]
}

#[test]
#[cfg_attr(debug_assertions, ignore = "thousands of worlds; `tests/run` plays them in a release build")]
fn every_checker_fires() {
    let mutations = [mutations(), limits(), within(), kept()].concat();
    for (name, _) in INVARIANTS {
        assert!(mutations.iter().any(|(known, _)| *known == name), "{name} has no mutation");
    }
    let mut silent = Vec::new();
    for (name, mutation) in mutations {
        let options = Options { mutation, ..Options::default() };
        let is_kept = kept().iter().any(|(known, _)| *known == name);
        let profile = if is_kept { Profile::Crash } else { Profile::Small };
        let fires = (0..SEEDS).any(|seed| {
            let outcome = play(&generate(seed, profile), options);
            outcome.violation.is_some_and(|violation| violation.invariant == name)
        });
        if !fires {
            silent.push(name);
        }
    }
    assert_eq!(silent, Vec::<&str>::new(), "these do not fire in {SEEDS} seeds");
}

/// Variants that must come to the same do, and an engine that answers something else does not.
#[test]
fn a_changed_packet_changes_the_digest() {
    let scenario = generate(3, Profile::Small);
    let digest = |options| play(&scenario, options).digest;
    let plain = digest(Options::default());
    assert_eq!(plain, digest(Options { hash_key: [1, 2], ..Options::default() }));
    let lossy = packets(|number, _| (number == 5).then(Vec::new));
    assert_ne!(plain, digest(Options { mutation: lossy, ..Options::default() }));
}
