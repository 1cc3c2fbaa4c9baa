//! Variants of a run that must come to the same, to the last byte: what differs in them is no business of clients.

use crate::check::{AT_ONCE, Violation};
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::world::{Options, Outcome, play};
use broker_engine::Config;

/// What differs, under the names of the statements that say that nothing comes of it.
pub const VARIANTS: [(&str, &str); 3] = [
    ("INV-71", "another hash key"),
    ("INV-52", "every byte by itself"),
    ("INV-72", "more calls than the engine asks for"),
];

/// The options of a variant of a plain run, where the scenario lets it come to the same.
pub fn variant(name: &str, scenario: &Scenario, plain: Options) -> Option<Options> {
    let varied = match name {
        "INV-71" => Options { hash_key: [scenario.seed, !scenario.seed], ..plain },
        "INV-52" => Options { piece: 1, ..plain },
        _ => Options { restless: true, ..plain },
    };
    is_comparable(name, scenario).then_some(varied)
}

/// Plays a scenario. What the options vary is played plainly as well, and both runs must be equal.
pub fn play_compared(scenario: &Scenario, options: Options) -> Outcome {
    let varied = varied(&options).filter(|(name, _)| is_comparable(name, scenario));
    let Some((name, what)) = varied else { return play(scenario, options) };
    let plain = Options { hash_key: Options::default().hash_key, piece: 0, restless: false, ..options };
    let mut outcome = play(scenario, plain);
    if outcome.violation.is_none() {
        let other = play(scenario, options);
        outcome.violation = difference((name, what), &outcome, &other);
        if outcome.violation.is_some() {
            outcome.trace = Trace::until_different(&outcome.trace, &other.trace);
        }
    }
    outcome
}

/// What a run breaks that does not come to the same as the plain one.
pub(crate) fn difference(
    (name, what): (&'static str, &str),
    plain: &Outcome,
    varied: &Outcome,
) -> Option<Violation> {
    let [one, other] = [plain.digest, varied.digest];
    let detail = format!("{what}: digests {one:016x} and {other:016x}");
    (one != other).then(|| Violation::new(name, plain.time, detail))
}

/// What options vary, if anything.
fn varied(options: &Options) -> Option<(&'static str, &'static str)> {
    let plain = Options::default();
    let name = match options {
        Options { piece: 1.., .. } => "INV-52",
        Options { restless: true, .. } => "INV-72",
        Options { hash_key, .. } if *hash_key != plain.hash_key => "INV-71",
        _ => return None,
    };
    VARIANTS.into_iter().find(|(known, _)| *known == name)
}

/// With little work for each call, or counted for each call, more calls do more; late timers are late by call.
fn is_comparable(name: &str, scenario: &Scenario) -> bool {
    let limits = &scenario.limits;
    // Bytes that wait behind a packet are memory, too.
    let has_room = limits.egress_high >= Config::default().egress_high && limits.memory_high.is_none();
    let at_once = limits.work_per_call >= AT_ONCE && has_room;
    match name {
        "INV-71" => true,
        "INV-52" => at_once,
        _ => at_once && scenario.outside.late_max == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Profile, generate};
    use crate::world::Mutation;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_run_that_differs_is_found_out() {
        static SENT: AtomicU64 = AtomicU64::new(0);
        static LOST: AtomicU64 = AtomicU64::new(u64::MAX);
        let packet = |_, _: &[u8]| {
            (SENT.fetch_add(1, Ordering::Relaxed) == LOST.load(Ordering::Relaxed)).then(Vec::new)
        };
        let mutation = Mutation { packet: Some(packet), ..Mutation::default() };
        let options =
            Options { mutation, hash_key: [1, !1], trace: true, stop_at: Some(100), ..Options::default() };
        let scenario = generate(1, Profile::Small);
        assert_eq!(play_compared(&scenario, options).violation, None);
        // Of as many packets again, the first of the second run is lost.
        LOST.store(SENT.load(Ordering::Relaxed) / 2 * 3, Ordering::Relaxed);
        let outcome = play_compared(&scenario, options);
        assert_eq!(outcome.violation.unwrap().invariant, "INV-71");
        let text = outcome.trace.text();
        let [plain, varied] = text.lines().rev().take(2).collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(varied.starts_with("plain:   ") && plain.starts_with("variant: "), "{text}");
        assert_ne!(plain.split_once(": "), varied.split_once(": "));
    }

    #[test]
    fn what_may_differ_is_not_compared() {
        let mut scenario = generate(1, Profile::Small);
        scenario.limits = Config { work_per_call: 1, ..Config::default() };
        scenario.outside.late_max = 0;
        let compared = |scenario: &Scenario| {
            VARIANTS.map(|(name, _)| variant(name, scenario, Options::default()).is_some())
        };
        assert_eq!(compared(&scenario), [true, false, false]);
        scenario.limits = Config::default();
        assert_eq!(compared(&scenario), [true, true, true]);
        scenario.outside.late_max = 1;
        assert_eq!(compared(&scenario), [true, true, false]);
    }
}
