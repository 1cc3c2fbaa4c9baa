//! Variants of a run that must come to the same, to the last byte: what differs in them is no business of clients.

use crate::check::{AT_ONCE, Violation};
use crate::scenario::{Client, Filter, Network, Operation, Outside, Scenario, What, quiet};
use crate::trace::Trace;
use crate::world::{Host, Options, Outcome, Reader, is_late, play};
use broker_engine::Config;
use std::time::Duration;

/// What differs, under the names of the statements that say that nothing comes of it.
pub const VARIANTS: [(&str, &str); 6] = [
    ("INV-71", "another hash key"),
    ("INV-52", "every byte by itself"),
    ("INV-72", "more calls than the engine asks for"),
    ("INV-74", "the host's driver in between"),
    ("INV-76", "the host's transports and driver in between"),
    ("INV-91", "one more client that reads nothing of what it subscribed to"),
];

/// The options of a variant of a plain run, where the scenario lets it come to the same.
pub fn variant(name: &str, scenario: &Scenario, plain: Options) -> Option<Options> {
    let varied = match name {
        "INV-71" => Options { hash_key: [scenario.seed, !scenario.seed], ..plain },
        "INV-52" => Options { piece: 1, ..plain },
        "INV-72" => Options { restless: true, ..plain },
        // Calls of the driver are not those of the engine, so they end elsewhere.
        _ if plain.stop_at.is_some() => return None,
        "INV-76" => Options { host: Host::Transports, ..plain },
        "INV-91" => Options { reader: Some(Reader::Stalled), ..plain },
        _ => Options { host: Host::Driver, ..plain },
    };
    is_comparable(name, scenario).then_some(varied)
}

/// Is a variant compared with another run than the plain one of its scenario?
pub(crate) fn is_apart(options: &Options) -> bool {
    options.host.is_driven() || options.reader.is_some()
}

