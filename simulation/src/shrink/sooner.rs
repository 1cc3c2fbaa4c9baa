//! Round times, close together.

use super::Shrinker;
use crate::scenario::Scenario;

const SECOND: u64 = 1_000_000;

impl Shrinker {
    pub(super) fn sooner(&mut self) {
        // Everything a second after what was before it; else each by itself as near and as round as can be.
        let mut even = self.best.clone();
        for (number, operation) in even.operations.iter_mut().enumerate() {
            operation.at = (number as u64 + 1) * SECOND;
        }
        even.heal_at = (even.operations.len() as u64 + 2) * SECOND;
        if even.to_json() == self.best.to_json() || self.try_one(even) {
            return;
        }
        for number in 0..=self.best.operations.len() {
            let _ = [SECOND, SECOND / 10, SECOND / 1000].into_iter().any(|unit| {
                self.try_change(|scenario| wait(scenario, number, |pause| pause.min(unit)))
                    || self.try_change(|scenario| wait(scenario, number, |pause| pause / unit * unit))
            });
        }
    }
}

/// Changes the pause before an operation, or before the world heals; what comes later keeps its distance.
fn wait(scenario: &mut Scenario, number: usize, change: impl Fn(u64) -> u64) {
    let mut times: Vec<&mut u64> =
        scenario.operations.iter_mut().map(|operation| &mut operation.at).collect();
    times.push(&mut scenario.heal_at);
    let before = number.checked_sub(1).map_or(0, |before| *times[before]);
    let pause = times[number].saturating_sub(before);
    let saved = pause - change(pause);
    for time in &mut times[number..] {
        **time -= saved;
    }
}
