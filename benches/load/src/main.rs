//! `metronome-load`: load on any MQTT broker from outside, and what it costs the broker, as one line of JSON.
//!
//! * `client` — one client on a non-blocking socket
//! * `loops` — closed loops of many of them
//! * `process` — processor time and memory of the broker

#![allow(clippy::cast_precision_loss)] // Figures are for people.

mod client;
mod loops;
mod process;

use clap::{Args, Parser, Subcommand};
use client::Failure;
use loops::Load;
use mqtt_proto::{QoS, Version};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Messages without an end.
const ENDLESS: u64 = u64::MAX / 4;

/// Load on an MQTT broker. Costs are those of the process `--pid`.
#[derive(Parser)]
struct Cli {
    /// Where the broker listens.
    #[arg(long, default_value = "127.0.0.1:1883")]
    address: SocketAddr,
    /// The broker's process.
    #[arg(long)]
    pid: u32,
    #[command(subcommand)]
    shape: Shape,
}

#[derive(Subcommand)]
enum Shape {
    /// Publishers with a subscriber each.
    Pairs(Traffic),
    /// Publishers with one subscriber to all of them.
    FanIn(Traffic),
    /// One publisher, and so many subscribers.
    FanOut(Traffic),
    /// Pairs that send at a pace; how long messages take.
    Latency {
        #[command(flatten)]
        traffic: Traffic,
        /// Messages in a second, of all publishers together.
        #[arg(long, default_value_t = 1000)]
        rate: u32,
    },
    /// Every client gets what it publishes; messages in a second, by client.
    Echo {
        #[command(flatten)]
        traffic: Traffic,
        /// Messages of each client.
        #[arg(long, default_value_t = 10_000)]
        messages: u64,
    },
    /// Clients that do nothing; memory for each of them.
    Idle(Traffic),
    /// Clients that come and go; how many in a second.
    Connect(Traffic),
}

#[derive(Args, Clone, Copy)]
struct Traffic {
    /// Publishers, subscribers or clients, as the shape has it.
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Quality of service of messages and subscriptions.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Bytes, 12 or more.
    #[arg(long, default_value_t = 64)]
    payload: usize,
    /// Messages of one publisher that are on their way.
    #[arg(long, default_value_t = 16)]
    window: u64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// MQTT 5.0 instead of 3.1.1.
    #[arg(long)]
    v5: bool,
    /// Sessions last, so that a broker with a store keeps them, and a message is on its way until it is acknowledged.
    #[arg(long)]
    lasting: bool,
    /// Idle clients subscribe, each to a topic filter of its own.
    #[arg(long)]
    subscribe: bool,
}

impl Traffic {
    fn qos(self) -> QoS {
        [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(self.qos.min(2))]
    }

    fn version(self) -> Version {
        if self.v5 { Version::V5 } else { Version::V311 }
    }

    fn load(self) -> Result<Load, Failure> {
        let mut load = Load::new(self.qos(), self.payload, self.window)?;
        load.sessions_last = self.lasting;
        Ok(load)
    }
}

fn main() -> Result<(), Failure> {
    let cli = Cli::parse();
    let (address, pid) = (cli.address, cli.pid);
    let result = match cli.shape {
        Shape::Pairs(traffic) => throughput(pid, traffic, &mut pairs(address, traffic, ENDLESS)?),
        Shape::FanIn(traffic) => throughput(pid, traffic, &mut fan_in(address, traffic)?),
        Shape::FanOut(traffic) => throughput(pid, traffic, &mut fan_out(address, traffic)?),
        Shape::Latency { traffic, rate } => {
            latency(pid, traffic, rate, &mut pairs(address, traffic, ENDLESS)?)
        }
        Shape::Echo { traffic, messages } => echo(address, traffic, messages),
        Shape::Idle(traffic) => idle(address, pid, traffic),
        Shape::Connect(traffic) => connect_rate(address, pid, traffic),
    }?;
    println!("{result}");
    Ok(())
}

