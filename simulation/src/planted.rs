//! The canary and the planted bugs: how soon does a swarm find what is there on purpose, and how short a scenario is
//! left of it? Bugs are planted in a build of their own, with `--cfg planted`; see `mqtt_proto::planted!`.

use crate::scenario::{Profile, generate};
use crate::shrink::{Budget, shrink};
use crate::swarm::{self, Plan};
use crate::world::{Mutation, Options, canary};
use std::time::{Duration, Instant};

/// The bug that is in no build and has to be found by every campaign.
pub const CANARY: &str = "canary";

/// Planted bugs: name, what is wrong, and where it was seen.
pub const BUGS: &[(&str, &str, &str)] = &[
    ("acknowledged-too-early", "no acknowledgement waits for the store", "mosquitto, FlashMQ"),
    ("again-without-a-yes", "who is refused when it authenticates again stays", "class"),
    ("alias-of-nothing", "an alias is given out with a packet that is not sent", "mochi"),
    ("announced-length-reserved", "a buffer is as large as a packet says", "mosquitto, mochi"),
    ("answer-for-another", "an answer about one message counts for another", "class"),
    ("answer-outlives-connection", "a late answer sends what its connection took along", "class"),
    ("answers-overtake", "messages go out in the order of answers", "class"),
    ("any-answer-counts", "an answer counts for whatever question is open", "class"),
    ("any-user-resumes", "a session goes to another user", "mochi #398"),
    ("clock-goes-back", "a process begins by a wall clock that went back", "class"),
    ("count-drifts", "a takeover is not counted out", "Moquette #583"),
    ("damage-untold", "damaged records are left out without a word", "mosquitto #3702"),
    ("delivered-is-kept", "what is acknowledged stays in the store", "class"),
    ("empty-is-retained", "an empty retained message is kept instead of removing", "class"),
    ("expiry-ends-exchange", "what was sent is forgotten when it expires", "mosquitto #3744"),
    ("expiry-grows", "what is told of a message's life grows", "HiveMQ CE #784"),
    ("filter-as-topic", "a filter is judged as if it were a topic", "comqtt #169"),
    ("first-member-always", "a shared group's first member gets everything", "class"),
    ("for-ever-ends", "an expiry of 0xFFFFFFFF is a number", "class"),
    ("hash-decides", "the hash key says who of a shared group gets a message", "class"),
    ("identifier-not-kept", "packet identifiers in flight are not kept", "mochi"),
    ("identifier-swapped", "acknowledgements are written in the wrong byte order", "class"),
    ("keep-alive-wraps", "one and a half times the keep-alive in 16 bits", "mochi"),
    ("kept-for-ever", "what waits in the store does not expire", "mochi"),
    ("lost-wake-up", "a client that was paused is never read again", "Moquette #587"),
    ("mask-begins-anew", "each part of a WebSocket frame is unmasked as if it were the first", "class"),
    ("maximum-packet-size-ignored", "packets are larger than the client takes", "class"),
    ("maximum-qos-ignored", "Maximum QoS is announced and not enforced", "class"),
    ("no-connect-deadline", "who never sends CONNECT stays", "class"),
    ("no-local-merged", "No Local of one filter silences the others", "mochi"),
    ("no-session-no-permissions", "who publishes and ends its session may publish anything", "class"),
    ("no-subscribers-untold", "a publisher hears Success where nobody subscribed", "class"),
    ("one-id-space", "both directions share packet identifiers", "mochi #545"),
    ("options-not-replaced", "subscribing again keeps the old options", "class"),
    ("overload-stays", "once a message was refused, memory is short for ever", "class"),
    ("permissions-before-rewriting", "what a hook puts in its place is not judged", "mosquitto #3670"),
    ("permissions-stay", "what a client may never changes", "class"),
    ("positions-collide", "places in a queue share a key", "class"),
    ("publish-after-pubrec", "PUBLISH is sent again after PUBREC", "AIS2Lab"),
    ("packet-limit-ignored", "the broker's own Maximum Packet Size is announced and not enforced", "class"),
    ("pubrel-not-resent", "an owed PUBREL is forgotten", "rmqtt #456"),
    ("qos-as-published", "the granted QoS is ignored", "class"),
    ("qos0-overtakes", "QoS 0 overtakes what waited for an absent client", "class"),
    ("qos2-forgotten", "QoS 2 messages are new again after a reconnect", "mosquitto"),
    ("queue-skips-permissions", "what waits is sent though it may not be read any more", "NATS"),
    ("quota-kept", "the quota of an earlier connection goes on", "class"),
    ("quota-leak", "a rejected PUBREC frees no quota", "NATS #8359"),
    ("receive-maximum-ignored", "Receive Maximum is announced and not enforced", "mosquitto, FlashMQ"),
    ("received-not-kept", "QoS 2 messages are new again after a crash", "class"),
    ("refused-takes-over", "a refused CONNECT ends the live connection", "class"),
    ("release-not-kept", "PUBREC is forgotten by a crash", "class"),
    ("released-is-sent-again", "PUBLISH is sent again after PUBREC and a crash", "class"),
    ("repeat-disconnects", "a repeated QoS 2 PUBLISH ends the connection", "mosquitto #3602"),
    ("repeat-routed", "a repeated QoS 2 PUBLISH is delivered again", "mosquitto"),
    ("resend-order", "what is sent again comes in another order", "EMQX, mochi"),
    ("resend-skips-permissions", "what is sent again may not be read any more", "mochi #504"),
    ("resend-without-dup", "what is sent again has DUP 0", "AIS2Lab"),
    ("restart-allows-all", "until they are back, clients may do everything behind a restart", "class"),
    ("restart-order", "what is sent again after a crash comes in another order", "class"),
    ("resumed-without-routes", "a resumed session has no subscriptions", "rmqtt #477"),
    ("retain-flag-lost-offline", "Retain As Published is lost in the queue", "vernemq #2551"),
    ("retain-handling-ignored", "Retain Handling 1 sends always", "class"),
    ("retained-comes-back", "a retained message that was removed is there after a crash", "class"),
    ("retained-skips-permissions", "retained messages are for everybody", "mochi #46, EMQX"),
    ("retained-without-flag", "retained messages come with RETAIN 0", "class"),
    ("session-present-0", "Session Present is 0 for a session that goes on", "class"),
    ("shared-not-handed-on", "a shared message is lost when its member ends", "mosquitto #2662"),
    ("shared-qos2-handed-on", "QoS 2 in flight goes to another member", "spec"),
    ("shared-skips-permissions", "a member of a shared group is chosen that may not read", "class"),
    ("silence-allows", "a question that nobody answers is answered with yes", "class"),
    ("silent-loss", "a message is dropped without a word", "class"),
    ("slow-reader-slows-all", "publishers wait for the slowest reader", "class"),
    ("suback-before-routes", "matches of before SUBSCRIBE are remembered behind its SUBACK", "BifroMQ #281"),
    ("timer-leak", "timers outlive their objects", "rmqtt #495"),
    ("too-large-stalls", "a message that is too large stays at the queue's head", "rmqtt #513"),
    ("unsubscribed-comes-back", "a subscription that was ended is there after a crash", "class"),
    ("wildcard-reaches-dollar", "`+` and `#` match `$SYS`", "aedes #135"),
    ("will-lost-on-0x04", "DISCONNECT 0x04 cancels the will", "AIS2Lab"),
    ("will-lost-on-reset", "a reset cancels the will", "AIS2Lab"),
    ("will-lost-with-session", "a delayed will is lost when the session ends first", "EMQX #18585"),
    ("will-not-kept", "wills are not kept", "gmqtt"),
    ("will-sent-twice", "a will is sent again", "mosquitto"),
    ("will-skips-permissions", "a will goes out whatever its client may by then", "mochi #503"),
    ("younger-after-restart", "sessions expire as if their clients had left when the broker began", "class"),
];

