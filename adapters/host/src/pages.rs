//! What HTTP listeners answer: health, and figures for people and machines that watch.

mod gmqtt;

use crate::config::listeners::{MetricNames, Transport};
use crate::sys_topics::Facts;
use crate::transport::{Page, Response};
use broker_engine::{DropReason, MemoryPressure, StorePressure};
use metronome_storage::Statistics;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Computes one figure.
type Figure = fn(&Facts<'_>) -> u64;

/// Mochi's statistics, under its names and in its order.
const STATISTICS: [(&str, Figure); 20] = [
    ("started", |f| f.time.saturating_sub(f.uptime)),
    ("time", |f| f.time),
    ("uptime", |f| f.uptime),
    ("bytes_received", |f| f.counters.bytes_received),
    ("bytes_sent", |f| f.counters.bytes_sent),
    ("clients_connected", |f| f.view.connections() as u64),
    ("clients_disconnected", |f| f.view.sessions().saturating_sub(f.view.connections()) as u64),
    ("clients_maximum", |f| f.most_clients as u64),
    ("clients_total", |f| f.view.sessions() as u64),
    ("messages_received", |f| f.counters.publish_received.iter().sum()),
    ("messages_sent", |f| f.counters.publish_sent.iter().sum()),
    ("messages_dropped", |f| f.dropped()),
    ("retained", |f| f.retained()),
    ("inflight", |f| f.unfinished()),
    ("inflight_dropped", |f| f.dropped_above_qos_0()),
    ("subscriptions", |f| f.view.subscriptions() as u64),
    ("packets_received", |f| f.counters.packets_received),
    ("packets_sent", |f| f.counters.packets_sent),
    ("memory_alloc", |f| f.view.memory_used()),
    // The one on which the engine and all sockets are.
    ("threads", |_| 1),
];

/// Metrics that are one number: name behind `metronome_`, what it says, the number. Those that only grow end in
/// `_total`.
const METRICS: [(&str, &str, Figure); 30] = [
    ("uptime_seconds", "Time since the start.", |f| f.uptime),
    ("clients", "Connected clients.", |f| f.view.connections() as u64),
    ("clients_maximum", "Most clients that were connected at once.", |f| f.most_clients as u64),
    ("sessions", "Sessions, connected or not.", |f| f.view.sessions() as u64),
    ("subscriptions", "Subscriptions of all sessions.", |f| f.view.subscriptions() as u64),
    ("retained_messages", "Topics with a retained message.", |f| f.retained()),
    ("messages", "Messages that are kept, each once.", |f| f.view.messages() as u64),
    ("message_bytes", "Bytes of those.", |f| f.view.message_bytes()),
    ("deliveries_unfinished", "Deliveries that wait or are in flight.", |f| f.unfinished()),
    ("memory_bytes", "Memory by the broker's own account.", |f| f.view.memory_used()),
    ("bytes_received_total", "Bytes of MQTT taken in.", |f| f.counters.bytes_received),
    ("bytes_sent_total", "Bytes of MQTT sent.", |f| f.counters.bytes_sent),
    ("packets_received_total", "Packets taken in.", |f| f.counters.packets_received),
    ("packets_sent_total", "Packets sent.", |f| f.counters.packets_sent),
    ("publish_refused_total", "PUBLISH packets that were not routed.", |f| f.counters.publish_refused),
    ("publish_delayed_total", "PUBLISH packets that came too early and waited.", |f| {
        f.counters.publish_delayed
    }),
    ("deliveries_total", "Messages handed to sessions, or discarded by hooks.", |f| f.counters.routed),
    ("deliveries_completed_total", "Deliveries finished.", |f| f.counters.completed),
    ("connects_total", "Clients accepted.", |f| f.counters.connects),
    ("connects_refused_total", "CONNECTs refused.", |f| f.counters.connects_refused),
    ("connect_timeouts_total", "Connections without a CONNECT in time.", |f| f.counters.connect_timeouts),
    ("keep_alive_timeouts_total", "Clients that fell silent.", |f| f.counters.keep_alive_timeouts),
    ("stall_timeouts_total", "Clients that took nothing.", |f| f.counters.stall_timeouts),
    ("disconnects_total", "Connections that ended.", |f| f.counters.disconnects),
    ("protocol_errors_total", "Connections closed for a breach of the protocol.", |f| {
        f.counters.protocol_errors
    }),
    ("sessions_created_total", "Sessions begun.", |f| f.counters.sessions_created),
    ("sessions_ended_total", "Sessions that ended.", |f| f.counters.sessions_ended),
    ("takeovers_total", "Sessions taken over by a new connection.", |f| f.counters.takeovers),
    ("wills_total", "Wills published.", |f| f.counters.wills_sent),
    ("hook_timeouts_total", "Questions that no hook answered in time.", |f| f.counters.hook_timeouts),
];

/// Clients by the name of their listener and their transport.
type Clients<'a> = BTreeMap<(&'a str, Transport), usize>;

/// Computes one figure of a durable store.
type StoreFigure = fn(&Statistics) -> u64;