fn pairs(address: SocketAddr, traffic: Traffic, most: u64) -> Result<Load, Failure> {
    let mut load = traffic.load()?;
    let subscribers = load.connect(traffic.clients, address, traffic.version())?;
    let publishers = load.connect(traffic.clients, address, traffic.version())?;
    let filters = (0..traffic.clients).map(|number| (subscribers + number, format!("pairs/{number}")));
    load.subscribe(filters, traffic.qos())?;
    for number in 0..traffic.clients {
        load.publisher(publishers + number, &format!("pairs/{number}"), 1, most);
    }
    Ok(load)
}

fn fan_in(address: SocketAddr, traffic: Traffic) -> Result<Load, Failure> {
    let mut load = traffic.load()?;
    let subscriber = load.connect(1, address, traffic.version())?;
    let publishers = load.connect(traffic.clients, address, traffic.version())?;
    load.subscribe(std::iter::once((subscriber, "in/+".to_owned())), traffic.qos())?;
    for number in 0..traffic.clients {
        load.publisher(publishers + number, &format!("in/{number}"), 1, ENDLESS);
    }
    Ok(load)
}

fn fan_out(address: SocketAddr, traffic: Traffic) -> Result<Load, Failure> {
    let mut load = traffic.load()?;
    let subscribers = load.connect(traffic.clients, address, traffic.version())?;
    let publisher = load.connect(1, address, traffic.version())?;
    load.subscribe(
        (0..traffic.clients).map(|number| (subscribers + number, "out".to_owned())),
        traffic.qos(),
    )?;
    load.publisher(publisher, "out", traffic.clients as u64, ENDLESS);
    Ok(load)
}

/// What an interval cost.
struct Meter {
    pid: u32,
    began: Instant,
    cpu: Duration,
    machine: Duration,
    own: Duration,
}

impl Meter {
    fn start(pid: u32) -> Result<Self, Failure> {
        let (cpu, machine, own) = Self::read(pid)?;
        Ok(Self { pid, began: Instant::now(), cpu, machine, own })
    }

    fn read(pid: u32) -> Result<(Duration, Duration, Duration), Failure> {
        let cpu = process::cpu(pid).ok_or("no such process, or no /proc")?;
        let machine = process::machine().ok_or("no /proc")?;
        Ok((cpu, machine, process::cpu(std::process::id()).ok_or("no /proc")?))
    }

    /// Seconds; processor seconds of the broker; cores that others used meanwhile.
    fn stop(&self) -> Result<(f64, f64, f64), Failure> {
        let (cpu, machine, own) = Self::read(self.pid)?;
        let seconds = self.began.elapsed().as_secs_f64();
        let spent = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64();
        let broker = spent(cpu, self.cpu);
        let others = spent(machine, self.machine) - broker - spent(own, self.own);
        Ok((seconds, broker, (others / seconds).max(0.0)))
    }
}

fn throughput(pid: u32, traffic: Traffic, load: &mut Load) -> Result<Value, Failure> {
    load.run(Duration::from_secs_f64(traffic.warmup))?;
    let before = load.deliveries;
    let meter = Meter::start(pid)?;
    load.run(Duration::from_secs_f64(traffic.seconds))?;
    let (seconds, cpu, others) = meter.stop()?;
    let deliveries = load.deliveries - before;
    Ok(json!({
        "deliveries": deliveries,
        "per_second": rounded(deliveries as f64 / seconds),
        "cpu_us_per_delivery": rounded(cpu * 1e6 / deliveries as f64),
        "other_cores": rounded(others),
    }))
}

