//! In a large world some clients are followed as closely as all are in a small one: what only that shows is found.

use broker_engine::Note;
use simulation::scenario::{Profile, generate};
use simulation::world::{Mutation, Options, PacketChange, play};
use std::time::Duration;

const DENSE: Profile = Profile::Dense { clients: 100 };
const FLEET: Profile = Profile::Fleet { clients: 100 };

fn broken(profile: Profile, mutation: Mutation, sample: usize) -> Option<&'static str> {
    let options = Options { mutation, sample: Some(sample), ..Options::default() };
    let mut scenario = generate(1, profile);
    // What is late for a while is so for long.
    scenario.network.delay_max = 1_000_000;
    play(&scenario, options).violation.map(|violation| violation.invariant)
}

#[test]
fn what_is_wrong_in_a_large_world_is_found_by_its_sample() {
    // PUBACK says that nobody has subscribed.
    let nobody: PacketChange = |_, p| (p[..2] == [0x40, 2]).then(|| vec![vec![0x40, 3, p[2], p[3], 0x10]]);
    for (name, profile, mutation) in [
        ("INV-33", DENSE, Mutation { packet: Some(nobody), ..Mutation::default() }),
        (
            "INV-28",
            DENSE,
            Mutation {
                config: Some(|config| config.connect_timeout = Duration::from_millis(1)),
                ..Mutation::default()
            },
        ),
        (
            "INV-23",
            FLEET,
            Mutation {
                notes: Some(|notes| notes.retain(|note| !matches!(note, Note::SessionEnded { .. }))),
                ..Mutation::default()
            },
        ),
    ] {
        assert_eq!(broken(profile, mutation, 0), None, "{name} is only for the sample to find");
        assert_eq!(broken(profile, mutation, 20), Some(name));
    }
}

#[test]
fn who_is_followed_makes_no_difference() {
    for profile in [DENSE, FLEET] {
        let scenario = generate(2, profile);
        let [none, some] =
            [0, 50].map(|sample| play(&scenario, Options { sample: Some(sample), ..Options::default() }));
        assert_eq!((none.violation, &some.violation), (None, &None));
        assert_eq!((none.events, none.digest), (some.events, some.digest));
        assert_eq!((none.checks.counts.decided, none.checks.followed()), (0, (0, 0)));
        let (chosen, _) = some.checks.followed();
        assert_eq!(chosen, 50);
        if profile == DENSE {
            assert!(some.checks.counts.decided > 1000, "{:?}", some.checks.counts.decided);
        }
    }
}
