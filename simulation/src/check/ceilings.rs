//! Limits of the configuration: nothing is ever above them, not by one.

use super::{Counts, Violation};
use broker_engine::{Config, Engine};

/// Of who `is_hurt` records were damaged: what was in flight may wait again.
pub(super) fn within(
    now: u64,
    config: &Config,
    engine: &Engine,
    is_hurt: impl Fn(&str) -> bool,
    counts: &mut Counts,
) -> Result<(), Violation> {
    let view = engine.view();
    let above = |what: &str, there: u64, most: u64| {
        (there > most)
            .then(|| Violation::new("INV-63", now, format!("{there} {what}, at most {most} may be")))
    };
    counts.look("INV-63");
    let broker = above("sessions", view.sessions() as u64, u64::from(config.max_sessions))
        .or_else(|| above("clients", view.connections() as u64, u64::from(config.max_connections)))
        .or_else(|| above("retained", view.retained() as u64, u64::from(config.max_retained_messages)));
    let session = || {
        view.each_session().find_map(|session| {
            let again = if is_hurt(session.client_id()) { u64::from(config.max_inflight) } else { 0 };
            let most_bytes = u64::from(config.max_queued_bytes) + again * u64::from(config.max_packet_size);
            above("messages queued", session.queued() as u64, u64::from(config.max_queued_messages) + again)
                .or_else(|| above("bytes queued", session.queued_bytes(), most_bytes))
                .or_else(|| {
                    let most = u64::from(config.max_subscriptions_per_session);
                    above("subscriptions", session.filters().count() as u64, most)
                })
                .or_else(|| above("PUBRELs awaited", session.received() as u64, u64::from(u16::MAX)))
        })
    };
    broker.or_else(session).map_or(Ok(()), Err)
}