/// The same of a durable store, behind `metronome_store_`. They are not there where nothing is kept.
const STORE: [(&str, &str, StoreFigure); 14] = [
    ("batches_total", "Batches kept.", |s| s.batches),
    ("operations_total", "Operations in them.", |s| s.operations),
    ("largest_batch_operations", "Operations in the largest.", |s| s.largest),
    ("bytes_total", "Bytes of keys and values in them.", |s| s.bytes),
    ("milliseconds_total", "Time that they took.", |s| u64::try_from(s.time.as_millis()).unwrap_or(u64::MAX)),
    ("failures_total", "Attempts that failed.", |s| s.failures),
    ("failing", "1 while nothing can be kept, and so nothing is acknowledged.", |s| s.is_failing.into()),
    ("waiting_operations", "Operations that are not kept yet.", |s| s.waiting),
    ("waiting_bytes", "Memory that those take.", |s| s.waiting_bytes),
    ("quarantined_records", "Records that could not be read at the start.", |s| s.quarantined),
    ("interrupted", "1 if it was not closed before the start, and had to undo what was not whole.", |s| {
        s.was_interrupted.into()
    }),
    ("size_bytes", "Bytes that the store takes, where it can tell.", |s| s.size),
    ("max_bytes", "Bytes that it may take; 0 is no bound.", |s| s.max_bytes),
    ("pressure", "0 while there is room, 1 when it is nearly full, 2 while it is full.", |s| {
        s.pressure as u64
    }),
];

/// The answer to who asks for `page`.
pub(crate) fn respond<'a>(page: Page, facts: &Facts<'_>, clients: impl FnOnce() -> Clients<'a>) -> Response {
    match page {
        Page::Health => Response::text(200, "ok\n"),
        Page::Healthcheck => Response::text(200, ""),
        Page::Ready if facts.view.memory_pressure() == MemoryPressure::Max => {
            Response::text(503, "out of memory: new clients are refused\n")
        }
        Page::Ready if facts.store.is_some_and(|store| store.is_failing) => {
            Response::text(503, "the store fails: nothing is acknowledged\n")
        }
        Page::Ready if facts.view.store_pressure() == StorePressure::Max => {
            Response::text(503, "the store is full: what it would keep is refused\n")
        }
        Page::Ready => Response::text(200, "ready\n"),
        Page::Statistics => statistics(facts),
        Page::Metrics(MetricNames::Metronome) => figures(&metrics(facts, &clients())),
        Page::Metrics(MetricNames::Gmqtt) => figures(&gmqtt::metrics(facts)),
    }
}

fn statistics(facts: &Facts<'_>) -> Response {
    let mut body = format!("{{\n\t\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    for (name, figure) in STATISTICS {
        // Writing into a string cannot fail, here and below.
        let _ = write!(body, ",\n\t\"{name}\": {}", figure(facts));
    }
    body.push_str("\n}\n");
    Response { content_type: "application/json", ..Response::text(200, &body) }
}

/// In the form of Prometheus.
fn figures(body: &str) -> Response {
    Response { content_type: "text/plain; version=0.0.4; charset=utf-8", ..Response::text(200, body) }
}

fn metrics(facts: &Facts<'_>, clients: &Clients<'_>) -> String {
    let mut body = String::new();
    for (name, help, figure) in METRICS {
        declare(&mut body, name, help);
        let _ = writeln!(body, "metronome_{name} {}", figure(facts));
    }
    for (name, help, figure) in STORE {
        let Some(store) = &facts.store else { break };
        let name = format!("store_{name}");
        declare(&mut body, &name, help);
        let _ = writeln!(body, "metronome_{name} {}", figure(store));
    }
    for (name, help, by_qos) in [
        ("publish_received_total", "PUBLISH packets taken in.", &facts.counters.publish_received),
        ("publish_sent_total", "PUBLISH packets sent, repeats included.", &facts.counters.publish_sent),
    ] {
        declare(&mut body, name, help);
        for (qos, total) in by_qos.iter().enumerate() {
            let _ = writeln!(body, "metronome_{name}{{qos=\"{qos}\"}} {total}");
        }
    }
    declare(&mut body, "listener_clients", "Connected clients, by listener and transport.");
    for ((listener, transport), count) in clients {
        // As the format wants it; a name may hold anything.
        let listener = listener.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let transport = transport.name();
        let _ = writeln!(
            body,
            "metronome_listener_clients{{listener=\"{listener}\",transport=\"{transport}\"}} {count}"
        );
    }
    declare(&mut body, "deliveries_dropped_total", "Deliveries given up.");
    for reason in DropReason::ALL {
        let (name, total) = (reason.name(), facts.counters.dropped_for(reason));
        let _ = writeln!(body, "metronome_deliveries_dropped_total{{reason=\"{name}\"}} {total}");
    }
    body
}

fn declare(body: &mut String, name: &str, help: &str) {
    let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
    let _ = write!(body, "# HELP metronome_{name} {help}\n# TYPE metronome_{name} {kind}\n");
}