fn latency(pid: u32, traffic: Traffic, rate: u32, load: &mut Load) -> Result<Value, Failure> {
    load.pace = Some(Duration::from_secs(1) * u32::try_from(traffic.clients)? / rate);
    load.run(Duration::from_secs_f64(traffic.warmup))?;
    load.latencies = Some(Vec::new());
    let meter = Meter::start(pid)?;
    load.run(Duration::from_secs_f64(traffic.seconds))?;
    let (seconds, cpu, others) = meter.stop()?;
    let mut latencies = load.latencies.take().unwrap_or_default();
    latencies.sort_unstable();
    let at = |percent| latencies.get(latencies.len() * percent / 100).copied();
    Ok(json!({
        "per_second": rounded(latencies.len() as f64 / seconds),
        "p50_us": at(50),
        "p99_us": at(99),
        "max_us": latencies.last(),
        "cpu_us_per_delivery": rounded(cpu * 1e6 / latencies.len() as f64),
        "other_cores": rounded(others),
    }))
}

fn echo(address: SocketAddr, traffic: Traffic, messages: u64) -> Result<Value, Failure> {
    let mut load = traffic.load()?;
    let first = load.connect(traffic.clients, address, traffic.version())?;
    load.subscribe(
        (0..traffic.clients).map(|number| (first + number, format!("echo/{number}"))),
        traffic.qos(),
    )?;
    for number in 0..traffic.clients {
        load.publisher(first + number, &format!("echo/{number}"), 1, messages);
    }
    let began = Instant::now();
    load.run(Duration::from_secs(600))?;
    let median = |mut rates: Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().map(rounded)
    };
    let rate =
        |end: Option<Instant>| end.map(|end| messages as f64 / end.duration_since(began).as_secs_f64());
    let sent: Vec<f64> = load.publishers.iter().filter_map(|publisher| rate(publisher.all_sent)).collect();
    let received: Vec<f64> =
        load.publishers.iter().filter_map(|publisher| rate(publisher.all_delivered)).collect();
    if received.len() < traffic.clients {
        return Err("not everything arrived in ten minutes".into());
    }
    Ok(json!({ "publish_per_second_median": median(sent), "receive_per_second_median": median(received) }))
}

fn idle(address: SocketAddr, pid: u32, traffic: Traffic) -> Result<Value, Failure> {
    let memory = || process::memory(pid).ok_or("no such process, or no /proc");
    let mut load = traffic.load()?;
    // What the first clients make the broker set up is not theirs.
    load.connect(100, address, traffic.version())?;
    let before = memory()?;
    let first = load.connect(traffic.clients, address, traffic.version())?;
    if traffic.subscribe {
        load.subscribe(
            (0..traffic.clients).map(|number| (first + number, format!("idle/{number}"))),
            traffic.qos(),
        )?;
    }
    std::thread::sleep(Duration::from_millis(500));
    let with = memory()?;
    load.close_from(0);
    // A broker may wait for calm before it gives memory back.
    std::thread::sleep(Duration::from_secs(15));
    let after = memory()?;
    Ok(json!({
        "bytes_per_connection": rounded(with.saturating_sub(before) as f64 / traffic.clients as f64),
        "resident_before": before,
        "resident_with": with,
        "resident_after": after,
        "after_to_before": rounded(after as f64 / before as f64),
    }))
}

fn connect_rate(address: SocketAddr, pid: u32, traffic: Traffic) -> Result<Value, Failure> {
    let mut load = traffic.load()?;
    let meter = Meter::start(pid)?;
    let until = Instant::now() + Duration::from_secs_f64(traffic.seconds);
    let mut count = 0;
    while Instant::now() < until {
        load.connect(traffic.clients, address, traffic.version())?;
        load.close_from(0);
        count += traffic.clients;
    }
    let (seconds, cpu, others) = meter.stop()?;
    Ok(json!({
        "connects_per_second": rounded(count as f64 / seconds),
        "cpu_us_per_connect": rounded(cpu * 1e6 / count as f64),
        "other_cores": rounded(others),
    }))
}

/// Three decimals are enough for a table.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
