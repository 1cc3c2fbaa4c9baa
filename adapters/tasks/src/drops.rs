//! Dropped messages, told to the operator without being asked: at most a line every ten seconds, by reason.

use crate::Runtime;
use crate::turn::Shared;
use broker_engine::{Counters, DropReason};
use std::rc::Rc;
use std::time::Duration;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// Time between two lines.
const QUIET: Duration = Duration::from_secs(10);

/// What somebody decided or asked for is no loss: it is in the counters, and at `debug` in the log.
const fn is_expected(reason: DropReason) -> bool {
    match reason {
        DropReason::Expired
        | DropReason::Qos0Offline
        | DropReason::AclRevoked
        | DropReason::SessionEnded
        | DropReason::SharedNoMember
        | DropReason::HookDropped
        | DropReason::AdminDropped => true,
        DropReason::QueueFull
        | DropReason::QuotaBytes
        | DropReason::PacketTooLarge
        | DropReason::Qos0SlowReader
        | DropReason::ClientRejected
        | DropReason::StoreLost => false,
    }
}

/// What was reported so far.
#[derive(Debug, Default)]
pub struct Drops {
    reported: [u64; DropReason::ALL.len()],
}

impl Drops {
    /// Logs what was lost since the last report; says whether there was anything.
    pub fn report(&mut self, counters: &Counters) -> bool {
        let Some((messages, reasons)) = self.lost(counters) else { return false };
        tracing::warn!(messages, reasons, "messages dropped");
        true
    }

    fn lost(&mut self, counters: &Counters) -> Option<(u64, String)> {
        let mut messages = 0;
        let mut reasons = Vec::new();
        for (reason, reported) in DropReason::ALL.into_iter().zip(&mut self.reported) {
            let total = counters.dropped_for(reason);
            let lost = total - std::mem::replace(reported, total);
            if lost > 0 && !is_expected(reason) {
                messages += lost;
                reasons.push(format!("{} {lost}", reason.name()));
            }
        }
        (messages > 0).then(|| (messages, reasons.join(", ")))
    }
}

/// The reporting task.
pub async fn report<R: Runtime>(shared: Rc<Shared<R>>) {
    loop {
        let said = shared.drops.borrow_mut().report(shared.driver.borrow().view().counters());
        R::sleep(if said { QUIET } else { LOOK }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::Drops;
    use broker_engine::{Counters, DropReason};

    #[test]
    fn each_loss_is_told_once_and_what_is_expected_never() {
        let mut counters = Counters::default();
        let mut drops = Drops::default();
        assert_eq!(drops.lost(&counters), None);
        counters.dropped[DropReason::Qos0Offline as usize] = 7;
        assert_eq!(drops.lost(&counters), None);
        counters.dropped[DropReason::QueueFull as usize] = 2;
        counters.dropped[DropReason::Qos0SlowReader as usize] = 3;
        assert_eq!(drops.lost(&counters), Some((5, "queue-full 2, qos0-slow-reader 3".to_owned())));
        assert_eq!(drops.lost(&counters), None);
        counters.dropped[DropReason::QueueFull as usize] = 3;
        assert_eq!(drops.lost(&counters), Some((1, "queue-full 1".to_owned())));
    }
}
