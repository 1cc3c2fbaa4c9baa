//! Faults, queues and messages over time. Worlds have different lengths, so time is cut into pieces by the share of it
//! that has passed until the world heals, and goes on in the same pieces afterwards.

use crate::check::{FAULTS, Marks};
use broker_engine::View;
use std::collections::BTreeMap;

/// Pieces until the world heals.
pub const HEALED: usize = 40;

/// Pieces in all. Half as long again shows that queues run empty.
pub const PIECES: usize = 60;

/// One run.
#[derive(Clone, Debug)]
pub struct Course {
    /// Microseconds of a piece.
    length: u64,
    ends: Vec<End>,
}

/// At the end of a piece, since the beginning.
#[derive(Clone, Debug)]
struct End {
    queued: u64,
    received: u64,
    sent: u64,
    faults: [u64; FAULTS.len()],
}

impl Course {
    pub(crate) fn new(heal_at: u64) -> Self {
        Self { length: (heal_at / HEALED as u64).max(1), ends: Vec::new() }
    }

    /// Nothing happens until then.
    #[inline]
    pub(crate) fn goes_on(&mut self, now: u64, view: View<'_>, marks: &Marks) {
        while self.ends.len() < PIECES && now >= self.length * (self.ends.len() as u64 + 1) {
            let counters = view.counters();
            self.ends.push(End {
                queued: view.queued(),
                received: counters.publish_received.iter().sum(),
                sent: counters.publish_sent.iter().sum(),
                faults: marks.faults(),
            });
        }
    }
}

/// A piece of time, all runs together.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Virtual microseconds.
    pub time: u64,
    /// PUBLISH packets that came in.
    pub received: u64,
    /// PUBLISH packets that went out.
    pub sent: u64,
    /// Faults, by their place in [`FAULTS`].
    pub faults: [u64; FAULTS.len()],
    /// Messages that waited at its end, and in how many runs it was so many.
    queued: BTreeMap<u64, u64>,
}

impl Default for Piece {
    fn default() -> Self {
        Self { time: 0, received: 0, sent: 0, faults: [0; FAULTS.len()], queued: BTreeMap::new() }
    }
}

impl Piece {
    /// Messages that waited at its end, in all but so many per mille of the runs no more.
    pub fn queued(&self, but_per_mille: u64) -> u64 {
        let runs: u64 = self.queued.values().sum();
        let mut left = runs - runs * but_per_mille / 1000;
        let reached = self.queued.iter().find(|(_, count)| {
            left = left.saturating_sub(**count);
            left == 0
        });
        reached.map_or(0, |(queued, _)| *queued)
    }
}

/// Many runs.
#[derive(Clone, Debug)]
pub struct Timeline(Vec<Piece>);

impl Default for Timeline {
    fn default() -> Self {
        Self(vec![Piece::default(); PIECES])
    }
}

impl Timeline {
    /// Adds a run, as far as it went.
    pub fn add(&mut self, course: &Course) {
        let mut before = None;
        for (piece, end) in self.0.iter_mut().zip(&course.ends) {
            // An engine that starts again counts from its beginning.
            let since = |count: fn(&End) -> u64| count(end).saturating_sub(before.map_or(0, count));
            piece.time += course.length;
            piece.received += since(|end| end.received);
            piece.sent += since(|end| end.sent);
            *piece.queued.entry(end.queued).or_default() += 1;
            for (place, faults) in piece.faults.iter_mut().enumerate() {
                *faults += end.faults[place] - before.map_or(0, |before| before.faults[place]);
            }
            before = Some(end);
        }
    }

    /// In order of time.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Profile, Scenario, What, generate};
    use crate::world::{Options, play};

    #[test]
    fn runs_add_up_and_come_to_rest() {
        let place = FAULTS.iter().position(|(class, _)| *class == "N09").unwrap();
        let mut timeline = Timeline::default();
        let (mut time, mut broken) = (0, 0);
        // A world that stands still for a while heals later than it was to.
        let is_steady = |scenario: &Scenario| {
            !scenario.operations.iter().any(|operation| matches!(operation.what, What::Pause(_)))
        };
        let scenarios = (0..).map(|seed| generate(seed, Profile::Small)).filter(is_steady);
        for scenario in scenarios.take(8) {
            let outcome = play(&scenario, Options::default());
            timeline.add(&outcome.course);
            time += scenario.heal_at / HEALED as u64 * PIECES as u64;
            broken += outcome.checks.marks.faults()[place];
        }
        let pieces = timeline.pieces();
        assert_eq!(pieces.iter().map(|piece| piece.time).sum::<u64>(), time);
        assert_eq!(pieces.iter().map(|piece| piece.faults[place]).sum::<u64>(), broken);
        assert!(pieces[HEALED + 1..].iter().all(|piece| piece.faults[place] == 0), "the world is healed");
        let middle = &pieces[HEALED / 4..HEALED * 3 / 4];
        assert!(middle.iter().any(|piece| piece.received > 0) && middle.iter().any(|piece| piece.sent > 0));
        let queued: Vec<u64> = pieces.iter().map(|piece| piece.queued(0)).collect();
        let (busy, last) = (queued.iter().max(), queued.last());
        assert!(busy > Some(&0) && last == Some(&0), "{busy:?} messages wait, {last:?} at the end");
    }

    #[test]
    fn a_share_of_the_runs_has_no_longer_queue() {
        let piece = Piece { queued: BTreeMap::from([(0, 60), (3, 30), (9, 10)]), ..Piece::default() };
        let queued = [500, 400, 390, 100, 99, 0].map(|but| piece.queued(but));
        assert_eq!(queued, [0, 0, 3, 3, 9, 9]);
        assert_eq!(Piece::default().queued(500), 0);
    }
}
