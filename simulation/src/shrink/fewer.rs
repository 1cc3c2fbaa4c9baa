//! Fewer clients, fewer operations.

use super::Shrinker;
use crate::scenario::Scenario;

impl Shrinker {
    pub(super) fn fewer(&mut self) {
        self.clients();
        self.operations();
    }

    /// Leaves out clients one by one, with all that they do. The first one has to clean up in the end.
    fn clients(&mut self) {
        for client in (0..self.best.clients.len()).rev() {
            if self.best.clients.len() > 1 {
                self.try_change(|scenario| leave_out(scenario, client));
            }
        }
    }

    /// Leaves out halves, quarters, and so on down to single operations.
    fn operations(&mut self) {
        let mut chunk = self.best.operations.len().div_ceil(2);
        while chunk > 0 {
            let mut at = 0;
            while at < self.best.operations.len() {
                let end = (at + chunk).min(self.best.operations.len());
                if !self.try_change(|scenario| drop(scenario.operations.drain(at..end))) {
                    at += chunk;
                }
            }
            chunk /= 2;
        }
    }
}

fn leave_out(scenario: &mut Scenario, client: usize) {
    scenario.clients.remove(client);
    scenario.operations.retain(|operation| operation.client != client);
    for operation in &mut scenario.operations {
        operation.client -= usize::from(operation.client > client);
    }
}
