//! A small world in every order in which it can happen.

use super::tell;
use crate::machine;
use crate::output::{remark, say};
use crate::report::grouped;
use clap::Args;
use simulation::crashes::{self, Crashes};
use simulation::exhaustive::{Explored, Scope};
use simulation::world::{Mishaps, Options};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Args)]
pub(crate) struct Exhaustive {
    /// Quality of service
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Messages of the publisher
    #[arg(long, default_value_t = 2)]
    messages: usize,
    /// Breaks of connections, of either client
    #[arg(long, default_value_t = 1)]
    breaks: u32,
    /// Restarts of the broker from its snapshot
    #[arg(long, default_value_t = 1)]
    restarts: u32,
    /// Orders to play at most
    #[arg(long, default_value_t = u64::MAX)]
    most: u64,
    /// Instead of orders: a crash behind every call, with every part of what was on its way to the store
    #[arg(long)]
    crashes: bool,
    /// Play just the order that these decisions lead to, and print what happens
    #[arg(long, value_delimiter = ',')]
    order: Option<Vec<usize>>,
}

impl Exhaustive {
    pub(crate) fn run(&self) -> Result<bool, String> {
        if self.crashes {
            return Ok([false, true].into_iter().fold(true, |holds, again| holds & crashes(again)));
        }
        let mishaps = Mishaps { breaks: self.breaks, restarts: self.restarts };
        let scope = Scope { qos: self.qos, messages: self.messages, mishaps, redundant: false };
        if let Some(order) = &self.order {
            let options = Options { trace: true, ..Options::default() };
            let outcome = scope.play(order, options).ok_or("these decisions cannot be taken")?;
            return Ok(tell(&outcome, true));
        }
        let last = AtomicU64::new(0);
        let explored = scope.explore(self.most, machine::threads(), Options::default(), |explored, _| {
            let now = explored.took.as_secs() / 10;
            if last.swap(now, Ordering::Relaxed) < now {
                remark!("{} orders", grouped(explored.orders));
            }
        });
        Ok(self.tell(&explored))
    }

    fn tell(&self, explored: &Explored) -> bool {
        let Explored { orders, asleep, events, longest, is_complete, failure, took } = explored;
        let Self { qos, messages, breaks, restarts, .. } = self;
        say!(
            "{messages} messages of QoS {qos}, {breaks} breaks, {restarts} restarts; commit {}",
            machine::commit()
        );
        say!(
            "{} orders of up to {longest} steps, {} events, in {:.1} s{}",
            grouped(*orders),
            grouped(*events),
            took.as_secs_f64(),
            if *is_complete { "; there are no others" } else { "; there are more" }
        );
        say!("{} begun and given up, as they differ only in what commutes", grouped(*asleep));
        if let Some((decisions, violation)) = failure {
            let order: Vec<String> = decisions.iter().map(usize::to_string).collect();
            say!(
                "FAILED: {violation}\n  {}: {}",
                violation.invariant,
                crate::failure::says(violation.invariant)
            );
            say!(
                "  cargo run --release -p simulation -- exhaustive --qos {qos} --messages {messages} \
                 --breaks {breaks} --restarts {restarts} --order {}",
                order.join(",")
            );
        }
        failure.is_none()
    }
}

/// One crash, or two at once, at every place; says whether everything held.
fn crashes(again: bool) -> bool {
    let Crashes { runs, restarts, most_underway, failure } = crashes::every(again, Options::default());
    say!(
        "{} runs, {} processes that began from the store, up to {most_underway} calls on their way to it; commit {}",
        grouped(runs),
        grouped(restarts),
        machine::commit()
    );
    if let Some((crash, violation)) = &failure {
        say!("FAILED with {crash:?}: {violation}\n  {}", crate::failure::says(violation.invariant));
    }
    failure.is_none()
}
