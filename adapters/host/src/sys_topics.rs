//! `$SYS`: what the broker tells of itself, as retained messages of QoS 0 with decimal text.
//!
//! Below `$SYS/broker/` are Mochi's topics, those of Mosquitto that people watch, and what was dropped for which reason.
//! Where the two give one name to different things it is as with Mochi: `uptime` is a bare number, and `messages/...`
//! counts PUBLISH packets where Mosquitto counts all. A message is published when its text has changed, as its
//! subscribers have the rest already.

use crate::totals::LastingTotals;
use broker_engine::mqtt_proto::QoS;
use broker_engine::{ApplicationMessage, Counters, DropReason, Time, View};
use metronome_storage::{Statistics, Totals};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What comes before every name.
const ROOT: &str = "$SYS/broker/";

/// What `$SYS/broker/version` says.
const VERSION: &str = concat!("metronome ", env!("CARGO_PKG_VERSION"));

/// Minutes over which loads are averaged.
const SPANS: [(f64, &str); 3] = [(1.0, "1min"), (5.0, "5min"), (15.0, "15min")];

/// Whether and how often `$SYS` is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SysTopicsConfig {
    /// Time between two publications, milliseconds; 0 for none at all. Default 10,000.
    pub interval_ms: u32,
}

impl Default for SysTopicsConfig {
    fn default() -> Self {
        Self { interval_ms: 10_000 }
    }
}

impl SysTopicsConfig {
    /// Time between two publications; `None` where there are none.
    pub fn interval(&self) -> Option<Duration> {
        (self.interval_ms > 0).then(|| Duration::from_millis(self.interval_ms.into()))
    }
}

/// What a figure is computed from.
pub(crate) struct Facts<'a> {
    pub(crate) view: View<'a>,
    /// Of earlier processes too, where they are kept.
    pub(crate) counters: Counters,
    /// Unix seconds.
    pub(crate) time: u64,
    pub(crate) uptime: u64,
    pub(crate) most_clients: usize,
    /// Of a durable store, where there is one.
    pub(crate) store: Option<Statistics>,
    /// Topics of `$SYS` with a retained message.
    own: usize,
}

impl Facts<'_> {
    pub(crate) fn retained(&self) -> u64 {
        self.view.retained().saturating_sub(self.own) as u64
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.counters.dropped.iter().sum()
    }

    pub(crate) fn dropped_above_qos_0(&self) -> u64 {
        let at_qos_0 = [DropReason::Qos0Offline, DropReason::Qos0SlowReader];
        self.dropped() - at_qos_0.map(|reason| self.counters.dropped_for(reason)).iter().sum::<u64>()
    }

    /// Deliveries above QoS 0 that are on their way or wait.
    pub(crate) fn unfinished(&self) -> u64 {
        self.counters.routed.saturating_sub(self.counters.completed + self.dropped())
    }
}

type Figure = fn(&Facts<'_>) -> u64;

/// Everything that is a whole number.
const FIGURES: [(&str, Figure); 33] = [
    ("time", |f| f.time),
    ("uptime", |f| f.uptime),
    ("started", |f| f.time.saturating_sub(f.uptime)),
    ("clients/connected", |f| f.view.connections() as u64),
    ("clients/active", |f| f.view.connections() as u64),
    ("clients/disconnected", |f| f.view.sessions().saturating_sub(f.view.connections()) as u64),
    ("clients/inactive", |f| f.view.sessions().saturating_sub(f.view.connections()) as u64),
    ("clients/maximum", |f| f.most_clients as u64),
    ("clients/total", |f| f.view.sessions() as u64),
    ("load/bytes/received", |f| f.counters.bytes_received),
    ("load/bytes/sent", |f| f.counters.bytes_sent),
    ("bytes/received", |f| f.counters.bytes_received),
    ("bytes/sent", |f| f.counters.bytes_sent),
    ("packets/received", |f| f.counters.packets_received),
    ("packets/sent", |f| f.counters.packets_sent),
    ("messages/received", |f| f.counters.publish_received.iter().sum()),
    ("messages/sent", |f| f.counters.publish_sent.iter().sum()),
    ("messages/dropped", |f| f.dropped()),
    ("messages/inflight", |f| f.unfinished()),
    ("messages/stored", |f| f.view.messages() as u64),
    ("publish/messages/received", |f| f.counters.publish_received.iter().sum()),
    ("publish/messages/sent", |f| f.counters.publish_sent.iter().sum()),
    ("publish/messages/dropped", |f| f.dropped()),
    ("store/messages/count", |f| f.view.messages() as u64),
    ("store/messages/bytes", |f| f.view.message_bytes()),
    ("retained", |f| f.retained()),
    ("retained messages/count", |f| f.retained()),
    ("subscriptions", |f| f.view.subscriptions() as u64),
    ("subscriptions/count", |f| f.view.subscriptions() as u64),
    ("system/memory", |f| f.view.memory_used()),
    ("heap/current", |f| f.view.memory_used()),
    // The one on which the engine and all sockets are.
    ("system/threads", |_| 1),
    ("takeovers", |f| f.counters.takeovers),
];

type Total = fn(&Counters) -> u64;

/// Totals of which there are averages too: how many a minute.
const LOADS: [(&str, Total); 8] = [
    ("bytes/received", |c| c.bytes_received),
    ("bytes/sent", |c| c.bytes_sent),
    ("messages/received", |c| c.packets_received),
    ("messages/sent", |c| c.packets_sent),
    ("publish/received", |c| c.publish_received.iter().sum()),
    ("publish/sent", |c| c.publish_sent.iter().sum()),
    ("publish/dropped", |c| c.dropped.iter().sum()),
    ("connections", |c| c.connects + c.connects_refused),
];

/// A total when it was last looked at, and its averages since.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    total: u64,
    averages: [f64; SPANS.len()],
}

