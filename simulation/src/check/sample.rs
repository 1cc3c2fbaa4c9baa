//! How closely each client is followed. To follow everybody in a large world would take most of the time, so some are
//! chosen there, and with them all who have a part in what they get.

use super::Checks;
use crate::oracle::topics::{is_shared, is_wild, matches, plain};
use crate::random::Stream;
use crate::scenario::{Scenario, What};
use crate::world::Table;
use broker_engine::{ConnId, Note, Outbox, Wire};
use std::collections::{BTreeSet, HashSet};

/// Most clients of a world in which everybody is followed by everything.
const MANY: usize = 50;

/// How closely a client is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// By the statements that are looked at for everybody.
    Other,
    /// Also by the reference broker, as its messages go to somebody who was chosen; what it gets itself is not judged.
    Sender,
    /// By everything.
    Chosen,
}

/// The part of each client.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    parts: Vec<Part>,
    /// The world is small, and everybody was chosen.
    is_whole: bool,
}

impl Sample {
    /// Chooses so many clients of a large world.
    pub(crate) fn of(scenario: &Scenario, size: usize) -> Self {
        let clients = scenario.clients.len();
        if clients <= MANY {
            return Self { parts: vec![Part::Chosen; clients], is_whole: true };
        }
        let mut stream = Stream::new(scenario.seed, "sample");
        let mut chosen = BTreeSet::new();
        while chosen.len() < size.min(clients) {
            chosen.insert(usize::try_from(stream.below(clients as u64)).unwrap_or(0));
        }
        let mut sample = Self { parts: vec![Part::Other; clients], is_whole: false };
        sample.add(chosen, Part::Chosen);
        while sample.add_peers(scenario) {}
        sample.add_senders(scenario);
        sample
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(crate) fn part(&self, client: usize) -> Part {
        self.parts[client]
    }

    /// Clients that have this part.
    pub(crate) fn count(&self, part: Part) -> usize {
        self.parts.iter().filter(|known| **known == part).count()
    }

    fn is_chosen(&self, client: usize) -> bool {
        self.parts[client] == Part::Chosen
    }

    fn add(&mut self, clients: impl IntoIterator<Item = usize>, part: Part) {
        for client in clients {
            if self.parts[client] == Part::Other {
                self.parts[client] = part;
            }
        }
    }

    /// Who has a session or the turns of a shared group in common with somebody who was chosen, is chosen too. Says whether
    /// there was anybody.
    fn add_peers(&mut self, scenario: &Scenario) -> bool {
        let before = self.count(Part::Chosen);
        let chosen = (0..self.parts.len()).filter(|client| self.is_chosen(*client));
        let of_one_name = namesakes(scenario, chosen);
        let shared = || subscriptions(scenario).filter(|(_, filter)| is_shared(filter));
        let groups: HashSet<&str> =
            shared().filter(|(client, _)| self.is_chosen(*client)).map(|(_, group)| group).collect();
        let of_one_group = shared().filter(|(_, group)| groups.contains(group)).map(|(client, _)| client);
        let peers: BTreeSet<usize> = of_one_group.chain(of_one_name).collect();
        self.add(peers, Part::Chosen);
        self.count(Part::Chosen) > before
    }

    /// Whose messages or will reach somebody who was chosen.
    fn add_senders(&mut self, scenario: &Scenario) {
        let theirs = subscriptions(scenario).filter(|(client, _)| self.is_chosen(*client));
        let (wild, exact): (HashSet<&str>, HashSet<&str>) =
            theirs.map(|(_, filter)| plain(filter)).partition(|filter| is_wild(filter));
        let reaches = |topic: &str| exact.contains(topic) || wild.iter().any(|filter| matches(filter, topic));
        let messages = scenario.operations.iter().filter_map(|operation| match &operation.what {
            What::Publish(message) | What::Flood(message) => Some((operation.client, &*message.topic)),
            _ => None,
        });
        let wills = scenario.clients.iter().enumerate();
        let wills = wills.filter_map(|(client, spec)| Some((client, &*spec.will.as_ref()?.topic)));
        let senders: BTreeSet<usize> =
            messages.chain(wills).filter(|(_, topic)| reaches(topic)).map(|(client, _)| client).collect();
        self.add(namesakes(scenario, senders.iter().copied()), Part::Sender);
        self.add(senders, Part::Sender);
    }
}

impl Checks {
    /// Clients that are followed by everything, and those whose messages to them are followed.
    pub fn followed(&self) -> (usize, usize) {
        (self.sample.count(Part::Chosen), self.sample.count(Part::Sender))
    }

    /// Does the reference broker follow this connection?
    pub(crate) fn is_followed(&self, link: usize) -> bool {
        let client = self.wires.get(link).map(|wire| wire.client);
        client.is_some_and(|client| self.sample.part(client) != Part::Other)
    }

