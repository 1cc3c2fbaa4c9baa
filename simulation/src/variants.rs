//! Variants of a run that must come to the same, to the last byte: what differs in them is no business of clients.

use crate::check::{AT_ONCE, Violation};
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::world::{Host, Options, Outcome, is_late, play};
use broker_engine::Config;

/// What differs, under the names of the statements that say that nothing comes of it.
pub const VARIANTS: [(&str, &str); 4] = [
    ("INV-71", "another hash key"),
    ("INV-52", "every byte by itself"),
    ("INV-72", "more calls than the engine asks for"),
    ("INV-74", "the host's driver in between"),
];

/// The options of a variant of a plain run, where the scenario lets it come to the same.
pub fn variant(name: &str, scenario: &Scenario, plain: Options) -> Option<Options> {
    let varied = match name {
        "INV-71" => Options { hash_key: [scenario.seed, !scenario.seed], ..plain },
        "INV-52" => Options { piece: 1, ..plain },
        "INV-72" => Options { restless: true, ..plain },
        // Calls of the driver are not those of the engine, so they end elsewhere.
        _ if plain.stop_at.is_some() => return None,
        _ => Options { host: Host::Driver, ..plain },
    };
    is_comparable(name, scenario).then_some(varied)
}

/// Plays a scenario. What the options vary is played plainly as well, and both runs must be equal.
pub fn play_compared(scenario: &Scenario, options: Options) -> Outcome {
    let varied = varied(&options).filter(|(name, _)| is_comparable(name, scenario));
    let Some((name, what)) = varied else { return play(scenario, options) };
    let hosted = (options.host == Host::Driver).then(|| for_the_driver(scenario));
    let scenario = hosted.as_ref().unwrap_or(scenario);
    let mut outcome = play(scenario, plain(options));
    if outcome.violation.is_none() {
        let other = play(scenario, options);
        outcome.violation = difference((name, what), &outcome, &other);
        if outcome.violation.is_some() {
            let traces = [&outcome, &other].map(|run| if hosted.is_some() { &run.seen } else { &run.trace });
            outcome.trace = Trace::until_different(traces[0], traces[1]);
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
    let different = (one != other).then(|| Violation::new(name, plain.time, detail));
    different.or_else(|| varied.violation.clone())
}

/// Without what options vary. The driver is compared with a world that answers and writes as it does.
fn plain(options: Options) -> Options {
    let host = if options.host == Host::Driver { Host::Prompt } else { options.host };
    Options { hash_key: Options::default().hash_key, piece: 0, restless: false, host, ..options }
}

/// The driver tells of a full socket when it grew and when half of it is written, the world each time. So where it matters
/// to the engine how often it is called and what it hears of sockets, they take everything; elsewhere they fill up, and the
/// engine is content with any backlog.
fn for_the_driver(scenario: &Scenario) -> Scenario {
    let mut scenario = scenario.clone();
    let is_timed = !is_late(&scenario) && scenario.outside.tick_twice == 0;
    let Scenario { limits, network, outside, .. } = &mut scenario;
    if has_room(limits) && limits.work_per_call >= AT_ONCE && is_timed {
        limits.egress_high = u32::MAX / 2;
    } else {
        (network.socket_buffer, outside.blocked) = (u64::MAX, 0);
    }
    scenario
}

/// What options vary, if anything.
fn varied(options: &Options) -> Option<(&'static str, &'static str)> {
    let plain = Options::default();
    let name = match options {
        Options { host: Host::Driver, .. } => "INV-74",
        Options { piece: 1.., .. } => "INV-52",
        Options { restless: true, .. } => "INV-72",
        Options { hash_key, .. } if *hash_key != plain.hash_key => "INV-71",
        _ => return None,
    };
    VARIANTS.into_iter().find(|(known, _)| *known == name)
}

/// Do limits leave bytes that wait alone? Behind a packet, too, they are memory.
fn has_room(limits: &Config) -> bool {
    limits.egress_high >= Config::default().egress_high && limits.memory_high.is_none()
}

/// With little work for each call, or counted for each call, more calls do more; late timers are late by call.
fn is_comparable(name: &str, scenario: &Scenario) -> bool {
    let limits = &scenario.limits;
    let at_once = limits.work_per_call >= AT_ONCE && has_room(limits);
    match name {
        "INV-71" | "INV-74" => true,
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
    fn a_driver_in_between_is_compared() {
        // Another last letter of a reason, which is the engine's to choose, and which the driver's world does not see.
        let packet = |_, packet: &[u8]| {
            let (last, head) = packet.split_last()?;
            (packet[0] == 0xE0 && *last == b'n').then(|| vec![[head, b"N"].concat()])
        };
        let mutation = Mutation { packet: Some(packet), ..Mutation::default() };
        let driven = Options { host: Host::Driver, trace: true, ..Options::default() };
        let scenario = (0..100).map(|seed| generate(seed, Profile::Small)).find(|scenario| {
            let differs = play(scenario, Options { mutation, ..Options::default() }).digest;
            differs != play(scenario, Options::default()).digest
        });
        let scenario = scenario.expect("a client that is told such a reason");
        assert_eq!(play_compared(&scenario, driven).violation, None);
        let outcome = play_compared(&scenario, Options { mutation, ..driven });
        assert_eq!(outcome.violation.unwrap().invariant, "INV-74");
        let text = outcome.trace.text();
        assert!(text.contains("plain:   ") && text.contains("variant: "), "{text}");
    }

    #[test]
    fn what_may_differ_is_not_compared() {
        let mut scenario = generate(1, Profile::Small);
        scenario.limits = Config { work_per_call: 1, ..Config::default() };
        scenario.outside.late_max = 0;
        let compared = |scenario: &Scenario| {
            VARIANTS.map(|(name, _)| variant(name, scenario, Options::default()).is_some())
        };
        assert_eq!(compared(&scenario), [true, false, false, true]);
        scenario.limits = Config::default();
        assert_eq!(compared(&scenario), [true, true, true, true]);
        scenario.outside.late_max = 1;
        assert_eq!(compared(&scenario), [true, true, false, true]);
    }
}
