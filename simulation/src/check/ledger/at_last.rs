//! Once nothing goes wrong any more: everybody who is there has what was owed, and nothing is stuck.

use super::{Known, Ledger};
use crate::check::{Counts, Violation};
use broker_engine::{Engine, MemoryPressure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Stuck messages that are told of each kind.
const FEW: usize = 10;

impl Ledger {
    /// What a session waits for, as far as it is known here: a line for each of a few.
    fn stuck(&self, known: &Known) -> String {
        let mut text = String::new();
        for (id, outgoing) in known.outgoing.iter().take(FEW) {
            let waits = if outgoing.released { "PUBCOMP" } else { "PUBACK or PUBREC" };
            let (number, qos) = (outgoing.number, outgoing.qos as u8);
            let _ = write!(text, "\n    in flight: #{id}, message {number} of QoS {qos}, waits for {waits}");
        }
        let missing = known.owed.iter().filter(|number| !known.got.contains_key(number));
        for number in missing.take(FEW) {
            let topic = &self.messages[*number as usize].topic;
            let _ = write!(text, "\n    never sent: message {number} to {topic}");
        }
        text
    }

    /// Once nothing goes wrong any more: every session that is there has got what is owed to it.
    pub(in crate::check) fn all_delivered(
        &self,
        now: u64,
        engine: &Engine,
        spared: &BTreeSet<usize>,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        for session in engine.view().each_session().filter(|session| session.connection().is_some()) {
            let known = self.sessions.get(session.client_id());
            let Some(known) = known.filter(|known| known.link.is_none_or(|link| !spared.contains(&link)))
            else {
                continue;
            };
            // Who publishes again before it acknowledges may be let go of each time, for want of memory.
            if engine.view().memory_pressure() != MemoryPressure::None {
                continue;
            }
            counts.look("LIV-1");
            if session.queued() + session.inflight() > 0 {
                let (queued, inflight) = (session.queued(), session.inflight());
                let detail = format!(
                    "{}: {queued} queued, {inflight} in flight, and nobody is in the way{}",
                    session.client_id(),
                    self.stuck(known)
                );
                return Err(Violation::new("LIV-1", now, detail));
            }
            counts.look("INV-12");
            let forgotten = known.outgoing.iter().next().filter(|_| !known.gave_up && !self.went_back);
            if let Some((id, outgoing)) = forgotten {
                let detail = format!(
                    "{}: #{id}, message {}, was never acknowledged, and is forgotten",
                    session.client_id(),
                    outgoing.number
                );
                return Err(Violation::new("INV-12", now, detail));
            }
            let mut missing: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
            for number in known.owed.iter().filter(|number| !known.got.contains_key(number)) {
                missing.entry(&self.messages[*number as usize].topic).or_default().push(*number);
            }
            counts.look("INV-01");
            // Of a message that only the store had, and has lost, nobody knows the topic.
            let mut nameless = known.drops.get("").copied().unwrap_or_default() as usize;
            for (topic, numbers) in missing {
                let dropped = known.drops.get(topic).copied().unwrap_or_default();
                let unexplained = numbers.len().saturating_sub(dropped as usize);
                if let Some(left) = nameless.checked_sub(unexplained) {
                    nameless = left;
                } else {
                    let detail = format!(
                        "{} never got {numbers:?} to {topic}, {dropped} were dropped",
                        session.client_id()
                    );
                    return Err(Violation::new("INV-01", now, detail));
                }
            }
        }
        Ok(())
    }
}