    /// Has a call to do with somebody who is followed? It was `about` a connection, if about any.
    pub(crate) fn attend(&mut self, about: Option<usize>, out: &Outbox, links: &Table) -> bool {
        let is_followed = |conn: ConnId| links.get(conn).is_some_and(|link| self.is_followed(link));
        let is_told = |note: &Note| match note {
            Note::Connected { conn, .. } | Note::Disconnected { conn, .. } => is_followed(*conn),
            Note::SessionEnded { client_id, .. } | Note::MessageDropped { client_id, .. } => {
                self.oracle.as_ref().is_some_and(|oracle| oracle.part(client_id) != Part::Other)
            }
            _ => false,
        };
        let is_sent = |wire: &Wire| match wire {
            Wire::Send { conn, .. } | Wire::Flow { conn, .. } | Wire::Close { conn } => is_followed(*conn),
            Wire::Fanout { targets, .. } => {
                out.targets(targets).iter().any(|target| is_followed(target.conn))
            }
            _ => false,
        };
        self.attends = self.sample.is_whole()
            || about.is_some_and(|link| self.is_followed(link))
            || out.notes.iter().any(is_told)
            || out.wire.iter().any(is_sent);
        self.attended += u64::from(self.attends);
        self.attends
    }
}

/// Can the reference broker know what somebody gets whom it follows, where it does not follow everybody? Not where anything
/// may be sent to anybody, or an operator does something for a client that is away, which nothing shows at once.
pub(crate) fn is_clear(scenario: &Scenario) -> bool {
    let is_unclear = |what: &What| {
        matches!(
            what,
            What::Hostile(_)
                | What::Bytes(_)
                | What::SetPermissions(_)
                | What::SubscribeFor(_)
                | What::UnsubscribeFor(_)
                | What::Announce(_)
        )
    };
    let mut done = scenario.operations.iter().map(|operation| &operation.what).chain(&scenario.outside.deeds);
    !done.any(is_unclear)
}

/// All who have a client identifier of one of these.
fn namesakes(scenario: &Scenario, clients: impl Iterator<Item = usize>) -> Vec<usize> {
    let name = |client: usize| &*scenario.clients[client].id;
    let names: HashSet<&str> = clients.map(name).filter(|name| !name.is_empty()).collect();
    (0..scenario.clients.len()).filter(|client| names.contains(name(*client))).collect()
}

/// Who subscribes to what.
fn subscriptions(scenario: &Scenario) -> impl Iterator<Item = (usize, &str)> {
    scenario.operations.iter().flat_map(|operation| {
        let filters = match &operation.what {
            What::Subscribe(filters) | What::SubscribeAs(_, filters) => &filters[..],
            _ => &[],
        };
        filters.iter().map(|filter| (operation.client, &*filter.filter))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Filter, Profile, generate};

    /// The filters of the client's first SUBSCRIBE.
    fn filters_of(scenario: &mut Scenario, client: usize) -> &mut Vec<Filter> {
        let own = scenario.operations.iter_mut().filter(|operation| operation.client == client);
        let mut filters = own.filter_map(|operation| match &mut operation.what {
            What::Subscribe(filters) => Some(filters),
            _ => None,
        });
        filters.next().expect("a SUBSCRIBE")
    }

    fn subscribe(scenario: &mut Scenario, client: usize, filter: &str) {
        let filters = filters_of(scenario, client);
        filters.push(Filter { filter: filter.to_owned(), ..filters[0].clone() });
    }

    fn of_part(sample: &Sample, part: Part) -> Vec<usize> {
        (0..sample.parts.len()).filter(|client| sample.part(*client) == part).collect()
    }

    #[test]
    fn whoever_sends_to_somebody_chosen_is_followed() {
        let mut scenario = generate(1, Profile::Dense { clients: 200 });
        let sample = Sample::of(&scenario, 20);
        assert_eq!(sample.count(Part::Chosen), 20);
        assert!(sample.count(Part::Sender) > 0 && sample.count(Part::Other) > 100);
        for operation in &scenario.operations {
            if let What::Publish(message) = &operation.what {
                let to: usize = message.topic["t/".len()..].parse().unwrap();
                let is_followed = sample.part(operation.client) != Part::Other;
                assert!(is_followed || sample.part(to) != Part::Chosen, "{} to {to}", operation.client);
            }
        }
        // By a wildcard everybody does.
        subscribe(&mut scenario, of_part(&sample, Part::Chosen)[0], "t/+");
        let sample = Sample::of(&scenario, 20);
        assert_eq!((sample.count(Part::Chosen), sample.count(Part::Other)), (20, 0));
    }

    #[test]
    fn a_session_or_a_group_is_followed_as_a_whole() {
        let mut scenario = generate(1, Profile::Dense { clients: 200 });
        let sample = Sample::of(&scenario, 3);
        let (chosen, others) = (of_part(&sample, Part::Chosen), of_part(&sample, Part::Other));
        scenario.clients[others[0]].id = scenario.clients[chosen[0]].id.clone();
        // Somebody chosen has a group in common with a second, who has another one in common with a third.
        for (client, group) in [
            (chosen[1], "$share/g/x"),
            (others[1], "$share/g/x"),
            (others[1], "$share/h/x"),
            (others[2], "$share/h/x"),
        ] {
            subscribe(&mut scenario, client, group);
        }
        let sample = Sample::of(&scenario, 3);
        let mut expected = [&chosen[..], &others[..3]].concat();
        expected.sort_unstable();
        assert_eq!(of_part(&sample, Part::Chosen), expected);
    }

    #[test]
    fn everybody_of_a_small_world_is_chosen() {
        let sample = Sample::of(&generate(1, Profile::Dense { clients: MANY }), 0);
        assert!(sample.is_whole() && sample.count(Part::Chosen) == MANY);
        let sample = Sample::of(&generate(1, Profile::Dense { clients: MANY + 1 }), 0);
        assert!(!sample.is_whole() && sample.count(Part::Other) == MANY + 1);
    }
}