/// Remembers what was published.
#[derive(Debug, Default)]
pub(crate) struct SysTopics {
    most_clients: usize,
    looked_at: Time,
    loads: [Load; LOADS.len()],
    /// Each topic's latest text, in the order of publication.
    latest: Vec<String>,
    /// Where totals outlive the process.
    lasting: Option<LastingTotals>,
}

impl SysTopics {
    /// So many clients are connected.
    pub(crate) fn connected(&mut self, clients: usize) {
        self.most_clients = self.most_clients.max(clients);
    }

    pub(crate) fn go_on_from(&mut self, earlier: Totals) {
        let lasting = LastingTotals::new(earlier);
        self.connected(lasting.most_clients());
        self.lasting = Some(lasting);
    }

    pub(crate) fn is_lasting(&self) -> bool {
        self.lasting.is_some()
    }

    pub(crate) fn counters(&self, view: View<'_>) -> Counters {
        let counters = view.counters();
        self.lasting.as_ref().map_or_else(|| counters.clone(), |lasting| lasting.with(counters))
    }

    /// Totals that the store does not have yet.
    pub(crate) fn news_for_the_store(&mut self, view: View<'_>) -> Option<Totals> {
        self.lasting.as_mut()?.news(view.counters(), self.most_clients)
    }

    /// Topics that have a retained message.
    pub(crate) fn published(&self) -> usize {
        self.latest.len()
    }

    /// What figures are computed from, `time` being Unix seconds.
    pub(crate) fn facts<'a>(&self, now: Time, time: u64, view: View<'a>) -> Facts<'a> {
        let (counters, own) = (self.counters(view), self.published());
        let uptime = now.as_micros() / 1_000_000;
        Facts { view, counters, time, uptime, most_clients: self.most_clients, store: None, own }
    }

    /// What has changed, `time` being Unix seconds.
    pub(crate) fn publications(&mut self, now: Time, time: u64, view: View<'_>) -> Vec<ApplicationMessage> {
        let facts = self.facts(now, time, view);
        // Of this process: what earlier ones have counted was not in these minutes.
        self.average(now, view.counters());
        let mut said = vec![("version".to_owned(), VERSION.to_owned())];
        said.extend(FIGURES.iter().map(|(name, figure)| ((*name).to_owned(), figure(&facts).to_string())));
        said.extend(DropReason::ALL.iter().map(|reason| {
            (format!("messages/dropped/{}", reason.name()), facts.counters.dropped_for(*reason).to_string())
        }));
        for ((name, _), load) in LOADS.iter().zip(&self.loads) {
            for ((_, span), average) in SPANS.iter().zip(load.averages) {
                said.push((format!("load/{name}/{span}"), format!("{average:.2}")));
            }
        }
        let mut changed = Vec::new();
        self.latest.resize(said.len(), String::new());
        for ((name, text), latest) in said.into_iter().zip(&mut self.latest) {
            if *latest == text {
                continue;
            }
            latest.clone_from(&text);
            changed.push(ApplicationMessage {
                topic: format!("{ROOT}{name}"),
                payload: text.into(),
                qos: QoS::AtMostOnce,
                retain: true,
                ..ApplicationMessage::default()
            });
        }
        changed
    }

    /// What happened long ago counts the less.
    #[allow(clippy::cast_precision_loss)] // For people.
    fn average(&mut self, now: Time, counters: &Counters) {
        let minutes = now.since(self.looked_at).as_secs_f64() / 60.0;
        if minutes <= 0.0 {
            return;
        }
        self.looked_at = now;
        for ((_, total), load) in LOADS.iter().zip(&mut self.loads) {
            let total = total(counters);
            let rate = (total - load.total) as f64 / minutes;
            load.total = total;
            for ((span, _), average) in SPANS.iter().zip(&mut load.averages) {
                let kept = (-minutes / span).exp();
                *average = *average * kept + rate * (1.0 - kept);
            }
        }
    }
}
