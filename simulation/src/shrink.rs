//! The shortest scenario that still fails in the same way: fewer operations, fewer faults, plain habits and limits,
//! small messages.

use crate::scenario::{Acks, Client, Drift, Scenario, What};
use crate::world::{Options, play};
use broker_engine::Config;

/// How far it got.
#[derive(Debug)]
pub struct Shrunk {
    /// Fails as the original did.
    pub scenario: Scenario,
    /// Scenarios that were tried.
    pub tried: u64,
}

/// Makes a scenario smaller as long as it breaks the same invariant, trying at most so many.
pub fn shrink(scenario: &Scenario, invariant: &str, options: Options, most: u64) -> Shrunk {
    let invariant = invariant.to_owned();
    let mut shrinker = Shrinker { best: scenario.clone(), invariant, options, tried: 0, most };
    loop {
        let before = shrinker.size();
        shrinker.operations();
        shrinker.surroundings();
        shrinker.details();
        if shrinker.size() == before || shrinker.tried >= most {
            return Shrunk { scenario: shrinker.best, tried: shrinker.tried };
        }
    }
}

struct Shrinker {
    best: Scenario,
    invariant: String,
    options: Options,
    tried: u64,
    most: u64,
}

impl Shrinker {
    fn size(&self) -> usize {
        self.best.to_json().len()
    }

    /// Takes a candidate if it fails in the same way.
    fn try_one(&mut self, candidate: Scenario) -> bool {
        if self.tried >= self.most {
            return false;
        }
        self.tried += 1;
        let outcome = play(&candidate, self.options);
        let same = outcome.violation.is_some_and(|violation| violation.invariant == self.invariant);
        if same {
            self.best = candidate;
        }
        same
    }

    /// Leaves out halves, quarters, and so on down to single operations; first those of whole clients.
    fn operations(&mut self) {
        for client in 0..self.best.clients.len() {
            let mut candidate = self.best.clone();
            candidate.operations.retain(|operation| operation.client != client);
            if candidate.operations.len() < self.best.operations.len() {
                self.try_one(candidate);
            }
        }
        let mut chunk = self.best.operations.len().div_ceil(2);
        while chunk > 0 {
            let mut at = 0;
            while at < self.best.operations.len() {
                let mut candidate = self.best.clone();
                let end = (at + chunk).min(candidate.operations.len());
                candidate.operations.drain(at..end);
                if !self.try_one(candidate) {
                    at += chunk;
                }
            }
            chunk /= 2;
        }
        // Clients that do nothing any more go.
        let mut candidate = self.best.clone();
        let used: Vec<bool> = (0..candidate.clients.len())
            .map(|client| candidate.operations.iter().any(|operation| operation.client == client))
            .collect();
        let mut places = Vec::new();
        let mut next = 0;
        for used in &used {
            places.push(next);
            next += usize::from(*used);
        }
        let mut used_of = used.iter();
        candidate.clients.retain(|_| *used_of.next().unwrap_or(&true));
        for operation in &mut candidate.operations {
            operation.client = places[operation.client];
        }
        if candidate.clients.len() < self.best.clients.len() && !candidate.clients.is_empty() {
            self.try_one(candidate);
        }
    }

    /// Takes faults and limits away one by one.
    fn surroundings(&mut self) {
        let changes: [fn(&mut Scenario); 20] = [
            |s| s.epoch = 0,
            |s| s.network.cut = 0,
            |s| s.network.abrupt = 0,
            |s| s.network.bytewise = 0,
            |s| s.network.tail = 0,
            |s| s.network.bandwidth = 0,
            |s| s.network.roaming = 0,
            |s| s.network.clog = 0,
            |s| s.network.split = 0,
            |s| s.network.half_open = 0,
            |s| s.network.socket_buffer = 1 << 20,
            |s| (s.network.delay_min, s.network.delay_max) = (1000, 1000),
            |s| s.outside.restore = 0,
            |s| s.outside.late_max = 0,
            |s| s.outside.tick_twice = 0,
            |s| s.outside.tick_lost = 0,
            |s| s.outside.no_answer = 0,
            |s| s.outside.deny = 0,
            |s| s.outside.answer_max = 0,
            |s| s.limits = Config::default(),
        ];
        for change in changes {
            let mut candidate = self.best.clone();
            change(&mut candidate);
            if candidate.to_json() != self.best.to_json() {
                self.try_one(candidate);
            }
        }
        // Limits one by one, where all at once was too much.
        let json = |config: &Config| serde_json::to_value(config).unwrap_or_default();
        let plain = json(&Config::default());
        let names: Vec<String> =
            plain.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        for name in names {
            let mut limits = json(&self.best.limits);
            if limits[&name] == plain[&name] {
                continue;
            }
            limits[&name] = plain[&name].clone();
            let mut candidate = self.best.clone();
            if let Ok(config) = serde_json::from_value(limits) {
                candidate.limits = config;
                self.try_one(candidate);
            }
        }
        // An earlier end.
        let last = self.best.operations.last().map_or(0, |operation| operation.at);
        if last + 1_000_000 < self.best.heal_at {
            let mut candidate = self.best.clone();
            candidate.heal_at = last + 1_000_000;
            self.try_one(candidate);
        }
    }

    /// Plain clients, plain messages.
    fn details(&mut self) {
        for client in 0..self.best.clients.len() {
            let changes: [fn(&mut Client); 13] = [
                |c| c.will = None,
                |c| c.reconnect = None,
                |c| c.acks = Acks::Prompt,
                |c| c.keep_alive = 0,
                |c| c.receive_maximum = None,
                |c| c.maximum_packet_size = None,
                |c| c.topic_alias_maximum = 0,
                |c| c.version = 5,
                |c| c.reads = None,
                |c| c.holds_release = false,
                |c| c.uses_aliases = false,
                |c| c.last_packet_id = 0,
                |c| c.drift = Drift::default(),
            ];
            for change in changes {
                let mut candidate = self.best.clone();
                change(&mut candidate.clients[client]);
                if candidate.clients[client] != self.best.clients[client] {
                    self.try_one(candidate);
                }
            }
        }
        for number in 0..self.best.operations.len() {
            let mut candidate = self.best.clone();
            match &mut candidate.operations[number].what {
                What::Publish(message) => {
                    message.size = message.size.min(8);
                    message.expiry = None;
                }
                What::Subscribe(filters) if filters.len() > 1 => filters.truncate(1),
                What::Pause(pause) => *pause = (*pause).min(1_000_000),
                What::ConnectMany(count) => *count = (*count).min(2),
                what @ (What::ConnectFor(_) | What::HalfClose | What::EndMidPacket) => {
                    *what = if matches!(what, What::ConnectFor(_)) { What::Connect } else { What::Cut };
                }
                What::Disconnect { expiry, .. } => *expiry = None,
                What::Hold { up, down } => (*up, *down) = (true, true),
                What::Hostile(hostile) => drop(hostile.chunks.pop()),
                _ => continue,
            }
            if candidate.operations[number] != self.best.operations[number] {
                self.try_one(candidate);
            }
        }
        // Rounder times.
        let mut candidate = self.best.clone();
        for (number, operation) in candidate.operations.iter_mut().enumerate() {
            operation.at = (number as u64 + 1) * 1_000_000;
        }
        candidate.heal_at = (candidate.operations.len() as u64 + 2) * 1_000_000;
        if candidate.to_json() != self.best.to_json() {
            self.try_one(candidate);
        }
    }
}
