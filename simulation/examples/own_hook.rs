//! One's own hook under a swarm: it decides who may connect, a statement says what must follow from that, and many
//! worlds try to make it false.
//!
//! `cargo run --release -p simulation --example own_hook`

use broker_engine::{Answer, Question, View};
use mqtt_proto::ReasonCode;
use simulation::scenario::Profile;
use simulation::swarm::{Plan, Summary, run};
use simulation::world::Options;

/// Clients of the simulator are called c0, c1 and so on; this one is not let in.
const BANNED: &str = "c1";

/// The hook: what a real one would look up in its own tables.
fn may_connect(question: &Question) -> Answer {
    match question {
        Question::Authenticate(who) if who.client_id == BANNED => Answer::Deny(ReasonCode::Banned),
        _ => Answer::Allow,
    }
}

/// What must be true after every call of the engine.
fn nobody_banned_is_in(view: View<'_>) -> Result<(), String> {
    match view.session(BANNED) {
        Some(_) => Err(format!("{BANNED} has a session")),
        None => Ok(()),
    }
}

fn swarm(hook: fn(&Question) -> Answer) -> Summary {
    let options = Options { hook: Some(hook), statement: Some(nobody_banned_is_in), ..Options::default() };
    let profile = Profile::Small;
    run(Plan { from: 0, seeds: 40, most: 40, profile, again: 0, threads: 2, first: true, options }, |_| {})
}

fn main() {
    let summary = swarm(may_connect);
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
    println!("{} worlds, {} events: the hook holds", summary.seeds, summary.events);
    // A hook that lets everybody in is found out.
    let failure = &swarm(|_| Answer::Allow).failures[0];
    println!("seed {}: {}", failure.seed, failure.violation);
}
