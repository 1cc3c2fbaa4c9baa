//! Metrics under gmqtt's names, as far as there is the same to count.
//!
//! Packets and bytes are not counted by the type of packet here, nor sessions that end by why, so those have no label; sums
//! over them are the same. Drops have no QoS. What gmqtt counts and nobody here does is left out.

use crate::sys_topics::Facts;
use broker_engine::DropReason;
use std::fmt::Write as _;

/// Name behind `gmqtt_`, what it says, and the number with each label.
type Metric = (&'static str, &'static str, fn(&Facts<'_>) -> Vec<(&'static str, u64)>);

fn one(number: u64) -> Vec<(&'static str, u64)> {
    vec![("", number)]
}

fn by_qos([at_most_once, at_least_once, exactly_once]: [u64; 3]) -> Vec<(&'static str, u64)> {
    vec![("{qos=\"0\"}", at_most_once), ("{qos=\"1\"}", at_least_once), ("{qos=\"2\"}", exactly_once)]
}

const METRICS: [Metric; 14] = [
    ("clients_connected_total", "Clients accepted.", |f| one(f.counters.connects)),
    ("clients_disconnected_total", "Clients whose connection ended.", |f| {
        one(f.counters.connects.saturating_sub(f.view.connections() as u64))
    }),
    ("sessions_created_total", "Sessions begun.", |f| one(f.counters.sessions_created)),
    ("sessions_terminated_total", "Sessions that ended.", |f| one(f.counters.sessions_ended)),
    ("sessions_active_current", "Sessions with a client.", |f| one(f.view.connections() as u64)),
    ("sessions_inactive_current", "Sessions without one.", |f| {
        one(f.view.sessions().saturating_sub(f.view.connections()) as u64)
    }),
    ("packets_received_bytes_total", "Bytes of MQTT taken in.", |f| one(f.counters.bytes_received)),
    ("packets_received_total", "Packets taken in.", |f| one(f.counters.packets_received)),
    ("packets_sent_bytes_total", "Bytes of MQTT sent.", |f| one(f.counters.bytes_sent)),
    ("packets_sent_total", "Packets sent.", |f| one(f.counters.packets_sent)),
    ("messages_queued_current", "Deliveries that wait or are in flight.", |f| one(f.unfinished())),
    ("messages_received_total", "PUBLISH packets taken in.", |f| by_qos(f.counters.publish_received)),
    ("messages_sent_total", "PUBLISH packets sent.", |f| by_qos(f.counters.publish_sent)),
    ("subscriptions_current", "Subscriptions of all sessions.", |f| one(f.view.subscriptions() as u64)),
];

/// The types of drops there.
const DROPS: [&str; 4] = ["expired", "queue_full", "exceeds_max_size", "internal"];

fn type_of(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Expired => "expired",
        DropReason::QueueFull | DropReason::QuotaBytes => "queue_full",
        DropReason::PacketTooLarge => "exceeds_max_size",
        _ => "internal",
    }
}

pub(super) fn metrics(facts: &Facts<'_>) -> String {
    let mut body = String::new();
    let mut declare = |name: &str, help: &str, figures: &[(String, u64)]| {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        // Writing into a string cannot fail.
        let _ = write!(body, "# HELP gmqtt_{name} {help}\n# TYPE gmqtt_{name} {kind}\n");
        for (label, number) in figures {
            let _ = writeln!(body, "gmqtt_{name}{label} {number}");
        }
    };
    for (name, help, figures) in METRICS {
        let figures: Vec<_> =
            figures(facts).into_iter().map(|(label, number)| (label.to_owned(), number)).collect();
        declare(name, help, &figures);
    }
    let dropped = DROPS.map(|kind| {
        let reasons = DropReason::ALL.into_iter().filter(|reason| type_of(*reason) == kind);
        (format!("{{type=\"{kind}\"}}"), reasons.map(|reason| facts.counters.dropped_for(reason)).sum())
    });
    declare("messages_dropped_total", "Deliveries given up.", &dropped);
    body
}

#[cfg(test)]
mod tests {
    use crate::config::listeners::MetricNames;
    use crate::transport::Page;
    use crate::{AllowAll, Driver};
    use broker_engine::{CloseCause, Config, Engine, HashKey, ListenerId, Seed, Time};

    #[test]
    fn the_figures_are_what_happened() {
        let now = Time::from_secs(1);
        let mut driver = Driver::new(Engine::new(Config::default(), Seed(1), HashKey([1, 2])), AllowAll);
        // One with a session that stays, a subscription at QoS 1, and two messages to itself, one of QoS 1 and one of QoS 0.
        let lasting = driver.open(now, ListenerId(0), None);
        driver.received(now, lasting, b"\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01a\x82\x06\0\x01\0\x01t\x01");
        driver.received(now, lasting, b"\x32\x06\0\x01t\0\x01x\x30\x03\0\x01t");
        driver.closed(now, lasting, CloseCause::PeerClosed);
        // The session is away: QoS 0 is dropped, and what came before waits.
        let other = driver.open(now, ListenerId(0), None);
        driver.received(now, other, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01b\x30\x03\0\x01t");
        let page = driver.page(Page::Metrics(MetricNames::Gmqtt), now, 0).body;
        let figures: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("gmqtt_")).collect();
        let wanted = [
            "clients_connected_total 2",
            "clients_disconnected_total 1",
            "sessions_created_total 2",
            "sessions_terminated_total 0",
            "sessions_active_current 1",
            "sessions_inactive_current 1",
            "packets_received_bytes_total 56",
            "packets_received_total 6",
            "packets_sent_bytes_total 30",
            "packets_sent_total 6",
            "messages_queued_current 1",
            "messages_received_total{qos=\"0\"} 2",
            "messages_received_total{qos=\"1\"} 1",
            "messages_received_total{qos=\"2\"} 0",
            "messages_sent_total{qos=\"0\"} 1",
            "messages_sent_total{qos=\"1\"} 1",
            "messages_sent_total{qos=\"2\"} 0",
            "subscriptions_current 1",
            "messages_dropped_total{type=\"expired\"} 0",
            "messages_dropped_total{type=\"queue_full\"} 0",
            "messages_dropped_total{type=\"exceeds_max_size\"} 0",
            "messages_dropped_total{type=\"internal\"} 1",
        ];
        assert_eq!(figures, wanted);
        for line in page.lines().filter(|line| line.starts_with("# TYPE ")) {
            assert!(line.ends_with("_total counter") || line.ends_with("_current gauge"), "{line}");
        }
    }
}