/// Plays a scenario. What the options vary is played plainly as well, and both runs must be equal.
pub fn play_compared(scenario: &Scenario, options: Options) -> Outcome {
    let varied = varied(&options).filter(|(name, _)| is_comparable(name, scenario));
    let Some((name, what)) = varied else { return play(scenario, options) };
    let is_hosted = options.host.is_driven();
    let [one, other] = match options {
        Options { reader: Some(_), .. } => {
            [Reader::Prompt, Reader::Stalled].map(|reader| beside(scenario, reader))
        }
        _ if is_hosted => {
            let scenario = for_the_driver(scenario, options.host);
            [scenario.clone(), scenario]
        }
        _ => [scenario.clone(), scenario.clone()],
    };
    let mut outcome = play(&one, plain(options));
    if outcome.violation.is_none() {
        let other = play(&other, options);
        outcome.violation = difference((name, what), &outcome, &other);
        if outcome.violation.is_some() {
            let traces =
                [&outcome, &other].map(|run| if is_apart(&options) { &run.seen } else { &run.trace });
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
    let host = if options.host.is_driven() { Host::Prompt } else { options.host };
    let reader = options.reader.map(|_| Reader::Prompt);
    Options { hash_key: Options::default().hash_key, piece: 0, restless: false, host, reader, ..options }
}

/// With one more client. What is drawn as things happen would differ for all if one of them did something else, and so would
/// what is counted for all together, so nothing is drawn and there is room for everybody.
fn beside(scenario: &Scenario, reader: Reader) -> Scenario {
    const SECOND: u64 = 1_000_000;
    let mut scenario = scenario.clone();
    let Scenario { limits, network, outside, clients, operations, .. } = &mut scenario;
    *network = Network {
        delay_min: network.delay_min,
        delay_max: network.delay_min,
        bandwidth: network.bandwidth,
        socket_buffer: network.socket_buffer,
        ..Network::default()
    };
    let Outside { ask_subscribe, ask_publish, .. } = *outside;
    *outside = Outside { ask_subscribe, ask_publish, ..Outside::default() };
    // With little room for what is unsent, more calls send more.
    let Config { egress_high, egress_low, .. } = Config::default();
    (limits.egress_high, limits.egress_low) = (egress_high, egress_low);
    (limits.memory_high, limits.memory_max) = (None, None);
    (limits.max_connections, limits.max_sessions) = (u32::MAX, u32::MAX);
    limits.work_per_call = limits.work_per_call.max(Config::default().work_per_call);
    // With its place free, others whose time is over at once would end in another order.
    limits.stall_timeout = Duration::from_secs(u64::from(u32::MAX));
    limits.max_session_expiry = u32::MAX;
    // The reader gets in, and subscribes to everything.
    limits.max_client_id_length = Config::default().max_client_id_length;
    limits.wildcard_subscriptions = true;
    // Its session stays whatever becomes of its connection, or publishers would hear that nobody subscribes any more.
    let id = "a reader".to_owned();
    clients.push(Client { id, clean: false, expiry: u32::MAX, incurable: true, ..quiet() });
    let everything = Filter {
        filter: "#".into(),
        qos: 1,
        no_local: false,
        retain_as_published: false,
        retain_handling: 2,
    };
    // Behind a pause many things happen in one microsecond, and who is first in it is nobody's promise.
    operations.retain(|operation| !matches!(operation.what, What::Pause(_)));
    let last = if reader == Reader::Stalled { What::StopReading } else { What::Read };
    let client = clients.len() - 1;
    let does = [What::Connect, What::Subscribe(vec![everything]), last];
    operations.extend((0..).zip(does).map(|(at, what)| Operation { at: at * SECOND, client, what }));
    operations.sort_by_key(|operation| operation.at);
    scenario
}

/// The driver tells of a full socket when it grew and when half of it is written, the world each time. So where it matters
/// to the engine how often it is called and what it hears of sockets, they take everything; elsewhere they fill up, and the
/// engine is content with any backlog. Frames are more bytes than what is in them, so there sockets take everything as well.
fn for_the_driver(scenario: &Scenario, host: Host) -> Scenario {
    let mut scenario = scenario.clone();
    let is_timed = !is_late(&scenario) && scenario.outside.tick_twice == 0;
    let Scenario { limits, network, outside, .. } = &mut scenario;
    if host == Host::Driver && has_room(limits) && limits.work_per_call >= AT_ONCE && is_timed {
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
        Options { host: Host::Transports, .. } => "INV-76",
        Options { reader: Some(_), .. } => "INV-91",
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
        "INV-71" | "INV-74" | "INV-76" | "INV-91" => true,
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
        let scenario = (0..100).map(|seed| generate(seed, Profile::Small)).find(|scenario| {
            let differs = play(scenario, Options { mutation, ..Options::default() }).digest;
            differs != play(scenario, Options::default()).digest
        });
        let scenario = scenario.expect("a client that is told such a reason");
        for (host, name) in [(Host::Driver, "INV-74"), (Host::Transports, "INV-76")] {
            let driven = Options { host, trace: true, ..Options::default() };
            assert_eq!(play_compared(&scenario, driven).violation, None);
            let outcome = play_compared(&scenario, Options { mutation, ..driven });
            assert_eq!(outcome.violation.unwrap().invariant, name);
            let text = outcome.trace.text();
            assert!(text.contains("plain:   ") && text.contains("variant: "), "{text}");
        }
    }

    /// What others are told depends on how many packets there were, and so on what the reader was sent.
    #[test]
    fn a_reader_that_others_notice_is_found_out() {
        // UNSUBACK says that there was no such subscription.
        let packet = |number: u64, packet: &[u8]| {
            let (_, head) = packet.split_last()?;
            let changes = packet[0] == 0xB0 && packet.len() > 4 && number.is_multiple_of(2);
            changes.then(|| vec![[head, &[0x11]].concat()])
        };
        let mutation = Mutation { packet: Some(packet), ..Mutation::default() };
        let stalled = Options { reader: Some(Reader::Stalled), trace: true, ..Options::default() };
        let scenarios = (0..100).map(|seed| generate(seed, Profile::Small));
        let found = scenarios
            .filter(|scenario| play_compared(scenario, stalled).violation.is_none())
            .find_map(|scenario| play_compared(&scenario, Options { mutation, ..stalled }).violation);
        assert_eq!(found.unwrap().invariant, "INV-91");
    }

    #[test]
    fn what_may_differ_is_not_compared() {
        let mut scenario = generate(1, Profile::Small);
        scenario.limits = Config { work_per_call: 1, ..Config::default() };
        scenario.outside.late_max = 0;
        let compared = |scenario: &Scenario| {
            VARIANTS.map(|(name, _)| variant(name, scenario, Options::default()).is_some())
        };
        assert_eq!(compared(&scenario), [true, false, false, true, true, true]);
        scenario.limits = Config::default();
        assert_eq!(compared(&scenario), [true; 6]);
        scenario.outside.late_max = 1;
        assert_eq!(compared(&scenario), [true, true, false, true, true, true]);
    }
}
