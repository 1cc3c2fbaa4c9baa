//! Fewer clients, fewer operations, less in each of them.

use super::Shrinker;
use crate::scenario::{Scenario, What};
use std::ops::Range;

impl Shrinker {
    pub(super) fn fewer(&mut self) {
        self.clients();
        self.parts(
            |scenario| scenario.operations.len(),
            |scenario, range| drop(scenario.operations.drain(range)),
        );
        for number in 0..self.best.operations.len() {
            self.lists(number);
        }
    }

    /// Leaves out clients one by one, with all that they do. The first one has to clean up in the end.
    fn clients(&mut self) {
        for client in (0..self.best.clients.len()).rev() {
            if self.best.clients.len() > 1 {
                self.try_change(|scenario| leave_out(scenario, client));
            }
        }
    }

    /// Shortens the lists of an operation.
    fn lists(&mut self, number: usize) {
        let mut list = 0;
        while list < lists(&self.best.operations[number].what) {
            self.parts(
                |scenario| len(&scenario.operations[number].what, list),
                |scenario, range| remove(&mut scenario.operations[number].what, list, range),
            );
            list += 1;
        }
    }

    /// Leaves out halves, quarters, and so on down to single parts of whatever there are so many of.
    fn parts(&mut self, len: impl Fn(&Scenario) -> usize, remove: impl Fn(&mut Scenario, Range<usize>)) {
        let mut chunk = len(&self.best).div_ceil(2);
        while chunk > 0 {
            let mut at = 0;
            while at < len(&self.best) {
                let end = (at + chunk).min(len(&self.best));
                if !self.try_change(|scenario| remove(scenario, at..end)) {
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

/// Lists of an operation. Hostile bytes are a list of chunks, and each chunk is one.
fn lists(what: &What) -> usize {
    match what {
        What::Subscribe(_)
        | What::SubscribeAs(..)
        | What::ConnectMany(_)
        | What::Bytes(_)
        | What::SetPermissions(Some(_)) => 1,
        What::Hostile(hostile) => 1 + hostile.chunks.len(),
        _ => 0,
    }
}

fn len(what: &What, list: usize) -> usize {
    match what {
        What::Subscribe(filters) | What::SubscribeAs(_, filters) => filters.len(),
        What::ConnectMany(count) => usize::from(*count),
        What::Bytes(bytes) => bytes.len(),
        What::SetPermissions(Some(permissions)) => permissions.rules.len(),
        What::Hostile(hostile) if list == 0 => hostile.chunks.len(),
        What::Hostile(hostile) => hostile.chunks[list - 1].len(),
        _ => 0,
    }
}

fn remove(what: &mut What, list: usize, range: Range<usize>) {
    match what {
        // SUBSCRIBE has a filter at least, and a client that connects has a connection.
        What::Subscribe(filters) | What::SubscribeAs(_, filters) if range.len() < filters.len() => {
            drop(filters.drain(range));
        }
        What::ConnectMany(count) if range.len() < usize::from(*count) => {
            *count -= u8::try_from(range.len()).unwrap_or(0);
        }
        What::Bytes(bytes) => drop(bytes.drain(range)),
        What::SetPermissions(Some(permissions)) => drop(permissions.rules.drain(range)),
        What::Hostile(hostile) if list == 0 => drop(hostile.chunks.drain(range)),
        What::Hostile(hostile) => drop(hostile.chunks[list - 1].drain(range)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Filter, Hostile, Hostility, Operation, Profile, Through, generate};
    use crate::shrink::{Budget, shrink};
    use crate::world::{Mutation, Options, Statement};
    use std::time::Duration;

    /// What is left of the last of these operations of one client.
    fn left(operations: &[What], invariant: &str, options: Options) -> What {
        let mut scenario = generate(0, Profile::Dense { clients: 1 });
        let at = |number: usize| 1_000_000 * (number as u64 + 1);
        let numbered = operations.iter().cloned().enumerate();
        scenario.operations =
            numbered.map(|(number, what)| Operation { at: at(number), client: 0, what }).collect();
        scenario.heal_at = at(operations.len());
        let budget = Budget { tries: 2000, time: Duration::from_secs(600) };
        shrink(&scenario, invariant, options, budget).scenario.operations.pop().unwrap().what
    }

    #[test]
    fn any_filter_can_be_the_one_that_stays() {
        let filter = |filter: &str, qos| {
            let (no_local, retain_as_published, retain_handling) = (false, false, 0);
            Filter { filter: filter.into(), qos, no_local, retain_as_published, retain_handling }
        };
        // A granted QoS 1 is said to be 2.
        let packet = |_, packet: &[u8]| {
            let wrong: Vec<u8> = packet.iter().map(|byte| if *byte == 1 { 2 } else { *byte }).collect();
            (packet[0] == 0x90).then(|| vec![[&packet[..5], &wrong[5..]].concat()])
        };
        let mutation = Mutation { packet: Some(packet), ..Mutation::default() };
        let options = Options { mutation, ..Options::default() };
        for place in 0..5 {
            let filters: Vec<_> =
                (0..5).map(|at| filter(&format!("t/{at}"), u8::from(at == place))).collect();
            let subscribe = What::Subscribe(filters.clone());
            let left = left(&[What::Connect, subscribe], "INV-32", options);
            assert_eq!(left, What::Subscribe(vec![filters[place].clone()]));
        }
    }

    #[test]
    fn what_does_not_matter_of_hostile_bytes_goes() {
        let connect = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01x";
        let chunks = vec![vec![], connect.to_vec(), b"\xc0\0\xc0\0".to_vec(), vec![]];
        let (class, through) = (Hostility::Damaged, Through::Nothing);
        let hostile = Hostile { class, own: false, chunks, pause: 1000, through };
        let statement: Statement = |view| {
            let is_there = view.each_session().any(|session| session.client_id() == "x");
            if is_there { Err("x is there".to_owned()) } else { Ok(()) }
        };
        let options = Options { statement: Some(statement), ..Options::default() };
        let What::Hostile(left) = left(&[What::Hostile(hostile)], "OWN", options) else {
            panic!("another operation")
        };
        assert_eq!(left.chunks, [connect]);
    }
}
