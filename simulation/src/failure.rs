//! A failure as it is told: what broke, the shortest trace of it, and how to repeat it.

use crate::command::{flags, write};
use serde::Serialize;
use simulation::check::INVARIANTS;
use simulation::scenario::{Profile, generate};
use simulation::shrink::{Budget, shrink};
use simulation::swarm;
use simulation::variants::{VARIANTS, play_compared};
use simulation::world::Options;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a statement says.
pub(crate) fn says(invariant: &str) -> String {
    let known = INVARIANTS.iter().find(|(name, _)| *name == invariant).map(|(_, says)| (*says).to_owned());
    let variant = || {
        let what = VARIANTS.iter().find(|(name, _)| *name == invariant).map(|(_, what)| what);
        what.map(|what| format!("a run with {what} comes to the same, to the last byte"))
    };
    known.or_else(variant).unwrap_or_else(|| "see the message".into())
}

/// How large a scenario is.
pub(crate) fn size(operations: usize, clients: usize) -> String {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    format!("{} of {}", count(operations, "operation"), count(clients, "client"))
}

/// A seed that failed.
#[derive(Serialize)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) commit: String,
    pub(crate) invariant: &'static str,
    pub(crate) says: String,
    pub(crate) violation: String,
    pub(crate) events: u64,
    /// The command that does it again.
    pub(crate) repeat: String,
    pub(crate) shortest: Option<Shortest>,
}

/// The shortest scenario that fails in the same way.
#[derive(Serialize)]
pub(crate) struct Shortest {
    pub(crate) file: PathBuf,
    pub(crate) operations: usize,
    pub(crate) clients: usize,
    pub(crate) trace: String,
    pub(crate) repeat: String,
}

/// Lines of a long trace that are shown.
const BEGINNING: usize = 60;
const END: usize = 10;

const COMMAND: &str = "cargo run --release -p simulation --";

impl Shortest {
    /// The trace for people: of a long one its beginning and its end.
    pub(crate) fn excerpt(&self) -> Vec<String> {
        let lines: Vec<&str> = self.trace.lines().collect();
        let left_out = lines.len().saturating_sub(BEGINNING + END);
        if left_out == 0 {
            return lines.into_iter().map(str::to_owned).collect();
        }
        let note = format!("              ({left_out} lines)");
        let (beginning, end) = (&lines[..BEGINNING], &lines[BEGINNING + left_out..]);
        let all = beginning.iter().copied().chain([note.as_str()]).chain(end.iter().copied());
        all.map(str::to_owned).collect()
    }
}

impl Failure {
    pub(crate) fn new(failure: &swarm::Failure, commit: &str) -> Self {
        let invariant = failure.violation.invariant;
        Self {
            seed: failure.seed,
            commit: commit.into(),
            invariant,
            says: says(invariant),
            violation: failure.violation.to_string(),
            events: failure.events,
            repeat: {
                let profile = if failure.profile == Profile::Crash { " --profile crash" } else { "" };
                format!("{COMMAND} run {}{profile} --trace{}", failure.seed, flags(&failure.options))
            },
            shortest: None,
        }
    }

    /// Looks for the shortest scenario, and saves it in a folder.
    pub(crate) fn shorten(
        &mut self,
        failed: &swarm::Failure,
        budget: Budget,
        folder: &Path,
    ) -> Result<(), String> {
        let options = failed.options;
        let scenario = generate(failed.seed, failed.profile);
        let scenario = shrink(&scenario, self.invariant, options, budget).scenario;
        let file = folder.join(format!("seed-{}.json", self.seed));
        write(&file, &scenario.to_json())?;
        let outcome = play_compared(&scenario, Options { trace: true, ..options });
        self.shortest = Some(Shortest {
            operations: scenario.operations.len(),
            clients: scenario.clients.len(),
            trace: outcome.trace.text(),
            repeat: format!("{COMMAND} replay {} --trace{}", file.display(), flags(&options)),
            file,
        });
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, commit, invariant, says, violation, events, repeat, shortest } = self;
        writeln!(f, "FAILED: seed {seed} after {events} events: {violation}")?;
        writeln!(f, "  {invariant}: {says}")?;
        if let Some(shortest) = shortest {
            let Shortest { file, operations, clients, repeat, .. } = shortest;
            let size = size(*operations, *clients);
            writeln!(f, "  shortest: {size}, in {}", file.display())?;
            shortest.excerpt().iter().try_for_each(|line| writeln!(f, "    {line}"))?;
            writeln!(f, "  {repeat}")?;
        }
        write!(f, "  commit {commit}: {repeat}")
    }
}
