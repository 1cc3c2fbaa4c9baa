//! Totals that outlive the process: what earlier ones have counted is added wherever totals are told, and all of it goes
//! back into the store. The engine counts from zero.

use broker_engine::{Counters, DropReason};
use metronome_storage::Totals;
use std::time::Duration;

/// Time between two records of totals: what a process that is killed may have counted in vain.
pub const INTERVAL: Duration = Duration::from_secs(10);

const MOST_CLIENTS: &str = "clients_maximum";

/// What earlier processes have counted.
#[derive(Debug)]
pub(crate) struct LastingTotals {
    earlier: Totals,
    /// What the store has, or was given.
    kept: Totals,
}

impl LastingTotals {
    pub(crate) fn new(earlier: Totals) -> Self {
        Self { kept: earlier.clone(), earlier }
    }

    /// What was counted by all processes.
    pub(crate) fn with(&self, counters: &Counters) -> Counters {
        let mut all = counters.clone();
        each(&mut all, |name, total| *total = total.saturating_add(self.earlier(name)));
        all
    }

    pub(crate) fn most_clients(&self) -> usize {
        usize::try_from(self.earlier(MOST_CLIENTS)).unwrap_or(usize::MAX)
    }

    /// What the store should have, unless it has that.
    pub(crate) fn news(&mut self, counters: &Counters, most_clients: usize) -> Option<Totals> {
        let mut all = self.with(counters);
        // What is not finished is handed to its session again by the next process, or goes with this one.
        all.routed = all.completed + all.dropped.iter().sum::<u64>();
        let mut totals = Totals::from([(MOST_CLIENTS.to_owned(), most_clients as u64)]);
        each(&mut all, |name, total| {
            totals.insert(name.to_owned(), *total);
        });
        if totals == self.kept {
            return None;
        }
        self.kept.clone_from(&totals);
        Some(totals)
    }

    fn earlier(&self, name: &str) -> u64 {
        self.earlier.get(name).copied().unwrap_or_default()
    }
}

/// Shows every total with its name in the store, which is for ever.
fn each(counters: &mut Counters, mut show: impl FnMut(&str, &mut u64)) {
    let Counters {
        bytes_received,
        bytes_sent,
        packets_received,
        packets_sent,
        publish_received,
        publish_refused,
        publish_delayed,
        filters_refused,
        publish_sent,
        routed,
        matching_steps,
        completed,
        dropped,
        connects,
        connects_refused,
        connect_timeouts,
        keep_alive_timeouts,
        stall_timeouts,
        disconnects,
        protocol_errors,
        sessions_created,
        sessions_ended,
        takeovers,
        wills_sent,
        stale_inputs,
        late_replies,
        hook_timeouts,
        host_misuse,
    } = counters;
    for (name, total) in [
        ("bytes_received", bytes_received),
        ("bytes_sent", bytes_sent),
        ("packets_received", packets_received),
        ("packets_sent", packets_sent),
        ("publish_refused", publish_refused),
        ("publish_delayed", publish_delayed),
        ("filters_refused", filters_refused),
        ("routed", routed),
        ("matching_steps", matching_steps),
        ("completed", completed),
        ("connects", connects),
        ("connects_refused", connects_refused),
        ("connect_timeouts", connect_timeouts),
        ("keep_alive_timeouts", keep_alive_timeouts),
        ("stall_timeouts", stall_timeouts),
        ("disconnects", disconnects),
        ("protocol_errors", protocol_errors),
        ("sessions_created", sessions_created),
        ("sessions_ended", sessions_ended),
        ("takeovers", takeovers),
        ("wills_sent", wills_sent),
        ("stale_inputs", stale_inputs),
        ("late_replies", late_replies),
        ("hook_timeouts", hook_timeouts),
        ("host_misuse", host_misuse),
    ] {
        show(name, total);
    }
    for (names, by_qos) in [
        (["publish_received_qos_0", "publish_received_qos_1", "publish_received_qos_2"], publish_received),
        (["publish_sent_qos_0", "publish_sent_qos_1", "publish_sent_qos_2"], publish_sent),
    ] {
        for (name, total) in names.into_iter().zip(by_qos) {
            show(name, total);
        }
    }
    for (reason, total) in DropReason::ALL.into_iter().zip(dropped) {
        show(&format!("dropped_{}", reason.name()), total);
    }
}

#[cfg(test)]
mod tests {
    use super::{LastingTotals, each};
    use broker_engine::Counters;
    use metronome_storage::Totals;
    use std::collections::BTreeSet;

    /// Each total has a number of its own, but for what is handed to sessions, which adds up.
    fn counters() -> Counters {
        let (mut counters, mut number) = (Counters::default(), 0);
        each(&mut counters, |_, total| {
            number += 1;
            *total = number;
        });
        counters.routed = counters.completed + counters.dropped.iter().sum::<u64>();
        counters
    }

    #[test]
    fn every_total_has_a_name_of_its_own() {
        let (mut names, mut count) = (BTreeSet::new(), 0);
        each(&mut Counters::default(), |name, _| {
            names.insert(name.to_owned());
            count += 1;
        });
        assert_eq!(names.len(), count);
    }

    #[test]
    fn totals_go_on_and_nothing_is_counted_twice() {
        let mut first = LastingTotals::new(Totals::default());
        let totals = first.news(&counters(), 5).unwrap();
        assert_eq!(first.news(&counters(), 5), None, "the store has that");
        let mut second = LastingTotals::new(totals);
        assert_eq!((second.with(&Counters::default()), second.most_clients()), (counters(), 5));
        assert_eq!(second.news(&Counters::default(), 5), None, "nothing has happened");
        // What waited is handed to its session again.
        let mut waiting = counters();
        waiting.routed += 7;
        let third = LastingTotals::new(second.news(&waiting, 6).unwrap());
        let mut twice = counters();
        each(&mut twice, |_, total| *total *= 2);
        assert_eq!((third.with(&Counters::default()), third.most_clients()), (twice, 6));
    }

    #[test]
    fn totals_that_another_version_has_are_left_out() {
        let earlier =
            [("bytes_sent", 3), ("seen_by_nobody", 9)].map(|(name, total)| (name.to_owned(), total));
        let all = LastingTotals::new(Totals::from(earlier)).with(&Counters::default());
        assert_eq!(all, Counters { bytes_sent: 3, ..Counters::default() });
    }
}
