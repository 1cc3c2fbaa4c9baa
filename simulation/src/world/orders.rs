//! A world in which no time passes between what can happen next: which of it does is chosen, and so are breaks of
//! connections and restarts of the broker.

use super::{Event, Options, Outcome, World, outcome};
use crate::check::Violation;
use crate::scenario::{Scenario, What};

/// Something that can happen next. Of what keeps its order, such as the bytes of a link, it is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A client does its next operation.
    Act(usize),
    /// A client gets what was sent to it, or sees that its link is gone.
    ToClient(usize),
    /// The broker gets what a client sent on a link, or hears that it is gone.
    ToBroker(usize),
    /// The broker gets an answer, or is called again.
    Host,
    /// A client loses its connection and opens another.
    Break(usize),
    /// The broker goes on from its snapshot.
    Restart,
    /// Nothing more: the world heals.
    End,
}

impl Step {
    /// Whatever is first of two, the same comes of it: what a client does and gets meets the broker only later, at the
    /// end of a queue.
    pub fn commutes(self, other: Self) -> bool {
        let client = |step| match step {
            Self::Act(client) | Self::ToClient(client) => Some(client),
            _ => None,
        };
        match (self, other) {
            (Self::End, _) | (_, Self::End) => false,
            (Self::Break(broken), step) | (step, Self::Break(broken)) => {
                client(step).is_some_and(|client| client != broken)
            }
            (one, other) => client(one) != client(other),
        }
    }
}

/// How often the world may go wrong.
#[derive(Clone, Copy, Debug)]
pub struct Mishaps {
    /// Breaks of connections.
    pub breaks: u32,
    /// Restarts of the broker.
    pub restarts: u32,
}

/// Plays a scenario without delays. Operations at `from` and what comes of them happen in the order that is chosen
/// among what can happen next; it is given up where nothing is chosen.
pub fn play_in_order(
    scenario: &Scenario,
    options: Options,
    from: u64,
    mishaps: Mishaps,
    choose: impl FnMut(&[Step]) -> Option<usize>,
) -> Option<Outcome> {
    let mut given_up = false;
    let outcome = outcome(scenario, options, |world| {
        world.run_until(from)?;
        given_up = !world.in_order(mishaps, choose)?;
        if given_up { Ok(()) } else { world.run() }
    });
    (!given_up).then_some(outcome)
}

impl World<'_> {
    fn in_order(
        &mut self,
        mut mishaps: Mishaps,
        mut choose: impl FnMut(&[Step]) -> Option<usize>,
    ) -> Result<bool, Violation> {
        loop {
            let mut steps = self.steps();
            if steps.is_empty() {
                steps.push(Step::End);
            }
            if mishaps.breaks > 0 {
                let connected = self.players.iter().enumerate().filter(|(_, player)| player.is_connected());
                steps.extend(connected.map(|(client, _)| Step::Break(client)));
            }
            if mishaps.restarts > 0 {
                steps.push(Step::Restart);
            }
            let Some(chosen) = choose(&steps) else { return Ok(false) };
            match steps[chosen] {
                Step::End => return Ok(true),
                Step::Break(client) => {
                    mishaps.breaks -= 1;
                    self.operate(client, &What::Connect)?;
                }
                Step::Restart => {
                    mishaps.restarts -= 1;
                    self.restore()?;
                }
                step => self.take_first(step).map_or(Ok(()), |event| self.happen(event))?,
            }
            self.settle()?;
        }
    }

    /// What can happen now. What would reach nobody any more is forgotten, and who is not connected waits.
    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for due in self.agenda.all_before(self.now + 1) {
            if self.is_in_vain(&due.event) {
                continue;
            }
            let step = self.step_of(&due.event);
            let waits = matches!(step, Step::Act(client) if !self.players[client].is_online());
            if !waits && !steps.contains(&step) {
                steps.push(step);
            }
            self.agenda.put_back(due);
        }
        steps
    }

    /// The event that a step consists of.
    fn take_first(&mut self, step: Step) -> Option<Event> {
        let mut found = None;
        for due in self.agenda.all_before(self.now + 1) {
            if found.is_none() && self.step_of(&due.event) == step {
                found = Some(due.event);
            } else {
                self.agenda.put_back(due);
            }
        }
        found
    }

    fn step_of(&self, event: &Event) -> Step {
        match event {
            Event::Operation(number) => Step::Act(self.scenario.operations[*number].client),
            Event::Wake { client, .. } => Step::Act(*client),
            Event::ToClient { link, .. } | Event::ClientLost { link } => {
                Step::ToClient(self.links[*link].client)
            }
            Event::ToBroker { link, .. } | Event::BrokerLost { link, .. } => Step::ToBroker(*link),
            Event::Tick { .. } | Event::Outside(..) | Event::Heal => Step::Host,
        }
    }

    fn is_in_vain(&self, event: &Event) -> bool {
        match event {
            Event::ToBroker { link, .. } => self.links[*link].dead || !self.links[*link].broker,
            Event::ToClient { link, .. } => self.links[*link].dead || !self.links[*link].client_end,
            Event::BrokerLost { link, .. } => !self.links[*link].broker,
            Event::ClientLost { link } => !self.links[*link].client_end,
            _ => false,
        }
    }
}