/// How a bug was found.
#[derive(Debug)]
pub struct Found {
    /// Seeds until then.
    pub seeds: u64,
    /// The statement that it broke.
    pub invariant: &'static str,
    /// Operations of the shortest scenario.
    pub operations: usize,
    /// Clients of it.
    pub clients: usize,
    /// Time until it was found.
    pub took: Duration,
    /// Time to make it short.
    pub shrinking: Duration,
}

/// Looks for a bug: the canary, or one that is planted in this build.
pub fn hunt(bug: &str, from: u64, seeds: u64, threads: usize, budget: Budget) -> Option<Found> {
    let mut options = Options::default();
    if bug == CANARY {
        options.mutation = Mutation { packet: Some(canary), ..Mutation::default() };
    } else {
        plant(bug);
    }
    let start = Instant::now();
    let profile = Profile::Small;
    let plan = Plan { from, seeds, most: seeds, profile, again: 10, threads, first: true, options };
    let summary = swarm::run(plan, |_| {});
    let took = start.elapsed();
    let failure = summary.failures.first()?;
    let scenario = generate(failure.seed, Profile::Small);
    let shrunk = shrink(&scenario, failure.violation.invariant, failure.options, budget).scenario;
    plant("");
    Some(Found {
        seeds: failure.seed - from + 1,
        invariant: failure.violation.invariant,
        operations: shrunk.operations.len(),
        clients: shrunk.clients.len(),
        took,
        shrinking: start.elapsed().saturating_sub(took),
    })
}

/// Are bugs planted in this build?
pub const fn is_planted() -> bool {
    cfg!(planted)
}

#[cfg(planted)]
fn plant(bug: &str) {
    mqtt_proto::plant(bug);
}

#[cfg(not(planted))]
fn plant(_bug: &str) {}
